"""A TCP proxy that can stall and reset its connections; knows nothing of the data it carries."""

import asyncio
import contextlib
import threading
from typing import Self

_PIECE_BYTES = 65_536


class TcpProxy:
    """Forwards connections to `target` until it is stalled or cut. It runs in its own thread inside `with`; `port` is where it listens."""

    def __init__(self, target: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.port = 0
        self._target = target
        self._host = host
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paymaster-tcp-proxy", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._flowing = asyncio.Event()
        self._is_cut = False
        self._transports: set[asyncio.WriteTransport] = set()

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Reset every connection and stop."""
        self.cut()
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def stall(self) -> None:
        """Forward nothing more and reset nothing: data on its way arrives after `restore`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def cut(self) -> None:
        """Reset every connection, and every new one until `restore`."""

        def cut() -> None:
            self._is_cut = True
            for transport in self._transports:
                transport.abort()

        self._loop.call_soon_threadsafe(cut)

    def restore(self) -> None:
        """Forward everything again."""

        def restore() -> None:
            self._is_cut = False
            self._flowing.set()

        self._loop.call_soon_threadsafe(restore)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._flowing.set()
        server = await asyncio.start_server(self._forward, self._host, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        server.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        own = {writer.transport, target_writer.transport}
        self._transports |= own
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, target_writer))
                group.create_task(self._copy(target_reader, writer))
        finally:
            self._transports -= own

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE_BYTES):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
