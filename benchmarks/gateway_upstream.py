"""A bare upstream for the gateway's benchmark: whole answers, streams, and streams that stay open; knows nothing about its clients."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from typing import TYPE_CHECKING

from bench_http import ANSWER, CHUNKS, EVENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

LAST = (
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":400,"completion_tokens":40,"total_tokens":440}}\n\ndata: [DONE]\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
OPEN_S = 8.0
"""How long a stream for the user `open` stays open between its first chunk and its last."""


class Upstream(asyncio.Protocol):
    """Answers every request on a kept connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer once the whole body has arrived."""
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0") if found else 0
        if not found or len(body) < length:
            return
        self.buffer = body[length:]
        self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Answer one request."""
        if b'"stream":true' not in body.replace(b'": ', b'":'):
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
            )
        elif b'"user":"open"' in body.replace(b'": ', b'":'):
            self.transport.write(HEAD + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            asyncio.get_running_loop().call_later(OPEN_S, self.write_chunk, 0)
        else:
            self.transport.write(HEAD)
            self.write_chunk(CHUNKS)

    def write_chunk(self, remaining: int) -> None:
        """Write one event per turn of the loop, so that they are sent one by one."""
        if remaining == 0:
            self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST))
            return
        self.transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        asyncio.get_running_loop().call_soon(self.write_chunk, remaining - 1)


def run_upstream(kind: type[Upstream], port_to: Connection) -> None:
    """Serve for ever."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0, backlog=2048)
        port_to.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextlib.contextmanager
def upstream(kind: type[Upstream] = Upstream) -> Iterator[int]:
    """The port of an upstream of this kind in its own process."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=run_upstream, args=(kind, send), daemon=True)
    process.start()
    try:
        yield receive.recv()
    finally:
        process.terminate()
        process.join()
