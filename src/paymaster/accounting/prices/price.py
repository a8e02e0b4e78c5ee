"""What a call cost, the most it can cost, and how much output an amount pays for; knows a price and not where it came from."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from paymaster.accounting.decimals import decimals_needed, scaled, unscaled
from paymaster.accounting.money import NANOUSD_PER_USD, scaled_usd_to_nanousd, usd_to_nanousd
from paymaster.accounting.prices.rates import FREE_RATES, METERS, TOKEN_METERS, PeakHours, Rates, RateTable, Tier
from paymaster.accounting.usage.record import Usage

STANDARD_TIERS = frozenset({"", "auto", "default", "on_demand", "online", "provisioned", "scale", "standard", "standard_only", "sync"})
"""Providers' words for a request at list price (or at a price agreed in advance, which is never above it)."""

NEVER_ABOVE_LIST_PRICE = frozenset({"batch", "flex"})
"""Tiers that never cost more than list price: if their price is unknown, list price is charged."""

HOLD_HORIZON = timedelta(hours=2)
"""A call is billed within this time after its hold: its time limits and all waiting end sooner."""

PER_MILLION = 1_000_000
"""Rates are dollars per million of what they count."""

ENDLESS_OUTPUT_TOKENS = 2**31 - 1

_MODALITIES = {
    "audio": (("input_audio", "cache_read_audio"), ("output_audio",)),
    "image": (("input_image", "cache_read_image", "input_video"), ("output_video",)),
}
_POSITION = {meter: position for position, meter in enumerate(METERS)}
_SECONDS_PER_HOUR = 3_600
_FRACTION_DECIMALS = 12
"""A price per hour has no end of digits in a second: what is left after so many is rounded up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one model costs at one provider, for calls made while this price is in force.

    `table` is the list price. `modes` are the prices of other tiers: `batch`, `flex`, `priority`, `fast`. `peak_table` replaces the list
    price during `peak`. `writes_cache_unasked`: the provider may bill any prompt token as a write to its cache. `us_factor` multiplies
    tokens whose inference is bound to the United States. `source` is `registry`, `catalogue …` with its version, or why the model is free.
    `thinking_table` replaces the list price of an answer that reasoned, where the model has two modes. `is_bound`: the most
    that a router's choice may cost, which is held for, and never what an answer did cost.
    """

    table: RateTable
    source: str
    modes: tuple[tuple[str, RateTable], ...] = ()
    peak: PeakHours | None = None
    peak_table: RateTable | None = None
    writes_cache_unasked: bool = False
    us_factor: Decimal | None = None
    is_bound: bool = False
    thinking_table: RateTable | None = None

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
        tables = (self.table, *(table for _, table in self.modes), self.peak_table, self.thinking_table)
        return all(tier.rates.is_free for table in tables if table is not None for tier in table.tiers)

    @property
    def bills_tokens_only(self) -> bool:
        """False if search units or the length of audio are billed too, which no request bounds."""
        rates = [tier.rates for tier in self.table.tiers]
        return all(rate.search_unit is None and rate.audio_hour is None for rate in rates)

    def multiplied(self, factor: Decimal, note: str = "") -> "Price":
        """A copy with every rate for tokens multiplied; searches and calls cost the same. `note` is added to the source."""
        changed = self.with_tables(lambda table: table.multiplied(factor))
        return replace(changed, source=f"{self.source}, {note}") if note else changed

    def plus_request(self, usd: Decimal) -> "Price":
        """A copy with a fee for each request added to its list price and to every tier's."""
        more = usd * PER_MILLION

        def dearer(table: RateTable) -> RateTable:
            tiers = (Tier(tier.from_prompt_tokens, tier.rates.replaced(request=tier.rates.request + more)) for tier in table.tiers)
            return RateTable(tuple(tiers))

        return self.with_tables(dearer)

    def with_tables(self, change: Callable[[RateTable], RateTable]) -> "Price":
        """A copy with every table changed."""
        return replace(
            self,
            table=change(self.table),
            modes=tuple((name, change(table)) for name, table in self.modes),
            peak_table=None if self.peak_table is None else change(self.peak_table),
            thinking_table=None if self.thinking_table is None else change(self.thinking_table),
        )

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


PriceOfModel = Callable[[str], Price | None]
"""The price of another model of the same provider, by the provider's name for it; None if it is unknown."""


def cost(
    usage: Usage,
    price: Price | None,
    at: datetime,
    *,
    processing: str | None = None,
    service_tier: str | None = None,
    price_of: PriceOfModel | None = None,
) -> Cost | UnknownCost:
    """The cost of a call made `at` this moment. A cost that the provider reports itself wins over every price.

    `processing` is `batch` for calls of a batch API. `service_tier` is the tier in the *answer*, not in the request; None takes the tier in
    the usage. A pass that names another model has the price that `price_of` finds; without one, the cost of the call is unknown.
    """
    if usage.reported_cost_usd is not None:
        return Cost(usage.reported_cost_usd, usd_to_nanousd(usage.reported_cost_usd), "provider")
    if price is None:
        return UnknownCost("unknown_model", "the model has no price in the registry or the catalogue")
    if price.is_bound:
        return UnknownCost("unknown_model", "a router chose the model, and the answer names none that has a price")
    served = _served_as(processing, usage.speed, usage.service_tier if service_tier is None else service_tier)
    own = _table(price, served, at, usage)
    if isinstance(own, UnknownCost):
        return own
    rates = own.rates(usage.prompt_tokens)
    if (missing := _missing_rate(usage, rates)) is not None:
        return UnknownCost("unknown_model", f"the model has no price for {missing}")
    numbers = _units_parts(usage, rates)  # searches and calls cost the same in every tier
    sources = [price.source]
    for part in usage.parts or (usage,):
        made_by = price if part.model is None else None if price_of is None else price_of(part.model)
        if made_by is None or made_by.is_bound:
            return UnknownCost("unknown_model", f"a pass was made by {part.model}, which has no price in the registry or the catalogue")
        table = _table(made_by, served, at, part)
        if isinstance(table, UnknownCost):
            return table
        number = _tokens_part(part, table.rates(part.prompt_tokens))
        factor = made_by.us_factor if usage.inference_geo == "us" else None
        numbers.append(number if factor is None else _multiplied(number, factor))
        sources.append(made_by.source)
    total, decimals = _total(numbers)
    return Cost(unscaled(total, decimals), scaled_usd_to_nanousd(total, decimals), " and ".join(dict.fromkeys(sources)))


def _table(price: Price, served: str | None, at: datetime, usage: Usage) -> RateTable | UnknownCost:
    """The rates of a call that was served like this."""
    table = None if served is None else price.mode(served)
    if table is None and (served is None or served in NEVER_ABOVE_LIST_PRICE):
        table = price.thinking_table if usage.reasoning_tokens and price.thinking_table is not None else price.at(at)
    return UnknownCost("unknown_tier", _unknown_tier(served)) if table is None else table


def _missing_rate(usage: Usage, rates: Rates) -> str | None:
    """What the usage counts and the model has no rate for; a rate of 0 would be wrong."""
    if usage.search_units and rates.search_unit is None:
        return "search units"
    if usage.audio_seconds and rates.audio_hour is None:
        return "the length of audio"
    counts_none = not (usage.search_units or usage.audio_seconds)
    return "tokens" if counts_none and rates.counts_no_tokens and usage.total_tokens else None


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
    """No hold can bound the request: it names a tier whose price is unknown, or is billed by what it does not limit."""


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


class _Billing(NamedTuple):
    """One way to bill a request, in `10**-decimals` dollars: a fixed part, and a part per output token."""

    fixed: int
    per_output_token: int
    decimals: int


def _billings(price: Price, bound: int, cache_control: str | None, at: datetime | None, terms: RequestTerms) -> list[_Billing]:
    inputs = ["input", "cache_read"]
    outputs = ["output", "output_image"]  # a model of images answers with them unasked
    if cache_control is not None or terms.caching_possible or price.writes_cache_unasked:
        inputs.append("cache_write_5m")
    if cache_control == "1h":
        inputs.append("cache_write_1h")
    for modality in terms.modalities:
        meters_in, meters_out = _MODALITIES[modality]
        inputs += meters_in
        outputs += meters_out
    more, times, one = 0, 1, 1
    if terms.inference_geo == "us" and price.us_factor is not None:
        more = decimals_needed((price.us_factor,))
        times, one = scaled(price.us_factor, more), 10**more
    read, written = [_POSITION[meter] for meter in inputs], [_POSITION[meter] for meter in outputs]
    billings = []
    for table in _tables_within_reach(price, at, terms):
        for longest, rates in table.reachable(bound):
            if rates.counts_no_tokens or (rates.audio_hour and "audio" in terms.modalities):
                raise UnknownTier("the model is billed by search units or by the length of audio, which no limit of the request bounds")
            units = rates.units
            extras = terms.web_searches * units[_POSITION["web_search"]] + units[_POSITION["request"]]
            fixed = longest * max([units[position] for position in read]) * times + extras * one
            billings.append(_Billing(fixed, max([units[position] for position in written]) * times, rates.decimals + more))
    return billings


def _tables_within_reach(price: Price, at: datetime | None, terms: RequestTerms) -> list[RateTable]:
    """Every price list that may apply to such a request: a provider may serve a special tier's request at list price."""
    listed = [price.table] if price.thinking_table is None else [price.table, price.thinking_table]
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
    raise UnknownTier(_unknown_tier(tier))


def _unknown_tier(tier: str | None) -> str:
    return f"the price of {tier!r} is unknown for this model"


def _served_as(*words: str | None) -> str | None:
    """The first word that names a tier other than list price."""
    for word in words:
        if word is not None and (name := word.strip().lower()) not in STANDARD_TIERS:
            return name
    return None


def _tokens_part(usage: Usage, rates: Rates) -> tuple[int, int]:
    counted = zip(usage.counts, rates.units, strict=False)  # the units of searches and calls follow those of tokens
    return sum(count * unit for count, unit in counted if count), rates.decimals


def _units_parts(usage: Usage, rates: Rates) -> list[tuple[int, int]]:
    """What is billed by other units than tokens: searches, the call itself, search units, the length of audio."""
    searches, calls, search_units, hours = rates.units[len(TOKEN_METERS) :]
    number = usage.web_search_requests * searches + calls + usage.search_units * search_units
    if not usage.audio_seconds:
        return [(number, rates.decimals)]
    more = decimals_needed((usage.audio_seconds,)) + _FRACTION_DECIMALS
    audio = -(-scaled(usage.audio_seconds, more) * hours // _SECONDS_PER_HOUR)
    return [(number, rates.decimals), (audio, rates.decimals + more)]


def _multiplied(number: tuple[int, int], factor: Decimal) -> tuple[int, int]:
    more = decimals_needed((factor,))
    return number[0] * scaled(factor, more), number[1] + more


def _total(numbers: list[tuple[int, int]]) -> tuple[int, int]:
    decimals = max(places for _, places in numbers)
    return sum(number * 10 ** (decimals - places) for number, places in numbers), decimals
