"""What one call did, by its events: which model answered, what failed, what is left; knows no HTTP, no ledger, and changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from paymaster.flow.events import Admitted, AttemptFailed, AttemptSettled, Event


@dataclass(frozen=True, slots=True)
class RateRoom:
    """What is left of a limit per minute, in its unit."""

    cap: int
    left: int


class CallObserver:
    """A listener of one call's events, which passes them on."""

    __slots__ = ("_emit", "_latest", "attempts", "call_id", "dropped", "endpoint", "failures", "model")

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._latest: Admitted | AttemptSettled | None = None
        self.call_id = ""
        self.model = ""
        self.endpoint = ""
        self.attempts = 0
        self.dropped: tuple[str, ...] = ()
        self.failures: list[str] = []

    def emit(self, event: Event) -> None:
        """Note what the event says, and pass it on."""
        if isinstance(event, Admitted):
            self.call_id, self.model, self.attempts, self._latest = event.call_id, event.model, event.attempt, event
            self.dropped, self.endpoint = event.dropped_params, event.endpoint
        elif isinstance(event, AttemptSettled):
            self._latest = event
        elif isinstance(event, AttemptFailed):
            self.failures.append(event.failure)
        self._emit(event)

    @property
    def budget_left_nanousd(self) -> int | None:
        """Of the budget that ends first, after this call as far as it is settled; None if no budget has a cap."""
        return None if self._latest is None else self._latest.budget_left_nanousd

    @property
    def budget_left_tokens(self) -> int | None:
        """The same of the budgets in tokens."""
        return None if self._latest is None else self._latest.budget_left_tokens

    @property
    def budget_left_requests(self) -> int | None:
        """The same of the budgets in requests."""
        return None if self._latest is None else self._latest.budget_left_requests

    @property
    def requests(self) -> RateRoom | None:
        """Of the tightest requests-per-minute limit."""
        return None if self._latest is None else _room(self._latest.requests_cap, self._latest.requests_left)

    @property
    def tokens(self) -> RateRoom | None:
        """Of the tightest tokens-per-minute limit."""
        return None if self._latest is None else _room(self._latest.tokens_cap, self._latest.tokens_left)


def _room(cap: int | None, left: int | None) -> RateRoom | None:
    return None if cap is None or left is None else RateRoom(cap, left)
