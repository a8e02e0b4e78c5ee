"""A gateway in front of an endpoint that speaks Anthropic's messages: clients of every dialect, requests as they arrive there."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING

import anthropic
import openai
import pytest

from anthropic_server import AnthropicServer, answer, events_of, text
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HELLO = [{"role": "user", "content": "Hello"}]
THOUGHT = {"type": "thinking", "thinking": "Hmm.", "signature": "claude-sig-1"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"path": "."}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
PRICES = {"usd_per_1m_input": 1, "usd_per_1m_output": 10}

# What Claude Code 2.1 and other agents put into a request, all of which has to arrive.
EVERYTHING = {
    "max_tokens": 8_000,
    "system": [{"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "metadata": {"user_id": "user_" + "a" * 186},
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 20_000}},
    "thinking": {"type": "adaptive"},
    "stop_sequences": ["END"],
    "service_tier": "auto",
    "tools": [
        {
            "name": "ls", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}, "strict": True,
            "input_examples": [{"path": "."}], "eager_input_streaming": True, "defer_loading": True, "cache_control": {"type": "ephemeral"},
        },
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "document", "title": "Report", "context": "From 2026.", "citations": {"enabled": True},
                    "source": {"type": "text", "media_type": "text/plain", "data": "Sales rose."},
                },
                {"type": "text", "text": "Look.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I search.", "signature": "claude-sig-0"},
                {"type": "redacted_thinking", "data": "c2VhbGVk"},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                {"type": "text", "text": "Found.", "citations": [{"type": "char_location", "cited_text": "Sales", "document_index": 0}]},
                CALL,
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result", "tool_use_id": "toolu_1", "is_error": True,
                    "content": [{"type": "text", "text": "no such folder"}, IMAGE, {"type": "tool_reference", "tool_name": "ls"}],
                }
            ],
        },
        {"role": "system", "content": "Be brief."},
    ],
}  # fmt: skip


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[..., tuple[str, AnthropicServer]]]:
    """Start a gateway whose model `claude` is served by a server with these answers."""
    with ExitStack() as stack:

        def begin(*answers: object, policies: dict[str, object] | None = None, **section: object) -> tuple[str, AnthropicServer]:
            server = stack.enter_context(AnthropicServer(*answers))
            model = {"provider": "anthropic", "model_id": "claude-opus-4-8", "base_url": server.url, **PRICES, **section}
            registry = tmp_path / "registry.yaml"
            registry.write_text(json.dumps({"default": "claude", "models": {"claude": model}, "policies": policies or {}}))
            config = GatewayConfig(read_options=lambda: configure(registry, {"run": "r1"}), access=AccessPolicy())
            server_socket = listen("127.0.0.1", 0)
            port = server_socket.getsockname()[1]
            stack.enter_context(in_background(config, server_socket))
            return f"http://127.0.0.1:{port}", server

        yield begin


def post(url: str, body: dict[str, object], **headers: str) -> tuple[dict[str, str], bytes]:
    given = {"content-type": "application/json", "x-api-key": "any", **headers}
    request = urllib.request.Request(f"{url}/v1/messages?beta=true", json.dumps(body).encode(), given)  # noqa: S310  http on loopback
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310  the same
        return dict(reply.headers), reply.read()


def events_in(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: ")]


def test_an_extra_body_joins_the_request_before_it_is_held_for(front: Callable[..., tuple[str, AnthropicServer]]) -> None:
    url, server = front(answer(text("OK.")))
    post(url, {"model": "claude", "max_tokens": 50, "messages": HELLO, "extra_body": {"max_tokens": 70, "service_tier": "auto"}})
    assert server.requests == [{"model": "claude-opus-4-8", "max_tokens": 70, "messages": HELLO, "service_tier": "auto"}]


def test_a_request_arrives_as_it_was_sent(front: Callable[..., tuple[str, AnthropicServer]]) -> None:
    url, server = front(answer(text("OK.")))
    post(url, {**EVERYTHING, "model": "claude"}, **{"anthropic-beta": "claude-code-20250219,effort-2025-11-24", "x-other": "no"})
    assert server.requests == [{**EVERYTHING, "model": "claude-opus-4-8"}]
    assert server.paths == ["/v1/messages"]
    [headers] = server.headers
    assert headers["anthropic-beta"] == "claude-code-20250219,effort-2025-11-24"
    assert headers["anthropic-version"] == "2023-06-01"
    assert "x-other" not in headers


def test_a_hard_budget_sends_only_betas_whose_price_is_known(front: Callable[..., tuple[str, AnthropicServer]]) -> None:
    url, server = front(
        answer(text("OK.")),
        policies={"budget_usd_per_run": 5, "hard_stop_on_budget": True},
        extra_headers={"anthropic-beta": "files-api-2025-04-14"},
    )
    post(url, {"model": "claude", "max_tokens": 100, "messages": HELLO}, **{"anthropic-beta": "effort-2025-11-24,golden-2027-01-01"})
    assert server.headers[0]["anthropic-beta"] == "effort-2025-11-24,files-api-2025-04-14"


def test_an_answer_comes_back_as_it_was_sent(front: Callable[..., tuple[str, AnthropicServer]]) -> None:
    sent = answer(
        THOUGHT, {**text("So."), "citations": [{"type": "char_location", "cited_text": "x"}]}, CALL,
        stop="tool_use", container={"id": "c1"}, usage={"input_tokens": 12, "output_tokens": 20, "service_tier": "standard"},
    )  # fmt: skip
    url, _ = front(sent)
    headers, body = post(url, {"model": "claude", "max_tokens": 100, "messages": HELLO})
    found = json.loads(body)
    cost = found["usage"].pop("cost_usd")
    assert found == {**sent, "model": "claude"}
    assert cost == pytest.approx(0.000212)
    assert headers["x-paymaster-cost-usd"] == headers["x-litellm-response-cost"] == "0.000212"


@pytest.mark.parametrize(
    "message",
    [
        answer(text("Hi.")),
        answer(THOUGHT, {"type": "redacted_thinking", "data": "x"}, text("So."), CALL, stop="tool_use"),
        answer(text("One"), stop="stop_sequence", stop_sequence="END"),
        answer({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}, stop="pause_turn"),
        answer(text("I can't."), stop="refusal", stop_details={"type": "refusal", "category": "bio"}),
    ],
    ids=["text", "thoughts", "stop-sequence", "pause", "refusal"],
)
def test_a_stream_comes_back_event_by_event(front: Callable[..., tuple[str, AnthropicServer]], message: dict[str, object]) -> None:
    url, _ = front(message)
    _, data = post(url, {"model": "claude", "max_tokens": 100, "messages": HELLO, "stream": True})
    sent = events_of(message)
    sent[0]["message"]["model"] = "claude"  # type: ignore[index]  # the first event has a message
    assert events_in(data) == sent
    last = data.decode().rstrip().splitlines()[-1]
    assert last.startswith(": paymaster ")
    assert '"cost_usd":"0.000212"' in last


def test_the_official_client_reads_streams_and_their_usage(front: Callable[..., tuple[str, AnthropicServer]]) -> None:
    url, _ = front(answer(THOUGHT, text("So."), CALL, stop="tool_use"))
    with (
        anthropic.Anthropic(base_url=url, api_key="any") as client,
        client.messages.stream(model="claude", max_tokens=100, messages=HELLO) as stream,
    ):
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert (message.content[0].signature, message.content[2].input, message.stop_reason) == ("claude-sig-1", {"path": "."}, "tool_use")
    assert (message.model, message.usage.input_tokens, message.usage.output_tokens) == ("claude", 12, 20)


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_client_holds_a_conversation_with_tools(front: Callable[..., tuple[str, AnthropicServer]], stream: bool) -> None:
    url, server = front(answer(THOUGHT, text("Let me look."), CALL, stop="tool_use"), answer(text("Empty.")))
    tools = [{"type": "function", "function": {"name": "ls", "parameters": {"type": "object"}, "strict": True}}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any") as client:
        if stream:
            chunks = list(client.chat.completions.create(model="claude", messages=HELLO, tools=tools, stream=True, max_tokens=500))
            assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["tool_calls"]
        first = client.chat.completions.create(model="claude", messages=HELLO, tools=tools, max_tokens=500, temperature=0)
        if stream:
            return
        message = first.choices[0].message
        assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (12, 20)
        assert (message.content, message.tool_calls[0].function.arguments) == ("Let me look.", '{"path":"."}')
        turns = [*HELLO, message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": ""}]
        second = client.chat.completions.create(model="claude", messages=turns, tools=tools, reasoning_effort="high")
    assert second.choices[0].message.content == "Empty."
    sent = server.requests[-1]
    assert sent["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [THOUGHT, text("Let me look."), CALL]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
    ]
    assert sent["tools"] == [{"name": "ls", "input_schema": {"type": "object"}, "strict": True}]
    assert (sent["thinking"], sent["output_config"]) == ({"type": "adaptive", "display": "summarized"}, {"effort": "high"})
    assert "temperature" not in server.requests[0]


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [(529, "overloaded_error", 502), (401, "authentication_error", 502), (400, "invalid_request_error", 400)],
)
def test_errors_of_the_endpoint_have_their_own_kind(
    front: Callable[..., tuple[str, AnthropicServer]], status: int, kind: str, expected: int
) -> None:
    url, _ = front((status, {"type": "error", "error": {"type": kind, "message": "no"}}), policies={"max_wait_s": 0.1, "max_attempts": 1})
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client, pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="claude", max_tokens=100, messages=HELLO)
    assert caught.value.status_code in (expected, 503)


def test_an_error_inside_a_stream_is_a_failure(front: Callable[..., tuple[str, AnthropicServer]]) -> None:
    broken = [
        *events_of(answer(text("Hello there.")))[:4],
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ]
    url, _ = front(broken)
    _, data = post(url, {"model": "claude", "max_tokens": 100, "messages": HELLO, "stream": True})
    assert events_in(data)[-1]["type"] == "error"
    assert "message_stop" not in data.decode()


def test_thoughts_that_a_compatible_endpoint_does_not_sign_find_back_to_it_alone(
    front: Callable[..., tuple[str, AnthropicServer]],
) -> None:
    unsigned = {"type": "thinking", "thinking": "Hmm.", "signature": ""}
    url, server = front(answer(unsigned, text("So.")), model_id="deepseek-v4-pro")
    body = {"model": "claude", "max_tokens": 100, "messages": HELLO}
    _, whole = post(url, body)
    _, streamed = post(url, {**body, "stream": True})
    signature = json.loads(whole)["content"][0]["signature"]
    deltas = [event["delta"] for event in events_in(streamed) if event["type"] == "content_block_delta"]
    assert {"type": "signature_delta", "signature": signature} in deltas
    other = {"type": "thinking", "thinking": "Else.", "signature": signature.replace(signature.split("_")[1], "0" * 12)}
    post(url, {**body, "messages": [*HELLO, {"role": "assistant", "content": [other, {**unsigned, "signature": signature}]}, *HELLO]})
    assert server.requests[-1]["messages"][1]["content"] == [unsigned]  # type: ignore[index]  # a list of messages
