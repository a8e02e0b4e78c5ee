"""Blocking and async callers of a provider, and an endpoint that sends raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from paymaster.accounting.tokens.families import tokenizer_for
from paymaster.flow.ports import ProviderCall, ProviderChunk
from paymaster.providers.async_transport import AsyncTransport
from paymaster.providers.openai_http import OpenAIHttp
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.providers.sync_transport import SyncTransport
from paymaster.registry.models import Model, Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "sk-canary-Zq81xKpW93hfTT02mvLd"
QUESTION = [{"role": "user", "content": "What is in this folder?"}]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def run_blocking(coroutine):
    """Drive a coroutine that must never suspend."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError("a blocking provider suspended")


class BlockingCaller:
    """Calls a provider as a thread does."""

    blocking = True

    def __init__(self) -> None:
        self.provider = OpenAIHttp(SyncTransport(), now_ms=now_ms)

    def run(self, coroutine):
        return run_blocking(coroutine)

    def send(self, call: ProviderCall):
        return self.run(self.provider.send(call))

    def stream(self, call: ProviderCall):
        items, generator = [], self.provider.stream(call)
        while True:
            try:
                items.append(self.run(anext(generator)))
            except StopAsyncIteration:
                return items[:-1], items[-1]

    def first_chunk_only(self, call: ProviderCall) -> ProviderChunk:
        generator = self.provider.stream(call)
        chunk = self.run(anext(generator))
        self.run(generator.aclose())
        return chunk

    def close(self) -> None:
        self.run(self.provider.close())


class AsyncCaller(BlockingCaller):
    """Calls a provider as a task on a loop does."""

    blocking = False

    def __init__(self) -> None:
        self.provider = OpenAIHttp(AsyncTransport(), now_ms=now_ms)
        self.runner = asyncio.Runner()

    def run(self, coroutine):
        async def awaited():
            return await coroutine

        try:
            return self.runner.run(awaited())
        except RuntimeError as error:
            if isinstance(error.__cause__, StopAsyncIteration):
                raise error.__cause__ from None
            raise

    def stream(self, call: ProviderCall):
        async def collect():
            return [item async for item in self.provider.stream(call)]

        items = self.run(collect())
        return items[:-1], items[-1]

    def first_chunk_only(self, call: ProviderCall) -> ProviderChunk:
        async def first():
            generator = self.provider.stream(call)
            chunk = await anext(generator)
            await generator.aclose()
            return chunk

        return self.run(first())

    def close(self) -> None:
        super().close()
        self.runner.close()


class UvloopCaller(AsyncCaller):
    """Calls a provider as the gateway does."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop)


CALLERS = {"blocking": BlockingCaller, "async": AsyncCaller, "uvloop": UvloopCaller}


@pytest.fixture(params=["blocking", "async"])
def caller(request) -> Iterator[BlockingCaller]:
    made = CALLERS[request.param]()
    yield made
    made.close()


@pytest.fixture(params=CALLERS)
def every_caller(request) -> Iterator[BlockingCaller]:
    """Where the loop matters: uvloop has connections of its own."""
    made = CALLERS[request.param]()
    yield made
    made.close()


@pytest.fixture
def make_call() -> Callable[..., ProviderCall]:
    def make(base_url: str, name: str = "m", *, key: str | None = CANARY, body=None, limits=None, **fields) -> ProviderCall:
        given = {"provider": "vllm", "model_id": name, "adapter": "openai_http", "tokenizer": tokenizer_for("openai", "gpt-4o"), **fields}
        timeouts = Timeouts(
            **{"connect_ms": 2_000, "first_token_ms": 5_000, "between_chunks_ms": 5_000, "total_ms": 10_000, **(limits or {})}
        )
        model = Model(name=name, base_url=base_url, timeouts=timeouts, **given)
        return ProviderCall(model, {"model": name, "messages": QUESTION, **(body or {})}, timeouts, "call-1", key)

    return make


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    with contextlib.ExitStack() as open_servers:
        yield lambda text, **options: open_servers.enter_context(ScriptedServer(parse_script(text), **options))


class RawEndpoint:
    """Answers each request with given bytes: a pause between `parts` of a list, then closes the connection unless `keep`."""

    def __init__(self, *answers: bytes | list[bytes | float], keep: bool = False, reset: bool = False, tls=None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.gone = threading.Event()
        self._answers = list(answers)
        self._keep, self._reset, self._tls = keep, reset, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
        with connection, contextlib.suppress(OSError):
            while self._answers:
                if not self._read_request(connection):
                    return
                answer = self._answers.pop(0)
                for part in [answer] if isinstance(answer, bytes) else answer:
                    if self._has_left(connection, part):
                        self.gone.set()
                        return
                if self._reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if not self._keep:
                    return
            self._wait_for_end(connection, 5.0)

    def _has_left(self, connection: socket.socket, part: bytes | float) -> bool:
        """Send some bytes, or wait so many seconds; whether the other side left meanwhile, or before."""
        if isinstance(part, float):
            return self._wait_for_end(connection, part)
        try:
            connection.sendall(part)
        except OSError:
            return True
        return False

    def _read_request(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65_536)
            if not part:
                return False
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        found = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(found[0].split(b":")[1]) if found else 0
        while len(body) < length:
            body += connection.recv(65_536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return True

    @staticmethod
    def _wait_for_end(connection: socket.socket, seconds: float) -> bool:
        """Whether the client closed the connection within the time."""
        connection.settimeout(seconds)
        try:
            return connection.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(None)


@pytest.fixture
def raw() -> Iterator[Callable[..., RawEndpoint]]:
    made: list[RawEndpoint] = []

    def make(*answers: bytes | list[bytes | float], **options) -> RawEndpoint:
        made.append(RawEndpoint(*answers, **options))
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.close()


def http(body: bytes, *, status: str = "200 OK", content_type: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def event_stream(*parts: bytes, extra: str = "") -> bytes:
    """A stream without a length: it ends with its connection."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n{extra}\r\n"
    return head.encode() + b"".join(parts)


@pytest.fixture
def wire():
    """Builders of raw answers."""

    class Wire:
        whole = staticmethod(http)
        events = staticmethod(event_stream)

    return Wire
