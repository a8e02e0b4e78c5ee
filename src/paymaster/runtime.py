"""Clocks and waits for both kinds of callers, a blocking thread or a task on an event loop; knows nothing about their use."""

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

# The clock that also runs while the machine sleeps, if there is one.
_elapsed_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns


class SteadyClock:
    """Wall time at its creation plus the time elapsed since: it never jumps when the machine's clock is set."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - _elapsed_ns()

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._offset_ns + _elapsed_ns()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self.now_ns() // 1_000_000


class _Clocked:
    """The part of a runtime that depends on its clock and not on how its caller waits."""

    def __init__(self) -> None:
        self._clock = SteadyClock()

    def now_ms(self) -> int:
        """Milliseconds since 1970; see `SteadyClock`."""
        return self._clock.now_ms()

    def new_id(self) -> str:
        """See `time_sorted_id`."""
        return time_sorted_id(self._clock.now_ns())

    def jitter(self) -> float:
        """A random number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads waits; nothing secret depends on it


class BlockingRuntime(_Clocked):
    """`Runtime` for a thread. Its coroutines never suspend, so `run` can drive them without an event loop."""

    async def sleep(self, duration_ms: int) -> None:
        """Block the thread."""
        time.sleep(duration_ms / 1000)  # noqa: ASYNC251 - a blocking caller has no event loop

    def signal(self) -> "ThreadSignal":
        """A signal that a thread can wait for."""
        return ThreadSignal()

    async def finish(self, work: Awaitable[T]) -> T:
        """Run the work: a thread can't be cancelled."""
        return await work


class AsyncioRuntime(_Clocked):
    """`Runtime` for tasks of an asyncio loop. It may be created before the loop runs."""

    async def sleep(self, duration_ms: int) -> None:
        """Suspend the task."""
        await asyncio.sleep(duration_ms / 1000)

    def signal(self) -> "TaskSignal":
        """A signal that a task can wait for. Call it while the loop runs."""
        return TaskSignal(asyncio.get_running_loop())

    async def finish(self, work: Awaitable[T]) -> T:
        """Run the work to its end even if the caller is cancelled; the cancellation is raised afterwards.

        If the work fails too, its error is the cause of the cancellation. Only cancelling the work itself, as a closing loop does, ends it.
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
    """A time limit for each of a task's successive waits, as for the pieces of a stream. Close it after the last one.

    It does what `asyncio.timeout` does (cancel the task, then take back the cancellation: see asyncio/timeouts.py) for a fraction of the
    cost: all waits share one timer, which checks whether the current wait has lasted too long.
    """

    __slots__ = ("_ends_at", "_expired", "_loop", "_task", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = 0.0
        self._expired = False

    async def wait(self, work: Awaitable[T], limit_s: float) -> T:
        """The result of the work. Raises TimeoutError after `limit_s` seconds."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a TaskLimit was used outside a task")
        already_cancelled = task.cancelling()
        self._task, self._expired = task, False
        self._ends_at = self._loop.time() + limit_s
        if self._timer is None or self._timer.when() > self._ends_at:
            self.close()
            self._timer = self._loop.call_at(self._ends_at, self._check)
        try:
            return await work
        except asyncio.CancelledError as error:
            if self._expired:
                self._expired = False
                if task.uncancel() <= already_cancelled:
                    raise TimeoutError from error
            raise
        finally:
            if self._expired:  # the work replaced the cancellation by another error
                task.uncancel()
            self._task = None

    def close(self) -> None:
        """Cancel the timer. Another wait sets it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._ends_at:
            self._timer = self._loop.call_at(self._ends_at, self._check)
            return
        self._expired = True
        self._task.cancel()


class ThreadSignal:
    """`Signal` for a thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        """Wake the thread."""
        self._event.set()

    async def wait(self, timeout_ms: int) -> bool:
        """Block until the signal or the end of the time; whether it was woken."""
        woken = self._event.wait(timeout_ms / 1000)
        self._event.clear()
        return woken


class TaskSignal:
    """`Signal` for a task of `loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Wake the task. Does nothing if the loop has closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_ms: int) -> bool:
        """Suspend until the signal or the end of the time; whether it was woken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self._event.wait()
        woken = self._event.is_set()
        self._event.clear()
        return woken


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends.

    Raises:
        RuntimeError: it suspended, so a blocking caller was given a port for an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking call tried to wait for an event loop: it was given an asyncio port")


def iterate(stream: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """The items of an async generator that never suspends; closing the iterator closes the generator."""
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
    """A UUID of version 7 (RFC 9562, method 3) without dashes: 48 bits of milliseconds, 12 of their fraction, 62 random bits.

    The random bits are the operating system's, so that forked processes never share them.
    """
    milliseconds, remaining_ns = divmod(now_ns, 1_000_000)
    fraction = (remaining_ns << 12) // 1_000_000
    random_bits = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return f"{milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random_bits:032x}"


async def _next(stream: AsyncIterator[T]) -> T:
    return await anext(stream)


def _start(work: Awaitable[T]) -> "asyncio.Task[T]":
    """A task for the work; from Python 3.12 on it starts at once, before this returns."""
    coroutine = _await(work)
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


async def _await(work: Awaitable[T]) -> T:
    return await work
