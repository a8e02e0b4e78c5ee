"""`paymaster mini-batch`: the real `mini-extra swebench` under a registry, on six repositories with four workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from agents.batches import NAMES, Batch, model, wait
from agents.steps import SUBMIT
from paymaster.cli import main as command_line

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


def test_each_instance_submits_its_own_patch_and_report_and_bill_agree(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch))
    events = batch.folder / "events.jsonl"
    ended = batch.run("--model-registry", str(registry(server, "m")), "--budget-usd", "1", "--run-id", "r", "--events", str(events))
    assert ended.status == 0, ended
    assert set(batch.predictions()) == set(NAMES)
    assert all(batch.is_own_patch(name, patch) for name, patch in batch.predictions().items())
    reported = batch.report("--run-id", "r", "--batch-id", "r")
    in_trajectories = {name: saved["info"]["model_stats"]["instance_cost"] for name, saved in batch.trajectories().items()}
    assert {name: round(Decimal(str(cost)) * 10**9) for name, cost in in_trajectories.items()} == reported
    assert sum(reported.values()) == server.bill()["billed_nanousd"]
    settled = [event for event in map(json.loads, events.read_text().splitlines()) if event["event"] == "settled"]
    assert {name: sum(event["cost_nanousd"] for event in settled if event["instance"] == name) for name in NAMES} == reported
    assert json.loads((batch.out / "preds.json").read_text())["toy-1"]["model_name_or_path"] == "m"
    assert re.search(r"Paymaster: \$0\.0\d{3} spent, \$0\.00 held, \$0\.9\d{3} left of \$1\.00 \(--budget-usd\)", ended.out)
    assert "m: 18 answers, $0." in ended.err


def test_a_text_based_config_needs_no_model_class_and_no_function_calling(batch: Batch, serve: Serve, registry: Write) -> None:
    path = registry(serve(m=model(batch, answers=batch.answers(in_text=True))), "m")
    path.write_text(path.read_text().replace('"function_calling"', '"json_mode"'))
    ended = batch.run("--model-registry", str(path), config="swebench_backticks.yaml")
    assert ended.status == 0, ended
    assert all(batch.is_own_patch(name, patch) for name, patch in batch.predictions().items())
    assert len(batch.predictions()) == 6


def test_a_failing_model_and_a_storm_of_429s_lose_no_instance(batch: Batch, serve: Serve, registry: Write) -> None:
    storm = [{"kind": "throttle", "times": 12, "retry_after_s": 0.7, "after": 5}]
    down = model(batch, faults=[{"kind": "overloaded", "always": True}])
    path = registry(serve(down=down, busy=model(batch, faults=storm)), "down", "busy", retries_per_model=1)
    ended = batch.run("--model-registry", str(path), workers=6)
    assert ended.status == 0, ended
    assert all(batch.is_own_patch(name, patch) for name, patch in batch.predictions().items())
    assert len(batch.predictions()) == 6
    messages = [message for saved in batch.trajectories().values() for message in saved["messages"]]
    assert {message["extra"]["model"] for message in messages if message["role"] == "assistant"} == {"busy"}


def test_an_instance_without_an_answer_is_done_by_the_next_start(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, faults=[{"kind": "overloaded", "times": 2}]))
    args = ["--model-registry", str(registry(server, "m", retries_per_model=0, breaker_failures=99)), "--run-id", "r"]
    ended = batch.run(*args, workers=2)
    assert ended.status == 1, ended
    unfinished = set(NAMES) - set(batch.predictions())
    assert len(unfinished) == 2
    assert f"No model answered for {', '.join(sorted(unfinished))}: the same command with --run-id r does them again." in ended.err
    assert "overloaded (HTTP 503)" in ended.out
    assert "Traceback" not in ended.out + ended.err
    assert batch.run(*args).status == 0
    assert set(batch.predictions()) == set(NAMES)


def test_a_model_without_function_calling_is_refused_before_anything_starts(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch))
    path = registry(server, "m")
    path.write_text(path.read_text().replace('"function_calling"', '"json_mode"'))
    ended = batch.run("--model-registry", str(path))
    assert ended.status == 2
    assert "function_calling" in ended.err
    assert "-c swebench_backticks.yaml" in ended.err
    assert server.bill()["requests"] == 0
    assert not batch.out.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-w", "0"], "-w 0: at least one worker is needed"),
        (["--filter", "("], "--filter '(' is not a regular expression"),
        (["-c", "agent.step_limit=many"], "agent.step_limit: Input should be"),
        (["-o", "bad"], "bad/preds.json can't be read"),
        (["-o", "odd"], "odd/preds.json is not a file of predictions"),
    ],
)
def test_a_mistake_ends_with_status_2_before_an_instance_begins(
    batch: Batch,
    serve: Serve,
    registry: Write,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(batch.folder)
    for name, text in {"bad": '{"toy-1": ', "odd": "[]"}.items():
        (batch.folder / name).mkdir()
        (batch.folder / name / "preds.json").write_text(text)
    server = serve(m=model(batch))
    assert command_line(batch.args("--model-registry", str(registry(server, "m")), *args)) == 2
    assert message in capsys.readouterr().err
    assert server.bill()["requests"] == 0


def test_ctrl_c_begins_no_more_instances_and_ends_with_status_130(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, latency_ms=800))
    process = batch.start("--model-registry", str(registry(server, "m")), workers=1)
    while not server.bill()["requests"]:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    ended = wait(process)
    assert ended.status == 130, ended
    assert list(batch.predictions()) == ["toy-1"]


def outcome(batch: Batch, command: list[str]) -> tuple[int, dict[str, str], str]:
    """Status, predictions and output, without the parts that differ between any two runs."""
    done = subprocess.run(
        command,
        check=False,
        cwd=batch.folder,
        env=batch.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    saved = batch.predictions()
    for name in saved:
        (batch.out / name / f"{name}.traj.json").unlink()
    (batch.out / "preds.json").unlink(missing_ok=True)
    return done.returncode, saved, re.sub(r"\d+:\d\d:\d\d|[\u2800-\u28ff]", "", done.stdout)


@pytest.mark.parametrize("args", [["-c", "mini.yaml"], ["--no-such-flag"], ["--help"]])
def test_without_a_registry_the_batch_is_minis_own(batch: Batch, args: list[str]) -> None:
    outputs = [{"role": "assistant", "content": "", "extra": {"actions": [{"command": SUBMIT}]}}]
    specs = ["-c", "model.model_class=deterministic", "-c", f"model.outputs={json.dumps(outputs)}", "-c", "agent.step_limit=3"]
    common = batch.args("-m", "x", *args, *specs, workers=1)[1:]
    start = "import sys; sys.argv[0] = 'mini-extra'; from minisweagent.run.utilities.mini_extra import main; sys.exit(main())"
    expected = outcome(batch, [sys.executable, "-c", start, "swebench", *common])
    start = "import sys; from paymaster.cli import main; sys.exit(main())"
    assert outcome(batch, [sys.executable, "-c", start, "mini-batch", *common]) == expected
    assert bool(expected[1]) == (args == ["-c", "mini.yaml"])
