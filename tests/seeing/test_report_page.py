"""`report --html` and `--png`: right sums over time, one file that needs nothing else, and nobody's name as markup."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from past_calls import HOUR_MS, spend
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.reports import Key
from paymaster.cli.app import build_app
from paymaster.ledgers.sqlite import SqliteLedger
from paymaster.pages.amounts import short_usd
from paymaster.pages.drawing import described, draw_for_page, moments
from paymaster.pages.spending import MOST_STEPS, Spending
from paymaster.runtime import run
from paymaster.testing import ManualRuntime

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
def test_every_nanodollar_is_in_some_step_whatever_the_time_is(hours):
    chance, spending, total = random.Random(3), Spending(), 0
    for _ in range(300):
        cost = chance.randrange(10**9)
        total += cost
        spending.add(attempt(NOON_MS - chance.randrange(int(hours * HOUR_MS)), cost, model=f"m{chance.randrange(12)}"))
    line = spending.timeline(Key.MODEL)
    assert line.total_nanousd == total
    assert len(line.starts_ms) <= MOST_STEPS + 1
    assert [series.is_rest for series in line.series] == [False] * 7 + [True]
    assert line.series[0].total_nanousd >= line.series[6].total_nanousd
    assert len(set(moments(line))) == len(line.starts_ms)


def test_a_correction_takes_back_what_was_counted():
    spending, lost = Spending(), attempt(NOON_MS, 500)
    spending.add(lost)
    spending.take_back(lost)
    spending.add(attempt(NOON_MS, 20))
    assert spending.timeline(Key.RUN).total_nanousd == 20


def test_calls_outside_the_time_asked_for_are_not_in_the_chart():
    spending = Spending()
    spending.add(attempt(NOON_MS - 3 * HOUR_MS, 1))
    spending.add(attempt(NOON_MS, 2))
    assert spending.timeline(Key.MODEL, NOON_MS - HOUR_MS, NOON_MS + 1).total_nanousd == 2


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0, "$0.00"), (12_345_678, "$0.0123"), (1, "<$0.0001"), (200_000_000, "$0.20"), (12_345_000_000, "$12.35"), (-10**12, "-$1,000.00"),
     (999_999_999, "$1.00"), (994_999_999, "$0.9950")],
)  # fmt: skip
def test_amounts_are_short(amount, words):
    assert short_usd(amount) == words


# -------------------------------------------------------------------------------------------------------------- charts


def test_a_chart_is_one_element_without_script_style_or_address():
    spending = Spending()
    spending.add(attempt(NOON_MS, 5, user=None))
    spending.add(attempt(NOON_MS, 5, user='<script>alert("ann")</script>'))
    svg = draw_for_page(spending.timeline(Key.USER))
    assert svg.startswith("<svg ")
    assert not re.search(r"<(script|style|image|a)\b|style=|href|on\w+=", svg)
    assert 'role="img"' in svg
    assert "no user named" in svg


def test_a_chart_of_nothing_says_so():
    assert described(Spending().timeline(Key.MODEL)) == "Spending by model: none."


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


def test_a_report_narrowed_to_a_run_charts_that_run_alone(ledger, tmp_path):
    html = tmp_path / "r.html"
    assert paymaster("report", "--ledger", ledger, "--run-id", "exp-1", "--html", html).exit_code == 0
    assert "exp-2" not in html.read_text(encoding="utf-8")


def test_a_report_of_nothing_is_still_a_page(tmp_path):
    html, png = tmp_path / "r.html", tmp_path / "r.png"
    assert paymaster("report", "--html", html, "--png", png).exit_code == 0
    assert "Nothing was spent" in html.read_text(encoding="utf-8")
    assert png.read_bytes().startswith(PNG)


def test_a_page_that_cannot_be_written_is_one_clear_message(ledger, tmp_path):
    ended = paymaster("report", "--ledger", ledger, "--html", tmp_path / "no" / "r.html")
    assert "cannot write" in str(ended.exception)
