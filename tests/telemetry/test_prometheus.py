"""What happened, as Prometheus reads it: right figures, bounded labels, and one truth from several processes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from call_box import Box, answer, failure, model, per_run, registry, spread
from paymaster import Client
from paymaster.accounting.accounts import Balance, EndedHolder, Queued
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.pages.dashboard import dashboard
from paymaster.registry.models import Budget, Limits, Registry
from paymaster.routing.failures import FailureKind
from paymaster.telemetry.prometheus import PrometheusMetrics
from paymaster.telemetry.prometheus_ledger import LedgerGauges
from paymaster.views.ledger_status import ledger_status
from paymaster.views.visibility import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paymaster.flow.events import Event

NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00Z


def reported(events: Iterable[Event], *others) -> dict[tuple[str, frozenset], float]:
    metrics = PrometheusMetrics()
    for event in events:
        metrics(event)
    return read(metrics.exposition(*others)[0].decode())


def read(text: str) -> dict[tuple[str, frozenset], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(samples, name: str, **labels: str) -> float:
    return sum(value for (found, of), value in samples.items() if found == name and labels.items() <= dict(of).items())


def gauges(balances: dict[str, Balance], known: Registry) -> dict[tuple[str, frozenset], float]:
    return reported([], LedgerGauges(lambda: (ledger_status(balances, known), NOON_MS), known))


def test_a_call_that_fell_back_is_counted_at_both_models():
    box = Box(
        registry(model("first"), model("second"), budgets=(per_run("5"),), retries_per_model=0),
        {"first": [failure(FailureKind.OVERLOADED)], "second": [answer(input_tokens=100, output_tokens=50, first_token_ms=200)]},
    )
    reply = box.ask()
    samples = reported(box.events)
    assert figure(samples, "paymaster_attempts_total", model="first", outcome="overloaded") == 1
    assert figure(samples, "paymaster_attempts_total", model="second", outcome="answered", provider="openai") == 1
    assert figure(samples, "paymaster_fallbacks_total", model="first", to_model="second") == 1
    assert figure(samples, "paymaster_cost_usd_total") == reply.cost_nanousd / 10**9
    assert figure(samples, "paymaster_tokens_total", kind="output") == 50
    assert figure(samples, "paymaster_holds_total") == 2
    assert figure(samples, "paymaster_first_token_seconds_bucket", le="0.25") == 1
    assert figure(samples, "paymaster_attempt_duration_seconds_count", outcome="failed") == 1


def test_money_stays_exact_over_a_million_small_charges(events):
    metrics = PrometheusMetrics()
    charge = replace(events["settled"], cost_nanousd=1)
    for _ in range(1_000):
        metrics(charge)
    metrics(replace(charge, cost_nanousd=10**15))
    assert figure(read(metrics.exposition()[0].decode()), "paymaster_cost_usd_total") == (10**15 + 1_000) / 10**9


def test_every_kind_of_event_is_counted_somewhere(events):
    nothing = reported([])
    for event in events.values():
        assert reported([event]) != nothing, event.kind


def test_no_name_of_a_run_a_user_or_a_message_becomes_a_label(events, filled):
    marked = (replace(filled(event, "CANARY"), **_registry_names(event)) for event in events.values())
    text = "\n".join(str(key) for key in reported(marked))
    assert "CANARY" not in text.replace("CANARY-account", "")


def _registry_names(event: Event) -> dict[str, str]:
    """What does come from the registry or from a fixed list."""
    fixed = ("model", "to_model", "endpoint", "provider", "failure", "billed", "cause", "error")
    names = {name: getattr(event, name) for name in fixed if hasattr(event, name)}
    return {**names, **({"account": "usd/run/CANARY/user/CANARY"} if hasattr(event, "account") else {})}


@pytest.mark.parametrize(
    ("account", "kind"),
    [
        ("usd/run/exp-42", "run"),
        ("usd/user/ann/month/2026-11", "user/month"),
        ("usd/models/a+b/day/2026-11-23", "models/day"),
        ("usd", "total"),
        ("budget-tokens/run/exp-42", "tokens/run"),
    ],
)
def test_a_stop_is_counted_by_the_kind_of_budget(events, account, kind):
    stopped = replace(events["budget_exceeded"], account=account, hard=True)
    assert figure(reported([stopped]), "paymaster_budget_stops_total", budget=kind) == 1


def test_names_follow_the_conventions_of_prometheus(events):
    for name, _ in reported(events.values()):
        assert name.startswith("paymaster_")
        assert name.endswith(("_total", "_seconds_bucket", "_seconds_sum", "_seconds_count")), name
        assert "nano" not in name
        assert "_ms" not in name


def test_budgets_are_shown_by_kind_and_only_for_the_period_that_runs():
    known = registry(model("m"), budgets=(Budget(cap=10**9, per=("month",)), Budget(cap=10**9, per=("run",))))
    balances = {
        "usd/month/2026-10": Balance(settled=999_000_000),
        "usd/month/2026-11": Balance(settled=250_000_000, held=250_000_000),
        "usd/run/ended": Balance(settled=10**9),
        "usd/run/open": Balance(settled=100_000_000, held=100_000_000),
    }
    samples = gauges(balances, known)
    assert figure(samples, "paymaster_budget_spent_usd", budget="month") == 0.25
    assert figure(samples, "paymaster_budget_held_usd", budget="month") == 0.25
    assert figure(samples, "paymaster_budget_fullest_ratio", budget="month") == 0.5
    assert figure(samples, "paymaster_budget_spent_usd", budget="run") == 1.1
    assert figure(samples, "paymaster_budget_fullest_ratio", budget="run") == 0.2
    assert figure(samples, "paymaster_budget_accounts", budget="run") == 2


def test_budgets_in_tokens_and_requests_have_figures_of_their_own():
    known = registry(model("m"), budgets=(Budget(cap=1_000, unit=BudgetUnit.TOKENS, per=("run",)),))
    balances = {
        "budget-tokens/run/a": Balance(settled=400, held=100),
        "budget-requests/user/ann/month/2026-11": Balance(settled=3),
        "usd/run/a": Balance(settled=10**9),
    }
    samples = gauges(balances, known)
    assert figure(samples, "paymaster_budget_spent_tokens", budget="tokens/run") == 400
    assert figure(samples, "paymaster_budget_held_tokens", budget="tokens/run") == 100
    assert figure(samples, "paymaster_budget_fullest_ratio", budget="tokens/run") == 0.5
    assert figure(samples, "paymaster_budget_spent_requests", budget="requests/user/month") == 3
    assert figure(samples, "paymaster_budget_spent_usd", budget="run") == 1
    assert not [name for name, of in samples if name == "paymaster_budget_spent_usd" and "tokens/run" in dict(of).values()]


def test_every_model_of_the_registry_has_exactly_one_breaker_state():
    known = registry(model("asked"), model("open"), model("probed", limits=Limits(max_parallel=4, rpm=60)), model("fine"))
    balances = {
        "pause/asked": Balance(live=1, free_at=((NOON_MS + 1_000, 1),)),
        "breaker/open": Balance(live=1, free_at=((NOON_MS + 61_000, 1),)),
        "probe/open": Balance(live=1, free_at=((NOON_MS + 1_000, 1),)),
        "failures/open": Balance(live=5),
        "operator-unknown-model/open": Balance(live=1, free_at=((NOON_MS + 1_000, 1),)),
        "breaker/probed": Balance(live=1, free_at=((NOON_MS + 61_000, 1),)),
        "probe/probed": Balance(held=1),
        "slots/probed": Balance(held=1),
        "requests/probed": Balance(live=12, free_at=((NOON_MS + 5_000, 12),)),
    }
    samples = gauges(balances, known)
    states = {
        name: [dict(of)["state"] for (found, of), value in samples.items() if _is_state(found, of, name) and value] for name in known.models
    }
    assert states == {"asked": ["paused"], "open": ["open"], "probed": ["half_open"], "fine": ["closed"]}
    assert figure(samples, "paymaster_open_calls", model="probed") == 1
    assert figure(samples, "paymaster_open_calls_cap", model="probed") == 4
    assert figure(samples, "paymaster_limit_used", model="probed", limit="rpm") == 12
    assert figure(samples, "paymaster_limit_cap", model="probed", limit="rpm") == 60
    needed = {of: value for (found, of), value in samples.items() if found == "paymaster_operator_action_required"}
    assert needed == {frozenset({("model", "open"), ("endpoint", ""), ("reason", "unknown_model")}): 1}


def test_what_ended_processes_hold_is_added_up():
    known = registry(model("m"))
    held = (("1-a", {"usd": 2 * 10**8, "usd/run/x": 10**8, "slots/m": 2}), ("2-b", {"usd": 10**8, "slots/m": 1}), ("3-c", {"tokens/m": 9}))
    ended = tuple(EndedHolder(name, 1, amounts, NOON_MS) for name, amounts in held)
    samples = reported([], LedgerGauges(lambda: (ledger_status({}, known, ended=ended), NOON_MS), known))
    names = ("paymaster_ended_processes", "paymaster_ended_processes_calls", "paymaster_ended_processes_held_usd")
    assert [round(figure(samples, name), 9) for name in names] == [2, 3, 0.3]


def test_calls_in_line_are_counted_by_model():
    known = registry(model("busy"), model("fine"))
    queue = (Queued("h1", ("slots/busy",), {"busy": 3}, NOON_MS - 2_000), Queued("h2", ("requests/busy",), {"busy": 1, "gone": 1}, NOON_MS))
    samples = reported([], LedgerGauges(lambda: (ledger_status({}, known, queue=queue), NOON_MS), known))
    assert [figure(samples, "paymaster_waiting_calls", model=name) for name in ("busy", "fine")] == [4, 0]


def test_calls_that_wait_for_endpoints_are_counted_by_model_and_shown_by_endpoint():
    known = registry(spread("busy", "x", "y"))
    queue = (Queued("h1", ("slots/busy:x",), {"busy/x": 3}, NOON_MS - 2_000), Queued("h2", ("slots/busy:y",), {"busy/y": 1}, NOON_MS))
    status = ledger_status({}, known, queue=queue)
    assert figure(reported([], LedgerGauges(lambda: (status, NOON_MS), known)), "paymaster_waiting_calls", model="busy") == 4
    shown = dashboard(Reader(), status, known, (), (), NOON_MS, "24h")
    assert [each.waiting.partition(" ")[0] for each in shown.models] == ["3", "1"]


def _is_state(name: str, of: frozenset, model_name: str) -> bool:
    return name == "paymaster_breaker_state" and dict(of)["model"] == model_name


def test_openmetrics_is_spoken_where_it_is_asked_for(events):
    metrics = PrometheusMetrics()
    metrics(events["settled"])
    text, content_type = metrics.exposition(accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.rstrip().endswith(b"# EOF")


def test_a_client_counts_through_its_listeners(tmp_path):
    metrics, other = PrometheusMetrics(), PrometheusMetrics()
    (tmp_path / "script.yaml").write_text("models: {m: {answers: [{text: Hi}]}}\n")
    known = tmp_path / "registry.yaml"
    known.write_text("models: {m: {provider: scripted, model_id: m, script: script.yaml}}\n")
    with Client(known, ledger="memory:", listeners=[metrics]) as client:
        client.complete([{"role": "user", "content": "Hello"}])
        gauges = LedgerGauges(lambda: (ledger_status(client.balances(), client.registry), NOON_MS), client.registry)
        shown = read(metrics.exposition(gauges)[0].decode())
    assert figure(shown, "paymaster_attempts_total", model="m", outcome="answered") == 1
    assert figure(shown, "paymaster_breaker_state", model="m", state="closed") == 1
    assert figure(read(other.exposition()[0].decode()), "paymaster_attempts_total") == 0


WORKER = """
import sys
from paymaster.flow.events import AttemptSettled
from paymaster.scope import Scope
from paymaster.telemetry.prometheus import PrometheusMetrics
metrics = PrometheusMetrics()
for _ in range(int(sys.argv[1])):
    metrics(AttemptSettled(
        at_ms=1, call_id="c", scope=Scope(run="r"), model="m", provider="p", model_id="m", attempt=1, cost_nanousd=3, held_nanousd=5,
        cost_source="registry", billed="exact", input_tokens=1, cache_read_tokens=0, cache_write_tokens=0, output_tokens=2,
        reasoning_tokens=0, duration_ms=100, waited_ms=0, first_token_ms=None, finish_reason="stop",
    ))
sys.stdout.buffer.write(metrics.exposition()[0])
"""


def test_any_worker_of_a_server_shows_what_all_of_them_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    shown = [
        subprocess.run([sys.executable, "-c", WORKER, str(count)], capture_output=True, text=True, check=True).stdout
        for count in (10, 20, 0)
    ]
    samples = read(shown[-1])
    assert figure(samples, "paymaster_attempts_total", model="m") == 30
    assert figure(samples, "paymaster_cost_usd_total") == 90 / 10**9
    assert figure(samples, "paymaster_attempt_duration_seconds_bucket", le="0.1") == 30
