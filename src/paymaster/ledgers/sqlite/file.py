"""How a ledger's SQLite file is made, recognised and migrated, and what its faults mean to a user; knows no account and no rule."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from paymaster.errors import LedgerReplaced, LedgerUnavailable, LedgerUnusable, PaymasterError
from paymaster.ledgers.sqlite.upgrades import UPGRADES

# "PayM": PRAGMA application_id of a Paymaster ledger, so that no other program's database is ever written to.
APPLICATION_ID = 0x5061794D

_ESCAPED = re.compile(r"\\([0-7]{3})")
ANOTHER_FILE = "Name another file with --ledger sqlite:///path/to/ledger.sqlite3 (or PAYMASTER_LEDGER)."


def open_database(path: Path) -> sqlite3.Connection:
    """Connect to the ledger at `path`, making or migrating it first. It never waits for a lock.

    Raises:
        LedgerUnusable: the path, the file or its schema is not one Paymaster can work with.
        sqlite3.Error: any error of SQLite; `to_error` turns it into a message, `is_busy` is True if another try is worth it.
    """
    _make_file(path)
    _check_names(path)
    connection = connect(path)
    try:
        connection.execute("BEGIN")  # another process may be making the ledger: its header is read before or after that, not meanwhile
        _recognise(connection, path)
        connection.execute("COMMIT")
        _set_up(connection, path)
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """A bare connection: transactions begin with a statement of their own, and a lock is never waited for."""
    # The ledger's own lock keeps threads apart.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False)


def open_as_it_is(path: Path) -> tuple[sqlite3.Connection, int]:
    """Connect to the ledger at `path` without migrating it; with its schema's version, 0 for an empty file.

    Raises:
        LedgerUnusable: it is no ledger, or one from a later version.
        sqlite3.Error: any error of SQLite.
    """
    _check_access(path)
    _check_names(path)
    connection = connect(path)
    try:
        _recognise(connection, path)
        return connection, _header(connection)[1]
    except BaseException:
        connection.close()
        raise


def newest_version() -> int:
    """The schema's version that this Paymaster writes."""
    return _migrations()[-1][0]


def read_statements(*below: str) -> dict[str, str]:
    """The statements of the directory `sql`, or of one `below` it, by their verb."""
    folder = files("paymaster.ledgers.sqlite").joinpath("sql", *below)
    return {file.name.removesuffix(".sql"): file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".sql")}


def is_busy(error: sqlite3.Error) -> bool:
    """Another connection is writing: worth another try."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def to_error(error: sqlite3.Error, path: Path, *, worked: bool = False) -> PaymasterError:
    """An error of SQLite, as one clear message about the file. `worked` if this process could write it before."""
    match _code(error):
        case sqlite3.SQLITE_NOTADB:
            return LedgerUnusable(f"{path} is not a ledger: it is not a SQLite database.", advice=ANOTHER_FILE)
        case sqlite3.SQLITE_CORRUPT:
            return LedgerUnusable(
                f"The ledger {path} is damaged ({error}).",
                advice=f"Keep a copy, then rescue what is left with `sqlite3 {path} .recover | sqlite3 rescued.sqlite3`. {ANOTHER_FILE}",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            mistake = _not_writable(path, str(error))
            return LedgerUnavailable(mistake.message, advice=mistake.advice) if worked else mistake
        case sqlite3.SQLITE_IOERR if _lost_log(error, path):
            return LedgerReplaced(
                f"{path}-wal, which belongs to the ledger {path}, was removed while another process had the ledger open.",
                advice=f"Put it back, or end the processes that have the ledger open: `fuser {path}` names them.",
            )
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return LedgerUnavailable(
                f"The ledger {path} could not be written: {error}. Nothing of this step was recorded.",
                advice=f"Look for a full disk, a quota or a failing device under {path.parent}, and try again.",
            )
        case _:
            return LedgerUnusable(f"The ledger {path} cannot be used: {error}.", advice=ANOTHER_FILE)


def locked_for_long(path: Path, waited_ms: int) -> LedgerUnavailable:
    """The message for a lock that was not released."""
    return LedgerUnavailable(
        f"The ledger {path} was locked by another process for {waited_ms / 1000:g} s.",
        advice=f"A stopped process or an open sqlite3 shell may hold it: `fuser {path}` names it. End it, or try again.",
    )


def _code(error: sqlite3.Error) -> int:
    """The primary result code; errors of the Python module itself have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _lost_log(error: sqlite3.Error, path: Path) -> bool:
    """Whether others have records in a log that has no name any more: their shared memory says so, and the log by that name is empty."""
    if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_IOERR_SHORT_READ:
        return False
    log = path.resolve()
    log = log.with_name(f"{log.name}-wal")
    return not log.exists() or log.stat().st_size == 0


def _not_writable(path: Path, reason: str) -> LedgerUnusable:
    return LedgerUnusable(
        f"The ledger {path} cannot be written: {reason}.",
        advice=f"The file and its directory must both be writable, as SQLite keeps a log beside the file. {ANOTHER_FILE}",
    )


def _make_file(path: Path) -> None:
    """Create an empty file that only its owner may read. SQLite gives its log the same permissions.

    A file that exists is not opened here: closing it would release the locks of every other connection of this process.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_dir():
            raise LedgerUnusable(f"The ledger {path} is a directory.", advice=ANOTHER_FILE)
        if not path.exists():
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as error:
        raise _not_writable(path, error.strerror or str(error)) from error
    _check_access(path)


def _check_access(path: Path) -> None:
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        raise _not_writable(path, "permission denied")


def is_empty(path: Path) -> bool:
    """Whether there is no file at `path`, or nothing in it."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True
    except OSError:  # the caller that opens it finds out why
        return False


def _check_names(path: Path) -> None:
    """Refuse a file that has two names: SQLite keeps its log beside the name, so two processes could have a log each."""
    try:
        names = path.stat().st_nlink
    except FileNotFoundError:  # removed a moment ago: connecting to it says so
        return
    if names > 1:
        raise LedgerUnusable(
            f"The ledger {path} has another name as well: it is a hard link. Two processes that use both names would not see each other.",
            advice=f"Remove the other name (`find / -samefile {path}` shows it), or make it a symbolic link.",
        )
    if str(path.resolve()) in _mount_points():
        raise LedgerUnusable(
            f"The ledger {path} is mounted as a single file. Processes that use it by another name would not see each other.",
            advice=f"Mount its folder instead: -v /host/folder:{path.parent}.",
        )


def _mount_points() -> set[str]:
    """Where something is mounted; empty on systems that don't list it."""
    try:
        text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return set()
    # proc(5): the fifth field, with space, tab, newline and backslash as octal escapes.
    return {_ESCAPED.sub(lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in text.splitlines() if line.count(" ") > 4}


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is not a ledger, or one from a later version."""
    application_id, version = _header(connection)
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    is_fresh = application_id == 0 and version == 0 and tables == 0
    if application_id != APPLICATION_ID and not is_fresh:
        raise LedgerUnusable(f"{path} is a database of another program.", advice=ANOTHER_FILE)
    newest = newest_version()
    if version > newest:
        raise LedgerUnusable(
            f"The ledger {path} was written by a later Paymaster (schema version {version}; this one knows up to {newest}).",
            advice="Upgrade with `pip install --upgrade paymaster`. " + ANOTHER_FILE,
        )


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    """Choose how the file is written."""
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise LedgerUnusable(
            f"The ledger {path} is on a file system without shared memory, so processes can't share it.",
            advice="Put it on a local disk. " + ANOTHER_FILE,
        )
    # A commit is in the file system before it returns, so a killed process loses nothing. It is forced onto the disk at the next
    # checkpoint only: a power cut may lose the last transactions, each whole, and never leaves a damaged ledger.
    connection.execute("PRAGMA synchronous = NORMAL")


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    """The application's id and the schema's version."""
    application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return application_id, version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, in one transaction; of several processes one does it."""
    newest = newest_version()
    if _header(connection) == (APPLICATION_ID, newest):
        return
    connection.execute("BEGIN IMMEDIATE")
    _recognise(connection, path)
    done = _header(connection)[1]
    for version, script in _migrations():
        if version > done:
            for statement in _split(script):
                connection.execute(statement)
            if version in UPGRADES and done > 0:  # a new file has nothing that could be brought up to date
                UPGRADES[version](connection, read_statements("upgrades"))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {newest}")
    connection.execute("COMMIT")


def _migrations() -> list[tuple[int, str]]:
    """The numbered scripts that make the schema, in order."""
    folder = files("paymaster.ledgers.sqlite") / "sql" / "migrations"
    return sorted((int(file.name.partition("_")[0]), file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".sql"))


def _split(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit each on its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
