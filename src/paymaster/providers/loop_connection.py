"""A connection of an event loop, as `http1.py` needs it; knows no HTTP."""

import asyncio
import time
from typing import cast

from paymaster.providers.http1 import TimeLimit
from paymaster.providers.sockets import has_arrived

_MOST_WAITING_BYTES = 262_144
"""More is not read from the network until the reader has taken what has come."""
_PART_BYTES = 131_072
"""A large body is handed to the loop in parts, each when most of the one before is sent: other tasks run in between."""


class LoopConnection(asyncio.Protocol):
    """One TCP or TLS connection. At most one task waits for it."""

    __slots__ = (
        "_can_write",
        "_ended",
        "_ends_at_s",
        "_error",
        "_paused",
        "_timer",
        "_transport",
        "_unsent",
        "_waiter",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._unsent = memoryview(b"")
        self._can_write = True
        self._paused = self._ended = False
        self._error: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at_s = 0.0

    # ------------------------------------------------------------------------------------------------ as a `Connection`

    async def send(self, data: bytes, limit: TimeLimit) -> None:
        """Begin to send. What the network does not take at once follows while the answer is waited for."""
        if self._transport is None or self._ended:
            raise ConnectionResetError("the connection was closed")
        self._unsent = memoryview(data)
        self._send_more()

    async def receive(self, limit: TimeLimit) -> bytes:
        """The next bytes; empty at the end."""
        left_s = limit.left_s()
        if not self._waiting and not self._ended:
            await self._wait(left_s)
        data = self.received()
        if not data and self._error is not None:
            raise self._error
        return data

    def received(self) -> bytes:
        """What has come already."""
        waiting = self._waiting
        if not waiting:
            return b""
        data = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        self._waiting, self._waiting_bytes = [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def is_reusable(self) -> bool:
        """Whether it is open, everything is sent, and nothing more has been received."""
        transport = self._transport
        if transport is None or self._ended or self._waiting or self._unsent or transport.is_closing():
            return False
        return transport.get_write_buffer_size() == 0

    def is_quiet(self) -> bool:
        """Whether nothing has come. The loop may not have read it yet, so the system is asked as well."""
        if self._ended or self._waiting or self._transport is None or self._transport.is_closing():
            return False
        return not has_arrived(self._transport.get_extra_info("socket").fileno())

    def close(self) -> None:
        """Cut the connection. What was not sent yet is dropped."""
        self._ended = True
        self._unsent = memoryview(b"")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    # ----------------------------------------------------------------------------------------------- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep the bytes for the reader, and stop reading if there are many."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _MOST_WAITING_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, and its cause, which need not be an error of the system."""
        self._ended = True
        if exc is not None:
            self._error = exc if isinstance(exc, OSError) else ConnectionError(str(exc))
        self._transport = None
        self._unsent = memoryview(b"")
        self._wake()

    def eof_received(self) -> None:
        """Note the end; the loop closes the transport."""
        self._ended = True
        self._wake()

    def pause_writing(self) -> None:
        """The network takes nothing now."""
        self._can_write = False

    def resume_writing(self) -> None:
        """Go on with a body that was not sent in one part."""
        self._can_write = True
        self._send_more()

    # ---------------------------------------------------------------------------------------------------------- private

    def _send_more(self) -> None:
        while self._unsent and self._can_write and self._transport is not None:
            part, self._unsent = self._unsent[:_PART_BYTES], self._unsent[_PART_BYTES:]
            self._transport.write(part)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, limit_s: float) -> None:
        """Wait for bytes or the end. All waits share one timer, which checks whether the current one has lasted too long."""
        loop = asyncio.get_running_loop()
        self._ends_at_s = time.monotonic() + limit_s
        if self._timer is None or self._timer.when() > loop.time() + limit_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(limit_s, self._check)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _check(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        left_s = self._ends_at_s - time.monotonic()
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._check)
        else:
            self._waiter.set_exception(TimeoutError("timed out"))
