"""The metrics of OpenTelemetry: the GenAI conventions' own, and Paymaster's beside them; knows events and OpenTelemetry's API.

As with Prometheus, no run, instance, user or account stands in an attribute.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
from opentelemetry.util.types import AttributeValue

from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.flow.endpoint_events import FellBack
from paymaster.flow.events import (
    AttemptFailed,
    AttemptSettled,
    BreakerOpened,
    BudgetPassed,
    CallGivenUp,
    Event,
    ModelSkipped,
    RefusedByAccount,
    Throttled,
)
from paymaster.flow.ledger_events import HoldLost
from paymaster.forks import renew_in_children
from paymaster.telemetry import otel_names as words
from paymaster.telemetry.otel_names import Names
from paymaster.version import __version__
from paymaster.views.ledger_status import budget_kind, limit_kind


class Instruments:
    """Everything that is counted and measured, made from one meter."""

    def __init__(self, provider: MeterProvider | None, names: Names) -> None:
        self._names = names
        meter = get_meter("paymaster", __version__, provider)
        self._tokens = meter.create_histogram(
            words.TOKEN_USAGE,
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=words.TOKEN_BUCKETS,
        )
        self._duration = meter.create_histogram(
            words.OPERATION_DURATION,
            unit="s",
            description="Duration of one attempt at a model.",
            explicit_bucket_boundaries_advisory=words.SECONDS_BUCKETS,
        )
        self._first_chunk = None
        if names.first_chunk_metric is not None:
            self._first_chunk = meter.create_histogram(
                names.first_chunk_metric,
                unit="s",
                description="From sending to the first piece of a streamed answer.",
                explicit_bucket_boundaries_advisory=words.SECONDS_BUCKETS,
            )
        self._waited = meter.create_histogram(
            "paymaster.wait.duration", unit="s", description="Waiting for room before an answered attempt was sent."
        )
        self._waits = meter.create_counter("paymaster.waits", unit="{wait}", description="Waits for room or before another attempt.")
        self._refusals = meter.create_counter("paymaster.refusals", unit="{refusal}", description="Models skipped, by cause.")
        self._fallbacks = meter.create_counter("paymaster.fallbacks", unit="{call}", description="Calls that went on with another model.")
        self._failed = meter.create_counter("paymaster.failed_calls", unit="{call}", description="Calls that ended without an answer.")
        self._budgets = meter.create_counter(
            "paymaster.budget.passed", unit="{call}", description="Calls that a hard budget ended, or that passed a soft one."
        )
        self._openings = meter.create_counter("paymaster.breaker.openings", unit="{opening}", description="Breakers that opened.")
        self._lost = meter.create_counter("paymaster.lost_holds", unit="{hold}", description="Holds whose worker died.")
        self._spent_nanousd: Counter[tuple[tuple[str, str], ...]] = Counter()
        self.renew()
        renew_in_children(self)
        meter.create_observable_counter(
            "paymaster.cost", [self._observe_cost], unit="USD", description="Charged for attempts, in US dollars."
        )

    def renew(self) -> None:
        """In a forked child: nobody holds the lock."""
        self._lock = threading.Lock()

    def ended(self, event: AttemptSettled | AttemptFailed, server: Mapping[str, AttributeValue]) -> None:
        """An attempt was answered or failed; `server` has the attributes that name its endpoint."""
        names = self._names
        attributes: dict[str, AttributeValue] = {
            words.OPERATION: event.operation,
            names.provider: names.provider_values.get(event.provider, event.provider),
            words.REQUEST_MODEL: event.model_id,
            **server,
        }
        self._charge(event.cost_nanousd, event.model, event.billed)
        if isinstance(event, AttemptFailed):
            self._duration.record(event.duration_ms / 1000, {**attributes, words.ERROR_TYPE: event.failure})
            return
        self._duration.record(event.duration_ms / 1000, attributes)
        taken_in = event.input_tokens + event.cache_read_tokens + event.cache_write_tokens
        self._tokens.record(taken_in, {**attributes, words.TOKEN_TYPE: "input"})
        if event.operation != words.EMBEDDINGS:
            self._tokens.record(event.output_tokens, {**attributes, words.TOKEN_TYPE: "output"})
        self._waited.record(event.waited_ms / 1000, {"paymaster.model": event.model})
        if self._first_chunk is not None and event.first_token_ms is not None:
            self._first_chunk.record(event.first_token_ms / 1000, attributes)

    def count(self, event: Event) -> None:
        """Everything else that happens; the rest has no metric."""
        match event:
            case Throttled():
                kind = limit_kind(event.account) if event.account else "retry"
                self._waits.add(1, {"paymaster.model": event.model, "paymaster.limit": kind})
            case RefusedByAccount():
                self._refusals.add(1, {"paymaster.model": event.model, "paymaster.reason": limit_kind(event.account)})
            case ModelSkipped():
                self._refusals.add(1, {"paymaster.model": event.model, "paymaster.reason": event.cause})
            case FellBack():
                self._fallbacks.add(1, {"paymaster.model": event.model, "paymaster.to_model": event.to_model})
            case CallGivenUp():
                self._failed.add(1, {words.ERROR_TYPE: event.error})
            case BudgetPassed():
                self._budgets.add(1, {"paymaster.budget": budget_kind(event.account), "paymaster.hard": event.hard})
            case BreakerOpened():
                self._openings.add(1, {"paymaster.model": event.model})
            case HoldLost():
                self._lost.add(1, {"paymaster.model": event.model})
                self._charge(event.cost_nanousd, event.model, "assumed")
            case _:
                pass

    def _charge(self, cost_nanousd: int, model: str, billed: str) -> None:
        with self._lock:
            self._spent_nanousd[("paymaster.model", model), ("paymaster.billed", billed)] += cost_nanousd

    def _observe_cost(self, _: CallbackOptions) -> Iterable[Observation]:
        """Whole nano-dollars until here: the exporter's float is made anew from the exact sum each time."""
        with self._lock:
            spent = dict(self._spent_nanousd)
        return [Observation(cost_nanousd / NANOUSD_PER_USD, dict(attributes)) for attributes, cost_nanousd in spent.items()]
