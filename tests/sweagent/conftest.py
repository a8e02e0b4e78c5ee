"""Runs the real SWE-agent in a sandbox against a model server on loopback, and reads its results; asserts nothing.

`SWE_AGENT_SRC` is a checkout of SWE-agent, `SWE_AGENT_VENV` a virtual environment that has it and this project (`make test-sweagent` makes
one). Without them, or without root, which the sandbox needs, these tests are skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paymaster.client import Client

HERE = Path(__file__).resolve().parent
BASE = "http://127.0.0.1:8123/v1"
CALC = "def add(a, b):\n    return a - b\n\n\ndef mul(a, b):\n    return a * b\n\n\n# {name}\n"
FIXED = "+    return a + b"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _missing()
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.timeout(600))
        item.add_marker(pytest.mark.xdist_group("sweagent"))  # one at a time: each run fills the machine
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _missing() -> str:
    source, venv = os.environ.get("SWE_AGENT_SRC"), os.environ.get("SWE_AGENT_VENV")
    if not source or not venv:
        return "needs a checkout of SWE-agent: make test-sweagent SWE_AGENT_SRC=path/to/SWE-agent"
    if not (Path(source) / "sweagent").is_dir():
        return f"SWE_AGENT_SRC={source} is not a checkout of SWE-agent"
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "the sandbox for SWE-agent's local deployment needs root and unshare"
    return ""


@dataclass(frozen=True)
class Task:
    """One bug in one small repository. `marker` has more settings for the model server: `trouble=context@3`."""

    name: str
    looks: int = 0
    marker: str = ""

    @property
    def statement(self) -> str:
        return f"add() in calc.py subtracts. (task={self.name} repo={self.name} looks={self.looks} {self.marker})"


@dataclass
class Outcome:
    """The results of a plan."""

    directory: Path
    statuses: list[int]
    logs: list[str]
    calls: list[dict[str, Any]]

    def info(self, task: str, run: str = "out") -> dict[str, Any]:
        """The `info` of a trajectory."""
        info: dict[str, Any] = self.trajectory(task, run)["info"]
        return info

    def trajectory(self, task: str, run: str = "out") -> dict[str, Any]:
        """A whole trajectory file."""
        found: dict[str, Any] = json.loads((self.directory / run / task / f"{task}.traj").read_text())
        return found

    def has_trajectory(self, task: str, run: str = "out") -> bool:
        return (self.directory / run / task / f"{task}.traj").exists()

    def patches(self, run: str = "out") -> dict[str, str]:
        """The patches of a batch by task."""
        predictions = json.loads((self.directory / run / "preds.json").read_text())
        return {task: prediction["model_patch"] or "" for task, prediction in predictions.items()}

    def has_own_patch(self, task: str, run: str = "out") -> bool:
        """Whether its patch fixes calc.py and is for this task's repository: each has different content."""
        args = ["git", "-C", str(self.directory / "repos" / task), "rev-parse", "--short", "HEAD:calc.py"]
        blob = subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()
        prediction = json.loads((self.directory / run / task / f"{task}.pred").read_text())
        patch = prediction["model_patch"] or ""
        return f"index {blob}" in patch and FIXED in patch

    def held_nanousd(self, account: str) -> int:
        """What is held on an account of the ledger."""
        with Client(self.directory / "registry.yaml", state_dir=str(self.directory / "state")) as client:
            return client.balances(account)[account].held

    def billed_nanousd(self) -> int:
        """What the model server billed."""
        return sum(call["billed_nanousd"] for call in self.calls)

    def answered(self) -> Counter[str]:
        """Answers by task."""
        return Counter(call["task"] for call in self.calls if call["status"] == 200)

    def seen(self) -> Counter[tuple[str, int]]:
        """Requests by model and status."""
        return Counter((call["model"], call["status"]) for call in self.calls)

    def events(self, name: str = "events.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / name).read_text().splitlines()]


@dataclass
class Bench:
    """Makes tasks and commands, and runs them. All files are in `directory`, which the sandbox keeps."""

    directory: Path
    venv: Path
    source: Path
    timeout_s: int = 280
    commands: list[list[str]] = field(default_factory=list)

    def task(self, name: str = "toy-1", looks: int = 0, marker: str = "") -> Task:
        return Task(name, looks, marker)

    def tasks(self, number: int, *, looks: int = 1) -> list[Task]:
        """Tasks of slightly different lengths."""
        return [Task(f"toy-{index}", looks + index % 3) for index in range(1, number + 1)]

    def registry(self, policy: str = "", *, primary: str = "", more: str = "", name: str = "registry.yaml") -> Path:
        """A registry of a primary and a fallback with the same prices. `primary` are more keys of the first."""
        keys = (
            "usd_per_1m_input: 1, usd_per_1m_output: 4, max_output_tokens: 100, max_input_tokens: 100000, capabilities: [function_calling]"
        )
        path = self.directory / name
        path.write_text(
            f"model_registry:\n  default: primary\n  models:\n"
            f"    primary: {{provider: openai, model_id: m-primary, base_url: {BASE!r}, {keys}{primary}}}\n"
            f"    fallback: {{provider: openai, model_id: m-fallback, base_url: {BASE!r}, {keys}}}\n{more}"
            f"  policies:\n    fallback_chain: [primary, fallback]\n    backoff_initial_s: 0.05\n{policy}"
        )
        return path

    def single(self, task: Task, *flags: str, plain: bool = False, config: str | None = "agent.yaml", out: str = "out") -> None:
        """Add one `run`."""
        self.make_repository(task.name)
        args = [
            *("run", "--env.deployment.type=local", f"--env.repo.path={self.directory / 'repos' / task.name}"),
            *(f"--problem_statement.text={task.statement}", f"--problem_statement.id={task.name}", f"--output_dir={out}"),
        ]
        self.commands.append([*self._program(plain=plain), *args, *self._config(config), *flags])

    def batch(
        self, batch: Sequence[Task], *flags: str, workers: int = 4, plain: bool = False, config: str | None = "agent.yaml", out: str = "out"
    ) -> None:
        """Add one `run-batch`."""
        instances = self.directory / f"{out}-instances.json"
        for task in batch:
            self.make_repository(task.name)
        entry = [
            {
                "image_name": "",
                "instance_id": task.name,
                "repo_name": str(self.directory / "repos" / task.name),
                "problem_statement": task.statement,
            }
            for task in batch
        ]
        instances.write_text(json.dumps(entry))
        args = [
            *("run-batch", "--instances.type=file", f"--instances.path={instances}", "--instances.deployment.type=local"),
            *(f"--num_workers={workers}", f"--output_dir={out}"),
        ]
        self.commands.append([*self._program(plain=plain), *args, *self._config(config), *flags])

    def run(self, *server: str, environ: dict[str, str] | None = None, signals: Sequence[tuple[int, int]] = ()) -> Outcome:
        """Run the added commands at the same time, against a model server with these arguments.

        `signals` are sent in turn, each after so many calls. An empty value in `environ` unsets a variable.
        """
        plan = {
            "keep": str(self.directory),
            "visible": [str(HERE.parent.parent), str(self.venv), str(self.source)],
            "env": {name: value for name, value in self._environment(environ or {}).items() if value},
            "signals": list(signals),
            "server": list(server),
            "commands": self.commands,
            "timeout_s": self.timeout_s,
        }
        (self.directory / "calls.jsonl").unlink(missing_ok=True)
        path = self.directory / "plan.json"
        path.write_text(json.dumps(plan))
        sandbox = [sys.executable, str(HERE / "sandbox.py"), str(path)]
        done = subprocess.run(
            ["unshare", "--mount", "--net", "--propagation", "private", *sandbox],
            check=False,
            capture_output=True,
            text=True,
            timeout=self.timeout_s + 20,
        )
        assert done.returncode == 0, done.stderr
        number, self.commands = len(self.commands), []
        return Outcome(
            self.directory,
            [int((self.directory / f"{index}.status").read_text()) for index in range(number)],
            [(self.directory / f"{index}.log").read_text(errors="replace") for index in range(number)],
            [json.loads(line) for line in (self.directory / "calls.jsonl").read_text().splitlines()],
        )

    def _program(self, *, plain: bool) -> list[str]:
        binaries = self.venv / "bin"
        return [str(binaries / "sweagent")] if plain else [str(binaries / "paymaster"), "sweagent"]

    def _config(self, config: str | None) -> list[str]:
        return [] if config is None else ["--config", str(HERE / config if "/" not in config else config)]

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": f"{self.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "COLUMNS": "200",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # plain SWE-agent would fetch prices from the network
            "PIP_NO_INDEX": "1",
            "SWE_AGENT_CONFIG_DIR": str(self.source / "config"),
            "SWE_AGENT_TOOLS_DIR": str(self.source / "tools"),
            "SWE_AGENT_TRAJECTORY_DIR": str(self.directory / "trajectories"),
            "SWE_AGENT_CONFIG_ROOT": str(self.source),
            "PYTHONPATH": str(HERE / "shim"),
            "PRIVATE_ROOT": "1",
            "PAYMASTER_STATE_DIR": str(self.directory / "state"),  # with a private /root, each worker would have its own ledger
            "OPENAI_API_KEY": "sk-canary",
            **more,
        }

    def make_repository(self, name: str) -> None:
        """A git repository with one bug, the same in every run."""
        path = self.directory / "repos" / name
        if path.exists():
            return
        path.mkdir(parents=True)
        (path / "calc.py").write_text(CALC.format(name=name))
        (path / ".gitignore").write_text("__pycache__/\n")
        dates = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
        for args in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-qm", "first"],
        ):
            subprocess.run(["git", "-C", str(path), *args], check=True, env={**os.environ, **dates})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench in the test's own directory."""
    directory = tmp_path / "bench"
    (directory / "trajectories").mkdir(parents=True)
    return Bench(directory, Path(os.environ["SWE_AGENT_VENV"]), Path(os.environ["SWE_AGENT_SRC"]))
