"""Completes the policy and every budget from sections and overrides; knows no facts about a model."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from paymaster.accounting.account_names import BUDGET_DIMENSIONS
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.money import cap_nanousd
from paymaster.registry.budget_schema import short_budgets
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.models import Budget, Policy, Stay, StreamRecovery
from paymaster.registry.overrides import Overrides, flag_of
from paymaster.registry.schema import PolicySection
from paymaster.registry.sections import Written
from paymaster.registry.yamltext import KeyPath, dotted

T = TypeVar("T")
DEFAULT = "default"
_HARD = "hard_stop_on_budget"


def complete_policy(written: Written, overrides: Overrides, names: Mapping[str, str]) -> tuple[Policy, dict[str, str]]:
    """The policy with its defaults filled in, and where each value came from."""
    section, defaults = written.policy, Policy()
    origins = {key: written.origin((*written.policy_path, key)) for key in section.model_fields_set if getattr(section, key) is not None}
    policy = Policy(
        budgets=budgets_of(section, written.policy_path, names),
        fallback_chain=tuple(names[called] for called in section.fallback_chain or ()),
        hard_stop_on_budget=_or_default(section.hard_stop_on_budget, defaults.hard_stop_on_budget),
        warn_at_percent=defaults.warn_at_percent
        if section.warn_at is None
        else tuple(sorted({int(share * 100) for share in section.warn_at})),
        min_output_tokens=_or_default(section.min_output_tokens, defaults.min_output_tokens),
        max_wait_ms=milliseconds(section.max_wait_s, defaults.max_wait_ms),
        max_outage_ms=None if section.max_outage_s is None else milliseconds(section.max_outage_s, 0),
        patience_ms=milliseconds(section.patience_s, defaults.patience_ms),
        deadline_ms=milliseconds(section.deadline_s, defaults.deadline_ms),
        retries_per_model=section.retries_per_model,
        max_attempts=section.max_attempts,
        backoff_initial_ms=milliseconds(section.backoff_initial_s, defaults.backoff_initial_ms),
        backoff_max_ms=milliseconds(section.backoff_max_s, defaults.backoff_max_ms),
        breaker_failures=_or_default(section.breaker_failures, defaults.breaker_failures),
        breaker_window_ms=milliseconds(section.breaker_window_s, defaults.breaker_window_ms),
        breaker_pause_ms=milliseconds(section.breaker_pause_s, defaults.breaker_pause_ms),
        fall_back_on_content_policy=_or_default(section.fall_back_on_content_policy, defaults.fall_back_on_content_policy),
        stream_recovery=StreamRecovery(_or_default(section.stream_recovery, defaults.stream_recovery)),
        on_ledger_error=section.on_ledger_error,
        estimates_interrupted=section.interrupted_calls != "full_hold",
        stay=Stay(_or_default(section.stay, defaults.stay)),
        stay_ms=milliseconds(section.stay_s, defaults.stay_ms),
        never_mix=_or_default(section.never_mix, defaults.never_mix),
        waiting_nanousd_per_hour=(
            defaults.waiting_nanousd_per_hour
            if section.waiting_usd_per_hour is None
            else cap_of(BudgetUnit.USD, section.waiting_usd_per_hour)
        ),
    )
    return override_policy(policy, origins, overrides)


def override_policy(policy: Policy, origins: Mapping[str, str], overrides: Overrides) -> tuple[Policy, dict[str, str]]:
    """The policy under a caller's settings, and where each value came from. The same settings once more change nothing.

    This is the one rule for hard and soft. A caller's `hard_stop_on_budget` decides, else the file's; without either, a budget that the
    caller gives is hard, because it is meant to stop the run, and a budget in the file is soft.
    """
    found, origin = dict(origins), origins.get(_HARD, DEFAULT)
    given = [(unit, amount, overrides.origins[name]) for unit, name, amount in overrides.budgets()]
    dimension = "run" if overrides.batch_id is None else "batch"
    for unit, amount, budget_origin in reversed(given):
        found[f"budget_{unit}_per_run"] = budget_origin
        policy = replace(policy, budgets=_with_overriding_budget(policy.budgets, unit, cap_of(unit, amount), dimension, budget_origin))
    if overrides.hard_stop_on_budget is not None:
        hard, origin = overrides.hard_stop_on_budget, overrides.origins[_HARD]
    elif given and origin.startswith(DEFAULT) and not policy.hard_stop_on_budget:
        hard, origin = True, f"{DEFAULT} with {given[0][2]}"
    else:
        hard = policy.hard_stop_on_budget
    return replace(policy, hard_stop_on_budget=hard), {**found, _HARD: origin}


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value


def cap_of(unit: BudgetUnit, amount: Decimal | int) -> int:
    """A written amount as a cap: dollars in nano-dollars, tokens and requests as they are."""
    return cap_nanousd(Decimal(amount)) if unit is BudgetUnit.USD else int(amount)


def _with_overriding_budget(budgets: tuple[Budget, ...], unit: BudgetUnit, cap: int, dimension: str, origin: str) -> tuple[Budget, ...]:
    """The overriding budget in place of the file's budget per run in the same unit; other budgets stay.

    With a batch id it is the batch's, shared by every process that names the batch, and also replaces the file's budget per batch.
    """
    key = flag_of(f"budget_{unit}") if origin.startswith("flag") else origin.removeprefix("environment ")
    others = tuple(budget for budget in budgets if budget.per not in {("run",), (dimension,)} or budget.models or budget.unit is not unit)
    return (Budget(cap=cap, unit=unit, per=(dimension,), key=key), *others)


def budgets_of(
    section: ModelSection | PolicySection, path: KeyPath, names: Mapping[str, str], *, own: str | None = None
) -> tuple[Budget, ...]:
    """Every budget of a section. A model's budgets (`own`) count that model alone."""
    return tuple(_budgets(section, path, names, own))


def _budgets(section: ModelSection | PolicySection, path: KeyPath, names: Mapping[str, str], own: str | None) -> Iterator[Budget]:
    shown = path[1:] if path[0] == "model_registry" else path
    for key, unit, dimension, amount in short_budgets(section):
        yield Budget(cap=cap_of(unit, amount), unit=unit, per=_per([dimension], own), models=_only(own), key=dotted((*shown, key)))
    for index, budget in enumerate(section.budgets or ()):
        models = _only(own) or tuple(names[called] for called in budget.models or ())
        for unit, amount in budget.caps.items():
            name = dotted((*shown, "budgets", index, *(() if unit is BudgetUnit.USD else (unit.value,))))
            yield Budget(cap=cap_of(unit, amount), unit=unit, per=_per(budget.per, own), models=models, key=name)


def _only(own: str | None) -> tuple[str, ...]:
    return () if own is None else (own,)


def _per(dimensions: list[str], own: str | None) -> tuple[str, ...]:
    counted = {*dimensions, *(() if own is None else ("model",))}
    return tuple(dimension for dimension in BUDGET_DIMENSIONS if dimension in counted)


def milliseconds(seconds: Decimal | None, default_ms: int) -> int:
    """Seconds as whole milliseconds, at least one."""
    return default_ms if seconds is None else max(1, int(seconds * 1000))
