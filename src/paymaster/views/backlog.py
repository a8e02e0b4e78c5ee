"""What waits on disk for a ledger, in sums: how many, for how much money, since when; knows records, and no terminal."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.spool.contents import SpoolFile, read_spool, spool_folders


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingFile:
    """One process's part. `unbooked` counts the holds that no ledger knows, of calls under way or cut off; money in nano-dollars.

    `cost_nanousd` is what the settlements come to, and the full holds of the others. `oldest_at_ms` is when the first of the calls was
    admitted. `ledger` is the place that the file names.
    """

    path: Path
    process: int | None
    is_running: bool
    ledger: str
    settlements: int
    unbooked: int
    cost_nanousd: int
    oldest_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """All that waits for one ledger in one state directory."""

    folder: Path
    files: tuple[WaitingFile, ...]

    @property
    def settlements(self) -> int:
        """How many settlements wait."""
        return sum(file.settlements for file in self.files)

    @property
    def unbooked(self) -> int:
        """How many holds wait that no ledger knows."""
        return sum(file.unbooked for file in self.files)

    @property
    def cost_nanousd(self) -> int:
        """How much money will be posted at most."""
        return sum(file.cost_nanousd for file in self.files)

    @property
    def oldest_at_ms(self) -> int | None:
        """Since when."""
        return min((file.oldest_at_ms for file in self.files), default=None)

    @property
    def left(self) -> int:
        """How many files belong to processes that are gone."""
        return sum(not file.is_running for file in self.files)


def backlog_in(folder: Path, posted: Container[str] = ()) -> Backlog:
    """What waits in one ledger's folder, without the holds in `posted`, of which the ledger has records."""
    return Backlog(folder=folder, files=tuple(_summed(file) for file in read_spool(folder, _cost_nanousd, posted)))


def backlogs_beside(root: Path, folder: Path) -> tuple[Backlog, ...]:
    """What waits for other ledgers of the same state directory than the one with that folder."""
    found = (backlog_in(other) for other in spool_folders(root, folder))
    return tuple(each for each in found if each.files)


def waiting_ids(folder: Path) -> frozenset[str]:
    """The ids of the holds that wait."""
    return frozenset(each.hold_id for file in read_spool(folder, _cost_nanousd) for each in file.calls)


def _summed(file: SpoolFile) -> WaitingFile:
    settled = sum(each.is_settlement for each in file.calls)
    return WaitingFile(
        path=file.path,
        process=file.process,
        is_running=file.is_running,
        ledger=file.ledger,
        settlements=settled,
        unbooked=len(file.calls) - settled,
        cost_nanousd=sum(each.worth for each in file.calls),
        oldest_at_ms=min(each.at_ms for each in file.calls),
    )


def _cost_nanousd(record: str) -> int:
    try:
        return AttemptRecord.from_json(record).cost_nanousd
    except ValueError:
        return 0  # written by a later version
