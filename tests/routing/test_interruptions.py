"""An interrupted call is charged at most what can have been billed, where facts allow an estimate; else its whole hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from call_box import HELLO, failure, model, price, registry
from paymaster.accounting.accounts import Charge
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.accounting.usage.record import Usage
from paymaster.registry.disconnects import OPENROUTER, StopsOnDisconnect
from paymaster.registry.models import Model, Policy
from paymaster.routing.charges import ChargeKind
from paymaster.routing.failures import Billed, FailureKind
from paymaster.routing.interruptions import Delivered, Estimate, WholeHold, describe_charge, estimate, was_interrupted
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.settling import Ended, actual_amounts, bill
from paymaster.scope import Scope

STOPS = StopsOnDisconnect(source="a test", stated_on="2026-11-30", tokens_per_second=100, closing_ms=0)
HI = Delivered(prompt=Usage(input_tokens=12), output_tokens=2, unseen_ms=780, tokens_per_second=2, served_by=None)


def candidate(request: Request | None = None, **settings: object) -> Candidate:
    """A candidate at $3 and $15 per million tokens with 64,000 tokens of output at most: its hold is $0.96."""
    given = {"price": price("3", "15"), "max_output_tokens": 64_000, "stops": STOPS, "capabilities": frozenset(), **settings}
    entry: Model = model("a", **given)
    return plan(request or Request(messages=HELLO), registry(entry), Scope(run="r"), 0, TokenCounter()).candidates[0]


def test_a_hi_that_was_cut_costs_what_it_can_have_cost() -> None:
    found = estimate(candidate(), Policy(), HI)
    assert found == Estimate(
        12 * 3_000 + 80 * 15_000,
        Usage(input_tokens=12, output_tokens=80),
        "12 prompt tokens as reported, at most 80 output tokens until the connection closed",
    )
    assert candidate().held_nanousd > 800 * found.cost_nanousd - 10**9


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({}, 80),
        ({"unseen_ms": 0}, 2),
        ({"unseen_ms": 1}, 3),
        ({"unseen_ms": 781}, 81),
        ({"tokens_per_second": 1_000}, 782),
        ({"output_tokens": 63_999}, 64_000),
        ({"unseen_ms": 10**9}, 64_000),
        ({"output_tokens": 10**12}, 64_000),
    ],
)
def test_the_output_is_what_came_and_what_can_have_followed_and_never_above_the_hold(changes: dict, tokens: int) -> None:
    found = estimate(candidate(), Policy(), replace(HI, **changes))
    assert isinstance(found, Estimate)
    assert found.usage.output_tokens == tokens


def test_several_answers_come_at_the_same_time() -> None:
    two = candidate(Request(messages=HELLO, params={"n": 2}))
    found = estimate(two, Policy(), replace(HI, unseen_ms=1_000))
    assert isinstance(found, Estimate)
    assert found.usage.output_tokens == 2 + 200
    most = estimate(two, Policy(), replace(HI, unseen_ms=10**9))
    assert isinstance(most, Estimate)
    assert most.usage.output_tokens == 128_000


def test_what_is_on_its_way_when_the_connection_closes_is_counted() -> None:
    found = estimate(candidate(stops=replace(STOPS, closing_ms=500)), Policy(), replace(HI, unseen_ms=0))
    assert isinstance(found, Estimate)
    assert found.usage.output_tokens == 52


def test_input_that_was_not_reported_is_the_held_input() -> None:
    entry = candidate()
    found = estimate(entry, Policy(), replace(HI, prompt=None))
    assert isinstance(found, Estimate)
    assert found.usage == Usage(input_tokens=entry.prompt.tokens, output_tokens=80)
    assert found.cost_nanousd == entry.prompt.tokens * 3_000 + 80 * 15_000
    assert found.basis == f"at most {entry.prompt.tokens} prompt tokens and 80 output tokens until the connection closed"


def test_input_that_nothing_bounds_is_no_upper_bound() -> None:
    request, unreported = Request(messages=HELLO, params={"previous_response_id": "resp_1"}), replace(HI, prompt=None)
    unbounded = candidate(request, context_window=None)
    assert estimate(unbounded, Policy(), unreported) == WholeHold(
        "nothing bounds how many tokens previous_response_id has; it may have cost more"
    )
    assert isinstance(estimate(unbounded, Policy(), HI), Estimate)
    window = estimate(candidate(request, context_window=200_000), Policy(), unreported)
    assert isinstance(window, Estimate)
    assert window.usage.input_tokens == 200_000


def test_terms_above_list_price_are_charged_as_they_were_held() -> None:
    elsewhere = candidate(Request(messages=HELLO, params={"inference_geo": "us"}))
    found = estimate(elsewhere, Policy(), HI)
    assert isinstance(found, Estimate)
    assert found.cost_nanousd >= 12 * 3_000 + 80 * 15_000
    unknown_tier = estimate(candidate(), Policy(), replace(HI, prompt=Usage(input_tokens=12, service_tier="priority")))
    assert isinstance(unknown_tier, Estimate)
    assert unknown_tier.cost_nanousd == 12 * 3_000 + 80 * 15_000


def test_what_the_provider_runs_by_itself_is_charged_as_it_was_held() -> None:
    searching = candidate(Request(messages=HELLO, params={"web_search_options": {}}))
    assert estimate(searching, Policy(), HI) == WholeHold("the provider may have used tools or models of its own")


LISTED = {"stops": OPENROUTER, "provider": "openrouter"}


@pytest.mark.parametrize(
    ("settings", "policy", "delivered", "why"),
    [
        ({}, Policy(estimates_interrupted=False), HI, "interrupted_calls is full_hold"),
        ({"price": None}, Policy(), HI, "the model has no price"),
        ({"stops": None}, Policy(), HI, "openai does not state that it stops when the connection closes"),
        ({}, Policy(), None, "the answer was not streamed, so the provider may have finished it"),
        ({"capabilities": None}, Policy(), HI, "the model may have reasoned without showing it"),
        ({"capabilities": frozenset({"reasoning"})}, Policy(), HI, "the model may have reasoned without showing it"),
        (LISTED, Policy(), HI, "openrouter had a provider that it did not name answer, which does not state that it stops"),
        (LISTED, Policy(), replace(HI, served_by="Groq"), "openrouter had Groq answer, which does not state that it stops"),
    ],
)
def test_without_a_fact_or_with_hidden_reasoning_the_whole_hold_is_charged(settings: dict, policy: Policy, delivered, why: str) -> None:
    found = estimate(candidate(**settings), policy, delivered)
    assert isinstance(found, WholeHold)
    assert found.basis.startswith(why)


@pytest.mark.parametrize("upstream", ["OpenAI", "DeepInfra", "Anthropic", " xAI "])
def test_openrouter_lists_the_providers_that_stop(upstream: str) -> None:
    assert isinstance(estimate(candidate(**LISTED), Policy(), replace(HI, served_by=upstream)), Estimate)


@pytest.mark.parametrize(
    ("kind", "billed", "usage", "expected"),
    [
        (FailureKind.CANCELLED, Billed.MAYBE, None, True),
        (FailureKind.CONNECTION_LOST, Billed.MAYBE, None, True),
        (FailureKind.TIMED_OUT, Billed.MAYBE, None, True),
        (FailureKind.TIMED_OUT, Billed.NO, None, False),
        (FailureKind.CONNECTION_LOST, Billed.YES, Usage(input_tokens=1), False),
        (FailureKind.SERVER_ERROR, Billed.MAYBE, None, False),
    ],
)
def test_an_attempt_was_interrupted_if_its_bill_is_not_known(
    kind: FailureKind, billed: Billed, usage: Usage | None, expected: bool
) -> None:
    assert was_interrupted(failure(kind, billed, usage=usage)) is expected


def test_an_estimate_is_billed_as_one_and_frees_the_rest_of_every_hold() -> None:
    found = estimate(candidate(), Policy(), HI)
    ended = Ended(usage=None, failure=failure(FailureKind.CANCELLED, Billed.MAYBE), interrupted=found)
    charged = bill(candidate(), ended)
    assert isinstance(found, Estimate)
    assert (charged.cost_nanousd, charged.source, charged.billed, charged.basis) == (
        found.cost_nanousd,
        "estimate (registry)",
        "estimated",
        found.basis,
    )
    kinds = (ChargeKind.MONEY, ChargeKind.REQUESTS, ChargeKind.TOKENS, ChargeKind.INPUT_TOKENS, ChargeKind.OUTPUT_TOKENS)
    held = tuple(Charge(kind.value, 10**6, 10**9, None) for kind in kinds)
    assert actual_amounts(kinds, held, ended, 7) == (7, 10**6, 92, 12, 80)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"billed": "none", "cost_nanousd": 0}, "Nothing was charged."),
        ({"billed": "unpriced", "cost_nanousd": 0}, "Its cost is unknown: the model has no price."),
        (
            {"billed": "exact", "input_tokens": 10, "cache_read_tokens": 2, "output_tokens": 1_080},
            "Charged $0.0003: 12 prompt tokens and 1,080 output tokens, as reported.",
        ),
        ({"billed": "estimated", "cost_basis": "12 prompt tokens as reported"}, "Charged $0.0003: 12 prompt tokens as reported."),
        ({"billed": "estimated"}, "Charged $0.0003: at most what can have been billed."),
        ({"billed": "assumed", "cost_basis": "it is so"}, "Charged $0.0003, the whole hold: it is so."),
        ({"billed": "assumed"}, "Charged $0.0003, the whole hold: the provider reported no usage that counts."),
    ],
)
def test_a_person_reads_what_was_charged_and_why(fields: dict, text: str) -> None:
    given = {"cost_nanousd": 300_000, "held_nanousd": 10**9, "cost_source": "registry", "run": "r", "outcome": "cancelled", **fields}
    record = AttemptRecord(call_id="c", attempt=1, at_ms=0, model="m", provider="p", model_id="m", **given)
    assert describe_charge(record) == text
