"""Endpoints and tiers of service together: each endpoint at its tiers in turn, before the next one."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from call_box import Box, Limits, answer, failure, model, price, registry, spread
from paymaster.accounting.prices.rates import Rates, RateTable
from paymaster.errors import NoModelAvailable, RequestRefused
from paymaster.flow.endpoint_events import EndpointChanged, FellBack
from paymaster.flow.events import ModelSkipped
from paymaster.flow.ports import Books, ProviderCall, ProviderReply, Runtime, Waiter
from paymaster.registry.models import Balancing, Model
from paymaster.routing.endpoint_states import EndpointState
from paymaster.routing.failures import Failure, FailureKind
from paymaster.testing import ManualRuntime

FLEX = replace(price(), modes=(("flex", RateTable.of(Rates(input=Decimal("0.5"), output=Decimal(5)), ())),))
TWO = spread("gpt", "eu", "us", tiers=("flex", "default"), price=FLEX)
FULL = failure(FailureKind.THROTTLED, status=429)
EU_FLEX, EU, US_FLEX, US = ("eu", "flex"), ("eu", "default"), ("us", "flex"), ("us", "default")
Asked = tuple[str, object]


class Seller:
    """A provider that fails where `fails` says so, and keeps what was asked, as endpoint and tier."""

    def __init__(self, fails: Callable[[Asked], Failure | None]) -> None:
        self.fails = fails
        self.asked: list[Asked] = []

    def __call__(self, call: ProviderCall) -> ProviderReply | Failure:
        where = (call.model.endpoint or call.model.name, call.body.get("service_tier"))
        self.asked.append(where)
        return self.fails(where) or answer()

    def box(self, *models: Model, **policy: object) -> Box:
        return Box(registry(*models, **policy), {each.name: [self] for each in models})


def endpoint(name: str, **settings: object) -> Model:
    return model("gpt", endpoint=name, identity=f"openai:gpt:{name}", tiers=("flex", "default"), **settings)


def test_each_endpoint_is_tried_at_its_tiers_before_the_next_one() -> None:
    asked: list[tuple[str, object]] = []

    def serve(call: ProviderCall) -> ProviderReply | Failure:
        asked.append((call.model.endpoint, call.body.get("service_tier")))
        fails = call.model.endpoint == "eu" or call.body.get("service_tier") == "flex"
        return failure(FailureKind.THROTTLED, status=429) if fails else answer()

    places = (endpoint("eu"), endpoint("us"))
    both = model("gpt", endpoints=places, balance=Balancing.ORDER, tiers=("flex", "default"))
    box = Box(registry(both), {"gpt": [serve]})
    assert box.ask().endpoint == "us"
    assert asked == [("eu", "flex"), ("eu", "default"), ("us", "flex"), ("us", "default")]
    asked.clear()
    assert box.ask().endpoint == "us"
    assert asked == [("us", "default")]  # eu is paused, and the tier flex of us is


@pytest.mark.parametrize("refused", [failure(FailureKind.OVERLOADED, status=503), failure(FailureKind.BAD_REQUEST, status=400)])
def test_the_last_endpoint_is_tried_at_its_tiers_before_any_is_tried_again(refused: Failure) -> None:
    def serve(call: ProviderCall) -> ProviderReply | Failure:
        if call.model.endpoint == "eu":
            return refused
        return failure(FailureKind.THROTTLED, status=429) if call.body.get("service_tier") == "flex" else answer()

    places = (endpoint("eu"), endpoint("us", provider="azure"))
    both = model("gpt", endpoints=places, balance=Balancing.ORDER, tiers=("flex", "default"))
    box = Box(registry(both, model("other")), {"gpt": [serve], "other": [answer()]})
    assert box.ask().endpoint == "us"
    assert box.places()[-2:] == ["gpt/us (flex)", "gpt/us"]
    assert isinstance(box.runtime, ManualRuntime)
    assert box.runtime.slept_ms == []


def test_no_endpoint_is_tried_again_between_two_tiers_of_the_last_one() -> None:
    seller = Seller({EU_FLEX: FULL, EU: failure(FailureKind.OVERLOADED), US_FLEX: FULL}.get)
    assert seller.box(TWO, model("b")).ask().endpoint == "us"
    assert seller.asked == [EU_FLEX, EU, US_FLEX, US]


@pytest.mark.parametrize("kind", [FailureKind.THROTTLED, FailureKind.SERVER_ERROR, FailureKind.OVERLOADED, FailureKind.TIMED_OUT])
def test_a_full_tier_leaves_its_endpoint_healthy(kind: FailureKind) -> None:
    seller = Seller({EU_FLEX: failure(kind)}.get)
    box = seller.box(replace(TWO, balance=Balancing.FASTEST))
    box.ask()
    known = box.world.endpoints.balancer(TWO, "", box.runtime.now_ms(), streamed=False).states
    assert known["gpt/eu"]._replace(open_calls=0) == EndpointState()
    assert not asyncio.run(box.books.balances("errors/", box.runtime.now_ms()))


@pytest.mark.parametrize(
    ("refusal", "asked"),
    [
        (failure(FailureKind.CONTENT_POLICY), [EU_FLEX, ("b", None)]),
        (failure(FailureKind.CONTEXT_TOO_LONG), [EU_FLEX, ("b", None)]),
        (failure(FailureKind.BAD_REQUEST, elsewhere=True), [EU_FLEX, ("b", None)]),
        (replace(failure(FailureKind.BAD_REQUEST), message="unknown service_tier"), [EU_FLEX, EU, US_FLEX, US, ("b", None)]),
    ],
)
def test_what_one_tier_refuses_another_does_too_unless_it_is_the_tier(refusal: Failure, asked: list[Asked]) -> None:
    def fails(where: Asked) -> Failure | None:
        if where in (EU, US) and refusal.kind is FailureKind.BAD_REQUEST:
            return failure(FailureKind.SERVER_ERROR)
        return None if where[0] == "b" else refusal

    seller = Seller(fails)
    box = seller.box(TWO, model("b"), fall_back_on_content_policy=True, retries_per_model=0)
    assert box.ask().model == "b"
    assert seller.asked == asked
    changes = [event for event in box.events if isinstance(event, FellBack | EndpointChanged)]
    assert not any("not asked" in event.reason for event in changes)  # why the last one asked was left, not one that never was


def test_a_refused_request_ends_the_call_at_the_first_tier() -> None:
    seller = Seller(lambda _: failure(FailureKind.BAD_REQUEST))
    with pytest.raises(RequestRefused):
        seller.box(TWO, model("b")).ask()
    assert seller.asked == [EU_FLEX]


def test_a_limit_is_that_of_the_endpoint_at_every_tier() -> None:
    seller = Seller(lambda _: None)
    box = seller.box(replace(TWO, endpoints=tuple(replace(each, limits=Limits(rpm=1)) for each in TWO.endpoints)), model("b"))
    assert [box.ask().endpoint, box.ask().endpoint] == ["eu", "us"]
    assert box.ask().model == "b"
    skipped = [event for event in box.events if isinstance(event, ModelSkipped)]
    assert {event.reason.partition(":")[2].partition(":")[0] for event in skipped} == {" requests/gpt/eu", " requests/gpt/us"}


def test_what_was_learned_of_counts_holds_at_every_tier() -> None:
    def counts_more(call: ProviderCall) -> ProviderReply | Failure:
        return answer(input_tokens=5_000) if call.body.get("service_tier") == "flex" else answer()

    box = Box(registry(TWO), {"gpt": [counts_more]})
    box.ask()
    assert list(box.world.levels) == ["gpt/eu"]


def test_no_endpoint_is_tried_again_before_the_last_one_was_asked_at_each_tier() -> None:
    asked: list[tuple[str, object]] = []

    def serve(call: ProviderCall) -> ProviderReply | Failure:
        asked.append((call.model.endpoint, call.body.get("service_tier")))
        return failure(FailureKind.OVERLOADED, status=503)

    both = model("gpt", endpoints=(endpoint("eu"), endpoint("us")), balance=Balancing.ORDER, tiers=("flex", "default"))
    box = Box(registry(both, model("other"), retries_per_model=1), {"gpt": [serve], "other": [answer()]})
    assert box.ask().model == "other"
    first = [("eu", "flex"), ("eu", "default"), ("us", "flex"), ("us", "default")]
    assert (asked[:4], len(asked)) == (first, 5)  # one retry in all, at list price


LOST = [FailureKind.CONNECTION_REFUSED, FailureKind.CONNECTION_LOST, FailureKind.UNUSABLE_ANSWER, FailureKind.QUOTA_EXHAUSTED]


@pytest.mark.parametrize("kind", LOST)
def test_an_endpoint_that_fails_at_one_tier_is_left_for_the_others_before_its_next_tier(kind: FailureKind) -> None:
    seller = Seller(lambda where: failure(kind) if where[0] == "eu" else None)
    assert seller.box(TWO, max_attempts=2).ask().endpoint == "us"
    assert seller.asked == [EU_FLEX, US_FLEX]


def test_the_next_tier_of_an_endpoint_that_failed_is_tried_before_the_next_model() -> None:
    lost = failure(FailureKind.CONNECTION_REFUSED)
    seller = Seller({EU_FLEX: lost, US_FLEX: lost, US: lost}.get)
    assert seller.box(TWO, model("b")).ask().endpoint == "eu"
    assert seller.asked == [EU_FLEX, US_FLEX, US, EU]
    alone = Seller({("gpt", "flex"): lost}.get)
    alone.box(model("gpt", tiers=("flex", "default"), price=FLEX)).ask()
    assert alone.asked == [("gpt", "flex"), ("gpt", "default")]


def test_a_call_that_waits_is_listed_under_its_endpoint_at_every_tier() -> None:
    names: list[str] = []
    seller = Seller(lambda _: None)
    limited = replace(TWO, endpoints=tuple(replace(each, limits=Limits(rpm=1)) for each in TWO.endpoints))
    box = seller.box(limited, patience_ms=100_000)
    join = box.world.wait_queue.join

    def joined(account: str, hold_id: str, books: Books, runtime: Runtime, name: str = "") -> Waiter:
        names.append(name)
        return join(account, hold_id, books, runtime, name)

    box.world.wait_queue.join = joined  # type: ignore[method-assign]  # only the names are of interest
    for _ in range(3):
        box.ask()
    assert names == ["gpt/eu"]


def test_a_prompt_that_one_endpoint_finds_too_long_is_asked_at_no_tier_of_another() -> None:
    def serve(call: ProviderCall) -> ProviderReply | Failure:
        kind = FailureKind.THROTTLED if call.model.endpoint == "eu" else FailureKind.CONTEXT_TOO_LONG
        return failure(kind, status=429 if call.model.endpoint == "eu" else 400)

    both = model("gpt", endpoints=(endpoint("eu"), endpoint("us")), balance=Balancing.ORDER, tiers=("flex", "default"))
    box = Box(registry(both), {"gpt": [serve]})
    with pytest.raises(NoModelAvailable) as caught:
        box.ask()
    assert [place for place, _ in caught.value.reasons] == ["gpt/eu (flex)", "gpt/us (flex)", "gpt/us", "gpt/eu"]
