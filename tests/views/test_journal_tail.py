"""Reading a journal as it grows, in every kind of ledger that keeps it in this process."""

from __future__ import annotations

import asyncio

import pytest

from paymaster.accounting.accounts import Charge, Hold, Settlement
from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.testing import ManualRuntime
from paymaster.views.journal_tail import JournalTail


class Sums:
    def __init__(self) -> None:
        self.sum_nanousd = self.count = 0

    def add(self, attempt: AttemptRecord) -> None:
        self.sum_nanousd += attempt.cost_nanousd
        self.count += 1

    def remove(self, attempt: AttemptRecord) -> None:
        self.sum_nanousd -= attempt.cost_nanousd


def record(cost_nanousd: int, outcome: str = "answered") -> str:
    return AttemptRecord(
        call_id="c", attempt=1, at_ms=1, model="m", provider="p", model_id="m", outcome=outcome, billed="exact", cost_nanousd=cost_nanousd,
        held_nanousd=9, cost_source="registry", run="r",
    ).to_json()  # fmt: skip


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_journal_tail_reads_each_record_once_and_reports_corrections(kind, tmp_path):
    books = MemoryLedger() if kind == "memory" else SqliteLedger(tmp_path / "l.sqlite3", ManualRuntime().sleep)
    sums = Sums()
    journal_tail = JournalTail(books, (sums,), 0)

    def hold(name: str) -> Hold:
        return Hold(name, (Charge("usd/run/r", 9, None),), 1_000, record(9, "lost"))

    async def read_while_settling() -> None:
        for number in range(3):  # two of them within one millisecond
            await books.reserve(hold(f"h{number}"), 1_000 + number // 2)
            await books.settle(Settlement(hold(f"h{number}"), 1_000 + number // 2, (5,), record(5)), 1_000 + number // 2)
            await journal_tail.catch_up()
        await books.reserve(hold("slow"), 1_100)
        await books.sweep(5_000)
        await journal_tail.catch_up(lambda: asyncio.sleep(0))
        assert (sums.count, sums.sum_nanousd) == (4, 24)
        await books.settle(Settlement(hold("slow"), 1_100, (2,), record(2)), 6_000)
        await journal_tail.catch_up()
        await journal_tail.catch_up()
        await books.close()

    asyncio.run(read_while_settling())
    assert (sums.count, sums.sum_nanousd) == (5, 17)
