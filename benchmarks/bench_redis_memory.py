"""Measures what a ledger on Redis leaves in memory after many settled calls: the journal, and all else, which must stay small.

The server is this program's own: `redis-server` on the PATH, on a socket in a folder that is removed afterwards. Without one nothing is
measured. The calls go to the server in batches, as the figures don't depend on waiting. How many is the first argument (100,000). 16,384
settled calls are remembered, so more of them may only add to the journal. A missed bar fails by assertion.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import redis

from paymaster.accounting.accounts import Charge, Hold, Settlement
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.redis.messages import figures, reserve_request, settle_request
from paymaster.ledgers.redis.scripts import read_scripts
from paymaster.runtime import BlockingRuntime, run

CALLS = 100_000
BATCH = 500
LEVELS = 4
BAR_MB = 4.0
CHARGES = (
    Charge("usd/run/exp-42", 40_000_000, 10**15),
    Charge("usd/month/2026-11", 40_000_000, 10**15),
    Charge("requests/gpt-4o", 1, 10**9, 1_000),
    Charge("tokens/gpt-4o", 12_000, 10**12, 1_000),
    Charge("slots/gpt-4o", 1, 10**6, 0),
)
ACTUAL = (12_345_678, 12_345_678, 1, 9_331, 1)
RECORD = orjson.dumps(
    {"call_id": "0" * 32, "model": "gpt-4o", "outcome": "answered", "cost_nanousd": 12_345_678, "more": "x" * 400}
).decode()


@contextmanager
def server(folder: Path) -> Iterator[Path]:
    """A server that keeps nothing on disk."""
    socket = folder / "redis.sock"
    process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--logfile", str(folder / "log")])
    try:
        while not socket.exists():
            time.sleep(0.02)
        yield socket
    finally:
        process.terminate()
        process.wait()


def settle_many(client: redis.Redis, key: str, first: int, count: int) -> None:
    """So many calls, each held and settled."""
    scripts = read_scripts()
    digests = {verb: client.script_load(scripts[verb].text) for verb in ("reserve", "settle")}
    for start in range(first, first + count, BATCH):
        now_ms = time.time_ns() // 1_000_000
        with client.pipeline(transaction=False) as pipeline:
            for number in range(start, min(start + BATCH, first + count)):
                hold = Hold(f"{number:032x}", CHARGES, 60_000, RECORD)
                pipeline.evalsha(digests["reserve"], 1, key, orjson.dumps(reserve_request(hold, 0)))
                settled = settle_request(Settlement(hold, now_ms, ACTUAL, RECORD), None)
                pipeline.evalsha(digests["settle"], 1, key, orjson.dumps(settled))
            pipeline.execute()


def main() -> None:
    if shutil.which("redis-server") is None:
        print("no redis-server on the PATH: nothing was measured")
        return
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as socket, redis.Redis(unix_socket_path=str(socket)) as client:
        ledger = RedisLedger(read_address(f"unix://{socket}"), BlockingRuntime().sleep, blocking=True)
        print(f"{'calls':>10} {'journal':>10} {'all else':>10} {'used_memory':>12}")
        other_mb = 0.0
        for level in range(LEVELS):
            settle_many(client, ledger.address.state_key, level * calls // LEVELS, calls // LEVELS)
            time.sleep(1.1)  # the window of the last calls passes
            settle_many(client, ledger.address.state_key, calls + level, 1)  # the next call sweeps it
            *_, journal, other = figures(bytes(run(ledger.ask("describe"))).partition(b" ")[2])
            used = client.info("memory")["used_memory"]
            other_mb = other / 1e6
            print(f"{(level + 1) * calls // LEVELS:>10,} {journal / 1e6:>7.1f} MB {other_mb:>7.2f} MB {used / 1e6:>9.1f} MB")
        run(ledger.close())
    assert other_mb <= BAR_MB, f"all but the journal takes {other_mb:.2f} MB, more than {BAR_MB} MB"


if __name__ == "__main__":
    main()
