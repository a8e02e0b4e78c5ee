"""What has to be true after a case: how the client ended, what its user saw, and that the ledger equals the bill; runs nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clients.scripted_job import FIRST, WORD

if TYPE_CHECKING:
    from clients.running import Ran
    from clients.scenarios import Case

BUDGET_STOP_S = 10


def judge(case: Case, ran: Ran) -> None:
    """Judge a case; the assertion that fails shows the client's output."""
    shown = f"status {ran.status} after {ran.took_s:.1f} s\n{ran.output[-6_000:]}"
    judge_ending(case, ran, shown)
    judge_money(ran, shown)


def judge_ending(case: Case, ran: Ran, shown: str) -> None:
    """How the client ended, and what its user sees."""
    scenario = case.scenario
    output = re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.output))
    assert ran.bills, f"no request came to the endpoint: {shown}"
    assert scenario.name == "cancel" or ran.status != -9, f"it did not end: {shown}"
    if scenario.answers:
        assert ran.status == 0, shown
        assert WORD in output, shown
        calls = [bill for bill in ran.bills if bill.ending == "whole"]
        assert len(calls) >= (2 if scenario.variant == "parallel" else 3), shown
    if scenario.output:
        assert re.search(scenario.output, output, re.IGNORECASE), shown
    if scenario.name == "budget":
        assert 0 < ran.after_refusal_s <= BUDGET_STOP_S, shown
        assert any(bill.ending == "whole" for bill in ran.bills), shown
    if scenario.name == "cancel":
        assert any(bill.ending == "hung_up" for bill in ran.bills), shown
    assert "did not come back" not in output, f"the content of {FIRST} was lost: {shown}"


def judge_money(ran: Ran, shown: str) -> None:
    """The ledger equals the bill to the nano-dollar; of an interrupted answer it has no less than the bill, and calls it an estimate."""
    total = ran.report["total"]
    assert isinstance(total, dict)
    whole = sum(bill.nanousd for bill in ran.bills if bill.ending == "whole")
    interrupted = [bill.nanousd for bill in ran.bills if bill.ending in ("cut", "hung_up")]
    inexact = int(total["estimated_nanousd"]) + int(total["assumed_nanousd"])
    assert int(total["exact_nanousd"]) == whole, shown
    assert inexact >= sum(interrupted), shown
    assert ran.report["inexact_count"] == len(interrupted), shown
    assert int(total["lost"]) == int(total["unpriced"]) == 0, shown
