"""The official `openai` package, unmodified, and curl, with the gateway."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
CALL = {"tool_calls": [{"name": "weather", "arguments": {"city": "Paris"}, "id": "c1"}]}


def client_of(gateway: Gateway, **settings: object) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", **settings)


def test_a_whole_answer_has_its_model_and_cost(start: Callable[..., Gateway]) -> None:
    gateway = start(
        fast=[{"text": "Hi there."}], policies={"budget_usd_per_run": 1}, each={"rpm": 60, "tpm": 100_000, "aliases": ["gpt-4o"]}
    )
    with client_of(gateway) as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hi there."
    assert answer.model == "fast"
    assert answer.usage.cost_usd == gateway.billed_nanousd() / 1e9
    assert raw.headers["x-paymaster-model"] == "fast"
    assert raw.headers["x-paymaster-attempts"] == "1"
    assert float(raw.headers["x-paymaster-cost-usd"]) == answer.usage.cost_usd
    assert raw.headers["x-litellm-response-cost"] == raw.headers["x-paymaster-cost-usd"]
    assert float(raw.headers["x-paymaster-budget-left-usd"]) == pytest.approx(1 - answer.usage.cost_usd)
    assert raw.headers["x-ratelimit-limit-requests"] == "60"
    assert raw.headers["x-ratelimit-remaining-requests"] == "59"
    assert int(raw.headers["x-ratelimit-remaining-tokens"]) == 100_000 - answer.usage.total_tokens


def test_a_stream_has_every_piece_and_the_usage_if_requested(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"chunks": 5, "answers": [{"text": "One two three four."}]})
    with client_of(gateway) as client:
        chunks = list(client.chat.completions.create(model="fast", messages=HELLO, stream=True, stream_options={"include_usage": True}))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "One two three four."
        assert chunks[-1].choices == []
        assert chunks[-1].usage.cost_usd == gateway.billed_nanousd() / 1e9
        raw = client.chat.completions.with_raw_response.create(model="fast", messages=HELLO, stream=True)
        plain = list(raw.parse())
    assert raw.headers["x-paymaster-call"] == gateway.events[-1].call_id
    assert all(chunk.choices for chunk in plain)
    assert {chunk.model for chunk in plain} == {"fast"}


def test_tools_images_and_unknown_fields_pass_through(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[CALL, {"text": "It rains."}])
    with client_of(gateway) as client:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        messages = [{"role": "user", "content": [{"type": "text", "text": "Weather?"}, image]}]
        first = client.chat.completions.create(model="default", messages=messages, tools=[TOOL], extra_body={"x_unknown": {"a": 1}})
        [call] = first.choices[0].message.tool_calls
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        history = [*messages, first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        second = client.chat.completions.create(model="default", messages=history, tools=[TOOL])
    assert second.choices[0].message.content == "It rains."


def test_streamed_tool_calls_are_complete(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[CALL])
    with client_of(gateway) as client:
        chunks = client.chat.completions.create(model="fast", messages=HELLO, tools=[TOOL], stream=True)
        pieces = [call.function.arguments or "" for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert json.loads("".join(pieces)) == {"city": "Paris"}


def test_a_budget_is_a_402_that_clients_do_not_retry(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"budget_usd_per_run": 0.0001, "hard_stop_on_budget": True})
    with client_of(gateway, max_retries=3) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="fast", messages=HELLO)
    assert caught.value.status_code == 402
    assert caught.value.code == "budget_exceeded"
    assert "Raise policies.budget_usd_per_run" in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert gateway.requests() == 0
    assert sum(event.kind == "budget_exceeded" for event in gateway.events) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_budget_used_up_by_a_failure_is_a_402(start: Callable[..., Gateway], *, stream: bool) -> None:
    faults = {"faults": [{"kind": "server_error", "always": True}]}
    policies = {"budget_usd_per_run": 0.011, "hard_stop_on_budget": True, "fallback_chain": ["fast", "backup"]}
    gateway = start(policies=policies, fast=faults, backup=[{"text": "Hi."}])
    with client_of(gateway, max_retries=3) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="fast", messages=HELLO, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
    assert "attempt 1, fast: server error (HTTP 500)" in caught.value.message
    assert gateway.requests() == 1


def test_a_limit_with_a_long_wait_is_a_429_with_retry_after(start: Callable[..., Gateway]) -> None:
    gateway = start(each={"rpm": 1}, policies={"max_wait_s": 0.05})
    with client_of(gateway, max_retries=0) as client:
        client.chat.completions.create(model="fast", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="fast", messages=HELLO)
    assert 50 <= int(caught.value.response.headers["retry-after"]) <= 61
    assert "requests/fast: 1 of 1 used" in caught.value.message
    assert gateway.requests() == 1


def test_a_provider_that_throttles_for_long_is_a_429_with_retry_after(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"faults": [{"kind": "throttle", "retry_after_s": 20, "always": True}]}, policies={"max_wait_s": 1})
    with client_of(gateway, max_retries=0) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="fast", messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "20"


def test_a_missing_capability_is_a_400_that_names_it(start: Callable[..., Gateway]) -> None:
    gateway = start(each={"capabilities": []})
    with client_of(gateway) as client, pytest.raises(openai.BadRequestError, match="it lacks function_calling"):
        client.chat.completions.create(model="fast", messages=HELLO, tools=[TOOL])


def test_an_unknown_model_is_a_404_that_names_known_models(start: Callable[..., Gateway]) -> None:
    gateway = start()
    with client_of(gateway) as client, pytest.raises(openai.NotFoundError, match="Known models: fast"):
        client.chat.completions.create(model="gtp-5", messages=HELLO)


@pytest.mark.parametrize(
    ("fault", "status"),
    [({"kind": "server_error"}, 502), ({"kind": "auth"}, 502), ({"kind": "silence"}, 504), ({"kind": "bad_request"}, 400)],
)
def test_provider_failures_have_distinct_statuses(start: Callable[..., Gateway], fault: dict[str, object], status: int) -> None:
    limit_s = 0.3 if status == 504 else 30
    gateway = start(
        fast={"faults": [{**fault, "always": True}]}, each={"timeouts": {"total_s": limit_s}}, policies={"retries_per_model": 0}
    )
    with client_of(gateway, max_retries=2) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="fast", messages=HELLO)
    assert caught.value.status_code == status
    assert gateway.requests() == 1


def test_a_too_long_context_has_the_code_that_agents_expect(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"faults": [{"kind": "context_too_long", "always": True}]})
    with client_of(gateway) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="fast", messages=HELLO)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize("kind", ["cut", "malformed_chunk", "error_in_stream", "stall"])
def test_a_stream_that_breaks_ends_in_an_error(start: Callable[..., Gateway], kind: str) -> None:
    gateway = start(
        fast={
            "chunks": 6,
            "answers": [{"text": "One two three four five."}],
            "faults": [{"kind": kind, "after_chunks": 3, "always": True}],
        },
        each={"timeouts": {"between_chunks_s": 0.3}},
    )
    with client_of(gateway) as client:
        stream = client.chat.completions.create(model="fast", messages=HELLO, stream=True)
        assert next(stream).choices
        with pytest.raises(openai.APIError, match=r"(?s)cut after it had begun.*Charged .*, the whole hold: "):
            list(stream)
    assert gateway.requests() == 1


def test_pieces_are_sent_as_soon_as_they_arrive(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"chunks": 2, "chunk_ms": 700, "answers": [{"text": "One two."}]})
    with client_of(gateway) as client:
        began = time.monotonic()
        stream = client.chat.completions.create(model="fast", messages=HELLO, stream=True)
        next(stream)
        first_s = time.monotonic() - began
        list(stream)
        assert time.monotonic() - began - first_s > 0.5


def test_the_scope_is_read_from_headers(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"budget_usd_per_run": 1})
    headers = {f"x-paymaster-{name}": f"my-{name}" for name in ("run", "batch", "instance", "user", "tag-team")}
    with client_of(gateway, default_headers=headers) as client:
        client.chat.completions.create(model="fast", messages=HELLO)
    scope = gateway.events[-1].scope
    assert (scope.run, scope.batch, scope.instance, scope.user) == ("my-run", "my-batch", "my-instance", "my-user")
    assert scope.tags == {"team": "my-tag-team"}


def test_a_deadline_can_be_set_by_header(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"latency_ms": 5_000})
    with client_of(gateway, max_retries=0) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="fast", messages=HELLO, extra_headers={"x-paymaster-deadline": "0.2"})
    assert caught.value.status_code == 504


def test_the_models_are_listed_and_found_by_alias(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={}, slow={})
    with client_of(gateway) as client:
        assert [model.id for model in client.models.list()] == ["fast", "slow"]
        assert client.models.retrieve("slow").owned_by == "openai_compatible"
        with pytest.raises(openai.NotFoundError, match="Known models"):
            client.models.retrieve("medium")


def test_a_stream_ends_with_the_cost_in_a_comment_after_done(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[{"text": "Hi."}])
    body = json.dumps({"messages": HELLO, "stream": True})
    ran = subprocess.run(
        ["curl", "-sN", f"{gateway.url}/v1/chat/completions", "-H", "content-type: application/json", "-d", body],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    events = ran.stdout.strip().split("\n\n")
    assert events[-2] == "data: [DONE]"
    assert json.loads(events[-1].removeprefix(": paymaster "))["model"] == "fast"


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", "200"), ("/readyz", "200"), ("/v1/none", "404"), ("/v1/chat/completions", "405")]
)
def test_health_checks_and_unknown_paths(start: Callable[..., Gateway], path: str, status: str) -> None:
    gateway = start()
    ran = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", gateway.url + path], capture_output=True, text=True, check=True)
    body, _, code = ran.stdout.rpartition("\n")
    assert code == status
    answer = json.loads(body)
    if status == "405":
        assert answer["error"]["code"] == "method_not_allowed"
        assert "Use POST" in answer["error"]["message"]
