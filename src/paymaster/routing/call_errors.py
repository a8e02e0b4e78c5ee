"""Why a call can't go on, in words a person can act on. Pure; knows no ledger and no event."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from paymaster.accounting.account_names import BREAKER, PARALLEL, PAUSE, PROBE, account_of, model_of_stay, parse
from paymaster.accounting.accounts import Refused, Shortfall
from paymaster.accounting.budget_units import BudgetUnit, format_amount, unit_of
from paymaster.accounting.money import format_usd
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import (
    BudgetExceeded,
    KeyMissing,
    LimitReached,
    NoModelAvailable,
    NoModelFits,
    PaymasterError,
    PromptSize,
    RequestRefused,
)
from paymaster.registry.models import Model
from paymaster.routing import breaker, tiers
from paymaster.routing.budgets import BudgetAccount
from paymaster.routing.failures import Failure, FailureKind, needs_operator
from paymaster.routing.interruptions import describe_charge
from paymaster.routing.planning import Candidate
from paymaster.routing.requests import Request, needed_capabilities
from paymaster.routing.skipped import SkipCause, Skipped, by_reason


@dataclass(frozen=True, slots=True)
class BudgetRefusal:
    """A candidate that a budget can't pay for."""

    candidate: Candidate
    budget: BudgetAccount
    shortfall: Shortfall


def describe_failure(failure: Failure) -> str:
    """One sentence about a failed attempt."""
    action = "; requires operator action" if needs_operator(failure) else ""
    message = failure.message.rstrip(".") if action else failure.message
    return f"{name_failure(failure)}: {message}{action}"


def name_failure(failure: Failure) -> str:
    """Its kind, with the status that the provider answered: `overloaded (HTTP 529)`."""
    return failure.kind.value.replace("_", " ") + (f" (HTTP {failure.status})" if failure.status else "")


def describe_operator_needed(needed: breaker.OperatorNeeded) -> str:
    """One sentence about a failure of another call that only an operator can fix."""
    return (
        f"{needed.kind.value.replace('_', ' ')}, as another call found {needed.ago_ms / 1000:,.1f} s ago; requires operator action; "
        f"a call may try again in {needed.probe_in_ms / 1000:,.1f} s"
    )


def describe_limit(shortfall: Shortfall, model: Model | None = None) -> str:
    """One sentence about an account without room; `model` is the one that it refused, for its name."""
    charge, balance = shortfall.charge, shortfall.balance
    kind = parse(charge.account).kind
    if tiers.is_of_tier(charge.account):
        return tiers.describe(charge.account)
    if kind == PAUSE:
        return "the provider asked to wait"
    if kind in (BREAKER, PROBE):
        return breaker.describe(charge.account, balance)
    if (other := model_of_stay(charge.account)) is not None:
        return f"another call of the instance is under way at {other}, and never_mix allows one model"
    if kind == PARALLEL:
        return f"{balance.held} calls under way, as many at once as the provider seems to take"
    if (unit := unit_of(charge.account)) is not None:
        settled, held, cap, needed = (format_amount(n, unit) for n in (balance.settled, balance.held, charge.cap or 0, charge.amount))
        return f"budget {charge.account}: {settled} spent and {held} held of {cap}, {needed} needed"
    return f"{name_account(charge.account, model)}: {balance.total} of {charge.cap} used, {charge.amount} needed"


def name_account(account: str, model: Model | None) -> str:
    """The account as a person reads it: one of what the model calls has the model's name."""
    name = parse(account)
    return account if model is None or name.subject != model.subject else account_of(name.kind, model.endpoint_place, name.endpoint)


def describe_budget(refusal: BudgetRefusal) -> str:
    """One sentence about a budget that can't pay."""
    budget, balance, needed = refusal.budget, refusal.shortfall.balance, refusal.shortfall.charge.amount
    cap, spent, held, asked = (format_amount(n, budget.unit) for n in (budget.cap, balance.settled, balance.held, needed))
    return f"{budget.key or budget.account} = {cap} can't pay for this call: {spent} spent, {held} held, {asked} needed"


def describe_wait(refused: Refused | None, patience_ms: int, model: Model | None = None) -> str:
    """One sentence about a wait that was too long, for this model."""
    if refused is None:
        return f"not at the head of the queue within {patience_ms / 1000:g} s" if patience_ms else "earlier calls wait for its limits"
    short = refused.shortfalls[0]
    if _is_pause(short.charge.account) and short.retry_at_ms is not None:
        return f"{describe_limit(short, model)}, for {(short.retry_at_ms - refused.at_ms) / 1000:,.1f} s more"
    within = f" within {patience_ms / 1000:g} s" if patience_ms else " now"
    return f"no room{within}: {describe_limit(short, model)}"


def _is_pause(account: str) -> bool:
    return parse(account).kind in (PAUSE, BREAKER, PROBE) or tiers.is_of_tier(account)


def no_model_error(
    request: Request,
    skipped: Sequence[Skipped],
    refusals: Sequence[BudgetRefusal],
    records: Sequence[AttemptRecord],
    ended: Sequence[str] = (),
) -> PaymasterError:
    """The error for a call without an answer, by the obstacles that it met.

    If the last obstacle was a hard budget, the call is a budget stop, even after failed attempts: with more money it would have gone on. If
    a model failed, or had to be waited for, after the budget's refusal, it is not: retrying later may work. `ended` says what processes
    that ended hold of the budgets and limits of the call.
    """
    reasons = [(each.place, each.detail) for each in skipped]
    listed = "\n".join(f"  {places}: {detail}" for places, detail in by_reason(skipped))
    skipped = [each for each in skipped if not each.tier] or skipped  # what kept the call from the last tier of a model decides
    kinds = {each.cause for each in skipped}
    if refusals and _last_obstacle(skipped) is SkipCause.BUDGET:
        return _budget_error(refusals[0], [*_attempts(records), *_unattempted(skipped, records), *ended])
    if kinds <= {SkipCause.CAPABILITY, SkipCause.VECTORS, SkipCause.CONTEXT, SkipCause.PARAMETER, SkipCause.LIMIT}:
        needs = ", ".join(sorted(needed_capabilities(request)))
        advice = "Add a model that can, or correct `capabilities` and the token limits in the registry."
        return NoModelFits(
            f"no model fits the request{f' ({needs})' if needs else ''}:\n{listed}",
            reasons,
            advice=advice,
            too_long=_is_too_long(skipped),
            size=_largest(skipped),
        )
    if SkipCause.KEY in kinds and kinds <= _BEFORE_SENDING:
        return KeyMissing(f"no model can be called:\n{listed}", advice="Set the variable, or name another one with api_key_env.")
    if kinds & {SkipCause.UNPRICED, SkipCause.UNBOUNDED} and kinds <= _BEFORE_SENDING:
        return NoModelFits(f"no model may be called under a hard budget:\n{listed}", reasons)
    retry_in_ms = min((each.retry_in_ms for each in skipped if each.retry_in_ms is not None), default=None)
    limited = [each for each in skipped if _is_limited(each)]
    if limited and not any(each.cause in (SkipCause.PAUSED, SkipCause.FAILED) for each in skipped if each not in limited):
        advice = "Ask again later, raise the limits or policies.max_wait_s, or add a fallback. `paymaster status` shows the limits."
        held = "".join(f"\n  {sentence}" for sentence in ended)
        return LimitReached(f"every model is at its limit:\n{listed}{held}", reasons, advice=advice, retry_after_ms=retry_in_ms)
    failed = next((each.failure.value for each in reversed(skipped) if each.failure is not None and each not in limited), "")
    if _is_too_long(skipped):
        advice = f"{_charged(records)}Send a shorter prompt, or add a model with a larger context to the chain."
        msg = f"the prompt is too long for every model that could answer:\n{listed}"
        return NoModelAvailable(msg, reasons, advice=advice, too_long=True, size=_largest(skipped))
    if _is_refused(skipped):
        return _refusal(skipped, records)
    advice = f"{_charged(records)}See `paymaster status` for limits and pauses, and `paymaster report` for the attempts."
    return NoModelAvailable(f"no model answered:\n{listed}", reasons, advice=advice, retry_after_ms=retry_in_ms, failure=failed)


def _is_limited(skipped: Skipped) -> bool:
    """Whether a model is at a limit, ours or its provider's: the provider asked this call to wait, or another one before it."""
    return skipped.cause is SkipCause.WAIT or (skipped.cause is SkipCause.PAUSED and skipped.failure is FailureKind.THROTTLED)


def _is_too_long(skipped: Sequence[Skipped]) -> bool:
    """Whether the length of the prompt is what keeps it from every model that could otherwise serve it."""
    too_long = {each.place for each in skipped if each.cause is SkipCause.CONTEXT or each.too_long is not None}
    others = {each.cause for each in skipped if each.place not in too_long and each.failure is not FailureKind.BAD_REQUEST}
    return bool(too_long) and others <= {SkipCause.CAPABILITY, SkipCause.VECTORS, SkipCause.PARAMETER}


def _is_refused(skipped: Sequence[Skipped]) -> bool:
    """Whether every model that could be asked refused the request itself."""
    refused = [each for each in skipped if each.failure is FailureKind.BAD_REQUEST]
    return bool(refused) and all(each in refused or each.cause in _NEVER for each in skipped)


def _refusal(skipped: Sequence[Skipped], records: Sequence[AttemptRecord]) -> RequestRefused:
    """The first refusal, with what the others said."""
    first = next(each for each in skipped if each.failure is FailureKind.BAD_REQUEST)
    status = next((record.status for record in records if record.place == first.place), None)
    others = "".join(f"\n  {places}: {detail}" for places, detail in by_reason([each for each in skipped if each is not first]))
    also = f"\nno other model took the request:{others}" if others else ""
    return RequestRefused(f"{first.place}: {first.detail}{also}", kind=FailureKind.BAD_REQUEST.value, status=status)


def _largest(skipped: Sequence[Skipped]) -> PromptSize | None:
    """The figures of the model that takes the longest prompts, of those that the prompt is too long for."""
    sizes = [each.too_long for each in skipped if each.too_long is not None]
    return max(sizes, key=lambda size: (size.window_tokens or 0, size.prompt_tokens or 0), default=None)


_NEVER = frozenset(
    {
        SkipCause.CAPABILITY, SkipCause.VECTORS, SkipCause.CONTEXT, SkipCause.PARAMETER, SkipCause.LIMIT, SkipCause.KEY,
        SkipCause.UNPRICED, SkipCause.UNBOUNDED,
    }
)  # fmt: skip
"""Obstacles that neither money nor time removes."""
_BEFORE_SENDING = _NEVER | {SkipCause.BUDGET}
_MOST_ATTEMPTS = 12


def _charged(records: Sequence[AttemptRecord]) -> str:
    """What the attempts were charged, if anything."""
    charged = [record for record in records if record.cost_nanousd]
    if len(charged) < 2:
        return "".join(f"{describe_charge(record)} " for record in charged)
    return f"Charged {format_usd(sum(record.cost_nanousd for record in charged))} for {len(charged)} attempts. "


def _last_obstacle(skipped: Sequence[Skipped]) -> SkipCause | None:
    """What ended the call: the last obstacle at a model that could have served."""
    return next((each.cause for each in reversed(skipped) if each.cause not in _NEVER), None)


def _attempts(records: Sequence[AttemptRecord]) -> Iterator[str]:
    """A line for each attempt, the last ones where there were many."""
    if len(records) > _MOST_ATTEMPTS:
        yield f"{len(records) - _MOST_ATTEMPTS:,} earlier attempts"
    for record in records[-_MOST_ATTEMPTS:]:
        status = f" (HTTP {record.status})" if record.status else ""
        charged = f", {format_usd(record.cost_nanousd)} charged" if record.cost_nanousd else ""
        message = f": {record.message}" if record.message else ""
        yield f"attempt {record.attempt}, {record.place}: {record.outcome.replace('_', ' ')}{status}{charged}{message}"


def _unattempted(skipped: Sequence[Skipped], records: Sequence[AttemptRecord]) -> Iterator[str]:
    """A line for each model that was skipped; a failed attempt has its own."""
    attempted = {record.place for record in records}
    unattempted = [each for each in skipped if each.cause is not SkipCause.FAILED or each.place not in attempted]
    yield from (f"{places}: {detail}" for places, detail in by_reason(unattempted))


def _budget_error(refusal: BudgetRefusal, lines: Iterable[str]) -> BudgetExceeded:
    shortfall, budget = refusal.shortfall, refusal.budget
    balance = shortfall.balance
    less = "ask for fewer output tokens" if refusal.candidate.output_tokens else "send less at once"
    if lowered_by := refusal.candidate.work.lowered_by:
        less = f"lower what is held for what the provider runs by itself ({', '.join(lowered_by)} of {refusal.candidate.model.name})"
    listed = "\n".join(f"  {line}" for line in lines)
    return BudgetExceeded(
        f"budget reached: {describe_budget(refusal)} (account {budget.account})\n{listed}",
        account=budget.account,
        unit=budget.unit.value,
        cap=budget.cap,
        spent=balance.settled,
        held=balance.held,
        needed=shortfall.charge.amount,
        advice=_budget_advice(budget, less),
    )


def _budget_advice(budget: BudgetAccount, less: str) -> str:
    key = budget.key or "the budget"
    match budget.unit:
        case BudgetUnit.USD:
            return f"Raise {key}, {less}, or end the fallback chain with a free model."
        case BudgetUnit.TOKENS:
            return f"Raise {key}, or {less}."
        case _:
            return f"Raise {key}."
