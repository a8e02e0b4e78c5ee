"""Passes every request on to one address and its answer back, as it comes: what a gateway on uvicorn and aiohttp costs at the least."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import aiohttp
import uvicorn

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_EVENTS = [(b"content-type", b"text/event-stream")]


class BareProxy:
    """An ASGI application that reads nothing of what it passes on."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self._session.post(self._upstream + scope["path"], data=body) as answer:
            await send({"type": "http.response.start", "status": answer.status, "headers": _EVENTS})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve on the port for the upstream that the arguments name."""
    port, upstream = sys.argv[1:]
    proxy = BareProxy(f"http://127.0.0.1:{upstream}")
    uvicorn.run(proxy, host="127.0.0.1", port=int(port), log_level="error", access_log=False, lifespan="off", server_header=False)


if __name__ == "__main__":
    main()
