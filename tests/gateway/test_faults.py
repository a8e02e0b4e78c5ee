"""Every fault of a provider, and every kind of request that a client can send."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING

import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paymaster.gateway.openapi import openapi_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]
ANSWER = {"chunks": 6, "answers": [{"text": "One two three four five."}]}
FAST = {"total_s": 3, "first_token_s": 0.4, "between_chunks_s": 0.4}
FAULTS = [
    ("throttle", {"retry_after_s": 30}, "answered"),
    ("throttle_no_header", {}, "answered"),
    ("overloaded", {}, "answered"),
    ("server_error", {}, "answered"),
    ("reset", {}, "answered"),
    ("silence", {}, "answered"),
    ("slow_first_token", {"delay_ms": 6_000}, "answered"),
    ("context_too_long", {}, "answered"),
    ("content_filter", {}, "refused"),
    ("quota", {}, "answered"),
    ("auth", {}, "answered"),
    ("unknown_model", {}, "answered"),
    ("truncated_json", {}, "broken"),
    ("empty", {}, "answered"),
    ("cut", {}, "broken"),
    ("stall", {}, "broken"),
    ("malformed_chunk", {}, "broken"),
    ("error_in_stream", {}, "broken"),
    ("missing_done", {}, "answered"),
    ("no_usage", {}, "answered"),
    ("early_usage", {}, "answered"),
]
POLICIES = {"fallback_chain": ["first", "second"], "retries_per_model": 1, "patience_s": 0.3, "breaker_failures": 3, "breaker_pause_s": 1}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("kind", "more", "expected"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_every_fault_ends_in_a_fallback_or_a_clean_error(
    start: Callable[..., Gateway], kind: str, more: dict[str, object], expected: str, stream: bool
) -> None:
    fault = {"kind": kind, "always": True, **more}
    gateway = start(first={**ANSWER, "faults": [fault]}, second=ANSWER, policies=POLICIES, own={"first": {"timeouts": FAST}})
    texts, errors = [], []
    began = time.monotonic()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        for _ in range(2):
            try:
                texts.append(text_of(client, stream=stream))
            except openai.APIError as error:
                errors.append(error)
    assert time.monotonic() - began < 40
    breaks = expected == "broken" and stream
    if expected == "refused" or breaks:
        assert len(errors) == 2
        assert not texts
    else:
        assert texts == ["One two three four five."] * 2, errors
    assert 1 <= requests_for(gateway, "first") <= 4  # at most one retry per call, as counted by the provider


def requests_for(gateway: Gateway, model: str) -> int:
    """How many requests for a model reached the provider."""
    return sum(line["model"] == model for line in gateway.provider.bill(lines=True)["lines"])


def text_of(client: openai.OpenAI, *, stream: bool) -> str:
    if not stream:
        return client.chat.completions.create(model="first", messages=HELLO).choices[0].message.content or ""
    chunks = client.chat.completions.create(model="first", messages=HELLO, stream=True)
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


PASSING = ("throttle", "throttle_no_header", "overloaded", "reset", "truncated_json", "empty")
SILENT = ("silence", "slow_first_token")


@pytest.mark.parametrize(("kind", "stream"), [*((kind, False) for kind in PASSING), *((kind, True) for kind in ("reset", *SILENT))])
def test_a_failing_primary_is_paused_and_soon_used_again(start: Callable[..., Gateway], kind: str, stream: bool) -> None:
    """Faults that need the operator pause a model for longer; tests/flow/test_recovery.py covers them with a held clock."""
    fault = {"kind": kind, "times": 3, **({"retry_after_s": 0.5} if kind == "throttle" else {})}
    policies, own = {**POLICIES, "breaker_pause_s": 0.5}, {"first": {"timeouts": {**FAST, "first_token_s": 1}}}
    gateway = start(first={"faults": [fault], "answers": [{"text": "First."}]}, second=ANSWER, policies=policies, own=own)
    texts = []
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        until = time.monotonic() + 30
        while "First." not in texts:
            texts.append(text_of(client, stream=stream))
            assert time.monotonic() < until
            time.sleep(0.02)
    assert 4 <= requests_for(gateway, "first") <= 6
    assert not any(event.kind == "gave_up" for event in gateway.events)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_flapping_primary_loses_no_answer(start: Callable[..., Gateway], stream: bool) -> None:
    """Three times three failures, with one answer between them."""
    faults = [{"kind": "server_error", "after": after, "times": 3} for after in (0, 4, 8)]
    policies = {**POLICIES, "breaker_pause_s": 0.2}
    gateway = start(first={"faults": faults, "answers": [{"text": "First."}]}, second=ANSWER, policies=policies)
    texts: list[str] = []
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        until = time.monotonic() + 30
        while texts[-3:] != ["First."] * 3:
            texts.append(text_of(client, stream=stream))
            assert time.monotonic() < until
            time.sleep(0.02)
    assert set(texts) == {"First.", "One two three four five."}
    assert requests_for(gateway, "first") == texts.count("First.") + 9
    assert not any(event.kind == "gave_up" for event in gateway.events)


# ------------------------------------------------------------------------------------------------------ what clients can send

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "messages", "model", "tools", "stream", "stream_options", "max_tokens", "n", "stop", "response_format", "tool_choice", "system",
        "input", "instructions", "prompt", "text", "reasoning", "metadata", "thinking", "service_tier", "logit_bias",
    ]
)  # fmt: skip
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image", "image_url", "tool_use", "tool_result", "document", "input_image", "file"])},
    optional={"text": JSON, "source": JSON, "content": JSON, "image_url": JSON, "input": JSON},
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]) | JSON},
    optional={"content": st.lists(PART, max_size=2) | JSON, "tool_calls": JSON, "name": JSON},
)
BODY = st.builds(
    lambda extra, messages: {"messages": messages, "input": messages, "prompt": "x", "max_tokens": 5, **extra},
    st.dictionaries(NAMES, JSON, max_size=3),
    st.lists(MESSAGE, max_size=3),
)
PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens")


def post(gateway: Gateway, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=20)) as connection:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.timeout(100)
def test_no_request_body_causes_a_500(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"retries_per_model": 0})

    @settings(max_examples=120, suppress_health_check=list(HealthCheck))
    @given(body=BODY | JSON, path=st.sampled_from(PATHS))
    def send(body: object, path: str) -> None:
        status, answer = post(gateway, path, json.dumps(body).encode(), {"content-type": "application/json"})
        assert status != 500, (path, body, answer)
        if status >= 400:
            assert json.loads(answer)["error"]["message"]

    send()
    assert gateway.service.open_calls == 0


@pytest.mark.timeout(100)
def test_no_request_header_causes_a_500(start: Callable[..., Gateway]) -> None:
    gateway = start()
    text = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f\x85\xa0"), min_size=1, max_size=20)
    names = st.sampled_from(
        [f"x-paymaster-{name}" for name in ("run", "batch", "user", "deadline", "tag-a", "tag-", "else")]
        + ["authorization", "x-api-key", "origin"]
    )

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(headers=st.dictionaries(names, text, max_size=3))
    def send(headers: dict[str, str]) -> None:
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        status, answer = post(gateway, "/v1/chat/completions", json.dumps({"messages": HELLO}).encode(), encoded)
        assert status in (200, 400, 403, 429), (headers, answer)

    send()
    assert gateway.service.open_calls == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'"x"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_a_400(start: Callable[..., Gateway], body: bytes) -> None:
    gateway = start()
    for path in PATHS:
        assert post(gateway, path, body, {})[0] == 400


@pytest.mark.timeout(100)
def test_responses_match_the_openapi_document(start: Callable[..., Gateway]) -> None:
    vectors = {"capabilities": ["embeddings"], "fallbacks": []}
    gateway = start(policies={"retries_per_model": 0, "fallback_chain": ["fast", "vectors"]}, own={"vectors": vectors}, fast={}, vectors={})
    described = schemathesis.openapi.from_dict(dict(openapi_document()))

    for operation in described.get_all_operations():
        tested = operation.ok()

        @settings(max_examples=12, suppress_health_check=list(HealthCheck))
        @given(case=tested.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(base_url=gateway.url, timeout=20)
            assert answer.status_code != 500, answer.content
            assert str(answer.status_code) in case.operation.definition.raw["responses"]

        ask()
    assert gateway.service.open_calls == 0
