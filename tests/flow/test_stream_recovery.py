"""A stream that is held back: delivered whole or not at all, tried again and charged like any other attempt."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from call_box import HELLO, Box, answer, failure, model, per_run, registry
from paymaster.errors import NoModelAvailable, RequestRefused, StreamBroken
from paymaster.flow.attempt import TOO_LARGE
from paymaster.flow.calls import serve
from paymaster.flow.delivery import BATCH_BYTES, MOST_HELD_BYTES, HeldBack
from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.registry.models import StreamRecovery
from paymaster.routing.failures import Billed, FailureKind
from paymaster.routing.requests import Request

OFF, HOLD_BACK = StreamRecovery.OFF, StreamRecovery.HOLD_BACK
ROLE = ProviderChunk({"choices": [{"index": 0, "delta": {"role": "assistant"}}]})
BEGUN = (ROLE, ProviderChunk({"choices": [{"index": 0, "delta": {"content": "Half of"}}]}))
BREAKS = [
    (failure(FailureKind.CONNECTION_LOST, Billed.MAYBE), ["a", "a", "a", "b"]),
    (failure(FailureKind.TIMED_OUT, Billed.MAYBE), ["a", "b"]),
    (failure(FailureKind.UNUSABLE_ANSWER, Billed.MAYBE), ["a", "a", "a", "b"]),
    (failure(FailureKind.UNUSABLE_ANSWER, Billed.YES), ["a", "b"]),
    (failure(FailureKind.SERVER_ERROR, Billed.MAYBE), ["a", "a", "a", "b"]),
    (failure(FailureKind.OVERLOADED, Billed.MAYBE), ["a", "a", "a", "b"]),
]


def asked(recovery: StreamRecovery | None = HOLD_BACK) -> Request:
    return Request(messages=HELLO, stream=True, stream_recovery=recovery)


def two_models(*outcomes: object, **policy: object) -> Box:
    """The first model begins an answer and breaks, each time; the second answers."""
    chain = registry(model("a"), model("b"), budgets=(per_run("5"),), **policy)
    return Box(chain, {"a": [step for outcome in outcomes for step in (*BEGUN, outcome)], "b": [answer("Hi")]})  # type: ignore[list-item]  # a test's outcomes are right


def text_of(items: list[ProviderChunk | Reply]) -> str:
    text = ""
    for item in items:
        if isinstance(item, ProviderChunk):
            [choice] = item.body["choices"]  # type: ignore[misc]  # as above
            text += choice["delta"].get("content", "")
    return text


@pytest.mark.parametrize(("broken", "called"), BREAKS, ids=lambda value: getattr(value, "kind", None))
def test_a_stream_that_breaks_falls_back_like_any_failure(broken: object, called: list[str]) -> None:
    box = two_models(*[broken] * 3)
    items = asyncio.run(box.items(asked()))
    assert text_of(items) == "Hi"
    assert isinstance(items[-1], Reply)
    assert (items[-1].model, box.called()) == ("b", called)
    assert items[-1].cost_nanousd == sum(record.cost_nanousd for record in items[-1].attempts) == box.spent()[0]
    assert all(record.cost_nanousd for record in items[-1].attempts)  # what was interrupted is charged


@pytest.mark.parametrize(("own", "policy"), [(None, OFF), (OFF, HOLD_BACK)])
def test_without_it_the_stream_breaks(own: StreamRecovery | None, policy: StreamRecovery) -> None:
    box = two_models(BREAKS[0][0], stream_recovery=policy)
    with pytest.raises(StreamBroken, match="a: the answer was cut after it had begun"):
        asyncio.run(box.items(asked(own)))
    assert box.called() == ["a"]


@pytest.mark.parametrize(("own", "policy"), [(HOLD_BACK, OFF), (None, HOLD_BACK)])
def test_the_call_or_else_the_policy_sets_it(own: StreamRecovery | None, policy: StreamRecovery) -> None:
    box = two_models(BREAKS[1][0], stream_recovery=policy)
    assert text_of(asyncio.run(box.items(asked(own)))) == "Hi"


def test_the_same_model_is_tried_again_first() -> None:
    box = two_models(BREAKS[0][0])
    box.outcomes["a"].append(answer("Hi"))
    items = asyncio.run(box.items(asked()))
    assert (text_of(items), box.called()) == ("Hi", ["a", "a"])


def test_if_no_model_is_left_the_error_is_that_of_a_whole_answer() -> None:
    box = Box(registry(model("a"), retries_per_model=0), {"a": [*BEGUN, BREAKS[0][0]]})
    with pytest.raises(NoModelAvailable):
        asyncio.run(box.items(asked()))


def test_a_refusal_in_the_middle_is_a_refusal() -> None:
    with pytest.raises(RequestRefused):
        asyncio.run(two_models(failure(FailureKind.CONTENT_POLICY, Billed.MAYBE)).items(asked()))


def test_the_chunks_come_as_they_were_in_one_go() -> None:
    box = Box(registry(model("a")), {"a": [*BEGUN, answer("Hi")]})
    items = asyncio.run(box.items(asked()))
    assert [item.body for item in items[:2] if isinstance(item, ProviderChunk)] == [chunk.body for chunk in BEGUN]
    assert text_of(items) == "Half ofHi"
    assert [item.more for item in items if isinstance(item, ProviderChunk)] == [True, True, True, False]


def test_nothing_is_delivered_before_the_attempt_is_settled() -> None:
    async def scenario() -> None:
        async with aclosing(serve(box.world, asked(), box.scope)) as stream:
            await anext(stream)
            assert "settled" in box.kinds()

    box = Box(registry(model("a")), {"a": [answer("Hi")]})
    asyncio.run(scenario())
    assert not [kind for kind in box.kinds() if kind == "failed"]  # a reader that stops now has been charged the exact cost


def test_a_caller_who_is_cancelled_meanwhile_is_charged() -> None:
    box = Box(registry(model("a"), budgets=(per_run("5"),)), {"a": [*BEGUN, asyncio.CancelledError()]})
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(box.items(asked()))
    settled, held = box.spent()
    assert settled > 0
    assert held == 0


def test_an_answer_that_is_too_large_to_be_held_is_a_failure() -> None:
    large = ProviderChunk({"choices": [{"index": 0, "delta": {"content": "x" * 2**20}}]})
    box = Box(registry(model("a"), model("b"), retries_per_model=0), {"a": [*[large] * 65, answer()], "b": [answer("Hi")]})
    items = asyncio.run(box.items(asked()))
    assert text_of(items) == "Hi"
    [failed] = [event for event in box.events if event.kind == "failed"]
    assert (failed.message, MOST_HELD_BYTES) == (TOO_LARGE.message, 64 * 2**20)  # type: ignore[attr-defined]  # it is an AttemptFailed


@pytest.mark.parametrize("value", ["a lone \ud800 surrogate", 2**70, None, {"nested": [1, 2.5, True]}, "Grüße"])
def test_what_is_held_comes_back_as_it_was(value: object) -> None:
    held = HeldBack()
    body = {"choices": [{"index": 0, "delta": {"content": value}}], "usage": {"cost": 0.1}}
    assert list(held.take(ProviderChunk(body))) == []
    assert [chunk.body for chunk in held.rest()] == [body]


def test_a_long_answer_is_delivered_in_batches() -> None:
    """Others on the loop have their turn in between."""
    held = HeldBack()
    for number in range(1_000):
        held.take(ProviderChunk({"number": number, "text": "x" * 100}))
    chunks = list(held.rest())
    assert [chunk.body["number"] for chunk in chunks] == list(range(1_000))
    size = 1_000 * 125
    assert size // BATCH_BYTES <= sum(not chunk.more for chunk in chunks) <= size // BATCH_BYTES + 2
    assert not chunks[-1].more
