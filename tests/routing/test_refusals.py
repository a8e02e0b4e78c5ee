"""What a person is told when no model served."""

from dataclasses import replace

import pytest

from flow import HELLO
from paymaster.accounting.accounts import Balance, Charge, Refused, Shortfall
from paymaster.errors import KeyMissing, LimitReached, NoModelAvailable, NoModelFits
from paymaster.routing.planning import Against, PassedOver
from paymaster.routing.refusals import describe_limit, describe_wait, no_model_error
from paymaster.routing.requests import Request


@pytest.mark.parametrize(
    ("reasons", "expected", "status"),
    [
        ([Against.CAPABILITY, Against.CONTEXT], NoModelFits, 2),
        ([Against.CAPABILITY, Against.KEY], KeyMissing, 2),
        ([Against.UNPRICED], NoModelFits, 2),
        ([Against.FAILED, Against.BUDGET], NoModelAvailable, 1),
        ([Against.WAIT], LimitReached, 1),
        ([Against.WAIT, Against.CAPABILITY], LimitReached, 1),
        ([Against.WAIT, Against.PAUSED], NoModelAvailable, 1),
        ([Against.WAIT, Against.FAILED], NoModelAvailable, 1),
    ],
)
def test_the_error_is_that_of_what_stood_in_the_way(reasons: list[Against], expected: type[Exception], status: int) -> None:
    passed = [PassedOver(f"m{place}", reason, "because") for place, reason in enumerate(reasons)]
    error = no_model_error(Request(messages=HELLO), passed, [], [])
    assert type(error) is expected
    assert error.exit_status == status
    assert "m0: because" in str(error)


def test_limits_are_described_by_their_kind() -> None:
    def short(account: str) -> Shortfall:
        return Shortfall(Charge(account, 1, 2, 60_000), Balance(settled=1, held=1), 5)

    assert describe_limit(short("pause/a")) == "paused after failures"
    assert describe_limit(short("requests/a")) == "requests/a: 2 of 2 used, 1 needed"
    assert "spent" in describe_limit(short("usd/run/r"))
    assert "others waited before" in describe_wait(None, 1000)
    assert "requests/a" in describe_wait(Refused("h", 0, (short("requests/a"),)), 1000)
    for until_ms, said in ((14_201, "14.2 s"), (3_600_001, "3,600.0 s")):
        paused = Refused("h", 1, (replace(short("pause/a"), retry_at_ms=until_ms),))
        assert describe_wait(paused, 1000) == f"paused after failures, for {said} more"


def test_a_limit_that_was_found_out_is_said_in_calls() -> None:
    full = Shortfall(Charge("parallel/m", 1, 4, 0), Balance(settled=-6, held=10), None)
    assert describe_limit(full) == "10 calls at once under way, as many as the provider seems to take"
