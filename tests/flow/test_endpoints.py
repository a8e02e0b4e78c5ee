"""A call over several endpoints of its models: which are asked, in which order, and what is recorded and reported."""

import asyncio
from collections import Counter
from functools import partial

import pytest

from call_box import HELLO, Box, Outcome, answer, failure, model, per_run, price, registry, spread
from paymaster.accounting.accounts import Post
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import LimitReached, NoModelAvailable, RequestRefused
from paymaster.flow.endpoint_events import EndpointChanged, FellBack
from paymaster.flow.events import Admitted, ModelSkipped
from paymaster.flow.explaining import explain
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply
from paymaster.flow.replies import Reply
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Balancing, Limits
from paymaster.routing.affinity import Preferred
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.recollection import Recollection
from paymaster.routing.requests import Request
from paymaster.testing import ManualRuntime
from virtual_time import VirtualLoop, VirtualRuntime, run_virtual

THREE = spread("m", "x", "y", "z")
FAILS = [FailureKind.THROTTLED, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR, FailureKind.CONNECTION_REFUSED, FailureKind.TIMED_OUT]
OF_A_KEY = [FailureKind.AUTHENTICATION, FailureKind.QUOTA_EXHAUSTED, FailureKind.PERMISSION, FailureKind.UNKNOWN_MODEL]


def slept(box: Box) -> list[int]:
    """Every sleep of the calls so far."""
    assert isinstance(box.runtime, ManualRuntime)
    return box.runtime.slept_ms


@pytest.mark.parametrize("kind", [*FAILS, FailureKind.CONNECTION_LOST, FailureKind.UNUSABLE_ANSWER, *OF_A_KEY])
def test_a_failure_goes_to_the_next_endpoint_at_once_and_before_the_next_model(kind: FailureKind) -> None:
    box = Box(registry(THREE, model("b")), {"m/x": [failure(kind, retry_after_ms=2_000)], "m/y": [answer()], "b": [answer()]})
    reply = box.ask()
    assert (reply.model, reply.endpoint, box.places()) == ("m", "y", ["m/x", "m/y"])
    assert slept(box) == []
    assert [(record.endpoint, record.fallback_from) for record in reply.attempts] == [("x", None), ("y", None)]
    [changed] = [event for event in box.events if isinstance(event, EndpointChanged)]
    assert (changed.model, changed.endpoint, changed.to_endpoint) == ("m", "x", "y")
    assert kind.value.replace("_", " ") in changed.reason


def test_a_call_whose_endpoints_all_failed_comes_back_to_them_and_then_goes_to_the_next_model() -> None:
    outcomes: dict[str, list[Outcome]] = {"m": [failure(FailureKind.OVERLOADED)], "b": [answer()]}
    box = Box(registry(THREE, model("b"), retries_per_model=2), outcomes)
    assert box.ask().model == "b"
    assert box.places() == ["m/x", "m/y", "m/z", "m/x", "m/y", "b"]
    [fell_back] = [event for event in box.events if isinstance(event, FellBack)]
    assert (fell_back.model, fell_back.to_model) == ("m", "b")
    never = Box(registry(THREE, model("b"), retries_per_model=0), {"m": [failure(FailureKind.OVERLOADED)], "b": [answer()]})
    assert never.ask().model == "b"
    assert never.places() == ["m/x", "m/y", "m/z", "b"]


def test_an_endpoint_that_answers_again_is_found_before_the_next_model() -> None:
    outcomes: dict[str, list[Outcome]] = {
        "m/x": [failure(FailureKind.OVERLOADED), answer()],
        "m/y": [failure(FailureKind.SERVER_ERROR)],
        "b": [answer()],
    }
    box = Box(registry(spread("m", "x", "y"), model("b")), outcomes)
    reply = box.ask()
    assert (reply.endpoint, box.places()) == ("x", ["m/x", "m/y", "m/x"])
    assert slept(box) == [100]


def test_a_throttled_endpoint_is_waited_for_only_when_nothing_better_is_left() -> None:
    throttled = failure(FailureKind.THROTTLED, retry_after_ms=3_000)
    box = Box(registry(spread("m", "x", "y")), {"m/x": [throttled, answer()], "m/y": [failure(FailureKind.AUTHENTICATION)]})
    reply = box.ask()
    assert (reply.endpoint, box.places()) == ("x", ["m/x", "m/y", "m/x"])
    assert sum(slept(box)) >= 3_000


def test_the_attempts_of_a_call_are_bounded_over_all_endpoints() -> None:
    box = Box(registry(THREE, model("b"), max_attempts=2), {"m": [failure(FailureKind.SERVER_ERROR)], "b": [answer()]})
    with pytest.raises(NoModelAvailable, match="max_attempts = 2"):
        box.ask()
    assert box.places() == ["m/x", "m/y"]


def test_eight_dead_endpoints_are_reported_in_two_lines() -> None:
    eight = spread("m", *[f"e{number}" for number in range(8)])
    box = Box(registry(eight, retries_per_model=0), {"m": [failure(FailureKind.SERVER_ERROR, status=500)]})
    with pytest.raises(NoModelAvailable) as caught:
        box.ask()
    lines = caught.value.message.splitlines()
    assert lines[1] == "  m/e0, e1, e2, e3, e4, e5, e6, e7: server error (HTTP 500): no luck"
    assert len(lines) == 2
    assert [place for place, _ in caught.value.reasons] == [f"m/e{number}" for number in range(8)]


ELSEWHERE = {"endpoint": "y", "provider": "bedrock"}
LARGER = {"endpoint": "y", "context_window": 200_000}
SMALL = {"endpoint": "x", "context_window": 100_000}


@pytest.mark.parametrize(
    ("kind", "first", "second", "asked"),
    [
        (FailureKind.CONTENT_POLICY, "x", "y", ["m/x"]),
        (FailureKind.CONTENT_POLICY, "x", ELSEWHERE, ["m/x", "m/y"]),
        (FailureKind.BAD_REQUEST, "x", "y", ["m/x"]),
        (FailureKind.BAD_REQUEST, "x", {"endpoint": "y", "model_id": "other"}, ["m/x", "m/y"]),
        (FailureKind.BAD_REQUEST, "x", ELSEWHERE, ["m/x", "m/y"]),
        (FailureKind.CONTEXT_TOO_LONG, "x", "y", ["m/x"]),
        (FailureKind.CONTEXT_TOO_LONG, SMALL, LARGER, ["m/x", "m/y"]),
        (FailureKind.CONTEXT_TOO_LONG, LARGER | {"endpoint": "x"}, SMALL | {"endpoint": "y"}, ["m/x"]),
    ],
)
def test_what_is_wrong_with_the_request_goes_on_to_endpoints_that_differ_in_it(
    kind: FailureKind, first: object, second: object, asked: list[str]
) -> None:
    box = Box(registry(spread("m", first, second)), {"m/x": [failure(kind)], "m/y": [answer()]})  # type: ignore[arg-type]  # as in `spread`
    if len(asked) == 2:
        assert box.ask().endpoint == "y"
    else:
        with pytest.raises((RequestRefused, NoModelAvailable)):
            box.ask()
    assert box.places() == asked


def test_a_refusal_for_good_does_not_reach_another_model_by_way_of_another_endpoint() -> None:
    outcomes: dict[str, list[Outcome]] = {
        "m/x": [failure(FailureKind.CONTENT_POLICY)],
        "m/y": [failure(FailureKind.SERVER_ERROR)],
        "b": [answer()],
    }
    box = Box(registry(spread("m", "x", ELSEWHERE), model("b")), outcomes)
    with pytest.raises(RequestRefused, match="m/x: content policy"):
        box.ask()
    assert box.places()[:2] == ["m/x", "m/y"]
    assert "b" not in box.places()


def test_endpoints_that_can_not_serve_are_skipped_singly() -> None:
    places = ({"endpoint": "tight", "limits": Limits(tpm=1)}, {"endpoint": "dumb", "capabilities": frozenset[str]()}, "keyless", "good")
    box = Box(registry(spread("m", *places)), {"m": [answer()]}, missing_keys={"m/keyless": "NO_KEY"})
    tools = ({"type": "function", "function": {"name": "f", "parameters": {}}},)
    assert box.ask(Request(messages=HELLO, tools=tools)).endpoint == "good"
    skipped = {event.endpoint: event.cause for event in box.events if isinstance(event, ModelSkipped)}
    assert skipped == {"tight": "limit", "dumb": "capability", "keyless": "key"}


def test_limits_of_one_endpoint_leave_the_others_room_and_the_budget_is_the_model_s() -> None:
    box = Box(registry(spread("m", "x", "y", limits=Limits(rpm=2))), {"m": [answer()]})
    assert [box.ask().endpoint for _ in range(4)] == ["x", "x", "y", "y"]
    with pytest.raises(LimitReached, match="m/x"):
        box.ask(max_wait_ms=1_000)


def test_a_call_waits_for_whichever_endpoint_has_room_first() -> None:
    box = Box(registry(spread("m", "x", "y", limits=Limits(rpm=1)), patience_ms=1_000), {"m": [answer()]})
    assert isinstance(box.runtime, ManualRuntime)
    first = box.ask()
    box.runtime.advance(30_000)
    assert [first.endpoint, box.ask().endpoint] == ["x", "y"]
    before_ms = box.runtime.now_ms()
    assert box.ask().endpoint == "x"
    assert 30_000 <= box.runtime.now_ms() - before_ms <= 33_000


def test_a_full_model_is_waited_for_as_long_as_the_patience_lasts_before_the_next_model() -> None:
    limits = Limits(rpm=1)
    box = Box(registry(spread("m", "x", "y", limits=limits), model("b"), patience_ms=10_000), {"m": [answer()], "b": [answer()]})
    assert isinstance(box.runtime, ManualRuntime)
    assert [box.ask().endpoint, box.ask().endpoint, box.ask().model] == ["x", "y", "b"]
    box.runtime.advance(55_000)
    assert box.ask().endpoint == "x"


def test_a_stream_that_breaks_before_its_first_content_goes_on_at_another_endpoint() -> None:
    role = ProviderChunk({"choices": [{"index": 0, "delta": {"role": "assistant"}}]})
    box = Box(registry(spread("m", "x", "y")), {"m/x": [role, failure(FailureKind.TIMED_OUT, Billed.MAYBE)], "m/y": [answer()]})
    items = asyncio.run(box.items(Request(messages=HELLO, stream=True)))
    assert isinstance(items[-1], Reply)
    assert items[-1].endpoint == "y"


def test_calls_go_to_the_endpoint_with_the_fewest_open_ones_and_say_so() -> None:
    box = Box(registry(spread("m", *"wxyz", balance=Balancing.LEAST_LOADED)), {"m": [answer()]})

    async def calls() -> None:
        at_once, original = asyncio.Barrier(40), box.provider.send

        async def send(call: ProviderCall) -> ProviderReply | Failure:
            await at_once.wait()
            return await original(call)

        box.provider.send = send  # type: ignore[method-assign]  # every call is open before the first one is answered
        await asyncio.gather(*(box.items(Request(messages=HELLO)) for _ in range(40)))

    asyncio.run(calls())
    assert set(Counter(box.places()).values()) == {10}
    chosen = [event.chosen for event in box.events if isinstance(event, Admitted)]
    assert chosen[0].startswith("by load (0 open calls")


def test_calls_are_shared_out_exactly_by_weight() -> None:
    weights = [{"endpoint": name, "weight": weight} for name, weight in (("a", 1), ("b", 2), ("c", 7), ("d", 0))]
    box = Box(registry(spread("m", *weights, balance=Balancing.WEIGHTED)), {"m": [answer()]})
    for _ in range(100):
        box.ask()
    found = Counter(box.places())
    assert found == pytest.approx({"m/a": 10, "m/b": 20, "m/c": 70}, abs=2)


def test_what_another_process_does_is_known_within_a_second() -> None:
    known = registry(spread("m", "x", "y"))
    here = Box(known, {"m": [answer()]})
    assert here.ask().endpoint == "x"
    asyncio.run(here.books.post((Post("pause/m:x", 1, 20_000),), (), here.runtime.now_ms()))
    assert isinstance(here.runtime, ManualRuntime)
    here.runtime.advance(1_000)
    before = len(here.events)
    assert here.ask().endpoint == "y"
    assert [event.kind for event in here.events[before:]] == ["admitted", "settled"]  # x was not even asked for room


def test_explain_names_each_endpoint_and_why_it_has_its_turn() -> None:
    box = Box(registry(spread("m", "x", "y"), model("b")), {"m": [answer()]})
    asyncio.run(box.books.post((Post("pause/m:x", 1, 20_000),), (), box.runtime.now_ms()))
    found = asyncio.run(explain(box.world, Request(messages=HELLO), box.scope))
    assert [(each.place, each.serves) for each in found] == [("m/y", True), ("m/x", False), ("b", False)]
    assert found[0].chosen == "in the order of the registry"
    assert found[1].chosen == "the provider asked to wait, for 20.0 s more"


def test_a_record_of_the_version_before_has_no_endpoint() -> None:
    record = Box(registry(model("a")), {"a": [answer()]}).ask().attempts[0]
    assert (record.endpoint, record.place) == (None, "a")
    assert "endpoint" not in record.to_json()
    assert AttemptRecord.from_json(record.to_json()) == record


def test_four_processes_use_the_limits_of_four_endpoints_and_never_more() -> None:
    """16 callers that ask without a pause and wait: each endpoint takes 100 requests in any minute, and nearly as many are made."""
    loop, books, sent = VirtualLoop(), MemoryLedger(), dict[str, list[int]]()
    limits = Limits(rpm=100)
    known = registry(spread("m", *"wxyz", balance=Balancing.LEAST_LOADED, limits=limits))
    boxes = [Box(known, {"m": [answer()]}, runtime=VirtualRuntime(loop, seed), books=books) for seed in range(4)]

    async def caller(box: Box) -> None:
        while loop.time() < 70:
            await box.items(Request(messages=HELLO))

    async def send(box: Box, call: ProviderCall) -> ProviderReply | Failure:
        sent.setdefault(call.model.endpoint, []).append(box.runtime.now_ms())
        await asyncio.sleep(0.2)
        return answer()

    async def everybody() -> None:
        for box in boxes:
            box.provider.send = partial(send, box)  # type: ignore[method-assign]  # one that takes its time
        await asyncio.gather(*(caller(box) for box in boxes for _ in range(4)))

    run_virtual(everybody(), loop)
    began_ms = min(times[0] for times in sent.values())
    used = sum(at_ms < began_ms + 60_000 for times in sent.values() for at_ms in times)
    assert used >= 380
    assert sum(len(times) for times in sent.values()) >= 440  # those of the first 8 s have left their windows
    for times in sent.values():
        assert max(sum(at_ms <= other < at_ms + 60_000 for other in times) for at_ms in times) <= 100


def test_the_fastest_endpoint_is_found_by_every_process_and_a_recovered_one_again() -> None:
    """Two processes: what the first measured decides where the second one's first calls go; after five minutes all is measured anew."""
    took_ms = {"x": 900, "y": 200, "z": 500}

    def respond(call: ProviderCall) -> ProviderReply | Failure:
        return answer(duration_ms=took_ms[call.model.endpoint])

    runtime, books, known = ManualRuntime(), MemoryLedger(), registry(spread("m", *"xyz", balance=Balancing.FASTEST))
    first, second = (Box(known, {"m": [respond]}, runtime=runtime, books=books) for _ in range(2))
    for _ in range(40):
        first.ask()
        runtime.advance(1_000)
    for _ in range(40):
        second.ask()
        runtime.advance(1_000)
    assert second.places().count("m/y") >= 36
    took_ms["x"] = 100
    for _ in range(400):
        second.ask()
        runtime.advance(1_000)
    assert second.places()[-100:].count("m/x") >= 80


def test_the_cheapest_endpoint_is_called_and_the_hold_is_its_own() -> None:
    places = ({"endpoint": "dear", "price": price("3", "30")}, {"endpoint": "cheap", "price": price("1", "10")}, "usual")
    box = Box(registry(spread("m", *places, balance=Balancing.CHEAPEST, price=price("2", "20"))), {"m": [answer()]})
    reply = box.ask()
    assert (reply.endpoint, reply.cost_nanousd) == ("cheap", 100 * 1000 + 50 * 10_000)
    assert [each.place for each in asyncio.run(explain(box.world, Request(messages=HELLO), box.scope))] == ["m/cheap", "m/usual", "m/dear"]


def test_an_endpoint_that_can_not_serve_is_not_the_cheapest() -> None:
    places = ({"endpoint": "cheap", "price": price("1", "10")}, "usual")
    model = spread("m", *places, balance=Balancing.CHEAPEST, price=price("2", "20"))
    box = Box(registry(model), {"m": [answer()]}, missing_keys={"m/cheap": "KEY"})
    assert box.ask().endpoint == "usual"


def test_a_call_that_is_waited_for_at_its_preferred_endpoint_goes_on_when_the_wait_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(registry(spread("m", "x", "y", limits=Limits(rpm=1))), {"m": [answer()]})
    assert isinstance(box.runtime, ManualRuntime)
    prefers = Preferred("m/x", "kept at x: 98,000 tokens are cached there", 20_000)
    monkeypatch.setattr(Recollection, "preference", lambda *_: prefers)  # as affinity does
    assert box.ask().endpoint == "x"
    box.runtime.advance(45_000)
    before_ms = box.runtime.now_ms()
    assert box.ask().endpoint == "x"  # it waited for 16 s
    assert 15_000 <= box.runtime.now_ms() - before_ms <= 18_000
    assert box.ask().endpoint == "y"  # a minute is too long
    chosen = [event.chosen for event in box.events if isinstance(event, Admitted)]
    assert chosen[:2] == ["kept at x: 98,000 tokens are cached there"] * 2


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.THROTTLED])
def test_over_a_soft_budget_a_call_goes_on_to_the_next_endpoint(kind: FailureKind) -> None:
    asked_to_wait = 5_000 if kind is FailureKind.THROTTLED else None
    down = failure(kind, retry_after_ms=asked_to_wait)
    box = Box(registry(spread("m", "x", "y"), budgets=(per_run("0.000001"),)), {"m/x": [answer(), down], "m/y": [answer()]})
    assert box.ask().endpoint == "x"
    before_ms = box.runtime.now_ms()
    assert box.ask().endpoint == "y"
    assert box.runtime.now_ms() - before_ms < 1_000
