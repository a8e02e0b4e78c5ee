"""The table of failures: what each kind means for the same model, for the next and for every worker."""

import pytest

from call_box import failure
from paymaster.routing.failures import RULES, FailureKind, NextStep, Then, TryAgain, next_step, pause_ms


def step(
    kind: FailureKind, *, tried: int = 1, patience_ms: int = 10_000, retry_after_ms: int | None = None, lenient: bool = False
) -> NextStep:
    """The next step after a failure, with two retries and a backoff of 100 ms."""
    return next_step(
        failure(kind, retry_after_ms=retry_after_ms),
        tried=tried,
        retries=2,
        backoff_ms=100,
        patience_ms=patience_ms,
        next_on_content_policy=lenient,
    )


def test_every_kind_has_its_row() -> None:
    assert set(RULES) == set(FailureKind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailureKind.THROTTLED, TryAgain(100)),
        (FailureKind.QUOTA_EXHAUSTED, Then.NEXT),
        (FailureKind.OVERLOADED, TryAgain(100)),
        (FailureKind.TIMED_OUT, Then.NEXT),
        (FailureKind.CONTEXT_TOO_LONG, Then.NEXT_LARGER_CONTEXT),
        (FailureKind.CONTENT_POLICY, Then.GIVE_UP),
        (FailureKind.AUTHENTICATION, Then.NEXT),
        (FailureKind.BAD_REQUEST, Then.GIVE_UP),
    ],
)
def test_the_first_failure(kind: FailureKind, expected: NextStep) -> None:
    assert step(kind) == expected


def test_retries_end_and_a_wait_that_is_too_long_is_not_waited() -> None:
    assert step(FailureKind.SERVER_ERROR, tried=2) == TryAgain(100)
    assert step(FailureKind.SERVER_ERROR, tried=3) is Then.NEXT
    assert step(FailureKind.THROTTLED, retry_after_ms=4000) == TryAgain(4000)
    assert step(FailureKind.THROTTLED, retry_after_ms=4000, patience_ms=3000) is Then.NEXT
    assert step(FailureKind.CONTENT_POLICY, lenient=True) is Then.NEXT


def test_how_long_everybody_stays_off_a_model() -> None:
    assert pause_ms(failure(FailureKind.THROTTLED, retry_after_ms=7000), 100) == 7000
    assert pause_ms(failure(FailureKind.THROTTLED), 100) == 100
    assert pause_ms(failure(FailureKind.QUOTA_EXHAUSTED), 100) == 25_000
    assert pause_ms(failure(FailureKind.AUTHENTICATION, retry_after_ms=90_000), 100) == 90_000
    assert pause_ms(failure(FailureKind.SERVER_ERROR), 100) is None
