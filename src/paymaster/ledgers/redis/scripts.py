"""The Lua scripts by their verb, and how one is run in one round trip; knows neither what they do nor how a connection is made."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import orjson
from redis.exceptions import NoScriptError, RedisError

from paymaster.ledgers.redis.address import Address
from paymaster.ledgers.redis.connections import Command, Connections, LoopConnections, Reply, ThreadConnections
from paymaster.ledgers.redis.messages import ScriptRequest

# Verbs that need a ledger and make it; and those that work whatever ledger it is.
MAKES = frozenset({"post", "reserve", "set_retire_days", "settle"})
ABOUT_NO_LEDGER = frozenset({"import", "server"})
# What is acknowledged as the address asks. What frees a hold is not: lost in a failover, it counts too much rather than too little. Nor is
# the renewal of leases, for the same reason, and the making of a ledger: one that is lost before it is written to is missed.
WAITED_FOR = frozenset({"drop", "import", "migrate", "post", "reserve", "set_retire_days", "settle", "sweep"})
# The shared file that every script begins with, and the line in which a script names the others that it needs.
FIRST = "unit_of_work"
_NEEDS = re.compile(r"^-- Needs: (.+)\.$", re.MULTILINE)
# An idle server looks ten times a second whether a wait is over.
LATE_MS = 250


@dataclass(frozen=True, slots=True)
class LuaScript:
    """One script, and the digest by which a server that has it knows it."""

    text: str
    digest: str


def read_scripts() -> dict[str, LuaScript]:
    """The scripts of the directory `lua` by their verb, each behind the shared files that it needs."""
    folder = files("paymaster.ledgers.redis") / "lua"
    shared = _read_folder(folder / "shared")
    scripts: dict[str, LuaScript] = {}
    for verb, text in _read_folder(folder).items():
        found = _NEEDS.search(text)
        needed = [FIRST, *found[1].split(", ")] if found else [FIRST]
        scripts[verb] = _script("\n".join([*(shared[name] for name in needed), text]))
    return scripts


def _read_folder(folder: Traversable) -> dict[str, str]:
    return {file.name.removesuffix(".lua"): file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".lua")}


def _script(text: str) -> LuaScript:
    return LuaScript(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class NotAcknowledged(RedisError):
    """The server took what was written, but it did not reach so many replicas, or the disk, in time."""


@dataclass(frozen=True, slots=True)
class _Wait:
    """A command that waits until what its connection wrote is safe. The first figure of its answer is `least` or more if it is.

    `missing` is the message otherwise; `{found}` in it stands for the figure.
    """

    command: Command
    least: int
    missing: str

    def check(self, answer: Reply) -> None:
        """Raise NotAcknowledged if what was written is not safe."""
        found = answer[0] if isinstance(answer, list) else answer
        if not isinstance(found, int) or found < self.least:
            raise NotAcknowledged(self.missing.format(found=found))


class ScriptRunner:
    """Runs the scripts of the ledger at `address`, for threads (`blocking`) or for tasks of event loops."""

    def __init__(self, address: Address, timeout_s: float, *, blocking: bool) -> None:
        self.scripts = read_scripts()
        self._keys = (address.state_key, address.absent_key)
        self._waits = _waits(address)
        timeout_s += len(self._waits) * (address.wait_ms + LATE_MS) / 1_000
        self.connections: Connections = ThreadConnections(address, timeout_s) if blocking else LoopConnections(address, timeout_s)

    async def run(self, verb: str, request: ScriptRequest, *, waits: bool = False) -> Reply:
        """Run a script; a server that does not have it yet is sent it. Raises `FAULTS` as they come.

        With `waits`, what it wrote must be acknowledged as the address asks, in the same round trip; otherwise NotAcknowledged is raised.
        """
        script, packed = self.scripts[verb], orjson.dumps(request)
        needed = self._waits if waits else ()
        try:
            return await self._send(("EVALSHA", script.digest, len(self._keys), *self._keys, packed), needed)
        except NoScriptError:
            return await self._send(("EVAL", script.text, len(self._keys), *self._keys, packed), needed)

    async def _send(self, command: Command, waits: Sequence[_Wait]) -> Reply:
        reply, *acknowledged = map(_raised, await self.connections.send([command, *(wait.command for wait in waits)]))
        for wait, answer in zip(waits, acknowledged, strict=True):
            wait.check(answer)
        return reply


def _raised(answer: "Reply | Exception") -> Reply:
    """The answer, unless it is an error, which is raised."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def _waits(address: Address) -> tuple[_Wait, ...]:
    """What the address asks to be acknowledged."""
    waits: list[_Wait] = []
    if address.wait_replicas:
        missing = f"{{found}} of {address.wait_replicas} replicas had it after {address.wait_ms} ms"
        waits.append(_Wait(("WAIT", address.wait_replicas, address.wait_ms), address.wait_replicas, missing))
    if address.wait_aof:
        waits.append(_Wait(("WAITAOF", 1, 0, address.wait_ms), 1, f"it was not on the server's disk after {address.wait_ms} ms"))
    return tuple(waits)
