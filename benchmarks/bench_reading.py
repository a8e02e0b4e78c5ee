"""Measures what reading a large ledger does to a gateway: scrapes and dashboards while its loop should not stand still.

The ledger has 100,000 accounts, 100,000 entries in windows and 10,000 open holds; it is a file, and a Redis server of this program's own
if `redis-server` is on the PATH. A task on the gateway's loop measures how long the loop pauses. Of a pause the CPU time of the gateway's
process counts, as other programs on the machine may take turns. Then the leases of all holds end, and the longest step that
charges them is measured. How many accounts is the first argument. The exit status is 1 if a bar is missed.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from paymaster.accounting.accounts import Charge, Hold, Post
from paymaster.cli.commands.serve import GC_THRESHOLD
from paymaster.gateway import status_readings
from paymaster.gateway.observability import Observability
from paymaster.gateway.service import Service
from paymaster.gateway.serving import GatewayConfig, RunningGateway, listen, serve_here
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, Item, WindowEntry
from paymaster.ledgers.store import OpenHold
from paymaster.ledgers.urls import admin_for, open_ledger
from paymaster.options import configure
from paymaster.runtime import BlockingRuntime, run
from paymaster.torture.private_server import PrivateServer, is_installed

ACCOUNTS, ENTRIES, HOLDS, MODELS = 100_000, 100_000, 10_000, 10
ROUNDS, VIEWERS = 2, 4
LEASE_MS = 20_000
BAR_PAUSE_MS, BAR_SCRIPT_MS = 10.0, 5.0
MODEL = "    m{}: {{provider: scripted, base_url: 'http://127.0.0.1:1', price: free, rpm: 100000, max_output_tokens: 9}}"
REGISTRY = "\n".join(
    ["model_registry:", "  default: m0", "  models:", *map(MODEL.format, range(MODELS)), "policies: {budget_usd_per_run: 5}"]
)


def items(accounts: int, now_ms: int) -> Iterator[Item]:
    """A ledger in which every hold has one budget, and every model a full window."""
    yield ExportHead(now_ms)
    for number in range(accounts):
        yield AccountSums(f"usd/run/exp-{number}", 1_000_000, 0, 500 if number < HOLDS else 0)
    for number in range(MODELS):
        yield AccountSums(f"requests/m{number}", 0, ENTRIES // MODELS, 0)
    for number in range(HOLDS):
        yield OpenHold(
            f"hold-{number}", now_ms, now_ms + LEASE_MS + number, (Charge(f"usd/run/exp-{number}", 500, None),), '{"x":"' + "y" * 400 + '"}'
        )
    for number in range(ENTRIES):
        yield WindowEntry(f"requests/m{number % MODELS}", now_ms + 600_000 + number, f"call-{number}", 1)


class Heartbeat:
    """Measures how long a loop pauses: in all, and as CPU time of this process."""

    def __init__(self) -> None:
        self.wall_ms = self.cpu_ms = 0.0
        self._task: asyncio.Task[None] | None = None

    def routes(self, _: Service) -> list[BaseRoute]:
        """`/heartbeat` answers the longest pauses since it was asked last, and begins again."""

        async def answer(_: Request) -> Response:
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._beat())
            found = {"wall_ms": self.wall_ms, "cpu_ms": self.cpu_ms, "process_s": time.process_time()}
            self.wall_ms = self.cpu_ms = 0.0
            return JSONResponse(found)

        return [Route("/heartbeat", answer)]

    async def _beat(self) -> None:
        while True:
            began, began_cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.001)
            wall_ms = (time.perf_counter() - began) * 1e3 - 1
            self.wall_ms = max(self.wall_ms, wall_ms)
            self.cpu_ms = max(self.cpu_ms, min(wall_ms, (time.process_time() - began_cpu) * 1e3))


def serve(folder: Path, ledger: str, ready: Connection) -> None:
    """A gateway, in a process of its own."""
    status_readings.KEPT_FACTOR = 0  # each view reads
    observability, heartbeat = Observability({}), Heartbeat()
    settings = {"ledger": ledger, "state_dir": folder / "state"}
    config = GatewayConfig(
        read_options=lambda: observability.add_listeners(configure(folder / "registry.yaml", settings)),
        extra_routes=(observability.routes, heartbeat.routes),
    )
    server_socket = listen("127.0.0.1", 0)

    def begin(_: RunningGateway) -> None:
        gc.collect()  # as `paymaster serve` does
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 20)
        ready.send(server_socket.getsockname()[1])

    serve_here(config, server_socket, begin)


def fetch(url: str) -> bytes:
    """A page."""
    with urllib.request.urlopen(url, timeout=120) as answer:  # noqa: S310  a gateway on loopback
        body: bytes = answer.read()
        return body


@contextlib.contextmanager
def gateway(folder: Path, ledger: str) -> Iterator[str]:
    """A gateway that is up, by its address."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, ledger, there))
    process.start()
    there.close()  # so that a gateway that does not start is noticed
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def longest_pause(url: str, paths: list[str]) -> tuple[float, float, float, float]:
    """The loop's longest pause while all paths are fetched at once: in all, as CPU time; the CPU of a round in seconds, and its time."""
    from concurrent.futures import ThreadPoolExecutor

    import orjson

    orjson.loads(fetch(f"{url}/heartbeat"))
    before, began = orjson.loads(fetch(f"{url}/heartbeat")), time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as pool:
        list(pool.map(lambda path: fetch(url + path), paths))
    took_s, after = time.perf_counter() - began, orjson.loads(fetch(f"{url}/heartbeat"))
    return after["wall_ms"], after["cpu_ms"], after["process_s"] - before["process_s"], took_s


def report(missed: list[str], what: str, value: float, bar: float, unit: str, more: str = "") -> None:
    """Print a figure with its bar."""
    kept = value <= bar
    print(f"{'  ok  ' if kept else 'MISSED'} {what}: {value:.1f} {unit} (bar: at most {bar:g}){more}", flush=True)
    if not kept:
        missed.append(what)


def measure_pages(missed: list[str], kind: str, folder: Path, ledger: str) -> None:
    """Scrapes, dashboards, and all of them at once."""
    views = {"scrape": ["/metrics"], "dashboard": ["/dashboard/live"], "together": ["/metrics"] * 2 + ["/dashboard/live"] * VIEWERS}
    with gateway(folder, ledger) as url:
        size = len(fetch(f"{url}/metrics"))
        fetch(f"{url}/")
        for what, paths in views.items():
            found = []
            for _ in range(ROUNDS):
                found.append(longest_pause(url, paths))
                time.sleep(1.1)  # until a page that is kept is old
            wall_ms, cpu_ms = max(each[0] for each in found), max(each[1] for each in found)
            more = f"; {wall_ms:.1f} ms with other programs' turns, {max(each[2] for each in found):.2f} s of CPU, {found[0][3]:.2f} s"
            report(missed, f"{kind}, {what}, longest pause of the loop", cpu_ms, BAR_PAUSE_MS, "ms", more)
        report(missed, f"{kind}, scrape, size", size / 1000, 100, "kB")


def measure_lost(missed: list[str], kind: str, ledger: str, began_ms: int) -> None:
    """Charge all holds, which are lost by then, one call after the other."""
    runtime = BlockingRuntime()
    books = open_ledger(ledger, runtime.sleep)
    time.sleep(max(0.0, (began_ms + LEASE_MS + HOLDS) / 1000 - time.time()))
    lost, longest_ms = 0, 0.0
    for number in range(100 * HOLDS):
        began, began_cpu = time.perf_counter(), time.process_time()
        held = run(books.reserve(Hold(f"new-{number}", (Charge("usd/run/new", 1, 10**9),), 600_000), runtime.now_ms()))
        longest_ms = max(longest_ms, min(time.perf_counter() - began, time.process_time() - began_cpu) * 1e3)
        lost += len(held.lost)
        if lost == HOLDS:
            break
    run(books.close())
    what = f"{kind}, CPU of the longest call that charges some of {HOLDS:,} lost holds"
    report(missed, what, longest_ms, BAR_PAUSE_MS, "ms", f"; {number + 1} calls")


def report_scripts(missed: list[str], what: str, port: int) -> None:
    """Print how long 99 % of the scripts took at most, by the server's own log, which is emptied; other programs stretch the longest."""
    with redis.Redis(port=port) as client:
        entries = client.slowlog_get(100_000)
        client.slowlog_reset()
    times = sorted(entry["duration"] / 1000 for entry in entries if entry["command"].upper().startswith(b"EVAL"))
    report(
        missed, f"Redis, scripts {what}, 99 % of them", times[len(times) * 99 // 100], BAR_SCRIPT_MS, "ms", f"; longest {times[-1]:.1f} ms"
    )


def main() -> int:
    """Print every figure with its bar."""
    accounts, missed = int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS, list[str]()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "registry.yaml").write_text(REGISTRY)
        ledgers = {"file": f"sqlite:///{folder}/ledger.sqlite3"}
        port = 0
        if is_installed():
            port = stack.enter_context(PrivateServer(folder)).port
            ledgers["Redis"] = f"redis://127.0.0.1:{port}"
        for kind, ledger in ledgers.items():
            now_ms = time.time_ns() // 1_000_000
            opened = open_ledger(ledger, BlockingRuntime().sleep)
            admin = admin_for(opened)
            admin.load(items(accounts, now_ms))
            admin.close()
            run(opened.post((Post("usd/run/first", 1, None),), (), now_ms))  # the time of a file begins with its first call
            run(opened.close())
            if kind == "Redis":
                with redis.Redis(port=port) as client:
                    client.config_set("slowlog-log-slower-than", 0)
                    client.config_set("slowlog-max-len", 100_000)
                    client.slowlog_reset()
            measure_pages(missed, kind, folder, ledger)
            if kind == "Redis":
                report_scripts(missed, "that read", port)
            measure_lost(missed, kind, ledger, now_ms)
            if kind == "Redis":
                report_scripts(missed, "that charge lost holds", port)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
