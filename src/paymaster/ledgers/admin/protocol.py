"""What whoever keeps a ledger may ask of it that no caller does: look at all of it, move it, thin its journal out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from paymaster.accounting.accounts import Record
from paymaster.errors import LedgerUnusable
from paymaster.ledgers.admin.export_format import Item


class Place(NamedTuple):
    """Where a record stands in the journal: its time, and its number among those of the same millisecond."""

    at_ms: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A ledger from outside. `size_bytes` is that of its files, or of its keys in memory; `journal_bytes` the records' part, where known.

    `version` is its schema's, `newest_version` the one that this Paymaster writes. `settings` are the server's, as they stand;
    `warnings` say where they don't keep the promise of a hard budget.
    """

    kind: str
    place: str
    version: int
    newest_version: int
    size_bytes: int
    journal_bytes: int | None
    clock_ms: int
    accounts: int
    open_holds: int
    records: int
    oldest_ms: int | None
    newest_ms: int | None
    settings: Mapping[str, str]
    warnings: tuple[str, ...] = ()


class LedgerAdmin(Protocol):
    """One ledger, as its keeper sees it. Every method blocks, and may raise LedgerUnusable and LedgerUnavailable."""

    def make(self) -> bool:
        """Make the ledger, unless it is there; whether it was made now."""
        ...

    def describe(self) -> Description:
        """What it is and how much is in it. A schema of an earlier version is left as it is."""
        ...

    def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date: its version before and after."""
        ...

    def snapshot(self) -> Iterator[Item]:
        """All of it at one instant, in the order of `lines.ORDER`; records are read as they are consumed.

        Raises LedgerUnavailable where the journal was changed in between in a way that would leave a record out.
        """
        ...

    def load(self, items: Iterable[Item]) -> None:
        """Fill an empty ledger, whole or not at all: until the last item is in, nobody sees anything of it.

        Raises LedgerUnusable where there is something in it, and whatever `items` raises.
        """
        ...

    def openings(self) -> Mapping[str, int]:
        """What the records that are no longer in the journal had charged, by account."""
        ...

    def oldest_records(self, before_ms: int, count: int) -> list[tuple[Place, Record]]:
        """The first records of the journal that were written before that time, at most so many."""
        ...

    def drop_records(self, until: Place) -> int:
        """Take the records up to and at that place out of the journal, and what they charged into the openings; how many they were."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


def not_empty(place: str, accounts: int, records: int) -> LedgerUnusable:
    """The message for a ledger that something is in."""
    return LedgerUnusable(
        f"The ledger {place} is not empty: {accounts:,} accounts, {records:,} records. Nothing was changed.",
        advice=(
            "Two ledgers can't be joined: the same call could be counted twice. Import into a ledger of its own, by naming another "
            "file, or another ledger on the server with ?name=…, and report on each with --ledger. To put the export in this one's place, "
            "keep `paymaster ledger export` of it first, then remove the file (on a server, the keys that begin with {paymaster:NAME}) "
            "and import again."
        ),
    )
