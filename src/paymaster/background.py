"""Runs work behind the calls of a client, in a thread or as a task, until the client is closed; knows no work."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial

from paymaster.forks import renew_in_children
from paymaster.runtime import run

Work = Callable[[Callable[[int], Awaitable[None]]], Coroutine[None, None, None]]
_LOGGER = logging.getLogger("paymaster")
_CLOSE_S = 2.0
"""How long closing waits for work that does not pause just then."""


class _Closed(Exception):
    """The client was closed: the work ends at its pause."""


class BackgroundThreads:
    """For blocking callers: each work in a thread of its own, which ends with the process."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the parent's threads do their work there."""
        self._closed = threading.Event()
        self._threads: set[threading.Thread] = set()

    def __call__(self, work: Work) -> None:
        """Start it."""
        thread = threading.Thread(target=self._run, args=(work,), name="paymaster-later", daemon=True)
        self._threads = {each for each in self._threads if each.is_alive()} | {thread}
        thread.start()

    async def close(self) -> None:
        """End all work."""
        self._closed.set()
        for thread in self._threads:
            thread.join(_CLOSE_S)

    def _run(self, work: Work) -> None:
        try:
            run(work(self._pause))
        except _Closed:
            pass
        except Exception as error:  # noqa: BLE001 - the edge of a thread: no caller is left to catch it
            _report(error)

    async def _pause(self, duration_ms: int) -> None:
        if self._closed.wait(duration_ms / 1_000):
            raise _Closed


class BackgroundTasks:
    """For callers on an event loop: each work as a task."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, work: Work) -> None:
        """Start it."""
        task = asyncio.get_running_loop().create_task(work(_sleep))
        self._tasks.add(task)
        task.add_done_callback(partial(_end, self._tasks))

    async def close(self) -> None:
        """End all work."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _report(error)


async def _sleep(duration_ms: int) -> None:
    await asyncio.sleep(duration_ms / 1_000)


def _report(error: BaseException) -> None:
    _LOGGER.warning("work behind a call failed, and its charge stays: %s: %s", type(error).__name__, error)
