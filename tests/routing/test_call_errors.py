"""The error of a call that no model served, in words."""

from dataclasses import replace

import pytest

from call_box import HELLO, Box, failure, model, per_run, price, registry
from paymaster.accounting.accounts import Balance, Charge, Refused, Shortfall
from paymaster.errors import BudgetExceeded, KeyMissing, LimitReached, NoModelAvailable, NoModelFits, PromptSize, RequestRefused
from paymaster.routing.call_errors import describe_limit, describe_wait, no_model_error
from paymaster.routing.failures import FailureKind
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause, Skipped


@pytest.mark.parametrize(
    ("reasons", "expected", "status"),
    [
        ([SkipCause.CAPABILITY, SkipCause.CONTEXT], NoModelFits, 2),
        ([SkipCause.CAPABILITY, SkipCause.KEY], KeyMissing, 2),
        ([SkipCause.UNPRICED], NoModelFits, 2),
        ([SkipCause.FAILED, SkipCause.BUDGET], NoModelAvailable, 1),
        ([SkipCause.WAIT], LimitReached, 1),
        ([SkipCause.WAIT, SkipCause.CAPABILITY], LimitReached, 1),
        ([SkipCause.WAIT, SkipCause.PAUSED], NoModelAvailable, 1),
        ([SkipCause.WAIT, SkipCause.FAILED], NoModelAvailable, 1),
    ],
)
def test_the_error_is_that_of_what_stood_in_the_way(reasons: list[SkipCause], expected: type[Exception], status: int) -> None:
    passed = [Skipped(f"m{place}", reason, "because") for place, reason in enumerate(reasons)]
    error = no_model_error(Request(messages=HELLO), passed, [], [])
    assert type(error) is expected
    assert error.exit_status == status
    assert "m0: because" in str(error)


def test_a_failure_that_was_attempted_is_said_once_beside_a_budget() -> None:
    chain = registry(
        model("a"), model("b", price=price("9000", "9000")), budgets=(per_run("0.05"),), hard_stop_on_budget=True, retries_per_model=0
    )
    box = Box(chain, {"a": [failure(FailureKind.SERVER_ERROR)]})
    with pytest.raises(BudgetExceeded) as caught:
        box.ask()
    assert str(caught.value).count("a: server error") == 1


REFUSED = Skipped("refused", SkipCause.FAILED, "bad request (HTTP 400): no", failure=FailureKind.BAD_REQUEST)
LONG = Skipped("long", SkipCause.FAILED, "too long", failure=FailureKind.CONTEXT_TOO_LONG, too_long=PromptSize(9, 5))
SMALL = Skipped("small", SkipCause.CONTEXT, "9 tokens do not fit")
BLIND = Skipped("blind", SkipCause.CAPABILITY, "no vision")
DOWN = Skipped("down", SkipCause.FAILED, "server error", failure=FailureKind.SERVER_ERROR)
PAUSED = Skipped("paused", SkipCause.PAUSED, "the provider asked to wait")


ASKED_TO_WAIT = replace(PAUSED, failure=FailureKind.THROTTLED)
FULL = Skipped("full", SkipCause.WAIT, "no room")


@pytest.mark.parametrize(
    ("skipped", "expected", "failed"),
    [
        ([ASKED_TO_WAIT], LimitReached, ""),
        ([ASKED_TO_WAIT, FULL, BLIND], LimitReached, ""),
        ([ASKED_TO_WAIT, PAUSED], NoModelAvailable, ""),
        ([ASKED_TO_WAIT, DOWN], NoModelAvailable, "server_error"),
        ([DOWN, ASKED_TO_WAIT], NoModelAvailable, "server_error"),
        ([PAUSED], NoModelAvailable, ""),
    ],
)
def test_a_provider_that_asked_to_wait_is_a_limit(skipped: list[Skipped], expected: type[NoModelAvailable], failed: str) -> None:
    error = no_model_error(Request(messages=HELLO), [replace(each, retry_in_ms=5_000) for each in skipped], [], [])
    assert type(error) is expected
    assert (error.failure, error.retry_after_ms) == (failed, 5_000)


@pytest.mark.parametrize(
    ("skipped", "expected", "too_long"),
    [
        ([REFUSED], RequestRefused, False),
        ([REFUSED, replace(REFUSED, model="other")], RequestRefused, False),
        ([BLIND, REFUSED], RequestRefused, False),
        ([LONG, REFUSED], NoModelAvailable, True),
        ([REFUSED, SMALL], NoModelAvailable, True),
        ([LONG, BLIND], NoModelAvailable, True),
        ([LONG, DOWN], NoModelAvailable, False),
        ([REFUSED, DOWN], NoModelAvailable, False),
        ([PAUSED, REFUSED], NoModelAvailable, False),
    ],
)
def test_a_call_is_refused_if_all_that_could_be_asked_refused_the_request(
    skipped: list[Skipped], expected: type[Exception], too_long: bool
) -> None:
    error = no_model_error(Request(messages=HELLO), skipped, [], [])
    assert type(error) is expected
    assert getattr(error, "too_long", False) is too_long
    assert all(each.model in str(error) for each in skipped)


def test_limits_are_described_by_their_kind() -> None:
    def short(account: str) -> Shortfall:
        return Shortfall(Charge(account, 1, 2, 60_000), Balance(settled=1, held=1), 5)

    assert describe_limit(short("pause/a")) == "the provider asked to wait"
    assert describe_limit(short("breaker/a")) == "circuit open after failures"
    assert describe_limit(short("requests/a")) == "requests/a: 2 of 2 used, 1 needed"
    assert "spent" in describe_limit(short("usd/run/r"))
    assert "not at the head of the queue" in describe_wait(None, 1000)
    assert "requests/a" in describe_wait(Refused("h", 0, (short("requests/a"),)), 1000)
    for until_ms, said in ((14_201, "14.2 s"), (3_600_001, "3,600.0 s")):
        paused = Refused("h", 1, (replace(short("pause/a"), retry_at_ms=until_ms),))
        assert describe_wait(paused, 1000) == f"the provider asked to wait, for {said} more"


def test_a_limit_that_was_found_out_is_described_in_calls() -> None:
    full = Shortfall(Charge("parallel/m", 1, 4, 0), Balance(settled=-6, held=10), None)
    assert describe_limit(full) == "10 calls under way, as many at once as the provider seems to take"
