"""What Claude Code needs of a gateway: names, thoughts that come back, errors that reach its user; its requests by their shape."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from anthropic_server import AnthropicServer, answer, text
from paymaster.gateway.auth import Key
from paymaster.gateway.dialects.anthropic_messages import anthropic_error
from paymaster.gateway.endpoint import refusal_headers
from paymaster.gateway.http_errors import HttpError
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure
from responses_server import ResponsesServer
from responses_server import answer as response_of
from responses_server import message as message_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Object = dict[str, Any]
HELLO = [{"role": "user", "content": "Hello"}]
THOUGHT = {"type": "thinking", "thinking": "Hmm.", "signature": "claude-sig-1"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"file_path": "a.txt"}}
AGENT = {"user-agent": "claude-cli/2.1.197 (external, sdk-cli)"}
SMALL = "claude-haiku-4-5-20251001"
BETAS = (
    "claude-code-20250219,context-1m-2025-08-07,interleaved-thinking-2025-05-14,thinking-token-count-2026-05-13,"
    "context-management-2025-06-27,prompt-caching-scope-2026-01-05,mid-conversation-system-2026-04-07,advanced-tool-use-2025-11-20,"
    "effort-2025-11-24"
)
MODELS = {
    "claude-haiku-4-5": {"provider": "anthropic", "model_id": "claude-haiku-4-5", "aliases": ["main"]},
    "deepseek": {"provider": "anthropic", "model_id": "deepseek-v4-pro"},
    "gpt": {"provider": "openai", "model_id": "gpt-5.5-2026-04-23", "dialect": "responses"},
}
# A turn as Claude Code sends it, without its texts.
TURN = {
    "max_tokens": 32_000,
    "stream": True,
    "system": [{"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}}],
    "metadata": {"user_id": json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": "s" * 60})},
    "thinking": {"type": "enabled", "budget_tokens": 10_000},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "tools": [{"name": "Read", "description": "Reads.", "input_schema": {"type": "object", "properties": {"file_path": {}}}}],
}


class Front:
    """A gateway in front of the servers of its models."""

    def __init__(self, url: str, claude: AnthropicServer, other: AnthropicServer, gpt: ResponsesServer) -> None:
        self.url, self.claude, self.other, self.gpt = url, claude, other, gpt

    def send(self, address: str, body: Object, **headers: str) -> tuple[int, Mapping[str, str], str]:
        """The status, the headers and the body of an answer."""
        given = {"content-type": "application/json", **headers}
        request = urllib.request.Request(f"{self.url}/v1/{address}", json.dumps(body).encode(), given)  # noqa: S310 - our own loopback address
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - our own loopback address
                return reply.status, reply.headers, reply.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """Start a gateway whose Claude gives these answers; its fallback thinks, and signs nothing."""
    with ExitStack() as stack:

        def begin(*answers: object, chain: tuple[str, ...] = (), access: AccessPolicy | None = None, **more: object) -> Front:
            claude = stack.enter_context(AnthropicServer(*(answers or (answer(THOUGHT, text("So.")),))))
            other = stack.enter_context(AnthropicServer(answer({**THOUGHT, "signature": ""}, text("Else."))))
            gpt = stack.enter_context(ResponsesServer(response_of(message_item("Yes."))))
            urls = {"claude-haiku-4-5": claude.url, "deepseek": other.url, "gpt": f"{gpt.url}/v1"}
            prices = {"usd_per_1m_input": 1, "usd_per_1m_output": 10}
            models = {name: {**section, **prices, "base_url": urls[name]} for name, section in MODELS.items()}
            policies = {"fallback_chain": chain, "max_wait_s": 0.1, "retries_per_model": 0, **more}
            registry = tmp_path / "registry.yaml"
            registry.write_text(json.dumps({"default": "claude-haiku-4-5", "models": models, "policies": policies}))
            config = GatewayConfig(read_options=lambda: configure(registry, {"run": "r1"}), access=access or AccessPolicy())
            server_socket = listen("127.0.0.1", 0)
            port = server_socket.getsockname()[1]
            stack.enter_context(in_background(config, server_socket))
            return Front(f"http://127.0.0.1:{port}", claude, other, gpt)

        yield begin


def events_in(body: str) -> list[Object]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]


# --- Names --------------------------------------------------------------------------------------------------------------

DIALECTS: dict[str, Object] = {
    "messages": {"messages": HELLO, "max_tokens": 2_000},
    "responses": {"input": "Hello"},
    "chat/completions": {"messages": HELLO},
}


def models_in(body: str, *, stream: bool) -> set[str]:
    """Every name that an answer gives its model."""
    said = events_in(body) if stream else [json.loads(body)]
    found = [each.get("model") for each in said]
    found += [each[name].get("model") for each in said for name in ("message", "response") if isinstance(each.get(name), dict)]
    return {name for name in found if name is not None}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("address", DIALECTS)
@pytest.mark.parametrize(
    ("asked", "name", "shown"),
    [
        ("claude-haiku-4-5", "claude-haiku-4-5", "claude-haiku-4-5"),
        ("main", "claude-haiku-4-5", "main"),
        (SMALL, "claude-haiku-4-5", SMALL),
        ("main[1m]", "claude-haiku-4-5", "main[1m]"),
        ("gpt-5.5", "gpt", "gpt-5.5"),
        ("default", "claude-haiku-4-5", "claude-haiku-4-5"),
        (None, "claude-haiku-4-5", "claude-haiku-4-5"),
    ],
)
def test_an_answer_has_the_name_that_was_asked_for(
    front: Callable[..., Front], address: str, asked: str | None, name: str, shown: str, stream: bool
) -> None:
    body = {**DIALECTS[address], "stream": stream, **({} if asked is None else {"model": asked})}
    status, headers, said = front().send(address, body)
    assert (status, headers["x-paymaster-model"]) == (200, name)
    # Chat clients compare no names, and read in an answer which model gave it.
    assert models_in(said, stream=stream) == {name if address == "chat/completions" else shown}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("address", DIALECTS)
def test_the_answer_of_a_fallback_has_its_own_name(front: Callable[..., Front], address: str, stream: bool) -> None:
    overloaded = (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    gateway = front(overloaded, chain=("claude-haiku-4-5", "deepseek"))
    status, headers, said = gateway.send(address, {**DIALECTS[address], "stream": stream, "model": "main"})
    assert (status, headers["x-paymaster-model"]) == (200, "deepseek")
    assert models_in(said, stream=stream) == {"deepseek"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("address", "model"), [("messages", "gpt"), ("responses", "main")])
def test_an_answer_that_is_written_anew_has_an_id_of_its_own(front: Callable[..., Front], address: str, model: str, stream: bool) -> None:
    gateway = front()  # its servers give each answer the same id
    calls, ids = set(), set()
    for _ in range(2):
        _, headers, said = gateway.send(address, {**DIALECTS[address], "model": model, "stream": stream})
        first = events_in(said)[0] if stream else json.loads(said)
        begun = first.get("message") or first.get("response") or first
        calls.add(headers["x-paymaster-call"])
        ids.add(begun["id"].partition("_")[2])
    assert (len(ids), ids) == (2, calls)


def test_thoughts_come_back_under_an_alias(front: Callable[..., Front]) -> None:
    gateway = front(answer(THOUGHT, CALL, stop="tool_use"), answer(text("Done.")))
    _, _, said = gateway.send("messages?beta=true", {**TURN, "model": "main", "messages": HELLO}, **AGENT)
    begun = events_in(said)[0]["message"]
    kept = [THOUGHT, CALL] if begun["model"] == "main" else [CALL]  # what Claude Code does
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "foo"}
    turns = [*HELLO, {"role": "assistant", "content": kept}, {"role": "user", "content": [result]}]
    status, _, _ = gateway.send("messages?beta=true", {**TURN, "model": "main", "messages": turns}, **AGENT)
    assert status == 200
    sent = [request.pop("model") for request in gateway.claude.requests]
    assert sent == ["claude-haiku-4-5"] * 2
    assert gateway.claude.requests[-1] == {**TURN, "messages": turns}


def test_a_hard_budget_keeps_the_betas_that_it_sends(front: Callable[..., Front]) -> None:
    gateway = front(budget_usd_per_run=5, hard_stop_on_budget=True)
    status, _, _ = gateway.send("messages?beta=true", {**TURN, "model": "main", "messages": HELLO}, **AGENT, **{"anthropic-beta": BETAS})
    assert status == 200
    assert gateway.claude.headers[0]["anthropic-beta"] == BETAS


@pytest.mark.parametrize("address", ["messages/count_tokens", "messages", "chat/completions", "responses"])
def test_a_key_finds_dated_names_among_its_own_models(front: Callable[..., Front], address: str) -> None:
    rights = {"one": ("claude-haiku-4-5",), "two": ("deepseek",)}
    keys = {secret: Key(id=secret, user="ana", digest="", models=models) for secret, models in rights.items()}
    gateway = front(access=AccessPolicy(find_key=keys.get, needs_key=lambda: True))
    body = {**DIALECTS[address.partition("/count")[0]], "model": SMALL}
    status, _, _ = gateway.send(address, body, **{"x-api-key": "one"})
    assert status == 200
    status, _, said = gateway.send(address, body, **{"x-api-key": "two"})
    assert status == 404
    assert json.loads(said)["error"]["message"] == (
        f"model '{SMALL}' is not in the registry\nKnown models: deepseek. This key may use no others."
    )


def test_a_prompt_is_counted_and_not_bounded(front: Callable[..., Front]) -> None:
    words = [{"role": "user", "content": "The quick brown fox jumps over the lazy dog. " * 1_000}]
    _, _, said = front().send("messages/count_tokens", {"model": "main", "messages": words})
    assert 9_000 < json.loads(said)["input_tokens"] < 13_000  # a hold is for 16,774


def test_the_list_of_models_finds_them_too(front: Callable[..., Front]) -> None:
    gateway = front()
    for name in ("claude-haiku-4-5", "main", SMALL):
        with urllib.request.urlopen(f"{gateway.url}/v1/models/{name}") as reply:  # noqa: S310 - our own loopback address
            assert json.load(reply)["id"] == "claude-haiku-4-5"
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(f"{gateway.url}/v1/models/claude-haiku-4")  # noqa: S310 - our own loopback address
    with caught.value as refused:
        assert (refused.code, json.load(refused)["error"]["code"]) == (404, "model_not_found")


# --- Errors that reach its user -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("agent", "status", "kind"), [(AGENT, 400, "invalid_request_error"), ({}, 404, "not_found_error")])
def test_an_unknown_model_is_an_error_whose_message_is_shown(
    front: Callable[..., Front], agent: dict[str, str], status: int, kind: str, stream: bool
) -> None:
    body = {**TURN, "model": "claude-haiku-4-6", "messages": HELLO, "stream": stream}
    found, headers, said = front().send("messages?beta=true", body, **agent)
    assert (found, headers["x-should-retry"]) == (status, "false")
    error = json.loads(said)["error"]
    assert error["type"] == kind
    assert "model 'claude-haiku-4-6' is not in the registry\nDid you mean 'claude-haiku-4-5'?" in error["message"]


@pytest.mark.parametrize("retry_after_ms", [None, 1_000])
@pytest.mark.parametrize(("status", "kind"), [(502, "api_error"), (503, "api_error"), (504, "timeout_error"), (402, "billing_error")])
def test_no_error_has_a_kind_of_which_claude_code_makes_its_own(status: int, kind: str, retry_after_ms: int | None) -> None:
    error = HttpError(status=status, code="x", message="no", retry_after_ms=retry_after_ms)
    assert anthropic_error(error)["error"] == {"type": kind, "message": "no"}


@pytest.mark.parametrize(
    ("retry_after_ms", "headers"),
    [
        (None, {"x-should-retry": "false"}),
        (1, {"x-should-retry": "true", "retry-after": "1"}),
        (59_001, {"x-should-retry": "true", "retry-after": "60"}),
        (60_999, {"x-should-retry": "true", "retry-after": "60"}),
        (61_000, {"x-should-retry": "true", "retry-after": "60"}),
        (61_001, {"x-should-retry": "true", "retry-after": "62"}),
        (3_600_000, {"x-should-retry": "true", "retry-after": "3600"}),
    ],
)
def test_room_in_a_window_of_a_minute_is_never_said_to_take_longer(retry_after_ms: int | None, headers: dict[str, str]) -> None:
    given = refusal_headers(HttpError(status=429, code="x", message="no", retry_after_ms=retry_after_ms))
    assert {name.decode(): value.decode() for name, value in given} == headers


def test_a_providers_key_is_not_taken_for_the_users(front: Callable[..., Front]) -> None:
    gateway = front((401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}))
    status, headers, said = gateway.send("messages", {**TURN, "model": "main", "messages": HELLO}, **AGENT)
    assert (status, headers["x-should-retry"]) == (502, "false")
    assert "x-api-key" not in said
    assert "invalid API key" in said


# --- Tools --------------------------------------------------------------------------------------------------------------

SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
FOUND = [
    *HELLO,
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {"query": "select:Read"}}]},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "tool_reference", "tool_name": "Read"}]},
            {"type": "text", "text": "Tool loaded."},
        ],
    },
]
DEFERRED = [{**TURN["tools"][0], "defer_loading": True}, {"name": "ToolSearch", "input_schema": {"type": "object"}}]  # type: ignore[index]  # a list of tools


def test_a_tool_that_was_found_is_named_to_any_model(front: Callable[..., Front]) -> None:
    gateway = front()
    body = {**TURN, "messages": FOUND, "tools": DEFERRED}
    assert gateway.send("messages", {**body, "model": "main"})[0] == 200
    assert gateway.claude.requests[0]["messages"] == FOUND
    assert gateway.claude.requests[0]["tools"] == DEFERRED
    status, headers, _ = gateway.send("messages", {**body, "model": "gpt"})
    assert status == 200
    sent = gateway.gpt.requests[0]
    outputs = [item["output"] for item in sent["input"] if item["type"] == "function_call_output"]
    assert "Tool available: Read" in json.dumps(outputs)
    assert [tool["name"] for tool in sent["tools"]] == ["Read", "ToolSearch"]
    assert "tools.defer_loading" in headers["x-paymaster-dropped"]


@pytest.mark.parametrize(("choice", "status"), [({"type": "auto"}, 200), ({"type": "tool", "name": "web_search"}, 400)])
def test_a_search_is_left_out_with_its_choice_or_refused(front: Callable[..., Front], choice: Object, status: int) -> None:
    gateway = front()
    body = {"max_tokens": 32_000, "messages": HELLO, "tools": [SEARCH], "tool_choice": choice}
    found, headers, said = gateway.send("messages", {**body, "model": "gpt"})
    assert found == status
    if status == 200:
        assert "tools.web_search_20250305" in headers["x-paymaster-dropped"]
        assert not {"tools", "tool_choice"} & gateway.gpt.requests[0].keys()
    else:
        assert "does not take tools.web_search_20250305" in json.loads(said)["error"]["message"]
    assert gateway.send("messages", {**body, "model": "main"})[0] == 200
    assert gateway.claude.requests[0] == {**body, "model": "claude-haiku-4-5"}
