"""A ledger on a server is brought up to date while its callers wait, whichever client dies on the way."""

from __future__ import annotations

import asyncio
import struct
import threading
from contextlib import ExitStack, closing

import pytest
import redis

from old_files import server_ledger
from paymaster.accounting.accounts import Charge, Held, Hold, Refused
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.admin.export_format import write_lines
from paymaster.ledgers.redis import migration
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.redis.scripts import _script
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, run

T = 1_700_000_000_000
PAGES = "ACCOUNTS_AT_ONCE, HOLDS_AT_ONCE, RECORDS_AT_ONCE, ADDED_AT_ONCE = "
BEN = AttemptRecord(
    call_id="c",
    attempt=1,
    at_ms=T,
    model="m",
    provider="p",
    model_id="m",
    outcome="answered",
    billed="exact",
    cost_nanousd=5,
    held_nanousd=5,
    cost_source="registry",
    run="exp",
    user="ben",
).to_json()


class KilledError(BaseException):
    """The process is dead: nothing else is done."""


@pytest.fixture
def opened(monkeypatch):
    """Opens clients that read a few of everything at once, and closes them."""
    monkeypatch.setattr(migration, "PUT_AT_ONCE", 4)
    with ExitStack() as stack:

        def open_it(url, pause=None, *, patience_ms=5_000, blocking=True):
            runtime = BlockingRuntime() if blocking else AsyncioRuntime()
            address = read_address(f"{url}&timeout_ms={patience_ms}")
            ledger = RedisLedger(address, pause or runtime.sleep, blocking=blocking, server_clock=False)
            script = ledger._runner.scripts["migrate"]
            assert PAGES in script.text
            ledger._runner.scripts["migrate"] = _script(script.text.replace(f"{PAGES}1000, 200, 500, 500", f"{PAGES}2, 1, 20, 3"))
            if blocking:
                stack.callback(lambda: run(ledger.close()))
            return ledger

        yield open_it


@pytest.fixture
def server(redis_server):
    with redis.Redis(port=redis_server.port) as client:
        yield client


@pytest.fixture
def old(redis_url):
    """Puts ledgers of version 1 onto the server: those of bca1a69, under names of their own. Answers the URL."""
    return lambda number=0: server_ledger("", f"{redis_url}-{number}").url


@pytest.fixture
def expected(old, opened):
    """What becomes of it if nobody dies."""
    return exported(opened(old("expected")))


def exported(ledger):
    with closing(admin_for(ledger)) as admin:
        return b"".join(write_lines(admin.snapshot()))


def key_of(ledger, part):
    return ledger.address.state_key.removesuffix("state") + part


def interrupt(ledger, at, act):
    """Calls `act` instead of step `at` of a migration, from 0, with a function that does the step. A list of the steps until then."""
    steps, run_script = [], ledger._runner.run

    async def run_or_act(verb, request, *, waits=False):
        if verb != "migrate":
            return await run_script(verb, request, waits=waits)
        steps.append(request["step"])
        if len(steps) - 1 == at:
            return await act(lambda: run_script(verb, request, waits=waits))
        return await run_script(verb, request, waits=waits)

    ledger._runner.run = run_or_act
    return steps


def test_there_are_steps_of_every_kind(old, opened, expected):
    ledger = opened(old())
    steps = interrupt(ledger, -1, None)
    run(ledger.balances("", 0))
    assert steps[0] == "begin"
    assert all(steps.count(step) > 1 for step in ("records", "put", "add"))
    assert steps == sorted(steps, key=["begin", "accounts", "records", "holds", "put", "add"].index)
    assert exported(ledger) == expected


@pytest.mark.parametrize("is_done", [False, True], ids=["before the step", "after it"])
def test_a_client_may_die_at_any_step(old, opened, server, expected, is_done):
    async def die(step):
        if is_done:
            await step()
        raise KilledError

    for at in range(100):
        url = old(at)
        steps = interrupt(dying := opened(url), at, die)
        try:
            run(dying.balances("", 0))
        except KilledError:
            pass
        else:
            break
        state = struct.unpack("<d", server.get(key_of(dying, "state"))[:8])[0]
        is_alive = server.pttl(key_of(dying, "migration"))
        assert (state, 0 < is_alive <= 60_000) in {(1, False), (1004, True), (4, False)}, steps
        if state == 1004:
            with pytest.raises(LedgerUnavailable, match="is being brought up to date by another process"):
                run(opened(url, patience_ms=30).balances("", 0))
            server.pexpire(key_of(dying, "migration"), 0)
        assert exported(opened(url)) == expected, steps
        assert not server.exists(*(key_of(dying, f"migration{each}") for each in ("", "-draft", "-additions")))
    assert at == len(steps) > 10


def test_a_client_that_counted_as_dead_changes_nothing_more(old, opened, server, expected):
    for at in range(1, 100):
        url = old(at)
        late = opened(url)

        async def wait_too_long(step, url=url, late=late):
            server.delete(key_of(late, "migration"))
            assert exported(opened(url)) == expected
            return await step()

        steps = interrupt(late, at, wait_too_long)
        assert exported(late) == expected, steps
        if at == len(steps):
            break
    assert at > 10


def test_a_client_does_not_go_on_with_what_another_has_begun(old, opened, server):
    url = old()
    late = opened(url, patience_ms=30)

    async def wait_too_long(step):
        server.delete(key_of(late, "migration"))
        await opened(url)._runner.run("migrate", {"step": "begin", "token": "another", "new_id": "ab" * 16})
        return await step()

    interrupt(late, 3, wait_too_long)
    with pytest.raises(LedgerUnavailable, match="another process"):
        run(late.balances("", 0))
    assert server.get(key_of(late, "migration")) == b"another"


def test_two_clients_at_once(old, opened, expected):
    url, found = old(), []
    ledgers = [opened(url) for _ in range(4)]
    threads = [threading.Thread(target=lambda ledger=ledger: found.append(exported(ledger))) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_a_caller_waits_until_another_client_is_ready(old, opened, server):
    url, pauses = old(), []

    async def pause(_ms):
        pauses.append(server.pttl(key_of(other, "migration")))
        server.delete(key_of(other, "migration"))
        await other.balances("", 0)

    other = opened(url)
    run(other._runner.run("migrate", {"step": "begin", "token": "another", "new_id": "ab" * 16}))
    caller = opened(url, pause)
    hold = Hold("late", (Charge("usd/~ann/run/exp-1", 2, 6_709_001),), 60_000)
    assert isinstance(run(caller.reserve(hold, 0)), Refused)
    assert len(pauses) == 1


def test_a_cancelled_call_lets_the_next_one_begin(old, opened, server):
    url = old()

    async def cancelled():
        ledger = opened(url, blocking=False)
        is_waiting = asyncio.Event()

        async def hang(_step):
            is_waiting.set()
            await asyncio.Event().wait()

        interrupt(ledger, 4, hang)
        call = asyncio.create_task(ledger.balances("", 0))
        await is_waiting.wait()
        assert server.exists(key_of(ledger, "migration"))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await ledger.close()

    asyncio.run(cancelled())
    assert "usd/~ann/run/exp-1" in run(opened(url, patience_ms=30).balances("", 0))


def test_an_import_waits_as_well(old, opened):
    url = old()
    run(opened(url)._runner.run("migrate", {"step": "begin", "token": "another", "new_id": "ab" * 16}))
    with pytest.raises(LedgerUnavailable, match="another process"):
        admin_for(opened(url, patience_ms=30)).load([])


def test_a_ledger_without_runs_reads_no_record(redis_url, opened, server):
    ledger = opened(redis_url)
    make_old(server, ledger, {"usd": 5, "requests/m": 1, "usd/user/ann": 5}, [(BEN, '{"usd": 5}')])
    steps = interrupt(ledger, -1, None)
    assert run(ledger.balances("usd", 0))["usd"].settled == 5
    assert set(steps) == {"begin", "accounts", "add"}


def test_what_cant_be_read_counts_for_every_user(redis_url, opened, server):
    """A record whose text is broken, one whose amounts are, and a hold that was cut off."""
    ledger = opened(redis_url)
    records = [(BEN, '{"usd/run/exp": 5}'), ("{", '{"usd/run/exp": 7}'), (BEN, "{"), (BEN, '{"usd/run/exp": "x"}')]
    make_old(server, ledger, {"usd/run/exp": 12, "usd/user/ann": 1}, records)
    server.hset(key_of(ledger, "holds"), "h", struct.pack("<ddd", T, T + 60_000, 2) + b"[")
    with pytest.raises(LedgerUnusable, match="'h' can't be read"):
        run(ledger.balances("", 0))
    server.hset(key_of(ledger, "holds"), "h", struct.pack("<ddd", T, T + 60_000, 2) + b"[]{")
    assert isinstance(run(ledger.reserve(Hold("a", (Charge("usd/~ann/run/exp", 3, 10),), 60_000), T)), Held)
    assert isinstance(run(ledger.reserve(Hold("b", (Charge("usd/~ben/run/exp", 1, 12),), 60_000), T)), Refused)


def test_a_damaged_budget_is_reported_to_every_caller_at_once(redis_url, opened, server):
    ledger = opened(redis_url)
    make_old(server, ledger, {"usd/run/exp": 12}, [])
    server.hset(key_of(ledger, "accounts"), "usd/run/exp", b"12")
    for _ in range(2):
        with pytest.raises(LedgerUnusable, match="the account 'usd/run/exp' can't be read"):
            run(opened(redis_url, patience_ms=30).balances("", 0))


def test_a_long_list_of_additions_is_added_in_parts(redis_url, opened, server):
    ledger = opened(redis_url)
    runs = {f"usd/run/{number:04}": 5 for number in range(2_500)}
    records = [(BEN.replace('"exp"', f'"{number:04}"'), f'{{"usd/run/{number:04}": 5}}') for number in range(2_500)]
    make_old(server, ledger, runs, records)
    balances = run(ledger.balances("usd/~ben/", 0))
    assert {account: balance.settled for account, balance in balances.items()} == {
        account.replace("usd/", "usd/~ben/"): 5 for account in runs
    }


def make_old(server, ledger, settled, records):
    """A ledger of version 2 with these accounts and records."""
    server.set(key_of(ledger, "state"), struct.pack("<dddddddd", 2, T, 0, 0, T, len(records), 0, 0))
    server.hset(key_of(ledger, "accounts"), mapping={name: struct.pack("<dddd", amount, 0, 0, 0) for name, amount in settled.items()})
    with server.pipeline() as pipeline:
        for number, (body, amounts) in enumerate(records):
            record = {"hold": f"r{number}", "lost": "0", "amounts": amounts, "body": body}
            pipeline.xadd(key_of(ledger, "records"), record, id=f"{T}-{number}")
        pipeline.execute()
