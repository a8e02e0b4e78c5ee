"""`report --html` and `--png`: correct sums over time, self-contained files, and escaped names."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from past_calls import HOUR_MS, spend
from paymaster.accounting.records import AttemptRecord
from paymaster.cli.app import build_app
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.pages.drawing import description, draw_for_page, step_labels
from paymaster.runtime import run
from paymaster.testing import ManualRuntime
from paymaster.views.reports import GroupBy
from paymaster.views.spending import MOST_STEPS, Spending
from paymaster.views.words import short_usd

NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00Z
PNG = b"\x89PNG\r\n\x1a\n"


def attempt(at_ms: int, cost_nanousd: int, **names: object) -> AttemptRecord:
    given = {"call_id": "c", "attempt": 1, "model": "m", "provider": "p", "model_id": "m", "outcome": "answered", "billed": "exact",
             "held_nanousd": 0, "cost_source": "registry", "run": "r", **names}  # fmt: skip
    return AttemptRecord(at_ms=at_ms, cost_nanousd=cost_nanousd, **given)


@pytest.fixture(name="ledger", scope="module")
def past(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("past") / "ledger.sqlite3"
    books = SqliteLedger(path, ManualRuntime().sleep)
    spend(books, NOON_MS, hours=48, calls=60)
    run(books.close())
    return f"sqlite:///{path}"


def paymaster(*words: object):
    return CliRunner().invoke(build_app(), [str(word) for word in words])


# -------------------------------------------------------------------------------------------------------------- sums


@pytest.mark.parametrize("hours", [0.05, 2, 30, 24 * 20, 24 * 400])
def test_every_nanodollar_is_in_a_step_for_any_period(hours):
    chance, spending, total = random.Random(3), Spending(), 0
    for _ in range(300):
        cost = chance.randrange(10**9)
        total += cost
        spending.add(attempt(NOON_MS - chance.randrange(int(hours * HOUR_MS)), cost, model=f"m{chance.randrange(12)}"))
    line = spending.timeline(GroupBy.MODEL)
    assert line.total_nanousd == total
    assert len(line.starts_ms) <= MOST_STEPS + 1
    assert [series.is_others for series in line.series] == [False] * 7 + [True]
    assert line.series[0].total_nanousd >= line.series[6].total_nanousd
    assert len(set(step_labels(line))) == len(line.starts_ms)


def test_a_correction_removes_the_lost_attempt():
    spending, lost = Spending(), attempt(NOON_MS, 500)
    spending.add(lost)
    spending.remove(lost)
    spending.add(attempt(NOON_MS, 20))
    assert spending.timeline(GroupBy.RUN).total_nanousd == 20


def test_calls_outside_the_period_are_not_in_the_chart():
    spending = Spending()
    spending.add(attempt(NOON_MS - 3 * HOUR_MS, 1))
    spending.add(attempt(NOON_MS, 2))
    assert spending.timeline(GroupBy.MODEL, NOON_MS - HOUR_MS, NOON_MS + 1).total_nanousd == 2


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0, "$0.00"), (12_345_678, "$0.0123"), (1, "<$0.0001"), (200_000_000, "$0.20"), (12_345_000_000, "$12.35"), (-10**12, "-$1,000.00"),
     (999_999_999, "$1.00"), (994_999_999, "$0.9950")],
)  # fmt: skip
def test_amounts_are_rounded_for_display(amount, words):
    assert short_usd(amount) == words


# -------------------------------------------------------------------------------------------------------------- charts


def test_a_chart_is_one_svg_without_script_style_or_link():
    spending = Spending()
    spending.add(attempt(NOON_MS, 5, user=None))
    spending.add(attempt(NOON_MS, 5, user='<script>alert("ann")</script>'))
    svg = draw_for_page(spending.timeline(GroupBy.USER))
    assert svg.startswith("<svg ")
    assert not re.search(r"<(script|style|image|a)\b|style=|href|on\w+=", svg)
    assert 'role="img"' in svg
    assert "no user named" in svg


def test_an_empty_chart_is_described():
    assert description(Spending().timeline(GroupBy.MODEL)) == "Spending by model: none."


# -------------------------------------------------------------------------------------------------------------- files


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_a_report_is_one_page_and_one_picture(ledger, tmp_path):
    html, png = tmp_path / "r.html", tmp_path / "r.png"
    ended = paymaster("report", "--ledger", ledger, "--by", "user,model", "--html", html, "--png", png)
    assert ended.exit_code == 0, ended.output
    assert png.read_bytes().startswith(PNG)
    text = html.read_text(encoding="utf-8")
    elements = Elements(text).found
    assert not [tag for tag, _ in elements if tag in ("script", "link", "img", "iframe")]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert sum(tag == "svg" and attrs.get("role") == "img" for tag, attrs in elements) == 3
    total = re.search(r"total .*(\$\S+)\n", ended.output)
    assert total[1] in text
    assert len(text) < 200_000


def test_a_report_of_one_run_charts_only_that_run(ledger, tmp_path):
    html = tmp_path / "r.html"
    assert paymaster("report", "--ledger", ledger, "--run-id", "exp-1", "--html", html).exit_code == 0
    assert "exp-2" not in html.read_text(encoding="utf-8")


def test_an_empty_report_is_still_a_page(tmp_path):
    html, png = tmp_path / "r.html", tmp_path / "r.png"
    assert paymaster("report", "--html", html, "--png", png).exit_code == 0
    assert "Nothing was spent" in html.read_text(encoding="utf-8")
    assert png.read_bytes().startswith(PNG)


def test_an_unwritable_page_is_one_clear_message(ledger, tmp_path):
    ended = paymaster("report", "--ledger", ledger, "--html", tmp_path / "no" / "r.html")
    assert "cannot write" in str(ended.exception)
