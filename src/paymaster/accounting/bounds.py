"""The largest figures of one call that are believed, in a request, an answer or a hold; knows no provider and no ledger.

A figure from outside is checked where it enters: beyond these, a request is invalid, and the usage of an answer is unknown.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.errors import RequestInvalid

MOST_TOKENS = 2**31 - 1
"""More than any prompt or answer has; what programs send that mean "as many as possible"."""

MOST_CHOICES = 10_000
"""More answers to one request than any provider gives."""

MOST_DIMENSIONS = 1_000_000
"""More numbers than any vector has."""

LONGEST_MODEL_NAME = 300
"""More characters than the name of a model has in any answer."""

LARGEST_CALL_USD = 100_000
LARGEST_CALL_NANOUSD = LARGEST_CALL_USD * NANOUSD_PER_USD
"""No call costs that much. A ledger on Redis counts to 90 times as much in one account."""

LARGEST_BUDGET_USD = 1_000_000_000
"""A ledger counts nano-dollars in 64 bits, which ends at nine thousand million dollars."""

LARGEST_RATE = 1_000_000
"""Dollars per million tokens, or per thousand: more than any model costs."""

LARGEST_LIMIT = 10**12
"""The greatest limit of a registry or a key: requests and tokens in a minute or a day, calls at the same time."""

LARGEST_TOTAL = 10**15
"""The greatest budget in tokens or requests. A ledger on Redis counts up to nine times as much exactly."""

MOST_SECONDS = 30 * 86_400
"""A month: the greatest time limit of a registry or a call."""

LARGEST_NUMBER = 10**308
"""JSON's readers take larger ones for infinity, or refuse them."""

COUNT_FIELDS: Mapping[str, int] = MappingProxyType(
    {
        "max_tokens": MOST_TOKENS,
        "max_completion_tokens": MOST_TOKENS,
        "max_output_tokens": MOST_TOKENS,
        "n": MOST_CHOICES,
        "dimensions": MOST_DIMENSIONS,
    }
)
"""The fields of a request that are counts from 1 on, by OpenAI's names, each with its greatest value."""

_SHOWN_CHARS = 60
_SHOWN_BITS = 128


def read_count(name: str, value: object, most: int) -> int:
    """The value of a field that is a count from 1 to `most`. Raises RequestInvalid, which names the field."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestInvalid(f"{name} must be a whole number of at least 1, got {shown(value)}")
    if value > most:
        raise RequestInvalid(f"{name} must be at most {most:,}, got {shown(value)}")
    return value


def limit_usd(amount: float) -> Decimal:
    """A limit in dollars that another program states, where 0 means none; 0 for one that no ledger counts, such as infinity."""
    return Decimal(str(amount)) if 0 < amount <= LARGEST_BUDGET_USD else Decimal(0)


def shown(value: object) -> str:
    """A value for an error message, short: Python refuses to write out an integer of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"a number of about {value.bit_length() * 30_103 // 100_000 + 1:,} digits"
    if isinstance(value, list | tuple | dict):
        return "a list" if isinstance(value, list | tuple) else "a map"
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
