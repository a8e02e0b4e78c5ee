"""Connections to Redis in two ways of waiting, a thread's and a loop's; knows servers, sentinels and clusters, and no account."""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
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
from redis.exceptions import NoScriptError, RedisError, ResponseError

from paymaster.ledgers.redis.address import Address

Reply: TypeAlias = "bytes | int | list[Reply] | None"
Argument: TypeAlias = str | int | bytes

# A loop's calls share so many connections; the others wait for one. More would queue up in the server, which runs one script at a time.
CONNECTIONS = 16
# Threads have a connection each while they call, however many they are.
ANY_NUMBER = 2**31
# An idle server looks ten times a second whether a wait is over.
LATE_MS = 250
# A cluster's client follows so many redirections before it gives up.
REDIRECTIONS = 3


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script, and the digest by which a server that has seen it knows it."""

    text: str
    digest: str


def read_scripts() -> dict[str, Script]:
    """The scripts of the directory `lua` by their verb, each with the sheet they share before it."""
    folder = files("paymaster.ledgers.redis") / "lua"
    texts = {file.name.removesuffix(".lua"): file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".lua")}
    unit = texts.pop("sheet")
    return {verb: _script(f"{unit}\n{text}") for verb, text in texts.items()}


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class NotAcknowledged(RedisError):
    """The server took what was written, and it did not reach so many replicas, or the disk, in time."""


class Wire(Protocol):
    """One round trip each. Raises `FAULTS` as they come."""

    async def run(self, script: Script, key: str, arguments: Sequence[Argument], *, waits: bool = False) -> Reply:
        """Run a script; a server that does not know it yet is given it.

        With `waits` what it wrote must be acknowledged as the address asks, in the same round trip; otherwise NotAcknowledged is raised.
        """
        ...

    async def reset(self) -> None:
        """Give up the idle connections: the server behind the name may have changed."""
        ...

    async def close(self) -> None:
        """Give up all connections."""
        ...


class ThreadWire:
    """`Wire` for threads: nothing in it ever suspends. Connections are made when they are needed, and anew after a fork.

    It keeps its idle connections itself: the client's pool looks at a socket before each use, which takes a third of a call's time, and the
    ledger asks again anyway where one was dropped.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._waits = _waits(address)
        self._timeout_s = timeout_s + len(self._waits) * (address.wait_ms + LATE_MS) / 1_000
        self._client: redis.Redis | redis.RedisCluster | None = None
        self._sentinels: list[redis.Redis] = []
        self._idle: list[ConnectionInterface] = []
        self._process = os.getpid()

    async def run(self, script: Script, key: str, arguments: Sequence[Argument], *, waits: bool = False) -> Reply:
        """Run a script; see `Wire`."""
        wanted = self._waits if waits else ()
        try:
            return await self._send(("EVALSHA", script.digest, 1, key, *arguments), wanted)
        except NoScriptError:
            return await self._send(("EVAL", script.text, 1, key, *arguments), wanted)

    async def _send(self, command: "Sequence[Argument]", waits: "Sequence[Wait]") -> Reply:
        client = self._client or self._connect()
        reply: Reply
        if isinstance(client, redis.RedisCluster):
            reply = client.execute_command(*command)
            return reply
        connection = self._take(client)
        try:
            connection.connect()  # unless it is; behind a Sentinel this is where the master is asked for
            connection.send_packed_command(_pack(command, *(wait.command for wait in waits)))
            answers = [_read(connection) for _ in range(1 + len(waits))]
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._idle.append(connection)  # also one that is cut: the client counts what it has made, and makes no more than so many
        return _acknowledged(answers, waits)

    def _take(self, client: redis.Redis) -> ConnectionInterface:
        if self._process != os.getpid():
            self._process, self._idle = os.getpid(), []
        try:
            return self._idle.pop()
        except IndexError:
            return client.connection_pool.make_connection()

    def command(self, key: str, *words: str) -> "object":
        """Any command of one round trip, at the server that keeps `key`; answers what the client makes of it."""
        client = self._client or self._connect()
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
        """Give up all connections; another command makes new ones."""
        await self.reset()
        self._idle.clear()
        if self._client is not None:
            for client in (self._client, *self._sentinels):
                client.close()
            self._client = None

    def _connect(self) -> redis.Redis | redis.RedisCluster:
        address, options = self._address, _options(self._address, self._timeout_s)
        own = {**options, "max_connections": ANY_NUMBER}
        retry = redis.retry.Retry(NoBackoff(), 0)
        client: redis.Redis | redis.RedisCluster
        if address.kind == "cluster":
            nodes = [redis.cluster.ClusterNode(host, port) for host, port in address.hosts]
            redirect = redis.retry.Retry(NoBackoff(), REDIRECTIONS)
            client = redis.RedisCluster(startup_nodes=nodes, retry=redirect, ssl=address.tls, **options)
        elif address.kind == "sentinel":
            sentinel = redis.sentinel.Sentinel(
                address.hosts, sentinel_kwargs=_sentinel_options(address, self._timeout_s) | {"retry": retry}
            )
            client = sentinel.master_for(address.service, db=address.db, retry=retry, ssl=address.tls, **own)
            self._sentinels = sentinel.sentinels
        elif address.kind == "socket":
            client = redis.Redis(unix_socket_path=address.path, db=address.db, retry=retry, **own)
        else:
            host, port = address.hosts[0]
            client = redis.Redis(host=host, port=port, db=address.db, retry=retry, ssl=address.tls, **own)
        self._client = client
        return client


@dataclass(frozen=True, slots=True)
class _Loop:
    """What one event loop has open."""

    client: "redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster"
    sentinels: "list[redis.asyncio.Redis]"
    places: asyncio.Semaphore


class LoopWire:
    """`Wire` for tasks. Connections belong to the loop that made them, so each loop has its own."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._waits = _waits(address)
        self._timeout_s = timeout_s + len(self._waits) * (address.wait_ms + LATE_MS) / 1_000
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()

    async def run(self, script: Script, key: str, arguments: Sequence[Argument], *, waits: bool = False) -> Reply:
        """Run a script; see `Wire`."""
        wanted = self._waits if waits else ()
        try:
            return await self._send(("EVALSHA", script.digest, 1, key, *arguments), wanted)
        except NoScriptError:
            return await self._send(("EVAL", script.text, 1, key, *arguments), wanted)

    async def _send(self, command: "Sequence[Argument]", waits: "Sequence[Wait]") -> Reply:
        running = asyncio.get_running_loop()
        loop = self._loops.get(running)
        if loop is None:
            loop = self._loops[running] = self._connect()
        async with loop.places:
            if not waits or not isinstance(loop.client, redis.asyncio.Redis):
                reply: Reply = await loop.client.execute_command(*command)
                return reply
            pipeline = loop.client.pipeline(transaction=False)
            for each in (command, *(wait.command for wait in waits)):
                pipeline.execute_command(*each)
            return _acknowledged(await pipeline.execute(raise_on_error=False), waits)

    async def reset(self) -> None:
        """Give up the idle connections."""
        loop = self._loops.get(asyncio.get_running_loop())
        if loop is not None and isinstance(loop.client, redis.asyncio.Redis):
            await loop.client.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Give up this loop's connections; those of a loop that is gone went with it."""
        loop = self._loops.pop(asyncio.get_running_loop(), None)
        if loop is not None:
            for client in (loop.client, *loop.sentinels):
                await client.aclose()

    def _connect(self) -> _Loop:
        address, options = self._address, _options(self._address, self._timeout_s)
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        sentinels: list[redis.asyncio.Redis] = []
        client: redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster
        if address.kind == "cluster":
            nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in address.hosts]
            redirect = redis.asyncio.retry.Retry(NoBackoff(), REDIRECTIONS)
            client = redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, retry=redirect, ssl=address.tls, **options)
        elif address.kind == "sentinel":
            asked = _sentinel_options(address, self._timeout_s) | {"retry": retry}
            sentinel = redis.asyncio.sentinel.Sentinel(address.hosts, sentinel_kwargs=asked)
            client = sentinel.master_for(address.service, db=address.db, retry=retry, ssl=address.tls, **options)
            sentinels = sentinel.sentinels
        elif address.kind == "socket":
            client = redis.asyncio.Redis(unix_socket_path=address.path, db=address.db, retry=retry, **options)
        else:
            host, port = address.hosts[0]
            client = redis.asyncio.Redis(host=host, port=port, db=address.db, retry=retry, ssl=address.tls, **options)
        return _Loop(client, sentinels, asyncio.Semaphore(CONNECTIONS))


@dataclass(frozen=True, slots=True)
class Wait:
    """A command that waits until what its connection wrote is as safe as it says: its answer's first figure is at least `least`."""

    command: tuple[str | int, ...]
    least: int
    missing: str


def _waits(address: Address) -> tuple[Wait, ...]:
    """What an address wants to be acknowledged."""
    wanted: list[Wait] = []
    if address.wait_replicas:
        missing = f"{{found}} of {address.wait_replicas} replicas had it after {address.wait_ms} ms"
        wanted.append(Wait(("WAIT", address.wait_replicas, address.wait_ms), address.wait_replicas, missing))
    if address.wait_aof:
        wanted.append(Wait(("WAITAOF", 1, 0, address.wait_ms), 1, f"it was not on the server's disk after {address.wait_ms} ms"))
    return tuple(wanted)


def _read(connection: ConnectionInterface) -> "Reply | ResponseError":
    """The next answer; one that is an error is an answer too, so that those behind it are read."""
    try:
        reply: Reply = connection.read_response()
    except ResponseError as error:
        return error
    return reply


def _acknowledged(answers: "Sequence[Reply | Exception]", waits: Sequence[Wait]) -> Reply:
    """The script's answer, if what it wrote is as safe as it must be. Raises ResponseError and NotAcknowledged."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    reply, *told = (answer for answer in answers if not isinstance(answer, Exception))
    for answer, wait in zip(told, waits, strict=True):
        found = answer[0] if isinstance(answer, list) else answer
        if not isinstance(found, int) or found < wait.least:
            raise NotAcknowledged(wait.missing.format(found=found))
    return reply


def _pack(*commands: Sequence[Argument]) -> list[bytes]:
    """Commands as they are sent."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            text = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return [b"".join(parts)]


def _options(address: Address, timeout_s: float) -> dict[str, Any]:
    """What every kind of connection is told. The library's own retries are off: the ledger knows what may be repeated."""
    options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "protocol": 2}
    if address.user is not None:
        options["username"] = address.user
    if address.password is not None:
        options["password"] = address.password
    if address.tls and address.ca_file is not None:
        options["ssl_ca_certs"] = address.ca_file
    return options


def _sentinel_options(address: Address, timeout_s: float) -> dict[str, Any]:
    options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "protocol": 2}
    if address.sentinel_user is not None:
        options["username"] = address.sentinel_user
    if address.sentinel_password is not None:
        options["password"] = address.sentinel_password
    if address.tls:
        options |= {"ssl": True} | ({"ssl_ca_certs": address.ca_file} if address.ca_file else {})
    return options
