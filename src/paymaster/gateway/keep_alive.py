"""Signs of life on a connection whose answer is held back; knows no answer and no dialect."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from paymaster.gateway.request_body import Bounds

COMMENT = b": keep-alive\n\n"
"""A comment, which readers of server-sent events ignore in every dialect."""


class KeepAlive:
    """Inside the block: calls `begin` after `held_head_ms`, then `comment` at once and after every `keep_alive_ms`, until it is stopped."""

    def __init__(self, begin: Callable[[], Awaitable[None]], comment: Callable[[], Awaitable[None]], bounds: Bounds) -> None:
        self._begin, self._comment = begin, comment
        self._head_s, self._every_s = bounds.held_head_ms / 1000, bounds.keep_alive_ms / 1000
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Write nothing from now on."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _write(self) -> None:
        await asyncio.sleep(self._head_s)
        await self._begin()
        while True:
            await self._comment()
            await asyncio.sleep(self._every_s)

    def __enter__(self) -> Self:
        """Start."""
        self._task = asyncio.get_running_loop().create_task(self._write())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()
