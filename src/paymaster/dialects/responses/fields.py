"""Fields of a body in OpenAI's responses format, checked as they are read; knows no item and no tool."""

from collections.abc import Collection

import orjson

from paymaster.dialects.neutral import SHAPE, Extras
from paymaster.dialects.objects import section
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

OWN = Dialect.RESPONSES
_FIELDS = "fields"
"""The note of the fields that say nothing outside of this dialect: ids, states, nulls."""


def text_in(holder: JsonObject, name: str) -> str:
    """The text in a field; an empty one if there is none."""
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def extras_of(holder: JsonObject, taken: Collection[str], silent: Collection[str] = (), /, **notes: object) -> Extras:
    """What is left of an object when these fields were taken. `silent` fields and nulls are a shape, and so are the notes."""
    left = {name: value for name, value in holder.items() if name not in taken}
    lost = {name: value for name, value in left.items() if value is not None and name not in silent}
    said = {name: value for name, value in left.items() if name not in lost}
    said |= {name: None for name in taken if name in holder and holder[name] is None}
    shape = {**({_FIELDS: said} if said else {}), **notes}
    found = {**lost, **({SHAPE: shape} if shape else {})}
    return {OWN: found} if found else {}


def shape_of(extras: Extras) -> JsonObject:
    """How this dialect wrote it; empty where it did not, or needs no note."""
    return section(extras.get(OWN, {}).get(SHAPE))


def with_own(written: dict[str, object], extras: Extras) -> dict[str, object]:
    """The written object with the fields that only this dialect knows."""
    fields = extras.get(OWN, {})
    written.update(section(section(fields.get(SHAPE)).get(_FIELDS)))
    written.update({name: value for name, value in fields.items() if name != SHAPE})
    return written


def dumped(value: object) -> str:
    """JSON text."""
    return orjson.dumps(value, default=dict).decode()


def loaded(text: str) -> object:
    """The value in a JSON text; None if it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
