"""`report --html` and `--png`: collects what the charts show while the records are read, and writes the files; knows no ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.accounting.records import AttemptRecord
from paymaster.cli.extras import require_charts
from paymaster.cli.report_tables import report_table
from paymaster.cli.terminal import Cell, Table
from paymaster.errors import UsageMistake
from paymaster.views.audit import Audit, remarks
from paymaster.views.reports import GroupBy, RecordFilter, Report

if TYPE_CHECKING:
    from paymaster.pages.report import PageTable
    from paymaster.views.spending import Spending, Timeline


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """Where to write a page and a picture; None for neither."""

    html: Path | None = None
    png: Path | None = None

    def __bool__(self) -> bool:
        """Whether there is a file to write."""
        return self.html is not None or self.png is not None


class ChartData:
    """Spending over time, counted from each record that the filter admits."""

    def __init__(self, only: RecordFilter) -> None:
        """Raises ExtraMissing if charts are not installed."""
        require_charts()
        from paymaster.views.spending import Spending

        self._only = only
        self.spending: Spending = Spending()

    def add(self, attempt: AttemptRecord) -> None:
        """Count one."""
        if self._only.admits(attempt):
            self.spending.add(attempt)


def write_files(paths: ReportPaths, data: ChartData, report: Report, audit: Audit, only: RecordFilter, ledger: str) -> list[Path]:
    """Write the page, the picture, or both; the paths written. Raises UsageMistake for a path that can't be written."""
    from paymaster.pages.drawing import draw_picture
    from paymaster.pages.report import ReportPage, render_report
    from paymaster.views.spending import CHARTED
    from paymaster.views.words import short_usd

    spending, total = data.spending, report.total()
    period = _period(spending, only)
    timelines = [spending.timeline(by, only.since_ms, only.until_ms) for by in CHARTED]
    written: list[Path] = []
    if paths.html is not None:
        page = ReportPage(
            period=period,
            filters=[f"{name} {value}" for name, value in (("run", only.run), ("batch", only.batch)) if value is not None],
            total=total,
            timelines=timelines,
            tables=[_page_table(report_table(report), len(report.by))],
            remarks=[*remarks(total, audit), *audit.differences],
            ledger=ledger,
            made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        )
        written.append(_write(paths.html, render_report(page).encode()))
    if paths.png is not None:
        timeline = _timeline_for(report.by, timelines)
        title = f"Spending by {timeline.by.value}: {short_usd(total.cost_nanousd)}, {period}"
        written.append(_write(paths.png, draw_picture(timeline, title)))
    return written


def _timeline_for(keys: Sequence[GroupBy], timelines: "Sequence[Timeline]") -> "Timeline":
    """The picture has room for one: the first that the report is grouped by."""
    return next((timeline for key in keys for timeline in timelines if timeline.by is key), timelines[0])


def _period(spending: "Spending", only: RecordFilter) -> str:
    since, until = only.since_ms or spending.first_ms, only.until_ms or spending.last_ms
    if since is None or until is None:
        return "no calls"
    first, last = (f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}" for at_ms in (since, until - (only.until_ms is not None)))
    return first if first == last else f"{first} to {last}"


def _page_table(table: Table, names: int) -> "PageTable":
    from paymaster.pages.report import PageTable

    def texts(row: Sequence[str | Cell]) -> list[str]:
        return [cell.text if isinstance(cell, Cell) else cell for cell in row]

    columns = [column.title for column in table.columns]
    return PageTable(title=table.title, columns=columns, rows=[texts(row) for row in table.rows], total=texts(table.total), names=names)


def _write(path: Path, data: bytes) -> Path:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageMistake(f"cannot write {path}: {error.strerror or error}") from error
    return path
