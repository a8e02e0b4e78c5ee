"""Makes the complete policy and every budget from what was written and overridden; knows sections and overrides, no model's facts."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TypeVar

from paymaster.accounting.money import cap_nanousd
from paymaster.registry.models import BUDGET_DIMENSIONS, Budget, Policy
from paymaster.registry.overrides import Overrides, flag_of
from paymaster.registry.schema import ModelSection, PolicySection, short_budgets
from paymaster.registry.sections import Written
from paymaster.registry.yamltext import Place, dotted

T = TypeVar("T")


def complete_policy(written: Written, overrides: Overrides, names: Mapping[str, str]) -> tuple[Policy, dict[str, str]]:
    """The policy with its defaults filled in, and where each value came from."""
    section, default_scope = written.policy, Policy()
    origins = {key: written.origin((*written.policy_place, key)) for key in section.model_fields_set if getattr(section, key) is not None}
    hard, origins["hard_stop_on_budget"] = _hardness(written, overrides)
    budgets = budgets_of(section, written.policy_place, names)
    if overrides.budget_usd is not None:
        origins["budget_usd_per_run"] = overrides.origins["budget_usd"]
        whose = "run" if overrides.batch_id is None else "batch"
        budgets = _with_typed_budget(budgets, overrides.budget_usd, whose, origins["budget_usd_per_run"])
    policy = Policy(
        budgets=budgets,
        fallback_chain=tuple(names[called] for called in section.fallback_chain or ()),
        hard_stop_on_budget=hard,
        warn_at_percent=default_scope.warn_at_percent
        if section.warn_at is None
        else tuple(sorted({int(share * 100) for share in section.warn_at})),
        min_output_tokens=_given(section.min_output_tokens, default_scope.min_output_tokens),
        max_wait_ms=milliseconds(section.max_wait_s, default_scope.max_wait_ms),
        patience_ms=milliseconds(section.patience_s, default_scope.patience_ms),
        deadline_ms=milliseconds(section.deadline_s, default_scope.deadline_ms),
        retries_per_model=_given(section.retries_per_model, default_scope.retries_per_model),
        max_attempts=_given(section.max_attempts, default_scope.max_attempts),
        backoff_initial_ms=milliseconds(section.backoff_initial_s, default_scope.backoff_initial_ms),
        backoff_max_ms=milliseconds(section.backoff_max_s, default_scope.backoff_max_ms),
        breaker_failures=_given(section.breaker_failures, default_scope.breaker_failures),
        breaker_window_ms=milliseconds(section.breaker_window_s, default_scope.breaker_window_ms),
        breaker_pause_ms=milliseconds(section.breaker_pause_s, default_scope.breaker_pause_ms),
        fall_back_on_content_policy=_given(section.fall_back_on_content_policy, default_scope.fall_back_on_content_policy),
        on_ledger_error=section.on_ledger_error,
    )
    return policy, origins


def _given(written: T | None, otherwise: T) -> T:
    return otherwise if written is None else written


def _hardness(written: Written, overrides: Overrides) -> tuple[bool, str]:
    """Flag over environment over file. Where none of them speaks, a budget that was typed for this very run is meant to stop it."""
    if overrides.hard_stop_on_budget is not None:
        return overrides.hard_stop_on_budget, overrides.origins["hard_stop_on_budget"]
    if written.policy.hard_stop_on_budget is not None:
        return written.policy.hard_stop_on_budget, written.origin((*written.policy_place, "hard_stop_on_budget"))
    if overrides.budget_usd is not None:
        return True, f"default with {overrides.origins['budget_usd']}"
    return False, "default"


def _with_typed_budget(budgets: tuple[Budget, ...], usd: Decimal, whose: str, origin: str) -> tuple[Budget, ...]:
    """The overriding budget in place of the file's per run; budgets per anything else stay.

    Beside a batch's name it is the batch's, shared by every process that names it, and takes the place of the file's per batch as well.
    """
    key = flag_of("budget_usd") if origin.startswith("flag") else origin.removeprefix("environment ")
    others = tuple(budget for budget in budgets if budget.per not in {("run",), (whose,)} or budget.models)
    return (Budget(cap_nanousd=cap_nanousd(usd), per=(whose,), key=key), *others)


def budgets_of(
    section: ModelSection | PolicySection, place: Place, names: Mapping[str, str], *, own: str | None = None
) -> tuple[Budget, ...]:
    """Every budget of a section. Those of a model (`own`) are counted for it alone."""
    return tuple(_budgets(section, place, names, own))


def _budgets(section: ModelSection | PolicySection, place: Place, names: Mapping[str, str], own: str | None) -> Iterator[Budget]:
    where = place[1:] if place[0] == "model_registry" else place
    for key, dimension, usd in short_budgets(section):
        yield Budget(cap_nanousd=cap_nanousd(usd), per=_per([dimension], own), models=_only(own), key=dotted((*where, key)))
    for index, budget in enumerate(section.budgets or ()):
        models = _only(own) or tuple(names[called] for called in budget.models or ())
        yield Budget(cap_nanousd=cap_nanousd(budget.usd), per=_per(budget.per, own), models=models, key=dotted((*where, "budgets", index)))


def _only(own: str | None) -> tuple[str, ...]:
    return () if own is None else (own,)


def _per(dimensions: list[str], own: str | None) -> tuple[str, ...]:
    wanted = {*dimensions, *(() if own is None else ("model",))}
    return tuple(dimension for dimension in BUDGET_DIMENSIONS if dimension in wanted)


def milliseconds(seconds: Decimal | None, otherwise_ms: int) -> int:
    """Seconds as whole milliseconds, at least one."""
    return otherwise_ms if seconds is None else max(1, int(seconds * 1000))
