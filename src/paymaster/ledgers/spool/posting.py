"""Posts what waits on disk to its ledger, one thing after the other, and sets aside what it never will take; knows no call that waits."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple

from paymaster.accounting.accounts import Settled, Settlement
from paymaster.errors import LedgerUnavailable, LedgerUnusable, PaymasterError
from paymaster.flow.ports import Books
from paymaster.ledgers.identity import KnownLedger
from paymaster.ledgers.spool.files import OrphanFile, Spool
from paymaster.ledgers.spool.lines import Unreadable
from paymaster.ledgers.spool.set_aside import keep_aside

_LOGGER = logging.getLogger("paymaster")


class Unposted(NamedTuple):
    """A settlement of this process that waits, and the id of the ledger that it is for."""

    settlement: Settlement
    ledger_id: str


class Poster:
    """Posts to `books` what waits in memory and in the files of dead processes.

    `first` is the oldest settlement of this process, which `forget` takes out by its hold's id. `posted` is called for each that the ledger
    took, `set_aside` for each that it never will, with the reason.
    """

    def __init__(
        self,
        books: Books,
        spool: Spool,
        known: KnownLedger,
        *,
        first: Callable[[], Unposted | None],
        forget: Callable[[str], None],
        posted: Callable[[Settlement, Settled], None],
        set_aside: Callable[[Settlement | Unreadable, str], None],
    ) -> None:
        self._books, self._spool, self._known = books, spool, known
        self._first, self._forget = first, forget
        self._posted, self._set_aside = posted, set_aside

    async def own_steps(self, now_ms: int) -> AsyncGenerator[None]:
        """Post what this process has; the reader may pause after each, or stop. Raises LedgerUnavailable, LedgerUnusable."""
        if self._first() is not None:
            self._known.refresh()  # a person may have accepted another ledger, and the one before still looks like the right one
        while (item := self._first()) is not None:
            if self._known.takes(item.ledger_id):
                try:
                    await self._post(item.settlement, item.ledger_id, now_ms)
                except OSError as error:
                    _LOGGER.warning("a settlement can't be set aside now: %s", error)
                    return
            else:
                self._spool.close()  # what is for another ledger stays in its file
            self._forget(item.settlement.hold.id)
            yield

    async def orphan_steps(self, now_ms: int) -> AsyncGenerator[None]:
        """The same for the files of dead processes. A file that the disk fails is left to the next look."""
        for orphan in self._spool.orphan_files():
            if not self._known.takes(orphan.ledger_id):
                orphan.release()
                continue
            async with aclosing(self._file_steps(orphan, now_ms)) as steps:
                async for _ in steps:
                    yield

    async def _file_steps(self, orphan: OrphanFile, now_ms: int) -> AsyncGenerator[None]:
        try:
            for found in orphan.found():
                if isinstance(found, Unreadable):
                    self._put_aside(found, f"the line can't be read ({found.reason})", orphan.ledger_id)
                elif found is not None:
                    await self._post(found, orphan.ledger_id, now_ms)
                orphan.note_progress()
                yield
        except OSError as error:
            orphan.release()
            _LOGGER.warning("%s can't be posted now: %s", orphan.path, error)
        except BaseException:
            orphan.release()
            raise
        else:
            orphan.drop()

    async def _post(self, settlement: Settlement, ledger_id: str, now_ms: int) -> None:
        """Post it, or set it aside if the ledger refuses it and works."""
        try:
            settled = await self._books.settle(settlement, now_ms)
        except LedgerUnavailable:
            raise
        except Exception as error:  # a fault of one line must not keep the others waiting
            if not await self._ledger_works(now_ms):
                raise
            self._put_aside(settlement, reason_of(error), ledger_id)
        else:
            if not settled.again:
                self._posted(settlement, settled)

    async def _ledger_works(self, now_ms: int) -> bool:
        """Whether the ledger takes a transaction that changes nothing. Raises LedgerUnavailable."""
        try:
            await self._books.post((), (), now_ms)
        except LedgerUnusable:
            return False
        return True

    def _put_aside(self, found: Settlement | Unreadable, reason: str, ledger_id: str) -> None:
        keep_aside(self._spool.folder, found, reason, ledger_id)
        self._set_aside(found, reason)


def reason_of(error: Exception) -> str:
    """What a ledger raised, for a person."""
    return error.message if isinstance(error, PaymasterError) else f"{type(error).__name__}: {error}"
