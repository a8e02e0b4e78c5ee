"""Images and documents in the results of tools, from clients of every dialect: where an endpoint takes them, and where it does not."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from gateways import PRICES
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Object = dict[str, Any]
PNG, PDF = "iVBORw0KGgo=", "JVBERi0xLjQ="
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ANSWER = {
    "id": "a", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Done."}, "finish_reason": "stop"}],
}  # fmt: skip

CHAT = {
    "messages": [
        {"role": "user", "content": "Look."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"call_{n}", "type": "function", "function": {"name": "see", "arguments": "{}"}} for n in "abc"],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": [PICTURE]},
        {"role": "tool", "tool_call_id": "call_b", "content": [{"type": "text", "text": "A plan:"}, PICTURE]},
        {"role": "tool", "tool_call_id": "call_c", "content": "no picture"},
        {"role": "user", "content": "What is it?"},
    ]
}
MESSAGES = {
    "max_tokens": 100,
    "messages": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": f"call_{n}", "name": "see", "input": {}} for n in "abc"]},
        {
            "role": "user",
            "content": [
                *[
                    {"type": "tool_result", "tool_use_id": f"call_{n}", "content": [*said, {"type": "image", "source": source}]}
                    for source in [{"type": "base64", "media_type": "image/png", "data": PNG}]
                    for n, said in (("a", []), ("b", [{"type": "text", "text": "A plan:"}]))
                ],
                {"type": "tool_result", "tool_use_id": "call_c", "content": "no picture"},
                {"type": "text", "text": "What is it?"},
            ],
        },
    ],
}
RESPONSES = {
    "input": [
        {"role": "user", "content": "Look."},
        *[{"type": "function_call", "call_id": f"call_{n}", "name": "see", "arguments": "{}"} for n in "abc"],
        *[
            {"type": "function_call_output", "call_id": f"call_{n}", "output": [*said, {"type": "input_image", "image_url": url}]}
            for url in [f"data:image/png;base64,{PNG}"]
            for n, said in (("a", []), ("b", [{"type": "input_text", "text": "A plan:"}]))
        ],
        {"type": "function_call_output", "call_id": "call_c", "output": "no picture"},
        {"role": "user", "content": "What is it?"},
    ]
}
CLIENTS = {"/v1/chat/completions": CHAT, "/v1/messages": MESSAGES, "/v1/responses": RESPONSES}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Object]]]:
    """The address of a gateway for an endpoint of chat completions, and what arrived there."""
    arrived: list[Object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            data = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    section = {
        "provider": "openai_compatible", "base_url": f"http://127.0.0.1:{server.server_address[1]}/v1", "max_output_tokens": 1_000,
        "capabilities": ["function_calling", "vision", "pdf"], **PRICES,
    }  # fmt: skip
    registry: Path = tmp_path_factory.mktemp("images") / "registry.yaml"
    models = {"refuses": section, "takes": {**section, "compat": {"images_in_tools": True}}}
    registry.write_text(json.dumps({"default": "refuses", "models": models}))
    config = GatewayConfig(read_options=lambda: configure(registry, {"run": "r", "ledger": "memory:"}), access=AccessPolicy())
    socket = listen("127.0.0.1", 0)
    with in_background(config, socket):
        yield f"http://127.0.0.1:{socket.getsockname()[1]}", arrived
    server.shutdown()
    server.server_close()


def sent(served: tuple[str, list[Object]], path: str, model: str, asked: Object) -> list[Object]:
    """The messages behind the assistant's that reach the endpoint."""
    url, arrived = served
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        connection.request("POST", path, json.dumps({"model": model, **asked}))
        assert connection.getresponse().status == 200
    messages = arrived[-1]["messages"]
    return list(messages[2:])


@pytest.mark.parametrize(("path", "asked"), CLIENTS.items(), ids=list(CLIENTS))
def test_an_endpoint_that_refuses_images_in_results_gets_them_behind_all_results(
    served: tuple[str, list[Object]], path: str, asked: Object
) -> None:
    *results, pictures, question = sent(served, path, "refuses", asked)
    assert [(each["role"], each["tool_call_id"]) for each in results] == [("tool", f"call_{n}") for n in "abc"]
    texts = [each["content"] if isinstance(each["content"], str) else each["content"][0]["text"] for each in results]
    assert texts == ["(The image follows.)", "A plan:", "no picture"]
    assert pictures["role"] == "user"
    kinds = [part["text"] if part["type"] == "text" else part["image_url"]["url"] for part in pictures["content"]]
    data = PICTURE["image_url"]["url"]  # type: ignore[index]  # a constant above
    assert kinds == ["Result of tool call call_a:", data, "Result of tool call call_b:", data]
    assert question["role"] == "user"
    assert "What is it?" in json.dumps(question)


@pytest.mark.parametrize(("path", "asked"), CLIENTS.items(), ids=list(CLIENTS))
def test_an_endpoint_that_takes_images_in_results_gets_them_there(served: tuple[str, list[Object]], path: str, asked: Object) -> None:
    *results, question = sent(served, path, "takes", asked)
    assert [each["role"] for each in results] == ["tool"] * 3
    parts = [part for each in results if isinstance(each["content"], list) for part in each["content"]]
    assert [part["type"] for part in parts] == ["image_url", "text", "image_url"]
    assert question["role"] == "user"


DOCUMENTS = {
    "/v1/messages": {
        **MESSAGES,
        "messages": [
            *MESSAGES["messages"][:2],  # type: ignore[index]  # a list, above
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": f"call_{n}",
                        "content": [{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}],
                    }
                    for n in "abc"
                ],
            },
        ],
    },
    "/v1/responses": {
        "input": [
            *RESPONSES["input"][:4],
            *[
                {
                    "type": "function_call_output",
                    "call_id": f"call_{n}",
                    "output": [{"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}],
                }
                for n in "abc"
            ],
        ]
    },
}


@pytest.mark.parametrize(("path", "asked"), DOCUMENTS.items(), ids=list(DOCUMENTS))
def test_documents_in_results_go_the_same_way(served: tuple[str, list[Object]], path: str, asked: Object) -> None:
    *results, files = sent(served, path, "refuses", asked)
    assert [each["role"] for each in results] == ["tool"] * 3
    assert all(isinstance(each["content"], str) for each in results)
    assert [part["type"] for part in files["content"]] == ["text", "file"] * 3
    assert PDF in json.dumps(files)
