"""Measures how much Paymaster adds to a call with the same HTTP client alone, and how much litellm's Router adds, on a bare server.

A 20-message history with four tools, six accounts with a cap (two budgets, requests, tokens, slots, pause), a SQLite ledger, the events
file. Each round measures calls without and with it in turn, so that the ratio is right on a machine whose speed drifts; the figures are
medians of the rounds.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from bench_http import HEADERS, bare_server
from paymaster.client import AsyncClient, Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLS = 300
ROUNDS = 7
REGISTRY = """
model_registry:
  default: primary
  models:
    primary: &shared {{provider: openai, model_id: gpt-4o, base_url: "{base}", api_key_env: BENCH_KEY, rpm: 1000000, tpm: 1000000000,
      max_parallel: 1000, usd_per_1k_input: 5e-3, usd_per_1k_output: 15e-3, capabilities: [function_calling], max_output_tokens: 4096}}
    fallback: {{provider: openai, model_id: gpt-4o-mini, base_url: "{base}", api_key_env: BENCH_KEY, rpm: 1000000, tpm: 1000000000,
      usd_per_1k_input: 5e-3, usd_per_1k_output: 15e-3, capabilities: [function_calling], max_output_tokens: 4096}}
  policies: {{budget_usd_per_run: 1000000, budget_usd_per_month: 9000000, hard_stop_on_budget: true, fallback_chain: [primary, fallback]}}
"""
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": "Runs a command and returns what it printed. " * 4,
            "parameters": {"type": "object", "properties": {"command": {"type": "string", "description": "The command to run."}}},
        },
    }
    for number in range(4)
]
MESSAGES = [
    {"role": "assistant" if number % 2 else "user", "content": f"Step {number}: find the bug in this file. " * 30} for number in range(20)
]
PAYLOAD = {"model": "gpt-4o", "messages": MESSAGES, "tools": TOOLS, "max_tokens": 100}


def main() -> None:
    """Print CPU and wall milliseconds that each adds per call, and the ratios."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with bare_server() as base, tempfile.TemporaryDirectory() as state:
        registry = Path(state, "registry.yaml")
        registry.write_text(REGISTRY.format(base=f"{base}/v1"))
        settings = {"environ": {"BENCH_KEY": "none"}, "state_dir": state, "run": "bench"}
        rows = {
            "Paymaster, sync": sync_figures(base, registry, settings),
            "Paymaster, async": asyncio.run(async_figures(base, registry, settings)),
        }
        if importlib.util.find_spec("litellm"):
            rows["litellm Router, sync"] = router_figures(base)
            rows["litellm Router, async"] = asyncio.run(async_router_figures(base))
    print(f"{'added to one call':<24}{'CPU ms':>10}{'wall ms':>10}{'bare CPU ms':>14}")
    for name, (cpu, wall, bare) in rows.items():
        print(f"{name:<24}{cpu:>10.3f}{wall:>10.3f}{bare:>14.3f}")
    for kind in ("sync", "async"):
        if (router := rows.get(f"litellm Router, {kind}")) is not None:
            ours = rows[f"Paymaster, {kind}"]
            cpu, wall = router[0] / ours[0], router[1] / ours[1]
            print(f"{kind}: the Router adds {cpu:.1f} x the CPU and {wall:.1f} x the time that Paymaster adds (bar: 15)")


Figures = tuple[float, float, float]


def added(bare: Callable[[], object], wrapped: Callable[[], object], calls: int = CALLS) -> Figures:
    """CPU and wall milliseconds per call that `wrapped` takes more than `bare`, and the CPU of `bare`."""
    for run in (bare, wrapped):
        for _ in range(20):
            run()
    rounds = []
    for _ in range(ROUNDS):
        spent = []
        for run in (bare, wrapped):
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(calls):
                run()
            spent.append(((time.process_time() - cpu) / calls * 1e3, (time.perf_counter() - wall) / calls * 1e3))
        rounds.append((spent[1][0] - spent[0][0], spent[1][1] - spent[0][1], spent[0][0]))
    return tuple(statistics.median(column) for column in zip(*rounds, strict=True))  # type: ignore[return-value]  # three columns


async def added_async(bare: Callable[[], Awaitable[object]], wrapped: Callable[[], Awaitable[object]], calls: int = CALLS) -> Figures:
    """`added` on an event loop."""
    for run in (bare, wrapped):
        for _ in range(20):
            await run()
    rounds = []
    for _ in range(ROUNDS):
        spent = []
        for run in (bare, wrapped):
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(calls):
                await run()
            spent.append(((time.process_time() - cpu) / calls * 1e3, (time.perf_counter() - wall) / calls * 1e3))
        rounds.append((spent[1][0] - spent[0][0], spent[1][1] - spent[0][1], spent[0][0]))
    return tuple(statistics.median(column) for column in zip(*rounds, strict=True))  # type: ignore[return-value]  # three columns


def sync_figures(base: str, registry: Path, settings: dict) -> Figures:
    """In a blocking thread: the client against a kept http.client connection alone."""
    connection = http.client.HTTPConnection(base.removeprefix("http://"))

    def bare() -> object:
        connection.request("POST", "/v1/chat/completions", body=orjson.dumps(PAYLOAD), headers=HEADERS)
        return orjson.loads(connection.getresponse().read())

    with Client(registry, **settings) as client:
        return added(bare, lambda: client.complete(MESSAGES, tools=TOOLS, max_tokens=100))


async def async_figures(base: str, registry: Path, settings: dict) -> Figures:
    """On an event loop: the client against aiohttp alone."""
    import aiohttp

    async with aiohttp.ClientSession() as http, AsyncClient(registry, **settings) as client:

        async def bare() -> object:
            async with http.post(f"{base}/v1/chat/completions", data=orjson.dumps(PAYLOAD), headers=HEADERS) as response:
                return orjson.loads(await response.read())

        return await added_async(bare, lambda: client.complete(MESSAGES, tools=TOOLS, max_tokens=100))


def make_router(base: str) -> object:
    """Litellm's Router with the same two models, limits and fallback."""
    import litellm

    litellm.suppress_debug_info = True
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": f"{base}/v1",
                "api_key": "none",
                "rpm": 1_000_000,
                "tpm": 1_000_000_000,
            },
        }
        for name, model in (("primary", "gpt-4o"), ("fallback", "gpt-4o-mini"))
    ]
    return litellm.Router(
        model_list=models, fallbacks=[{"primary": ["fallback"]}], routing_strategy="usage-based-routing-v2", num_retries=0
    )


def router_figures(base: str) -> Figures:
    """In a blocking thread: the Router against httpx alone, which the OpenAI SDK uses."""
    import httpx

    router = make_router(base)
    with httpx.Client() as http:
        return added(
            lambda: http.post(f"{base}/v1/chat/completions", content=orjson.dumps(PAYLOAD), headers=HEADERS).json(),
            lambda: router.completion(model="primary", messages=MESSAGES, tools=TOOLS, max_tokens=100),  # type: ignore[attr-defined]  # litellm ships no types that hold
            calls=60,
        )


async def async_router_figures(base: str) -> Figures:
    """On an event loop: the Router against aiohttp alone, which litellm uses."""
    import aiohttp

    router = make_router(base)
    async with aiohttp.ClientSession() as http:

        async def bare() -> object:
            async with http.post(f"{base}/v1/chat/completions", data=orjson.dumps(PAYLOAD), headers=HEADERS) as response:
                return orjson.loads(await response.read())

        async def wrapped() -> object:
            return await router.acompletion(model="primary", messages=MESSAGES, tools=TOOLS, max_tokens=100)  # type: ignore[attr-defined]  # litellm ships no types that hold

        return await added_async(bare, wrapped, calls=60)


if __name__ == "__main__":
    main()
