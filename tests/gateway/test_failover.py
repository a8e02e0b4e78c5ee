"""Twenty faults of a provider before a gateway with one fallback, held back: a whole answer or a right refusal, at the provider's bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from failover import SCENARIOS, Scenario, run

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
