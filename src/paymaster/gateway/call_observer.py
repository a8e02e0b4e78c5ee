"""What one call did, seen from its ports: who answered, what it cost, what is left; knows no HTTP and changes nothing."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from paymaster.accounting.accounts import Admission, Balance, Change, Held, Hold, Lost, Post, Queued, Record, Settled, Settlement
from paymaster.flow.events import Admitted, AttemptFailed, Event
from paymaster.flow.ports import Books

_MONEY, _REQUESTS, _TOKENS = "usd", "requests", "tokens"


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left under the tightest cap of one kind, in its unit."""

    cap: int
    left: int


class CallObserver:
    """The books of one call, with everything that is asked of them passed on; and a listener of its events."""

    __slots__ = ("_actual", "_books", "_emit", "_held", "_hold", "attempts", "call_id", "failures", "model")

    def __init__(self, books: Books, emit: Callable[[Event], None]) -> None:
        self._books = books
        self._emit = emit
        self._hold: Hold | None = None
        self._held: Held | None = None
        self._actual: Settlement | None = None
        self.call_id = ""
        self.model = ""
        self.attempts = 0
        self.failures: list[str] = []

    def emit(self, event: Event) -> None:
        """Take an event down and pass it on."""
        if isinstance(event, Admitted):
            self.call_id, self.model, self.attempts = event.call_id, event.model, event.attempt
        elif isinstance(event, AttemptFailed):
            self.failures.append(event.failure)
        self._emit(event)

    def budget_left_nanousd(self) -> int | None:
        """Of the budget that ends first, after this call as far as it is settled; None where no budget has a cap."""
        room = self._tightest(_MONEY)
        return None if room is None else room.left

    def requests(self) -> Remaining | None:
        """Of the tightest requests-per-minute limit."""
        return self._tightest(_REQUESTS)

    def tokens(self) -> Remaining | None:
        """Of the tightest tokens-per-minute limit."""
        return self._tightest(_TOKENS)

    def _tightest(self, kind: str) -> Remaining | None:
        if self._hold is None or self._held is None:
            return None
        actual = self._actual.amounts if self._actual is not None and self._actual.hold.id == self._hold.id else None
        best: Remaining | None = None
        for place, charge in enumerate(self._hold.charges):
            if charge.cap is None or not charge.account.startswith(kind + "/"):
                continue
            amount = charge.amount if actual is None else actual[place]
            left = charge.cap - self._held.balances[place].total + charge.amount - amount
            if best is None or left < best.left:
                best = Remaining(charge.cap, max(0, left))
        return best

    # ------------------------------------------------------------------------------------------------ the books' own methods

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> Admission:
        """See `Books`."""
        answer = await self._books.reserve(hold, now_ms, queue_for_ms=queue_for_ms)
        if isinstance(answer, Held):
            self._hold, self._held = hold, answer
        return answer

    async def withdraw(self, hold_id: str) -> None:
        """See `Books`."""
        await self._books.withdraw(hold_id)

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """See `Books`."""
        settled = await self._books.settle(settlement, now_ms)
        self._actual = settlement
        return settled

    async def post(self, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
        """See `Books`."""
        return await self._books.post(posts, clears, now_ms)

    async def sweep(self, now_ms: int) -> tuple[Lost, ...]:
        """See `Books`."""
        return await self._books.sweep(now_ms)

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """See `Books`."""
        return await self._books.balances(prefix, now_ms)

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """See `Books`."""
        return await self._books.waiting(now_ms)

    def records(self, *, after_ms: int = 0) -> AsyncIterator[Record]:
        """See `Books`."""
        return self._books.records(after_ms=after_ms)

    async def close(self) -> None:
        """Nothing: the books are everybody's."""
