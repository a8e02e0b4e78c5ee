"""Measures the ledger on Redis: a reserve and a settlement against two scripts that only return, and many processes on one budget.

The server is this program's own: `redis-server` on the PATH, on a socket in a folder that is removed afterwards. Without one nothing is
measured. The second figure compares with `redis-benchmark`, which sends the same two scripts to the same server over as many connections.
A missed bar fails by assertion.
"""

import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import orjson
import redis

from paymaster.accounting.accounts import Charge, Held, Hold, Settlement
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.redis.messages import reserve_request, settle_request
from paymaster.ledgers.redis.scripts import read_scripts
from paymaster.runtime import BlockingRuntime, run

BAR_OVER_BARE = 1.6
BAR_SHARE_OF_BENCHMARK = 0.6
PAIRS_PER_BLOCK = 300
BLOCKS = 15
PROCESSES = 8
HOT_S = 4.0
START_S = 4.0
CHARGES = (
    Charge("usd/run/exp-42", 40_000_000, 10**15),
    Charge("usd/month/2026-11", 40_000_000, 10**15),
    Charge("requests/gpt-4o", 1, 10**9, 60_000),
    Charge("tokens/gpt-4o", 12_000, 10**12, 60_000),
    Charge("slots/gpt-4o", 1, 10**6, 0),
    Charge("pause/gpt-4o", 0, 0),
)
ACTUAL = (12_345_678, 12_345_678, 1, 9_331, 1, 0)
HOT = (Charge("usd/run/hot", 1_000, 10**15),)
RECORD = '{"model":"gpt-4o","attempt":1,"outcome":"answered","cost_nanousd":12345678,"price":"registry","finish":"stop"}'


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server as most people run one: appended to a file that is synced every second."""
    socket = folder / "redis.sock"
    settings = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "save": "", "appendonly": "yes", "logfile": str(folder / "log")}
    command = ["redis-server", *(word for name, value in settings.items() for word in (f"--{name}", value))]
    process = subprocess.Popen(command)
    try:
        while not socket.exists():
            time.sleep(0.02)
        yield str(socket)
    finally:
        process.terminate()
        process.wait()


def ledger_pairs(ledger: RedisLedger, charges: tuple[Charge, ...], actual: tuple[int, ...]) -> Callable[[], None]:
    """A block of reserve and settle."""
    runtime = BlockingRuntime()

    def block() -> None:
        for _ in range(PAIRS_PER_BLOCK):
            hold = Hold(runtime.new_id(), charges, 600_000, RECORD)
            held = run(ledger.reserve(hold, 0))
            assert isinstance(held, Held)
            run(ledger.settle(Settlement(hold, held.at_ms, actual, RECORD), 0))

    return block


def bare_pairs(client: redis.Redis) -> Callable[[], None]:
    """A block of pairs of scripts that take the same requests and only return."""
    digest = client.script_load("return ARGV[1]")
    hold = Hold(BlockingRuntime().new_id(), CHARGES, 600_000, RECORD)
    reserve = orjson.dumps(reserve_request(hold, 0))
    settle = orjson.dumps(settle_request(Settlement(hold, 0, ACTUAL, RECORD), None))

    def block() -> None:
        for _ in range(PAIRS_PER_BLOCK):
            client.evalsha(digest, 1, "{paymaster:bare}:state", reserve)
            client.evalsha(digest, 1, "{paymaster:bare}:state", settle)

    return block


def compare(*blocks: Callable[[], None]) -> list[float]:
    """The median microseconds per pair of each, measured in turns so that a busy machine disturbs all alike."""
    for block in blocks:
        block()
    times: list[list[float]] = [[] for _ in blocks]
    for _ in range(BLOCKS):
        for block, spent in zip(blocks, times, strict=True):
            started = time.perf_counter()
            block()
            spent.append((time.perf_counter() - started) * 1e6 / PAIRS_PER_BLOCK)
    return [median(spent) for spent in times]


def hot_worker(url: str, starts_at: float) -> int:
    """Reserve and settle on one budget for a while, all processes from the same moment on; how many pairs that were."""
    ledger, runtime, pairs = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True), BlockingRuntime(), 0
    run(ledger.sweep(0))
    time.sleep(max(0.0, starts_at - time.time()))
    while time.time() < starts_at + HOT_S:
        hold = Hold(runtime.new_id(), HOT, 600_000, RECORD)
        held = run(ledger.reserve(hold, 0))
        assert isinstance(held, Held)
        run(ledger.settle(Settlement(hold, held.at_ms, (900,), RECORD), 0))
        pairs += 1
    run(ledger.close())
    return pairs


def hot_pairs_per_s(url: str) -> float:
    """The throughput of all processes together."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        return sum(pool.starmap(hot_worker, [(url, time.time() + START_S)] * PROCESSES)) / HOT_S


def benchmark_pairs_per_s(socket: str, client: redis.Redis) -> float:
    """What redis-benchmark reaches with the same scripts, first one, then the other: the pairs per second that makes.

    It draws the ids of holds, so it settles some of many open holds: there are enough that few are drawn twice.
    """
    scripts, key, took_s = read_scripts(), "{paymaster:benchmark}:state", 0.0
    count, open_holds = 20_000, 100_000

    def reserve(hold_id: str) -> bytes:
        return orjson.dumps(reserve_request(Hold(hold_id, HOT, 600_000, RECORD), 0))

    settled = settle_request(Settlement(Hold("__rand_int__", HOT, 600_000), 0, (900,), RECORD), None)
    settle = orjson.dumps({**settled, "journal": "new"})
    digests = {verb: client.script_load(scripts[verb].text) for verb in ("reserve", "settle")}
    for first in range(0, open_holds, 1_000):
        with client.pipeline(transaction=False) as pipeline:
            for number in range(first, first + 1_000):
                pipeline.evalsha(digests["reserve"], 1, key, reserve(f"{number:012}"))
            pipeline.execute()
    for verb, request, ids in (("reserve", reserve("h-__rand_int__"), 10**9), ("settle", settle, open_holds)):
        command = ["redis-benchmark", "-s", socket, "-n", str(count), "-c", str(PROCESSES), "-r", str(ids), "-q", "evalsha", digests[verb]]
        started = time.perf_counter()
        subprocess.run([*command, "1", key, request], check=True, capture_output=True)
        took_s += time.perf_counter() - started
    return count / took_s


def main() -> None:
    if shutil.which("redis-server") is None or shutil.which("redis-benchmark") is None:
        print("no redis-server and redis-benchmark on the PATH: nothing measured")
        sys.exit(0)
    with tempfile.TemporaryDirectory(prefix="paymaster-bench-") as name, server(Path(name)) as socket:
        client = redis.Redis(unix_socket_path=socket)
        ledger = RedisLedger(read_address(f"unix://{socket}?name=pairs"), BlockingRuntime().sleep, blocking=True)
        ours_us, bare_us = compare(ledger_pairs(ledger, CHARGES, ACTUAL), bare_pairs(client))
        run(ledger.close())
        over_bare = ours_us / bare_us
        print(f"two scripts that only return               {bare_us:8.0f} us")
        print(f"reserve + settle, 6 accounts, Redis        {ours_us:8.0f} us  {over_bare:6.2f} x bare (bar {BAR_OVER_BARE:g})")
        hot, possible = hot_pairs_per_s(f"unix://{socket}?name=hot"), benchmark_pairs_per_s(socket, client)
        print(f"redis-benchmark, the same scripts          {possible:8.0f} pairs/s")
        share = hot / possible
        print(f"{PROCESSES} processes on one budget                 {hot:8.0f} pairs/s {share:.0%} (bar {BAR_SHARE_OF_BENCHMARK:.0%})")
        client.close()
        assert over_bare <= BAR_OVER_BARE
        assert share >= BAR_SHARE_OF_BENCHMARK


if __name__ == "__main__":
    main()
