"""HTTP connections with bounds on the size and time of a request's head; knows uvicorn's protocol, no route and no call."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from paymaster.gateway.request_body import Bounds

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds on the size of a request's head and on the time it may take; uvicorn itself bounds neither."""

    bounds = Bounds()

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  uvicorn's own arguments, passed on unchanged
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it in the same way
        """Start the timer for the first request's head."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count a head's bytes. The timer for the next request's head starts with its first byte."""
        last: RequestResponseCycle | None = self.cycle  # None before the first request
        if self._head_timer is None and (last is None or last.response_complete):
            self._start_timer()
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        # A body may follow its head in the same bytes: only an incomplete head is too large.
        if self._head_timer is not None and self._head_bytes > self.bounds.header_bytes and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Stop the timer: the head is complete."""
        self._stop_timer()
        super().on_headers_complete()

    def _start_timer(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.bounds.header_ms / 1000, self._time_out)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _time_out(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()


def protocol_with(bounds: Bounds) -> type[BoundedProtocol]:
    """The protocol with these bounds, as a class, which uvicorn expects."""
    return type("Bounded", (BoundedProtocol,), {"bounds": bounds})
