"""The files in which settlements wait for an unavailable ledger, one of JSON lines per process; knows files and locks, and no ledger."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from paymaster.accounting.accounts import Charge, Hold, Settlement

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Beyond the end of any file: on Windows, bytes that are locked can't be read.
_LOCKED_BYTE = 1 << 40


@dataclass(frozen=True, slots=True)
class OrphanFile:
    """A file whose process is dead, claimed by this one: what it could not post. `drop` it when all of it is posted.

    `ledger_id` is that of the ledger it is for; '' in files from before ledgers had one, and if the process never met its ledger.
    """

    path: Path
    ledger_id: str
    settlements: tuple[Settlement, ...]
    descriptor: int

    def drop(self) -> None:
        """Remove the file: the ledger has every one of its settlements."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def release(self) -> None:
        """Leave it to the next process."""
        os.close(self.descriptor)


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
        self._append({"hold": _packed(hold), "at_ms": at_ms, "lost_record": hold.lost_record})

    def keep_settlement(self, settlement: Settlement) -> None:
        """What a call came to. Its posts, such as a pause, are not kept: they would be over by then."""
        line = {"hold": _packed(settlement.hold), "at_ms": settlement.held_at_ms, "amounts": settlement.amounts}
        self._append({**line, "record": settlement.record})

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
                    ledger_id, found = ledger_of(path), tuple(settlements(file_lines(path)))
                except OSError:
                    os.close(descriptor)
                    continue
                yield OrphanFile(path, ledger_id, found, descriptor)

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
            unwritten = b"\n" + text if self._has_half_a_line else text
            while unwritten:
                self._has_half_a_line = True
                unwritten = unwritten[os.write(descriptor, unwritten) :]
            self._has_half_a_line = False
            os.fsync(descriptor)

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
            if _lock(descriptor) and path.exists():
                break
            os.close(descriptor)
        self._path, self._descriptor = path, descriptor
        _sync_folder(self.folder)
        return descriptor

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._path = self._descriptor = None


def settlements(lines: Iterable[bytes]) -> Iterator[Settlement]:
    """What a dead process's lines come to: each settlement, then each hold without one, in full.

    A line that was cut while it was written had not been acted on, and is skipped.
    """
    unsettled: dict[str, Settlement] = {}
    for text in lines:
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if "hold" not in line:
            continue
        hold = _unpacked(line["hold"])
        if "record" in line:
            unsettled.pop(hold.id, None)
            yield Settlement(hold, line["at_ms"], tuple(line["amounts"]), line["record"])
        else:
            amounts = tuple(charge.amount for charge in hold.charges)
            unsettled[hold.id] = Settlement(hold, line["at_ms"], amounts, line["lost_record"])
    yield from unsettled.values()


def _packed(hold: Hold) -> Sequence[object]:
    return hold.id, hold.lease_ms, [(charge.account, charge.amount, charge.cap, charge.window_ms) for charge in hold.charges]


def _unpacked(packed: tuple[str, int, Sequence[tuple[str, int, int | None, int | None]]]) -> Hold:
    hold_id, lease_ms, charges = packed
    return Hold(hold_id, tuple(Charge(*parts) for parts in charges), lease_ms)


def ledger_of(path: Path) -> str:
    """The id of the ledger that a file is for, maybe ''. Raises OSError."""
    for text in file_lines(path):
        try:
            return str(orjson.loads(text).get("id", ""))
        except (orjson.JSONDecodeError, AttributeError):
            break
    return ""


def file_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, read as they are consumed. Raises OSError."""
    with path.open("rb") as file:
        yield from file


def is_orphan(path: Path) -> bool:
    """Whether the process that wrote the file is dead. Raises OSError if there is no such file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)


def _claim(path: Path) -> int | None:
    """The file's descriptor, locked; None if its process lives or another process was faster."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    if _lock(descriptor) and path.exists():
        return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
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


def _sync_folder(folder: Path) -> None:
    """Put the new file's name on the disk as well, if the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
