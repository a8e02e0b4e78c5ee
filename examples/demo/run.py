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
    "Find the cause in this repository, mend it with the smallest change, and make sure that all tests pass. Don't change the tests."
)
PAYMASTER = (sys.executable, "-c", "import sys; from paymaster.cli import main; sys.exit(main())")


@dataclass(frozen=True, slots=True)
class Stage:
    """What a run needs: the registry to use and the environment to use it in; `server` is None for the user's own models."""

    registry: Path
    environment: Mapping[str, str]
    server: ScriptedServer | None


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="paymaster-demo-") as folder:
        workplace = Path(folder)
        repository = make_repository(workplace / "durations")
        with simulated_models(workplace) if not os.environ.get("REGISTRY") else own_models(Path(os.environ["REGISTRY"])) as stage:
            return play(stage, repository, workplace)


def play(stage: Stage, repository: Path, workplace: Path) -> int:
    title("A git repository with a failing test")
    before = run_tests(repository)
    print(indented(before.stderr))
    if before.returncode == 0:
        print("The tests pass already: there is nothing to do.")
        return 1

    run_id = f"demo-{secrets.token_hex(3)}"
    title(
        "paymaster mini -y -t '…' --model-registry "
        + str(stage.registry if stage.server is None else REGISTRY.relative_to(HERE.parents[1]))
    )
    status = run_agent(stage, repository, run_id, workplace / "trajectory.json")

    title("The agent's patch")
    print(indented(git(repository, "diff").stdout) or "  (none)")
    after = run_tests(repository)
    print(indented(after.stderr))

    title("What it cost")
    sys.stdout.flush()
    report = ("report", "--run-id", run_id)
    shown = [*report, "--by", "model"], ["status", "--run-id", run_id, "--model-registry", str(stage.registry)]
    for words in shown:
        subprocess.run([*PAYMASTER, *words], env=stage.environment, check=False)
    agrees = stage.server is None or compare_with_bill(stage, report)
    if after.returncode == 0 and status == 0 and agrees:
        print("\nDone: the failing test passes.")
        return 0
    print(f"\nFailed: the agent ended with status {status}, and the tests {'pass' if after.returncode == 0 else 'still fail'}.")
    return status or 1


@contextmanager
def simulated_models(workplace: Path) -> Iterator[Stage]:
    """Three models that read their answers from a script, behind a real HTTP server on this machine."""
    print("The models are simulated: a server on this machine answers for them from examples/demo/script.yaml.")
    print("All else is real: mini-swe-agent, HTTP, git, the tests, Paymaster's ledger. Your own models: REGISTRY=my.yaml make demo")
    with ScriptedServer(load_script(SCRIPT)) as server:
        registry = workplace / "registry.yaml"
        registry.write_text(REGISTRY.read_text(encoding="utf-8").replace(PLACEHOLDER, server.base_url), encoding="utf-8")
        # Nothing of the user's own settings takes part, and nothing is left behind.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PAYMASTER_", "MSWEA_"))}
        environment |= {"PAYMASTER_STATE_DIR": str(workplace / "state"), "MSWEA_GLOBAL_CONFIG_DIR": str(workplace / "mini")}
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        yield Stage(registry, silent(environment), server)


@contextmanager
def own_models(registry: Path) -> Iterator[Stage]:
    """The user's registry, ledger and keys: this spends money."""
    print(f"The models are those of {registry}, and their answers cost what they cost.")
    yield Stage(registry.resolve(), silent(os.environ), None)


def silent(environment: Mapping[str, str]) -> dict[str, str]:
    """For a mini that greets nobody and asks nobody."""
    return {**environment, "MSWEA_SILENT_STARTUP": "1", "MSWEA_CONFIGURED": "true"}


def make_repository(folder: Path) -> Path:
    """A git repository of the files that ship beside this one."""
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=demo", "-c", "user.email=demo@example.invalid", "commit", "--quiet", "--message", "A bug")
    return folder


def git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True)


def run_tests(repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "unittest"], cwd=repository, check=False, capture_output=True, text=True)


def run_agent(stage: Stage, repository: Path, run_id: str, trajectory: Path) -> int:
    """Run mini on the repository; show what it does and what Paymaster says about it while it works."""
    words = ["mini", "--verbose", "-y", "--exit-immediately", "-t", TASK, "-o", str(trajectory)]
    ours = ["--model-registry", str(stage.registry), "--run-id", run_id]
    agent = subprocess.Popen(
        [*PAYMASTER, *words, *ours],
        cwd=repository,
        env={**stage.environment, "COLUMNS": "120"},
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
        except KeyboardInterrupt:  # the agent has heard it too
            status = agent.wait()
        for reader in readers:
            reader.join()
    return status


def show_steps(output: IO[str]) -> None:
    """Of all that mini prints: what the model says and does, without what it was told and what its commands answered."""
    speaking = False
    for line in output:
        text = line.rstrip()
        if text.startswith("mini-swe-agent (step"):
            speaking = True
            print(f"\n  {text}", flush=True)
        elif re.fullmatch(r"(System|User|Tool|Exit):|[─-]{20,}", text):
            speaking = False
        elif speaking and text:
            print(f"    {text}", flush=True)


def show_events(log: IO[str]) -> None:
    """Paymaster's log, without the date; what mini says beside it as it is."""
    for line in log:
        text = line.rstrip()
        event = re.fullmatch(r"\S+ (\S+?),\d+ \w+ paymaster\.\w+: (.*)", text)
        print(f"  [paymaster {event[1]}] {event[2]}" if event else f"  {text}", flush=True)


def compare_with_bill(stage: Stage, report: tuple[str, ...]) -> bool:
    """Whether the ledger says what the (simulated) provider billed."""
    if stage.server is None:
        return True
    told = subprocess.run([*PAYMASTER, *report, "--json"], env=stage.environment, check=True, capture_output=True, text=True)
    ours = json.loads(told.stdout)["total"]["cost_nanousd"]
    theirs = stage.server.bill()["billed_nanousd"]
    print(f"\nBilled by the provider: {format_usd(int(str(theirs)))}. In the ledger: {format_usd(ours)}.")
    return bool(ours == theirs)


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main())
