"""HTTP for callers on an event loop: `http1.py` over the loop's connections, and aiohttp where the environment sets a proxy."""

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from paymaster.providers.http1 import KEEP_IDLE_S, Http1, Origin, Pool, TimeLimit
from paymaster.providers.http1_answers import Body
from paymaster.providers.http1_requests import Target
from paymaster.providers.loop_connection import LoopConnection
from paymaster.providers.name_cache import NameCache
from paymaster.providers.proxies import ProxyTable
from paymaster.providers.transport import HttpAnswer, HttpRequest

if TYPE_CHECKING:
    from paymaster.providers.proxied_transport import ProxiedTransport

_SECOND_ADDRESS_S = 0.25
"""The next address of a host is tried beside one that does not answer (RFC 8305)."""
_TURNS = 3
"""Turns of the loop: a cut connection is closed in the next, an encrypted one in the one after it."""


class AsyncTransport:
    """Connections of the current event loop by origin; proxies are those of the environment."""

    __slots__ = ("_http", "_loop", "_names", "_pool", "_proxied", "_proxies", "_tls")

    def __init__(self) -> None:
        self._proxies = ProxyTable()  # aiohttp's own `trust_env` also looks for a .netrc, on every request
        self._proxied: ProxiedTransport | None = None
        self._tls: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._renew()

    def _renew(self) -> None:
        """Connections belong to one loop. Those of an ended loop can't be closed, and ended with it."""
        self._pool = _SweptPool()
        self._names = NameCache()
        self._http = Http1(self._connect, self._pool)

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> HttpAnswer:
        """Send, and return when the head of the answer arrives."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._renew()
        target = self._http.target_of(request.url)
        proxy = self._proxies.proxy_for(target.scheme, target.host)
        if proxy is None:
            return await self._http.post(request, connect_ms=connect_ms, wait_ms=wait_ms)
        if self._proxied is None:
            from paymaster.providers.proxied_transport import ProxiedTransport

            self._proxied = ProxiedTransport(self._trust())
        return await self._proxied.post(request, proxy, connect_ms=connect_ms, wait_ms=wait_ms)

    async def close(self) -> None:
        """Close all idle connections."""
        if self._proxied is not None:
            await self._proxied.close()
        if self._loop is asyncio.get_running_loop():
            self._pool.close()
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    async def _connect(self, target: Target, limit: TimeLimit) -> LoopConnection:
        import aiohappyeyeballs

        loop = asyncio.get_running_loop()
        async with asyncio.timeout(limit.left_s()):
            addresses = await self._names.look_up(target.host, target.port)
            tls, name = (self._trust(), target.host) if target.secure else (None, None)
            sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_SECOND_ADDRESS_S, interleave=1)
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = LoopConnection()
            try:
                # The socket is the loop's now. If it were closed here, the next connection would get its number, and nobody would wake it.
                await loop.create_connection(lambda: connection, sock=sock, ssl=tls, server_hostname=name)
            except BaseException:  # a cancellation as well
                connection.close()
                raise
        return connection

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _SweptPool(Pool[LoopConnection]):
    """A pool that also closes old connections when no request comes."""

    def __init__(self) -> None:
        super().__init__()
        self._timer: asyncio.TimerHandle | None = None

    def keep(self, origin: Origin, connection: LoopConnection, rest: Body | None = None) -> None:
        """Keep a connection for later."""
        super().keep(origin, connection, rest)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEEP_IDLE_S, self._sweep)

    def close(self) -> None:
        """Close all."""
        super().close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(KEEP_IDLE_S, self._sweep) if self.close_old() else None
