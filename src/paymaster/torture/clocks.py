"""Runtimes whose wall clock is off, may jump and may run fast; knows no worker and no plan."""

from paymaster.runtime import AsyncioRuntime, BlockingRuntime, SteadyClock


class SkewedClock(SteadyClock):
    """A steady clock that is `offset_ms` off and runs at `speed_percent`. The offset may be changed at any time: the clock then jumps."""

    def __init__(self, offset_ms: int, speed_percent: int = 100) -> None:
        super().__init__()
        self.offset_ms = offset_ms
        self._speed_percent = speed_percent
        self._began_ns = super().now_ns()

    def now_ns(self) -> int:
        """Nanoseconds since 1970 by this clock."""
        elapsed_ns = super().now_ns() - self._began_ns
        return self._began_ns + elapsed_ns * self._speed_percent // 100 + self.offset_ms * 1_000_000


class SkewedBlockingRuntime(BlockingRuntime):
    """The runtime of a thread that uses a skewed clock."""

    def __init__(self, clock: SkewedClock) -> None:
        super().__init__()
        self._clock = clock


class SkewedAsyncioRuntime(AsyncioRuntime):
    """The runtime of tasks that use a skewed clock."""

    def __init__(self, clock: SkewedClock) -> None:
        super().__init__()
        self._clock = clock
