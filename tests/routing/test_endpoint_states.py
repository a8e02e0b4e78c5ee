"""What balances say about an endpoint, and what an attempt adds to its speed."""

from collections.abc import Mapping

import pytest

from call_box import failure, spread
from paymaster.accounting.accounts import Balance, Post
from paymaster.registry.models import Balancing, Limits, Model
from paymaster.routing.endpoint_states import (
    REMEMBERED_MS,
    EndpointState,
    Sample,
    accounts_read,
    sample_of,
    sample_posts,
    state_of,
)
from paymaster.routing.failures import FailureKind

NOW_MS = 10_000
ASKED = "the provider asked to wait"


def place(**settings: object) -> Model:
    """One endpoint, whose accounts have the subject `m:a`."""
    return spread("m", "a", **settings).places[0]


@pytest.mark.parametrize(
    ("balances", "expected"),
    [
        ({}, EndpointState()),
        ({"slots/m:a": Balance(held=3), "failures/m:a": Balance(live=2)}, EndpointState(open_calls=3, failures=2)),
        (
            {"pause/m:a": Balance(live=1, free_at=((12_000, 1), (15_000, 1)))},
            EndpointState(until_ms=15_000, why=ASKED, has_queue=True),
        ),
        ({"pause/m:a": Balance(live=1)}, EndpointState(until_ms=11_000, why=ASKED, has_queue=True)),
        (
            {"pause/m:a": Balance(live=1, free_at=((12_000, 1),)), "probe/m:a": Balance(live=1)},
            EndpointState(until_ms=12_000, why=ASKED),
        ),
        ({"probe/m:a": Balance(live=1, free_at=((14_000, 1),))}, EndpointState(until_ms=14_000, why="circuit open after failures")),
        ({"breaker/m:a": Balance(live=1)}, EndpointState()),  # half open: one call finds out
        ({"breaker/m:a": Balance(live=1), "probe/m:a": Balance(held=1)}, EndpointState(until_ms=11_000, why="a probe is under way")),
    ],
)
def test_balances_make_a_state(balances: Mapping[str, Balance], expected: EndpointState) -> None:
    assert state_of(place(), balances, NOW_MS) == expected


@pytest.mark.parametrize(
    ("balances", "used_percent", "until_ms", "why"),
    [
        ({"requests/m:a": Balance(live=3, held=1)}, 40, 0, ""),
        ({"requests/m:a": Balance(live=3), "tokens/m:a": Balance(held=900)}, 90, 0, ""),
        ({"requests/m:a": Balance(live=10, free_at=((11_500, 1), (13_000, 9)))}, 100, 11_500, "requests used up"),
        ({"requests/m:a": Balance(live=10)}, 100, 11_000, "requests used up"),
        (
            {"requests/m:a": Balance(live=10), "pause/m:a": Balance(live=1, free_at=((30_000, 1),))},
            100,
            30_000,
            ASKED,
        ),
    ],
)
def test_a_used_up_limit_keeps_calls_off_until_there_is_room(
    balances: Mapping[str, Balance], used_percent: int, until_ms: int, why: str
) -> None:
    state = state_of(place(limits=Limits(rpm=10, tpm=1_000, max_parallel=7)), balances, NOW_MS)
    assert state == EndpointState(max_parallel=7, used_percent=used_percent, until_ms=until_ms, why=why, has_queue=bool(why))
    assert state.unavailable(NOW_MS) == ""


def test_the_speed_is_a_mean_with_the_time_for_failures_in_it() -> None:
    balances = {
        "stream-starts-ms/m:a": Balance(live=800),
        "stream-starts/m:a": Balance(live=4),
        "answers-ms/m:a": Balance(live=6_000),
        "answers/m:a": Balance(live=2),
        "errors/m:a": Balance(live=2),
    }
    state = state_of(place(), balances, NOW_MS)
    assert (state.first_token_ms, state.answer_ms) == (300, 6_000)


def test_accounts_are_read_as_far_as_they_matter() -> None:
    kinds = [account.partition("/")[0] for account in accounts_read(place(limits=Limits(rpm=1)))]
    assert kinds == ["pause", "breaker", "probe", "failures", "slots", "requests"]
    fastest = [account.partition("/")[0] for account in accounts_read(place(balance=Balancing.FASTEST))]
    assert fastest[5:] == ["stream-starts-ms", "stream-starts", "answers-ms", "answers", "errors"]


@pytest.mark.parametrize(
    ("kind", "first_token_ms", "expected"),
    [
        (None, 120, Sample(first_token_ms=120, first_tokens=1)),
        (None, None, Sample(answer_ms=700, answers=1)),
        (FailureKind.SERVER_ERROR, None, Sample(errors=1)),
        (FailureKind.THROTTLED, None, Sample(errors=1)),
        (FailureKind.BAD_REQUEST, None, Sample()),
        (FailureKind.AUTHENTICATION, None, Sample()),
        (FailureKind.CANCELLED, None, Sample()),
    ],
)
def test_what_lies_with_the_endpoint_is_measured(kind: FailureKind | None, first_token_ms: int | None, expected: Sample) -> None:
    assert sample_of(None if kind is None else failure(kind), 700, first_token_ms) == expected


def test_samples_are_added_up_and_posted_for_some_minutes() -> None:
    both = Sample(answer_ms=700, answers=1).plus(Sample(answer_ms=300, answers=1, errors=2))
    assert both == Sample(answer_ms=1_000, answers=2, errors=2)
    assert sample_posts(place(), both) == (
        Post("answers-ms/m:a", 1_000, REMEMBERED_MS),
        Post("answers/m:a", 2, REMEMBERED_MS),
        Post("errors/m:a", 2, REMEMBERED_MS),
    )
