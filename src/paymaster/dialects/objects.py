"""Fields of any JSON that a client or an endpoint wrote, checked as they are read; knows no dialect."""

from collections.abc import Mapping

from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject

_NO_OBJECT: JsonObject = {}


def objects(value: object, where: str) -> list[JsonObject]:
    """A list of objects. Raises RequestInvalid."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise RequestInvalid(f"{where}: a list of objects is required")
    return list(value)


def section(value: object) -> JsonObject:
    """The object in a field; an empty one if there is none."""
    return value if isinstance(value, Mapping) else _NO_OBJECT


def required_text(holder: JsonObject, name: str, where: str) -> str:
    """The text in a field. Raises RequestInvalid."""
    value = holder.get(name)
    if not isinstance(value, str):
        raise RequestInvalid(f"{where}.{name}: a string is required")
    return value
