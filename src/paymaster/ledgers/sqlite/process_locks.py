"""Which processes that hold money in a ledger file have ended: each locks a file of its own while it lives; knows no SQL and no account.

    ledger.sqlite3-4711-1f2e3d4c.lock   locked by process 4711 from before its first hold until it ends
                                        content: the ids of its tickets in the queue, a JSON list in the first line

The system drops a lock when its process ends, however it ends, and shows it to every container that has the folder. A file that can be
locked is that of an ended process. A file that is missing or can't be read proves nothing: then only the leases of its holds count.
"""

import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from threading import Lock
from weakref import WeakSet

import orjson

from paymaster.accounting.process_names import process_number
from paymaster.forks import renew_in_children
from paymaster.ledgers.store import EndedProcess

if sys.platform != "win32":
    import fcntl

# A process that could not lock a file tries again after this long.
RETRY_MS = 60_000
# Looking for ended processes takes at most one part in so many of a process's time, however many files there are.
IDLE_SHARE = 50
# So many files are claimed, and open, at once: a process has some hundred descriptors, and a ledger that can't be opened charges nobody.
MOST_CLAIMED = 32
# Others may remove a file before it has its name; then it is made anew.
_TRIES = 5
_LOCK, _DRAFT = ".lock", ".lock.new"
# A process has one ticket for each account that it waits for; of more, those renewed last are named.
_MOST_TICKETS = 64
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class ClaimedFile:
    """The file of an ended process, locked by this one meanwhile."""

    def __init__(self, path: Path, process: str, descriptor: int, stuck: set[str]) -> None:
        self._path = path
        self._stuck = stuck
        self._descriptor: int | None = descriptor
        self.ended = EndedProcess(process, tuple(_tickets(descriptor)))
        _own_locks().claimed.add(self)

    def remove(self) -> None:
        """The process holds nothing any more."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:  # another user's, in a folder where each removes only their own
            self._stuck.add(self.ended.name)
        self.release()

    def release(self) -> None:
        """Leave the file to the next process."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class ProcessLocks:
    """The files beside one ledger, for the process of this name. `user` is whose holds they are for: an object of this process.

    It is used by one thread at a time, and by none while the process forks.
    """

    def __init__(self, ledger: Path, process: str, user: object) -> None:
        self._ledger = ledger.resolve()
        self._own = _own_locks().find(self._ledger, process)
        self._user = user
        self._is_user = False

    def take(self) -> None:
        """Lock this process's file, unless it is; to be called before a hold or a ticket is written."""
        if self._own.descriptor is None or not self._is_user:
            self._own.open(self._user)
            self._is_user = True

    def note_ticket(self, hold_id: str) -> None:
        """This process has, or renews, a ticket in the queue."""
        self.take()
        self._own.note_ticket(hold_id)

    def give_up(self, *, holds_something: bool) -> None:
        """The user closes. The file is removed with the last one, unless something that is still held depends on it."""
        self._own.leave(self._user, holds_something=holds_something)
        self._is_user = False

    def is_time_to_look(self, every_ms: int) -> bool:
        """Whether any user in this process looked for ended processes longer ago than that; 0 is always."""
        return not every_ms or time.monotonic_ns() >= self.looks_at_ns(every_ms)

    def looks_at_ns(self, every_ms: int) -> int:
        """When that is, by the monotonic clock."""
        return max(self._own.looked_at_ns + every_ms * 1_000_000, self._own.idle_until_ns)

    def claim_ended(self) -> list[ClaimedFile]:
        """The files of ended processes, each to be removed or released; after `MOST_CLAIMED`, it is time to look for the others."""
        own, began_ns = self._own, time.monotonic_ns()
        own.restore()
        claimed = list(islice(self._claim_files(), MOST_CLAIMED))
        ended_ns = time.monotonic_ns()
        if len(claimed) < MOST_CLAIMED:
            own.looked_at_ns = ended_ns
        own.idle_until_ns = ended_ns + IDLE_SHARE * (ended_ns - began_ns)
        return claimed

    def list_ended(self) -> set[str]:
        """The names of ended processes, for a reader: it is time to look for them as it was before."""
        names = set[str]()
        for file in self._claim_files():
            names.add(file.ended.name)
            file.release()
        return names

    def _claim_files(self) -> Iterator[ClaimedFile]:
        prefix = f"{self._ledger.name}-"
        for name in _names_in(self._ledger.parent):
            if not name.startswith(prefix):
                continue
            process, dot, rest = name.removeprefix(prefix).partition(".")
            if process_number(process) is None or process == self._own.process or dot + rest not in (_LOCK, _DRAFT):
                continue
            if process in self._own.stuck:
                continue
            path = self._ledger.with_name(name)
            descriptor = _claim(path)
            if descriptor is not None:
                file = ClaimedFile(path, process, descriptor, self._own.stuck)
                if dot + rest == _LOCK:
                    yield file
                else:
                    file.remove()  # a process ended before its file had its name, and so before its first hold


class _OwnLock:
    """The file of this process beside one ledger, shared by all users of that ledger in the process."""

    def __init__(self, ledger: Path, process: str) -> None:
        self.process = process
        self.descriptor: int | None = None
        self.users: WeakSet[object] = WeakSet()
        self.stuck = set[str]()  # processes that hold nothing, and whose files can't be removed
        self.looked_at_ns = self.idle_until_ns = -(10**18)
        self._ledger, self._path = ledger, ledger.with_name(f"{ledger.name}-{process}{_LOCK}")
        self._lock = Lock()
        self._moved: list[int] = []
        self._tickets: dict[str, None] = {}
        self._is_kept = False
        self._retries_at_ns = 0

    def open(self, user: object) -> None:
        """Make and lock the file for a user. Where that can't be done, the leases of this process's holds have to do."""
        with self._lock:
            self.users.add(user)
            if self.descriptor is None and time.monotonic_ns() >= self._retries_at_ns and process_number(self.process) is not None:
                self.descriptor = _make(self._path, self._ledger)
                self._retries_at_ns = 0 if self.descriptor is not None else time.monotonic_ns() + RETRY_MS * 1_000_000

    def restore(self) -> None:
        """Make the file again if somebody removed or replaced it. One that was moved stays locked: it may be moved back."""
        with self._lock:
            before = self.descriptor
            if before is None or _is_named(self._path, before) or (made := _make(self._path, self._ledger)) is None:
                return
            self.descriptor = made
            self._write_tickets()
            if os.fstat(before).st_nlink:
                self._moved.append(before)
            else:
                os.close(before)

    def note_ticket(self, hold_id: str) -> None:
        """Name the ticket in the file, if it isn't yet."""
        with self._lock:
            is_known = hold_id in self._tickets
            self._tickets.pop(hold_id, None)
            self._tickets[hold_id] = None
            if not is_known:
                self._tickets = dict.fromkeys(list(self._tickets)[-_MOST_TICKETS:])
                self._write_tickets()

    def _write_tickets(self) -> None:
        # Its readers read the first line only: what is left of a longer one is behind it.
        if self.descriptor is not None:
            with suppress(OSError):
                os.pwrite(self.descriptor, orjson.dumps(list(self._tickets)) + b"\n", 0)

    def leave(self, user: object, *, holds_something: bool) -> None:
        """Remove the file with the last user that holds nothing."""
        with self._lock:
            was_user = user in self.users
            self.users.discard(user)
            self._is_kept = self._is_kept or (was_user and holds_something)
            if self.descriptor is None or self.users or self._is_kept:
                return
            if _is_named(self._path, self.descriptor):
                with suppress(OSError):
                    self._path.unlink()
            self.close()

    def close(self) -> None:
        """Give up the lock."""
        for descriptor in (self.descriptor, *self._moved):
            if descriptor is not None:
                os.close(descriptor)
        self.descriptor, self._moved = None, []


class _OwnLocks:
    """The locks of this process by ledger and name. A child of a fork has none: what its parent locked, only the parent's end unlocks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._locks: dict[tuple[str, str], _OwnLock] = {}
        self.claimed: WeakSet[ClaimedFile] = WeakSet()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: close what it got from its parent. To unlock it would unlock the parent's as well."""
        for own in self._locks.values():
            own.close()
        for file in list(self.claimed):
            file.release()
        self._lock, self._locks, self.claimed = Lock(), {}, WeakSet()

    def find(self, ledger: Path, process: str) -> _OwnLock:
        """The lock with this name beside the ledger."""
        with self._lock:
            return self._locks.setdefault((str(ledger), process), _OwnLock(ledger, process))


@cache
def _own_locks() -> _OwnLocks:
    """Those of this process: a second lock of one file would be refused within a process as well."""
    return _OwnLocks()


def _make(path: Path, ledger: Path) -> int | None:
    """The descriptor of the process's file, locked; None if there can't be one. It gets its name after it is locked."""
    if sys.platform == "win32":
        return None
    draft = path.with_name(path.name.removesuffix(_LOCK) + _DRAFT)
    for _ in range(_TRIES):
        try:
            descriptor = _open_draft(draft, ledger)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _excludes(draft) and not _is_in_use(path):
                draft.replace(path)
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            continue
        except OSError:  # no locks on this file system
            pass
        with suppress(OSError):
            draft.unlink()
        os.close(descriptor)
        return None
    return None


def _open_draft(draft: Path, ledger: Path) -> int:
    """A new file that those may use who may use the ledger."""
    mode = ledger.stat().st_mode & 0o666
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    with suppress(OSError):  # on a file system without modes; or only its own user sees when the process ends
        os.fchmod(descriptor, mode)
    return descriptor


def _excludes(path: Path) -> bool:
    """Whether the lock of a file keeps others out: on some file systems it keeps nobody out, and would prove nothing."""
    descriptor = _claim(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _is_in_use(path: Path) -> bool:
    """Whether a living process has a file of this name."""
    if not path.exists():
        return False
    descriptor = _claim(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def _names_in(folder: Path) -> Sequence[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are enough: a Path for each costs more than the rest
    except OSError:
        return ()


def _claim(path: Path) -> int | None:
    """The file's descriptor, locked by this process; None if its process lives, or nothing is known of it."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_named(path, descriptor):
            return descriptor
    os.close(descriptor)
    return None


def _is_named(path: Path, descriptor: int) -> bool:
    """Whether this is a name of the open file."""
    try:
        named, opened = path.lstat(), os.fstat(descriptor)
    except OSError:
        return False
    return stat.S_ISREG(named.st_mode) and (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _tickets(descriptor: int) -> Sequence[str]:
    try:
        found = orjson.loads(os.pread(descriptor, 1 << 16, 0).partition(b"\n")[0] or b"[]")
    except (OSError, orjson.JSONDecodeError):
        return ()
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else ()
