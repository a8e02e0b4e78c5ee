"""Chat to chat through the gateway: the request as it came, and a stream in the bytes that the endpoint sent, but for the model's name."""

from __future__ import annotations

import json
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HEAD = b'{ "id" : "c1", "object":"chat.completion.chunk","created":7,"model": "gpt-4o-2024-08-06","system_fingerprint":"fp",'
PLAIN = [
    HEAD + b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}',
    HEAD
    + b'"choices":[{"index":0,"delta":{"content":"caf\\u00e9 \\"model\\": \\"m\\""},"finish_reason":null}],"obfuscation":"x1","n":1.0}',
    HEAD + b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}',
]
USAGE = HEAD + b'"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
REQUEST = {
    "model": "fast",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "x": 1}], "name": "ann", "y": {"z": [1]}}],
    "tools": [{"type": "function", "function": {"name": "f", "strict": False}, "more": 1}],
    "max_completion_tokens": 50,
    "stream": True,
    "unknown_to_all": {"a": [1, 2.5]},
}


@contextmanager
def gateway(folder: Path, chunks: Sequence[bytes]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A gateway's URL, before an endpoint that sends these chunks, and the bodies that the endpoint got."""
    bodies: list[dict[str, Any]] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for chunk in (*chunks, b"[DONE]"):
                self.wfile.write(b"data: " + chunk + b"\n\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    section = {"provider": "openai", "model_id": "gpt-4o", "base_url": base_url, "usd_per_1m_input": 1, "usd_per_1m_output": 10}
    registry = folder / "registry.yaml"
    registry.write_text(json.dumps({"default": "fast", "models": {"fast": section}}))
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    try:
        with in_background(GatewayConfig(read_options=lambda: configure(registry, {}), access=AccessPolicy()), listening):
            yield f"http://127.0.0.1:{port}/v1/chat/completions", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def lines_of(url: str, body: dict[str, Any]) -> list[bytes]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310 - http on loopback
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - http on loopback
        return [line.removeprefix(b"data: ") for line in reply.read().splitlines() if line.startswith(b"data: ")]


def renamed(chunk: bytes) -> bytes:
    return chunk.replace(b'"model": "gpt-4o-2024-08-06"', b'"model":"fast"')


def test_the_request_arrives_as_it_was_sent(tmp_path: Path) -> None:
    with gateway(tmp_path, [*PLAIN, USAGE]) as (url, bodies):
        lines_of(url, REQUEST)
    limit = {"max_tokens": 50}
    given = {name: value for name, value in REQUEST.items() if name != "max_completion_tokens"}
    assert bodies == [{**given, "model": "gpt-4o", **limit, "stream_options": {"include_usage": True}}]


def test_chunks_come_in_the_bytes_that_the_endpoint_sent(tmp_path: Path) -> None:
    with gateway(tmp_path, [*PLAIN, USAGE]) as (url, _):
        assert lines_of(url, REQUEST) == [*map(renamed, PLAIN), b"[DONE]"]


@pytest.mark.parametrize(
    "odd",
    [
        PLAIN[1].replace(b'"n":1.0', b'"usage":{"prompt_tokens":3}'),
        PLAIN[1].replace(b'"n":1.0', b'"n":{"model":"other"}'),
        PLAIN[1].replace(b'"object":"chat.completion.chunk",', b""),
        PLAIN[1].replace(b',"obfuscation"', b',\ndata: "obfuscation"'),
    ],
    ids=["usage", "another model inside", "no object", "two lines"],
)
def test_a_chunk_that_can_not_pass_is_written_anew(tmp_path: Path, odd: bytes) -> None:
    with gateway(tmp_path, [PLAIN[0], odd, PLAIN[2], USAGE]) as (url, _):
        lines = lines_of(url, REQUEST)
    assert [lines[0], *lines[2:]] == [renamed(PLAIN[0]), renamed(PLAIN[2]), b"[DONE]"]
    read = json.loads(lines[1])
    assert (read["model"], read["object"]) == ("fast", "chat.completion.chunk")
    assert read["choices"][0]["delta"]["content"] == 'café "model": "m"'
    assert "usage" not in read
