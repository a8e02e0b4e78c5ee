"""A ledger that was removed, moved or replaced in use: a hard budget refuses, a soft one waits on disk, until a person decides."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paymaster import BudgetExceeded, Client, LedgerReplaced, LedgerUnavailable, LedgerUnusable
from paymaster.accounting.accounts import Charge, Hold
from paymaster.cli import main
from paymaster.ledgers.identity import KnownLedger
from paymaster.ledgers.sqlite.file import is_empty
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import known_ledger, open_ledger
from paymaster.runtime import BlockingRuntime, run

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = [{"role": "user", "content": "Hi"}]
OPEN_FILES = Path("/proc/self/fd")
REGISTRY = """
default: a
models:
  a: {{provider: scripted, model_id: good, script: script.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10, max_output_tokens: 4}}
policies: {{budget_usd_per_run: 0.0005, hard_stop_on_budget: {hard}}}
"""
NEW_PROCESS = """
import json, sys
from paymaster import BudgetExceeded, Client, PaymasterError
made, refused = 0, ""
with Client("registry.yaml", ledger=sys.argv[1], state_dir=sys.argv[2], run="r") as client:
    try:
        for _ in range(int(sys.argv[3])):
            client.complete([{"role": "user", "content": "Hi"}])
            made += 1
    except PaymasterError as error:
        refused = type(error).__name__ + ": " + str(error)
print(json.dumps([made, refused]))
"""


class Place:
    """A ledger's file in a folder of its own, with the state directory that knows it; and copies of it as it was earlier."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "books" / "l.sqlite3"
        self.state = folder / "state"
        self.url = f"sqlite:{self.path}"
        self.kept = folder / "kept"

    def client(self) -> Client:
        return Client("registry.yaml", ledger=self.url, state_dir=str(self.state), run="r")

    def new_process(self, calls: int = 100, state: str = "state") -> tuple[int, str]:
        """How many calls another process can make, and what refused the next one."""
        arguments = [sys.executable, "-c", NEW_PROCESS, self.url, str(self.folder / state), str(calls)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        shown = subprocess.run(arguments, cwd=self.folder, capture_output=True, text=True, check=False, env=environment)
        assert shown.returncode == 0, shown.stderr
        made, refused = json.loads(shown.stdout)
        return made, refused

    def copy(self) -> Path:
        """A whole copy of the ledger as it is now, like a backup."""
        target = self.folder / "backup.sqlite3"
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        return target

    def command(self, *words: str) -> int:
        return main([*words, "--ledger", self.url, "--state-dir", str(self.state)])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.yaml").write_text("models:\n  good: {answers: [{text: one two}]}\n")
    (tmp_path / "registry.yaml").write_text(REGISTRY.format(hard="true"))
    return Place(tmp_path)


def files(path: Path) -> list[Path]:
    return [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]


def move_out(place: Place, *which: int) -> None:
    place.kept.mkdir()
    for number in which:
        file = files(place.path)[number]
        file.rename(place.kept / file.name)


def put_back(place: Place) -> None:
    for file in place.kept.iterdir():
        file.replace(place.path.parent / file.name)


def rename_folder(place: Place) -> None:
    place.path.parent.rename(place.kept)


def put_folder_back(place: Place) -> None:
    shutil.rmtree(place.path.parent, ignore_errors=True)
    place.kept.rename(place.path.parent)


def put_in_its_place(place: Place, other: Path) -> None:
    move_out(place, 0, 1, 2)
    other.rename(place.path)


def put_another_there(place: Place) -> None:
    other = place.folder / "other.sqlite3"
    with Client("registry.yaml", ledger=f"sqlite:{other}", state_dir=str(place.folder / "other-state")) as client:
        client.complete(HELLO)
    put_in_its_place(place, other)


def put_an_empty_one_there(place: Place) -> None:
    (place.folder / "empty").touch()
    put_in_its_place(place, place.folder / "empty")


def calls_until_refused(client: Client) -> int:
    made = 0
    while made < 100:
        try:
            client.complete(HELLO)
        except BudgetExceeded:
            break
        made += 1
    return made


CHANGES: dict[str, tuple[Callable[[Place], None], Callable[[Place], None], str]] = {
    "all files removed": (lambda place: move_out(place, 0, 1, 2), put_back, "removed or renamed"),
    "the file removed": (lambda place: move_out(place, 0), put_back, "removed or renamed"),
    "log and shared memory removed": (lambda place: move_out(place, 1, 2), put_back, "-wal, which belongs to"),
    "log removed": (lambda place: move_out(place, 1), put_back, "-wal, which belongs to"),
    "shared memory removed": (lambda place: move_out(place, 2), put_back, "-shm, which belongs to"),
    "folder renamed": (rename_folder, put_folder_back, "folder of the ledger"),
    "an empty file in its place": (put_an_empty_one_there, put_back, "replaced by another file"),
    "another ledger in its place": (put_another_there, put_back, "replaced by another file"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_hard_budget_is_kept_whatever_is_done_to_the_file(place: Place, change: str) -> None:
    do, undo, message = CHANGES[change]
    with place.client() as client:
        for _ in range(5):
            client.complete(HELLO)
        do(place)
        made, refused = place.new_process()
        # A process that opens what was left intact works on with it; nobody gets a second budget.
        assert made + 5 <= 22
        assert made == 0 or change in {"shared memory removed", "log removed"}, refused
        with pytest.raises(LedgerReplaced, match=message) as caught:
            client.complete(HELLO)
        assert "ledger accept" in str(caught.value)
        assert caught.value.exit_status == 2
        undo(place)
        if made == 0:
            assert 15 <= calls_until_refused(client) + 5 <= 22
    assert place.command("ledger", "verify") == 0


def test_an_older_copy_is_refused_by_new_processes_and_by_running_ones(place: Place) -> None:
    with place.client() as client:
        client.complete(HELLO)
        backup = place.copy()
        for _ in range(10):
            client.complete(HELLO)
        put_in_its_place(place, backup)
        made, refused = place.new_process()
        assert (made, refused.partition(":")[0]) == (0, "LedgerReplaced")
        assert "lacks its newest records" in refused
        with pytest.raises(LedgerReplaced, match="replaced by another file"):
            client.complete(HELLO)


def test_a_symbolic_link_that_leads_to_another_folder_is_noticed(place: Place) -> None:
    for name in ("v1", "v2"):
        (place.folder / name).mkdir()
    place.path.parent.symlink_to("v1")
    with place.client() as client:
        client.complete(HELLO)
        place.path.parent.unlink()
        place.path.parent.symlink_to("v2")
        with pytest.raises(LedgerReplaced, match="removed or replaced while it was in use"):
            client.complete(HELLO)
        assert place.new_process()[1].startswith("LedgerReplaced")
        place.path.parent.unlink()
        place.path.parent.symlink_to("v1")
        client.complete(HELLO)


def test_an_older_copy_is_noticed_though_the_folder_has_its_old_time_again(place: Place) -> None:
    """`rsync -a` and `tar` put the times of folders back as well."""
    with place.client() as client:
        client.complete(HELLO)
        time.sleep(0.1)
        client.complete(HELLO)
        times = place.path.parent.stat()
        backup = place.copy()
        client.complete(HELLO)
        put_in_its_place(place, backup)
        os.utime(place.path.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(LedgerReplaced, match="replaced by another file"):
            client.complete(HELLO)


def test_an_older_copy_that_is_copied_over_the_file_is_refused_by_a_running_process(place: Place) -> None:
    """As `cp` does: the name still stands for the same file. Its log is empty, as after any checkpoint, so nothing else has the records."""
    with place.client() as client:
        client.complete(HELLO)
        backup = place.copy()
        time.sleep(0.05)  # a copy is older only if its newest record is, and the ledger's time has a resolution of 10 ms
        client.complete(HELLO)
        checkpoint = f"import sqlite3; sqlite3.connect({str(place.path)!r}).execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()"
        subprocess.run([sys.executable, "-c", checkpoint], check=True)
        shutil.copyfile(backup, place.path)
        for _ in range(2):
            with pytest.raises(LedgerReplaced, match="lacks its newest records"):
                client.complete(HELLO)
    assert place.new_process()[1].startswith("LedgerReplaced")


def test_an_older_copy_is_refused_when_nobody_runs(place: Place) -> None:
    place.new_process(1)
    backup = place.copy()
    place.new_process(5)
    backup.replace(place.path)
    assert place.new_process()[1].startswith("LedgerReplaced")
    assert place.command("ledger", "accept") == 0
    assert place.new_process(3) == (3, "")


@pytest.mark.parametrize("change", ["all files removed", "another ledger in its place", "an empty file in its place"])
def test_new_processes_refuse_until_a_person_accepts(place: Place, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    place.new_process(3)
    with closing(sqlite3.connect(place.path)) as database:  # its log, which a process that ends well removes
        database.execute("SELECT count(*) FROM record").fetchone()
        CHANGES[change][0](place)
    for _ in range(2):
        assert place.new_process()[1].startswith("LedgerReplaced")
    assert place.new_process(2, state="fresh")[0] == 2  # which can't know
    shutil.rmtree(place.folder / "fresh")
    capsys.readouterr()
    for words in (("ledger", "status"), ("ledger", "verify"), ("report",), ("status",)):
        found = is_empty(place.path)
        assert place.command(*words) == (2 if found else 0)
        assert "ledger accept" in capsys.readouterr().err
        assert is_empty(place.path) is found  # looking makes no ledger
    assert place.command("ledger", "accept") == 0
    assert place.new_process(2) == (2, "")
    assert place.command("ledger", "accept") == 0
    assert "expected one already" in capsys.readouterr().out


def test_a_new_process_names_a_log_that_was_removed_in_use(place: Place) -> None:
    with place.client() as client:
        client.complete(HELLO)
        move_out(place, 1)
        for _ in range(2):  # the first one leaves an empty log
            made, refused = place.new_process()
            assert (made, refused.partition(",")[0]) == (0, f"LedgerReplaced: {place.path}-wal")
            assert "fuser" in refused
    assert place.new_process(2) == (2, "")


def test_a_ledger_that_is_made_in_place_of_another_is_no_accepted_one(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.new_process(1)
    place.path.unlink()
    assert place.command("ledger", "init") == 0
    assert "ledger accept" in capsys.readouterr().err
    assert place.new_process()[1].startswith("LedgerReplaced")


def test_a_running_process_goes_on_when_a_person_accepts(place: Place) -> None:
    with place.client() as client:
        client.complete(HELLO)
        CHANGES["all files removed"][0](place)
        with pytest.raises(LedgerReplaced):
            client.complete(HELLO)
        assert place.command("ledger", "accept") == 0
        client.complete(HELLO)
    assert place.new_process(2) == (2, "")


def test_a_soft_budget_goes_on_and_what_it_cost_is_posted_to_its_own_ledger_only(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (place.folder / "registry.yaml").write_text(REGISTRY.format(hard="false"))
    with place.client() as client:
        client.complete(HELLO)
        put_another_there(place)
        for _ in range(3):
            client.complete(HELLO)
    assert place.new_process(2) == (2, "")
    capsys.readouterr()
    assert place.command("ledger", "status", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["records"] == 1  # the other's own
    assert shown["waiting"]["settlements"] == 5
    assert shown["replaced"]
    assert place.command("ledger", "post") == 2
    put_back(place)
    assert place.new_process(1) == (1, "")
    capsys.readouterr()
    assert place.command("ledger", "verify", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["records"], shown["waiting"]["settlements"]) == (7, 0)


@pytest.mark.parametrize(("with_waiting", "records"), [(False, 2), (True, 5)])
def test_what_waits_for_the_ledger_before_is_posted_to_another_only_if_a_person_says_so(
    place: Place, capsys: pytest.CaptureFixture[str], with_waiting: bool, records: int
) -> None:
    (place.folder / "registry.yaml").write_text(REGISTRY.format(hard="false"))
    with place.client() as client:
        client.complete(HELLO)
        put_another_there(place)
        for _ in range(3):
            client.complete(HELLO)
    assert place.command("ledger", "accept", *(["--with-waiting"] if with_waiting else [])) == 0
    assert place.new_process(1) == (1, "")
    capsys.readouterr()
    assert place.command("ledger", "verify", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["records"], shown["waiting"]["settlements"]) == (records, 0 if with_waiting else 3)


@pytest.mark.parametrize(("with_waiting", "records"), [(False, 1), (True, 4)])
def test_what_a_running_process_has_waiting_is_posted_to_no_other_ledger_and_not_lost(
    place: Place, with_waiting: bool, records: int
) -> None:
    (place.folder / "registry.yaml").write_text(REGISTRY.format(hard="false"))
    with place.client() as client:
        client.complete(HELLO)
        put_another_there(place)
        for _ in range(3):
            client.complete(HELLO)
        assert place.command("ledger", "accept", *["--with-waiting"][:with_waiting]) == 0
    with closing(sqlite3.connect(place.path)) as now:
        found = now.execute("SELECT count(*) FROM record").fetchone()[0]
    assert found == records
    if not with_waiting:
        put_back(place)
        assert place.command("ledger", "accept") == 0
        place.new_process(1)
        with closing(sqlite3.connect(place.path)) as before:
            assert before.execute("SELECT count(*) FROM record").fetchone()[0] == 5


def test_a_file_with_two_names_is_refused_when_it_is_opened(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.new_process(1)
    os.link(place.path, place.folder / "other-name.sqlite3")
    for url in (place.url, f"sqlite:{place.folder / 'other-name.sqlite3'}"):
        with Client("registry.yaml", ledger=url, state_dir=str(place.state)) as client, pytest.raises(LedgerUnusable, match="hard link"):
            client.complete(HELLO)
    assert place.command("ledger", "status") == 2
    assert "hard link" in capsys.readouterr().err
    (place.folder / "other-name.sqlite3").unlink()
    (place.folder / "link.sqlite3").symlink_to(place.path)  # SQLite follows it, so the log is the same
    with Client("registry.yaml", ledger=f"sqlite:{place.folder / 'link.sqlite3'}", state_dir=str(place.state)) as client:
        client.complete(HELLO)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting needs root")
def test_a_file_that_is_mounted_by_itself_is_refused(place: Place) -> None:
    place.new_process(1)
    target = place.folder / "mounted" / "l .sqlite3"  # mountinfo writes the space as \\040
    target.parent.mkdir()
    target.touch()
    script = f"""
    from pathlib import Path
    from paymaster.errors import LedgerUnusable
    from paymaster.ledgers.sqlite.file import open_database
    try:
        open_database(Path({str(target)!r}))
    except LedgerUnusable as error:
        print(error)
    """
    steps = 'mount --bind "$1" "$2" && exec "$3" -c "$4"'
    arguments = ["unshare", "-m", "sh", "-c", steps, "sh", str(place.path), str(target), sys.executable, textwrap.dedent(script)]
    shown = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if "unshare failed" in shown.stderr or "mount:" in shown.stderr:
        pytest.skip(shown.stderr.strip())
    assert "mounted as a single file" in shown.stdout


DAMAGES = [
    ("UPDATE account SET settled = 'abc'", "sums of account"),
    ("UPDATE account SET held = 1.5", "sums of account"),
    ("UPDATE clock SET now_ms = 'soon'", "clock"),
    ("UPDATE hold SET charges = 'x'", "charges or times of hold"),
    ("UPDATE hold SET charges = '[1]'", "charges or times of hold"),
    ("UPDATE hold SET lease_until_ms = x'00'", "charges or times of hold"),
    ("UPDATE entry SET amount = 'many', free_ms = 1", "entry in the window"),
    ("DELETE FROM clock", "clock"),
    ("DELETE FROM identity", "identity"),
    ("DROP TABLE account", "account"),
]


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize(("statement", "message"), DAMAGES)
def test_a_damaged_value_is_unusable_and_never_unavailable(place: Place, statement: str, message: str, hard: bool) -> None:
    (place.folder / "registry.yaml").write_text(REGISTRY.format(hard=str(hard).lower()).replace("max_output", "rpm: 100, max_output"))
    runtime = BlockingRuntime()
    place.new_process(1)
    ledger = SqliteLedger(place.path, runtime.sleep)
    run(ledger.reserve(Hold("open", (Charge("usd/run/r", 1, None),), 1), runtime.now_ms()))
    run(ledger.close())
    with closing(sqlite3.connect(place.path)) as database, database:
        database.execute("UPDATE hold SET lease_until_ms = 1")
        database.execute("UPDATE clock SET next_lease_end_ms = 1")
        database.execute(statement)
    made, refused = place.new_process(1)
    assert (made, refused.partition(":")[0]) == (0, "LedgerUnusable"), refused
    assert "damaged" in refused or "cannot be used" in refused
    assert message in refused


def test_an_id_file_that_cannot_be_read_is_a_clear_error(place: Place) -> None:
    place.new_process(1)
    [known] = (place.state / "ledgers").glob("*.json")
    for text in ("", "nonsense", "{}", '{"id": 5}', '{"id": "short"}', "[]"):
        known.write_text(text)
        assert place.new_process()[1].startswith("LedgerUnusable")
    assert place.command("ledger", "accept") == 0
    assert place.new_process(1) == (1, "")


def test_a_damaged_time_of_the_newest_record_is_a_clear_error(place: Place) -> None:
    place.new_process(1)
    [seen] = (place.state / "ledgers").glob("*.seen")
    seen.write_text("nonsense")
    assert place.new_process()[1].startswith("LedgerUnusable")
    assert place.command("ledger", "accept") == 0
    assert place.new_process(1) == (1, "")


def test_a_state_directory_that_cannot_be_written_is_as_a_fresh_one(tmp_path: Path) -> None:
    (tmp_path / "ledgers").write_text("no folder")
    known = KnownLedger(tmp_path / "ledgers", "name")
    known.check("0" * 32, 5, label="here")
    known.note_record(7)
    assert known.id() == "0" * 32
    assert known.newest_seen_ms() == 7
    with pytest.raises(LedgerReplaced, match="Another ledger"):
        known.check("1" * 32, 9, label="here")
    with pytest.raises(LedgerReplaced, match="2 s older"):
        known.check("0" * 32, -1_993, label="here")


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs a list of open files")
def test_no_file_stays_open_for_threads_to_share(tmp_path: Path) -> None:
    """One that another thread closes may be another file by the time of the next write."""
    known = KnownLedger(tmp_path / "ledgers", "name")
    known.remember("a" * 32)
    before = len(list(OPEN_FILES.iterdir()))
    known.note_record(2_000)
    known.note_record(1_000)  # a settlement that was overtaken takes nothing back
    assert len(list(OPEN_FILES.iterdir())) == before
    assert KnownLedger(tmp_path / "ledgers", "name").newest_seen_ms() == 2_000


def test_every_process_of_a_state_directory_knows_the_newest_record(tmp_path: Path) -> None:
    first, second = (KnownLedger(tmp_path / "ledgers", "name", "sqlite:x") for _ in range(2))
    first.check("a" * 32, 0, label="here")
    first.note_record(1_000)
    second.check("a" * 32, 1_000, label="here")
    with pytest.raises(LedgerReplaced, match="older"):
        second.check("a" * 32, 999, label="here")
    second.check("a" * 32, 999, label="here", tolerance_ms=1)
    second.check("a" * 32, 999, label="here", seen_ms=999)  # the other's record came after the ledger was read
    second.accept("b" * 32, with_waiting=True)
    assert first.refresh() == "b" * 32
    first.check("b" * 32, 0, label="here")
    assert [first.takes(each) for each in ("", "a" * 32, "b" * 32, "c" * 32)] == [True, True, True, False]


def test_a_running_process_goes_on_noting_its_newest_record_after_a_person_accepts(place: Place) -> None:
    with place.client() as client:
        client.complete(HELLO)
        assert place.command("ledger", "accept") == 0
        backup = place.copy()
        client.complete(HELLO)
    backup.replace(place.path)
    assert "lacks its newest records" in place.new_process()[1]


def test_a_ledger_of_the_default_path_is_known_too(place: Place) -> None:
    with Client("registry.yaml", state_dir=str(place.state), run="r") as client:
        client.complete(HELLO)
    ledger = open_ledger(None, BlockingRuntime().sleep, state_dir=place.state)
    assert isinstance(ledger, SqliteLedger)
    assert known_ledger(ledger, place.state).id()
    (place.state / "ledger.sqlite3").unlink()
    with Client("registry.yaml", state_dir=str(place.state), run="r") as client, pytest.raises(LedgerUnavailable, match="is gone"):
        client.complete(HELLO)
