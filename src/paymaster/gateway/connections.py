"""HTTP connections that can't be held open for nothing; knows uvicorn's protocol and time limits, no route and no call."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from paymaster.gateway.request_body import Bounds

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which bounds the size of a request's head and the time that it may take: uvicorn itself bounds neither."""

    bounds = Bounds()

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401  uvicorn's own arguments, passed on as they are
        super().__init__(*given, **named)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it in the same way
        """The first request's head is due."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count a head's bytes. A new request's head is due from its first byte on."""
        before: RequestResponseCycle | None = self.cycle  # none before the first request
        if self._head_timer is None and (before is None or before.response_complete):
            self._expect_head()
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        # A body may follow its head in the same bytes: only a head that is not there yet is too large.
        if self._head_timer is not None and self._head_bytes > self.bounds.header_bytes and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_is_there()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.bounds.header_ms / 1000, self._head_is_late)

    def _head_is_there(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()


def protocol_with(bounds: Bounds) -> type[BoundedProtocol]:
    """The protocol with these bounds, as uvicorn wants it: a class."""
    return type("Bounded", (BoundedProtocol,), {"bounds": bounds})
