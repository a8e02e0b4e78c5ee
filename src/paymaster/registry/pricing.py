"""Makes the prices of a model: from a registry's own figures, or from published ones; knows the sections and no catalogue's figures."""

from dataclasses import replace
from decimal import Decimal

from paymaster.accounting.prices.history import PriceHistory
from paymaster.accounting.prices.price import ALWAYS, FOREVER, PER_MILLION, Period, Price
from paymaster.accounting.prices.rates import FREE_RATES, PeakHours, Rates, RateTable, Tier, per_million
from paymaster.registry.model_prices import ModelPrices, PriceSource
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.models import ServerTool
from paymaster.registry.price_schema import PeakSection, PriceSection, RatesSection, ServiceTierSection

FREE = "registry: price: free"
WEB_SEARCH = "web_search"
"""The name of a search among the rates of a price, and among the tools of a registry."""
TOKENS_PER_RATE = 1_000_000

_PER_1K = {"input": "input", "output": "output", "cache_read": "cache_read", "cache_write": "cache_write_5m"}
_PER_1M_ONLY = (
    "cache_write_1h", "input_audio", "input_image", "cache_read_audio", "cache_read_image",
    "input_video", "output_audio", "output_image", "output_video",
)  # fmt: skip
_PER_1M = {**_PER_1K, **{meter: meter for meter in _PER_1M_ONLY}}
_SINGLE = {"web_search": "web_search", "request": "request"}


def published_prices(source: PriceSource, provider: str, name: str, region: str | None, section: ModelSection) -> ModelPrices:
    """The published prices under `name`, or under the one that `price_as` gives, times `price_factor`."""
    history = source.history(provider, section.price_as or name, region)
    if section.price_as is not None and not history.periods:
        history = source.history(None, section.price_as, region)  # of another provider: `openai/gpt-4o`
    if section.price_factor is not None:
        history = history.multiplied(section.price_factor)
    own = None if section.price_as is not None else source  # what the registry states wins over what an answer names
    return ModelPrices(history, own, provider, name, region, section.price_factor)


def written_prices(section: ModelSection) -> tuple[ModelPrices, str] | None:
    """The registry's own prices and their first key; None if there are none. The section must have been checked."""
    if section.price is not None:
        return ModelPrices(PriceHistory.of(Price.free(FREE))), "price"
    given = [key for key in RatesSection.model_fields if getattr(section, key) is not None]
    if not given:
        return None
    history = PriceHistory(_periods(section))
    return ModelPrices(history if section.price_factor is None else history.multiplied(section.price_factor)), given[0]


def with_stated_terms(prices: ModelPrices, section: ModelSection) -> ModelPrices:
    """The prices with what the registry states beside them: the fee of a web search, and the tiers of service that cost no more."""
    names = [name.lower() for name in section.at_list_price or ()]
    search = (section.server_tools or {}).get(WEB_SEARCH)
    fee = None if search is None or search.usd_per_use is None else search.usd_per_use * TOKENS_PER_RATE
    if not names and fee is None:
        return prices

    def stated(price: Price) -> Price:
        added = tuple((name, price.table) for name in names if price.mode(name) is None)
        price = replace(price, modes=(*price.modes, *added)) if added else price
        return price if fee is None else price.with_tables(lambda table: table.replaced(**{WEB_SEARCH: fee}))

    return replace(prices, history=prices.history.mapped(stated), stated=stated)


def _periods(section: ModelSection) -> tuple[Period, ...]:
    """The model's own price, and at each date the last of its dated prices that counts then."""
    base = _price(section, section, FREE_RATES)
    dated = [
        (row.from_date or ALWAYS, row.until_date or FOREVER, _price(row, section, base.table.tiers[0].rates))
        for row in section.prices or ()
    ]
    starts = sorted({ALWAYS, *(start for start, _, _ in dated), *(end for _, end, _ in dated)} - {FOREVER})
    return tuple(Period(at, ([base] + [price for start, end, price in dated if start <= at < end])[-1]) for at in starts)


def _price(section: PriceSection, model: ModelSection, base: Rates) -> Price:
    """A price with its tiers, service tiers and peak hours; those that a dated price lacks are the model's."""
    rates = _rates(section, base)
    tiers = section.tiers if section.tiers is not None else model.tiers
    price = Price.from_registry(rates, [Tier.at_or_above(tier.first_tokens, _rates(tier, rates)) for tier in tiers or ()])
    services = section.service_tiers if section.service_tiers is not None else model.service_tiers
    modes = tuple((name.strip().lower(), _table(tier, price.table)) for name, tier in (services or {}).items())
    peak = section.peak if section.peak is not None else model.peak
    return replace(
        price,
        modes=modes,
        peak=None if peak is None else _hours(peak),
        peak_table=None if peak is None else _table(peak, price.table),
    )


def _table(section: ServiceTierSection, table: RateTable) -> RateTable:
    if section.price_factor is not None:
        return table.multiplied(section.price_factor)
    return RateTable(tuple(Tier(tier.from_prompt_tokens, _rates(section, tier.rates)) for tier in table.tiers))


def _hours(peak: PeakSection) -> PeakHours:
    return PeakHours(windows=peak.hours, weekdays_only=peak.weekdays_only or False, days_off=peak.days_off or frozenset())


def _rates(section: RatesSection, base: Rates) -> Rates:
    """Rates per million; those that are missing are those of `base`."""
    scales = ((_PER_1K, "usd_per_1k_", per_million), (_PER_1M, "usd_per_1m_", _same), (_SINGLE, "usd_per_", _of_single))
    written = {
        meter: scale(rate)
        for keys, prefix, scale in scales
        for key, meter in keys.items()
        if (rate := getattr(section, f"{prefix}{key}")) is not None
    }
    return base.replaced(**written)


def _same(rate: Decimal) -> Decimal:
    return rate


def _of_single(fee: Decimal) -> Decimal:
    return fee * PER_MILLION


def server_tools(section: ModelSection) -> dict[str, ServerTool]:
    """What the section states of tools that the provider runs."""
    return {
        name: ServerTool(usd_per_use=tool.usd_per_use, tokens_per_use=tool.tokens_per_use, max_uses=tool.max_uses)
        for name, tool in (section.server_tools or {}).items()
    }
