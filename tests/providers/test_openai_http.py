"""Outcomes of an OpenAI-style endpoint, raw and scripted, as replies and failures for blocking and async callers."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import time
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

import pytest

from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.flow.ports import ProviderChunk, ProviderReply
from paymaster.routing.failures import Billed, Failure, FailureKind

CANARY = "sk-canary-Zq81xKpW93hfTT02mvLd"
ANSWER = {
    "id": "a",
    "object": "chat.completion",
    "created": 1,
    "model": "m-2026",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}
WHOLE = json.dumps(ANSWER).encode()
FIRST = b'data: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}\n\n'
SECOND = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"lo"}}]}\n\n'
FINISH = b'data: {"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"a","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
OPEN_CALL = (
    b'data: {"id":"a","choices":[{"index":0,"delta":{"tool_calls":'
    b'[{"index":0,"id":"1","type":"function","function":{"name":"f","arguments":"{\\""}}]}}]}\n\n'
)
DONE = b"data: [DONE]\n\n"


def sent_body(request: bytes) -> dict[str, object]:
    return json.loads(request.partition(b"\r\n\r\n")[2])


def sent_headers(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}


# ------------------------------------------------------------------------------------------------------ whole answers


def test_a_whole_answer_has_its_usage_and_the_limits_in_its_headers(caller, make_call, raw, wire):
    extra = "x-request-id: req-7\r\nx-ratelimit-remaining-requests: 9\r\nx-ratelimit-reset-tokens: 6m0s\r\n"
    endpoint = raw(wire.whole(WHOLE, extra=extra))
    reply = caller.send(make_call(endpoint.base_url, body={"temperature": 0.5, "seed_of_tomorrow": {"x": [1]}}))
    assert isinstance(reply, ProviderReply)
    assert reply.body == ANSWER
    assert reply.usage == Usage(input_tokens=7, output_tokens=2)
    assert (reply.finish_reason, reply.request_id, reply.first_token_ms) == ("stop", "req-7", None)
    assert (reply.rate.remaining_requests, reply.rate.reset_tokens_ms) == (9, 360_000)
    request = endpoint.requests[0]
    assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert sent_headers(request)["authorization"] == f"Bearer {CANARY}"
    assert sent_body(request)["seed_of_tomorrow"] == {"x": [1]}
    assert "stream" not in sent_body(request)


def test_a_path_and_query_of_the_base_url_are_kept(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE))
    caller.send(make_call(endpoint.base_url.removesuffix("/v1") + "/pröxy/v1/?team=a b", api_version="7"))
    assert endpoint.requests[0].startswith(b"POST /pr%C3%B6xy/v1/chat/completions?team=a%20b&api-version=7 ")


def test_a_payload_of_any_mapping_is_sent(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE))
    caller.send(make_call(endpoint.base_url, body={"metadata": MappingProxyType({"a": 1})}))
    assert sent_body(endpoint.requests[0])["metadata"] == {"a": 1}


def test_a_connection_is_reused(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE), wire.whole(WHOLE), wire.whole(b"{}", status="500 Oops"), wire.whole(WHOLE), keep=True)
    outcomes = [caller.send(make_call(endpoint.base_url)) for _ in range(4)]
    assert [isinstance(outcome, ProviderReply) for outcome in outcomes] == [True, True, False, True]
    assert endpoint.connections == 1


def test_a_connection_that_the_server_closed_is_not_reused(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE), wire.whole(WHOLE))
    assert isinstance(caller.send(make_call(endpoint.base_url)), ProviderReply)
    time.sleep(0.05)
    assert isinstance(caller.send(make_call(endpoint.base_url)), ProviderReply)
    assert endpoint.connections == 2


def test_a_versioned_azure_endpoint_gets_its_deployment_path_and_key_header(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE))
    base = endpoint.base_url.removesuffix("/v1")
    call = make_call(base, provider="azure", model_id="my gpt", api_version="2024-10-21", extra_headers={"X-Team": "blue"})
    assert isinstance(caller.send(call), ProviderReply)
    headers = sent_headers(endpoint.requests[0])
    assert endpoint.requests[0].startswith(b"POST /openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21 ")
    assert headers["api-key"] == CANARY
    assert headers["x-team"] == "blue"
    assert "authorization" not in headers


def test_an_extra_header_replaces_a_default_header_in_any_case(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE))
    caller.send(make_call(endpoint.base_url, extra_headers={"authorization": "Custom abc"}))
    assert sent_headers(endpoint.requests[0])["authorization"] == "Custom abc"


def test_no_key_sends_no_authorization(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE))
    caller.send(make_call(endpoint.base_url, key=None))
    assert "authorization" not in sent_headers(endpoint.requests[0])


def test_lone_surrogates_and_numbers_beyond_64_bits_can_be_sent(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE))
    messages = ({"role": "user", "content": "half \ud83d and whole é"},)
    assert isinstance(caller.send(make_call(endpoint.base_url, body={"messages": messages, "seed": 2**80, "stop": {"end"}})), ProviderReply)
    body = sent_body(endpoint.requests[0])
    assert body["messages"] == [{"role": "user", "content": "half ? and whole é"}]
    assert body["seed"] == 2**80
    assert body["stop"] == ["end"]


def test_an_unrequested_compressed_answer_is_read(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(gzip.compress(WHOLE), extra="content-encoding: gzip\r\n"))
    assert isinstance(caller.send(make_call(endpoint.base_url)), ProviderReply)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"base_url": "ftp://somewhere/v1"}, FailureKind.UNKNOWN_MODEL),
        ({"base_url": "http://"}, FailureKind.UNKNOWN_MODEL),
        ({"base_url": "http://host:99999/v1"}, FailureKind.UNKNOWN_MODEL),
        ({"base_url": f"http://me:{CANARY}@127.0.0.1:9/v1"}, FailureKind.AUTHENTICATION),
        ({"base_url": "http://127.0.0.1:9/v1", "key": f"{CANARY}\n"}, FailureKind.AUTHENTICATION),
        ({"base_url": "http://127.0.0.1:9/v1", "extra_headers": {"X-A": f"a\r\nx-evil: {CANARY}"}}, FailureKind.BAD_REQUEST),
        ({"base_url": "http://127.0.0.1:9/v1", "body": {"thing": object()}}, FailureKind.BAD_REQUEST),
        ({"base_url": "http://127.0.0.1:9/v1", "body": {"temperature": [float("nan"), 2**70]}}, FailureKind.BAD_REQUEST),
    ],
)
def test_a_request_that_http_cannot_carry_is_refused_before_it_is_sent(caller, make_call, fields, kind):
    call = make_call(**fields)
    failure = caller.send(call)
    assert (failure.kind, failure.billed) == (kind, Billed.NO)
    assert CANARY not in repr(failure)
    chunks, last = caller.stream(call)
    assert chunks == []
    assert last.kind is kind


# ---------------------------------------------------------------------------------------------------------- the wire


def test_a_refused_connection_costs_nothing(caller, make_call):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    failure = caller.send(make_call(base_url))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_REFUSED, Billed.NO)
    assert caller.stream(make_call(base_url))[1].billed is Billed.NO


def test_a_host_that_does_not_exist_costs_nothing(caller, make_call):
    failure = caller.send(make_call("http://no-such-host.invalid/v1"))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_REFUSED, Billed.NO)


def test_a_failed_tls_handshake_costs_nothing(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE))
    failure = caller.send(make_call(endpoint.base_url.replace("http:", "https:"), limits={"connect_ms": 500}))
    assert failure.kind in {FailureKind.CONNECTION_REFUSED, FailureKind.TIMED_OUT}
    assert failure.billed is Billed.NO


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_lost_after_the_request_may_have_been_billed(caller, make_call, raw, reset):
    failure = caller.send(make_call(raw(b"", reset=reset).base_url))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_LOST, Billed.MAYBE)


def test_a_body_shorter_than_promised_is_a_lost_connection(caller, make_call, raw, wire):
    failure = caller.send(make_call(raw(wire.whole(WHOLE)[:-20]).base_url))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_LOST, Billed.MAYBE)


def test_an_answer_that_is_not_http_is_unusable_or_lost(caller, make_call, raw):
    failure = caller.send(make_call(raw(b"220 mail.example ESMTP\r\n\r\n").base_url))
    assert failure.kind in {FailureKind.UNUSABLE_ANSWER, FailureKind.CONNECTION_LOST}
    assert failure.billed is Billed.MAYBE


def test_a_redirect_is_not_followed_and_gets_no_key(caller, make_call, raw, wire):
    target = raw(wire.whole(WHOLE))
    endpoint = raw(wire.whole(b"", status="307 Temporary Redirect", extra=f"location: {target.base_url}?key={CANARY}\r\n"))
    failure = caller.send(make_call(endpoint.base_url))
    assert (failure.kind, failure.billed) == (FailureKind.UNKNOWN_MODEL, Billed.NO)
    assert target.requests == []
    assert CANARY not in failure.message
    assert "base_url" in failure.message


@pytest.mark.parametrize(
    ("answer", "limits", "named"),
    [
        ([5.0], {"total_ms": 200}, "total"),
        ([b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{", 5.0], {"total_ms": 200}, "total"),
    ],
)
def test_a_silence_ends_at_the_total_limit_and_cuts_the_connection(caller, make_call, raw, answer, limits, named):
    endpoint = raw(answer)
    began = time.monotonic()
    failure = caller.send(make_call(endpoint.base_url, limits=limits))
    assert time.monotonic() - began < 2
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.MAYBE)
    assert named in failure.message
    assert endpoint.gone.wait(2)


@pytest.mark.parametrize(
    ("answer", "limits", "named", "delivered"),
    [
        ([5.0], {"first_token_ms": 200}, "first_token", 0),
        ([b"", 5.0], {"total_ms": 200}, "total", 0),
        # Comments that keep the connection alive are no tokens.
        (
            ["events", b": still thinking\n\n", 0.15, b": still thinking\n\n", 0.15, b": again\n\n", 5.0],
            {"first_token_ms": 200},
            "first_token",
            0,
        ),
        (["events", FIRST, 5.0], {"between_chunks_ms": 200}, "between_chunks", 3),
        (["events", FIRST, 0.1, SECOND, 0.1, FIRST, 0.1, FIRST, 5.0], {"total_ms": 250}, "total", 8),
    ],
)
def test_each_time_limit_of_a_stream_is_named_in_its_failure(caller, make_call, raw, wire, answer, limits, named, delivered):
    endpoint = raw([wire.events() if part == "events" else part for part in answer])
    began = time.monotonic()
    _, failure = caller.stream(make_call(endpoint.base_url, limits=limits))
    assert time.monotonic() - began < 2
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.MAYBE)
    assert named in failure.message
    assert failure.delivered_chars >= delivered
    assert endpoint.gone.wait(2)


def test_closing_a_stream_early_cuts_the_connection(caller, make_call, raw, wire):
    endpoint = raw([wire.events(FIRST), 5.0])
    assert isinstance(caller.first_chunk_only(make_call(endpoint.base_url)), ProviderChunk)
    assert endpoint.gone.wait(2)


def test_an_endless_answer_is_cut_off(caller, make_call, raw, wire, monkeypatch):
    monkeypatch.setattr("paymaster.providers.openai_http.LARGEST_ANSWER_BYTES", 1_000)
    failure = caller.send(make_call(raw(wire.whole(b'"' + b"x" * 5_000 + b'"')).base_url))
    assert (failure.kind, failure.billed) == (FailureKind.UNUSABLE_ANSWER, Billed.MAYBE)
    assert "1000 bytes" in failure.message


# ------------------------------------------------------------------------------------------------------ answers' bodies


@pytest.mark.parametrize(
    ("body", "kind", "billed"),
    [
        (WHOLE[: len(WHOLE) // 2], FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
        (b"", FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
        (b"[]", FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
        (b"{}", FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
        (b'{"choices":[]}', FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
        (b'{"choices":[{}],"usage":{"prompt_tokens":5,"completion_tokens":1}}', FailureKind.UNUSABLE_ANSWER, Billed.YES),
        (b'{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}', FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
        (b'{"choices":[{"message":{"content":null},"finish_reason":"content_filter"}]}', FailureKind.CONTENT_POLICY, Billed.MAYBE),
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}', FailureKind.SERVER_ERROR, Billed.MAYBE),
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"MALFORMED_FUNCTION_CALL"}]}', FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
        (
            b'{"choices":[{"message":{"content":""},"finish_reason":"function_call_filter: UNEXPECTED_TOOL_CALL"}]}',
            FailureKind.UNUSABLE_ANSWER,
            Billed.MAYBE,
        ),
        (b'{"error":{"code":429,"message":"slow down"}}', FailureKind.THROTTLED, Billed.MAYBE),
        (b'{"error":{"type":"overloaded_error","message":"Overloaded"}}', FailureKind.OVERLOADED, Billed.MAYBE),
        (b'{"error":"something broke"}', FailureKind.SERVER_ERROR, Billed.MAYBE),
    ],
)
def test_an_unusable_answer_is_a_failure_even_with_status_200(caller, make_call, raw, wire, body, kind, billed):
    failure = caller.send(make_call(raw(wire.whole(body)).base_url))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.billed) == (kind, billed)
    assert (failure.usage is not None) == (billed is Billed.YES)


@pytest.mark.parametrize(
    ("message", "finish_reason"),
    [
        (
            {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{not json"}}]},
            "tool_calls",
        ),
        ({"content": None, "refusal": "I'd rather not."}, "stop"),
        ({"content": "half a sen"}, "content_filter"),
        ({"content": "", "reasoning_content": "so long a thought"}, "length"),
    ],
)
def test_an_answer_that_the_caller_can_use_is_a_reply(caller, make_call, raw, wire, message, finish_reason):
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}).encode()
    reply = caller.send(make_call(raw(wire.whole(body)).base_url))
    assert isinstance(reply, ProviderReply)
    assert reply.finish_reason == finish_reason
    assert isinstance(reply.usage, UnknownUsage)


# ------------------------------------------------------------------------------------------------------------- streams


def test_a_stream_is_assembled_and_requests_usage(caller, make_call, raw, wire):
    endpoint = raw(wire.events(FIRST, SECOND, FINISH, USAGE, DONE))
    chunks, reply = caller.stream(make_call(endpoint.base_url, body={"stream_options": {"include_obfuscation": False}}))
    assert len(chunks) == 4
    assert reply.body["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
    assert reply.usage == Usage(input_tokens=7, output_tokens=2)
    assert reply.first_token_ms is not None
    assert sent_body(endpoint.requests[0])["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_stream_options_are_not_sent_to_an_endpoint_that_rejects_them(caller, make_call, raw, wire):
    endpoint = raw(wire.events(FIRST, FINISH, DONE))
    caller.stream(make_call(endpoint.base_url, unsupported_params=frozenset({"stream_options"})))
    assert "stream_options" not in sent_body(endpoint.requests[0])


@pytest.mark.parametrize(
    "parts",
    [
        [FIRST[:9], 0.02, FIRST[9:30], 0.02, FIRST[30:], SECOND, FINISH, USAGE, DONE],
        [part.replace(b"\n", b"\r\n") for part in (FIRST, SECOND, FINISH, USAGE, DONE)],
        [part.replace(b"\n", b"\r") for part in (FIRST, SECOND, FINISH, USAGE, DONE)],
        [b": hello\n\n", b"id: 4\nretry: 10\n", FIRST, b": more\n", SECOND, FINISH, USAGE],
        [b"\xef\xbb\xbf", FIRST, SECOND, FINISH.replace(b',"delta"', b',\ndata: "delta"'), USAGE, DONE.rstrip()],
        [FIRST, SECOND, FINISH, USAGE, b"data: [DO"],
        [FIRST.replace(b"data: ", b"data:"), SECOND, FINISH, USAGE, DONE, b"data: {never read\n\n"],
    ],
    ids=[
        "split",
        "crlf",
        "cr",
        "comments, no [DONE]",
        "bom, several data lines, unfinished end",
        "cut [DONE]",
        "no space, rubbish after [DONE]",
    ],
)
def test_a_stream_is_read_in_every_form_of_the_format(caller, make_call, raw, wire, parts):
    _, reply = caller.stream(make_call(raw([wire.events(), *parts]).base_url))
    if parts[-1] == b"data: [DO":
        assert reply.kind is FailureKind.UNUSABLE_ANSWER
        return
    assert isinstance(reply, ProviderReply), reply
    assert reply.body["choices"][0]["message"]["content"] == "Hello"
    assert reply.usage == Usage(input_tokens=7, output_tokens=2)


@pytest.mark.parametrize(
    ("parts", "kind", "delivered"),
    [
        ([], FailureKind.UNUSABLE_ANSWER, 0),
        ([DONE], FailureKind.UNUSABLE_ANSWER, 0),
        ([FIRST, SECOND], FailureKind.CONNECTION_LOST, 5),
        ([FIRST, OPEN_CALL, DONE], FailureKind.CONNECTION_LOST, 5),
        ([FIRST, b'data: {"id":"a","cho\n\n', FINISH, DONE], FailureKind.UNUSABLE_ANSWER, 3),
        ([FIRST, b"data: 7\n\n"], FailureKind.UNUSABLE_ANSWER, 3),
        ([FIRST, b'data: {"error":{"code":502,"message":"Provider disconnected"}}\n\n', DONE], FailureKind.SERVER_ERROR, 3),
        ([b'event: error\ndata: {"type":"overloaded_error","message":"Overloaded"}\n\n'], FailureKind.OVERLOADED, 0),
        ([FIRST, b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}\n\n', DONE], FailureKind.SERVER_ERROR, 3),
        ([b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n', DONE], FailureKind.UNUSABLE_ANSWER, 0),
    ],
)
def test_a_stream_that_ends_early_or_in_an_error_is_never_complete(caller, make_call, raw, wire, parts, kind, delivered):
    _, failure = caller.stream(make_call(raw(wire.events(*parts)).base_url))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.billed, failure.delivered_chars) == (kind, Billed.MAYBE, delivered)


def test_a_stream_with_one_unfinished_choice_is_not_complete(caller, make_call, raw, wire):
    other = b'data: {"choices":[{"index":1,"delta":{"content":"Other"}}]}\n\n'
    _, failure = caller.stream(make_call(raw(wire.events(FIRST, other, FINISH, DONE)).base_url))
    assert isinstance(failure, Failure)


def test_a_complete_answer_before_a_lost_connection_has_unknown_usage(caller, make_call, raw, wire):
    _, reply = caller.stream(make_call(raw(wire.events(FIRST, FINISH), reset=True).base_url))
    assert isinstance(reply, ProviderReply)
    assert isinstance(reply.usage, UnknownUsage)


EARLY = FIRST.replace(b"}\n\n", b',"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}\n\n')


@pytest.mark.parametrize(
    ("parts", "billed"),
    [
        pytest.param((EARLY, SECOND), Billed.MAYBE, id="text after it"),
        pytest.param((EARLY, SECOND, b"data: {"), Billed.MAYBE, id="text after it, broken chunk"),
        pytest.param((EARLY, b"data: {\n\n", DONE), Billed.MAYBE, id="more of an answer that is not complete"),
        pytest.param((EARLY, b"data: 5\n\n", DONE), Billed.MAYBE, id="the same, no object"),
        pytest.param((EARLY,), Billed.YES, id="the last chunk has it"),
        pytest.param((FIRST, SECOND, USAGE), Billed.YES, id="after the text"),
        pytest.param((FIRST, FINISH, USAGE, b"data: {\n\n"), Billed.YES, id="a complete answer, then a broken chunk"),
    ],
)
def test_usage_of_a_cut_stream_counts_only_if_no_output_came_after_it(caller, make_call, raw, wire, parts, billed):
    _, failure = caller.stream(make_call(raw(wire.events(*parts)).base_url))
    assert isinstance(failure, Failure)
    assert (failure.billed, failure.usage is not None) == (billed, billed is Billed.YES)


SECOND_CHOICE = b'data: {"id":"a","choices":[{"index":1,"delta":{"content":"Other"},"finish_reason":"stop"}]}\n\n'


@pytest.mark.parametrize(
    ("parts", "is_whole"),
    [
        ((FIRST, FINISH, USAGE), False),
        ((FIRST, FINISH, USAGE, SECOND_CHOICE), True),
        ((FIRST, FINISH, SECOND_CHOICE, USAGE), True),
        ((FIRST, FINISH, USAGE, DONE), True),
    ],
)
def test_a_stream_without_done_that_lacks_a_choice_is_not_complete_and_its_usage_unknown(caller, make_call, raw, wire, parts, is_whole):
    _, outcome = caller.stream(make_call(raw(wire.events(*parts)).base_url, body={"n": 2}))
    assert isinstance(outcome, ProviderReply if is_whole else Failure)
    if isinstance(outcome, Failure):
        assert (outcome.billed, outcome.usage) == (Billed.MAYBE, None)
        assert "1 of 2 choices" in outcome.message


@pytest.mark.parametrize("parts", [(EARLY, SECOND, FINISH, DONE), (EARLY, SECOND, FINISH), (USAGE, FIRST, FINISH, DONE)])
def test_usage_of_a_whole_stream_counts_only_if_no_output_came_after_it(caller, make_call, raw, wire, parts):
    _, reply = caller.stream(make_call(raw(wire.events(*parts)).base_url))
    assert isinstance(reply, ProviderReply)
    assert isinstance(reply.usage, UnknownUsage)
    assert "usage" not in reply.body


def test_an_endpoint_that_cannot_stream_is_read_whole(caller, make_call, raw, wire):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = {**ANSWER, "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes.", "tool_calls": [call]}}]}
    answer["choices"][0]["finish_reason"] = "tool_calls"
    chunks, reply = caller.stream(make_call(raw(wire.whole(json.dumps(answer).encode())).base_url))
    assert chunks[0].body["choices"][0]["delta"] == {"role": "assistant", "content": "Yes.", "tool_calls": [{"index": 0, **call}]}
    assert reply.body == answer


def test_an_error_status_ends_a_stream_before_its_first_chunk(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(b'{"error":{"message":"no"}}', status="503 Busy", extra="retry-after: 3\r\n"))
    chunks, failure = caller.stream(make_call(endpoint.base_url))
    assert chunks == []
    assert (failure.kind, failure.retry_after_ms, failure.status) == (FailureKind.OVERLOADED, 3_000, 503)


def test_an_error_body_that_never_arrives_is_a_timeout(caller, make_call, raw):
    endpoint = raw([b"HTTP/1.1 500 Oops\r\ncontent-length: 50\r\n\r\n", 5.0])
    assert caller.stream(make_call(endpoint.base_url, limits={"total_ms": 200}))[1].kind is FailureKind.TIMED_OUT


# ------------------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize("status", ["200 OK", "400 Bad", "401 No", "429 Slow", "500 Oops"])
def test_a_key_that_a_provider_echoes_reaches_no_message_and_no_log(caller, make_call, raw, wire, caplog, status):
    caplog.set_level(logging.DEBUG)
    message = f"key {CANARY} (begins {CANARY[:14]}, ends {CANARY[-12:]}, shown as {CANARY[:6]}****) is not known"
    body = json.dumps({"error": {"message": message, "type": "x"}}).encode()
    endpoint = raw(wire.whole(body, status=status), wire.events(FIRST, b"data: " + body + b"\n\n"))
    call = make_call(endpoint.base_url)
    failures = [caller.send(call), caller.stream(call)[1]]
    for text in (repr(failures), repr(call), repr(caller.provider), caplog.text):
        assert CANARY not in text
        assert CANARY[:14] not in text
        assert CANARY[-12:] not in text
    assert "[redacted]" in failures[0].message


# -------------------------------------------------------------------------------------------------- the scripted server

FAULTS = {
    "throttle": (FailureKind.THROTTLED, FailureKind.THROTTLED),
    "throttle_no_header": (FailureKind.THROTTLED, FailureKind.THROTTLED),
    "quota": (FailureKind.QUOTA_EXHAUSTED, FailureKind.QUOTA_EXHAUSTED),
    "overloaded": (FailureKind.OVERLOADED, FailureKind.OVERLOADED),
    "server_error": (FailureKind.SERVER_ERROR, FailureKind.SERVER_ERROR),
    "reset": (FailureKind.CONNECTION_LOST, FailureKind.CONNECTION_LOST),
    "silence": (FailureKind.TIMED_OUT, FailureKind.TIMED_OUT),
    "slow_first_token": (FailureKind.TIMED_OUT, FailureKind.TIMED_OUT),
    "cut": (FailureKind.CONNECTION_LOST, FailureKind.CONNECTION_LOST),
    "stall": (FailureKind.TIMED_OUT, FailureKind.TIMED_OUT),
    "malformed_chunk": (FailureKind.UNUSABLE_ANSWER, FailureKind.UNUSABLE_ANSWER),
    "error_in_stream": (FailureKind.SERVER_ERROR, FailureKind.SERVER_ERROR),
    "missing_done": (None, None),
    "no_usage": (None, None),
    "lying_usage": (None, None),
    "early_usage": (None, None),
    "truncated_json": (FailureKind.UNUSABLE_ANSWER, FailureKind.UNUSABLE_ANSWER),
    "empty": (FailureKind.UNUSABLE_ANSWER, FailureKind.UNUSABLE_ANSWER),
    "context_too_long": (FailureKind.CONTEXT_TOO_LONG, FailureKind.CONTEXT_TOO_LONG),
    "content_filter": (FailureKind.CONTENT_POLICY, FailureKind.CONTENT_POLICY),
    "auth": (FailureKind.AUTHENTICATION, FailureKind.AUTHENTICATION),
    "permission": (FailureKind.PERMISSION, FailureKind.PERMISSION),
    "unknown_model": (FailureKind.UNKNOWN_MODEL, FailureKind.UNKNOWN_MODEL),
    "bad_request": (FailureKind.BAD_REQUEST, FailureKind.BAD_REQUEST),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_scripted_fault_is_classified_and_the_next_call_is_served(caller, make_call, serve, fault):
    server = serve(f"""
models:
  m:
    prices: {{usd_per_1m_input: 1, usd_per_1m_output: 2}}
    answers: [{{text: "There is a file and a folder and nothing else."}}]
    faults: [{{kind: {fault}, times: 2}}]
""")
    call = make_call(server.base_url, limits={"first_token_ms": 300, "between_chunks_ms": 300, "total_ms": 400})
    whole, streamed = caller.send(call), caller.stream(call)[1]
    for outcome, kind in zip((whole, streamed), FAULTS[fault], strict=True):
        assert getattr(outcome, "kind", None) == kind, outcome
        if fault in {"no_usage", "lying_usage"} or (fault == "early_usage" and outcome is streamed):
            assert isinstance(outcome.usage, UnknownUsage)
    unhurried = make_call(server.base_url)
    after = [caller.send(unhurried), caller.stream(unhurried)[1]]
    assert [type(outcome) for outcome in after] == [ProviderReply, ProviderReply]
    lines = server.bill(lines=True)["lines"]
    # Never "surely not billed" where the provider did bill.
    for outcome, line in zip((whole, streamed), lines, strict=False):
        if line["billed_nanousd"]:
            assert isinstance(outcome, ProviderReply) or outcome.billed is not Billed.NO


# ---------------------------------------------------------------------------------------------------- what it billed later


@pytest.mark.parametrize(
    ("answer", "usd"),
    [
        (b'{"data":{"id":"gen-1","total_cost":0.0003,"cancelled":true}}', "0.0003"),
        (b'{"data":{"total_cost":0.1,"is_byok":true,"upstream_inference_cost":0.2}}', "0.3"),
        (b'{"data":{"total_cost":0.1,"is_byok":true}}', None),
        (b'{"data":{"total_cost":"much"}}', None),
        (b'{"data":{}}', None),
        (b'{"data":[]}', None),
        (b"no JSON", None),
    ],
)
def test_openrouter_states_later_what_it_billed(caller, make_call, raw, wire, answer, usd):
    endpoint = raw(wire.whole(answer))
    call = make_call(endpoint.base_url, bill_path="/generation?id=")
    found = caller.run(caller.provider.billed(call, "gen-1&x"))
    assert found == (None if usd is None else Decimal(usd))
    assert endpoint.requests[0].startswith(b"GET /v1/generation?id=gen-1%26x HTTP/1.1\r\n")
    assert f"Bearer {CANARY}".encode() in endpoint.requests[0]


def test_a_bill_that_is_not_stated_is_none(caller, make_call, raw, wire):
    missing = raw(wire.whole(b'{"error":{"message":"not yet"}}', status="404 Not Found"))
    assert caller.run(caller.provider.billed(make_call(missing.base_url, bill_path="/generation?id="), "gen-1")) is None
    assert caller.run(caller.provider.billed(make_call(raw(b"").base_url, bill_path="/generation?id="), "gen-1")) is None
    assert caller.run(caller.provider.billed(make_call(raw(b"").base_url), "gen-1")) is None


@pytest.mark.parametrize(("provider", "kind"), [("cerebras", FailureKind.CONTEXT_TOO_LONG), ("openai", FailureKind.BAD_REQUEST)])
def test_a_400_without_a_body_is_read_by_the_providers_row(caller, make_call, raw, wire, provider, kind):
    failure = caller.send(make_call(raw(wire.whole(b"", status="400 Bad Request")).base_url, provider=provider))
    assert (failure.kind, failure.billed) == (kind, Billed.NO)


def test_a_failed_call_in_an_event_of_a_stream_is_a_failed_output(caller, make_call, raw, wire):
    event = b'event: error\ndata: {"error":{"message":"Failed to call a function.","code":"tool_use_failed","status_code":400}}\n\n'
    _, failure = caller.stream(make_call(raw(wire.events(event)).base_url))
    assert (failure.kind, failure.status, failure.billed) == (FailureKind.UNUSABLE_ANSWER, 400, Billed.MAYBE)


# -------------------------------------------------------------------------------------------- the cost that a header states

PROXY = {"provider": "litellm_proxy", "usage_api": "litellm.usage"}
TOKENS = Usage(input_tokens=7, output_tokens=2)


@pytest.mark.parametrize(
    ("stated", "cost_usd"),
    [
        ("0.00042", "0.00042"),
        ("1.2e-05", "0.000012"),
        ("0.00012300000000000001", "0.00012300000000000001"),
        ("12", "12"),
        ("0.0", None),  # litellm's proxy knows no price
        ("0", None),
        ("None", None),
        ("", None),
    ],
)
def test_the_charge_that_a_litellm_proxy_states_is_the_cost(caller, make_call, raw, wire, stated, cost_usd):
    endpoint = raw(wire.whole(WHOLE, extra=f"x-litellm-response-cost: {stated}\r\n"))
    usage = caller.send(make_call(endpoint.base_url, **PROXY)).usage
    assert (usage.input_tokens, usage.output_tokens) == (7, 2)
    assert usage.reported_cost_usd == (None if cost_usd is None else Decimal(cost_usd))


@pytest.mark.parametrize("stated", ["-0.5", "NaN", "Infinity", "-inf", "1e9", "100001", "1e-99999", "a lot", "0,5", "0.1 USD"])
def test_a_charge_that_nobody_can_mean_makes_the_usage_unknown(caller, make_call, raw, wire, stated):
    endpoint = raw(wire.whole(WHOLE, extra=f"x-litellm-response-cost: {stated}\r\n"))
    usage = caller.send(make_call(endpoint.base_url, **PROXY)).usage
    assert isinstance(usage, UnknownUsage)
    assert "the stated cost" in usage.detail


def test_the_header_of_any_other_provider_states_no_cost(caller, make_call, raw, wire):
    endpoint = raw(wire.whole(WHOLE, extra="x-litellm-response-cost: 0.5\r\n"))
    assert caller.send(make_call(endpoint.base_url, provider="openai_compatible")).usage == TOKENS


def test_the_head_of_a_stream_states_no_cost(caller, make_call, raw, wire):
    endpoint = raw(wire.events(FIRST, FINISH, USAGE, DONE, extra="x-litellm-response-cost: 0.5\r\n"))
    assert caller.stream(make_call(endpoint.base_url, **PROXY))[1].usage == TOKENS


def test_a_stated_cost_without_usage_is_no_bill(caller, make_call, raw, wire):
    body = json.dumps({**ANSWER, "usage": None}).encode()
    endpoint = raw(wire.whole(body, extra="x-litellm-response-cost: 0.5\r\n"))
    assert isinstance(caller.send(make_call(endpoint.base_url, **PROXY)).usage, UnknownUsage)


@pytest.mark.parametrize(
    ("stated", "billed", "cost_usd"), [("0.5", Billed.YES, "0.5"), ("0.0", Billed.YES, None), ("-0.5", Billed.MAYBE, None)]
)
@pytest.mark.parametrize("unusable", [{"message": {"role": "assistant", "content": ""}}, {"finish_reason": "content_filter"}])
def test_an_answer_that_is_of_no_use_costs_what_its_head_states(caller, make_call, raw, wire, unusable, stated, billed, cost_usd):
    choice = {**ANSWER["choices"][0], "message": {"role": "assistant", "content": None}, **unusable}
    body = json.dumps({**ANSWER, "choices": [choice]}).encode()
    endpoint = raw(wire.whole(body, extra=f"x-litellm-response-cost: {stated}\r\n"))
    failure = caller.send(make_call(endpoint.base_url, **PROXY))
    assert (type(failure), failure.billed) == (Failure, billed)
    if billed is Billed.MAYBE:
        assert failure.usage is None
    else:
        assert failure.usage == replace(TOKENS, reported_cost_usd=None if cost_usd is None else Decimal(cost_usd))
