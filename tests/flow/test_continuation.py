"""A stream that breaks is continued by a model that is known to continue an answer; by no other, and never beside anything but text."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from call_box import HELLO, Box, answer, failure, model, per_run, registry
from paymaster.errors import PaymasterError, StreamBroken
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply
from paymaster.flow.replies import Reply
from paymaster.registry.models import StreamRecovery
from paymaster.registry.prefill import Prefill
from paymaster.routing.failures import Billed, FailureKind
from paymaster.routing.requests import Request, Thinking

CUT = failure(FailureKind.CONNECTION_LOST, Billed.MAYBE)
STALLED = failure(FailureKind.TIMED_OUT, Billed.MAYBE)
PLAIN = Prefill.PLAIN


def piece(content: object = None, number: str = "1", **delta: object) -> ProviderChunk:
    given = {"content": content, **delta} if content is not None else delta
    return ProviderChunk({"id": f"answer-{number}", "choices": [{"index": 0, "delta": given, "finish_reason": None}]})


ROLE = piece(role="assistant", content="")


class Parts(Box):
    """A box whose whole answers are streamed in the pieces set before them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        original = self.provider.stream

        async def stream(call: ProviderCall):
            async for item in original(call):
                if isinstance(item, ProviderReply) or not isinstance(item, ProviderChunk) or "id" in item.body:
                    yield item

        self.provider.stream = stream  # type: ignore[method-assign]  # the letters of the box's own answers are left out


def box_of(first: list[object], second: list[object], prefills: tuple[Prefill | None, Prefill | None] = (None, PLAIN)) -> Parts:
    models = [model(name, prefill=prefill) for name, prefill in zip("ab", prefills, strict=True)]
    return Parts(registry(*models, budgets=(per_run("5"),), retries_per_model=1), {"a": first, "b": second})  # type: ignore[arg-type]  # a test's steps are right


def asked(**params: object) -> Request:
    return Request(messages=HELLO, stream=True, stream_recovery=StreamRecovery.CONTINUE, params=params)


def text_of(items: list[ProviderChunk | Reply]) -> str:
    chunks = [item.body["choices"][0]["delta"] for item in items if isinstance(item, ProviderChunk)]  # type: ignore[index]  # as above
    return "".join(delta.get("content") or "" for delta in chunks)


def sent(box: Box) -> list[object]:
    """The last message of each request, and the model that it was sent to."""
    return [(call.model.name, call.body["messages"][-1]) for call in box.provider.calls]  # type: ignore[index]  # as above


@pytest.mark.parametrize("broken", [CUT, STALLED, failure(FailureKind.UNUSABLE_ANSWER, Billed.MAYBE)], ids=lambda each: each.kind)
def test_the_next_model_writes_the_rest(broken: object) -> None:
    box = box_of(
        [ROLE, piece("One two"), piece(" three"), broken],
        [piece(" four", "2", role="assistant"), piece(" five.", "2"), answer(" four five.")],
    )
    items = asyncio.run(box.items(asked()))
    reply = items[-1]
    assert isinstance(reply, Reply)
    assert text_of(items) == reply.text == "One two three four five."
    assert sent(box) == [("a", HELLO[-1]), ("b", {"role": "assistant", "content": "One two three"})]
    assert {item.body["id"] for item in items if isinstance(item, ProviderChunk)} == {"answer-1"}
    assert (reply.model, reply.cost_nanousd) == ("b", box.spent()[0])
    roles = [item.body["choices"][0]["delta"].get("role") for item in items if isinstance(item, ProviderChunk)]  # type: ignore[index]  # as above
    assert roles == ["assistant", None, None, None, None]


def test_the_same_model_continues_its_own_answer() -> None:
    box = box_of([piece("One"), CUT, piece(" two."), answer(" two.")], [answer()], (Prefill.PREFIX, None))
    items = asyncio.run(box.items(asked()))
    assert text_of(items) == "One two."
    assert sent(box)[1] == ("a", {"role": "assistant", "content": "One", "prefix": True})


def test_an_answer_may_break_more_than_once() -> None:
    box = box_of([piece("One"), CUT, piece(" two"), CUT], [piece(" three."), answer(" three.")], (PLAIN, PLAIN))
    items = asyncio.run(box.items(asked()))
    assert text_of(items) == "One two three."
    assert [last["content"] for _, last in sent(box)[1:]] == ["One", "One two"]  # type: ignore[index,misc]  # as above
    assert box.spent() == (sum(record.cost_nanousd for record in items[-1].attempts), 0)  # type: ignore[union-attr]  # it is the reply


@pytest.mark.parametrize(
    ("first", "rest", "whole"),
    [
        ("One ", " two.", "One two."),
        ("One ", "two.", "One two."),
        ("One\n\n", "\n\nTwo.", "One\n\nTwo."),
        ("One\n\n", "\nTwo.", "One\n\nTwo."),
        ("One\n", " Two.", "One\n Two."),
        ("One", " two.", "One two."),
    ],
)
def test_spaces_at_the_seam_are_delivered_once(first: str, rest: str, whole: str) -> None:
    box = box_of([piece(first), CUT], [*map(piece, rest), answer(rest)])
    items = asyncio.run(box.items(asked()))
    assert text_of(items) == items[-1].text == whole  # type: ignore[union-attr]  # it is the reply
    assert sent(box)[1] == ("b", {"role": "assistant", "content": first.rstrip()})


@pytest.mark.parametrize(
    ("begun", "request_"),
    [
        ([piece("One"), piece(tool_calls=[{"index": 0, "id": "c"}])], asked()),
        ([piece(reasoning_content="Hm."), piece("One")], asked()),
        ([piece([{"type": "text", "text": "One"}])], asked()),
        ([piece("  ")], asked()),
        ([piece("One")], asked(n=2)),
        ([piece("One")], asked(response_format={"type": "json_object"})),
        ([piece("One")], asked(guided_regex="x")),
        ([piece("One")], asked(reasoning_effort="high")),
        ([piece("One")], replace(asked(), thinking=Thinking({"type": "enabled"}, "high"))),
        ([piece("One")], replace(asked(), stream_recovery=StreamRecovery.OFF)),
    ],
    ids=["a call", "a thought", "parts", "spaces", "choices", "JSON", "a grammar", "an effort", "thinking", "off"],
)
def test_nothing_else_is_continued(begun: list[object], request_: Request) -> None:
    box = box_of([*begun, CUT], [piece(" two."), answer(" two.")])
    with pytest.raises(StreamBroken, match="a: the answer was cut after it had begun"):
        asyncio.run(box.items(request_))
    assert box.called() == ["a"]


@pytest.mark.parametrize(
    ("second", "prefills", "called"),
    [
        ([answer()], (None, None), ["a"]),
        ([answer()], (PLAIN, None), ["a", "a"]),
        ([failure(FailureKind.BAD_REQUEST)], (None, PLAIN), ["a", "b"]),
        ([failure(FailureKind.AUTHENTICATION)], (None, PLAIN), ["a", "b"]),
        ([piece(" two", tool_calls=[{"index": 0}]), CUT], (None, PLAIN), ["a", "b"]),
    ],
    ids=["no model is known to", "the one that is breaks again", "it refuses", "it has no key", "it calls a tool and breaks"],
)
def test_if_no_model_continues_the_stream_ends_as_a_cut_one(
    second: list[object], prefills: tuple[Prefill | None, Prefill | None], called: list[str]
) -> None:
    box = box_of([piece("One"), CUT, CUT], second, prefills)
    with pytest.raises(StreamBroken, match="the answer was cut after it had begun") as caught:
        asyncio.run(box.items(asked()))
    assert box.called() == called
    assert "Charged $" in caught.value.advice
    assert [event.kind for event in box.events].count("gave_up") == 1
    assert box.spent()[1] == 0


def test_the_rest_is_as_long_as_the_limit_leaves() -> None:
    box = box_of([piece("word " * 40), CUT], [piece("rest"), answer("rest")])
    asyncio.run(box.items(asked(max_tokens=100)))
    assert [call.body["max_tokens"] for call in box.provider.calls] == [100, 51]


def test_a_failure_before_any_content_is_no_continuation() -> None:
    box = box_of([ROLE, CUT, CUT], [piece("One."), answer("One.")], (None, None))
    items = asyncio.run(box.items(asked()))
    assert text_of(items) == "One."
    assert all(last == HELLO[-1] for _, last in sent(box))  # type: ignore[misc]  # as above


def test_the_hold_of_the_rest_covers_the_longer_prompt() -> None:
    box = box_of([piece("One " * 4_000), CUT], [piece("two."), answer("two.")])
    asyncio.run(box.items(asked()))
    first, second = [event for event in box.events if event.kind == "admitted"]
    assert second.prompt_tokens > first.prompt_tokens + 3_000  # type: ignore[attr-defined]  # it is an Admitted


def test_an_error_before_the_stream_stays_what_it_is() -> None:
    with pytest.raises(PaymasterError) as caught:
        asyncio.run(box_of([failure(FailureKind.BAD_REQUEST)], [answer()]).items(asked()))
    assert not isinstance(caught.value, StreamBroken)
