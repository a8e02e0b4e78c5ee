"""Reading a ledger: how many statements and scripts it takes, and that what is cleaned up in passing is bounded, and exact all the same."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
import redis

from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Post, Refused, Settlement
from paymaster.ledgers import unit_of_work
from paymaster.ledgers.account_views import PAGE
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, WindowEntry
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.sqlite import reading
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import iterate, run
from paymaster.views.ledger_status import StatusBuilder
from paymaster.views.status_reading import read_status

T = 1_000_000
RPM = Charge("requests/m", 1, 100_000, 60_000)
READINGS = {
    "status": lambda ledger: run(read_status(ledger, T, [StatusBuilder()])),
    "status of a run": lambda ledger: run(read_status(ledger, T, [StatusBuilder(run="exp-1")], run="exp-1")),
    "balances": lambda ledger: run(ledger.balances("", T)),
    "some balances": lambda ledger: run(ledger.balances_of(["usd/run/exp-1", "requests/m1", "no/such"], T)),
    "waiting": lambda ledger: run(ledger.waiting(T)),
    "records": lambda ledger: list(iterate(ledger.records())),
}


def fill(ledger, accounts):
    """So many budgets, and as many windows with an entry."""
    items = [ExportHead(T)]
    items += [AccountSums(f"usd/run/exp-{number}", number, 0, 0) for number in range(accounts)]
    items += [AccountSums(f"requests/m{number}", 0, 1, 0) for number in range(accounts)]
    items += [WindowEntry(f"requests/m{number}", T + 60_000 + number, "", 1) for number in range(accounts)]
    admin = admin_for(ledger)
    admin.load(items)
    admin.close()


def statements_of(monkeypatch, ledger, ask):
    """The statements of a reading, those of the connections that it opens included."""
    found: list[str] = []

    def connect(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.set_trace_callback(found.append)
        return connection

    monkeypatch.setattr(reading, "connect", connect)
    run(ledger.waiting(T))
    ledger._store.connection.set_trace_callback(found.append)
    ask(ledger)
    return len(found)


@pytest.mark.parametrize("name", READINGS)
def test_a_reading_of_a_file_takes_as_many_statements_however_many_accounts_there_are(tmp_path, runtime, monkeypatch, name):
    counts = []
    for accounts in (3, 3_000):
        ledger = SqliteLedger(tmp_path / f"{accounts}.sqlite3", runtime.sleep)
        fill(ledger, accounts)
        counts.append(statements_of(monkeypatch, ledger, READINGS[name]))
        run(ledger.close())
    assert counts[1] <= counts[0] <= 50


@pytest.mark.parametrize("name", READINGS)
def test_a_reading_of_a_server_takes_a_script_for_each_page(redis_url, redis_server, runtime, name):
    ledger = RedisLedger(read_address(redis_url), runtime.sleep, blocking=True, server_clock=False)
    fill(ledger, 1_000)
    run(ledger.balances_of([], T))
    with redis.Redis(port=redis_server.port) as client:
        before = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        READINGS[name](ledger)
        scripts = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    pages = {"status": 2_000 // PAGE, "status of a run": 2_000 // PAGE, "balances": 2_000 // PAGE + 2_000 // 500}.get(name, 0)
    assert scripts <= 2 * pages + 4  # a page of a server has about so many accounts
    run(ledger.close())


@pytest.mark.parametrize("accounts", [0, 1, PAGE, 2 * PAGE + 7])
def test_pages_have_each_account_once_and_agree_with_the_whole(ledger, accounts):
    posts = [Post(f"usd/run/exp-{number}", number + 1, None) for number in range(accounts)]
    posts += [Post(f"requests/m{number}", 2, 1_000 + number) for number in range(accounts)]
    if posts:
        run(ledger.post(posts, (), T))
    run(ledger.reserve(Hold("open", (Charge("usd/run/exp-0", 5, None), Charge("requests/m0", 3, None, 50)), 10), T))
    for now_ms in (T, T + 20, T + 60, T + 1_300, T + 9_000):  # the lease is over, then windows
        whole = run(ledger.balances("", now_ms))
        pages = list(iterate(ledger.balance_pages(["requests/", "usd", "usd/run"], now_ms)))
        found = {account: balance for page in pages for account, balance in page.items()}
        assert sum(map(len, pages)) == len(found)
        assert {account: balance._replace(free_at=()) for account, balance in found.items()} == {
            account: balance._replace(free_at=()) for account, balance in whole.items()
        }
        for account, balance in whole.items():
            moments = [at_ms for at_ms, _ in balance.free_at]
            assert [at_ms for at_ms, _ in found[account].free_at] == list(dict.fromkeys(moments[:1] + moments[-1:]))
        wanted = ["usd/run/exp-0", "requests/m0", "no/such", "usd/run/exp-0"]
        assert run(ledger.balances_of(wanted, now_ms)) == {account: whole[account] for account in wanted if account in whole}


def test_a_long_window_is_read_in_parts(ledger):
    for number in range(1_200):
        run(ledger.post([Post("requests/m", 1, 1_000 + number // 2)], (), T))
    balance = run(ledger.balances("requests/", T))["requests/m"]
    assert balance == Balance(live=1_200, free_at=tuple((T + 1_000 + number, 2) for number in range(600)))
    (page,) = iterate(ledger.balance_pages(["requests/"], T + 1_299))
    assert page["requests/m"] == Balance(live=600, free_at=((T + 1_300, 0), (T + 1_599, 0)))
    assert run(ledger.balances_of(["requests/m"], T + 1_299))["requests/m"].live == 600


@pytest.fixture
def hundreds_expired(ledger):
    """A ledger with more that left a window than one transaction takes off, and an open hold of which an entry has left."""
    run(ledger.reserve(Hold("open", (RPM,), 10**9), T))
    for number in range(unit_of_work.EXPIRED_AT_ONCE * 2 + 100):
        run(ledger.post([Post("requests/m", 1, 1_000)], (), T + number // 50))
        run(ledger.post([Post("requests/n", 1, 1_000)], (), T + number // 50))
    return ledger


def test_what_left_a_window_is_taken_off_in_parts_and_never_in_the_way(hundreds_expired):
    ledger, late = hundreds_expired, T + 70_000
    outcome = run(ledger.reserve(Hold("new", (Charge("requests/m", 100_000, 100_000, 60_000),), 1_000), late))
    assert isinstance(outcome, Held)
    assert outcome.balances[0] == Balance(held=100_000)
    assert run(ledger.balances("requests/", late))["requests/m"].total == 100_000


def test_a_hold_whose_window_is_over_is_settled_exactly_before_all_is_taken_off(hundreds_expired):
    ledger, late = hundreds_expired, T + 70_000
    run(ledger.settle(Settlement(Hold("open", (RPM,), 10**9), T, (1,), "{}"), late))
    for _ in range(6):
        run(ledger.post([Post("requests/m", 0, None)], (), late))
    assert {account: balance.total for account, balance in run(ledger.balances("requests/", late)).items()} == {
        "requests/m": 0,
        "requests/n": 0,
    }
    outcome = run(ledger.reserve(Hold("new", (Charge("requests/m", 5, 5, 60_000),), 1_000), late))
    assert isinstance(outcome, Held)
    assert outcome.balances == (Balance(held=5),)


def test_lost_holds_are_charged_in_parts_and_each_once(ledger):
    count = 5 * unit_of_work.LOST_AT_ONCE
    cap = 3 * count + 10
    for number in range(count):
        run(ledger.reserve(Hold(f"h{number}", (Charge("usd", 3, cap), Charge("slots/m", 1, count, 0)), 10 + number % 7, '"lost"'), T))
    run(ledger.reserve(Hold("alive", (Charge("usd", 3, cap),), 10**6), T))
    late, lost = T + 1_000, []
    first = run(ledger.reserve(Hold("one", (Charge("usd", 1, cap),), 10**6), late))
    lost += first.lost
    assert 0 < len(lost) < count
    assert first.balances[0].total == 3 * count + 3 + 1  # none is charged twice, or forgotten
    assert isinstance(run(ledger.reserve(Hold("full", (Charge("usd", 7, cap),), 10**6), late)), Refused) or pytest.fail("over the cap")
    whole = run(ledger.balances("", late))
    assert (whole["usd"].total, whole["slots/m"].held) == (3 * count + 4, 0)
    outcome = run(ledger.reserve(Hold("all", (Charge("slots/m", count, count, 0),), 10**6), late))
    assert isinstance(outcome, Held)  # lost slots are free, whatever was left to charge
    run(ledger.sweep(late))
    records = list(iterate(ledger.records()))
    assert sorted(record.hold_id for record in records) == sorted(f"h{number}" for number in range(count))
    assert run(ledger.balances("usd", late))["usd"] == Balance(settled=3 * count, held=4)
    assert run(ledger.sweep(late)) == ()


def test_a_hold_that_is_made_during_a_long_sweep_is_charged_when_its_lease_ends(ledger):
    for number in range(6 * unit_of_work.LOST_AT_ONCE):
        run(ledger.reserve(Hold(f"h{number}", (Charge("usd", 1, None),), 10), T))
    run(ledger.reserve(Hold("new", (Charge("usd", 1, None),), 50), T + 20))
    run(ledger.sweep(T + 30))
    assert [lost.hold_id for lost in run(ledger.sweep(T + 100))] == ["new"]


def test_many_accounts_in_one_transaction_are_read_in_parts(ledger):
    count = 40_000 if isinstance(ledger, SqliteLedger) else 1_500
    if isinstance(ledger, SqliteLedger):
        run(ledger.sweep(T))
        with closing(sqlite3.connect(ledger.path)) as database, database:
            rows = [(T, f"requests/m{number}", "", 1, 0) for number in range(count)]
            database.executemany("INSERT INTO entry (free_ms, account, owner, amount, is_open) VALUES (?, ?, ?, ?, ?)", rows)
            database.executemany("INSERT INTO account (name, settled, live, held) VALUES (?, 0, 1, 0)", [row[1:2] for row in rows])
    else:
        run(ledger.post([Post(f"requests/m{number}", 1, 10) for number in range(count)], (), T - 10))
    outcome = run(ledger.reserve(Hold("new", (Charge("requests/m9", 1, 1, 60_000),), 1_000), T + 1))
    assert isinstance(outcome, Held)


def test_the_loop_goes_on_while_a_file_is_read(tmp_path):
    """Pages of a file are read in a thread, and a reading that is given up is closed."""

    async def scenario():
        ledger = SqliteLedger(tmp_path / "l.sqlite3", lambda ms: asyncio.sleep(ms / 1000), grouped=True)
        await ledger.post([Post(f"usd/run/{number}", 1, None) for number in range(3 * PAGE)], (), T)
        turns = 0

        async def beat():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(beat())
        pages = [len(page) async for page in ledger.balance_pages([""], T)]
        given_up = ledger.balance_pages([""], T)
        await anext(given_up)
        await given_up.aclose()
        task.cancel()
        await ledger.close()
        return pages, turns

    pages, turns = asyncio.run(scenario())
    assert pages == [PAGE] * 3
    assert turns > 3


def test_a_reading_of_a_file_is_of_one_instant_and_holds_up_no_writer(tmp_path, runtime):
    ledger = SqliteLedger(tmp_path / "l.sqlite3", runtime.sleep)
    names = [f"usd/run/{number:04}" for number in range(2 * PAGE)]
    run(ledger.post([Post(name, 1, None) for name in names], (), T))
    pages = iterate(ledger.balance_pages(["usd"], T))
    first = next(pages)
    run(ledger.post([Post(names[-1], 1, None), Post("usd/run/new", 1, None)], (), T))
    rest = next(pages)
    assert (len(first), len(rest), rest[names[-1]].settled) == (PAGE, PAGE, 1)
    assert next(pages, None) is None
    run(ledger.close())


def test_a_memory_ledger_is_read_in_pages_as_well():
    ledger = MemoryLedger()
    run(ledger.post([Post(f"usd/run/{number}", 1, None) for number in range(PAGE + 1)], (), T))
    assert [len(page) for page in iterate(ledger.balance_pages(["usd"], T))] == [PAGE, 1]
