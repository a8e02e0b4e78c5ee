"""Simulated endpoints with a prompt cache each, on loopback; they count requests and cached tokens, and can go away and come back.

A token is four bytes of the messages. An endpoint's cache holds every beginning of a conversation that it has read, for `KEPT_S` after its
last use, as providers keep theirs. Nothing here knows Paymaster.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway_upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

KEPT_S = 300.0
ANSWER = "I looked at the file and changed one line. " * 4


@dataclass
class EndpointCounts:
    """What one endpoint has seen: when each request came, and the tokens read, of which it had cached some."""

    requests_s: list[float] = field(default_factory=list)
    read_tokens: int = 0
    cached_tokens: int = 0

    def most_within(self, window_s: float) -> int:
        """The most requests that came in any window of this length."""
        most = first = 0
        for index, at_s in enumerate(self.requests_s):
            while self.requests_s[first] <= at_s - window_s:
                first += 1
            most = max(most, index - first + 1)
        return most


class CachingEndpoint:
    """One endpoint: what it keeps, and what it counted."""

    def __init__(self, latency_s: float) -> None:
        self.counts = EndpointCounts()
        self.latency_s = latency_s
        self.transports: set[asyncio.Transport] = set()
        self._kept_until_s: dict[bytes, float] = {}

    def connection(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return _Connection(self)

    def answer(self, body: bytes) -> bytes:
        """The answer to one request, with its usage."""
        now_s = time.monotonic()
        self.counts.requests_s.append(now_s)
        digest, tokens, cached = hashlib.blake2b(digest_size=16), 0, 0
        for message in json.loads(body)["messages"]:
            digest.update(written := json.dumps(message).encode())
            tokens += len(written) // 4
            if self._kept_until_s.get(key := digest.digest(), 0) > now_s:
                cached = tokens
            self._kept_until_s[key] = now_s + KEPT_S
        self.counts.read_tokens += tokens
        self.counts.cached_tokens += cached
        details = {"cached_tokens": cached}
        usage = {"prompt_tokens": tokens, "completion_tokens": 40, "total_tokens": tokens + 40, "prompt_tokens_details": details}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}
        return json.dumps(
            {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        ).encode()


class _Connection(Upstream):
    """Answers each request after the endpoint's latency."""

    def __init__(self, endpoint: CachingEndpoint) -> None:
        self._endpoint = endpoint

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection, so that it can end with the endpoint."""
        super().connection_made(transport)
        self._endpoint.transports.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._endpoint.transports.discard(self.transport)

    def answer(self, head: bytes, body: bytes) -> None:
        """Answer one request."""
        asyncio.get_running_loop().call_later(self._endpoint.latency_s, self._write, self._endpoint.answer(body))

    def _write(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer)
            )


@dataclass(frozen=True)
class Outages:
    """Every `every_s` the next endpoint in turn goes away for `down_s`."""

    every_s: float
    down_s: float


def _run(count: int, latency_s: float, outages: Outages | None, pipe: Connection) -> None:
    """Serve until the pipe asks for the counts."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        endpoints = [CachingEndpoint(latency_s) for _ in range(count)]
        servers = [await loop.create_server(endpoint.connection, "127.0.0.1", 0, backlog=2048) for endpoint in endpoints]
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        pipe.send(ports)
        breaking = asyncio.create_task(_break(endpoints, servers, ports, outages)) if outages else None
        await asyncio.to_thread(pipe.recv)
        if breaking is not None:
            breaking.cancel()
        pipe.send([endpoint.counts for endpoint in endpoints])

    asyncio.run(serve())


async def _break(endpoints: Sequence[CachingEndpoint], servers: list[asyncio.Server], ports: Sequence[int], outages: Outages) -> None:
    """Take the endpoints away in turn. Their connections end with them."""
    number = 0
    while True:
        await asyncio.sleep(outages.every_s - outages.down_s)
        index = number % len(servers)
        servers[index].close()
        for transport in tuple(endpoints[index].transports):
            transport.abort()
        await asyncio.sleep(outages.down_s)
        loop = asyncio.get_running_loop()
        servers[index] = await loop.create_server(endpoints[index].connection, "127.0.0.1", ports[index], backlog=2048)
        number += 1


class Endpoints:
    """The running endpoints: their addresses, and what they counted, once."""

    def __init__(self, ports: Sequence[int], pipe: Connection) -> None:
        self.addresses = [f"http://127.0.0.1:{port}/v1" for port in ports]
        self._pipe = pipe

    def counts(self) -> list[EndpointCounts]:
        """What each has counted; the endpoints end."""
        self._pipe.send(None)
        found: list[EndpointCounts] = self._pipe.recv()
        return found


@contextlib.contextmanager
def caching_endpoints(count: int, latency_s: float, outages: Outages | None = None) -> Iterator[Endpoints]:
    """So many endpoints in a process of their own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(count, latency_s, outages, theirs), daemon=True)
    process.start()
    try:
        yield Endpoints(ours.recv(), ours)
    finally:
        process.terminate()
        process.join()
