"""A streamed answer, as its reader has it; knows nothing about how it is made."""

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import Self

from paymaster.errors import StreamBroken
from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.open_calls import OpenCalls


class Stream:
    """A streamed answer. Iterate over its chunks (OpenAI's chat.completion.chunk objects); then `reply` is the whole answer."""

    def __init__(self, items: Generator[ProviderChunk | Reply], calls: OpenCalls) -> None:
        self._items = items
        self._calls = calls
        self._turn = threading.Lock()
        self._stopped = False
        self._reply: Reply | None = None

    def __iter__(self) -> Iterator[JsonObject]:
        """The chunks. Raises ClientClosed where the client was closed before the end."""
        while (chunk := self._next()) is not None:
            yield chunk

    @property
    def reply(self) -> Reply:
        """The whole answer. Raises StreamBroken before the end of the stream."""
        self._check()
        return whole(self._reply)

    def close(self) -> None:
        """Stop: the connection is closed, and output that may have been billed is charged. A chunk that another thread waits for comes."""
        self._stopped = True
        if self._turn.acquire(blocking=False):
            try:
                self._items.close()
            finally:
                self._turn.release()

    def _next(self) -> JsonObject | None:
        """The next chunk; None at the end."""
        with self._turn:
            if self._stopped:
                self._items.close()
            for item in self._items:
                if isinstance(item, ProviderChunk):
                    return item.body
                self._reply = item
        self._check()
        return None

    def _check(self) -> None:
        if self._reply is None:
            self._calls.check("the stream")

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()


class AsyncStream:
    """See `Stream`; iterate with `async for`."""

    def __init__(self, items: AsyncGenerator[ProviderChunk | Reply], calls: OpenCalls) -> None:
        self._items = items
        self._calls = calls
        self._busy = False
        self._stopped = False
        self._reply: Reply | None = None

    async def __aiter__(self) -> AsyncIterator[JsonObject]:
        """The chunks. Raises ClientClosed where the client was closed before the end."""
        while (chunk := await self._next()) is not None:
            yield chunk

    @property
    def reply(self) -> Reply:
        """The whole answer. Raises StreamBroken before the end of the stream."""
        self._check()
        return whole(self._reply)

    async def close(self) -> None:
        """Stop: the connection is closed, and output that may have been billed is charged. A chunk that another task waits for comes."""
        self._stopped = True
        if not self._busy:
            self._busy = True
            try:
                await self._items.aclose()
            finally:
                self._busy = False

    aclose = close

    async def _next(self) -> JsonObject | None:
        """The next chunk; None at the end."""
        if self._stopped:
            await self.close()
        else:
            self._busy = True
            try:
                async for item in self._items:
                    if isinstance(item, ProviderChunk):
                        return item.body
                    self._reply = item
            finally:
                self._busy = False
        self._check()
        return None

    def _check(self) -> None:
        if self._reply is None:
            self._calls.check("the stream")

    async def __aenter__(self) -> Self:
        """The stream itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        await self.close()


def whole(item: ProviderChunk | Reply | None) -> Reply:
    """The last item of a call: its reply. Raises StreamBroken where that has not come."""
    if isinstance(item, Reply):
        return item
    msg = "the stream has not ended"
    raise StreamBroken(msg, advice="Iterate to its end before reading the reply.")
