"""An event loop whose time passes at once while everybody waits, and a `Runtime` on it: hours of many callers in a moment."""

from __future__ import annotations

import asyncio
import itertools
import random
import selectors
from typing import TYPE_CHECKING, TypeVar

from paymaster.runtime import TaskSignal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

T = TypeVar("T")


class _Passing(selectors.SelectSelector):
    """Waits for nothing: the time of the wait has passed."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass."""
        self.passed_s += timeout or 0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self.passing = _Passing()
        super().__init__(self.passing)

    def time(self) -> float:
        """The time that has passed."""
        return self.passing.passed_s


class VirtualRuntime:
    """`Runtime` on a `VirtualLoop`; one for each process that a test plays. `seed` is of its jitter."""

    def __init__(self, loop: VirtualLoop, seed: int = 0) -> None:
        self._loop = loop
        self._random = random.Random(seed)
        self._ids = itertools.count()
        self._seed = seed

    def now_ms(self) -> int:
        """The loop's time."""
        return 1_000_000 + round(self._loop.time() * 1000)

    def new_id(self) -> str:
        """The next id."""
        return f"{self.now_ms():012x}{self._seed:04x}{next(self._ids):016x}"

    def jitter(self) -> float:
        """The next number."""
        return self._random.random()

    async def sleep(self, duration_ms: int) -> None:
        """Let the others run meanwhile."""
        await asyncio.sleep(duration_ms / 1000)

    def signal(self) -> TaskSignal:
        """A signal of this loop."""
        return TaskSignal(self._loop)

    async def finish(self, work: Awaitable[T]) -> T:
        """Run the work; no test cancels it."""
        return await work


def run_virtual(work: Coroutine[None, None, T], loop: VirtualLoop) -> T:
    """Run to the end, and close the loop."""
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
