"""`paymaster ledger retire`: what has left a ledger is still in its report and its exports, and no longer in its status."""

from __future__ import annotations

import json

import pytest

from paymaster.accounting.accounts import Hold, Post, Settlement
from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.urls import admin_for, open_ledger
from paymaster.runtime import BlockingRuntime, run

AT = 1_600_000_000_000  # on 2020-09-13
DAY, RUN = "usd/day/2020-09-13", "usd/run/a"


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request, tmp_path):
    """The URL of a ledger in which a call of long ago was charged to a day and to a run, each 3,000,000."""
    url = f"sqlite:{tmp_path / 'books.sqlite3'}" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    body = AttemptRecord(
        call_id="c",
        attempt=1,
        at_ms=AT,
        model="fast",
        provider="p",
        model_id="fast",
        outcome="answered",
        billed="exact",
        cost_nanousd=3_000_000,
        held_nanousd=3_000_000,
        cost_source="registry",
        run="a",
    )
    books = open_ledger(url, BlockingRuntime().sleep)
    posts = (Post(DAY, 3_000_000, None), Post(RUN, 3_000_000, None))
    run(books.settle(Settlement(Hold("h", (), 60_000), AT, (), body.to_json(), posts), BlockingRuntime().now_ms()))
    run(books.close())
    return url


def shown(paymaster, *words):
    ended = paymaster(*words, "--json")
    assert ended.status == 0, ended.err
    return json.loads(ended.out)


def spent(paymaster, ledger):
    return {each["account"]: each["spent_nanousd"] for each in shown(paymaster, "status", "--ledger", ledger)["budgets"]}


def test_its_sums_are_kept(paymaster, ledger):
    before = spent(paymaster, ledger)
    assert before == {DAY: 3_000_000, RUN: 3_000_000}
    ended = paymaster("ledger", "retire", "--ledger", ledger)
    assert ended.status == 0
    assert ended.out.startswith("1 account left ")
    assert ended.out.endswith("It has the sums of 1 that left.\n")
    assert spent(paymaster, ledger) == {RUN: 3_000_000}
    report = shown(paymaster, "report", "--ledger", ledger)
    assert (report["ledger_agrees"], report["total"]["cost_nanousd"]) == (True, 3_000_000)
    verified = shown(paymaster, "ledger", "verify", "--ledger", ledger)
    assert (verified["adds_up"], verified["accounts"], verified["retired"]) == (True, 1, 1)
    assert "1 accounts, 1 records, 0 open holds, 1 accounts that have left" in paymaster("ledger", "verify", "--ledger", ledger).out
    described = shown(paymaster, "ledger", "status", "--ledger", ledger)
    assert (described["accounts"], described["retired"], described["retire_days"]) == (1, 1, 35)
    assert "1 (35 days after their period)" in paymaster("ledger", "status", "--ledger", ledger).out


def test_it_is_corrected_like_any_other_budget(paymaster, ledger):
    paymaster("ledger", "retire", "--ledger", ledger)
    adjusted = paymaster("ledger", "adjust", DAY, "--usd", "-0.001", "--reason", "a refund", "--ledger", ledger)
    assert adjusted.out == f"{DAY}: $0.003 → $0.002\n"
    paymaster("ledger", "retire", "--ledger", ledger)
    reset = paymaster("ledger", "reset", DAY, "--yes", "--ledger", ledger)
    assert (reset.status, reset.out) == (0, f"{DAY}: $0.002 → $0.00.\n")
    assert shown(paymaster, "ledger", "verify", "--ledger", ledger)["adds_up"]


def test_the_number_of_days_is_chosen_once_or_for_good(paymaster, ledger):
    def left(*words):
        return paymaster("ledger", "retire", *words, "--ledger", ledger).out

    assert left("--days", "36500").startswith("0 accounts left ")
    chosen = left("--set-days", "36500")
    assert chosen.startswith("0 accounts left ")
    assert chosen.endswith("From now on, budgets leave 36,500 days after their period.\n")
    assert left().startswith("0 accounts left ")
    assert shown(paymaster, "ledger", "status", "--ledger", ledger)["retire_days"] == 36_500
    assert left("--days", "0").startswith("1 account left ")


@pytest.mark.parametrize("flag", ["--days", "--set-days"])
@pytest.mark.parametrize("days", ["-1", "36501"])
def test_a_number_out_of_range_is_refused(paymaster, ledger, flag, days):
    ended = paymaster("ledger", "retire", flag, days, "--ledger", ledger)
    assert (ended.status, ended.out) == (2, "")
    assert f"{flag} {days}: a number of days from 0 to 36,500 is expected" in ended.err


def test_an_export_and_its_import_have_it(paymaster, ledger, tmp_path):
    paymaster("ledger", "retire", "--ledger", ledger)
    assert paymaster("ledger", "export", "books.jsonl", "--ledger", ledger).status == 0
    imported = paymaster("ledger", "import", "books.jsonl", "--ledger", "sqlite:other.db")
    assert imported.out.endswith("1 accounts, 0 open holds, 1 records.\n")
    assert paymaster("ledger", "export", "-", "--ledger", "sqlite:other.db").out == (tmp_path / "books.jsonl").read_text()
    assert spent(paymaster, "sqlite:other.db") == spent(paymaster, ledger)


def test_a_ledger_that_is_not_there_is_not_made(paymaster, tmp_path):
    ended = paymaster("ledger", "retire", "--ledger", "sqlite:none.db")
    assert ended.status == 2
    assert not (tmp_path / "none.db").exists()


def test_a_server_without_a_ledger_has_nothing_to_take(paymaster, redis_url):
    ended = paymaster("ledger", "retire", "--ledger", redis_url)
    assert (ended.status, ended.out[:15]) == (0, "0 accounts left")
    books = open_ledger(redis_url, BlockingRuntime().sleep)
    assert admin_for(books).describe().id == ""
    run(books.close())
