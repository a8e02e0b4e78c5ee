"""Which ledger belongs at a location, and how far it was seen to get, as a state directory knows it; knows files, and no kind of ledger.

A ledger has a random id. The first process that works with it remembers the id; from then on another ledger there, or none, is refused
until a person accepts it. An older copy has the same id, and gives itself away by a newest record that is older than the newest one seen.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from secrets import token_hex

import orjson

from paymaster.accounting.process_names import name_process
from paymaster.errors import LedgerReplaced, LedgerUnusable
from paymaster.forks import renew_in_children

ACCEPT = (
    "If it was replaced by mistake, put the right one back, and calls go on. To go on with what is there now, and with budgets as it has "
    "them: `paymaster ledger accept`, with the same --ledger and --state-dir as the callers."
)
_DAMAGED_ADVICE = "Restore it; or `paymaster ledger accept` takes the ledger that is there now."
_ID = re.compile(r"[0-9a-f]{32}")
# "id time", always of one length: it is overwritten in place.
_SEEN = re.compile(rb"([0-9a-f]{32}) (\d{16})\n")


def process_name() -> str:
    """This process, by a name that no other has: the numbers of processes are used again."""
    return _own_name().get()


class _OwnName:
    """The name of this process. A child may get the number of a parent's parent that has ended, but never its name."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Draw a name."""
        self._number = os.getpid()
        self._name = name_process(self._number, token_hex(4))

    def get(self) -> str:
        """The name. A fork below Python is noticed by the number alone."""
        if os.getpid() != self._number:
            self.renew()
        return self._name


@cache
def _own_name() -> _OwnName:
    return _OwnName()


def new_id() -> str:
    """A random id for a ledger: 32 hexadecimal digits."""
    return token_hex(16)


class KnownLedger:
    """The id that is expected at one location, kept in `folder`; without a folder in this process only.

    `location` is for people who read the file; `acceptance` changes whenever a person accepts a ledger. Every process of a state directory
    has its own object for the same files. A folder that can't be written keeps nothing: its processes are as those of a fresh state
    directory.

    Raises:
        LedgerUnusable: from every method that reads, if the file exists and can't be read, or has no id in it.
    """

    def __init__(self, folder: Path | None = None, name: str = "", location: str = "") -> None:
        self._file = None if folder is None else folder / f"{name}.json"
        self._seen_file = None if folder is None else folder / f"{name}.seen"
        self._location = location
        self._id: str | None = None
        self._predecessors: frozenset[str] = frozenset()
        self.acceptance = ""
        self._was_read = False
        self._newest_ms = 0

    def id(self) -> str | None:
        """The expected id; None if no ledger was ever seen here."""
        if not self._was_read:
            self.refresh()
        return self._id

    def refresh(self) -> str | None:
        """The expected id as it is now: a person may have accepted another ledger in the meantime."""
        self._was_read = True
        if self._file is not None:
            before = self.acceptance
            try:
                self._id, self._predecessors, self.acceptance = _read(self._file)
            except (FileNotFoundError, NotADirectoryError):
                self._id, self._predecessors, self.acceptance = None, frozenset(), ""
            if self.acceptance != before:
                self._newest_ms = 0
        return self._id

    def remember(self, ledger_id: str) -> None:
        """This is the ledger here: for the first contact, when none is expected."""
        self._was_read = True
        self._id, self._predecessors = ledger_id, frozenset()
        self._newest_ms = 0
        with suppress(OSError):
            self._write()

    def accept(self, ledger_id: str | None, *, with_waiting: bool = False) -> None:
        """Expect this ledger from now on, or any (None). `with_waiting`: what waits on disk for the one before it belongs to it as well.

        Raises OSError if that can't be written.
        """
        with suppress(LedgerUnusable):
            self.refresh()
        before = self._id
        kept = self._predecessors | {before} if with_waiting and before and ledger_id else frozenset[str]()
        self._id, self._predecessors, self.acceptance = ledger_id, kept - {ledger_id or ""}, token_hex(8)
        self._write()
        if self._seen_file is not None:
            self._seen_file.unlink(missing_ok=True)
        self._newest_ms = 0

    def takes(self, ledger_id: str) -> bool:
        """Whether what waits on disk for the ledger with this id may be posted here. An empty id is from before ledgers had one."""
        return not ledger_id or ledger_id == self.id() or ledger_id in self._predecessors

    def note_record(self, at_ms: int) -> None:
        """The ledger has a record of that time."""
        self._newest_ms = max(self._newest_ms, at_ms)
        if self._seen_file is None or self._id is None:
            return
        with suppress(OSError):
            # Opened each time: a descriptor that threads share may be closed, and stand for another file, before one of them writes.
            descriptor = os.open(self._seen_file, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                os.write(descriptor, b"%s %016d\n" % (self._id.encode(), self._newest_ms))
            finally:
                os.close(descriptor)

    def newest_seen_ms(self) -> int:
        """The time of the newest record that any process of this state directory knows of; 0 if there is none."""
        if self._seen_file is None or self.id() is None:
            return self._newest_ms
        try:
            content = self._seen_file.read_bytes()
        except OSError:
            content = b""
        found = _SEEN.fullmatch(content)
        if content and not found:
            raise LedgerUnusable(f"{self._seen_file} can't be read: there is no time in it.", advice=_DAMAGED_ADVICE)
        return max(self._newest_ms, int(found[2]) if found and found[1].decode() == self._id else 0)

    def check(self, found: str | None, newest_ms: int, *, label: str, tolerance_ms: int = 0, seen_ms: int | None = None) -> None:
        """Compare the ledger with what is expected; one that is expected nowhere is remembered.

        `found` is the id of the ledger at `label` (None: there is none, or it is empty), `newest_ms` the time of its newest record.
        `seen_ms` is `newest_seen_ms` from before the ledger was read, where other processes may write records meanwhile.
        Raises LedgerReplaced if another is expected, or one that has newer records.
        """
        expected = self.id()
        if expected is None:
            if found is not None:
                self.remember(found)
            return
        if found is None:
            raise missing(label)
        if found != expected:
            raise another(label)
        if seen_ms is None:
            seen_ms = self.newest_seen_ms()
        if newest_ms + tolerance_ms < seen_ms:
            raise older(label, seen_ms - newest_ms)

    def _write(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {"ledger": self._location, "id": self._id, "predecessors": sorted(self._predecessors), "acceptance": self.acceptance}
        with _replacing(self._file) as descriptor:
            os.write(descriptor, orjson.dumps(content) + b"\n")
            os.fsync(descriptor)


def missing(label: str) -> LedgerReplaced:
    """The message for a location that lost its ledger."""
    return LedgerReplaced(f"The ledger {label} is gone: it was removed, or emptied, after Paymaster had worked with it.", advice=ACCEPT)


def another(label: str) -> LedgerReplaced:
    """The message for a location that has another ledger now."""
    return LedgerReplaced(f"Another ledger is at {label} now than the one that Paymaster worked with.", advice=ACCEPT)


def older(label: str, behind_ms: int) -> LedgerReplaced:
    """The message for an older copy of a ledger, as a backup is."""
    return LedgerReplaced(
        f"The ledger {label} lacks its newest records: it is a copy that is {behind_ms / 1000:,.0f} s older than the ledger that Paymaster "
        "worked with.",
        advice=ACCEPT,
    )


def _read(path: Path) -> tuple[str | None, frozenset[str], str]:
    """The id (None: any ledger is accepted), its predecessors and the mark of the last acceptance.

    Raises FileNotFoundError or NotADirectoryError if there is none.
    """
    try:
        content = orjson.loads(path.read_bytes())
        if content["id"] is None or _ID.fullmatch(content["id"]):
            return content["id"], frozenset(content.get("predecessors", ())), str(content.get("acceptance", ""))
        reason = "there is no id in it"
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        reason = "there is no id in it"
    raise LedgerUnusable(
        f"{path} can't be read: {reason}. It has the id of the ledger that belongs here.",
        advice=_DAMAGED_ADVICE,
    )


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """A descriptor of a new file that takes the place of `path` when all of it is written."""
    draft = path.with_name(f"{path.name}.{token_hex(4)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
