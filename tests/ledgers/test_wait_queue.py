"""The queue of a process: first come, first served; only the head asks the ledger; and no waiter sleeps for ever."""

import asyncio
import threading
import time

import pytest

from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Refused, Settlement, Shortfall
from paymaster.errors import LedgerUnavailable
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.wait_queue import LONGEST_POLL_MS, RENEW_MS, SHORTEST_POLL_MS, ProcessWaitQueue
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, run
from paymaster.testing import ManualRuntime

SLOT = Charge("slots/m", 1, 1, 0)


def refused(retry_in_ms=None):
    balance = Balance(live=1)
    return Refused("h", 500, (Shortfall(SLOT, balance, None if retry_in_ms is None else 500 + retry_in_ms),))


class CountingLedger(MemoryLedger):
    """Counts how often the queue asks it."""

    def __init__(self):
        super().__init__()
        self.asked = 0
        self.withdrawn = []

    async def reserve(self, hold, now_ms, *, queue_for_ms=0):
        self.asked += 1
        return await super().reserve(hold, now_ms, queue_for_ms=queue_for_ms)

    async def withdraw(self, hold_id):
        self.withdrawn.append(hold_id)
        await super().withdraw(hold_id)


async def call(books, queue, runtime, charges, work_ms=0, deadline_ms=None):
    """One call as the flow makes it; the outcome, or None after the deadline."""
    hold = Hold(runtime.new_id(), charges, 60_000)
    account = queue.busy_account(charge.account for charge in charges)
    outcome = None
    if account is None:
        outcome = await books.reserve(hold, runtime.now_ms())
        account = charges[0].account
    if not isinstance(outcome, Held):
        async with queue.join(account, hold.id, books, runtime) as waiter:
            while await waiter.until(outcome, deadline_ms):
                outcome = await books.reserve(hold, runtime.now_ms(), queue_for_ms=5_000)
                if isinstance(outcome, Held):
                    waiter.served()
                    break
            else:
                return None
    if work_ms:
        await runtime.sleep(work_ms)
    await books.settle(Settlement(hold, outcome.at_ms, tuple(charge.amount for charge in charges), "{}"), runtime.now_ms())
    queue.wake()
    return outcome


def test_a_head_sleeps_until_its_window_makes_room_but_renews_its_ticket():
    runtime = ManualRuntime()
    queue = ProcessWaitQueue()
    books = MemoryLedger()

    async def wait(answer, deadline_ms=None):
        before = runtime.now_ms()
        async with queue.join("slots/m", "h", books, runtime) as waiter:
            worth_asking = await waiter.until(answer, deadline_ms)
        return worth_asking, runtime.now_ms() - before

    assert run(wait(refused(700))) == (True, 700)
    assert run(wait(refused(60_000))) == (True, RENEW_MS)
    assert run(wait(refused())) == (True, (SHORTEST_POLL_MS + LONGEST_POLL_MS) // 2)
    assert run(wait(None)) == (True, (SHORTEST_POLL_MS + LONGEST_POLL_MS) // 2)
    assert run(wait(refused(700), runtime.now_ms() + 300)) == (False, 300)
    assert run(wait(refused(700), runtime.now_ms())) == (False, 0)


def test_a_settlement_lets_the_head_ask_at_once():
    runtime = ManualRuntime()
    queue = ProcessWaitQueue()

    async def wait():
        async with queue.join("slots/m", "h", MemoryLedger(), runtime) as waiter:
            queue.wake()
            return await waiter.until(refused(700))

    assert run(wait())
    assert runtime.slept_ms == []


def test_waiters_behind_the_head_sleep_until_they_are_the_head_and_then_ask_at_once():
    async def story():
        runtime, queue, books = AsyncioRuntime(), ProcessWaitQueue(), MemoryLedger()
        assert queue.busy_account(["usd/run/a", "slots/m"]) is None
        async with queue.join("slots/m", "first", books, runtime) as first:
            second = queue.join("slots/m", "second", books, runtime)
            await second.__aenter__()
            waiting = asyncio.create_task(second.until(None))
            assert queue.busy_account(["usd/run/a", "slots/m"]) == "slots/m"
            assert queue.waiting("slots/m") == 2
            queue.wake()
            assert await first.until(refused())
            await asyncio.sleep(0.01)
            assert not waiting.done()
        started = time.perf_counter()
        assert await waiting
        assert time.perf_counter() - started < SHORTEST_POLL_MS / 1000
        await second.__aexit__(None, None, None)
        assert queue.busy_account(["slots/m"]) is None

    asyncio.run(story())


def test_a_waiter_that_never_becomes_the_head_gives_up_at_its_deadline():
    async def story():
        runtime, queue, books = AsyncioRuntime(), ProcessWaitQueue(), CountingLedger()
        async with queue.join("slots/m", "first", books, runtime), queue.join("slots/m", "second", books, runtime) as second:
            assert not await second.until(None, runtime.now_ms() + 30)
        assert books.withdrawn == []

    asyncio.run(story())


def test_a_cancelled_head_gives_its_ticket_back_before_the_next_waiter_asks():
    async def story():
        runtime, queue, books = AsyncioRuntime(), ProcessWaitQueue(), CountingLedger()
        blocker = Hold("blocker", (Charge("usd/a", 60, 100),), 60_000)
        await books.reserve(blocker, runtime.now_ms())
        big = asyncio.create_task(call(books, queue, runtime, (Charge("usd/a", 90, 100),)))
        await asyncio.sleep(0)
        small = asyncio.create_task(call(books, queue, runtime, (Charge("usd/a", 10, 100),)))
        await asyncio.sleep(0.3)
        assert (await books.balances("usd/a", runtime.now_ms()))["usd/a"].ahead == 90
        big.cancel()
        assert isinstance(await asyncio.wait_for(small, 1), Held)
        with pytest.raises(asyncio.CancelledError):
            await big
        assert len(books.withdrawn) == 1
        assert queue.waiting("usd/a") == 0

    asyncio.run(story())


def test_an_unavailable_ledger_keeps_no_waiter_in_the_queue():
    class Unreachable(MemoryLedger):
        async def withdraw(self, hold_id):
            raise LedgerUnavailable("locked")

    runtime, queue = ManualRuntime(), ProcessWaitQueue()

    async def wait():
        async with queue.join("slots/m", "h", Unreachable(), runtime) as waiter:
            await waiter.until(None)

    run(wait())
    assert queue.busy_account(["slots/m"]) is None


def test_a_waiter_cancelled_in_the_middle_of_the_queue_is_skipped():
    async def story():
        runtime, queue, books = AsyncioRuntime(), ProcessWaitQueue(), CountingLedger()
        tasks = [asyncio.create_task(call(books, queue, runtime, (SLOT,), 5)) for _ in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert [isinstance(outcome, Held) for outcome in outcomes] == [True, True, False, True, True]

    asyncio.run(story())


def test_waiters_are_served_in_turn_and_few_questions_are_refused():
    """64 calls for one slot that is taken for 2 ms each time."""

    async def story():
        runtime, queue, books = AsyncioRuntime(), ProcessWaitQueue(), CountingLedger()
        served = []

        async def one(number):
            held = await call(books, queue, runtime, (SLOT,), 2)
            served.append(number)
            return held

        await asyncio.wait_for(asyncio.gather(*[one(number) for number in range(64)]), 20)
        assert served == list(range(64))
        assert books.asked <= 3 * 64

    asyncio.run(story())


def test_a_large_request_is_not_starved_by_small_ones():
    async def story():
        runtime, queue, books = AsyncioRuntime(), ProcessWaitQueue(), MemoryLedger()
        stop = False
        small_served = 0

        async def stream_of_small_ones():
            nonlocal small_served
            while not stop:
                await call(books, queue, runtime, (Charge("tokens/m", 20, 100, 0),), 3)
                small_served += 1

        small = [asyncio.create_task(stream_of_small_ones()) for _ in range(8)]
        await asyncio.sleep(0.05)
        for _ in range(5):
            assert isinstance(await asyncio.wait_for(call(books, queue, runtime, (Charge("tokens/m", 100, 100, 0),), 3), 2), Held)
        stop = True
        await asyncio.gather(*small)
        assert small_served > 20

    asyncio.run(story())


def test_threads_and_tasks_wait_in_the_same_queue():
    queue, books = ProcessWaitQueue(), MemoryLedger()
    served = []

    def thread():
        runtime = BlockingRuntime()
        for _ in range(10):
            assert isinstance(run(call(books, queue, runtime, (SLOT,), 1)), Held)
            served.append("thread")

    async def tasks():
        runtime = AsyncioRuntime()

        async def task():
            for _ in range(10):
                assert isinstance(await call(books, queue, runtime, (SLOT,), 1), Held)
                served.append("task")

        await asyncio.gather(task(), task())

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for each in threads:
        each.start()
    asyncio.run(asyncio.wait_for(tasks(), 20))
    for each in threads:
        each.join(20)
    assert len(served) == 50
    assert queue.waiting("slots/m") == 0
