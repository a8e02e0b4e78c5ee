"""Runs one case: an endpoint, a gateway in front of it, the client, and what all three have to say afterwards; judges nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clients.bills import PRICES, Bill, read_bills
from clients.client import HERE, JOBS
from clients.scripted_job import FILES, PROMPT
from paymaster.cli.process import main
from paymaster.gateway.request_body import Bounds
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from clients.client import Client
    from clients.scenarios import Case
    from paymaster.flow.events import Event

LONGEST_S = 150
KEPT = ("PATH", "LANG", "LC_ALL", "TERM", "COVERAGE_PROCESS_CONFIG")
QUIET = {
    "CI": "1", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "DISABLE_TELEMETRY": "1", "OTEL_SDK_DISABLED": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True", "POSTHOG_DISABLED": "1",
    "ANONYMIZED_TELEMETRY": "false", "NODE_NO_WARNINGS": "1",
}  # fmt: skip
"""Telemetry and checks for updates off, wherever a client has a common variable for it."""
CLOSED = "http://127.0.0.1:9"
NO_NETWORK = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), CLOSED),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
}
"""Nothing but loopback, for clients that heed proxies; `make test-clients` adds a network of its own where the system allows it."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a case. `after_refusal_s` is the time from the first call that a budget refused to the client's end; 0 without one."""

    status: int
    output: str
    took_s: float
    after_refusal_s: float
    bills: tuple[Bill, ...]
    report: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running endpoint, which writes a file of bills for each case."""

    url: str
    folder: Path

    def bills(self, case: str) -> Path:
        """The file of a case."""
        return self.folder / f"{case}.jsonl"

    def open_streams(self, case: str) -> int:
        """How many streams of a case have begun and not ended."""
        with urllib.request.urlopen(f"{self.url}/open/{case}", timeout=10) as answer:  # noqa: S310 - an address of this machine
            return int(answer.read())


@contextmanager
def endpoint(folder: Path) -> Iterator[Endpoint]:
    """The endpoint as a process of its own."""
    process = subprocess.Popen([sys.executable, str(HERE / "endpoint.py"), str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Endpoint(process.stdout.readline().strip(), folder)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@contextmanager
def gateway(registry: Path, ledger: str, listen_to: Callable[[Event], None] = lambda _: None) -> Iterator[str]:
    """A gateway in a thread of its own: its address."""
    config = GatewayConfig(
        read_options=lambda: configure(registry, {"ledger": ledger, "run": "clients", "listeners": [listen_to]}),
        access=AccessPolicy(),
        bounds=Bounds(),
        drain_s=5,
    )
    server_socket = listen("127.0.0.1", 0)
    port = server_socket.getsockname()[1]
    with in_background(config, server_socket):
        yield f"http://127.0.0.1:{port}"


def registry_of(case: Case, url: str) -> dict[str, object]:
    """The registry of a case: the client's model at the scenario's variant, and a fallback in another dialect if it has one."""
    scenario = case.scenario

    def model(variant: str, dialect: str) -> dict[str, object]:
        return {
            "provider": "openai_compatible", "dialect": dialect, "model_id": "simulated-1", "base_url": f"{url}/{case.id}/{variant}/v1",
            "capabilities": ["function_calling", "vision", "json_schema"], "context_window": 400_000, "max_output_tokens": 64_000,
            "stops_on_disconnect": True, **PRICES,
        }  # fmt: skip

    models = {case.client.model: model(scenario.variant, case.upstream)}
    if scenario.fallback:
        models["backup"] = model("ok", "messages" if case.upstream == "chat" else "chat")
    policies: dict[str, object] = {"backoff_initial_s": 0.05, "backoff_max_s": 0.1, "fallback_chain": list(models)}
    if scenario.name == "budget":
        policies |= {"budget_usd_per_run": case.client.budget_usd, "hard_stop_on_budget": True}
    return {"default": case.client.model, "models": models, "policies": policies}


def run_case(case: Case, installed: Path, simulated: Endpoint, folder: Path) -> Ran:
    """Run a case in an empty folder. The client gets a home and a working folder of its own."""
    work, home, registry, bills = folder / "work", folder / "home", folder / "registry.json", simulated.bills(case.id)
    work.mkdir()
    home.mkdir()
    for name, text in FILES.items():
        (work / name).write_text(text)
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    registry.write_text(json.dumps(registry_of(case, simulated.url)))
    bills.unlink(missing_ok=True)  # of the same case in another test
    refused_at_s: list[float] = []

    def note(event: Event) -> None:
        if event.kind == "budget_exceeded":
            refused_at_s.append(time.monotonic())

    with gateway(registry, ledger, note) as address:
        started_s = time.monotonic()
        status, output = _run_client(case, installed, simulated, address, work, home)
        ended_s = time.monotonic()
        _wait_for_streams(simulated, case.id)
    after_refusal_s = ended_s - refused_at_s[0] if refused_at_s else 0
    billed = tuple(read_bills(bills))
    report = report_of(ledger) if billed else {}  # without a call there may be no ledger
    return Ran(status, output, ended_s - started_s, after_refusal_s, billed, report)


def report_of(ledger: str) -> Mapping[str, object]:
    """What `paymaster report --json` prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["report", "--json", "--ledger", ledger]) == 0
    report: dict[str, object] = json.loads(printed.getvalue())
    return report


def variables_of(case: Case, installed: Path, address: str, work: Path, home: Path) -> dict[str, str]:
    """What the templates of a row may use."""
    return {
        "address": address, "key": "any", "model": case.client.model, "dialect": case.dialect, "task": case.scenario.task,
        "prompt": PROMPT.format(folder=work), "folder": str(work), "home": str(home), "client": str(installed), "jobs": str(JOBS),
        **case.client.by_dialect.get(case.dialect, {}),
    }  # fmt: skip


def prepare(client: Client, variables: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Write a client's files: its command line and its environment."""
    work, home = variables["folder"], variables["home"]
    for path, text in client.files.items():
        target = Path(work) / client.filled(path, variables)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(client.filled(text, variables))
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    env |= {**QUIET, **NO_NETWORK, "HOME": home, "PWD": work, "TMPDIR": home}
    env |= {name: client.filled(text, variables) for name, text in client.env.items()}
    return [client.filled(word, variables) for word in client.words], env


def _run_client(case: Case, installed: Path, simulated: Endpoint, address: str, work: Path, home: Path) -> tuple[int, str]:
    client = case.client
    if client.job:
        shutil.copy(JOBS / client.job, home / client.job)
        (home / "node_modules").symlink_to(installed / "node_modules")
    words, env = prepare(client, variables_of(case, installed, address, work, home))
    output = home / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            words, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            if case.scenario.name == "cancel":
                _wait_until_streaming(simulated, case.id, process)
                _signal_all(process, signal.SIGINT)
                _wait_or_kill(process, 10)
            else:
                process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _signal_all(process, signal.SIGKILL)  # what it left running, too
            process.wait(10)
    return process.returncode, output.read_text(errors="replace")


def _wait_until_streaming(simulated: Endpoint, case: str, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + LONGEST_S
    while simulated.open_streams(case) == 0 and process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.1)
    time.sleep(1)


def _wait_or_kill(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        _signal_all(process, signal.SIGKILL)
        process.wait(10)


def _signal_all(process: subprocess.Popen[bytes], signal_number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal_number)


def _wait_for_streams(simulated: Endpoint, case: str) -> None:
    """Wait until the gateway has closed every stream that its client left."""
    until_s = time.monotonic() + 20
    while simulated.open_streams(case) and time.monotonic() < until_s:
        time.sleep(0.1)
    time.sleep(0.2)
