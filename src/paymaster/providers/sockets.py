"""Blocking sockets with one time limit over everything they do, from the look-up of a name to the last byte; knows no HTTP.

A timeout of the standard library limits each read by itself: a server that sends a byte now and then is waited for without end.
"""

import queue
import select
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from paymaster.providers.http1 import TimeLimit

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Address: TypeAlias = tuple[int, int, int, str, tuple[object, ...]]


class _Plain(socket.socket):
    """A TCP connection. `limit` holds for every operation until it is set anew."""

    limit: TimeLimit = TimeLimit(0)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        self.settimeout(self.limit.left_s())
        return super().recv(bufsize, flags)

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        self.settimeout(self.limit.left_s())  # the timeout of a plain `sendall` is for all of it
        super().sendall(data, flags)


class _Encrypted(ssl.SSLSocket):
    """The same over TLS."""

    limit: TimeLimit = TimeLimit(0)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        self.settimeout(self.limit.left_s())
        return super().recv(buflen, flags)

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
    for others, (family, kind, protocol, _, address) in zip(reversed(range(len(addresses))), addresses, strict=True):
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


def encrypt(sock: _Plain, host: str, context: ssl.SSLContext, limit: TimeLimit) -> _Encrypted:
    """The same connection over TLS. Raises OSError."""
    sock.settimeout(limit.left_s())  # a handshake's timeout is for all of it
    encrypted = context.wrap_socket(sock, server_hostname=host)
    assert isinstance(encrypted, _Encrypted)  # noqa: S101  `trust` sets the class
    encrypted.limit = limit
    return encrypted


def has_arrived(descriptor: int) -> bool:
    """Whether there is something to read: bytes, or the end of the connection."""
    if descriptor < 0:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])


def addresses_at_once(host: str, port: int) -> list[Address]:
    """The address of a host that is one itself; empty for a name, which has to be looked up."""
    with suppress(OSError, UnicodeError):
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    return []


def _look_up(host: str, port: int, limit: TimeLimit) -> list[Address]:
    """The addresses of a host. The system's look-up takes no time limit, so a thread waits for it; a numeric address needs none."""
    if found := addresses_at_once(host, port):
        return found
    answers: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
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
