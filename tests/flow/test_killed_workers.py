"""A worker that is killed in a call: what it holds is charged, and its slot is free, within two seconds, also for callers that wait."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from call_box import Box, Limits, answer, model, per_run, registry
from fleet import LoopbackProvider, Seen, fleet, registry_file
from identity_names import account
from paymaster import Client
from paymaster.accounting.accounts import Charge, EndedHolder, Hold
from paymaster.errors import BudgetExceeded, LedgerUnavailable, LimitReached, PaymasterError
from paymaster.flow.ended_reports import READ_EVERY_MS
from paymaster.flow.events import Throttled
from paymaster.ledgers.memory import MemoryLedger
from paymaster.runtime import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = [{"role": "user", "content": "Hello"}]
PRICED = "usd_per_1m_input: 1, usd_per_1m_output: 10"
# Within 2 s; the rest is for a busy machine.
SOON_S = 2 + 4


@contextlib.contextmanager
def killed_in_its_call(folder: Path, limits: str = "", policies: str = "") -> Iterator[tuple[Client, int]]:
    """A client, while a worker of another process is in its call; it is killed when the block is entered, with its process id."""
    asked, free = threading.Event(), threading.Event()

    def behave(seen: Seen) -> tuple[int, dict[str, str]]:
        if seen.who:
            asked.set()
            free.wait(60)
        return 200, {}

    ledger = f"sqlite:///{folder}/ledger.sqlite3"
    with LoopbackProvider(behave) as provider:
        path = registry_file(folder, provider, limits, policies)
        path.write_text(path.read_text().replace("price: free", PRICED))
        with (
            fleet(path, ledger, folder / "killed", processes=1, calls=1) as workers,
            Client(path, ledger=ledger, state_dir=folder / "mine", run="fleet", environ={}) as client,
        ):
            workers.go()
            assert asked.wait(60)
            yield client, workers.process.pid
            free.set()


@pytest.mark.parametrize(
    ("limits", "policies"),
    [(", max_parallel: 1", ", budget_usd_per_run: 5"), ("", ", budget_usd_per_run: 0.0015, hard_stop_on_budget: true")],
    ids=["a slot", "a budget"],
)
@pytest.mark.parametrize("waits", [True, False])
def test_callers_get_what_a_killed_worker_held(tmp_path: Path, limits: str, policies: str, waits: bool) -> None:
    with killed_in_its_call(tmp_path, limits, policies) as (client, worker), ThreadPoolExecutor(1) as pool:
        waiting = None
        if waits:
            waiting = pool.submit(client.complete, HELLO)
            while not any(balance.ahead for balance in client.balances("").values()):
                time.sleep(0.01)
        os.kill(worker, signal.SIGKILL)
        killed_s = time.monotonic()
        with contextlib.suppress(BudgetExceeded):  # the charged hold may have taken all of the budget
            _ = waiting.result(timeout=30) if waiting else client.complete(HELLO)
        assert time.monotonic() - killed_s < SOON_S
        balances = client.balances("")
        assert balances["usd/run/fleet"].settled > 1_000_000  # the whole hold
        assert balances["usd/run/fleet"].held == balances[account(client.registry, "slots/a")].held == 0


class BooksOfOthers(MemoryLedger):
    """A ledger in which a process that ended holds something."""

    def __init__(self, **held: int) -> None:
        super().__init__()
        self.held, self.asked, self.error = {name.replace("__", "/"): amount for name, amount in held.items()}, 0, None

    async def ended_holders(self, now_ms: int) -> tuple[EndedHolder, ...]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return (EndedHolder("4711-1f2e3d4c", 2, self.held, now_ms),)


def refused_by_a_slot(books: BooksOfOthers) -> Box:
    box = Box(registry(model("a", limits=Limits(max_parallel=1)), max_wait_ms=0), {"a": [answer()]}, books=books)
    run(books.reserve(Hold("h", (Charge("slots/a", 1, None, 0),), 600_000), box.runtime.now_ms()))
    return box


def refused_by_a_budget(books: BooksOfOthers) -> Box:
    return Box(registry(model("a"), budgets=(per_run("0.000001"),), hard_stop_on_budget=True), {"a": [answer()]}, books=books)


REFUSALS = {
    "a slot": (refused_by_a_slot, LimitReached, "2 calls are held"),
    "a budget": (refused_by_a_budget, BudgetExceeded, "$0.00000001 is held"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_call_that_is_refused_says_what_a_process_that_ended_holds(what: str) -> None:
    make, kind, held = REFUSALS[what]
    books = BooksOfOthers(slots__a=2) if what == "a slot" else BooksOfOthers(usd__run__r1=10, usd__run__other=99, slots__other=1)
    with pytest.raises(kind) as caught:
        make(books).ask()
    assert f"\n  {held} by a process that ended (pid 4711); charged by the next call" in str(caught.value)
    assert books.asked == 1


@pytest.mark.parametrize("what", REFUSALS)
def test_it_says_nothing_of_what_others_hold_on_other_accounts(what: str) -> None:
    make, kind, _ = REFUSALS[what]
    with pytest.raises(kind) as caught:
        make(BooksOfOthers(usd__run__other=10, slots__other=1)).ask()
    assert "ended" not in str(caught.value)


@pytest.mark.parametrize("what", REFUSALS)
def test_the_reason_stays_if_the_ledger_does_not_answer(what: str) -> None:
    make, kind, _ = REFUSALS[what]
    books = BooksOfOthers()
    books.error = LedgerUnavailable("gone")
    with pytest.raises(kind):
        make(books).ask()


def test_a_wait_says_what_a_process_that_ended_holds_and_asks_seldom() -> None:
    books = BooksOfOthers(slots__a=2, slots__other=9)
    box = Box(registry(model("a", limits=Limits(max_parallel=1))), {"a": [answer()]}, books=books)
    run(books.reserve(Hold("h", (Charge("slots/a", 1, None, 0),), 600_000), box.runtime.now_ms()))
    for _ in range(3):
        with pytest.raises(LimitReached):
            box.ask(max_wait_ms=2_000)
    reasons = [event.reason for event in box.events if isinstance(event, Throttled)]
    assert reasons == ["slots/a: 1 of 1 used, 1 needed; 2 calls are held by a process that ended (pid 4711); charged by the next call"] * 3
    assert books.asked == 1 + 3  # one for the waits, and one for each error
    books.error = LedgerUnavailable("gone")
    box.runtime.advance(READ_EVERY_MS)
    box.events.clear()
    with pytest.raises(LimitReached):
        box.ask(max_wait_ms=2_000)
    assert [event.reason for event in box.events if isinstance(event, Throttled)] == ["slots/a: 1 of 1 used, 1 needed"]


def test_a_call_that_is_answered_or_fails_otherwise_does_not_ask() -> None:
    books = BooksOfOthers()
    assert Box(registry(model("a")), {"a": [answer()]}, books=books).ask().text == "Hi"
    with pytest.raises(PaymasterError):
        Box(registry(model("a"), hard_stop_on_budget=True), {}, books=books, missing_keys={"a": "KEY"}).ask()
    assert books.asked == 0
