"""Requests in the shapes of Codex CLI, to models of every dialect: its search under a hard budget, and a history that it has compacted."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from anthropic_server import AnthropicServer
from anthropic_server import answer as message_of
from anthropic_server import text as text_block
from gateways import PRICES, events_in, post
from paymaster.dialects.objects import section
from paymaster.gateway.dialects.dialect import DialectRequest
from paymaster.gateway.dialects.openai_responses import OpenAIResponses
from paymaster.gateway.dialects.responses_requests import read_request
from paymaster.gateway.http_errors import HttpError
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure
from paymaster.routing.requests import Request
from responses_server import ResponsesServer, answer, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Object = dict[str, Any]
RUN = {"type": "function", "name": "exec_command", "parameters": {"type": "object", "properties": {}}, "strict": False}
SEARCH = {"type": "web_search", "external_web_access": True, "search_content_types": ["text", "image"]}
IMAGES = {"type": "image_generation", "output_format": "png"}
GROUP = {"type": "namespace", "name": "functions", "description": "", "tools": [{"type": "custom", "name": "exec"}]}
NOTE = {"internal_chat_message_metadata_passthrough": {"turn_id": "0199"}}
USER = {"type": "message", "id": "msg_1", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}], **NOTE}
HISTORY = [
    USER,
    {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_1", "name": "exec_command", "arguments": "{}", **NOTE},
    {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "a.txt", **NOTE},
]
COMPACT = {"type": "compaction_trigger"}
FIELDS = {
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199",
    "text": {"verbosity": "low"},
    "client_metadata": {"turn_id": "0199"},
}


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Start a gateway for the models `native` and `claude`, whose endpoints are given."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-provider")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-provider")
    with ExitStack() as stack:

        def start(native: ResponsesServer, claude: AnthropicServer | None = None, **policies: object) -> str:
            models: Object = {
                "native": {"provider": "openai", "model_id": "gpt-5.5", "dialect": "responses", "base_url": native.url, **PRICES}
            }
            if claude is not None:
                models["claude"] = {"provider": "anthropic", "model_id": "claude-opus-4-8", "base_url": claude.url, **PRICES}
            registry = tmp_path / "registry.yaml"
            policy = {"backoff_initial_s": 0.01, "retries_per_model": 0, **policies}
            registry.write_text(json.dumps({"default": "native", "models": models, "policies": policy}))
            config = GatewayConfig(read_options=lambda: configure(registry, {"run": "r1"}), access=AccessPolicy())
            server_socket = listen("127.0.0.1", 0)
            stack.enter_context(in_background(config, server_socket))
            return f"http://127.0.0.1:{server_socket.getsockname()[1]}"

        yield start


NAMED = {"type": "function", "name": "exec_command"}
ALLOWED = {"type": "allowed_tools", "mode": "auto"}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"tools": [RUN, SEARCH, IMAGES]}, {"tools": [RUN], "tool_choice": "auto", "parallel_tool_calls": True}),
        ({"tools": [SEARCH]}, {}),
        ({"tools": [SEARCH], "tool_choice": "none"}, {"tool_choice": "none"}),
        (
            {"tools": [RUN, SEARCH], "tool_choice": {**ALLOWED, "tools": [SEARCH, {"type": "function", "name": "exec_command"}]}},
            {
                "tools": [RUN],
                "tool_choice": {**ALLOWED, "tools": [{"type": "function", "name": "exec_command"}]},
                "parallel_tool_calls": True,
            },
        ),
        (
            {"tools": [RUN, SEARCH], "tool_choice": {**ALLOWED, "tools": [{"type": "web_search"}]}},
            {"tools": [RUN], "tool_choice": "none", "parallel_tool_calls": True},
        ),
        (
            {"input": [{"type": "additional_tools", "role": "developer", "tools": [GROUP, SEARCH]}, USER]},
            {
                "input": [{"type": "additional_tools", "role": "developer", "tools": [GROUP]}, USER],
                "tool_choice": "auto",
                "parallel_tool_calls": True,
            },
        ),
    ],
    ids=["beside a tool", "alone", "with no choice", "among those allowed", "the only one allowed", "in an item"],
)
def test_a_hard_budget_leaves_out_a_search_that_nothing_bounds(gateway: Callable[..., str], given: Object, sent: Object) -> None:
    body = {"model": "native", **FIELDS, "input": [USER], **given}
    with ResponsesServer(answer(message("OK."))) as server:
        url = gateway(server, hard_stop_on_budget=True, budget_usd_per_run=5)
        status, data = post(url, body)
        assert status == 200, data
        arrived = {name: value for name, value in server.requests[0].items() if name != "max_output_tokens"}
        expected = {name: value for name, value in body.items() if name not in ("tools", "tool_choice", "parallel_tool_calls")}
        assert arrived == {**expected, "model": "gpt-5.5", **sent}


@pytest.mark.parametrize(
    ("mode", "tools", "sent"),
    [
        ("auto", [NAMED], (["exec_command"], "auto")),
        ("required", [NAMED], (["exec_command"], "required")),
        ("auto", [], (["exec_command", "wait"], "auto")),
    ],
)
def test_endpoints_of_chat_completions_get_the_allowed_tools_alone(mode: str, tools: list[Object], sent: object) -> None:
    choice = {"type": "allowed_tools", "mode": mode, "tools": tools}
    request = read_request({"model": "fast", "input": "Hi", "tools": [RUN, {**RUN, "name": "wait"}, SEARCH], "tool_choice": choice})
    names = [section(tool.get("function")).get("name") for tool in request.tools if tool["type"] == "function"]
    assert (names, request.params["tool_choice"]) == sent


@pytest.mark.parametrize(
    "given",
    [
        {"tools": [RUN, SEARCH], "tool_choice": {"type": "web_search"}},
        {"tools": [SEARCH], "tool_choice": "required"},
    ],
)
def test_a_search_that_is_forced_is_refused_under_a_hard_budget(gateway: Callable[..., str], given: Object) -> None:
    with ResponsesServer(answer(message("OK."))) as server:
        url = gateway(server, hard_stop_on_budget=True, budget_usd_per_run=5)
        status, data = post(url, {"model": "native", "input": [USER], **given})
        assert (status, b"web_search" in data, server.requests) == (400, True, [])


@pytest.mark.parametrize("stream", [False, True])
def test_a_search_that_is_offered_and_not_used_costs_nothing(gateway: Callable[..., str], *, stream: bool) -> None:
    with ResponsesServer(answer(message("OK."))) as server:
        status, data = post(gateway(server), {"model": "native", "input": [USER], "tools": [RUN, SEARCH], "stream": stream})
        assert (status, server.requests[0]["tools"]) == (200, [RUN, SEARCH])
        response = events_in(data)[-1]["response"] if stream else json.loads(data)
        # 100 tokens in at $1 a million, 20 out at $10: a soft budget holds for ten searches beside them.
        assert response["usage"]["cost_usd"] == pytest.approx(0.0003)


def compacted(url: str, model: str, *, stream: bool) -> Object:
    status, data = post(url, {"model": model, **FIELDS, "tools": [RUN, SEARCH], "input": [*HISTORY, COMPACT], "stream": stream})
    assert status == 200, data
    response = events_in(data)[-1]["response"] if stream else json.loads(data)
    assert response["status"] == "completed"
    if stream:
        done = [event["item"] for event in events_in(data) if event["type"] == "response.output_item.done"]
        assert done == response["output"]
    [item] = response["output"]
    assert item["type"] == "compaction"
    return dict(item)


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_model_compacts_a_history_and_goes_on_from_it(start: Any, *, stream: bool) -> None:
    summary = {"text": "They want it fixed; a.txt is there.", "reasoning": "Hm.", "when": {"last": "Write a summary"}}
    gateway = start(fast={"chunks": 3, "answers": [summary, {"text": "I know.", "when": {"match": "a.txt is there"}}, {"text": "What?"}]})
    item = compacted(gateway.url, "fast", stream=stream)
    status, data = post(gateway.url, {"model": "fast", "input": [USER, item], **FIELDS})
    assert (status, json.loads(data)["output"][-1]["content"][0]["text"]) == (200, "I know."), data


def test_every_model_reads_the_summary_of_another(gateway: Callable[..., str]) -> None:
    with AnthropicServer(message_of(text_block("All is done."))) as claude, ResponsesServer(answer(message("OK."))) as native:
        url = gateway(native, claude)
        item = compacted(url, "claude", stream=False)
        asked = claude.requests[0]
        assert asked["tool_choice"]["type"] == "none"
        assert asked["messages"][-1]["content"][-1]["text"].startswith("Write a summary")
        assert post(url, {"model": "native", "input": [item, USER]})[0] == 200
        [first, second] = native.requests[0]["input"]
        assert (first["role"], first["content"][0]["text"].endswith("\n\nAll is done."), second) == ("user", True, USER)


def test_an_endpoint_of_the_dialect_compacts_by_itself(gateway: Callable[..., str]) -> None:
    sealed = {"id": "cmp_1", "type": "compaction", "encrypted_content": "sealed-1"}
    with ResponsesServer(answer(sealed), answer(message("OK."))) as server:
        url = gateway(server)
        assert compacted(url, "native", stream=False) == sealed
        assert server.requests[0]["input"] == [*HISTORY, COMPACT]
        assert post(url, {"model": "native", "input": [sealed, USER]})[0] == 200
        assert server.requests[1]["input"] == [sealed, USER]


@pytest.mark.parametrize("given", [HISTORY, "Fix it."])
def test_the_older_way_to_compact(start: Any, given: object) -> None:
    gateway = start(fast=[{"text": "They want it fixed."}])
    status, data = post(gateway.url, {"model": "fast", "input": given, "tools": [RUN]}, "responses/compact")
    body = json.loads(data)
    assert (status, body["object"], body["usage"]["output_tokens"] > 0) == (200, "response.compaction", True), data
    first, last = body["output"]
    assert (first["role"], last["type"]) == ("user", "compaction")
    assert post(gateway.url, {"model": "fast", "input": 5}, "responses/compact")[0] == 400
    assert post(gateway.url, {"model": "fast"}, "responses/compact")[0] == 400


def test_an_answer_that_is_no_summary_replaces_no_history(start: Any) -> None:
    gateway = start(fast=[{"tool_calls": [{"name": "exec_command", "arguments": {}, "id": "c1"}]}])
    status, data = post(gateway.url, {"model": "fast", "input": HISTORY, "tools": [RUN]}, "responses/compact")
    assert (status, json.loads(data)["error"]["code"]) == (502, "no_summary"), data


def test_notes_of_the_client_are_not_named_as_lost(start: Any) -> None:
    gateway = start(fast=[{"text": "OK."}])
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": None, **NOTE}
    assert post(gateway.url, {"model": "fast", "input": [*HISTORY, thought, USER], **FIELDS})[0] == 200
    [dropped] = [event.dropped_params for event in gateway.events if event.kind == "admitted"]
    assert not [name for name in dropped if "passthrough" in name], dropped


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (HttpError(status=402, code="budget_exceeded", message="budget reached"), ("insufficient_quota", "budget reached")),
        (HttpError(status=400, code="context_length_exceeded", message="too long"), ("context_length_exceeded", "too long")),
        (
            HttpError(status=429, code="rate_limit_exceeded", message="no room", retry_after_ms=19_001),
            ("rate_limit_exceeded", "no room\nPlease try again in 20s."),
        ),
        (HttpError(status=400, code="no_model_fits", message="it lacks vision"), ("invalid_prompt", "it lacks vision")),
        (HttpError(status=502, code="stream_broken", message="cut"), ("server_error", "cut")),
    ],
    ids=lambda value: value.code if isinstance(value, HttpError) else "",
)
def test_a_stream_fails_in_words_that_its_clients_know(error: HttpError, failed: tuple[str, str]) -> None:
    pieces = OpenAIResponses().pieces(DialectRequest(request=Request(), body={}))
    first, last = events_in(pieces.broken(error))
    assert (first["type"], first["error"]["code"], last["type"]) == ("error", error.code, "response.failed")
    assert (last["response"]["error"]["code"], last["response"]["error"]["message"]) == failed


def test_the_models_for_codex(start: Any) -> None:
    gateway = start(fast=[{"text": "OK."}])
    with urllib.request.urlopen(f"{gateway.url}/v1/models?client_version=0.171.0", timeout=20) as reply:  # noqa: S310 - http on loopback
        body = json.loads(reply.read())
        assert (reply.headers["etag"][0], body["models"], [entry["id"] for entry in body["data"]]) == ('"', [], ["fast"])
    with urllib.request.urlopen(f"{gateway.url}/v1/models", timeout=20) as reply:  # noqa: S310 - http on loopback
        assert "models" not in json.loads(reply.read())
