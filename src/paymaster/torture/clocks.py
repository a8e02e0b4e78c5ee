"""Runtimes whose wall clock is off and may jump; knows no worker and no plan."""

from paymaster.runtime import AsyncioRuntime, BlockingRuntime, SteadyClock


class SkewedClock(SteadyClock):
    """A steady clock that is `offset_ms` off. The offset may be changed at any time: the clock then jumps."""

    def __init__(self, offset_ms: int) -> None:
        super().__init__()
        self.offset_ms = offset_ms

    def now_ns(self) -> int:
        """Nanoseconds since 1970 by this clock."""
        return super().now_ns() + self.offset_ms * 1_000_000


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
