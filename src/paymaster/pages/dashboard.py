"""The dashboard of one instant: figures, words and widths of bars; knows read models, and no server, no ledger and no markup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paymaster.accounting.account_names import key_of
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.registry.models import Registry
from paymaster.routing.ended_holders import describe_ended
from paymaster.views.ledger_status import BudgetState, LedgerStatus, QueueState, most_relevant
from paymaster.views.model_states import LimitState
from paymaster.views.recent_calls import RecentCall
from paymaster.views.spending import Timeline
from paymaster.views.states import Mark, budget_name, budget_state, model_state, waited
from paymaster.views.visibility import Reader, models_for, visible_to
from paymaster.views.words import duration, percent, short_amount

MAX_BUDGETS = 12
RANGES_MS: Mapping[str, int] = {"1h": 3_600_000, "24h": 86_400_000, "7d": 7 * 86_400_000}
DEFAULT_RANGE = "24h"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Shares of a cap in percent: what is spent, then what open calls hold. `words` is the text for screen readers."""

    used: int
    held: int
    words: str
    is_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardBudget:
    """One budget; `bar` is None if its cap is not known."""

    name: str
    spent: str
    held: str
    cap: str
    left: str
    bar: Bar | None
    mark: Mark
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardLimit:
    """One rate limit of a model."""

    name: str
    used: str
    cap: str
    bar: Bar | None
    free: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardModel:
    """One model of the registry with its limits; `waiting` is how many calls wait for it and how long, '' if none does."""

    name: str
    provider: str
    mark: Mark
    state: str
    open_calls: str
    waiting: str
    failures: int
    limits: tuple[DashboardLimit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Everything that is live. `ended` says what processes that ended still hold.

    `held_nanousd` is what the reader's open calls hold: of overlapping kinds of budgets, the largest sum.
    """

    now_ms: int
    range_name: str
    spent_nanousd: int
    held_nanousd: int
    open_calls: int
    waiting: int
    budgets: Sequence[DashboardBudget]
    hidden_budgets: int
    ended: Sequence[str]
    models: Sequence[DashboardModel]
    timelines: Sequence[Timeline]
    calls: Sequence[RecentCall]

    @property
    def unavailable(self) -> int:
        """How many models are paused, or take one call at a time."""
        return sum(model.mark == "bad" for model in self.models)


def dashboard(
    reader: Reader,
    whole: LedgerStatus,
    registry: Registry,
    timelines: Sequence[Timeline],
    calls: Sequence[RecentCall],
    now_ms: int,
    range_name: str,
) -> Dashboard:
    """The dashboard of this instant, with the part of the status that the reader may see. Budgets that it hides are the reader's."""
    status = visible_to(reader, whole)
    held = dict(status.hidden_held_nanousd)
    for budget in (each for each in status.budgets if each.unit is BudgetUnit.USD and reader.is_own_budget(each.account)):
        held[budget.kind] = held.get(budget.kind, 0) + budget.held
    shown = most_relevant(status.budgets, MAX_BUDGETS)
    return Dashboard(
        now_ms=now_ms,
        range_name=range_name,
        spent_nanousd=timelines[0].total_nanousd if timelines else 0,
        held_nanousd=max(held.values(), default=0),
        open_calls=sum({model.subject or model.place: model.open_calls for model in status.models if key_of(model.model) is None}.values()),
        waiting=sum(waiting.calls for waiting in status.queue),
        budgets=[_budget(budget) for budget in shown],
        hidden_budgets=status.hidden_budgets + len(status.budgets) - len(shown),
        ended=describe_ended(status.ended, now_ms),
        models=_models(status, models_for(reader, registry), now_ms),
        timelines=timelines,
        calls=calls,
    )


def _budget(budget: BudgetState) -> DashboardBudget:
    spent, held, cap, left, unit = budget.spent, budget.held, budget.cap, budget.left, budget.unit
    mark, words = budget_state(budget)
    return DashboardBudget(
        name=budget_name(budget),
        spent=short_amount(spent, unit),
        held=short_amount(held, unit),
        cap="" if cap is None else short_amount(cap, unit),
        left="" if left is None else short_amount(left, unit),
        bar=None if cap is None else _bar(spent, held, cap),
        mark=mark,
        state=words,
    )


def _bar(used: int, held: int, cap: int) -> Bar:
    share, held_share = min(100, percent(used, cap)), percent(held, cap)
    words = f"{percent(used, cap)} % used" + (f", {held_share} % held" if held else "")
    return Bar(used=share, held=min(held_share, 100 - share), words=words, is_over=used + held > cap)


def _models(status: LedgerStatus, registry: Registry, now_ms: int) -> list[DashboardModel]:
    states = {state.place: state for state in status.models}
    queue = {state.model: state for state in status.queue}
    limits: dict[str, list[LimitState]] = {}
    for limit in status.limits:
        limits.setdefault(limit.place, []).append(limit)
    rows: list[DashboardModel] = []
    for place in (place for model in registry.models.values() for place in model.places):
        name, state = place.place, states.get(place.place)
        mark, words = model_state(state, now_ms)
        open_calls, cap = state.open_calls if state else 0, place.limits.max_parallel
        rows.append(
            DashboardModel(
                name=name,
                provider=place.provider,
                mark=mark,
                state=words,
                open_calls=f"{open_calls:,}" if cap is None else f"{open_calls:,} of {cap:,}",
                waiting=_waiting(queue.get(name), now_ms),
                failures=state.failures if state else 0,
                limits=tuple(_limit(limit, now_ms) for limit in limits.get(name, [])),
            )
        )
    return rows


def _waiting(state: QueueState | None, now_ms: int) -> str:
    return "" if state is None else f"{state.calls:,} for {waited(state, now_ms)} ({state.wait_for})"


def _limit(limit: LimitState, now_ms: int) -> DashboardLimit:
    return DashboardLimit(
        name=limit.limit,
        used=f"{limit.used:,}",
        cap="no cap" if limit.cap is None else f"{limit.cap:,}",
        bar=None if not limit.cap else _bar(limit.used, 0, limit.cap),
        free="" if limit.free_at_ms is None else f"room in {duration(max(0, limit.free_at_ms - now_ms))}",
    )
