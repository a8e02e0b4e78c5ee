"""How a caller lives in time: a thread that blocks, or a task on an event loop. Knows clocks and bells, not what they are used for."""

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

# The clock that also counts while a machine sleeps, where there is one.
_elapsed_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns


class SteadyClock:
    """Wall time as it was when the clock was made, plus the time elapsed since: nobody who sets the machine's clock can make it jump."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - _elapsed_ns()

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._offset_ns + _elapsed_ns()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self.now_ns() // 1_000_000


class BlockingRuntime:
    """`Runtime` for a thread: its coroutines never suspend, so `run` drives them to their end without a loop."""

    def __init__(self) -> None:
        self._clock = SteadyClock()

    def now_ms(self) -> int:
        """Milliseconds since 1970; see `SteadyClock`."""
        return self._clock.now_ms()

    def new_id(self) -> str:
        """See `time_sorted_id`."""
        return time_sorted_id(self._clock.now_ns())

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads waits; nothing secret depends on it

    async def sleep(self, duration_ms: int) -> None:
        """Block the thread."""
        time.sleep(duration_ms / 1000)  # noqa: ASYNC251 - to block is what this caller asked for: there is no loop

    def signal(self) -> "ThreadSignal":
        """A bell a thread waits for."""
        return ThreadSignal()

    async def finish(self, work: Awaitable[T]) -> T:
        """Run the work: nobody can cancel a thread."""
        return await work


class AsyncioRuntime:
    """`Runtime` for tasks of an asyncio loop. It may be made before the loop runs."""

    def __init__(self) -> None:
        self._clock = SteadyClock()

    def now_ms(self) -> int:
        """Milliseconds since 1970; see `SteadyClock`."""
        return self._clock.now_ms()

    def new_id(self) -> str:
        """See `time_sorted_id`."""
        return time_sorted_id(self._clock.now_ns())

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads waits; nothing secret depends on it

    async def sleep(self, duration_ms: int) -> None:
        """Let other tasks run."""
        await asyncio.sleep(duration_ms / 1000)

    def signal(self) -> "TaskSignal":
        """A bell a task waits for; to be made where the loop runs."""
        return TaskSignal(asyncio.get_running_loop())

    async def finish(self, work: Awaitable[T]) -> T:
        """Run the work to its end, whatever happens to the caller; a cancellation that came meanwhile is raised afterwards.

        If the work fails as well, its error is the cancellation's cause. Only cancelling the work itself, as a closing loop does, ends it.
        """
        task = _start(work)
        cancellation: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancellation = error
        if cancellation is not None:
            failure = None if task.cancelled() else task.exception()
            raise cancellation from failure
        return task.result()


class TaskLimit:
    """A time limit for one wait after the other of a task, as for the pieces of a stream.

    It does what `asyncio.timeout` does for a single wait, at a fraction of the cost: there is one timer for all of them, which looks, when
    it rings, whether the wait under way has lasted too long. One wait at a time; whoever is done with it closes it.
    """

    __slots__ = ("_ends_at", "_loop", "_passed", "_task", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = 0.0
        self._passed = False

    async def wait(self, work: Awaitable[T], limit_s: float) -> T:
        """What the work comes to. Raises TimeoutError after so many seconds."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a task's limit was used outside a task")
        already_cancelled = task.cancelling()
        self._task, self._passed = task, False
        self._ends_at = self._loop.time() + limit_s
        if self._timer is None or self._timer.when() > self._ends_at:
            self.close()
            self._timer = self._loop.call_at(self._ends_at, self._ring)
        try:
            return await work
        except asyncio.CancelledError as error:
            if self._passed:
                self._passed = False
                if task.uncancel() <= already_cancelled:
                    raise TimeoutError from error
            raise
        finally:
            if self._passed:  # the work made something else of the cancellation: it is over all the same
                task.uncancel()
            self._task = None

    def close(self) -> None:
        """Drop the timer. Another wait sets it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._ends_at:
            self._timer = self._loop.call_at(self._ends_at, self._ring)
            return
        self._passed = True
        self._task.cancel()


class ThreadSignal:
    """`Signal` for a thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        """Wake the thread."""
        self._event.set()

    async def wait(self, timeout_ms: int) -> bool:
        """Block until it rings or the time is up."""
        rang = self._event.wait(timeout_ms / 1000)
        self._event.clear()
        return rang


class TaskSignal:
    """`Signal` for a task of `loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Wake the task. Ringing for a loop that has closed is of no use and no harm."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_ms: int) -> bool:
        """Suspend until it rings or the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self._event.wait()
        rang = self._event.is_set()
        self._event.clear()
        return rang


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine that never suspends to its end and return what it returns.

    Raises:
        RuntimeError: it suspended; somewhere a port made for an event loop was given to a blocking caller.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine run without an event loop tried to wait for one: it was given an asyncio port in a blocking call")


def iterate(stream: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """The items of an asynchronous generator that never suspends; closing the iterator closes the generator."""
    try:
        while True:
            try:
                item = run(_next(stream))
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(stream.aclose())


def time_sorted_id(now_ns: int) -> str:
    """A UUID of version 7 (RFC 9562, method 3) without its dashes: 48 bits of milliseconds, 12 of their fraction, 62 random ones.

    The operating system draws the random bits, so that processes born of one another never share them.
    """
    milliseconds, rest_ns = divmod(now_ns, 1_000_000)
    fraction = (rest_ns << 12) // 1_000_000
    drawn = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return f"{milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | drawn:032x}"


async def _next(stream: AsyncIterator[T]) -> T:
    return await anext(stream)


def _start(work: Awaitable[T]) -> "asyncio.Task[T]":
    """A task for the work; what it does before it first suspends is done at once where Python can (3.12)."""
    coroutine = _await(work)
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


async def _await(work: Awaitable[T]) -> T:
    return await work
