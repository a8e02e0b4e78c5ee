"""Measures the CPU of one chat call with each installed HTTP client, and with Paymaster's own; knows nothing else of it.

A small POST with a JSON answer, and an answer of 20 server-sent chunks, one at a time and 64 at once, against a bare server in a process
of its own. Only this process's CPU is counted. Figures are milliseconds per call, the best of three rounds; the ratio is to the cheapest
client in its column. Clients that are not installed are omitted: `pip install aiohttp urllib3 httpx httpcore pyreqwest` for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import multiprocessing
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import orjson

from paymaster.providers.transport import HttpRequest
from paymaster.runtime import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from multiprocessing.connection import Connection

    from paymaster.providers.transport import Transport

CALLS = 600
STREAMS = 200
AT_ONCE = 64
ROUNDS = 3
CHUNKS = 20
HEADERS = {"content-type": "application/json", "authorization": "Bearer none"}
BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Find the bug in this file. " * 60}], "max_tokens": 100})
USAGE = {"prompt_tokens": 400, "completion_tokens": 40, "total_tokens": 440}
ANSWER = orjson.dumps(
    {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "word " * 40}}],
        "usage": USAGE,
    }
)
EVENT = (
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word word"}}]}\n\n'
)


class AsyncAsk(Protocol):
    """One call: the whole body, or with `stream` all of its chunks, read as they arrive."""

    def __call__(self, *, stream: bool) -> Awaitable[bytes]:
        """Send one request."""
        ...


class SyncAsk(Protocol):
    """The same for a blocking caller."""

    def __call__(self, *, stream: bool) -> bytes:
        """Send one request."""
        ...


# ------------------------------------------------------------------------------------------------------- the bare server


class BareServer(asyncio.Protocol):
    """Answers every request on a kept connection; `/stream` in chunks, one write each."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer once the whole body has arrived."""
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.buffer = body[length:]
        if b"/stream " in head.partition(b"\r\n")[0]:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            self.write_chunk(CHUNKS)
        else:
            reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
            self.transport.write(reply)

    def write_chunk(self, remaining: int) -> None:
        """Write one event per turn of the loop, so that they are sent one by one."""
        if remaining == 0:
            self.transport.write(b"0\r\n\r\n")
            return
        self.transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        asyncio.get_running_loop().call_soon(self.write_chunk, remaining - 1)


def run_server(port_to: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(BareServer, "127.0.0.1", 0)
        port_to.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextlib.contextmanager
def bare_server() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=run_server, args=(send,), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{receive.recv()}"
    process.terminate()
    process.join()


# ------------------------------------------------------------------------------------------------------------ the clients


@contextlib.asynccontextmanager
async def with_paymaster_async(base: str) -> AsyncIterator[AsyncAsk]:
    from paymaster.providers.async_transport import AsyncTransport

    transport = AsyncTransport()

    async def ask(*, stream: bool) -> bytes:
        return await read_whole(transport, base, stream=stream)

    yield ask
    await transport.close()


async def read_whole(transport: Transport, base: str, *, stream: bool) -> bytes:
    answer = await transport.post(HttpRequest(path(base, stream=stream), BODY, HEADERS), connect_ms=5_000, wait_ms=30_000)
    parts = []
    while part := await answer.read(30_000):
        parts.append(part)
    answer.close()
    return b"".join(parts)


@contextlib.asynccontextmanager
async def with_aiohttp(base: str) -> AsyncIterator[AsyncAsk]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(*, stream: bool) -> bytes:
            async with session.post(path(base, stream=stream), data=BODY, headers=HEADERS) as response:
                return b"".join([chunk async for chunk in response.content.iter_any()]) if stream else await response.read()

        yield ask


@contextlib.asynccontextmanager
async def with_httpx_async(base: str) -> AsyncIterator[AsyncAsk]:
    import httpx

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=30) as client:

        async def ask(*, stream: bool) -> bytes:
            if not stream:
                return (await client.post(path(base, stream=False), content=BODY, headers=HEADERS)).content
            async with client.stream("POST", path(base, stream=True), content=BODY, headers=HEADERS) as response:
                return b"".join([chunk async for chunk in response.aiter_bytes()])

        yield ask


@contextlib.asynccontextmanager
async def with_httpcore_async(base: str) -> AsyncIterator[AsyncAsk]:
    import httpcore

    async with httpcore.AsyncConnectionPool(max_connections=None) as pool:

        async def ask(*, stream: bool) -> bytes:
            async with pool.stream("POST", path(base, stream=stream), content=BODY, headers=HEADERS) as response:
                return b"".join([chunk async for chunk in response.aiter_stream()])

        yield ask


@contextlib.asynccontextmanager
async def with_pyreqwest_async(base: str) -> AsyncIterator[AsyncAsk]:
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def ask(*, stream: bool) -> bytes:
            request = client.post(path(base, stream=stream)).headers(HEADERS).body_bytes(BODY)
            if not stream:
                return bytes(await (await request.build().send()).bytes())
            async with request.build_streamed() as response:
                parts = []
                while (part := await response.body_reader.read_chunk()) is not None:
                    parts.append(bytes(part))
                return b"".join(parts)

        yield ask


@contextlib.contextmanager
def with_urllib3(base: str) -> Iterator[SyncAsk]:
    import urllib3

    with urllib3.PoolManager(maxsize=AT_ONCE, retries=False) as pool:

        def ask(*, stream: bool) -> bytes:
            response = pool.urlopen("POST", path(base, stream=stream), body=BODY, headers=HEADERS, preload_content=False)
            body = b"".join(iter(response.read1, b"")) if stream else response.read()
            response.release_conn()
            return body

        yield ask


@contextlib.contextmanager
def with_httpx(base: str) -> Iterator[SyncAsk]:
    import httpx

    with httpx.Client(limits=httpx.Limits(max_connections=None), timeout=30) as client:

        def ask(*, stream: bool) -> bytes:
            if not stream:
                return client.post(path(base, stream=False), content=BODY, headers=HEADERS).content
            with client.stream("POST", path(base, stream=True), content=BODY, headers=HEADERS) as response:
                return b"".join(response.iter_bytes())

        yield ask


@contextlib.contextmanager
def with_pyreqwest(base: str) -> Iterator[SyncAsk]:
    from pyreqwest.client import SyncClientBuilder

    with SyncClientBuilder().build() as client:

        def ask(*, stream: bool) -> bytes:
            request = client.post(path(base, stream=stream)).headers(HEADERS).body_bytes(BODY)
            if not stream:
                return bytes(request.build().send().bytes())
            with request.build_streamed() as response:
                return b"".join(bytes(part) for part in iter(response.body_reader.read_chunk, None))

        yield ask


@contextlib.contextmanager
def with_paymaster(base: str) -> Iterator[SyncAsk]:
    from paymaster.providers.sync_transport import SyncTransport

    transport = SyncTransport()
    yield lambda *, stream: run(read_whole(transport, base, stream=stream))
    run(transport.close())


@contextlib.contextmanager
def with_http_client(base: str) -> Iterator[SyncAsk]:
    """The standard library's connections in a queue: no proxies, no TLS settings, no recovery from a closed connection."""
    idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()

    def ask(*, stream: bool) -> bytes:
        try:
            connection = idle.get_nowait()
        except queue.Empty:
            connection = http.client.HTTPConnection(base.removeprefix("http://"))
        connection.request("POST", "/stream" if stream else "/chat", body=BODY, headers=HEADERS)
        response = connection.getresponse()
        body = b"".join(iter(response.read1, b"")) if stream else response.read()
        idle.put(connection)
        return body

    yield ask


def path(base: str, *, stream: bool) -> str:
    return f"{base}/{'stream' if stream else 'chat'}"


ASYNC_CLIENTS = {
    "paymaster": with_paymaster_async,
    "aiohttp": with_aiohttp,
    "httpx": with_httpx_async,
    "httpcore": with_httpcore_async,
    "pyreqwest": with_pyreqwest_async,
}
SYNC_CLIENTS = {
    "paymaster": with_paymaster,
    "urllib3": with_urllib3,
    "httpx": with_httpx,
    "http.client": with_http_client,
    "pyreqwest": with_pyreqwest,
}


# ------------------------------------------------------------------------------------------------------------ measurement


def check(body: bytes, *, stream: bool) -> None:
    """The answer is read as a caller would read it, so that no client wins by leaving work undone."""
    if stream:
        assert sum(1 for line in body.split(b"\n") if line and orjson.loads(line[6:])) == CHUNKS
    else:
        assert orjson.loads(body)["usage"] == USAGE


async def measure_async(opening: Callable[[str], contextlib.AbstractAsyncContextManager[AsyncAsk]], base: str) -> list[float]:
    async with opening(base) as ask:

        async def one(count: int, *, stream: bool) -> None:
            for _ in range(count):
                check(await ask(stream=stream), stream=stream)

        figures = []
        for count, stream in ((CALLS, False), (STREAMS, True)):
            for width in (1, AT_ONCE):
                await asyncio.gather(*(one(2, stream=stream) for _ in range(width)))
                spent = []
                for _ in range(ROUNDS):
                    before = time.process_time()
                    await asyncio.gather(*(one(count // width or 1, stream=stream) for _ in range(width)))
                    spent.append((time.process_time() - before) / ((count // width or 1) * width))
                figures.append(min(spent) * 1e3)
    return figures


def measure_sync(opening: Callable[[str], contextlib.AbstractContextManager[SyncAsk]], base: str) -> list[float]:
    with opening(base) as ask:

        def one(count: int, *, stream: bool) -> None:
            for _ in range(count):
                check(ask(stream=stream), stream=stream)

        figures = []
        for count, stream in ((CALLS, False), (STREAMS, True)):
            for width in (1, AT_ONCE):
                with ThreadPoolExecutor(width) as pool:
                    together = threading.Barrier(width)
                    wait_for_all([pool.submit(lambda: (together.wait(), one(2, stream=stream))) for _ in range(width)])  # noqa: B023 -- the futures end inside this turn of the loop
                    spent = []
                    for _ in range(ROUNDS):
                        before = time.process_time()
                        wait_for_all([pool.submit(one, count // width or 1, stream=stream) for _ in range(width)])
                        spent.append((time.process_time() - before) / ((count // width or 1) * width))
                figures.append(min(spent) * 1e3)
    return figures


def wait_for_all(futures: list) -> None:
    for future in futures:
        future.result()


def show(title: str, rows: dict[str, list[float]]) -> None:
    print(f"{title:<14}{'JSON, one':>18}{'JSON, 64 at once':>20}{'stream, one':>18}{'stream, 64 at once':>20}")
    cheapest = [min(column) for column in zip(*rows.values(), strict=True)]
    for name, figures in rows.items():
        cells = [f"{ms:.3f} ({ms / least:.1f}x)" for ms, least in zip(figures, cheapest, strict=True)]
        print(f"{name:<14}{cells[0]:>18}{cells[1]:>20}{cells[2]:>18}{cells[3]:>20}")
    print()


def main() -> None:
    def installed(name: str) -> bool:
        return name == "http.client" or importlib.util.find_spec(name) is not None

    with bare_server() as base:
        print("CPU milliseconds per call\n")
        show("async", {name: asyncio.run(measure_async(opening, base)) for name, opening in ASYNC_CLIENTS.items() if installed(name)})
        show("sync", {name: measure_sync(opening, base) for name, opening in SYNC_CLIENTS.items() if installed(name)})


if __name__ == "__main__":
    main()
