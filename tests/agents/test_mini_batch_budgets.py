"""A batch of mini-swe-agent's that reaches its budget: kept work, instances not begun, and the next start; measured by the bill."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from agents.batches import NAMES, TALKATIVE, Batch, model, wait
from paymaster.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paymaster.providers.scripted.server import ScriptedServer

    Serve = Callable[..., ScriptedServer]
    Write = Callable[..., Path]


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    folder = tmp_path / "batch"
    folder.mkdir()
    return Batch(folder)


def answers_in(saved: dict[str, object]) -> int:
    return sum(message["role"] == "assistant" for message in saved["messages"])


def assert_no_work_is_lost(batch: Batch, out: str = "out") -> None:
    """Every instance that had an answer has a prediction with its patch; no other instance has one."""
    predictions = batch.predictions(out)
    for name, saved in batch.trajectories(out).items():
        assert (name in predictions) == (answers_in(saved) > 0), name
        assert not answers_in(saved) or batch.is_own_patch(name, predictions[name]), name
        assert saved["info"]["exit_status"] in {"Submitted", "LimitsExceeded"}


def test_a_hard_budget_keeps_the_work_and_the_next_start_continues(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, **TALKATIVE))
    args = ["--model-registry", str(registry(server, "m")), "--run-id", "r"]
    ended = batch.run(*args, "--budget-usd", "0.06")
    assert ended.status == 3, ended
    assert server.bill()["billed_nanousd"] <= 60_000_000
    assert_no_work_is_lost(batch)
    kept = set(batch.predictions())
    not_begun = sorted(set(NAMES) - kept)
    assert not_begun
    assert "--budget-usd = $0.06 can't pay" in ended.err
    assert "m: " in ended.err
    assert f"Not begun, to be done by the next start: {', '.join(not_begun)}." in ended.err
    assert "the same command with a larger budget and --run-id r" in ended.err
    interrupted = [
        name for name, saved in batch.trajectories().items() if answers_in(saved) and saved["info"]["exit_status"] != "Submitted"
    ]
    assert f"Interrupted, with the work so far in preds.json: {', '.join(sorted(interrupted))}." in ended.err
    before = batch.report()

    ended = batch.run(*args, "--budget-usd", "1")
    assert ended.status == 0, ended
    assert set(batch.predictions()) == set(NAMES)
    assert all(batch.is_own_patch(name, patch) for name, patch in batch.predictions().items())
    after = batch.report("--run-id", "r")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert sum(after.values()) == server.bill()["billed_nanousd"]


def test_two_processes_share_the_budget_of_their_batch(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, **TALKATIVE))
    args = ["--model-registry", str(registry(server, "m")), "--batch-id", "b", "--budget-usd", "0.06"]
    one = batch.start(*args, "--slice", "0:3", workers=2, out="one")
    other = batch.start(*args, "--slice", "3:6", workers=2, out="other")
    ends = [wait(one), wait(other)]
    assert 3 in [ended.status for ended in ends], ends
    assert all("--batch-id b" in ended.err for ended in ends if ended.status == 3)
    billed = server.bill()["billed_nanousd"]
    assert isinstance(billed, int)
    assert 45_000_000 <= billed <= 60_000_000
    assert_no_work_is_lost(batch, "one")
    assert_no_work_is_lost(batch, "other")
    assert sum(batch.report("--batch-id", "b").values()) == billed


def test_a_killed_batch_continues_within_its_budget(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, latency_ms=500, **TALKATIVE))
    path = registry(server, "m")
    args = ["--model-registry", str(path), "--run-id", "r", "--budget-usd", "0.2"]
    process = batch.start(*args)
    while len(batch.predictions()) < 2:
        time.sleep(0.02)
        assert process.poll() is None
    process.kill()
    wait(process)
    kept = batch.predictions()
    ended = batch.run(*args)
    assert ended.status == 0, ended
    assert kept.items() <= batch.predictions().items()
    assert all(batch.is_own_patch(name, patch) for name, patch in batch.predictions().items())
    assert set(batch.predictions()) == set(NAMES)
    billed = server.bill()["billed_nanousd"]
    assert isinstance(billed, int)
    with Client(path) as client:
        balance = client.balances("usd/")["usd/run/r"]
    assert billed <= balance.settled + balance.held <= 200_000_000
    assert sum(batch.report("--run-id", "r").values()) == balance.settled


def test_a_budget_per_instance_ends_that_instance_and_the_batch_continues(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, **TALKATIVE))
    path = registry(server, "m", budgets=[{"usd": 0.014, "per": ["instance"]}], hard_stop_on_budget=True)
    ended = batch.run("--model-registry", str(path))
    assert ended.status == 0, ended
    assert f"Ended by a budget per instance, with the work so far in preds.json: {', '.join(NAMES)}." in ended.err
    assert all(batch.is_own_patch(name, patch) for name, patch in batch.predictions().items())
    assert max(batch.report().values()) <= 14_000_000


def test_a_soft_budget_is_passed_and_said(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, **TALKATIVE))
    path = registry(server, "m", budget_usd_per_run=0.03)
    ended = batch.run("--model-registry", str(path), "--run-id", "r")
    assert ended.status == 0, ended
    assert set(batch.predictions()) == set(NAMES)
    assert re.search(r"of \$0\.03 spent, \$0\.\d+ over \(policies\.budget_usd_per_run\)", ended.err)
    assert "WARNING" in ended.err
    assert server.bill()["billed_nanousd"] > 30_000_000


def test_minis_own_limit_for_the_process_stops_the_batch_too(
    batch: Batch, serve: Serve, registry: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSWEA_GLOBAL_CALL_LIMIT", "4")
    ended = batch.run("--model-registry", str(registry(serve(m=model(batch)), "m")), workers=1)
    assert ended.status == 3, ended
    assert "MSWEA_GLOBAL_CALL_LIMIT reached: 4 calls" in ended.err
    assert list(batch.predictions()) == ["toy-1", "toy-2"]
    assert json.dumps(batch.trajectories()["toy-2"]).count("LimitsExceeded")
