"""Tiers of service: which are tried in turn, what a failure of one is about, and how long it is paused; no ledger and no call."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from call_box import HELLO, failure, model, price, registry
from paymaster.accounting.accounts import Balance, Charge, Refused, Shortfall
from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import Rates, RateTable
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.accounting.usage.record import Usage
from paymaster.errors import RequestInvalid
from paymaster.registry.models import Model, Timeouts
from paymaster.routing.failures import PROBE_EVERY_MS, Failure, FailureKind
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause
from paymaster.routing.tiers import (
    FIRST_PAUSE_MS,
    LONGEST_PAUSE_MS,
    account_tier,
    asks_probe,
    blames_tier,
    describe,
    goes_on,
    in_tiers,
    leaves_tier,
    read_tiers,
    saved_nanousd,
    tier_accounts,
    tier_charges,
    tier_clears,
    tier_posts,
    without_count,
)
from paymaster.scope import Scope

AT = datetime(2026, 11, 30, tzinfo=UTC)


def with_tiers(*names: str, usd: Price | None = None) -> Price:
    """A price with half of it at each of these tiers."""
    half = RateTable.of(Rates(input=Decimal("0.5"), output=Decimal(5)), ())
    return replace(usd or price(), modes=tuple((name, half) for name in names))


def tiered(*tiers: str, **settings: object) -> Model:
    return model("gpt", tiers=tiers, price=with_tiers("flex", "priority"), **settings)


def candidates(of: Model, **params: object) -> tuple[Candidate, ...]:
    tiers, rest = read_tiers(params)
    return plan(Request(messages=HELLO, params=rest, tiers=tiers), registry(of), Scope(run="r"), 0, TokenCounter()).candidates


def at(of: Model, tier: str) -> Candidate:
    return next(each for each in candidates(of) if each.terms.service_tier == tier)


@pytest.mark.parametrize(
    ("of", "params", "sent"),
    [
        (tiered("flex", "default"), {}, ["flex", "default"]),
        (tiered("flex", "priority", "default"), {}, ["flex", "priority", "default"]),
        (tiered("flex"), {}, ["flex"]),
        (tiered(), {}, [None]),
        (tiered(params={"service_tier": "flex"}), {}, ["flex"]),
        (tiered("flex", "default"), {"service_tier": "priority"}, ["priority"]),  # the caller's own wins
        (tiered("flex", "default"), {"service_tier": None}, ["flex", "default"]),  # as clients write it that name none
        (tiered("flex", "default"), {"extra_body": {"service_tier": "default"}}, ["default"]),
        (tiered(params={"service_tier": "default"}), {"service_tier": ["flex", "default", "flex"]}, ["flex", "default"]),
        (tiered(), {"extra_body": {"service_tier": ("flex", "default")}}, ["flex", "default"]),
        (tiered("flex", "default", standard_tier="on_demand"), {}, ["flex", "on_demand"]),
        (tiered("flex", "auto", standard_tier="on_demand"), {}, ["flex", "auto"]),
        (tiered("flex", "default", unsupported_params=frozenset({"service_tier"})), {}, [None]),
    ],
)
def test_the_tiers_of_a_request(of: Model, params: dict[str, object], sent: list[str | None]) -> None:
    found = candidates(of, **params)
    assert [each.translation.params.get("service_tier") for each in found] == sent
    assert [each.left_tier for each in found[-1:]] == [""]
    assert [each.place for each in found] == [*(f"gpt ({tier})" for tier in sent[:-1]), "gpt"]


@pytest.mark.parametrize("value", [[], ["flex", 7], ["flex", " "], [["flex"]]])
def test_a_list_that_names_no_tiers_is_refused(value: object) -> None:
    with pytest.raises(RequestInvalid, match="service_tier must be a tier, or a list of tiers"):
        read_tiers({"service_tier": value})


def test_each_tier_is_held_at_the_dearer_of_its_price_and_list_price() -> None:
    flex, standard = candidates(tiered("flex", "default"))
    assert flex.held_nanousd == standard.held_nanousd
    dear = replace(with_tiers("flex"), modes=(("priority", price("2", "20").table),))
    urgent, standard = candidates(model("gpt", tiers=("priority", "default"), price=dear))
    assert urgent.held_nanousd == 2 * standard.held_nanousd


def test_a_tier_whose_price_is_unknown_is_skipped_and_the_next_one_serves() -> None:
    planned = plan(Request(messages=HELLO), registry(tiered("turbo", "default")), Scope(run="r"), 0, TokenCounter())
    assert [each.terms.service_tier for each in planned.candidates] == ["default"]
    (skipped,) = planned.skipped
    assert (skipped.place, skipped.cause) == ("gpt (turbo)", SkipCause.PARAMETER)
    assert "the price of 'turbo' is unknown" in skipped.detail


def test_what_keeps_a_request_from_every_tier_is_said_once() -> None:
    request = Request(messages=HELLO, tools=({"type": "function", "function": {"name": "f"}},))
    planned = plan(request, registry(tiered("flex", "default", capabilities=frozenset())), Scope(run="r"), 0, TokenCounter())
    assert [each.place for each in planned.skipped] == ["gpt"]


def test_flex_has_time_limits_of_its_own_however_it_is_asked_for() -> None:
    slow = Timeouts(first_token_ms=300_000)
    of = tiered("flex", "default", flex_timeouts=slow)
    assert [each.model.timeouts for each in candidates(of)] == [slow, Timeouts()]
    (asked,) = candidates(replace(of, tiers=()), service_tier="flex")
    assert asked.model.timeouts == slow
    assert [each.timeouts for each in in_tiers(replace(of, tiers=(), params={"service_tier": "flex"}), Request(messages=HELLO))] == [slow]


@pytest.mark.parametrize(
    ("word", "tier"),
    [
        (None, ""),
        ("default", ""),
        ("auto", ""),
        ("standard_only", ""),
        ("flex", "flex"),
        (" Flex ", "flex"),
        ("priority", "priority"),
        ("turbo", ""),  # a client may send any word, and names of accounts must stay few
        ("own-tier", "own-tier"),
        ("own tier", ""),
        ("x" * 50, ""),
    ],
)
def test_under_which_tier_a_request_is_counted(word: str | None, tier: str) -> None:
    assert account_tier(word, with_tiers("own-tier", "own tier", "x" * 50)) == tier
    assert account_tier(word, None) == (tier if tier in ("", "flex", "priority") else "")


THROTTLED, OVERLOADED, ERROR = FailureKind.THROTTLED, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR
BAD, REFUSED, QUOTA = FailureKind.BAD_REQUEST, FailureKind.CONNECTION_REFUSED, FailureKind.QUOTA_EXHAUSTED


def said(kind: FailureKind, message: str) -> Failure:
    return replace(failure(kind), message=message)


@pytest.mark.parametrize(
    ("tier", "ended", "blames", "leaves"),
    [
        ("flex", failure(THROTTLED), True, True),
        ("flex", failure(OVERLOADED), True, True),
        ("flex", failure(ERROR), True, True),
        ("flex", failure(FailureKind.TIMED_OUT), True, True),
        ("flex", failure(REFUSED), False, True),  # the server can't be reached: the model's circuit counts it
        ("flex", failure(FailureKind.CONNECTION_LOST), False, True),
        ("flex", failure(FailureKind.UNUSABLE_ANSWER), False, True),
        ("flex", failure(QUOTA), False, True),
        ("flex", failure(FailureKind.AUTHENTICATION), False, True),
        ("flex", failure(FailureKind.STALE_HOLD), False, False),
        ("flex", failure(BAD), False, False),
        ("flex", failure(FailureKind.CONTENT_POLICY), False, False),
        ("flex", failure(FailureKind.CONTEXT_TOO_LONG), False, False),
        ("flex", failure(FailureKind.CANCELLED), False, False),
        ("flex", said(BAD, "Flex API is not supported for model gemini-2"), True, True),
        ("flex", said(BAD, "Invalid service_tier argument"), True, True),
        ("flex", said(FailureKind.PERMISSION, "Your project may not use flex processing."), True, True),
        ("flex", said(BAD, "'flexible' is not a valid schema"), False, False),
        ("flex", said(ERROR, "service_tier"), True, True),
        ("default", failure(THROTTLED), False, False),
        ("default", failure(ERROR), False, False),
        ("default", said(BAD, "Invalid service_tier argument"), False, False),
    ],
)
def test_what_a_failure_is_about_and_whether_the_next_tier_is_tried(tier: str, ended: Failure, blames: bool, leaves: bool) -> None:
    candidate = at(tiered("flex", "default"), tier)
    assert (blames_tier(candidate, ended), leaves_tier(candidate, ended)) == (blames, leaves)


@pytest.mark.parametrize(("kind", "blames"), [(THROTTLED, True), (ERROR, False), (OVERLOADED, False), (BAD, False)])
def test_a_single_tier_is_blamed_for_a_429_alone(kind: FailureKind, blames: bool) -> None:
    (candidate,) = candidates(tiered(params={"service_tier": "flex"}))
    assert (blames_tier(candidate, failure(kind)), leaves_tier(candidate, failure(kind))) == (blames, False)


@pytest.mark.parametrize(
    ("refusals", "ended", "paused_ms"),
    [
        (0, failure(THROTTLED), FIRST_PAUSE_MS),
        (1, failure(THROTTLED), 2 * FIRST_PAUSE_MS),
        (3, failure(ERROR), 8 * FIRST_PAUSE_MS),
        (9, failure(THROTTLED), LONGEST_PAUSE_MS),
        (10**6, failure(THROTTLED), LONGEST_PAUSE_MS),
        (0, failure(THROTTLED, retry_after_ms=90_000), 90_000),
        (0, failure(THROTTLED, retry_after_ms=1_000), FIRST_PAUSE_MS),
        (0, failure(THROTTLED, retry_after_ms=20_000_000), PROBE_EVERY_MS),
        (0, said(BAD, "Invalid service_tier"), LONGEST_PAUSE_MS),
    ],
)
def test_a_tier_is_paused_for_longer_while_it_goes_on(refusals: int, ended: Failure, paused_ms: int) -> None:
    flex = at(tiered("flex", "default"), "flex")
    pause, count = tier_posts(flex, ended, refusals, backoff_ms=100, longest_pause_ms=15_000)
    assert (pause.account, pause.amount, pause.for_ms) == ("tier-pause-flex/gpt", 1, paused_ms)
    assert (count.account, count.amount) == ("tier-refusals-flex/gpt", min(refusals, 10) + 1)
    assert count.for_ms is not None
    assert count.for_ms >= paused_ms + 60_000  # one call finds out how the tier is before all others come back


@pytest.mark.parametrize(
    ("refusals", "retry_after_ms", "paused_ms"), [(0, None, 400), (1, None, 800), (9, None, 15_000), (0, 2_000, 2_000), (0, 90_000, 90_000)]
)
def test_callers_without_another_tier_wait_as_the_provider_asks(refusals: int, retry_after_ms: int | None, paused_ms: int) -> None:
    (flex,) = candidates(tiered(params={"service_tier": "flex"}))
    pause, _ = tier_posts(flex, failure(THROTTLED, retry_after_ms=retry_after_ms), refusals, backoff_ms=400, longest_pause_ms=15_000)
    assert pause.for_ms == paused_ms


def test_the_count_of_pauses_is_replaced_and_ends_with_an_answer() -> None:
    flex, standard = candidates(tiered("flex", "default"))
    assert tier_clears(flex, failure(THROTTLED), 0) == ("tier-refusals-flex/gpt",)
    assert tier_clears(flex, None, 3) == ("tier-refusals-flex/gpt",)
    assert tier_clears(flex, None, 0) == ()
    assert tier_clears(flex, failure(BAD), 3) == ()
    assert tier_clears(standard, None, 3) == ()


def short(account: str, retry_at_ms: int | None) -> Shortfall:
    return Shortfall(Charge(account, 0, 0, 0), Balance(), retry_at_ms)


@pytest.mark.parametrize(
    ("shortfalls", "probe", "on"),
    [
        ([short("tier-pause-flex/gpt", 5_000), short("tier-refusals-flex/gpt", 90_000)], False, True),
        ([short("tier-pause-flex/gpt", 2_000)], False, False),  # ends within the call's patience for a tier
        ([short("tier-refusals-flex/gpt", 90_000)], True, True),
        ([short("tier-probe-flex/gpt", None)], False, True),
        ([short("requests/gpt", 50_000)], False, False),  # the next tier has the same limit
    ],
)
def test_what_a_refusal_means_for_a_tier(shortfalls: list[Shortfall], probe: bool, on: bool) -> None:
    flex, standard = candidates(tiered("flex", "default", tier_patience_ms=3_000))
    refused = Refused("h", 0, tuple(shortfalls))
    assert (asks_probe(refused), goes_on(flex.model, refused), goes_on(standard.model, refused)) == (probe, on, False)


def test_a_call_that_waits_for_the_end_of_a_pause_does_not_wait_for_the_count() -> None:
    pause, count, limit = short("tier-pause-flex/gpt", 2_000), short("tier-refusals-flex/gpt", 90_000), short("requests/gpt", 9_000)
    assert without_count(Refused("h", 0, (pause, count, limit))).shortfalls == (pause, limit)
    assert without_count(Refused("h", 0, (count, limit))).shortfalls == (count, limit)
    assert without_count(Refused("h", 0, (limit,))).shortfalls == (limit,)


def test_an_ordinary_call_asks_for_no_probe() -> None:
    assert [each.account for each in tier_charges("gpt", "flex", as_probe=False)] == ["tier-pause-flex/gpt", "tier-refusals-flex/gpt"]
    assert [(each.account, each.amount, each.cap) for each in tier_charges("gpt", "flex", as_probe=True)] == [
        ("tier-pause-flex/gpt", 0, 0),
        ("tier-probe-flex/gpt", 1, 1),
        ("tier-refusals-flex/gpt", 0, None),
    ]


def test_a_tiers_accounts_are_described_and_reset_together() -> None:
    assert describe("tier-pause-flex/gpt") == "its tier flex is paused after failures"
    assert describe("tier-probe-flex/gpt") == "its tier flex was paused after failures, and a probe is under way"
    assert tier_accounts("tier-refusals-flex/a/b") == ("tier-pause-flex/a/b", "tier-refusals-flex/a/b")
    assert tier_accounts("pause/gpt") == ()


def test_what_a_tier_saved_is_the_difference_to_list_price() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100, service_tier="flex")
    listed = 1_000 * 1_000 + 100 * 10_000
    assert saved_nanousd(usage, with_tiers("flex"), AT, listed // 2) == listed // 2
    assert saved_nanousd(replace(usage, service_tier="priority"), with_tiers("flex"), AT, 2 * listed) == 0
    assert saved_nanousd(replace(usage, service_tier="default"), with_tiers("flex"), AT, listed) == 0
    assert saved_nanousd(usage, None, AT, 0) == saved_nanousd(None, with_tiers("flex"), AT, 0) == 0
    assert saved_nanousd(replace(usage, search_units=1), with_tiers("flex"), AT, 0) == 0  # its cost at list price is unknown
