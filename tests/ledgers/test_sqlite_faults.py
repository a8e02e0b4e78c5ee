"""Everything that can be wrong with a ledger's file is one clear message, and charges nothing."""

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from paymaster.accounting.accounts import Charge, Held, Hold, Settlement
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.identity import process_name
from paymaster.ledgers.sqlite import file as sqlite_file
from paymaster.ledgers.sqlite.file import APPLICATION_ID, connect, open_database, to_error
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.sqlite.store import SqliteStore
from paymaster.runtime import BlockingRuntime, iterate, run
from paymaster.testing import ManualRuntime

T = 1_000_000
HOLD = Hold("h1", (Charge("usd/run/a", 10, 100),), 10_000)


@pytest.fixture
def runtime():
    return ManualRuntime()


@pytest.fixture
def use(runtime):
    """Use the ledger at a path."""

    def reserve(path, **options):
        ledger = SqliteLedger(path, runtime.sleep, **options)
        try:
            return run(ledger.reserve(HOLD, T))
        finally:
            run(ledger.close())

    return reserve


def database(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def unprivileged(script, folder):
    """Run a script as a user to whom permissions apply; root may write everything."""
    prelude = """
        import os, resource, sys, tempfile
        from pathlib import Path
        from paymaster.accounting.accounts import Charge, Hold
        from paymaster.errors import PaymasterError
        from paymaster.ledgers.sqlite.ledger import SqliteLedger
        from paymaster.ledgers.sqlite.file import read_statements
        from paymaster.runtime import BlockingRuntime, run
        with tempfile.TemporaryDirectory() as folder:  # loads all it needs while it may
            other = SqliteLedger(Path(folder) / "other.sqlite3", BlockingRuntime().sleep)
            run(other.balances("", 0))
            run(other.close())
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            read_statements()
        except PermissionError:
            sys.exit("only root may read this checkout")
        ledger = SqliteLedger(Path(sys.argv[1]), BlockingRuntime().sleep)
    """
    whole = textwrap.dedent(prelude) + textwrap.dedent(script)
    # Such a user could not write coverage data either.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", whole, str(folder / "ledger.sqlite3")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    if "only root may read" in answer.stderr:
        pytest.skip(answer.stderr.strip())
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture
def open_folder():
    """A folder that any user may enter."""
    with tempfile.TemporaryDirectory(prefix="paymaster-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


RESERVES = """
try:
    run(ledger.reserve(Hold("h1", (Charge("usd/run/a", 10, 100),), 10_000), 1_000_000))
except PaymasterError as error:
    print(type(error).__name__, error)
"""


def test_the_file_and_its_folders_are_made_and_only_their_owner_may_read_them(tmp_path, runtime):
    path = tmp_path / "new" / "deep" / "ledger.sqlite3"
    old = os.umask(0)
    try:
        ledger = SqliteLedger(path, runtime.sleep)
        run(ledger.reserve(HOLD, T))
        files = sorted(path.parent.iterdir())
        lock = f"ledger.sqlite3-{process_name()}.lock"
        assert [file.name for file in files] == ["ledger.sqlite3", lock, "ledger.sqlite3-shm", "ledger.sqlite3-wal"]
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 4
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        run(ledger.close())
    finally:
        os.umask(old)


def test_an_empty_file_becomes_a_ledger(tmp_path, use):
    path = tmp_path / "ledger.sqlite3"
    path.touch()
    assert isinstance(use(path), Held)


def test_names_with_special_characters_are_fine(tmp_path, use):
    path = tmp_path / "100 % sure?#1.sqlite3"
    assert isinstance(use(path), Held)
    assert path.exists()


def test_a_file_that_another_process_makes_at_the_same_moment_is_a_ledger(tmp_path, monkeypatch):
    """The other process finishes between two reads of the header."""
    path = tmp_path / "ledger.sqlite3"
    opened = []

    def watched(place):
        connection = connect(place)

        def look(statement):
            if statement == "PRAGMA user_version" and not opened:
                opened.append(True)
                with contextlib.suppress(sqlite3.OperationalError):  # locked: it comes back when we have looked
                    open_database(path).close()

        connection.set_trace_callback(look)
        return connection

    monkeypatch.setattr(sqlite_file, "connect", watched)
    open_database(path).close()
    assert opened


def test_a_directory_is_refused(tmp_path, use):
    with pytest.raises(LedgerUnusable, match="is a directory"):
        use(tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path, use):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LedgerUnusable, match="cannot be written"):
        use(tmp_path / "file" / "ledger.sqlite3")


@pytest.mark.parametrize("content", ["not a database\n", "x" * 10_000])
def test_a_file_that_is_no_database_is_refused(tmp_path, use, content):
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(LedgerUnusable, match=r"notes\.txt is not a ledger") as caught:
        use(path)
    assert "--ledger" in caught.value.advice
    assert path.read_text() == content


@pytest.mark.parametrize("statement", ["CREATE TABLE cookies (name)", "PRAGMA application_id = 77", "PRAGMA user_version = 3"])
def test_another_programs_database_is_left_alone(tmp_path, use, statement):
    path = tmp_path / "cookies.sqlite3"
    database(path, statement)
    before = path.read_bytes()
    with pytest.raises(LedgerUnusable, match="another program"):
        use(path)
    assert path.read_bytes() == before


def test_a_later_schema_is_refused(tmp_path, use):
    path = tmp_path / "ledger.sqlite3"
    use(path)
    database(path, "PRAGMA user_version = 99")
    with pytest.raises(LedgerUnusable, match="schema version 99; this one knows up to 6") as caught:
        use(path)
    assert "pip install --upgrade paymaster" in caught.value.advice


def test_the_schema_is_marked_as_ours(tmp_path, use):
    path = tmp_path / "ledger.sqlite3"
    use(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (6,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_read_only_file_is_refused(open_folder):
    path = open_folder / "ledger.sqlite3"
    path.touch()
    path.chmod(0o444)
    open_folder.chmod(0o777)
    said = unprivileged(RESERVES, open_folder)
    assert "LedgerUnusable" in said
    assert "cannot be written: permission denied" in said


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_folder_is_refused(open_folder, exists):
    path = open_folder / "ledger.sqlite3"
    if exists:
        path.touch()
        path.chmod(0o666)
    open_folder.chmod(0o555)
    said = unprivileged(RESERVES, open_folder)
    open_folder.chmod(0o755)
    assert "LedgerUnusable" in said
    assert "its directory must both be writable" in said


def test_a_file_that_stays_locked_is_unavailable(tmp_path, use, runtime):
    path = tmp_path / "ledger.sqlite3"
    use(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match=r"ledger\.sqlite3 was locked by another process for 3") as caught:
            use(path, patience_ms=3_000)
        assert "fuser" in caught.value.advice
        assert 3_000 <= sum(runtime.slept_ms) < 3_100
        assert max(runtime.slept_ms) <= 33


def test_a_file_locked_from_the_start_is_unavailable(tmp_path, use):
    path = tmp_path / "ledger.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable, match="locked by another process"):
            use(path, patience_ms=100)
        other.execute("ROLLBACK")
    assert isinstance(use(path), Held)


def test_a_lock_that_is_released_is_waited_for(tmp_path, use):
    path = tmp_path / "ledger.sqlite3"
    use(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pauses = []

    async def pause(duration_ms):
        pauses.append(duration_ms)
        if len(pauses) == 5:
            other.execute("COMMIT")

    ledger = SqliteLedger(path, pause)
    assert isinstance(run(ledger.reserve(Hold("h2", HOLD.charges, 10), T)), Held)
    assert len(pauses) == 5
    run(ledger.close())
    other.close()


def test_balances_can_be_read_while_another_process_writes(tmp_path, use, runtime):
    path = tmp_path / "ledger.sqlite3"
    use(path)
    ledger = SqliteLedger(path, runtime.sleep)
    run(ledger.balances("", T))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert run(ledger.balances("usd/", T))["usd/run/a"].held == 10
        assert list(iterate(ledger.records())) == []
    assert runtime.slept_ms == []
    run(ledger.close())


def test_a_full_disk_charges_nothing_and_the_ledger_goes_on_when_there_is_room(tmp_path, runtime):
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", runtime.sleep)
    held = run(ledger.reserve(HOLD, T))
    connection = ledger._store.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    settlement = Settlement(HOLD, held.at_ms, (7,), '{"note": "' + "x" * 50_000 + '"}')
    with pytest.raises(LedgerUnavailable, match="could not be written: database or disk is full") as caught:
        run(ledger.settle(settlement, T))
    assert "full disk" in caught.value.advice
    assert run(ledger.balances("", T))["usd/run/a"].held == 10
    connection.execute("PRAGMA max_page_count = 1000000")
    assert run(ledger.settle(settlement, T)).changes[0].after == 7
    run(ledger.close())


def test_a_file_that_may_not_grow_is_unavailable(open_folder):
    script = """
    settled = 0
    charges = (Charge("usd/run/a", 1, None),)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        for number in range(100_000):
            run(ledger.reserve(Hold(f"h{number}", charges, 10_000, "x" * 1_000), 1_000_000))
            settled += 1
    except PaymasterError as error:
        print(type(error).__name__, error.message)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    print(settled == run(ledger.balances("", 1_000_000))["usd/run/a"].held)
    """
    open_folder.chmod(0o777)
    said = unprivileged(script, open_folder)
    assert "LedgerUnavailable" in said
    assert "Nothing of this step was recorded" in said
    assert said.splitlines()[-1] == "True"


def test_a_damaged_file_is_refused_with_a_way_to_rescue_it(tmp_path, use):
    path = tmp_path / "ledger.sqlite3"
    use(path)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x07" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(LedgerUnusable, match="is damaged") as caught:
        use(path)
    assert ".recover" in caught.value.advice


def test_a_ledger_without_its_tables_is_refused(tmp_path, use):
    path = tmp_path / "ledger.sqlite3"
    use(path)
    database(path, "DROP TABLE clock")
    with pytest.raises(LedgerUnusable, match="no such table: clock"):
        use(path)


def test_every_other_sqlite_error_names_the_file(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    assert str(path) in to_error(sqlite3.OperationalError("odd"), path).message
    readonly = sqlite3.OperationalError("attempt to write a readonly database")
    readonly.sqlite_errorcode = sqlite3.SQLITE_READONLY
    assert "cannot be written: attempt to write a readonly database" in to_error(readonly, path).message


def test_closing_twice_and_using_a_closed_ledger_are_fine(tmp_path, runtime):
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", runtime.sleep)
    run(ledger.close())
    run(ledger.reserve(HOLD, T))
    run(ledger.close())
    run(ledger.close())
    assert run(ledger.balances("", T))["usd/run/a"].held == 10
    run(ledger.close())


def test_two_ledgers_of_one_process_on_one_file_see_each_other(tmp_path):
    runtime = BlockingRuntime()
    first, second = (SqliteLedger(tmp_path / "ledger.sqlite3", runtime.sleep) for _ in range(2))
    run(first.reserve(HOLD, T))
    assert run(second.reserve(HOLD, T)).balances[0].held == 10
    run(first.close())
    assert run(second.settle(Settlement(HOLD, T, (4,), "{}"), T)).changes[0].after == 4
    run(second.close())


def test_an_error_inside_a_transaction_changes_nothing(tmp_path, runtime):
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", runtime.sleep)
    run(ledger.settle(Settlement(HOLD, T, (2**62,), "{}"), T))
    with pytest.raises(OverflowError):
        run(ledger.settle(Settlement(Hold("h2", HOLD.charges, 10), T, (2**62,), "{}"), T))
    assert run(ledger.balances("", T))["usd/run/a"].settled == 2**62
    assert [record.hold_id for record in iterate(ledger.records())] == ["h1"]
    run(ledger.close())


@pytest.mark.parametrize("name", ["ledger", "busy"])
def test_a_reader_waits_its_turn_and_closes_what_it_opened(tmp_path, runtime, monkeypatch, name):
    """The journal's own connection may meet a locked file as well."""
    path = tmp_path / f"{name}.sqlite3"
    ledger = SqliteLedger(path, runtime.sleep)
    run(ledger.settle(Settlement(HOLD, T, (1,), "{}"), T))
    faults = [sqlite3.OperationalError("database is locked")] if name == "busy" else []
    for fault in faults:
        fault.sqlite_errorcode = sqlite3.SQLITE_BUSY
    real = SqliteStore.read_records

    def read_records(store, after_ms):
        if faults:
            raise faults.pop()
        return real(store, after_ms)

    monkeypatch.setattr(SqliteStore, "read_records", read_records)
    assert [record.hold_id for record in iterate(ledger.records())] == ["h1"]
    assert len(runtime.slept_ms) == (1 if name == "busy" else 0)
    run(ledger.close())


def test_a_journal_that_is_damaged_half_way_is_named(tmp_path, runtime, monkeypatch):
    path = tmp_path / "ledger.sqlite3"
    ledger = SqliteLedger(path, runtime.sleep)
    for number in range(3):
        run(ledger.settle(Settlement(Hold(f"h{number}", HOLD.charges, 10), T, (1,), "{}"), T))
    damage = sqlite3.DatabaseError("database disk image is malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    real = SqliteStore.read_records

    def read_records(store, after_ms):
        for record in real(store, after_ms):
            yield record
            raise damage

    monkeypatch.setattr(SqliteStore, "read_records", read_records)
    with pytest.raises(LedgerUnusable, match="is damaged"):
        list(iterate(ledger.records()))
    run(ledger.close())


def test_a_file_that_is_removed_while_it_is_opened_is_an_error_of_the_ledger(use, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_make_file", lambda _: None)  # as if it was removed right behind that
    with pytest.raises((LedgerUnavailable, LedgerUnusable), match=r"ledger\.sqlite3"):
        use(tmp_path / "ledger.sqlite3")
