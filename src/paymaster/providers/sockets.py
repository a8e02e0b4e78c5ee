"""Blocking sockets with one time limit over everything they do, from the look-up of a name to the last byte; knows no HTTP but a tunnel's.

A timeout of the standard library limits each read by itself: a server that sends a byte now and then is waited for without end.
"""

import http.client
import queue
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from paymaster.providers.proxies import Proxy

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_Address: TypeAlias = tuple[int, int, int, tuple[object, ...]]


class TimeLimit:
    """The moment by which everything has to be done."""

    __slots__ = ("_ends_at_s",)

    def __init__(self, duration_ms: int) -> None:
        self._ends_at_s = time.monotonic() + duration_ms / 1_000

    def left_s(self) -> float:
        """What is left of it, more than 0. Raises TimeoutError if nothing is."""
        left_s = self._ends_at_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return left_s


class _Plain(socket.socket):
    """A TCP connection. `limit` holds for every operation until it is set anew."""

    limit: TimeLimit = TimeLimit(0)

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(self.limit.left_s())
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        self.settimeout(self.limit.left_s())  # the timeout of a plain `sendall` is for all of it
        super().sendall(data, flags)


class _Encrypted(ssl.SSLSocket):
    """The same over TLS."""

    limit: TimeLimit = TimeLimit(0)

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(self.limit.left_s())
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        self.settimeout(self.limit.left_s())  # `sendall` sends in parts, each with the whole timeout
        return super().send(data, flags)


LimitedSocket: TypeAlias = _Plain | _Encrypted


def trust() -> ssl.SSLContext:
    """The system's certificates, for sockets of this module."""
    context = ssl.create_default_context()
    context.sslsocket_class = _Encrypted
    return context


def connect(host: str, port: int, limit: TimeLimit) -> _Plain:
    """Connect to the first address that answers; each gets its share of the time. Raises OSError, UnicodeError for a name that is none."""
    failed: OSError | None = None
    addresses = _look_up(host, port, limit)
    for others, (family, kind, protocol, address) in zip(reversed(range(len(addresses))), addresses, strict=True):
        sock = _Plain(family, kind, protocol)
        try:
            sock.settimeout(limit.left_s() / (others + 1))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failed = error
        else:
            sock.limit = limit
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise failed or OSError(f"no address of {host}")


def open_tunnel(sock: _Plain, host: str, port: int, proxy: Proxy) -> None:
    """Have the proxy connect to the host. Raises OSError, HTTPException."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *(f"{name}: {value}" for name, value in proxy.headers.items())]
    sock.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii"))
    response = http.client.HTTPResponse(sock, method="CONNECT")
    response.begin()
    if not 200 <= response.status < 300:
        raise OSError(f"Tunnel connection failed: {response.status} {response.reason}".rstrip())


def encrypt(sock: _Plain, host: str, context: ssl.SSLContext, limit: TimeLimit) -> _Encrypted:
    """The same connection over TLS. Raises OSError."""
    sock.settimeout(limit.left_s())  # a handshake's timeout is for all of it
    encrypted = context.wrap_socket(sock, server_hostname=host)
    assert isinstance(encrypted, _Encrypted)  # noqa: S101  `trust` sets the class
    encrypted.limit = limit
    return encrypted


def _look_up(host: str, port: int, limit: TimeLimit) -> list[_Address]:
    """The addresses of a host. The system's look-up takes no time limit, so a thread waits for it; a numeric address needs none."""
    with suppress(OSError, UnicodeError):
        return _found(host, port, socket.AI_NUMERICHOST)
    answers: queue.SimpleQueue[list[_Address] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_found(host, port, 0))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    try:
        threading.Thread(target=look_up, name="paymaster-name-look-up", daemon=True).start()
    except RuntimeError:  # the interpreter is ending, or the system has no thread left
        look_up()
    try:
        answer = answers.get(timeout=limit.left_s())
    except queue.Empty as error:
        raise TimeoutError("timed out") from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def _found(host: str, port: int, flags: int) -> list[_Address]:
    return [
        (family, kind, protocol, address)
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    ]
