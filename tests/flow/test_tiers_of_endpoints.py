"""Endpoints and tiers of service together: each endpoint at its tiers in turn, before the next one."""

import pytest

from call_box import Box, answer, failure, model, registry
from paymaster.flow.ports import ProviderCall, ProviderReply
from paymaster.registry.models import Balancing, Model
from paymaster.routing.failures import Failure, FailureKind
from paymaster.testing import ManualRuntime


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
