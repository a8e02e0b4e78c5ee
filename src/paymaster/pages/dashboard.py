"""The dashboard: what it shows at one instant, in words and widths; knows standings, calls and timelines, no server and no ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paymaster.registry.models import Registry
from paymaster.views.ledger_status import BudgetState, LedgerStatus, LimitState, ModelState, QueueState, kind_of, most_relevant
from paymaster.views.recent_calls import RecentCall
from paymaster.views.spending import Timeline
from paymaster.views.words import duration, percent, short_usd

MOST_BUDGETS = 12
RANGES_MS: Mapping[str, int] = {"1h": 3_600_000, "24h": 86_400_000, "7d": 7 * 86_400_000}
USUAL_RANGE = "24h"
_NEARLY = 80
"""From this share on a bar is worth a look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A share of a cap in percent: what is used for good, then what open calls hold. `words` says the same to those who don't see it."""

    used: int
    held: int
    words: str
    is_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """One budget; `bar` is None where its cap is not known here. `mark` is `good`, `warn` or `bad`."""

    name: str
    spent: str
    held: str
    cap: str
    left: str
    bar: Bar | None
    mark: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One rate limit of a model."""

    name: str
    used: str
    cap: str
    bar: Bar | None
    free: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model of the registry, with its limits; `waiting` says how many calls wait in line for it, and how long, '' where none does."""

    name: str
    provider: str
    mark: str
    state: str
    open_calls: str
    waiting: str
    failures: int
    limits: tuple[LimitRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Everything that is live. `held_nanousd` is what open calls hold: of budgets that overlap, the kind with most."""

    now_ms: int
    range_name: str
    spent_nanousd: int
    held_nanousd: int
    open_calls: int
    waiting: int
    budgets: Sequence[BudgetRow]
    hidden_budgets: int
    models: Sequence[ModelRow]
    timelines: Sequence[Timeline]
    calls: Sequence[RecentCall]

    @property
    def resting(self) -> int:
        """How many models nobody calls, or one call at a time."""
        return sum(model.mark == "bad" for model in self.models)


def dashboard(
    now: LedgerStatus, registry: Registry, timelines: Sequence[Timeline], calls: Sequence[RecentCall], now_ms: int, range_name: str
) -> Dashboard:
    """The view of this instant."""
    held: dict[str, int] = {}
    for budget in now.budgets:
        held[kind_of(budget.of)] = held.get(kind_of(budget.of), 0) + budget.held_nanousd
    shown = most_relevant(now.budgets, MOST_BUDGETS)
    return Dashboard(
        now_ms=now_ms,
        range_name=range_name,
        spent_nanousd=timelines[0].total_nanousd if timelines else 0,
        held_nanousd=max(held.values(), default=0),
        open_calls=sum(model.open_calls for model in now.models),
        waiting=sum(waits.calls for waits in now.queue),
        budgets=[_budget(budget) for budget in shown],
        hidden_budgets=len(now.budgets) - len(shown),
        models=_models(now, registry, now_ms),
        timelines=timelines,
        calls=calls,
    )


def seen_by(now: LedgerStatus, user: str | None) -> LedgerStatus:
    """What a user may see of the standing: budgets of its own and those that name nobody; None sees everything."""
    if user is None:
        return now
    named = {"run", "batch", "instance"}
    mine = tuple(budget for budget in now.budgets if budget.of.get("user") == user or not budget.of.keys() & {*named, "user"})
    return LedgerStatus(budgets=mine, limits=now.limits, models=now.models, queue=now.queue)


def _budget(budget: BudgetState) -> BudgetRow:
    name = ", ".join(f"{name} {'(none)' if value == '-' else value}" for name, value in budget.of.items()) or "total"
    spent, held, cap, left = budget.spent_nanousd, budget.held_nanousd, budget.cap_nanousd, budget.left_nanousd
    if cap is None or left is None:
        return BudgetRow(
            name=name, spent=short_usd(spent), held=short_usd(held), cap="no cap here", left="", bar=None, mark="good", state="counted only"
        )
    share = percent(spent + held, cap)
    mark = "bad" if left <= 0 else "warn" if share >= _NEARLY else "good"
    state = f"over by {short_usd(-left)}" if left < 0 else "all spent" if left == 0 else f"{share} % used"
    return BudgetRow(
        name=name,
        spent=short_usd(spent),
        held=short_usd(held),
        cap=short_usd(cap),
        left=short_usd(left),
        bar=_bar(spent, held, cap),
        mark=mark,
        state=state,
    )


def _bar(used: int, held: int, cap: int) -> Bar:
    share, held_share = min(100, percent(used, cap)), percent(held, cap)
    words = f"{percent(used, cap)} % used" + (f", {held_share} % held" if held else "")
    return Bar(used=share, held=min(held_share, 100 - share), words=words, is_over=used + held > cap)


def _models(now: LedgerStatus, registry: Registry, now_ms: int) -> list[ModelRow]:
    states = {state.model: state for state in now.models}
    waits = {state.model: state for state in now.queue}
    limits: dict[str, list[LimitState]] = {}
    for limit in now.limits:
        limits.setdefault(limit.model, []).append(limit)
    rows: list[ModelRow] = []
    for name, model in registry.models.items():
        state = states.get(name)
        mark, words = _state(state, now_ms)
        open_calls, cap = state.open_calls if state else 0, model.limits.max_parallel
        rows.append(
            ModelRow(
                name=name,
                provider=model.provider,
                mark=mark,
                state=words,
                open_calls=f"{open_calls:,}" if cap is None else f"{open_calls:,} of {cap:,}",
                waiting=_waiting(waits.get(name), now_ms),
                failures=state.failures if state else 0,
                limits=tuple(_limit(limit, now_ms) for limit in limits.get(name, [])),
            )
        )
    return rows


def _state(state: ModelState | None, now_ms: int) -> tuple[str, str]:
    if state is None:
        return "good", "ready"
    if state.paused_until_ms is not None:
        return "bad", f"paused for {duration(max(0, state.paused_until_ms - now_ms))}"
    if state.half_open:
        return "bad", "one call at a time"
    return "good", "in use" if state.open_calls else "ready"


def _waiting(state: QueueState | None, now_ms: int) -> str:
    if state is None:
        return ""
    return f"{state.calls:,} for {duration(max(0, now_ms - state.since_ms))} ({state.wait_for})"


def _limit(limit: LimitState, now_ms: int) -> LimitRow:
    return LimitRow(
        name=limit.limit,
        used=f"{limit.used:,}",
        cap="no cap" if limit.cap is None else f"{limit.cap:,}",
        bar=None if not limit.cap else _bar(limit.used, 0, limit.cap),
        free="" if limit.free_at_ms is None else f"room in {duration(max(0, limit.free_at_ms - now_ms))}",
    )
