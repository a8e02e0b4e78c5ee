"""The table of failures: what each kind means for the same model, for the next and for every worker."""

import pytest

from call_box import failure
from paymaster.routing.failures import (
    LEAST_WAIT_MS,
    LONGEST_WAIT_MS,
    PROBE_EVERY_MS,
    RULES,
    Billed,
    FailureKind,
    NextStep,
    Then,
    TryAgain,
    asks_for_long,
    counts_as_attempt,
    leaves_time,
    may_cost,
    needs_operator,
    next_step,
    pause_ms,
    wait_ms,
    waits_out,
)


def step(
    kind: FailureKind,
    *,
    tried: int = 1,
    patience_ms: int = 10_000,
    retry_after_ms: int | None = None,
    lenient: bool = False,
    is_fallback: bool = False,
    elsewhere: bool = False,
) -> NextStep:
    """The next step after a failure, with two retries and a backoff of 100 ms."""
    return next_step(
        failure(kind, retry_after_ms=retry_after_ms, elsewhere=elsewhere),
        tried=tried,
        retries=2,
        backoff_ms=100,
        patience_ms=patience_ms,
        next_on_content_policy=lenient,
        is_fallback=is_fallback,
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


def test_a_bad_request_goes_on_from_a_fallback_or_if_nothing_of_it_is_wrong_for_others() -> None:
    assert step(FailureKind.BAD_REQUEST) is Then.GIVE_UP
    assert step(FailureKind.BAD_REQUEST, is_fallback=True) is Then.NEXT
    assert step(FailureKind.BAD_REQUEST, elsewhere=True) is Then.NEXT
    assert step(FailureKind.CONTENT_POLICY, is_fallback=True) is Then.GIVE_UP
    assert step(FailureKind.SERVER_ERROR, is_fallback=True, tried=3) is Then.NEXT


def test_how_long_everybody_stays_off_a_model() -> None:
    assert pause_ms(failure(FailureKind.THROTTLED, retry_after_ms=7000), 100) == 7000
    assert pause_ms(failure(FailureKind.THROTTLED), 100) == 100
    assert pause_ms(failure(FailureKind.QUOTA_EXHAUSTED), 100) == 25_000
    assert pause_ms(failure(FailureKind.AUTHENTICATION, retry_after_ms=90_000), 100) == 90_000
    assert pause_ms(failure(FailureKind.SERVER_ERROR), 100) is None


BACKOFF_MS = 8_000


@pytest.mark.parametrize(
    ("retry_after_ms", "waits_ms", "paused_ms", "counts", "long"),
    [
        (None, BACKOFF_MS, BACKOFF_MS, True, False),
        (0, BACKOFF_MS, BACKOFF_MS, True, False),
        (-5_000, BACKOFF_MS, BACKOFF_MS, True, False),
        (1, LEAST_WAIT_MS, LEAST_WAIT_MS, False, False),
        (999, LEAST_WAIT_MS, LEAST_WAIT_MS, False, False),
        (2_000, 2_000, 2_000, False, False),
        (PROBE_EVERY_MS, PROBE_EVERY_MS, PROBE_EVERY_MS, False, False),
        (PROBE_EVERY_MS + 1, PROBE_EVERY_MS + 1, PROBE_EVERY_MS, False, True),
        (LONGEST_WAIT_MS, LONGEST_WAIT_MS, PROBE_EVERY_MS, False, True),
        (LONGEST_WAIT_MS + 1, BACKOFF_MS, BACKOFF_MS, True, False),
        (10**30, BACKOFF_MS, BACKOFF_MS, True, False),
    ],
)
def test_what_a_throttled_attempt_waits_by_what_the_provider_asked(
    retry_after_ms: int | None, waits_ms: int, paused_ms: int, counts: bool, long: bool
) -> None:
    throttled = failure(FailureKind.THROTTLED, retry_after_ms=retry_after_ms)
    assert wait_ms(throttled, BACKOFF_MS) == waits_ms
    assert pause_ms(throttled, BACKOFF_MS) == paused_ms
    assert counts_as_attempt(throttled) is counts
    assert asks_for_long(throttled) is long


def test_a_short_backoff_is_not_raised() -> None:
    assert wait_ms(failure(FailureKind.THROTTLED, retry_after_ms=1), 100) == 100
    assert wait_ms(failure(FailureKind.THROTTLED, retry_after_ms=400), 100) == 400


def test_a_hold_that_went_stale_is_taken_anew_at_once() -> None:
    assert step(FailureKind.STALE_HOLD) == TryAgain(0)
    assert counts_as_attempt(failure(FailureKind.STALE_HOLD))


def test_no_pause_lasts_longer_than_until_the_next_probe() -> None:
    for kind in RULES:
        found = pause_ms(failure(kind, retry_after_ms=LONGEST_WAIT_MS), 100)
        assert found is None or found == PROBE_EVERY_MS


@pytest.mark.parametrize(
    ("kind", "billed", "retry_after_ms", "costly_left", "waits"),
    [
        (FailureKind.OVERLOADED, Billed.NO, None, 0, True),
        (FailureKind.SERVER_ERROR, Billed.NO, None, 0, True),
        (FailureKind.SERVER_ERROR, Billed.MAYBE, None, 1, True),
        (FailureKind.SERVER_ERROR, Billed.MAYBE, None, 0, False),
        (FailureKind.CONNECTION_REFUSED, Billed.NO, None, 0, True),
        (FailureKind.CONNECTION_LOST, Billed.MAYBE, None, 0, False),
        (FailureKind.THROTTLED, Billed.NO, None, 0, True),
        (FailureKind.TIMED_OUT, Billed.NO, None, 0, True),  # no connection within the time limit
        (FailureKind.TIMED_OUT, Billed.MAYBE, None, 9, True),
        (FailureKind.TIMED_OUT, Billed.MAYBE, None, 0, False),
        (FailureKind.UNUSABLE_ANSWER, Billed.YES, None, 9, False),
        (FailureKind.QUOTA_EXHAUSTED, Billed.NO, None, 9, False),
        (FailureKind.QUOTA_EXHAUSTED, Billed.NO, 30_000, 0, True),
        (FailureKind.AUTHENTICATION, Billed.NO, 30_000, 9, False),
        (FailureKind.CONTEXT_TOO_LONG, Billed.NO, None, 9, False),
    ],
)
def test_which_failures_are_waited_out(
    kind: FailureKind, billed: Billed, retry_after_ms: int | None, costly_left: int, waits: bool
) -> None:
    found = failure(kind, billed, retry_after_ms=retry_after_ms)
    assert waits_out(found, costly=may_cost(found, is_free=False), costly_left=costly_left) is waits


@pytest.mark.parametrize(
    ("kind", "costly", "left_ms", "leaves"),
    [
        (FailureKind.TIMED_OUT, True, 300_000, True),
        (FailureKind.TIMED_OUT, True, 299_999, False),
        (FailureKind.TIMED_OUT, True, 12, False),
        (FailureKind.TIMED_OUT, False, 12, True),
        (FailureKind.SERVER_ERROR, True, 12, True),
    ],
)
def test_an_attempt_that_timed_out_is_not_repeated_in_a_fraction_of_its_time(
    kind: FailureKind, costly: bool, left_ms: int, leaves: bool
) -> None:
    assert leaves_time(failure(kind, Billed.MAYBE), costly=costly, took_ms=600_000, left_ms=left_ms) is leaves


def test_an_attempt_costs_nothing_if_it_was_not_billed_or_the_model_is_free() -> None:
    assert may_cost(failure(FailureKind.SERVER_ERROR, Billed.MAYBE), is_free=False)
    assert not may_cost(failure(FailureKind.SERVER_ERROR, Billed.MAYBE), is_free=True)
    assert not may_cost(failure(FailureKind.OVERLOADED, Billed.NO), is_free=False)


def test_a_quota_that_comes_back_by_itself_needs_no_operator() -> None:
    assert needs_operator(failure(FailureKind.QUOTA_EXHAUSTED))
    assert not needs_operator(failure(FailureKind.QUOTA_EXHAUSTED, retry_after_ms=60_000))
    assert needs_operator(failure(FailureKind.PERMISSION, retry_after_ms=60_000))
    assert not needs_operator(failure(FailureKind.OVERLOADED))
