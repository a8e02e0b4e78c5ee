"""Measures at the provider whether a hard budget and rate limits hold, and how much of them is used.

8 processes x 16 concurrent calls on one SQLite ledger. The provider is the scripted one in its own process; it counts the bill and the
largest windows itself.

    python benchmarks/bench_bounds.py            the budget, then the rate limits (about 2.5 minutes)
    python benchmarks/bench_bounds.py budget     one of them
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster import AsyncClient, BudgetExceeded, NoModelAvailable
from paymaster.accounting.money import NANOUSD_PER_USD, cap_nanousd
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PROCESSES, AT_ONCE = 8, 16
BUDGET_USD = "2.00"
RPM, TPM = 600, 120_000
RATE_SECONDS = 125
SCRIPT = """
models:
  model-a:
    prices: {usd_per_1m_input: 2.5, usd_per_1m_output: 10}
    latency_ms: 20
    answers: [{text: "word word word word word word word word word word word word word word word word word word word word"}]
"""
REGISTRY = """
models:
  a: {{provider: openai, model_id: model-a, base_url: "{base}", usd_per_1m_input: 2.5, usd_per_1m_output: 10,
    max_output_tokens: 200, {limits}}}
policies: {policies}
"""
QUESTION = [{"role": "user", "content": "How many words are there in this sentence? " * 10}]


def provide(pipe: Connection) -> None:
    """Serve the script until a message arrives."""
    with ScriptedServer(parse_script(SCRIPT)) as server:
        pipe.send(server.base_url)
        pipe.recv()


def work(registry: str, state: str, until: float, max_tokens: int) -> None:
    """One process of callers, which send calls until the budget refuses one or the time is up."""

    async def caller(client: AsyncClient) -> None:
        while time.time() < until:
            try:
                await client.complete(QUESTION, max_tokens=max_tokens, deadline_s=max(0.1, until - time.time()))
            except (BudgetExceeded, NoModelAvailable):  # no money, or no room under a limit before the time is up
                return

    async def callers() -> None:
        async with AsyncClient(registry, run="bench", state_dir=state, environ={}) as client:
            await asyncio.gather(*(caller(client) for _ in range(AT_ONCE)))

    asyncio.run(callers())


def run(policies: str, limits: str, seconds: float, max_tokens: int) -> tuple[dict, float]:
    """The provider's bill of model-a after the load, and the duration of the load."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    provider = context.Process(target=provide, args=(theirs,))
    provider.start()
    base = ours.recv()
    with tempfile.TemporaryDirectory() as state:
        registry = Path(state, "registry.yaml")
        registry.write_text(REGISTRY.format(base=base, policies=policies, limits=limits))
        began = time.time()
        workers = [context.Process(target=work, args=(str(registry), state, began + seconds, max_tokens)) for _ in range(PROCESSES)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took = time.time() - began
        with urllib.request.urlopen(base.removesuffix("/v1") + "/_bill") as answer:  # noqa: S310  our own address
            bill = json.load(answer)
    ours.send("stop")
    provider.join()
    return bill["models"]["model-a"], took


def budget() -> None:
    """A hard budget of $2: the amount billed."""
    bill, took = run(f"{{budget_usd_per_run: {BUDGET_USD}, hard_stop_on_budget: true, min_output_tokens: 16}}", "", 300, 200)
    billed, cap = bill["billed_nanousd"], cap_nanousd(Decimal(BUDGET_USD))
    print(
        f"hard budget ${BUDGET_USD}: billed ${billed / NANOUSD_PER_USD:.6f} = {100 * billed / cap:.2f} % (bar: 98 to 100)",
        end="; ",
    )
    print(f"{bill['requests']} calls in {took:.1f} s, {PROCESSES} processes x {AT_ONCE}")


def rates() -> None:
    """rpm, then tpm: the largest window at the provider, and its share of the limit."""
    bill, _ = run("{max_wait_s: 200}", f"rpm: {RPM}", RATE_SECONDS, 30)
    seen = bill["largest_requests_per_minute"]
    print(f"rpm {RPM}: the largest 60 s held {seen} requests = {100 * seen / RPM:.1f} % (bar: at most 100, at least 95)")
    bill, _ = run("{max_wait_s: 200, min_output_tokens: 1}", f"tpm: {TPM}", RATE_SECONDS, 30)
    seen = bill["largest_tokens_per_minute"]
    print(f"tpm {TPM}: the largest 60 s held {seen} tokens = {100 * seen / TPM:.1f} % (bar: at most 100, at least 95)")


if __name__ == "__main__":
    for name in sys.argv[1:] or ("budget", "rates"):
        {"budget": budget, "rates": rates}[name]()
