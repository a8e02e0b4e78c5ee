"""How far a stream has come, for the case that it is interrupted; knows chunks and the times at which they came, and no price."""

from dataclasses import replace

from paymaster.accounting.usage.reading import StreamUsage
from paymaster.accounting.usage.record import Usage
from paymaster.flow.ports import ProviderChunk
from paymaster.routing.failures import Billed, Failure
from paymaster.routing.interruptions import Delivered

_SHORTEST_SPAN_MS = 1_000
"""A speed is an average over at least this: chunks that were on their way together arrive at once."""


class StreamProgress:
    """Takes each chunk, and each wait for chunks; the request for so many `choices` went out at `sent_ms`."""

    def __init__(self, usage_api: str, sent_ms: int, choices: int = 1) -> None:
        self._usage = StreamUsage(usage_api)
        self._choices = choices
        self._first_ms = self._last_ms = sent_ms
        self._behind_ms = 0
        self._served_by: str | None = None
        self._begun = False
        self.answer_id: str | None = None

    def waited(self, asked_ms: int, came_ms: int) -> None:
        """Take the moments at which the next chunk was asked for and came. Others that come with it are not waited for."""
        # A reader lags behind a provider that goes on by the time that it was busy. It has caught up only if it then waited for a chunk at
        # least as long: a shorter wait may be a tick of the clock, or another thread's turn, with the chunk there all the time.
        self._behind_ms += max(0, asked_ms - self._last_ms)
        waited_ms = came_ms - asked_ms
        self._behind_ms = 0 if waited_ms >= self._behind_ms else self._behind_ms + waited_ms
        if not self._begun:
            self._first_ms = came_ms
        self._last_ms = came_ms

    def take(self, chunk: ProviderChunk) -> None:
        """Take the next chunk."""
        if chunk.so_far is None:
            self._usage.feed(chunk.body)
        else:
            self._usage = chunk.so_far
        if not self._begun:
            self._begun = True
            answer_id = chunk.body.get("id")
            self.answer_id = answer_id if isinstance(answer_id, str) else None
        if isinstance(upstream := chunk.body.get("provider"), str):
            self._served_by = upstream

    def known(self, failure: Failure) -> Failure:
        """The failure with the final usage, if the answer was complete and only its end is missing."""
        usage = self._usage.usage
        is_whole = self._usage.finished and self._usage.choices >= self._choices
        if not (is_whole and isinstance(usage, Usage)):
            return failure
        return replace(failure, usage=usage, billed=Billed.YES)

    def delivered(self, closed_ms: int) -> Delivered:
        """What had come when the connection closed."""
        tokens = self._usage.delivered_tokens
        return Delivered(
            prompt=self._usage.prompt,
            output_tokens=tokens,
            unseen_ms=max(0, closed_ms - self._last_ms) + self._behind_ms,
            tokens_per_second=tokens * 1_000 // max(_SHORTEST_SPAN_MS, self._last_ms - self._first_ms),
            served_by=self._served_by,
        )
