"""The limit of calls at once that `max_parallel: auto` finds for a model. Pure: a random draw is an argument; knows no ledger.

The limit lives in the ledger, so that all processes share it, as an account whose cap is FIRST and whose settled amount moves it:

    parallel/M           slots in use; a settled amount of -6 means a limit of FIRST + 6, of +3 one of FIRST - 3
    overloads/M          how many answers ever were "too many at once"
    overloads-minute/M   those of the last minute

It grows while it is used, in a round (while as many calls end as it has slots) to the double until the first overload, by a quarter after
a minute without one, else by one. It shrinks to seven tenths at an overload, once for all calls that were under way: only the call whose
overload is the first since its own admission moves it. Nor does a call that was admitted before an overload let it grow after one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from paymaster.accounting.account_names import OVERLOADS, PARALLEL, RECENT_OVERLOADS, account_of, parse
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

TOO_MANY_AT_ONCE = frozenset({FailureKind.THROTTLED, FailureKind.OVERLOADED})
"""Failures that mean "too many at once"."""


@dataclass(frozen=True, slots=True)
class ConcurrencyState:
    """The limit as an admission found it: its slots, how many are in use, the overloads ever and in the last minute."""

    slots: int
    in_use: int
    overloads: int
    recent_overloads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateHeadroom:
    """What the provider's rate-limit headers leave for now, None for what they do not state, and the tokens that this call took."""

    requests: int | None = None
    tokens: int | None = None
    used_tokens: int = 0


NOT_STATED = RateHeadroom()


def concurrency_charges(model: Model) -> tuple[Charge, ...]:
    """What a call charges for the limit of calls at once: a slot, and a look at the overloads. Nothing if the limit is fixed."""
    if not model.limits.adapts:
        return ()
    return (
        Charge(account_of(PARALLEL, model.subject), 1, FIRST, 0),
        Charge(account_of(OVERLOADS, model.subject), 0, None, None),
        Charge(account_of(RECENT_OVERLOADS, model.subject), 0, None, 0),
    )


def overload_posts(model: Model, failure: FailureKind) -> tuple[Post, ...]:
    """What a failure adds to the overloads."""
    if not model.limits.adapts or failure not in TOO_MANY_AT_ONCE:
        return ()
    return Post(account_of(OVERLOADS, model.subject), 1, None), Post(account_of(RECENT_OVERLOADS, model.subject), 1, RECENT_MS)


def limit_at(model: Model, charges: Sequence[Charge], held: Held) -> ConcurrencyState | None:
    """The limit as the admission found it; None if it is fixed, or if no ledger has the hold."""
    if not model.limits.adapts or held.unbooked:
        return None
    found = {charge.account: balance for charge, balance in zip(charges, held.balances, strict=True)}
    parallel, overloads = found[account_of(PARALLEL, model.subject)], found[account_of(OVERLOADS, model.subject)]
    return ConcurrencyState(
        FIRST - parallel.settled, parallel.held, overloads.settled, found[account_of(RECENT_OVERLOADS, model.subject)].live
    )


def move(
    subject: str, found: ConcurrencyState, changes: Sequence[Change], failure: FailureKind | None, headroom: RateHeadroom, draw: float
) -> int:
    """By how many slots the limit moves at the end of an attempt. `changes` are its settlement's, `draw` is a number in [0, 1)."""
    overloads = next((change.before for change in changes if change.account == account_of(OVERLOADS, subject)), None)
    if overloads != found.overloads:
        return 0  # another call met an overload since this attempt was admitted, and has moved the limit
    if failure is None:
        return _growth(found, headroom, draw)
    return max(1, found.slots * KEPT_TENTHS // 10) - found.slots if failure in TOO_MANY_AT_ONCE else 0


def _growth(found: ConcurrencyState, headroom: RateHeadroom, draw: float) -> int:
    if found.slots >= MOST or 2 * found.in_use < found.slots:
        return 0  # a limit that is not used is not tested
    if headroom.requests is not None and headroom.requests <= found.in_use:
        return 0
    if headroom.tokens is not None and headroom.tokens <= headroom.used_tokens * found.in_use:
        return 0
    if found.overloads == 0:
        return 1
    one_in = QUIET_ROUND if found.recent_overloads == 0 else max(found.slots, SHORTEST_ROUND)
    return 1 if draw * one_in < 1 else 0


def move_post(subject: str, by: int) -> Post:
    """The entry that moves the limit."""
    return Post(account_of(PARALLEL, subject), -by, None)


def floor_posts(refused: Refused) -> tuple[Post, ...]:
    """What brings a limit back to one slot that two calls, shrinking it at the same moment, have moved below."""
    return tuple(
        Post(shortfall.charge.account, FIRST - 1 - shortfall.balance.settled, None)
        for shortfall in refused.shortfalls
        if parse(shortfall.charge.account).kind == PARALLEL and shortfall.balance.settled >= FIRST
    )
