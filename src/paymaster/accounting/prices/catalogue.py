"""Finds the price of a model by the name a user gave it; knows where prices come from, and nothing of usage.

genai-prices (https://github.com/pydantic/genai-prices) has the figures, `data/prices.toml` what it lacks or has wrong. A name that is not
known is unpriced: never a neighbour's price.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from paymaster.accounting.prices.names import canonical_provider, is_local, spellings, split_prefix
from paymaster.accounting.prices.periods import ALWAYS, Period
from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import in_utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genai_prices.types import ModelInfo, Provider

    from paymaster.accounting.prices.supplement import Supplement


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the catalogue reads from, loaded on the first look-up: genai-prices takes a quarter of a second to import."""

    supplement: "Supplement"
    histories: dict[tuple[str, str], tuple[Period, ...]]
    providers: "list[Provider]"
    source: str


class Catalogue:
    """Published prices. Each object keeps what it has looked up, so that a second look-up takes a microsecond. Threads may share one."""

    __slots__ = ("_found", "_sources")

    def __init__(self) -> None:
        self._sources: _Sources | None = None
        self._found: dict[tuple[str | None, str], tuple[Period, ...]] = {}

    def lookup(self, provider: str | None, model_id: str, at: datetime) -> Price | None:
        """What the model costs at this moment (a naive time is UTC), None where nobody knows.

        `provider` is any of its usual names; where it is None, the prefix of `model_id` (`gemini/…`) or the model's maker counts.
        """
        key = (provider, model_id)
        periods = self._found.get(key)
        if periods is None:
            periods = self._found[key] = self._periods(provider, model_id)
        place = bisect_right(periods, in_utc(at), key=lambda period: period.start)
        return periods[place - 1].price if place else None

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

        known = [place for place in sources.providers if place.id == seller]
        if not known:
            # No provider, or a prefix that is none (`openai/…` is; `some-lab/…` is not): the model's maker is meant.
            known = [
                place
                for place in sources.providers
                if seller is None and place.model_match and place.model_match.is_match(model_id.lower())
            ][:1]
        for place in known:
            for name in spellings(place.id, model_id):
                history = sources.histories.get((place.id, name))
                if history is not None:
                    return history
                for model in _candidates(sources.providers, place, name):
                    if is_named(place.id, name, model):
                        return extract_periods(place.id, model, sources.supplement, sources.source)
        return ()


def _load() -> _Sources:
    from genai_prices.data import providers

    from paymaster.accounting.prices.supplement import load_supplement

    supplement = load_supplement()
    return _Sources(supplement, supplement.histories(), providers, f"catalogue genai-prices {version('genai-prices')}")


def _candidates(providers: "list[Provider]", place: "Provider", name: str) -> "Iterator[ModelInfo]":
    """Entries that match the name: the provider's own, then those of makers whose models it sells."""
    makers = place.fallback_model_providers or ()
    for seller in (place, *(maker for wanted in makers for maker in providers if maker.id == wanted)):
        yield from (model for model in seller.models if model.is_match(name))
