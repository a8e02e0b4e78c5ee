"""`paymaster mini`: the real mini-swe-agent under a registry, and unchanged without one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from agents.steps import SUBMIT, bash, paymaster
from paymaster.agents.mini import launcher as mini_launcher
from paymaster.cli import main as command_line
from paymaster.client import Client
from paymaster.errors import ExtraMissing, UsageMistake

if TYPE_CHECKING:
    from collections.abc import Callable

    from paymaster.providers.scripted.server import ScriptedServer

    Serve = Callable[..., ScriptedServer]
    Write = Callable[..., Path]

FIX = bash("sed -i.bak s/-/+/ sum.py && rm sum.py.bak")
BY_ITSELF = ("-y", "--exit-immediately", "-t", "Fix add().")


@pytest.fixture(autouse=True)
def _at_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    return tmp_path / "trajectory.json"


def ending(trajectory: Path) -> dict[str, str]:
    info = json.loads(trajectory.read_text())["info"]
    return {"status": info["exit_status"], "submission": info["submission"]}


def test_a_bug_is_fixed_and_the_calls_are_in_the_ledger_under_the_run(
    serve: Serve, registry: Write, repository: Path, trajectory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(m=[FIX, bash(SUBMIT)])
    path = registry(server, "m")
    args = [*BY_ITSELF, "-o", str(trajectory), f"--model-registry={path}", "--budget-usd", "1", "--run-id", "fix-1"]
    assert command_line(["mini", *args]) == 0
    assert "a + b" in (repository / "sum.py").read_text()
    assert ending(trajectory)["status"] == "Submitted"
    billed = server.bill()["billed_nanousd"]
    with Client(path) as client:
        assert client.balances("usd/")["usd/run/fix-1"].settled == billed
    assert "of $1.00 spent (--budget-usd)" in capsys.readouterr().err


def test_a_hard_budget_ends_the_run_with_status_3_and_keeps_the_work(
    serve: Serve, registry: Write, trajectory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(m={"answers": [FIX], "usage": {"prompt_tokens": 3_000, "completion_tokens": 500}})
    args = [*BY_ITSELF, "-o", str(trajectory), "--model-registry", str(registry(server, "m")), "--budget-usd", "0.01", "--run-id", "b"]
    assert command_line(["mini", *args]) == 3
    ended = ending(trajectory)
    assert ended["status"] == "LimitsExceeded"
    assert "+    return a + b" in ended["submission"]
    assert server.bill()["billed_nanousd"] <= 10_000_000
    err = capsys.readouterr().err
    assert "--budget-usd = $0.01 can't pay" in err
    assert "--run-id b" in err
    assert "spent" in err


@pytest.mark.parametrize(
    ("flag", "amount", "expected"),
    [("--budget-tokens", "50", "--budget-tokens = 50 tokens can't pay"), ("--budget-requests", "1", "1 request spent")],
)
def test_a_budget_in_tokens_or_requests_ends_a_run_in_the_same_way(
    serve: Serve, registry: Write, trajectory: Path, capsys: pytest.CaptureFixture[str], flag: str, amount: str, expected: str
) -> None:
    server = serve(m=[bash("echo one"), bash("echo two"), bash("echo three")])
    args = [*BY_ITSELF, "-o", str(trajectory), "--model-registry", str(registry(server, "m")), "--run-id", "t", flag, amount]
    assert command_line(["mini", *args]) == 3
    assert expected in capsys.readouterr().err


def test_a_run_that_a_budget_ended_continues_with_a_larger_one(serve: Serve, registry: Write, repository: Path, trajectory: Path) -> None:
    server = serve(m={"answers": [FIX, bash(SUBMIT)], "usage": {"prompt_tokens": 3_000, "completion_tokens": 500}})
    args = ["mini", *BY_ITSELF, "-o", str(trajectory), "--model-registry", str(registry(server, "m")), "--run-id", "c"]
    assert command_line([*args, "--budget-usd", "0.001"]) == 3
    assert "a - b" in (repository / "sum.py").read_text()
    assert command_line([*args, "--budget-usd", "1"]) == 0
    assert "a + b" in (repository / "sum.py").read_text()


def test_a_run_falls_back_from_a_failing_model_and_finishes(serve: Serve, registry: Write, trajectory: Path) -> None:
    faults = [{"kind": "throttle", "retry_after_s": 0.2}, {"kind": "overloaded", "after": 2, "always": True}]
    server = serve(first={"answers": [FIX], "faults": faults}, second=[FIX, bash("true"), bash(SUBMIT)])
    path = registry(server, "first", "second", retries_per_model=1)
    assert command_line(["mini", *BY_ITSELF, "-o", str(trajectory), "--model-registry", str(path)]) == 0
    answers = [message["extra"]["model"] for message in json.loads(trajectory.read_text())["messages"] if message["role"] == "assistant"]
    assert answers == ["first", "second", "second"]


def test_minis_own_cost_limit_still_holds_and_is_reported(
    serve: Serve, registry: Write, trajectory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = registry(serve(m=[bash("true")]), "m")
    assert command_line(["mini", *BY_ITSELF, "-l", "0.000001", "-o", str(trajectory), "--model-registry", str(path)]) == 3
    assert "agent.cost_limit of $0.000001" in capsys.readouterr().err


def test_a_step_limit_is_not_a_budget(serve: Serve, registry: Write, trajectory: Path) -> None:
    path = registry(serve(m=[bash("true")]), "m")
    limited = ["-c", "mini.yaml", "-c", "agent.step_limit=1"]
    assert command_line(["mini", *BY_ITSELF, *limited, "-o", str(trajectory), "--model-registry", str(path)]) == 1


@pytest.mark.parametrize(
    "how", [["--model-class", "litellm_textbased"], ["-c", r"model.action_regex=```mswea_bash_command\s*\n(.*?)\n```"]]
)
def test_a_text_based_config_gets_the_text_model(serve: Serve, registry: Write, trajectory: Path, how: list[str]) -> None:
    server = serve(m=[{"text": f"Done.\n```mswea_bash_command\n{SUBMIT}\n```"}])
    args = [*BY_ITSELF, "-c", "mini_textbased.yaml", *how, "-o", str(trajectory), "--model-registry", str(registry(server, "m"))]
    assert command_line(["mini", *args]) == 0
    saved = json.loads(trajectory.read_text())["info"]["config"]
    assert saved["model_type"] == "paymaster.agents.mini.model.PaymasterTextModel"


def test_a_config_may_name_its_registry(serve: Serve, registry: Write, trajectory: Path, tmp_path: Path) -> None:
    path = registry(serve(m=[bash(SUBMIT)]), "m")
    config = tmp_path / "mine.yaml"
    config.write_text(f"model:\n  model_class: paymaster.agents.mini.model.PaymasterModel\n  registry: {path}\n  ledger: 'memory:'\n")
    assert command_line(["mini", *BY_ITSELF, "-c", "mini.yaml", f"--config={config}", "-o", str(trajectory)]) == 0
    assert ending(trajectory)["status"] == "Submitted"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-m", "other"], "has no model 'other'"),
        (["--model-class", "another.package.Model"], "would not go through the registry"),
        (["-c", "mini_texbased.yaml"], "mini finds no config mini_texbased.yaml (did you mean mini_textbased.yaml?)"),
        (["-c", "."], "mini's config '.' can't be read"),
        (["-c", "broken.yaml"], "broken.yaml:2: expected"),
        (["-c", "list.yaml"], "list.yaml must be a map of settings"),
        (["-c", "empty.yaml"], "agent.system_template: is missing\nagent.instance_template: is missing\n-c replaces mini's own config"),
        (["-c"], "requires an argument"),
        (["-c", "mini.yaml", "-c", "agent.mode=fast"], "agent.mode: Input should be"),
        (["-c", "mini.yaml", "-c", "model.observation_template={{ x"], "model.observation_template: line 1: "),
        (["-c", "mini.yaml", "-c", "agent.system_template={{ x }}"], "mini failed: UndefinedError: 'x' is undefined"),
        (["-c", "mini.yaml", "-c", "environment.cwd=nowhere"], "environment.cwd: no directory nowhere"),
        (["-c", "swebench.yaml"], "DockerEnvironmentConfig.image: is missing"),
        (["--environment-class", "cloud"], "mini has no environment class 'cloud'"),
        (["--agent-class", "smart"], "mini has no agent class 'smart'"),
        (["-o", "."], "cannot write the trajectory .: it is a directory"),
        (["-o", "list.yaml/t.json"], "cannot write the trajectory list.yaml/t.json: "),
        (["--no-such-flag"], "No such option"),
        (["--budget-usd", "much"], "--budget-usd: must be an amount in dollars"),
        (["--run-id"], "--run-id needs a value"),
    ],
)
def test_a_mistake_ends_with_status_2_before_any_model_call(
    serve: Serve, registry: Write, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    server = serve(m=[bash(SUBMIT)])
    for name, text in {"broken": "model: [1,\n", "list": "- 1\n", "empty": ""}.items():
        Path(f"{name}.yaml").write_text(text)
    assert command_line(["mini", *BY_ITSELF, "-o", "t.json", "--model-registry", str(registry(server, "m")), *args]) == 2
    assert message in capsys.readouterr().err
    assert server.bill()["requests"] == 0


def test_a_missing_task_without_a_terminal_is_reported(serve: Serve, registry: Write, repository: Path) -> None:
    args = ["mini", "--model-registry", str(registry(serve(m=[bash(SUBMIT)]), "m"))]
    ended = subprocess.run(
        paymaster(*args), cwd=repository, stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2
    assert "mini asked a question, but standard input is not a terminal\nSet the task with -t" in ended.stderr


def test_a_missing_key_is_not_reported_as_missing_function_calling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keyless.yaml"
    path.write_text("models: {a: {provider: openai, model_id: gpt-4o, api_key_env: NO_SUCH_KEY}}\n")
    assert command_line(["mini", *BY_ITSELF, "--model-registry", str(path)]) == 2
    err = capsys.readouterr().err
    assert "NO_SUCH_KEY is not set" in err
    assert "function calling" not in err


def figures(trajectory: Path) -> tuple[int, int]:
    """mini's figures: calls, and nano-dollars."""
    stats = json.loads(trajectory.read_text())["info"]["model_stats"]
    return stats["api_calls"], round(stats["instance_cost"] * 10**9)


def test_a_refused_call_is_not_in_minis_figures(serve: Serve, registry: Write, trajectory: Path) -> None:
    server = serve(m={"answers": [FIX], "usage": {"prompt_tokens": 3_000, "completion_tokens": 500}})
    args = ["-o", str(trajectory), "--model-registry", str(registry(server, "m")), "--budget-usd", "0.01"]
    assert command_line(["mini", *BY_ITSELF, *args]) == 3
    assert figures(trajectory) == (server.bill()["requests"], server.bill()["billed_nanousd"])


def test_a_failed_call_that_was_billed_is_in_minis_figures(serve: Serve, registry: Write, trajectory: Path) -> None:
    path = registry(serve(m={"answers": [FIX], "faults": [{"kind": "empty", "after": 1, "always": True}]}), "m", retries_per_model=1)
    assert (
        command_line(["mini", *BY_ITSELF, "-o", str(trajectory), "--model-registry", str(path), "--run-id", "f", "--budget-usd", "1"]) == 1
    )
    with Client(path) as client:
        assert figures(trajectory) == (2, client.balances("usd/")["usd/run/f"].settled)


@pytest.mark.parametrize(("args", "limit"), [([], 0), (["-c", "agent.cost_limit=2"], 2), (["-l", "1"], 1)])
def test_a_budget_replaces_minis_default_limit_but_not_the_users(
    serve: Serve, registry: Write, trajectory: Path, args: list[str], limit: float
) -> None:
    path = registry(serve(m=[bash(SUBMIT)]), "m")
    given = ["-c", "mini.yaml", "-c", "agent.step_limit=9", *args, "-o", str(trajectory), "--model-registry", str(path)]
    assert command_line(["mini", *BY_ITSELF, *given, "--budget-usd", "5"]) == 0
    assert json.loads(trajectory.read_text())["info"]["config"]["agent"]["cost_limit"] == limit


def test_a_failed_call_ends_the_run_with_status_1_and_why(
    serve: Serve, registry: Write, trajectory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = registry(serve(m={"faults": [{"kind": "auth", "always": True}]}), "m")
    assert command_line(["mini", *BY_ITSELF, "-o", str(trajectory), "--model-registry", str(path)]) == 1
    err = capsys.readouterr().err
    assert "no model answered" in err
    assert "To go on: the same command with --run-id " in err
    assert ending(trajectory)["status"] == "NoModelAvailable"


def test_flags_without_a_registry_are_a_mistake() -> None:
    with pytest.raises(UsageMistake, match="--budget-usd, --run-id: no model registry"):
        mini_launcher.main(["--budget-usd", "1", "--run-id", "x", *BY_ITSELF])


def test_a_missing_mini_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(ExtraMissing, match=r"pip install 'paymaster\[mini\]'"):
        mini_launcher.main([])


def test_an_old_mini_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "1.9.0")
    with pytest.raises(ExtraMissing, match=r"1\.9\.0 is too old"):
        mini_launcher.main([])


def outcome(command: list[str], trajectory: Path, folder: Path) -> tuple[int, str, str, object]:
    """Status, output and trajectory of a process, without the parts that differ between any two runs."""
    done = subprocess.run(command, check=False, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    saved = json.loads(trajectory.read_text()) if trajectory.exists() else None
    for message in saved["messages"] if saved else ():
        message.get("extra", {}).pop("timestamp", None)
    return done.returncode, done.stdout, re.sub(r'File "<string>".*', "", done.stderr), saved


@pytest.mark.parametrize(
    "args",
    [
        ["-c", "mini.yaml", "-c", "model.model_class=deterministic", "-c", 'model.outputs=[{"role":"assistant","content":"hi","extra":{"actions":[{"command":"' + SUBMIT + '"}]}}]'],  # noqa: E501  one word of a command line
        ["--no-such-flag"],
        ["--help"],
    ],
)  # fmt: skip
def test_without_a_registry_mini_is_unchanged(tmp_path: Path, repository: Path, args: list[str]) -> None:
    trajectory = tmp_path / "plain.json"
    common = [*BY_ITSELF, "-m", "x", "-o", str(trajectory), *args]
    plain = [sys.executable, "-c", "import sys; sys.argv[0] = 'mini'; from minisweagent.run.mini import app; sys.exit(app())", *common]
    expected = outcome(plain, trajectory, repository)
    trajectory.unlink(missing_ok=True)
    assert outcome(paymaster("mini", *common), trajectory, repository) == expected


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("context_too_long", "ContextWindowExceededError"),
        ("content_filter", "ContentPolicyViolationError"),
        ("bad_request", "BadRequestError"),
    ],
)
def test_a_refusal_of_the_request_ends_the_run_with_its_status_and_the_work(
    serve: Serve, registry: Write, trajectory: Path, capsys: pytest.CaptureFixture[str], kind: str, status: str
) -> None:
    server = serve(m={"answers": [FIX], "faults": [{"kind": kind, "after": 1, "always": True}]})
    path = registry(server, "m")
    assert command_line(["mini", *BY_ITSELF, "-o", str(trajectory), "--model-registry", str(path)]) == 1
    ended = ending(trajectory)
    assert ended["status"] == status
    assert "+    return a + b" in ended["submission"]
    err = capsys.readouterr().err
    assert "as a patch in the trajectory's `submission`" in err
    assert f"mini ended with {status}." in err
    assert server.bill()["requests"] == 2


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set"),
        ({"usd_per_1m_input": None, "usd_per_1m_output": None}, "its price is unknown and the budget is hard"),
        ({"capabilities": []}, "it lacks function_calling"),
        ({"context_window": 300, "max_output_tokens": 50, "tokenizer": "gpt-4o"}, "tokens; the model takes 300"),
    ],
)
def test_a_model_that_can_serve_no_call_is_refused_before_anything_starts(
    tmp_path: Path, trajectory: Path, capsys: pytest.CaptureFixture[str], model: dict[str, object], reason: str
) -> None:
    usable = {"provider": "openai", "model_id": "no-such-model", "api_key_env": "PATH", "usd_per_1m_input": 1, "usd_per_1m_output": 1}
    path = tmp_path / "registry.yaml"
    section = {key: value for key, value in {**usable, "context_window": 60_000, **model}.items() if value is not None}
    path.write_text(json.dumps({"models": {"m": section}}))
    args = ["mini", *BY_ITSELF, "-o", str(trajectory), "--model-registry", str(path), "--budget-usd", "1"]
    assert command_line(args) == 2
    assert reason in capsys.readouterr().err
    assert not trajectory.exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_an_unattended_run_settled_and_prints_the_way_on(
    serve: Serve, registry: Write, trajectory: Path, repository: Path, number: int, status: int
) -> None:
    server = serve(m={"answers": [bash("true")], "latency_ms": 20_000})
    path = registry(server, "m")
    with started(path, trajectory, repository) as process:
        wait_until(process, lambda: server.bill()["requests"])
        os.kill(process.pid, number)
        remaining = process.communicate(timeout=120)[1]
    assert process.returncode == status, remaining
    assert "To go on: the same command with --run-id s" in remaining
    with Client(path) as client:
        balance = client.balances("usd/")["usd/run/s"]
    assert balance.held == 0
    assert balance.settled > 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds commands in /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_that_is_running(
    serve: Serve, registry: Write, trajectory: Path, repository: Path, number: int, status: int
) -> None:
    path = registry(serve(m=[bash("sleep 300 & echo $! > pid; wait")]), "m")
    with started(path, trajectory, repository) as process:
        wait_until(process, (repository / "pid").exists)
        wait_until(process, (repository / "pid").read_text)
        os.kill(process.pid, number)
        remaining = process.communicate(timeout=120)[1]
    assert process.returncode == status, remaining
    command = Path("/proc", (repository / "pid").read_text().strip(), "cmdline")
    for _ in range(100):  # it has the signal; the system may take a moment
        if not (command.exists() and command.read_text()):
            return
        time.sleep(0.05)
    pytest.fail("the command is still running")


def started(registry: Path, trajectory: Path, repository: Path) -> subprocess.Popen[str]:
    args = ["mini", *BY_ITSELF, "-o", str(trajectory), "--model-registry", str(registry), "--run-id", "s", "--budget-usd", "1"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(paymaster(*args), cwd=repository, text=True, **pipes)


def wait_until(process: subprocess.Popen[str], happened: Callable[[], object]) -> None:
    while not happened():
        assert process.poll() is None
        time.sleep(0.05)
