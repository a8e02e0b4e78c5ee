"""The queues of one process: which calls wait for room on an account, and whose turn it is to ask; knows signals and clocks, not the rule.

Refused calls wait in one queue per account. Only the head of a queue asks the ledger again; the waiters behind it sleep until they are the
head, so 256 waiting calls cost as much as one. The ledger keeps the order among processes: a head asks with `queue_for_ms`, which gives it
a ticket there for as long as it renews it.

    if queue.busy_account(accounts of the hold) is None: ask the ledger; if it is Held, no queue is needed
    async with queue.join(account, hold.id, books, runtime) as waiter:
        while await waiter.until(refused, deadline_ms):               # False: the deadline has passed
            match await books.reserve(hold, runtime.now_ms(), queue_for_ms=5_000):
                case Held(): waiter.served(); break
                case Refused() as refused: ...                        # go on, or leave if waiting no longer helps

A waiter that leaves without `served`, cancelled or not, gives its ticket back. Every settlement in this process calls `wake`. The hold of a
head names all waiters of its queue (`Waiter.waiters`), so that status views show the whole queue and not its head alone.
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
from paymaster.forks import renew_in_children

# A head asks at least this often, no matter what it waits for: its ticket in the ledger lapses after a few seconds unless it is renewed.
RENEW_MS = 2_000
# A head that waits for other calls to end is woken by those of this process; for those of other processes it polls this often.
SHORTEST_POLL_MS = 50
LONGEST_POLL_MS = 250
# Other waiters are woken by a signal. That they also look now and then costs nothing, and needs no proof that no signal was missed.
LOOK_MS = 10_000


class ProcessWaitQueue:
    """All queues of one process: `paymaster.flow.ports.WaitQueue`. Threads and tasks of any loop may wait in the same queue."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: nobody waits, since the waiting threads are its parent's, and a call would wait behind them in vain."""
        self._lock = threading.Lock()
        self._queues: dict[str, deque[ProcessWaiter]] = {}
        self._names: dict[str, Counter[str]] = {}

    def busy_account(self, accounts: Iterable[str]) -> str | None:
        """The first of the accounts that has a queue: a new call joins its end instead of asking."""
        if not self._queues:
            return None
        return next((account for account in accounts if account in self._queues), None)

    def waiting(self, account: str) -> int:
        """How many calls wait for the account."""
        return len(self._queues.get(account, ()))

    def names(self, account: str) -> dict[str, int]:
        """How many calls wait for the account, by the names they joined with."""
        with self._lock:
            return dict(self._names.get(account, ()))

    def join(self, account: str, hold_id: str, books: Books, runtime: Runtime, name: str = "") -> "ProcessWaiter":
        """A waiter at the end of the account's queue, from `async with` on; `name` is what it waits for, for status views."""
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
        """Append the waiter to its queue."""
        with self._lock:
            queue = self._queues.setdefault(waiter.account, deque())
            waiter.is_fresh = bool(queue)
            queue.append(waiter)
            self._names.setdefault(waiter.account, Counter())[waiter.name] += 1

    def leave(self, waiter: "ProcessWaiter") -> None:
        """Remove the waiter from its queue; if it was the head, wake the next one."""
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
        """Whether the waiter is the first of its queue."""
        with self._lock:
            return self._queues[waiter.account][0] is waiter


class ProcessWaiter:
    """One call in a queue: `paymaster.flow.ports.Waiter`. `is_fresh` if it joined behind others and has not asked since."""

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
            # Before the next head is woken, which this ticket would have refused. If the ledger is unavailable, the ticket lapses.
            if self._may_have_ticket:
                with suppress(LedgerUnavailable):
                    await self._runtime.finish(self._books.withdraw(self._hold_id))
        finally:
            self._queue.leave(self)

    def served(self) -> None:
        """The hold was admitted, with which the ledger has removed its ticket."""
        self._may_have_ticket = False

    def waiters(self) -> Waiters:
        """Who waits in this queue, and how long this waiter has, which is its head when it asks."""
        return Waiters(self._queue.names(self.account), self._runtime.now_ms() - self._since_ms)

    async def until(self, refused: Refused | None, deadline_ms: int | None = None) -> bool:
        """Sleep until it is worth asking the ledger: True; or until `deadline_ms` has passed on the caller's clock: False.

        `refused` is the ledger's last answer, None for a waiter that joined a queue without asking.
        """
        asks_at_ms = self._runtime.now_ms() + self._pause_ms(refused)
        # Behind others, a signal only means that this waiter may be the head now. No waiter overtakes, so it stays the head from then on.
        while not self._queue.is_head(self):
            if self._is_over(deadline_ms):
                return False
            await self._sleep_until(self._runtime.now_ms() + LOOK_MS, deadline_ms)
        # For the head, a signal means that room was made. A new head that has not asked yet asks at once.
        woken = False
        while not woken:
            if self._is_over(deadline_ms):
                return False
            if self.is_fresh or self._runtime.now_ms() >= asks_at_ms:
                break
            woken = await self._sleep_until(asks_at_ms, deadline_ms)
        self.is_fresh = False
        self._may_have_ticket = True
        return True

    def _is_over(self, deadline_ms: int | None) -> bool:
        return deadline_ms is not None and self._runtime.now_ms() >= deadline_ms

    async def _sleep_until(self, at_ms: int, deadline_ms: int | None) -> bool:
        """Sleep until that time, the deadline or a signal; True for a signal."""
        wakes_at_ms = at_ms if deadline_ms is None else min(at_ms, deadline_ms)
        return await self.signal.wait(max(1, wakes_at_ms - self._runtime.now_ms()))

    def _pause_ms(self, refused: Refused | None) -> int:
        """How long a head waits before it asks again without a signal. A duration, as the ledger's clock may not be the caller's."""
        if refused is not None and refused.ask_again_at_ms is not None:
            return min(refused.ask_again_at_ms - refused.at_ms, RENEW_MS)
        return SHORTEST_POLL_MS + int(self._runtime.jitter() * (LONGEST_POLL_MS - SHORTEST_POLL_MS))
