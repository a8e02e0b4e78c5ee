"""Measures what several endpoints behind one model do to prompt caches, to limits and to the CPU of a call.

- **warm**: 64 conversations of 30 turns at 8 endpoints with simulated caches. Bar: 95 % of the hits that one endpoint has.
- **outages**: the same while an endpoint goes away every minute, for half of it. Bar: all are answered, with 80 % of the hits.
- **limits**: 4 processes at 4 endpoints with rpm 100 each. Bar: 95 % of 400 in the first minute, none above 100 in any 60 s.
- **cpu**: what Paymaster adds to a call with 8 endpoints, against one, in turn. Bar: 15 % more.

    python benchmarks/bench_endpoints.py [warm] [outages] [limits] [cpu]

Without a name all of them, in about seven minutes. Random choice is shown beside the first, as affinity and load are off there.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from bench_calls import MESSAGES, TOOLS, added
from bench_http import HEADERS, bare_server
from caching_endpoints import EndpointCounts, Outages, caching_endpoints
from paymaster import AsyncClient, CallFailed
from paymaster.client import Client

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.synchronize import Barrier

CONVERSATIONS, TURNS = 64, 30
WARM_BAR, OUTAGE_BAR, USED_BAR, CPU_BAR = 0.95, 0.80, 0.95, 1.15
MINUTE_S = 60.0
RPM = 100
SYSTEM = {"role": "system", "content": "You find bugs and fix them, one small step after the other. " * 40}
REGISTRY = """
model_registry:
  default: m
  models:
    m:
      provider: openai
      model_id: gpt-4o
      api_key_env: KEY
      usd_per_1m_input: 2.5
      usd_per_1m_output: 10
      usd_per_1m_cache_read: 0.25
      {extra}
      endpoints:{endpoints}
policies: {{budget_usd_per_run: 100000, hard_stop_on_budget: true}}
"""


def registry(addresses: Sequence[str], *, extra: str = "", limits: str = "rpm: 100000, max_parallel: 1000") -> str:
    """A registry whose model has an endpoint at each address."""
    endpoints = "".join(f"\n        - {{name: e{number}, base_url: {address!r}, {limits}}}" for number, address in enumerate(addresses))
    return REGISTRY.format(extra=extra or "affinity: conversation", endpoints=endpoints)


async def converse(client: AsyncClient, number: int, pause_s: float) -> int:
    """One conversation; the number of turns that were answered."""
    messages, answered = [SYSTEM, {"role": "user", "content": f"Task {number}: fix the {number}th bug. " * 20}], 0
    spread = random.Random(number)
    for turn in range(TURNS):
        await asyncio.sleep(pause_s * spread.uniform(0.5, 1.5))
        try:
            reply = await client.complete(messages, max_tokens=200)
        except CallFailed as error:
            print(f"    conversation {number}, turn {turn}: {error.message}")
            return answered
        answered += 1
        messages = [*messages, reply.message, {"role": "user", "content": f"The command printed line {turn}. " * 30}]
    return answered


def conversations(
    count: int, pause_s: float, *, extra: str = "", outages: Outages | None = None
) -> tuple[float, int, list[EndpointCounts]]:
    """The share of tokens that the caches had, the answers, and what each of `count` endpoints saw."""

    async def run(path: Path, state: str) -> int:
        async with AsyncClient(path, run="bench", state_dir=state, environ={"KEY": "none"}) as client:
            return sum(await asyncio.gather(*(converse(client, number, pause_s) for number in range(CONVERSATIONS))))

    with caching_endpoints(count, 0.02, outages) as endpoints, tempfile.TemporaryDirectory() as state:
        path = Path(state, "registry.yaml")
        path.write_text(registry(endpoints.addresses, extra=extra))
        answered = asyncio.run(run(path, state))
        counts = endpoints.counts()
    return sum(each.cached_tokens for each in counts) / sum(each.read_tokens for each in counts), answered, counts


def warm() -> bool:
    """Hits at eight endpoints, as a share of those at one; beside them, with random choice."""
    one, _, _ = conversations(1, 0.1)
    eight, answered, counts = conversations(8, 0.1)
    chance, _, _ = conversations(8, 0.1, extra="affinity: none\n      balance: weighted")
    loads = [len(each.requests_s) for each in counts]
    met = eight >= WARM_BAR * one and answered == CONVERSATIONS * TURNS
    print(
        f"warm: one endpoint {one:.1%} cached, eight {eight:.1%} = {eight / one:.1%} of it (bar {WARM_BAR:.0%}), "
        f"without affinity {chance:.1%}; {answered} of {CONVERSATIONS * TURNS} answered, "
        f"{min(loads)}-{max(loads)} requests at each: {said(met=met)}"
    )
    return met


def outage() -> bool:
    """The same while endpoints go away and come back."""
    one, _, _ = conversations(1, 0.1)
    eight, answered, _ = conversations(8, 6.0, outages=Outages(MINUTE_S, MINUTE_S / 2))
    met = eight >= OUTAGE_BAR * one and answered == CONVERSATIONS * TURNS
    print(
        f"outages: {answered} of {CONVERSATIONS * TURNS} answered (bar all), {eight:.1%} cached = {eight / one:.1%} of one endpoint's "
        f"(bar {OUTAGE_BAR:.0%}): {said(met=met)}"
    )
    return met


def call_until(path: str, state: str, seconds: float, together: Barrier) -> None:
    """One process that calls as often as the limits let it."""

    async def caller(client: AsyncClient, until_s: float, number: int) -> None:
        turn = 0
        while time.monotonic() < until_s:
            turn += 1
            try:
                await client.complete([{"role": "user", "content": f"{os.getpid()} {number} {turn}"}], max_tokens=20, max_wait_s=1)
            except CallFailed:
                await asyncio.sleep(0.05)

    async def run() -> None:
        async with AsyncClient(path, run="bench", state_dir=state, environ={"KEY": "none"}) as client:
            await asyncio.to_thread(together.wait)
            until_s = time.monotonic() + seconds
            await asyncio.gather(*(caller(client, until_s, number) for number in range(8)))

    asyncio.run(run())


def limits() -> bool:
    """Whether four processes use the limits of four endpoints together, and none is passed."""
    processes, endpoints_count, seconds = 4, 4, 75.0
    context = multiprocessing.get_context("spawn")
    with caching_endpoints(endpoints_count, 0.02) as endpoints, tempfile.TemporaryDirectory() as state:
        path = Path(state, "registry.yaml")
        path.write_text(registry(endpoints.addresses, limits=f"rpm: {RPM}"))
        together = context.Barrier(processes)
        children = [context.Process(target=call_until, args=(str(path), state, seconds, together)) for _ in range(processes)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        counts = endpoints.counts()
    began_s = min(each.requests_s[0] for each in counts)
    used = sum(at_s < began_s + MINUTE_S for each in counts for at_s in each.requests_s) / (RPM * endpoints_count)
    most = max(each.most_within(MINUTE_S) for each in counts)
    met = used >= USED_BAR and most <= RPM
    print(
        f"limits: {used:.1%} of {RPM * endpoints_count} requests used in the first minute (bar {USED_BAR:.0%}), "
        f"at most {most} at one endpoint in any 60 s (bar {RPM}): {said(met=met)}"
    )
    return met


def cpu() -> bool:
    """What a call costs more with eight endpoints than with one."""
    with bare_server() as base, tempfile.TemporaryDirectory() as state:
        address = urlsplit(base)
        bare = http.client.HTTPConnection(address.hostname or "", address.port)

        def alone() -> bytes:
            body = orjson.dumps({"model": "gpt-4o", "messages": MESSAGES, "tools": TOOLS, "max_tokens": 100})
            bare.request("POST", "/v1/chat/completions", body, HEADERS)
            return bare.getresponse().read()

        clients = []
        for count in (1, 8):
            path = Path(state, f"{count}.yaml")
            path.write_text(registry([f"{base}/e{number}/v1" for number in range(count)]))
            clients.append(Client(path, run="bench", state_dir=f"{state}/{count}", environ={"KEY": "none"}))
        rounds = [
            [added(alone, lambda c=client: c.complete(MESSAGES, tools=TOOLS, max_tokens=100))[0] for client in clients]  # type: ignore[misc]  # called at once
            for _ in range(3)
        ]
        for client in clients:
            client.close()
    single, several = (statistics.median(column) for column in zip(*rounds, strict=True))
    met = several <= CPU_BAR * single
    print(f"cpu: one endpoint adds {single:.3f} ms, eight {several:.3f} ms, {several / single:.2f} x (bar {CPU_BAR}): {said(met=met)}")
    return met


def said(*, met: bool) -> str:
    """How a figure came out."""
    return "met" if met else "MISSED"


def main() -> int:
    """Run what was asked for; 1 if a bar is missed."""
    figures = {"warm": warm, "outages": outage, "limits": limits, "cpu": cpu}
    parser = argparse.ArgumentParser()
    parser.add_argument("figures", nargs="*", choices=[[], *figures], metavar="FIGURE", help=", ".join(figures))
    asked = parser.parse_args().figures or list(figures)
    met = [figures[name]() for name in asked]
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
