"""Reads and writes price data in the published shape of genai-prices, within bounds; knows that shape, and neither files nor networks.

The data comes from a network: every figure, name and pattern is checked before it is used. One mistake refuses the whole text, because
a text with a mistake may have others that cannot be seen. Unknown keys are ignored, since the shape grows.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import TypeAlias, TypeVar

from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from paymaster.accounting.bounds import LARGEST_RATE, MOST_TOKENS, shown

MOST_PROVIDERS = 1_000
MOST_MODELS = 50_000
MOST_ITEMS = 1_000
"""Prices of one model, clauses of one match, tiers of one price."""
MOST_CHARACTERS = 300
"""The longest name, key or pattern."""
MOST_DECIMALS = 20
"""Digits after the point of a rate: a rate of more digits makes every cost a number of thousands of digits."""
MOST_NESTING = 5
MOST_DOUBLINGS = 22
"""How often one pattern may double the time of a search. A choice (`?`, `|`) doubles it once, a repeat (`*`, `+`, `{2,}`) six times."""

_TEXT_CLAUSES: Mapping[str, Callable[[str], MatchLogic]] = {
    "equals": ClauseEquals,
    "starts_with": ClauseStartsWith,
    "ends_with": ClauseEndsWith,
    "contains": ClauseContains,
    "regex": ClauseRegex,
}
_PATTERN_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}|.", re.DOTALL)
_BACK_REFERENCE = re.compile(r"\\[1-9]|\(\?P=|\(\?\(")
_DOUBLINGS: Mapping[str, int] = {"?": 1, "|": 1, "*": 6, "+": 6}

_Constraint: TypeAlias = StartDateConstraint | TimeOfDateConstraint | None
T = TypeVar("T")


class PriceDataInvalid(ValueError):
    """The text is not price data; the message names the place and the mistake."""


def read_published(text: bytes | str) -> list[Provider]:
    """The providers with their models. Raises PriceDataInvalid for the first mistake."""
    try:
        tree = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise PriceDataInvalid("it is nested too deeply") from None
    except ValueError as error:
        raise PriceDataInvalid(f"it is not JSON: {error}") from None
    providers = _list(tree, "the data", MOST_PROVIDERS, lambda item, where: _provider(_map(item, where), where))
    if not any(provider.models for provider in providers):
        raise PriceDataInvalid("it has no model")
    if sum(len(provider.models) for provider in providers) > MOST_MODELS:
        raise PriceDataInvalid(f"it has more than {MOST_MODELS:,} models")
    _refuse_repeated([provider.id for provider in providers], "the provider")
    return providers


def _refuse_constant(name: str) -> object:
    raise PriceDataInvalid(f"it has the number {name}")


def _provider(row: Mapping[str, object], where: str) -> Provider:
    name = _text(row.get("id"), f"{where}.id")
    return Provider(
        id=name,
        name=_text(row.get("name", name), f"{where}.name"),
        api_pattern="",
        model_match=_optional(row.get("model_match"), f"{where}.model_match", _match),
        fallback_model_providers=_optional(
            row.get("fallback_model_providers"), f"{where}.fallback_model_providers", lambda item, at: _list(item, at, MOST_ITEMS, _text)
        ),
        models=_list(row.get("models"), f"{name}.models", MOST_MODELS, lambda item, at: _model(name, _map(item, at), at)),
    )


def _model(provider: str, row: Mapping[str, object], where: str) -> ModelInfo:
    name = _text(row.get("id"), f"{where}.id")
    where = f"{provider} {name}"
    return ModelInfo(
        id=name,
        match=_match(row.get("match"), f"{where}: match"),
        name=_optional(row.get("name"), f"{where}: name", _text),
        context_window=_optional(row.get("context_window"), f"{where}: context_window", _count),
        deprecated=True if row.get("deprecated") is True else None,
        prices=_prices(row.get("prices"), f"{where}: prices"),
        price_variants=_optional(
            row.get("price_variants"), f"{where}: price_variants", lambda item, at: _list(item, at, MOST_ITEMS, _variant)
        ),
    )


def _prices(value: object, where: str) -> ModelPrice | list[ConditionalPrice]:
    if isinstance(value, list):
        prices = _list(value, where, MOST_ITEMS, _conditional)
        if not prices:
            raise PriceDataInvalid(f"{where} is an empty list")
        return prices
    return _price(value, where)


def _conditional(value: object, where: str) -> ConditionalPrice:
    row = _map(value, where)
    return ConditionalPrice(_constraint(row.get("constraint"), f"{where}.constraint"), prices=_price(row.get("prices"), f"{where}.prices"))


def _variant(value: object, where: str) -> PriceVariant:
    row = _map(value, where)
    when = {key: _text(item, f"{where}.when.{key}") for key, item in _map(row.get("when"), f"{where}.when").items()}
    if not when:
        raise PriceDataInvalid(f"{where}.when is empty")
    prices = _price(row.get("prices"), f"{where}.prices")
    return PriceVariant(when=when, prices=prices, constraint=_constraint(row.get("constraint"), f"{where}.constraint"))


def _constraint(value: object, where: str) -> _Constraint:
    if value is None:
        return None
    row = _map(value, where)
    try:
        if "start_date" in row:
            return StartDateConstraint(date.fromisoformat(_text(row["start_date"], where)))
        return TimeOfDateConstraint(*(time.fromisoformat(_text(row.get(key), where)) for key in ("start_time", "end_time")))
    except ValueError as error:
        raise PriceDataInvalid(f"{where} is neither a start_date nor a start_time and an end_time: {error}") from None


def _price(value: object, where: str) -> ModelPrice:
    row = _map(value, where)
    rates = {_text(key, where): _rates(rate, f"{where}.{key}") for key, rate in row.items() if rate is not None}
    return ModelPrice(**{key: rate for key, rate in rates.items() if not key.startswith("_")})


def _rates(value: object, where: str) -> Decimal | TieredPrices:
    if not isinstance(value, Mapping):
        return _rate(value, where)
    tiers = _list(value.get("tiers"), f"{where}.tiers", MOST_ITEMS, _tier)
    return TieredPrices(base=_rate(value.get("base"), f"{where}.base"), tiers=tiers)


def _tier(value: object, where: str) -> Tier:
    row = _map(value, where)
    return Tier(start=_count(row.get("start"), f"{where}.start"), price=_rate(row.get("price"), f"{where}.price"))


def _rate(value: object, where: str) -> Decimal:
    """A rate: a number, not a text that looks like one."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PriceDataInvalid(f"{where} must be a number, and is {shown(value)}")
    rate = Decimal(value)
    if not 0 <= rate <= LARGEST_RATE:
        raise PriceDataInvalid(f"{where} must be between 0 and {LARGEST_RATE:,}, and is {shown(value)}")
    exponent = rate.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MOST_DECIMALS:
        raise PriceDataInvalid(f"{where} has more than {MOST_DECIMALS} digits after the point")
    return rate


def _count(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise PriceDataInvalid(f"{where} must be a whole number from 0 to {MOST_TOKENS:,}, and is {shown(value)}")
    return value


def _match(value: object, where: str, nesting: int = 1) -> MatchLogic:
    row = _map(value, where)
    if nesting > MOST_NESTING:
        raise PriceDataInvalid(f"{where} is nested too deeply")
    for key, clause in (("or", ClauseOr), ("and", ClauseAnd)):
        if key in row:
            return clause(_list(row[key], f"{where}.{key}", MOST_ITEMS, lambda item, at: _match(item, at, nesting + 1)))
    for key, text_clause in _TEXT_CLAUSES.items():
        if key in row:
            text = _text(row[key], f"{where}.{key}")
            return text_clause(_pattern(text, f"{where}.{key}") if key == "regex" else text)
    raise PriceDataInvalid(f"{where} has none of {', '.join([*_TEXT_CLAUSES, 'or', 'and'])}")


def _pattern(text: str, where: str) -> str:
    """A regular expression that cannot take long: no repeated group, no reference to a group, few choices and repeats."""
    doublings, before = 0, ""
    for part in _PATTERN_PARTS.findall(text):
        repeats = part in {"*", "+"} or (part.startswith("{") and len(part) > 1)
        if repeats and before == ")":
            doublings += MOST_DOUBLINGS + 1
        doublings += 6 if part.startswith("{") and "," in part else 0 if before == "(" else _DOUBLINGS.get(part, 0)
        before = part
    if doublings > MOST_DOUBLINGS or _BACK_REFERENCE.search(text):
        raise PriceDataInvalid(f"{where} is a pattern that may take too long: {shown(text)}")
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise PriceDataInvalid(f"{where} is not a regular expression: {error}") from None
    return text


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_CHARACTERS:
        raise PriceDataInvalid(f"{where} must be a text of at most {MOST_CHARACTERS} characters, and is {shown(value)}")
    return value


def _map(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise PriceDataInvalid(f"{where} must be a map, and is {shown(value)}")
    return value


def _list(value: object, where: str, most: int, read: Callable[[object, str], T]) -> list[T]:
    if not isinstance(value, list):
        raise PriceDataInvalid(f"{where} must be a list, and is {shown(value)}")
    if len(value) > most:
        raise PriceDataInvalid(f"{where} has more than {most:,} items")
    return [read(item, f"{where}[{number}]") for number, item in enumerate(value)]


def _optional(value: object, where: str, read: Callable[[object, str], T]) -> T | None:
    return None if value is None else read(value, where)


def _refuse_repeated(names: Sequence[str], what: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise PriceDataInvalid(f"it has {what} {repeated[0]} twice")


def write_published(providers: Sequence[Provider]) -> str:
    """The same data as JSON, one model a line: what `read_published` reads, and nothing else."""
    return "[\n" + ",\n".join(_written_provider(provider) for provider in providers) + "\n]\n"


def _written_provider(provider: Provider) -> str:
    head: dict[str, object] = {"id": provider.id, "name": provider.name}
    if provider.model_match is not None:
        head["model_match"] = _written_match(provider.model_match)
    if provider.fallback_model_providers is not None:
        head["fallback_model_providers"] = provider.fallback_model_providers
    models = ",\n".join(_json(written_model(model)) for model in provider.models)
    return f'{_json(head)[:-1]},"models":[\n{models}\n]}}'


def written_model(model: ModelInfo) -> dict[str, object]:
    """One model as JSON has it; two models are alike if this is the same."""
    row: dict[str, object] = {"id": model.id, "match": _written_match(model.match)}
    row |= {key: value for key in ("name", "context_window", "deprecated") if (value := getattr(model, key)) is not None}
    if isinstance(model.prices, ModelPrice):
        row["prices"] = _written_price(model.prices)
    else:
        row["prices"] = [{**_written_constraint(price.constraint), "prices": _written_price(price.prices)} for price in model.prices]
    if model.price_variants:
        row["price_variants"] = [
            {"when": variant.when, **_written_constraint(variant.constraint), "prices": _written_price(variant.prices)}
            for variant in model.price_variants
        ]
    return row


def _written_match(match: MatchLogic) -> dict[str, object]:
    match match:
        case ClauseOr(or_=clauses):
            return {"or": [_written_match(clause) for clause in clauses]}
        case ClauseAnd(and_=clauses):
            return {"and": [_written_match(clause) for clause in clauses]}
        case clause:
            return dict(vars(clause))


def _written_constraint(constraint: _Constraint) -> dict[str, object]:
    return {} if constraint is None else {"constraint": {key: value.isoformat() for key, value in vars(constraint).items()}}


def _written_price(price: ModelPrice) -> dict[str, object]:
    return {key: _written_rate(value) for key, value in vars(price).items() if value is not None}


def _written_rate(value: Decimal | TieredPrices) -> object:
    if isinstance(value, Decimal):
        return value
    return {"base": value.base, "tiers": [{"start": tier.start, "price": tier.price} for tier in value.tiers]}


def _json(value: object) -> str:
    return "".join(_pieces(value))


def _pieces(value: object) -> Iterator[str]:
    """JSON with every digit of a Decimal; Python's own encoder knows only floats."""
    match value:
        case Decimal():
            yield format(value, "f")
        case dict():
            for number, (key, item) in enumerate(value.items()):
                yield f"{',' if number else '{'}{json.dumps(key)}:"
                yield from _pieces(item)
            yield "}" if value else "{}"
        case list():
            yield "["
            for number, item in enumerate(value):
                yield "," if number else ""
                yield from _pieces(item)
            yield "]"
        case _:
            yield json.dumps(value, ensure_ascii=False)
