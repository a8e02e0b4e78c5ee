"""Those who look at a gateway at the same time share one reading of the ledger, and each sees what it may see."""

import asyncio
from types import SimpleNamespace

import pytest

from paymaster.accounting.accounts import Balance
from paymaster.errors import LedgerUnavailable
from paymaster.gateway import status_readings
from paymaster.gateway.status_readings import MOST_BUDGETS, StatusReadings
from paymaster.testing import ManualRuntime
from paymaster.views.visibility import Reader

ANN, BEN = Reader(user="ann"), Reader(user="ben")


class CountedBooks:
    """A ledger of `accounts` budgets of two users, which counts its readings."""

    def __init__(self, runtime, accounts=40, takes_ms=0):
        self.readings, self.fails = 0, False
        self._runtime, self._accounts, self._takes_ms = runtime, accounts, takes_ms

    async def balance_pages(self, prefixes, now_ms):
        assert list(prefixes) == [""]
        self.readings += 1
        for first in range(0, self._accounts, 10):
            await asyncio.sleep(0)
            if self.fails:
                raise LedgerUnavailable("gone")
            numbers = range(first, min(first + 10, self._accounts))
            yield {f"usd/~{'ann' if number % 2 else 'ben'}/run/{number:05}": Balance(number, held=1) for number in numbers}
        await self._runtime.sleep(self._takes_ms)

    async def waiting(self, now_ms):
        return ()

    async def ended_holders(self, now_ms):
        return ()


@pytest.fixture
def runtime():
    return ManualRuntime()


def opened(runtime, **options):
    books = CountedBooks(runtime, **options)
    return books, StatusReadings(lambda: SimpleNamespace(books=books, registry=None, identities=None), runtime)


def test_all_who_ask_at_once_share_a_reading(runtime):
    books, readings = opened(runtime)

    async def scenario():
        return await asyncio.gather(*(readings.status(reader) for reader in (Reader(), ANN, BEN, Reader(), ANN)))

    everybody, ann, ben, *again = asyncio.run(scenario())
    assert books.readings == 1
    assert again == [everybody, ann]
    assert [len(read.status.budgets) for read in (everybody, ann, ben)] == [MOST_BUDGETS] * 3
    assert [read.status.hidden_budgets for read in (everybody, ann, ben)] == [40 - MOST_BUDGETS, 20 - MOST_BUDGETS, 20 - MOST_BUDGETS]
    assert {budget.owner for budget in ann.status.budgets} == {"ann"}
    assert ann.status.hidden_held_nanousd == {"run": 20 - MOST_BUDGETS}
    (sums,) = everybody.status.sums
    assert (sums.accounts, sums.spent, sums.held) == (40, sum(range(40)), 40)


def test_a_reader_who_asks_meanwhile_shares_the_reading_and_another_the_next_one(runtime):
    books, readings = opened(runtime)

    async def scenario():
        first = asyncio.create_task(readings.status(ANN))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        same, others = asyncio.create_task(readings.status(ANN)), [asyncio.create_task(readings.status(each)) for each in (BEN, Reader())]
        await asyncio.gather(first, same, *others)

    asyncio.run(scenario())
    assert books.readings == 2


def test_a_viewer_who_is_gone_takes_no_reading_from_the_others(runtime):
    books, readings = opened(runtime)

    async def scenario():
        gone, stays = asyncio.create_task(readings.status(ANN)), asyncio.create_task(readings.status(ANN))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await stays).status.budgets
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(scenario())
    assert books.readings == 1


def test_a_ledger_that_is_unavailable_is_reported_to_all_and_asked_again(runtime):
    books, readings = opened(runtime)

    async def scenario():
        books.fails = True
        for found in await asyncio.gather(readings.status(ANN), readings.status(BEN), return_exceptions=True):
            assert isinstance(found, LedgerUnavailable)
        books.fails = False
        return await readings.status(ANN)

    assert asyncio.run(scenario()).status.budgets
    assert books.readings == 2


@pytest.mark.parametrize(("accounts", "kept"), [(status_readings.MANY_ACCOUNTS, True), (40, False)])
def test_a_long_reading_is_kept_for_a_while(runtime, accounts, kept):
    books, readings = opened(runtime, accounts=accounts, takes_ms=200)

    async def scenario():
        await readings.status(ANN)
        await readings.status(ANN)
        assert books.readings == (1 if kept else 2)
        await runtime.sleep(2_000)
        await readings.status(ANN)
        assert books.readings == (2 if kept else 3)

    asyncio.run(scenario())
