"""A stream of OpenRouter's kind that a client leaves: charged an estimate at once, and what was billed soon after. Over real HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from call_box import HELLO, model, per_run, price, registry
from paymaster import AsyncClient, Client
from paymaster.flow import bill_correction
from paymaster.registry.disconnects import OPENROUTER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paymaster.registry.models import Registry

HI = {
    "id": "gen-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "provider": "OpenAI",
    "choices": [{"index": 0, "delta": {"content": "hi"}}],
}
BILLED_NANOUSD = 300_000


class Router(BaseHTTPRequestHandler):
    """Streams a word and then nothing; states its bill once the connection of the stream was closed."""

    closed = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b"data: " + json.dumps(HI).encode() + b"\n\n")
        self.wfile.flush()
        self.connection.settimeout(20)
        self.connection.recv(1)  # the end: the client has closed it
        self.closed.set()
        self.close_connection = True

    def do_GET(self) -> None:
        known = self.path == "/v1/generation?id=gen-1" and self.closed.is_set()
        body = json.dumps({"data": {"id": "gen-1", "total_cost": BILLED_NANOUSD / 10**9}} if known else {"error": {}}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry of one model at a server of OpenRouter's kind: a call holds $0.96."""
    monkeypatch.setattr(bill_correction, "ASK_AFTER_MS", (50, 200, 1_000, 3_000))
    Router.closed.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Router)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    entry = model(
        "a",
        provider="openrouter",
        base_url=f"http://127.0.0.1:{server.server_port}/v1",
        price=price("3", "15"),
        max_output_tokens=64_000,
        capabilities=frozenset(),
        stops=replace(OPENROUTER, tokens_per_second=100),
        bill_path="/generation?id=",
    )
    yield registry(entry, budgets=(per_run("5"),), hard_stop_on_budget=True)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_client_that_leaves_a_stream_is_charged_an_estimate_and_then_the_bill(known: Registry, tmp_path: Path) -> None:
    with Client(known, state_dir=tmp_path, run="r") as client:
        with client.stream(HELLO) as stream:
            assert next(iter(stream)) == HI
        balance = client.balances("usd/run/r")["usd/run/r"]
        assert balance.held == 0
        assert balance.settled < 96 * 10**7 // 2
        deadline = time.monotonic() + 30
        while client.balances("usd/run/r")["usd/run/r"].settled != BILLED_NANOUSD:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_the_same_on_a_loop(known: Registry, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncClient(known, state_dir=tmp_path, run="r") as client:
            async with client.stream(HELLO) as stream:
                async for chunk in stream:
                    assert chunk == HI
                    break
            deadline = time.monotonic() + 30
            while (await client.balances("usd/run/r"))["usd/run/r"].settled != BILLED_NANOUSD:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)

    asyncio.run(scenario())


def test_a_client_that_is_closed_asks_no_more(known: Registry, tmp_path: Path) -> None:
    with Client(known, state_dir=tmp_path, run="r") as client, client.stream(HELLO) as stream:
        next(iter(stream))
    with Client(known, state_dir=tmp_path, run="r") as client:
        assert client.balances("usd/run/r")["usd/run/r"].settled > BILLED_NANOUSD
