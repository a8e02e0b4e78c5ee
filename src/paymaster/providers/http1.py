"""One request and its answer in HTTP/1.1 over a connection that is kept; knows neither sockets nor loops: see `Connection`.

A POST is sent once: whether the server had read it when the connection was lost can't be known, and it may have been billed. A GET that
finds its kept connection closed is sent again, once, over a new one.
"""

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from paymaster.forks import renew_in_children
from paymaster.providers.compression import inflate_for
from paymaster.providers.http1_answers import AnswerHead, Body, HeadReader
from paymaster.providers.http1_requests import Target, read_url, write_head
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest, plain_detail

KEEP_IDLE_S = 15.0
"""Connections idle for longer are not reused: many servers close theirs after 20 s to 75 s, just when a POST may be sent."""
KEEP_PER_ORIGIN = 256
_MOST_TARGETS = 512
_SENT_AT_ONCE_BYTES = 262_144
"""A head and a body of up to this size are joined, so that one system call sends them."""
Origin: TypeAlias = tuple[bool, str, int]


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


class Connection(Protocol):
    """A connection, encrypted or not. For a blocking caller, no method ever suspends. All raise OSError, TimeoutError at the limit."""

    async def send(self, data: bytes, limit: TimeLimit) -> None:
        """Send, or begin to: the server may answer before it has read everything."""
        ...

    async def receive(self, limit: TimeLimit) -> bytes:
        """The next bytes as soon as there are any; empty if the server ended the connection."""
        ...

    def received(self) -> bytes:
        """What has come already and was not received; does not wait."""
        ...

    def is_reusable(self) -> bool:
        """Whether everything is sent, and nothing more has been received."""
        ...

    def is_quiet(self) -> bool:
        """Whether nothing has come since: neither the end of the connection nor bytes that belong to no request."""
        ...

    def close(self) -> None:
        """Cut the connection. May be called twice."""
        ...


ConnectionT = TypeVar("ConnectionT", bound=Connection)


class _Idle(NamedTuple, Generic[ConnectionT]):
    """A connection, since when nobody uses it, and the body whose end may still come."""

    connection: ConnectionT
    since_s: float
    rest: Body | None


class Pool(Generic[ConnectionT]):
    """Idle connections by origin, for any number of threads. The one that was used last is taken first."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child, which shares the parent's connections: each would read answers to the other's requests."""
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[_Idle[ConnectionT]]] = {}

    def take(self, origin: Origin) -> ConnectionT | None:
        """A connection that the server has not closed, if there is one."""
        while True:
            with self._lock:
                kept = self._idle.get(origin)
                if not kept:
                    return None
                connection, since, rest = kept.pop()
            if time.monotonic() - since < KEEP_IDLE_S and _ends(rest, connection) and connection.is_reusable() and connection.is_quiet():
                return connection
            connection.close()

    def keep(self, origin: Origin, connection: ConnectionT, rest: Body | None = None) -> None:
        """Keep a connection for later, and close what is too much or too old. `rest` is a body of which only the end is to come."""
        now = time.monotonic()
        surplus = []
        with self._lock:
            kept = self._idle.setdefault(origin, [])
            kept.append(_Idle(connection, now, rest))
            while len(kept) > KEEP_PER_ORIGIN or now - kept[0].since_s >= KEEP_IDLE_S:
                surplus.append(kept.pop(0).connection)
        for each in surplus:
            each.close()

    def close_old(self) -> bool:
        """Close what is too old; whether any is left."""
        oldest = time.monotonic() - KEEP_IDLE_S
        with self._lock:
            old = [each.connection for kept in self._idle.values() for each in kept if each.since_s <= oldest]
            left = {origin: [each for each in kept if each.since_s > oldest] for origin, kept in self._idle.items()}
            self._idle = {origin: kept for origin, kept in left.items() if kept}
        for connection in old:
            connection.close()
        return bool(self._idle)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for kept in idle.values():
            for each in kept:
                each.connection.close()


class Http1Answer:
    """An answer whose connection is kept once its body has been read to its end."""

    __slots__ = ("_body", "_connection", "_expects_end", "_inflate", "_keep", "_keeps", "_rest", "headers", "status")

    def __init__(self, head: AnswerHead, connection: ConnectionT, keep: Callable[[ConnectionT, Body | None], None]) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self._body, self._rest, self._keeps = head.body, head.rest, head.keeps_connection
        self._inflate = inflate_for(head.headers["content-encoding"]) if "content-encoding" in head.headers else None
        self._connection: Connection | None = connection
        self._keep: Callable[[Body | None], None] = lambda rest: keep(connection, rest)
        self._expects_end = False

    async def read(self, wait_ms: int) -> bytes:
        """The next bytes; empty at the end."""
        try:
            return await self._read(TimeLimit(wait_ms))
        except ExchangeBroken:
            self._keeps = False
            raise

    async def _read(self, limit: TimeLimit) -> bytes:
        """The next bytes as they were before their compression."""
        inflate = self._inflate
        while True:
            if inflate is not None and inflate.has_more:
                data = inflate.feed(b"")
            else:
                data = await self._next(limit)
                if inflate is None:
                    return data
                if not data:
                    inflate.finish()
                    return b""
                data = inflate.feed(data)
            if data:
                return data

    async def _next(self, limit: TimeLimit) -> bytes:
        """The next bytes of the body, as they were sent; empty at its end."""
        body, connection = self._body, self._connection
        while not body.ended:
            if body.broken is not None:
                raise body.broken
            data, self._rest = self._rest, b""
            if not data:
                if connection is None:
                    raise ExchangeBroken(ExchangeFault.LOST, "the answer was closed")
                try:
                    data = await connection.receive(limit)
                except TimeoutError as error:
                    raise ExchangeBroken(ExchangeFault.SILENT, "") from error
                except OSError as error:
                    raise ExchangeBroken(ExchangeFault.LOST, plain_detail(error)) from error
                if not data:
                    body.finish()
                    self._keeps = False
                    continue
            if plain := body.feed(data):
                return plain
        return b""

    def expect_end(self) -> None:
        """Note that only the end of the body is left."""
        self._expects_end = True

    def close(self) -> None:
        """Keep the connection if it can be reused, else cut it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if not (self._keeps and self._has_nothing_left()):
            connection.close()
        elif not self._body.ended:
            self._keep(self._body)
        elif connection.is_reusable():
            self._keep(None)
        else:
            connection.close()

    def _has_nothing_left(self) -> bool:
        """Whether the body has ended, or only its end is to come."""
        body = self._body
        if body.ended:
            return not (body.has_surplus or self._rest)  # nobody reads what comes after a head without a body
        try:
            return self._expects_end and not (body.feed(self._rest) or body.has_surplus)
        except ExchangeBroken:
            return False


class Http1(Generic[ConnectionT]):
    """Sends requests over kept connections.

    `connect` opens one to a target. It raises OSError, UnicodeError for a name that is none, TimeoutError, ExchangeBroken. `via` has the
    headers for the proxy of a target whose requests are sent to that, not to the target itself.
    """

    def __init__(
        self,
        connect: Callable[[Target, TimeLimit], Awaitable[ConnectionT]],
        pool: Pool[ConnectionT],
        via: Callable[[Target], Mapping[str, str] | None] = lambda _: None,
    ) -> None:
        self._connect = connect
        self._pool = pool
        self._via = via
        self._targets: dict[str, Target] = {}

    def target_of(self, url: str) -> Target:
        """The target of a URL, read once. Raises ExchangeBroken."""
        target = self._targets.get(url)
        if target is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            target = self._targets[url] = read_url(url)
        return target

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> Http1Answer:
        """See `Transport`."""
        limit = TimeLimit(wait_ms)
        target = self.target_of(request.url)
        head = write_head(request, target, through=self._via(target))
        parts = (head + request.body,) if len(request.body) <= _SENT_AT_ONCE_BYTES else (head, request.body)
        connection = self._pool.take(target.origin)
        if connection is not None:
            try:
                return await self._exchange(connection, target, parts, limit)
            except ClosedUnanswered:
                if request.method != "GET":
                    raise
        connection = await self._opened(target, TimeLimit(min(connect_ms, wait_ms)))
        return await self._exchange(connection, target, parts, limit)

    async def _opened(self, target: Target, limit: TimeLimit) -> ConnectionT:
        try:
            return await self._connect(target, limit)
        except TimeoutError as error:
            raise ExchangeBroken(ExchangeFault.CONNECT_TIMEOUT, "") from error
        except (OSError, UnicodeError) as error:
            raise ExchangeBroken(ExchangeFault.REFUSED, plain_detail(error)) from error

    async def _exchange(self, connection: ConnectionT, target: Target, parts: tuple[bytes, ...], limit: TimeLimit) -> Http1Answer:
        """Send, and read the head of the answer."""
        reader, heard = HeadReader(), False
        try:
            for part in parts:
                await connection.send(part, limit)
            while True:
                received = await connection.receive(limit)
                if not received:
                    raise ConnectionResetError("the connection ended before the answer began")  # noqa: TRY301 - one of the ends below
                heard = True
                head = reader.feed(received)
                if head is not None:
                    return Http1Answer(head, connection, lambda kept, rest: self._pool.keep(target.origin, kept, rest))
        except BaseException as error:  # a cancellation, Ctrl-C: a connection in the middle of an answer must not be reused
            connection.close()
            if isinstance(error, TimeoutError):
                raise ExchangeBroken(ExchangeFault.SILENT, "") from error
            if isinstance(error, OSError):
                kind = ExchangeBroken if heard else ClosedUnanswered
                raise kind(ExchangeFault.LOST, plain_detail(error)) from error
            raise


def _ends(rest: Body | None, connection: Connection) -> bool:
    """Whether nothing was left of an answer, or its end and nothing else has come since."""
    if rest is None:
        return True
    try:
        more = rest.feed(connection.received())
    except ExchangeBroken:
        return False
    return rest.ended and not (more or rest.has_surplus)


class ClosedUnanswered(ExchangeBroken):
    """The connection was lost before anything came."""
