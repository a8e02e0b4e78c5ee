"""The circuit breaker: every transition, what each writes, and what its accounts mean."""

import pytest

from call_box import failure
from paymaster.accounting.accounts import Balance, Change, Charge, Post, Refused, Shortfall, shortfalls
from paymaster.routing import breaker
from paymaster.routing.breaker import HALF_OPEN_MS, TRANSITIONS, CircuitEvent, State
from paymaster.routing.failures import OPERATOR_KINDS, RULES, FailureKind

OPEN = Balance(live=1, free_at=((5_000, 1),))
NOTHING = Balance()


def posts(state: State, event: CircuitEvent, *, pause_ms: int = 15_000, half_open_ms: int = 10) -> tuple[Post, ...]:
    """What the end of an attempt at `m` adds."""
    return breaker.posts("m", state, event, pause_ms=pause_ms, half_open_ms=half_open_ms, window_ms=30_000)


def test_every_admitted_state_has_a_row_for_every_signal() -> None:
    assert set(TRANSITIONS) == {(state, event) for state in (State.CLOSED, State.HALF_OPEN) for event in CircuitEvent}


@pytest.mark.parametrize(
    ("in_breaker", "in_probe", "state"),
    [
        (NOTHING, NOTHING, State.CLOSED),
        (NOTHING, Balance(held=1), State.HALF_OPEN),  # the period is over, and a probe that takes longer has not ended
        (OPEN, OPEN, State.OPEN),
        (OPEN, Balance(live=3, free_at=((5_000, 3),)), State.OPEN),  # three calls opened it in the same millisecond
        (OPEN, NOTHING, State.HALF_OPEN),
        (OPEN, Balance(held=1), State.HALF_OPEN),
    ],
)
def test_the_state_is_read_from_two_accounts(in_breaker: Balance, in_probe: Balance, state: State) -> None:
    assert breaker.state_of(in_breaker, in_probe) is state


@pytest.mark.parametrize(("state", "event"), sorted(TRANSITIONS))
def test_what_is_written_leads_to_the_state_of_the_table(state: State, event: CircuitEvent) -> None:
    """The table is data; this replays each row on balances and looks where they arrive."""
    balances = {"breaker/m": OPEN if state is State.HALF_OPEN else NOTHING, "probe/m": NOTHING}
    for account in breaker.clears("m", state, event, Balance(live=2), "3f"):
        balances[account] = NOTHING
    for post in posts(state, event):
        balances[post.account] = Balance(live=post.amount)
    assert breaker.state_of(balances["breaker/m"], balances["probe/m"]) is TRANSITIONS[state, event]


def test_an_ordinary_call_goes_through_a_closed_circuit_alone_and_a_probe_alone_through_a_half_open_one() -> None:
    ordinary, probe = breaker.admission_charges("m", as_probe=False), breaker.admission_charges("m", as_probe=True)
    assert not shortfalls(ordinary, (NOTHING, NOTHING, NOTHING))
    assert [short.charge.account for short in shortfalls(ordinary, (OPEN, NOTHING, NOTHING))] == ["breaker/m"]
    assert [short.charge.account for short in shortfalls(ordinary, (NOTHING, Balance(held=1), NOTHING))] == ["probe/m"]
    assert not shortfalls(probe, (NOTHING, NOTHING))
    assert [short.charge.account for short in shortfalls(probe, (Balance(held=1), NOTHING))] == ["probe/m"]  # one at a time
    assert [short.retry_at_ms for short in shortfalls(probe, (OPEN, NOTHING))] == [5_000]  # open


def test_no_cap_of_a_registry_and_no_amount_but_one_is_involved() -> None:
    assert {charge.cap for as_probe in (False, True) for charge in breaker.admission_charges("m", as_probe=as_probe)} == {0, 1, None}
    assert {post.amount for row in TRANSITIONS for post in posts(*row)} == {1}


def test_one_probe_at_a_time_for_as_long_as_a_call_may_take() -> None:
    slow = posts(State.CLOSED, CircuitEvent.LIMIT_REACHED, pause_ms=1_000, half_open_ms=400_000)
    quick = posts(State.CLOSED, CircuitEvent.LIMIT_REACHED, pause_ms=1_000, half_open_ms=10)
    assert [{post.account: post.for_ms for post in found} for found in (slow, quick)] == [
        {"probe/m": 1_000, "breaker/m": 401_000},
        {"probe/m": 1_000, "breaker/m": 1_000 + HALF_OPEN_MS},
    ]


@pytest.mark.parametrize(
    ("kind", "retry_after_ms", "adapts", "event"),
    [
        (FailureKind.SERVER_ERROR, None, False, CircuitEvent.FAILED),
        (FailureKind.CONTEXT_TOO_LONG, None, False, CircuitEvent.NOTHING),
        (FailureKind.CANCELLED, None, False, CircuitEvent.NOTHING),
        (FailureKind.QUOTA_EXHAUSTED, None, False, CircuitEvent.OPERATOR),
        (FailureKind.AUTHENTICATION, 5_000, False, CircuitEvent.OPERATOR),
        (FailureKind.THROTTLED, None, False, CircuitEvent.FAILED),
        (FailureKind.THROTTLED, 2_000, False, CircuitEvent.NOTHING),
        (FailureKind.THROTTLED, None, True, CircuitEvent.NOTHING),
        (FailureKind.THROTTLED, 0, False, CircuitEvent.FAILED),
        (FailureKind.THROTTLED, 10**12, False, CircuitEvent.FAILED),
        (FailureKind.THROTTLED, 3_600_000, False, CircuitEvent.NOTHING),
        (FailureKind.THROTTLED, 3_600_001, True, CircuitEvent.LONG_WAIT),
        (FailureKind.OVERLOADED, 7_200_000, False, CircuitEvent.FAILED),
    ],
)
def test_what_a_failure_says_about_the_model(kind: FailureKind, retry_after_ms: int | None, adapts: bool, event: CircuitEvent) -> None:
    found = breaker.event_of(failure(kind, retry_after_ms=retry_after_ms), adapts=adapts)
    assert found is event


def test_every_kind_of_failure_has_a_signal_and_an_answer_has_its_own() -> None:
    assert all(breaker.event_of(failure(kind), adapts=False) for kind in RULES)
    assert breaker.event_of(None, adapts=False) is CircuitEvent.ANSWERED


def test_an_answer_in_a_closed_circuit_clears_failures_alone_and_only_if_there_are_any() -> None:
    assert breaker.clears("m", State.CLOSED, CircuitEvent.ANSWERED, NOTHING, "3f") == ()
    assert breaker.clears("m", State.CLOSED, CircuitEvent.ANSWERED, Balance(live=2), "3f") == ("failures/m",)
    assert breaker.clears("m", State.HALF_OPEN, CircuitEvent.ANSWERED, NOTHING, "3f") == (
        "breaker/m",
        "probe/m",
        "failures/m",
        *(charge.account for charge in breaker.reason_charges("m", "3f")),
    )


@pytest.mark.parametrize(
    ("event", "cleared"),
    [(CircuitEvent.FAILED, 4), (CircuitEvent.LONG_WAIT, 4), (CircuitEvent.OPERATOR, 0), (CircuitEvent.NOTHING, 0)],
)
def test_a_probe_that_fails_for_another_reason_clears_what_an_operator_had_to_fix(event: CircuitEvent, cleared: int) -> None:
    found = breaker.clears("m", State.HALF_OPEN, event, Balance(live=2), "3f")
    assert found == tuple(charge.account for charge in breaker.reason_charges("m", "3f"))[:cleared]
    assert breaker.clears("m", State.CLOSED, event, Balance(live=2), "3f") == ()


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ((Change("failures/m", 4, 5),), True),
        ((Change("failures/m", 5, 6),), False),
        ((Change("failures/m", 0, 0), Change("failures/m", 4, 5)), True),  # the hold's own charge, then the post
        ((Change("failures/other", 4, 5),), False),
        ((), False),
    ],
)
def test_the_limit_is_reached_once(changes: tuple[Change, ...], reached: bool) -> None:
    assert breaker.reaches_limit("m", changes, 5) is reached


def refused(*accounts: str) -> Refused:
    """A refusal on these accounts."""
    return Refused("h", 0, tuple(Shortfall(Charge(account, 0, 0, 0), OPEN, 5_000) for account in accounts))


def test_a_refusal_by_the_circuit_differs_from_a_provider_that_asked_to_wait() -> None:
    assert breaker.refuses("m", refused("pause/m", "breaker/m"))
    assert breaker.refuses("m", refused("probe/m"))
    assert not breaker.refuses("m", refused("pause/m", "slots/m", "breaker/other"))
    assert breaker.describe("probe/m", Balance(held=1)) == "circuit half open after failures, and a probe is under way"
    assert breaker.describe("probe/m", OPEN) == breaker.describe("breaker/m", OPEN) == "circuit open after failures"


def test_a_circuit_stays_half_open_for_as_long_as_the_provider_asked() -> None:
    found = breaker.posts(
        "m", State.CLOSED, CircuitEvent.LONG_WAIT, pause_ms=3_600_000, half_open_ms=10, window_ms=30_000, asked_ms=10_000_000
    )
    assert {post.account: post.for_ms for post in found} == {"probe/m": 3_600_000, "breaker/m": 10_000_000}


@pytest.mark.parametrize(
    ("longest_ms", "pauses_ms"),
    [
        (15_000, [1_000, 1_250, 1_562, 1_952, 2_440, 3_050, 3_812, 4_765, 5_956, 7_445, 9_306, 11_632, 14_540, 15_000, 15_000]),
        (300, [300] * 15),
        (
            120_000,
            [7_500, 9_375, 11_718, 14_647, 18_308, 22_885, 28_606, 35_757, 44_696, 55_870, 69_837, 87_296, 109_120, 120_000, 120_000],
        ),
    ],
)
def test_the_pauses_of_an_outage_grow_up_to_the_longest(longest_ms: int, pauses_ms: list[int]) -> None:
    assert [breaker.outage_pause_ms(openings, longest_ms) for openings in range(15)] == pauses_ms


@pytest.mark.parametrize("longest_ms", [15_000, 120_000, 600_000])
def test_a_circuit_remembers_its_openings_for_as_long_as_its_pauses_grow(longest_ms: int) -> None:
    """Replayed on a clock: each entry of `breaker/m` counts until it ends, and the pause never becomes shorter."""
    now_ms, ends_ms, pauses_ms = 0, list[int](), list[int]()
    for _ in range(60):
        pause_ms = breaker.outage_pause_ms(sum(end_ms > now_ms for end_ms in ends_ms), longest_ms)
        found = breaker.posts(
            "m", State.HALF_OPEN, CircuitEvent.FAILED, pause_ms=pause_ms, half_open_ms=breaker.half_open_ms(10, longest_ms), window_ms=1
        )
        pauses_ms.append(pause_ms)
        ends_ms.extend(now_ms + (post.for_ms or 0) for post in found if post.account == "breaker/m")
        now_ms += pause_ms
    assert pauses_ms == sorted(pauses_ms)
    assert pauses_ms[-1] == longest_ms


@pytest.mark.parametrize("kind", OPERATOR_KINDS)
def test_a_refused_probe_says_what_an_operator_has_to_fix(kind: FailureKind) -> None:
    reason = breaker.Reason(kind, "3f")
    [_, _, *posted] = breaker.posts("m", State.CLOSED, CircuitEvent.OPERATOR, pause_ms=25_000, half_open_ms=10, window_ms=1, reason=reason)
    assert [post.account for post in posted] == list(reason.accounts("m"))
    live = Balance(live=1)

    def refusal(mark: str) -> Refused:
        asked = (breaker.admission_charges("m", as_probe=True)[0], *breaker.reason_charges("m", mark))
        short = [charge for charge in asked if charge.account in ("probe/m", *reason.accounts("m"))]
        return Refused("h", 10_000, tuple(Shortfall(charge, live, 10_000 + 21_000) for charge in short))

    assert breaker.operator_needed(refusal("3f")) == breaker.OperatorNeeded(kind, 4_000, 21_000)
    assert breaker.entries_of_others("m", refusal("3f")) == 0
    assert breaker.operator_needed(refusal("40")) is None
    assert breaker.entries_of_others("m", refusal("40")) == 1
    assert breaker.operator_needed(refused("probe/m", "breaker/m")) is None
    assert breaker.entries_of_others("m", refused("probe/m", "breaker/m")) == 0
    assert breaker.entries_of_others("m", refused(reason.accounts("m")[0])) == 0  # the pause is over, and the probe may go
