"""Makes a price from a registry's own rates; knows the sections and no catalogue."""

from decimal import Decimal
from typing import TypeVar

from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import FREE_RATES, Rates, Tier, per_million
from paymaster.registry.schema import ModelSection, RatesSection

FREE = "registry: price: free"

R = TypeVar("R", Decimal, Decimal | None)


def written_price(section: ModelSection) -> tuple[Price, str] | None:
    """The registry's own price and its first key; None if there is none. The section must have been checked."""
    if section.price is not None:
        return Price.free(FREE), "price"
    given = [key for key in RatesSection.model_fields if getattr(section, key) is not None]
    if not given:
        return None
    base = _rates(section, FREE_RATES)
    tiers = [Tier.at_or_above(tier.first_tokens, _rates(tier, base)) for tier in section.tiers or ()]
    return Price.from_registry(base, tiers), given[0]


def _rates(section: RatesSection, base: Rates) -> Rates:
    """Rates per million tokens; a tier's missing rates are those of the base price."""
    return Rates(
        input=_rate(section.usd_per_1k_input, section.usd_per_1m_input, base.input),
        output=_rate(section.usd_per_1k_output, section.usd_per_1m_output, base.output),
        cache_read=_rate(section.usd_per_1k_cache_read, section.usd_per_1m_cache_read, base.cache_read),
        cache_write_5m=_rate(section.usd_per_1k_cache_write, section.usd_per_1m_cache_write, base.cache_write_5m),
    )


def _rate(per_1k: Decimal | None, per_1m: Decimal | None, base: R) -> Decimal | R:
    if per_1k is not None:
        return per_million(per_1k)
    return base if per_1m is None else per_1m
