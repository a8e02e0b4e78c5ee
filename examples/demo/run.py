"""The demo: the real mini-swe-agent fixes a real bug in a real git repository, paid through Paymaster.

Run it with `make demo`; with `REGISTRY=my.yaml make demo` on your own models. It ends with status 0 only if the failing test passes.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from paymaster.accounting.money import format_usd
from paymaster.providers.scripted.script import load_script
from paymaster.providers.scripted.server import ScriptedServer

HERE = Path(__file__).resolve().parent
REGISTRY, SCRIPT, REPOSITORY = HERE / "registry.yaml", HERE / "script.yaml", HERE / "repository"
PLACEHOLDER = "http://127.0.0.1:8123/v1"
TASK = (
    "parse_duration_ms('250ms') returns 15000000 instead of 250, and `python3 -m unittest` fails because of it. "
    "Find the cause in this repository, fix it with the smallest change, and make sure that all tests pass. Don't change the tests."
)
PAYMASTER = (sys.executable, "-c", "import sys; from paymaster.cli import main; sys.exit(main())")


@dataclass(frozen=True, slots=True)
class DemoSetup:
    """The registry of a run and its environment; `server` is None for the user's own models."""

    registry: Path
    environment: Mapping[str, str]
    server: ScriptedServer | None


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="paymaster-demo-") as folder:
        workspace = Path(folder)
        repository = make_repository(workspace / "durations")
        with simulated_models(workspace) if not os.environ.get("REGISTRY") else own_models(Path(os.environ["REGISTRY"])) as setup:
            return run_demo(setup, repository, workspace)


def run_demo(setup: DemoSetup, repository: Path, workspace: Path) -> int:
    title("A git repository with a failing test")
    before = run_tests(repository)
    print(indented(before.stderr))
    if before.returncode == 0:
        print("The tests pass already: nothing to do.")
        return 1

    run_id = f"demo-{secrets.token_hex(3)}"
    title(
        "paymaster mini -y -t '…' --model-registry "
        + str(setup.registry if setup.server is None else REGISTRY.relative_to(HERE.parents[1]))
    )
    status = run_agent(setup, repository, run_id, workspace / "trajectory.json")

    title("The agent's patch")
    print(indented(git(repository, "diff").stdout) or "  (none)")
    after = run_tests(repository)
    print(indented(after.stderr))

    title("What it cost")
    sys.stdout.flush()
    report = ("report", "--run-id", run_id)
    shown = [*report, "--by", "model"], ["status", "--run-id", run_id, "--model-registry", str(setup.registry)]
    for args in shown:
        subprocess.run([*PAYMASTER, *args], env=setup.environment, check=False)
    agrees = setup.server is None or compare_with_bill(setup, report)
    if after.returncode == 0 and status == 0 and agrees:
        print("\nDone: the failing test passes.")
        return 0
    print(f"\nFailed: the agent ended with status {status}, and the tests {'pass' if after.returncode == 0 else 'still fail'}.")
    return status or 1


@contextmanager
def simulated_models(workspace: Path) -> Iterator[DemoSetup]:
    """Three models that answer from a script, behind a real HTTP server on this machine."""
    print("The models are simulated: a server on this machine answers for them from examples/demo/script.yaml.")
    print("Everything else is real: mini-swe-agent, HTTP, git, the tests, Paymaster's ledger. Your own models: REGISTRY=my.yaml make demo")
    with ScriptedServer(load_script(SCRIPT)) as server:
        registry = workspace / "registry.yaml"
        registry.write_text(REGISTRY.read_text(encoding="utf-8").replace(PLACEHOLDER, server.base_url), encoding="utf-8")
        # None of the user's settings is used, and no file remains.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PAYMASTER_", "MSWEA_"))}
        environment |= {"PAYMASTER_STATE_DIR": str(workspace / "state"), "MSWEA_GLOBAL_CONFIG_DIR": str(workspace / "mini")}
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        yield DemoSetup(registry, silent(environment), server)


@contextmanager
def own_models(registry: Path) -> Iterator[DemoSetup]:
    """The user's registry, ledger and keys: this spends money."""
    print(f"The models are those of {registry}. Their answers cost real money.")
    yield DemoSetup(registry.resolve(), silent(os.environ), None)


def silent(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a mini that prints no greeting and asks nothing."""
    return {**environment, "MSWEA_SILENT_STARTUP": "1", "MSWEA_CONFIGURED": "true"}


def make_repository(folder: Path) -> Path:
    """A git repository of the files beside this one."""
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=demo", "-c", "user.email=demo@example.invalid", "commit", "--quiet", "--message", "A bug")
    return folder


def git(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True, text=True)


def run_tests(repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "unittest"], cwd=repository, check=False, capture_output=True, text=True)


def run_agent(setup: DemoSetup, repository: Path, run_id: str, trajectory: Path) -> int:
    """Run mini on the repository; show its steps and Paymaster's log as they happen."""
    args = ["mini", "--verbose", "-y", "--exit-immediately", "-t", TASK, "-o", str(trajectory)]
    ours = ["--model-registry", str(setup.registry), "--run-id", run_id]
    agent = subprocess.Popen(
        [*PAYMASTER, *args, *ours],
        cwd=repository,
        env={**setup.environment, "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    with agent:
        readers = [threading.Thread(target=show_steps, args=(agent.stdout,)), threading.Thread(target=show_events, args=(agent.stderr,))]
        for reader in readers:
            reader.start()
        try:
            status = agent.wait()
        except KeyboardInterrupt:  # the agent gets it too
            status = agent.wait()
        for reader in readers:
            reader.join()
    return status


def show_steps(output: IO[str]) -> None:
    """Show the model's text and commands from mini's output, without prompts and command outputs."""
    shown = False
    for line in output:
        text = line.rstrip()
        if text.startswith("mini-swe-agent (step"):
            shown = True
            print(f"\n  {text}", flush=True)
        elif re.fullmatch(r"(System|User|Tool|Exit):|[─-]{20,}", text):
            shown = False
        elif shown and text:
            print(f"    {text}", flush=True)


def show_events(log: IO[str]) -> None:
    """Show Paymaster's log without dates; other lines are shown unchanged."""
    for line in log:
        text = line.rstrip()
        event = re.fullmatch(r"\S+ (\S+?),\d+ \w+ paymaster\.\w+: (.*)", text)
        print(f"  [paymaster {event[1]}] {event[2]}" if event else f"  {text}", flush=True)


def compare_with_bill(setup: DemoSetup, report: tuple[str, ...]) -> bool:
    """Whether the ledger's cost is what the simulated provider billed."""
    if setup.server is None:
        return True
    report_json = subprocess.run([*PAYMASTER, *report, "--json"], env=setup.environment, check=True, capture_output=True, text=True)
    ours = json.loads(report_json.stdout)["total"]["cost_nanousd"]
    theirs = setup.server.bill()["billed_nanousd"]
    print(f"\nBilled by the provider: {format_usd(int(str(theirs)))}. In the ledger: {format_usd(ours)}.")
    return bool(ours == theirs)


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main())
