"""HTTP for callers on an event loop, by aiohttp; knows nothing of what is sent."""

import asyncio
import ssl
import time
from urllib.parse import urlsplit

import aiohttp

from paymaster.providers.proxies import Proxy, proxy_for
from paymaster.providers.rates import plain_headers
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest, plain_detail
from paymaster.runtime import TaskLimit

_KEEP_IDLE_S = 15.0
"""Connections that were idle for longer are not used again: many servers close theirs after 20 s to 75 s, and a POST must not meet that."""

_SURELY_OPEN_S = 0.02
_TURNS = 3
"""One to wake the caller, one to read the end, one to drop the connection."""


class AsyncAnswer:
    """An answer of aiohttp."""

    __slots__ = ("_limit", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._limit = TaskLimit()
        self.status = response.status
        self.headers = plain_headers(response.headers)

    async def read(self, wait_ms: int) -> bytes:
        """Some bytes; nothing at the end."""
        content = self._response.content
        try:
            if (data := content.read_nowait()) or content.at_eof():
                return data
            return await self._limit.wait(content.readany(), wait_ms / 1_000)
        except TimeoutError as error:
            raise ExchangeBroken(ExchangeFault.SILENT, "") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ExchangeBroken(ExchangeFault.LOST, plain_detail(error)) from error

    def close(self) -> None:
        """Aiohttp has taken the connection back where the body was read to its end; else this cuts it."""
        self._limit.close()
        self._response.close()


class AsyncTransport:
    """One session per event loop, made when it is first needed; proxies as the environment says, looked up once per host."""

    __slots__ = ("_last_used", "_loop", "_proxies", "_session", "_tls")

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._proxies: dict[str, Proxy | None] = {}
        self._tls: ssl.SSLContext | None = None
        self._last_used = time.monotonic()

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> AsyncAnswer:
        """Send, and return with the head of the answer."""
        # aiohttp's own `connect` covers the name, the connection and the handshake; every other limit is ours.
        await self._notice_closed_connections()
        proxy = self._proxy_for(request.url)
        secure = request.url.startswith("https:")
        # A proxy that is asked for a plain address reads its password in the request, one that is asked for a tunnel before it.
        headers = {**request.headers, **proxy.headers} if proxy and not secure else request.headers
        limits = aiohttp.ClientTimeout(total=None, connect=connect_ms / 1_000)
        try:
            async with asyncio.timeout(wait_ms / 1_000):
                return AsyncAnswer(
                    await self._opened().post(
                        request.url,
                        data=request.body,
                        headers=headers,
                        timeout=limits,
                        allow_redirects=False,
                        proxy=proxy.url if proxy else None,
                        proxy_headers=proxy.headers if proxy and secure else None,
                        ssl=self._trust() if secure else True,
                    )
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise ExchangeBroken(ExchangeFault.CONNECT_TIMEOUT, "") from error
        except TimeoutError as error:
            raise ExchangeBroken(ExchangeFault.SILENT, "") from error
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL) as error:
            raise ExchangeBroken(ExchangeFault.REFUSED, plain_detail(error)) from error
        except aiohttp.ClientResponseError as error:
            raise ExchangeBroken(ExchangeFault.MALFORMED, plain_detail(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ExchangeBroken(ExchangeFault.LOST, plain_detail(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _notice_closed_connections(self) -> None:
        """A loop that had no turn to read the end of an idle connection would send a POST into it: give it the turns this takes."""
        now = time.monotonic()
        idle_s, self._last_used = now - self._last_used, now
        if idle_s > _SURELY_OPEN_S:
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _opened(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            # A session lives on one loop. One left on a loop that has ended can't be closed any more: its connections died with it.
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept"),
            )
        return self._session

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _proxy_for(self, url: str) -> Proxy | None:
        """Aiohttp's own `trust_env` asks for this, and for a .netrc, on every request: it doubled the time of a call."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._proxies:
            try:
                self._proxies[origin] = proxy_for(parts.scheme, parts.hostname or "")
            except ValueError as error:
                raise ExchangeBroken(ExchangeFault.REFUSED, plain_detail(error)) from error
        return self._proxies[origin]
