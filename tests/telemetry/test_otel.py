"""Traces and metrics by the GenAI conventions, as the SDK's own in-memory exporters receive them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from call_box import HELLO, Box, answer, failure, model, per_run, registry
from otlp_collector import collecting
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, NoModelAvailable
from paymaster.flow.ports import ProviderReply
from paymaster.operations import Operation
from paymaster.routing.failures import FailureKind
from paymaster.routing.requests import Request
from paymaster.scope import Scope
from paymaster.telemetry import otel, otel_names
from paymaster.telemetry.otel import OpenTelemetry

LATEST = {otel_names.OPT_IN_VARIABLE: "http/dup, gen_ai_latest_experimental"}
OPENAI = {"first": [failure(FailureKind.THROTTLED, status=429)], "second": [answer(first_token_ms=200)]}


class Watched:
    """A listener between real providers and in-memory exporters."""

    def __init__(self, environ=None, models=None) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.listener = OpenTelemetry(
            tracer_provider=self.tracers, meter_provider=MeterProvider([self.reader]), environ=environ or {}, models=models
        )

    def hear(self, events) -> dict[str, object]:
        for event in events:
            self.listener(event)
        return {span.name: span for span in self.spans.get_finished_spans()}

    def points(self) -> dict[str, list]:
        data = self.reader.get_metrics_data()
        found = [metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics]
        return {metric.name: list(metric.data.data_points) for metric in found}


def fallen_back() -> Box:
    first, second = model("first", base_url="https://api.example.test/v1"), model("second")
    box = Box(registry(first, second, retries_per_model=0), {**OPENAI}, scope=Scope(run="r1", user="ann"))
    box.ask()
    return box


def test_a_call_is_a_span_with_a_client_span_for_each_attempt():
    box = fallen_back()
    spans = Watched().hear(box.events)
    call, first, second = spans["paymaster call"], spans["chat first-id"], spans["chat second-id"]
    assert (call.kind, first.kind) == (SpanKind.INTERNAL, SpanKind.CLIENT)
    assert {first.parent.span_id, second.parent.span_id} == {call.context.span_id}
    assert first.status.status_code is StatusCode.ERROR
    assert (first.attributes["error.type"], first.attributes["http.response.status_code"]) == ("throttled", 429)
    assert second.attributes["gen_ai.usage.output_tokens"] == 50
    assert second.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert call.attributes["paymaster.attempts"] == 2
    assert call.attributes["paymaster.model"] == "second"
    assert (call.attributes["paymaster.run"], call.attributes["paymaster.user"]) == ("r1", "ann")
    assert call.status.status_code is StatusCode.UNSET
    assert "fallback" in [event.name for event in call.events]


@pytest.mark.parametrize("environ", [{}, LATEST])
def test_the_operation_is_named_by_what_was_asked_for(environ):
    vectors = ProviderReply({"data": [{"index": 0, "embedding": [0.5]}]}, Usage(input_tokens=7), "", 5)
    box = Box(registry(model("a", embeds=True)), {"a": [vectors]})
    box.ask(Request(operation=Operation.EMBEDDINGS, inputs="Hello"))
    watched = Watched(environ)
    span = watched.hear(box.events)["embeddings a-id"]
    assert span.attributes["gen_ai.operation.name"] == "embeddings"
    assert span.attributes["gen_ai.usage.input_tokens"] == 7
    assert not {"gen_ai.usage.output_tokens", "gen_ai.request.max_tokens", "gen_ai.response.finish_reasons"} & set(span.attributes)
    [duration] = watched.points()["gen_ai.client.operation.duration"]
    assert duration.attributes["gen_ai.operation.name"] == "embeddings"
    [tokens] = watched.points()["gen_ai.client.token.usage"]
    assert (tokens.attributes["gen_ai.token.type"], tokens.sum) == ("input", 7)
    words = Box(registry(model("a")), {"a": [answer()]})
    words.ask(Request(operation=Operation.TEXT_COMPLETION, messages=HELLO))
    assert "text_completion a-id" in Watched(environ).hear(words.events)


def test_the_span_of_a_call_lies_below_the_span_of_the_caller():
    watched = Watched()
    with watched.tracers.get_tracer("program").start_as_current_span("my work") as mine:
        spans = watched.hear(fallen_back().events)
    assert spans["paymaster call"].parent.span_id == mine.get_span_context().span_id


@pytest.mark.parametrize(
    ("environ", "provider", "absent"), [({}, "gen_ai.system", "gen_ai.provider.name"), (LATEST, "gen_ai.provider.name", "gen_ai.system")]
)
def test_only_the_names_of_the_chosen_age_are_sent(environ, provider, absent):
    watched = Watched(environ)
    span = watched.hear(fallen_back().events)["chat second-id"]
    assert span.attributes[provider] == "openai"
    assert absent not in span.attributes
    points = [point for points in watched.points().values() for point in points]
    assert any(provider in point.attributes for point in points)
    assert not any(absent in point.attributes for point in points)
    assert ("gen_ai.client.operation.time_to_first_chunk" in watched.points()) is (environ is LATEST)


@pytest.mark.parametrize("environ", [{}, LATEST])
def test_every_name_is_one_of_the_conventions_or_our_own(environ, events):
    known = {
        value
        for module in (gen_ai_attributes, gen_ai_metrics, error_attributes, http_attributes, server_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    box = fallen_back()
    watched = Watched(environ, box.registry.models)
    spans = watched.hear([*box.events, *events.values()])
    used = {name for span in spans.values() for name in span.attributes}
    used |= {name for points in watched.points().values() for point in points for name in point.attributes}
    used |= set(watched.points())
    assert {name for name in used if not name.startswith("paymaster.")} <= known
    assert any(name.startswith("gen_ai.") for name in used)


@pytest.mark.parametrize(("environ", "azure"), [({}, "az.ai.openai"), (LATEST, "azure.ai.openai")])
def test_providers_have_the_names_of_the_conventions(environ, azure):
    values = {value.value for kind in ("GenAiSystemValues", "GenAiProviderNameValues") for value in getattr(gen_ai_attributes, kind)}
    names = otel_names.names_for(environ)
    assert set(names.provider_values.values()) <= values
    assert names.provider_values["azure"] == azure


def test_provider_and_server_are_there_when_the_span_begins_where_the_registry_is_known():
    box = fallen_back()
    span = Watched(models=box.registry.models).hear(box.events)["chat first-id"]
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("api.example.test", 443)


def test_tokens_durations_and_cost_are_measured():
    watched = Watched()
    box = fallen_back()
    watched.hear(box.events)
    points = watched.points()
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in points["gen_ai.client.token.usage"]}
    assert tokens == {"input": 100, "output": 50}
    failed = [point for point in points["gen_ai.client.operation.duration"] if "error.type" in point.attributes]
    assert [point.attributes["error.type"] for point in failed] == ["throttled"]
    assert points["gen_ai.client.token.usage"][0].explicit_bounds[:3] == (1.0, 4.0, 16.0)
    assert sum(point.value for point in points["paymaster.cost"]) == (100 * 1000 + 50 * 10_000) / 10**9
    assert points["paymaster.fallbacks"][0].value == 1


def test_a_call_that_nobody_answers_ends_its_span_with_the_error():
    box = Box(registry(model("down"), retries_per_model=0), {"down": [failure(FailureKind.SERVER_ERROR)]})
    with pytest.raises(NoModelAvailable):
        box.ask()
    span = Watched().hear(box.events)["paymaster call"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "NoModelAvailable"


def test_a_call_that_a_budget_stops_says_so():
    box = Box(registry(model("m"), budgets=(per_run("0.000001"),), hard_stop_on_budget=True), {"m": [answer()]})
    with pytest.raises(BudgetExceeded):
        box.ask()
    watched = Watched()
    span = watched.hear(box.events)["paymaster call"]
    assert "budget_exceeded" in [event.name for event in span.events]
    assert watched.points()["paymaster.budget.passed"][0].attributes == {"paymaster.budget": "run", "paymaster.hard": True}


def test_prompts_and_answers_are_nowhere_in_what_is_sent():
    box = Box(registry(model("m")), {"m": [answer("CANARY-answer")]})
    box.ask(Request(messages=({"role": "user", "content": "CANARY-prompt"},)))
    watched = Watched(LATEST)
    sent = "".join(span.to_json() for span in watched.hear(box.events).values())
    assert "CANARY" not in sent + str(watched.points())


def test_calls_that_nobody_hears_of_again_are_not_kept_for_ever(events, monkeypatch):
    monkeypatch.setattr(otel, "MOST_OPEN_CALLS", 3)
    from dataclasses import replace

    watched = Watched()
    for number in range(10):
        watched.listener(replace(events["throttled"], call_id=f"c-{number}"))
    assert len(watched.spans.get_finished_spans()) == 7


def test_a_settlement_that_failed_is_noted_on_the_attempt_and_a_cancelled_call_ends_its_span(events):
    from dataclasses import replace

    watched = Watched()
    spans = watched.hear([events["admitted"], events["settlement_failed"], replace(events["failed"], attempt=1, failure="cancelled")])
    [attempt] = [span for name, span in spans.items() if name.startswith("chat")]
    assert [noted.name for noted in attempt.events] == ["settlement_failed"]
    assert attempt.attributes["error.type"] == "cancelled"
    assert spans["paymaster call"].attributes["error.type"] == "cancelled"


SENDER = """
import os, sys
from paymaster import Client
from paymaster.telemetry.otel_export import Export, is_wanted
assert is_wanted(os.environ)
export = Export(os.environ)
with Client(sys.argv[1], ledger="memory:", listeners=[export.listener]) as client:
    client.complete([{"role": "user", "content": "Hello"}])
export.close()
"""


def test_a_program_without_providers_sends_where_the_variables_say(tmp_path, monkeypatch):
    (tmp_path / "script.yaml").write_text("models: {m: {answers: [{text: Hi}]}}\n")
    (tmp_path / "registry.yaml").write_text("models: {m: {provider: scripted, model_id: m, script: script.yaml}}\n")
    with collecting() as (address, paths):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        subprocess.run([sys.executable, "-c", SENDER, str(tmp_path / "registry.yaml")], check=True)
    assert {"/v1/traces", "/v1/metrics"} <= set(paths)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_nothing_is_sent_unless_it_is_asked_for(environ, wanted):
    from paymaster.telemetry.otel_export import is_wanted

    assert is_wanted(environ) is wanted


def test_nothing_of_it_is_imported_unless_it_is_asked_for():
    code = "import sys, json; from paymaster import Client; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert not [name for name in loaded if name.startswith(("opentelemetry", "prometheus_client"))]
