"""Budgets in tokens and in requests in the read models: states, caps, sums, and who sees them."""

from __future__ import annotations

import pytest

from call_box import model, registry
from paymaster.accounting.accounts import Balance, EndedHolder, Queued
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.pages.dashboard import dashboard
from paymaster.registry.models import Budget
from paymaster.views.ledger_status import BudgetState, budget_kind, ledger_status, limit_kind
from paymaster.views.states import budget_state
from paymaster.views.visibility import Reader, visible_to

TOKENS, REQUESTS = BudgetUnit.TOKENS, BudgetUnit.REQUESTS
KNOWN = registry(
    model("m"),
    budgets=(
        Budget(cap=10**9, per=("run",)),
        Budget(cap=5_000, unit=TOKENS, per=("run",)),
        Budget(cap=40, unit=REQUESTS, per=("user", "day")),
        Budget(cap=7, unit=REQUESTS, per=("model",), models=("m",)),
    ),
)
BALANCES = {
    "usd/run/a": Balance(settled=5, held=2),
    "budget-tokens/run/a": Balance(settled=4_000, held=500),
    "budget-tokens/run/b": Balance(settled=1),
    "budget-requests/user/ann/day/2026-11-22": Balance(settled=38, held=2),
    "budget-requests/model/m": Balance(settled=9),
    "tokens/m": Balance(live=3),  # a rate limit
}


def test_each_unit_has_its_own_caps_and_sums() -> None:
    status = ledger_status(BALANCES, KNOWN)
    shown = {each.account: (each.unit, each.spent, each.held, each.cap, each.left, each.kind) for each in status.budgets}
    assert shown == {
        "usd/run/a": ("usd", 5, 2, 10**9, 10**9 - 7, "run"),
        "budget-tokens/run/a": ("tokens", 4_000, 500, 5_000, 500, "tokens/run"),
        "budget-tokens/run/b": ("tokens", 1, 0, 5_000, 4_999, "tokens/run"),
        "budget-requests/user/ann/day/2026-11-22": ("requests", 38, 2, 40, 0, "requests/user/day"),
        "budget-requests/model/m": ("requests", 9, 0, 7, -2, "requests/model"),
    }
    sums = {each.kind: (each.unit, each.accounts, each.spent, each.held) for each in status.sums}
    assert sums["tokens/run"] == ("tokens", 2, 4_001, 500)
    assert sums["run"] == ("usd", 1, 5, 2)
    assert [limit.limit for limit in status.limits] == ["tpm"]
    assert {each.account for each in ledger_status(BALANCES, KNOWN, run="a").budgets} == {"usd/run/a", "budget-tokens/run/a"}


@pytest.mark.parametrize(
    ("unit", "spent", "words"),
    [
        (TOKENS, 1_200, "over by 200 tokens"),
        (REQUESTS, 1_001, "over by 1 request"),
        (TOKENS, 1_000, "all spent"),
        (REQUESTS, 850, "85 % used"),
    ],
)
def test_a_state_is_worded_in_the_unit(unit: BudgetUnit, spent: int, words: str) -> None:
    assert budget_state(BudgetState(account="x", of={}, spent=spent, held=0, cap=1_000, unit=unit)).words == words


def test_kinds_begin_with_the_unit_unless_it_is_dollars() -> None:
    assert [budget_kind(name) for name in BALANCES][:4] == ["run", "tokens/run", "tokens/run", "requests/user/day"]
    assert budget_kind("budget-requests") == "requests/total"
    assert {limit_kind(name) for name in BALANCES} == {"budget", "tokens"}


def test_a_reader_sees_no_other_persons_budget_in_any_unit() -> None:
    ben = Reader(user="ben", keys=frozenset({"k2"}))
    balances = {**BALANCES, "budget-tokens/key/k2": Balance(settled=3), "budget-tokens/~ben/run/x": Balance(settled=4)}
    queue = [Queued("h", ("budget-requests/user/ann/day/2026-11-22",), {"m": 1}, 5)]
    ended = [EndedHolder("p", 1, {"budget-tokens/run/a": 500, "budget-tokens/key/k2": 3}, 9)]
    status = visible_to(ben, ledger_status(balances, KNOWN, queue=queue, ended=ended))
    assert [each.account for each in status.budgets] == ["budget-requests/model/m", "budget-tokens/key/k2", "budget-tokens/~ben/run/x"]
    assert status.queue[0].wait_for == "a budget"
    assert [holder.held for holder in status.ended] == [{"budget-tokens/key/k2": 3}]
    everybody = ledger_status(balances, KNOWN, queue=queue)
    assert everybody.queue[0].wait_for == "budget-requests/user/ann/day/2026-11-22"


def test_the_dashboard_adds_up_dollars_alone() -> None:
    page = dashboard(Reader(), ledger_status(BALANCES, KNOWN), KNOWN, [], [], 0, "24h")
    assert page.held_nanousd == 2
    rows = {row.name + row.cap: row for row in page.budgets}
    tokens = rows["run a5,000 tokens"]
    assert (tokens.spent, tokens.held, tokens.left) == ("4,000 tokens", "500 tokens", "500 tokens")
    assert tokens.bar is not None
    assert (tokens.bar.used, tokens.bar.held) == (80, 10)
