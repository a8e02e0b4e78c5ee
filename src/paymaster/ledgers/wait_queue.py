"""The line in this process: who waits for room on an account and whose turn it is to ask; knows bells and clocks, not the rule.

Calls that were refused queue up in one queue per account. Only the head of a queue asks the ledger again; everybody behind it sleeps until
they are head themselves, so 256 waiting calls cost as much as one. Fairness among processes is the ledger's part: a head asks with
`queue_for_ms` and so keeps a ticket there, which counts for as long as the head renews it.

    if turnstile.queue(accounts of the hold) is None: ask the ledger; Held: go on without any of this
    async with turnstile.place(account, hold.id, books, runtime) as place:
        while await waiter.until(refused, deadline_ms):               # False: the time is up
            match await books.reserve(hold, runtime.now_ms(), queue_for_ms=5_000):
                case Held(): waiter.served(); break
                case Refused() as refused: ...                       # go on, or leave where waiting no longer helps

Whoever leaves unserved, cancelled or not, gives up the ticket. Every settlement in this process calls `ring`. A head's hold says who waits
with it (`Waiter.waiters`), so that whoever looks at the ledger sees the whole line and not its heads alone.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from paymaster.accounting.accounts import Refused, Waiters
from paymaster.errors import LedgerUnavailable
from paymaster.flow.ports import Books, Runtime

# How often at the latest a head asks, whatever it waits for: its ticket in the ledger lapses after a few seconds unless it is renewed.
RENEW_MS = 2_000
# A head that waits for other calls to end hears of those of this process by its bell; for those of other processes it looks this often.
SHORTEST_POLL_MS = 50
LONGEST_POLL_MS = 250
# Everybody else is woken by a bell. That they look all the same now and then costs nothing and needs no proof that no bell was missed.
LOOK_MS = 10_000


class ProcessWaitQueue:
    """All lanes of one process: `paymaster.flow.ports.WaitQueue`. Threads and tasks of any loop may stand in the same queue."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[ProcessWaiter]] = {}
        self._names: dict[str, Counter[str]] = {}

    def busy_account(self, accounts: Iterable[str]) -> str | None:
        """The first of the accounts for which somebody already waits: a newcomer goes to the end of that queue instead of asking."""
        if not self._queues:
            return None
        return next((account for account in accounts if account in self._queues), None)

    def waiting(self, account: str) -> int:
        """How many wait for the account."""
        return len(self._queues.get(account, ()))

    def names(self, account: str) -> dict[str, int]:
        """How many wait for the account, by their names."""
        with self._lock:
            return dict(self._names.get(account, ()))

    def join(self, account: str, hold_id: str, books: Books, runtime: Runtime, name: str = "") -> "ProcessWaiter":
        """A place at the end of the account's queue, taken by `async with`; `name` is what it waits for, for whoever looks."""
        return ProcessWaiter(self, account, hold_id, books, runtime, name)

    def wake(self) -> None:
        """Something was settled: the head of every queue may ask again."""
        if not self._queues:
            return
        with self._lock:
            heads = [queue[0] for queue in self._queues.values()]
        for head in heads:
            head.signal.wake()

    def enter(self, waiter: "ProcessWaiter") -> None:
        """Stand at the end of the queue."""
        with self._lock:
            queue = self._queues.setdefault(waiter.account, deque())
            waiter.is_fresh = bool(queue)
            queue.append(waiter)
            self._names.setdefault(waiter.account, Counter())[waiter.name] += 1

    def leave(self, waiter: "ProcessWaiter") -> None:
        """Give the place up; if it was the head's, the next one is called."""
        with self._lock:
            queue = self._queues[waiter.account]
            was_head = queue[0] is waiter
            queue.remove(waiter)
            names = self._names[waiter.account]
            names[waiter.name] -= 1
            if not names[waiter.name]:
                del names[waiter.name]
            if not queue:
                del self._queues[waiter.account], self._names[waiter.account]
            next_head = queue[0] if queue and was_head else None
        if next_head is not None:
            next_head.signal.wake()

    def is_head(self, waiter: "ProcessWaiter") -> bool:
        """Whether it is the place's turn."""
        with self._lock:
            return self._queues[waiter.account][0] is waiter


class ProcessWaiter:
    """One waiter's place in a queue: `paymaster.flow.ports.Waiter`. `is_fresh` if others stood before it and it has not asked since."""

    def __init__(self, queue: ProcessWaitQueue, account: str, hold_id: str, books: Books, runtime: Runtime, name: str) -> None:
        self.account = account
        self.name = name
        self.signal = runtime.signal()
        self.is_fresh = False
        self._may_have_ticket = False
        self._queue = queue
        self._hold_id = hold_id
        self._books = books
        self._runtime = runtime
        self._since_ms = runtime.now_ms()

    async def __aenter__(self) -> Self:
        self._queue.enter(self)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            # Before the next one is called, who would be refused on account of this ticket. Where the ledger cannot be reached it lapses.
            if self._may_have_ticket:
                with suppress(LedgerUnavailable):
                    await self._runtime.finish(self._books.withdraw(self._hold_id))
        finally:
            self._queue.leave(self)

    def served(self) -> None:
        """The hold was admitted, by which the ledger has taken back its ticket."""
        self._may_have_ticket = False

    def waiters(self) -> Waiters:
        """Who waits in this queue, and how long this waiter, its first when it asks, has."""
        return Waiters(self._queue.names(self.account), self._runtime.now_ms() - self._since_ms)

    async def until(self, refused: Refused | None, deadline_ms: int | None = None) -> bool:
        """Sleep until it is worth asking the ledger: True; or until `deadline_ms` has passed on the caller's clock: False.

        `refused` is the ledger's last answer, None for a newcomer who joined a queue without asking.
        """
        asks_at_ms = self._runtime.now_ms() + self._pause_ms(refused)
        while True:
            now_ms = self._runtime.now_ms()
            if deadline_ms is not None and now_ms >= deadline_ms:
                return False
            is_head = self._queue.is_head(self)
            if is_head and (self.is_fresh or now_ms >= asks_at_ms):
                break
            wakes_at_ms = asks_at_ms if is_head else now_ms + LOOK_MS
            rang = await self.signal.wait(max(1, (wakes_at_ms if deadline_ms is None else min(wakes_at_ms, deadline_ms)) - now_ms))
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
