"""What a reader may see of a ledger: the own budgets and everybody's, and no name of another user, key or model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paymaster.accounting.account_names import budget_account
from paymaster.accounting.accounts import EndedHolder
from paymaster.views.ledger_status import BudgetState, LedgerStatus, QueueState
from paymaster.views.model_states import LimitState, ModelState
from paymaster.views.visibility import A_BUDGET, Reader, visible_to

ANN = Reader(user="ann", keys=frozenset({"k1", "k2"}))
CAREFUL = Reader(user="ann", keys=frozenset({"k1"}), models=frozenset({"a", "b"}))
EVERYBODY = Reader()
CLOSED = "closed"


@pytest.mark.parametrize(
    ("account", "seen", "own"),
    [
        ("usd", True, False),
        ("usd/month/2026-11", True, False),
        ("usd/model/a/day/2026-11-22", True, False),
        ("usd/user/ann/month/2026-11", True, True),
        ("usd/run/r/user/ann", True, True),
        ("usd/~ann/run/r", True, True),
        ("usd/~ann/instance/b:i", True, True),
        ("usd/key/k1", True, True),
        ("usd/run/r/key/k2", True, True),
        ("usd/user/ben/month/2026-11", False, False),
        ("usd/user/-", False, False),
        ("usd/~ben/run/r", False, False),
        ("usd/run/r", False, False),
        ("usd/run/~ann/r", False, False),
        ("usd/run/ann", False, False),
        ("usd/batch/b/model/a", False, False),
        ("usd/instance/b:i", False, False),
        ("usd/key/k3", False, False),
        ("usd/key/-", False, False),
        ("requests/a", False, False),
        (budget_account({"run": "x/user/ann"}), False, False),
    ],
)
def test_a_user_sees_own_budgets_and_everybodys(account: str, seen: bool, own: bool) -> None:
    assert ANN.sees_budget(account) is seen
    assert ANN.is_own_budget(account) is own
    assert EVERYBODY.sees_budget(account)
    assert EVERYBODY.is_own_budget(account)


@pytest.mark.parametrize(
    ("account", "seen"),
    [
        ("usd/model/a", True),
        ("usd/models/a+b", True),
        ("usd/model/c", False),
        ("usd/models/a+c", False),
        ("usd/user/ann/model/c", False),
        ("usd/key/k1", True),
    ],
)
def test_a_key_for_some_models_shows_no_others(account: str, seen: bool) -> None:
    assert CAREFUL.sees_budget(account) is seen


def budget(account: str) -> BudgetState:
    return BudgetState(account=account, of={}, spent=1, held=0, cap=None)


def limit(model: str) -> LimitState:
    return LimitState(model=model, limit="rpm", used=1, cap=None, free_at_ms=None)


def model(name: str) -> ModelState:
    return ModelState(model=name, open_calls=1, cap=None, failures=0, paused_until_ms=None, circuit=CLOSED, open_until_ms=None)


def test_every_part_of_a_status_is_filtered() -> None:
    names = ("a", "c", "key/k1", "key/k3")
    accounts = ("usd/~ben/run/r", "usd/user/ben", "requests/a", "usd/month/2026-11")
    status = LedgerStatus(
        budgets=(budget("usd/~ben/run/r"), budget("usd/~ann/run/r")),
        limits=tuple(map(limit, names)),
        models=tuple(map(model, names)),
        queue=(QueueState(model="a", calls=3, since_ms=1, accounts=accounts), QueueState(model="c", calls=1, since_ms=1, accounts=())),
        ended=(
            EndedHolder("1-00000000", 2, {"usd/~ben/run/r": 5, "usd/~ann/run/r": 3, "slots/a": 1, "slots/c": 1}, 1),
            EndedHolder("2-00000000", 1, {"usd/~ben/run/r": 5, "slots/key/k3": 1}, 1),
        ),
    )
    seen = visible_to(CAREFUL, status)
    assert [each.account for each in seen.budgets] == ["usd/~ann/run/r"]
    assert [each.model for each in seen.limits] == ["a", "key/k1"]
    assert [each.model for each in seen.models] == ["a", "key/k1"]
    assert [each.accounts for each in seen.queue] == [(A_BUDGET, "requests/a", "usd/month/2026-11")]
    assert seen.queue[0].wait_for == "a budget, rpm, usd/month/2026-11"
    assert [each.held for each in seen.ended] == [{"usd/~ann/run/r": 3, "slots/a": 1}]
    assert visible_to(EVERYBODY, status) == status


def test_calls_that_wait_for_an_endpoint_are_seen_with_its_model() -> None:
    endpoints = [replace(model(name), endpoint="x") for name in ("a", "c")]
    queue = tuple(QueueState(model=each.place, calls=1, since_ms=1, accounts=()) for each in endpoints)
    status = LedgerStatus(budgets=(), limits=(), models=tuple(endpoints), queue=queue)
    assert [each.model for each in visible_to(CAREFUL, status).queue] == ["a/x"]
