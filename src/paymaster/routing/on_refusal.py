"""What a refused hold means for a call: another attempt at it, going on over a soft budget, skipping the model, or waiting. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from paymaster.accounting.account_names import PAUSE, account_of
from paymaster.accounting.accounts import Refused, Shortfall
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.registry.models import Model
from paymaster.routing import breaker
from paymaster.routing.budgets import BudgetAccount
from paymaster.routing.call_errors import BudgetRefusal, describe_budget, describe_limit, describe_operator_needed, describe_wait
from paymaster.routing.exhaustion import is_exhausted, without_memory
from paymaster.routing.failures import FailureKind
from paymaster.routing.planning import Candidate, lowered_to, lowered_to_tokens
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.routing.staying import answered_by, describe_mixing
from paymaster.routing.tiers import is_of_tier


@dataclass(frozen=True, slots=True)
class Lowered:
    """Ask again with less output: that much the hard budget can pay for."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class GoOnOverBudget:
    """Ask again without the budgets: only open holds fill a soft one, and a soft budget counts what was spent."""


@dataclass(frozen=True, slots=True)
class SkipModel:
    """No room, and waiting can't make any: skip the model. `budget` is set where a budget can't pay."""

    skipped: Skipped
    shortfall: Shortfall
    budget: BudgetRefusal | None = None


@dataclass(frozen=True, slots=True)
class Hopeless:
    """An operator has to act before the model can serve anybody, or another model has answered the instance: skip it at once."""

    skipped: Skipped


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Waiting helps: room on this account, the first that refused."""

    account: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: the wait is longer than the call's patience while another candidate is left. Worth another try at `retry_at_ms`.

    `outage`: the model's circuit is open, so that nobody knows when it answers again.
    """

    skipped: Skipped
    retry_at_ms: int
    outage: bool = False


Decision: TypeAlias = Lowered | GoOnOverBudget | SkipModel | Hopeless | WaitFor


def on_refusal(candidate: Candidate, refused: Refused, *, enforce_money: bool, min_output_tokens: int) -> Decision:
    """The decision on a refusal. `min_output_tokens` is the least output that is worth a call."""
    if (other := answered_by(refused)) is not None:
        return Hopeless(Skipped.of(candidate.model, SkipCause.MIXED, describe_mixing(other)))
    if (needed := breaker.operator_needed(refused)) is not None:
        detail = describe_operator_needed(needed)
        return Hopeless(Skipped.of(candidate.model, SkipCause.PAUSED, detail, failure=needed.kind))
    caps = {budget.account: budget for budget in candidate.budgets} if enforce_money else {}
    short = [shortfall for shortfall in refused.shortfalls if shortfall.charge.account in caps]
    # A budget in requests is the reason to name: less output makes room in all others.
    hopeless = sorted(
        (shortfall for shortfall in short if not shortfall.waiting_helps),
        key=lambda each: caps[each.charge.account].unit is not BudgetUnit.REQUESTS,
    )
    if short and not candidate.hard and not hopeless:
        return GoOnOverBudget()
    if hopeless and candidate.hard and (lowered := _lowered(candidate, hopeless, caps, min_output_tokens)) is not None:
        return Lowered(lowered)
    if hopeless:
        refusal = BudgetRefusal(candidate, caps[hopeless[0].charge.account], hopeless[0])
        return SkipModel(Skipped.of(candidate.model, SkipCause.BUDGET, describe_budget(refusal)), hopeless[0], refusal)
    for shortfall in refused.shortfalls:
        if not shortfall.waiting_helps:
            return SkipModel(Skipped.of(candidate.model, SkipCause.LIMIT, describe_limit(shortfall, candidate.model)), shortfall)
    return WaitFor(refused.shortfalls[0].charge.account)


def _lowered(
    candidate: Candidate, hopeless: Sequence[Shortfall], caps: Mapping[str, BudgetAccount], min_output_tokens: int
) -> Candidate | None:
    """The candidate with as much output as all these budgets can pay for; None if that is too little, or if less output does not help."""
    lowered: Candidate | None = candidate
    for short in hopeless:
        room, unit = (short.charge.cap or 0) - short.balance.settled, caps[short.charge.account].unit
        if lowered is None or unit is BudgetUnit.REQUESTS:
            return None
        lower = lowered_to if unit is BudgetUnit.USD else lowered_to_tokens
        lowered = lower(lowered, room, min_output_tokens)
    return lowered if lowered is not None and lowered.output_tokens < candidate.output_tokens else None


def waits_too_long(subject: str, refused: Refused, now_ms: int, give_up_at_ms: int, *, has_fallback: bool) -> bool:
    """Whether to give up waiting now.

    With another model left nobody waits for a circuit: behind it is a probe, not room; nor for a model that was waited for in vain. Without
    one, a probe that is under way is worth the wait for what it finds.
    """
    if has_fallback and (breaker.refuses(subject, refused) or is_exhausted(subject, refused)):
        return True
    room_at_ms = refused.retry_at_ms if has_fallback else refused.ask_again_at_ms
    return now_ms >= give_up_at_ms or (room_at_ms is not None and now_ms + room_at_ms - refused.at_ms > give_up_at_ms)


def deferred(model: Model, refused: Refused | None, now_ms: int, patience_ms: int) -> Deferred:
    """The model after a wait that was, or would be, too long. `refused` is None for a call that never reached the head of the queue."""
    exhausted = refused is not None and is_exhausted(model.subject, refused)
    if refused is not None:
        refused = without_memory(model.subject, refused)
    retry_in_ms = 0 if refused is None or refused.retry_at_ms is None else refused.retry_at_ms - refused.at_ms
    outage = refused is not None and breaker.refuses(model.subject, refused)
    account = "" if refused is None else refused.shortfalls[0].charge.account
    throttled = account == account_of(PAUSE, model.subject) or is_of_tier(account)
    cause = SkipCause.PAUSED if outage or throttled else SkipCause.WAIT
    detail = describe_wait(refused, patience_ms, model) + ("; earlier calls waited in vain" if exhausted else "")
    failure = FailureKind.THROTTLED if throttled else None  # nothing else pauses a model that an operator need not act for
    return Deferred(Skipped.of(model, cause, detail, retry_in_ms, failure), now_ms + retry_in_ms, outage)
