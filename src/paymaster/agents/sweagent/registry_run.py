"""Runs one command of SWE-agent under a registry, and reports how it ended; knows sessions and exit statuses, not SWE-agent's agents."""

import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.agents.batch_client import BatchClient
from paymaster.agents.call_endings import ASKED_AGAIN, all_went_well, failure_lines, listed, summary_lines
from paymaster.agents.flags import ParsedFlags
from paymaster.agents.model_checks import ModelNeed, require_usable_models
from paymaster.agents.spend_summary import resume_flags, with_next_steps
from paymaster.agents.stderr import write_stderr
from paymaster.agents.stop_signals import Stop, raise_stop, stopping_batch, stopping_run
from paymaster.agents.sweagent.config import SplitCommand
from paymaster.agents.sweagent.registry import RequestedModel, prepare_registry, without_function_calling
from paymaster.agents.sweagent.session import Session
from paymaster.errors import UsageMistake
from paymaster.jsontypes import JsonObject
from paymaster.options import state_directory
from paymaster.price_store.opening import open_catalogue
from paymaster.registry.completing import Sources
from paymaster.registry.loading import load_registry, read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.models import Registry
from paymaster.registry.overrides import Overrides, read_overrides

if TYPE_CHECKING:
    from paymaster.agents.sweagent.patches import ModelRequest
    from paymaster.options import ClientSettings

DONE, FAILED = 0, 1
_LOGGER = logging.getLogger("paymaster.agents")


@dataclass(slots=True)
class LaunchPlan:
    """What a session is opened with, once SWE-agent has read its config; and the session."""

    registry: Registry
    overrides: Overrides
    sources: Sources
    settings: Mapping[str, str]
    batched: bool = False
    stop: Stop = field(default_factory=Stop)
    session: Session | None = field(default=None)

    def open_session(self, requested: "ModelRequest") -> Session:
        """Open the session, and check that its models can serve. Raises UsageMistake, RegistryInvalid, LedgerUnusable."""
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
        self.session.stop = self.stop
        advice = without_function_calling(self.overrides.model_registry)
        require_usable_models(self.session.client, [_need(model, advice) for model in requested.models])
        return self.session

    def end_calls(self) -> None:
        """End the open calls of a batch, settled."""
        if self.session is not None and isinstance(self.session.client, BatchClient):
            self.session.client.end_calls()

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


_SOME_TOOL: JsonObject = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object", "properties": {}}}}
"""Stands for the agent's tools: which ones they are makes no difference to who can call them."""


def _need(requested: RequestedModel, without_tools: str) -> ModelNeed:
    return ModelNeed(
        model=requested.name,
        role=f"{requested.setting} = {requested.name}",
        tools=(_SOME_TOOL,) if requested.calls_functions else (),
        params=requested.params,
        prompt=requested.prompt,
        without_tools=without_tools,
    )


def read_plan(flags: ParsedFlags, split: SplitCommand) -> LaunchPlan:
    """Read and check the registry, before SWE-agent is imported. A flag wins over the environment, and that over a config file."""
    overrides = read_overrides(flags.settings, os.environ)
    at = datetime.now(UTC)
    catalogue, edition = open_catalogue(state_directory(overrides.state_dir), overrides.run_id)
    sources = Sources(catalogue=catalogue, model_data=ModelData(), environ=os.environ, at=at, directory=split.directory)
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
    return LaunchPlan(replace(registry, catalogue=edition), overrides, sources, flags.settings)


def _litellm_provider(name: str) -> str | None:
    """The provider that litellm would call for a model of this name. SWE-agent has imported litellm by then."""
    litellm = import_module("litellm")
    try:
        _, provider, _, _ = litellm.get_llm_provider(name)
    except litellm.exceptions.BadRequestError:
        return None
    return str(provider)


def run_under_registry(command: str, args: Sequence[str], plan: LaunchPlan, run: Callable[[Sequence[str]], int]) -> int:
    """Run the command with `run`, and return the exit status.

    Raises UsageMistake before anything starts, BudgetExceeded if a hard budget ended it, KeyboardInterrupt after Ctrl-C, and SystemExit.
    """
    # Prices come from the registry: litellm must not fetch its own from the network when SWE-agent imports it.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    plan.batched = command == "run-batch"
    patches = import_module("paymaster.agents.sweagent.patches")
    status = DONE
    try:
        try:
            with (
                stopping_batch(plan.end_calls) if plan.batched else stopping_run() as plan.stop,
                patches.installed(command, plan.open_session),
            ):
                status = run(args)
        except (KeyboardInterrupt, SystemExit):  # a signal, also while SWE-agent is imported
            if plan.stop.number is None:
                raise
        return _finish(plan, status)
    finally:
        if plan.session is not None:
            plan.session.close()


def _finish(plan: LaunchPlan, status: int) -> int:
    """Report the spending and how instances ended, and return the exit status. Raises BudgetExceeded if a hard budget ended the run."""
    session = plan.session
    if session is None:
        if plan.stop.number is not None:
            raise_stop(plan.stop, "Nothing was begun.")
        return status
    if plan.batched:
        write_stderr("")  # without a terminal, SWE-agent's progress display does not end its last line
    for line in session.spend_lines():
        write_stderr(f"Paymaster: {line}")
    endings = session.endings()
    for line in (*(summary_lines(endings) if plan.batched else ()), *failure_lines(session.failures(), endings)):
        write_stderr(line)
    again = _resumed(plan, session)
    if plan.stop.number is not None:
        raise_stop(plan.stop, f"To do the rest: {again}" if plan.batched else f"To redo the run: {again}")
    if session.stopped_by is not None:
        raise with_next_steps(session.stopped_by, "\n".join(_next_steps(plan, session)))
    if all_went_well(endings, answers=session.answers):
        return status
    unfinished = sorted(name for name, ending in endings.items() if ending in ASKED_AGAIN)
    if unfinished:
        write_stderr(f"No model answered for {listed(unfinished)}: {again} does {'them' if plan.batched else 'it'} again.")
    else:
        redo = " --redo_existing=True" if plan.batched else ""
        write_stderr(f"No {'instance' if plan.batched else 'call'} had an answer. To ask again, once the cause is fixed: {again}{redo}")
    return status or FAILED


def _resumed(plan: LaunchPlan, session: Session) -> str:
    """The command that does the rest."""
    flags = resume_flags(session.client.current_scope)
    return f"the same command with {flags} and the same --output_dir" if plan.batched else f"the same command with {flags}"


def _next_steps(plan: LaunchPlan, session: Session) -> Iterator[str]:
    """What is done, and the commands to continue after a hard budget ended the run."""
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
