"""The types of values in a registry (amounts, counts, times, names), with their parsers and error messages; knows no key.

Numbers may be given as text (YAML 1.1 readers give `5e-3` as text). Nothing else is converted: `true` is not a number.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Annotated, Literal, NoReturn, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from paymaster.accounting.bounds import COUNT_FIELDS, LARGEST_BUDGET_USD, LARGEST_LIMIT, LARGEST_RATE, LARGEST_TOTAL, MOST_SECONDS
from paymaster.accounting.prices.rates import in_utc
from paymaster.errors import near
from paymaster.registry.prefill import Prefill
from paymaster.registry.secrets import (
    REFERENCE,
    VARIABLE_NAME,
    filled,
    holds_a_secret,
    looks_like_a_secret,
    names_a_secret,
    shown,
    variable_names,
)

MOST_DECIMALS = 18
MINUTES_PER_DAY = 24 * 60
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOURS = re.compile(r"(\d\d):([0-5]\d) ?- ?(\d\d):([0-5]\d)")


def refuse(message: str, suggestion: str = "") -> NoReturn:
    """Fail validation with a message and perhaps a suggestion, both for a person."""
    # The message is an argument, not the template, so that braces in it stay as they are.
    raise PydanticCustomError("registry", "{message}", {"message": message, "suggestion": suggestion})


def read_number(value: object, expected: str) -> Decimal:
    """A number with exactly the written digits. `expected` completes "must be …"."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        refuse(f"must be {expected}, got {shown(value)}")
    try:
        number = Decimal(value) if isinstance(value, int) else Decimal(str(value).strip().replace("_", ""))
    except InvalidOperation:
        refuse(f"must be {expected}, got {shown(value)}")
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        refuse(f"must be {expected}, got {shown(value)}")
    if exponent < -MOST_DECIMALS:
        refuse(f"must have at most {MOST_DECIMALS} decimals")
    return number


def _number_between(least: Decimal | int, most: Decimal | int, expected: str) -> Callable[[object], Decimal]:
    def read(value: object) -> Decimal:
        number = read_number(value, expected)
        if number < least:
            refuse(f"must be {expected}, got {shown(value)}")
        if number > most:
            refuse(f"must be at most {most:,}, got {shown(value)}")
        return number

    return read


def _whole(least: int, most: int, expected: str) -> Callable[[object], int]:
    read_between = _number_between(least, most, expected)

    def read(value: object) -> int:
        number = read_between(value)
        if number != number.to_integral_value():
            refuse(f"must be {expected}, got {shown(value)}")
        return int(number)

    return read


def _count_or_auto(value: object) -> int | str:
    read = _whole(1, LARGEST_LIMIT, "a whole number of at least 1, or auto")
    return "auto" if isinstance(value, str) and value.strip() == "auto" else read(value)


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    # The booleans of YAML 1.1, and usual values of environment variables.
    text = value.lower() if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    if text in {"true", "yes", "on", "1"}:
        return True
    if text in {"false", "no", "off", "0"}:
        return False
    refuse(f"must be true or false, got {shown(value)}")


def _prefill_stated(value: object) -> bool | str:
    if isinstance(value, str) and value in set(Prefill):
        return value
    if not isinstance(value, bool):
        refuse(f"must be true, false or a known form, got {shown(value)}", near(str(value), Prefill))
    return value


def read_text(value: object) -> str:
    """Text that is not empty, without surrounding spaces."""
    # YAML reads a model's name such as 4.1 or 2025 as a number.
    text = str(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip():
        refuse(f"must be text, got {shown(value)}")
    return text.strip()


def _label(value: object) -> str:
    text = read_text(value)
    if not _LABEL.fullmatch(text) or looks_like_a_secret(text):
        refuse(f"must be letters, digits, `.`, `_` and `-`, at most 64, and begin with a letter or a digit; got {shown(value)}")
    return text


def _account(value: object) -> str:
    text = read_text(value)
    if looks_like_a_secret(text):
        refuse("must be a name, and not the key itself: the ledger's accounts are made of it", "account: team-a")
    if variable_names(text):
        refuse(f"must be a name, and no variable is put in here, got {shown(text)}", "account: team-a")
    return text


def read_names(value: object) -> list[str]:
    """One name or a list of names."""
    items = value if isinstance(value, list | tuple) else [value]
    return [read_text(item) for item in items]


def _variables(value: object) -> list[str]:
    names = read_names(value)
    for name in names:
        if not VARIABLE_NAME.fullmatch(name) or looks_like_a_secret(name):
            refuse("must be the name of an environment variable, such as OPENAI_API_KEY, and not the key itself")
    return names


def _key_references(value: object) -> str:
    """`$NAME`, or several joined by `:::`. The message never shows the value, which may be a key."""
    parts = value.split(":::") if isinstance(value, str) else []
    if not parts or not all(REFERENCE.fullmatch(part.strip()) for part in parts):
        refuse(
            "a registry must not contain a key",
            "put the key into an environment variable and write $NAME here, as in api_key: $OPENAI_API_KEY",
        )
    return str(value)


def _written_address(value: object) -> str:
    """An address as it is written: a dollar sign begins a variable, and `$$` is one that does not."""
    if isinstance(value, str) and "$" in filled(value.replace("$$", ""), lambda _: "1"):
        refuse("has a $ that begins no name of a variable", "write $NAME or ${NAME}")
    return read_address(value)


def read_address(value: object) -> str:
    """An address of a server. A variable in it stands for any part: it is put in, and read again, when the registry is completed."""
    text = value.strip() if isinstance(value, str) else ""
    example = filled(text, lambda _: "1")
    try:
        parts = urlsplit(f"http://{example}" if REFERENCE.match(text) else example)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        refuse("must be an http:// or https:// address; this one can't be parsed")
    if parts.username or parts.password or parts.query or parts.fragment:
        refuse("must have no user, password, query or fragment", "put a key into an environment variable: api_key: $NAME")
    if not valid:
        near = f"did you mean http://{text}?" if text and "://" not in text and not looks_like_a_secret(text) else ""
        refuse(f"must be an http:// or https:// address, got {shown(value)}", near)
    return text.rstrip("/")


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        refuse(f"must be a map of header names to text, got {shown(value)}")
    for name, text in value.items():
        if not isinstance(text, str | int | Decimal) or isinstance(text, bool) or "\n" in str(text) or "\r" in str(text):
            refuse(f"{name}: must be one line of text")
        if holds_a_secret(str(name), str(text)):
            refuse(f"{name}: a registry must not contain a key", f"put the key into an environment variable and write {name}: $NAME")
    return {str(name): str(text) for name, text in value.items()}


def _params(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        refuse(f"must be a map of request parameters, got {shown(value)}")
    for name in sorted(_SET_BY_CALLS.intersection(value)):
        refuse(f"{name}: is no default parameter: each call sets its own")
    return {name: _params(item) if name == "extra_body" else _read_param(name, item) for name, item in value.items()}


_SET_BY_CALLS = frozenset({"model", "messages", "input"})
"""Another model than the one that is priced, and another prompt than the one that is counted, would be sent."""


def _read_param(name: str, value: object) -> object:
    return (_count_param if name in COUNT_FIELDS else _param)(name, value)


def _count_param(name: str, value: object) -> object:
    """A parameter that is a count, within the bounds of a request; null leaves it to the endpoint."""
    try:
        return None if value is None else _whole(1, COUNT_FIELDS[name], "a whole number of at least 1")(value)
    except PydanticCustomError as error:
        refuse(f"{name}: {error.message()}")


def _param(name: str, value: object) -> object:
    """A parameter as JSON: no Decimal, no infinity, no secret."""
    if isinstance(value, str) and _holds_a_key(name, value):
        refuse(f"{name}: a registry must not contain a key", "put the key into an environment variable and write api_key: $NAME")
    match value:
        case Decimal() | float():
            number = float(value)
            if not isfinite(number):
                refuse(f"{name}: must be a finite number")
            return number
        case list():
            return [_param(name, item) for item in value]
        case Mapping():
            return {str(key): _param(str(key), item) for key, item in value.items()}
        case _:
            return value


def _holds_a_key(name: str, text: str) -> bool:
    """Whether a parameter has a key in it; a variable stands for one, and is none."""
    bare = filled(text, lambda _: "")
    return looks_like_a_secret(bare) or (names_a_secret(name) and not variable_names(text))


def _moment(value: object) -> datetime:
    """A day (its first moment) or a moment; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(value.strip() if isinstance(value, str) else "")
    except ValueError:
        refuse(f"must be a day like 2027-01-01 or a moment like 2027-01-01T08:00:00Z, got {shown(value)}")
    return in_utc(moment)


def _dates(value: object) -> frozenset[date]:
    return frozenset(_moment(item).date() for item in (value if isinstance(value, list | tuple) else [value]))


def _windows(value: object) -> tuple[tuple[int, int], ...]:
    """Hours as minutes of the day; hours over midnight become two windows."""
    windows: list[tuple[int, int]] = []
    for text in read_names(value):
        found = _HOURS.fullmatch(text)
        start, end = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (0, 0)
        if start == end or start >= MINUTES_PER_DAY or end > MINUTES_PER_DAY:
            refuse(f"must be hours like 01:00-04:00, got {shown(text)}")
        windows += [(start, end)] if start < end else [(start, MINUTES_PER_DAY), (0, end)]
    return tuple(window for window in windows if window[0] < window[1])


def _number_schema(kind: str, least: int, most: object = None) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "minimum": least} | ({} if most is None else {"maximum": most}))


NAMES_SCHEMA = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})

read_usd = _number_between(0, LARGEST_BUDGET_USD, "an amount in dollars, 0 or more")
"""An amount of dollars, as a registry and a flag have it."""

read_total = _whole(0, LARGEST_TOTAL, "a whole number, 0 or more")
"""An amount of tokens or requests, as a registry and a flag have it."""

_rate = _number_between(0, LARGEST_RATE, "a price in dollars, 0 or more")
_fee = _number_between(0, 1_000, "a fee in dollars, 0 or more")
_factor = _number_between(Decimal("0.0001"), 1_000, "a factor above 0")
_seconds = _number_between(Decimal("0.001"), MOST_SECONDS, "a time in seconds, at least 0.001")
_share = _number_between(Decimal("0.01"), 1, "a share between 0.01 and 1")

Usd: TypeAlias = Annotated[Decimal, BeforeValidator(read_usd), _number_schema("number", 0)]
Total: TypeAlias = Annotated[int, BeforeValidator(read_total), _number_schema("integer", 0)]
Rate: TypeAlias = Annotated[Decimal, BeforeValidator(_rate), _number_schema("number", 0)]
Fee: TypeAlias = Annotated[Decimal, BeforeValidator(_fee), _number_schema("number", 0)]
Factor: TypeAlias = Annotated[Decimal, BeforeValidator(_factor), _number_schema("number", 0)]
Seconds: TypeAlias = Annotated[Decimal, BeforeValidator(_seconds), _number_schema("number", 0)]
Share: TypeAlias = Annotated[Decimal, BeforeValidator(_share), _number_schema("number", 0, 1)]
Count: TypeAlias = Annotated[int, BeforeValidator(_whole(1, LARGEST_LIMIT, "a whole number of at least 1")), _number_schema("integer", 1)]
CountOrAuto: TypeAlias = Annotated[
    int | Literal["auto"],
    BeforeValidator(_count_or_auto),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]
PrefillStated: TypeAlias = Annotated[
    bool | str,
    BeforeValidator(_prefill_stated),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": [*Prefill]}]}),
]
CountFromZero: TypeAlias = Annotated[int, BeforeValidator(_whole(0, 1_000, "a whole number, 0 or more")), _number_schema("integer", 0)]
Switch: TypeAlias = Annotated[bool, BeforeValidator(_switch), WithJsonSchema({"type": "boolean"})]
Text: TypeAlias = Annotated[str, BeforeValidator(read_text), WithJsonSchema({"type": "string", "minLength": 1})]
AccountName: TypeAlias = Annotated[str, BeforeValidator(_account), WithJsonSchema({"type": "string", "minLength": 1})]
Label: TypeAlias = Annotated[
    str, BeforeValidator(_label), WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})
]
Names: TypeAlias = Annotated[list[str], BeforeValidator(read_names), NAMES_SCHEMA]
VariableNames: TypeAlias = Annotated[list[str], BeforeValidator(_variables), NAMES_SCHEMA]
KeyReferences: TypeAlias = Annotated[str, BeforeValidator(_key_references), WithJsonSchema({"type": "string", "pattern": r"^\$"})]
BaseUrl: TypeAlias = Annotated[str, BeforeValidator(_written_address), WithJsonSchema({"type": "string", "pattern": r"^(https?://|\$)"})]
Headers: TypeAlias = Annotated[
    dict[str, str], BeforeValidator(_headers), WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}})
]
Params: TypeAlias = Annotated[dict[str, object], BeforeValidator(_params), WithJsonSchema({"type": "object"})]
Moment: TypeAlias = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d"})]
WrittenDates: TypeAlias = Annotated[
    frozenset[date], BeforeValidator(_dates), WithJsonSchema({"type": "array", "items": {"type": "string", "format": "date"}})
]
Windows: TypeAlias = Annotated[tuple[tuple[int, int], ...], BeforeValidator(_windows), NAMES_SCHEMA]
