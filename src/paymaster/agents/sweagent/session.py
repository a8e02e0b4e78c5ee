"""The one till of a SWE-agent process: its client, who stands before it, what was paid, and whether a budget has closed it.

Knows Paymaster's client and that instances come and go in threads; knows no code of SWE-agent's.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.agents.clients import patient
from paymaster.agents.spend_summary import SpendSummary, budget_lines, is_of_instance
from paymaster.client import Client
from paymaster.errors import BudgetExceeded, LedgerUnavailable, NoModelFits
from paymaster.flow.events import AttemptFailed, AttemptSettled, Event
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.routing.failures import FailureKind
from paymaster.routing.planning import SkipCause, Skipped, plan, resolve
from paymaster.routing.requests import Request

if TYPE_CHECKING:
    from paymaster.options import Settings
    from paymaster.registry.models import Registry

AGENT = "agent"
_PROGRESS_S = 1.0


@dataclass(slots=True)
class InstanceState:
    """One instance's time at the till: whether it had an answer, and the refusal of a budget that ended it."""

    instance: str | None = None
    answered: bool = False
    refused_by: BudgetExceeded | None = None


@dataclass(slots=True)
class RequestCost:
    """What one request has cost, whatever came of it: nano-dollars, tokens as the providers counted them, and how attempts failed."""

    cost_nanousd: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    failures: list[str] = field(default_factory=list)


class Session:
    """Asks on behalf of many agents in many threads.

    `spent_nanousd` is what this process has spent. `stopped_by` is the refusal of a hard budget that is wider than one instance: from then
    on no instance begins, and those that have begun go on for as long as the budget pays for them.
    """

    def __init__(self, registry: "Registry", settings: "Settings", *, batched: bool) -> None:
        self._summary = SpendSummary()
        self._shown = 0.0, ""
        self._lock = threading.Lock()
        self._request_cost: ContextVar[RequestCost | None] = ContextVar("paymaster_slip", default=None)
        self._instance_state: ContextVar[InstanceState | None] = ContextVar("paymaster_visit", default=None)
        self._role: ContextVar[str] = ContextVar("paymaster_role", default=AGENT)
        self._anybody = InstanceState()
        self._counter = TokenCounter()
        self.batched = batched
        self.spent_nanousd = 0
        self.stopped_by: BudgetExceeded | None = None
        self._cut_off: dict[str, None] = {}
        heard: Settings = {**settings, "listeners": (*settings.get("listeners", ()), self._summary, self._hear)}
        self.client = Client(patient(registry), **heard)

    # ------------------------------------------------------------------------------------------------------ who is there

    @property
    def instance_state(self) -> InstanceState:
        """The instance of this thread."""
        return self._instance_state.get() or self._anybody

    def enter(self, instance: str) -> None:
        """From here on this thread works for this instance."""
        self._instance_state.set(InstanceState(instance))

    def leave(self) -> None:
        """The instance of this thread is done."""
        self._instance_state.set(None)

    @contextmanager
    def as_role(self, role: str) -> Iterator[None]:
        """Calls inside this block are made as `agent`, `reviewer` or `chooser`."""
        token = self._role.set(role)
        try:
            yield
        finally:
            self._role.reset(token)

    # ------------------------------------------------------------------------------------------------------------ asking

    def ask(
        self,
        request_cost: RequestCost,
        messages: Sequence[JsonObject],
        *,
        model: str,
        tools: Sequence[JsonObject],
        params: Mapping[str, object],
    ) -> Reply:
        """One request, through `Client.complete`; `request_cost` says what it cost, also where it raises. Raises what `complete` raises.

        An instance that a budget has refused stays refused, and none begins once the till is closed: those who ask are told so without
        asking again.
        """
        instance_state = self.instance_state
        if (refusal := instance_state.refused_by or (None if instance_state.answered else self.stopped_by)) is not None:
            raise refusal
        token = self._request_cost.set(request_cost)
        try:
            with self.client.scope(instance=instance_state.instance, role=self._role.get()):
                reply = self.client.complete(messages, model=model, tools=tools, deadline_s=None, **params)
        except BudgetExceeded as error:
            self.refuse(error)
            raise
        finally:
            self._request_cost.reset(token)
            with self._lock:
                self.spent_nanousd += request_cost.cost_nanousd
        instance_state.answered = True
        return reply

    def refuse(self, error: BudgetExceeded) -> None:
        """End this thread's instance, and, where the budget is wider than that, let none begin."""
        instance_state = self.instance_state
        instance_state.refused_by = error
        wide = not self.is_of_instance(error)
        with self._lock:
            if wide:
                self.stopped_by = self.stopped_by or error
            if instance_state.answered and instance_state.instance is not None:
                self._cut_off.setdefault(instance_state.instance)

    def cut_off(self) -> list[str]:
        """The instances that a budget ended after their first answer, in the order in which it did."""
        with self._lock:
            return list(self._cut_off)

    def is_of_instance(self, error: BudgetExceeded) -> bool:
        """Whether the budget that refused is one that each instance has for itself."""
        return is_of_instance(self.client, self.instance_state.instance or "-", error)

    def likely_tokens(self, model: str, messages: Sequence[JsonObject]) -> int:
        """The prompt's tokens as the model asked for would most likely count them."""
        registry = self.client.registry
        return self._counter.count(messages, (), registry.models[resolve(registry, model)].tokenizer).likely_tokens

    def is_too_long(self, error: NoModelFits, messages: Sequence[JsonObject], *, model: str, tools: Sequence[JsonObject]) -> bool:
        """Whether it was the prompt's length that no model fits."""
        request = Request(messages=messages, model=model, tools=tuple(tools))
        skipped = plan(request, self.client.registry, self.client.current_scope, _now_ms(), self._counter).skipped
        return bool(error.reasons) and any(_is_context(passed) for passed in skipped)

    # --------------------------------------------------------------------------------------------------------- reporting

    def progress(self) -> str:
        """What is spent, held and left, the waits and fallbacks so far, in one line; looked up at most once a second."""
        now_s = time.monotonic()
        looked_up_s, line = self._shown
        if line and now_s - looked_up_s < _PROGRESS_S:
            return line
        with suppress(LedgerUnavailable):  # a display is no reason to end a run
            line = self._summary.progress(self.client)
        self._shown = now_s, line
        return line

    def spend_lines(self) -> Iterator[str]:
        """What went where in this process, for the end of a run."""
        yield from self._summary.lines()
        yield from budget_lines(self.client)

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def _hear(self, event: Event) -> None:
        """Every event is told in the thread of the call that it belongs to."""
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
    """Whether a provider found the prompt too long."""
    return FailureKind.CONTEXT_TOO_LONG.value in request_cost.failures


def _is_context(passed: Skipped) -> bool:
    return passed.cause is SkipCause.CONTEXT


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
