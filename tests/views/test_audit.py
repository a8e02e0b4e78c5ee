"""Comparing a journal's records with the balances of the budgets."""

from __future__ import annotations

import pytest

from paymaster.accounting.accounts import Balance, Record
from paymaster.accounting.records import AttemptRecord
from paymaster.views.audit import audit, remarks
from paymaster.views.reports import GroupBy, Report


class FakeJournal:
    """A journal with its balances before and after the reading, and its records."""

    def __init__(self, before: int, after: int, *bodies: str, openings: dict[str, int] | None = None) -> None:
        opened = {account: Balance(settled=amount) for account, amount in (openings or {}).items()}
        self.readings = [{"usd/run/a": Balance(settled=before), "slots/m": Balance()}, {**opened, "usd/run/a": Balance(settled=after)}]
        self.bodies = bodies
        self.opened = openings or {}

    def balances(self):
        return self.readings.pop(0)

    def openings(self):
        return self.opened

    def records(self):
        return iter(
            [
                Record(str(number), 0, lost=False, amounts={"usd/run/a": 1, "requests/m": 1}, body=body)
                for number, body in enumerate(self.bodies)
            ]
        )


def attempt(cost_nanousd: int, **more) -> str:
    plain = {
        "call_id": "c",
        "attempt": 1,
        "at_ms": 0,
        "model": "m",
        "provider": "p",
        "model_id": "m",
        "outcome": "answered",
        "billed": "exact",
    }
    return AttemptRecord(
        **{**plain, "cost_nanousd": cost_nanousd, "held_nanousd": 9, "cost_source": "registry", "run": "a", **more}
    ).to_json()


def test_calls_that_settle_during_the_reading_are_no_difference():
    assert audit(FakeJournal(5, 12, attempt(5)), Report([GroupBy.MODEL])).agrees
    assert audit(FakeJournal(5, 12, attempt(5), attempt(7)), Report([GroupBy.MODEL])).agrees
    assert not audit(FakeJournal(5, 12, attempt(4)), Report([GroupBy.MODEL])).agrees


@pytest.mark.parametrize(
    ("openings", "is_partial"),
    [
        ({}, False),
        ({"usd/day/2026-11-22": 3}, True),
        ({"usd/~ann/run/b": 3}, True),
        ({"usd/~ann/run/a": 3}, False),
        ({"usd/~ann/run/a": 3, "usd": 3}, True),
    ],
)
def test_what_a_run_came_to_before_it_had_an_owner_is_no_record_that_left(openings: dict[str, int], is_partial: bool) -> None:
    report = Report([GroupBy.MODEL])
    result = audit(FakeJournal(5, 5, attempt(5), openings=openings), report)
    assert (result.is_partial, result.agrees) == (is_partial, True), result.differences
    assert any("Older records" in sentence for sentence in remarks(report.total(), result)) is is_partial
    assert not audit(FakeJournal(5, 5, attempt(5), openings=openings), report, []).is_partial


def test_unreadable_records_are_counted():
    result = audit(FakeJournal(5, 5, attempt(5), "{}", '{"call_id": "c"}', "x"), Report([GroupBy.MODEL]))
    assert result.unreadable == 3
    assert "3 records can't be read" in result.differences[0]


def test_remarks_explain_assumed_estimated_unpriced_and_lost_costs():
    report = Report([GroupBy.MODEL])
    records = attempt(0, billed="unpriced"), attempt(7, billed="assumed", outcome="lost"), attempt(3, billed="estimated")
    result = audit(FakeJournal(10, 10, *records), report)
    text = " ".join(remarks(report.total(), result))
    for words in (
        "1 answers came from models without a price",
        "$0.000000007 of the cost is assumed",
        "$0.000000003 of the cost is estimated: at most what can have been billed for interrupted calls and for tools that no usage counts",
        "1 attempts were lost",
        "1 budget to",
    ):
        assert words in text, words
