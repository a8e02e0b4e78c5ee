"""Generates the events' JSON Schema and docs/events.md from `paymaster.flow.events`; knows the two formats, and no event by name.

Run it after a change of the events: `python scripts/build_events_docs.py`. With `--check` it writes nothing, and ends with status 1 if a
file is old.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, get_args, get_origin, get_type_hints

from paymaster.flow import events
from paymaster.telemetry.event_lines import ENVELOPE, OWN_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "src" / "paymaster" / "telemetry" / "events.schema.json"
REFERENCE = ROOT / "docs" / "events.md"
BEGIN, END = "<!-- begin: made by scripts/build_events_docs.py -->", "<!-- end -->"

ENVELOPE_FIELDS: tuple[tuple[str, dict[str, object], str], ...] = (
    ("v", {"const": events.EVENTS_VERSION}, "The version of this schema."),
    ("event", {"type": "string"}, "The kind of the event."),
    ("at", {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}, "When it happened: RFC 3339, UTC."),
    ("at_ms", {"type": "integer", "minimum": 0}, "The same in milliseconds since 1970."),
    ("call_id", {"type": "string"}, "The id of the call, the same in all its events and records."),
    ("run", {"type": "string"}, "The run of the call."),
    ("batch", {"type": "string"}, "The batch, if there is one."),
    ("instance", {"type": "string"}, "The task of the batch, if there is one."),
    ("user", {"type": "string"}, "The user, if one is named."),
    ("role", {"type": "string"}, "The part of an agent that calls (its own model, its reviewer), if named."),
    ("tags", {"type": "object", "additionalProperties": {"type": "string"}}, "The caller's tags, if there are any."),
)
ALWAYS = 6
"""The number of envelope fields that every line has; the others are there if the scope has them."""


def main(arguments: list[str]) -> int:
    """Write both files, or compare them with `--check`; the status is 1 if one is old."""
    made = {SCHEMA: schema_text(), REFERENCE: reference_text(REFERENCE.read_text(encoding="utf-8"))}
    old = [path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in old:
        print(f"{path.relative_to(ROOT)} {'is old' if '--check' in arguments else 'written'}")
        if "--check" not in arguments:
            path.write_text(made[path], encoding="utf-8")
    return 1 if old and "--check" in arguments else 0


def schema_text() -> str:
    """The JSON Schema as it is shipped."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Paymaster's events",
        "description": "One line of an events file. Money in nano-dollars, times in milliseconds.",
        "$comment": "Made by scripts/build_events_docs.py.",
        "oneOf": [{"$ref": f"#/$defs/{event.kind}"} for event in OWN_FIELDS],
        "$defs": {event.kind: event_schema(event) for event in OWN_FIELDS},
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def event_schema(event: type[events.Event]) -> dict[str, object]:
    """The schema of one event's line."""
    sentences, hints = field_sentences(event), get_type_hints(event)
    properties = {name: {**shape, "description": sentence} for name, shape, sentence in ENVELOPE_FIELDS}
    properties["event"] = {"const": event.kind}
    properties |= {name: {**json_type(hints[name]), "description": sentences[name]} for name in OWN_FIELDS[event]}
    return {
        "type": "object",
        "description": inspect.getdoc(event),
        "properties": properties,
        "required": [*ENVELOPE[:ALWAYS], *OWN_FIELDS[event]],
        "additionalProperties": False,
    }


def json_type(hint: object) -> dict[str, object]:
    """A Python type as JSON Schema. Every integer of an event is a count, so none is negative."""
    if get_origin(hint) is tuple:
        return {"type": "array", "items": {"type": "string"}}
    names = {str: "string", int: "integer", bool: "boolean", NoneType: "null"}
    types = [names[part] for part in (get_args(hint) or (hint,))]
    shape: dict[str, object] = {"type": types[0] if len(types) == 1 else types}
    return {**shape, "minimum": 0} if "integer" in types else shape


def reference_text(page: str) -> str:
    """The page with a new generated part."""
    head, _, marked = page.partition(BEGIN)
    _, _, tail = marked.partition(END)
    tables = [table("Every line", ENVELOPE_SENTENCES, types={name: type_in_words(shape) for name, shape, _ in ENVELOPE_FIELDS})]
    for event in OWN_FIELDS:
        hints = get_type_hints(event)
        sentences = {name: field_sentences(event)[name] for name in OWN_FIELDS[event]}
        types = {name: type_in_words(json_type(hints[name])) for name in sentences}
        tables.append(table(f"`{event.kind}`", sentences, types=types, lead=inspect.getdoc(event) or ""))
    return "".join([head, BEGIN, "\n\n", "\n".join(tables), "\n", END, tail])


ENVELOPE_SENTENCES = {name: sentence for name, _, sentence in ENVELOPE_FIELDS}


def table(title: str, sentences: Mapping[str, str], *, types: Mapping[str, str], lead: str = "") -> str:
    """A heading and a table of fields."""
    rows = [f"| `{name}` | {types[name]} | {sentence} |" for name, sentence in sentences.items()]
    return "\n".join([f"### {title}", "", *([lead, ""] if lead else []), "| field | type | meaning |", "|---|---|---|", *rows, ""])


def type_in_words(shape: Mapping[str, object]) -> str:
    """A JSON Schema type in words."""
    if "const" in shape:
        return str(shape["const"])
    kind = shape["type"]
    if kind == "array":
        return "list of strings"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def field_sentences(event: type[events.Event]) -> dict[str, str]:
    """The string below each field of the event's class, by field."""
    tree = ast.parse(inspect.getsource(event))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    return {
        field.target.id: below.value.value
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
