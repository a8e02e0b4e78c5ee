"""Connections to Redis in two ways of waiting, a thread's and a loop's; knows servers, sentinels and clusters, no script and no account."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff
from redis.connection import ConnectionInterface
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import ResponseError

from paymaster.ledgers.redis.address import Address

Reply: TypeAlias = "bytes | int | list[Reply] | None"
Argument: TypeAlias = str | int | bytes
Command: TypeAlias = Sequence[Argument]

# A loop's calls share so many connections; the others wait for one. More would queue up in the server, which runs one script at a time.
CONNECTIONS = 16
# Threads have a connection each while they call, however many they are.
ANY_NUMBER = 2**31
# What uvloop's bare RuntimeError says of a connection that was closed while it was idle.
_CLOSED_BY_UVLOOP = "handler is closed"
# A cluster's client follows so many redirections before it gives up.
REDIRECTIONS = 3


class Connections(Protocol):
    """Round trips to one address. Raises `FAULTS` as they come."""

    async def send(self, commands: Sequence[Command]) -> "Sequence[Reply | Exception]":
        """Send the commands together, on one connection; the answer to each, an error as a value. A cluster takes one command."""
        ...

    async def reset(self) -> None:
        """Close the idle connections: the server behind the name may have changed."""
        ...

    async def close(self) -> None:
        """Close all connections; another command makes new ones."""
        ...


class ThreadConnections:
    """`Connections` for threads: nothing in it ever suspends. They are made when they are needed, and anew after a fork.

    It keeps its idle connections itself. The library's pool looks at a socket before each use, which nearly doubles the CPU of a round trip
    (docs/design/ledgers.md), and the ledger asks again anyway if a connection was dropped.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._client: redis.Redis | redis.RedisCluster | None = None
        self._sentinels: Sequence[redis.Redis] = ()
        self._idle: list[ConnectionInterface] = []
        self._process = os.getpid()

    async def send(self, commands: Sequence[Command]) -> "Sequence[Reply | Exception]":
        """Send the commands together; see `Connections`."""
        client = self._client or self._open()
        if isinstance(client, redis.RedisCluster):
            return [client.execute_command(*command) for command in commands]
        connection = self._take(client)
        try:
            connection.connect()  # unless it is connected; behind a Sentinel, this step asks for the master
            connection.send_packed_command(_pack(commands))
            return [_read(connection) for _ in commands]
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._idle.append(connection)  # even one that is cut: the client counts what it has made, and makes only so many

    def _take(self, client: redis.Redis) -> ConnectionInterface:
        if self._process != os.getpid():
            self._process, self._idle = os.getpid(), []
        try:
            return self._idle.pop()
        except IndexError:
            return client.connection_pool.make_connection()

    def command(self, key: str, *words: str) -> "object":
        """Any command of one round trip, at the server that keeps `key`; answers what the client makes of it."""
        client = self._client or self._open()
        if isinstance(client, redis.RedisCluster):
            return client.execute_command(*words, target_nodes=client.get_node_from_key(key))
        return client.execute_command(*words)

    async def reset(self) -> None:
        """Cut the idle connections; they connect again when they are used."""
        taken = []
        while self._idle:
            with suppress(IndexError):
                taken.append(self._idle.pop())
        for connection in taken:
            connection.disconnect()
        self._idle += taken

    async def close(self) -> None:
        """Close all connections."""
        await self.reset()
        self._idle.clear()
        if self._client is not None:
            for client in (self._client, *self._sentinels):
                client.close()
            self._client = None

    def _open(self) -> redis.Redis | redis.RedisCluster:
        client: redis.Redis | redis.RedisCluster
        client, self._sentinels = _open_client(redis, self._address, self._timeout_s, ANY_NUMBER)
        self._client = client
        return client


@dataclass(frozen=True, slots=True)
class _LoopClient:
    """What one event loop has open."""

    client: "redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster"
    sentinels: "Sequence[redis.asyncio.Redis]"
    free: asyncio.Semaphore


class LoopConnections:
    """`Connections` for tasks. They belong to the loop that made them, so each loop has its own."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient] = WeakKeyDictionary()

    async def send(self, commands: Sequence[Command]) -> "Sequence[Reply | Exception]":
        """Send the commands together; see `Connections`."""
        running = asyncio.get_running_loop()
        loop = self._loops.get(running)
        if loop is None:
            client, sentinels = _open_client(redis.asyncio, self._address, self._timeout_s, None)
            loop = self._loops[running] = _LoopClient(client, sentinels, asyncio.Semaphore(CONNECTIONS))
        async with loop.free:
            try:
                return await _send(loop.client, commands)
            except RuntimeError as error:
                if _CLOSED_BY_UVLOOP not in str(error):
                    raise
                # Its pool may give the same connection again.
                if self._loops.get(running) is loop:
                    del self._loops[running]
                raise NotConnected(f"a connection was closed: {error}") from error

    async def reset(self) -> None:
        """Close the idle connections."""
        loop = self._loops.get(asyncio.get_running_loop())
        if loop is not None and isinstance(loop.client, redis.asyncio.Redis):
            await loop.client.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Close this loop's connections; those of a loop that has ended were dropped with it."""
        loop = self._loops.pop(asyncio.get_running_loop(), None)
        if loop is not None:
            for client in (loop.client, *loop.sentinels):
                await client.aclose()


async def _send(
    client: "redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster", commands: Sequence[Command]
) -> "list[Reply | Exception]":
    if len(commands) == 1 or not isinstance(client, redis.asyncio.Redis):
        return [await client.execute_command(*command) for command in commands]
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Reply | Exception] = await pipeline.execute(raise_on_error=False)
    return answers


def _open_client(library: ModuleType, address: Address, timeout_s: float, max_connections: int | None) -> tuple[Any, Sequence[Any]]:
    """A client of `library`, `redis` or `redis.asyncio`, and the Sentinels' clients that it uses; it connects when it is first used.

    The library's own retries are off: the ledger knows what may be repeated.
    """
    retry = library.retry.Retry(NoBackoff(), 0)
    options = _options(address, timeout_s, address.user, address.password)
    if address.kind == "cluster":
        nodes = [library.cluster.ClusterNode(host, port) for host, port in address.hosts]
        redirect = library.retry.Retry(NoBackoff(), REDIRECTIONS)
        return library.cluster.RedisCluster(startup_nodes=nodes, retry=redirect, ssl=address.tls, **options), ()
    options |= {"db": address.db, "retry": retry}
    if max_connections is not None:
        options["max_connections"] = max_connections
    if address.kind == "sentinel":
        sentinel_options = _options(address, timeout_s, address.sentinel_user, address.sentinel_password)
        sentinel_options |= {"retry": retry} | ({"ssl": True} if address.tls else {})
        sentinel = library.sentinel.Sentinel(address.hosts, sentinel_kwargs=sentinel_options)
        return sentinel.master_for(address.service, ssl=address.tls, **options), sentinel.sentinels
    if address.kind == "socket":
        return library.Redis(unix_socket_path=address.path, **options), ()
    host, port = address.hosts[0]
    return library.Redis(host=host, port=port, ssl=address.tls, **options), ()


def _options(address: Address, timeout_s: float, user: str | None, password: str | None) -> dict[str, Any]:
    """What every connection to a server or a Sentinel is made with."""
    options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "protocol": 2}
    if user is not None:
        options["username"] = user
    if password is not None:
        options["password"] = password
    if address.tls and address.ca_file is not None:
        options["ssl_ca_certs"] = address.ca_file
    return options


def _pack(commands: Sequence[Command]) -> list[bytes]:
    """Commands as they are sent."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            text = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return [b"".join(parts)]


def _read(connection: ConnectionInterface) -> "Reply | ResponseError":
    """The next answer; one that is an error is an answer too, so that those behind it are read."""
    try:
        reply: Reply = connection.read_response()
    except ResponseError as error:
        return error
    return reply
