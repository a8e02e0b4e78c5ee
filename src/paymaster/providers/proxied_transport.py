"""HTTP through a proxy for callers on an event loop, with aiohttp; knows nothing about the content."""

import asyncio
import ssl
import time
from types import SimpleNamespace

import aiohttp

from paymaster.providers.http1 import KEEP_IDLE_S
from paymaster.providers.proxies import Proxy
from paymaster.providers.rates import plain_headers
from paymaster.providers.transport import SWITCHED_PROTOCOLS, ExchangeBroken, ExchangeFault, HttpRequest, plain_detail
from paymaster.runtime import TaskLimit

_SWITCHING_PROTOCOLS = 101
_SURELY_OPEN_S = 0.02
_TURNS = 3
"""Turns of the loop: one to wake the caller, one to read the end, one to drop the connection."""


class ProxiedAnswer:
    """An answer of aiohttp."""

    __slots__ = ("_limit", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._limit = TaskLimit()
        self.status = response.status
        self.headers = plain_headers(response.headers)

    async def read(self, wait_ms: int) -> bytes:
        """The next bytes; empty at the end."""
        content = self._response.content
        try:
            if (data := content.read_nowait()) or content.at_eof():
                return data
            return await self._limit.wait(content.readany(), wait_ms / 1_000)
        except TimeoutError as error:
            raise ExchangeBroken(ExchangeFault.SILENT, "") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ExchangeBroken(ExchangeFault.LOST, plain_detail(error)) from error

    def expect_end(self) -> None:
        """Do nothing: aiohttp keeps only connections whose body was read to its end."""

    def close(self) -> None:
        """Cut the connection, unless the body was read to its end and aiohttp has it back."""
        self._limit.close()
        self._response.close()


class _Progress:
    """Whether a request has no connection yet: what fails in the tunnel was never sent to its target."""

    __slots__ = ("is_connecting",)

    def __init__(self) -> None:
        self.is_connecting = False


def _watched() -> aiohttp.TraceConfig:
    """Has aiohttp note in the `_Progress` of a request when its connection, with the tunnel, begins and is there."""

    async def begin(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionCreateStartParams) -> None:
        context.trace_request_ctx.is_connecting = True

    async def end(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionCreateEndParams) -> None:
        context.trace_request_ctx.is_connecting = False

    watch = aiohttp.TraceConfig()
    watch.on_connection_create_start.append(begin)
    watch.on_connection_create_end.append(end)
    return watch


class ProxiedTransport:
    """One session for the current event loop, opened on first use. `tls` is what certificates are checked with."""

    __slots__ = ("_last_used", "_loop", "_session", "_tls")

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tls = tls
        self._last_used = time.monotonic()

    async def post(self, request: HttpRequest, proxy: Proxy, *, connect_ms: int, wait_ms: int) -> ProxiedAnswer:
        """Send, and return when the head of the answer arrives."""
        # aiohttp's `connect` limits name look-up, connection and handshake; every other limit is kept here.
        await self._notice_closed_connections()
        secure = request.url.startswith("https:")
        # The login goes into the request for an http:// URL, and into the request for a tunnel for https://.
        headers = {**request.headers, **proxy.headers} if not secure else request.headers
        limits = aiohttp.ClientTimeout(total=None, connect=connect_ms / 1_000)
        progress = _Progress()
        try:
            async with asyncio.timeout(wait_ms / 1_000):
                response = await self._opened().request(
                    request.method,
                    request.url,
                    data=request.body or None,
                    headers=headers,
                    timeout=limits,
                    allow_redirects=False,
                    proxy=proxy.url,
                    proxy_headers=proxy.headers if secure else None,
                    ssl=self._tls,
                    trace_request_ctx=progress,
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise ExchangeBroken(ExchangeFault.CONNECT_TIMEOUT, "") from error
        except TimeoutError as error:
            raise ExchangeBroken(ExchangeFault.SILENT, "") from error
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL) as error:
            raise ExchangeBroken(ExchangeFault.REFUSED, plain_detail(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            fault = ExchangeFault.MALFORMED if isinstance(error, aiohttp.ClientResponseError) else ExchangeFault.LOST
            raise ExchangeBroken(ExchangeFault.REFUSED if progress.is_connecting else fault, plain_detail(error)) from error
        if response.status == _SWITCHING_PROTOCOLS:
            response.close()
            raise ExchangeBroken(ExchangeFault.MALFORMED, SWITCHED_PROTOCOLS)
        return ProxiedAnswer(response)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _notice_closed_connections(self) -> None:
        """Give the loop the turns it needs to notice that an idle connection was closed, before a POST is sent into it."""
        now = time.monotonic()
        idle_s, self._last_used = now - self._last_used, now
        if idle_s > _SURELY_OPEN_S:
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _opened(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            # A session belongs to one loop. The session of an ended loop can't be closed, and its connections ended with the loop.
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_IDLE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept"),
                trace_configs=[_watched()],
            )
        return self._session
