"""How a ledger's status looks as tables and as JSON; knows no ledger, and words no state itself."""

from dataclasses import asdict

from paymaster.accounting.budget_units import BudgetUnit, format_amount
from paymaster.accounting.process_names import process_number
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.routing.ended_holders import describe_ended
from paymaster.views.ledger_status import BudgetState, LedgerStatus, QueueState
from paymaster.views.model_states import LimitState, ModelState
from paymaster.views.states import StateWords, budget_name, budget_state, model_state, waited
from paymaster.views.words import duration

_NOTHING = Cell("-", "weak")
_MAX_QUEUE_ROWS = 20


def status_tables(status: LedgerStatus, now_ms: int) -> list[Table]:
    """Budgets, limits, models and the queue; each table may have no rows."""
    return [
        _budget_table(status.budgets),
        _limit_table(status.limits, now_ms),
        _model_table(status.models, now_ms),
        _queue_table(status.queue, now_ms),
    ]


def status_json(status: LedgerStatus, now_ms: int, ledger: str) -> dict[str, object]:
    """Everything for a program; money in nano-dollars, times in milliseconds since 1970."""
    return {
        "ledger": ledger,
        "at_ms": now_ms,
        "budgets": [_budget_json(budget) for budget in status.budgets],
        "limits": [asdict(limit) for limit in status.limits],
        "models": [{**asdict(model), "half_open": model.half_open} for model in status.models],
        "queued": [asdict(waiting) for waiting in status.queue],
        "percent_of_bytes": dict(status.percent_of_bytes),
        "ended_holders": [{**each._asdict(), "pid": process_number(each.process)} for each in status.ended],
    }


def _budget_json(budget: BudgetState) -> dict[str, object]:
    """A budget in its own unit; one in dollars also with the unit in its keys."""
    amounts = {"spent": budget.spent, "held": budget.held, "cap": budget.cap, "left": budget.left}
    nanousd = {f"{name}_nanousd": amount for name, amount in amounts.items()} if budget.unit is BudgetUnit.USD else {}
    return {**asdict(budget), **amounts, **nanousd}


def ended_sentences(status: LedgerStatus, now_ms: int) -> list[str]:
    """What processes that ended still hold."""
    return [f"{sentence}." for sentence in describe_ended(status.ended, now_ms)]


def count_sentences(status: LedgerStatus) -> list[str]:
    """Which models' prompts count as their bytes, and what to do about it."""
    return [
        f"{model}: a prompt counts as {'' if percent <= 100 else f'{percent / 100:g} times '}its bytes, because its own count was too low. "
        f"Check `tokenizer:`, then run: paymaster ledger reset {status.undercounts[model]}"
        for model, percent in status.percent_of_bytes.items()
    ]


def ended_table(status: LedgerStatus, now_ms: int) -> Table:
    """The same as a table, for `top`; it may have no rows."""
    return Table(
        title="Ended processes", columns=[Column("what they hold")], rows=[[each] for each in describe_ended(status.ended, now_ms)]
    )


def _budget_table(budgets: tuple[BudgetState, ...]) -> Table:
    figures = [Column(title, figures=True) for title in ("spent", "held", "cap", "left")]
    return Table(title="Budgets", columns=[Column("budget"), *figures, Column("state")], rows=[_budget_row(budget) for budget in budgets])


def _budget_row(budget: BudgetState) -> list[str | Cell]:
    state, left, unit = _cell(budget_state(budget)), budget.left, budget.unit
    row: list[str | Cell] = [budget_name(budget), format_amount(budget.spent, unit), format_amount(budget.held, unit)]
    if budget.cap is None or left is None:
        return [*row, _NOTHING, _NOTHING, state]
    return [*row, format_amount(budget.cap, unit), Cell(format_amount(left, unit), "bad" if left < 0 else ""), state]


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
                limit.place,
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
                model.place,
                f"{model.open_calls:,}",
                _NOTHING if model.cap is None else f"{model.cap:,}",
                f"{model.failures:,}",
                _cell(model_state(model, now_ms)),
            ]
            for model in models
        ],
    )


def _queue_table(queue: tuple[QueueState, ...], now_ms: int) -> Table:
    """The models that calls wait for; of very many, those that have waited longest."""
    return Table(
        title="Waiting calls" if len(queue) <= _MAX_QUEUE_ROWS else f"Waiting calls ({_MAX_QUEUE_ROWS} of {len(queue):,} models)",
        columns=[Column("model"), Column("calls", figures=True), Column("longest", figures=True), Column("wait for")],
        rows=[
            [waiting.model or _NOTHING, f"{waiting.calls:,}", waited(waiting, now_ms), waiting.wait_for]
            for waiting in queue[:_MAX_QUEUE_ROWS]
        ],
    )


def _cell(state: StateWords) -> Cell:
    return Cell(state.words, state.mark)
