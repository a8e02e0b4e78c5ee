"""Streams that are held back at the gateway: signs of life, errors with and without a status, and clients that hang up."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import TYPE_CHECKING

import anthropic
import openai
import pytest

from gateways import wait_until
from paymaster.gateway.request_body import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]
TEXT = "One two three four five."
ANSWER = {"chunks": 6, "answers": [{"text": TEXT}]}
SLOW = {**ANSWER, "latency_ms": 700}
CUT = {**ANSWER, "faults": [{"kind": "cut", "always": True}]}
SOON = Bounds(held_head_ms=100, keep_alive_ms=100)
LATE = Bounds(late_head_ms=100, keep_alive_ms=100)
HELD = {"stream_recovery": "hold_back", "retries_per_model": 0, "max_wait_s": 2, "breaker_failures": 100}
COMMON = {"model": "first", "stream": True}
BODIES = {
    "/v1/chat/completions": {**COMMON, "messages": HELLO},
    "/v1/messages": {**COMMON, "messages": HELLO, "max_tokens": 50},
    "/v1/responses": {**COMMON, "input": "Hello"},
    "/v1/completions": {**COMMON, "prompt": "Hello"},
}
ENDS = (b"[DONE]", b"message_stop", b"response.completed")
CHAT = "/v1/chat/completions"


def post(gateway: Gateway, path: str = CHAT, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=20)) as connection:
        connection.request("POST", path, json.dumps(BODIES[path]), {"content-type": "application/json", **names})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize(("bounds", "policies"), [(SOON, HELD), (LATE, {})], ids=["held back", "late"])
@pytest.mark.parametrize("path", BODIES)
def test_a_client_that_waits_gets_comments_and_then_the_answer(
    start: Callable[..., Gateway], path: str, bounds: Bounds, policies: dict[str, object]
) -> None:
    gateway = start(first=SLOW, bounds=bounds, policies=policies)
    status, headers, content = post(gateway, path)
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    comments, _, rest = content.partition(b"{")
    assert comments.count(b": keep-alive\n\n") >= 2
    assert b"keep-alive" not in rest
    assert headers["x-paymaster-call"]
    assert headers["x-paymaster-model"] is None  # it was not known yet which one would answer
    assert any(end in rest for end in ENDS)


@pytest.mark.parametrize(("bounds", "policies"), [(SOON, HELD), (LATE, {})], ids=["held back", "late"])
def test_codex_which_waits_for_events_gets_some(start: Callable[..., Gateway], bounds: Bounds, policies: dict[str, object]) -> None:
    gateway = start(first=SLOW, bounds=bounds, policies=policies)
    _, _, content = post(gateway, "/v1/responses", user_agent="codex_exec/0.171.0 (Debian 12.0.0; x86_64)")
    signs, _, rest = content.partition(b"event: response.created\n")
    assert signs.count(b'event: keepalive\ndata: {"type":"keepalive"}\n\n') >= 2
    assert (b"keep" in rest, b"response.completed" in rest) == (False, True)


def test_an_answer_that_comes_soon_has_its_usual_head(start: Callable[..., Gateway]) -> None:
    status, headers, content = post(start(first=CUT, second=ANSWER, policies={**HELD, "fallback_chain": ["first", "second"]}))
    assert (status, headers["x-paymaster-model"], headers["x-paymaster-attempts"]) == (200, "second", "2")
    assert b"keep-alive" not in content


@pytest.mark.parametrize("held", [True, False])
def test_the_official_clients_read_over_the_comments(start: Callable[..., Gateway], held: bool) -> None:
    gateway = start(first=SLOW, bounds=SOON if held else Bounds(), policies=HELD)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        chunks = client.chat.completions.create(model="first", messages=HELLO, stream=True)
        assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == TEXT
        events = client.responses.create(model="first", input="Hello", stream=True)
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as claude,
        claude.messages.stream(model="first", messages=HELLO, max_tokens=50) as stream,
    ):
        assert stream.get_final_text() == TEXT


FAILS = {**ANSWER, "faults": [{"kind": "overloaded", "always": True}]}


@pytest.mark.parametrize(("bounds", "policies", "model"), [(SOON, HELD, CUT), (LATE, {**HELD, "stream_recovery": "off"}, FAILS)])
def test_an_error_after_the_head_is_the_dialects_own(
    start: Callable[..., Gateway], bounds: Bounds, policies: dict[str, object], model: dict[str, object]
) -> None:
    gateway = start(first={**model, "latency_ms": 400}, bounds=bounds, policies={**policies, "max_wait_s": 0.1})
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(openai.APIError, match="first"):
            list(client.chat.completions.create(model="first", messages=HELLO, stream=True))
        with pytest.raises(openai.APIError, match="first"):
            list(client.responses.create(model="first", input="Hello", stream=True))
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as claude,
        pytest.raises(anthropic.APIError, match="first"),
    ):
        list(claude.messages.create(model="first", messages=HELLO, max_tokens=50, stream=True))
    for path in BODIES:
        status, _, content = post(gateway, path)
        assert status == 200
        assert b"no_model_available" in content or b"api_error" in content
        assert not any(end in content for end in ENDS)


@pytest.mark.parametrize("path", BODIES)
def test_an_error_before_the_head_keeps_its_status(start: Callable[..., Gateway], path: str) -> None:
    gateway = start(first=CUT, policies={**HELD, "max_wait_s": 0.1})
    status, headers, content = post(gateway, path)
    assert (status, headers["content-type"]) == (502, "application/json")
    assert "first" in json.loads(content)["error"]["message"]


def test_a_call_sets_it_by_a_header(start: Callable[..., Gateway]) -> None:
    gateway = start(first=CUT, second=ANSWER, policies={"fallback_chain": ["first", "second"], "retries_per_model": 0})
    assert b"stream_broken" in post(gateway)[2]
    assert b"[DONE]" in post(gateway, x_paymaster_stream_recovery="hold_back")[2]
    assert b"stream_broken" in post(gateway, x_paymaster_stream_recovery="off")[2]
    status, _, content = post(gateway, x_paymaster_stream_recovery="holdback")
    assert (status, b"did you mean hold_back?" in content) == (400, True), content


def test_a_header_counts_before_the_policy(start: Callable[..., Gateway]) -> None:
    gateway = start(first=CUT, policies=HELD)
    assert b"stream_broken" in post(gateway, x_paymaster_stream_recovery="off")[2]


@pytest.mark.parametrize("bounds", [SOON, Bounds()], ids=["after the head", "before the head"])
def test_a_client_that_hangs_up_meanwhile_is_charged_what_its_call_may_have_cost(start: Callable[..., Gateway], bounds: Bounds) -> None:
    slow = {"chunks": 200, "chunk_ms": 50, "answers": [{"text": "word " * 400}]}
    gateway = start(first=slow, bounds=bounds, policies={**HELD, "budget_usd_per_run": 1})
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=20)) as connection:
        connection.request("POST", CHAT, json.dumps(BODIES[CHAT]), {"content-type": "application/json"})
        if bounds is SOON:
            assert connection.getresponse().readline() == b": keep-alive\n"
        wait_until(lambda: gateway.requests() == 1)
    wait_until(lambda: "failed" in [event.kind for event in gateway.events])
    failed = next(event for event in gateway.events if event.kind == "failed")
    assert (failed.failure, failed.billed) == ("cancelled", "assumed")  # type: ignore[attr-defined]  # it is an AttemptFailed
    wait_until(lambda: gateway.service.open_calls == 0)


def test_a_whole_answer_is_not_changed_by_it(start: Callable[..., Gateway]) -> None:
    gateway = start(first=SLOW, bounds=SOON, policies=HELD)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        assert client.chat.completions.create(model="first", messages=HELLO).choices[0].message.content == TEXT
