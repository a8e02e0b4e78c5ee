"""Measures the gateway, and beside it LiteLLM's proxy and Portkey's gateway where they are installed, before one bare upstream.

Requests, streams, latency, memory; and a hard budget under 256 connections, billed at a simulated provider: two workers on SQLite, two
gateways on one Redis. One worker each, the same client, the same upstream, rounds in turn. Time is the server's own CPU as well as the
clock's: on a machine that does other things, and whose client and upstream take their share of its cores, the CPU per request means more.
The others are asked for by where they are installed; what is not there is left out, and that is said:

    python -m venv /tmp/litellm && /tmp/litellm/bin/pip install 'litellm[proxy]'
    npm install --prefix /tmp/portkey @portkey-ai/gateway
    LITELLM=/tmp/litellm/bin/litellm PORTKEY=/tmp/portkey python benchmarks/bench_gateway.py
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from bench_http import CHUNKS
from gateway_servers import KEY, Server, litellm, paymaster, portkey, redis_server
from gateway_upstream import upstream
from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.providers.scripted.script import Script
from paymaster.providers.scripted.server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECTIONS = 64
REQUESTS, STREAMS, ALONE = 1_600, 640, 300
WARM_UP = 256
ROUNDS = 3
OPEN_STREAMS = 1_000
BUDGET_CONNECTIONS = 256
CAP_NANOUSD, HELD_NANOUSD, BILLED_NANOUSD = 2_000_000_000, 5_000_000, 4_000_000
"""The hard budget, and the worst and the real cost of each call."""
BARS = {
    "requests": 15.0,
    "chunks": 20.0,
    "portkey": 2.0,
    "added_ms": 1.2,
    "added_share": 0.1,
    "first_ms": 1.0,
    "idle_mb": 120,
    "streams_mb": 300,
}
MESSAGES = [{"role": "user", "content": "Find the bug in this file. " * 60}]
REGISTRY = """
model_registry:
  default: whole
  models:
    whole: {{provider: openai, model_id: gpt-4o, base_url: "http://127.0.0.1:{port}/v1", api_key_env: BENCH_KEY, rpm: 100000000,
      tpm: 100000000000, max_parallel: 1000000, usd_per_1k_input: 5e-3, usd_per_1k_output: 15e-3, max_output_tokens: 4096}}
  policies: {{budget_usd_per_run: 1000000, budget_usd_per_month: 9000000, hard_stop_on_budget: true}}
"""
LITELLM = """
model_list:
  - {{model_name: whole, litellm_params: {{model: openai/gpt-4o, api_base: "http://127.0.0.1:{port}/v1", api_key: none}}}}
litellm_settings: {{num_retries: 0, telemetry: false}}
"""


@dataclass
class Figures:
    """Medians of one server over all rounds; those of streams are NaN if it can't stream here."""

    cpu_ms: float
    per_s: float
    alone_ms: float
    stream_cpu_ms: float = math.nan
    chunks_per_s: float = math.nan
    first_ms: float = math.nan


# ----------------------------------------------------------------------------------------------------------------- the client


def request(port: int, headers: str = KEY, *, stream: bool, user: str = "bench") -> bytes:
    body = orjson.dumps({"model": "whole", "messages": MESSAGES, "max_tokens": 100, "stream": stream, "user": user})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> float:
    """One request; the seconds to the first byte of its body."""
    began = time.perf_counter()
    writer.write(sent)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert b" 200 " in head[:16], head + await reader.read(1000)
    if b"content-length: " in head:
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        return time.perf_counter() - began
    await reader.readuntil(b"\r\n")
    first_s = time.perf_counter() - began
    await reader.readuntil(b"\r\n0\r\n\r\n")
    return first_s


async def connection(port: int, sent: bytes, count: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    times = [await ask(reader, writer, sent) for _ in range(count)]
    writer.close()
    return times


async def load(port: int, sent: bytes, count: int, connections: int = CONNECTIONS) -> list[float]:
    rounds = await asyncio.gather(*(connection(port, sent, count // connections) for _ in range(connections)))
    return [value for times in rounds for value in times]


# ---------------------------------------------------------------------------------------------------------------- the rounds


def measure(server: Server, *, streams: bool) -> Figures:
    whole, stream = request(server.port, server.headers, stream=False), request(server.port, server.headers, stream=True)
    count = max(REQUESTS // server.share, CONNECTIONS)
    cpu, began = server.cpu_s(), time.perf_counter()
    asyncio.run(load(server.port, whole, count))
    per_s, cpu_ms = count / (time.perf_counter() - began), (server.cpu_s() - cpu) / count * 1e3
    alone_ms = statistics.median(asyncio.run(connection(server.port, whole, ALONE // min(server.share, 4)))) * 1e3
    if not streams:
        return Figures(cpu_ms, per_s, alone_ms)
    count = max(STREAMS // server.share, CONNECTIONS)
    cpu, began = server.cpu_s(), time.perf_counter()
    asyncio.run(load(server.port, stream, count))
    chunks_per_s, stream_cpu_ms = count * CHUNKS / (time.perf_counter() - began), (server.cpu_s() - cpu) / count * 1e3
    first_ms = statistics.median(asyncio.run(connection(server.port, stream, 60))) * 1e3
    return Figures(cpu_ms, per_s, alone_ms, stream_cpu_ms, chunks_per_s, first_ms)


def warm_up(server: Server) -> bool:
    """Send the first requests, so that no round includes them; whether the server can stream."""
    asyncio.run(load(server.port, request(server.port, server.headers, stream=False), WARM_UP // server.share, CONNECTIONS // server.share))
    try:
        asyncio.run(connection(server.port, request(server.port, server.headers, stream=True), 4))
    except AssertionError as error:
        print(f"{server.name:10} can't stream here, so only whole answers are compared: {error.args[0][:160]!r}")
        return False
    return True


def direct(port: int) -> tuple[float, float]:
    """Milliseconds of a whole answer and to a stream's first chunk, directly at the upstream."""
    alone = asyncio.run(connection(port, request(port, stream=False), ALONE))
    first = asyncio.run(connection(port, request(port, stream=True), 60))
    return statistics.median(alone) * 1e3, statistics.median(first) * 1e3


# ---------------------------------------------------------------------------------------------------------- memory and budget


def memory_with_streams(server: Server) -> float:
    """Megabytes while `OPEN_STREAMS` streams are open; all of them must end well."""

    async def hold() -> float:
        sent = request(server.port, server.headers, stream=True, user="open")
        asks = [asyncio.create_task(connection(server.port, sent, 1)) for _ in range(OPEN_STREAMS)]
        most = 0.0
        while not all(task.done() for task in asks):
            most = max(most, await asyncio.to_thread(server.memory_mb))
            await asyncio.sleep(0.5)
        await asyncio.gather(*asks)
        return most

    return asyncio.run(hold())


def hard_budget(directory: Path, *gateways: Sequence[str]) -> float:
    """The share of a hard budget that the provider billed, with `BUDGET_CONNECTIONS` at these gateways until all are refused."""
    section = {
        "prices": {"usd_per_1m_input": 0, "usd_per_1m_output": 100},
        "usage": {"prompt_tokens": 1, "completion_tokens": BILLED_NANOUSD // 100_000},
        "latency_ms": 20,
    }
    directory.mkdir()
    with ScriptedServer(Script.model_validate({"models": {"*": section}})) as provider, contextlib.ExitStack() as stack:
        tokens = HELD_NANOUSD // 100_000
        model = {
            "provider": "openai_compatible", "base_url": provider.base_url, "model_id": "m", "usd_per_1m_input": 0,
            "usd_per_1m_output": 100, "max_output_tokens": tokens,
        }  # fmt: skip
        policies = {"budget_usd_per_run": CAP_NANOUSD // NANOUSD_PER_USD, "hard_stop_on_budget": True, "min_output_tokens": tokens}
        registry = directory / "registry.yaml"
        registry.write_text(json.dumps({"default": "whole", "models": {"whole": model}, "policies": policies}))
        servers = [
            stack.enter_context(paymaster(registry, directory / f"state-{index}", "--run-id", "bench", *flags))
            for index, flags in enumerate(gateways)
        ]
        asyncio.run(_spend(servers))
        return int(str(provider.bill()["billed_nanousd"])) / CAP_NANOUSD


async def _spend(servers: Sequence[Server]) -> None:
    """Send calls on each connection until it is refused twice: then the budget is spent, and no hold can return any of it."""

    async def one(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
        refused = 0
        while refused < 2:
            writer.write(request(server.port, server.headers, stream=False))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            assert head[9:12] in (b"200", b"402"), head
            refused += head[9:12] == b"402"
        writer.close()

    await asyncio.gather(*(one(servers[index % len(servers)]) for index in range(BUDGET_CONNECTIONS)))


# ------------------------------------------------------------------------------------------------------------------ the report


def main() -> int:
    """Print every figure with its bar; the exit status is 1 if one is missed."""
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as name, upstream() as port, contextlib.ExitStack() as stack:
        directory = Path(name)
        registry, config = directory / "registry.yaml", directory / "litellm.yaml"
        registry.write_text(REGISTRY.format(port=port))
        config.write_text(LITELLM.format(port=port))
        ours = stack.enter_context(paymaster(registry, directory / "state"))
        idle_mb = ours.memory_mb()
        servers = [ours]
        if program := os.environ.get("LITELLM"):
            servers.append(stack.enter_context(litellm(program, config)))
        if folder := os.environ.get("PORTKEY"):
            servers.append(stack.enter_context(portkey(folder, port)))
        figures, bare = rounds(servers, port)
        report_times(missed, figures, *bare)
        _report(missed, "memory idle, MB", idle_mb, most=BARS["idle_mb"])
        _report(missed, f"memory with {OPEN_STREAMS} open streams, MB", memory_with_streams(ours), most=BARS["streams_mb"])
    with tempfile.TemporaryDirectory() as name:
        report_budgets(missed, Path(name))
    return 1 if missed else 0


def rounds(servers: Sequence[Server], port: int) -> tuple[dict[str, Figures], tuple[float, float]]:
    """The medians of every server by its name, and of the upstream itself."""
    streams = {server.name: warm_up(server) for server in servers}
    found: dict[str, list[Figures]] = {server.name: [] for server in servers}
    bare: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        bare.append(direct(port))
        for server in servers:
            found[server.name].append(measure(server, streams=streams[server.name]))
    alone_ms, first_ms = (statistics.median(values) for values in zip(*bare, strict=True))
    return {name: _median(taken) for name, taken in found.items()}, (alone_ms, first_ms)


def report_times(missed: list[str], figures: dict[str, Figures], alone_ms: float, first_ms: float) -> None:
    """Print the times of all servers, and the ratios that have a bar."""
    for name, one in figures.items():
        print(f"{name:10} {one.cpu_ms:6.2f} ms CPU per request, {one.per_s:6.0f} requests/s, {one.alone_ms:6.2f} ms at 1", end="")
        stream = (
            f"; stream of {CHUNKS}: {one.stream_cpu_ms:6.2f} ms CPU, {one.chunks_per_s:7.0f} chunks/s, first after {one.first_ms:.2f} ms"
        )
        print("" if math.isnan(one.first_ms) else stream)
    own = figures["Paymaster"]
    added_ms = own.alone_ms - alone_ms
    _report(missed, "latency added at 1 connection, p50, ms", added_ms, most=BARS["added_ms"])
    # A stream's first chunk waits for the same admission as a whole answer; the difference is the forwarding.
    _report(missed, "first chunk forwarded after, p50, ms", own.first_ms - first_ms - added_ms, most=BARS["first_ms"])
    if other := figures.get("LiteLLM"):
        share = added_ms / (other.alone_ms - alone_ms)
        _report(missed, "latency added, share of what LiteLLM's proxy adds", share, most=BARS["added_share"])
        _report(missed, "requests per CPU second, times LiteLLM's", other.cpu_ms / own.cpu_ms, least=BARS["requests"])
        _report(missed, "chunks per CPU second, times LiteLLM's", other.stream_cpu_ms / own.stream_cpu_ms, least=BARS["chunks"])
        requests, chunks = own.per_s / other.per_s, own.chunks_per_s / other.chunks_per_s
        print(f"       by the clock: {requests:.1f} times LiteLLM's requests, {chunks:.1f} times its chunks")
    else:
        print("       LiteLLM's proxy: omitted: set LITELLM to its program (see the top of this file)")
    if other := figures.get("Portkey"):
        _report(missed, "requests per CPU second, times Portkey's, which keeps no ledger", other.cpu_ms / own.cpu_ms, least=BARS["portkey"])
        print(f"       by the clock: {own.per_s / other.per_s:.1f} times Portkey's requests")
    else:
        print("       Portkey's gateway: omitted: set PORTKEY to its folder (see the top of this file)")


def report_budgets(missed: list[str], directory: Path) -> None:
    """Print the use of a hard budget at two workers on one file, and at two gateways on one Redis."""
    setups: dict[str, list[Sequence[str]]] = {"two workers on SQLite": [["--workers", "2"]]}
    with contextlib.ExitStack() as stack:
        if shutil.which("redis-server"):
            address = stack.enter_context(redis_server(directory / "redis"))
            setups["two gateways on one Redis"] = [["--ledger", address], ["--ledger", address]]
        else:
            print("       two gateways on one Redis: omitted: no redis-server on the PATH")
        for index, (what, gateways) in enumerate(setups.items()):
            billed = hard_budget(directory / str(index), *gateways)
            label = f"hard budget, {what}, {BUDGET_CONNECTIONS} connections: billed by the provider, % of the cap"
            _report(missed, label, 100 * billed, least=98, most=100)


def _report(missed: list[str], what: str, value: float, *, least: float = -math.inf, most: float = math.inf) -> None:
    kept = least <= value <= most
    bars = [f"{relation} {bar:g}" for relation, bar in (("at least", least), ("at most", most)) if math.isfinite(bar)]
    print(f"{'  ok  ' if kept else 'MISSED'} {what}: {value:.4g} (bar: {', '.join(bars)})", flush=True)
    if not kept:
        missed.append(what)


def _median(taken: list[Figures]) -> Figures:
    return Figures(**{name: statistics.median(getattr(one, name) for one in taken) for name in Figures.__dataclass_fields__})


if __name__ == "__main__":
    sys.exit(main())
