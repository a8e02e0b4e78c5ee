"""Which tiers of service a call tries at a model, and what the failure of one means. Pure; knows no ledger and no wire format.

A provider may sell the same model at several tiers (`service_tier`): at half the price, but slower and often full (`flex`), or dearer and
faster (`priority`). Where a tier has no room, others may have. So a tier has accounts of its own, shared by every process of a ledger:

    tier-pause-flex/M      cap 0   has an entry while nobody asks M for its tier flex
    tier-refusals-flex/M   cap 0   how many pauses in a row the tier had since it last answered; kept for some time after the last one
    tier-probe-flex/M      cap 1   charged by the one call at a time that finds out, after a pause, whether the tier answers again

A failure that is about the tier alone leaves the model's pause, its circuit and its number of calls at once as they are.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from paymaster.accounting.account_names import TIER_PAUSE, TIER_PROBE, TIER_REFUSALS, can_be_tier, read_tier, tier_account
from paymaster.accounting.accounts import Charge, Post, Refused
from paymaster.accounting.prices.price import STANDARD_TIERS, Cost, cost
from paymaster.dialects.chat.fitting.params import joined
from paymaster.errors import RequestInvalid
from paymaster.routing.failures import PROBE_EVERY_MS, Failure, FailureKind, Then, pause_ms, rule_of
from paymaster.routing.requests import SERVICE_TIER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from paymaster.accounting.prices.price import Price
    from paymaster.accounting.usage.record import Usage
    from paymaster.registry.models import Model
    from paymaster.routing.planning import Candidate
    from paymaster.routing.requests import Request

FIELD = SERVICE_TIER
FLEX = "flex"
_KNOWN = frozenset({FLEX, "priority", "fast", "performance", "reserved"})
"""Providers' words for tiers beside the one at list price. Names of accounts have no others, but for those that a price is known of."""

LONGEST_TIER = 40
"""How much of a tier's name is recorded: a client may send any."""

FIRST_PAUSE_MS = 15_000
"""How long a tier is paused at first, if its provider does not say; each pause in a row is twice as long."""

LONGEST_PAUSE_MS = 300_000
"""The longest such pause: one call in five minutes finds out whether there is room again."""

_REMEMBERED_MS = 60_000
"""A pause is remembered for as long again as it lasted, and at least for this, so that one call finds out how the tier is."""

_DOUBLINGS = 10
"""So many pauses in a row are counted: more would not make one longer."""

_OF_ITS_OWN = frozenset({FailureKind.THROTTLED, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR, FailureKind.TIMED_OUT})
"""Failures that say nothing about the next tier. A server that can't be reached, or a refused key, is the same at every tier."""

_REFUSED = frozenset({FailureKind.BAD_REQUEST, FailureKind.PERMISSION, FailureKind.UNKNOWN_MODEL})
"""What providers answer that do not sell the model at the tier."""


def read_tiers(params: Mapping[str, object]) -> tuple[tuple[str, ...], Mapping[str, object]]:
    """The tiers of a library caller that gives a list of them, and the other parameters. Raises RequestInvalid."""
    every = joined(params)
    value = every.get(FIELD)
    if not isinstance(value, list | tuple):
        return (), params
    if not value or not all(isinstance(each, str) and each.strip() for each in value):
        msg = f"{FIELD} must be a tier, or a list of tiers to try in turn"
        raise RequestInvalid(msg, advice=f'Example: {FIELD}=["flex", "default"]')
    return tuple(dict.fromkeys(value)), {name: other for name, other in every.items() if name != FIELD}


def in_tiers(model: Model, request: Request) -> tuple[Model, ...]:
    """The model at each tier that is tried, in order; just the model if the request or the registry names one tier or none."""
    stated = request.params.get(FIELD)
    tiers = request.tiers or (model.tiers if stated is None else ())
    if tiers:
        return tuple([_at(model, tier, tiers) for tier in tiers])
    word = model.params.get(FIELD) if stated is None else stated
    return (replace(model, timeouts=model.flex_timeouts) if word == FLEX and model.flex_timeouts is not None else model,)


def _at(model: Model, tier: str, tiers: tuple[str, ...]) -> Model:
    is_standard = tier in STANDARD_TIERS and tier != "auto"
    return replace(
        model,
        tiers=tiers,
        tier=tier,
        params={**model.params, FIELD: (model.standard_tier or tier) if is_standard else tier},
        timeouts=(model.flex_timeouts or model.timeouts) if tier == FLEX else model.timeouts,
    )


def account_tier(word: str | None, price: Price | None) -> str:
    """The tier under which a request is counted that names this word; empty for one at list price, or a word that nobody knows."""
    name = "" if word is None else word.strip().lower()
    known = name in _KNOWN or (price is not None and price.mode(name) is not None)
    return name if known and name not in STANDARD_TIERS and can_be_tier(name) else ""


def tier_charges(subject: str, tier: str, *, as_probe: bool) -> tuple[Charge, ...]:
    """What an admission asks of a tier: that it is not paused, and was not; a probe only the first, and the probe's place.

    The last charge reads how many pauses in a row there were.
    """
    pause = Charge(tier_account(TIER_PAUSE, tier, subject), 0, 0, 0)
    refusals = tier_account(TIER_REFUSALS, tier, subject)
    if as_probe:
        return pause, Charge(tier_account(TIER_PROBE, tier, subject), 1, 1, 0), Charge(refusals, 0, None, 0)
    return pause, Charge(refusals, 0, 0, 0)


def is_of_tier(account: str) -> bool:
    """Whether an account is of one tier alone."""
    return read_tier(account) is not None


def asks_probe(refused: Refused) -> bool:
    """Whether the pause of a tier is over and nobody has found out yet how it is: worth another try as a probe."""
    kinds = {name.kind for each in refused.shortfalls if (name := read_tier(each.charge.account)) is not None}
    return TIER_REFUSALS in kinds and TIER_PAUSE not in kinds


def without_count(refused: Refused) -> Refused:
    """The refusal by what a call can wait for: after the end of a pause it asks as a probe."""
    kinds = {short: read_tier(short.charge.account) for short in refused.shortfalls}
    if not any(name is not None and name.kind == TIER_PAUSE for name in kinds.values()):
        return refused
    left = tuple(short for short, name in kinds.items() if name is None or name.kind != TIER_REFUSALS)
    return replace(refused, shortfalls=left)


def goes_on(model: Model, refused: Refused) -> bool:
    """Whether a call leaves a tier for the next one instead of waiting: its pause ends too late, or another call is finding out."""
    if not model.has_next_tier:
        return False
    short = [each for each in refused.shortfalls if is_of_tier(each.charge.account)]
    return any(each.retry_at_ms is None or each.retry_at_ms - refused.at_ms > model.tier_patience_ms for each in short)


def describe(account: str) -> str:
    """Why one of a tier's accounts has no room."""
    name = read_tier(account)
    if name is None or name.kind == TIER_PAUSE:
        return f"its tier {'' if name is None else name.tier} is paused after failures"
    return f"its tier {name.tier} was paused after failures, and a probe is under way"


def blames_tier(candidate: Candidate, failure: Failure) -> bool:
    """Whether a failure is about the tier alone, and nothing of the model's is paused or counted for it.

    A 429 is in any case: the tier at list price has room of its own. Other failures are if that tier, or another, is tried next.
    """
    if not candidate.tier:
        return False
    if failure.kind is FailureKind.THROTTLED:
        return True
    return candidate.model.has_next_tier and (failure.kind in _OF_ITS_OWN or _refuses_tier(candidate.tier, failure))


def leaves_tier(candidate: Candidate, failure: Failure) -> bool:
    """Whether a call goes on with the next tier after this failure: after any that another model could help with, but for a request that
    all tiers of this model would refuse.
    """
    if not candidate.model.has_next_tier:
        return False
    rule = rule_of(failure)
    helps = rule.then is Then.NEXT and rule.then_at_fallback is None and not rule.at_once and not failure.elsewhere
    return helps or blames_tier(candidate, failure)


def tier_posts(candidate: Candidate, failure: Failure, refusals: int, *, backoff_ms: int, longest_pause_ms: int) -> tuple[Post, ...]:
    """The pause of a tier that failed, and the count of pauses in a row, which replaces the one before (see `tier_clears`).

    `refusals` is that count at the admission, so that many calls which failed together count once. Where no other tier is tried next,
    callers wait for the tier: its first pause is the provider's or the backoff, and none is longer than `longest_pause_ms`.
    """
    if candidate.model.has_next_tier:
        first_ms, most_ms = FIRST_PAUSE_MS, LONGEST_PAUSE_MS
    else:
        first_ms = pause_ms(failure, backoff_ms) or backoff_ms
        most_ms = max(first_ms, longest_pause_ms)
    grown_ms = most_ms if _refuses_tier(candidate.tier, failure) else min(most_ms, first_ms << min(refusals, _DOUBLINGS))
    paused_ms = max(1, grown_ms, min(PROBE_EVERY_MS, failure.asked_ms or 0))
    pause, counted = _accounts(candidate)
    return (
        Post(pause, 1, paused_ms),
        Post(counted, min(refusals, _DOUBLINGS) + 1, paused_ms + max(paused_ms, _REMEMBERED_MS)),
    )


def tier_clears(candidate: Candidate, failure: Failure | None, refusals: int) -> tuple[str, ...]:
    """The accounts that are emptied: the count, before another replaces it, and by the answer to a probe."""
    if not candidate.tier:
        return ()
    failed = failure is not None and blames_tier(candidate, failure)
    return _accounts(candidate)[1:] if failed or (failure is None and refusals) else ()


def _accounts(candidate: Candidate) -> tuple[str, str]:
    tier, subject = candidate.tier, candidate.model.subject
    return tier_account(TIER_PAUSE, tier, subject), tier_account(TIER_REFUSALS, tier, subject)


def tier_accounts(account: str) -> tuple[str, ...]:
    """The accounts of a tier that an operator resets together, by the name of one of them; none for another account."""
    name = read_tier(account)
    return () if name is None else tuple(tier_account(kind, name.tier, name.subject) for kind in (TIER_PAUSE, TIER_REFUSALS))


def _refuses_tier(tier: str, failure: Failure) -> bool:
    """Whether the provider says that it does not sell the model at this tier."""
    if failure.kind not in _REFUSED:
        return False
    words = rf"service.?tiers?\b|\b{re.escape(tier)} (api|tier|processing|inference|mode|requests?)\b"
    return re.search(words, failure.message, re.IGNORECASE) is not None


def saved_nanousd(usage: Usage | None, price: Price | None, at: datetime, cost_nanousd: int) -> int:
    """What an answer cost less than at list price, by the tier that the answer names."""
    if usage is None or price is None or not account_tier(usage.service_tier, price):
        return 0
    listed = cost(replace(usage, service_tier=None, speed=None, reported_cost_usd=None), price, at)
    return max(0, listed.nanousd - cost_nanousd) if isinstance(listed, Cost) else 0
