"""The rows of a ledger, and the `Store` that keeps them for one transaction; knows neither the rule nor any database.

Rows that are only read are named tuples: they are made in a fraction of a dataclass's time, and every call makes a dozen.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from paymaster.accounting.accounts import Charge, Record

# The owner of entries that no hold carries. Two posts that end at the same moment share one entry.
NO_HOLD = ""


@dataclass(slots=True)
class AccountRow:
    """An account as it is stored: sums, in its own unit."""

    name: str
    settled: int = 0
    live: int = 0
    held: int = 0
    changed: bool = False

    @property
    def total(self) -> int:
        """Everything that counts against a cap."""
        return self.settled + self.live + self.held


class Entry(NamedTuple):
    """What `owner` (a hold's id) has in a window until `free_at_ms`; `is_open` while the hold is."""

    account: str
    free_at_ms: int
    owner: str
    amount: int
    is_open: bool


class OpenHold(NamedTuple):
    """A hold that was admitted and is neither settled nor lost. `process` names the one that made it; '' if that is not known."""

    id: str
    at_ms: int
    lease_until_ms: int
    charges: tuple[Charge, ...]
    lost_record: str
    process: str = ""


class EndedProcess(NamedTuple):
    """A process that ended, by its name, with the hold ids of tickets in the queue that may be its."""

    name: str
    tickets: tuple[str, ...] = ()


class Ticket(NamedTuple):
    """A hold that waits in the queue: `asks` maps the accounts that refused it to the amounts it needs. The lowest `turn` came first.

    `names` counts the calls that wait behind it by name, `since_ms` is when the first began: for status views, the rule needs neither.
    """

    hold_id: str
    turn: int
    until_ms: int
    asks: Mapping[str, int]
    names: Mapping[str, int]
    since_ms: int


@dataclass(slots=True)
class Clock:
    """The ledger's own time, and when there may be something to clean up: the earliest lease's end and the latest ticket's.

    No entry leaves its window before `next_expiry_ms`; None: no account has entries. Accounts that may leave are looked for at
    `retire_at_ms` (0: never yet), behind the name `retire_after`; a budget leaves `retire_days` after its period. `changed` says that the
    time has to be written.
    """

    now_ms: int
    next_lease_end_ms: int | None
    queue_until_ms: int
    next_expiry_ms: int | None = None
    retire_at_ms: int = 0
    retire_after: str = ""
    retire_days: int = 0
    changed: bool = False


def follow_caller(clock: Clock, caller_ms: int) -> None:
    """Set the clock to the later of it and the caller's time."""
    if caller_ms > clock.now_ms:
        clock.now_ms, clock.changed = caller_ms, True


class Known(NamedTuple):
    """What the ledger has when a transaction begins: its clock and the hold in question. `was_lost` is None if there is no record of it."""

    clock: Clock
    open: OpenHold | None = None
    was_lost: bool | None = None


class Store(Protocol):
    """The rows of a ledger, within one transaction. `process` names the process that they are kept for, for its holds."""

    process: str

    def set_time(self, clock: Clock, caller_ms: int) -> None:
        """Set the clock to the ledger's time for a caller with this time: never back, and ahead as far as the caller is believed."""
        ...

    def find_known(self, hold_id: str) -> Known:
        """The clock, and what is stored under the hold's id."""
        ...

    def write_clock(self, clock: Clock) -> None:
        """Keep the clock."""
        ...

    def read_accounts(self, names: Sequence[str]) -> Iterable[AccountRow]:
        """The accounts with these names; those never written are left out."""
        ...

    def list_accounts(self, prefix: str) -> Sequence[AccountRow]:
        """The accounts whose names start so, by name."""
        ...

    def write_accounts(self, rows: Sequence[AccountRow]) -> None:
        """Keep these accounts, new or not."""
        ...

    def page_accounts(self, after: str, count: int) -> Sequence[AccountRow]:
        """The first accounts behind this name, at most so many, by name."""
        ...

    def read_retired(self, names: Sequence[str]) -> Iterable[AccountRow]:
        """Those of these accounts that have left the ledger, with the sums that were kept."""
        ...

    def retire(self, kept: Sequence[AccountRow], leaving: Sequence[str]) -> None:
        """Remove the accounts `leaving`; the settled sums of `kept` can be read on."""
        ...

    def forget_retired(self, names: Sequence[str]) -> None:
        """Keep no sums for these any more: they are accounts again."""
        ...

    def list_entries(self, account: str) -> Iterable[Entry]:
        """An account's entries by the time they leave; read only as far as needed."""
        ...

    def list_all_entries(self, prefix: str) -> Iterable[Entry]:
        """The entries of the accounts whose names start so, by account and the time they leave."""
        ...

    def find_entry(self, account: str, free_at_ms: int, owner: str) -> Entry | None:
        """One entry."""
        ...

    def write_entries(self, entries: Sequence[Entry]) -> None:
        """Keep these entries, new or not."""
        ...

    def take_expired(self, now_ms: int, most: int) -> Sequence[Entry]:
        """Remove the entries, of all accounts, that left their window by `now_ms`; at most so many, those that left first."""
        ...

    def has_expired(self, now_ms: int) -> bool:
        """Whether there are entries that left their window by `now_ms`."""
        ...

    def drop_settled(self, account: str) -> None:
        """Remove the entries that belong to no open hold."""
        ...

    def write_hold(self, hold: OpenHold) -> None:
        """Keep an open hold."""
        ...

    def drop_hold(self, hold_id: str) -> None:
        """Remove an open hold."""
        ...

    def list_holds(self) -> Sequence[OpenHold]:
        """All open holds, by the end of their lease."""
        ...

    def list_expired_holds(self, now_ms: int, most: int) -> Sequence[OpenHold]:
        """The open holds whose lease is over by `now_ms`, by its end; at most so many."""
        ...

    def list_holds_of(self, processes: Collection[str], most: int) -> Sequence[OpenHold]:
        """The first open holds of these processes, and no more than that."""
        ...

    def next_lease_end_ms(self) -> int | None:
        """When the first lease of an open hold ends; None if no hold is open."""
        ...

    def find_charged(self, hold_id: str) -> Mapping[str, int]:
        """The amounts in a hold's record."""
        ...

    def write_record(self, record: Record) -> None:
        """Append a record; one with the same hold's id is replaced by it."""
        ...

    def list_tickets(self) -> Sequence[Ticket]:
        """The tickets by turn, with those that have lapsed."""
        ...

    def write_ticket(self, ticket: Ticket) -> None:
        """Keep a ticket, new or renewed."""
        ...

    def drop_ticket(self, hold_id: str) -> None:
        """Remove a ticket, if there is one."""
        ...

    def drop_tickets(self, until_ms: int) -> None:
        """Remove the tickets that have lapsed by `until_ms`."""
        ...
