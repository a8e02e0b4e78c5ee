"""`paymaster sweagent`: runs SWE-agent's own command in this process with its models under a registry; knows its flags, not its agents.

Without a registry, and for commands that call no model, SWE-agent runs as if it had been called by its own name.
"""

import logging
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from paymaster.agents.flags import ParsedFlags, parse_flags
from paymaster.agents.stderr import StandardError, write_stderr
from paymaster.agents.sweagent.config import SplitCommand, command_of, config_files, may_hold_registry, needs_default_model, split_command
from paymaster.errors import ExtraMissing, PaymasterError, UsageMistake
from paymaster.registry.overrides import Overrides, flag_of, read_overrides, variable_of

# Modules that only a run under a registry needs are imported when there is one.
if TYPE_CHECKING:
    from paymaster.agents.sweagent.patches import ModelRequest
    from paymaster.agents.sweagent.session import Session
    from paymaster.options import ClientSettings
    from paymaster.registry.completing import Sources
    from paymaster.registry.models import Registry

DONE, FAILED = 0, 1
OLDEST_SWEAGENT = (1, 1)
_INSTALL = "Install it from its repository: git clone https://github.com/SWE-agent/SWE-agent && pip install --editable ./SWE-agent"
_LOGGER = logging.getLogger("paymaster.agents")


def main(args: Sequence[str]) -> int:
    """Run `sweagent` with these arguments and return the exit status: 0 done, 1 failed, 2 wrong arguments, 130 Ctrl-C.

    Raises PaymasterError; for BudgetExceeded the message has the next steps. Ctrl-C may also be raised as KeyboardInterrupt.
    """
    flags = parse_flags(args)
    command = command_of(flags.args)
    _require_sweagent()
    if command is None:
        return _run(args)
    files = config_files(flags.args)
    if not _has_registry(flags) and not may_hold_registry(files):
        return _run_without_registry(flags, args)
    with tempfile.TemporaryDirectory(prefix="paymaster-") as directory:
        split = split_command(flags.args, files, Path(directory))
        if split.document is None and not _has_registry(flags):
            return _run_without_registry(flags, args)
        _show_log(flags.verbosity)
        plan = read_plan(flags, split)
        sweagent_args = list(split.args)
        if command != "shell" and needs_default_model(sweagent_args, split, _default_config()):
            sweagent_args.append("--agent.model.name=default")
        return _run_under_registry(command, sweagent_args, plan)


def _show_log(verbosity: int) -> None:
    from paymaster.telemetry.logs import configure_logging

    configure_logging(verbosity, cast("TextIO", StandardError()))


def _require_sweagent() -> None:
    spec = find_spec("sweagent")
    if spec is None or spec.origin is None:  # a directory of that name is not SWE-agent
        raise ExtraMissing("SWE-agent is not installed in this environment", advice=_INSTALL)
    try:
        version = metadata.version("sweagent")
    except metadata.PackageNotFoundError:
        return  # a checkout on the path, whose version is not known
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST_SWEAGENT:
        oldest = ".".join(map(str, OLDEST_SWEAGENT))
        raise ExtraMissing(f"SWE-agent {version} is too old; {oldest} or later is needed", advice=_INSTALL)


def _has_registry(flags: ParsedFlags) -> bool:
    """Whether a flag or the environment names a registry."""
    return "model_registry" in flags.settings or bool(os.environ.get(variable_of("model_registry"), "").strip())


def _default_config() -> Path | None:
    """The config that SWE-agent reads without `--config`."""
    spec = find_spec("sweagent")
    if directory := os.environ.get("SWE_AGENT_CONFIG_DIR"):
        path = Path(directory) / "default.yaml"
    elif spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent.parent / "config" / "default.yaml"
    else:
        return None
    return path if path.is_file() else None


# ------------------------------------------------------------------------------------------------------- without a registry


def _run_without_registry(flags: ParsedFlags, args: Sequence[str]) -> int:
    if flags.settings:
        names = ", ".join(flag_of(name) for name in flags.settings)
        advice = f"Name one with --model-registry or {variable_of('model_registry')}, or add model_registry: to a config."
        raise UsageMistake(f"{names}: no model registry", advice=advice)
    return _run(args)


def _run(args: Sequence[str]) -> int:
    """Run SWE-agent as its own script does, tracebacks included."""
    try:
        status = import_module("sweagent.run.run").main(list(args))
    except SystemExit as end:
        return _status(end.code)
    except PaymasterError:
        raise
    except Exception as error:  # noqa: BLE001  SWE-agent's edge of the process: its own script shows the traceback too
        sys.excepthook(type(error), error, error.__traceback__)
        return FAILED
    return _status(status)


def _status(code: object) -> int:
    return code if isinstance(code, int) else DONE if code is None else FAILED


# ---------------------------------------------------------------------------------------------------------- under a registry


@dataclass(slots=True)
class LaunchPlan:
    """What a session is opened with, once SWE-agent has read its config; and the session."""

    registry: "Registry"
    overrides: Overrides
    sources: "Sources"
    settings: Mapping[str, str]
    batched: bool = False
    session: "Session | None" = field(default=None)

    def open_session(self, requested: "ModelRequest") -> "Session":
        """Raises UsageMistake, RegistryInvalid, KeyMissing, LedgerUnusable."""
        from paymaster.agents.sweagent.registry import prepare_registry
        from paymaster.agents.sweagent.session import Session

        prepared = prepare_registry(
            self.registry,
            requested.models,
            self.overrides,
            self.sources,
            loop_limit_usd=requested.loop_limit_usd,
            provider_of=_litellm_provider,
        )
        for warning in (*prepared.registry.warnings, *prepared.notes):
            _LOGGER.warning("%s", warning)
        self.session = Session(prepared.registry, self._client_settings(prepared.keys), batched=self.batched)
        return self.session

    def _client_settings(self, keys: Mapping[str, str]) -> "ClientSettings":
        overrides = self.overrides
        return {
            "run": overrides.run_id,
            "batch": overrides.batch_id,
            "user": overrides.user,
            "ledger": overrides.ledger,
            "events": overrides.events,
            "state_dir": overrides.state_dir,
            "environ": {**os.environ, **keys},
        }


def read_plan(flags: ParsedFlags, split: SplitCommand) -> LaunchPlan:
    """Read and check the registry, before SWE-agent is imported. A flag wins over the environment, and that over a config file."""
    from paymaster.accounting.prices.catalogue import Catalogue
    from paymaster.registry.completing import Sources
    from paymaster.registry.loading import load_registry, read_registry
    from paymaster.registry.model_data import ModelData

    overrides = read_overrides(flags.settings, os.environ)
    at = datetime.now(UTC)
    sources = Sources(catalogue=Catalogue(), model_data=ModelData(), environ=os.environ, at=at, directory=split.directory)
    if overrides.model_registry is None and split.document is not None:
        registry = read_registry(split.document, overrides, sources)
    elif overrides.model_registry is not None:
        if split.document is not None:
            origin = overrides.origins["model_registry"]
            _LOGGER.warning("the model_registry: of %s is not used: %s names another one", split.document.file, origin)
        path = Path(overrides.model_registry).expanduser()
        registry = load_registry(path, overrides, catalogue=sources.catalogue, model_data=sources.model_data, environ=os.environ, at=at)
    else:
        raise UsageMistake("no model registry")
    return LaunchPlan(registry, overrides, sources, flags.settings)


def _litellm_provider(name: str) -> str | None:
    """The provider that litellm would call for a model of this name. SWE-agent has imported litellm by then."""
    litellm = import_module("litellm")
    try:
        _, provider, _, _ = litellm.get_llm_provider(name)
    except litellm.exceptions.BadRequestError:
        return None
    return str(provider)


def _run_under_registry(command: str, args: Sequence[str], plan: LaunchPlan) -> int:
    # Prices come from the registry: litellm must not fetch its own from the network when SWE-agent imports it.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    plan.batched = command == "run-batch"
    patches = import_module("paymaster.agents.sweagent.patches")
    try:
        with patches.installed(command, plan.open_session):
            status = _run(args)
        return _finish(plan, status)
    finally:
        if plan.session is not None:
            plan.session.close()


def _finish(plan: LaunchPlan, status: int) -> int:
    """Report the spending, and return the exit status. Raises BudgetExceeded if a hard budget ended the run."""
    session = plan.session
    if session is None:
        return status
    if plan.batched:
        write_stderr("")  # without a terminal, SWE-agent's progress display does not end its last line
    for line in session.spend_lines():
        write_stderr(f"Paymaster: {line}")
    if session.stopped_by is not None:
        from paymaster.agents.spend_summary import with_next_steps

        raise with_next_steps(session.stopped_by, "\n".join(_next_steps(plan, session)))
    return status


def _next_steps(plan: LaunchPlan, session: "Session") -> Iterator[str]:
    """What is done, and the commands to continue after a hard budget ended the run."""
    from paymaster.agents.spend_summary import resume_flags

    scope, interrupted = session.client.current_scope, session.interrupted()
    state_flag = f" --state-dir {shlex.quote(plan.settings['state_dir'])}" if "state_dir" in plan.settings else ""
    same_command = f"the same command with a larger budget and {resume_flags(scope)}"
    if plan.batched:
        if interrupted:
            # These first: SWE-agent then writes a preds.json of these alone, and the command without a filter merges all of them again.
            names = "|".join(re.escape(name).replace(r"\-", "-") for name in interrupted)
            redo = f"first {same_command} --redo_existing=True --instances.filter='^({names})$'"
            yield f"Interrupted, with the work so far submitted: {', '.join(interrupted)}. To redo them: {redo}"
        yield f"Instances that had not begun wrote nothing. To continue with them: {same_command}, and the same --output_dir"
    else:
        yield f"The agent's work so far is submitted. To redo the run: {same_command}"
    scope_flag = f"--batch-id {scope.batch}" if scope.batch else f"--run-id {scope.run}"
    yield f"Where the money went: paymaster report --by instance {scope_flag}{state_flag}"


def _as_program() -> int:
    """`python -m paymaster.agents.sweagent.launcher …`."""
    try:
        return main(sys.argv[1:])
    except PaymasterError as error:
        write_stderr(str(error))
        return error.exit_status


if __name__ == "__main__":
    sys.exit(_as_program())
