"""Twenty faults of a provider before a gateway with one fallback, held back: a whole answer or a right refusal, at the provider's bill."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from failover import DONE, FINISH, PIECES, SCENARIOS, WHOLE, WITH_USAGE, Answer, Scenario, chunk, run

if TYPE_CHECKING:
    from pathlib import Path

BROKEN_IN_THE_MIDDLE = ("stream cut", "stream stalled", "stream malformed", "fallback refuses a prefill")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_fault_ends_in_a_whole_answer_or_a_right_refusal(scenario: Scenario, tmp_path: Path) -> None:
    assert run(scenario, tmp_path).misses(scenario) == ""


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.name in BROKEN_IN_THE_MIDDLE], ids=lambda scenario: scenario.name)
def test_a_stream_that_is_not_held_back_ends_with_an_error(scenario: Scenario, tmp_path: Path) -> None:
    outcome = run(scenario, tmp_path, recovery="off")
    assert (outcome.status, outcome.code, outcome.attempts) == (200, "stream_broken", 1)
    assert outcome.billed_nanousd <= outcome.ledger_nanousd == outcome.unknown_nanousd


CUT = next(scenario for scenario in SCENARIOS if scenario.name == "stream cut")
REST = Answer((chunk({"role": "assistant", "content": " four"}), chunk({"content": " five."}), FINISH, WITH_USAGE, DONE))


def test_a_stream_is_continued_by_a_fallback_that_is_known_to(tmp_path: Path) -> None:
    scenario = replace(CUT, first=(Answer(PIECES[:3]),), second=(REST,), billed=2)
    assert run(scenario, tmp_path, "continue", {"prefill": True}).misses(scenario) == ""


@pytest.mark.parametrize(("second", "attempts"), [({}, 1), ({"prefill": True}, 2)], ids=["not known to", "refuses"])
def test_a_stream_that_no_fallback_continues_ends_with_an_error(second: dict[str, object], attempts: int, tmp_path: Path) -> None:
    scenario = replace(CUT, second=(replace(WHOLE, refuses_prefill=True),))
    outcome = run(scenario, tmp_path, "continue", second)
    assert (outcome.status, outcome.text, outcome.code) == (200, "One two three", "stream_broken")
    assert (outcome.requests, outcome.ledger_nanousd) == (attempts, outcome.unknown_nanousd)
