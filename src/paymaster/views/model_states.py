"""What a ledger shows of one model: a limit in its window, open calls, failures and its circuit; knows no balance and no word for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paymaster.routing import breaker
from paymaster.views.subjects import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """One rate limit in its window. `limit` is the registry's word for it (`rpm`); `free_at_ms` is when the first of it is free again.

    `endpoint` is '' for a model that has one alone; `subject` is what its accounts are named after.
    """

    model: str
    limit: str
    used: int
    cap: int | None
    free_at_ms: int | None
    endpoint: str = ""
    subject: str = ""

    @property
    def place(self) -> str:
        """The model, with its endpoint if it has several."""
        return Shown(self.model, self.endpoint).place


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One model, or an endpoint of it: calls that are open, how many may be, and failures since its last answer.

    `paused_until_ms` is until when its provider asked to wait; `circuit` the breaker's state, and `open_until_ms` when a probe may go.
    `operator_reason` is the kind of failure that an operator has to fix first, if that is why the circuit is open. `paused_tiers` has when
    the pauses of tiers of service end.
    """

    model: str
    open_calls: int
    cap: int | None
    failures: int
    paused_until_ms: int | None
    circuit: breaker.State
    open_until_ms: int | None
    operator_reason: str | None = None
    paused_tiers: Mapping[str, int] = field(default_factory=dict)
    endpoint: str = ""
    subject: str = ""

    @property
    def place(self) -> str:
        """The model, with its endpoint if it has several."""
        return Shown(self.model, self.endpoint).place

    @property
    def half_open(self) -> bool:
        """Whether one call at a time is let through, until one is answered."""
        return self.circuit is breaker.State.HALF_OPEN
