"""What the states of models, budgets and waiting calls are called, and how serious each is; knows no table, page or metric."""

from typing import Literal, NamedTuple

from paymaster.accounting.records import shown_run
from paymaster.views.ledger_status import BudgetState, QueueState
from paymaster.views.model_states import ModelState
from paymaster.views.words import duration, percent, short_amount

Mark = Literal["good", "warn", "bad"]
NEARLY_SPENT_PERCENT = 80


class StateWords(NamedTuple):
    """A state for a reader. `mark` says whether it needs attention."""

    mark: Mark
    words: str


def model_state(state: ModelState | None, now_ms: int) -> StateWords:
    """Whether a model can be called, and if not, why and for how long. None is a model of which the ledger has no balance.

    `paused` means that the provider asked to wait, `circuit open` that the model failed too often.
    """
    if state is None:
        return StateWords("good", "ready")
    if state.open_until_ms is not None:
        reason = "" if state.operator_reason is None else f": {state.operator_reason.replace('_', ' ')}; requires operator action"
        return StateWords("bad", f"circuit open for {_remaining(state.open_until_ms, now_ms)}{reason}")
    if state.paused_until_ms is not None:
        return StateWords("bad", f"paused for {_remaining(state.paused_until_ms, now_ms)}")
    if state.half_open:
        return StateWords("bad", "circuit half open: one call at a time")
    if state.paused_tiers:
        paused = ", ".join(f"{tier} paused for {_remaining(until_ms, now_ms)}" for tier, until_ms in sorted(state.paused_tiers.items()))
        return StateWords("warn", paused)
    return StateWords("good", "in use" if state.open_calls else "ready")


def budget_state(state: BudgetState) -> StateWords:
    """How much of a budget is spent or held."""
    cap, left = state.cap, state.left
    if cap is None or left is None:
        return StateWords("good", "no cap known")
    if left < 0:
        return StateWords("bad", f"over by {short_amount(-left, state.unit)}")
    if left == 0:
        return StateWords("bad", "all spent")
    used_percent = percent(cap - left, cap)
    return StateWords("warn" if used_percent >= NEARLY_SPENT_PERCENT else "good", f"{used_percent} % used")


def budget_name(state: BudgetState) -> str:
    """`run exp-42, day 2026-11-22`, or `run ann/exp-42` for ann's own; the budget for all time is `total`."""

    def shown(name: str, value: str) -> str:
        owner = state.owner if name in {"run", "batch", "instance"} else None
        return f"{name} {'(none)' if value == '-' else shown_run(value, owner)}"

    return ", ".join(shown(name, value) for name, value in state.of.items()) or "total"


def waited(state: QueueState, now_ms: int) -> str:
    """How long the first of the waiting calls has waited."""
    return duration(max(0, now_ms - state.since_ms))


def _remaining(until_ms: int, now_ms: int) -> str:
    return duration(max(0, until_ms - now_ms))
