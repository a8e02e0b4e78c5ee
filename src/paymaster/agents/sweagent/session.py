"""The session of a SWE-agent process: its client, the instance of each thread, the spending, and the budget that stopped it.

It knows Paymaster's client, and that each instance runs in a thread; it knows none of SWE-agent's code.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.agents.clients import with_long_waits
from paymaster.agents.spend_summary import SpendSummary, budget_lines, is_per_instance
from paymaster.client import Client
from paymaster.errors import BudgetExceeded, NoModelFits
from paymaster.flow.events import AttemptFailed, AttemptSettled, Event
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.routing.failures import FailureKind
from paymaster.routing.planning import SkipCause, plan, resolve
from paymaster.routing.requests import Request

if TYPE_CHECKING:
    from paymaster.options import ClientSettings
    from paymaster.registry.models import Registry

AGENT = "agent"


@dataclass(slots=True)
class InstanceState:
    """The state of one instance: whether it has had an answer, and the refusal of a budget that ended it."""

    instance: str | None = None
    answered: bool = False
    refused_by: BudgetExceeded | None = None


@dataclass(slots=True)
class RequestCost:
    """The cost of one request, answered or not: nano-dollars, tokens as the providers counted them, and the failures of its attempts."""

    cost_nanousd: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    failures: list[str] = field(default_factory=list)


class Session:
    """Makes the calls of many agents in many threads.

    `spent_nanousd` is the spending of this process. `stopped_by` is the refusal of a hard budget that is wider than one instance: after it
    no instance begins, and those that have begun continue as long as the budget allows their calls.
    """

    def __init__(self, registry: "Registry", settings: "ClientSettings", *, batched: bool) -> None:
        self._summary = SpendSummary()
        self._lock = threading.Lock()
        self._request_cost: ContextVar[RequestCost | None] = ContextVar("paymaster_request_cost", default=None)
        self._instance_state: ContextVar[InstanceState | None] = ContextVar("paymaster_instance_state", default=None)
        self._role: ContextVar[str] = ContextVar("paymaster_role", default=AGENT)
        self._shared_state = InstanceState()
        self._counter = TokenCounter()
        self.batched = batched
        self.spent_nanousd = 0
        self.stopped_by: BudgetExceeded | None = None
        self._interrupted: dict[str, None] = {}
        options: ClientSettings = {**settings, "listeners": (*settings.get("listeners", ()), self._summary, self._on_event)}
        self.client = Client(with_long_waits(registry), **options)

    # ---------------------------------------------------------------------------------------------- the instance of a thread

    @property
    def instance_state(self) -> InstanceState:
        """The state of this thread's instance."""
        return self._instance_state.get() or self._shared_state

    def begin_instance(self, instance: str) -> None:
        """Attribute this thread's calls to this instance from now on."""
        self._instance_state.set(InstanceState(instance))

    def end_instance(self) -> None:
        """This thread's instance is done."""
        self._instance_state.set(None)

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
        request_cost: RequestCost,
        messages: Sequence[JsonObject],
        *,
        model: str,
        tools: Sequence[JsonObject],
        params: Mapping[str, object],
    ) -> Reply:
        """One request through `Client.complete`. `request_cost` gets its cost, even if it raises. Raises what `Client.complete` raises.

        An instance that a budget has refused stays refused, and no instance begins once the session is stopped: the same refusal is raised
        without another call.
        """
        instance_state = self.instance_state
        if (refusal := instance_state.refused_by or (None if instance_state.answered else self.stopped_by)) is not None:
            raise refusal
        token = self._request_cost.set(request_cost)
        try:
            with self.client.scope(instance=instance_state.instance, role=self._role.get()):
                reply = self.client.complete(messages, model=model, tools=tools, deadline_s=None, max_wait_s=None, **params)
        except BudgetExceeded as error:
            self.record_refusal(error)
            raise
        finally:
            self._request_cost.reset(token)
            with self._lock:
                self.spent_nanousd += request_cost.cost_nanousd
        instance_state.answered = True
        return reply

    def record_refusal(self, error: BudgetExceeded) -> None:
        """End this thread's instance. If the budget is wider than one instance, let no other begin."""
        instance_state = self.instance_state
        instance_state.refused_by = error
        stops_session = not self.is_per_instance(error)
        with self._lock:
            if stops_session:
                self.stopped_by = self.stopped_by or error
            if instance_state.answered and instance_state.instance is not None:
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

    def is_too_long(self, error: NoModelFits, messages: Sequence[JsonObject], *, model: str, tools: Sequence[JsonObject]) -> bool:
        """Whether no model fits because the prompt is too long."""
        request = Request(messages=messages, model=model, tools=tuple(tools))
        skipped = plan(request, self.client.registry, self.client.current_scope, _now_ms(), self._counter).skipped
        return bool(error.reasons) and any(model.cause is SkipCause.CONTEXT for model in skipped)

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
        """Every event is emitted in the thread of its call."""
        request_cost = self._request_cost.get()
        match event:
            case _ if request_cost is None:
                pass
            case AttemptSettled():
                request_cost.cost_nanousd += event.cost_nanousd
                request_cost.prompt_tokens += event.input_tokens + event.cache_read_tokens + event.cache_write_tokens
                request_cost.output_tokens += event.output_tokens
            case AttemptFailed():
                request_cost.cost_nanousd += event.cost_nanousd
                request_cost.failures.append(event.failure)
            case _:
                pass


def was_too_long(request_cost: RequestCost) -> bool:
    """Whether a provider refused the prompt as too long."""
    return FailureKind.CONTEXT_TOO_LONG.value in request_cost.failures


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
