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


def failing(kind: str, **more: object) -> dict[str, object]:
    return {"faults": [{"kind": kind, "always": True, **more}]}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("context_too_long", "ContextWindowExceededError"),
        ("content_filter", "ContentPolicyViolationError"),
        ("bad_request", "BadRequestError"),
    ],
)
def test_a_refusal_of_the_request_is_recorded_with_the_work_and_never_paid_for_again(
    batch: Batch, serve: Serve, registry: Write, kind: str, status: str
) -> None:
    server = serve(m=model(batch, **failing(kind, after=6)))
    args = ["--model-registry", str(registry(server, "m")), "--run-id", "r"]
    ended = batch.run(*args, workers=1)
    assert ended.status == 0, ended
    statuses = {name: saved["info"]["exit_status"] for name, saved in batch.trajectories().items()}
    assert [statuses[name] for name in NAMES] == ["Submitted", "Submitted", *[status] * 4]
    assert set(batch.predictions()) == set(NAMES)
    assert "Instances: 2 done, 4 " in ended.err
    assert "with the work so far as the result: toy-3, toy-4, toy-5, toy-6." in ended.err
    assert "Traceback" not in ended.out + ended.err
    before = server.bill()["requests"]
    assert batch.run(*args).status == 0
    assert server.bill()["requests"] == before


def test_the_work_before_an_overflow_is_the_prediction(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, **failing("context_too_long", after=1)))
    ended = batch.run("--model-registry", str(registry(server, "m")), "--filter", "toy-1", workers=1)
    assert ended.status == 0, ended
    assert batch.is_own_patch("toy-1", batch.predictions()["toy-1"])
    assert batch.trajectories()["toy-1"]["info"]["submission"] == batch.predictions()["toy-1"]


@pytest.mark.parametrize(
    ("kind", "reason", "redo"),
    [
        ("context_too_long", "m: context too long", True),
        ("auth", "m: authentication (HTTP 401): The key is not valid; requires operator action", False),
        ("overloaded", "m: overloaded", False),
    ],
)
def test_a_batch_without_an_answer_does_not_end_well_and_says_why_and_how_to_ask_again(
    batch: Batch, serve: Serve, registry: Write, kind: str, reason: str, *, redo: bool
) -> None:
    server = serve(m=model(batch, **failing(kind)))
    path = registry(server, "m", retries_per_model=0, max_wait_s=1)
    ended = batch.run("--model-registry", str(path), "--run-id", "r", "--slice", "0:2", workers=2)
    assert ended.status == 1, ended
    _, after = ended.err.split("Instances: 2 ")
    assert reason in after
    assert "the same command with --run-id r" in after
    assert ("--redo-existing" in ended.err) == redo
    assert bool(batch.predictions()) == redo


def test_a_larger_model_that_is_down_may_serve_later(batch: Batch, serve: Serve, registry: Write) -> None:
    path = registry(
        serve(small=failing("context_too_long"), large=failing("overloaded")), "small", "large", retries_per_model=0, max_wait_s=1
    )
    registered = json.loads(path.read_text())
    registered["models"]["large"]["context_window"] = 128_000
    path.write_text(json.dumps(registered))
    ended = batch.run("--model-registry", str(path), "--slice", "0:1", workers=1)
    assert ended.status == 1, ended
    assert "No model answered for toy-1" in ended.err
    assert not batch.predictions()


def when_asked(server: ScriptedServer, process: subprocess.Popen[str], number: int, *, requests: int = 1) -> None:
    """Send a signal once the server has had that many requests."""
    while server.bill()["requests"] < requests:  # type: ignore[operator]  # the bill's figures are integers
        time.sleep(0.05)
        assert process.poll() is None
    os.kill(process.pid, number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_begins_no_more_instances_and_prints_the_way_on(
    batch: Batch, serve: Serve, registry: Write, number: int, status: int
) -> None:
    server = serve(m=model(batch, latency_ms=500))
    path = registry(server, "m")
    process = batch.start("--model-registry", str(path), "--run-id", "r", "--budget-usd", "1", workers=1)
    when_asked(server, process, number)
    ended = wait(process)
    assert ended.status == status, ended
    assert list(batch.predictions()) == ["toy-1"]
    assert "Instances: 1 done, 5 not begun." in ended.err
    assert "To do the rest: the same command with --run-id r" in ended.err
    assert f"stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}" in ended.err
    assert batch.run("--model-registry", str(path), "--run-id", "r", "--budget-usd", "1").status == 0
    assert set(batch.predictions()) == set(NAMES)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_settles_the_open_calls_and_records_no_unfinished_instance(
    batch: Batch, serve: Serve, registry: Write, number: int, status: int
) -> None:
    server = serve(m=model(batch, latency_ms=60_000))
    path = registry(server, "m")
    args = ["--model-registry", str(path), "--run-id", "r", "--budget-usd", "1"]
    process = batch.start(*args, workers=3)
    when_asked(server, process, number, requests=3)
    time.sleep(0.5)  # the second signal of a person, or of a supervisor
    os.kill(process.pid, number)
    ended = wait(process)
    assert ended.status == status, ended
    assert not batch.predictions()
    assert "Instances: 3 cut off, 3 not begun." in ended.err
    assert "the same command with --run-id r" in ended.err
    with Client(path) as client:
        balance = client.balances("usd/")["usd/run/r"]
    assert balance.held == 0
    assert balance.settled > 0


def test_sigterm_cuts_off_what_does_not_end_in_time(batch: Batch, serve: Serve, registry: Write) -> None:
    server = serve(m=model(batch, latency_ms=60_000))
    path = registry(server, "m")
    process = batch.start("--model-registry", str(path), "--run-id", "r", "--budget-usd", "1", workers=2)
    when_asked(server, process, signal.SIGTERM, requests=2)
    ended = wait(process)
    assert ended.status == 143, ended
    assert "2 cut off" in ended.err
    with Client(path) as client:
        assert client.balances("usd/")["usd/run/r"].held == 0


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
