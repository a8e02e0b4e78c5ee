"""A gateway in front of an endpoint that speaks OpenAI's responses: clients of every dialect, requests as they arrive there."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import openai
import pytest

from gateways import events_in, post
from paymaster.dialects.state import owner_of, read_stamp
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure
from paymaster.registry.models import Dialect
from responses_server import ResponsesServer, answer, call, events_of, message, patch, reasoning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., tuple[str, list[ResponsesServer]]]

PRICES = {"usd_per_1m_input": 1, "usd_per_1m_output": 10}
STATELESS = {"store": False, "include": ["reasoning.encrypted_content"]}
USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]}
RUN = {"type": "function", "name": "run", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}, "strict": False}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
GROUP = {"type": "namespace", "name": "mcp__files", "description": "Files.", "tools": [{**RUN, "name": "read"}]}
# What Codex CLI 0.171 puts into a request, all of which has to arrive.
CODEX = {
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "additional_tools", "role": "developer", "tools": [{**GROUP, "name": "functions"}]},
        USER,
        reasoning(),
        {**message("Let me look."), "phase": "commentary"},
        call(),
        {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": "*** Begin Patch"},
        {"type": "function_call_output", "call_id": "call_real", "output": "done"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "ok"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        message("Found."),
        USER,
    ],
    "tools": [
        RUN,
        {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": GRAMMAR},
        GROUP,
        {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {"type": "object"}},
        {"type": "local_shell"},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    **STATELESS,
    "prompt_cache_key": "0199",
    "text": {"verbosity": "low"},
    "client_metadata": {"x": "y"},
}


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Start]:
    """Start a gateway: each list of answers is a model (`m0`, `m1`), each the fallback of the one before."""
    with ExitStack() as stack:

        def begin(*models: list[object], policies: dict[str, object] | None = None, **section: object) -> tuple[str, list[ResponsesServer]]:
            servers = [stack.enter_context(ResponsesServer(*answers)) for answers in models]
            given = {"provider": "openai", "model_id": "gpt-5.5", "dialect": "responses", **PRICES, **section}
            sections = {f"m{number}": {**given, "base_url": server.url} for number, server in enumerate(servers)}
            policy = {"fallback_chain": list(sections), "backoff_initial_s": 0.01, "retries_per_model": 0, **(policies or {})}
            registry = tmp_path / "registry.yaml"
            registry.write_text(json.dumps({"default": "m0", "models": sections, "policies": policy}))
            config = GatewayConfig(read_options=lambda: configure(registry, {"run": "r1"}), access=AccessPolicy())
            server_socket = listen("127.0.0.1", 0)
            port = server_socket.getsockname()[1]
            stack.enter_context(in_background(config, server_socket))
            return f"http://127.0.0.1:{port}", servers

        yield begin


def test_a_request_arrives_as_it_was_sent_and_the_answer_too(front: Start) -> None:
    given = answer(reasoning(), message("OK."), call("read", namespace="mcp__files"), patch())
    url, [server] = front([given])
    status, data = post(url, {**CODEX, "model": "m0"})
    assert status == 200
    assert server.requests == [{**CODEX, "model": "gpt-5.5"}]
    assert server.paths == ["/v1/responses"]
    body = json.loads(data)
    assert body.pop("usage") == {**given["usage"], "cost_usd": pytest.approx(0.0003)}
    assert body == {**{name: value for name, value in given.items() if name != "usage"}, "model": "m0"}


def test_a_stream_passes_event_by_event(front: Start) -> None:
    given = answer(reasoning(), message("OK."), call(), patch())
    url, [server] = front([given])
    _, data = post(url, {**CODEX, "model": "m0", "stream": True, "stream_options": {"include_obfuscation": False}})
    sent, got = events_of(given), events_in(data)
    assert server.requests[0]["stream_options"] == {"include_obfuscation": False}
    assert got[-1]["response"]["usage"].pop("cost_usd") == pytest.approx(0.0003)
    for event in sent:
        if "response" in event:
            event["response"] = {**event["response"], "model": "m0"}
    assert got == sent
    assert data.decode().rstrip().splitlines()[-1].startswith(": paymaster ")


def test_the_official_client_streams_through(front: Start) -> None:
    url, _ = front([answer(reasoning(), message("OK."), call())])
    tools: Any = [RUN]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        with client.responses.stream(model="m0", input="Hi", tools=tools) as stream:
            final = [*stream] and stream.get_final_response()
        assert (final.output_text, final.model, final.output[2].type) == ("OK.", "m0", "function_call")
        text = client.chat.completions.create(model="m0", messages=[{"role": "user", "content": "Hi"}])
        assert text.choices[0].message.content == "OK."


TOOL = {"type": "function", "function": {"name": "run", "description": "Runs.", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("stream", [False, True])
def test_chat_clients_get_tools_together_with_an_effort(front: Start, *, stream: bool) -> None:
    url, [server] = front([answer(reasoning(), call())])
    body: dict[str, Any] = {
        "model": "m0",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Fix it."}],
        "tools": [TOOL],
        "reasoning_effort": "high",
        "verbosity": "low",
        "max_completion_tokens": 1,
        "seed": 7,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    status, data = post(url, body, "chat/completions")
    assert status == 200, data
    assert server.requests == [
        {
            "model": "gpt-5.5",
            "input": [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]}, USER],
            "tools": [
                {
                    "type": "function",
                    "name": "run",
                    "description": "Runs.",
                    "parameters": {"type": "object", "properties": {}},
                    "strict": False,
                }
            ],
            "reasoning": {"effort": "high"},
            "text": {"verbosity": "low"},
            "max_output_tokens": 16,
            **STATELESS,
            **({"stream": True} if stream else {}),
        }
    ]
    if stream:
        chunks = events_in(data.replace(b"data: [DONE]", b""))
        pieces = [piece for chunk in chunks for choice in chunk.get("choices", []) for piece in choice["delta"].get("tool_calls", [])]
        assert "".join(piece["function"]["arguments"] for piece in pieces) == '{"a":1}'
        usage = next(chunk["usage"] for chunk in chunks if chunk.get("usage"))
    else:
        whole = json.loads(data)
        [choice] = whole["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["tool_calls"] == [
            {"id": "call_real", "type": "function", "function": {"name": "run", "arguments": '{"a":1}'}}
        ]
        usage = whole["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (100, 64)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 5


def test_encrypted_reasoning_comes_back_through_chat_completions(front: Start) -> None:
    url, [server] = front([answer(reasoning(), call()), answer(message("Done."))])
    first: dict[str, Any] = {"model": "m0", "messages": [{"role": "user", "content": "Fix it."}], "tools": [TOOL]}
    _, data = post(url, first, "chat/completions")
    said = json.loads(data)["choices"][0]["message"]
    second = {**first, "messages": [*first["messages"], said, {"role": "tool", "tool_call_id": "call_real", "content": "done"}]}
    status, data = post(url, second, "chat/completions")
    assert (status, json.loads(data)["choices"][0]["message"]["content"]) == (200, "Done."), data
    sent = server.requests[1]["input"]
    assert [item["type"] for item in sent] == ["message", "reasoning", "function_call", "function_call_output"]
    assert (sent[1]["encrypted_content"], sent[1]["summary"]) == ("sealed-1", [{"type": "summary_text", "text": "Hm."}])


def test_claude_code_reaches_the_endpoint_too(front: Start) -> None:
    url, [server] = front([answer(reasoning(), call()), answer(message("Done."))])
    tools = [{"name": "run", "description": "Runs.", "input_schema": {"type": "object", "properties": {}}}]
    body: dict[str, Any] = {"model": "m0", "max_tokens": 2_000, "tools": tools, "messages": [{"role": "user", "content": "Fix it."}]}
    body["thinking"] = {"type": "enabled", "budget_tokens": 1_024}
    _, data = post(url, body, "messages")
    said = json.loads(data)["content"]
    assert [block["type"] for block in said] == ["thinking", "tool_use"]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": said[1]["id"], "content": "done"}]}
    status, data = post(url, {**body, "messages": [*body["messages"], {"role": "assistant", "content": said}, result]}, "messages")
    assert (status, json.loads(data)["content"][0]["text"]) == (200, "Done."), data
    sent = server.requests[1]["input"]
    assert [item["type"] for item in sent] == ["message", "reasoning", "function_call", "function_call_output"]
    assert sent[1]["encrypted_content"] == "sealed-1"


FAILED = {"code": "server_error", "message": "The server had an error."}
LIMIT = {"code": "rate_limit_exceeded", "message": "Rate limit reached. Please try again in 20s."}


def failing(error: dict[str, str], count: int) -> list[dict[str, Any]]:
    """A stream that fails after so many events."""
    events = events_of(answer(message("A long story.")))[:count]
    failed = {"type": "response.failed", "response": answer(status="failed", error=error), "sequence_number": count}
    return [*events, failed]


@pytest.mark.parametrize(
    ("trouble", "stream"),
    [
        ((500, {"error": FAILED}), False),
        ((500, {"error": FAILED}), True),
        (answer(status="failed", error=FAILED), False),
        (answer(status="failed", error=FAILED), True),
        (failing(FAILED, 2), True),
        (failing(LIMIT, 3), True),
        ([{"type": "error", "sequence_number": 0, **LIMIT, "param": None}], True),
        (events_of(answer(message("A long story.")))[:3], True),
    ],
    ids=["500", "500, streamed", "failed", "failed, streamed", "failed at once", "a limit", "an error event", "cut before a text"],
)
def test_a_failure_falls_back(front: Start, trouble: object, *, stream: bool) -> None:
    url, [first, second] = front([trouble], [answer(message("OK."))])
    status, data = post(url, {"model": "m0", "input": "Hi", "stream": stream})
    assert status == 200, data
    assert (len(first.requests), len(second.requests)) == (1, 1)
    response = events_in(data)[-1]["response"] if stream else json.loads(data)
    assert response["output"][0]["content"][0]["text"] == "OK."


def test_a_stream_that_fails_later_ends_as_failed(front: Start) -> None:
    url, _ = front([failing(FAILED, 6)])
    _, data = post(url, {"model": "m0", "input": "Hi", "stream": True})
    events = events_in(data)
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[-1]["response"]["status"], events[-1]["response"]["model"]) == ("failed", "m0")
    # Each client looks in another place for the message, and some only where there is a type.
    text, error = events[-2]["message"], events[-2]["error"]
    assert "cut after it had begun" in text
    assert (error["type"], error["code"], error["message"]) == ("api_error", "stream_broken", text)
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": text}


def test_a_cut_answer_is_incomplete(front: Start) -> None:
    cut = answer(message("A long"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    url, _ = front([cut])
    _, data = post(url, {"model": "m0", "input": "Hi", "stream": True})
    assert events_in(data)[-1]["type"] == "response.incomplete"
    _, data = post(url, {"model": "m0", "messages": [{"role": "user", "content": "Hi"}]}, "chat/completions")
    assert json.loads(data)["choices"][0]["finish_reason"] == "length"


def test_state_of_another_model_is_left_out(front: Start) -> None:
    url, [server] = front([answer(message("OK."))])
    stamp = f"pm1_{owner_of('deepseek', 'deepseek-chat')}_c_"
    thought = {"type": "reasoning", "id": f"rs_0__{stamp}", "summary": [{"type": "summary_text", "text": "a"}], "encrypted_content": stamp}
    long_id = f"call_1__{stamp}{'x' * 90}"
    output = {"type": "function_call_output", "call_id": long_id, "output": "done"}
    items = [USER, thought, {"type": "function_call", "call_id": long_id, "name": "run", "arguments": "{}"}, output]
    assert post(url, {"model": "m0", "input": items})[0] == 200
    ids = {item.get("call_id") for item in server.requests[0]["input"]}
    assert [item["type"] for item in server.requests[0]["input"]] == ["message", "function_call", "function_call_output"]
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("capabilities", "include"), [(["reasoning", "function_calling"], ["reasoning.encrypted_content"]), (["function_calling"], [])]
)
def test_only_a_model_that_reasons_is_asked_for_encrypted_reasoning(front: Start, capabilities: list[str], include: list[str]) -> None:
    url, [server] = front([answer(message("OK."))], capabilities=capabilities)
    assert post(url, {"model": "m0", "messages": [{"role": "user", "content": "Hi"}]}, "chat/completions")[0] == 200
    assert server.requests[0]["include"] == include


@pytest.mark.parametrize("params", [{"n": 2}, {"functions": [{"name": "f"}]}, {"modalities": ["text", "audio"]}])
def test_what_the_dialect_has_no_word_for_rules_the_model_out(front: Start, params: dict[str, Any]) -> None:
    url, [server] = front([answer(message("OK."))])
    status, data = post(url, {"model": "m0", "messages": [{"role": "user", "content": "Hi"}], **params}, "chat/completions")
    assert (status, server.requests) == (400, [])
    assert next(iter(params)).encode() in data


def test_a_hard_budget_counts_what_only_this_dialect_knows(front: Start) -> None:
    url, [server] = front([answer(message("OK."))], policies={"hard_stop_on_budget": True, "budget_usd_per_run": 0.05})
    sealed = {"type": "compaction", "encrypted_content": "x" * 60_000}
    status, data = post(url, {"model": "m0", "input": [sealed, USER], "max_output_tokens": 100})
    assert (status, server.requests) == (402, []), data
    assert post(url, {"model": "m0", "input": [USER], "max_output_tokens": 100})[0] == 200


# ----------------------------------------------------------------------------- responses' clients of models that speak chat completions


def codex_like(url: str, body: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    """The response to a turn, as Codex reads it."""
    status, data = post(url, {**body, "stream": stream})
    assert status == 200, data
    response = events_in(data)[-1]["response"] if stream else json.loads(data)
    assert response["status"] == "completed"
    return response


def test_hosted_tools_that_nobody_forced_are_left_out(start: Any) -> None:
    gateway = start(fast=[{"text": "OK."}])
    tools = [RUN, {"type": "web_search"}, {"type": "image_generation", "output_format": "png"}]
    assert codex_like(gateway.url, {"model": "fast", "input": "Hi", "tools": tools}, stream=False)["output"]
    [dropped] = [event.dropped_params for event in gateway.events if event.kind == "admitted"]
    assert {"tools.web_search", "tools.image_generation"} <= set(dropped)
    for choice in ({"type": "web_search"}, {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}):
        status, data = post(gateway.url, {"model": "fast", "input": "Hi", "tools": tools, "tool_choice": choice})
        assert (status, b"web_search" in data) == (400, True)
    for item in ({"type": "compaction", "encrypted_content": "x"}, {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}):
        assert post(gateway.url, {"model": "fast", "input": [item, USER]})[0] == 400
    assert gateway.requests() == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tools_of_codex_are_offered_as_functions_and_turned_back(start: Any, *, stream: bool) -> None:
    calls = [
        {"name": "apply_patch", "arguments": {"input": "*** Begin"}, "id": "c1"},
        {"name": "mcp__files__read", "arguments": {"a": 1}, "id": "c2"},
        {"name": "local_shell", "arguments": {"command": ["ls"]}, "id": "c3"},
    ]
    gateway = start(fast={"chunks": 3, "answers": [{"tool_calls": calls}, {"text": "Done.", "when": {"last": "a.txt"}}]})
    first = codex_like(gateway.url, {**CODEX, "model": "fast"}, stream=stream)
    assert [(item["type"], item["call_id"]) for item in first["output"]] == [
        ("custom_tool_call", "c1"), ("function_call", "c2"), ("local_shell_call", "c3"),
    ]  # fmt: skip
    assert first["output"][0]["input"] == "*** Begin"
    assert (first["output"][1]["namespace"], first["output"][1]["name"]) == ("mcp__files", "read")
    assert first["output"][2]["action"]["command"] == ["ls"]
    outputs = [
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
        {"type": "function_call_output", "call_id": "c2", "output": "text"},
        {"type": "local_shell_call_output", "id": "c3", "output": "a.txt"},
    ]
    second = codex_like(gateway.url, {**CODEX, "model": "fast", "input": [*CODEX["input"], *first["output"], *outputs]}, stream=stream)
    assert second["output"][0]["content"][0]["text"] == "Done."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("include", [["reasoning.encrypted_content"], []])
def test_a_thought_is_signed_with_its_models_name(start: Any, include: list[str], *, stream: bool) -> None:
    gateway = start(fast={"chunks": 3, "answers": [{"text": "OK.", "reasoning": "Hmm, let me see."}]})
    response = codex_like(gateway.url, {"model": "fast", "input": "Hi", "include": include}, stream=stream)
    thought = response["output"][0]
    assert (thought["type"], thought["summary"][0]["text"]) == ("reasoning", "Hmm, let me see.")
    state = read_stamp(thought["encrypted_content"] if include else thought["id"].partition("__")[2], Dialect.RESPONSES)
    assert (state.owner, state.dialect) == (owner_of("openai_compatible", "fast"), Dialect.CHAT)


def test_a_websocket_is_refused_so_that_codex_goes_on_at_once(start: Any) -> None:
    gateway = start()
    asking = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-key": "x", "sec-websocket-version": "13"}
    for headers, status in ((asking, 426), ({}, 405)):
        request = urllib.request.Request(f"{gateway.url}/v1/responses", headers=headers)  # noqa: S310 - http on loopback
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)  # noqa: S310 - http on loopback
        with refused.value as error:
            assert (error.code, b"POST" in error.read()) == (status, True)
