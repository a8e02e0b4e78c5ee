"""The line in this process: who waits for room on an account and whose turn it is to ask; knows bells and clocks, not the rule.

Calls that were refused queue up in one lane per account. Only the head of a lane asks the ledger again; everybody behind it sleeps until
they are head themselves, so 256 waiting calls cost as much as one. Fairness among processes is the ledger's part: a head asks with
`queue_for_ms` and so keeps a ticket there, which counts for as long as the head renews it.

    if turnstile.lane(accounts of the hold) is None: ask the ledger; Held: go on without any of this
    async with turnstile.place(account, hold.id, books, runtime) as place:
        while await place.until(refused, deadline_ms):               # False: the time is up
            match await books.reserve(hold, runtime.now_ms(), queue_for_ms=5_000):
                case Held(): place.served(); break
                case Refused() as refused: ...                       # go on, or leave where waiting no longer helps

Whoever leaves unserved, cancelled or not, gives up the ticket. Every settlement in this process calls `ring`. A head's hold says who waits
with it (`Place.crowd`), so that whoever looks at the ledger sees the whole line and not its heads alone.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from paymaster.accounting.accounts import Crowd, Refused
from paymaster.errors import LedgerUnavailable
from paymaster.ports import Books, Runtime

# How often at the latest a head asks, whatever it waits for: its ticket in the ledger lapses after a few seconds unless it is renewed.
RENEW_MS = 2_000
# A head that waits for other calls to end hears of those of this process by its bell; for those of other processes it looks this often.
SHORTEST_POLL_MS = 50
LONGEST_POLL_MS = 250
# Everybody else is woken by a bell. That they look all the same now and then costs nothing and needs no proof that no bell was missed.
LOOK_MS = 10_000


class Turnstile:
    """All lanes of one process: `paymaster.ports.Line`. Threads and tasks of any loop may stand in the same lane."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, deque[Place]] = {}
        self._names: dict[str, Counter[str]] = {}

    def lane(self, accounts: Iterable[str]) -> str | None:
        """The first of the accounts for which somebody already waits: a newcomer goes to the end of that lane instead of asking."""
        if not self._lanes:
            return None
        return next((account for account in accounts if account in self._lanes), None)

    def waiting(self, account: str) -> int:
        """How many wait for the account."""
        return len(self._lanes.get(account, ()))

    def names(self, account: str) -> dict[str, int]:
        """How many wait for the account, by their names."""
        with self._lock:
            return dict(self._names.get(account, ()))

    def place(self, account: str, hold_id: str, books: Books, runtime: Runtime, name: str = "") -> "Place":
        """A place at the end of the account's lane, taken by `async with`; `name` is what it waits for, for whoever looks."""
        return Place(self, account, hold_id, books, runtime, name)

    def ring(self) -> None:
        """Something was settled: the head of every lane may ask again."""
        if not self._lanes:
            return
        with self._lock:
            heads = [lane[0] for lane in self._lanes.values()]
        for head in heads:
            head.bell.ring()

    def join(self, place: "Place") -> None:
        """Stand at the end of the lane."""
        with self._lock:
            lane = self._lanes.setdefault(place.account, deque())
            place.is_fresh = bool(lane)
            lane.append(place)
            self._names.setdefault(place.account, Counter())[place.name] += 1

    def leave(self, place: "Place") -> None:
        """Give the place up; if it was the head's, the next one is called."""
        with self._lock:
            lane = self._lanes[place.account]
            was_head = lane[0] is place
            lane.remove(place)
            names = self._names[place.account]
            names[place.name] -= 1
            if not names[place.name]:
                del names[place.name]
            if not lane:
                del self._lanes[place.account], self._names[place.account]
            following = lane[0] if lane and was_head else None
        if following is not None:
            following.bell.ring()

    def is_head(self, place: "Place") -> bool:
        """Whether it is the place's turn."""
        with self._lock:
            return self._lanes[place.account][0] is place


class Place:
    """One waiter's place in a lane: `paymaster.ports.Place`. `is_fresh` if others stood before it and it has not asked since."""

    def __init__(self, turnstile: Turnstile, account: str, hold_id: str, books: Books, runtime: Runtime, name: str) -> None:
        self.account = account
        self.name = name
        self.bell = runtime.signal()
        self.is_fresh = False
        self._may_have_ticket = False
        self._turnstile = turnstile
        self._hold_id = hold_id
        self._books = books
        self._runtime = runtime
        self._since_ms = runtime.now_ms()

    async def __aenter__(self) -> Self:
        self._turnstile.join(self)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            # Before the next one is called, who would be refused on account of this ticket. Where the ledger cannot be reached it lapses.
            if self._may_have_ticket:
                with suppress(LedgerUnavailable):
                    await self._runtime.finish(self._books.withdraw(self._hold_id))
        finally:
            self._turnstile.leave(self)

    def served(self) -> None:
        """The hold was admitted, by which the ledger has taken back its ticket."""
        self._may_have_ticket = False

    def crowd(self) -> Crowd:
        """Who waits in this lane, and how long this place, its first when it asks, has."""
        return Crowd(self._turnstile.names(self.account), self._runtime.now_ms() - self._since_ms)

    async def until(self, refused: Refused | None, deadline_ms: int | None = None) -> bool:
        """Sleep until it is worth asking the ledger: True; or until `deadline_ms` has passed on the caller's clock: False.

        `refused` is the ledger's last answer, None for a newcomer who joined a lane without asking.
        """
        asks_at_ms = self._runtime.now_ms() + self._pause_ms(refused)
        while True:
            now_ms = self._runtime.now_ms()
            if deadline_ms is not None and now_ms >= deadline_ms:
                return False
            is_head = self._turnstile.is_head(self)
            if is_head and (self.is_fresh or now_ms >= asks_at_ms):
                break
            wakes_at_ms = asks_at_ms if is_head else now_ms + LOOK_MS
            rang = await self.bell.wait(max(1, (wakes_at_ms if deadline_ms is None else min(wakes_at_ms, deadline_ms)) - now_ms))
            if rang and is_head:
                break
        self.is_fresh = False
        self._may_have_ticket = True
        return True

    def _pause_ms(self, refused: Refused | None) -> int:
        """How long a head waits before it asks again, unless it is rung. A duration, as the ledger's clock may not be the caller's."""
        if refused is not None and refused.ask_again_at_ms is not None:
            return min(refused.ask_again_at_ms - refused.at_ms, RENEW_MS)
        return SHORTEST_POLL_MS + int(self._runtime.jitter() * (LONGEST_POLL_MS - SHORTEST_POLL_MS))
