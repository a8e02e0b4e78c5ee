"""Runs a command of mini-swe-agent's in this process with its models under a registry; knows what all of mini's commands share.

Without a registry the command runs as if it had been called by its own name.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType
from typing import TextIO, cast

from pydantic import ValidationError

from paymaster.agents.clients import SHARED, absolute
from paymaster.agents.flags import Taken, take_flags
from paymaster.agents.mini.checks import check_config, problem_lines
from paymaster.agents.mini.config import DEFAULT, PaymasterModelConfig
from paymaster.agents.mini.config_specs import (
    OURS,
    TOOL_MODEL,
    config_specs,
    embedded_registry,
    merged,
    model_class,
    named_model,
    names_our_model,
)
from paymaster.agents.mini.config_specs import section as section_of
from paymaster.agents.spend_summary import SpendSummary, budget_lines
from paymaster.agents.stderr import StandardError
from paymaster.client import Client
from paymaster.errors import ExtraMissing, LedgerUnavailable, PaymasterError, UsageMistake
from paymaster.registry.overrides import flag_of, variable_of
from paymaster.telemetry.logs import configure_logging

DONE, FAILED, STOPPED_BY_BUDGET = 0, 1, 3
OLDEST_MINI = (2, 4)
_LOGGER = logging.getLogger("paymaster.agents")


@dataclass(frozen=True, slots=True)
class Program:
    """One of mini's commands: where it is, what mini and we call it, its parameter that names a model, the classes it takes by default."""

    module: str
    name: str
    our_name: str
    model_parameter: str
    agent: str
    environment: str


@dataclass(frozen=True, slots=True)
class Start:
    """A command that is ready to start: mini's module, its `main` with its parameters, and the client that all its models will share.

    `specs` are the values of its `-c`, `config` what they say about the model.
    """

    module: ModuleType
    main: Callable[..., object]
    parameters: Mapping[str, object]
    specs: list[str]
    config: PaymasterModelConfig
    client: Client
    summary: SpendSummary


def launch(program: Program, args: Sequence[str], run: Callable[[Start], int]) -> int:
    """Run a command with these words, through `run` where there is a registry, and return the exit status.

    0 done, 1 failed or ended otherwise, 2 a mistake in mini's flags, 130 Ctrl-C. Raises PaymasterError, and what `run` raises.
    """
    taken = take_flags(args)
    _require_mini()
    specs = list(config_specs(taken.rest))
    embedded = embedded_registry(specs)
    named = "model_registry" in taken.settings or bool(os.environ.get(variable_of("model_registry"), "").strip())
    if not (named or embedded or any(OURS in word for word in taken.rest) or names_our_model(specs)):
        if taken.settings:
            flags = ", ".join(flag_of(name) for name in taken.settings)
            raise UsageMistake(f"{flags}: no model registry", advice=f"Name one with --model-registry or {variable_of('model_registry')}.")
        return _run_plain(program, args)
    configure_logging(taken.verbosity, cast("TextIO", StandardError()))
    # mini's questions on its first start are for a default model and its key, which the registry answers.
    os.environ.setdefault("MSWEA_CONFIGURED", "true")
    SHARED.flags = taken.settings
    if embedded is not None and named:
        _LOGGER.warning("the model_registry: of %s is not used: another is named", embedded.file)
    elif embedded is not None:
        SHARED.flags = {**taken.settings, "model_registry": embedded.file}
        SHARED.embedded = {absolute(embedded.file): embedded}
    try:
        return _run_under_registry(program, taken, run)
    finally:
        SHARED.close()


@contextmanager
def replaced(module: ModuleType, **values: object) -> Iterator[None]:
    """Names of a module stand for something else while the block lasts."""
    originals = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in originals.items():
            setattr(module, name, value)


def call_mini(start: Start, parameters: Mapping[str, object]) -> object:
    """Call mini's own `main`, and say on standard error what was spent on what, however it ended.

    Raises UsageMistake where mini gave up before anything was asked, and PaymasterError where it did so afterwards.
    """
    from typer import Abort, Exit

    try:
        return start.main(**parameters)
    except (PaymasterError, Exit, Abort, EOFError, BrokenPipeError):
        raise
    except Exception as error:  # mini's edge of the process: what it lets through becomes one message
        told = "\n".join(problem_lines(error, error.title)) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        kind = PaymasterError if any(start.summary.lines()) else UsageMistake
        raise kind(f"mini gave up: {told}", advice="`paymaster --debug …` with the same words shows where it did.") from error
    finally:
        _show_spending(start)


def _show_spending(start: Start) -> None:
    if not sys.stdout.isatty():
        sys.stdout.write("\n")  # there, mini's last display has no end of line
        sys.stdout.flush()
    with suppress(LedgerUnavailable):
        for line in (*start.summary.lines(), *budget_lines(start.client)):
            sys.stderr.write(f"Paymaster: {line}\n")


def _require_mini() -> None:
    install = "Install it with: pip install 'paymaster[mini]'"
    try:
        version = metadata.version("mini-swe-agent")
    except metadata.PackageNotFoundError:
        raise ExtraMissing("mini-swe-agent is not installed", advice=install) from None
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST_MINI:
        oldest = ".".join(map(str, OLDEST_MINI))
        raise ExtraMissing(f"mini-swe-agent {version} is too old; {oldest} or later is needed", advice=install)


def _run_plain(program: Program, words: Sequence[str]) -> int:
    """Run the command as its own script does, down to its tracebacks."""
    app = import_module(program.module).app
    try:
        app(list(words), prog_name=program.name)
    except SystemExit as end:
        return _status(end)
    except Exception as error:  # noqa: BLE001 - this is mini's edge of the process: its own hook reports what it let through
        sys.excepthook(type(error), error, error.__traceback__)
        return FAILED
    return DONE


def _run_under_registry(program: Program, taken: Taken, run: Callable[[Start], int]) -> int:
    """Run mini's own command with our model class among its parameters."""
    from typer.main import get_command

    module = import_module(program.module)
    command = get_command(module.app)
    main: Callable[..., object] = command.callback or module.main

    def start(**parameters: object) -> None:
        status = run(_arrange(program, module, main, parameters))
        if status != DONE:
            raise SystemExit(status)

    command.callback = start
    try:
        command.main(list(taken.rest), prog_name=f"paymaster {program.our_name}")
    except SystemExit as end:
        return _status(end)
    return DONE


def _arrange(program: Program, module: ModuleType, main: Callable[..., object], parameters: Mapping[str, object]) -> Start:
    """The parameters with our model class and the model's name; and the client, opened before mini asks or starts anything."""
    specs = parameters["config_spec"]
    specs = [str(spec) for spec in specs] if isinstance(specs, list | tuple) else []
    config = merged(specs)
    section = section_of(config, "model")
    _check(program, config, parameters, module.DEFAULT_CONFIG_FILE.name)
    kind = model_class(str(parameters.get("model_class") or section.get("model_class") or ""), config)
    name = parameters.get(program.model_parameter) or named_model(specs) or DEFAULT
    summary = SpendSummary()
    SHARED.listeners = (summary,)
    model_classes = import_module(TOOL_MODEL.rpartition(".")[0])
    keys = {key: value for key, value in section.items() if key not in {"model_class", "model_name"}}
    model = getattr(model_classes, kind.rpartition(".")[2])(**keys, model_name=name)
    model.require_a_model()
    called = model.client.registry.default if name == DEFAULT else name  # what predictions and trajectories will say
    arranged = {**parameters, "model_class": kind, program.model_parameter: called}
    return Start(module, main, arranged, specs, model.config, model.client, summary)


def _check(program: Program, config: Mapping[str, object], parameters: Mapping[str, object], default_config: str) -> None:
    """Look for mistakes in what mini is told: its flags win over its config, and that over what a command takes by default."""

    def chosen(kind: str, default: str) -> str:
        key = f"{kind}_class"
        return str(parameters.get(key) or section_of(config, kind).get(key) or default)

    agent, environment = chosen("agent", program.agent), chosen("environment", program.environment)
    check_config(config, agent=agent, environment=environment, default_config=default_config)


def _status(end: SystemExit) -> int:
    return end.code if isinstance(end.code, int) else DONE if end.code is None else FAILED
