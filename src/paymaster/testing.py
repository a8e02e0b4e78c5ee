"""A clock you hold and a runtime that obeys it, for tests of anything that takes a `Runtime`; knows no real time and waits for none."""

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class ManualRuntime:
    """`Runtime` whose time moves only when it is told to, or when somebody sleeps: sleeping is instant and moves it on.

    `slept_ms` lists every sleep; `jitter` is always the number given. Ids count up and sort by time.
    """

    def __init__(self, now_ms: int = 1_000_000, *, jitter: float = 0.5) -> None:
        self.slept_ms: list[int] = []
        self._now_ms = now_ms
        self._jitter = jitter
        self._ids = 0

    def now_ms(self) -> int:
        """The time it was set to."""
        return self._now_ms

    def advance(self, duration_ms: int) -> None:
        """Move the time; a negative duration moves it back, as a clock that is set does."""
        self._now_ms += duration_ms

    def new_id(self) -> str:
        """The next id."""
        self._ids += 1
        return f"{self._now_ms:012x}{self._ids:020x}"

    def jitter(self) -> float:
        """The number given."""
        return self._jitter

    async def sleep(self, duration_ms: int) -> None:
        """Move the time on at once."""
        self.slept_ms.append(duration_ms)
        self._now_ms += duration_ms

    def signal(self) -> "ManualSignal":
        """A bell whose timeout passes at once."""
        return ManualSignal(self)

    async def finish(self, work: Awaitable[T]) -> T:
        """Run the work."""
        return await work


class ManualSignal:
    """`Signal` over a clock that is held: waiting for a silent bell moves the time to the end of the wait."""

    def __init__(self, runtime: ManualRuntime) -> None:
        self._runtime = runtime
        self._rang = False

    def wake(self) -> None:
        """Ring."""
        self._rang = True

    async def wait(self, timeout_ms: int) -> bool:
        """True if it rang before; otherwise the time passes."""
        rang, self._rang = self._rang, False
        if not rang:
            await self._runtime.sleep(timeout_ms)
        return rang
