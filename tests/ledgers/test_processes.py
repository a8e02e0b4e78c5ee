"""Many processes on one file: a hard budget is never exceeded, and a process that dies at any moment loses nothing and doubles nothing."""

import contextlib
import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from paymaster.accounting.accounts import Charge, Held, Hold, Settlement
from paymaster.ledgers.sqlite import forks
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import BlockingRuntime, iterate, run

SOURCE = str(Path(__file__).parents[2] / "src")
PRELUDE = """
import sys, threading
from pathlib import Path
from paymaster.accounting.accounts import Charge, Held, Hold, Settlement
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import BlockingRuntime, run
runtime = BlockingRuntime()
ledger = SqliteLedger(Path(sys.argv[1]), runtime.sleep)
"""


def start(script, path):
    # A process that is killed, or that forks, would leave half-written coverage data behind.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def read(path):
    runtime = BlockingRuntime()
    ledger = SqliteLedger(path, runtime.sleep)
    try:
        lost = run(ledger.sweep(runtime.now_ms() + 3_600_000))
        return run(ledger.balances("", runtime.now_ms())), list(iterate(ledger.records())), lost
    finally:
        run(ledger.close())


def test_a_hard_budget_is_never_exceeded_by_processes_and_threads(tmp_path):
    """Each call holds 10, costs 1 to 10, and "bills" by writing what it cost to its own output."""
    script = """
    import random
    def work(seed):
        dice = random.Random(seed)
        while True:
            hold = Hold(runtime.new_id(), (Charge("usd/run/a", 10, 2_000), Charge("slots/m", 1, 20, 0)), 60_000)
            outcome = run(ledger.reserve(hold, runtime.now_ms()))
            if isinstance(outcome, Held):
                cost = dice.randint(1, 10)
                billed.append(cost)
                assert outcome.balances[0].total <= 2_000 and outcome.balances[1].total <= 20
                run(ledger.settle(Settlement(hold, outcome.at_ms, (cost, 1), "{}"), runtime.now_ms()))
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
    path = tmp_path / "ledger.sqlite3"
    processes = [start(script, path) for _ in range(4)]
    billed = sum(int(process.communicate(timeout=100)[0]) for process in processes)
    balances, records, _ = read(path)
    assert billed <= 2_000
    assert billed >= 0.98 * 2_000
    assert balances["usd/run/a"].settled == billed
    assert sum(record.amounts["usd/run/a"] for record in records) == billed
    assert balances["slots/m"].total == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_process_killed_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path, seed):
    """The children print what has been committed; that must be in the ledger, once, and holds left open are charged in full."""
    script = """
    number = 0
    while True:
        hold = Hold(runtime.new_id(), (Charge("usd/run/a", 10, None), Charge("requests/m", 1, None, 60_000)), 600_000, '{"lost":1}')
        held = run(ledger.reserve(hold, runtime.now_ms()))
        print("held", hold.id, flush=True)
        run(ledger.settle(Settlement(hold, held.at_ms, (3, 1), '{"paid":1}'), runtime.now_ms()))
        print("paid", hold.id, flush=True)
    """
    path = tmp_path / "ledger.sqlite3"
    dice = random.Random(seed)
    printed = []
    for _ in range(4):
        processes = [start(script, path) for _ in range(2)]
        printed += [process.stdout.readline() for process in processes]
        time.sleep(dice.uniform(0.01, 0.25))
        for process in processes:
            process.send_signal(signal.SIGKILL)
            printed += process.stdout.read().splitlines()
            process.stdout.close()
            process.wait()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    balances, records, _ = read(path)
    # The last line of a killed process may be cut short.
    words = [line.split() for line in printed]
    held = {word[1] for word in words if len(word) == 2 and word[0] == "held" and len(word[1]) == 32}
    paid = {word[1] for word in words if len(word) == 2 and word[0] == "paid" and len(word[1]) == 32}
    by_hold = {record.hold_id: record for record in records}
    assert len(by_hold) == len(records)
    assert held <= by_hold.keys()
    assert all(not by_hold[hold_id].lost and by_hold[hold_id].amounts["usd/run/a"] == 3 for hold_id in paid)
    assert all(record.amounts["usd/run/a"] == (10 if record.lost else 3) for record in records)
    assert len([record for record in records if record.lost]) <= 8
    assert sum(record.amounts["usd/run/a"] for record in records) == balances["usd/run/a"].settled
    assert balances["usd/run/a"].held == 0
    assert len(paid) > 8


def test_no_connection_lives_through_a_fork(tmp_path):
    """The parent ends first and would take the log with it if the child had kept its connection."""
    path = tmp_path / "ledger.sqlite3"
    script = """
    import os, time
    def pay(name, amount):
        run(ledger.settle(Settlement(Hold(name, (Charge("usd/run/a", 0, None),), 10), 0, (amount,), "{}"), runtime.now_ms()))
    pay("before", 1)
    parent = os.getpid()
    if os.fork() == 0:
        pay("child-1", 10)
        while os.getppid() == parent: time.sleep(0.01)
        time.sleep(0.1)
        pay("child-2", 100)
        run(ledger.close())
        os._exit(0)
    pay("parent", 1_000)
    run(ledger.close())
    """
    start(script, path).communicate(timeout=30)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        balances, records, _ = read(path)
        if len(records) == 4:
            break
        time.sleep(0.05)
    assert balances["usd/run/a"].settled == 1_111


def test_all_ledgers_of_a_process_share_one_fork_hook_and_can_be_collected(tmp_path, monkeypatch):
    registered = []
    monkeypatch.setattr(os, "register_at_fork", lambda **hooks: registered.append(hooks))
    forks._watch.cache_clear()
    try:
        ledgers = [SqliteLedger(tmp_path / f"{number}.sqlite3", BlockingRuntime().sleep) for number in range(3)]
        assert len(registered) == 1
        assert len(forks._watch()._ledgers) == 3
        ledgers.clear()
        gc.collect()
        assert len(forks._watch()._ledgers) == 0
    finally:
        forks._watch.cache_clear()


def test_forking_while_threads_write_neither_hangs_nor_damages(tmp_path):
    script = """
    import os
    stop = threading.Event()
    def write(name):
        number = 0
        while not stop.is_set():
            number += 1
            run(ledger.settle(Settlement(Hold(f"{name}-{number}", (Charge("usd/run/a", 0, None),), 10), 0, (1,), "{}"), runtime.now_ms()))
        counts.append(number)
    counts = []
    threads = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(3)]
    for thread in threads: thread.start()
    children = []
    for child in range(10):
        pid = os.fork()
        if pid == 0:
            run(ledger.settle(Settlement(Hold(f"child-{child}", (Charge("usd/run/a", 0, None),), 10), 0, (1,), "{}"), runtime.now_ms()))
            run(ledger.close())
            os._exit(0)
        children.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    stop.set()
    for thread in threads: thread.join()
    run(ledger.close())
    print(sum(counts) + len(children))
    """
    path = tmp_path / "ledger.sqlite3"
    written = int(start(script, path).communicate(timeout=60)[0])
    balances, records, _ = read(path)
    assert balances["usd/run/a"].settled == len(records) == written


def test_threads_share_one_ledger_object(tmp_path):
    runtime = BlockingRuntime()
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", runtime.sleep)
    charges = (Charge("usd/run/a", 2, 150),)
    admitted = []

    def work(name):
        for number in range(30):
            hold = Hold(f"{name}-{number}", charges, 60_000)
            outcome = run(ledger.reserve(hold, runtime.now_ms()))
            if isinstance(outcome, Held):
                admitted.append(hold.id)
                run(ledger.settle(Settlement(hold, outcome.at_ms, (1,), "{}"), runtime.now_ms()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run(ledger.balances("", runtime.now_ms()))["usd/run/a"].settled == len(admitted) <= 150
    assert len(admitted) >= 149 - 8
    run(ledger.close())
