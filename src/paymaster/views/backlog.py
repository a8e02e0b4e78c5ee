"""What waits on disk for a ledger, in sums: how many settlements, how much money, since when; knows records, and no terminal."""

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.spool.contents import SpoolFile, read_spool, spool_folders
from paymaster.ledgers.spool.set_aside import NAME, read_aside


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogFile:
    """One process's spool file. `unbooked` counts holds that no ledger knows, of calls that are open or were cut off.

    `cost_nanousd` is the sum of the settlements, plus the full amount of each unbooked hold. `oldest_at_ms` is when the first of the calls
    was admitted. `ledger` is the location that the file names; `is_for_another` says that the file is for a ledger that was there before.
    """

    path: Path
    process: int | None
    is_running: bool
    ledger: str
    settlements: int
    unbooked: int
    cost_nanousd: int
    oldest_at_ms: int
    is_for_another: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """What can't be posted, in a file of its own: `unreadable` counts lines that can't be read, `reasons` what the ledger answered to each,
    the most frequent first.
    """

    path: Path
    settlements: int
    unreadable: int
    cost_nanousd: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """All that waits for one ledger in one state directory; `set_aside` is what waits for a person, None if nothing does."""

    folder: Path
    files: tuple[BacklogFile, ...]
    set_aside: SetAside | None = None

    @property
    def settlements(self) -> int:
        """How many settlements wait."""
        return sum(file.settlements for file in self.files)

    @property
    def unbooked(self) -> int:
        """How many unbooked holds wait."""
        return sum(file.unbooked for file in self.files)

    @property
    def cost_nanousd(self) -> int:
        """How much money will be posted at most."""
        return sum(file.cost_nanousd for file in self.files)

    @property
    def oldest_at_ms(self) -> int | None:
        """When the first of the calls was admitted; None if nothing waits."""
        return min((file.oldest_at_ms for file in self.files), default=None)

    @property
    def ended_processes(self) -> int:
        """How many files belong to processes that have ended, and will be posted."""
        return sum(not file.is_running and not file.is_for_another for file in self.files)

    @property
    def for_another(self) -> int:
        """How many files belong to ended processes, and are for a ledger that was there before."""
        return sum(not file.is_running and file.is_for_another for file in self.files)


def backlog_in(folder: Path, posted: Container[str] = (), *, takes: Callable[[str], bool] = lambda _: True) -> Backlog:
    """What waits in one ledger's folder, except the holds in `posted`, for which the ledger has records.

    `takes` says whether the ledger that is there now takes what waits for the one with an id.
    """
    files = (_totals_of(file, is_for_another=not takes(file.ledger_id)) for file in read_spool(folder, recorded_cost_nanousd, posted))
    return Backlog(folder=folder, files=tuple(files), set_aside=set_aside_in(folder))


def other_backlogs(root: Path, folder: Path) -> tuple[Backlog, ...]:
    """What waits for other ledgers of the same state directory than the one with that folder."""
    found = (backlog_in(other) for other in spool_folders(root, folder))
    return tuple(backlog for backlog in found if backlog.files or backlog.set_aside)


def set_aside_in(folder: Path) -> SetAside | None:
    """What can't be posted of what waited in one ledger's folder; None if there is nothing."""
    lines = read_aside(folder)
    if not lines:
        return None
    readable = [line.waiting.settlement for line in lines if line.waiting is not None]
    return SetAside(
        path=folder / NAME,
        settlements=len(readable),
        unreadable=len(lines) - len(readable),
        cost_nanousd=sum(recorded_cost_nanousd(settlement.record) for settlement in readable),
        reasons=tuple(reason for reason, _ in Counter(line.reason for line in lines).most_common()),
    )


def waiting_ids(folder: Path) -> frozenset[str]:
    """The ids of the holds that wait."""
    return frozenset(item.hold_id for file in read_spool(folder, recorded_cost_nanousd) for item in file.calls)


def _totals_of(file: SpoolFile, *, is_for_another: bool) -> BacklogFile:
    settlements = sum(item.is_settlement for item in file.calls)
    return BacklogFile(
        path=file.path,
        process=file.process,
        is_running=file.is_running,
        ledger=file.ledger,
        settlements=settlements,
        unbooked=len(file.calls) - settlements,
        cost_nanousd=sum(item.worth for item in file.calls),
        oldest_at_ms=min(item.at_ms for item in file.calls),
        is_for_another=is_for_another,
    )


def recorded_cost_nanousd(record: str) -> int:
    """What a record says was charged for its attempt; 0 for that of a correction."""
    try:
        return AttemptRecord.from_json(record).cost_nanousd
    except ValueError:
        return 0  # of a correction, or written by a later version
