"""`report --html` and `--png`: collects what they show while the report is added up, and writes the files; knows no ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.accounting.records import AttemptRecord
from paymaster.cli.reporting import Audit, as_table, remarks
from paymaster.cli.terminal import Cell, Table
from paymaster.errors import ExtraMissing, UsageMistake
from paymaster.views.reports import Filter, Key, Report

if TYPE_CHECKING:
    from paymaster.pages.report import ShownTable
    from paymaster.views.spending import Spending, Timeline


_ADVICE = "Install it with: pip install 'paymaster[charts]'"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where a page and a picture are to be written; None where neither is asked for."""

    html: Path | None = None
    png: Path | None = None

    def __bool__(self) -> bool:
        """Whether anything is."""
        return self.html is not None or self.png is not None


class Charted:
    """What charts are drawn from: each record that the filter admits, counted over time."""

    def __init__(self, only: Filter) -> None:
        """Raises ExtraMissing where charts are not installed."""
        require_charts()
        from paymaster.views.spending import Spending

        self._only = only
        self.spending: Spending = Spending()

    def add(self, attempt: AttemptRecord) -> None:
        """Count one."""
        if self._only.admits(attempt):
            self.spending.add(attempt)


def require_charts() -> None:
    """Raises ExtraMissing where a part that charts need is not installed."""
    if find_spec("pygal") is None:  # importing it costs a quarter of a second, and it is not needed yet
        raise ExtraMissing("charts need pygal, which is not installed", advice=_ADVICE)
    try:
        import font_lato  # noqa: F401  only whether it is there
        import jinja2  # noqa: F401  the same
        import resvg_py  # noqa: F401  the same
    except ModuleNotFoundError as error:
        raise ExtraMissing(f"charts need {error.name}, which is not installed", advice=_ADVICE) from error


def write_files(wanted: Wanted, charted: Charted, made: Report, audit: Audit, only: Filter, ledger: str) -> list[Path]:
    """Write what is wanted; the paths written. Raises UsageMistake for a path that can't be written."""
    from paymaster.pages.drawing import draw_picture
    from paymaster.pages.report import ReportPage, render_report
    from paymaster.views.spending import KEYS
    from paymaster.views.words import short_usd

    spending, total = charted.spending, made.total()
    period = _period(spending, only)
    lines = [spending.timeline(key, only.since_ms, only.until_ms) for key in KEYS]
    written: list[Path] = []
    if wanted.html is not None:
        page = ReportPage(
            period=period,
            narrowed=[f"{name} {value}" for name, value in (("run", only.run), ("batch", only.batch)) if value is not None],
            total=total,
            timelines=lines,
            tables=[_shown(as_table(made), len(made.keys))],
            remarks=[*remarks(total, audit), *audit.differences],
            ledger=ledger,
            made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        )
        written.append(_write(wanted.html, render_report(page).encode()))
    if wanted.png is not None:
        line = _line_for(made.keys, lines)
        title = f"Spending by {line.key.value}: {short_usd(total.cost_nanousd)}, {period}"
        written.append(_write(wanted.png, draw_picture(line, title)))
    return written


def _line_for(keys: Sequence[Key], lines: "Sequence[Timeline]") -> "Timeline":
    """The picture has room for one: the first that the report is made by."""
    return next((line for key in keys for line in lines if line.key is key), lines[0])


def _period(spending: "Spending", only: Filter) -> str:
    since, until = only.since_ms or spending.first_ms, only.until_ms or spending.last_ms
    if since is None or until is None:
        return "no calls"
    first, last = (f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}" for at_ms in (since, until - (only.until_ms is not None)))
    return first if first == last else f"{first} to {last}"


def _shown(table: Table, named: int) -> "ShownTable":
    from paymaster.pages.report import ShownTable

    def texts(row: Sequence[str | Cell]) -> list[str]:
        return [cell.text if isinstance(cell, Cell) else cell for cell in row]

    columns = [column.title for column in table.columns]
    return ShownTable(title=table.title, columns=columns, rows=[texts(row) for row in table.rows], total=texts(table.total), named=named)


def _write(path: Path, data: bytes) -> Path:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageMistake(f"cannot write {path}: {error.strerror or error}") from error
    return path
