"""An event that is like the one before, but for a piece of text, is not looked at again: what comes of a stream stays the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.accounting.tokens.families import tokenizer_for
from paymaster.dialects.chat.normal.text_runs import ChunkRun, DeltaRun
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply
from paymaster.gateway.dialects.anthropic_messages import AnthropicMessages
from paymaster.gateway.dialects.openai_chat import OpenAIChat
from paymaster.gateway.dialects.openai_responses import OpenAIResponses
from paymaster.providers import openai_http
from paymaster.registry.models import Dialect, Model, Timeouts
from paymaster.routing.failures import Failure

Event = dict[str, Any]
HEAD: Event = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
LIMITS = Timeouts(connect_ms=1_000, first_token_ms=1_000, between_chunks_ms=1_000, total_ms=1_000)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(delta: object, ending: str | None = None, choice: Event | None = None, **around: object) -> Event:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": ending, **(choice or {})}], **around}


def call_piece(index: int, arguments: str, name: str | None = None) -> Event:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return chunk({"tool_calls": [{"index": index, "type": "function", "function": function, **({"id": f"c{index}"} if name else {})}]})


CHUNKS: list[Event] = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a"}),
    chunk({"content": "b"}),
    chunk({"content": "\u00e9\U0001f600"}),
    chunk({"content": ""}),
    chunk({"content": None}),
    chunk({"content": "a", "reasoning_content": None}),
    chunk({"content": "b", "reasoning_content": None}),
    chunk({"content": None, "reasoning_content": "t"}),
    chunk({"reasoning_content": "t"}),
    chunk({"reasoning_content": "u"}),
    chunk({"role": "assistant", "content": "a"}),
    chunk({"role": "user", "content": "a"}),
    chunk({"refusal": "no"}),
    chunk({"content": [{"type": "text", "text": "a"}]}),
    chunk({"content": "a", "x": [1]}),
    chunk({"content": "a"}, choice={"logprobs": {"content": [{"token": "a"}]}}),
    chunk({"content": "a"}, choice={"logprobs": None, "stop_reason": None}),
    chunk({"content": "a"}, choice={"usage": USAGE}),
    chunk({"content": "a"}, choice={"index": 1}),
    chunk({"content": "a"}, choice={"text": "z"}),
    chunk({"content": "a"}, choice={"error": {"message": "x"}}),
    chunk({"content": "a"}, choice={"content_filter_results": {"hate": {"filtered": False}}}),
    chunk({"content": "a"}, usage=USAGE),
    chunk({"content": "b"}, usage={**USAGE, "completion_tokens": 3}),
    chunk({"content": "a"}, usage=None, obfuscation="xy"),
    chunk({"content": "b"}, usage=None, obfuscation="z"),
    chunk({"content": "a"}, service_tier="flex"),
    chunk({"content": "a"}, created=8),
    chunk({"content": "a"}, created=None),
    chunk({"content": "a"}, id="c2"),
    chunk({"content": "a"}, model="n"),
    chunk({"content": "a"}, provider="p", eval_count=3, prompt_eval_count=4),
    chunk({"content": "a"}, data={"usage": USAGE}),
    chunk({"content": "a"}, error={"message": "x", "code": 502}),
    {**HEAD, "choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
    {**HEAD, "choices": [3]},
    {**HEAD, "choices": []},
    {**HEAD, "choices": [], "usage": USAGE},
    {"choices": [{"delta": {"content": "a"}}]},
    call_piece(0, "", "f"),
    call_piece(0, '{"a":'),
    call_piece(0, "1}"),
    call_piece(1, "{}", "g"),
    chunk({}, "stop"),
    chunk({}, "tool_calls"),
]


def event(kind: str, **fields: object) -> Event:
    return {"type": kind, **fields}


def text_delta(text: object, index: int = 0, **more: object) -> Event:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": text, **more})


MESSAGES: list[Event] = [
    event("message_start", message={"id": "m1", "model": "m", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("content_block_start", index=0, content_block={"type": "text", "text": "a"}),
    text_delta("a"),
    text_delta("b"),
    text_delta(""),
    text_delta(None),
    text_delta("a", index=1),
    text_delta("a", note="x"),
    text_delta("a") | {"usage": {"output_tokens": 2}},
    {"index": 0, "delta": {"type": "text_delta", "text": "a"}},
    event("content_block_delta", index=0, delta="a"),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "t"}),
    event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "s"}),
    event("content_block_start", index=1, content_block={"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
    event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": "{}"}),
    event("content_block_stop", index=0),
    event("content_block_stop", index=1),
    event("ping"),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9}),
    event("message_stop"),
    event("error", error={"type": "overloaded_error", "message": "x"}),
]
PLACE = {"item_id": "i", "output_index": 0, "content_index": 0}
ITEM = {"id": "i", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ab"}]}
RESPONSES: list[Event] = [
    event("response.created", response={"id": "r1", "created_at": 7, "model": "m"}),
    event("response.in_progress", response={"id": "r1"}),
    event("response.output_item.added", output_index=0, item={"id": "i", "type": "message", "content": []}),
    event("response.output_text.delta", sequence_number=4, delta="a", logprobs=[], **PLACE),
    event("response.output_text.delta", sequence_number=5, delta="b", logprobs=[], obfuscation="x", **PLACE),
    event("response.output_text.delta", delta="b", logprobs=[{"token": "b"}], **PLACE),
    event("response.output_text.delta", delta="", **PLACE),
    event("response.output_text.delta", delta={"text": "b"}, **PLACE),
    event("response.output_text.delta", delta="c", **(PLACE | {"output_index": 1})),
    event("response.refusal.delta", delta="no", **PLACE),
    event("response.reasoning_summary_part.added", item_id="q", output_index=1, summary_index=1),
    event("response.reasoning_summary_text.delta", item_id="q", output_index=1, summary_index=0, delta="t"),
    event("response.reasoning_summary_text.delta", item_id="q", output_index=1, summary_index=0, delta="u"),
    event("response.output_item.done", output_index=1, item={"id": "q", "type": "reasoning", "summary": [], "encrypted_content": "e"}),
    event("response.output_item.done", output_index=0, item=ITEM),
    event(
        "response.completed",
        response={"id": "r1", "status": "completed", "output": [ITEM], "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}},
    ),
]
FRONT_ENDS = {Dialect.CHAT: OpenAIChat(), Dialect.MESSAGES: AnthropicMessages(), Dialect.RESPONSES: OpenAIResponses()}
REQUESTS: dict[Dialect, Event] = {
    Dialect.CHAT: {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    Dialect.MESSAGES: {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    Dialect.RESPONSES: {"model": "m", "input": "Hi"},
}
USAGE_APIS = {Dialect.CHAT: "openai.chat", Dialect.MESSAGES: "anthropic.messages", Dialect.RESPONSES: "openai.responses"}
EVENTS = {Dialect.CHAT: CHUNKS, Dialect.MESSAGES: MESSAGES, Dialect.RESPONSES: RESPONSES}


class NoRun(ChunkRun):
    """Finds no event like the one before."""

    def text(self, event: object) -> None:
        """None, always."""


class Answer:
    """An endpoint's answer, which comes in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.status, self.headers = 200, {"content-type": "text/event-stream"}

    async def read(self, wait_ms: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def expect_end(self) -> None:
        pass

    def close(self) -> None:
        """Nothing is open."""


class Endpoint:
    """A transport whose endpoint always sends the same."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def post(self, *_: object, **__: object) -> Answer:
        return Answer([*self._pieces])

    async def close(self) -> None:
        """Nothing is open."""


def read(dialect: Dialect, events: list[Event], together: int) -> list[object]:
    """What comes of a stream of these events, so many at once: the chunks, the usage so far, the client's bytes, the answer."""
    lines = [b"event: %s\ndata: %s\n\n" % (str(each.get("type", "")).encode(), orjson.dumps(each)) for each in events]
    pieces = [b"".join(lines[start : start + together]) for start in range(0, len(lines), together)]
    model = Model(
        name="m", provider="vllm", model_id="m", base_url="http://127.0.0.1:1/v1", adapter="openai_http", dialect=dialect,
        usage_api=USAGE_APIS[dialect], tokenizer=tokenizer_for("openai", "gpt-4o"),
    )  # fmt: skip
    provider = openai_http.OpenAIHttp(Endpoint(pieces), now_ms=lambda: 0)
    front_end = FRONT_ENDS[dialect]
    writer = front_end.pieces(front_end.read({**REQUESTS[dialect], "stream": True}))

    async def collect() -> list[object]:
        found: list[object] = []
        async for item in provider.stream(ProviderCall(model, {"model": "m"}, LIMITS, "call")):
            if isinstance(item, ProviderChunk):
                assert item.so_far is not None
                usage = (item.so_far.latest, item.so_far.delivered_tokens, item.so_far.usage, item.so_far.finished, item.so_far.prompt)
                native = item.native and item.native._replace(more_text=False)
                found.append((orjson.dumps(item.body), item.more, usage, native, writer.chunk(item, "m")))
            else:
                found.append(item if isinstance(item, Failure) else _shown(item))
        return found

    return asyncio.run(collect())


def _shown(reply: object) -> ProviderReply:
    """The reply without OpenAI's padding, of which any may be kept."""
    assert isinstance(reply, ProviderReply)
    return replace(reply, body={name: value for name, value in reply.body.items() if name != "obfuscation"})


@pytest.mark.parametrize("dialect", list(Dialect))
@given(data=st.data())
def test_a_stream_comes_out_the_same_without_looking_at_each_event(dialect, data):
    known = st.integers(0, len(EVENTS[dialect]) - 1)
    picked = data.draw(st.lists(st.tuples(known, st.integers(1, 3)), max_size=12))
    events = [EVENTS[dialect][0], *(EVENTS[dialect][index] for index, times in picked for _ in range(times))]
    together = data.draw(st.sampled_from([1, 3, 50]))
    found = read(dialect, events, together)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_http, "ChunkRun", NoRun)
        patch.setattr(openai_http, "DeltaRun", NoRun)
        assert found == read(dialect, events, together)


@pytest.mark.parametrize(
    ("dialect", "first", "second"),
    [
        (Dialect.CHAT, chunk({"content": "a"}), chunk({"content": "b"})),
        (Dialect.CHAT, chunk({"content": "a"}, obfuscation="x"), chunk({"content": "b"}, obfuscation="yz")),
        (Dialect.CHAT, chunk({"reasoning_content": "a"}, usage=None), chunk({"reasoning_content": "b"}, usage=None)),
        (Dialect.CHAT, chunk({"content": "a", "reasoning_content": None}), chunk({"content": "b", "reasoning_content": None})),
        (Dialect.MESSAGES, text_delta("a"), text_delta("b")),
        (Dialect.RESPONSES, RESPONSES[3], RESPONSES[4]),
    ],
)
def test_nearly_every_event_of_a_text_is_like_the_one_before(dialect, first, second):
    run = ChunkRun() if dialect is Dialect.CHAT else DeltaRun()
    run.begin(first, first if dialect is Dialect.CHAT else chunk({"content": "a"}))
    assert run.text(second) == "b"
    assert run.chunk(second, "b")["choices"] == [{"index": 0, "delta": {run.name: "b", **_nulls(second)}, "finish_reason": None}]
    run.end()
    assert run.text(second) is None


@pytest.mark.parametrize(
    ("dialect", "first", "second"),
    [
        (Dialect.CHAT, chunk({"content": "a"}), chunk({"content": "b"}, usage={"prompt_tokens": 1})),
        (Dialect.CHAT, chunk({"content": "a"}), {**chunk({"content": "b"}), "choices": []}),
        (Dialect.CHAT, chunk({"content": "a"}), chunk({"content": "b", "role": "assistant"})),
        (Dialect.CHAT, chunk({"content": "a"}), chunk({"content": ""})),
        (Dialect.MESSAGES, text_delta("a"), {**text_delta("b"), "index": 7}),
        (Dialect.MESSAGES, text_delta("a"), {**text_delta("b"), "delta": {"type": "thinking_delta", "thinking": "b"}}),
        (Dialect.MESSAGES, text_delta("a"), {**text_delta("b"), "delta": "b"}),
        (Dialect.MESSAGES, text_delta("a"), text_delta("")),
        (Dialect.RESPONSES, RESPONSES[3], {**RESPONSES[4], "delta": {"text": "b"}}),
    ],
)
def test_an_event_that_differs_in_more_than_its_text_is_read_in_full(dialect, first, second):
    run = ChunkRun() if dialect is Dialect.CHAT else DeltaRun()
    run.begin(first, first if dialect is Dialect.CHAT else chunk({"content": "a"}))
    assert run.text(first) == "a"
    assert run.text(second) is None


@pytest.mark.parametrize(
    ("dialect", "first", "as_chunk"),
    [
        (Dialect.CHAT, chunk({"content": "a"}, usage={"prompt_tokens": 1}), None),
        (Dialect.CHAT, {**chunk({"content": "a"}), "choices": []}, None),
        (Dialect.CHAT, chunk({"content": "a", "reasoning_content": "b"}), None),
        (Dialect.CHAT, chunk({"tool_calls": []}), None),
        (Dialect.MESSAGES, {**text_delta("a"), "usage": {"output_tokens": 1}}, chunk({"content": "a"})),
        (Dialect.MESSAGES, text_delta("a"), chunk({"content": "b"})),
        (Dialect.MESSAGES, text_delta("a"), {**chunk({"content": "a"}), "choices": []}),
    ],
)
def test_no_run_begins_with_an_event_that_says_more_than_a_text(dialect, first, as_chunk):
    run = ChunkRun() if dialect is Dialect.CHAT else DeltaRun()
    run.begin(first, as_chunk or first)
    assert run.text(first) is None


def _nulls(event: Event) -> Event:
    return {"reasoning_content": None} if "choices" in event and len(event["choices"][0]["delta"]) > 1 else {}
