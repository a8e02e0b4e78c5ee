"""Which model a call without an answer waits for next, and until when. Pure; knows no ledger, no queue and no clock."""

from collections.abc import Collection
from dataclasses import dataclass

from paymaster.routing.planning import Candidate
from paymaster.routing.skipped import Skipped

LOOK_AGAIN_MS = 1_000
"""A model that was asked in vain is asked again after this at the earliest, so that the others have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A candidate's turn to be tried.

    `has_fallback` says whether another model is left after it, `enforce_money` whether budgets are kept. The call waits for the candidate
    until `until_ms` at most, None: as long as it may; and backs off until `not_before_ms` first. `again`: it has had such a turn before.
    `siblings`: another endpoint of its model is left, which is tried before this one is tried again. `chosen` is why it is this endpoint.
    """

    candidate: Candidate
    order: int
    has_fallback: bool = False
    enforce_money: bool = True
    not_before_ms: int = 0
    until_ms: int | None = None
    again: bool = False
    siblings: bool = False
    chosen: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A candidate that did not serve now, and may later: expected at `expected_at_ms`, by `order` in the chain.

    `outage`: it fails, or its circuit is open; otherwise a limit or the provider's own time is waited for. `backs_off`: the call sleeps
    until then; otherwise it waits in the ledger's queue, where it may be woken earlier. `again`: the call has waited for it before.
    `retries`: it failed, and may be tried again before another model.
    """

    candidate: Candidate
    order: int
    why: Skipped
    expected_at_ms: int
    outage: bool = False
    backs_off: bool = False
    enforce_money: bool = True
    again: bool = False
    retries: bool = False


def next_of_model(awaited: Collection[Awaited], now_ms: int, until_ms: int) -> Turn | None:
    """The turn of the endpoint that may answer first, while another model is left: until another may answer, or `until_ms`.

    None if no endpoint may answer before that.
    """
    hopeful = [each for each in awaited if each.expected_at_ms <= until_ms]
    if not hopeful:
        return None
    chosen = min(hopeful, key=lambda each: (max(each.expected_at_ms, now_ms), each.order))
    others = [each.expected_at_ms for each in _elsewhere(hopeful, chosen) if each.expected_at_ms > max(chosen.expected_at_ms, now_ms)]
    return Turn(
        candidate=chosen.candidate,
        order=chosen.order,
        has_fallback=True,
        enforce_money=chosen.enforce_money,
        not_before_ms=chosen.expected_at_ms if chosen.backs_off else 0,
        until_ms=min([until_ms, *others]),
        siblings=True,
        chosen="it may answer first",
    )


def next_turn(awaited: Collection[Awaited], now_ms: int, give_up_at_ms: int, outage_until_ms: int) -> Turn | None:
    """The turn of the model that may answer first, in the order of the chain: until another may answer, or the call gives up.

    A model that fails is waited for until `outage_until_ms`, any other until `give_up_at_ms`.
    None if no model may answer before that. A model that was not yet waited for is asked in any case.
    """

    def until_ms(each: Awaited) -> int:
        return outage_until_ms if each.outage else give_up_at_ms

    hopeful = [each for each in awaited if not each.again or each.expected_at_ms <= until_ms(each)]
    if not hopeful:
        return None
    chosen = min(hopeful, key=lambda each: (max(each.expected_at_ms, now_ms), each.order))
    others = [max(each.expected_at_ms, now_ms) for each in _elsewhere(hopeful, chosen)]
    return Turn(
        candidate=chosen.candidate,
        order=chosen.order,
        enforce_money=chosen.enforce_money,
        not_before_ms=chosen.expected_at_ms if chosen.backs_off else 0,
        until_ms=min([until_ms(chosen), *others]),
        again=chosen.again,
    )


def _elsewhere(awaited: Collection[Awaited], chosen: Awaited) -> list[Awaited]:
    """Those at other endpoints. Another tier of the same one has the same limits, and has no room earlier: the cheaper one comes first."""
    return [each for each in awaited if each.candidate.model.subject != chosen.candidate.model.subject]
