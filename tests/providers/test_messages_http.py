"""Anthropic's messages over HTTP, for blocking and async callers: headers, bodies, usage, errors and broken streams."""

from __future__ import annotations

import json

import pytest

from anthropic_server import AnthropicServer, answer, events_of, text
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.dialects.state import owner_of, read_stamp
from paymaster.flow.ports import ProviderReply
from paymaster.operations import Operation
from paymaster.providers.endpoints import endpoint_url, request_headers
from paymaster.registry.models import Dialect
from paymaster.routing.failures import Billed, Failure, FailureKind

CANARY = "sk-canary-Zq81xKpW93hfTT02mvLd"
CLAUDE = {"provider": "anthropic", "dialect": Dialect.MESSAGES, "usage_api": "anthropic.messages"}
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def claude(make_call):
    """A call of Claude at an address."""

    def make(base_url, body=None, **more):
        name = more.pop("name", "claude-opus-4-8")
        return make_call(f"{base_url}/v1", name, body={"messages": HELLO, "max_tokens": 50, **(body or {})}, **{**CLAUDE, **more})

    return make


def test_a_request_has_the_headers_that_the_api_wants(caller, claude):
    with AnthropicServer(answer(text("Hi."))) as server:
        body = {"betas": ["a-2026-01-01", "b-2026-01-01"], "stream_options": {"x": 1}}
        caller.send(claude(server.url, body, extra_headers={"Anthropic-Beta": "b-2026-01-01, c-2026-01-01"}))
    [headers], [sent] = server.headers, server.requests
    assert headers["x-api-key"] == CANARY
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["anthropic-beta"] == "a-2026-01-01,b-2026-01-01,c-2026-01-01"
    assert sent == {"model": "claude-opus-4-8", "max_tokens": 50, "messages": HELLO}
    # Compatible endpoints take either header.
    assert headers["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("beta", ["a\r\nX-Api-Key: other", "a\nb", "a\x00", "☃"])
def test_a_beta_that_is_no_header_is_refused_before_it_is_sent(caller, claude, beta):
    with AnthropicServer(answer(text("Hi."))) as server:
        failure = caller.send(claude(server.url, {"betas": [beta]}))
    assert isinstance(failure, Failure), failure
    assert (failure.kind, failure.billed, server.requests) == (FailureKind.BAD_REQUEST, Billed.NO, [])


def test_anthropic_itself_gets_the_key_once(make_call):

    model = make_call("https://api.anthropic.com/v1", "claude-opus-4-8", **{**CLAUDE, "dialect": Dialect.MESSAGES}).model
    headers = request_headers(model, CANARY, "agent")
    assert ("Authorization" in headers, headers["x-api-key"]) == (False, CANARY)
    assert endpoint_url(model, Operation.CHAT) == "https://api.anthropic.com/v1/messages"


USAGES = {
    "lifetimes": (
        {
            "input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        },
        Usage(input_tokens=10, output_tokens=5, cache_read_tokens=100, cache_write_5m_tokens=10, cache_write_1h_tokens=20),
    ),
    "searches": (
        {
            "input_tokens": 10, "output_tokens": 5, "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard",
            "inference_geo": "us", "output_tokens_details": {"thinking_tokens": 3},
        },
        Usage(input_tokens=10, output_tokens=5, web_search_requests=2, service_tier="standard", inference_geo="us", reasoning_tokens=3),
    ),
    "passes": (
        {
            "input_tokens": 10, "output_tokens": 5, "iterations": [
                {"type": "message", "input_tokens": 10, "output_tokens": 5},
                {"type": "advisor_message", "model": "claude-opus-5", "input_tokens": 8, "output_tokens": 2},
            ],
        },
        Usage(
            input_tokens=18, output_tokens=7,
            parts=(Usage(input_tokens=10, output_tokens=5), Usage(input_tokens=8, output_tokens=2, model="claude-opus-5")),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("usage", "expected"), USAGES.values(), ids=USAGES)
def test_usage_of_every_shape_is_counted(caller, claude, usage, expected, streamed):
    with AnthropicServer(answer(text("Hi."), usage=usage)) as server:
        call = claude(server.url)
        reply = caller.stream(call)[1] if streamed else caller.send(call)
    assert isinstance(reply, ProviderReply), reply
    assert reply.usage == expected
    assert reply.body["usage"]["completion_tokens"] == 5


def test_a_whole_answer_and_a_stream_are_the_same(caller, claude):
    blocks = (
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        text("Hi."),
        {"type": "tool_use", "id": "a", "name": "ls", "input": {}},
    )
    with AnthropicServer(answer(*blocks, stop="tool_use")) as server:
        whole = caller.send(claude(server.url))
        chunks, streamed = caller.stream(claude(server.url))
    assert isinstance(whole, ProviderReply)
    assert isinstance(streamed, ProviderReply), streamed
    assert (streamed.body["choices"], streamed.body["usage"]) == (whole.body["choices"], whole.body["usage"])
    assert (streamed.finish_reason, streamed.usage) == (whole.finish_reason, whole.usage)
    assert [chunk.native.body for chunk in chunks] == events_of(answer(*blocks, stop="tool_use"))
    assert whole.native.body["content"] == list(blocks)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (529, "overloaded_error", "Overloaded", FailureKind.OVERLOADED),
        (500, "api_error", "Internal server error", FailureKind.SERVER_ERROR),
        (429, "rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit", FailureKind.THROTTLED),
        (401, "authentication_error", "invalid x-api-key", FailureKind.AUTHENTICATION),
        (404, "not_found_error", "model: claude-x", FailureKind.UNKNOWN_MODEL),
        (400, "invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum", FailureKind.CONTEXT_TOO_LONG),
        (400, "invalid_request_error", "messages.0: bad", FailureKind.BAD_REQUEST),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", FailureKind.QUOTA_EXHAUSTED),
    ],
)
def test_an_error_has_its_kind(caller, claude, status, kind, message, expected):
    with AnthropicServer((status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})) as server:
        failure = caller.send(claude(server.url))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.billed) == (expected, Billed.MAYBE if status == 500 else Billed.NO)


def test_an_error_inside_a_stream_has_its_kind(caller, claude):
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with AnthropicServer([*events_of(answer(text("Hello.")))[:4], overloaded]) as server:
        chunks, failure = caller.stream(claude(server.url))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.delivered_chars) == (FailureKind.OVERLOADED, 3)
    assert chunks[-1].so_far.prompt.input_tokens == 12


@pytest.mark.parametrize("keep", [1, 2, 4, 6])
def test_a_cut_stream_is_a_failure_and_its_prompt_is_known(caller, claude, keep):
    with AnthropicServer(events_of(answer(text("Hello.")))[:keep]) as server:
        chunks, failure = caller.stream(claude(server.url))
    assert isinstance(failure, Failure), failure
    assert failure.kind is (FailureKind.CONNECTION_LOST if keep > 3 else FailureKind.UNUSABLE_ANSWER)
    assert (failure.usage, failure.billed) == (None, Billed.MAYBE)
    assert isinstance(chunks[-1].so_far.usage, UnknownUsage)
    assert chunks[-1].so_far.prompt.input_tokens == 12


def test_a_stream_that_lacks_only_its_last_event_is_whole(caller, claude):
    with AnthropicServer(events_of(answer(text("Hello.")))[:-1]) as server:
        reply = caller.stream(claude(server.url))[1]
    assert isinstance(reply, ProviderReply)
    assert reply.usage.output_tokens == 20


def test_pings_keep_no_silent_stream_alive(caller, claude, raw):
    events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events_of(answer(text("Hello.")))]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    endpoint = raw([head + b"".join(events[:4]), *[0.3, ping] * 8])
    call = claude(endpoint.base_url.removesuffix("/v1"), limits={"between_chunks_ms": 1_000})
    failure = caller.stream(call)[1]
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TIMED_OUT


def test_a_refusal_without_content_and_an_empty_answer_are_failures(caller, claude):
    for stop, kind in (("refusal", FailureKind.CONTENT_POLICY), ("end_turn", FailureKind.UNUSABLE_ANSWER)):
        with AnthropicServer(answer(stop=stop)) as server:
            failure = caller.send(claude(server.url))
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.billed) == (kind, Billed.YES)


def test_a_paused_answer_of_server_tools_alone_is_an_answer(caller, claude):
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    with AnthropicServer(answer(search, stop="pause_turn")) as server:
        whole, streamed = caller.send(claude(server.url)), caller.stream(claude(server.url))[1]
    assert isinstance(whole, ProviderReply), whole
    assert isinstance(streamed, ProviderReply), streamed
    assert whole.body["choices"] == streamed.body["choices"]


CALL = {"type": "tool_use", "id": "a", "name": "ls", "input": {"a": 1}}
ENDINGS = {
    "calls decide": ((CALL,), "end_turn", "tool_calls"), "no call": ((text("Hi."),), "tool_use", "stop"),
    "another server's word": ((text("Hi."),), "MAX_TOKENS", "length"), "given up": ((text("Hi."),), "abort", None),
}  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("blocks", "stop", "ending"), ENDINGS.values(), ids=ENDINGS)
def test_endings_of_compatible_endpoints_are_read_as_those_of_chat(caller, claude, blocks, stop, ending, streamed):
    with AnthropicServer(answer(*blocks, stop=stop)) as server:
        reply = caller.stream(claude(server.url))[1] if streamed else caller.send(claude(server.url))
    if ending is None:
        assert isinstance(reply, Failure)
        assert reply.kind is FailureKind.SERVER_ERROR
    else:
        assert reply.finish_reason == ending


def test_every_chunk_is_one_of_chat_completions(caller, claude):
    """A call whose arguments are no JSON is kept back until the next block: its event goes with the last of the chunks."""
    message = answer(CALL, text("Hi."), stop="tool_use")
    events = [{**event, "delta": {**event["delta"], "partial_json": "{"}} if "partial_json" in event.get("delta", {}) else event
              for event in events_of(message)]  # fmt: skip
    with AnthropicServer(events, message) as server:
        chunks, reply = caller.stream(claude(server.url))
        whole = caller.send(claude(server.url))
    heads = {(chunk.body["id"], chunk.body["created"], chunk.body["object"]) for chunk in chunks if chunk.body["choices"]}
    assert heads == {("msg_01", 0, "chat.completion.chunk")}
    assert (whole.body["created"], reply.body["id"]) == (0, "msg_01")
    assert [chunk.native.body for chunk in chunks if chunk.native is not None] == events


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", ["claude-opus-4-8", "glm-5"])
def test_what_another_model_than_claude_signed_is_stamped(caller, claude, name, streamed):
    """Clients of chat return it, also where a fallback to Claude follows, which refuses signatures that are not its own."""
    thoughts = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
        {"type": "thinking", "thinking": "Hm?", "signature": ""},
    ]  # fmt: skip
    with AnthropicServer(answer(*thoughts, text("Hi."))) as server:
        call = claude(server.url, name=name)
        reply = caller.stream(call)[1] if streamed else caller.send(call)
    blocks = reply.body["choices"][0]["message"]["thinking_blocks"]
    states = [read_stamp(str(block.get("signature") or block.get("data") or ""), Dialect.MESSAGES) for block in blocks]
    owner = "" if name.startswith("claude") else owner_of("anthropic", name)
    assert [(state.value, state.owner) for state in states] == [("s", owner), ("d", owner), ("", "")]
