"""Parses server-sent events from a stream of bytes that may be split anywhere; knows neither JSON nor OpenAI."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """One dispatched event: its name (empty: `message`) and its data lines joined by line feeds."""

    name: str
    data: bytes


class EventParser:
    """Takes bytes as they arrive and returns complete events. Comments and unknown fields are ignored."""

    __slots__ = ("_at_start", "_data", "_kept", "_name")

    def __init__(self) -> None:
        self._kept: list[bytes] = []  # the parts of a line that is not complete
        self._data: list[bytes] = []
        self._name = ""
        self._at_start = True

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that `data` completes."""
        kept = self._kept
        if kept and not self._at_start and b"\n" not in data and b"\r" not in data and not kept[-1].endswith(b"\r"):
            kept.append(data)  # a long line is joined and searched once
            return []
        text = b"".join((*kept, data)) if kept else data
        if self._at_start:
            if _BYTE_ORDER_MARK.startswith(text[:3]):
                if len(text) < len(_BYTE_ORDER_MARK):
                    self._kept = [text]
                    return []
                text = text[3:]
            self._at_start = False
        # A carriage return at the very end may be half of a line end: keep it for the next bytes.
        held_back = text[-1:] == b"\r"
        # Nearly every stream has line feeds alone, which are found many times faster.
        lines = text.split(b"\n") if b"\r" not in text else _LINE_END.split(text[:-1] if held_back else text)
        rest = lines.pop() + (b"\r" if held_back else b"")
        self._kept = [rest] if rest else []
        return self._take(lines)

    def finish(self) -> list[ServerEvent]:
        """The events that the end of the stream completes, including a last one without its blank line, which the caller judges."""
        rest, self._kept = b"".join(self._kept).removesuffix(b"\r"), []
        return self._take((rest, b""))

    def _take(self, lines: Iterable[bytes]) -> list[ServerEvent]:
        """The events that these lines complete."""
        events: list[ServerEvent] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(ServerEvent(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                    self._data = []
                self._name = ""
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            elif name == b"event":
                self._name = value.removeprefix(b" ").decode("utf-8", "replace")
        return events
