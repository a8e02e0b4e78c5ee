"""Requests' bodies and headers as they come over HTTP, within bounds of size and time; knows no dialect."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
from starlette.types import Receive

from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.jsontypes import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one client may take: the size of a body and of one request's headers, and time for each of them, to read on, and between.

    `open_calls` is how many calls may be open at once, of all clients together; None: as many as come.
    """

    body_bytes: int = 32 * 1024 * 1024
    header_bytes: int = 64 * 1024
    header_ms: int = 15_000
    body_ms: int = 60_000
    reading_ms: int = 30_000
    idle_ms: int = 75_000
    open_calls: int | None = None


class HungUp(Exception):
    """The client is gone: nobody is left to answer."""


Headers = Mapping[str, str]


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in lower case; the last of several counts."""
    return {name.decode("latin-1"): value.decode("latin-1").strip() for name, value in raw}


async def read_body(receive: Receive, headers: Headers, bounds: Bounds) -> bytes:
    """The whole body. Raises Refused (408, 413) and HungUp."""
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > bounds.body_bytes:
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
        refusal = HttpError(
            status=408, code="request_timeout", message=f"the request did not come within {bounds.body_ms // 1000} s", retry_after_ms=0
        )
        raise Rejected(refusal) from None
    raise HungUp


def parse_body(body: bytes) -> JsonObject:
    """The JSON object in a body. Raises Refused (400)."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Rejected(invalid(f"the body is not JSON: {error.msg} at byte {error.pos} of {len(body)}")) from None
    if not isinstance(value, dict):
        raise Rejected(invalid("the body must be a JSON object"))
    return value


def invalid(message: str, param: str | None = None, advice: str = "") -> HttpError:
    """A request that is wrong in itself."""
    return HttpError(status=400, code="invalid_request", message=message, param=param, advice=advice)


def _too_large(bounds: Bounds) -> HttpError:
    return HttpError(status=413, code="request_too_large", message=f"the body is larger than {bounds.body_bytes} bytes")
