"""Converts an event to one flat line of JSON; knows the events and the schema's version, and no file."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeAlias, get_args

import orjson

from paymaster.flow.events import EVENTS_VERSION, Event
from paymaster.printable import json_line_printable
from paymaster.redaction import Redactor

Value: TypeAlias = str | int | bool | tuple[str, ...] | dict[str, str] | None
"""The values of a line."""

ENVELOPE = ("v", "event", "at", "at_ms", "call_id", "run", "batch", "instance", "user", "role", "tags")
"""The first fields of every line, in order; from `batch` on only if the scope has them. All fields of the event follow."""

_COMMON = frozenset({"at_ms", "call_id", "scope"})
OWN_FIELDS: Mapping[type[Event], tuple[str, ...]] = MappingProxyType(
    {event: tuple(spec.name for spec in fields(event) if spec.name not in _COMMON) for event in get_args(Event)}
)
"""The fields of each event after the envelope, in order."""


def encode(event: Event, redactor: Redactor) -> bytes:
    """One whole line in UTF-8 with a newline, without secrets. Never raises for a well-typed event."""
    line = as_line(event)
    if not redactor.suspects("\n".join(_texts(line))):
        try:
            return json_line_printable(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        except orjson.JSONEncodeError:  # a lone surrogate, or an integer beyond 64 bits: the slower code below can write both
            pass
    cleaned = {name: _cleaned(value, redactor) for name, value in line.items()}
    return json_line_printable(json.dumps(cleaned, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def as_line(event: Event) -> dict[str, Value]:
    """The event's line as a flat mapping; only `tags` is nested."""
    scope = event.scope
    line: dict[str, Value] = {
        "v": EVENTS_VERSION,
        "event": event.kind,
        "at": rfc3339(event.at_ms),
        "at_ms": event.at_ms,
        "call_id": event.call_id,
        "run": scope.run,
    }
    if scope.batch is not None:
        line["batch"] = scope.batch
    if scope.instance is not None:
        line["instance"] = scope.instance
    if scope.user is not None:
        line["user"] = scope.user
    if scope.role is not None:
        line["role"] = scope.role
    if scope.tags:
        line["tags"] = dict(scope.tags)
    for name in OWN_FIELDS[type(event)]:
        line[name] = getattr(event, name)
    return line


def rfc3339(at_ms: int) -> str:
    """`2026-11-23T08:30:00.123Z`: UTC with milliseconds."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{milliseconds:03d}Z"


def _texts(line: dict[str, Value]) -> list[str]:
    texts: list[str] = []
    for value in line.values():
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, tuple):
            texts.extend(value)
        elif isinstance(value, dict):
            texts.extend(value)
            texts.extend(value.values())
    return texts


def _cleaned(value: Value, redactor: Redactor) -> Value:
    match value:
        case str():
            return redactor(value.encode("utf-8", "replace").decode())
        case tuple():
            return tuple(redactor(text.encode("utf-8", "replace").decode()) for text in value)
        case dict():
            return {str(_cleaned(name, redactor)): str(_cleaned(text, redactor)) for name, text in value.items()}
        case _:
            return value
