"""What a ledger costs, as ratios within one run: reserve + settle over raw SQLite, a full ledger over an empty one, 256 waiting calls.

Run `python benchmarks/bench_ledger.py`; it takes half a minute and, for a moment, half a gigabyte of temporary files. A missed bar
fails by assertion.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import orjson

from paymaster.accounting.accounts import Charge, Held, Hold, Settlement
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.sqlite.file import open_database, read_statements
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.sqlite.machine_clock import machine_clock
from paymaster.ledgers.wait_queue import ProcessWaitQueue
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, run

PAIRS_PER_BLOCK = 100
BLOCKS = 40
PAST_CALLS = 1_000_000
WAITING = 256

BAR_OVER_RAW = 5.0
BAR_FULL_OVER_EMPTY = 1.2
BAR_WAITING_CPU = 0.10
BAR_WAITING_TURN = 2.0

RECORD = orjson.dumps(
    {
        "model": "gpt-4o",
        "provider": "openai",
        "run": "exp-42",
        "instance": "django__django-11099",
        "usage": {"input_tokens": 9_120, "cached_tokens": 8_064, "output_tokens": 211},
        "cost_nanousd": 12_345_678,
        "price_source": "registry",
        "duration_ms": 1_234,
    }
).decode()
CHARGES = (
    Charge("usd/run/exp-42", 30_000_000, 10**18),
    Charge("usd/month/2026-11", 30_000_000, 10**18),
    Charge("requests/gpt-4o", 1, 10**9, 60_000),
    Charge("tokens/gpt-4o", 12_000, 10**12, 60_000),
    Charge("slots/gpt-4o", 1, 64, 0),
    Charge("pause/gpt-4o", 0, 0),
)
AMOUNTS = (12_345_678, 12_345_678, 1, 9_331, 1, 0)


def ledger_pairs(ledger: SqliteLedger | MemoryLedger) -> Callable[[], None]:
    """A block of reserve + settle."""
    runtime = BlockingRuntime()

    def block() -> None:
        for _ in range(PAIRS_PER_BLOCK):
            hold = Hold(runtime.new_id(), CHARGES, 600_000, RECORD)
            held = run(ledger.reserve(hold, runtime.now_ms()))
            assert isinstance(held, Held)
            run(ledger.settle(Settlement(hold, held.at_ms, AMOUNTS, RECORD), runtime.now_ms()))

    return block


def raw_pairs(connection: sqlite3.Connection) -> Callable[[], None]:
    """A block of the same rows, written by two bare transactions each: no reading, no rule."""
    runtime = BlockingRuntime()
    sql = read_statements()
    charged = [charge for charge in CHARGES if charge.amount]
    windows = [charge.account for charge in CHARGES if charge.window_ms]
    packed = orjson.dumps([(charge.account, charge.amount, charge.cap, charge.window_ms) for charge in CHARGES]).decode()
    amounts = orjson.dumps({charge.account: 12_345_678 for charge in charged}).decode()

    def block() -> None:
        for _ in range(PAIRS_PER_BLOCK):
            now_ms, hold_id = runtime.now_ms(), runtime.new_id()
            rows = [(charge.account, now_ms, 1, charge.amount) for charge in charged]
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(sql["write_hold"], (hold_id, now_ms, now_ms, packed, RECORD, ""))
            connection.executemany(sql["write_entry"], [(account, now_ms, hold_id, 1, 1) for account in windows])
            connection.executemany(sql["write_account"], rows)
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(sql["drop_hold"], (hold_id,))
            connection.execute(sql["write_record"], (now_ms << 20, hold_id, now_ms, 0, amounts, RECORD))
            connection.executemany(sql["write_entry"], [(account, now_ms, hold_id, 1, 0) for account in windows])
            connection.executemany(sql["write_account"], rows)
            connection.execute("COMMIT")

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


def fill(path: Path) -> None:
    """A ledger with a million settled calls behind it."""
    ledger = SqliteLedger(path, BlockingRuntime().sleep, machine_time=machine_clock())
    ledger_pairs(ledger)()
    run(ledger.close())
    amounts = orjson.dumps(
        {"usd/run/exp-42": 12_345_678, "usd/month/2026-11": 12_345_678, "requests/gpt-4o": 1, "tokens/gpt-4o": 9_331}
    ).decode()

    def past() -> Iterator[tuple[int, str, int, int, str, str]]:
        for number in range(PAST_CALLS):
            at_ms = 1_600_000_000_000 + number * 100
            yield at_ms << 20, f"{at_ms:012x}7{number:019x}", at_ms, 0, amounts, RECORD

    connection = open_database(path)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO record (seq, hold_id, at_ms, lost, amounts, body) VALUES (?, ?, ?, ?, ?, ?)", past())
    connection.execute("UPDATE account SET settled = settled + ? WHERE name LIKE 'usd/%'", (PAST_CALLS * 12_345_678,))
    connection.execute("COMMIT")
    connection.close()


async def waiting_calls(path: Path, charge: Charge, work_ms: int, fair_turn_ms: Callable[[int], float]) -> tuple[float, float, bool]:
    """256 calls at once on one limit: CPU share of this process, the worst wait over its fair turn, and whether all came in turn."""
    runtime, queue = AsyncioRuntime(), ProcessWaitQueue()
    ledger = SqliteLedger(path, runtime.sleep)
    waits: list[tuple[int, float]] = []
    started = time.perf_counter()

    async def call(number: int) -> None:
        hold = Hold(runtime.new_id(), (charge,), 60_000)
        outcome = None
        if queue.busy_account([charge.account]) is None:
            outcome = await ledger.reserve(hold, runtime.now_ms())
        if not isinstance(outcome, Held):
            async with queue.join(charge.account, hold.id, ledger, runtime) as waiter:
                while not isinstance(outcome, Held):
                    await waiter.until(outcome)
                    outcome = await ledger.reserve(hold, runtime.now_ms(), queue_for_ms=5_000)
                waiter.served()
        waits.append((number, (time.perf_counter() - started) * 1_000))
        await asyncio.sleep(work_ms / 1_000)
        await ledger.settle(Settlement(hold, outcome.at_ms, (1,), RECORD), runtime.now_ms())
        queue.wake()

    cpu = time.process_time()
    await asyncio.gather(*[call(number) for number in range(WAITING)])
    share = (time.process_time() - cpu) / (time.perf_counter() - started)
    await ledger.close()
    # A first turn of 0 ms has no multiple; every call may be 100 ms late.
    worst = max((wait_ms - 100) / fair_turn_ms(number) for number, wait_ms in waits if fair_turn_ms(number))
    return share, worst, [number for number, _ in waits] == list(range(WAITING))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="paymaster-bench-") as name:
        folder = Path(name)
        pause = BlockingRuntime().sleep
        sqlite, memory = SqliteLedger(folder / "ledger.sqlite3", pause, machine_time=machine_clock()), MemoryLedger()
        raw = open_database(folder / "raw.sqlite3")
        fill(folder / "full.sqlite3")
        full = SqliteLedger(folder / "full.sqlite3", pause, machine_time=machine_clock())
        ours_us, full_us, raw_us, memory_us = compare(ledger_pairs(sqlite), ledger_pairs(full), raw_pairs(raw), ledger_pairs(memory))
        raw.close()
        run(sqlite.close())
        run(full.close())
        over_raw, over_empty = ours_us / raw_us, full_us / ours_us
        print(f"two raw transactions, the same rows        {raw_us:8.0f} us")
        print(f"reserve + settle, 6 accounts, SQLite       {ours_us:8.0f} us  {over_raw:6.2f} x raw   (bar {BAR_OVER_RAW:g})")
        print(f"the same with {PAST_CALLS:,} settled calls      {full_us:8.0f} us  {over_empty:6.2f} x empty (bar {BAR_FULL_OVER_EMPTY:g})")
        print(f"the same in memory                         {memory_us:8.0f} us  {memory_us / raw_us:6.2f} x raw")
        slots = asyncio.run(waiting_calls(folder / "slots.sqlite3", Charge("slots/m", 1, 4, 0), 50, lambda number: number // 4 * 50))
        window = asyncio.run(
            waiting_calls(folder / "window.sqlite3", Charge("requests/m", 1, 32, 500), 50, lambda number: number // 32 * 500)
        )
        for kind, (share, worst, in_turn) in (("4 slots", slots), ("32 in any 500 ms", window)):
            turn = "in turn" if in_turn else "OUT OF TURN"
            print(f"{WAITING} calls on {kind:16} CPU {share:6.1%} of a core (bar {BAR_WAITING_CPU:.0%}); all served {turn};", end=" ")
            print(f"longest wait {worst:.2f} x its fair turn (bar {BAR_WAITING_TURN:g})")
            assert in_turn
            assert share < BAR_WAITING_CPU
            assert worst <= BAR_WAITING_TURN
        assert over_raw <= BAR_OVER_RAW
        assert over_empty <= BAR_FULL_OVER_EMPTY


if __name__ == "__main__":
    main()
