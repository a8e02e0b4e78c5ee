"""How the standing of budgets, limits and models looks as tables and as JSON; knows no ledger."""

from dataclasses import asdict

from paymaster.accounting.money import format_usd
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.views.ledger_status import BudgetState, LedgerStatus, LimitState, ModelState, QueueState
from paymaster.views.words import duration

_NOTHING = Cell("-", "weak")
_MOST_LINES = 20


def tables(now: LedgerStatus, now_ms: int) -> list[Table]:
    """Budgets, limits, models, who waits in line; each may have no rows."""
    return [
        _budget_table(now.budgets),
        _limit_table(now.limits, now_ms),
        _model_table(now.models, now_ms),
        _queue_table(now.queue, now_ms),
    ]


def as_json(now: LedgerStatus, now_ms: int, ledger: str) -> dict[str, object]:
    """Everything for a program; money in nano-dollars, times in milliseconds since 1970."""
    return {
        "ledger": ledger,
        "at_ms": now_ms,
        "budgets": [{**asdict(budget), "left_nanousd": budget.left_nanousd} for budget in now.budgets],
        "limits": [asdict(limit) for limit in now.limits],
        "models": [{**asdict(model), "half_open": model.half_open} for model in now.models],
        "queued": [asdict(waits) for waits in now.queue],
    }


def _budget_table(budgets: tuple[BudgetState, ...]) -> Table:
    figures = [Column(title, figures=True) for title in ("spent", "held", "cap", "left")]
    return Table(title="Budgets", columns=[Column("budget"), *figures, Column("")], rows=[_budget_row(budget) for budget in budgets])


def _budget_row(budget: BudgetState) -> list[str | Cell]:
    row: list[str | Cell] = [_named(budget), format_usd(budget.spent_nanousd), format_usd(budget.held_nanousd)]
    left = budget.left_nanousd
    if budget.cap_nanousd is None or left is None:
        return [*row, _NOTHING, _NOTHING, ""]
    used = f"{100 * (budget.cap_nanousd - left) // budget.cap_nanousd} % used" if budget.cap_nanousd else ""
    if left < 0:
        return [*row, format_usd(budget.cap_nanousd), Cell(format_usd(left), "bad"), Cell("over", "bad")]
    return [*row, format_usd(budget.cap_nanousd), format_usd(left), used]


def _named(budget: BudgetState) -> str:
    """`run exp-42, day 2026-11-22`; the budget for all time is `total`."""
    return ", ".join(f"{name} {value}" for name, value in budget.of.items()) or "total"


def _limit_table(limits: tuple[LimitState, ...], now_ms: int) -> Table:
    columns = [
        Column("model"),
        Column("limit"),
        Column("used", figures=True),
        Column("cap", figures=True),
        Column("room again in", figures=True),
    ]
    return Table(
        title="Limits",
        columns=columns,
        rows=[
            [
                limit.model,
                limit.limit,
                f"{limit.used:,}",
                _NOTHING if limit.cap is None else f"{limit.cap:,}",
                _NOTHING if limit.free_at_ms is None else duration(max(0, limit.free_at_ms - now_ms)),
            ]
            for limit in limits
        ],
    )


def _model_table(models: tuple[ModelState, ...], now_ms: int) -> Table:
    columns = [
        Column("model"),
        Column("open calls", figures=True),
        Column("at once", figures=True),
        Column("failures", figures=True),
        Column("state"),
    ]
    return Table(
        title="Models",
        columns=columns,
        rows=[
            [
                model.model,
                f"{model.open_calls:,}",
                _NOTHING if model.cap is None else f"{model.cap:,}",
                f"{model.failures:,}",
                _state(model, now_ms),
            ]
            for model in models
        ],
    )


def _queue_table(waiting: tuple[QueueState, ...], now_ms: int) -> Table:
    """The models that calls wait for; of very many, those that have waited longest."""
    return Table(
        title="Waiting in line" if len(waiting) <= _MOST_LINES else f"Waiting in line ({_MOST_LINES} of {len(waiting):,} models)",
        columns=[Column("model"), Column("calls", figures=True), Column("longest", figures=True), Column("wait for")],
        rows=[
            [waits.model or _NOTHING, f"{waits.calls:,}", duration(max(0, now_ms - waits.since_ms)), waits.wait_for]
            for waits in waiting[:_MOST_LINES]
        ],
    )


def _state(model: ModelState, now_ms: int) -> Cell:
    if model.paused_until_ms is not None:
        return Cell(f"paused for {duration(max(0, model.paused_until_ms - now_ms))}", "bad")
    if model.half_open:
        return Cell("after a pause: one call at a time", "bad")
    return Cell("in use" if model.open_calls else "ready", "good")
