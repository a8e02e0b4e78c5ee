"""How `report` looks as a table, as JSON and as a spreadsheet; knows sums and corrections, and no file and no ledger."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from decimal import Decimal

from paymaster.accounting.account_names import dimensions_of, is_money, owner_of
from paymaster.accounting.budget_units import format_balance
from paymaster.accounting.corrections import Correction
from paymaster.accounting.decimals import plain, unscaled
from paymaster.accounting.money import USD_DECIMALS, format_usd
from paymaster.accounting.records import AttemptRecord, shown_run
from paymaster.cli.spreadsheets import write_csv
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.errors import UsageMistake, near
from paymaster.routing.interruptions import describe_counting
from paymaster.views.audit import Audit
from paymaster.views.reports import GroupBy, RecordFilter, Report, ReportRow
from paymaster.views.words import duration

_CORRECTION_COLUMNS = ("account", "correction", "corrected_by", "reason")
_MOST_INEXACT_SHOWN = 10
_NOT_SUMS = ("group", "first_at_ms", "last_at_ms")


def read_group_by(text: str) -> tuple[GroupBy, ...]:
    """The keys of `--by`. Raises UsageMistake for an unknown one, and names the nearest."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    known = [by.value for by in GroupBy]
    if not words:
        raise UsageMistake("--by names nothing", advice=f"Known: {', '.join(known)}.")
    for word in words:
        if word not in known:
            raise UsageMistake(f"--by {word}: unknown key ({near(word, known)})", advice=f"Known: {', '.join(known)}.")
    return tuple(dict.fromkeys(GroupBy(word) for word in words))


def ordered_rows(report: Report) -> tuple[ReportRow, ...]:
    """By the calendar if grouped by day, otherwise the most expensive first."""
    rows = report.rows()
    return rows if GroupBy.DAY in report.by else tuple(sorted(rows, key=lambda row: -row.cost_nanousd))


def report_table(report: Report) -> Table:
    """The rows for a person."""
    figures = ("calls", "failed", "fallbacks", "tokens in", "cached", "tokens out", "waited", "cost")
    rows, saved = ordered_rows(report), report.total().saved_nanousd
    return Table(
        title="Where the money went" + (f"; tiers of service saved {format_usd(saved)}" if saved else ""),
        columns=[*(Column(by.value) for by in report.by), *(Column(title, figures=True) for title in figures)],
        rows=[_cells(row) for row in rows],
        total=["total", *[""] * (len(report.by) - 1), *_figures(report.total())] if len(rows) > 1 else (),
    )


def correction_table(corrections: Sequence[Correction], only: RecordFilter) -> Table:
    """What was changed after the fact, for a person; with a run, only changes of its accounts."""
    return Table(
        title="Corrected by hand" if all(correction.correction != "bill" for correction in corrections) else "Corrections",
        columns=[Column("when"), Column("account"), Column("amount", figures=True), Column("how"), Column("by"), Column("reason")],
        rows=[
            [
                _utc(correction.at_ms) or "-",
                correction.account,
                format_balance(correction.amount, correction.account),
                correction.correction,
                correction.user or "-",
                correction.reason,
            ]
            for correction in corrections
            if _concerns(correction, only)
        ],
    )


def inexact_table(report: Report) -> Table:
    """The most expensive attempts that were charged without an exact figure, for a person: what was charged, and how it was counted."""
    shown = report.inexact()[:_MOST_INEXACT_SHOWN]
    more = f", the {len(shown)} most expensive of {report.inexact_count:,}" if report.inexact_count > len(shown) else ""
    return Table(
        title=f"Charged without an exact figure{more}",
        columns=[
            Column("when"),
            Column("model"),
            Column("outcome"),
            Column("charged", figures=True),
            Column("billed"),
            Column("counted as"),
        ],
        rows=[
            [
                _utc(record.at_ms) or "-",
                record.model,
                record.outcome.replace("_", " "),
                format_usd(record.cost_nanousd),
                record.billed,
                describe_counting(record),
            ]
            for record in shown
        ],
    )


def report_json(report: Report, audit: Audit, ledger: str) -> dict[str, object]:
    """The whole report for a program, money also as text in dollars; `ledger_agrees` is null if nothing could be compared."""
    return {
        "ledger": ledger,
        "by": [by.value for by in report.by],
        "rows": [_values(row, report.by) for row in ordered_rows(report)],
        "total": _values(report.total(), ()),
        "inexact": [_inexact_values(record) for record in report.inexact()],
        "inexact_count": report.inexact_count,
        "ledger_agrees": False if audit.differences else True if audit.checked else None,
        "differences": list(audit.differences),
        "corrections": [asdict(correction) for correction in audit.corrections],
    }


def report_csv(report: Report, corrections: Sequence[Correction] = (), only: RecordFilter | None = None) -> str:
    """The rows for a spreadsheet, without a total, then each correction of a budget as a row of its own.

    A budget's balance is the sum of its calls' rows, which have no `account`, and of the rows that name its account.
    """
    shown = [correction for correction in corrections if is_money(correction.account) and _concerns(correction, only or RecordFilter())]
    rows = [
        *({**_values(row, report.by), **dict.fromkeys(_CORRECTION_COLUMNS)} for row in ordered_rows(report)),
        *(_correction_values(correction, report.by) for correction in shown),
    ]
    names = [*(by.value for by in report.by), *_values(report.total(), ()), *_CORRECTION_COLUMNS]
    return write_csv(names, rows, texts=(*(by.value for by in report.by), *_CORRECTION_COLUMNS))


def _inexact_values(record: AttemptRecord) -> dict[str, object]:
    names = ("call_id", "attempt", "model", "run", "instance", "user", "outcome", "billed", "cost_nanousd", "held_nanousd", "cost_basis")
    return {"at": _utc(record.at_ms), **{name: getattr(record, name) for name in names}, "counted": describe_counting(record)}


def _concerns(correction: Correction, only: RecordFilter) -> bool:
    of, owner = dimensions_of(correction.account) or {}, owner_of(correction.account)
    run = of.get("run", "")
    return (
        (only.run is None or only.run in {run, shown_run(run, owner)})
        and (only.batch is None or only.batch == of.get("batch"))
        and (only.since_ms is None or correction.at_ms >= only.since_ms)
        and (only.until_ms is None or correction.at_ms < only.until_ms)
    )


def _correction_values(correction: Correction, by: Sequence[GroupBy]) -> dict[str, object]:
    """A row without calls, grouped by what its account is counted for. The day is the account's, or else the correction's own."""
    of = dimensions_of(correction.account) or {}
    at = _utc(correction.at_ms)
    values: dict[GroupBy, str | None] = {
        GroupBy.MODEL: of.get("model"),
        GroupBy.ENDPOINT: of.get("model"),
        GroupBy.RUN: shown_run(of["run"], owner_of(correction.account)) if "run" in of else None,
        GroupBy.BATCH: of.get("batch"),
        GroupBy.INSTANCE: of.get("instance", "").partition(":")[2] or None,
        GroupBy.USER: of.get("user"),
        GroupBy.ROLE: None,
        GroupBy.DAY: of.get("day") or (None if at is None else at[:10]),
        GroupBy.TIER: None,
    }
    empty = dict.fromkeys((spec.name for spec in fields(ReportRow) if spec.name not in _NOT_SUMS), 0)
    reason = (correction.account, correction.correction, correction.user, correction.reason)
    return {
        **{key.value: None if values[key] == "-" else values[key] for key in by},
        **empty,
        "cost_usd": plain(_usd(correction.amount)),
        "cost_nanousd": correction.amount,
        "exact_nanousd": correction.amount,
        "first_at": at,
        "last_at": at,
        **dict(zip(_CORRECTION_COLUMNS, reason, strict=True)),
    }


def _cells(row: ReportRow) -> list[str | Cell]:
    return [*(Cell("-", "weak") if part is None else part for part in row.group), *_figures(row)]


def _figures(row: ReportRow) -> list[str | Cell]:
    tokens_in = row.input_tokens + row.cache_read_tokens + row.cache_write_tokens
    failed = row.failed + row.lost
    return [
        f"{row.calls:,}",
        Cell(f"{failed:,}", "bad" if failed else ""),
        f"{row.fallbacks:,}",
        f"{tokens_in:,}",
        f"{row.cache_read_tokens:,}",
        f"{row.output_tokens:,}",
        duration(row.waited_ms) if row.waited_ms else "-",
        "unknown" if row.unpriced and not row.cost_nanousd else format_usd(row.cost_nanousd),
    ]


def _values(row: ReportRow, by: Sequence[GroupBy]) -> dict[str, object]:
    group: dict[str, object] = dict(zip((key.value for key in by), row.group, strict=True))
    sums = {spec.name: getattr(row, spec.name) for spec in fields(row) if spec.name != "group"}
    for name in ("first_at_ms", "last_at_ms"):
        sums[name.removesuffix("_ms")] = _utc(sums.pop(name))
    return {**group, "cost_usd": plain(_usd(row.cost_nanousd)), "cost_nanousd": row.cost_nanousd, **sums}


def _utc(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _usd(nanousd: int) -> Decimal:
    return unscaled(nanousd, USD_DECIMALS)
