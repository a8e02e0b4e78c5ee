"""A `Runtime` for tests whose clock you control; knows no real time and never waits."""

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class ManualRuntime:
    """`Runtime` whose time moves only with `advance` and with sleeps, which return at once.

    `slept_ms` lists every sleep; `jitter` is always the given number. Ids count up and sort by time.
    """

    def __init__(self, now_ms: int = 1_000_000, *, jitter: float = 0.5) -> None:
        self.slept_ms: list[int] = []
        self._now_ms = now_ms
        self._jitter = jitter
        self._ids = 0

    def now_ms(self) -> int:
        """The current time."""
        return self._now_ms

    def advance(self, duration_ms: int) -> None:
        """Move the time; a negative duration moves it back, as setting a clock does."""
        self._now_ms += duration_ms

    def new_id(self) -> str:
        """The next id."""
        self._ids += 1
        return f"{self._now_ms:012x}{self._ids:020x}"

    def jitter(self) -> float:
        """The given number."""
        return self._jitter

    async def sleep(self, duration_ms: int) -> None:
        """Move the time and return at once."""
        self.slept_ms.append(duration_ms)
        self._now_ms += duration_ms

    def signal(self) -> "ManualSignal":
        """A signal whose wait returns at once."""
        return ManualSignal(self)

    async def finish(self, work: Awaitable[T]) -> T:
        """Run the work."""
        return await work


class ManualSignal:
    """`Signal` of a ManualRuntime: waiting for it moves the time to the end of the wait, unless it was woken."""

    def __init__(self, runtime: ManualRuntime) -> None:
        self._runtime = runtime
        self._woken = False

    def wake(self) -> None:
        """Wake the waiter."""
        self._woken = True

    async def wait(self, timeout_ms: int) -> bool:
        """True if it was woken before; otherwise the time passes."""
        woken, self._woken = self._woken, False
        if not woken:
            await self._runtime.sleep(timeout_ms)
        return woken
