"""The units that a budget may be in, and how amounts of each are written; knows no cap and no ledger."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from paymaster.accounting.account_names import BUDGET_REQUESTS, BUDGET_TOKENS, MONEY
from paymaster.accounting.money import format_usd


class BudgetUnit(StrEnum):
    """What a budget counts: dollars (amounts are in nano-dollars), tokens, or requests. A key of the registry begins `budget_usd_per_`."""

    USD = "usd"
    TOKENS = "tokens"
    REQUESTS = "requests"


KIND_OF_UNIT: Mapping[BudgetUnit, str] = MappingProxyType(
    {BudgetUnit.USD: MONEY, BudgetUnit.TOKENS: BUDGET_TOKENS, BudgetUnit.REQUESTS: BUDGET_REQUESTS}
)
"""What the account names of budgets in each unit begin with."""

_UNIT_OF_KIND: Mapping[str, BudgetUnit] = MappingProxyType({kind: unit for unit, kind in KIND_OF_UNIT.items()})


def unit_of(account: str) -> BudgetUnit | None:
    """The unit of a budget's account; None for any other account."""
    return _UNIT_OF_KIND.get(account.partition("/")[0])


def format_amount(amount: int, unit: BudgetUnit) -> str:
    """`$0.0123`, `1,200 tokens`, `1 request`."""
    if unit is BudgetUnit.USD:
        return format_usd(amount)
    return f"{amount:,} {unit.value[:-1] if abs(amount) == 1 else unit.value}"


def format_balance(amount: int, account: str) -> str:
    """An amount of any account: with its unit if it is a budget, else a bare number."""
    unit = unit_of(account)
    return f"{amount:,}" if unit is None else format_amount(amount, unit)
