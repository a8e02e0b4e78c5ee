"""Parses server-sent events from a stream of bytes that may be split anywhere; knows neither JSON nor OpenAI."""

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """One dispatched event: its name (empty: `message`) and its data lines joined by line feeds."""

    name: str
    data: bytes


class EventParser:
    """Takes bytes as they arrive and returns complete events. Comments and unknown fields are ignored."""

    __slots__ = ("_at_start", "_data", "_incomplete", "_name")

    def __init__(self) -> None:
        self._incomplete = b""
        self._data: list[bytes] = []
        self._name = ""
        self._at_start = True

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that `data` completes."""
        text = self._incomplete + data
        if self._at_start:
            if _BYTE_ORDER_MARK.startswith(text[:3]):
                if len(text) < len(_BYTE_ORDER_MARK):
                    self._incomplete = text
                    return []
                text = text[3:]
            self._at_start = False
        # A carriage return at the very end may be half of a line end: keep it for the next bytes.
        held_back = text[-1:] == b"\r"
        lines = _LINE_END.split(text[:-1] if held_back else text)
        self._incomplete = lines.pop() + (b"\r" if held_back else b"")
        return [event for line in lines if (event := self._take(line)) is not None]

    def finish(self) -> list[ServerEvent]:
        """The events that the end of the stream completes, including a last one without its blank line, which the caller judges."""
        events = [event for line in (self._incomplete.removesuffix(b"\r"), b"") if (event := self._take(line)) is not None]
        self._incomplete = b""
        return events

    def _take(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, self._name = self._name, ""
        if not self._data:
            return None
        data, self._data = b"\n".join(self._data), []
        return ServerEvent(name, data)
