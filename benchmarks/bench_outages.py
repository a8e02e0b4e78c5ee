"""Compares agents alone and under Paymaster in outages of their only provider: which instances are finished, and which a restart skips.

    SWE_AGENT_SRC=path/to/SWE-agent SWE_AGENT_VENV=path/to/venv python benchmarks/bench_outages.py [--agent mini|sweagent] [--outage NAME]

mini-swe-agent (`mini`, `mini-extra swebench`) and SWE-agent (`run`, `run-batch`) work on small repositories with one bug each, with default
settings, against one model on loopback and without a fallback. The plain run and the one under Paymaster have a server each and run at the
same time. A batch that did not finish is repeated, as a person would. Bar: every instance that the plain agent finishes is finished at the
first attempt, and after the repetition too. About twelve minutes in all. Without SWE-agent, mini alone is measured.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sweagent_batches import HARNESS, new_bench

OUTAGES: Mapping[str, tuple[str, ...]] = {
    "overloaded for 25 s": ("--outage=overloaded@3=25",),
    "refused for 60 s": ("--outage=refused@3=60",),
    "503 four times": ("--fault=m-primary=down*4@3",),
    "429 without Retry-After, 20 s": ("--outage=crowded@3=20",),
}
INSTANCES, WORKERS = 4, 4
BASE = "http://127.0.0.1:8123/v1"  # of the model server in a sandbox
FIXED = "+    return a + b"
PRICES = "max_input_tokens: 100000, max_output_tokens: 100, usd_per_1m_input: 1, usd_per_1m_output: 4, capabilities: [function_calling]"


@dataclass(frozen=True)
class Finished:
    """How many instances of a run were submitted with a patch, of how many, and the seconds that it took."""

    first: int
    again: int
    instances: int
    took_s: float

    def __str__(self) -> str:
        repeated = "" if self.first == self.instances else f" (repeated: {self.again})"
        return f"{self.first} of {self.instances} in {self.took_s:.0f} s{repeated}"


def main() -> int:
    """Run what was asked for; 1 if a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", choices=("mini", "sweagent"))
    parser.add_argument("--outage", choices=tuple(OUTAGES))
    asked = parser.parse_args()
    met = []
    for outage in [asked.outage] if asked.outage else OUTAGES:
        if asked.agent in (None, "mini"):
            met += [compare(f"{command}, {outage}", *mini(command, OUTAGES[outage])) for command in ("mini", "mini-batch")]
        if asked.agent in (None, "sweagent"):
            if not os.environ.get("SWE_AGENT_VENV") or os.geteuid() != 0:
                print("skipped: SWE-agent, as SWE_AGENT_SRC and SWE_AGENT_VENV are not set, or for lack of root")
                continue
            met += [compare(f"sweagent {command}, {outage}", *sweagent(command, OUTAGES[outage])) for command in ("run", "run-batch")]
    return 0 if all(met) else 1


def compare(what: str, plain: Finished, ours: Finished) -> bool:
    """Print both, and whether the bar is met."""
    met = ours.first >= plain.first and ours.again >= plain.first
    print(f"{what}: plain {plain}; Paymaster {ours}; bar {'met' if met else 'MISSED'}", flush=True)
    return met


def mini(command: str, server: Sequence[str]) -> tuple[Finished, Finished]:
    """The plain agent and the one under Paymaster, side by side."""
    with ThreadPoolExecutor(2) as threads:
        plain, ours = (threads.submit(mini_run, command, server, under_paymaster=under) for under in (False, True))
        return plain.result(), ours.result()


def mini_run(command: str, server: Sequence[str], *, under_paymaster: bool) -> Finished:
    """One run in a folder of its own; it is repeated if it did not finish everything."""
    with tempfile.TemporaryDirectory() as directory:
        folder, port = Path(directory), free_port()
        names = [f"toy-{number}" for number in range(1, 1 + (INSTANCES if command == "mini-batch" else 1))]
        tasks = {name: repository(folder, name) for name in names}
        model_server = [sys.executable, str(HARNESS.parent / "model_server.py"), "--port", str(port), "--log", str(folder / "calls.jsonl")]
        serving = subprocess.Popen([*model_server, *server])
        try:
            wait_for(port)
            args = mini_args(folder, command, tasks, port, under_paymaster=under_paymaster)
            began = time.monotonic()
            run_quietly(args, folder)
            took_s = time.monotonic() - began
            first = mini_submitted(folder, names)
            if first < len(names) and command == "mini-batch":
                run_quietly(args, folder)
            return Finished(first, mini_submitted(folder, names), len(names), took_s)
        finally:
            serving.terminate()
            serving.wait()


def mini_args(folder: Path, command: str, tasks: Mapping[str, str], port: int, *, under_paymaster: bool) -> list[str]:
    """The command line of `mini` or of its batch."""
    base, binaries = f"http://127.0.0.1:{port}/v1", Path(sys.executable).parent
    if under_paymaster:
        (folder / "registry.yaml").write_text(
            f"models:\n  primary: {{provider: openai, model_id: m-primary, base_url: {base!r}, api_key: $KEY, {PRICES}}}\n"
        )
        model = ["-m", "primary", "--model-registry", str(folder / "registry.yaml"), "--budget-usd", "5", "--run-id", "outage"]
        program = [str(binaries / "paymaster"), command]
    else:
        kwargs = [f"model.model_kwargs.api_base={base}", "model.model_kwargs.api_key=sk-plain", "model.cost_tracking=ignore_errors"]
        model = ["-m", "openai/m-primary", *(word for spec in kwargs for word in ("-c", spec))]
        program = [str(binaries / "mini")] if command == "mini" else [str(binaries / "mini-extra"), "swebench"]
    if command == "mini":
        (statement,) = tasks.values()
        return [*program, "-y", "--exit-immediately", "-t", statement, "-c", "mini.yaml", *model, "-o", str(folder / "toy-1.traj.json")]
    (folder / "instances").mkdir(exist_ok=True)
    lines = [json.dumps({"instance_id": name, "image_name": "none", "problem_statement": text}) for name, text in tasks.items()]
    (folder / "instances" / "test.jsonl").write_text("\n".join(lines))
    local = ["environment.environment_class=local", f"environment.cwd={folder}", "environment.env.BASH_ENV="]
    specs = [word for spec in ("swebench.yaml", *local) for word in ("-c", spec)]
    data = ["--subset", str(folder / "instances"), "--split", "test", "-w", str(WORKERS), "-o", str(folder / "out")]
    return [*program, *data, *specs, *model]


def run_quietly(args: Sequence[str], folder: Path) -> None:
    """Run it offline, with its state in the folder."""
    environ = {
        **os.environ,
        "KEY": "sk-ours",
        "MSWEA_CONFIGURED": "true",
        "MSWEA_SILENT_STARTUP": "1",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_GLOBAL_CONFIG_DIR": str(folder / "mini-config"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(folder / "cache"),
        "PAYMASTER_STATE_DIR": str(folder / "state"),
    }
    with (folder / "log").open("a") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        subprocess.run(args, cwd=folder, env=environ, check=False, timeout=580, **streams)


def mini_submitted(folder: Path, names: Sequence[str]) -> int:
    """The instances whose trajectory ended with a submission that fixes the bug."""
    found = 0
    for name in names:
        paths = [folder / f"{name}.traj.json", folder / "out" / name / f"{name}.traj.json"]
        for path in paths:
            if path.exists():
                info = json.loads(path.read_text())["info"]
                found += info["exit_status"] == "Submitted" and FIXED in info["submission"]
    return found


def sweagent(command: str, server: Sequence[str]) -> tuple[Finished, Finished]:
    """The plain agent and the one under Paymaster, side by side, each in a sandbox of its own."""
    with ThreadPoolExecutor(2) as threads:
        plain, ours = (threads.submit(sweagent_run, command, server, under_paymaster=under) for under in (False, True))
        return plain.result(), ours.result()


def sweagent_run(command: str, server: Sequence[str], *, under_paymaster: bool) -> Finished:
    """One run; it is repeated if it did not finish everything."""
    with tempfile.TemporaryDirectory() as directory:
        bench = new_bench(directory, 580)
        tasks = bench.tasks(INSTANCES if command == "run-batch" else 1)
        if under_paymaster:
            flags = [f"--model-registry={bench.registry(primary=', fallbacks: []')}", "--budget-usd=5", "--run-id=outage"]
        else:
            flags = [
                *("--agent.model.name=openai/m-primary", f"--agent.model.api_base={BASE}", "--agent.model.api_key=sk-plain"),
                *("--agent.model.per_instance_cost_limit=0", "--agent.model.total_cost_limit=0", "--agent.model.max_input_tokens=100000"),
            ]
        took_s, first = 0.0, 0
        for repetition in range(2):
            if command == "run":
                bench.single(tasks[0], *flags, plain=not under_paymaster)
            else:
                bench.batch(tasks, "--random_delay_multiplier=0.01", *flags, workers=WORKERS, plain=not under_paymaster)
            began = time.monotonic()
            outcome = bench.run(*(server if repetition == 0 else ()))
            done = sum(outcome.has_trajectory(task.name) and outcome.info(task.name)["exit_status"] == "submitted" for task in tasks)
            if repetition == 0:
                took_s, first = time.monotonic() - began, done
            if done == len(tasks) or command == "run":
                break
        return Finished(first, done, len(tasks), took_s)


def repository(folder: Path, name: str) -> str:
    """Make a repository with one bug; returns the task."""
    path = folder / "repos" / name
    path.mkdir(parents=True)
    (path / "calc.py").write_text(f"def add(a, b):\n    return a - b\n\n\n# {name}\n")
    for args in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(path), *args], check=True)
    return f"add() in calc.py subtracts. (task={name} repo={path} looks=2 agent=mini)"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until the model server listens."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the model server did not start")


if __name__ == "__main__":
    sys.exit(main())
