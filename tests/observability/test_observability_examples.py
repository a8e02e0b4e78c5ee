"""The Grafana dashboard and the alert rules query metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from call_box import model, registry
from paymaster.accounting.accounts import Balance
from paymaster.registry.models import Budget, Limits
from paymaster.telemetry.prometheus import PrometheusMetrics
from paymaster.telemetry.prometheus_ledger import LedgerGauges
from paymaster.views.ledger_status import ledger_status

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "observability"
DASHBOARD, ALERTS = EXAMPLES / "grafana-dashboard.json", EXAMPLES / "alerts.yml"


def one_event_of_every_kind(samples):
    return [
        *samples.EVENTS,
        replace(samples.PASSED, hard=True),
        replace(samples.SETTLED, first_token_ms=1),
        replace(samples.THROTTLED, account=""),
        replace(samples.ADMITTED, lowered_from_tokens=9),
    ]


@pytest.fixture(name="exposed", scope="module")
def expose(samples) -> dict[str, set[str]]:
    """Every metric: its name and its labels."""
    metrics = PrometheusMetrics()
    for event in one_event_of_every_kind(samples):
        metrics(event)
    known = registry(model("gpt-4o", limits=Limits(rpm=60, max_parallel=2)), budgets=(Budget(cap=10**9, per=("month",)),))
    circuit = {name: Balance(live=1, free_at=((1_795_422_700_000, 1),)) for name in ("probe/gpt-4o", "operator-permission/gpt-4o")}
    balances = {"usd/month/2026-11": Balance(settled=1), "requests/gpt-4o": Balance(live=1), "slots/gpt-4o": Balance(held=1), **circuit}
    gauges = LedgerGauges(lambda: (ledger_status(balances, known), 1_795_422_600_123), known)
    text = metrics.exposition(gauges)[0].decode()
    return {sample.name: set(sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples}


def dashboard_queries() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [*queries, *(variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query")]


def alert_queries() -> list[str]:
    rules = YAML(typ="safe").load(ALERTS.read_text())
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


QUERIES = [*dashboard_queries(), *alert_queries()]


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_names_a_metric_that_exists_and_labels_that_it_has(query, exposed):
    queried = re.findall(r"(paymaster_\w+)(?:\{([^}]*)\})?", query)
    assert queried or query.startswith("up{")
    for name, matchers in queried:
        assert name in exposed
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= exposed[name]
    labels = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in re.split(r",\s*", group)}
    assert labels <= {label for name, _ in queried for label in exposed[name]}


def test_every_metric_is_used_by_a_query(exposed):
    """A metric without a query is missing from the dashboard, or is not needed."""
    queries = " ".join(QUERIES)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed}
    unseen = {name for name in families if name not in queries}
    assert unseen <= {
        "paymaster_build_info",
        "paymaster_budget_accounts",
        "paymaster_budget_thresholds_total",
        "paymaster_breaker_openings_total",
        "paymaster_breaker_closings_total",
        "paymaster_lowered_outputs_total",
        "paymaster_model_failures",
        "paymaster_ended_processes",
        "paymaster_ended_processes_calls",
        "paymaster_ended_processes_held_usd",
    }


def test_panels_have_titles_and_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        assert panel["title"]
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert not cells & taken
        assert grid["x"] + grid["w"] <= 24
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, which comes with Prometheus, is not on the PATH")
def test_promtool_accepts_the_rules_and_the_metrics(samples):
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True, capture_output=True)
    subprocess.run(["promtool", "check", "config", str(EXAMPLES / "prometheus.yml")], check=True, capture_output=True)
    metrics = PrometheusMetrics()
    for event in one_event_of_every_kind(samples):
        metrics(event)
    subprocess.run(["promtool", "check", "metrics"], input=metrics.exposition()[0], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, which comes with Prometheus, is not on the PATH")
def test_a_model_that_stays_paused_raises_an_alert(tmp_path):
    summary = "m has answered nothing for 5 minutes: its provider fails, its quota is used up, or its key is wrong."
    series = {"paused": "1 1 1 0", "half_open": "0 0 0 1"}
    case = {
        "interval": "15s",
        "input_series": [
            {"series": f'paymaster_breaker_state{{model="m",state="{state}"}}', "values": " ".join([values] * 7)}
            for state, values in series.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": "6m",
                "alertname": "PaymasterModelPaused",
                "exp_alerts": [{"exp_labels": {"severity": "warn", "model": "m"}, "exp_annotations": {"summary": summary}}],
            }
        ],
    }
    test = tmp_path / "test.yml"
    test.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "15s", "tests": [case]}))
    subprocess.run(["promtool", "test", "rules", str(test)], check=True, capture_output=True)
