"""In which order the endpoints of a model are tried, and which would refuse what another refused. Pure; knows no ledger, no clock.

    order          as they are written
    weighted       in proportion to their weights
    least_loaded   the one with the fewest open calls for its weight, and with its limits used least
    cheapest       the one with the lowest expected cost of this very call
    fastest        the one that answered fastest in the last minutes

What the strategy leaves open is decided by the next, in this order: load, then weight. One that is paused, has an open circuit or is full
comes after all others, the one that is expected first before the rest. Weight 0 comes after all that may be called.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import NamedTuple

from paymaster.accounting.money import format_usd
from paymaster.registry.models import Balancing, Model
from paymaster.routing.affinity import Left, Preference
from paymaster.routing.endpoint_states import EndpointState
from paymaster.routing.failures import FailureKind

DRAW_BITS = 32
"""A draw is a number below 2 to this power."""

GOLDEN = 2_654_435_769
"""2^32 divided by the golden ratio. Draws that differ by this spread evenly: after n of them no share is off by more than a few draws."""

NEARLY_FULL_PERCENT = 80
"""From here on a limit counts more than open calls do."""

FAILURE_CALLS = 2
"""For how many open calls a failure counts: a server that fails at once has none, and must not look idle."""

AS_FAST_PERCENT = 125
"""Endpoints this near to the fastest one count as equally fast, so that it isn't called alone."""

EXPLORED_OF = 16
"""One call in so many goes by weight instead of speed: so a server that got faster is found before its figures are forgotten."""


class Choice(NamedTuple):
    """An endpoint in its turn, why it has this turn, and for how long its queue is waited for while others are left."""

    model: Model
    reason: str = ""
    wait_ms: int = 0


class Balancer(NamedTuple):
    """What the order of a model's endpoints depends on: their states by place, a draw, and the time.

    `streamed` says which speed counts; `preferred` is the endpoint that the session stays at, or why it leaves it.
    """

    states: Mapping[str, EndpointState] = {}
    draw: int = 0
    now_ms: int = 0
    streamed: bool = False
    preferred: Preference | None = None


def order(model: Model, known: Balancer, costs_nanousd: Mapping[str, int] | None = None) -> tuple[Choice, ...]:
    """The endpoints of the model in the order in which they are tried. `costs_nanousd` is by place; it is needed for `cheapest` alone."""
    if not model.endpoints:
        return (Choice(model),)
    strategy, draw = model.balance, known.draw
    if strategy is Balancing.FASTEST and draw * EXPLORED_OF >> DRAW_BITS == 0:
        strategy, draw = Balancing.WEIGHTED, draw * EXPLORED_OF
    idle = EndpointState()
    states = {each.place: known.states.get(each.place, idle) for each in model.places}
    best_ms = min((ms for state in states.values() if (ms := _speed_ms(state, known)) is not None), default=0)

    def key(each: Model) -> tuple[float, ...]:
        state = states[each.place]
        left_ms = state.left_ms(known.now_ms)
        first = (2 if left_ms else 0) + (each.weight == 0), left_ms
        match strategy:
            case Balancing.ORDER | Balancing.WEIGHTED:
                return first
            case Balancing.CHEAPEST:
                return *first, inf if costs_nanousd is None else costs_nanousd.get(each.place, inf), *_load(each, state)
            case Balancing.FASTEST:
                return *first, _slowness(_speed_ms(state, known), best_ms), *_load(each, state)
            case _:
                return *first, *_load(each, state)

    drawn = model.places if strategy is Balancing.ORDER else by_weight(model.places, draw)
    ordered = sorted(drawn, key=key)
    choices = [Choice(each, _reason(strategy, each, states[each.place], known, costs_nanousd)) for each in ordered]
    return _preferred_first(choices, states, known)


def by_weight(places: Sequence[Model], draw: int) -> list[Model]:
    """The endpoints, each drawn in proportion to its weight among those that are left; without weights, all alike."""
    left, drawn = list(places), list[Model]()
    while len(left) > 1:
        reached = list(accumulate(each.weight for each in left))
        if not reached[-1]:
            break
        drawn.append(left.pop(bisect_right(reached, draw * reached[-1] >> DRAW_BITS)))
        draw = (draw * GOLDEN + 1) % (1 << DRAW_BITS)
    return drawn + left


def refuses_alike(kind: FailureKind, refused: Model, other: Model) -> bool:
    """Whether `other`, an endpoint of the same model, would refuse the request that `refused` refused.

    A provider filters content in the same way at each of its addresses. It takes the same requests and windows for the same model.
    """
    if refused.provider != other.provider:
        return False
    match kind:
        case FailureKind.CONTENT_POLICY:
            return True
        case FailureKind.BAD_REQUEST:
            return (refused.model_id, refused.dialect, refused.adapter) == (other.model_id, other.dialect, other.adapter)
        case FailureKind.CONTEXT_TOO_LONG:
            return refused.model_id == other.model_id and _window(other) <= _window(refused)
        case _:
            return False


def _window(model: Model) -> float:
    return min((limit for limit in (model.max_input_tokens, model.context_window) if limit is not None), default=inf)


def _preferred_first(choices: list[Choice], states: Mapping[str, EndpointState], known: Balancer) -> tuple[Choice, ...]:
    """The order with the preferred endpoint first, if its queue is worth the wait."""
    preferred = known.preferred
    if preferred is None:
        return tuple(choices)
    if isinstance(preferred, Left):
        first, *others = choices
        return (first._replace(reason=f"{preferred.reason}; {first.reason}"), *others)
    kept = [each for each in choices if each.model.place == preferred.place]
    if not kept or states[preferred.place].left_ms(known.now_ms) > preferred.wait_ms:
        return tuple(choices)
    others = [each for each in choices if each.model.place != preferred.place]
    return (Choice(kept[0].model, preferred.reason, preferred.wait_ms), *others)


def _load(model: Model, state: EndpointState) -> tuple[float, ...]:
    """How loaded an endpoint is: a limit that is nearly used up first, then open calls for its weight, then its limits."""
    nearly_full = max(0, state.used_percent - NEARLY_FULL_PERCENT)
    return nearly_full, (state.open_calls + FAILURE_CALLS * state.failures) / (model.weight or 1), state.used_percent


def _speed_ms(state: EndpointState, known: Balancer) -> int | None:
    return state.first_token_ms if known.streamed else state.answer_ms


def _slowness(speed_ms: int | None, best_ms: int) -> int:
    """0 for an endpoint that is about as fast as the best one, or unknown, so that it gets known."""
    return 0 if speed_ms is None or speed_ms * 100 <= best_ms * AS_FAST_PERCENT else speed_ms


def _reason(strategy: Balancing, model: Model, state: EndpointState, known: Balancer, costs_nanousd: Mapping[str, int] | None) -> str:
    """Why the endpoint has its turn, in a few words."""
    if left_ms := state.left_ms(known.now_ms):
        return f"{state.why or 'max_parallel in use'}, for {left_ms / 1000:,.1f} s more"
    match strategy:
        case Balancing.ORDER:
            return "in the order of the registry"
        case Balancing.WEIGHTED:
            return f"by weight ({model.weight})"
        case Balancing.CHEAPEST:
            cost_nanousd = None if costs_nanousd is None else costs_nanousd.get(model.place)
            return "its price is unknown" if cost_nanousd is None else f"by price (about {format_usd(cost_nanousd)})"
        case Balancing.FASTEST:
            speed_ms = _speed_ms(state, known)
            return "its speed is unknown" if speed_ms is None else f"by speed ({speed_ms / 1000:,.2f} s)"
        case _:
            return f"by load ({state.open_calls} open calls, {state.used_percent} % of its limits used)"
