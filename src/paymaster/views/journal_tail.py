"""Reads a journal as it grows, each record once, corrections included; knows the port to a ledger, and no use of the records."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from paymaster.accounting.records import AttemptRecord
from paymaster.flow.ports import Books

_PAGE = 100
"""Reading so many records takes about a millisecond: other work on the same event loop waits no longer."""


class JournalSink(Protocol):
    """What receives the records."""

    def add(self, attempt: AttemptRecord) -> None:
        """Take in an attempt that was recorded."""
        ...

    def remove(self, attempt: AttemptRecord) -> None:
        """Take out an attempt that was charged as lost. Its correct record is added separately."""
        ...


class JournalTail:
    """A position in the journal. Only records of lost attempts are kept, because only those are ever corrected."""

    def __init__(self, books: Books, sinks: tuple[JournalSink, ...], after_ms: int) -> None:
        self._books = books
        self._sinks = sinks
        self._after_ms = after_ms
        self._newest: set[tuple[str, bool]] = set()
        self._lost: dict[str, AttemptRecord] = {}

    async def catch_up(self, give_way: Callable[[], Awaitable[None]] | None = None) -> None:
        """Read what was recorded since the last call; `give_way` is awaited once per page. Raises LedgerUnavailable."""
        count = 0
        async for record in self._books.records(after_ms=self._after_ms):
            if record.at_ms > self._after_ms + 1:
                # More records may still get the newest record's time: the next reading starts there, and skips what it knows.
                self._after_ms = record.at_ms - 1
                self._newest.clear()
            if (record.hold_id, record.lost) in self._newest:
                continue
            self._newest.add((record.hold_id, record.lost))
            self._pass_on(record.hold_id, record.body, lost=record.lost)
            count += 1
            if give_way is not None and count % _PAGE == 0:
                await give_way()

    def _pass_on(self, hold_id: str, body: str, *, lost: bool) -> None:
        try:
            attempt = AttemptRecord.from_json(body)
        except (ValueError, TypeError):
            return  # written by a later version
        corrected = self._lost.pop(hold_id, None)
        for sink in self._sinks:
            if corrected is not None:
                sink.remove(corrected)
            sink.add(attempt)
        if lost:
            self._lost[hold_id] = attempt
