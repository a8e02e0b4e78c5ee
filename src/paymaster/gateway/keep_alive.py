"""Signs of life on a connection whose answer takes long to begin; knows no answer and no dialect."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

COMMENT = b": keep-alive\n\n"
"""A comment, which readers of server-sent events ignore in every dialect."""

EVENT = b'event: keepalive\ndata: {"type":"keepalive"}\n\n'
"""An event that says nothing, by OpenAI's own name for it."""


class KeepAlive:
    """Inside the block: calls `begin` after `head_ms`, then `comment` at once and after every `every_ms`, until it is stopped."""

    def __init__(
        self, begin: Callable[[], Awaitable[None]], comment: Callable[[], Awaitable[None]], *, head_ms: int, every_ms: int
    ) -> None:
        self._begin, self._comment = begin, comment
        self._head_s, self._every_s = head_ms / 1000, every_ms / 1000
        self._timer: asyncio.TimerHandle | None = None  # most answers begin soon, and need no task
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Write nothing from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        await self._begin()
        while True:
            await self._comment()
            await asyncio.sleep(self._every_s)

    def __enter__(self) -> Self:
        """Start."""
        self._timer = asyncio.get_running_loop().call_later(self._head_s, self._start)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()
