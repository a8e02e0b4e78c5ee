"""Runs one of mini-swe-agent's commands in this process with its models under a registry; knows what these commands share.

Without a registry, the command runs as if it had been called by its own name.
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

from paymaster.agents.batch_client import AgentClient, BatchClient
from paymaster.agents.clients import CLIENTS, absolute
from paymaster.agents.flags import ParsedFlags, parse_flags
from paymaster.agents.mini.checks import check_config, problem_lines
from paymaster.agents.mini.config import DEFAULT, PaymasterModelConfig
from paymaster.agents.mini.config_specs import (
    OUR_PACKAGE,
    TOOL_MODEL,
    config_specs,
    embedded_registry,
    merged,
    model_class,
    model_name_in,
    uses_our_model,
)
from paymaster.agents.mini.config_specs import section as section_of
from paymaster.agents.spend_summary import SpendSummary, budget_lines
from paymaster.agents.stderr import StandardError, write_stderr
from paymaster.errors import ExtraMissing, LedgerUnavailable, PaymasterError, UsageMistake
from paymaster.registry.overrides import flag_of, variable_of
from paymaster.telemetry.logs import configure_logging
from paymaster.telemetry.wait_lines import WaitLines

DONE, FAILED, STOPPED_BY_BUDGET = 0, 1, 3
OLDEST_MINI = (2, 4)
_LOGGER = logging.getLogger("paymaster.agents")


@dataclass(frozen=True, slots=True)
class MiniCommand:
    """One of mini's commands: its module, mini's and our name for it, its parameter for the model, and its default classes.

    `batched`: it makes calls in many threads.
    """

    module: str
    name: str
    our_name: str
    model_parameter: str
    agent: str
    environment: str
    batched: bool = False


@dataclass(frozen=True, slots=True)
class PreparedCommand:
    """A command that is ready to run: mini's module, its `main` with the parameters, and the client that all its models share.

    `specs` are the values of `-c`; `config` is the model's config.
    """

    module: ModuleType
    main: Callable[..., object]
    parameters: Mapping[str, object]
    specs: list[str]
    config: PaymasterModelConfig
    client: AgentClient
    summary: SpendSummary


def launch(command: MiniCommand, args: Sequence[str], run: Callable[[PreparedCommand], int]) -> int:
    """Run a command with these arguments, through `run` if there is a registry, and return the exit status.

    0 done, 1 failed or ended otherwise, 2 wrong flags, 130 Ctrl-C. Raises PaymasterError, and what `run` raises.
    """
    flags = parse_flags(args)
    _require_mini()
    specs = list(config_specs(flags.args))
    embedded = embedded_registry(specs)
    is_named = "model_registry" in flags.settings or bool(os.environ.get(variable_of("model_registry"), "").strip())
    if not (is_named or embedded or any(OUR_PACKAGE in arg for arg in flags.args) or uses_our_model(specs)):
        if flags.settings:
            names = ", ".join(flag_of(name) for name in flags.settings)
            raise UsageMistake(f"{names}: no model registry", advice=f"Name one with --model-registry or {variable_of('model_registry')}.")
        return _run_plain(command, args)
    configure_logging(flags.verbosity, cast("TextIO", StandardError()))
    # On its first start mini asks for a default model and its key; the registry has both.
    os.environ.setdefault("MSWEA_CONFIGURED", "true")
    CLIENTS.flags = flags.settings
    if command.batched:
        CLIENTS.make = BatchClient
    if embedded is not None and is_named:
        _LOGGER.warning("the model_registry: of %s is not used: a flag or a variable names another one", embedded.file)
    elif embedded is not None:
        CLIENTS.flags = {**flags.settings, "model_registry": embedded.file}
        CLIENTS.embedded = {absolute(embedded.file): embedded}
    try:
        return _run_under_registry(command, flags, run)
    finally:
        CLIENTS.close()


@contextmanager
def replaced(module: ModuleType, **values: object) -> Iterator[None]:
    """Replace names of a module while the block lasts."""
    originals = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in originals.items():
            setattr(module, name, value)


def call_mini(prepared: PreparedCommand, parameters: Mapping[str, object]) -> object:
    """Call mini's own `main`, and report the spending on standard error, however it ended.

    Raises UsageMistake if mini failed before the first model call, and PaymasterError if it failed later.
    """
    from typer import Abort, Exit

    try:
        return prepared.main(**parameters)
    except (PaymasterError, Exit, Abort, EOFError, BrokenPipeError):
        raise
    except Exception as error:  # mini's edge of the process: its error becomes one message
        problem = "\n".join(problem_lines(error, error.title)) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        kind = PaymasterError if any(prepared.summary.lines()) else UsageMistake
        raise kind(f"mini failed: {problem}", advice="`paymaster --debug …` with the same arguments shows where.") from error
    finally:
        _show_spending(prepared)


def _show_spending(prepared: PreparedCommand) -> None:
    if not sys.stdout.isatty():
        sys.stdout.write("\n")  # without a terminal, mini's display does not end its last line
        sys.stdout.flush()
    with suppress(LedgerUnavailable):
        for line in (*prepared.summary.lines(), *budget_lines(prepared.client)):
            write_stderr(f"Paymaster: {line}")


def _require_mini() -> None:
    install = "Install it with: pip install 'paymaster[mini]'"
    try:
        version = metadata.version("mini-swe-agent")
    except metadata.PackageNotFoundError:
        raise ExtraMissing("mini-swe-agent is not installed", advice=install) from None
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST_MINI:
        oldest = ".".join(map(str, OLDEST_MINI))
        raise ExtraMissing(f"mini-swe-agent {version} is too old; {oldest} or later is needed", advice=install)


def _run_plain(command: MiniCommand, args: Sequence[str]) -> int:
    """Run the command as its own script does, tracebacks included."""
    app = import_module(command.module).app
    try:
        app(list(args), prog_name=command.name)
    except SystemExit as end:
        return _status(end)
    except Exception as error:  # noqa: BLE001 - mini's edge of the process: its own hook shows the traceback
        sys.excepthook(type(error), error, error.__traceback__)
        return FAILED
    return DONE


def _run_under_registry(command: MiniCommand, flags: ParsedFlags, run: Callable[[PreparedCommand], int]) -> int:
    """Run mini's own command with our model class among its parameters."""
    from typer.main import get_command

    module = import_module(command.module)
    parser = get_command(module.app)
    main: Callable[..., object] = parser.callback or module.main

    def start(**parameters: object) -> None:
        status = run(_prepare(command, module, main, parameters))
        if status != DONE:
            raise SystemExit(status)

    parser.callback = start
    try:
        parser.main(list(flags.args), prog_name=f"paymaster {command.our_name}")
    except SystemExit as end:
        return _status(end)
    return DONE


def _prepare(command: MiniCommand, module: ModuleType, main: Callable[..., object], parameters: Mapping[str, object]) -> PreparedCommand:
    """Add our model class and the model's name to the parameters, and open the client before mini starts anything."""
    specs = parameters["config_spec"]
    specs = [str(spec) for spec in specs] if isinstance(specs, list | tuple) else []
    config = merged(specs)
    section = section_of(config, "model")
    _check(command, config, parameters, module.DEFAULT_CONFIG_FILE.name)
    kind = model_class(str(parameters.get("model_class") or section.get("model_class") or ""), config)
    name = parameters.get(command.model_parameter) or model_name_in(specs) or DEFAULT
    summary = SpendSummary()
    CLIENTS.listeners = (summary, WaitLines(lambda line: write_stderr(f"Paymaster: {line}")))
    model_classes = import_module(TOOL_MODEL.rpartition(".")[0])
    keys = {key: value for key, value in section.items() if key not in {"model_class", "model_name"}}
    model = getattr(model_classes, kind.rpartition(".")[2])(**keys, model_name=name)
    model.require_usable_model([str(text) for text in _templates(section_of(config, "agent"))])
    shown_name = model.client.registry.default if name == DEFAULT else name  # the name in predictions and trajectories
    new_parameters = {**parameters, "model_class": kind, command.model_parameter: shown_name}
    return PreparedCommand(module, main, new_parameters, specs, model.config, model.client, summary)


def _templates(agent: Mapping[str, object]) -> list[object]:
    """The templates of the first two messages."""
    return [agent.get(f"{message}_template") or "" for message in ("system", "instance")]


def _check(command: MiniCommand, config: Mapping[str, object], parameters: Mapping[str, object], default_config: str) -> None:
    """Look for mistakes in mini's flags and config. A flag wins over the config, and the config over the command's default."""

    def chosen(kind: str, default: str) -> str:
        key = f"{kind}_class"
        return str(parameters.get(key) or section_of(config, kind).get(key) or default)

    agent, environment = chosen("agent", command.agent), chosen("environment", command.environment)
    check_config(config, agent=agent, environment=environment, default_config=default_config)


def _status(end: SystemExit) -> int:
    return end.code if isinstance(end.code, int) else DONE if end.code is None else FAILED
