"""Compares new price data with the data in use, and holds back what nobody should believe unseen; knows no file and no network.

A price that moves more than tenfold is more often a mistake than a new price, and so is one that disappears. The entries in use stay
until a person accepts the new ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from genai_prices.types import ClauseEquals, ClauseOr, ModelInfo, Provider, TieredPrices

from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.genai_prices import Values, is_named, names_of, newest_start, rate_of, rates_of, starts_of, values_at
from paymaster.accounting.prices.price import ALWAYS
from paymaster.accounting.prices.rates import METERS

LARGEST_MOVE = 10
"""A rate that becomes more than this many times larger or smaller is held back."""

_SEARCHES = "web_search"
"""A fee that the data in use does not have is news, not a move: nothing is billed without a search."""

Kind: TypeAlias = Literal["moved", "vanished", "unpriced", "older"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """A model whose new price is not used yet.

    `kind`: it `moved` too far, it or one of its names `vanished`, it is `unpriced` now, or its history is `older` than the one in use.
    `detail` says what differs.
    """

    provider: str
    model: str
    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What new data changes. `providers` is what may be used: the new data, with the entries in use where the new ones are held back."""

    providers: tuple[Provider, ...]
    added: int
    changed: int
    unchanged: int
    held_back: tuple[HeldBack, ...]

    @property
    def signs_of_age(self) -> tuple[HeldBack, ...]:
        """The models that show that the new data is an old copy: it has most models, and lacks the newest price of these.

        A file with a few models is somebody's own, and need not have every date.
        """
        vanished = sum(held.kind == "vanished" for held in self.held_back)
        is_copy = 2 * vanished < self.changed + self.unchanged + len(self.held_back)
        return tuple(held for held in self.held_back if held.kind == "older" and is_copy)


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A row, and the entries of the new data that have a name of its model, by identity: they must not take it."""

    row: HeldBack
    takers: frozenset[int] = frozenset()


def compare(used: Sequence[Provider], new: Sequence[Provider], at: datetime) -> Comparison:
    """Compare model by model, at this moment, and at every start of a price in either data."""
    new_by_id = {provider.id: provider for provider in new}
    used_by_id = {provider.id: provider for provider in used}
    found: list[HeldBack] = []
    merged: list[Provider] = []
    takers: set[int] = set()
    dropped: set[int] = set()
    changed = unchanged = 0
    for provider in used:
        successor = new_by_id.get(provider.id)
        held = list(_held_back(provider, successor, at))
        found += [doubt.row for doubt in held]
        takers.update(taker for doubt in held for taker in doubt.takers)
        for row, entry in _shadowing(provider, successor, used, at):
            found.append(row)
            dropped.add(id(entry))
        kept_ids = {doubt.row.model for doubt in held}
        same = _same_entries(provider, successor)
        unchanged += len(same)
        changed += sum(model.id not in same | kept_ids for model in provider.models)
        if successor is None:
            merged += [provider] if held else []
    # A provider that is new comes last: it must not become the maker of a model that has one.
    for provider in sorted(new, key=lambda provider: provider.id not in used_by_id):
        kinds = {row.model: row.kind for row in found if row.provider == provider.id}
        kept = [model for model in used_by_id[provider.id].models if model.id in kinds] if kinds else []
        gone = {model for model, kind in kinds.items() if kind == "vanished"}
        taken = [model for model in provider.models if id(model) not in dropped]
        merged.append(_merged(used_by_id.get(provider.id), provider, _with_kept(kept, gone, taken, takers)))
    known = {(provider.id, model.id) for provider in used for model in provider.models}
    added = sum((provider.id, model.id) not in known for provider in new for model in provider.models) - len(dropped)
    return Comparison(tuple(merged), added, changed, unchanged, tuple(found))


def _with_kept(kept: Sequence[ModelInfo], last: set[str], new: Sequence[ModelInfo], takers: set[int]) -> list[ModelInfo]:
    """The new entries with the kept ones in their places. The first entry that has a name counts.

    A kept entry that has other names now comes first; one that only `last` names, whose names are gone, comes last. An entry that would
    take the name of a kept one comes after all others.
    """
    first = {model.id: model for model in kept if model.id not in last}
    in_place = {model.id for model in new if model.id in first and first[model.id].match == model.match}
    return [
        *(model for model_id, model in first.items() if model_id not in in_place),
        *(first.get(model.id, model) for model in new if (model.id in in_place or model.id not in first) and id(model) not in takers),
        *(model for model in kept if model.id in last),
        *(model for model in new if id(model) in takers and model.id not in first),
    ]


def _merged(used: Provider | None, new: Provider, models: list[ModelInfo]) -> Provider:
    makers = [*(new.fallback_model_providers or ()), *(() if used is None else _lost_makers(used, new))]
    return Provider(
        id=new.id,
        name=new.name,
        api_pattern=new.api_pattern,
        model_match=new.model_match or (None if used is None else used.model_match),
        fallback_model_providers=makers or new.fallback_model_providers,
        models=models,
    )


def _same_entries(provider: Provider, successor: Provider | None) -> set[str]:
    new = {} if successor is None else {model.id: model for model in successor.models}
    return {model.id for model in provider.models if model.id in new and _is_same(model, new[model.id])}


def _is_same(model: ModelInfo, other: ModelInfo) -> bool:
    return (
        model.match == other.match
        and model.context_window == other.context_window
        and model.prices == other.prices
        and (model.price_variants or []) == (other.price_variants or [])
    )


def _held_back(provider: Provider, successor: Provider | None, at: datetime) -> Iterator[_Doubt]:
    """Every model of a provider whose new price is not believed."""
    for maker in _lost_makers(provider, successor):
        detail = "in the new data it does not sell them at their prices"
        yield _Doubt(HeldBack(provider=provider.id, model=f"models of {maker}", kind="vanished", detail=detail))
    for model, followers in _with_followers(provider, successor):
        if values_at(model, at) is None:
            continue
        problems = [(problem, follower) for follower in followers if (problem := _problem(model, follower, at)) is not None]
        takers = frozenset(id(follower) for _, follower in problems if follower is not None and follower.id != model.id)
        # Sorted by what is worse than a name that is gone.
        for (kind, detail), _ in sorted(problems, key=lambda problem: problem[0][0] == "vanished")[:1]:
            yield _Doubt(HeldBack(provider=provider.id, model=model.id, kind=kind, detail=detail), takers)


def _shadowing(
    provider: Provider, successor: Provider | None, used: Sequence[Provider], at: datetime
) -> Iterator[tuple[HeldBack, ModelInfo]]:
    """New entries of a seller for models that it sold at their makers' prices until now, if their prices are far from these."""
    known = {model.id for model in provider.models}
    added = [] if successor is None else [model for model in successor.models if model.id not in known]
    makers = [maker for name in provider.fallback_model_providers or () for maker in used if maker.id == name]
    if not added or not makers:
        return
    own, *others = (_Names(seller, provider.id) for seller in (provider, *makers))
    for entry in added:
        theirs = [name for name in names_of(entry) if own.find(name) is None]
        before = (next((found for maker in others if (found := maker.find(name)) is not None), None) for name in theirs)
        problems = (_problem(model, entry, at) for model in before if model is not None and values_at(model, at) is not None)
        for kind, detail in [problem for problem in problems if problem is not None and problem[0] != "older"][:1]:
            yield HeldBack(provider=provider.id, model=entry.id, kind=kind, detail=detail), entry


def _lost_makers(provider: Provider, successor: Provider | None) -> list[str]:
    """The makers whose models had their makers' prices at this seller, and have none in the new data."""
    kept = () if successor is None else successor.fallback_model_providers or ()
    return [maker for maker in provider.fallback_model_providers or () if maker not in kept]


def _with_followers(provider: Provider, successor: Provider | None) -> Iterator[tuple[ModelInfo, Sequence[ModelInfo | None]]]:
    """Each entry in use, with the entries that have its names in the new data."""
    if successor is None:
        yield from ((model, (None,)) for model in provider.models)
    elif [model.match for model in provider.models] == [model.match for model in successor.models]:
        yield from ((model, (follower,)) for model, follower in zip(provider.models, successor.models, strict=True))
    else:
        before, after = _Names(provider), _Names(successor)
        for model in provider.models:
            own = [name for name in names_of(model) if before.find(name) is model]
            followers = {id(follower): follower for follower in map(after.find, own)}
            yield model, tuple(followers.values())


class _Names:
    """Finds the entry of a provider that a name has: the first that matches it, as the catalogue does."""

    def __init__(self, provider: Provider, seller: str | None = None) -> None:
        self._provider_id, self._models = seller or provider.id, tuple(provider.models)
        self._by_text: dict[str, list[int]] = {}
        self._others: list[int] = []
        for place, model in enumerate(provider.models):
            clauses = model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]
            texts = [clause.equals.lower() for clause in clauses if isinstance(clause, ClauseEquals)]
            if len(texts) < len(clauses):
                self._others.append(place)
            else:
                for text in texts:
                    self._by_text.setdefault(text, []).append(place)

    def find(self, name: str) -> ModelInfo | None:
        """The entry, None if no entry has this name."""
        for place in sorted({*self._by_text.get(name, ()), *self._others}):
            model: ModelInfo = self._models[place]
            if model.is_match(name) and is_named(self._provider_id, name, model):
                return model
        return None


def _problem(model: ModelInfo, follower: ModelInfo | None, at: datetime) -> tuple[Kind, str] | None:
    if follower is None:
        return "vanished", "it, or one of its names, is not in the new data"
    if _is_same(model, follower):
        return None
    starts, new_starts = starts_of(model), starts_of(follower)
    known = newest_start(model, at)
    if known > newest_start(follower, at):
        return "older", f"the new data lacks its price of {known:%Y-%m-%d}"
    for moment in [at, *sorted({ALWAYS, *starts, *new_starts} if starts or new_starts else ())]:
        before, after = values_at(model, moment), values_at(follower, moment)
        if before is None:
            continue
        if after is None:
            return "unpriced", f"it has no price in the new data{_when(moment, at)}"
        for mode, values in before.items():
            # A tier of service that the new data does not have costs the new list price.
            move = _largest_move(values, after.get(mode, after[""]))
            if move is not None:
                return "moved", f"{mode or 'list price'}: {move}{_when(moment, at)}"
    return None


def _when(moment: datetime, at: datetime) -> str:
    if moment == at:
        return ""
    return " before its first change" if moment == ALWAYS else f" from {moment:%Y-%m-%d}"


def _largest_move(before: Values, after: Values) -> str | None:
    """The first rate that moves too far, at any length of a prompt."""
    tiered = [value for values in (before, after) for value in values.values() if isinstance(value, TieredPrices)]
    for length in sorted({0, *(tier.start + 1 for value in tiered for tier in value.tiers)}):
        old, new = (_filled(values, length, alike=after.keys() == before.keys()) for values in (before, after))
        for name, rate in old.items():
            if _is_far(name, rate, new[name]):
                return f"{name} ${plain(rate)} became ${plain(new[name])}"
    return None


def _filled(values: Values, prompt_tokens: int, *, alike: bool) -> Mapping[str, Decimal]:
    """The rates for a prompt of this length; with their defaults, unless both sides give the same ones."""
    if alike:
        return {key: rate_of(value, prompt_tokens) for key, value in values.items()}
    rates = rates_of(values, prompt_tokens)
    return {meter: Decimal(unit).scaleb(6 - rates.decimals) for meter, unit in zip(METERS, rates.units, strict=True)}


def _is_far(name: str, old: Decimal, new: Decimal) -> bool:
    if name == _SEARCHES and not old:
        return False
    low, high = sorted((old, new))
    return high > low * LARGEST_MOVE
