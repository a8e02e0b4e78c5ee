"""Which candidate a call asks first, by what each of them has room for now: the order of `flow.turns`, foretold. Pure; knows no ledger."""

from collections.abc import Sequence
from typing import NamedTuple


class Prospect(NamedTuple):
    """A candidate as it is now.

    `retry_in_ms` is how long it would be waited for: 0 if it may be called, None until open calls settle. While other endpoints of its
    model are left, it is waited for `wait_ms` at most. `is_outage`: its circuit is open. `is_lost`: no wait helps. `is_left`: a call that
    goes on without it does not come back, since another tier of its endpoint is awaited. `over_budget`: only soft budgets refuse it.
    """

    model: str
    retry_in_ms: int | None = 0
    wait_ms: int = 0
    is_outage: bool = False
    is_lost: bool = False
    is_left: bool = False
    over_budget: bool = False


def first_asked(prospects: Sequence[Prospect], patience_ms: int) -> int | None:
    """The position of the candidate that is called first, at once or after a wait; None if there is none."""
    awaited: list[int] = []

    def soonest(positions: Sequence[int]) -> int | None:
        return min(positions, key=lambda position: (prospects[position].retry_in_ms or 0, position), default=None)

    for position, each in enumerate(prospects):
        later = prospects[position + 1 :]
        siblings = [other for other in (*later, *(prospects[at] for at in awaited)) if other.model == each.model]
        if not (each.is_lost or each.over_budget):
            if each.retry_in_ms == 0 or _waits(each, patience_ms, siblings=bool(siblings), has_fallback=bool(later or awaited)):
                return position
            if not each.is_left:
                awaited.append(position)
        if later and later[0].model != each.model and siblings:
            hopeful = [at for at in awaited if prospects[at].model == each.model and not prospects[at].is_outage]
            found = soonest([at for at in hopeful if (prospects[at].retry_in_ms or 0) <= patience_ms])
            if found is not None:
                return found
    over_budget = next((position for position, each in enumerate(prospects) if each.over_budget), None)
    found = soonest(awaited if over_budget is None else [at for at in awaited if not prospects[at].is_outage])
    return found if found is not None else over_budget


def _waits(each: Prospect, patience_ms: int, *, siblings: bool, has_fallback: bool) -> bool:
    """Whether a call waits for the candidate before it goes on to another one."""
    if not has_fallback:
        return True
    most_ms = each.wait_ms if siblings else patience_ms
    return not each.is_outage and 0 < most_ms >= (each.retry_in_ms or 0)
