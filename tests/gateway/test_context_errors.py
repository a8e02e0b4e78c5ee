"""A prompt that is too long for every model, as clients have to see it: OpenAI's and Anthropic's phrases, which they match."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest

from paymaster.errors import NoModelFits, PromptSize
from paymaster.gateway.dialects.anthropic_messages import anthropic_error
from paymaster.gateway.dialects.openai_chat import openai_error
from paymaster.gateway.http_errors import http_error_of
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateways import Gateway

LONG = [{"role": "user", "content": "word " * 2_000}]
OPENAI = "This model's maximum context length is 500 tokens. However, your messages resulted in "
ADDRESSES = {
    "chat/completions": ({"messages": LONG}, OPENAI),
    "responses": ({"input": LONG[0]["content"]}, OPENAI),
    "completions": ({"prompt": LONG[0]["content"]}, OPENAI),
    "messages": ({"messages": LONG, "max_tokens": 50}, "prompt is too long: "),
}


def refusal_of(gateway: Gateway, address: str, body: dict[str, object]) -> dict[str, object]:
    data, kind = json.dumps({"model": "fast", **body}).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/v1/{address}", data, kind)  # noqa: S310 - our own loopback address
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(request)  # noqa: S310 - our own loopback address
    with caught.value as answered:
        assert (answered.code, answered.headers["x-should-retry"]) == (400, "false")
        return json.loads(answered.read())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("counted_by", ["provider", "us"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_prompt_that_is_too_long_has_the_phrase_of_its_dialect(
    start: Callable[..., Gateway], address: str, counted_by: str, stream: bool
) -> None:
    own = {"context_window": 500, "max_output_tokens": 100, "tokenizer": "gpt-4o"} if counted_by == "us" else {}
    gateway = start(fast={"context_window": 500}, own={"fast": own})
    body, phrase = ADDRESSES[address]
    error = refusal_of(gateway, address, {**body, "stream": stream})["error"]
    assert error["message"].startswith(phrase)
    assert error["type"] == "invalid_request_error"
    assert address == "messages" or error["code"] == "context_length_exceeded"
    assert "tokens > 500 maximum\n" in error["message"] or address != "messages"
    assert gateway.requests() == (counted_by == "provider")


@pytest.mark.parametrize(
    ("size", "in_openais_words", "in_anthropics_words"),
    [
        (PromptSize(), "This model's maximum context length is exceeded. Please", "prompt is too long\n"),
        (PromptSize(None, 900), "This model's maximum context length is 900 tokens. Please", "prompt is too long\n"),
        (PromptSize(950, None), "is exceeded. However, your messages resulted in 950 tokens. Please", "prompt is too long\n"),
        (
            PromptSize(950, 900),
            "is 900 tokens. However, your messages resulted in 950 tokens. Please",
            "prompt is too long: 950 tokens > 900",
        ),
    ],
)
def test_figures_that_are_unknown_are_left_out(size: PromptSize, in_openais_words: str, in_anthropics_words: str) -> None:
    error = http_error_of(NoModelFits("no model fits", [], too_long=True, size=size), ())
    assert in_openais_words in str(openai_error(error)["error"]["message"])
    assert str(anthropic_error(error)["error"]["message"]).startswith(in_anthropics_words)
    other = http_error_of(NoModelFits("no model fits", []), ())
    assert (other.code, openai_error(other)["error"]["message"], anthropic_error(other)["error"]["message"]) == (
        "no_model_fits", "no model fits", "no model fits",
    )  # fmt: skip


WORDINGS = [
    (case["source"], case["status"], case["body"])
    for line in (Path(__file__).parent.parent / "vectors" / "error_kinds.jsonl").read_text("utf-8").splitlines()
    if (case := json.loads(line))["kind"] == "context_too_long"
]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, dict[str, object], int, object], dict[str, object]]]:
    """What a client gets at an address if the only model's endpoint refuses with this status and body."""
    refusal: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, data = refusal[-1]
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    model = {"provider": "openai_compatible", "model_id": "m", "base_url": f"http://127.0.0.1:{server.server_port}/v1", "price": "free"}
    registry = tmp_path_factory.mktemp("refusing") / "registry.yaml"
    registry.write_text(json.dumps({"default": "fast", "models": {"fast": {**model, "context_window": 1_000, "tokenizer": "gpt-4o"}}}))
    state = registry.parent / "state"
    config = GatewayConfig(read_options=lambda: configure(registry, {"run": "r1", "state_dir": state}), access=AccessPolicy())
    server_socket = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{server_socket.getsockname()[1]}"

    def ask(address: str, body: dict[str, object], status: int, given: object) -> dict[str, object]:
        refusal.append((status, given.encode() if isinstance(given, str) else json.dumps(given).encode()))
        request = urllib.request.Request(f"{url}/v1/{address}", json.dumps({"model": "fast", **body}).encode())  # noqa: S310 - our own loopback address
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(request)  # noqa: S310 - our own loopback address
        with caught.value as answered:
            assert (answered.code, answered.headers["x-should-retry"]) == (400, "false")
            return json.loads(answered.read())

    with in_background(config, server_socket):
        yield ask
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("source", "status", "body"), WORDINGS, ids=[wording[0] for wording in WORDINGS])
def test_every_servers_words_for_it_become_those_of_the_client(
    refusing: Callable[..., dict[str, object]], source: str, status: int, body: object
) -> None:
    del source
    short = [{"role": "user", "content": "word " * 100}]
    error = refusing("messages", {"messages": short, "max_tokens": 100}, status, body)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("prompt is too long")
    found = re.match(r"prompt is too long: (\d+) tokens > (\d+) maximum\n", error["message"])
    assert found is None or int(found[1]) > int(found[2])
    error = refusing("chat/completions", {"messages": short, "max_tokens": 100}, status, body)["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith("This model's maximum context length is ")
