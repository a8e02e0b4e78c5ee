"""docs/observability.md: its programs run unchanged, and its tables list every metric with its labels."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from call_box import model, registry
from paymaster.accounting.accounts import Balance
from paymaster.registry.models import Budget, Limits
from paymaster.telemetry.prometheus import PrometheusMetrics
from paymaster.telemetry.prometheus_ledger import LedgerGauges
from paymaster.views.ledger_status import ledger_status
from redis_servers import free_port

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "observability.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_its_programs_run_unchanged(program, tmp_path):
    (tmp_path / "script.yaml").write_text("models: {m: {answers: [{text: Hello}]}}\n")
    (tmp_path / "registry.yaml").write_text("models: {m: {provider: scripted, model_id: m, script: script.yaml}}\n")
    program = program.replace("9464", str(free_port()))
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_its_tables_name_every_metric_and_its_labels(samples):
    metrics = PrometheusMetrics()
    for event in (
        *samples.EVENTS,
        samples.replace(samples.PASSED, hard=True),
        samples.replace(samples.SETTLED, first_token_ms=1),
    ):
        metrics(event)
    for event in (
        samples.replace(samples.THROTTLED, account=""),
        samples.replace(samples.ADMITTED, lowered_from_tokens=9),
    ):
        metrics(event)
    known = registry(model("m", limits=Limits(rpm=60, max_parallel=2)), budgets=(Budget(cap=10**9, per=("month",)),))
    circuit = {name: Balance(live=1, free_at=((1_795_422_700_000, 1),)) for name in ("probe/m", "operator-permission/m")}
    balances = {
        **{name: Balance(settled=1) for name in ("usd/month/2026-11", "budget-tokens/run/r", "budget-requests/run/r")},
        "requests/m": Balance(live=1),
        **circuit,
    }
    text = metrics.exposition(LedgerGauges(lambda: (ledger_status(balances, known), 1_795_422_600_123), known))[0].decode()
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", sample.name): frozenset(sample.labels) - {"le"}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    rows = re.findall(r"^\| (`paymaster_.*?) \| (.*?) \|", PAGE, flags=re.MULTILINE)
    named = {name: frozenset(re.findall(r"`(\w+)`", labels)) for names, labels in rows for name in re.findall(r"`(\w+)`", names)}
    assert named == shown
