"""The error of a call that only another model could answer than the one that answered its instance before. Pure; knows no ledger."""

from collections.abc import Sequence

from paymaster.accounting.account_names import dimensions_of
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import BudgetExceeded, MixRefused, NoModelAvailable, PaymasterError
from paymaster.routing.call_errors import BudgetRefusal, no_model_error
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause, Skipped, by_reason

_ADVICE = "Run the instance again: its first call may be answered by any model. Without policies.never_mix the call would have fallen back."


def unanswered(
    request: Request,
    skipped: Sequence[Skipped],
    refusals: Sequence[BudgetRefusal],
    records: Sequence[AttemptRecord],
    ended: Sequence[str] = (),
    *,
    instance: str | None = None,
    home: str | None = None,
) -> PaymasterError:
    """The error for a call without an answer, where models may have been skipped because another one answered the instance.

    It is MixRefused where falling back might have helped. What no fallback helps with stays what it is: a prompt that is too long for the
    instance's own model, a refusal of the request, a budget over all models.
    """
    others = [each for each in skipped if each.cause is not SkipCause.MIXED]
    error = no_model_error(request, others, refusals, records, ended)
    if len(others) == len(skipped) or (others and not _may_be_answered_elsewhere(error)):
        return error
    reasons = by_reason(skipped)
    listed = "\n".join(f"  {model}: {detail}" for model, detail in reasons)
    by = f" {home}" if home else ""
    failed = next((each.failure.value for each in reversed(others) if each.failure is not None), "")
    return MixRefused(
        f"instance {instance}: the model{by} that answered it can't serve this call, and never_mix allows no other:\n{listed}",
        reasons,
        instance=instance or "",
        model=home or "",
        failure=failed,
        advice=_ADVICE,
    )


def _may_be_answered_elsewhere(error: PaymasterError) -> bool:
    """Whether a fallback might have helped, by the error of the instance's own model."""
    match error:
        case BudgetExceeded():
            return not {"model", "models"}.isdisjoint(dimensions_of(error.account) or {})
        case NoModelAvailable():
            return not error.too_long
        case _:
            return False
