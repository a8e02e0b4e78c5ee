"""The cap that a registry sets for a budget of a ledger; knows the parts of account names, and no balance."""

from collections.abc import Mapping

from paymaster.accounting.account_names import BUDGET_DIMENSIONS
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.registry.models import Registry


def cap_in(registry: Registry | None, of: Mapping[str, str], unit: BudgetUnit) -> int | None:
    """The smallest budget of the registry that such an account is for."""
    if registry is None:
        return None
    budgets = [*registry.policy.budgets, *(budget for model in registry.models.values() for budget in model.budgets)]
    per = tuple(name for name in BUDGET_DIMENSIONS if name in of)
    caps = [
        budget.cap
        for budget in budgets
        if budget.unit is unit and tuple(name for name in BUDGET_DIMENSIONS if name in budget.per) == per and _covers(budget.models, of)
    ]
    return min(caps, default=None)


def _covers(models: tuple[str, ...], of: Mapping[str, str]) -> bool:
    """Whether a budget over these models (none: all) writes to such an account."""
    if "model" in of:
        return not models or of["model"] in models
    return of.get("models", "") == "+".join(sorted(models))
