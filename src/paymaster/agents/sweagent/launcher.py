"""`paymaster sweagent`: runs SWE-agent's own command in this process with its models under a registry; knows its flags, not its agents.

Without a registry, and for commands that call no model, SWE-agent runs as if it had been called by its own name.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO, cast

from paymaster.agents.flags import ParsedFlags, parse_flags
from paymaster.agents.stderr import StandardError, write_stderr
from paymaster.agents.sweagent.config import COMMANDS, command_of, config_files, may_hold_registry, needs_default_model, split_command
from paymaster.errors import ExtraMissing, PaymasterError, UsageMistake
from paymaster.registry.overrides import flag_of, variable_of

DONE, FAILED = 0, 1
OLDEST_SWEAGENT = (1, 1)
_INSTALL = "Install it from its repository: git clone https://github.com/SWE-agent/SWE-agent && pip install --editable ./SWE-agent"


def main(args: Sequence[str]) -> int:
    """Run `sweagent` with these arguments and return the exit status: 0 done, 1 failed, 2 wrong arguments, 143 SIGTERM.

    Raises PaymasterError; for BudgetExceeded the message has the next steps. Ctrl-C is raised as KeyboardInterrupt.
    """
    if COMMANDS.keys().isdisjoint(args):
        _require_sweagent()
        return _run(args)
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
        from paymaster.agents.sweagent.registry_run import read_plan, run_under_registry

        plan = read_plan(flags, split)
        sweagent_args = list(split.args)
        if command != "shell" and needs_default_model(sweagent_args, split, _default_config()):
            sweagent_args.append("--agent.model.name=default")
        return run_under_registry(command, sweagent_args, plan, _run)


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


def _as_program() -> int:
    """`python -m paymaster.agents.sweagent.launcher …`."""
    try:
        return main(sys.argv[1:])
    except PaymasterError as error:
        write_stderr(str(error))
        return error.exit_status


if __name__ == "__main__":
    sys.exit(_as_program())
