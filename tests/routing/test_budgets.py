"""What an attempt leaves of its budgets, by its settlement or by its admission."""

from __future__ import annotations

import pytest

from paymaster.accounting.accounts import Balance, Change, Charge
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.routing.budgets import BudgetAccount, BudgetsLeft, budgets_left

RUN, DAY, OTHER = BudgetAccount("usd/run/r", 100, ""), BudgetAccount("usd/day/d", 1_000, ""), "requests/m"


def left_usd(nanousd: int, over: tuple[str, ...]) -> BudgetsLeft:
    return BudgetsLeft({BudgetUnit.USD: nanousd}, over)


BOTH = [Change("usd/run/r", 95, 105), Change("usd/day/d", 995, 1_005)]


@pytest.mark.parametrize(
    ("balances", "changes", "left"),
    [
        ([], [], BudgetsLeft()),  # an unbooked hold
        ([Balance(settled=20, held=50), Balance(settled=20, held=50), Balance()], [], left_usd(70, ())),  # a spooled settlement
        ([Balance(settled=95, held=50), Balance(settled=20, held=50), Balance()], [], left_usd(-5, ("usd/run/r",))),
        ([Balance(settled=20, held=90)] * 3, [Change("usd/run/r", 20, 30), Change("usd/day/d", 20, 30)], left_usd(70, ())),
        ([Balance(settled=20, held=50)] * 3, [Change("usd/run/r", 90, 100)], left_usd(0, ())),
        (
            [Balance(settled=20, held=50)] * 3,
            [Change("usd/run/r", 95, 105), Change("usd/day/d", 995, 1_005)],
            left_usd(-5, ("usd/run/r", "usd/day/d")),
        ),
        ([Balance(settled=20, held=50)] * 3, [Change("usd/run/r", 0, 90), Change("usd/run/r", 90, 103)], left_usd(-3, ("usd/run/r",))),
        ([Balance(settled=20, held=50)] * 3, [Change(OTHER, 0, 10**6)], left_usd(70, ())),
    ],
)
def test_what_is_left_and_what_is_passed(balances: list[Balance], changes: list[Change], left: BudgetsLeft) -> None:
    charges = [Charge(RUN.account, 50, 100), Charge(DAY.account, 50, 1_000), Charge(OTHER, 1, None)]
    assert budgets_left([RUN, DAY], charges, balances, [10, 10, 1], changes) == left


def test_without_a_budget_nothing_is_left_or_passed() -> None:
    assert budgets_left([], [], [], [], [Change(OTHER, 0, 1)]) == BudgetsLeft()
