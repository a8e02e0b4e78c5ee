"""A ledger that may be unavailable: what it could not take waits on disk and is posted once it is available again; knows no kind of ledger.

    unavailable   a call raised LedgerUnavailable, which every ledger raises only after it has tried for its own `patience_ms`
    unbooked      a hold that no ledger has: the call is sent all the same, because the policy allows it
    spooled       a settlement that waits on disk, because the ledger could not take it, for whatever reason
    set aside     what can't be posted although the ledger works: damaged, or refused for good; a person decides

A ledger takes the settlement of a hold once: what is posted again, after a crash between two steps, changes nothing.
"""

import logging
import os
import threading
import time
from asyncio import CancelledError
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

from paymaster.accounting.account_names import model_of_stay
from paymaster.accounting.accounts import (
    Balance,
    Change,
    EndedHolder,
    Held,
    Hold,
    Lost,
    Post,
    Queued,
    Record,
    ReserveOutcome,
    Settled,
    Settlement,
)
from paymaster.background import BackgroundTasks, BackgroundThreads
from paymaster.errors import LedgerUnavailable, PaymasterError
from paymaster.flow.ports import Books, Pause
from paymaster.ledgers.identity import KnownLedger
from paymaster.ledgers.spool.files import Spool
from paymaster.ledgers.spool.lines import Unreadable
from paymaster.ledgers.spool.posting import Poster, Unposted, reason_of

# One call of the process asks an unavailable ledger again after this long; the pause doubles up to the second figure.
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 2_000, 30_000
# How often a process looks for the files of dead processes.
LOOK_MS = 60_000
# What waits is posted behind the calls in turns: for so long, and then a pause in which calls and the loop go on.
TURN_S, PAUSE_MS = 0.001, 4
# How long closing goes on posting what this process has, and what dead processes left: the next process posts what still waits then.
CLOSE_S, CLOSE_ORPHANS_S = 2.0, 0.5

_LOGGER = logging.getLogger("paymaster")

ADVICE = (
    "A hard budget is kept by its ledger, so no call is made without it; with `on_ledger_error: spool` under `policies` calls go on, "
    "and budgets and limits are not kept meanwhile."
)


class SpoolingLedger:
    """`Books` in front of `books`; what waits is in `folder`, one folder for one ledger.

    While the ledger is unavailable, only holds that may go unbooked are admitted; settlements are spooled either way. `posted` is called
    for each that the ledger took later, `set_aside` for what it never will, with the reason; `location` names the ledger in the files.
    LedgerUnavailable is raised for all other holds, and if the disk does not take what must wait. What waits is for the `known` ledger of
    that moment, and posted to no other. `background` posts behind the calls; without it, the next call posts all of it before it asks.
    """

    def __init__(
        self,
        books: Books,
        folder: Path,
        *,
        posted: Callable[[Settlement, Settled], None],
        set_aside: Callable[[Settlement | Unreadable, str], None] = lambda *_: None,
        known: KnownLedger | None = None,
        location: str = "",
        background: BackgroundThreads | BackgroundTasks | None = None,
    ) -> None:
        self._books = books
        self._known = known or KnownLedger()
        self._background = background
        self._spool = Spool(folder, location, self._known.id)
        self._poster = Poster(
            books, self._spool, self._known, first=self._first_unposted, forget=self._forget, posted=posted, set_aside=set_aside
        )
        self._lock = threading.Lock()
        self._posting = threading.Lock()
        self._process = os.getpid()
        self._unbooked: dict[str, Hold] = {}
        self._unposted = OrderedDict[str, Unposted]()
        self._is_unfinished = False
        self._unavailable_reason = ""
        self._pause_ms = FIRST_PAUSE_MS
        self._asks_at_ms = 0
        self._looks_at_ms = self._posts_at_ms = 0

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> ReserveOutcome:
        """Admit the hold whole or not at all; see `Books`. While the ledger is unavailable, one that may is admitted unbooked."""
        if self._unavailable_reason and hold.may_go_unbooked and not self._takes_the_turn_to_ask(now_ms):
            return self._admit_unbooked(hold, now_ms)
        try:
            if self._background is None and self._has_work(now_ms):
                await self._post_all(now_ms)
            answer = await self._books.reserve(hold, now_ms, queue_for_ms=queue_for_ms)
        except LedgerUnavailable as error:
            if not hold.may_go_unbooked:
                raise type(error)(error.message, advice=f"{error.advice} {ADVICE}") from error
            self._mark_unavailable(error, now_ms)
            return self._admit_unbooked(hold, now_ms)
        self._mark_available()
        if self._background is not None and self._has_work(now_ms):
            self._post_behind(now_ms)
        return answer

    async def ledger_id(self, now_ms: int, *, may_go_unbooked: bool = False) -> str:
        """The id of the ledger that belongs here, if it was ever met; else it is asked, as for a hold."""
        if (known := self._known.id()) is not None:
            return known
        if self._unavailable_reason and may_go_unbooked and not self._takes_the_turn_to_ask(now_ms):
            return ""
        try:
            found = await self._books.ledger_id(now_ms)
        except LedgerUnavailable as error:
            if not may_go_unbooked:
                raise type(error)(error.message, advice=f"{error.advice} {ADVICE}") from error
            self._mark_unavailable(error, now_ms)
            return ""
        self._mark_available()
        return found

    async def withdraw(self, hold_id: str) -> None:
        """Give up a ticket in the queue, or an open hold of which nothing was sent."""
        if self._unbooked.pop(hold_id, None) is None and not self._unavailable_reason:
            await self._books.withdraw(hold_id)

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """Post the actual amounts and the record, once: now, or on disk until the ledger takes it, whatever it raises."""
        hold_id = settlement.hold.id
        if not self._unavailable_reason:
            try:
                settled = await self._books.settle(settlement, now_ms)
            except LedgerUnavailable as error:
                reason = error.message
                if settlement.hold.may_go_unbooked:
                    self._mark_unavailable(error, now_ms)
            except (CancelledError, KeyboardInterrupt):
                # A loop closes, or Ctrl-C comes, while it is under way. If it was posted after all, posting it again changes nothing.
                with suppress(LedgerUnavailable):  # a full disk does not stop the cancellation: the hold's lease ends it
                    self._keep(settlement)
                raise
            except Exception as error:  # noqa: BLE001  what may have been billed is not lost, whatever is wrong with the ledger
                reason = reason_of(error)
            else:
                if self._unbooked.pop(hold_id, None) is not None:
                    self._remove_if_empty()
                return settled
        else:
            reason = self._unavailable_reason
        self._keep(settlement)
        return Settled(hold_id, now_ms, (), spooled=reason)

    async def post(self, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
        """Empty windows, then add entries that no hold carries. Such entries count for a while only, so they are never spooled."""
        if self._unavailable_reason:
            raise LedgerUnavailable(self._unavailable_reason)
        return await self._books.post(posts, clears, now_ms)

    async def sweep(self, now_ms: int) -> tuple[Lost, ...]:
        """Charge and record the holds whose lease is over."""
        return await self._books.sweep(now_ms)

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """Every account whose name starts with `prefix`, without what waits on disk."""
        return await self._books.balances(prefix, now_ms)

    def balance_pages(self, prefixes: Sequence[str], now_ms: int) -> AsyncIterator[Mapping[str, Balance]]:
        """The accounts whose names start so, page by page."""
        return self._books.balance_pages(prefixes, now_ms)

    async def balances_of(self, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
        """These accounts. While the ledger is unavailable one caller at a time asks it: calls that go on must not wait to read."""
        if not self._unavailable_reason:
            return await self._books.balances_of(accounts, now_ms)
        if not self._takes_the_turn_to_ask(now_ms):
            raise LedgerUnavailable(self._unavailable_reason)
        try:
            found = await self._books.balances_of(accounts, now_ms)
        except LedgerUnavailable as error:
            self._mark_unavailable(error, now_ms)
            raise
        self._mark_available()
        return found

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """The queue."""
        return await self._books.waiting(now_ms)

    async def ended_holders(self, now_ms: int) -> tuple[EndedHolder, ...]:
        """What ended processes hold, without what waits on disk."""
        return await self._books.ended_holders(now_ms)

    def records(self, *, after_ms: int = 0) -> AsyncIterator[Record]:
        """The journal, without what waits on disk."""
        return self._books.records(after_ms=after_ms)

    async def post_all_spooled(self, now_ms: int) -> None:
        """Post what this process and dead processes have on disk. Raises LedgerUnavailable; LedgerUnusable if the ledger takes nothing."""
        had_unposted = bool(self._unposted)
        if await self._post_all(now_ms) and had_unposted:
            self._mark_available()

    async def post_spooled(self, now_ms: int) -> None:
        """The same, if there is something to post or it is time to look for it. An unavailable ledger is asked again the next time.

        For a process that may make no call for long, to be awaited every few seconds.
        """
        if not self._has_work(now_ms):
            return
        if self._background is not None:
            self._post_behind(now_ms)
        else:
            with suppress(LedgerUnavailable):
                await self.post_all_spooled(now_ms)

    async def close(self) -> None:
        """Release files and connections, after a last try; what still waits is posted by the next process that uses this ledger."""
        try:
            if self._background is not None:
                await self._background.close()
            if self._unposted or (self._is_unfinished and not self._unavailable_reason):
                with suppress(PaymasterError):
                    await self._post_all(0, until_s=time.monotonic() + (CLOSE_S if self._unposted else CLOSE_ORPHANS_S))
        finally:
            self._spool.close()
            await self._books.close()

    def _own_lock(self) -> threading.Lock:
        # A fork copies the locks as they were, maybe taken by a thread that the child lacks; and what waits is the parent's to post.
        if self._process != os.getpid():
            self._lock, self._posting, self._process = threading.Lock(), threading.Lock(), os.getpid()
            self._unbooked, self._unposted = {}, OrderedDict()
        return self._lock

    def _takes_the_turn_to_ask(self, now_ms: int) -> bool:
        """Whether this call is the one that asks the ledger again; the others go on meanwhile."""
        with self._own_lock():
            if now_ms < self._asks_at_ms:
                return False
            self._asks_at_ms = now_ms + LONGEST_PAUSE_MS
            return True

    def _mark_unavailable(self, error: LedgerUnavailable, now_ms: int) -> None:
        with self._own_lock():
            self._pause_ms = min(2 * self._pause_ms, LONGEST_PAUSE_MS) if self._unavailable_reason else FIRST_PAUSE_MS
            self._unavailable_reason = error.message
            self._asks_at_ms = now_ms + self._pause_ms

    def _mark_available(self) -> None:
        self._unavailable_reason = ""

    def _admit_unbooked(self, hold: Hold, now_ms: int) -> Held:
        """Admit the hold without the ledger, once the disk has it."""
        with self._own_lock():
            try:
                self._spool.keep_hold(hold, now_ms)
            except OSError as error:
                raise self._disk_failed(error) from error
            self._unbooked[hold.id] = hold
        return Held(hold.id, now_ms, now_ms + hold.lease_ms, (), unbooked=self._unavailable_reason)

    def _keep(self, settlement: Settlement) -> None:
        """Put the settlement on disk."""
        with self._own_lock():
            self._unposted[settlement.hold.id] = Unposted(_still_true_later(settlement), self._known.id() or "")
            self._unbooked.pop(settlement.hold.id, None)
            try:
                self._spool.keep_settlement(settlement)
            except OSError as error:
                raise self._disk_failed(error) from error

    def _disk_failed(self, error: OSError) -> LedgerUnavailable:
        reason = error.strerror or str(error)
        return LedgerUnavailable(
            f"{self._unavailable_reason or 'The ledger is unavailable.'} {self._spool.folder}, where it would wait, can't be written "
            f"either: {reason}.",
            advice="Look for a full disk, or name another state directory with PAYMASTER_STATE_DIR.",
        )

    def _has_work(self, now_ms: int) -> bool:
        """Whether something waits, or it is time to look for the files of dead processes and there are files."""
        if now_ms < self._posts_at_ms or (not self._unposted and now_ms < self._looks_at_ms):
            return False
        with self._own_lock():
            if self._posting.locked():
                return False
        if self._unposted:
            return True
        if self._spool.has_others():
            return True
        self._looks_at_ms = now_ms + LOOK_MS
        return False

    def _post_behind(self, now_ms: int) -> None:
        """Start to post what waits behind the calls."""
        if self._background is not None:
            self._is_unfinished = True
            self._background(lambda pause: self._post_in_turns(now_ms, pause))

    async def _post_in_turns(self, now_ms: int, pause: Pause) -> None:
        had_unposted = bool(self._unposted)
        try:
            if await self._post_all(now_ms, pause) and had_unposted:
                self._mark_available()
        except LedgerUnavailable:
            self._posts_at_ms = now_ms + FIRST_PAUSE_MS
        except PaymasterError as error:
            self._posts_at_ms = now_ms + LOOK_MS
            _LOGGER.warning("waiting settlements can't be posted to the ledger: %s", error)

    async def _post_all(self, now_ms: int, pause: Pause | None = None, *, until_s: float | None = None) -> bool:
        """Post what waits, of this process and of dead ones; False if another call is doing it, or the time was over before the end.

        With `pause` in turns. Raises LedgerUnavailable, LedgerUnusable if the ledger takes nothing.
        """
        with self._own_lock():
            posting = self._posting
            if not posting.acquire(blocking=False):
                return False
        try:
            turn_began_s = time.monotonic()
            async with aclosing(self._steps(now_ms)) as steps:
                async for _ in steps:
                    at_s = time.monotonic()
                    if until_s is not None and at_s > until_s:
                        return False
                    if pause is not None and at_s - turn_began_s > TURN_S:
                        await pause(PAUSE_MS)
                        turn_began_s = time.monotonic()
            self._looks_at_ms = now_ms + LOOK_MS
            self._is_unfinished = False
        finally:
            posting.release()
        return True

    async def _steps(self, now_ms: int) -> AsyncGenerator[None]:
        async with aclosing(self._poster.own_steps(now_ms)) as steps:
            async for _ in steps:
                yield
        self._remove_if_empty()
        async with aclosing(self._poster.orphan_steps(now_ms)) as steps:
            async for _ in steps:
                yield

    def _first_unposted(self) -> Unposted | None:
        with self._own_lock():
            return next(iter(self._unposted.values()), None)

    def _forget(self, hold_id: str) -> None:
        with self._own_lock():
            self._unposted.pop(hold_id, None)

    def _remove_if_empty(self) -> None:
        """Remove this process's file if nothing in it is still needed."""
        with self._own_lock():
            if not self._unposted and not self._unbooked:
                self._spool.empty()


def _still_true_later(settlement: Settlement) -> Settlement:
    """The settlement without entries that are over when it is posted: a pause then would hold calls back for something long past.

    Which model has answered an instance is as true later.
    """
    posts = tuple(post for post in settlement.posts if model_of_stay(post.account) is not None)
    return replace(settlement, posts=posts, clears=tuple(account for account in settlement.clears if model_of_stay(account) is not None))
