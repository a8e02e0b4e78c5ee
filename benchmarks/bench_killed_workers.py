"""Measures a run on one hard budget in which half of the workers are killed in mid-call: how long it goes on, and how much is used.

4 processes of 8 threads each call through the public client, with default settings, until the budget refuses them; two of them get
`kill -9` once half of the budget is billed. A scripted provider on loopback keeps the bill. `--ledger redis` starts a `redis-server` of
its own. A missed bar fails by assertion.
"""

import argparse
import contextlib
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from paymaster import BudgetExceeded, CallFailed, Client
from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.ledgers.urls import open_ledger
from paymaster.providers.scripted.bill import Bill
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.runtime import BlockingRuntime, run
from paymaster.torture.private_server import PrivateServer

PROCESSES, CALLERS, KILLED = 4, 8, 2
BUDGET_NANOUSD = 2_400_000_000
BARS_S = {"file": 30, "redis": 60}
BAR_CHARGED, BAR_BILLED = 0.98, 0.90
LONGEST_S = 700
# A call holds $0.012: 40 tokens of output more than it needs. It is billed with $0.006.
SCRIPT = """
models:
  paid:
    prices: {usd_per_1m_input: 1, usd_per_1m_output: 100}
    latency_ms: 150
    answers: [{text: "ANSWER", usage: {prompt_tokens: 100, completion_tokens: 59}}]
""".replace("ANSWER", "word " * 59)
REGISTRY = """
model_registry:
  default: paid
  models:
    paid: {{provider: scripted, base_url: "{url}", tokenizer: bytes, capabilities: [], usd_per_1m_input: 1, usd_per_1m_output: 100}}
policies: {{budget_usd_per_run: 2.40, hard_stop_on_budget: true}}
"""
MESSAGES = [{"role": "user", "content": "How long does a run wait for its dead?"}]


def call_until_refused(registry: str, ledger: str, folder: str, together: Barrier, pipe: Connection) -> None:
    """One process of callers; how many calls came to what."""
    counts: Counter[str] = Counter()

    def caller(client: Client) -> None:
        while True:
            try:
                client.complete(MESSAGES, max_tokens=119)
                counts["answered"] += 1
            except BudgetExceeded:
                return
            except CallFailed as error:
                counts[error.message[:200]] += 1

    with Client(registry, run="bench", ledger=ledger, state_dir=folder, environ={}) as client:
        together.wait()
        threads = [threading.Thread(target=caller, args=(client,)) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    pipe.send(counts)


def wait_for_half(bill: Bill) -> None:
    """Until the provider has billed half of the budget."""
    while bill.billed_nanousd < BUDGET_NANOUSD // 2:
        time.sleep(0.01)


def charged_nanousd(url: str, folder: Path) -> tuple[int, int]:
    """What the ledger has charged, and what it still holds."""
    runtime = BlockingRuntime()
    books = open_ledger(url, runtime.sleep, state_dir=folder)
    balance = run(books.balances("usd/run/bench", runtime.now_ms()))["usd/run/bench"]
    run(books.close())
    return balance.settled, balance.held


def measure(kind: str, url: str, folder: Path) -> None:
    """One run against the bars."""
    with ScriptedServer(parse_script(SCRIPT)) as provider:
        registry = folder / "registry.yaml"
        registry.write_text(REGISTRY.format(url=provider.base_url))
        context = multiprocessing.get_context("spawn")
        together = context.Barrier(PROCESSES + 1)
        pipes = [context.Pipe() for _ in range(PROCESSES)]
        arguments = (str(registry), url, str(folder / "state"), together)
        workers = [context.Process(target=call_until_refused, args=(*arguments, theirs)) for _, theirs in pipes]
        for worker in workers:
            worker.start()
        together.wait()
        wait_for_half(provider.engine.bill)
        for worker in workers[:KILLED]:
            worker.kill()
        killed_s = time.perf_counter()
        for worker in workers[KILLED:]:
            worker.join(LONGEST_S)
        took_s = time.perf_counter() - killed_s
        for worker in workers:
            worker.join()
        counts: Counter[str] = sum((ours.recv() for ours, _ in pipes[KILLED:]), Counter())
        billed = provider.engine.bill.billed_nanousd
    settled, held = charged_nanousd(url, folder / "state")
    over = max(0, billed - BUDGET_NANOUSD) / NANOUSD_PER_USD
    print(
        f"{PROCESSES} x {CALLERS} callers, {KILLED} killed, {kind:5}  ended {took_s:.1f} s after the kill (bar {BARS_S[kind]} s), "
        f"over by ${over:.6f} (bar 0), {settled / BUDGET_NANOUSD:.2%} charged (bar {BAR_CHARGED:.0%}), "
        f"{billed / BUDGET_NANOUSD:.2%} billed (bar {BAR_BILLED:.0%}), ${held / NANOUSD_PER_USD:.6f} still held"
    )
    for message, count in counts.most_common(4):
        print(f"    {count} x {message}")
    assert took_s <= BARS_S[kind]
    assert not over
    assert settled >= BAR_CHARGED * BUDGET_NANOUSD
    assert billed >= BAR_BILLED * BUDGET_NANOUSD


@contextlib.contextmanager
def ledger(kind: str, folder: Path) -> Iterator[str | None]:
    """The URL of a new ledger of this kind; None without a `redis-server`."""
    if kind == "file":
        yield f"sqlite://{folder / 'ledger.sqlite3'}"
    elif shutil.which("redis-server") is None:
        yield None
    else:
        with PrivateServer(folder) as server:
            yield f"redis://127.0.0.1:{server.port}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", choices=BARS_S, action="append", help="file or redis (default: both)")
    for kind in parser.parse_args().ledger or BARS_S:
        with tempfile.TemporaryDirectory(prefix="paymaster-bench-") as name, ledger(kind, Path(name)) as url:
            if url is None:
                print("no redis-server on the PATH: Redis was not measured")
            else:
                measure(kind, url, Path(name))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
