"""Reads numbers out of a provider's usage object, whatever their names; knows what a count may look like, not what it means."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from paymaster.jsontypes import JsonObject

EMPTY: JsonObject = {}

# A float has at most 324 decimals, and no call costs a million dollars: what is outside this is a mistake, and too long to compute with.
_MOST_DECIMALS = 324
_LARGEST_USD = 1_000_000


class Contradiction(Exception):
    """The usage says something that cannot be true. Never leaves the room: it becomes an UnknownUsage."""


class Missing(Exception):
    """The usage lacks a number that nothing can stand in for. Never leaves the room: it becomes an UnknownUsage."""


def count(source: JsonObject, *names: str) -> int | None:
    """The first of `names` that is there and not null. Raises Contradiction unless it is a whole number, not negative."""
    for name in names:
        value = source.get(name)
        if value is not None:
            return _whole(name, value)
    return None


def count_or_zero(source: JsonObject, *names: str) -> int:
    """The same, 0 where there is none."""
    return count(source, *names) or 0


def needed(source: JsonObject, *names: str) -> int:
    """The same; raises Missing where there is none."""
    value = count(source, *names)
    if value is None:
        raise Missing(f"the usage has no {names[0]}")
    return value


def agreed(**claims: int | None) -> int:
    """The one number that several fields repeat; 0 where none is there. Raises Contradiction where they differ."""
    said = {name: value for name, value in claims.items() if value is not None}
    if len(set(said.values())) > 1:
        raise Contradiction("these should be equal: " + ", ".join(f"{name} = {value}" for name, value in said.items()))
    return next(iter(said.values()), 0)


def section(source: JsonObject, *names: str) -> JsonObject:
    """The first of `names` that is an object; empty where there is none."""
    for name in names:
        value = source.get(name)
        if value is not None and isinstance(value, Mapping):  # most are not there, and an abstract class is slow to say so
            return value
    return EMPTY


def rows(source: JsonObject, *names: str) -> tuple[JsonObject, ...]:
    """The objects of the first of `names` that is a list; none where there is no list."""
    for name in names:
        value = source.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(row for row in value if isinstance(row, Mapping))
    return ()


def word(source: JsonObject, *names: str) -> str | None:
    """The first of `names` that is text, in lower case."""
    for name in names:
        value = source.get(name)
        if isinstance(value, str):
            return value.lower()
    return None


def money(name: str, value: object) -> Decimal:
    """Dollars as the provider wrote them: the digits of the JSON number, not those of its binary neighbour. Raises Contradiction."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise Contradiction(f"{name} is not a number: {value!r}")
    try:
        amount = Decimal(str(value))
    except InvalidOperation as error:
        raise Contradiction(f"{name} is not a number: {value!r}") from error
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MOST_DECIMALS or not 0 <= amount <= _LARGEST_USD:
        raise Contradiction(f"{name} is not an amount that can be billed: {value!r}")
    return amount


def rest(whole: int, name: str, **parts: int) -> int:
    """What is left of `whole`. Raises Contradiction where the parts are more."""
    left = whole - sum(parts.values())
    if left < 0:
        raise Contradiction(f"{name} = {whole} is less than its parts: " + ", ".join(f"{part} = {value}" for part, value in parts.items()))
    return left


def _whole(name: str, value: object) -> int:
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, float | Decimal) and math.isfinite(value) and value.as_integer_ratio()[1] == 1:
        value = int(value)  # some servers write 1000.0
    if isinstance(value, bool) or not isinstance(value, int):
        raise Contradiction(f"{name} is not a whole number: {value!r}")
    if value < 0:
        raise Contradiction(f"{name} is negative: {value}")
    return value


def split_by_lifetime(written: int, split: JsonObject) -> tuple[int, int]:
    """Cache writes kept five minutes and an hour. Without a split the total is taken at five minutes, the default of every provider."""
    five_minutes, one_hour = count(split, "ephemeral_5m_input_tokens"), count(split, "ephemeral_1h_input_tokens")
    parts = (five_minutes or 0) + (one_hour or 0)
    if parts == 0:
        return written, 0
    if written not in {0, parts}:
        raise Contradiction(f"{written} tokens were written to the cache, and {five_minutes} + {one_hour} by lifetime")
    return five_minutes or 0, one_hour or 0
