"""A client that leaves in the middle of an answer: what is charged against what endpoints bill that stop then, and that go on."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

import anthropic_server
import responses_server
from gateways import wait_until
from paymaster import AsyncClient, Client
from paymaster.flow.events import AttemptFailed
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from paymaster.flow.events import Event
    from paymaster.options import ClientSettings

PROMPT_TOKENS, LONGEST_TOKENS = 12, 5_000
INPUT_NANOUSD, OUTPUT_NANOUSD = 1_000, 10_000
WORDS = "One two three four. " * 10
STOPPED_TOKENS = 50
"""Tokens that the endpoint has made of `WORDS`, if all of them were sent."""
STAGES = ("before the first token", "in mid-stream", "before the usage")
DIALECTS = ("chat", "messages", "responses")
MESSAGE = anthropic_server.answer(anthropic_server.text(WORDS))
RESPONSE = responses_server.answer(responses_server.message(WORDS))
CHUNKS = [
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": end}],
    }
    for delta, end in (({"role": "assistant", "content": WORDS[:100]}, None), ({"content": WORDS[100:]}, None), ({}, "stop"))
]


def parts_of(dialect: str, stage: str) -> list[bytes]:
    """What the endpoint sends before it waits for the client to leave."""
    if dialect == "chat":
        events, begun = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in CHUNKS], 0
    else:
        made = anthropic_server.events_of(MESSAGE) if dialect == "messages" else responses_server.events_of(RESPONSE)
        last = "message_delta" if dialect == "messages" else "response.completed"
        made = [event for event in made if event["type"] not in (last, "message_stop")]
        events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in made]
        begun = next(place for place, event in enumerate(events) if WORDS[:20].encode() in event)
    return {STAGES[0]: [], STAGES[1]: events[: begun + 1], STAGES[2]: events}[stage]


class Endpoint:
    """Sends the parts, then nothing, until its client closes the connection."""

    def __init__(self, parts: list[bytes]) -> None:
        self.asked, self.left = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                if parts:
                    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                    self.wfile.write(head + b"".join(parts))
                    self.wfile.flush()
                outer.asked.set()
                self.connection.settimeout(30)
                assert self.connection.recv(1) == b""
                outer.left.set()
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(params=[True, False], ids=["stops", "goes on"])
def stops(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=DIALECTS)
def spoken(request: pytest.FixtureRequest) -> str:
    """The dialect of the endpoint."""
    return str(request.param)


@pytest.fixture
def endpoint(spoken: str, stage: str) -> Iterator[Endpoint]:
    with Endpoint(parts_of(spoken, stage)) as made:
        yield made


@pytest.fixture
def registry(endpoint: Endpoint, spoken: str, tmp_path: Path, *, stops: bool) -> Path:
    section = {
        "provider": "openai_compatible", "model_id": "m", "base_url": endpoint.url, "dialect": spoken, "max_output_tokens": LONGEST_TOKENS,
        "usd_per_1m_input": 1, "usd_per_1m_output": 10, "capabilities": ["function_calling"], "max_tokens_per_second": 100,
        **({"stops_on_disconnect": True} if stops else {}),
    }  # fmt: skip
    path = tmp_path / "registry.yaml"
    path.write_text(json.dumps({"default": "fast", "models": {"fast": section}, "policies": {"budget_usd_per_run": 5}}))
    return path


def judge(events: list[Event], stage: str, settled_nanousd: int, *, stops: bool) -> None:
    """The ledger has what the event states, and it covers what each kind of endpoint bills."""
    (failed,) = [event for event in events if isinstance(event, AttemptFailed)]
    made = {STAGES[0]: 0, STAGES[1]: STOPPED_TOKENS // 2, STAGES[2]: STOPPED_TOKENS}[stage]
    bill = PROMPT_TOKENS * INPUT_NANOUSD + (made if stops else LONGEST_TOKENS) * OUTPUT_NANOUSD
    assert settled_nanousd == failed.cost_nanousd >= bill
    assert failed.failure == "cancelled"
    if stops:
        assert failed.billed == "estimated"
        assert failed.cost_nanousd < LONGEST_TOKENS * OUTPUT_NANOUSD / 2
        assert "output tokens until the connection closed" in str(failed.cost_basis)
    else:
        assert failed.billed == "assumed"
        assert "does not state that it stops when the connection closes" in str(failed.cost_basis)


PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses", "completions": "/v1/completions"}
HELLO = [{"role": "user", "content": "Hello, there."}]


@pytest.mark.parametrize("client", PATHS)
def test_a_client_of_the_gateway_that_closes_its_socket(
    client: str, endpoint: Endpoint, registry: Path, stage: str, tmp_path: Path, *, stops: bool
) -> None:
    asked = {"responses": {"input": "Hello, there."}, "completions": {"prompt": "Hello, there."}}.get(client, {"messages": HELLO})
    body = json.dumps(
        {"model": "fast", "stream": True, **asked, **({"max_tokens": LONGEST_TOKENS} if client == "messages" else {})}
    ).encode()
    events: list[Event] = []
    settings: ClientSettings = {"run": "r", "state_dir": tmp_path, "listeners": [events.append]}
    config = GatewayConfig(read_options=lambda: configure(registry, settings), access=AccessPolicy())
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    with in_background(config, listening) as running:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
            head = (
                f"POST {PATHS[client]} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            assert endpoint.asked.wait(30)
            got = b""
            while stage != STAGES[0] and WORDS[:40].encode() not in got:
                got += connection.recv(65536)
        assert endpoint.left.wait(30), "the gateway leaves the endpoint, too"
        wait_until(lambda: any(event.kind == "failed" for event in events))
        wait_until(lambda: running.service.open_calls == 0)
    with Client(registry, state_dir=tmp_path, run="r") as reader:
        settled_nanousd = reader.balances("usd/run/r")["usd/run/r"].settled
    judge(events, stage, settled_nanousd, stops=stops)


def test_a_task_that_is_cancelled(endpoint: Endpoint, registry: Path, stage: str, tmp_path: Path, *, stops: bool) -> None:
    events: list[Event] = []

    async def scenario() -> int:
        async with AsyncClient(registry, state_dir=tmp_path, run="r", listeners=[events.append]) as client:

            async def read() -> None:
                async with client.stream(HELLO) as stream:
                    async for _ in stream:
                        pass

            task = asyncio.create_task(read())
            assert await asyncio.to_thread(endpoint.asked.wait, 30)
            await asyncio.sleep(0.1 if stage != STAGES[0] else 0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await task
            assert any("Charged" in note for note in cancelled.value.__notes__)
            return (await client.balances("usd/run/r"))["usd/run/r"].settled

    settled_nanousd = asyncio.run(scenario())
    assert endpoint.left.wait(30)
    judge(events, stage, settled_nanousd, stops=stops)
