"""What waits is posted behind the calls, in turns; what can't be posted is set aside, and keeps nothing else waiting."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import orjson
import pytest

from paymaster.accounting.accounts import LARGEST_AMOUNT, Balance, Charge, Held, Hold, Settlement
from paymaster.background import BackgroundTasks, BackgroundThreads
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.spool import files, ledger, set_aside
from paymaster.ledgers.spool.files import Spool
from paymaster.ledgers.spool.ledger import FIRST_PAUSE_MS, LOOK_MS, SpoolingLedger
from paymaster.ledgers.spool.lines import (
    CUT,
    TICK_LINES,
    Unreadable,
    Waiting,
    hold_line,
    posted_up_to,
    progress_line,
    read_line,
    settlement_line,
    settlements,
)
from paymaster.ledgers.spool.set_aside import drop_aside, keep_aside, queue_again, read_aside
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import open_ledger
from paymaster.runtime import BlockingRuntime, iterate, run

T = 1_000_000
SOURCE = str(Path(__file__).parents[2] / "src")


def hold(name):
    return Hold(name, (Charge("usd/run/a", 10, None), Charge("slots/m", 1, 5, 0)), 60_000, f'{{"lost":"{name}"}}', may_go_unbooked=True)


def settlement(name, cost=7):
    return Settlement(hold(name), T, (cost, 0), f'{{"paid":"{name}"}}')


def leave(folder, *lines, name="1-dead.jsonl"):
    """A file as an ended process leaves it."""
    folder.mkdir(exist_ok=True)
    packed = [
        line if isinstance(line, bytes) else orjson.dumps(ledger_line(line)) + b"\n" for line in (b'{"ledger":"l","id":""}\n', *lines)
    ]
    (folder / name).write_bytes(b"".join(packed))


def ledger_line(what):
    return settlement_line(what) if isinstance(what, Settlement) else hold_line(what, T)


class Counting(MemoryLedger):
    """A ledger that counts settlements and raises what it is set to, by the hold's id."""

    def __init__(self):
        super().__init__()
        self.settled, self.raises, self.broken = [], {}, None

    async def settle(self, settlement, now_ms):
        self.settled.append(settlement.hold.id)
        if self.broken is not None:
            raise self.broken
        if (error := self.raises.get(settlement.hold.id)) is not None:
            raise error
        return await super().settle(settlement, now_ms)

    async def post(self, posts, clears, now_ms):
        if self.broken is not None:
            raise self.broken
        return await super().post(posts, clears, now_ms)

    def spent(self):
        return run(self.balances("usd/", T)).get("usd/run/a", Balance()).settled


@pytest.fixture
def books():
    return Counting()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def spooling(books, folder, background=None):
    aside = []
    made = SpoolingLedger(
        books,
        folder,
        posted=lambda *_: None,
        set_aside=lambda found, reason: aside.append((None if isinstance(found, Unreadable) else found.hold.id, reason)),
        background=background,
    )
    return made, aside


# ------------------------------------------------------------------------------------------------------------- lines

GOOD = orjson.dumps(ledger_line(settlement("a"))) + b"\n"


def changed(**fields):
    return orjson.dumps({**ledger_line(settlement("a")), **fields}) + b"\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (GOOD, Waiting),
        (GOOD.rstrip(), Waiting),
        (orjson.dumps(ledger_line(hold("a"))), Waiting),
        (b'{"ledger":"l","id":""}\n', type(None)),
        (b"{}", type(None)),
        (b"\n", type(None)),
        (progress_line(7), type(None)),
        (GOOD[:40], type(None)),  # as a crash leaves it
        (GOOD[:40] + CUT, type(None)),  # as a full disk leaves it
        (GOOD[:40] + b"\n", Unreadable),
        (b"nonsense\n", Unreadable),
        (b"\xff\xfe\n", Unreadable),
        (b"7\n", Unreadable),
        (b'["hold"]\n', Unreadable),
        (b'{"hodl":[]}\n', Unreadable),
        (changed(hold=7), Unreadable),
        (changed(hold=["a", "b", []]), Unreadable),
        (changed(hold=["a", 1, [["usd/run/a"]]]), Unreadable),
        (changed(hold=[7, 1, []]), Unreadable),
        (changed(at_ms=None), Unreadable),
        (changed(amounts=["7", 0]), Unreadable),
        (changed(amounts=[7.5, 0]), Unreadable),
        (changed(amounts=7), Unreadable),
        (changed(record=None), Unreadable),
        (GOOD.replace(b'"amounts"', b'"amuonts"'), Unreadable),
    ],
)
def test_a_line_is_read_or_it_is_said_why_not(text, kind):
    found = read_line(text)
    assert type(found) is kind
    assert not isinstance(found, Unreadable) or (found.text, bool(found.reason)) == (text, True)


def test_what_was_posted_before_is_not_found_again():
    lines = [orjson.dumps(ledger_line(each)) + b"\n" for each in (hold("a"), settlement("a"), hold("b"), settlement("c"), hold("d"))]
    assert [found.hold.id for found in settlements(lines)] == ["a", "c", "b", "d"]
    assert [found.hold.id for found in settlements(lines, len(lines[0] + lines[1]))] == ["c", "b", "d"]
    assert [found.hold.id for found in settlements(lines, sum(map(len, lines)))] == ["b", "d"]


def test_many_lines_that_come_to_nothing_let_the_reader_pause():
    assert list(settlements([b"\n"] * (3 * TICK_LINES))) == [None] * 3


@pytest.mark.parametrize(
    ("tail", "offset"),
    [(b"", 0), (GOOD, 0), (GOOD + progress_line(9), 9), (progress_line(9) + GOOD, 0), (b'{"posted_to":"x"}\n', 0), (b'{"posted_to"', 0)],
)
def test_the_last_line_says_how_far_a_file_was_posted(tail, offset):
    assert posted_up_to(tail) == offset


# --------------------------------------------------------------------------------------------------------- set aside


def test_lines_that_cannot_be_posted_are_set_aside_and_all_others_are_posted(books, folder):
    books.raises = {"too-large": LedgerUnusable("it counts no further"), "odd": TypeError("not a number")}
    huge = settlement("huge", LARGEST_AMOUNT + 1)
    leave(folder, settlement("a"), b"nonsense\n", settlement("too-large"), settlement("b"), huge, settlement("odd"), hold("c"), GOOD[:30])
    ended, aside = spooling(books, folder)
    run(ended.post_all_spooled(T))
    assert books.spent() == 7 + 7 + 10
    assert [name for name, _ in aside] == [None, "too-large", "huge", "odd"]
    assert [reason.partition(":")[0] for _, reason in aside] == [
        "the line can't be read (JSONDecodeError",
        "it counts no further",
        "ValueError",
        "TypeError",
    ]
    assert [path.name for path in folder.iterdir()] == [set_aside.NAME]
    assert ((folder / set_aside.NAME).stat().st_mode & 0o777) == 0o600
    kept = read_aside(folder)
    assert [None if line.waiting is None else line.waiting.settlement.hold.id for line in kept] == [None, "too-large", "huge", "odd"]
    assert kept[0].text == "nonsense"


def test_what_was_set_aside_is_posted_again_or_dropped(books, folder):
    books.raises = {"x": LedgerUnusable("not now")}
    leave(folder, settlement("x"), b"nonsense\n")
    made, _ = spooling(books, folder)
    run(made.post_all_spooled(T))
    assert queue_again(folder, "l") == 1
    run(made.post_all_spooled(T))
    assert len(read_aside(folder)) == 2
    books.raises = {}
    assert queue_again(folder, "l") == 1
    run(made.post_all_spooled(T))
    assert books.spent() == 7
    assert [line.text for line in read_aside(folder)] == ["nonsense"]
    assert (drop_aside(folder), drop_aside(folder), queue_again(folder, "l"), read_aside(folder)) == (1, 0, 0, ())
    assert list(folder.iterdir()) == []


def test_a_line_that_is_set_aside_twice_counts_once(folder):
    for _ in range(2):
        keep_aside(folder, settlement("x"), "no", "id-1")
        keep_aside(folder, Unreadable(b"y\n", "no"), "no", "id-1")
    assert len(read_aside(folder)) == 2
    with (folder / set_aside.NAME).open("ab") as file:
        file.write(b'{"id": "id-1", "rea')  # as a full disk leaves it
    keep_aside(folder, settlement("z"), "no", "id-1")
    assert [line.ledger_id for line in read_aside(folder)] == ["id-1"] * 3


def test_the_file_of_what_was_set_aside_is_locked_while_it_is_changed(folder):
    keep_aside(folder, settlement("x"), "no", "")
    with set_aside._opened(folder / set_aside.NAME, os.O_RDWR), pytest.raises(BlockingIOError):
        keep_aside(folder, settlement("y"), "no", "")
    keep_aside(folder, settlement("y"), "no", "")
    assert len(read_aside(folder)) == 2


@pytest.mark.parametrize("error", [LedgerUnusable("damaged"), LedgerUnavailable("gone")])
def test_a_ledger_that_takes_nothing_sets_nothing_aside(books, folder, error):
    leave(folder, settlement("a"), settlement("b"))
    books.broken = error
    made, aside = spooling(books, folder)
    with pytest.raises(type(error)):
        run(made.post_all_spooled(T))
    assert (aside, read_aside(folder)) == ([], ())
    books.broken = None
    run(made.post_all_spooled(T))
    assert (books.spent(), list(folder.iterdir())) == (14, [])


def test_a_full_disk_leaves_what_cannot_be_set_aside_and_posts_the_other_files(books, folder, monkeypatch):
    books.raises = {"x": LedgerUnusable("no"), "mine": LedgerUnusable("no")}
    leave(folder, settlement("a"), settlement("x"), settlement("b"))
    leave(folder, settlement("c"), name="2-dead.jsonl")
    made, aside = spooling(books, folder)
    run(made.settle(settlement("mine"), T))
    with monkeypatch.context() as patched:
        patched.setattr("paymaster.ledgers.spool.posting.keep_aside", raise_full)
        run(made.post_all_spooled(T))
    assert (books.spent(), aside) == (14, [])
    run(made.post_all_spooled(T))
    assert books.spent() == 21
    assert sorted(name for name, _ in aside) == ["mine", "x"]
    run(made.close())
    assert [path.name for path in folder.iterdir()] == [set_aside.NAME]


def raise_full(*_):
    raise OSError(28, "No space left on device")


# ------------------------------------------------------------------------------------- settlements that are refused


@pytest.mark.parametrize("error", [LedgerUnusable("it can't be read"), ValueError("too large"), RuntimeError("whatever")])
def test_a_settlement_that_the_ledger_cannot_take_waits_whatever_the_reason(books, folder, error):
    made, aside = spooling(books, folder)
    run(made.reserve(hold("a"), T))
    books.broken = error
    kept = run(made.settle(settlement("a"), T))
    assert str(error) in kept.spooled
    assert [path.name.endswith(".jsonl") for path in folder.iterdir()] == [True]
    books.broken = None
    assert not run(made.reserve(hold("b"), T)).unbooked
    assert (books.spent(), aside, list(folder.iterdir())) == (7, [], [])


def test_a_settlement_that_the_ledger_never_takes_is_set_aside_and_no_call_fails(books, folder):
    made, aside = spooling(books, folder)
    books.raises = {"a": LedgerUnusable("it counts no further")}
    assert run(made.settle(settlement("a"), T)).spooled
    assert isinstance(run(made.reserve(hold("b"), T)), Held)
    assert aside == [("a", "it counts no further")]
    run(made.close())
    assert [path.name for path in folder.iterdir()] == [set_aside.NAME]


def test_half_a_line_of_a_full_disk_is_skipped(folder, monkeypatch):
    spool, write = Spool(folder), os.write
    spool.keep_settlement(settlement("a"))

    def half(descriptor, content):
        if len(content) < 20:
            raise_full()
        return write(descriptor, content[: len(content) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "write", half)
        with pytest.raises(OSError, match="No space"):
            spool.keep_settlement(settlement("b"))
    spool.keep_settlement(settlement("c"))
    [path] = folder.iterdir()
    found = list(settlements(path.read_bytes().splitlines(keepends=True)))
    spool.close()
    assert [item.hold.id for item in found] == ["a", "c"]


# -------------------------------------------------------------------------------------------------- behind the calls


def wait_for(condition, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


class Slow(Counting):
    """A ledger whose settlements take until they may go on."""

    def __init__(self):
        super().__init__()
        self.may_go = threading.Event()

    async def settle(self, settlement, now_ms):
        if settlement.hold.id.startswith("old"):
            assert self.may_go.wait(20)
        return await super().settle(settlement, now_ms)


def test_a_blocking_call_does_not_wait_for_what_is_posted(folder):
    books = Slow()
    leave(folder, *[settlement(f"old{number}") for number in range(100)])
    made, _ = spooling(books, folder, BackgroundThreads())
    for number in range(3):
        run(made.reserve(hold(f"new{number}"), T))
        run(made.settle(settlement(f"new{number}"), T))
    assert books.settled == ["new0", "new1", "new2"]
    books.may_go.set()
    wait_for(lambda: not list(folder.iterdir()))
    run(made.close())
    assert (books.spent(), len(books.settled)) == (7 * 103, 103)


def test_a_loop_goes_on_while_what_waits_is_posted(books, folder, monkeypatch):
    monkeypatch.setattr(ledger, "TURN_S", 0)
    leave(folder, *[settlement(f"old{number}") for number in range(200)])

    async def main():
        made, _ = spooling(books, folder, BackgroundTasks())
        await made.reserve(hold("new"), T)
        before = len(books.settled)
        beats = 0
        while list(folder.iterdir()):
            await asyncio.sleep(0.001)
            beats += 1
        await made.close()
        return before, beats

    before, beats = asyncio.run(main())
    assert (before, books.spent()) == (0, 1_400)
    assert beats > 200  # there was a pause after each


def test_a_turn_of_posting_is_short(tmp_path, folder):
    """Thousands of lines, in turns whose work takes a few milliseconds of the processor each."""
    leave(folder, *[each for number in range(3_000) for each in (hold(f"h{number}"), settlement(f"h{number}"))])
    turns, began = [], [time.thread_time()]

    async def pause(_):
        turns.append(time.thread_time() - began[0])
        began[0] = time.thread_time()

    made, _ = spooling(SqliteLedger(tmp_path / "l.db", BlockingRuntime().sleep), folder)
    run(made._post_all(T, pause))
    run(made.close())
    assert len(turns) > 100
    assert sorted(turns)[int(0.99 * len(turns))] < 0.01


def test_a_process_with_one_short_call_posts_a_short_file_when_it_closes(books, folder):
    leave(folder, *[settlement(f"old{number}") for number in range(20)])
    made, _ = spooling(books, folder, BackgroundThreads())
    run(made.reserve(hold("new"), T))
    run(made.close())
    assert (books.spent(), list(folder.iterdir())) == (140, [])


def test_what_waits_is_posted_behind_a_client_without_calls(books, folder):
    leave(folder, settlement("old"))
    made, _ = spooling(books, folder, BackgroundThreads())
    run(made.post_spooled(T))
    wait_for(lambda: not list(folder.iterdir()))
    run(made.close())
    assert books.spent() == 7


@pytest.mark.parametrize(("error", "pause_ms"), [(LedgerUnavailable("gone"), FIRST_PAUSE_MS), (LedgerUnusable("damaged"), LOOK_MS)])
def test_a_ledger_that_takes_nothing_is_not_asked_by_every_call(books, folder, error, pause_ms, caplog):
    leave(folder, settlement("old"))
    books.raises, books.broken = {}, None
    made, aside = spooling(books, folder, BackgroundThreads())
    tries = []

    async def settle(what, _):
        tries.append(what.hold.id)
        raise error

    async def post(*_):
        raise error

    def warnings():
        return len([record for record in caplog.records if "can't be posted" in record.message])

    real = books.settle, books.post
    books.settle, books.post = settle, post
    for _ in range(3):
        run(made.reserve(hold("new"), T))
        run(made.withdraw("new"))
        wait_for(lambda: tries and made._posts_at_ms > T)
    assert tries == ["old"]
    wait_for(lambda: warnings() == isinstance(error, LedgerUnusable))
    books.settle, books.post = real
    run(made.reserve(hold("newer"), T + pause_ms))
    wait_for(lambda: not list(folder.iterdir()))
    run(made.close())
    assert (books.spent(), aside) == (7, [])


def test_closing_ends_in_time_and_the_next_process_goes_on_where_it_stopped(books, folder, monkeypatch):
    monkeypatch.setattr(files, "_NOTE_BYTES", 0)
    leave(folder, *[each for number in range(50) for each in (hold(f"h{number}"), settlement(f"h{number}"))], hold("lost"))
    made, _ = spooling(books, folder)
    books.raises = {"h20": LedgerUnavailable("gone")}
    with pytest.raises(LedgerUnavailable):
        run(made.post_all_spooled(T))
    assert books.settled == [f"h{number}" for number in range(21)]
    books.settled.clear()
    books.raises = {}
    other, _ = spooling(books, folder)
    run(other.post_all_spooled(T))
    assert books.settled == [*(f"h{number}" for number in range(20, 50)), "lost"]
    assert books.spent() == 7 * 50 + 10

    monkeypatch.setattr(ledger, "CLOSE_S", -1.0)
    books.broken = LedgerUnavailable("gone")
    for number in range(10):
        run(other.settle(settlement(f"mine{number}"), T))
    books.broken = None
    books.settled.clear()
    run(other.close())
    assert books.settled == ["mine0"]
    run(spooling(books, folder)[0].post_all_spooled(T))
    assert books.spent() == 7 * 60 + 10


# -------------------------------------------------------------------------------------------------- several processes

PRELUDE = """
import os, signal, sys
from pathlib import Path
from paymaster.background import BackgroundThreads
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import open_ledger
from paymaster.ledgers.spool.ledger import SpoolingLedger
from paymaster.runtime import BlockingRuntime, run
runtime, posted = BlockingRuntime(), []
books = SqliteLedger(Path(sys.argv[1]), runtime.sleep)
ledger = SpoolingLedger(books, Path(sys.argv[2]), posted=lambda what, _: posted.append(what.hold.id))
"""


def start(script, path, folder):
    # A process that is killed would leave half-written coverage data behind.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(path), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def records_of(path):
    books = SqliteLedger(path, BlockingRuntime().sleep)
    found = [(record.hold_id, record.amounts["usd/run/a"]) for record in iterate(books.records())]
    spent = run(books.balances("usd/", T))["usd/run/a"].settled
    run(books.close())
    return found, spent


def test_processes_that_post_at_once_and_are_killed_post_everything_once(tmp_path, folder):
    for number in range(6):
        leave(folder, *[settlement(f"h{number}-{each}") for each in range(100)], hold(f"lost{number}"), name=f"{number + 1}-dead.jsonl")
    path = tmp_path / "l.db"
    dies = """
    real = books.settle
    async def settle(settlement, now_ms):
        if len(posted) == 150:
            os.kill(os.getpid(), signal.SIGKILL)
        return await real(settlement, now_ms)
    books.settle = settle
    run(ledger.post_all_spooled(runtime.now_ms()))
    """
    both = [start(dies, path, folder), start("run(ledger.post_all_spooled(runtime.now_ms()))", path, folder)]
    for process in both:
        process.communicate(timeout=60)
    assert both[0].returncode in {-signal.SIGKILL, 0}
    start("run(ledger.post_all_spooled(runtime.now_ms()))", path, folder).communicate(timeout=60)
    found, spent = records_of(path)
    assert len(found) == len(dict(found)) == 606
    assert spent == sum(amount for _, amount in found) == 6 * (100 * 7 + 10)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_that_is_forked_while_its_parent_posts_holds_up_no_file(tmp_path, folder):
    leave(folder, *[settlement(f"h{number}") for number in range(400)])
    script = """
    real, forked = books.settle, []
    async def settle(settlement, now_ms):
        if len(posted) == 50 and not forked:
            forked.append(os.fork())
            if forked == [0]:
                sys.stdin.readline()
                os._exit(0)
        if len(posted) == 60:
            raise KeyboardInterrupt
        return await real(settlement, now_ms)
    books.settle = settle
    try:
        run(ledger.post_all_spooled(runtime.now_ms()))
    except KeyboardInterrupt:
        print("stopped", flush=True)
    os._exit(0)
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(tmp_path / "l.db"), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stopped\n"
        # The child lives on, with a copy of the descriptor that its parent had locked.
        start("run(ledger.post_all_spooled(runtime.now_ms()))", tmp_path / "l.db", folder).communicate(timeout=60)
        found, spent = records_of(tmp_path / "l.db")
        process.communicate("\n", timeout=20)
    assert (len(found), spent, list(folder.iterdir())) == (400, 2_800, [])


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
def test_every_ledger_takes_a_transaction_that_changes_nothing(kind, tmp_path, request):
    if kind == "redis":
        made = open_ledger(request.getfixturevalue("redis_url"), BlockingRuntime().sleep)
    else:
        made = MemoryLedger() if kind == "memory" else SqliteLedger(tmp_path / "l.db", BlockingRuntime().sleep)
    assert run(made.post((), (), T)) == ()
    run(made.close())
