"""Why a call can't go on, in words a person can act on; pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from paymaster.accounting.accounts import Refused, Shortfall
from paymaster.accounting.money import format_usd
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import BudgetExceeded, KeyMissing, LimitReached, NoModelAvailable, NoModelFits, PaymasterError
from paymaster.routing.budgets import MoneyAccount
from paymaster.routing.failures import RULES, Failure
from paymaster.routing.planning import Candidate, SkipCause, Skipped
from paymaster.routing.requests import Request, needed_capabilities


class OverSoftBudget(Enum):
    """A soft budget that only open holds fill is no reason to leave a model."""

    GO_ON = 1


@dataclass(frozen=True, slots=True)
class BudgetRefusal:
    """A candidate that a budget can't pay for."""

    candidate: Candidate
    money: MoneyAccount
    shortfall: Shortfall


def describe_failure(failure: Failure) -> str:
    """One sentence about a failed attempt."""
    status = f" (HTTP {failure.status})" if failure.status else ""
    needs_operator = "; this needs somebody to mend it" if RULES[failure.kind].needs_operator else ""
    return f"{failure.kind.value.replace('_', ' ')}{status}: {failure.message}{needs_operator}"


def describe_limit(shortfall: Shortfall) -> str:
    """One sentence about an account without room."""
    charge, balance = shortfall.charge, shortfall.balance
    kind = charge.account.split("/", 1)[0]
    if kind == "pause":
        return "paused after failures"
    if kind == "parallel":
        return f"{balance.held} calls at once under way, as many as the provider seems to take"
    if kind == "usd":
        return (
            f"budget {charge.account}: {format_usd(balance.settled)} spent and {format_usd(balance.held)} held of "
            f"{format_usd(charge.cap or 0)}, {format_usd(charge.amount)} needed"
        )
    return f"{charge.account}: {balance.total} of {charge.cap} used, {charge.amount} needed"


def describe_budget(refusal: BudgetRefusal) -> str:
    """One sentence about a budget that can't pay."""
    shortfall = refusal.shortfall
    return (
        f"{refusal.money.key or refusal.money.account} = {format_usd(refusal.money.cap_nanousd)} can't pay for it: "
        f"{format_usd(shortfall.balance.settled)} spent, {format_usd(shortfall.balance.held)} held, "
        f"{format_usd(shortfall.charge.amount)} needed"
    )


def describe_wait(refused: Refused | None, patience_ms: int) -> str:
    """One sentence about a wait that was too long."""
    if refused is None:
        return f"no turn within {patience_ms / 1000:g} s: others waited before"
    short = refused.shortfalls[0]
    if short.charge.account.startswith("pause/") and short.retry_at_ms is not None:
        return f"{describe_limit(short)}, for {(short.retry_at_ms - refused.at_ms) / 1000:,.1f} s more"
    return f"no room within {patience_ms / 1000:g} s: {describe_limit(short)}"


def no_model_error(
    request: Request, skipped: Sequence[Skipped], refusals: Sequence[BudgetRefusal], records: Sequence[AttemptRecord]
) -> PaymasterError:
    """The error for a call that nobody answered, by what stood in the way.

    A hard budget that had the last word is a budget stop, whatever was tried before: with more money the call would have gone on. Where a
    model was asked after the refusal and failed, or is to be waited for, the budget was not the end of it, and time may help.
    """
    reasons = [(passed.model, passed.detail) for passed in skipped]
    kinds = {passed.against for passed in skipped}
    listed = "\n".join(f"  {model}: {detail}" for model, detail in reasons)
    if refusals and _last_word(skipped) is SkipCause.BUDGET:
        return _budget_error(refusals[0], [*_attempts(records), *_unattempted(skipped, records)])
    if kinds <= {SkipCause.CAPABILITY, SkipCause.VECTORS, SkipCause.CONTEXT, SkipCause.PARAMETER, SkipCause.LIMIT}:
        needs = ", ".join(sorted(needed_capabilities(request))) or "this request"
        advice = "Add a model that can, or correct `capabilities` and the token limits in the registry."
        too_long = SkipCause.CONTEXT in kinds and kinds <= {SkipCause.CONTEXT, SkipCause.CAPABILITY, SkipCause.VECTORS}
        return NoModelFits(f"no model fits the request ({needs}):\n{listed}", reasons, advice=advice, too_long=too_long)
    if SkipCause.KEY in kinds and kinds <= _BEFORE_SENDING:
        return KeyMissing(f"no model can be called:\n{listed}", advice="Set the variable, or name another one with api_key_env.")
    if SkipCause.UNPRICED in kinds and kinds <= _BEFORE_SENDING:
        return NoModelFits(f"no model may be called under a hard budget:\n{listed}", reasons)
    again_in_ms = min((passed.again_in_ms for passed in skipped if passed.again_in_ms is not None), default=None)
    if SkipCause.WAIT in kinds and not kinds & {SkipCause.PAUSED, SkipCause.FAILED}:
        advice = "Ask again later, raise the limits or policies.max_wait_s, or add a fallback. `paymaster status` shows the limits."
        return LimitReached(f"every model is at its limit:\n{listed}", reasons, advice=advice, retry_after_ms=again_in_ms)
    advice = "See `paymaster status` for limits and pauses, and `paymaster report` for the attempts."
    return NoModelAvailable(f"no model answered:\n{listed}", reasons, advice=advice, retry_after_ms=again_in_ms)


_NEVER = frozenset(
    {SkipCause.CAPABILITY, SkipCause.VECTORS, SkipCause.CONTEXT, SkipCause.PARAMETER, SkipCause.LIMIT, SkipCause.KEY, SkipCause.UNPRICED}
)
"""What neither money nor time would change."""
_BEFORE_SENDING = _NEVER | {SkipCause.BUDGET}
_MOST_ATTEMPTS = 12


def _last_word(skipped: Sequence[Skipped]) -> SkipCause | None:
    """What ended the call: the last thing that stood against a model which could have served."""
    return next((passed.against for passed in reversed(skipped) if passed.against not in _NEVER), None)


def _attempts(records: Sequence[AttemptRecord]) -> Iterator[str]:
    """A line for each attempt, the last ones where there were many."""
    if len(records) > _MOST_ATTEMPTS:
        yield f"{len(records) - _MOST_ATTEMPTS:,} earlier attempts"
    for record in records[-_MOST_ATTEMPTS:]:
        status = f" (HTTP {record.status})" if record.status else ""
        charged = f", {format_usd(record.cost_nanousd)} charged" if record.cost_nanousd else ""
        said = f": {record.message}" if record.message else ""
        yield f"attempt {record.attempt}, {record.model}: {record.outcome.replace('_', ' ')}{status}{charged}{said}"


def _unattempted(skipped: Sequence[Skipped], records: Sequence[AttemptRecord]) -> Iterator[str]:
    """A line for each model that was passed over; a failed attempt has its own."""
    attempted = {record.model for record in records}
    for passed in skipped:
        if passed.against is not SkipCause.FAILED or passed.model not in attempted:
            yield f"{passed.model}: {passed.detail}"


def _budget_error(refusal: BudgetRefusal, lines: Iterable[str]) -> BudgetExceeded:
    shortfall, money = refusal.shortfall, refusal.money
    balance = shortfall.balance
    less = "ask for fewer output tokens" if refusal.candidate.output_tokens else "send less at once"
    listed = "\n".join(f"  {line}" for line in lines)
    return BudgetExceeded(
        f"budget reached: {describe_budget(refusal)} (account {money.account})\n{listed}",
        account=money.account,
        cap_nanousd=money.cap_nanousd,
        spent_nanousd=balance.settled,
        held_nanousd=balance.held,
        needed_nanousd=shortfall.charge.amount,
        advice=f"Raise {money.key or 'the budget'}, {less}, or end the fallback chain with a free model.",
    )
