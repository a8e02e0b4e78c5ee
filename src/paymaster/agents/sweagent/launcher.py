"""`paymaster sweagent`: runs SWE-agent's own command in this process with its models under a registry; knows its words, not its agents.

Without a registry, and for every command that calls no model, SWE-agent runs as if it had been called by its own name.
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

from paymaster.agents.flags import Taken, take_flags
from paymaster.agents.stderr import StandardError
from paymaster.agents.sweagent.config import Separated, asks_for_default, command_of, config_files, may_hold_registry, separate
from paymaster.errors import ExtraMissing, PaymasterError, UsageMistake
from paymaster.registry.overrides import Overrides, flag_of, read_overrides, variable_of

# What only a run under a registry needs is imported when there is one.
if TYPE_CHECKING:
    from paymaster.agents.sweagent.patches import Asked
    from paymaster.agents.sweagent.session import Session
    from paymaster.options import Settings
    from paymaster.registry.completing import Sources
    from paymaster.registry.models import Registry

DONE, FAILED = 0, 1
OLDEST_SWEAGENT = (1, 1)
_INSTALL = "Install it from its repository: git clone https://github.com/SWE-agent/SWE-agent && pip install --editable ./SWE-agent"
_LOGGER = logging.getLogger("paymaster.agents")


def main(args: Sequence[str]) -> int:
    """Run `sweagent` with these words and return the exit status: 0 done, 1 failed, 2 a mistake in the words, 130 Ctrl-C.

    Raises PaymasterError, BudgetExceeded among them: its message says how to go on. Ctrl-C may also be raised as what it is.
    """
    taken = take_flags(args)
    command = command_of(taken.rest)
    _require_sweagent()
    if command is None:
        return _run(args)
    files = config_files(taken.rest)
    if not _has_registry(taken) and not may_hold_registry(files):
        return _run_without_registry(taken, args)
    with tempfile.TemporaryDirectory(prefix="paymaster-") as directory:
        separated = separate(taken.rest, files, Path(directory))
        if separated.document is None and not _has_registry(taken):
            return _run_without_registry(taken, args)
        _show_log(taken.verbosity)
        premises = _premises(taken, separated)
        words = list(separated.words)
        if command != "shell" and asks_for_default(words, separated, _default_config()):
            words.append("--agent.model.name=default")
        return _run_under_registry(command, words, premises)


def _show_log(verbosity: int) -> None:
    from paymaster.telemetry.logs import configure_logging

    configure_logging(verbosity, cast("TextIO", StandardError()))


def _require_sweagent() -> None:
    spec = find_spec("sweagent")
    if spec is None or spec.origin is None:  # a folder of that name is no SWE-agent
        raise ExtraMissing("SWE-agent is not installed in this environment", advice=_INSTALL)
    try:
        version = metadata.version("sweagent")
    except metadata.PackageNotFoundError:
        return  # a checkout on the path: what it can't do shows when it runs
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST_SWEAGENT:
        oldest = ".".join(map(str, OLDEST_SWEAGENT))
        raise ExtraMissing(f"SWE-agent {version} is too old; {oldest} or later is needed", advice=_INSTALL)


def _has_registry(taken: Taken) -> bool:
    """Whether a flag or the environment names a registry."""
    return "model_registry" in taken.settings or bool(os.environ.get(variable_of("model_registry"), "").strip())


def _default_config() -> Path | None:
    """The config that SWE-agent reads where none is named."""
    spec = find_spec("sweagent")
    if directory := os.environ.get("SWE_AGENT_CONFIG_DIR"):
        path = Path(directory) / "default.yaml"
    elif spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent.parent / "config" / "default.yaml"
    else:
        return None
    return path if path.is_file() else None


# ------------------------------------------------------------------------------------------------------- without a registry


def _run_without_registry(taken: Taken, args: Sequence[str]) -> int:
    if taken.settings:
        named = ", ".join(flag_of(name) for name in taken.settings)
        advice = f"Name one with --model-registry or {variable_of('model_registry')}, or put model_registry: into a config."
        raise UsageMistake(f"{named}: no model registry", advice=advice)
    return _run(args)


def _run(words: Sequence[str]) -> int:
    """Run SWE-agent as its own script does, down to its tracebacks."""
    try:
        status = import_module("sweagent.run.run").main(list(words))
    except SystemExit as end:
        return _status(end.code)
    except PaymasterError:
        raise
    except Exception as error:  # noqa: BLE001  this is SWE-agent's edge of the process, and its own script shows what it let through
        sys.excepthook(type(error), error, error.__traceback__)
        return FAILED
    return _status(status)


def _status(code: object) -> int:
    return code if isinstance(code, int) else DONE if code is None else FAILED


# ---------------------------------------------------------------------------------------------------------- under a registry


@dataclass(slots=True)
class _Premises:
    """What a till is opened with, once SWE-agent's config is known, and the till."""

    registry: "Registry"
    overrides: Overrides
    sources: "Sources"
    settings: Mapping[str, str]
    batched: bool = False
    session: "Session | None" = field(default=None)

    def open_session(self, asked: "Asked") -> "Session":
        """Raises UsageMistake, RegistryInvalid, KeyMissing, LedgerUnusable."""
        from paymaster.agents.sweagent.registry import arrange
        from paymaster.agents.sweagent.session import Session

        arranged = arrange(
            self.registry,
            asked.models,
            self.overrides,
            self.sources,
            loop_limit_usd=asked.loop_limit_usd,
            provider_of=_provider_by_litellm,
        )
        for warning in (*arranged.registry.warnings, *arranged.notes):
            _LOGGER.warning("%s", warning)
        self.session = Session(arranged.registry, self._client_settings(arranged.keys), batched=self.batched)
        return self.session

    def _client_settings(self, keys: Mapping[str, str]) -> "Settings":
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


def _premises(taken: Taken, separated: Separated) -> _Premises:
    """The registry, read and checked before SWE-agent is even imported. Flag over environment over config file."""
    from paymaster.accounting.prices.catalogue import Catalogue
    from paymaster.registry.completing import Sources
    from paymaster.registry.loading import load_registry, read_registry
    from paymaster.registry.model_data import ModelData

    overrides = read_overrides(taken.settings, os.environ)
    at = datetime.now(UTC)
    sources = Sources(catalogue=Catalogue(), model_data=ModelData(), environ=os.environ, at=at, directory=separated.directory)
    if overrides.model_registry is None and separated.document is not None:
        registry = read_registry(separated.document, overrides, sources)
    elif overrides.model_registry is not None:
        if separated.document is not None:
            origin = overrides.origins["model_registry"]
            _LOGGER.warning("the model_registry: of %s is not used: %s names another", separated.document.file, origin)
        path = Path(overrides.model_registry).expanduser()
        registry = load_registry(path, overrides, catalogue=sources.catalogue, model_data=sources.model_data, environ=os.environ, at=at)
    else:
        raise UsageMistake("no model registry")
    return _Premises(registry, overrides, sources, taken.settings)


def _provider_by_litellm(name: str) -> str | None:
    """Who litellm would ask for a model of this name. SWE-agent has imported it by then."""
    litellm = import_module("litellm")
    try:
        _, provider, _, _ = litellm.get_llm_provider(name)
    except litellm.exceptions.BadRequestError:
        return None
    return str(provider)


def _run_under_registry(command: str, words: Sequence[str], premises: _Premises) -> int:
    # Prices are the registry's: litellm need not look for its own on the network when SWE-agent imports it.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    premises.batched = command == "run-batch"
    seam = import_module("paymaster.agents.sweagent.patches")
    try:
        with seam.installed(command, premises.open_session):
            status = _run(words)
        return _judge(premises, status)
    finally:
        if premises.session is not None:
            premises.session.close()


def _judge(premises: _Premises, status: int) -> int:
    """How the run ended. Raises BudgetExceeded where a hard budget ended it."""
    session = premises.session
    if session is None:
        return status
    if premises.batched:
        sys.stderr.write("\n")  # SWE-agent's progress display leaves its last line open where no terminal shows it
    for line in session.spend_lines():
        sys.stderr.write(f"Paymaster: {line}\n")
    if session.stopped_by is not None:
        from paymaster.agents.spend_summary import with_way_on

        raise with_way_on(session.stopped_by, "\n".join(_way_on(premises, session)))
    return status


def _way_on(premises: _Premises, session: "Session") -> Iterator[str]:
    """What a hard budget left behind, and how to go on after it."""
    from paymaster.agents.spend_summary import same_account

    scope, cut_off = session.client.current_scope, session.cut_off()
    where = f" --state-dir {shlex.quote(premises.settings['state_dir'])}" if "state_dir" in premises.settings else ""
    again = f"the same command with a larger budget and {same_account(scope)}"
    if premises.batched:
        if cut_off:
            # First, because SWE-agent then writes a preds.json of these alone; the command without a filter merges all of them again.
            names = "|".join(re.escape(name).replace(r"\-", "-") for name in cut_off)
            redo = f"first {again} --redo_existing=True --instances.filter='^({names})$'"
            yield f"Cut off, with the work so far submitted: {', '.join(cut_off)}. To do them anew: {redo}"
        yield f"Instances that had not begun left nothing behind. To go on with them: {again}, and the same --output_dir"
    else:
        yield f"What the agent had done by then is submitted. To do it anew: {again}"
    whose = f"--batch-id {scope.batch}" if scope.batch else f"--run-id {scope.run}"
    yield f"Where the money went: paymaster report --by instance {whose}{where}"


def _as_program() -> int:
    """`python -m paymaster.agents.sweagent.launcher …`."""
    try:
        return main(sys.argv[1:])
    except PaymasterError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(_as_program())
