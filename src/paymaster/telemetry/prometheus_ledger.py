"""The status of a ledger as gauges for Prometheus, the same from every worker and every machine; knows no ledger.

Budgets are shown by kind (`run`, `user/month`): no label has the name of a run or a user. Of a kind per day or month only the current
period counts.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from operator import attrgetter

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.registry.models import Registry
from paymaster.routing.breaker import State
from paymaster.routing.ended_holders import sum_held
from paymaster.version import __version__
from paymaster.views.ledger_status import LedgerStatus
from paymaster.views.model_states import ModelState

_BREAKER_STATES = ("closed", "open", "half_open", "paused")


class LedgerGauges(Collector):
    """Budgets, limits and models as they are when Prometheus asks.

    `read` gives the status and the time in milliseconds since 1970; it is called in the scraper's thread, once per scrape.
    """

    def __init__(self, read: Callable[[], tuple[LedgerStatus, int]], registry: Registry) -> None:
        self._read = read
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Every gauge."""
        now, now_ms = self._read()
        yield from _budgets(now, now_ms)
        yield from _limits(now)
        yield from _models(now, self._registry)
        yield from _ended(now)
        info = GaugeMetricFamily("paymaster_build_info", "1, with the version that runs.", labels=("version",))
        info.add_metric([__version__], 1)
        yield info


def _budgets(status: LedgerStatus, now_ms: int) -> Iterator[Metric]:
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
    current = (sums for sums in status.sums if sums.day in {None, today} and sums.month in {None, today[:7]})
    labels = ("budget", "model")
    accounts = GaugeMetricFamily("paymaster_budget_accounts", "Budgets of this kind that were ever charged.", labels=labels)
    spent = GaugeMetricFamily("paymaster_budget_spent_usd", "Settled on the budgets of this kind, in US dollars.", labels=labels)
    held = GaugeMetricFamily("paymaster_budget_held_usd", "Held by open calls, in US dollars.", labels=labels)
    counted = {
        (unit, state): GaugeMetricFamily(f"paymaster_budget_{state}_{unit}", f"{words}, in {unit}.", labels=labels)
        for unit in (BudgetUnit.TOKENS, BudgetUnit.REQUESTS)
        for state, words in (("spent", "Settled on the budgets of this kind"), ("held", "Held by open calls"))
    }
    fullest = GaugeMetricFamily(
        "paymaster_budget_fullest_ratio",
        "Spent and held of the cap, of the fullest budget of this kind; runs, batches and instances count while they have open calls.",
        labels=labels,
    )
    for kind in sorted(current, key=attrgetter("kind", "model")):
        names = (kind.kind, kind.model)
        accounts.add_metric(names, kind.accounts)
        if kind.unit is BudgetUnit.USD:
            spent.add_metric(names, kind.spent / NANOUSD_PER_USD)
            held.add_metric(names, kind.held / NANOUSD_PER_USD)
        else:
            counted[kind.unit, "spent"].add_metric(names, kind.spent)
            counted[kind.unit, "held"].add_metric(names, kind.held)
        if kind.fullest_ppm is not None:
            fullest.add_metric(names, kind.fullest_ppm / 1_000_000)
    yield from (accounts, spent, held, *counted.values(), fullest)


def _limits(status: LedgerStatus) -> Iterator[Metric]:
    labels = ("model", "endpoint", "limit")
    used = GaugeMetricFamily("paymaster_limit_used", "Requests or tokens in the sliding window, by the registry's key.", labels=labels)
    cap = GaugeMetricFamily("paymaster_limit_cap", "The most that may be in the window.", labels=labels)
    for limit in status.limits:
        used.add_metric((limit.model, limit.endpoint, limit.limit), limit.used)
        if limit.cap is not None:
            cap.add_metric((limit.model, limit.endpoint, limit.limit), limit.cap)
    yield from (used, cap)


def _models(status: LedgerStatus, registry: Registry) -> Iterator[Metric]:
    """One series per model of the registry, or endpoint of it, idle ones too: else one that is idle looks like one that is missing."""
    states = {model.place: model for model in status.models}
    labels = ("model", "endpoint")
    calls_of = {waits.model: waits.calls for waits in status.queue}
    calls = GaugeMetricFamily("paymaster_open_calls", "Calls under way, of all workers.", labels=labels)
    cap = GaugeMetricFamily("paymaster_open_calls_cap", "The most calls at once.", labels=labels)
    waiting = GaugeMetricFamily("paymaster_waiting_calls", "Calls that wait in the queue, of all workers.", labels=("model",))
    failures = GaugeMetricFamily("paymaster_model_failures", "Failures that count towards opening the breaker.", labels=labels)
    breaker = GaugeMetricFamily("paymaster_breaker_state", "1 for the state that the model is in.", labels=(*labels, "state"))
    operator = GaugeMetricFamily(
        "paymaster_operator_action_required",
        "1 while the circuit is open for a reason that only an operator can fix.",
        labels=(*labels, "reason"),
    )
    for name, model in sorted(registry.models.items()):
        waiting.add_metric((name,), sum(calls_of.get(place.place, 0) for place in model.places))
        for place in model.places:
            names, state = (name, place.endpoint), states.get(place.place)
            if state is not None and state.operator_reason is not None:
                operator.add_metric((*names, state.operator_reason), 1)
            calls.add_metric(names, state.open_calls if state else 0)
            failures.add_metric(names, state.failures if state else 0)
            if place.limits.max_parallel is not None:
                cap.add_metric(names, place.limits.max_parallel)
            for word in _BREAKER_STATES:
                breaker.add_metric((*names, word), int(word == _breaker(state)))
    yield from (calls, cap, waiting, failures, breaker, operator)


def _ended(status: LedgerStatus) -> Iterator[Metric]:
    """What processes that ended still hold; no label names one."""
    held = sum_held(status.ended)
    for name, description, figure in (
        ("paymaster_ended_processes", "Processes that ended and still hold money or slots.", held.processes),
        ("paymaster_ended_processes_calls", "Open calls of such processes.", held.calls),
        ("paymaster_ended_processes_held_usd", "What they hold, in US dollars.", held.money_nanousd / NANOUSD_PER_USD),
    ):
        gauge = GaugeMetricFamily(name, description)
        gauge.add_metric((), figure)
        yield gauge


def _breaker(state: ModelState | None) -> str:
    if state is None:
        return "closed"
    if state.circuit is State.CLOSED:
        return "closed" if state.paused_until_ms is None else "paused"
    return "open" if state.circuit is State.OPEN else "half_open"
