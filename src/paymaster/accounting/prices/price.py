"""What a call cost, the most it can cost, and how much output an amount pays for; knows a price and not where it came from."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from paymaster.accounting.decimals import decimals_needed, scaled, unscaled
from paymaster.accounting.money import NANOUSD_PER_USD, scaled_usd_to_nanousd, usd_to_nanousd
from paymaster.accounting.prices.rates import FREE_RATES, METERS, PeakHours, Rates, RateTable, Tier
from paymaster.accounting.usage.record import Usage

STANDARD_TIERS = frozenset({"", "auto", "default", "on_demand", "online", "provisioned", "scale", "standard", "standard_only", "sync"})
"""Providers' words for a request at list price (or at a price agreed in advance, which is never above it)."""

NEVER_ABOVE_LIST_PRICE = frozenset({"batch", "flex"})
"""Tiers that never cost more than list price: if their price is unknown, list price is charged."""

HOLD_HORIZON = timedelta(hours=2)
"""A call is billed within this time after its hold: its time limits and all waiting end sooner."""

ENDLESS_OUTPUT_TOKENS = 2**31 - 1

_AUDIO, _IMAGE = ("input_audio", "cache_read_audio", "output_audio"), ("input_image", "cache_read_image", "output_image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one model costs at one provider, for calls made while this price is in force.

    `table` is the list price. `modes` are the prices of other tiers: `batch`, `flex`, `priority`, `fast`. `peak_table` replaces the list
    price during `peak`. `writes_cache_unasked`: the provider may bill any prompt token as a write to its cache. `us_factor` multiplies
    tokens whose inference is bound to the United States. `source` is `registry`, `catalogue …` with its version, or why the model is free.
    """

    table: RateTable
    source: str
    modes: tuple[tuple[str, RateTable], ...] = ()
    peak: PeakHours | None = None
    peak_table: RateTable | None = None
    writes_cache_unasked: bool = False
    us_factor: Decimal | None = None

    @classmethod
    def from_registry(
        cls, rates: Rates, tiers: Iterable[Tier] = (), *, source: str = "registry", writes_cache_unasked: bool | None = None
    ) -> "Price":
        """The user's own price, for every call at any hour. With a price for cache writes, holds include writes.

        Raises ValueError when tiers repeat a length or start at 0.
        """
        unasked = rates.cache_write_5m is not None if writes_cache_unasked is None else writes_cache_unasked
        return cls(table=RateTable.of(rates, tiers), source=source, writes_cache_unasked=unasked)

    @classmethod
    def free(cls, source: str) -> "Price":
        """A price of zero; `source` says why."""
        return cls(table=RateTable.of(FREE_RATES), source=source)

    @property
    def is_free(self) -> bool:
        """True if no call can cost anything."""
        tables = [self.table, *(table for _, table in self.modes), *([self.peak_table] if self.peak_table else [])]
        return all(tier.rates.is_free for table in tables for tier in table.tiers)

    def mode(self, name: str) -> RateTable | None:
        """The rates of a tier, None if they are unknown."""
        for mode, table in self.modes:
            if mode == name:
                return table
        return None

    def at(self, moment: datetime) -> RateTable:
        """The list price at this moment."""
        if self.peak is not None and self.peak_table is not None and self.peak.contains(moment):
            return self.peak_table
        return self.table


ALWAYS = datetime.min.replace(tzinfo=UTC)
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """A price (None: no longer sold) and the moment it takes effect."""

    start: datetime
    price: Price | None


@dataclass(frozen=True, slots=True)
class Cost:
    """An exact amount in dollars, the same in nano-dollars rounded up once, and where the price came from."""

    usd: Decimal
    nanousd: int
    source: str


@dataclass(frozen=True, slots=True)
class UnknownCost:
    """The cost is unknown: the model has no price, or none for the tier that served the call."""

    reason: Literal["unknown_model", "unknown_tier"]
    detail: str


def cost(
    usage: Usage, price: Price | None, at: datetime, *, processing: str | None = None, service_tier: str | None = None
) -> Cost | UnknownCost:
    """The cost of a call made `at` this moment. A cost that the provider reports itself wins over every price.

    `processing` is `batch` for calls of a batch API. `service_tier` is the tier in the *answer*, not in the request; None takes the tier in
    the usage.
    """
    if usage.reported_cost_usd is not None:
        return Cost(usage.reported_cost_usd, usd_to_nanousd(usage.reported_cost_usd), "provider")
    if price is None:
        return UnknownCost("unknown_model", "the model has no price in the registry or the catalogue")
    served = _served_as(processing, usage.speed, usage.service_tier if service_tier is None else service_tier)
    table = price.at(at) if served is None else price.mode(served)
    if table is None and served in NEVER_ABOVE_LIST_PRICE:
        table = price.at(at)
    if table is None:
        return UnknownCost("unknown_tier", f"the price of {served!r} is unknown for this model")
    passes = [(part, table.rates(part.prompt_tokens)) for part in usage.parts or (usage,)]
    numbers = [_tokens_part(part, rates) for part, rates in passes]
    if usage.inference_geo == "us" and price.us_factor is not None:
        numbers = [_multiplied(number, price.us_factor) for number in numbers]
    rates = passes[0][1]  # searches and calls cost the same in every tier
    numbers.append((usage.web_search_requests * rates.units[-2] + rates.units[-1], rates.decimals))
    number, decimals = _total(numbers)
    return Cost(unscaled(number, decimals), scaled_usd_to_nanousd(number, decimals), price.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTerms:
    """Terms of a request that may cost more than list price.

    `caching_possible`: a proxy may write prompt tokens to a cache unasked. The provider may run up to `web_searches` searches. `modalities`
    beyond text: `audio`, `image`. `service_tier`, `speed` and `inference_geo` are the request's own parameters.
    """

    caching_possible: bool = False
    processing: str | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    web_searches: int = 0
    modalities: Collection[str] = ()


PLAIN_TERMS = RequestTerms()


class UnknownTier(LookupError):
    """A request names a tier whose price is unknown and may be above list price: no hold can bound it."""


def worst_case(
    price: Price,
    prompt_tokens_upper_bound: int,
    max_output_tokens: int,
    n: int = 1,
    *,
    cache_control: str | None = None,
    at: datetime | None = None,
    terms: RequestTerms = PLAIN_TERMS,
) -> Decimal:
    """The most that a request can cost, in dollars: the amount to hold. No usage within the bounds costs more; some costs exactly this.

    Every prompt token has the highest rate that could apply to it, in every price tier that the prompt may be in: as a cache write if the
    request marks one (`cache_control`: `5m` or `1h`) or the provider writes unasked, at the peak price unless `at` is given and no peak
    begins soon after, in the most expensive service tier that may apply. Each of `n` answers has its largest output. Raises UnknownTier.
    """
    billings = _billings(price, prompt_tokens_upper_bound, cache_control, at, terms)
    return max(unscaled(way.fixed + way.per_output_token * max_output_tokens * n, way.decimals) for way in billings)


def worst_case_nanousd(
    price: Price,
    prompt_tokens_upper_bound: int,
    max_output_tokens: int,
    n: int = 1,
    *,
    cache_control: str | None = None,
    at: datetime | None = None,
    terms: RequestTerms = PLAIN_TERMS,
) -> int:
    """`worst_case` in nano-dollars, rounded up. Raises UnknownTier."""
    billings = _billings(price, prompt_tokens_upper_bound, cache_control, at, terms)
    return max(scaled_usd_to_nanousd(way.fixed + way.per_output_token * max_output_tokens * n, way.decimals) for way in billings)


def affordable_output_tokens(
    price: Price,
    prompt_tokens_upper_bound: int,
    room_nanousd: int,
    n: int = 1,
    *,
    cache_control: str | None = None,
    at: datetime | None = None,
    terms: RequestTerms = PLAIN_TERMS,
) -> int:
    """The largest output per answer whose worst case `room_nanousd` pays for; 0 if the prompt alone costs more. Raises UnknownTier."""
    affordable = ENDLESS_OUTPUT_TOKENS
    for way in _billings(price, prompt_tokens_upper_bound, cache_control, at, terms):
        room = room_nanousd * 10**way.decimals // NANOUSD_PER_USD - way.fixed
        if room < 0:
            return 0
        if way.per_output_token:
            affordable = min(affordable, room // (way.per_output_token * n))
    return affordable


@dataclass(frozen=True, slots=True)
class _Billing:
    """One way to bill a request, in `10**-decimals` dollars: a fixed part, and a part per output token."""

    fixed: int
    per_output_token: int
    decimals: int


def _billings(price: Price, bound: int, cache_control: str | None, at: datetime | None, terms: RequestTerms) -> list[_Billing]:
    inputs = ["input", "cache_read"]
    outputs = ["output"]
    if cache_control is not None or terms.caching_possible or price.writes_cache_unasked:
        inputs.append("cache_write_5m")
    if cache_control == "1h":
        inputs.append("cache_write_1h")
    for modality, meters in (("audio", _AUDIO), ("image", _IMAGE)):
        if modality in terms.modalities:
            inputs += meters[:2]
            outputs += meters[2:]
    factor = price.us_factor if terms.inference_geo == "us" and price.us_factor is not None else Decimal(1)
    more = decimals_needed((factor,))
    times, one = scaled(factor, more), 10**more
    billings = []
    for table in _tables_within_reach(price, at, terms):
        for longest, rates in table.reachable(bound):
            rate = dict(zip(METERS, rates.units, strict=True))
            extras = terms.web_searches * rate["web_search"] + rate["request"]
            fixed = longest * max(rate[meter] for meter in inputs) * times + extras * one
            billings.append(_Billing(fixed, max(rate[meter] for meter in outputs) * times, rates.decimals + more))
    return billings


def _tables_within_reach(price: Price, at: datetime | None, terms: RequestTerms) -> list[RateTable]:
    """Every price list that may apply to such a request: a provider may serve a special tier's request at list price."""
    listed = [price.table]
    if price.peak is not None and price.peak_table is not None and (at is None or price.peak.overlap(at, HOLD_HORIZON)):
        listed.append(price.peak_table)
    tier = _served_as(terms.processing, terms.speed, terms.service_tier)
    if tier is None:
        # With `auto` the account's settings choose the tier, which may be priority.
        priority = price.mode("priority") if terms.service_tier == "auto" else None
        return listed if priority is None else [*listed, priority]
    table = price.mode(tier)
    if table is not None:
        return [table] if tier == "batch" else [*listed, table]
    if tier in NEVER_ABOVE_LIST_PRICE:
        return listed
    raise UnknownTier(f"the price of {tier!r} is unknown for this model")


def _served_as(*words: str | None) -> str | None:
    """The first word that names a tier other than list price."""
    for word in words:
        if word is not None and (name := word.strip().lower()) not in STANDARD_TIERS:
            return name
    return None


def _tokens_part(usage: Usage, rates: Rates) -> tuple[int, int]:
    counted = zip(usage.counts, rates.units, strict=False)  # the units of searches and calls follow those of tokens
    return sum(count * unit for count, unit in counted if count), rates.decimals


def _multiplied(number: tuple[int, int], factor: Decimal) -> tuple[int, int]:
    more = decimals_needed((factor,))
    return number[0] * scaled(factor, more), number[1] + more


def _total(numbers: list[tuple[int, int]]) -> tuple[int, int]:
    decimals = max(places for _, places in numbers)
    return sum(number * 10 ** (decimals - places) for number, places in numbers), decimals
