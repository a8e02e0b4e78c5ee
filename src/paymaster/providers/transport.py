"""What the OpenAI adapter needs of HTTP: one POST, its answer piece by piece, and what can break; knows no HTTP client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class ExchangeFault(StrEnum):
    """How an exchange broke, told apart by what may have reached the other side."""

    REFUSED = "refused"
    """Nothing was sent: no connection, no such host, no trust in its certificate, a proxy that refused."""
    CONNECT_TIMEOUT = "connect_timeout"
    """Nothing was sent: the connection was not made in time."""
    LOST = "lost"
    """The request may have been read: the connection broke afterwards."""
    SILENT = "silent"
    """The request may have been read: nothing came in time."""
    MALFORMED = "malformed"
    """What came back is no HTTP."""


class ExchangeBroken(Exception):
    """An exchange did not come to its end. Stays within this room: the adapter turns it into a failure."""

    def __init__(self, fault: ExchangeFault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}" if detail else fault)
        self.fault = fault
        self.detail = detail


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST. The headers hold the key, so they are never shown."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)


class HttpAnswer(Protocol):
    """The head of an answer, and its body as it comes."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    async def read(self, wait_ms: int) -> bytes:
        """Some bytes as soon as there are any; nothing at the end. Raises ExchangeBroken, SILENT if none come within `wait_ms`."""
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else cut it, so that the other side stops. May be called twice."""
        ...


class Transport(Protocol):
    """Sends requests over kept connections. For a sync caller no method ever suspends."""

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> HttpAnswer:
        """Send, and return when the head of the answer is there. Raises ExchangeBroken. Follows no redirect."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def plain_detail(error: BaseException) -> str:
    """What a client's exception says, without the objects' addresses some of them print."""
    text = str(error) or type(error).__name__
    return text.partition(" at 0x")[0] if " at 0x" in text else text
