"""The session of a SWE-agent process: its client, the instance of each thread, the spending, and the budget that stopped it.

It knows Paymaster's client, and that each instance runs in a thread; it knows none of SWE-agent's code.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.agents.batch_client import AgentClient, BatchClient
from paymaster.agents.call_endings import ASKED_AGAIN, Ending, Tally, ending_of
from paymaster.agents.clients import with_long_waits
from paymaster.agents.spend_summary import SpendSummary, budget_lines, is_per_instance
from paymaster.agents.stderr import write_stderr
from paymaster.agents.stop_signals import Stop
from paymaster.client import Client
from paymaster.errors import BudgetExceeded, PaymasterError
from paymaster.flow.events import Event
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.routing.chains import resolve
from paymaster.telemetry.wait_lines import WaitLines

if TYPE_CHECKING:
    from paymaster.options import ClientSettings
    from paymaster.registry.models import Registry

AGENT = "agent"


@dataclass(slots=True)
class InstanceState:
    """The state of one instance: its answers, how its last call ended it (DONE if it was answered), its last error, a budget's refusal."""

    instance: str | None = None
    answers: int = 0
    ending: Ending = Ending.DONE
    completed: bool = False
    failure: PaymasterError | None = None
    refused_by: BudgetExceeded | None = None


class Session:
    """Makes the calls of many agents in many threads.

    `spent_nanousd` is the spending of this process. `stopped_by` is the refusal of a hard budget that is wider than one instance: after it
    no instance begins, and those that have begun continue as long as the budget allows their calls.
    """

    def __init__(self, registry: "Registry", settings: "ClientSettings", *, batched: bool) -> None:
        self._summary = SpendSummary()
        self._lock = threading.Lock()
        self._tally: ContextVar[Tally | None] = ContextVar("paymaster_request_tally", default=None)
        self._instance_state: ContextVar[InstanceState | None] = ContextVar("paymaster_instance_state", default=None)
        self._role: ContextVar[str] = ContextVar("paymaster_role", default=AGENT)
        self._shared_state = InstanceState()
        self._counter = TokenCounter()
        self.batched = batched
        self.spent_nanousd = 0
        self.stopped_by: BudgetExceeded | None = None
        self.stop = Stop()
        self.not_begun: Callable[[], Sequence[str]] = tuple  # the instances without a trajectory
        self._interrupted: dict[str, None] = {}
        self._instances: dict[str, InstanceState] = {}
        wait_lines = WaitLines(lambda line: write_stderr(f"Paymaster: {line}"))
        options: ClientSettings = {**settings, "listeners": (*settings.get("listeners", ()), self._summary, self._on_event, wait_lines)}
        self.client: AgentClient = (BatchClient if batched else Client)(with_long_waits(registry), **options)

    # ---------------------------------------------------------------------------------------------- the instance of a thread

    @property
    def instance_state(self) -> InstanceState:
        """The state of this thread's instance."""
        return self._instance_state.get() or self._shared_state

    def begin_instance(self, instance: str) -> None:
        """Attribute this thread's calls to this instance from now on."""
        state = self._instances[instance] = InstanceState(instance)
        self._instance_state.set(state)

    def end_instance(self) -> None:
        """This thread's instance has its result."""
        self.instance_state.completed = True
        self._instance_state.set(None)

    @property
    def will_be_asked_again(self) -> bool:
        """Whether what ended this thread's instance says nothing about it, so that the same command does it again."""
        return self.stop.at_once or self.instance_state.ending in ASKED_AGAIN

    def endings(self) -> dict[str, Ending]:
        """How the instances of this process ended that had no result before."""
        return {
            **dict.fromkeys(self.not_begun(), Ending.NOT_BEGUN),
            **{name: self._ending(state) for name, state in self._instances.items()},
        }

    def failures(self) -> dict[str, PaymasterError]:
        """The last error of each instance that had one."""
        return {name: state.failure for name, state in self._instances.items() if state.failure is not None}

    @property
    def answers(self) -> int:
        """The answers of all instances."""
        return sum(state.answers for state in self._instances.values())

    def _ending(self, state: InstanceState) -> Ending:
        if state.ending is Ending.BUDGET:
            return Ending.BUDGET if state.answers or state.completed else Ending.NOT_BEGUN
        if state.ending is not Ending.DONE or state.completed:
            return state.ending
        return Ending.FAILED if self.stop.number is None else Ending.CUT_OFF

    @contextmanager
    def as_role(self, role: str) -> Iterator[None]:
        """Make the calls inside the block as `agent`, `reviewer` or `chooser`."""
        token = self._role.set(role)
        try:
            yield
        finally:
            self._role.reset(token)

    # ------------------------------------------------------------------------------------------------------------- calls

    def complete(
        self,
        tally: Tally,
        messages: Sequence[JsonObject],
        *,
        model: str,
        tools: Sequence[JsonObject],
        params: Mapping[str, object],
    ) -> Reply:
        """One request through `Client.complete`. `tally` gets its cost, even if it raises. Raises what `Client.complete` raises.

        An instance that a budget has refused stays refused, and no instance begins once the session is stopped: the same refusal is raised
        without another call.
        """
        instance_state = self.instance_state
        if (refusal := instance_state.refused_by or (None if instance_state.answers else self.stopped_by)) is not None:
            instance_state.ending = Ending.BUDGET
            raise refusal
        token = self._tally.set(tally)
        try:
            with self.client.scope(instance=instance_state.instance, role=self._role.get()):
                reply = self.client.complete(
                    messages, model=model, tools=tools, deadline_s=None, max_wait_s=None, stream_recovery=None, **params
                )
        except PaymasterError as error:
            instance_state.ending, instance_state.failure = ending_of(error, tally), error
            if isinstance(error, BudgetExceeded):
                self.record_refusal(error)
            raise
        except KeyboardInterrupt:
            instance_state.ending = Ending.CUT_OFF
            raise
        finally:
            self._tally.reset(token)
            with self._lock:
                self.spent_nanousd += tally.cost_nanousd
        instance_state.answers += 1
        instance_state.ending = Ending.DONE
        return reply

    def record_refusal(self, error: BudgetExceeded) -> None:
        """End this thread's instance. If the budget is wider than one instance, let no other begin."""
        instance_state = self.instance_state
        instance_state.refused_by, instance_state.ending = error, Ending.BUDGET
        stops_session = not self.is_per_instance(error)
        with self._lock:
            if stops_session:
                self.stopped_by = self.stopped_by or error
            if instance_state.answers and instance_state.instance is not None:
                self._interrupted.setdefault(instance_state.instance)

    def interrupted(self) -> list[str]:
        """The instances that a budget ended after their first answer, in order."""
        with self._lock:
            return list(self._interrupted)

    def is_per_instance(self, error: BudgetExceeded) -> bool:
        """Whether the budget that refused the call is one that each instance has for itself."""
        return is_per_instance(self.client, self.instance_state.instance or "-", error)

    def likely_tokens(self, model: str, messages: Sequence[JsonObject]) -> int:
        """The most likely token count of the prompt for this model."""
        registry = self.client.registry
        return self._counter.count(messages, (), registry.models[resolve(registry, model)].tokenizer).likely_tokens

    # --------------------------------------------------------------------------------------------------------- reporting

    def progress(self) -> str:
        """The money spent, held and left, the waits and the fallbacks so far, in one line. Raises LedgerUnavailable."""
        return self._summary.progress(self.client)

    def spend_lines(self) -> Iterator[str]:
        """The spending of this process by model, and the run's budgets; for the end of a run."""
        yield from self._summary.lines()
        yield from budget_lines(self.client)

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def _on_event(self, event: Event) -> None:
        """Every event is emitted with the context variables of its call."""
        if (tally := self._tally.get()) is not None:
            tally.record(event)
