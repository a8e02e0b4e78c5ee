"""Finds the price of a model by a user's name for it; knows where prices come from, and nothing about usage.

The figures are those of genai-prices (https://github.com/pydantic/genai-prices); `data/prices.toml` completes and corrects them, and
`data/places.toml` has what places, moved names and suffixes do to them. An unknown name has no price: a similar name's price is never used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from paymaster.accounting.bounds import LONGEST_MODEL_NAME
from paymaster.accounting.prices.history import PriceHistory
from paymaster.accounting.prices.names import (
    GLOBAL,
    canonical_provider,
    canonical_region,
    in_geography,
    is_local,
    spellings,
    split_prefix,
    split_region,
    with_vendor,
    without_geography,
)
from paymaster.accounting.prices.price import Period, Price

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genai_prices.types import ModelInfo, Provider

    from paymaster.accounting.prices.places import Place, Places, Suffix
    from paymaster.accounting.prices.supplement import Supplement

_GOVCLOUD = "us-gov"
# Bedrock's entries whose names begin with these list their geographies; the others have the prices of the United States.
_BY_GEOGRAPHY = ("regional.", "global.")


@dataclass(frozen=True, slots=True)
class PriceData:
    """Published prices in genai-prices' own types. `edition` names them: the package's version, or the day and digest of an update."""

    providers: "Sequence[Provider]"
    edition: str


def shipped_edition() -> str:
    """The name of the prices in the installed package."""
    return version("genai-prices")


def shipped_data() -> PriceData:
    """The prices in the installed package."""
    from genai_prices.data import providers

    return PriceData(providers, shipped_edition())


def shipped_summary(at: datetime) -> tuple[int, str]:
    """How many models the installed package has prices of, and the day (UTC) of the newest price that had started by `at`."""
    from paymaster.accounting.prices.genai_prices import newest_start

    models = [model for provider in shipped_data().providers for model in provider.models]
    return len(models), f"{max(newest_start(model, at) for model in models):%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class _Sources:
    """The catalogue's data, loaded on the first look-up: genai-prices takes a quarter of a second to import."""

    supplement: "Supplement"
    places: "Places"
    histories: dict[tuple[str, str], tuple[Period, ...]]
    providers: "Sequence[Provider]"
    source: str


class Catalogue:
    """Published prices. It remembers look-ups, so that a second one takes a microsecond. Threads may share one."""

    __slots__ = ("_found", "_read", "_sources")
    MOST_REMEMBERED = 10_000
    """Names come from answers too, so there may be any number of them."""

    def __init__(self, read: Callable[[], PriceData] = shipped_data) -> None:
        self._read = read
        self._sources: _Sources | None = None
        self._found: dict[tuple[str | None, str, str | None], PriceHistory] = {}

    def lookup(self, provider: str | None, model_id: str, at: datetime, region: str | None = None) -> Price | None:
        """The model's price at this moment (a naive time is UTC), None if it is unknown. See `history`."""
        found = self._found.get((provider, model_id, region))
        return (self.history(provider, model_id, region) if found is None else found).at(at)

    def history(self, provider: str | None, model_id: str, region: str | None = None) -> PriceHistory:
        """All prices of a model, without any if it is unknown.

        `provider` is any of its usual names. None takes the prefix of `model_id` (`gemini/…`) or else the model's maker. `region` is where
        the call is served (`eu`, `us-east5`, `global`), unless the name states it; None: it is not known.
        """
        key = (provider, model_id, region)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= self.MOST_REMEMBERED:
                self._found.clear()
            found = self._found[key] = self._history(provider, model_id, region)
        return found

    def names(self) -> list[tuple[str, str]]:
        """Every provider with the id of each of its models, in the order of the data."""
        return [(provider.id, model.id) for provider in self._loaded().providers for model in provider.models]

    def context_window(self, provider: str, model_id: str) -> tuple[int, str] | None:
        """The model's context window in tokens, and the data that has it; None if it is unknown."""
        sources, seller = self._loaded(), canonical_provider(provider)
        window = context_window(sources.providers, seller, model_id)
        return None if window is None else (window, sources.source)

    def _loaded(self) -> _Sources:
        if self._sources is None:
            self._sources = _load(self._read)
        return self._sources

    def answered(self, provider: str | None, asked: str, answered: str, region: str | None = None) -> PriceHistory:
        """The prices of the model that an answer names, if that says more than the name that was asked for; else those of the latter."""
        own = self.history(provider, asked, region)
        if len(answered) > LONGEST_MODEL_NAME or not (name := answered.strip().lower()) or (own.periods and name in asked.lower()):
            return own
        seller = _seller(provider, asked) or ""
        stated, _ = split_region(seller, asked)
        suffix = self._suffix(seller, asked)
        named = self.history(seller or None, name if name.endswith(suffix) else name + suffix, stated or region)
        return named if named.periods else own

    def _suffix(self, seller: str, asked: str) -> str:
        """What a router's name says beside the model, and an answer may omit: `:free`."""
        found = None if self._sources is None else self._sources.places.suffix_of(seller, asked.lower())
        return "" if found is None else asked.lower().removeprefix(found[0])

    def _history(self, provider: str | None, model_id: str, region: str | None) -> PriceHistory:
        seller = _seller(provider, model_id)
        if seller is not None and is_local(seller):
            return PriceHistory.of(Price.free(f"local provider {seller}"))
        sources = self._loaded()
        if seller is None:
            seller = _maker(sources, model_id)
        return PriceHistory() if seller is None else _served(sources, seller, model_id, region)


def _seller(provider: str | None, model_id: str) -> str | None:
    return split_prefix(model_id)[0] if provider is None else canonical_provider(provider)


def _load(read: Callable[[], PriceData]) -> _Sources:
    from paymaster.accounting.prices.places import load_places
    from paymaster.accounting.prices.supplement import load_supplement

    data, supplement, places = read(), load_supplement(), load_places()
    histories = places.histories() | supplement.histories()
    return _Sources(supplement, places, histories, data.providers, f"catalogue genai-prices {data.edition}")


def _maker(sources: _Sources, model_id: str) -> str | None:
    """The maker of a model whose seller is not named."""
    makers = (maker for maker in sources.providers if maker.model_match and maker.model_match.is_match(model_id.lower()))
    return next((maker.id for maker in makers), None)


def _served(sources: _Sources, seller: str, model_id: str, region: str | None) -> PriceHistory:
    """The prices where the call is served: those of the name, times the factor of the place."""
    stated, name = split_region(seller, model_id)
    where = stated or (None if region is None else canonical_region(seller, region))
    plain = without_geography(list(spellings(seller, name))[-1])
    if seller == "aws":
        return _at_bedrock(sources, name, with_vendor(plain), where, stated=stated is not None)
    listed = _listed(sources, seller, name)
    if where is not None:
        return _placed(listed, sources.places.place_of(seller, where, plain), where)
    elsewhere = (_placed(listed, row, "place unknown") for row in sources.places.possible(seller, plain))
    return PriceHistory(listed.periods, tuple(history for history in elsewhere if history.periods))


def _placed(listed: PriceHistory, row: "Place | None", where: str) -> PriceHistory:
    if row is None:
        return listed
    return PriceHistory() if row.factor is None else listed.multiplied(row.factor, row.start, f"{row.factor} x for {where}")


def _at_bedrock(sources: _Sources, name: str, plain: str, where: str | None, *, stated: bool) -> PriceHistory:
    """Prices by geography, which is a part of the name: rows of their own, and a factor of the global price in GovCloud."""
    if where is None:
        others = (key for key in sources.histories if key[0] == "aws" and key[1] != plain and without_geography(key[1]) == plain)
        return replace(_listed(sources, "aws", name), elsewhere=tuple(PriceHistory(sources.histories[key]) for key in others))
    base = GLOBAL if where == _GOVCLOUD else where
    listed = _listed(sources, "aws", in_geography(plain, base), base)
    if not listed.periods and (where == _GOVCLOUD or not stated):
        listed = _listed(sources, "aws", plain, None if where == _GOVCLOUD else where)
    return _placed(listed, sources.places.place_of("aws", where, plain), where)


def _listed(sources: _Sources, seller: str, model_id: str, geography: str | None = None) -> PriceHistory:
    """The list prices of a name: its own, those of the models it moved to, or those of the name without its suffix."""
    for name in spellings(seller, model_id):
        listed, moves = PriceHistory(_periods(sources, seller, name, geography)), sources.places.moves(seller, name)
        for move in moves:
            listed = listed.until(move.start, _listed(sources, seller, move.to))
        if listed.periods:
            return listed
    suffixed = sources.places.suffix_of(seller, model_id.lower())
    return PriceHistory() if suffixed is None else _suffixed(sources, seller, *suffixed)


def _suffixed(sources: _Sources, seller: str, name: str, suffix: "Suffix") -> PriceHistory:
    if suffix.free:
        return PriceHistory.of(Price.free(f"catalogue paymaster {sources.places.version}"))
    return _listed(sources, seller, name).mapped(lambda price: price.plus_request(suffix.usd_per_request))


def _periods(sources: _Sources, seller: str, name: str, geography: str | None) -> tuple[Period, ...]:
    """The periods of a name that one of the files, or the catalogue, has itself."""
    from paymaster.accounting.prices.genai_prices import extract_periods, is_named

    own = sources.histories.get((seller, name))
    for provider in sources.providers:
        for model in candidates(sources.providers, provider, name) if provider.id == seller else ():
            abroad = geography not in {None, "us"} and seller == "aws" and not model.id.startswith(_BY_GEOGRAPHY)
            if not abroad and is_named(seller, name, model):
                published = extract_periods(seller, model, sources.supplement, sources.source)
                return published if own is None else with_later(own, published, sources.supplement.written_at)
    return own or ()


def with_later(history: tuple[Period, ...], published: tuple[Period, ...], written_at: datetime) -> tuple[Period, ...]:
    """Our own history, then the catalogue's prices that start after it was written: an update knows what we could not."""
    return tuple(sorted((*history, *(period for period in published if period.start > written_at)), key=lambda period: period.start))


def context_window(providers: "Sequence[Provider]", seller: str, model_id: str) -> int | None:
    """The context window of a model in genai-prices' data, by any of its names at this seller."""
    from paymaster.accounting.prices.genai_prices import is_named

    for provider in (provider for provider in providers if provider.id == seller):
        for name in spellings(seller, model_id):
            for model in candidates(providers, provider, name):
                if model.context_window and is_named(seller, name, model):
                    return model.context_window
    return None


def candidates(providers: "Sequence[Provider]", provider_data: "Provider", name: str) -> "Iterator[ModelInfo]":
    """Entries that match the name: the provider's own, then those of makers whose models it sells."""
    makers = provider_data.fallback_model_providers or ()
    for seller in (provider_data, *(maker for maker_id in makers for maker in providers if maker.id == maker_id)):
        yield from (model for model in seller.models if model.is_match(name))
