"""Which budgets a call falls under, and which of them a balance has passed; pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from paymaster.accounting.account_names import budget_account
from paymaster.accounting.accounts import Balance, Change, Charge
from paymaster.accounting.budget_units import KIND_OF_UNIT, BudgetUnit
from paymaster.frozen import frozen_dataclass
from paymaster.registry.models import Budget, Model, Policy
from paymaster.scope import Scope


@frozen_dataclass(frozen=True, slots=True)
class BudgetAccount:
    """A budget that this call falls under: the ledger's account, its cap in nano-dollars, tokens or requests, and its registry key."""

    account: str
    cap: int
    key: str
    unit: BudgetUnit = BudgetUnit.USD


@dataclass(frozen=True, slots=True)
class Crossing:
    """What a change of settled spend crossed: the highest share of `warn_at`, if any, and by how much the cap is passed."""

    account: str
    unit: BudgetUnit
    spent: int
    cap: int
    percent: int | None
    over: int


@dataclass(frozen=True, slots=True)
class BudgetsLeft:
    """What a call leaves of the budget with the least left in each unit (below zero: by how much it is over); and the passed budgets."""

    by_unit: Mapping[BudgetUnit, int] = field(default_factory=dict)
    over: tuple[str, ...] = ()


def budget_accounts(model: Model, policy: Policy, scope: Scope, now_ms: int) -> list[BudgetAccount]:
    """Every budget that a call to `model` falls under, one account each; of two budgets on one account the smaller cap counts."""
    smallest: dict[str, BudgetAccount] = {}
    for budget in (*policy.budgets, *model.budgets):
        if budget.models and model.name not in budget.models and model.budget_name not in budget.models:
            continue
        name = account_name(budget, model.budget_name, scope, now_ms)
        known = smallest.get(name)
        if known is None or budget.cap < known.cap:
            smallest[name] = BudgetAccount(name, budget.cap, budget.key, budget.unit)
    return list(smallest.values())


def account_name(budget: Budget, model: str, scope: Scope, now_ms: int) -> str:
    """The account of this budget for this call.

    An instance belongs to its batch (else its run), so that the same task in another batch starts anew. A value that is not known is `-`.
    """
    per = {dimension: _value(dimension, model, scope, now_ms) for dimension in budget.per}
    return budget_account(per, budget.models, _owner(budget, scope), kind=KIND_OF_UNIT[budget.unit])


def _value(dimension: str, model: str, scope: Scope, now_ms: int) -> str:
    match dimension:
        case "run":
            return scope.run
        case "batch":
            return scope.batch or scope.run
        case "instance":
            return f"{scope.batch or scope.run}:{scope.instance or '-'}"
        case "user":
            return scope.user or "-"
        case "key":
            return scope.key or "-"
        case "model":
            return model
        case _:
            today = datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
            return today if dimension == "day" else today[:7]


def _owner(budget: Budget, scope: Scope) -> str | None:
    """The user of a client key whose own run, batch or instance the budget counts; None if it counts nobody's own.

    A budget per user or key is this user's without it.
    """
    if not scope.own_names or "user" in budget.per or "key" in budget.per:
        return None
    group = "batch" if scope.batch else "run"
    named_by = {"run": {"run"}, "batch": {group}, "instance": {group, "instance"}}
    return scope.user if any(scope.own_names & named_by.get(dimension, set()) for dimension in budget.per) else None


def over_budget(budgets: Sequence[BudgetAccount], charges: Sequence[Charge], balances: Sequence[Balance]) -> tuple[str, ...]:
    """The budgets whose cap an admitted hold passes, as soft budgets allow."""
    caps = {budget.account: budget.cap for budget in budgets}
    return tuple(
        charge.account
        for charge, balance in zip(charges, balances, strict=False)  # an unbooked hold has no balances
        if balance.total > caps.get(charge.account, balance.total)
    )


def budgets_left(
    budgets: Sequence[BudgetAccount],
    charges: Sequence[Charge],
    balances: Sequence[Balance],
    actual: Sequence[int],
    changes: Sequence[Change],
) -> BudgetsLeft:
    """What an attempt leaves of these budgets: by the changes of its settlement, else by the balances of its admission.

    `actual` are the amounts that the charges came to. Without both, as for an unbooked hold, nothing is known.
    """
    admitted = zip(charges, balances, actual, strict=False)  # an unbooked hold has no balances
    spent = {charge.account: balance.total - charge.amount + amount for charge, balance, amount in admitted}
    spent |= {change.account: change.after for change in changes}
    left = [(budget, budget.cap - spent[budget.account]) for budget in budgets if budget.account in spent]
    tightest = {budget.unit: rest for budget, rest in tightest_by_unit(left)}
    return BudgetsLeft(tightest, tuple(budget.account for budget, rest in left if rest < 0))


def tightest_by_unit(left: Iterable[tuple[BudgetAccount, int]]) -> list[tuple[BudgetAccount, int]]:
    """Of each unit, the budget with the least left: dollars, then tokens, then requests."""
    found: dict[BudgetUnit, tuple[BudgetAccount, int]] = {}
    for budget, rest in left:
        known = found.get(budget.unit)
        if known is None or rest < known[1]:
            found[budget.unit] = (budget, rest)
    return [found[unit] for unit in BudgetUnit if unit in found]


def crossings(budgets: Sequence[BudgetAccount], changes: Sequence[Change], warn_at_percent: Sequence[int]) -> Iterator[Crossing]:
    """The shares and caps of these budgets that the changes of their settled spend crossed."""
    by_account = {budget.account: budget for budget in budgets}
    for change in changes:
        budget = by_account.get(change.account)
        if budget is None:
            continue
        cap = budget.cap
        percent = max((share for share in warn_at_percent if change.before * 100 < share * cap <= change.after * 100), default=None)
        over = max(0, change.after - cap) if change.after > change.before else 0
        if percent is not None or over:
            yield Crossing(change.account, budget.unit, change.after, cap, percent, over)
