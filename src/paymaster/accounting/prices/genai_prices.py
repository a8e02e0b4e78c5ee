"""Converts an entry of genai-prices into our own prices, one per period; knows that package's types, not how an entry is found."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TypeAlias

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
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from paymaster.accounting.bounds import LARGEST_RATE
from paymaster.accounting.prices.names import core, without_snapshots
from paymaster.accounting.prices.price import ALWAYS, Period, Price
from paymaster.accounting.prices.rates import Rates, RateTable, Tier
from paymaster.accounting.prices.supplement import Supplement

_METERS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_5m_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "input_video_mtok": "input_video",
    "cache_image_read_mtok": "cache_read_image",
    "output_image_mtok": "output_image",
    "output_video_mtok": "output_video",
    "web_searches_kcount": "web_search",
    "requests_kcount": "request",
    "audio_hours": "audio_hour",
    "input_audio_hours": "audio_hour",
}
_PER_UNITS = {"web_search": 1_000, "request": 1_000, "audio_hour": 1_000_000}
"""What turns a rate of the package into one per million."""
_BASES = frozenset({"input_mtok", "audio_hours", "input_audio_hours"})
_NOT_IN_USAGE = frozenset({"storage_searches_kcount"})
_MODE_KEYS = frozenset({"processing", "service_tier", "speed"})

Values: TypeAlias = Mapping[str, Decimal | TieredPrices]
_Leaf: TypeAlias = ClauseContains | ClauseEndsWith | ClauseEquals | ClauseRegex | ClauseStartsWith


def is_named(provider: str, name: str, model: ModelInfo) -> bool:
    """Whether `name` (lower case), which the entry matches, is the model itself or a snapshot of it, and not an unknown variant."""
    if name.startswith("ft:"):
        name = ":".join(name.split(":")[:2])  # a fine-tuned model is billed by its base model: ft:gpt-4o-2024-08-06:team::id
    texts, patterns = _spelled(model.match)
    own = {model.id.lower(), *texts}
    if name in own or any(re.search(pattern, name) for pattern in patterns):
        return True
    cores = {core(provider, text.rstrip("-@.")) for text in own}
    return any(core(provider, shorter) in cores for shorter in without_snapshots(name))


def _spelled(match: MatchLogic) -> tuple[set[str], set[str]]:
    """The texts of a match, in lower case, and its patterns that match a whole name."""
    texts: set[str] = set()
    patterns: set[str] = set()
    for clause in _leaves(match):
        match clause:
            case ClauseRegex(regex=pattern):
                patterns |= {pattern} if pattern.startswith("^") and pattern.endswith("$") else set()
            case ClauseEquals(equals=text) | ClauseStartsWith(starts_with=text) | ClauseContains(contains=text):
                texts.add(text.lower())
            case _:
                texts.add(clause.ends_with.lower())
    return texts, patterns


def _leaves(match: MatchLogic) -> Iterator[_Leaf]:
    match match:
        case ClauseOr(or_=clauses) | ClauseAnd(and_=clauses):
            for clause in clauses:
                yield from _leaves(clause)
        case leaf:
            yield leaf


def names_of(model: ModelInfo) -> tuple[str, ...]:
    """The names that the entry spells out, in lower case, its id first."""
    return tuple(dict.fromkeys((model.id.lower(), *sorted(_spelled(model.match)[0]))))


def starts_of(model: ModelInfo) -> set[datetime]:
    """Every moment at which a price of the entry starts by its date."""
    constraints = [price.constraint for price in _conditional(model)] + [variant.constraint for variant in model.price_variants or ()]
    return {_start(constraint) for constraint in constraints if isinstance(constraint, StartDateConstraint)}


def newest_start(model: ModelInfo, at: datetime) -> datetime:
    """When the list price in force at this moment started, by the dates in the entry. A tier's date is often the day it was recorded."""
    starts = (_start(price.constraint) for price in _conditional(model) if isinstance(price.constraint, StartDateConstraint))
    return max((start for start in starts if start <= at), default=ALWAYS)


def values_at(model: ModelInfo, at: datetime) -> dict[str, Values] | None:
    """The entry's own rates at this moment: list price under the empty name, and each other tier. None if it has no price that counts."""
    listed = _listed(model, at)
    if any(isinstance(price.constraint, TimeOfDateConstraint) for price in _conditional(model)) or not _is_countable(model, listed):
        return None
    return {"": listed, **_modes(model, listed, at)}


def extract_periods(provider: str, model: ModelInfo, supplement: Supplement, source: str) -> tuple[Period, ...]:
    """Every period of the model's price at `provider` (a canonical id), ascending; the first one starts at the beginning of time."""
    corrections = [row for row in supplement.correction if row.provider == provider and model.id in row.models]
    starts = {ALWAYS, *(row.start for row in corrections), *(row.until for row in corrections)}
    starts |= starts_of(model)
    return tuple(Period(start, _price(provider, model, start, supplement, source)) for start in sorted(starts))


def _price(provider: str, model: ModelInfo, at: datetime, supplement: Supplement, source: str) -> Price | None:
    listed = _listed(model, at)
    if any(isinstance(price.constraint, TimeOfDateConstraint) for price in _conditional(model)) or not _is_countable(model, listed):
        return None
    corrections = [row.rates for row in supplement.correction if row.applies(provider, model.id, at)]
    table = _corrected(_table(listed), corrections)
    modes = {name: _table(values) for name, values in _modes(model, listed, at).items()}
    for row in supplement.factor:
        if row.applies(provider, model.id) and not (row.only_if_missing and row.mode in modes):
            modes[row.mode] = table.multiplied(row.factor, row.meters)
    return Price(
        table=table,
        source=source,
        modes=tuple(modes.items()),
        # Claude writes to its cache only if the request marks it; other providers that bill cache writes write unasked.
        writes_cache_unasked="cache_write_mtok" in listed and "claude" not in model.id.lower(),
        us_factor=supplement.us_factors.get(provider),
    )


def _is_countable(model: ModelInfo, values: Values) -> bool:
    """Whether an answer's usage has every count that the model is billed by. An empty price is free only if the name ends in `:free`.

    An entry with a rate that nobody can mean is no price.
    """
    if not values:
        return model.id.endswith(":free")
    return _are_believed(values) and values.keys() <= _METERS.keys() | _NOT_IN_USAGE and not _BASES.isdisjoint(values)


def _are_believed(values: Values) -> bool:
    """Whether every rate is finite, not negative, and no more than a registry's may be."""
    rates = [rate for value in values.values() for rate in _all_rates(value)]
    return all(rate.is_finite() and 0 <= rate <= LARGEST_RATE for rate in rates)


def _all_rates(value: Decimal | TieredPrices) -> list[Decimal]:
    return [value] if isinstance(value, Decimal) else [value.base, *(tier.price for tier in value.tiers)]


def _conditional(model: ModelInfo) -> list[ConditionalPrice]:
    return [ConditionalPrice(prices=model.prices)] if isinstance(model.prices, ModelPrice) else model.prices


def _listed(model: ModelInfo, at: datetime) -> Values:
    """The list price at that moment: the last entry that has started, as the package defines it."""
    prices = _conditional(model)
    begun = [price for price in prices if not isinstance(price.constraint, TimeOfDateConstraint) and _start(price.constraint) <= at]
    return _values((begun or prices)[-1 if begun else 0].prices)


def _values(price: ModelPrice) -> Values:
    return {key: value for key, value in vars(price).items() if value is not None and not key.startswith("_")}


def _start(constraint: StartDateConstraint | TimeOfDateConstraint | None) -> datetime:
    return datetime.combine(constraint.start_date, time(), UTC) if isinstance(constraint, StartDateConstraint) else ALWAYS


def _modes(model: ModelInfo, listed: Values, at: datetime) -> dict[str, Values]:
    """The prices of other tiers, each complete.

    A variant's start is often just the day it was recorded: before that day its rates apply too, if the list price was the same.
    """
    rates: dict[str, dict[str, Decimal | TieredPrices]] = {}
    for begun in (True, False):
        for variant in model.price_variants or ():
            start, name = _start(variant.constraint), _mode_name(variant)
            holds = start <= at if begun else start > at and _listed(model, start) == listed
            if name is not None and holds:
                for key, value in _values(variant.prices).items():
                    rates.setdefault(name, {}).setdefault(key, value)  # of two variants, the earlier one wins for each rate
    return {name: {**listed, **own} for name, own in rates.items() if _are_believed(own)}


def _mode_name(variant: PriceVariant) -> str | None:
    keys = variant.when.keys()
    return next(iter(variant.when.values())) if len(keys) == 1 and keys <= _MODE_KEYS else None


def _table(values: Values) -> RateTable:
    starts = {tier.start for value in values.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    return RateTable.of(rates_of(values, 0), [Tier.above(start, rates_of(values, start + 1)) for start in starts])


def rates_of(values: Values, prompt_tokens: int) -> Rates:
    """All rates for a prompt of this length, missing ones filled in."""
    rates: dict[str, Decimal] = {}
    for key, value in values.items():
        meter = _METERS.get(key)
        if meter is not None:
            rate = rate_of(value, prompt_tokens) * _PER_UNITS.get(meter, 1)
            rates[meter] = max(rate, rates.get(meter, rate))
    free = Decimal(0)
    return Rates(**{"input": free, "output": rates.get("input", free)} | rates)


def rate_of(value: Decimal | TieredPrices, prompt_tokens: int) -> Decimal:
    """A rate for a prompt of this length."""
    if isinstance(value, Decimal):
        return value
    rate = value.base
    for tier in value.tiers:
        if prompt_tokens > tier.start:
            rate = tier.price
    return rate


def _corrected(table: RateTable, corrections: Iterable[Mapping[str, Decimal]]) -> RateTable:
    for rates in corrections:
        table = RateTable(tuple(Tier(tier.from_prompt_tokens, tier.rates.replaced(**rates)) for tier in table.tiers))
    return table
