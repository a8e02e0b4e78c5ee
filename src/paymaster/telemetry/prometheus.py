"""What happens, as metrics for Prometheus; knows events and prometheus-client, and neither server nor ledger.

Every label comes from the registry or from a fixed list: no run, batch, instance, user or call stands in one, however long a process lives.
Money is counted in whole nano-dollars and divided once, when it is shown.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, assert_never

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.flow.endpoint_events import EndpointChanged, FellBack
from paymaster.flow.events import (
    Admitted,
    AttemptFailed,
    AttemptSettled,
    BreakerClosed,
    BreakerOpened,
    BudgetPassed,
    CallGivenUp,
    ConcurrencyLowered,
    Event,
    ModelSkipped,
    PromptUndercounted,
    RefusedByAccount,
    ThresholdCrossed,
    Throttled,
    Unpriced,
)
from paymaster.flow.ledger_events import HoldLost, LedgerEvent, SettlementFailed, SettlementPosted, SettlementSetAside, Unbooked
from paymaster.views.ledger_status import budget_kind, limit_kind

WORKERS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the processes of one server share their counts: prometheus-client reads it when it is imported."""

_Rare: TypeAlias = (
    CallGivenUp | ThresholdCrossed | BudgetPassed | Unpriced | BreakerOpened | BreakerClosed | ConcurrencyLowered | PromptUndercounted
)
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
_WAIT_SECONDS = (0.0, *_SECONDS)


class PrometheusMetrics:
    """Listens to events and counts them in a registry of its own; give it to a client among its `listeners`.

    Alone it counts for its process. Where `PROMETHEUS_MULTIPROC_DIR` was set before prometheus-client was imported, all processes that
    share this directory count together, and any of them shows the sums: a scrape reaches one worker by chance, and must not see a part.
    """

    def __init__(self) -> None:
        own = CollectorRegistry(auto_describe=True)
        self._attempts = Counter("paymaster_attempts", "Attempts that ended, by outcome.", ("model", "provider", "outcome"), registry=own)
        self._cost = Counter("paymaster_cost_nanousd", "Charged for attempts.", ("model", "provider", "billed"), registry=own)
        self._holds = Counter("paymaster_holds", "Attempts that were paid for in advance and sent.", ("model",), registry=own)
        self._held = Counter("paymaster_holds_nanousd", "Held in advance for attempts.", ("model",), registry=own)
        self._lowered = Counter("paymaster_lowered_outputs", "Attempts whose longest answer was lowered.", ("model",), registry=own)
        self._tokens = Counter(
            "paymaster_tokens", "Tokens of answered attempts; the kinds exclude one another.", ("model", "provider", "kind"), registry=own
        )
        self._reasoning = Counter("paymaster_reasoning_tokens", "The part of the output that was reasoning.", ("model",), registry=own)
        self._duration = Histogram(
            "paymaster_attempt_duration_seconds",
            "From sending to the end of the answer, or to the failure.",
            ("model", "provider", "outcome"),
            buckets=_SECONDS,
            registry=own,
        )
        self._first_token = Histogram(
            "paymaster_first_token_seconds",
            "From sending to the first piece of a streamed answer.",
            ("model", "provider"),
            buckets=_SECONDS,
            registry=own,
        )
        self._waited = Histogram(
            "paymaster_wait_seconds",
            "Waiting for room before an answered attempt was sent.",
            ("model",),
            buckets=_WAIT_SECONDS,
            registry=own,
        )
        self._waits = Counter("paymaster_waits", "Waits for room, by the kind of account without room.", ("model", "limit"), registry=own)
        self._retries = Counter("paymaster_retries", "Waits before the same model was tried again.", ("model",), registry=own)
        self._refusals = Counter("paymaster_refusals", "Models skipped because an account had no room.", ("model", "limit"), registry=own)
        self._fallbacks = Counter("paymaster_fallbacks", "Calls that went on with another model.", ("model", "to_model"), registry=own)
        self._endpoint_changes = Counter(
            "paymaster_endpoint_changes", "Calls that went on at another endpoint of their model.", ("model", "endpoint"), registry=own
        )
        self._skipped = Counter("paymaster_skipped_models", "Models not called at all, by cause.", ("model", "cause"), registry=own)
        self._given_up = Counter("paymaster_failed_calls", "Calls that ended without an answer.", ("error",), registry=own)
        self._thresholds = Counter("paymaster_budget_thresholds", "Budgets that crossed a share.", ("budget", "percent"), registry=own)
        self._stops = Counter("paymaster_budget_stops", "Calls that a hard budget ended.", ("budget",), registry=own)
        self._overruns = Counter("paymaster_budget_overruns", "Calls that passed a soft budget.", ("budget",), registry=own)
        self._unpriced = Counter("paymaster_unpriced_attempts", "Attempts at models without a price.", ("model",), registry=own)
        self._openings = Counter("paymaster_breaker_openings", "Breakers that opened.", ("model",), registry=own)
        self._closings = Counter("paymaster_breaker_closings", "Breakers that an answer closed.", ("model",), registry=own)
        self._lost = Counter("paymaster_lost_holds", "Holds whose worker died; they are charged in full.", ("model",), registry=own)
        self._unsettled = Counter("paymaster_failed_settlements", "Settlements that the ledger did not take.", ("model",), registry=own)
        self._unbooked = Counter("paymaster_unbooked_attempts", "Attempts made while the ledger was unavailable.", ("model",), registry=own)
        self._posted = Counter("paymaster_posted_settlements", "Settlements that waited on disk and were posted.", ("model",), registry=own)
        self._set_aside = Counter("paymaster_set_aside_settlements", "Settlements that can't be posted.", ("model",), registry=own)
        self._reductions = Counter(
            "paymaster_concurrency_reductions", "Overloads that lowered the calls made at once.", ("model",), registry=own
        )
        self._undercounts = Counter(
            "paymaster_prompt_undercounts", "Prompts that were longer than held for, each a lesson for all.", ("model",), registry=own
        )
        self._own = own

    def __call__(self, event: Event) -> None:
        """Count the event; from any thread."""
        match event:
            case AttemptSettled():
                self._take_settled(event)
            case AttemptFailed():
                self._take_end(event, event.failure, "failed")
            case Admitted():
                self._holds.labels(event.model).inc()
                self._held.labels(event.model).inc(event.held_nanousd)
                if event.lowered_from_tokens is not None:
                    self._lowered.labels(event.model).inc()
            case Throttled():
                if event.account:
                    self._waits.labels(event.model, limit_kind(event.account)).inc()
                else:
                    self._retries.labels(event.model).inc()
            case RefusedByAccount():
                self._refusals.labels(event.model, limit_kind(event.account)).inc()
            case ModelSkipped():
                self._skipped.labels(event.model, event.cause).inc()
            case FellBack():
                self._fallbacks.labels(event.model, event.to_model).inc()
            case EndpointChanged():
                self._endpoint_changes.labels(event.model, event.endpoint).inc()
            case HoldLost() | SettlementFailed() | Unbooked() | SettlementPosted() | SettlementSetAside():
                self._take_from_the_ledger(event)
            case _:
                self._take_rare(event)

    def _take_rare(self, event: _Rare) -> None:
        match event:
            case CallGivenUp():
                self._given_up.labels(event.error).inc()
            case ThresholdCrossed():
                self._thresholds.labels(budget_kind(event.account), str(event.percent)).inc()
            case BudgetPassed():
                (self._stops if event.hard else self._overruns).labels(budget_kind(event.account)).inc()
            case Unpriced():
                self._unpriced.labels(event.model).inc()
            case BreakerOpened():
                self._openings.labels(event.model).inc()
            case BreakerClosed():
                self._closings.labels(event.model).inc()
            case ConcurrencyLowered():
                self._reductions.labels(event.model).inc()
            case PromptUndercounted():
                self._undercounts.labels(event.model).inc()
            case _:
                assert_never(event)

    def _take_from_the_ledger(self, event: LedgerEvent) -> None:
        match event:
            case HoldLost():
                self._lost.labels(event.model).inc()
                self._cost.labels(event.model, "", "assumed").inc(event.cost_nanousd)
            case SettlementFailed():
                self._unsettled.labels(event.model).inc()
            case Unbooked():
                self._unbooked.labels(event.model).inc()
            case SettlementPosted():
                self._posted.labels(event.model).inc()
            case SettlementSetAside():
                self._set_aside.labels(event.model).inc()
            case _:
                assert_never(event)

    def _take_settled(self, event: AttemptSettled) -> None:
        self._take_end(event, "answered", "answered")
        counts = {
            "input": event.input_tokens,
            "cache_read": event.cache_read_tokens,
            "cache_write": event.cache_write_tokens,
            "output": event.output_tokens,
        }
        for kind, count in counts.items():
            self._tokens.labels(event.model, event.provider, kind).inc(count)
        self._reasoning.labels(event.model).inc(event.reasoning_tokens)
        self._waited.labels(event.model).observe(event.waited_ms / 1000)
        if event.first_token_ms is not None:
            self._first_token.labels(event.model, event.provider).observe(event.first_token_ms / 1000)

    def _take_end(self, event: AttemptSettled | AttemptFailed, outcome: str, end: str) -> None:
        self._attempts.labels(event.model, event.provider, outcome).inc()
        self._cost.labels(event.model, event.provider, event.billed).inc(event.cost_nanousd)
        self._duration.labels(event.model, event.provider, end).observe(event.duration_ms / 1000)

    def registry(self, *others: Collector) -> CollectorRegistry:
        """A registry that shows what was counted and what `others` collect; for `prometheus_client.start_http_server(registry=…)`."""
        shown = CollectorRegistry(auto_describe=False)
        shown.register(_Shown(self._source()))
        for other in others:
            shown.register(other)
        return shown

    def exposition(self, *others: Collector, accept: str = "") -> tuple[bytes, str]:
        """The text that Prometheus scrapes, and its content type, in the format that the `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry(*others)), content_type

    def _source(self) -> Collector:
        directory = os.environ.get(WORKERS_VARIABLE)
        if directory and Path(directory).is_dir():
            everybody = CollectorRegistry(auto_describe=False)
            MultiProcessCollector(everybody, path=directory)
            return everybody
        return self._own


class _Shown(Collector):
    """Shows what another collector counted in nano-dollars as dollars: the one place where a figure of money becomes a float.

    When each series began is left out: it would double their number, and a counter's reset is seen without it.
    """

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        for metric in self._source.collect():
            money = metric.name.endswith("_nanousd")
            name, documentation = metric.name, metric.documentation
            if money:
                name, documentation = name.replace("_nanousd", "_usd"), f"{documentation} In US dollars."
            shown = Metric(name, documentation, metric.type)
            for sample in metric.samples:
                if not sample.name.endswith("_created"):
                    value = sample.value / NANOUSD_PER_USD if money else sample.value
                    shown.add_sample(sample.name.replace("_nanousd", "_usd"), sample.labels, value)
            yield shown
