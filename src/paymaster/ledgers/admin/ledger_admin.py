"""What an operator does with a ledger and no caller does: look at all of it, move it, shorten its journal; knows no kind of ledger."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from paymaster.accounting.accounts import Record
from paymaster.errors import LedgerUnusable
from paymaster.ledgers.admin.export_format import Item


class JournalPosition(NamedTuple):
    """Where a record is in the journal: its time, and its number among those of the same millisecond."""

    at_ms: int
    number: int


class ClockAhead(NamedTuple):
    """A process whose clock is ahead of the ledger's time, and was not believed: by how much, and when it called last."""

    process: str
    ahead_ms: int
    at_ms: int


class LedgerIdentity(NamedTuple):
    """Which ledger it is, and how new.

    `id` is '' if there is no ledger, or its schema has none yet. `last_record_ms` is when the last record was written, even if it has left
    the journal; 0 without any.
    """

    id: str
    last_record_ms: int
    clocks_ahead: tuple[ClockAhead, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerDescription:
    """A ledger from outside. `size_bytes` is that of its files, or of its keys in memory; `journal_bytes` the records' part, if known.

    `id` is its own, '' if its schema has none yet. `retired` counts the accounts that have left it; a budget leaves `retire_days` after its
    period (None: its schema is of an earlier version). `version` is its schema's, `newest_version` the one that this Paymaster writes.
    `settings` are the server's, as it reports them; `warnings` name those that don't keep the promise of a hard budget.
    """

    kind: str
    location: str
    id: str
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
    retired: int
    retire_days: int | None
    settings: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    clocks_ahead: tuple[ClockAhead, ...] = ()


class LedgerAdmin(Protocol):
    """One ledger, as an operator sees it. Every method blocks, and may raise LedgerUnusable and LedgerUnavailable."""

    def make(self) -> bool:
        """Make the ledger, if there is none; whether it was made now."""
        ...

    def describe(self) -> LedgerDescription:
        """What it is and how much is in it. A schema of an earlier version is left as it is."""
        ...

    def identify(self) -> LedgerIdentity:
        """Which ledger it is. A schema of an earlier version is left as it is."""
        ...

    def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date: its version before and after."""
        ...

    def snapshot(self) -> Iterator[Item]:
        """All of it at one instant, in the order of `export_format.ORDER`; records are read as they are consumed.

        Raises LedgerUnavailable if the journal was changed in between in a way that would leave a record out.
        """
        ...

    def load(self, items: Iterable[Item]) -> None:
        """Fill an empty ledger, whole or not at all: until the last item is in, no caller sees anything of it.

        The sums or the opening balance of an account may come again; the last ones count.

        Raises LedgerUnusable if it is not empty, and everything that `items` raises.
        """
        ...

    def opening_balances(self) -> Mapping[str, int]:
        """What the records that are no longer in the journal had charged, by account."""
        ...

    def retired(self) -> dict[str, int]:
        """The accounts that have left the ledger, with what was settled on each."""
        ...

    def set_retire_days(self, days: int) -> None:
        """How long budgets stay after their period ended, from now on."""
        ...

    def oldest_records(self, before_ms: int, count: int) -> list[tuple[JournalPosition, Record]]:
        """The first records of the journal that were written before that time, at most so many."""
        ...

    def drop_records(self, until: JournalPosition) -> int:
        """Take the records up to that position, with it, out of the journal; they become opening balances. Returns how many there were."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


def not_empty(location: str, accounts: int, records: int) -> LedgerUnusable:
    """The message for an import into a ledger that is not empty."""
    return LedgerUnusable(
        f"The ledger {location} is not empty: {accounts:,} accounts, {records:,} records. Nothing was changed.",
        advice=(
            "Two ledgers can't be joined: the same call could be counted twice. Import into a ledger of its own, by naming another "
            "file, or another ledger on the server with ?name=…, and report on each with --ledger. To replace this ledger by the export, "
            "keep `paymaster ledger export` of it first, then remove the file (on a server, the keys that begin with {paymaster:NAME}) "
            "and import again."
        ),
    )
