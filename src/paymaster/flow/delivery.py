"""When the chunks of a stream are delivered: from the first that says something, or once all have come; knows no provider and no ledger."""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import orjson

from paymaster.flow.ports import Native, ProviderChunk
from paymaster.flow.replies import says_something
from paymaster.registry.models import Dialect

MOST_HELD_BYTES = 64 * 1024 * 1024
"""As large as an answer may be that is not streamed."""

BATCH_BYTES = 16 * 1024
"""Held chunks are delivered in batches of this size: other calls of the loop have their turn in between."""


class Delivery(Protocol):
    """Takes the chunks of one attempt in order. `begun`: something was delivered, so that no other model may answer any more."""

    begun: bool

    def take(self, chunk: ProviderChunk) -> Iterable[ProviderChunk]:
        """The chunks to deliver now."""
        ...

    def rest(self) -> Iterator[ProviderChunk]:
        """The chunks to deliver at the end of a whole answer."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether no further chunk may be held."""
        ...


class AsItComes:
    """Delivers from the first chunk that says something: until then another model may still answer."""

    def __init__(self) -> None:
        self.begun = False
        self.is_full = False
        self._early: list[ProviderChunk] = []

    def take(self, chunk: ProviderChunk) -> Iterable[ProviderChunk]:
        """Nothing before the first piece of the answer; then the chunk, after those that were held."""
        if self.begun:
            return (chunk,)
        if not says_something(chunk.body):
            self._early.append(chunk)
            return ()
        self.begun = True
        early, self._early = self._early, []
        return (*(each._replace(more=True) for each in early), chunk)

    def rest(self) -> Iterator[ProviderChunk]:
        """What said nothing, of an answer that says nothing."""
        yield from self._early


class HeldBack:
    """Delivers nothing before the answer is whole. Chunks are held as lines of JSON: as objects they are five times as large."""

    def __init__(self, most_bytes: int = MOST_HELD_BYTES) -> None:
        self.begun = False
        self._most_bytes = most_bytes
        self._size = 0
        self._batches: deque[bytearray] = deque()

    def take(self, chunk: ProviderChunk) -> Iterable[ProviderChunk]:
        """Hold the chunk."""
        if not self._batches or len(self._batches[-1]) >= BATCH_BYTES:
            self._batches.append(bytearray())
        line = _packed(chunk)
        self._size += len(line)
        self._batches[-1] += line + b"\n"
        return ()

    def rest(self) -> Iterator[ProviderChunk]:
        """All chunks; the last of each batch has no `more`."""
        self.begun = True
        while self._batches:
            lines = self._batches.popleft().splitlines()
            last = len(lines) - 1
            for number, line in enumerate(lines):
                yield _unpacked(line, more=number < last)

    @property
    def is_full(self) -> bool:
        """Whether what is held is larger than an answer may be."""
        return self._size > self._most_bytes


def _packed(chunk: ProviderChunk) -> bytes:
    """The chunk as JSON, with the event that it was read from, unless that is the chunk itself.

    The slower writer takes what the other refuses: lone surrogates and integers of any size.
    """
    native = chunk.native
    parts = (
        [chunk.body] if native is None or native.dialect is Dialect.CHAT else [chunk.body, native.dialect.value, native.body, native.event]
    )
    try:
        return orjson.dumps(parts)
    except orjson.JSONEncodeError:
        return json.dumps(parts).encode("ascii")


def _unpacked(packed: bytearray, *, more: bool) -> ProviderChunk:
    try:
        body, *native = orjson.loads(packed)
    except orjson.JSONDecodeError:
        body, *native = json.loads(packed)
    if not native:
        return ProviderChunk(body, more=more)
    dialect, event_body, event = native
    return ProviderChunk(body, more=more, native=Native(Dialect(dialect), event_body, event))
