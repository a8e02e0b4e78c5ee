"""The addresses of hosts, looked up once for all that wait, and kept for seconds; for one event loop."""

import asyncio
import socket
import time

from paymaster.providers.sockets import Address, addresses_at_once

_KEEP_S = 10.0
"""A burst of new connections is one look-up, and a host that moves is followed soon."""


class NameCache:
    """Looks up names. Each use begins with another address, so that the connections are spread."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], tuple[asyncio.Task[list[Address]], float]] = {}

    async def look_up(self, host: str, port: int) -> list[Address]:
        """The addresses of a host. Raises OSError, UnicodeError for a name that is none."""
        if at_once := addresses_at_once(host, port):
            return at_once
        found, since = self._found.get((host, port), (None, 0.0))
        if found is None or (found.done() and time.monotonic() - since > _KEEP_S):
            found = asyncio.ensure_future(_addresses(host, port))
            self._found[host, port] = (found, time.monotonic())
            found.add_done_callback(lambda done: self._forget_failed(host, port, done))
        # A call that is cancelled leaves the look-up to the others.
        addresses = await asyncio.shield(found)
        addresses.append(addresses.pop(0))
        return list(addresses)

    def _forget_failed(self, host: str, port: int, done: "asyncio.Task[list[Address]]") -> None:
        if done.cancelled() or done.exception() is not None:
            self._found.pop((host, port), None)


async def _addresses(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    return list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
