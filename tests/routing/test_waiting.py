"""Which model a call waits for, by when each is expected, and until when."""

from dataclasses import replace

import pytest

from call_box import HELLO, model, registry
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.routing.planning import plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.routing.waiting import Awaited, next_of_model, next_turn
from paymaster.scope import Scope

CANDIDATES = plan(Request(messages=HELLO), registry(*map(model, "abc")), Scope(run="r"), 0, TokenCounter()).candidates
NOW_MS, GIVE_UP_MS = 10_000, 60_000


def awaited(number: int, expected_at_ms: int, *, again: bool = True, backs_off: bool = False) -> Awaited:
    """A model that failed."""
    why = Skipped(CANDIDATES[number].model.name, SkipCause.FAILED, "down")
    return Awaited(
        candidate=CANDIDATES[number], order=number, why=why, expected_at_ms=expected_at_ms, again=again, backs_off=backs_off, outage=True
    )


@pytest.mark.parametrize(
    ("found", "model_name", "until_ms"),
    [
        ([awaited(0, 12_000)], "a", GIVE_UP_MS),
        ([awaited(0, 12_000), awaited(1, 11_000)], "b", 12_000),
        ([awaited(1, 12_000), awaited(0, 12_000)], "a", 12_000),  # the order of the chain
        ([awaited(1, 5_000), awaited(0, 9_000)], "a", NOW_MS),  # both may answer now
        ([awaited(0, 90_000), awaited(1, 50_000)], "b", GIVE_UP_MS),  # the first comes too late
        ([awaited(0, 90_000, again=False), awaited(1, 50_000)], "b", 90_000),
        ([awaited(0, 90_000, again=False)], "a", GIVE_UP_MS),  # asked in any case
        ([awaited(2, 11_000), awaited(0, 30_000), awaited(1, 20_000)], "c", 20_000),
    ],
)
def test_the_model_that_is_expected_first_is_waited_for(found: list[Awaited], model_name: str, until_ms: int) -> None:
    turn = next_turn(found, NOW_MS, GIVE_UP_MS, GIVE_UP_MS)
    assert turn is not None
    assert (turn.candidate.model.name, turn.until_ms, turn.has_fallback) == (model_name, min(until_ms, GIVE_UP_MS), False)


@pytest.mark.parametrize("found", [[], [awaited(0, GIVE_UP_MS + 1)], [awaited(0, 10**9), awaited(1, 10**9)]])
def test_nobody_is_waited_for_in_vain(found: list[Awaited]) -> None:
    assert next_turn(found, NOW_MS, GIVE_UP_MS, GIVE_UP_MS) is None


def test_a_backoff_is_slept_and_a_circuit_is_waited_for_in_the_queue() -> None:
    backing_off, queued = (
        next_turn([awaited(0, 12_000, backs_off=backs_off)], NOW_MS, GIVE_UP_MS, GIVE_UP_MS) for backs_off in (True, False)
    )
    assert backing_off is not None
    assert queued is not None
    assert (backing_off.not_before_ms, queued.not_before_ms) == (12_000, 0)


def test_a_model_that_fails_is_waited_for_until_the_outage_may_last_and_others_longer() -> None:
    limited = replace(awaited(1, 50_000), outage=False)
    turn = next_turn([awaited(0, 20_000), limited], NOW_MS, GIVE_UP_MS, 30_000)
    assert turn is not None
    assert (turn.candidate.model.name, turn.until_ms) == ("a", 30_000)
    turn = next_turn([awaited(0, 40_000), limited], NOW_MS, GIVE_UP_MS, 30_000)
    assert turn is not None
    assert (turn.candidate.model.name, turn.until_ms) == ("b", GIVE_UP_MS)
    assert next_turn([awaited(0, 40_000)], NOW_MS, GIVE_UP_MS, 30_000) is None


@pytest.mark.parametrize(
    ("found", "name", "until_ms"),
    [
        ([], None, 0),
        ([awaited(0, 70_000)], None, 0),
        ([awaited(0, 12_000)], "a", GIVE_UP_MS),
        ([awaited(0, 12_000), awaited(1, 11_000)], "b", 12_000),
        ([awaited(0, 5_000), awaited(1, 9_000)], "a", GIVE_UP_MS),  # both may answer now
    ],
)
def test_of_one_model_the_endpoint_that_is_expected_first_has_its_turn(found: list[Awaited], name: str | None, until_ms: int) -> None:
    turn = next_of_model(found, NOW_MS, GIVE_UP_MS)
    if name is None:
        assert turn is None
    else:
        assert turn is not None
        assert (turn.candidate.model.name, turn.until_ms, turn.has_fallback, turn.siblings) == (name, until_ms, True, True)
        assert turn.not_before_ms == 0
    [backing_off] = [next_of_model([awaited(0, 12_000, backs_off=True)], NOW_MS, GIVE_UP_MS)]
    assert backing_off is not None
    assert backing_off.not_before_ms == 12_000


def test_an_endpoint_is_not_left_for_another_tier_of_its_own() -> None:
    flex = awaited(0, 12_000)
    own, other = replace(flex, order=1, expected_at_ms=12_001), awaited(1, 13_000)
    turn = next_of_model([flex, own, other], NOW_MS, GIVE_UP_MS)
    assert turn is not None
    assert (turn.order, turn.until_ms) == (0, 13_000)
