"""What happens, as traces and metrics of OpenTelemetry by its GenAI conventions; knows events and OpenTelemetry's API, and no exporter.

A call is a span of its own, below whatever span the caller is in; each attempt at a model is a client span below it; what happens between
attempts is recorded as events of the call's span. Prompts and answers are in no event, and so never in a span.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider, get_tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from paymaster.flow.endpoint_events import EndpointChanged, FellBack
from paymaster.flow.events import (
    Admitted,
    AttemptFailed,
    AttemptSettled,
    BudgetPassed,
    CallGivenUp,
    Event,
    ModelSkipped,
    RefusedByAccount,
    Throttled,
)
from paymaster.flow.ledger_events import SettlementFailed
from paymaster.forks import renew_in_children
from paymaster.registry.models import Model
from paymaster.scope import Scope
from paymaster.telemetry import otel_names as words
from paymaster.telemetry.otel_metrics import Instruments
from paymaster.telemetry.otel_names import Names, names_for
from paymaster.version import __version__

SCOPE = "paymaster"
MOST_OPEN_CALLS = 10_000
"""Calls without an end event (cancelled in the queue) are dropped beyond this count."""


@dataclass(slots=True)
class _OpenCall:
    span: Span
    context: Context
    cost_nanousd: int = 0
    attempts: dict[int, Span] = field(default_factory=dict)
    models: dict[int, str] = field(default_factory=dict)


class OpenTelemetry:
    """Listens to events and makes spans and metrics of them; give it to a client among its `listeners`.

    Without providers it takes the program's global ones, which do nothing until the program sets them. `models` (a registry's) give
    provider and server when a span begins, so that a sampler can see them. `environ` decides between the two ages of the conventions.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        models: Mapping[str, Model] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._names = names_for(os.environ if environ is None else environ)
        self._tracer: Tracer = get_tracer(SCOPE, __version__, tracer_provider)
        self._metrics = Instruments(meter_provider, self._names)
        self._models = models or {}
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the calls that threads of its parent had open are traced there."""
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, _OpenCall] = OrderedDict()

    def __call__(self, event: Event) -> None:
        """Take the event; in the thread or task of the call, from any of them."""
        match event:
            case Admitted():
                self._begin_attempt(event)
            case AttemptSettled():
                self._metrics.ended(event, self._server(event.model))
                self._end_attempt(event)
                self._end_call(event.call_id, {"paymaster.model": event.model})
            case AttemptFailed():
                self._metrics.ended(event, self._server(event.model))
                self._end_attempt(event)
                if event.failure == "cancelled":
                    self._end_call(event.call_id, {}, error="cancelled")
            case SettlementFailed():
                self._unsettled(event)
            case Throttled():
                self._note(event, {"paymaster.model": event.model, "paymaster.account": event.account, "paymaster.reason": event.reason})
            case RefusedByAccount():
                self._note(event, {"paymaster.model": event.model, "paymaster.account": event.account})
            case ModelSkipped():
                self._note(event, {"paymaster.model": event.model, "paymaster.reason": event.reason})
            case FellBack():
                self._note(event, {"paymaster.model": event.model, "paymaster.to_model": event.to_model, "paymaster.reason": event.reason})
            case EndpointChanged():
                names = {"paymaster.endpoint": event.endpoint, "paymaster.to_endpoint": event.to_endpoint}
                self._note(event, {"paymaster.model": event.model, "paymaster.reason": event.reason, **names})
            case BudgetPassed(hard=True):
                self._note(event, {"paymaster.account": event.account})
            case CallGivenUp():
                self._call(event.call_id, event.scope)
                self._end_call(event.call_id, {}, error=event.error)
            case _:
                pass  # what comes after a call's end, or belongs to a call of a worker that died, is counted below
        if not isinstance(event, AttemptSettled | AttemptFailed):
            self._metrics.count(event)

    def _call(self, call_id: str, scope: Scope) -> _OpenCall:
        """The call's span; it begins with the first event of the call."""
        with self._lock:
            known = self._calls.get(call_id)
            if known is not None:
                return known
            span = self._tracer.start_span("paymaster call", kind=SpanKind.INTERNAL, attributes=_of_scope(call_id, scope))
            opened = self._calls[call_id] = _OpenCall(span, set_span_in_context(span))
            forgotten = self._calls.popitem(last=False)[1] if len(self._calls) > MOST_OPEN_CALLS else None
        if forgotten is not None:
            forgotten.span.end()
        return opened

    def _end_call(self, call_id: str, attributes: Mapping[str, AttributeValue], *, error: str | None = None) -> None:
        with self._lock:
            call = self._calls.pop(call_id, None)
        if call is None:
            return
        call.span.set_attributes({**attributes, "paymaster.cost_nanousd": call.cost_nanousd, "paymaster.attempts": len(call.models)})
        if error is not None:
            call.span.set_attribute(words.ERROR_TYPE, error)
            call.span.set_status(Status(StatusCode.ERROR, error))
        call.span.end()

    def _begin_attempt(self, event: Admitted) -> None:
        call, names = self._call(event.call_id, event.scope), self._names
        model = self._models.get(event.model)
        attributes: dict[str, AttributeValue] = {
            words.OPERATION: event.operation,
            "paymaster.model": event.model,
            "paymaster.attempt": event.attempt,
            "paymaster.held_nanousd": event.held_nanousd,
        }
        if event.max_output_tokens is not None:
            attributes[words.REQUEST_MAX_TOKENS] = event.max_output_tokens
        if model is not None:
            attributes |= {
                words.REQUEST_MODEL: model.model_id,
                names.provider: names.provider_values.get(model.provider, model.provider),
                **self._server(event.model),
            }
        name = f"{event.operation} {event.model if model is None else model.model_id}"
        call.attempts[event.attempt] = self._tracer.start_span(name, call.context, SpanKind.CLIENT, attributes)
        call.models[event.attempt] = event.model

    def _end_attempt(self, event: AttemptSettled | AttemptFailed) -> None:
        call = self._call(event.call_id, event.scope)
        call.cost_nanousd += event.cost_nanousd
        span = call.attempts.pop(event.attempt, None)
        if span is None:
            return
        span.update_name(f"{event.operation} {event.model_id}")
        names = self._names
        span.set_attributes(
            {
                names.provider: names.provider_values.get(event.provider, event.provider),
                words.REQUEST_MODEL: event.model_id,
                "paymaster.cost_nanousd": event.cost_nanousd,
                "paymaster.billed": event.billed,
            }
        )
        if isinstance(event, AttemptSettled):
            span.set_attributes(_of_answer(event, names))
        else:
            span.set_attribute(words.ERROR_TYPE, event.failure)
            if event.status is not None:
                span.set_attribute(words.HTTP_STATUS, event.status)
            span.set_status(Status(StatusCode.ERROR, event.failure))
        span.end()

    def _unsettled(self, event: SettlementFailed) -> None:
        """The event names no attempt; a call makes one at a time, and the event of its end comes next."""
        call = self._call(event.call_id, event.scope)
        for span in (call.span, *call.attempts.values()):
            span.add_event(event.kind, {"paymaster.model": event.model, "paymaster.spooled": event.spooled})

    def _note(
        self,
        event: Throttled | RefusedByAccount | ModelSkipped | FellBack | EndpointChanged | BudgetPassed,
        attributes: Mapping[str, AttributeValue],
    ) -> None:
        self._call(event.call_id, event.scope).span.add_event(event.kind, attributes)

    def _server(self, name: str) -> dict[str, AttributeValue]:
        model = self._models.get(name)
        parts = urlsplit(model.base_url) if model is not None and model.base_url else None
        if parts is None or parts.hostname is None:
            return {}
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return {words.SERVER_ADDRESS: parts.hostname, **({words.SERVER_PORT: port} if port else {})}


def _of_scope(call_id: str, scope: Scope) -> dict[str, AttributeValue]:
    named = {"batch": scope.batch, "instance": scope.instance, "user": scope.user, "role": scope.role}
    return {
        "paymaster.call_id": call_id,
        "paymaster.run": scope.run,
        **{f"paymaster.{name}": value for name, value in named.items() if value is not None},
        **{f"paymaster.tag.{name}": value for name, value in scope.tags.items()},
    }


def _of_answer(event: AttemptSettled, names: Names) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        words.INPUT_TOKENS: event.input_tokens + event.cache_read_tokens + event.cache_write_tokens,
        "paymaster.waited_ms": event.waited_ms,
    }
    if event.operation != words.EMBEDDINGS:
        attributes[words.OUTPUT_TOKENS] = event.output_tokens
    if event.finish_reason is not None:
        attributes[words.FINISH_REASONS] = (event.finish_reason,)
    counted = (
        (names.cache_read_tokens, event.cache_read_tokens),
        (names.cache_write_tokens, event.cache_write_tokens),
        (names.reasoning_tokens, event.reasoning_tokens),
    )
    attributes |= {name: count for name, count in counted if name is not None and count}
    if event.first_token_ms is not None:
        if names.streamed is not None:
            attributes[names.streamed] = True
        if names.first_chunk_s is not None:
            attributes[names.first_chunk_s] = event.first_token_ms / 1000
    return attributes
