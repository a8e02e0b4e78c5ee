"""Measures the gateway's CPU for a stream of 20 pieces that passes in its own dialect: chat completions, messages, responses.

One gateway, one bare upstream that speaks all three, 64 connections, rounds in turn. The CPU is the gateway's own, so that what else the
machine does matters little; the ratio to chat completions matters less still.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from dialect_streams import CHUNKS, STREAMS, DialectStream
from gateway_servers import KEY, Server, bare_proxy, paymaster
from gateway_upstream import HEAD, Upstream, upstream

CONNECTIONS, REQUESTS, ROUNDS = 64, 640, 5
MOST_TIMES_BARE, MOST_RATIO = 6.5, 1.2
"""The bars: the ratio of chat completions to the bare proxy, 6.5 before there were dialects, and that of the others to chat completions."""
REGISTRY = """
model_registry:
  default: chat
  models:
    {models}
  policies: {{budget_usd_per_run: 1000000, budget_usd_per_month: 9000000, hard_stop_on_budget: true}}
"""
MODEL = (
    '{name}: {{provider: openai, model_id: gpt-4o, base_url: "http://127.0.0.1:{port}/v1", dialect: {name}, api_key_env: BENCH_KEY,'
    " rpm: 100000000, tpm: 100000000000, max_parallel: 1000000, usd_per_1k_input: 5e-3, usd_per_1k_output: 15e-3, max_output_tokens: 4096}}"
)


class DialectUpstream(Upstream):
    """Answers every request with the stream of its path."""

    def answer(self, head: bytes, body: bytes) -> None:
        """Begin the stream."""
        path = head.split(b" ", 2)[1].decode()
        stream = next(stream for stream in STREAMS if path.endswith(stream.path))
        self.transport.write(HEAD + _chunk(stream.first))
        self.write_piece(stream, CHUNKS)

    def write_piece(self, stream: DialectStream, remaining: int) -> None:
        """Write one piece per turn of the loop, so that they are sent one by one."""
        if remaining == 0:
            self.transport.write(_chunk(stream.last) + b"0\r\n\r\n")
            return
        self.transport.write(_chunk(stream.piece))
        asyncio.get_running_loop().call_soon(self.write_piece, stream, remaining - 1)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _load(port: int, stream: DialectStream, count: int) -> None:
    """So many streams over `CONNECTIONS` connections; each must end well and carry every piece."""
    sent = (
        f"POST {stream.path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n{KEY}"
        f"content-length: {len(stream.body)}\r\n\r\n"
    ).encode() + stream.body

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for _ in range(count // CONNECTIONS):
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:16], head + await reader.read(1000)
            body = await reader.readuntil(b"\r\n0\r\n\r\n")
            assert body.count(b'"word word"') == CHUNKS, body
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


def _measure(server: Server, stream: DialectStream) -> float:
    began = server.cpu_s()
    asyncio.run(_load(server.port, stream, REQUESTS))
    return (server.cpu_s() - began) / REQUESTS * 1e3


def main() -> int:
    """Print the CPU of each stream and its ratios; the exit status is 1 if a bar is missed."""
    with tempfile.TemporaryDirectory() as name, upstream(DialectUpstream) as port, bare_proxy(port) as bare:
        registry = Path(name) / "registry.yaml"
        models = "\n    ".join(MODEL.format(name=stream.dialect, port=port) for stream in STREAMS)
        registry.write_text(REGISTRY.format(models=models))
        with paymaster(registry, Path(name) / "state") as server:
            measured = [(bare, STREAMS[0]), *((server, stream) for stream in STREAMS)]
            for each, stream in measured:
                asyncio.run(_load(each.port, stream, CONNECTIONS))  # the first requests are in no round
            rounds = [[_measure(each, stream) for each, stream in measured] for _ in range(ROUNDS)]
    least_ms, *figures = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"       {'bare proxy':24} {least_ms:.2f} ms CPU", flush=True)
    missed = False
    for stream, cpu_ms in zip(STREAMS, figures, strict=True):
        times, ratio = cpu_ms / least_ms, cpu_ms / figures[0]
        kept = figures[0] / least_ms <= MOST_TIMES_BARE if stream is STREAMS[0] else ratio <= MOST_RATIO
        missed = missed or not kept
        bar = f"bar: {MOST_TIMES_BARE}" if stream is STREAMS[0] else f"{ratio:.2f} x chat, bar: {MOST_RATIO}"
        way = f"{stream.dialect} -> {stream.dialect}"
        print(f"{'  ok  ' if kept else 'MISSED'} {way:24} {cpu_ms:.2f} ms CPU, {times:.1f} x the bare proxy ({bar})", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
