"""Measures a thousand concurrent callers on one hard budget, and how long a killed worker's hold and slot are kept.

8 processes of 125 tasks each call through the public client until the budget refuses them; a scripted provider on loopback keeps the bill.
It runs on SQLite, and on Redis if `redis-server` is on the PATH. A missed bar fails by assertion.
"""

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

from paymaster import AsyncClient, BudgetExceeded, CallFailed
from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.torture.clients import TorturedClient
from paymaster.torture.clocks import SkewedClock
from paymaster.torture.private_server import PrivateServer
from paymaster.torture.worker_config import WorkerConfig

PROCESSES, CALLERS = 8, 125
BUDGET_USD = 4
BAR_USED = 0.98
LEASE_MS = 3_000
BAR_OVER_LEASE_S = 1.0
SCRIPT = """
models:
  paid:
    prices: {usd_per_1m_input: 10, usd_per_1m_output: 30}
    latency_ms: 100
    answers: [{text: "ANSWER"}]
  held: {latency_ms: 60000}
""".replace("ANSWER", "word " * 80)
REGISTRY = """
model_registry:
  default: paid
  models:
    paid: {{provider: scripted, base_url: "{url}", tokenizer: bytes, capabilities: [], usd_per_1m_input: 10, usd_per_1m_output: 30}}
    held: {{provider: scripted, base_url: "{url}", tokenizer: bytes, capabilities: [], price: free, max_parallel: 1, max_output_tokens: 9}}
policies: {{budget_usd_per_run: {budget}, hard_stop_on_budget: true, min_output_tokens: 1}}
"""
MESSAGES = [{"role": "user", "content": "How many callers can one budget bear?"}]


def run_callers(registry: str, ledger: str, state: str, together: Barrier) -> Counter[str]:
    """Run one process of callers, which start together with those of other processes; the number of answers and of each error."""
    counts: Counter[str] = Counter()

    async def caller(client: AsyncClient) -> None:
        while True:
            try:
                await client.complete(MESSAGES, max_tokens=120)
                counts["answered"] += 1
            except BudgetExceeded:
                return
            except CallFailed as error:
                counts[error.message[:200]] += 1

    async def run() -> None:
        async with AsyncClient(registry, run="bench", ledger=ledger, state_dir=state, environ={}) as client:
            await asyncio.to_thread(together.wait)
            await asyncio.gather(*(caller(client) for _ in range(CALLERS)))

    asyncio.run(run())
    return counts


def _run_callers_in_child(arguments: tuple[str, str, str], together: Barrier, pipe: "multiprocessing.connection.Connection") -> None:
    pipe.send(run_callers(*arguments, together))


def measure_budget(name: str, ledger: str, folder: Path) -> None:
    with ScriptedServer(parse_script(SCRIPT)) as provider:
        registry = folder / f"{name}.yaml"
        registry.write_text(REGISTRY.format(url=provider.base_url, budget=BUDGET_USD))
        context = multiprocessing.get_context("spawn")
        together = context.Barrier(PROCESSES + 1)
        pipes = [context.Pipe() for _ in range(PROCESSES)]
        arguments = (str(registry), ledger, str(folder / name))
        children = [context.Process(target=_run_callers_in_child, args=(arguments, together, theirs)) for _, theirs in pipes]
        for child in children:
            child.start()
        together.wait()
        started = time.perf_counter()
        counts: Counter[str] = sum((ours.recv() for ours, _ in pipes), Counter())
        took_s = time.perf_counter() - started
        for child in children:
            child.join()
        bill = provider.engine.bill
    answered = counts.pop("answered")
    billed_usd = bill.billed_nanousd / NANOUSD_PER_USD
    used = billed_usd / BUDGET_USD
    print(
        f"{PROCESSES} x {CALLERS} callers, {name:6}  ${billed_usd:.6f} of ${BUDGET_USD} billed, {used:.2%} used (bar {BAR_USED:.0%}), "
        f"over by ${max(0.0, billed_usd - BUDGET_USD):.6f} (bar 0)\n"
        f"    {answered} answered, {counts.total()} failed, {answered / took_s:.0f} calls/s"
    )
    for message, count in counts.most_common(3):
        print(f"    {count} x {message}")
    assert bill.billed_nanousd <= BUDGET_USD * NANOUSD_PER_USD
    assert used >= BAR_USED


def order(registry: Path, ledger: str, folder: Path) -> WorkerConfig:
    return WorkerConfig(
        number=0,
        seed=0,
        style="threads",
        callers=1,
        cancels=False,
        registry=str(registry),
        ledger=ledger,
        state_dir=str(folder),
        stop_file=str(folder / "stop"),
        lease_ms=LEASE_MS,
        window_ms=60_000,
        ends_s=0,
    )


def hold_the_slot(asked: WorkerConfig, pipe: "multiprocessing.connection.Connection") -> None:
    """Take the only slot of a model that never answers, and say so."""
    with TorturedClient(asked, SkewedClock(0), lambda _line: pipe.send("held")) as client:
        client.complete(MESSAGES, model="held")


def measure_killed_worker(name: str, ledger: str, folder: Path) -> None:
    with ScriptedServer(parse_script(SCRIPT)) as provider:
        registry = folder / f"{name}.yaml"
        registry.write_text(REGISTRY.format(url=provider.base_url, budget=BUDGET_USD))
        asked = order(registry, ledger, folder / name)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        child = context.Process(target=hold_the_slot, args=(asked, theirs))
        child.start()
        ours.recv()
        admitted = threading.Event()
        client = TorturedClient(asked, SkewedClock(0), lambda _line: admitted.set())

        def wait_for_the_slot() -> None:
            with contextlib.suppress(CallFailed):
                client.complete(MESSAGES, model="held", deadline_s=LEASE_MS / 1000 + 5)

        waiting = threading.Thread(target=wait_for_the_slot)
        waiting.start()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        killed = time.perf_counter()
        admitted.wait(LEASE_MS / 1000 + 10)
        took_s = time.perf_counter() - killed
        waiting.join()
        client.close()
        child.join()
    bar = f"bar lease + {BAR_OVER_LEASE_S:g} s"
    print(f"killed worker's slot free, {name:6}  {took_s:.2f} s after kill -9, lease {LEASE_MS / 1000:g} s ({bar})")
    assert admitted.is_set()
    assert took_s <= LEASE_MS / 1000 + BAR_OVER_LEASE_S


@contextlib.contextmanager
def ledgers(folder: Path) -> Iterator[dict[str, str]]:
    """The URLs of a file, and of a new Redis server if the program is there."""
    with contextlib.ExitStack() as stack:
        urls = {"SQLite": f"sqlite://{folder / 'ledger.sqlite3'}"}
        if shutil.which("redis-server") is not None:
            urls["Redis"] = f"redis://127.0.0.1:{stack.enter_context(PrivateServer(folder)).port}"
        yield urls


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="paymaster-bench-") as name, ledgers(Path(name)) as urls:
        for kind, url in urls.items():
            measure_budget(kind, url, Path(name))
        for kind, url in urls.items():
            measure_killed_worker(kind, url, Path(name))
        if "Redis" not in urls:
            print("no redis-server on the PATH: Redis was not measured")


if __name__ == "__main__":
    sys.exit(main())
