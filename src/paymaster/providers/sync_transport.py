"""HTTP for blocking callers: `http1.py` over sockets with time limits. Its coroutines never suspend; knows nothing about the content."""

import ssl
from collections.abc import Mapping

from paymaster.providers.http1 import Http1, Http1Answer, Pool, TimeLimit
from paymaster.providers.http1_answers import HeadReader
from paymaster.providers.http1_requests import Target
from paymaster.providers.proxies import Proxy, ProxyTable
from paymaster.providers.sockets import LimitedSocket, connect, encrypt, has_arrived, trust
from paymaster.providers.transport import ExchangeBroken, HttpRequest

_READ_BYTES = 65_536
_AT_ONCE_MS = 10
"""A TLS connection may have something to read that is no byte of the answer."""


class BlockingConnection:
    """A socket as a `Connection`."""

    __slots__ = ("_send_error", "_socket")

    def __init__(self, sock: LimitedSocket) -> None:
        self._socket = sock
        self._send_error: OSError | None = None

    async def send(self, data: bytes, limit: TimeLimit) -> None:
        """Send everything."""
        self._socket.limit = limit
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            self._send_error = error  # a server may answer and close before it has read everything: "too large", "too many requests"

    async def receive(self, limit: TimeLimit) -> bytes:
        """The next bytes; empty at the end."""
        self._socket.limit = limit
        data = self._socket.recv(_READ_BYTES)
        if not data and self._send_error is not None:
            raise self._send_error
        return data

    def received(self) -> bytes:
        """What has come already."""
        if not has_arrived(self._socket.fileno()):
            return b""
        self._socket.limit = TimeLimit(_AT_ONCE_MS)
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""

    def is_reusable(self) -> bool:
        """Whether everything is sent."""
        return self._send_error is None

    def is_quiet(self) -> bool:
        """Whether nothing has come."""
        return not has_arrived(self._socket.fileno())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SyncTransport:
    """Connections by origin, for any number of threads; proxies are those of the environment."""

    def __init__(self) -> None:
        self._proxies = ProxyTable()
        self._tls: ssl.SSLContext | None = None
        self._pool: Pool[BlockingConnection] = Pool()
        self._http = Http1(self._connect, self._pool, self._through)

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> Http1Answer:
        """Send, and return when the head of the answer arrives."""
        return await self._http.post(request, connect_ms=connect_ms, wait_ms=wait_ms)

    async def close(self) -> None:
        """Close all idle connections."""
        self._pool.close()

    def _proxy(self, target: Target) -> Proxy | None:
        return self._proxies.proxy_for(target.scheme, target.host)

    def _through(self, target: Target) -> Mapping[str, str] | None:
        """A request for http:// is sent to the proxy; for https://, the proxy opens a tunnel and reads nothing."""
        proxy = None if target.secure else self._proxy(target)
        return None if proxy is None else proxy.headers

    async def _connect(self, target: Target, limit: TimeLimit) -> BlockingConnection:
        proxy = self._proxy(target)
        plain = connect(*((proxy.host, proxy.port) if proxy else (target.host, target.port)), limit)
        sock: LimitedSocket = plain
        try:
            if target.secure and proxy:
                _open_tunnel(plain, target, proxy)
            if target.secure:
                sock = encrypt(plain, target.host, self._trust(), limit)
        except BaseException:  # Ctrl-C as well: the socket is closed now, and not when it is collected
            sock.close()
            raise
        return BlockingConnection(sock)

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = trust()
        return self._tls


def _open_tunnel(sock: LimitedSocket, target: Target, proxy: Proxy) -> None:
    """Have the proxy connect to the target. Raises OSError."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    sock.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii"))
    reader = HeadReader()
    try:
        while (head := reader.feed(data := sock.recv(_READ_BYTES))) is None:
            if not data:
                raise OSError("Tunnel connection failed: the proxy ended the connection")
    except ExchangeBroken as broken:
        raise OSError(f"Tunnel connection failed: {broken.detail}") from broken
    if not 200 <= head.status < 300:
        raise OSError(f"Tunnel connection failed: {head.status}")
