"""How many calls a model takes at once where nobody knows: the limit that `max_parallel: auto` finds. Pure: a draw is an argument.

The limit lives in the ledger, so that all processes share it, as an account whose cap is FIRST and whose settled amount moves it:

    parallel/M     slots in use; a settled amount of -6 means a limit of FIRST + 6, of +3 one of FIRST - 3
    overloads/M    how many answers ever said "too many"
    overloads-minute/M     those of the last minute

It grows while it is used, in a round (while as many calls end as it has slots) to the double until the first overload, by a quarter after
a minute without one, else by one. It shrinks to seven tenths at an overload, once for all calls that were under way: only the call whose
overload is the first since its own admission moves it. Nor does a call that was admitted before an overload let it grow after one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from paymaster.accounting.accounts import Change, Charge, Held, Post, Refused
from paymaster.registry.models import Model
from paymaster.routing.failures import FailureKind

FIRST = 4
"""The limit before anything is known."""

MOST = 512
RECENT_MS = 60_000
KEPT_TENTHS = 7
"""What is left of the limit after an overload, in tenths. At 7 it takes some three rounds of calls to come back to it."""

QUIET_ROUND = 4
"""In quiet times every fourth answer adds a slot: a quarter more in each round."""

SHORTEST_ROUND = 10
"""Else a slot is added once in as many answers as there are slots, but not more often than this: it would try small limits all the time."""

OVERLOADS = frozenset({FailureKind.THROTTLED, FailureKind.OVERLOADED})
"""Failures that say "too many at once"."""


@dataclass(frozen=True, slots=True)
class ConcurrencyState:
    """The limit as an attempt found it at its admission: how many slots, how many of them in use, how many overloads ever and lately."""

    slots: int
    in_use: int
    overloads: int
    recent_overloads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateHeadroom:
    """What the provider's headers said is left for now, None where they said nothing, and the tokens that this call took."""

    requests: int | None = None
    tokens: int | None = None
    used_tokens: int = 0


NO_HEADROOM_STATED = RateHeadroom()


def parallel_account(model: str) -> str:
    """Where the slots of a limit that moves are counted."""
    return f"parallel/{model}"


def overloads_account(model: str) -> str:
    """Where "too many" is counted, for good."""
    return f"overloads/{model}"


def recent_overloads_account(model: str) -> str:
    """Where "too many" is counted for a minute."""
    return f"overloads-minute/{model}"


def pace_charges(model: Model) -> tuple[Charge, ...]:
    """What a call to this model charges on account of its pace: one slot, and a look at the overloads. Nothing where its limit is fixed."""
    if not model.limits.adapts:
        return ()
    return (
        Charge(parallel_account(model.name), 1, FIRST, 0),
        Charge(overloads_account(model.name), 0, None, None),
        Charge(recent_overloads_account(model.name), 0, None, 0),
    )


def overload_posts(model: Model, failure: FailureKind) -> tuple[Post, ...]:
    """What a failure adds to the overloads."""
    if not model.limits.adapts or failure not in OVERLOADS:
        return ()
    return Post(overloads_account(model.name), 1, None), Post(recent_overloads_account(model.name), 1, RECENT_MS)


def pace_of(model: Model, charges: Sequence[Charge], held: Held) -> ConcurrencyState | None:
    """The pace as the admission found it; None where the limit is fixed, or no ledger has the hold."""
    if not model.limits.adapts or held.unbooked:
        return None
    found = {charge.account: balance for charge, balance in zip(charges, held.balances, strict=True)}
    parallel, overloads = found[parallel_account(model.name)], found[overloads_account(model.name)]
    return ConcurrencyState(FIRST - parallel.settled, parallel.held, overloads.settled, found[recent_overloads_account(model.name)].live)


def move(
    model: str, pace: ConcurrencyState, changes: Sequence[Change], failure: FailureKind | None, left: RateHeadroom, draw: float
) -> int:
    """By how many slots the limit moves at the end of an attempt. `changes` are its settlement's, `draw` is a number in [0, 1)."""
    overloads = next((change.before for change in changes if change.account == overloads_account(model)), None)
    if overloads != pace.overloads:
        return 0  # somebody was told "too many" since this attempt was admitted: what it met is old news
    if failure is None:
        return _growth(pace, left, draw)
    return max(1, pace.slots * KEPT_TENTHS // 10) - pace.slots if failure in OVERLOADS else 0


def _growth(pace: ConcurrencyState, left: RateHeadroom, draw: float) -> int:
    if pace.slots >= MOST or 2 * pace.in_use < pace.slots:
        return 0  # a limit that nobody comes near says nothing
    if left.requests is not None and left.requests <= pace.in_use:
        return 0
    if left.tokens is not None and left.tokens <= left.used_tokens * pace.in_use:
        return 0
    if pace.overloads == 0:
        return 1
    one_in = QUIET_ROUND if pace.recent_overloads == 0 else max(pace.slots, SHORTEST_ROUND)
    return 1 if draw * one_in < 1 else 0


def move_post(model: str, by: int) -> Post:
    """The entry that moves the limit."""
    return Post(parallel_account(model), -by, None)


def floor_posts(refused: Refused) -> tuple[Post, ...]:
    """What brings a limit back to one slot that two calls, shrinking it at the same moment, have moved below."""
    return tuple(
        move_post(shortfall.charge.account.partition("/")[2], shortfall.balance.settled - FIRST + 1)
        for shortfall in refused.shortfalls
        if shortfall.charge.account.startswith(parallel_account("")) and shortfall.balance.settled >= FIRST
    )
