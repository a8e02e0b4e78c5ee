"""The real litellm gets one request per call, and every outcome is a reply or a failure; blocking and async, whole and streamed."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import time
from types import SimpleNamespace

import pytest

from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.errors import ExtraMissing
from paymaster.flow.ports import ProviderChunk, ProviderReply
from paymaster.providers import litellm_import
from paymaster.providers.litellm_adapter import LitellmProvider, litellm_name
from paymaster.providers.litellm_failures import failure_of
from paymaster.providers.litellm_import import import_litellm
from paymaster.registry.models import Model
from paymaster.routing.failures import Billed, Failure, FailureKind

pytestmark = [
    pytest.mark.xdist_group("litellm"),  # importing it takes seconds: one worker is enough
    pytest.mark.filterwarnings("ignore"),  # litellm's own
]
CANARY = "sk-canary-Zq81xKpW93hfTT02mvLd"
SCRIPT = """
models:
  m:
    prices: {usd_per_1m_input: 1, usd_per_1m_output: 2}
    answers: [{text: "There is a file.", tool_calls: [{name: bash, arguments: {command: ls}}], reasoning: hm}]
    faults: %s
"""
TOOLS = [
    {"type": "function", "function": {"name": "bash", "parameters": {"type": "object", "properties": {"command": {"type": "string"}}}}}
]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def litellm():
    asyncio.set_event_loop(None)  # or its blocking calls make a loop for this thread, which nobody closes
    return import_litellm()


class Caller:
    def __init__(self, litellm, *, blocking: bool) -> None:
        self.blocking = blocking
        self.provider = LitellmProvider(litellm, blocking=blocking, now_ms=now_ms)

    def run(self, coroutine):
        if not self.blocking:
            return asyncio.run(coroutine)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("a blocking provider suspended")

    def send(self, call):
        return self.run(self.provider.send(call))

    def stream(self, call):
        async def collect():
            return [item async for item in self.provider.stream(call)]

        items = self.run(collect())
        return items[:-1], items[-1]


@pytest.fixture(params=["blocking", "async"])
def lite(request, litellm):
    return Caller(litellm, blocking=request.param == "blocking")


@pytest.fixture
def lite_call(make_call):
    def make(base_url: str, **options):
        options.setdefault("provider", "openai")
        # litellm's first call of each kind loads more of itself, for seconds on a busy machine.
        options.setdefault("limits", {"first_token_ms": 60_000, "total_ms": 90_000})
        return make_call(base_url, adapter="litellm", usage_api="litellm.usage", **options)

    return make


def test_litellm_is_set_to_look_nothing_up(litellm):
    assert {name for name in os.environ if name.startswith("LITELLM_LOCAL_")} == {
        "LITELLM_LOCAL_MODEL_COST_MAP",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS",
    }
    assert litellm.suppress_debug_info is True
    assert litellm.disable_hf_tokenizer_download is True


def test_an_answer_with_tools_is_complete_and_counted(lite, lite_call, serve):
    server = serve(SCRIPT % "[]")
    reply = lite.send(lite_call(server.base_url, body={"tools": TOOLS, "max_tokens": 500, "unknown_field": None}))
    assert isinstance(reply, ProviderReply), reply
    message = reply.body["choices"][0]["message"]
    assert message["content"] == "There is a file."
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"command": "ls"}
    line = server.bill(lines=True)["lines"][0]
    assert reply.usage == Usage(input_tokens=line["prompt_tokens"], output_tokens=line["completion_tokens"])
    assert reply.finish_reason == "tool_calls"


def test_a_stream_is_assembled_and_counted(lite, lite_call, serve):
    server = serve(SCRIPT % "[]")
    chunks, reply = lite.stream(lite_call(server.base_url, body={"tools": TOOLS}))
    assert isinstance(reply, ProviderReply), reply
    assert all(isinstance(chunk, ProviderChunk) for chunk in chunks)
    assert len(chunks) > 3
    message = reply.body["choices"][0]["message"]
    assert message["content"] == "There is a file."
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"command": "ls"}
    line = server.bill(lines=True)["lines"][0]
    assert isinstance(reply.usage, Usage)
    assert reply.usage.completion_tokens == line["completion_tokens"]
    assert reply.first_token_ms is not None


@pytest.mark.parametrize(
    ("fault", "kind", "billed"),
    [
        ("{kind: throttle, retry_after_s: 3}", FailureKind.THROTTLED, Billed.NO),
        ("{kind: quota}", FailureKind.QUOTA_EXHAUSTED, Billed.NO),
        ("{kind: overloaded}", FailureKind.OVERLOADED, Billed.NO),
        ("{kind: server_error}", FailureKind.SERVER_ERROR, Billed.MAYBE),
        ("{kind: context_too_long}", FailureKind.CONTEXT_TOO_LONG, Billed.NO),
        ("{kind: content_filter}", FailureKind.CONTENT_POLICY, Billed.NO),
        ("{kind: auth}", FailureKind.AUTHENTICATION, Billed.NO),
        ("{kind: permission}", FailureKind.PERMISSION, Billed.NO),
        ("{kind: unknown_model}", FailureKind.UNKNOWN_MODEL, Billed.NO),
        ("{kind: bad_request}", FailureKind.BAD_REQUEST, Billed.NO),
        ("{kind: reset}", FailureKind.CONNECTION_LOST, Billed.MAYBE),
        ("{kind: silence}", FailureKind.TIMED_OUT, Billed.MAYBE),
        ("{kind: empty}", FailureKind.UNUSABLE_ANSWER, Billed.YES),
    ],
)
def test_a_fault_is_classified_and_its_request_is_sent_once(lite, lite_call, serve, fault, kind, billed):
    server = serve(SCRIPT % f"[{fault}]")
    failure = lite.send(lite_call(server.base_url, limits={"total_ms": 700, "first_token_ms": 700}))
    assert isinstance(failure, Failure), failure
    assert (failure.kind, failure.billed) == (kind, billed), failure
    assert server.bill()["requests"] == 1
    if "retry_after" in fault:
        assert failure.retry_after_ms == 3_000
    assert CANARY not in repr(failure)


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("throttle", {FailureKind.THROTTLED}),
        ("cut", {FailureKind.CONNECTION_LOST}),
        ("stall", {FailureKind.TIMED_OUT}),
        ("malformed_chunk", {FailureKind.UNUSABLE_ANSWER, FailureKind.SERVER_ERROR, FailureKind.CONNECTION_LOST}),
        ("error_in_stream", {FailureKind.SERVER_ERROR, FailureKind.CONNECTION_LOST}),
        ("slow_first_token", {FailureKind.TIMED_OUT}),
    ],
)
def test_a_broken_stream_is_never_complete(lite, lite_call, serve, fault, kinds):
    server = serve(SCRIPT % f"[{{kind: {fault}}}]")
    limits = {"first_token_ms": 2_000, "between_chunks_ms": 700, "total_ms": 6_000}
    _, failure = lite.stream(lite_call(server.base_url, limits=limits))
    assert isinstance(failure, Failure), failure
    assert failure.kind in kinds, failure
    assert server.bill()["requests"] == 1


def test_a_stream_without_usage_has_unknown_usage(lite, lite_call, serve):
    _, reply = lite.stream(lite_call(serve(SCRIPT % "[{kind: no_usage}]").base_url))
    assert isinstance(reply, ProviderReply)
    assert isinstance(reply.usage, UnknownUsage)


def test_a_stream_without_a_finish_reason_is_not_complete(lite, lite_call, raw, wire):
    part = (
        b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'
    )
    _, failure = lite.stream(lite_call(raw(wire.events(part, b"data: [DONE]\n\n")).base_url))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.CONNECTION_LOST
    assert failure.delivered_chars == 3


@pytest.mark.parametrize(
    ("word", "ending"),
    [("max_tokens", "length"), ("model_length", "length"), ("eos_token", "stop"), ("unheard-of", "stop"), ("abort", None), ("error", None)],
)
def test_an_ending_is_the_provider_s_and_not_litellm_s(lite, lite_call, raw, wire, word, ending):
    head = {"id": "a", "created": 1, "model": "m"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

    def answer(kind: str, inner: str, ending: str | None, **top: object) -> bytes:
        choice = {"index": 0, inner: {"role": "assistant", "content": "Hel"}, "finish_reason": ending}
        return json.dumps({**head, "object": kind, "choices": [choice], **top}).encode()

    whole = lite.send(lite_call(raw(wire.whole(answer("chat.completion", "message", word, usage=usage))).base_url))
    chunks = [answer("chat.completion.chunk", "delta", None), answer("chat.completion.chunk", "delta", word, usage=usage), b"[DONE]"]
    _, streamed = lite.stream(lite_call(raw(wire.events(*(b"data: " + chunk + b"\n\n" for chunk in chunks))).base_url))
    for outcome in (whole, streamed):
        if ending is None:
            assert isinstance(outcome, Failure), outcome
            assert outcome.kind is FailureKind.SERVER_ERROR
        else:
            assert isinstance(outcome, ProviderReply), outcome
            assert outcome.finish_reason == ending


def test_the_pieces_of_calls_are_openai_s(lite, lite_call, raw, wire):
    def event(**delta: object) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "tool_calls"}
        return (
            b"data: "
            + json.dumps({"id": "a", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": [choice]}).encode()
            + b"\n\n"
        )

    calls = [{"index": 0, "id": "", "type": "function", "function": {"name": name, "arguments": '{"p":1}'}} for name in ("read", "write")]
    sent = wire.events(*(event(tool_calls=[call]) for call in calls), event(), b"data: [DONE]\n\n")
    _, reply = lite.stream(lite_call(raw(sent).base_url))
    assert isinstance(reply, ProviderReply), reply
    made = reply.body["choices"][0]["message"]["tool_calls"]
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in made] == [("read", '{"p":1}'), ("write", '{"p":1}')]
    assert len({call["id"] for call in made}) == 2


def test_a_refused_connection_costs_nothing(lite, lite_call):
    failure = lite.send(lite_call("http://127.0.0.1:9/v1"))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_REFUSED, Billed.NO)


def test_an_echoed_key_is_masked(lite, lite_call, raw, wire):
    body = json.dumps({"error": {"message": f"key {CANARY} is wrong", "code": "invalid_api_key"}}).encode()
    failure = lite.send(lite_call(raw(wire.whole(body, status="401 No")).base_url))
    assert failure.kind is FailureKind.AUTHENTICATION
    assert CANARY not in repr(failure)


def test_a_caller_that_leaves_a_stream_stops_the_provider(lite, lite_call, raw, wire):
    part = (
        b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'
    )
    endpoint = raw([wire.events(part, part), 10.0])

    async def first_only():
        generator = lite.provider.stream(lite_call(endpoint.base_url))
        chunk = await anext(generator)
        await generator.aclose()
        return chunk

    assert isinstance(lite.run(first_only()), ProviderChunk)
    assert endpoint.gone.wait(3)


ANTHROPIC = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "text", "text": "Yes."}],
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 5},
}  # fmt: skip


def test_anthropics_own_api_is_called_and_its_cached_tokens_are_counted(lite, lite_call, raw, wire):
    endpoint = raw(wire.whole(json.dumps(ANTHROPIC).encode(), extra="anthropic-ratelimit-requests-remaining: 49\r\n"))
    call = lite_call(endpoint.base_url.removesuffix("/v1"), provider="anthropic", name="claude-sonnet-4-5", body={"max_tokens": 50})
    reply = lite.send(call)
    assert isinstance(reply, ProviderReply), reply
    assert endpoint.requests[0].startswith(b"POST /v1/messages")
    assert reply.body["choices"][0]["message"]["content"] == "Yes."
    assert (reply.usage.input_tokens, reply.usage.cache_read_tokens, reply.usage.cache_write_tokens, reply.usage.output_tokens) == (
        10,
        100,
        20,
        5,
    )
    assert reply.rate.remaining_requests == 49


def anthropic_events(*, whole: bool) -> list[bytes]:
    events = [
        {
            "type": "message_start",
            "message": {**ANTHROPIC, "content": [], "stop_reason": None, "usage": {**ANTHROPIC["usage"], "output_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yes."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in (events if whole else events[:3])]


def test_a_stream_of_anthropics_own_api_is_assembled_and_counted(lite, lite_call, raw, wire):
    endpoint = raw(wire.events(*anthropic_events(whole=True)))
    _, reply = lite.stream(
        lite_call(endpoint.base_url.removesuffix("/v1"), provider="anthropic", name="claude-sonnet-4-5", body={"max_tokens": 50})
    )
    assert isinstance(reply, ProviderReply), reply
    assert reply.body["choices"][0]["message"]["content"] == "Yes."
    assert (reply.usage.input_tokens, reply.usage.cache_read_tokens, reply.usage.cache_write_tokens, reply.usage.output_tokens) == (
        10,
        100,
        20,
        5,
    )


PASSES = {
    "input_tokens": 500, "output_tokens": 300, "iterations": [
        {"type": "message", "input_tokens": 500, "output_tokens": 300},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 800, "output_tokens": 200},
    ],
}  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
def test_the_passes_of_another_model_stay_apart(lite, lite_call, raw, wire, streamed):
    events = anthropic_events(whole=True)
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": PASSES}
    events[4] = f"event: message_delta\ndata: {json.dumps(delta)}\n\n".encode()
    sent = wire.events(*events) if streamed else wire.whole(json.dumps({**ANTHROPIC, "usage": PASSES}).encode())
    endpoint = raw(sent)
    call = lite_call(endpoint.base_url.removesuffix("/v1"), provider="anthropic", name="claude-sonnet-4-5", body={"max_tokens": 50})
    reply = lite.stream(call)[1] if streamed else lite.send(call)
    assert isinstance(reply, ProviderReply), reply
    assert reply.usage.parts == (
        Usage(input_tokens=500, output_tokens=300),
        Usage(input_tokens=800, output_tokens=200, model="claude-opus-4-8"),
    )


def test_a_cost_that_litellm_computes_itself_is_not_the_provider_s(lite, lite_call, raw, wire):
    endpoint = raw(wire.events(*anthropic_events(whole=True)))
    call = lite_call(endpoint.base_url.removesuffix("/v1"), provider="anthropic", name="claude-sonnet-4-5", body={"max_tokens": 50})
    _, reply = lite.stream(call)
    assert reply.usage.reported_cost_usd is None
    assert reply.usage.completion_tokens == 5


def test_a_stream_of_anthropics_own_api_that_ends_early_is_not_complete(lite, lite_call, raw, wire):
    endpoint = raw(wire.events(*anthropic_events(whole=False)))
    call = lite_call(endpoint.base_url.removesuffix("/v1"), provider="anthropic", name="claude-sonnet-4-5", body={"max_tokens": 50})
    failure = lite.stream(call)[1]
    assert isinstance(failure, Failure), failure
    assert failure.billed is not Billed.NO


def test_anthropics_errors_are_classified(lite, lite_call, raw, wire):
    body = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}).encode()
    endpoint = raw(wire.whole(body, status="529 Overloaded", extra="retry-after: 7\r\n"))
    failure = lite.send(
        lite_call(endpoint.base_url.removesuffix("/v1"), provider="anthropic", name="claude-sonnet-4-5", body={"max_tokens": 5})
    )
    assert (failure.kind, failure.retry_after_ms) == (FailureKind.OVERLOADED, 7_000)
    assert len(endpoint.requests) == 1


def test_litellms_name_of_a_model_has_its_prefix_of_the_provider(make_call):
    def name_of(provider: str, model_id: str) -> str:
        return litellm_name(make_call("http://x/v1", provider=provider, model_id=model_id).model)

    assert name_of("google", "gemini-2.5-pro") == "gemini/gemini-2.5-pro"
    assert name_of("anthropic", "anthropic/claude-x") == "anthropic/claude-x"
    assert name_of("somebody", "x") == "somebody/x"
    assert isinstance(make_call("http://x/v1").model, Model)


# -------------------------------------------------------------------------------------------------- without the real one


def test_a_missing_extra_is_reported_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mcp" else object())
    with pytest.raises(ExtraMissing, match=r"mcp can't be imported\n.*pip install 'paymaster\[litellm\]'"):
        import_litellm()


def test_a_compromised_release_is_not_imported(monkeypatch):
    monkeypatch.setattr(litellm_import, "version", lambda _: "1.82.8")
    with pytest.raises(ExtraMissing, match="compromised"):
        import_litellm()


def test_the_users_choice_of_price_table_is_kept(monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "False")
    monkeypatch.setattr(importlib, "import_module", lambda _: SimpleNamespace())
    import_litellm()
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "False"


class StrangeError(Exception):
    """Somebody else's."""

    def __init__(self, message: str = "", *, status_code: object = None, response: object = None) -> None:
        super().__init__(message)
        self.status_code, self.response = status_code, response


@pytest.mark.parametrize(
    ("error", "kind", "billed"),
    [
        (StrangeError("odd"), FailureKind.SERVER_ERROR, Billed.MAYBE),
        (StrangeError("slow", status_code=429, response=SimpleNamespace(headers={"Retry-After": "2"})), FailureKind.THROTTLED, Billed.NO),
        (StrangeError("x", status_code="429"), FailureKind.SERVER_ERROR, Billed.MAYBE),
        (TimeoutError(), FailureKind.TIMED_OUT, Billed.MAYBE),
        (KeyError("choices"), FailureKind.SERVER_ERROR, Billed.MAYBE),
    ],
)
def test_any_exception_becomes_a_failure(error, kind, billed):
    failure = failure_of(error, now_ms=0)
    assert (failure.kind, failure.billed) == (kind, billed)
    assert failure.message


class ContextWindowExceededError(StrangeError):
    """Named as litellm names it."""


class HTTPStatusError(StrangeError):
    """Named as httpx names it."""


class UnreadStream:
    """An answer of httpx whose body was not read."""

    status_code, headers = 402, {"Retry-After": "9"}

    @property
    def content(self) -> bytes:
        raise RuntimeError


def test_litellms_precise_classes_win():
    assert failure_of(ContextWindowExceededError("?", status_code=400), now_ms=0).kind is FailureKind.CONTEXT_TOO_LONG


def test_the_providers_own_answer_wins_over_litellms_status():
    error = StrangeError("wrapped", status_code=500)
    error.__cause__ = HTTPStatusError(response=UnreadStream())
    failure = failure_of(error, now_ms=0)
    assert (failure.kind, failure.billed, failure.retry_after_ms) == (FailureKind.QUOTA_EXHAUSTED, Billed.NO, 9_000)
    error.__cause__ = HTTPStatusError(response=SimpleNamespace(status_code="?", headers={}))
    assert failure_of(error, now_ms=0).kind is FailureKind.SERVER_ERROR


@pytest.mark.parametrize(
    "retry_after", ["0", "-1", "nan", "99999999", "9" * 5_000, "Fri, 31 Dec 2999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"]
)
def test_a_wait_that_nobody_can_mean_is_not_stated(retry_after):
    """By the provider's own answer, and by litellm's copy of its headers."""
    headers = {"llm_provider-retry-after": retry_after}
    error = StrangeError("slow down", status_code=429)
    error.litellm_response_headers = headers
    for step in (error, StrangeError("wrapped", status_code=500)):
        if step is not error:
            step.__cause__ = HTTPStatusError(response=SimpleNamespace(status_code=429, headers=headers, content=b"{}"))
        failure = failure_of(step, now_ms=0)
        assert (failure.kind, failure.retry_after_ms) == (FailureKind.THROTTLED, None)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "litellm.MidStreamFallbackError: litellm.APIConnectionError: APIConnectionError: OpenAIException - the stream broke",
            FailureKind.SERVER_ERROR,
            "the stream broke",
        ),
        ("MidStreamFallbackError: MidStreamFallbackError: ", FailureKind.SERVER_ERROR, "litellm failed without a message"),
        (
            (
                'litellm.InternalServerError: AnthropicException - {"error":{"type":"overloaded_error","message":"Full"}}. '
                "Handle with `litellm.InternalServerError`."
            ),
            FailureKind.OVERLOADED,
            "Full",
        ),
        (
            'litellm.APIConnectionError: GroqException - {"error":{"message":"Failed to call a function.","code":"tool_use_failed"}}',
            FailureKind.UNUSABLE_ANSWER,
            "Failed to call a function.",
        ),
        ("litellm.APIConnectionError: 'message'\nTraceback (most recent call last):\n  File", FailureKind.SERVER_ERROR, "'message'"),
        (
            'litellm.APIError: APIError: VertexAIException BadRequestError - b\'{"error": {"message": "no", "code": 400}}\'',
            FailureKind.BAD_REQUEST,
            "no",
        ),
        ("Cloudflare Exception - no such route", FailureKind.SERVER_ERROR, "no such route"),
        ("OllamaException: busy Received Model Group=x\nAvailable Model Group Fallbacks=None", FailureKind.SERVER_ERROR, "busy"),
        ("Error in the request: slow", FailureKind.SERVER_ERROR, "Error in the request: slow"),
    ],
)
def test_users_get_the_providers_words_without_names_of_classes(text, kind, message):
    class MidStreamFallbackError(Exception):
        """Named as litellm names it."""

    MidStreamFallbackError.__module__ = "litellm.exceptions"
    failure = failure_of(MidStreamFallbackError(text), now_ms=0)
    assert (failure.kind, failure.message, failure.billed) == (kind, message, Billed.MAYBE)


def test_a_failure_without_words_gets_some():
    assert failure_of(TimeoutError(), now_ms=0).message == "no answer within the time limit"
    assert failure_of(ConnectionRefusedError(), now_ms=0).message == "no connection"
    assert failure_of(KeyError("choices"), now_ms=0).message == "litellm failed with KeyError: 'choices'"


def test_a_refusal_with_litellms_status_is_shown_in_the_providers_words():
    error = StrangeError("litellm.RateLimitError: GroqException - slow down", status_code=429)
    assert failure_of(error, now_ms=0).message == "slow down"


def test_a_circular_chain_of_errors_ends():
    first, second = StrangeError("a"), StrangeError("b")
    first.__cause__, second.__cause__ = second, first
    assert failure_of(first, now_ms=0).kind is FailureKind.SERVER_ERROR


def test_a_refused_connection_is_found_at_the_root_of_the_chain():
    error = StrangeError("wrapped", status_code=500)
    error.__cause__ = ConnectionRefusedError("no")
    assert failure_of(error, now_ms=0).billed is Billed.NO


@pytest.mark.parametrize("keep", [(0, 1, 2, 3, 5), (0, 1, 2, 3)])
def test_usage_of_anthropics_own_stream_that_output_came_after_is_unknown(lite, lite_call, raw, wire, keep):
    """Without a `message_delta` at its end, litellm counts the output itself, and the provider's count is that of the start."""
    events = anthropic_events(whole=True)
    endpoint = raw(wire.events(*(events[number] for number in keep)))
    call = lite_call(endpoint.base_url.removesuffix("/v1"), provider="anthropic", name="claude-sonnet-4-5", body={"max_tokens": 50})
    chunks, end = lite.stream(call)
    assert not isinstance(end.usage, Usage)
    assert chunks[0].so_far.prompt is not None
    assert all("usage" not in chunk.body for chunk in chunks)
