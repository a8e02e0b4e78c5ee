"""A process that ended is known at once on a file: what it holds is charged by the next call of anybody, and nothing else is."""

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from paymaster.accounting.accounts import Charge, EndedHolder, Held, Hold, HoldEnded, Refused, Settlement
from paymaster.accounting.process_names import process_number
from paymaster.errors import LedgerUnavailable
from paymaster.ledgers import transactions
from paymaster.ledgers.identity import process_name
from paymaster.ledgers.sqlite import process_locks
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import BlockingRuntime, iterate, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks: leases count")

T = 1_000_000
BUDGET = Charge("usd/run/a", 40, 100)
SLOT = Charge("slots/m", 1, 1, 0)
SOURCE = str(Path(__file__).parents[2] / "src")
ALIVE, DEAD = "11-aaaaaaaa", "22-bbbbbbbb"

PRELUDE = """
import os, signal, subprocess, sys, time
from pathlib import Path
from paymaster.accounting.accounts import Charge, Hold
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import BlockingRuntime, run
runtime = BlockingRuntime()
ledger = SqliteLedger(Path(sys.argv[1]), runtime.sleep)
def reserve(name, amount):
    return run(ledger.reserve(Hold(name, (Charge("usd/run/a", amount, 100),), 600_000, "{}"), runtime.now_ms()))
def show(*words):
    print(*words, flush=True)
"""


def start(script, path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill(process):
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def opened(path, runtime):
    """Ledgers on one file, each as a process of that name would have it."""
    made = []

    def open_ledger(name=ALIVE, pause=runtime.sleep):
        made.append(SqliteLedger(path, pause, process_name=lambda: name))
        return made[-1]

    yield open_ledger
    for ledger in made:
        run(ledger.close())
    process_locks._own_locks().renew()  # what a test left locked


def ask(ledger, hold_id, *charges, at=T, lease_ms=600_000, queue_for_ms=0):
    return run(ledger.reserve(Hold(hold_id, charges, lease_ms, f'{{"lost":"{hold_id}"}}'), at, queue_for_ms=queue_for_ms))


def end(ledger, name=DEAD):
    """What the system does when the process ends."""
    process_locks._own_locks().find(ledger.path.resolve(), name).close()
    ledger.before_fork()
    ledger.after_fork(in_child=False)


def lock_files(path):
    return sorted(file.name for file in path.parent.glob("*.lock*"))


def lock_file(path, name):
    return path.with_name(f"{path.name}-{name}.lock")


def spent(ledger, at=T):
    balance = run(ledger.balances("usd/", at))["usd/run/a"]
    return balance.settled, balance.held


def test_what_an_ended_process_holds_is_charged_in_full_and_its_slots_are_free(path, opened):
    dead = opened(DEAD)
    assert isinstance(ask(dead, "h1", BUDGET, SLOT), Held)
    assert isinstance(ask(dead, "h2", BUDGET), Held)
    end(dead)
    answer = ask(opened(), "h3", SLOT)
    assert isinstance(answer, Held)
    assert [(each.hold_id, each.record) for each in answer.lost] == [("h1", '{"lost":"h1"}'), ("h2", '{"lost":"h2"}')]
    assert spent(opened()) == (80, 0)
    records = list(iterate(opened().records()))
    assert [(record.hold_id, record.lost, record.amounts) for record in records] == [
        ("h1", True, {"usd/run/a": 40}),
        ("h2", True, {"usd/run/a": 40}),
    ]
    assert lock_files(path) == [lock_file(path, ALIVE).name]


@pytest.mark.parametrize("call", ["reserve", "settle", "sweep"])
def test_any_call_charges_it(opened, call):
    alive, dead = opened(), opened(DEAD)
    ask(dead, "h1", BUDGET)
    end(dead)
    match call:
        case "reserve":
            lost = ask(alive, "h2", SLOT).lost
        case "settle":
            lost = run(alive.settle(Settlement(Hold("h2", (), 1), T, (), "{}"), T)).lost
        case _:
            lost = run(alive.sweep(T))
    assert [each.hold_id for each in lost] == ["h1"]


def test_a_hold_that_was_charged_is_corrected_when_it_settles_after_all(opened):
    alive, dead = opened(), opened(DEAD)
    ask(dead, "h1", BUDGET)
    end(dead)
    run(alive.sweep(T))
    run(alive.settle(Settlement(Hold("h1", (BUDGET,), 600_000), T, (7,), "{}"), T))
    assert spent(alive) == (7, 0)
    assert [(record.hold_id, record.lost) for record in iterate(alive.records())] == [("h1", False)]


def test_asking_again_for_a_hold_of_an_ended_process_is_refused_as_for_any_that_ended(opened):
    dead = opened(DEAD)
    ask(dead, "h1", BUDGET)
    end(dead)
    with pytest.raises(HoldEnded):
        ask(opened(), "h1", BUDGET)


def test_its_tickets_leave_the_queue(opened):
    alive, dead = opened(), opened(DEAD)
    ask(alive, "h1", SLOT)
    assert isinstance(ask(dead, "h2", SLOT, queue_for_ms=5_000), Refused)
    assert [each.hold_id for each in run(alive.waiting(T))] == ["h2"]
    end(dead)
    run(alive.sweep(T))
    assert run(alive.waiting(T)) == ()


def test_the_tickets_that_a_process_renews_stay_known(path, opened):
    alive, dead = opened(), opened(DEAD)
    ask(alive, "h1", *(Charge(f"slots/{number}", 1, 1, 0) for number in range(100)))
    for number in range(100):
        ask(dead, f"t{number}", Charge(f"slots/{number}", 1, 1, 0), queue_for_ms=5_000)
        ask(dead, "t0", Charge("slots/0", 1, 1, 0), queue_for_ms=5_000)
    end(dead)
    [file] = process_locks.ProcessLocks(path, ALIVE, object()).claim_ended()
    file.release()
    assert {"t0", "t99"} <= set(file.ended.tickets)
    assert len(file.ended.tickets) == process_locks._MOST_TICKETS


UNKNOWN = {
    "no file": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a link": lambda file: (file.unlink(), file.symlink_to("elsewhere")),
    "another name": lambda file: file.rename(file.with_name("other")),
}


@pytest.mark.parametrize("damage", UNKNOWN)
def test_without_a_file_that_proves_it_only_the_lease_counts(path, opened, damage):
    alive, dead = opened(), opened(DEAD)
    ask(dead, "h1", BUDGET, lease_ms=10_000)
    end(dead)
    UNKNOWN[damage](lock_file(path, DEAD))
    assert run(alive.sweep(T)) == ()
    assert run(alive.ended_holders(T)) == ()
    assert [each.hold_id for each in run(alive.sweep(T + 10_000))] == ["h1"]


def test_a_damaged_list_of_tickets_is_none(path, opened):
    alive, dead = opened(), opened(DEAD)
    ask(dead, "h1", BUDGET)
    lock_file(path, DEAD).write_bytes(b'["half')
    end(dead)
    assert [each.hold_id for each in run(alive.sweep(T))] == ["h1"]


@pytest.mark.parametrize("damage", ["no file", "a link", "another name", "a copy"])
def test_a_living_process_makes_its_file_again(path, opened, damage):
    alive, other = opened(), opened(DEAD)
    ask(alive, "h1", BUDGET)
    file = lock_file(path, ALIVE)
    if damage == "a copy":
        shutil.copy(file, file.with_name("copy"))
        file.with_name("copy").replace(file)
    else:
        UNKNOWN[damage](file)
    run(alive.sweep(T))
    assert file.is_file()
    assert not file.is_symlink()
    assert run(other.sweep(T)) == ()
    end(alive, ALIVE)
    assert [each.hold_id for each in run(other.sweep(T))] == ["h1"]


def test_a_folder_that_is_moved_and_moved_back_proves_nothing(path, opened, tmp_path):
    alive, other = opened(), opened(DEAD)
    ask(alive, "h1", BUDGET)
    moved = lock_file(path, ALIVE).rename(tmp_path / "moved")
    run(alive.sweep(T))  # makes another file
    moved.replace(lock_file(path, ALIVE))
    assert run(other.sweep(T)) == ()


def test_a_file_system_whose_locks_exclude_nobody_proves_nothing(path, opened, monkeypatch):
    monkeypatch.setattr(process_locks.fcntl, "flock", lambda *_: None)
    alive = opened()
    assert isinstance(ask(alive, "h1", BUDGET), Held)
    assert lock_files(path) == []
    assert run(opened(DEAD).sweep(T)) == ()


@pytest.mark.parametrize("step", ["open", "flock"])
def test_where_a_file_cannot_be_made_or_locked_calls_go_on(path, opened, monkeypatch, step):
    def refuse(*_, **__):
        raise OSError(37, "No locks available")

    alive, other = opened(), opened(DEAD)
    ask(other, "h0", SLOT)
    monkeypatch.setattr(*((process_locks.fcntl, "flock") if step == "flock" else (process_locks, "_open_draft")), refuse)
    assert isinstance(ask(alive, "h1", BUDGET), Held)
    assert lock_files(path) == [lock_file(path, DEAD).name]
    assert isinstance(ask(alive, "h2", BUDGET), Held)
    monkeypatch.undo()
    assert run(other.sweep(T)) == ()


def test_where_a_mode_cannot_be_set_the_process_has_its_file(path, opened, monkeypatch):
    def refuse(*_args):
        raise PermissionError

    monkeypatch.setattr(os, "fchmod", refuse)
    ask(opened(), "h1", BUDGET)
    assert lock_files(path) == [lock_file(path, ALIVE).name]


def test_others_may_remove_what_is_not_locked_yet(path, opened, monkeypatch):
    """Another process sees the file after it was made, and before it is locked."""
    open_draft, removed = process_locks._open_draft, []

    def open_and_lose(draft, ledger):
        descriptor = open_draft(draft, ledger)
        if len(removed) < 2:
            draft.unlink()
            removed.append(draft)
        return descriptor

    monkeypatch.setattr(process_locks, "_open_draft", open_and_lose)
    ask(opened(), "h1", BUDGET)
    assert lock_files(path) == [lock_file(path, ALIVE).name]


def test_a_name_that_is_used_again_takes_nothing_from_one_that_lives(path, opened):
    """Two processes with one name: the later one has no file, and its holds have their leases."""
    ask(opened(), "h1", BUDGET)
    own = process_locks._own_locks()
    own._locks = {}  # as in another process
    ask(opened(), "h2", BUDGET)
    assert run(opened(DEAD).sweep(T)) == ()
    assert own.find(path.resolve(), ALIVE).descriptor is None


def test_a_name_that_is_used_again_after_its_process_ended_can_be_locked(path, opened):
    dead = opened(DEAD)
    ask(dead, "h1", BUDGET)
    end(dead)
    ask(opened(DEAD), "h2", BUDGET)
    assert process_locks._own_locks().find(path.resolve(), DEAD).descriptor is not None


@pytest.mark.parametrize("name", ["", "a", "1", "1-", "x-12345678", "1-1234567", "1-123456789", "1-12345678.lock"])
def test_a_name_that_no_process_has_gets_no_file(path, opened, name):
    assert process_number(name) is None
    ask(opened(name), "h1", BUDGET)
    assert lock_files(path) == []


def test_the_name_of_a_process_has_its_number():
    assert process_number(process_name()) == os.getpid()


def test_a_process_that_gets_the_number_of_a_dead_parent_gets_another_name(monkeypatch):
    """A grandchild may: a container has few numbers in use."""
    reader, writer = os.pipe()
    number, name = os.getpid(), process_name()
    if os.fork() == 0:
        monkeypatch.setattr(os, "getpid", lambda: number)
        if os.fork() == 0:
            os.write(writer, process_name().encode())
            os._exit(0)
        os.wait()
        os._exit(0)
    os.wait()
    found = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    assert process_number(found) == number
    assert found != name == process_name()


def test_files_of_others_in_the_folder_are_left_alone(path, opened):
    strangers = [path.with_name(name) for name in ("ledger.sqlite3-1-12345678", "ledger.sqlite3-note.lock", "x.sqlite3-1-12345678.lock")]
    for file in strangers:
        file.touch()
    run(opened().sweep(T))
    assert all(file.exists() for file in strangers)


def test_a_file_that_a_killed_process_left_unfinished_is_removed(path, opened):
    ask(opened(), "h1", BUDGET)
    path.with_name(f"{path.name}-{DEAD}.lock.new").touch()
    run(opened().sweep(T))
    assert lock_files(path) == [lock_file(path, ALIVE).name]


def test_a_closed_client_removes_its_file_if_it_holds_nothing(path, opened):
    first, second = opened(), opened()
    for ledger in (first, second):
        ask(ledger, "h1", BUDGET)
        run(ledger.withdraw("h1"))
    run(first.close())
    assert lock_files(path) == [lock_file(path, ALIVE).name]
    run(second.close())
    assert lock_files(path) == []
    ask(second, "h2", BUDGET)
    assert lock_files(path) == [lock_file(path, ALIVE).name]


def test_a_client_that_is_closed_after_a_fork_removes_its_file(path, opened):
    ledger = opened()
    ask(ledger, "h1", BUDGET)
    run(ledger.withdraw("h1"))
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    assert lock_files(path)
    run(ledger.close())
    assert lock_files(path) == []


def test_what_a_closed_client_left_open_stays_its_process_s(opened):
    first, second = opened(), opened()
    ask(first, "h1", BUDGET)
    run(first.close())
    ask(second, "h2", SLOT)
    run(second.withdraw("h2"))
    run(second.close())
    assert run(opened(DEAD).sweep(T)) == ()


def test_a_process_that_is_killed_after_it_charged_leaves_its_work_to_the_next(path, opened, monkeypatch):
    dead = opened(DEAD)
    ask(dead, "h1", BUDGET)
    end(dead)
    monkeypatch.setattr(process_locks.ClaimedFile, "remove", process_locks.ClaimedFile.release)
    assert len(run(opened().sweep(T))) == 1
    monkeypatch.undo()
    assert run(opened().sweep(T)) == ()
    assert lock_files(path) == []


def test_a_call_that_fails_leaves_the_file_to_the_next(path, opened, monkeypatch):
    def refuse(*_):
        raise LedgerUnavailable("the disk is full")

    dead = opened(DEAD)
    ask(dead, "h1", BUDGET)
    end(dead)
    monkeypatch.setattr(transactions, "sweep", refuse)
    with pytest.raises(LedgerUnavailable):
        ask(opened(), "h2", BUDGET)
    monkeypatch.undo()
    assert lock_files(path) == [lock_file(path, DEAD).name]
    assert len(run(opened().sweep(T))) == 1


def test_what_an_ended_process_holds_is_due_now_by_the_readers_clock(opened):
    alive, dead = opened(), opened(DEAD)
    ask(dead, "h1", BUDGET, at=T + 5)
    end(dead)
    assert [each.charged_at_ms for each in run(alive.ended_holders(T))] == [T]


def test_readers_see_what_an_ended_process_holds_and_change_nothing(opened):
    alive, dead = opened(), opened(DEAD)
    ask(dead, "h1", BUDGET, SLOT)
    ask(dead, "h2", BUDGET)
    ask(dead, "h3", Charge("usd/run/b", 5, None), lease_ms=1_000)
    assert run(alive.ended_holders(T)) == ()
    end(dead)
    for _ in range(2):
        assert run(alive.ended_holders(T + 1_000)) == (EndedHolder(DEAD, 2, {"usd/run/a": 80, "slots/m": 1}, T + 1_000),)
    assert spent(alive) == (0, 80)
    run(alive.sweep(T))
    assert run(alive.ended_holders(T)) == ()


def test_a_process_looks_for_others_once_a_second_and_sooner_if_it_is_refused(opened, monkeypatch):
    now_ns, looks = 10**15, []
    monkeypatch.setattr(process_locks.time, "monotonic_ns", lambda: now_ns)
    monkeypatch.setattr(process_locks, "_names_in", lambda _: looks.append(now_ns) or [])
    alive, same = opened(), opened()
    for step in range(100):
        ledger = (alive, same)[step % 2]
        ask(ledger, f"h{step}", Charge("usd/run/b", 1, None))
        run(ledger.withdraw(f"h{step}"))
        now_ns += 30 * 10**6
    assert len(looks) == 3 + 1  # each client looks when it is opened
    looks.clear()
    ask(alive, "full", SLOT)
    for step in range(100):
        ask(alive, f"r{step}", SLOT)
        now_ns += 30 * 10**6
    assert 10 <= len(looks) <= 13


def test_many_files_are_looked_at_less_often(opened, monkeypatch):
    now_ns, looks = 10**15, []
    monkeypatch.setattr(process_locks.time, "monotonic_ns", lambda: now_ns)

    def look_slowly(_):
        nonlocal now_ns
        now_ns += 100 * 10**6
        looks.append(now_ns)
        return []

    monkeypatch.setattr(process_locks, "_names_in", look_slowly)
    ledger = opened()
    for step in range(10):
        ask(ledger, f"h{step}", Charge("usd/run/b", 1, None))
        now_ns += 1_000 * 10**6
    assert len(looks) == 2


@pytest.mark.parametrize("use", ["reserve", "sweep"])
def test_more_ended_processes_than_descriptors_are_charged_some_at_a_time(path, opened, use):
    ask(opened(), "h0", Charge("usd/run/b", 1, None))
    for number in range(100):
        (path.parent / f"{path.name}-{1_000 + number}-{number:08x}.lock").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 60, hard))  # noqa: PTH208 - no Path of it
    try:
        reader, left = opened("33-cccccccc"), []
        while not left or left[-1]:
            if use == "sweep":
                run(reader.sweep(T))
            else:
                assert isinstance(ask(reader, f"h{len(left) + 1}", Charge("usd/run/b", 1, None)), Held)
                reader._locks._own.idle_until_ns = reader._looks_at_ns = 0  # the share of its time that looking takes is over
            left.append(len(list(path.parent.glob("*-1???-*.lock"))))
        assert left == [0] if use == "sweep" else [68, 36, 4, 0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_that_cannot_be_removed_is_charged_once_and_keeps_no_other_waiting(opened, monkeypatch):
    dead = opened(DEAD)
    ask(dead, "h1", BUDGET)
    process_locks._own_locks().renew()
    remover, transactions_made = opened(), []

    def refuse(*_args, **_options):
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", refuse)
    assert [each.hold_id for each in run(remover.sweep(T))] == ["h1"]
    monkeypatch.setattr(transactions, "sweep", lambda *_: transactions_made.append(1) or ())
    assert run(remover.sweep(T)) == ()
    assert run(remover.ended_holders(T)) == ()
    assert len(transactions_made) == 1


def test_a_reader_that_looks_again_and_again_does_not_keep_calls_from_looking(opened):
    alive = opened()
    ask(alive, "h1", Charge("usd/run/b", 1, None))
    before_ns = alive._locks._own.looked_at_ns
    run(alive.ended_holders(T))
    assert alive._locks._own.looked_at_ns == before_ns


def test_a_call_makes_no_more_statements_than_before(opened):
    ledger, statements = opened(), []
    ask(ledger, "h0", BUDGET)
    run(ledger.settle(Settlement(Hold("h0", (BUDGET,), 1), T, (1,), "{}"), T))  # the first one sets when it is time to look for accounts
    ledger._store.connection.set_trace_callback(statements.append)
    ask(ledger, "h1", BUDGET, SLOT)
    run(ledger.settle(Settlement(Hold("h1", (BUDGET, SLOT), 1), T, (1, 1), "{}"), T))
    assert len([each for each in statements if not each.startswith(("SELECT id FROM identity", "-- The latest time"))]) == 15


def test_a_group_of_calls_charges_it_once(path, opened):
    asyncio.run(charged_by_a_group(path, opened))


async def charged_by_a_group(path, opened):
    dead = opened(DEAD)
    held = [Hold(f"d{number}", (Charge("usd/run/d", 1, None),), 600_000) for number in range(3)]
    for hold in held:
        await dead.reserve(hold, T)
    alive = SqliteLedger(path, asyncio.sleep, grouped=True, process_name=lambda: ALIVE)
    holds = [Hold(f"h{number}", (Charge("usd/run/b", 1, None),), 600_000) for number in range(12)]
    for hold in holds[:4]:
        await alive.reserve(hold, T)
    end(dead)
    own = process_locks._own_locks().find(path.resolve(), ALIVE)
    alive._looks_at_ns = own.looked_at_ns = own.idle_until_ns = -(10**18)
    answers = await asyncio.gather(*(alive.reserve(hold, T) for hold in holds[4:]))
    assert [lost.hold_id for answer in answers for lost in answer.lost] == ["d0", "d1", "d2"]
    assert lock_files(path) == [lock_file(path, ALIVE).name]
    await alive.close()


def alive_and_dead(path):
    """What the living processes' holds are, after everything that can be charged was."""
    ledger = SqliteLedger(path, BlockingRuntime().sleep)
    try:
        now_ms = time.time_ns() // 1_000_000
        lost = {each.hold_id for each in run(ledger.sweep(now_ms))}
        return lost, run(ledger.balances("", now_ms))["usd/run/a"].held
    finally:
        run(ledger.close())


FORKS = {
    "the child outlives its parent": ("parent", {"parent"}, 3),
    "the parent outlives its child": ("child", {"child"}, 2),
}


@pytest.mark.parametrize("who_dies", FORKS)
def test_a_child_of_a_fork_has_a_lock_of_its_own(path, who_dies):
    script = """
    reserve("parent", 2)
    child = os.fork()
    if child == 0:
        reserve("child", 3)
        show("child", os.getpid())
    else:
        time.sleep(0.5)
        show("parent", os.getpid())
    time.sleep(60)
    """
    killed, lost, held = FORKS[who_dies]
    process = start(script, path)
    numbers = dict(process.stdout.readline().split() for _ in range(2))
    assert alive_and_dead(path) == (set(), 5)
    os.kill(int(numbers[killed]), signal.SIGKILL)
    time.sleep(0.1)
    try:
        assert alive_and_dead(path) == (lost, held)
    finally:
        for name in {"parent", "child"} - {killed}:
            os.kill(int(numbers[name]), signal.SIGKILL)
        kill(process)


@pytest.mark.parametrize(
    "child",
    [
        'subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)',
        'subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)',
        'os.posix_spawnp("sleep", ["sleep", "60"], {**os.environ})',
        "os.fork() or time.sleep(60)",
    ],
)
def test_a_child_that_calls_nothing_keeps_no_lock_of_its_parent(path, child):
    process = start(f'reserve("h1", 2); child = {child}; show(getattr(child, "pid", child)); time.sleep(60)', path)
    number = int(process.stdout.readline())
    assert alive_and_dead(path) == (set(), 2)
    kill(process)
    try:
        assert alive_and_dead(path) == ({"h1"}, 0)
        os.kill(number, 0)  # the child is still there
    finally:
        os.kill(number, signal.SIGKILL)


def test_a_stopped_process_is_alive(path):
    process = start('reserve("h1", 2); show(); time.sleep(60)', path)
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    try:
        assert alive_and_dead(path) == (set(), 2)
    finally:
        kill(process)


MOMENTS = {
    "before the lock": ('locks._make = lambda *_: os.kill(os.getpid(), 9); reserve("h1", 2)', set()),
    "after the lock": (
        'SqliteStore._run = lambda *_: os.kill(os.getpid(), 9) if "write_hold" in _ else run_before(*_); reserve("h1", 2)',
        set(),
    ),
    "after the hold": ('reserve("h1", 2); os.kill(os.getpid(), 9)', {"h1"}),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_is_killed_around_its_first_hold_loses_nothing(path, moment):
    script, lost = MOMENTS[moment]
    before = SqliteLedger(path, BlockingRuntime().sleep)
    run(before.post((), (), 0))
    run(before.close())
    process = start(
        f"import paymaster.ledgers.sqlite.process_locks as locks\n"
        f"from paymaster.ledgers.sqlite.store import SqliteStore\nrun_before = SqliteStore._run\n{script}",
        path,
    )
    process.communicate(timeout=30)
    ledger = SqliteLedger(path, BlockingRuntime().sleep)
    assert {each.hold_id for each in run(ledger.sweep(time.time_ns() // 1_000_000))} == lost
    run(ledger.close())
    assert lock_files(path) == []
