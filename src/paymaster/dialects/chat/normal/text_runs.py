"""Recognises an event of a stream that differs from the one before it in a piece of text alone; knows nothing else of the stream.

What holds for the event that began a run holds for those that follow, as long as no other came in between: each is right, reports no usage,
and adds its text to the same field of the same choice. So nobody needs to look at them again.
"""

from collections.abc import Mapping
from typing import Protocol

from paymaster.jsontypes import JsonObject

_TEXTS = frozenset({"content", "reasoning_content"})
_PADDING = "obfuscation"
"""OpenAI's filler, which hides the length of a text. It is another one in each event."""
_MAY_MATTER = frozenset({"error", "message", "text", "usage", "logprobs"})
"""Fields of a choice that each chunk has to be read for."""


class TextRun(Protocol):
    """Follows the events of one stream. `name` is the field of a chunk that the texts of the run are for."""

    name: str

    def begin(self, event: JsonObject, chunk: JsonObject) -> None:
        """Take an event and its only chunk, which `NormalStream` left as it was. It begins a run if it has a text, and little else."""
        ...

    def end(self) -> None:
        """Take note of any other event."""
        ...

    def text(self, event: JsonObject) -> str | None:
        """The piece of text, if all else is as in the event before; None if it is not."""
        ...

    def chunk(self, event: JsonObject, text: str) -> JsonObject:
        """The chunk of an event of the run."""
        ...


class ChunkRun:
    """Of events that are chunks."""

    __slots__ = ("_around", "_choice", "_delta", "name")

    def __init__(self) -> None:
        self._around: JsonObject | None = None
        self._choice: JsonObject = {}
        self._delta: JsonObject = {}
        self.name = ""

    def begin(self, event: JsonObject, chunk: JsonObject) -> None:
        """See `TextRun`."""
        self.end()
        around = {**chunk, "choices": None, _PADDING: None}
        if (piece := _piece(chunk)) is None or not all(isinstance(value, str) for value in ({**around, "created": 0}).values() if value):
            return
        self.name, self._delta, choice = piece
        self._around, self._choice = around, {**choice, "delta": None}

    def end(self) -> None:
        """See `TextRun`."""
        self._around = None

    def text(self, event: JsonObject) -> str | None:
        """See `TextRun`."""
        if self._around is None or {**event, "choices": None, _PADDING: None} != self._around:
            return None
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        if not isinstance(choice, dict) or {**choice, "delta": None} != self._choice:
            return None
        delta = choice.get("delta")
        if not isinstance(delta, dict) or {**delta, self.name: None} != self._delta:
            return None
        text = delta.get(self.name)
        return text if isinstance(text, str) and text else None

    def chunk(self, event: JsonObject, text: str) -> JsonObject:
        """The event itself."""
        return event


class DeltaRun:
    """Of events of other dialects, whose text is their `delta` or in it. Their readers remember nothing of a text, but do of a thought."""

    __slots__ = ("_around", "_choice", "_delta", "_top", "name")

    def __init__(self) -> None:
        self._around: JsonObject | None = None
        self._delta: JsonObject | None = None
        self._top: JsonObject = {}
        self._choice: JsonObject = {}
        self.name = "content"

    def begin(self, event: JsonObject, chunk: JsonObject) -> None:
        """See `TextRun`."""
        self.end()
        around, delta, piece = _without_delta(event), event.get("delta"), _piece(chunk)
        if piece is None or not event.get("type") or not all(isinstance(value, str | int) for value in around.values() if value):
            return
        _, others, choice = piece
        within = delta if isinstance(delta, dict) and delta.keys() == {"type", "text"} else None
        if others != {self.name: None} or choice["delta"][self.name] != (delta if within is None else within["text"]):
            return
        self._top, self._choice = chunk, choice
        self._around, self._delta = around, None if within is None else {**within, "text": None}

    def end(self) -> None:
        """See `TextRun`."""
        self._around = None

    def text(self, event: JsonObject) -> str | None:
        """See `TextRun`."""
        if self._around is None or _without_delta(event) != self._around:
            return None
        text = event.get("delta")
        if self._delta is not None:
            if not isinstance(text, dict) or {**text, "text": None} != self._delta:
                return None
            text = text.get("text")
        return text if isinstance(text, str) and text else None

    def chunk(self, event: JsonObject, text: str) -> JsonObject:
        """The chunk that began the run, with this text."""
        return {**self._top, "choices": [{**self._choice, "delta": {self.name: text}}]}


def _without_delta(event: JsonObject) -> JsonObject:
    return {**event, "delta": None, "sequence_number": None, _PADDING: None}


def _piece(chunk: JsonObject) -> tuple[str, JsonObject, dict[str, JsonObject]] | None:
    """The field of a chunk's only text, its delta without that text, and its choice; None if the chunk has more, or something else."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(delta, Mapping) or choice.get("finish_reason") is not None:
        return None
    said = [name for name, value in delta.items() if value and name != "role"]
    if len(said) != 1 or said[0] not in _TEXTS or not isinstance(delta[said[0]], str):
        return None
    return None if any(choice.get(name) is not None for name in _MAY_MATTER) else (said[0], {**delta, said[0]: None}, choice)
