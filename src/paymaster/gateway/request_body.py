"""Heads and bodies of requests, read within bounds of size and time; knows no dialect."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
from starlette.types import Receive

from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.jsontypes import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits for one client: the size of a body and of a request's head, the time to send each, to read the answer, and to stay idle.

    A stream without a first piece gets its head after `late_head_ms`, one that is held back after `held_head_ms`, and a comment after every
    `keep_alive_ms` from then on.

    `open_calls` is how many calls all clients together may have open at once; None for no limit.
    """

    body_bytes: int = 32 * 1024 * 1024
    header_bytes: int = 64 * 1024
    header_ms: int = 15_000
    body_ms: int = 60_000
    reading_ms: int = 30_000
    idle_ms: int = 75_000
    late_head_ms: int = 45_000
    held_head_ms: int = 10_000
    keep_alive_ms: int = 5_000
    open_calls: int | None = None


class HungUp(Exception):
    """The client has closed the connection: no answer can be sent."""


Headers = Mapping[str, str]
_LENGTH_DIGITS = 18


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in lower case; of repeated headers the last counts."""
    return {name.decode("latin-1"): value.decode("latin-1").strip() for name, value in raw}


_ONCE = frozenset({b"host", b"origin", b"authorization", b"x-api-key", b"api-key", b"x-litellm-api-key"})
"""The headers that decide who is calling. Of two, a proxy may have checked the other one."""
_OWN_PREFIX = b"x-paymaster-"


def check_head(http_version: str, raw: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise Rejected (400) for a head without Host in HTTP/1.1 or with two of a header that decides who is calling (RFC 9112, 3.2)."""
    seen: set[bytes] = set()
    for name, _ in raw:
        if name in _ONCE or name.startswith(_OWN_PREFIX):
            if name in seen:
                raise Rejected(invalid(f"the request has two {name.decode('latin-1')} headers", advice="Send one."))
            seen.add(name)
    if http_version != "1.0" and b"host" not in seen:
        raise Rejected(invalid(f"the request has no Host header, which HTTP/{http_version} needs"))


async def read_body(receive: Receive, headers: Headers, bounds: Bounds) -> bytes:
    """The whole body. Raises Rejected (408, 413) and HungUp."""
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > _LENGTH_DIGITS or int(length) > bounds.body_bytes):
        raise Rejected(_too_large(bounds))
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):  # nearly always
        body: bytes = message.get("body", b"")
        if len(body) > bounds.body_bytes:
            raise Rejected(_too_large(bounds))
        return body
    parts, size = [], 0
    try:
        async with asyncio.timeout(bounds.body_ms / 1000):
            while message["type"] == "http.request":
                part: bytes = message.get("body", b"")
                parts.append(part)
                size += len(part)
                if size > bounds.body_bytes:
                    raise Rejected(_too_large(bounds))
                if not message.get("more_body"):
                    return b"".join(parts)
                message = await receive()
    except TimeoutError:
        late = f"the body did not arrive within {bounds.body_ms // 1000} s"
        raise Rejected(HttpError(status=408, code="request_timeout", message=late, retry_after_ms=0)) from None
    raise HungUp


def parse_body(body: bytes) -> JsonObject:
    """The JSON object in a body. Raises Rejected (400)."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Rejected(invalid(f"the body is not JSON: {error.msg} at byte {error.pos} of {len(body)}")) from None
    if not isinstance(value, dict):
        raise Rejected(invalid("the body must be a JSON object"))
    return value


def invalid(message: str, param: str | None = None, advice: str = "") -> HttpError:
    """The error for an invalid request."""
    return HttpError(status=400, code="invalid_request", message=message, param=param, advice=advice)


def _too_large(bounds: Bounds) -> HttpError:
    return HttpError(status=413, code="request_too_large", message=f"the body is larger than {bounds.body_bytes} bytes")
