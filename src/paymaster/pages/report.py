"""The report as one page: what it has to show; knows sums and words, and no file."""

from collections.abc import Sequence
from dataclasses import dataclass

from paymaster.pages.rendering import Pages
from paymaster.views.reports import Row
from paymaster.views.spending import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTable:
    """A table of texts; the first `named` columns are names, the others figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str]
    named: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """Everything on the page. `narrowed` says what was left out, `remarks` what figures can't say."""

    period: str
    narrowed: Sequence[str]
    total: Row
    timelines: Sequence[Timeline]
    tables: Sequence[ShownTable]
    remarks: Sequence[str]
    ledger: str
    made_at: str


def render_report(page: ReportPage) -> str:
    """One HTML file that needs nothing beside it: no script, no picture, no other host."""
    return Pages().render("report.html", report=page)
