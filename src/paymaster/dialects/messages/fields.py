"""Fields of a body in Anthropic's format, checked as they are read; knows no block and no tool."""

from collections.abc import Mapping

from paymaster.accounting import bounds
from paymaster.dialects.neutral import Extras
from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

OWN = Dialect.MESSAGES
_NO_OBJECT: JsonObject = {}


def count_of(holder: JsonObject, name: str, where: str) -> int:
    """The count in a field. Raises RequestInvalid."""
    value = holder.get(name)
    if value is None:
        raise RequestInvalid(f"{where}: a whole number of at least 1 is required")
    return bounds.read_count(where, value, bounds.COUNT_FIELDS.get(name, bounds.MOST_TOKENS))


def extras_of(holder: JsonObject, known: frozenset[str]) -> Extras:
    """The fields that only this dialect knows. A null says no more than a missing field."""
    found = {name: value for name, value in holder.items() if name not in known and value is not None}
    return {OWN: found} if found else {}


def cache_of(holder: JsonObject) -> JsonObject | None:
    """The cache marker."""
    marker = holder.get("cache_control")
    return marker if isinstance(marker, Mapping) else None


def marked(block: dict[str, object], cache: JsonObject | None, extras: Extras) -> JsonObject:
    """The block with what only this dialect knows, and its cache marker."""
    block.update(extras.get(OWN, _NO_OBJECT))
    if cache is not None:
        block["cache_control"] = cache
    return block
