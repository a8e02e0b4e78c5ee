"""HTTP for blocking callers, with a pool of the standard library's connections; knows nothing about the content.

This pool knows whether a request was sent before an error, which decides whether it may have been billed. It takes less than half of
urllib3's time per call and a quarter of httpx's (benchmarks/bench_http.py). Its coroutines never suspend. Its sockets keep the time limits.
"""

import http.client
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import urlsplit

from paymaster.forks import renew_in_children
from paymaster.providers.proxies import Proxy, ProxyTable
from paymaster.providers.rates import plain_headers
from paymaster.providers.sockets import LimitedSocket, TimeLimit, connect, encrypt, open_tunnel, trust
from paymaster.providers.transport import SWITCHED_PROTOCOLS, ExchangeBroken, ExchangeFault, HttpRequest, plain_detail

_KEEP_IDLE_S = 15.0
"""Connections idle for longer are not reused: many servers close theirs after 20 s to 75 s, just when a POST may be sent."""

_KEEP_PER_HOST = 64
_READ_BYTES = 65_536
_ANY_ZLIB = 47
"""zlib's window bits for gzip or deflate, by the header."""


class _Response(http.client.HTTPResponse):
    """The final answer: interim ones (100 Continue, 103 Early Hints) are skipped, of which http.client skips the first kind only."""

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200:
            if self.status == http.client.SWITCHING_PROTOCOLS:
                raise http.client.HTTPException(SWITCHED_PROTOCOLS)
            self.headers = self.msg = None  # type: ignore[assignment]  # as before the first head, or `begin` does nothing
            super().begin()


class SyncAnswer:
    """An answer whose connection returns to its pool once the body has been read to its end."""

    __slots__ = ("_connection", "_give_back", "_inflate", "_response", "_socket", "headers", "status")

    def __init__(
        self,
        response: http.client.HTTPResponse,
        connection: http.client.HTTPConnection,
        sock: LimitedSocket,
        give_back: Callable[[http.client.HTTPConnection], None],
    ) -> None:
        self._response = response
        self._connection = connection
        self._socket = sock
        self._give_back: Callable[[http.client.HTTPConnection], None] | None = give_back
        self.status = response.status
        self.headers: Mapping[str, str] = plain_headers(dict(response.getheaders()))
        # The request accepts no compression; some edge servers compress nevertheless.
        compressed = self.headers.get("content-encoding", "identity").lower() in {"gzip", "x-gzip", "deflate"}
        self._inflate = zlib.decompressobj(_ANY_ZLIB) if compressed else None

    async def read(self, wait_ms: int) -> bytes:
        """The next bytes; empty at the end."""
        self._socket.limit = TimeLimit(wait_ms)
        while True:
            try:
                data = self._response.read1(_READ_BYTES)
                if not data and self._response.length:
                    raise ExchangeBroken(ExchangeFault.LOST, f"the connection ended {self._response.length} bytes before the answer did")
                if self._inflate is None:
                    return data
                plain = self._inflate.decompress(data) if data else self._inflate.flush()
            except TimeoutError as error:
                raise ExchangeBroken(ExchangeFault.SILENT, "") from error
            except zlib.error as error:
                raise ExchangeBroken(ExchangeFault.MALFORMED, plain_detail(error)) from error
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise ExchangeBroken(ExchangeFault.LOST, plain_detail(error)) from error
            if plain or not data:
                return plain

    def close(self) -> None:
        """Return the connection if it can be reused, else cut it."""
        give_back, self._give_back = self._give_back, None
        if give_back is None:
            return
        at_end = self._response.isclosed() or self._response.length == 0
        self._response.close()
        # http.client drops the socket of a connection that can't be kept.
        if at_end and self._connection.sock is not None:
            give_back(self._connection)
        else:
            self._connection.close()


class SyncTransport:
    """Connections by origin, for any number of threads; proxies are those of the environment."""

    def __init__(self) -> None:
        self._proxies = ProxyTable()
        self._tls: ssl.SSLContext | None = None
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child, which shares the parent's connections: each would read answers to the other's requests."""
        self._lock = threading.Lock()
        self._idle: dict[str, list[tuple[http.client.HTTPConnection, float]]] = {}

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> SyncAnswer:
        """Send, and return when the head of the answer arrives."""
        limit = TimeLimit(wait_ms)
        parts = urlsplit(request.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        proxy = self._proxies.proxy_for(parts)
        connection = self._reuse(origin) or self._connect(origin, proxy, min(connect_ms, wait_ms))
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        headers = {"Accept-Encoding": "identity", **request.headers}
        if proxy is not None and parts.scheme == "http":
            target, headers = request.url, {**headers, **proxy.headers}
        try:
            # http.client drops the socket of an answer that ends its connection; the time limits still need it.
            sock = cast("LimitedSocket", connection.sock)
            sock.limit = limit
            connection.request(request.method, target, body=request.body or None, headers=headers)
            response = connection.getresponse()
        except TimeoutError as error:
            connection.close()
            raise ExchangeBroken(ExchangeFault.SILENT, "") from error
        except (http.client.RemoteDisconnected, OSError) as error:
            connection.close()
            raise ExchangeBroken(ExchangeFault.LOST, plain_detail(error)) from error
        except http.client.HTTPException as error:
            connection.close()
            raise ExchangeBroken(ExchangeFault.MALFORMED, plain_detail(error)) from error
        except BaseException:  # Ctrl-C: a connection in the middle of an answer must not be reused
            connection.close()
            raise
        return SyncAnswer(response, connection, sock, lambda kept: self._keep(origin, kept))

    async def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for kept in idle.values():
            for connection, _ in kept:
                connection.close()

    def _reuse(self, origin: str) -> http.client.HTTPConnection | None:
        """The connection that was used last and that the server has not closed."""
        oldest = time.monotonic() - _KEEP_IDLE_S
        while True:
            with self._lock:
                kept = self._idle.get(origin)
                if not kept:
                    return None
                connection, since = kept.pop()
            if since >= oldest and not _readable(connection.sock):
                return connection
            connection.close()

    def _keep(self, origin: str, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            kept = self._idle.setdefault(origin, [])
            surplus = kept.pop(0)[0] if len(kept) >= _KEEP_PER_HOST else None
            kept.append((connection, time.monotonic()))
        if surplus is not None:
            surplus.close()

    def _connect(self, origin: str, proxy: Proxy | None, connect_ms: int) -> http.client.HTTPConnection:
        limit, parts = TimeLimit(connect_ms), urlsplit(origin)
        host, secure = parts.hostname or "", parts.scheme != "http"
        port = parts.port or (443 if secure else 80)
        sock: LimitedSocket | None = None
        try:
            sock = plain = connect(*((proxy.host, proxy.port) if proxy else (host, port)), limit)
            if secure and proxy:
                open_tunnel(plain, host, port, proxy)
            if secure:
                sock = encrypt(plain, host, self._trust(), limit)
        except BaseException as error:  # Ctrl-C as well: the socket is closed now, and not when it is collected
            if sock is not None:
                sock.close()
            if isinstance(error, TimeoutError):
                raise ExchangeBroken(ExchangeFault.CONNECT_TIMEOUT, "") from error
            if isinstance(error, OSError | http.client.HTTPException | UnicodeError):
                raise ExchangeBroken(ExchangeFault.REFUSED, plain_detail(error)) from error
            raise
        connection = http.client.HTTPSConnection(host, port, context=self._trust()) if secure else http.client.HTTPConnection(host, port)
        connection.sock, connection.response_class = sock, _Response
        return connection

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = trust()
        return self._tls


def _readable(sock: socket.socket | None) -> bool:
    """Whether an idle connection has something to read: its end or unexpected bytes. Neither can be reused."""
    if sock is None or sock.fileno() < 0:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
