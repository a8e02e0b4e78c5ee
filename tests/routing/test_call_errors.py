"""The error of a call that no model served, in words."""

from dataclasses import replace

import pytest

from call_box import HELLO
from paymaster.accounting.accounts import Balance, Charge, Refused, Shortfall
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import KeyMissing, LimitReached, NoModelAvailable, NoModelFits
from paymaster.routing.call_errors import describe_limit, describe_wait, no_model_error
from paymaster.routing.planning import SkipCause, Skipped
from paymaster.routing.requests import Request


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


def test_a_failure_that_was_attempted_is_said_once() -> None:
    record = AttemptRecord(
        call_id="c",
        attempt=1,
        at_ms=0,
        model="m",
        provider="openai",
        model_id="m-id",
        outcome="server_error",
        billed="none",
        cost_nanousd=0,
        held_nanousd=0,
        cost_source="not billed",
        run="r",
        message="no luck",
    )
    failed = [Skipped("m", SkipCause.FAILED, "server error: no luck"), Skipped("n", SkipCause.FAILED, "its circuit is open")]
    error = no_model_error(Request(messages=HELLO), failed, [], [record])
    assert str(error).count("no luck") == 1
    assert "n: its circuit is open" in str(error)


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
