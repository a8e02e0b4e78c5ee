"""Whether a journal's records add up to the balances of the budgets; knows records and balances, and no ledger and no table."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from paymaster.accounting.account_names import is_budget, is_money, owner_of, without_owner
from paymaster.accounting.accounts import Balance, Record
from paymaster.accounting.budget_units import format_balance
from paymaster.accounting.corrections import Correction
from paymaster.accounting.money import format_usd
from paymaster.accounting.records import AttemptRecord
from paymaster.views.reports import Report, ReportRow


class JournalSource(Protocol):
    """A ledger's journal and balances."""

    def balances(self) -> Mapping[str, Balance]:
        """The balance of every account."""
        ...

    def records(self) -> Iterator[Record]:
        """The record of each hold."""
        ...

    def openings(self) -> Mapping[str, int]:
        """The opening balances, by account: what records that left the journal had charged."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Whether the records add up to the balances. `checked` counts the budgets that could be compared.

    `corrections` are changes made after the fact, by hand or by a provider's bill; `is_partial` says that older records have left the
    ledger and were not read.
    """

    records: int
    unreadable: int
    checked: int
    differences: tuple[str, ...]
    corrections: tuple[Correction, ...] = ()
    is_partial: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the ledger has no record at all."""
        return not self.records and not self.unreadable and not self.corrections

    @property
    def agrees(self) -> bool:
        """Whether all sums agree."""
        return not self.differences


def audit(
    journal: JournalSource, report: Report, archived: Iterable[Record] | None = None, *, also: Callable[[AttemptRecord], None] | None = None
) -> Audit:
    """Add every record to the report and to `also`, and compare what the records charged with the balances of the budgets.

    `archived` are records that left the ledger: they count in the report, and the opening balances have their sums. A record that is both
    in the ledger and archived counts once, as the ledger has it. Other processes may settle calls meanwhile: a budget agrees if its sum is
    between its balances before and after the reading.
    """
    before, journal_sums = journal.balances(), _JournalSums(report, also)
    for record in journal.records():
        journal_sums.add(record, keep_id=archived is not None)
    openings = journal.openings()
    for record in archived or ():
        journal_sums.add_archived(record)
    after = journal.balances()
    sums = dict(journal_sums.sums)
    for account, amount in openings.items():
        sums[account] = sums.get(account, 0) + amount
    accounts = sorted(account for account in {*sums, *after} if is_budget(account))
    differences = [
        f"{account}: its calls add up to {format_balance(sums.get(account, 0), account)}, its balance is "
        f"{format_balance(_settled(after, account), account)}"
        for account in accounts
        if not _between(_settled(before, account), sums.get(account, 0), _settled(after, account))
    ]
    if journal_sums.unreadable:
        count = journal_sums.unreadable
        differences.append(f"{count} records can't be read and are not in the sums; a later version may have written them")
    return Audit(
        records=journal_sums.count,
        unreadable=journal_sums.unreadable,
        checked=len(accounts),
        differences=tuple(differences),
        corrections=tuple(journal_sums.corrections),
        is_partial=archived is None and any(_has_left(account, after) for account in openings),
    )


def remarks(total: ReportRow, result: Audit) -> list[str]:
    """What the figures of a report don't show."""
    sentences: list[str] = []
    if total.unpriced:
        sentences.append(f"{total.unpriced:,} answers came from models without a price: their cost is not in the sums.")
    if total.assumed_nanousd:
        sentences.append(
            f"{format_usd(total.assumed_nanousd)} of the cost is assumed: what was billed is not known, so the whole hold was charged."
        )
    if total.estimated_nanousd:
        sentences.append(
            f"{format_usd(total.estimated_nanousd)} of the cost is estimated: at most what can have been billed for interrupted calls and "
            "for tools that no usage counts."
        )
    if total.lost:
        sentences.append(f"{total.lost:,} attempts were lost with their worker and charged in full.")
    if result.is_partial:
        sentences.append("Older records have left the ledger and are not in the rows. To count them, name their folder with --archive.")
    if result.agrees and result.checked:
        budgets = "budget" if result.checked == 1 else "budgets"
        sentences.append(f"The sums agree with the ledger's {result.checked:,} {budgets} to the nano-dollar.")
    return sentences


class _JournalSums:
    """The sums of a journal, record by record."""

    def __init__(self, report: Report, also: Callable[[AttemptRecord], None] | None) -> None:
        self.sums: dict[str, int] = {}
        self.corrections: list[Correction] = []
        self.count = self.unreadable = 0
        self._report, self._also = report, also
        self._ids: set[str] = set()

    def add(self, record: Record, *, keep_id: bool) -> None:
        if keep_id:
            self._ids.add(record.hold_id)
        entry = self._count(record)
        for account, amount in record.amounts.items():
            if is_budget(account) and entry is not None:
                charged = entry.cost_nanousd if is_money(account) and isinstance(entry, AttemptRecord) else amount
                self.sums[account] = self.sums.get(account, 0) + charged

    def add_archived(self, record: Record) -> None:
        if record.hold_id not in self._ids:
            self._ids.add(record.hold_id)
            self._count(record)

    def _count(self, record: Record) -> AttemptRecord | Correction | None:
        try:
            attempt = AttemptRecord.from_json(record.body)
        except (ValueError, TypeError):
            return self._correct(record)
        self.count += 1
        self._report.add(attempt)
        if self._also is not None:
            self._also(attempt)
        return attempt

    def _correct(self, record: Record) -> Correction | None:
        try:
            correction = Correction.from_json(record.body)
        except ValueError:
            self.unreadable += 1
            return None
        self.corrections.append(correction)
        return correction


def _has_left(account: str, balances: Mapping[str, Balance]) -> bool:
    """Whether records have left the journal for this opening balance.

    The account of a user's own run may have one instead for what the run came to before it had an owner; its records are in the journal.
    """
    return owner_of(account) is None or without_owner(account) not in balances


def _settled(balances: Mapping[str, Balance], account: str) -> int:
    return balances[account].settled if account in balances else 0


def _between(first: int, value: int, second: int) -> bool:
    return min(first, second) <= value <= max(first, second)
