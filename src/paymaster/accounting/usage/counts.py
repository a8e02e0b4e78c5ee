"""Reads numbers from a provider's usage object by any of several names; knows which values are valid, not what they mean.

A figure that no call has is a contradiction, so that the hold is charged instead.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from paymaster.accounting.bounds import LARGEST_CALL_USD, MOST_TOKENS, shown
from paymaster.jsontypes import JsonObject

EMPTY: JsonObject = {}

# A float has at most 324 decimals: other amounts are mistakes, and slow to compute with.
_MOST_DECIMALS = 324


class Contradiction(Exception):
    """The usage contradicts itself. Never leaves this package: it becomes an UnknownUsage."""


class Missing(Exception):
    """The usage lacks a required number. Never leaves this package: it becomes an UnknownUsage."""


def count(source: JsonObject, *names: str, most: int = MOST_TOKENS) -> int | None:
    """The count under the first of `names` that is not null. Raises Contradiction unless it is a whole number from 0 to `most`."""
    for name in names:
        value = source.get(name)
        if value is not None:
            return _whole(name, value, most)
    return None


def count_or_zero(source: JsonObject, *names: str) -> int:
    """The same, 0 if there is none."""
    return count(source, *names) or 0


def required(source: JsonObject, *names: str) -> int:
    """The same; raises Missing if there is none."""
    value = count(source, *names)
    if value is None:
        raise Missing(f"the usage has no {' or '.join(names)}")
    return value


def agreed(**claims: int | None) -> int:
    """The number that several fields repeat; 0 if none has it. Raises Contradiction if they differ."""
    given = {name: value for name, value in claims.items() if value is not None}
    if len(set(given.values())) > 1:
        raise Contradiction("these should be equal: " + ", ".join(f"{name} = {value}" for name, value in given.items()))
    return next(iter(given.values()), 0)


def section(source: JsonObject, *names: str) -> JsonObject:
    """The object under the first of `names` that has one; empty if there is none."""
    for name in names:
        value = source.get(name)
        if value is not None and isinstance(value, Mapping):  # most are missing, and the check against an abstract class is slow
            return value
    return EMPTY


def rows(source: JsonObject, *names: str) -> tuple[JsonObject, ...]:
    """The objects in the list under the first of `names` that has one; none if there is no list."""
    for name in names:
        value = source.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(row for row in value if isinstance(row, Mapping))
    return ()


def word(source: JsonObject, *names: str) -> str | None:
    """The text under the first of `names` that has one, in lower case."""
    for name in names:
        value = source.get(name)
        if isinstance(value, str):
            return value.lower()
    return None


def money(name: str, value: object) -> Decimal:
    """Dollars with the digits that the provider wrote. Raises Contradiction."""
    return amount(name, value, LARGEST_CALL_USD)


def amount(name: str, value: object, most: int) -> Decimal:
    """A number from 0 to `most` with the digits that the provider wrote, not those of a binary float. Raises Contradiction."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise Contradiction(f"{name} is not a number: {shown(value)}")
    try:
        exact = Decimal(value if isinstance(value, int) else str(value))
    except InvalidOperation as error:
        raise Contradiction(f"{name} is not a number: {shown(value)}") from error
    exponent = exact.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MOST_DECIMALS or not 0 <= exact <= most:
        raise Contradiction(f"{name} is not a valid amount: {shown(value)}")
    return exact


def remainder(whole: int, name: str, **parts: int) -> int:
    """`whole` without the parts. Raises Contradiction if they are more."""
    difference = whole - sum(parts.values())
    if difference < 0:
        raise Contradiction(f"{name} = {whole} is less than its parts: " + ", ".join(f"{part} = {value}" for part, value in parts.items()))
    return difference


def _whole(name: str, value: object, most: int) -> int:
    if type(value) is int and 0 <= value <= most:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not _is_finite(value):
        raise Contradiction(f"{name} is not a whole number: {shown(value)}")
    if value > most:
        raise Contradiction(f"{name} is more than any call has: {shown(value)}")
    if value < 0:
        raise Contradiction(f"{name} is negative: {shown(value)}")
    if int(value) != value:  # some servers write 1000.0
        raise Contradiction(f"{name} is not a whole number: {shown(value)}")
    return int(value)


def _is_finite(value: float | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else isinstance(value, int) or math.isfinite(value)


def split_by_lifetime(written: int | None, split: JsonObject) -> tuple[int, int]:
    """Cache writes kept five minutes and an hour. Without a split all are taken at five minutes, every provider's default.

    Raises Contradiction if the split is not of what was written.
    """
    five_minutes, one_hour = count(split, "ephemeral_5m_input_tokens"), count(split, "ephemeral_1h_input_tokens")
    parts = (five_minutes or 0) + (one_hour or 0)
    if parts == 0:
        return written or 0, 0
    if written not in {None, parts}:
        raise Contradiction(f"{written} tokens were written to the cache, but {five_minutes} + {one_hour} by lifetime")
    return five_minutes or 0, one_hour or 0
