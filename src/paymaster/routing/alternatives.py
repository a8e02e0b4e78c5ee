"""Where a request can be sent for one model: its endpoints in their order, each at its tiers of service in turn; knows no chain. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paymaster.registry.models import Balancing
from paymaster.routing.balancing import Balancer, Choice, order
from paymaster.routing.holds import expected_nanousd
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.routing.tiers import FIELD, in_tiers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from paymaster.registry.models import Model
    from paymaster.routing.planning import Candidate
    from paymaster.routing.requests import Request
    from paymaster.routing.staying import Staying

_OF_A_TIER = frozenset({SkipCause.UNBOUNDED, SkipCause.PARAMETER})
"""What may keep a call from one tier of service and not from the next: its price is unknown."""


class Known(NamedTuple):
    """What a process knows: by declared place the environment variable that is not set, by place what was learned from counts that were
    too low (see `undercounts`); of the endpoints of a model, and of the caller's instance.
    """

    missing_keys: Mapping[str, str] = {}
    levels: Mapping[str, int] = {}
    balancer_of: Callable[[Model], Balancer] | None = None
    staying: Staying | None = None


NOTHING_KNOWN = Known()


def alternatives(
    model: Model, request: Request, known: Known, assess: Callable[[Model, str | None], Candidate | Skipped]
) -> Iterator[tuple[int, Choice, Candidate | Skipped]]:
    """The endpoints of a model in their order, each at its tiers in turn, with how many endpoints come after it.

    Those that go by price are all assessed first.
    """

    def at_tiers(place: Model) -> Iterator[tuple[Model, Candidate | Skipped]]:
        for tiered in in_tiers(place, request):
            found = assess(tiered, known.missing_keys.get(place.declared_place))
            if not tiered.has_next_tier or _differs(found):
                yield tiered, found

    if not model.endpoints:
        for tiered, found in at_tiers(model):
            yield 0, Choice(tiered), found
        return
    balancer = Balancer() if known.balancer_of is None else known.balancer_of(model)
    compared = model.places if model.balance is Balancing.CHEAPEST else ()
    assessed = {each.place: next(found for _, found in at_tiers(each)) for each in compared}
    choices = order(model, balancer, {place: cost for place, each in assessed.items() if (cost := _expected(each)) is not None})
    for position, choice in enumerate(choices, 1):
        for tiered, found in at_tiers(choice.model):
            yield len(choices) - position, choice._replace(model=tiered), found


def _differs(found: Candidate | Skipped) -> bool:
    """Whether a tier is another than the next one: it can be asked for, and is not skipped for what the next one is skipped for too."""
    return found.cause in _OF_A_TIER if isinstance(found, Skipped) else FIELD in found.translation.params


def _expected(candidate: Candidate | Skipped) -> int | None:
    """About what the call costs at this candidate; None if that is unknown, or if it can't serve."""
    if isinstance(candidate, Skipped):
        return None
    return expected_nanousd(candidate.price, candidate.prompt.likely_tokens, candidate.output_tokens, candidate.choices, candidate.at)
