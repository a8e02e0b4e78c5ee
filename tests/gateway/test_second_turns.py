"""The second turn of a conversation with tools, through every front end: to the model that wrote the first, and to every other one.

Each endpoint refuses a history that breaks its rules, as the real one does; so an answer is the proof that it kept them.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import ExitStack, contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from anthropic_server import AnthropicServer
from anthropic_server import answer as message_of
from anthropic_server import text as text_block
from gateways import PRICES
from paymaster import Client
from paymaster.gateway.request_body import Bounds
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
LONG = "list_the_files_of_a_folder_and_of_all_the_folders_inside_of_it_recursively"
NAMES = ("ls", LONG)
SIGNED = {"google": {"thought_signature": "U2lnbmVk"}}


def call(name: str = "ls", call_id: str = "call_0123456789", **more: object) -> Object:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": '{"path":"."}'}, **more}


# --- What the endpoints refuse ------------------------------------------------------------------------------------------


def acting(body: Object) -> list[Object]:
    return [message for message in body["messages"] if message.get("tool_calls")]


def thoughts_missing(body: Object) -> bool:
    return any(not message.get("reasoning_content") for message in acting(body))


def signature_missing(body: Object) -> bool:
    return any("google" not in message["tool_calls"][0].get("extra_content", {}) for message in acting(body))


def breaks_mistral(body: Object) -> bool:
    known = {"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}
    calls = [each for message in acting(body) for each in message["tool_calls"]]
    odd = any(not re.fullmatch("[a-zA-Z0-9]{9}", each["id"]) or set(each) - {"id", "type", "function", "index"} for each in calls)
    return odd or any(set(message) - known for message in body["messages"])


def breaks_openai(body: Object) -> bool:
    named = any(len(tool["function"]["name"]) > 64 for tool in body.get("tools", ())) or len(body.get("user", "")) > 64
    history = body["messages"]
    results = [index for index, message in enumerate(history) if message["role"] == "tool"]
    apart = any(not (history[index - 1].get("tool_calls") or history[index - 1]["role"] == "tool") for index in results)
    pictured = any(isinstance(history[i]["content"], list) and history[i]["content"][0]["type"] != "text" for i in results)
    return named or apart or pictured or any(len(each["id"]) > 40 for message in acting(body) for each in message["tool_calls"])


def has_lists(body: Object) -> bool:
    return any(isinstance(message.get("content"), list) for message in body["messages"])


WRITERS: Mapping[str, tuple[Object, Object, Callable[[Object], bool]]] = {
    "deepseek": (
        {"provider": "deepseek", "model_id": "deepseek-v4-pro"},
        {"reasoning_content": "Hm.", "tool_calls": [call()]},
        thoughts_missing,
    ),
    "kimi": (
        {"provider": "moonshot", "model_id": "kimi-k2-thinking"},
        {"reasoning_content": "So.", "tool_calls": [call()]},
        thoughts_missing,
    ),
    "vllm": (
        {"provider": "vllm", "compat": {"reads": ["reasoning_content"]}, "model_id": "own"},
        {"reasoning_content": "Hm.", "tool_calls": [call("ls", "a" * 50), call("ls", "b" * 50)]},
        lambda _: False,
    ),
    "gemini": (
        {"provider": "google", "model_id": "gemini-3-pro"},
        {"tool_calls": [call(extra_content=SIGNED), call("ls", "c2")]},
        signature_missing,
    ),
    "mistral": (
        {"provider": "mistral", "model_id": "mistral-large-latest"},
        {"content": "I look.", "tool_calls": [call("ls", "abcDEF123")]},
        breaks_mistral,
    ),
    "openai": ({"provider": "openai", "model_id": "gpt-4.1"}, {"tool_calls": [call("ls", "call_1"), call("ls", "call_2")]}, breaks_openai),
    "text": ({"provider": "openai_compatible", "compat": {"text_content": True}, "model_id": "old"}, {"tool_calls": [call()]}, has_lists),
}
OTHERS = ("claude", "responses")
READERS = (*WRITERS, *OTHERS)


@contextmanager
def endpoints() -> Iterator[str]:
    """A server for all models that speak chat completions: it checks the history, calls a tool, and answers what that returned."""
    by_id = {section["model_id"]: (message, breaks) for section, message, breaks in WRITERS.values()}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            message, breaks = by_id[body["model"]]
            refused = breaks(body)
            if any(each["role"] == "tool" for each in body["messages"]):
                message = {"content": "Done."}
            choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
            answer = {"id": "a", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice], "usage": usage}
            data = json.dumps({"error": {"message": "refused"}} if refused else answer).encode()
            self.send_response(400 if refused else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a gateway for all of them, and its registry."""
    registry = tmp_path_factory.mktemp("second") / "registry.yaml"
    with ExitStack() as stack:
        url = stack.enter_context(endpoints())
        claude = stack.enter_context(AnthropicServer(message_of(text_block("Done."))))
        other = stack.enter_context(ResponsesServer(response_of(message_item("Done."))))
        abilities = {"capabilities": ["function_calling", "reasoning", "vision"]}
        common = {"max_output_tokens": 2_000, "context_window": 100_000, **abilities, **PRICES}
        models = {name: {"base_url": url, **common, **section} for name, (section, _, _) in WRITERS.items()}
        models["claude"] = {**common, "provider": "anthropic", "model_id": "claude-opus-4-8", "base_url": claude.url}
        models["responses"] = {**common, "provider": "openai", "model_id": "gpt-5.4", "dialect": "responses", "base_url": other.url}
        keys = {"api_key": "$KEY"}
        registry.write_text(json.dumps({"default": "openai", "models": {name: {**model, **keys} for name, model in models.items()}}))
        config = GatewayConfig(
            read_options=lambda: configure(registry, {"run": "r", "ledger": "memory:", "environ": {"KEY": "k"}}),
            access=AccessPolicy(),
            bounds=Bounds(),
            drain_s=5,
        )
        socket = listen("127.0.0.1", 0)
        with in_background(config, socket):
            yield f"http://127.0.0.1:{socket.getsockname()[1]}", registry


# --- The clients --------------------------------------------------------------------------------------------------------

HELLO = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
CHAT_TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
USER = "u" * 191


@cache
def openai_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)


@cache
def anthropic_client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)


def by_chat(served: tuple[str, Path], writer: str, reader: str, *, stream: bool, keeps: bool) -> str:
    client = openai_client(served[0])

    def ask(model: str, messages: list[Object]) -> Object:
        given: Object = {"model": model, "messages": messages, "tools": CHAT_TOOLS, "user": USER}
        if not stream:
            return client.chat.completions.create(**given).choices[0].message.model_dump(exclude_none=True)
        message: Object = {"role": "assistant", "content": ""}
        for chunk in client.chat.completions.create(**given, stream=True):
            for choice in chunk.choices:
                delta = choice.delta.model_dump(exclude_none=True)
                for name in ("content", "reasoning_content"):
                    if delta.get(name):
                        message[name] = message.get(name, "") + delta[name]
                for each in delta.get("tool_calls", ()):
                    calls = message.setdefault("tool_calls", [])
                    if each["index"] == len(calls):
                        calls.append({**{key: value for key, value in each.items() if key != "index"}, "function": dict(each["function"])})
                    else:
                        calls[each["index"]]["function"]["arguments"] += each["function"].get("arguments") or ""
        return message

    answer = ask(writer, HELLO)
    results = [{"role": "tool", "tool_call_id": each["id"], "content": [{"type": "text", "text": "a.py"}]} for each in answer["tool_calls"]]
    if not keeps:  # as a client writes it that knows OpenAI's fields alone
        plain = [{name: each[name] for name in ("id", "type", "function")} for each in answer["tool_calls"]]
        answer = {"role": "assistant", "content": answer.get("content"), "tool_calls": plain}
    return str(ask(reader, [*HELLO, answer, *results])["content"])


def by_messages(served: tuple[str, Path], writer: str, reader: str, *, stream: bool, keeps: bool) -> str:
    client = anthropic_client(served[0])
    tools = [{"name": name, "input_schema": SCHEMA} for name in NAMES]

    def ask(model: str, messages: list[Object]) -> list[Object]:
        given: Object = {"model": model, "messages": messages, "tools": tools, "max_tokens": 1_500, "metadata": {"user_id": USER}}
        if keeps:
            given["thinking"] = {"type": "enabled", "budget_tokens": 1_024}
        if stream:
            with client.messages.stream(**given) as events:
                answer = events.get_final_message()
        else:
            answer = client.messages.create(**given)
        return [block.model_dump(exclude_none=True) for block in answer.content]

    blocks = ask(writer, HELLO)
    results = [{"type": "tool_result", "tool_use_id": block["id"], "content": "a.py"} for block in blocks if block["type"] == "tool_use"]
    again = ask(reader, [*HELLO, {"role": "assistant", "content": blocks}, {"role": "user", "content": results}])
    return "".join(block["text"] for block in again if block["type"] == "text")


def by_responses(served: tuple[str, Path], writer: str, reader: str, *, stream: bool, keeps: bool) -> str:
    client = openai_client(served[0])
    tools = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in NAMES]

    def ask(model: str, items: list[Object]) -> Any:
        given: Object = {"model": model, "input": items, "tools": tools, "store": False, "user": USER}
        if keeps:
            given["include"] = ["reasoning.encrypted_content"]
        if not stream:
            return client.responses.create(**given)
        with client.responses.stream(**given) as events:
            return events.get_final_response()

    output = [item.model_dump(exclude_none=True) for item in ask(writer, HELLO).output]
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "a.py"} for item in output if item["type"] == "function_call"
    ]
    return str(ask(reader, [*HELLO, *output, *results]).output_text)


FRONTS = {"chat": by_chat, "messages": by_messages, "responses": by_responses}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("keeps", [True, False], ids=["keeps all", "keeps little"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("front", FRONTS)
def test_a_second_turn_is_answered(front: str, reader: str, keeps: bool, stream: bool, served: tuple[str, Path]) -> None:
    answered = {writer: FRONTS[front](served, writer, reader, stream=stream, keeps=keeps) for writer in WRITERS}
    assert answered == dict.fromkeys(WRITERS, "Done.")


@pytest.mark.parametrize("reader", READERS)
def test_a_second_turn_of_the_library_is_answered(reader: str, served: tuple[str, Path]) -> None:
    with Client(served[1], ledger="memory:", environ={"KEY": "k"}) as client:
        for writer in WRITERS:
            first = client.complete(HELLO, model=writer, tools=CHAT_TOOLS, user=USER)
            results = [{"role": "tool", "tool_call_id": each["id"], "content": "a.py"} for each in first.tool_calls]
            second = client.complete([*HELLO, first.message, *results], model=reader, tools=CHAT_TOOLS, user=USER)
            assert second.text == "Done."
