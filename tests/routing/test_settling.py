"""What the end of an attempt writes into the books: exact where it is known, the hold where it is not, nothing where nothing was billed."""

from dataclasses import replace

import pytest

from call_box import HELLO, failure, model, per_run, registry
from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Refused, Shortfall
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.registry.models import Limits, Model, Policy, Timeouts
from paymaster.routing.charges import ASKED_FOR_TIME, OUT_OF_SERVICE, ChargeKind, is_out_of_service
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.settling import (
    HALF_OPEN_MS,
    Attempt,
    Ended,
    actual_amounts,
    attempt_record,
    bill,
    counts_against,
    lost_record,
    opening_posts,
    settlement,
    was_half_open,
)
from paymaster.scope import Scope


def candidate(entry: Model) -> Candidate:
    """What the plan makes of a model."""
    return plan(Request(messages=HELLO), registry(entry, budgets=(per_run("5"),)), Scope(run="r"), 0, TokenCounter()).candidates[0]


def attempt(entry: Model) -> Attempt:
    """An attempt at a model."""
    hold = Hold("h", (Charge(f"slots/{entry.name}", 1, 4, 0),), 1000)
    return Attempt(call_id="c", number=1, at_ms=0, scope=Scope(run="r"), candidate=candidate(entry), kinds=(ChargeKind.SLOT,), hold=hold)


@pytest.mark.parametrize(
    ("account", "amounts", "is_out"),
    [
        ("pause/a", (ASKED_FOR_TIME,), False),
        ("pause/a", (64 * ASKED_FOR_TIME, ASKED_FOR_TIME), False),  # of 64 callers who were told so in the same millisecond
        ("pause/a", (ASKED_FOR_TIME, OUT_OF_SERVICE), True),
        ("pause/a", (3 * OUT_OF_SERVICE,), True),
        ("slots/a", (OUT_OF_SERVICE,), False),
    ],
)
def test_a_model_is_out_of_service_when_it_fails_and_not_when_it_asked_for_time(
    account: str, amounts: tuple[int, ...], is_out: bool
) -> None:
    leaving = tuple((place, amount) for place, amount in enumerate(amounts))
    short = Shortfall(Charge(account, 0, 0, 0), Balance(live=sum(amounts), free_at=leaving), len(amounts))
    assert is_out_of_service("a", Refused("h", 0, (short,))) is is_out


@pytest.mark.parametrize(
    ("kind", "retry_after_ms", "others", "adapts", "counts"),
    [
        (FailureKind.SERVER_ERROR, None, False, False, True),
        (FailureKind.CONTEXT_TOO_LONG, None, True, False, False),
        (FailureKind.THROTTLED, None, True, False, True),
        (FailureKind.THROTTLED, 2000, True, False, False),
        (FailureKind.THROTTLED, None, False, False, False),
        (FailureKind.THROTTLED, None, True, True, False),
    ],
)
def test_what_counts_towards_opening_the_breaker(
    kind: FailureKind, retry_after_ms: int | None, others: bool, adapts: bool, counts: bool
) -> None:
    tried = replace(attempt(model("a", limits=Limits(adapts=adapts))), others=others)
    assert counts_against(tried, failure(kind, retry_after_ms=retry_after_ms)) is counts


USED = Usage(input_tokens=10, output_tokens=5, cache_read_tokens=3)
ALL = (
    ChargeKind.MONEY,
    ChargeKind.REQUESTS,
    ChargeKind.TOKENS,
    ChargeKind.INPUT_TOKENS,
    ChargeKind.OUTPUT_TOKENS,
    ChargeKind.SLOT,
    ChargeKind.PAUSE,
    ChargeKind.FAILURES,
)
HELD = tuple(Charge(meaning.value, 100, 1000, None) for meaning in ALL)


@pytest.mark.parametrize(
    ("usage", "failed", "amounts"),
    [
        (USED, None, (7, 100, 18, 13, 5, 0, 0, 0)),
        (None, None, (7, 100, 100, 100, 100, 0, 0, 0)),
        (None, failure(FailureKind.THROTTLED), (7, 100, 0, 0, 0, 0, 0, 0)),
        (None, failure(FailureKind.CONNECTION_REFUSED), (7, 0, 0, 0, 0, 0, 0, 0)),
        (USED, failure(FailureKind.UNUSABLE_ANSWER, Billed.YES), (7, 100, 18, 13, 5, 0, 0, 0)),
    ],
)
def test_the_actual_amounts(usage: Usage | None, failed: Failure | None, amounts: tuple[int, ...]) -> None:
    assert actual_amounts(ALL, HELD, Ended(usage=usage, failure=failed), 7) == amounts


def test_bills() -> None:
    priced, free_of_price = candidate(model("a")), candidate(model("b", price=None))
    assert bill(priced, Ended(usage=USED)).billed == "exact"
    assert bill(priced, Ended(usage=UnknownUsage("missing_usage", ""))).cost_nanousd == priced.held_nanousd
    assert bill(priced, Ended(usage=None, failure=failure(FailureKind.THROTTLED))).cost_nanousd == 0
    assert bill(priced, Ended(usage=Usage(input_tokens=1, service_tier="priority"))).billed == "assumed"
    assert bill(free_of_price, Ended(usage=USED)).billed == "unpriced"
    assert bill(free_of_price, Ended(usage=None)).billed == "unpriced"


def test_a_lost_hold_is_recorded_at_its_full_amount() -> None:
    record = lost_record(attempt(model("a")))
    assert (record.outcome, record.billed) == ("lost", "assumed")
    assert record.cost_nanousd == record.held_nanousd > 0
    assert lost_record(attempt(model("b", price=None))).billed == "unpriced"


def test_a_half_open_breaker_leaves_one_slot() -> None:
    posts = opening_posts(attempt(model("a", limits=Limits(max_parallel=4))), Policy())
    assert [(post.account, post.amount) for post in posts] == [("pause/a", OUT_OF_SERVICE), ("slots/a", 3)]
    single = opening_posts(attempt(model("a", limits=Limits(max_parallel=1))), Policy())
    assert [post.account for post in single] == ["pause/a"]
    half = Held("h", 0, 1, (Balance(live=3, held=1),))
    assert was_half_open(attempt(model("a")), half)
    assert not was_half_open(attempt(model("a")), Held("h", 0, 1, (Balance(held=1),)))


@pytest.mark.parametrize(
    ("held", "kind", "opened", "cleared"),
    [
        (Balance(live=3, held=1), FailureKind.SERVER_ERROR, ["pause/a", "slots/a"], ("slots/a",)),
        (Balance(held=1), FailureKind.SERVER_ERROR, [], ()),  # no probe: whether the breaker opens only the count of failures tells
        (Balance(live=3, held=1), FailureKind.CANCELLED, [], ()),  # says nothing of the provider
    ],
)
def test_a_probe_that_fails_opens_the_breaker_in_the_step_that_frees_its_slot(
    held: Balance, kind: FailureKind, opened: list[str], cleared: tuple[str, ...]
) -> None:
    """In two steps another process's call could slip in between them, and would be a second probe at once."""
    ended = Ended(usage=None, failure=failure(kind))
    probe = attempt(model("a", limits=Limits(max_parallel=4)))
    written = settlement(probe, ended, bill(probe.candidate, ended), lost_record(probe), Held("h", 0, 1, (held,)), Policy())
    assert [post.account for post in written.posts if post.account != "failures/a"] == opened
    assert written.clears == cleared


def test_one_probe_at_a_time_lasts_as_long_as_a_call_may_take() -> None:
    slow = opening_posts(attempt(model("a", timeouts=Timeouts(total_ms=400_000))), Policy(breaker_pause_ms=1_000))
    quick = opening_posts(attempt(model("a", timeouts=Timeouts(total_ms=10))), Policy(breaker_pause_ms=1_000))
    assert [posts[1].for_ms for posts in (slow, quick)] == [401_000, 1_000 + HALF_OPEN_MS]


def test_what_somebody_has_to_mend_is_tried_by_one_call_after_its_pause() -> None:
    tried, ended = attempt(model("a", limits=Limits(max_parallel=4))), Ended(usage=None, failure=failure(FailureKind.QUOTA_EXHAUSTED))
    charged = bill(tried.candidate, ended)
    held = Held("h", 0, 1, (Balance(held=1),))
    written = settlement(tried, ended, charged, attempt_record(tried, ended, charged), held, Policy())
    assert [(post.account, post.amount) for post in written.posts] == [("pause/a", OUT_OF_SERVICE), ("slots/a", 3)]
    assert written.clears == ("slots/a",)  # so that two calls that fail do not keep back more slots than there are
