"""What waits on disk for a ledger that is away: one file of JSON lines per process; knows files and locks, and no ledger."""

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from paymaster.accounting.accounts import Charge, Hold, Settlement

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FAR_AWAY = 1 << 40


@dataclass(frozen=True, slots=True)
class OrphanFile:
    """A file whose process is gone, claimed by this one: what it could not post. `drop` it when all of it is posted."""

    path: Path
    settlements: tuple[Settlement, ...]
    descriptor: int

    def drop(self) -> None:
        """Remove the file: every one of its settlements stands in the ledger."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def release(self) -> None:
        """Leave it to the next process."""
        os.close(self.descriptor)


class Spool:
    """This process's own file in `folder` (0700), made (0600) when something must wait, and the files that dead processes left there.

    Every line is on the disk before `keep…` returns. A process locks its file for as long as it lives, so that no other takes it for
    left. The first line names the ledger, by `of`, for whoever looks. Raises OSError where the disk does not take a line.
    """

    def __init__(self, folder: Path, of: str = "") -> None:
        self.folder = folder
        self._of = of
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._path: Path | None = None
        self._descriptor: int | None = None
        self._cut = False

    def keep_hold(self, hold: Hold, at_ms: int) -> None:
        """A call is about to be sent that no ledger knows. Should nothing more be heard of it, its full hold is posted."""
        self._append({"hold": _packed(hold), "at_ms": at_ms, "lost_record": hold.lost_record})

    def keep_settlement(self, settlement: Settlement) -> None:
        """What a call came to. What would only have lived for a while, as a pause, is not kept: by then it is over."""
        line = {"hold": _packed(settlement.hold), "at_ms": settlement.held_at_ms, "amounts": settlement.amounts}
        self._append({**line, "record": settlement.record})

    def empty(self) -> None:
        """Forget all lines of this process: they stand in the ledger. A file that can't be removed stays; none of it is posted twice."""
        with self._own_lock(), suppress(OSError):
            if self._descriptor is not None and self._path is not None:
                self._path.unlink(missing_ok=True)
                self._forget()

    def close(self) -> None:
        """Give the file up; what is left in it is the next process's to post."""
        with self._own_lock():
            self._forget()

    def orphan_files(self) -> Iterator[OrphanFile]:
        """The files of processes that are gone, each claimed when it is reached. One that can't be read is left to whoever can."""
        try:
            paths = sorted(self.folder.glob("*.jsonl"))
        except OSError:
            return
        for path in paths:
            if path != self._path and (descriptor := _claim(path)) is not None:
                try:
                    found = tuple(settlements(read_lines_of(path)))
                except OSError:
                    os.close(descriptor)
                    continue
                yield OrphanFile(path, found, descriptor)

    def _append(self, line: dict[str, object]) -> None:
        text = orjson.dumps(line) + b"\n"
        with self._own_lock():
            if self._descriptor is None:
                text = orjson.dumps({"ledger": self._of}) + b"\n" + text
            descriptor = self._open() if self._descriptor is None else self._descriptor
            rest = b"\n" + text if self._cut else text
            while rest:
                self._cut = True
                rest = rest[os.write(descriptor, rest) :]
            self._cut = False
            os.fsync(descriptor)

    def _own_lock(self) -> threading.Lock:
        # A fork copies the lock as it was, and the file, whose lines are the parent's: the child makes its own of both.
        if self._process != os.getpid():
            self._lock, self._process, self._cut = threading.Lock(), os.getpid(), False
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
    """What the lines of a process that is gone come to: each settlement, then in full each hold of which nothing more was heard.

    A line that was cut while it was written had not been acted on, and is passed over.
    """
    unheard: dict[str, Settlement] = {}
    for text in lines:
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if "hold" not in line:
            continue
        hold = _unpacked(line["hold"])
        if "record" in line:
            unheard.pop(hold.id, None)
            yield Settlement(hold, line["at_ms"], tuple(line["amounts"]), line["record"])
        else:
            amounts = tuple(charge.amount for charge in hold.charges)
            unheard[hold.id] = Settlement(hold, line["at_ms"], amounts, line["lost_record"])
    yield from unheard.values()


def _packed(hold: Hold) -> Sequence[object]:
    return hold.id, hold.lease_ms, [(charge.account, charge.amount, charge.cap, charge.window_ms) for charge in hold.charges]


def _unpacked(packed: tuple[str, int, Sequence[tuple[str, int, int | None, int | None]]]) -> Hold:
    hold_id, lease_ms, charges = packed
    return Hold(hold_id, tuple(Charge(*parts) for parts in charges), lease_ms)


def read_lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, read as they are asked for. Raises OSError."""
    with path.open("rb") as file:
        yield from file


def is_left(path: Path) -> bool:
    """Whether the process that wrote the file is gone. Raises OSError where the file is."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)


def _claim(path: Path) -> int | None:
    """The file's descriptor, locked; None where its process lives or another one was faster."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    if _lock(descriptor) and path.exists():
        return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    """Lock the file for as long as the descriptor is open, in this process and its children; False where somebody else has."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _FAR_AWAY, os.SEEK_SET)  # what is locked can't be read there either
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Put the new file's name on the disk as well, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
