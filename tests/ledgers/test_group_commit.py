"""Callers of one event loop share transactions, and get the same answers as without."""

import asyncio
import functools
import itertools
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paymaster.accounting.accounts import Charge, Held, Hold, HoldEnded, Post, Refused, Settlement
from paymaster.errors import LedgerReplaced, LedgerUnavailable, LedgerUnusable
from paymaster.ledgers import retirement, transactions
from paymaster.ledgers.sqlite.file import open_database
from paymaster.ledgers.sqlite.ledger import GROUPED_FROM, SqliteLedger
from paymaster.ledgers.sqlite.store import GroupStore, SqliteStore
from paymaster.ledgers.urls import open_ledger
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, run

T = 1_000_000
ACCOUNTS = st.sampled_from(["usd/run/a", "usd/month", "requests/m", "usd/day/1969-11-01"])  # the last one's time is over
CHARGES = st.lists(
    st.builds(Charge, ACCOUNTS, st.integers(0, 9), st.sampled_from([None, 12, 20]), st.sampled_from([None, 0, 50])),
    min_size=1, max_size=3, unique_by=lambda charge: charge.account,
)  # fmt: skip
HOLDS = st.builds(lambda number, charges, lease: Hold(f"h{number}", tuple(charges), lease), st.integers(0, 5), CHARGES, st.integers(1, 90))


def _settle(hold, share, posts, clears):
    amounts = tuple(charge.amount * share // 4 for charge in hold.charges)
    return lambda store, now_ms: transactions.settle(store, Settlement(hold, T, amounts, f'"{hold.id}"', posts, clears), now_ms)


POSTS = st.lists(st.builds(Post, ACCOUNTS, st.integers(-3, 9), st.sampled_from([None, 30])), max_size=2).map(tuple)
WORKS = st.one_of(
    st.builds(lambda hold, queue: lambda store, now: transactions.reserve(store, hold, now, queue), HOLDS, st.sampled_from([0, 40])),
    st.builds(_settle, HOLDS, st.integers(0, 5), POSTS, st.lists(ACCOUNTS, max_size=1).map(tuple)),
    st.builds(lambda number: lambda store, _now: transactions.withdraw(store, f"h{number}"), st.integers(0, 5)),
    st.builds(lambda posts, clears: lambda store, now: transactions.post(store, posts, clears, now), POSTS, st.lists(ACCOUNTS, max_size=1)),
    st.just(transactions.sweep),
)  # fmt: skip


def _alone(work, store, now_ms):
    store.connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(store, now_ms)
    except ValueError as error:
        store.connection.execute("ROLLBACK")
        return str(error)
    store.connection.execute("COMMIT")
    return result


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    connection = open_database(tmp_path_factory.mktemp("group") / "empty.sqlite3")
    yield connection
    connection.close()


def _copy(connection):
    copy = sqlite3.connect(":memory:", isolation_level=None)
    connection.backup(copy)
    return SqliteStore(copy)


@pytest.fixture(scope="module", autouse=True)
def looks_at_every_settlement():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(retirement, "LOOK_EVERY_MS", 0)
        patched.setattr(retirement, "PAGE_EVERY_MS", 0)
        patched.setattr(retirement, "PAGE", 2)
        yield


@settings(max_examples=150, deadline=None)
@given(groups=st.lists(st.lists(st.tuples(WORKS, st.integers(0, 40)), min_size=1, max_size=6), min_size=1, max_size=6))
def test_a_group_leaves_what_its_works_leave_one_by_one(empty, groups):
    alone, together = _copy(empty), _copy(empty)
    for store in (alone, together):
        store.connection.execute("UPDATE clock SET retire_at_ms = 1")  # from now on, every settlement looks for accounts that may leave
    now_ms = T
    for group in groups:
        times = list(itertools.accumulate((later_ms for _, later_ms in group), initial=now_ms))[1:]
        now_ms = times[-1]
        expected = [_alone(work, alone, at_ms) for (work, _), at_ms in zip(group, times, strict=True)]
        together.connection.execute("BEGIN IMMEDIATE")
        shared = GroupStore(together)
        try:
            found = [work(shared, at_ms) for (work, _), at_ms in zip(group, times, strict=True)]
        except ValueError:  # a group in which one is refused is done one by one
            together.connection.execute("ROLLBACK")
            found = [_alone(work, together, at_ms) for (work, _), at_ms in zip(group, times, strict=True)]
        else:
            shared.flush()
            together.connection.execute("COMMIT")
        assert found == expected
    dumps = [list(store.connection.iterdump()) for store in (alone, together)]
    for store in (alone, together):
        store.connection.close()
    assert dumps[0] == dumps[1]


def _hold(name, amount=1, cap=None):
    return Hold(name, (Charge("usd/run/r", amount, cap), Charge("slots/m", 1, None, 0)), 60_000)


def _paid(hold, amount=1):
    return Settlement(hold, T, (amount, 1), "{}")


def grouped(test):
    """Run the test in a loop, with a ledger whose next callers share transactions."""

    @functools.wraps(test)
    def within(tmp_path):
        async def main():
            ledger = SqliteLedger(tmp_path / "ledger.sqlite3", AsyncioRuntime().sleep, patience_ms=300, grouped=True)
            for number in range(GROUPED_FROM):
                await ledger.reserve(_hold(f"first-{number}", 0), T)
            await test(ledger)
            await ledger.close()

        asyncio.run(main())

    del within.__wrapped__  # pytest would ask for what the test itself takes
    return within


@grouped
async def test_a_budget_is_a_bound_for_callers_of_one_group(ledger):
    outcomes = await asyncio.gather(*(ledger.reserve(_hold(f"h{number}", 3, cap=100), T) for number in range(200)))
    held = [outcome for outcome in outcomes if isinstance(outcome, Held)]
    assert len(held) == 33
    assert all(isinstance(outcome, Refused) for outcome in outcomes if outcome not in held)
    await asyncio.gather(*(ledger.settle(_paid(_hold(outcome.hold_id, 3, cap=100), 2), T) for outcome in held))
    balance = (await ledger.balances("usd/", T))["usd/run/r"]
    assert (balance.settled, balance.held) == (66, 0)
    assert len([record async for record in ledger.records()]) == 33


@grouped
async def test_a_group_is_one_transaction(ledger):
    begun = []
    ledger._store.connection.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
    await asyncio.gather(*(ledger.reserve(_hold(f"h{number}"), T) for number in range(40)))
    assert len(begun) == 1


@grouped
async def test_a_work_that_is_refused_spoils_nothing_for_its_neighbours(ledger):
    bad = Hold("bad", (Charge("usd/run/r", -1, None),), 1000)
    first, refused, last = await asyncio.gather(
        ledger.reserve(_hold("a"), T), ledger.reserve(bad, T), ledger.reserve(_hold("b"), T), return_exceptions=True
    )
    assert isinstance(refused, ValueError)
    assert (first.hold_id, last.hold_id) == ("a", "b")
    assert (await ledger.balances("usd/", T))["usd/run/r"].held == 2


@grouped
async def test_a_hold_whose_caller_is_cancelled_before_the_transaction_is_never_made(ledger):
    asks = [asyncio.create_task(ledger.reserve(_hold(f"h{number}"), T)) for number in range(3)]
    asyncio.get_running_loop().call_soon(asks[1].cancel)  # after they have asked, before the group is done
    outcomes = await asyncio.gather(*asks, return_exceptions=True)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert (await ledger.balances("usd/", T))["usd/run/r"].held == 2


@grouped
async def test_what_was_spent_is_settled_no_matter_which_task_is_cancelled(ledger):
    hold = _hold("h", 5)
    await ledger.reserve(hold, T)
    ask = asyncio.create_task(ledger.settle(_paid(hold, 4), T))
    await asyncio.sleep(0)
    ask.cancel()
    await asyncio.wait([ask])
    await asyncio.sleep(0)
    assert (await ledger.balances("usd/", T))["usd/run/r"].settled == 4


def test_what_was_spent_is_settled_if_the_loop_closes_at_once(tmp_path):
    path, hold = tmp_path / "ledger.sqlite3", _hold("h", 5)
    ledger = SqliteLedger(path, AsyncioRuntime().sleep, grouped=True)

    async def main():
        for number in range(GROUPED_FROM):
            await ledger.reserve(_hold(f"first-{number}", 0), T)
        await ledger.reserve(hold, T)
        last = asyncio.create_task(ledger.settle(_paid(hold, 4), T))
        await asyncio.sleep(0)
        del last

    asyncio.run(main())
    run(ledger.close())
    ledger = SqliteLedger(path, BlockingRuntime().sleep)
    assert run(ledger.balances("usd/", T))["usd/run/r"].settled == 4
    run(ledger.close())


@grouped
async def test_a_group_waits_for_another_process_that_writes(ledger):
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asks = asyncio.gather(*(ledger.reserve(_hold(f"h{number}"), T) for number in range(20)))
    await asyncio.sleep(0.05)
    assert not asks.done()
    other.execute("ROLLBACK")
    other.close()
    assert all(isinstance(outcome, Held) for outcome in await asks)


@grouped
async def test_every_caller_of_a_group_gets_the_error_of_a_locked_file(ledger):
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(*(ledger.reserve(_hold(f"h{number}"), T) for number in range(5)), return_exceptions=True)
    other.close()
    assert all(isinstance(outcome, LedgerUnavailable) for outcome in outcomes)
    assert await ledger.balances("usd/", T) == {}


@grouped
async def test_a_figure_that_no_ledger_can_hold_leaves_no_neighbour_waiting(ledger):
    much = [_paid(_hold(f"h{number}"), 2**62 - 1) for number in range(3)]
    async with asyncio.timeout(20):
        first, *refused, last = await asyncio.gather(
            ledger.reserve(_hold("a"), T), *(ledger.settle(paid, T) for paid in much), ledger.reserve(_hold("b"), T), return_exceptions=True
        )
    assert any(isinstance(outcome, OverflowError) for outcome in refused)
    assert (first.hold_id, last.hold_id) == ("a", "b")


@grouped
async def test_a_hold_that_has_ended_spoils_nothing_for_its_neighbours_while_the_file_is_locked(ledger):
    await ledger.settle(_paid(_hold("gone")), T)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asks = asyncio.gather(*(ledger.reserve(_hold(name), T) for name in ("a", "gone", "b")), return_exceptions=True)
    await asyncio.sleep(0.02)
    other.execute("ROLLBACK")
    other.close()
    first, ended, last = await asks
    assert isinstance(ended, HoldEnded)
    assert (first.hold_id, last.hold_id) == ("a", "b")


@grouped
async def test_a_caller_waiting_for_a_locked_file_is_answered_when_all_other_tasks_are_cancelled(ledger):
    hold = _hold("h", 5)
    await ledger.reserve(hold, T)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ask = asyncio.create_task(ledger.settle(_paid(hold, 4), T))
    await asyncio.sleep(0.02)
    for task in asyncio.all_tasks() - {ask, asyncio.current_task()}:
        task.cancel()
    other.execute("ROLLBACK")
    other.close()
    async with asyncio.timeout(20):
        await ask
    assert (await ledger.balances("usd/", T))["usd/run/r"].settled == 4


def test_two_loops_in_two_threads_share_one_ledger(tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", AsyncioRuntime().sleep, grouped=True)

    async def main(thread):
        async with asyncio.timeout(30):
            for turn in range(20):
                holds = [_hold(f"{thread}-{turn}-{number}") for number in range(8)]
                await asyncio.gather(*(ledger.reserve(hold, T) for hold in holds))
                await asyncio.gather(*(ledger.settle(_paid(hold), T) for hold in holds))

    with ThreadPoolExecutor(2) as threads:
        for loop in [threads.submit(asyncio.run, main(thread)) for thread in range(2)]:
            loop.result(timeout=60)
    balance = run(ledger.balances("usd/", T))["usd/run/r"]
    assert (balance.settled, balance.held) == (320, 0)
    run(ledger.close())


def _ask_in_a_loop_that_ends_at_once(ledger):
    """Queue a work in a loop that never gets to its transaction."""

    async def waiters():
        for number in range(GROUPED_FROM):
            await ledger.reserve(_hold(f"first-{number}", 0), T)
        asyncio.get_running_loop().stop()
        await ledger.reserve(_hold("abandoned"), T)

    loop = asyncio.new_event_loop()
    task = loop.create_task(waiters())
    loop.run_forever()
    return loop, task


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_work_left_by_a_closed_loop_does_not_block_the_next_loop(tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", AsyncioRuntime().sleep, grouped=True)
    loop, task = _ask_in_a_loop_that_ends_at_once(ledger)
    loop.close()

    async def ask():
        async with asyncio.timeout(20):
            return await ledger.reserve(_hold("h"), T)

    assert isinstance(asyncio.run(ask()), Held)
    assert run(ledger.balances("usd/", T))["usd/run/r"].held == 1
    run(ledger.close())
    del task


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_does_not_wait_for_work_in_its_parents_group(tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", AsyncioRuntime().sleep, grouped=True)
    loop, task = _ask_in_a_loop_that_ends_at_once(ledger)

    async def ask():
        async with asyncio.timeout(20):
            return await ledger.reserve(_hold("h"), T)

    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if isinstance(asyncio.run(ask()), Held) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    loop.run_until_complete(task)
    loop.close()
    assert run(ledger.balances("usd/", T))["usd/run/r"].held == 2
    run(ledger.close())


@grouped
async def test_every_caller_of_a_group_gets_the_error_of_a_file_that_is_no_ledger_any_more(ledger):
    await ledger.close()
    for file in ledger.path.parent.iterdir():
        file.unlink()
    ledger.path.mkdir()
    answers = await asyncio.wait_for(asyncio.gather(*(ledger.reserve(_hold(f"x{n}"), T) for n in range(3)), return_exceptions=True), 20)
    assert [type(answer) for answer in answers] == [LedgerUnusable] * 3


@grouped
async def test_every_caller_of_a_group_is_refused_when_the_file_was_replaced_and_nothing_else_is_reported(ledger):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    kept = ledger.path.rename(ledger.path.with_name("kept"))
    answers = await asyncio.gather(*(ledger.reserve(_hold(f"h{number}"), T) for number in range(8)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LedgerReplaced] * 8
    kept.rename(ledger.path)
    assert isinstance(await ledger.reserve(_hold("h"), T), Held)
    assert reported == []


@grouped
async def test_an_unexpected_error_leaves_no_caller_of_the_group_waiting(ledger):
    unhandled = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context["exception"]))
    odd = Settlement(_hold("odd"), T, (1, 1), "{}", posts=None)
    answers = await asyncio.wait_for(
        asyncio.gather(ledger.settle(odd, T), ledger.reserve(_hold("neighbour"), T), return_exceptions=True), 20
    )
    assert isinstance(answers[0], TypeError)
    assert isinstance(answers[1], Held)  # each does its work by itself then
    assert [type(error) for error in unhandled] == [TypeError]


@grouped
async def test_calls_that_have_ended_do_not_count_as_open_holds(ledger):
    await ledger.withdraw("first-0")
    await ledger.settle(_paid(_hold("of another process")), T)
    await ledger.reserve(_hold("second"), T)
    reserving = asyncio.create_task(ledger.reserve(_hold("in a group"), T))
    await asyncio.sleep(0)
    assert not reserving.done(), "four holds are open"
    await reserving
    for name in ("second", "in a group"):
        await ledger.withdraw(name)
    assert isinstance(run(ledger.reserve(_hold("at once"), T)), Held)


def test_holds_whose_lease_is_over_do_not_count_as_open(tmp_path):
    """A hold may end elsewhere: another process posts its settlement, or the file is unavailable when it is withdrawn."""
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", BlockingRuntime().sleep)
    for number in range(2 * GROUPED_FROM):
        run(ledger.reserve(_hold(f"expires-{number}"), T))
    run(ledger.reserve(_hold("later"), T + _hold("expires").lease_ms))
    assert list(ledger._open_holds) == ["later"]
    run(ledger.close())


def test_the_ledger_of_an_event_loop_shares_transactions_and_that_of_threads_does_not(tmp_path):
    async def transactions_of_forty(*, blocking):
        ledger = open_ledger(None, AsyncioRuntime().sleep, state_dir=tmp_path / str(blocking), blocking=blocking)
        for number in range(GROUPED_FROM):
            await ledger.reserve(_hold(f"first-{number}", 0), T)
        begun = []
        ledger._store.connection.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
        await asyncio.gather(*(ledger.reserve(_hold(f"h{number}"), T) for number in range(40)))
        await ledger.close()
        return len(begun)

    assert asyncio.run(transactions_of_forty(blocking=False)) == 1
    assert asyncio.run(transactions_of_forty(blocking=True)) == 40
