"""The files in which settlements wait for an unavailable ledger, one of JSON lines per process; knows files and locks, and no ledger."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import orjson

from paymaster.accounting.accounts import Hold, Settlement
from paymaster.ledgers.spool.lines import CUT, Found, hold_line, posted_up_to, progress_line, settlement_line, settlements

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Beyond the end of any file: on Windows, bytes that are locked can't be read.
_LOCKED_BYTE = 1 << 40

_NOTE_BYTES = 64 * 1024
_TAIL_BYTES = 100


class OrphanFile:
    """A file whose process is dead, claimed by this one. `drop` it when nothing in it waits any more, else `release` it.

    `ledger_id` is that of the ledger it is for; '' in files from before ledgers had one, and if the process never met its ledger.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Raises OSError if the file can't be read."""
        self.path = path
        self.ledger_id = ledger_of(path)
        self._descriptor = descriptor
        self._posted_to = self._noted_to = posted_so_far(path)
        self._read_to = 0

    def found(self) -> Iterator[Found]:
        """What waits in it; see `settlements`. Raises OSError."""
        return settlements(self._lines(), self._posted_to)

    def note_progress(self) -> None:
        """What was found so far, but for the last, is posted or set aside: the next process need not do it again, if the disk takes it."""
        if self._read_to > self._noted_to + _NOTE_BYTES:
            self._note()

    def drop(self) -> None:
        """Remove the file: the ledger has every one of its settlements."""
        self.path.unlink(missing_ok=True)
        unlock_file(self._descriptor)
        os.close(self._descriptor)

    def release(self) -> None:
        """Leave it to the next process."""
        if self._read_to > self._noted_to:
            self._note()
        unlock_file(self._descriptor)
        os.close(self._descriptor)

    def _lines(self) -> Iterator[bytes]:
        end = 0
        for text in file_lines(self.path):
            # The line before was dealt with when the next one is asked for.
            self._read_to, end = max(end, self._posted_to), end + len(text)
            yield text

    def _note(self) -> None:
        with suppress(OSError):
            end = os.lseek(self._descriptor, 0, os.SEEK_END)
            is_whole = end > 0 and os.pread(self._descriptor, 1, end - 1) == b"\n"
            write_whole(self._descriptor, (b"" if is_whole else CUT) + progress_line(self._read_to), sync=False)
            self._noted_to = self._read_to


class Spool:
    """This process's own file in `folder` (0700), made (0600) when something must wait, and the files of dead processes there.

    Every line is on the disk before `keep…` returns. A process locks its file while it lives, so that no other takes the file for an
    orphan. The first line names the ledger by its id, and for views of the spool by its location. A file is for one ledger: when another
    is accepted, it is left, and a new one is begun. Raises OSError if the disk does not take a line.
    """

    def __init__(self, folder: Path, location: str = "", ledger_id: Callable[[], str | None] = lambda: None) -> None:
        self.folder = folder
        self._ledger_id = ledger_id
        self._location = location
        self._file_is_for = ""
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._path: Path | None = None
        self._descriptor: int | None = None
        self._has_half_a_line = False

    def keep_hold(self, hold: Hold, at_ms: int) -> None:
        """A call is about to be sent that no ledger knows. If it is never settled here, its full hold is posted."""
        self._append(hold_line(hold, at_ms))

    def keep_settlement(self, settlement: Settlement) -> None:
        """What a call came to. Its posts, such as a pause, are not kept: they would be over by then."""
        self._append(settlement_line(settlement))

    def empty(self) -> None:
        """Remove this process's file: the ledger has all of it. A file that can't be removed stays; none of it is posted twice."""
        with self._own_lock(), suppress(OSError):
            if self._descriptor is not None and self._path is not None:
                self._path.unlink(missing_ok=True)
                self._forget()

    def close(self) -> None:
        """Give the file up; the next process posts what is still in it."""
        with self._own_lock():
            self._forget()

    def orphan_files(self) -> Iterator[OrphanFile]:
        """The files of dead processes, each claimed when it is reached. One that this process can't read is left to the next."""
        try:
            paths = sorted(self.folder.glob("*.jsonl"))
        except OSError:
            return
        for path in paths:
            if path != self._path and (descriptor := _claim(path)) is not None:
                try:
                    orphan = OrphanFile(path, descriptor)
                except OSError:
                    os.close(descriptor)
                    continue
                yield orphan

    def has_others(self) -> bool:
        """Whether there are files of other processes, dead or not."""
        try:
            with os.scandir(self.folder) as entries:
                return any(entry.name.endswith(".jsonl") and (self._path is None or entry.name != self._path.name) for entry in entries)
        except OSError:
            return False

    def _append(self, line: dict[str, object]) -> None:
        text = orjson.dumps(line) + b"\n"
        with self._own_lock():
            ledger_id = self._ledger_id() or ""
            if self._descriptor is not None and self._file_is_for != ledger_id:
                self._forget()
                self._has_half_a_line = False
            if self._descriptor is None:
                self._file_is_for = ledger_id
                text = orjson.dumps({"ledger": self._location, "id": ledger_id}) + b"\n" + text
            descriptor = self._open() if self._descriptor is None else self._descriptor
            unwritten = CUT + text if self._has_half_a_line else text
            self._has_half_a_line = True
            write_whole(descriptor, unwritten)
            self._has_half_a_line = False

    def _own_lock(self) -> threading.Lock:
        # A fork copies the lock as it was, and the file, whose lines are the parent's: the child makes its own of both.
        if self._process != os.getpid():
            self._lock, self._process, self._has_half_a_line = threading.Lock(), os.getpid(), False
            self._forget()
        return self._lock

    def _open(self) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = self.folder / f"{self._process}-{os.urandom(4).hex()}.jsonl"
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            # Between the two steps another process may have claimed, read and removed the empty file.
            if lock_file(descriptor) and path.exists():
                break
            os.close(descriptor)
        self._path, self._descriptor = path, descriptor
        sync_folder(self.folder)
        return descriptor

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._path = self._descriptor = None


def ledger_of(path: Path) -> str:
    """The id of the ledger that a file is for, maybe ''. Raises OSError."""
    for text in file_lines(path):
        try:
            return str(orjson.loads(text).get("id", ""))
        except (orjson.JSONDecodeError, AttributeError):
            break
    return ""


def posted_so_far(path: Path) -> int:
    """The byte up to which a file was posted. Raises OSError."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return posted_up_to(file.read())


def file_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, read as they are consumed. Raises OSError."""
    with path.open("rb") as file:
        yield from file


def is_orphan(path: Path) -> bool:
    """Whether the process that wrote the file is dead. Raises OSError if there is no such file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return lock_file(descriptor)
    finally:
        os.close(descriptor)


def _claim(path: Path) -> int | None:
    """The file's descriptor, locked; None if its process lives or another process was faster."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    if lock_file(descriptor) and path.exists():
        return descriptor
    os.close(descriptor)
    return None


def lock_file(descriptor: int) -> bool:
    """Lock the file while the descriptor is open, in this process and its children; False if another process has locked it."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def unlock_file(descriptor: int) -> None:
    """Unlock it, also where a forked child still has it open."""
    with suppress(OSError):
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def write_whole(descriptor: int, content: bytes, *, sync: bool = True) -> None:
    """Write all of it, on the disk when this returns. Raises OSError, when a part of it may be written."""
    unwritten = memoryview(content)
    while unwritten:
        unwritten = unwritten[os.write(descriptor, unwritten) :]
    if sync:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Put the new file's name on the disk as well, if the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
