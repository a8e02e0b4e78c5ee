"""A batch of six small repositories with one bug each for mini-swe-agent, the models that fix them, and the results of a run."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.steps import PRICES, SUBMIT, bash, paymaster

if TYPE_CHECKING:
    from pathlib import Path

NAMES = tuple(f"toy-{number}" for number in range(1, 7))
FIXED = "+    return a + b"
TALKATIVE = {"bytes_per_token": 1}
"""A model that bills nearly its whole hold, so that a budget can be used up."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"status {self.status}\n{self.out}\n{self.err}"


class Batch:
    """Six instances in a folder. `run` starts `paymaster mini-batch` on them in a new process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        (folder / "instances").mkdir()
        lines = []
        for name in NAMES:
            self._make_repository(folder / name)
            instance = {"instance_id": name, "image_name": "none", "problem_statement": f"add() subtracts. [[{name}]]"}
            lines.append(json.dumps(instance))
        (folder / "instances" / "test.jsonl").write_text("\n".join(lines))

    def answers(self, *, in_text: bool = False) -> list[dict[str, object]]:
        """The answers of a model that fixes each instance in its own repository, looks at it, and submits."""
        answers = []
        for name in NAMES:
            enter = f"cd {self.folder / name} &&"
            steps = [f"{enter} sed -i.bak s/-/+/ sum.py && rm sum.py.bak", f"{enter} cat sum.py", f"{enter} {SUBMIT} && git diff"]
            for step, command in enumerate(steps):
                answer = {"text": f"THOUGHT: Next.\n```mswea_bash_command\n{command}\n```"} if in_text else bash(command)
                answers.append({**answer, "when": {"match": rf"\[\[{name}\]\]", "step": step}})
        return [*answers, {"text": "Which instance is this?"}]

    def args(self, *args: str, config: str = "swebench.yaml", workers: int = 4, out: str = "out") -> list[str]:
        """The command line."""
        local = ["environment.environment_class=local", f"environment.cwd={self.folder}", "environment.env.BASH_ENV="]
        specs = [word for spec in (config, *local) for word in ("-c", spec)]
        data = ["--subset", str(self.folder / "instances"), "--split", "test"]
        return ["mini-batch", *data, "-w", str(workers), "-o", str(self.folder / out), *specs, *args]

    def start(self, *args: str, **options: object) -> subprocess.Popen[str]:
        """The process, running."""
        return subprocess.Popen(
            paymaster(*self.args(*args, **options)),  # type: ignore[arg-type]  # `options` are passed through
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args: str, **options: object) -> Ended:
        """The process, when it has ended."""
        return wait(self.start(*args, **options))

    def environment(self) -> dict[str, str]:
        """The environment: no network, and nothing is written outside the folder."""
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(self.folder / "cache"), "COLUMNS": "120"}
        return {**os.environ, **offline}

    def predictions(self, out: str = "out") -> dict[str, str]:
        """The patch of each instance that has one, by its name."""
        path = self.folder / out / "preds.json"
        return {name: saved["model_patch"] for name, saved in json.loads(path.read_text()).items()} if path.exists() else {}

    def trajectories(self, out: str = "out") -> dict[str, dict[str, object]]:
        """The trajectory of each instance, by its name."""
        return {path.parent.name: json.loads(path.read_text()) for path in (self.folder / out).glob("*/*.traj.json")}

    def is_own_patch(self, name: str, patch: str) -> bool:
        """Whether a patch fixes the bug, and was made against this instance's file, which ends in its name."""
        return FIXED in patch and f" # {name}" in patch

    def report(self, *args: str) -> dict[str, int]:
        """The output of `paymaster report --by instance`: nano-dollars by instance."""
        ended = subprocess.run(
            paymaster("report", "--by", "instance", "--json", *args), check=False, capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 0, ended
        return {str(row["instance"]): int(row["cost_nanousd"]) for row in json.loads(ended.stdout)["rows"]}

    def _make_repository(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sum.py").write_text(f"def add(a, b):\n    return a - b\n # {folder.name}\n")
        for args in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-qm", "init"]):
            subprocess.run(["git", "-C", str(folder), *args], check=True)


def wait(process: subprocess.Popen[str]) -> Ended:
    """The output of a process, once it has ended."""
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ended(process.returncode, out, err)


def model(batch: Batch, **section: object) -> dict[str, object]:
    """A scripted model for the batch."""
    return {"prices": PRICES, "answers": batch.answers(), **section}
