"""One reading of the ledger's status for all who look at a gateway at the same time; knows the ledger's port, and no page and no metric."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from paymaster.flow.lookup import identified
from paymaster.flow.ports import Runtime, World
from paymaster.views.ledger_status import LedgerStatus, StatusBuilder
from paymaster.views.status_reading import read_status
from paymaster.views.visibility import Reader

MOST_BUDGETS = 12
"""So many budgets fit on a page; the metrics need none by name."""
# A reading of so many accounts is shown again for this many times as long as it took: so reading is a small part of the gateway's work.
MANY_ACCOUNTS, KEPT_FACTOR = 5_000, 10


@dataclass(frozen=True, slots=True)
class StatusAt:
    """A status, and when it was read, in milliseconds since 1970."""

    status: LedgerStatus
    at_ms: int


class _Round:
    """One reading of the ledger for several readers; others may join until it has begun."""

    def __init__(self, reader: Reader) -> None:
        self.readers = {reader: None}
        self.has_begun = False
        self.task: asyncio.Task[dict[Reader, StatusAt]] | None = None


class StatusReadings:
    """Reads the status for one reader or several, each by what it may see. `world` answers the world now, as registries change.

    There is one reading at a time. A reader who asks meanwhile shares it, or, if it is for others only, the next one.
    """

    def __init__(self, world: Callable[[], World], runtime: Runtime) -> None:
        self._world = world
        self._runtime = runtime
        self._last: _Round | None = None
        self._kept: dict[Reader, tuple[int, StatusAt]] = {}

    async def status(self, reader: Reader) -> StatusAt:
        """What the reader may see. Raises LedgerUnavailable."""
        now_ms = self._runtime.now_ms()
        self._kept = {each: kept for each, kept in self._kept.items() if now_ms < kept[0]}
        if (kept := self._kept.get(reader)) is not None:
            return kept[1]
        # A caller may be gone before the answer: the others get it all the same.
        return (await asyncio.shield(self._join(reader)))[reader]

    def _join(self, reader: Reader) -> "asyncio.Task[dict[Reader, StatusAt]]":
        last = self._last
        before = None if last is None or last.task is None or last.task.done() else last.task
        if last is not None and before is not None and (not last.has_begun or reader in last.readers):
            last.readers[reader] = None
            return before
        joined = self._last = _Round(reader)
        joined.task = asyncio.get_running_loop().create_task(self._read(joined, before))
        return joined.task

    async def _read(self, joined: _Round, before: "asyncio.Task[dict[Reader, StatusAt]] | None") -> dict[Reader, StatusAt]:
        if before is not None:
            await asyncio.wait([before])
        joined.has_begun = True
        world, began_ms = await identified(self._world()), self._runtime.now_ms()
        builders = [StatusBuilder(world.registry, most=MOST_BUDGETS, sees=each.sees, owns=each.owns) for each in joined.readers]
        found = await read_status(world.books, began_ms, builders, give_way=partial(asyncio.sleep, 0))
        read = {reader: StatusAt(status, began_ms) for reader, status in zip(joined.readers, found, strict=True)}
        took_ms = self._runtime.now_ms() - began_ms
        if builders[0].accounts >= MANY_ACCOUNTS:
            self._kept.update((reader, (began_ms + KEPT_FACTOR * took_ms, status)) for reader, status in read.items())
        return read
