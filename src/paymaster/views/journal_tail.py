"""Reads a journal as it grows, each record once, corrections included; knows the port to the books, and no use of records."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from paymaster.accounting.records import AttemptRecord
from paymaster.flow.ports import Books

_PAGE = 100
"""So many records are heard in about a millisecond: nobody on the same loop waits longer."""


class Hears(Protocol):
    """Whoever follows the journal."""

    def add(self, attempt: AttemptRecord) -> None:
        """An attempt was recorded."""
        ...

    def take_back(self, attempt: AttemptRecord) -> None:
        """It was charged as lost and is corrected: the right record is added by itself."""
        ...


class JournalTail:
    """Where a reader stands in the journal. Only what is charged as lost is kept, as only that is ever corrected."""

    def __init__(self, books: Books, sinks: tuple[Hears, ...], after_ms: int) -> None:
        self._books = books
        self._sinks = sinks
        self._after_ms = after_ms
        self._at_the_end: set[tuple[str, bool]] = set()
        self._lost: dict[str, AttemptRecord] = {}

    async def catch_up(self, breathe: Callable[[], Awaitable[None]] | None = None) -> None:
        """Hear what was recorded since the last time; `breathe` is awaited now and then. Raises LedgerUnavailable."""
        count = 0
        async for record in self._books.records(after_ms=self._after_ms):
            if record.at_ms > self._after_ms + 1:
                # What has the last time's time may still get company: the next reading begins there, and passes over what it knows.
                self._after_ms = record.at_ms - 1
                self._at_the_end.clear()
            if (record.hold_id, record.lost) in self._at_the_end:
                continue
            self._at_the_end.add((record.hold_id, record.lost))
            self._hear(record.hold_id, record.body, lost=record.lost)
            count += 1
            if breathe is not None and count % _PAGE == 0:
                await breathe()

    def _hear(self, hold_id: str, body: str, *, lost: bool) -> None:
        try:
            attempt = AttemptRecord.from_json(body)
        except (ValueError, TypeError):
            return  # written by a later version
        former = self._lost.pop(hold_id, None)
        for sink in self._sinks:
            if former is not None:
                sink.take_back(former)
            sink.add(attempt)
        if lost:
            self._lost[hold_id] = attempt
