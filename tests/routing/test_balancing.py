"""The order of endpoints, by every strategy, and which of them would refuse what another refused."""

from collections import Counter
from collections.abc import Mapping

import pytest

from call_box import model, spread
from paymaster.registry.models import Balancing, Model
from paymaster.routing.affinity import Left, Preferred
from paymaster.routing.balancing import DRAW_BITS, EXPLORED_OF, GOLDEN, Balancer, by_weight, order, refuses_alike
from paymaster.routing.endpoint_states import EndpointState
from paymaster.routing.failures import FailureKind

NOW_MS = 50_000
HALF = 1 << DRAW_BITS - 1
PAUSED = EndpointState(until_ms=NOW_MS + 5_000, why="the provider asked to wait")
LATER = EndpointState(until_ms=NOW_MS + 9_000, why="requests used up")
BUSY = EndpointState(open_calls=3)


def answers_in(answer_ms: int) -> EndpointState:
    """An endpoint with this mean time."""
    return EndpointState(answer_ms=answer_ms)


def ordered(balance: Balancing, states: Mapping[str, EndpointState], **more: object) -> str:
    """The names of the endpoints a, b, c in their order; `states` and costs are by these names."""
    costs = more.pop("costs", None)
    known = Balancer({f"m/{name}": state for name, state in states.items()}, HALF, NOW_MS, **more)  # type: ignore[arg-type]  # as named
    named = None if costs is None else {f"m/{name}": cost for name, cost in costs.items()}  # type: ignore[attr-defined]  # by name
    return "".join(choice.model.endpoint for choice in order(spread("m", *"abc", balance=balance), known, named))


@pytest.mark.parametrize(
    ("balance", "states", "expected"),
    [
        (Balancing.ORDER, {}, "abc"),
        (Balancing.ORDER, {"a": BUSY}, "abc"),
        (Balancing.ORDER, {"a": PAUSED}, "bca"),
        (Balancing.ORDER, {"a": LATER, "b": PAUSED}, "cba"),
        (Balancing.ORDER, {"a": EndpointState(open_calls=4, max_parallel=4)}, "bca"),
        (Balancing.ORDER, {"a": EndpointState(open_calls=3, max_parallel=4)}, "abc"),
        (Balancing.ORDER, {"a": EndpointState(until_ms=NOW_MS)}, "abc"),  # its time is over
        (Balancing.LEAST_LOADED, {"a": BUSY, "b": EndpointState(open_calls=2), "c": EndpointState(open_calls=1)}, "cba"),
        (Balancing.LEAST_LOADED, {"a": EndpointState(failures=1), "b": EndpointState(open_calls=1), "c": BUSY}, "bac"),
        (Balancing.LEAST_LOADED, {"a": EndpointState(used_percent=90), "b": BUSY, "c": EndpointState(used_percent=85)}, "bca"),
        (Balancing.LEAST_LOADED, {"a": EndpointState(used_percent=60), "b": BUSY, "c": EndpointState(used_percent=20)}, "cab"),
        (Balancing.LEAST_LOADED, {"a": PAUSED, "b": BUSY, "c": BUSY}, "bca"),
        (
            Balancing.FASTEST,
            {"a": EndpointState(answer_ms=900), "b": EndpointState(answer_ms=300), "c": EndpointState(answer_ms=600)},
            "bca",
        ),
        (Balancing.FASTEST, {"a": answers_in(900), "b": answers_in(300)}, "bca"),  # c gets known
        (Balancing.FASTEST, {"a": EndpointState(5, answer_ms=300), "b": BUSY, "c": EndpointState(1, answer_ms=310)}, "cba"),
        (Balancing.FASTEST, {"a": EndpointState(until_ms=NOW_MS + 1, answer_ms=1), "b": EndpointState(answer_ms=300)}, "bca"),
    ],
)
def test_the_order_of_endpoints(balance: Balancing, states: Mapping[str, EndpointState], expected: str) -> None:
    found = ordered(balance, states)
    assert found == expected or (balance is Balancing.FASTEST and sorted(found[:2]) == sorted(expected[:2]) and len(states) < 3)


def test_the_cheapest_comes_first_and_an_unknown_price_last() -> None:
    assert ordered(Balancing.CHEAPEST, {}, costs={"a": 30, "b": 10, "c": 20}) == "bca"
    assert ordered(Balancing.CHEAPEST, {}, costs={"a": 30, "c": 20}) == "cab"
    assert ordered(Balancing.CHEAPEST, {"a": BUSY}, costs={"a": 10, "b": 10, "c": 20}) == "bac"
    assert sorted(ordered(Balancing.CHEAPEST, {})) == ["a", "b", "c"]


def test_a_stream_is_compared_by_its_first_token() -> None:
    states = {name: EndpointState(first_token_ms=ms, answer_ms=1_000 - ms) for name, ms in (("a", 100), ("b", 300), ("c", 600))}
    assert ordered(Balancing.FASTEST, states, streamed=True) == "abc"
    assert ordered(Balancing.FASTEST, states) == "cba"


def test_one_call_in_sixteen_explores() -> None:
    slow = spread("m", "fast", "slow", balance=Balancing.FASTEST)
    states = {"m/fast": EndpointState(answer_ms=100), "m/slow": EndpointState(answer_ms=900)}
    draws = [number * GOLDEN % (1 << DRAW_BITS) for number in range(320)]
    first = Counter(order(slow, Balancer(states, draw)).__getitem__(0).model.endpoint for draw in draws)
    assert first["slow"] == pytest.approx(320 / EXPLORED_OF / 2, abs=3)


@pytest.mark.parametrize("weights", [(1, 1), (1, 2), (3, 1, 6), (5, 0, 5), (1, 1, 1, 1, 1, 1, 1, 93)])
def test_each_endpoint_gets_its_weight_of_any_run_of_calls(weights: tuple[int, ...]) -> None:
    places = [model(str(number), weight=weight) for number, weight in enumerate(weights)]
    for start in (0, 12_345, HALF):
        first = Counter(by_weight(places, (start + call * GOLDEN) % (1 << DRAW_BITS))[0].name for call in range(400))
        for place in places:
            assert first[place.name] == pytest.approx(400 * place.weight / sum(weights), abs=4)


def test_without_weights_the_written_order_counts() -> None:
    places = [model("a", weight=0), model("b", weight=0)]
    assert by_weight(places, HALF) == places


def test_weight_0_comes_after_all_that_may_be_called_and_before_those_that_may_not() -> None:
    spare = spread("m", {"endpoint": "spare", "weight": 0}, "a", "b", balance=Balancing.LEAST_LOADED)
    found = [choice.model.endpoint for choice in order(spare, Balancer({"m/a": PAUSED, "m/b": BUSY}, 0, NOW_MS))]
    assert found == ["b", "spare", "a"]


@pytest.mark.parametrize(
    ("preferred", "states", "expected"),
    [
        (Preferred("m/c", "kept"), {}, "cab"),
        (Preferred("m/c", "kept"), {"c": PAUSED}, "abc"),
        (Preferred("m/c", "kept", 5_000), {"c": PAUSED}, "cab"),
        (Preferred("m/c", "kept", 4_999), {"c": PAUSED}, "abc"),
        (Preferred("m/gone", "kept"), {}, "abc"),
    ],
)
def test_the_preferred_endpoint_comes_first_if_its_queue_is_worth_the_wait(
    preferred: Preferred, states: Mapping[str, EndpointState], expected: str
) -> None:
    assert ordered(Balancing.ORDER, states, preferred=preferred) == expected


def test_the_reason_and_the_wait_of_the_preferred_endpoint_are_its_choice_s() -> None:
    first, second = order(spread("m", "a", "b"), Balancer(preferred=Preferred("m/b", "kept at b", 700)))
    assert (first.model.endpoint, first.reason, first.wait_ms) == ("b", "kept at b", 700)
    assert (second.reason, second.wait_ms) == ("in the order of the registry", 0)
    first, _ = order(spread("m", "a", "b"), Balancer(preferred=Left("left b: its queue is 40 s")))
    assert first.reason == "left b: its queue is 40 s; in the order of the registry"


@pytest.mark.parametrize(
    ("balance", "state", "costs", "reason"),
    [
        (Balancing.WEIGHTED, EndpointState(), None, "by weight (1)"),
        (Balancing.LEAST_LOADED, EndpointState(3, used_percent=40), None, "by load (3 open calls, 40 % of its limits used)"),
        (Balancing.CHEAPEST, EndpointState(), {"m/a": 1_500_000}, "by price (about $0.0015)"),
        (Balancing.CHEAPEST, EndpointState(), {}, "its price is unknown"),
        (Balancing.CHEAPEST, EndpointState(), None, "its price is unknown"),
        (Balancing.FASTEST, EndpointState(answer_ms=420), None, "by speed (0.42 s)"),
        (Balancing.FASTEST, EndpointState(), None, "its speed is unknown"),
        (Balancing.FASTEST, EndpointState(open_calls=2, max_parallel=2), None, "max_parallel in use, for 1.0 s more"),
        (Balancing.ORDER, PAUSED, None, "the provider asked to wait, for 5.0 s more"),
    ],
)
def test_an_endpoint_says_why_it_has_its_turn(
    balance: Balancing, state: EndpointState, costs: Mapping[str, int] | None, reason: str
) -> None:
    [choice] = order(spread("m", "a", balance=balance), Balancer({"m/a": state}, HALF, NOW_MS), costs)
    assert choice.reason == reason


def test_a_model_with_one_endpoint_needs_no_order() -> None:
    [choice] = order(model("m"), Balancer())
    assert (choice.model.name, choice.reason) == ("m", "")


@pytest.mark.parametrize(
    ("kind", "other", "alike"),
    [
        (FailureKind.CONTENT_POLICY, {}, True),
        (FailureKind.CONTENT_POLICY, {"model_id": "other"}, True),
        (FailureKind.CONTENT_POLICY, {"provider": "azure"}, False),
        (FailureKind.BAD_REQUEST, {}, True),
        (FailureKind.BAD_REQUEST, {"adapter": "litellm"}, False),
        (FailureKind.BAD_REQUEST, {"provider": "azure"}, False),
        (FailureKind.CONTEXT_TOO_LONG, {}, True),
        (FailureKind.CONTEXT_TOO_LONG, {"context_window": 2_000}, False),
        (FailureKind.CONTEXT_TOO_LONG, {"context_window": 500}, True),
        (FailureKind.CONTEXT_TOO_LONG, {"model_id": "other"}, False),
        (FailureKind.SERVER_ERROR, {}, False),
        (FailureKind.AUTHENTICATION, {}, False),
    ],
)
def test_endpoints_of_one_provider_refuse_alike(kind: FailureKind, other: dict[str, object], alike: bool) -> None:
    settings: dict[str, object] = {"context_window": 1_000}
    refused: Model = model("m", **settings)
    assert refuses_alike(kind, refused, model("m", **{**settings, **other})) is alike
