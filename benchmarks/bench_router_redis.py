"""The same load on LiteLLM's Router with a Redis and a provider budget, and on ours with the same Redis, billed at the provider.

8 processes of 16 tasks call until they are refused, or have called so many times. The Router is set up as its documentation shows
(`provider_budget_config` with `redis_host`), without retries. Only our figures have a bar; the Router's are printed beside them.
Without litellm or a `redis-server` nothing is measured.
"""

import asyncio
import importlib.util
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.errors import UsageMistake
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.torture.private_server import PrivateServer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PROCESSES, CALLERS = 8, 16
BUDGET_USD = 2.40
STARTING_LIMIT_S = 600
"""Eight processes load litellm at once."""

CALLS_LIMIT = 40
"""Per task: the budget pays for about 8."""

SCRIPT = """
models:
  paid:
    prices: {usd_per_1m_input: 10, usd_per_1m_output: 30}
    latency_ms: 100
    answers: [{text: "ANSWER"}]
""".replace("ANSWER", "word " * 80)
REGISTRY = """
model_registry:
  default: paid
  models:
    paid: {{provider: scripted, base_url: "{url}", tokenizer: bytes, capabilities: [], usd_per_1m_input: 10, usd_per_1m_output: 30}}
policies: {{budget_usd_per_run: {budget}, hard_stop_on_budget: true, min_output_tokens: 1}}
"""
MESSAGES = [{"role": "user", "content": "How many callers can one budget bear?"}]


async def ours(url: str, port: int, folder: str, ready: partial[object]) -> Counter[str]:
    """Paymaster's tasks of one process."""
    from paymaster import AsyncClient, BudgetExceeded, CallFailed

    counts: Counter[str] = Counter()

    async def caller(client: AsyncClient) -> None:
        for _ in range(CALLS_LIMIT):
            try:
                await client.complete(MESSAGES, max_tokens=120)
                counts["answered"] += 1
            except BudgetExceeded:
                counts["refused"] += 1
                return
            except CallFailed:
                counts["failed"] += 1

    registry = Path(folder) / f"registry-{os.getpid()}.yaml"
    registry.write_text(REGISTRY.format(url=url, budget=BUDGET_USD))
    async with AsyncClient(registry, run="many-callers", ledger=f"redis://127.0.0.1:{port}", state_dir=folder, environ={}) as client:
        await asyncio.to_thread(ready)
        await asyncio.gather(*(caller(client) for _ in range(CALLERS)))
    return counts


async def theirs(url: str, port: int, _folder: str, ready: partial[object]) -> Counter[str]:
    """The Router's tasks of one process."""
    import litellm

    counts: Counter[str] = Counter()
    logging.disable(logging.ERROR)  # every process logs that it knows no cache price
    model = {
        "model": "openai/paid",
        "api_base": url,
        "api_key": "none",
        "input_cost_per_token": 10e-6,
        "output_cost_per_token": 30e-6,
    }
    router = litellm.Router(
        model_list=[{"model_name": "paid", "litellm_params": model}],
        redis_host="127.0.0.1",
        redis_port=port,
        provider_budget_config={"openai": {"budget_limit": BUDGET_USD, "time_period": "1d"}},
        num_retries=0,
    )

    async def caller() -> None:
        for _ in range(CALLS_LIMIT):
            try:
                await router.acompletion("paid", messages=MESSAGES, max_tokens=120)
                counts["answered"] += 1
            except ValueError as error:  # how the Router says that no deployment is left within its budget
                counts["refused" if "budget" in str(error).lower() else type(error).__name__] += 1
                return
            except litellm.exceptions.APIError as error:
                counts[type(error).__name__] += 1
                return

    await asyncio.to_thread(ready)
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await asyncio.sleep(2)  # its counters reach Redis once a second
    return counts


def child(name: str, setup: tuple[str, int, str], together: Barrier, pipe: "Connection[object, object]") -> None:
    """One process of callers; all processes begin at the same moment."""
    work = ours if name == "Paymaster" else theirs
    pipe.send(asyncio.run(work(*setup, partial(together.wait, STARTING_LIMIT_S))))


def measure(name: str, port: int, folder: Path) -> float:
    """Let all processes spend; the share of the budget that was billed."""
    with ScriptedServer(parse_script(SCRIPT)) as provider:
        context = multiprocessing.get_context("spawn")
        together = context.Barrier(PROCESSES + 1)
        pipes = [context.Pipe() for _ in range(PROCESSES)]
        setup = (provider.base_url, port, str(folder))
        children = [context.Process(target=child, args=(name, setup, together, end)) for _, end in pipes]
        for each in children:
            each.start()
        together.wait(STARTING_LIMIT_S)
        started = time.perf_counter()
        counts: Counter[str] = sum((mine.recv() for mine, _ in pipes), Counter())
        took_s = time.perf_counter() - started
        for each in children:
            each.join()
        billed_usd = provider.engine.bill.billed_nanousd / 1e9
    used = billed_usd / BUDGET_USD
    ended = ", ".join(f"{count} {how}" for how, count in sorted(counts.items()))
    print(
        f"{name:16} ${billed_usd:.6f} of ${BUDGET_USD:.2f} billed: {used:7.2%}, over by {max(0.0, used - 1):.2%}; {ended}; {took_s:.1f} s"
    )
    return used


def main() -> None:
    if importlib.util.find_spec("litellm") is None:
        print("litellm is not installed: nothing measured")
        sys.exit(0)
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with tempfile.TemporaryDirectory(prefix="paymaster-bench-") as name:
        try:
            with PrivateServer(Path(name)) as server:
                print(f"{PROCESSES} processes x {CALLERS} tasks on one budget and one Redis, billed at the provider")
                used = measure("Paymaster", server.port, Path(name))
                measure("LiteLLM's Router", server.port, Path(name))
        except UsageMistake as mistake:
            print(f"{mistake.message}: nothing measured")
            sys.exit(0)
    assert used <= 1
    assert used >= 0.98


if __name__ == "__main__":
    main()
