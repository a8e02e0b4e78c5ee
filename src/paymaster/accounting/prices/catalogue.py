"""Finds the price of a model by a user's name for it; knows where prices come from, and nothing about usage.

The figures are those of genai-prices (https://github.com/pydantic/genai-prices); `data/prices.toml` completes and corrects them. An
unknown name has no price: a similar name's price is never used.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from paymaster.accounting.prices.names import canonical_provider, is_local, spellings, split_prefix
from paymaster.accounting.prices.price import ALWAYS, Period, Price
from paymaster.accounting.prices.rates import in_utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genai_prices.types import ModelInfo, Provider

    from paymaster.accounting.prices.supplement import Supplement


@dataclass(frozen=True, slots=True)
class _Sources:
    """The catalogue's data, loaded on the first look-up: genai-prices takes a quarter of a second to import."""

    supplement: "Supplement"
    histories: dict[tuple[str, str], tuple[Period, ...]]
    providers: "list[Provider]"
    source: str


class Catalogue:
    """Published prices. It remembers every look-up, so that a second one takes a microsecond. Threads may share one."""

    __slots__ = ("_found", "_sources")

    def __init__(self) -> None:
        self._sources: _Sources | None = None
        self._found: dict[tuple[str | None, str], tuple[Period, ...]] = {}

    def lookup(self, provider: str | None, model_id: str, at: datetime) -> Price | None:
        """The model's price at this moment (a naive time is UTC), None if it is unknown.

        `provider` is any of its usual names. None takes the prefix of `model_id` (`gemini/…`) or else the model's maker.
        """
        key = (provider, model_id)
        periods = self._found.get(key)
        if periods is None:
            periods = self._found[key] = self._periods(provider, model_id)
        started = bisect_right(periods, in_utc(at), key=lambda period: period.start)
        return periods[started - 1].price if started else None

    def _periods(self, provider: str | None, model_id: str) -> tuple[Period, ...]:
        seller = None if provider is None else canonical_provider(provider)
        if seller is None:
            seller, _ = split_prefix(model_id)
        if seller is not None and is_local(seller):
            return (Period(ALWAYS, Price.free(f"local provider {seller}")),)
        if self._sources is None:
            self._sources = _load()
        return self._search(self._sources, seller, model_id)

    def _search(self, sources: _Sources, seller: str | None, model_id: str) -> tuple[Period, ...]:
        from paymaster.accounting.prices.genai_prices import extract_periods, is_named

        known = [provider_data for provider_data in sources.providers if provider_data.id == seller]
        if not known:
            # No provider, or a prefix that isn't one (such as `some-lab/…`): take the model's maker.
            known = [
                provider_data
                for provider_data in sources.providers
                if seller is None and provider_data.model_match and provider_data.model_match.is_match(model_id.lower())
            ][:1]
        for provider_data in known:
            for name in spellings(provider_data.id, model_id):
                history = sources.histories.get((provider_data.id, name))
                if history is not None:
                    return history
                for model in _candidates(sources.providers, provider_data, name):
                    if is_named(provider_data.id, name, model):
                        return extract_periods(provider_data.id, model, sources.supplement, sources.source)
        return ()


def _load() -> _Sources:
    from genai_prices.data import providers

    from paymaster.accounting.prices.supplement import load_supplement

    supplement = load_supplement()
    return _Sources(supplement, supplement.histories(), providers, f"catalogue genai-prices {version('genai-prices')}")


def _candidates(providers: "list[Provider]", provider_data: "Provider", name: str) -> "Iterator[ModelInfo]":
    """Entries that match the name: the provider's own, then those of makers whose models it sells."""
    makers = provider_data.fallback_model_providers or ()
    for seller in (provider_data, *(maker for maker_id in makers for maker in providers if maker.id == maker_id)):
        yield from (model for model in seller.models if model.is_match(name))
