"""The words and marks for states of models and budgets."""

from __future__ import annotations

import pytest

from paymaster.routing.breaker import State
from paymaster.views.ledger_status import BudgetState
from paymaster.views.model_states import ModelState
from paymaster.views.states import budget_name, budget_state, model_state


def model(
    *,
    open_calls: int = 0,
    paused_until_ms: int | None = None,
    circuit: State = State.CLOSED,
    open_until_ms: int | None = None,
    reason: str | None = None,
) -> ModelState:
    return ModelState(
        model="m",
        open_calls=open_calls,
        cap=None,
        failures=0,
        paused_until_ms=paused_until_ms,
        circuit=circuit,
        open_until_ms=open_until_ms,
        operator_reason=reason,
    )


def budget(spent: int, cap: int | None, *, held: int = 0, **of: str) -> BudgetState:
    return BudgetState(account="usd", of=of, spent=spent, held=held, cap=cap)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, ("good", "ready")),
        (model(), ("good", "ready")),
        (model(open_calls=2), ("good", "in use")),
        (model(paused_until_ms=6_000), ("bad", "paused for 5.0 s")),
        (model(paused_until_ms=500), ("bad", "paused for 0 ms")),
        (model(circuit=State.OPEN, open_until_ms=6_000), ("bad", "circuit open for 5.0 s")),
        (model(circuit=State.OPEN, open_until_ms=6_000, paused_until_ms=2_000), ("bad", "circuit open for 5.0 s")),
        (
            model(circuit=State.OPEN, open_until_ms=6_000, reason="unknown_model"),
            ("bad", "circuit open for 5.0 s: unknown model; requires operator action"),
        ),
        (model(circuit=State.HALF_OPEN), ("bad", "circuit half open: one call at a time")),
        (model(circuit=State.HALF_OPEN, paused_until_ms=6_000), ("bad", "paused for 5.0 s")),
    ],
)
def test_a_models_state_has_words_and_a_mark(state: ModelState | None, expected: tuple[str, str]) -> None:
    assert model_state(state, 1_000) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (budget(5, None), ("good", "no cap known")),
        (budget(0, 100), ("good", "0 % used")),
        (budget(50, 100, held=29), ("good", "79 % used")),
        (budget(50, 100, held=30), ("warn", "80 % used")),
        (budget(100, 100), ("bad", "all spent")),
        (budget(0, 0), ("bad", "all spent")),
        (budget(15_000_000, 10_000_000), ("bad", "over by $0.0050")),
    ],
)
def test_a_budgets_state_has_words_and_a_mark(state: BudgetState, expected: tuple[str, str]) -> None:
    assert budget_state(state) == expected


def test_a_budget_is_named_by_its_dimensions() -> None:
    assert budget_name(budget(0, None)) == "total"
    assert budget_name(budget(0, None, user="-", month="2026-11")) == "user (none), month 2026-11"


@pytest.mark.parametrize(
    ("of", "name"),
    [
        ({"run": "exp-42"}, "run ann/exp-42"),
        ({"run": "exp-42", "month": "2026-11"}, "run ann/exp-42, month 2026-11"),
        ({"models": "a+b", "instance": "b:-"}, "models a+b, instance ann/b:-"),
    ],
)
def test_an_own_run_is_named_with_its_owner(of: dict[str, str], name: str) -> None:
    assert budget_name(BudgetState(account="usd", of=of, spent=0, held=0, cap=None, owner="ann")) == name
