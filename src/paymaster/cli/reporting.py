"""What `report` shows: rows as tables, JSON and spreadsheets, and whether their sums are the ledger's; knows no file and no terminal."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from paymaster.accounting.account_names import dimensions_of, is_money
from paymaster.accounting.accounts import Balance, Record
from paymaster.accounting.corrections import Correction
from paymaster.accounting.decimals import plain, unscaled
from paymaster.accounting.money import USD_DECIMALS, format_usd
from paymaster.accounting.records import AttemptRecord
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.errors import UsageMistake, near
from paymaster.views.reports import Filter, Key, Report, Row
from paymaster.views.words import duration

MONEY = "usd"
_CORRECTED = ("account", "correction", "corrected_by", "reason")
_NOT_SUMS = ("key", "first_at_ms", "last_at_ms")


class Journal(Protocol):
    """What a report is made from."""

    def balances(self) -> Mapping[str, Balance]:
        """Every account."""
        ...

    def records(self) -> Iterator[Record]:
        """The record of each hold."""
        ...

    def openings(self) -> Mapping[str, int]:
        """What records that are no longer there had charged, by account."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Whether the records add up to the balances. `checked` counts the budgets that could be compared.

    `corrections` are what people changed by hand; `dropped` says that older records have left the ledger.
    """

    records: int
    unreadable: int
    checked: int
    differences: tuple[str, ...]
    corrections: tuple[Correction, ...] = ()
    dropped: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the ledger has no record at all."""
        return not self.records and not self.unreadable and not self.corrections

    @property
    def agrees(self) -> bool:
        """Whether nothing speaks against the sums."""
        return not self.differences


def read_keys(text: str) -> tuple[Key, ...]:
    """The keys of `--by`. Raises UsageMistake for one that there isn't, with the nearest."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    known = [key.value for key in Key]
    if not words:
        raise UsageMistake("--by names nothing", advice=f"Known: {', '.join(known)}.")
    for word in words:
        if word not in known:
            raise UsageMistake(f"--by {word}: a report can't be made by that ({near(word, known)})", advice=f"Known: {', '.join(known)}.")
    return tuple(dict.fromkeys(Key(word) for word in words))


def gather(
    journal: Journal, report: Report, archived: Iterable[Record] | None = None, *, also: Callable[[AttemptRecord], None] | None = None
) -> Audit:
    """Add every record to the report, and compare what they say was charged with the budgets' balances. `also` is told each record too.

    `archived` are records that left the ledger: they count in the report, and their sums are the ledger's openings. One that stands in both
    counts once, as the ledger has it. Others may settle meanwhile: a budget agrees when the sum lies between its balance before and after
    the reading.
    """
    before, tally = journal.balances(), _Tally(report, also)
    for record in journal.records():
        tally.add(record, keep_id=archived is not None)
    openings = journal.openings()
    for record in archived or ():
        tally.add_archived(record)
    after = journal.balances()
    sums = dict(tally.sums)
    for account, amount in openings.items():
        sums[account] = sums.get(account, 0) + amount
    accounts = sorted(account for account in {*sums, *after} if is_money(account))
    differences = [
        f"{account}: its calls add up to {format_usd(sums.get(account, 0))}, its balance is {format_usd(_settled(after, account))}"
        for account in accounts
        if not _between(_settled(before, account), sums.get(account, 0), _settled(after, account))
    ]
    if tally.unreadable:
        differences.append(f"{tally.unreadable} records can't be read, perhaps written by a later version; they are not in the sums")
    return Audit(
        records=tally.count,
        unreadable=tally.unreadable,
        checked=len(accounts),
        differences=tuple(differences),
        corrections=tuple(tally.corrections),
        dropped=bool(openings) and archived is None,
    )


class _Tally:
    """What a journal comes to, record by record."""

    def __init__(self, report: Report, also: Callable[[AttemptRecord], None] | None) -> None:
        self.sums: dict[str, int] = {}
        self.corrections: list[Correction] = []
        self.count = self.unreadable = 0
        self._report, self._also = report, also
        self._ids: set[str] = set()

    def add(self, record: Record, *, keep_id: bool) -> None:
        if keep_id:
            self._ids.add(record.hold_id)
        read = self._count(record)
        for account, amount in record.amounts.items():
            if is_money(account) and read is not None:
                charged = amount if isinstance(read, Correction) else read.cost_nanousd
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


def correction_table(corrections: Sequence[Correction], only: Filter) -> Table:
    """What people changed by hand, for a person; of one run, what was changed on its accounts."""
    shown = [each for each in corrections if _concerns(each, only)]
    return Table(
        title="Corrected by hand",
        columns=[Column("when"), Column("account"), Column("amount", figures=True), Column("how"), Column("by"), Column("reason")],
        rows=[
            [
                _utc(each.at_ms) or "-",
                each.account,
                format_usd(each.amount) if is_money(each.account) else f"{each.amount:,}",
                each.correction,
                each.user or "-",
                each.reason,
            ]
            for each in shown
        ],
    )


def _concerns(each: Correction, only: Filter) -> bool:
    names = {f"run/{only.run}": only.run, f"batch/{only.batch}": only.batch}
    return (
        all(named is None or f"/{name}/" in f"{each.account}/" for name, named in names.items())
        and (only.since_ms is None or each.at_ms >= only.since_ms)
        and (only.until_ms is None or each.at_ms < only.until_ms)
    )


def ordered(report: Report) -> tuple[Row, ...]:
    """By the calendar where there are days, else the dearest first."""
    rows = report.rows()
    return rows if Key.DAY in report.keys else tuple(sorted(rows, key=lambda row: -row.cost_nanousd))


def as_table(report: Report) -> Table:
    """The rows for a person."""
    figures = ("calls", "failed", "fallbacks", "tokens in", "cached", "tokens out", "waited", "cost")
    total = report.total()
    rows = ordered(report)
    return Table(
        title="Where the money went",
        columns=[*(Column(key.value) for key in report.keys), *(Column(title, figures=True) for title in figures)],
        rows=[_cells(row) for row in rows],
        total=["total", *[""] * (len(report.keys) - 1), *_figures(total)] if len(rows) > 1 else (),
    )


def remarks(total: Row, audit: Audit) -> list[str]:
    """What the table can't say in figures."""
    said: list[str] = []
    if total.unpriced:
        said.append(f"{total.unpriced:,} answers came from models without a price: their cost is not in the sums.")
    if total.assumed_nanousd:
        said.append(
            f"{format_usd(total.assumed_nanousd)} of the cost is assumed: what was billed is not known, so the whole hold was charged."
        )
    if total.lost:
        said.append(f"{total.lost:,} attempts were lost with their worker and charged in full.")
    if audit.dropped:
        said.append("Older records have left the ledger and are not in the rows: name their folder with --archive to count them.")
    if audit.agrees and audit.checked:
        said.append(
            f"The sums agree with the ledger's {audit.checked:,} {'budget' if audit.checked == 1 else 'budgets'} to the nano-dollar."
        )
    return said


def as_json(report: Report, audit: Audit, ledger: str) -> dict[str, object]:
    """The whole report for a program, money as text in dollars too; `ledger_agrees` is null where nothing could be compared."""
    return {
        "ledger": ledger,
        "by": [key.value for key in report.keys],
        "rows": [_values(row, report.keys) for row in ordered(report)],
        "total": _values(report.total(), ()),
        "ledger_agrees": False if audit.differences else True if audit.checked else None,
        "differences": list(audit.differences),
        "corrections": [asdict(each) for each in audit.corrections],
    }


def as_csv(report: Report, corrections: Sequence[Correction] = (), only: Filter | None = None) -> str:
    """The rows for a spreadsheet, without a total (it would be added up again), then each correction of a budget as a row of its own.

    A budget's balance is the sum of its calls' rows, which have no `account`, and of the rows with its own name there.
    """
    out = io.StringIO()
    shown = [each for each in corrections if is_money(each.account) and _concerns(each, only or Filter())]
    rows = [
        *({**_values(row, report.keys), **dict.fromkeys(_CORRECTED)} for row in ordered(report)),
        *(_correction_values(each, report.keys) for each in shown),
    ]
    names = [*(key.value for key in report.keys), *_values(report.total(), ()), *_CORRECTED]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().removesuffix("\n")


def _correction_values(each: Correction, keys: Sequence[Key]) -> dict[str, object]:
    """A row without calls: what its account is counted for stands under the keys; a day is the account's, else the correction's own."""
    of = dimensions_of(each.account) or {}
    at = _utc(each.at_ms)
    named: dict[Key, str | None] = {
        Key.MODEL: of.get("model"),
        Key.RUN: of.get("run"),
        Key.BATCH: of.get("batch"),
        Key.INSTANCE: of.get("instance", "").partition(":")[2] or None,
        Key.USER: of.get("user"),
        Key.ROLE: None,
        Key.DAY: of.get("day") or (None if at is None else at[:10]),
    }
    empty = dict.fromkeys((spec.name for spec in fields(Row) if spec.name not in _NOT_SUMS), 0)
    return {
        **{key.value: None if named[key] == "-" else named[key] for key in keys},
        **empty,
        "cost_usd": plain(_usd(each.amount)),
        "cost_nanousd": each.amount,
        "exact_nanousd": each.amount,
        "first_at": at,
        "last_at": at,
        **dict(zip(_CORRECTED, (each.account, each.correction, each.user, each.reason), strict=True)),
    }


def _cells(row: Row) -> list[str | Cell]:
    return [*(Cell("-", "weak") if part is None else part for part in row.key), *_figures(row)]


def _figures(row: Row) -> list[str | Cell]:
    taken_in = row.input_tokens + row.cache_read_tokens + row.cache_write_tokens
    failed = row.failed + row.lost
    return [
        f"{row.calls:,}",
        Cell(f"{failed:,}", "bad" if failed else ""),
        f"{row.fallbacks:,}",
        f"{taken_in:,}",
        f"{row.cache_read_tokens:,}",
        f"{row.output_tokens:,}",
        duration(row.waited_ms) if row.waited_ms else "-",
        "unknown" if row.unpriced and not row.cost_nanousd else format_usd(row.cost_nanousd),
    ]


def _values(row: Row, keys: Sequence[Key]) -> dict[str, object]:
    named: dict[str, object] = dict(zip((key.value for key in keys), row.key, strict=True))
    sums = {spec.name: getattr(row, spec.name) for spec in fields(row) if spec.name != "key"}
    for name in ("first_at_ms", "last_at_ms"):
        sums[name.removesuffix("_ms")] = _utc(sums.pop(name))
    return {**named, "cost_usd": plain(_usd(row.cost_nanousd)), "cost_nanousd": row.cost_nanousd, **sums}


def _utc(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _usd(nanousd: int) -> Decimal:
    return unscaled(nanousd, USD_DECIMALS)


def _settled(balances: Mapping[str, Balance], account: str) -> int:
    return balances[account].settled if account in balances else 0


def _between(one: int, value: int, other: int) -> bool:
    return min(one, other) <= value <= max(one, other)
