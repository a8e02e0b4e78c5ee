"""The HTTP that the OpenAI adapter needs: one request, its answer in pieces, and the ways it can fail; knows no HTTP client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

SWITCHED_PROTOCOLS = "the server switched to another protocol (HTTP 101)"
"""Of the interim answers (1xx), this one is not skipped: no answer in HTTP follows it."""


class ExchangeFault(StrEnum):
    """How an exchange failed, distinguished by how much may have reached the server."""

    REFUSED = "refused"
    """Nothing was sent: no connection, unknown host, untrusted certificate, or the proxy refused."""
    CONNECT_TIMEOUT = "connect_timeout"
    """Nothing was sent: the connection took too long."""
    LOST = "lost"
    """The request may have been read: the connection was lost afterwards."""
    SILENT = "silent"
    """The request may have been read: no answer came in time."""
    MALFORMED = "malformed"
    """The answer is not valid HTTP."""


class ExchangeBroken(Exception):
    """An exchange failed. Never leaves this package: the adapter turns it into a failure."""

    def __init__(self, fault: ExchangeFault, detail: str) -> None:
        super().__init__(fault, detail)
        self.fault = fault
        self.detail = detail

    def __str__(self) -> str:
        """The fault, and the detail if there is one."""
        return f"{self.fault}: {self.detail}" if self.detail else self.fault


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST, or a GET without a body. Its headers have the key, so they are never shown."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    method: str = "POST"


class HttpAnswer(Protocol):
    """The head of an answer, and its body in pieces."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    async def read(self, wait_ms: int) -> bytes:
        """The next bytes as soon as they arrive; empty at the end. Raises ExchangeBroken: SILENT if none arrive within `wait_ms`."""
        ...

    def expect_end(self) -> None:
        """Note that everything was read but the end of the body, which may come a moment later: the connection is worth keeping."""
        ...

    def close(self) -> None:
        """Return the connection if the body was read to its end, else cut it, so that the server stops. May be called twice."""
        ...


class Transport(Protocol):
    """Sends requests over kept connections. For a blocking caller, no method ever suspends."""

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> HttpAnswer:
        """Send, and return when the head of the answer arrives. Raises ExchangeBroken. Follows no redirect."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def plain_detail(error: BaseException) -> str:
    """The message of a client's exception, without the memory addresses that some of them print."""
    text = str(error) or type(error).__name__
    return text.partition(" at 0x")[0] if " at 0x" in text else text
