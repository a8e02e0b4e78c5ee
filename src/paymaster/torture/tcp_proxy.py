"""A wire that can be stalled and cut: a small TCP proxy on an event loop of its own; knows not what it carries."""

import asyncio
import contextlib
import threading
from typing import Self

_PIECE_BYTES = 65_536


class Link:
    """Carries connections to `target` until told otherwise. It runs in a thread of its own inside `with`; `port` is where it listens."""

    def __init__(self, target: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.port = 0
        self._target = target
        self._host = host
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paymaster-link", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._open = asyncio.Event()
        self._cut = False
        self._transports: set[asyncio.WriteTransport] = set()

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Cut everything and stop."""
        self.cut()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def stall(self) -> None:
        """Carry nothing more, and cut nothing: what is on its way arrives when it is mended."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def cut(self) -> None:
        """Reset every connection, and every new one."""

        def cut() -> None:
            self._cut = True
            for transport in self._transports:
                transport.abort()

        self._loop.call_soon_threadsafe(cut)

    def mend(self) -> None:
        """Carry everything again."""

        def mend() -> None:
            self._cut = False
            self._open.set()

        self._loop.call_soon_threadsafe(mend)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._open.set()
        server = await asyncio.start_server(self._carry, self._host, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._end.wait()
        server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        own = {writer.transport, back.transport}
        self._transports |= own
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(there, writer))
        finally:
            self._transports -= own

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE_BYTES):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
