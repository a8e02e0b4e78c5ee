"""The report as one page: its figures and texts; knows read models, and no file."""

from collections.abc import Sequence
from dataclasses import dataclass

from paymaster.pages.rendering import Pages
from paymaster.views.reports import ReportRow
from paymaster.views.spending import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table of texts; the first `names` columns are names, the others figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str]
    names: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """Everything on the page. `filters` are the runs and batches it is limited to; `remarks` are notes below the figures."""

    period: str
    filters: Sequence[str]
    total: ReportRow
    timelines: Sequence[Timeline]
    tables: Sequence[PageTable]
    remarks: Sequence[str]
    ledger: str
    made_at: str


def render_report(page: ReportPage) -> str:
    """One self-contained HTML file: no script, no picture, no other host."""
    return Pages().render("report.html", report=page)
