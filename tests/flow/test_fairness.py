"""Calls of several processes that wait for the same room: served in turn, the large ones too, and nobody waits for one who has left."""

import asyncio
import contextlib
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleet import LoopbackProvider, Seen, fleet, registry_file
from identity_names import account
from paymaster import AsyncClient, Client
from paymaster.cli.process import main
from paymaster.ledgers.wait_queue import ProcessWaitQueue

HELLO = [{"role": "user", "content": "Hello"}]


def test_processes_that_wait_for_one_slot_are_served_in_turn(tmp_path: Path, shared_ledger: str) -> None:
    """Six threads of three processes: while all have work, nobody is served much more often than anybody else."""

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        time.sleep(0.05)
        return 200, {}

    with LoopbackProvider(behave) as provider:
        registry = registry_file(tmp_path, provider, ", max_parallel: 1")
        with fleet(registry, shared_ledger, tmp_path / "state", processes=3, calls=4, threads=2) as workers:
            workers.go()
            results = workers.results()
    assert [result["outcome"] for result in results] == ["ok"] * 24
    assert {seen.others for seen in provider.seen} == {0}
    order = [seen.who for seen in sorted(provider.seen, key=lambda seen: seen.came_s)]
    everybody_at = max(order.index(who) for who in set(order))
    served = Counter(order[everybody_at : everybody_at + 12])
    assert len(served) == 6
    assert max(served.values()) <= 4
    longest_s = max(float(str(result["took_s"])) for result in results)
    assert longest_s < 25


def test_a_large_request_is_not_starved_by_the_small_ones_of_other_processes(tmp_path: Path, shared_ledger: str) -> None:
    """The small ones hold so much of the budget at any time that the large one fits only when they make way for it."""

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        time.sleep(0.1)
        return 200, {}

    with LoopbackProvider(behave) as provider:
        policies = ", budget_usd_per_run: 0.014, hard_stop_on_budget: true"
        registry = registry_file(tmp_path, provider, policies=policies)
        text = registry.read_text().replace("price: free", "usd_per_1m_input: 1, usd_per_1m_output: 10")
        registry.write_text(text.replace("max_output_tokens: 100", "max_output_tokens: 1000, params: {max_tokens: 100}"))
        settings = {"ledger": shared_ledger, "state_dir": tmp_path / "big", "run": "fleet", "environ": {}}
        with (
            fleet(registry, shared_ledger, tmp_path / "state", processes=3, calls=12, threads=2) as workers,
            Client(registry, **settings) as client,  # type: ignore[arg-type]  # the settings as they are
        ):
            workers.go()
            wait_for(lambda: len(provider.seen) >= 12)
            asked_s = time.monotonic()
            client.complete(HELLO, max_tokens=1000, user="big")
            results = workers.results()
    assert [result["outcome"] for result in results] == ["ok"] * 72
    [big] = [seen for seen in provider.seen if seen.who == "big"]
    # Those that were under way or at the very point of asking go first.
    before = [seen for seen in provider.seen if asked_s + 0.05 < seen.came_s < big.came_s]
    assert len(before) <= 12
    assert len([seen for seen in provider.seen if seen.came_s > big.came_s]) >= 20


def test_nobody_waits_for_a_call_that_was_cancelled(tmp_path: Path, shared_ledger: str) -> None:
    """Its turn is in the ledger, where other processes would have respected it."""
    with held_up(tmp_path, shared_ledger) as (registry, settings):

        async def cancelled_while_it_stands_in_line() -> None:
            async with AsyncClient(registry, **settings) as client:  # type: ignore[arg-type]  # the settings as they are
                waiting = asyncio.create_task(client.complete(HELLO))
                while (await client.balances("slots/"))[account(registry, "slots/a")].ahead == 0:  # noqa: ASYNC110 - the ledger rings no bell
                    await asyncio.sleep(0.02)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
                assert (await client.balances("slots/"))[account(registry, "slots/a")].ahead == 0

        asyncio.run(cancelled_while_it_stands_in_line())


def test_who_looks_sees_every_call_that_waits_in_whatever_process_and_leaves_the_line_as_it_is(
    tmp_path: Path, shared_ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One slot is in use; two processes with three threads each wait for it: a place of each in the ledger, and two calls behind it."""
    ledger = ["--ledger", shared_ledger, "--state-dir", str(tmp_path / "mine")]

    def reported(*words: str) -> str:
        capsys.readouterr()
        assert main([*words, *ledger]) == 0
        return capsys.readouterr().out

    def queued() -> list[dict[str, object]]:
        shown: list[dict[str, object]] = json.loads(reported("status", "--json"))["queued"]
        return shown

    free = threading.Event()
    with held_up(tmp_path, shared_ledger, free) as (registry, _):
        began_ms = time.time_ns() // 1_000_000
        with fleet(registry, shared_ledger, tmp_path / "state", processes=2, calls=1, threads=3) as workers:
            workers.go()
            wait_for(lambda: [waits["calls"] for waits in queued()] == [6])
            [waits] = queued()
            assert (waits["model"], waits["accounts"]) == ("a", [account(registry, "slots/a")])
            since_ms = waits["since_ms"]
            assert isinstance(since_ms, int)
            assert began_ms - 2_000 < since_ms < began_ms + 30_000
            assert re.search(r"^a +6 +[0-9.]+ m?s +max_parallel$", reported("status"), re.MULTILINE)
            assert re.search(r"^a +6 +[0-9.]+ m?s +max_parallel$", reported("top", "--once"), re.MULTILINE)
            free.set()
            assert {result["outcome"] for result in workers.results()} == {"ok"}
            assert queued() == []


def test_a_dead_caller_in_front_holds_up_those_behind_for_its_place_and_no_longer(tmp_path: Path, shared_ledger: str) -> None:
    """It was killed while it stood in front; the slot is free again at once, and the next one, of another process, gets it."""
    free = threading.Event()
    with held_up(tmp_path, shared_ledger, free) as (registry, settings), ThreadPoolExecutor(1) as pool:
        killed = fleet(registry, shared_ledger, tmp_path / "killed", processes=1, calls=1)
        with killed as first, Client(registry, **settings) as client:  # type: ignore[arg-type]  # the settings as they are
            first.go()
            wait_for(lambda: client.balances("slots/")[account(registry, "slots/a")].ahead == 1)
            behind = pool.submit(client.complete, HELLO)
            wait_for(lambda: client.balances("slots/")[account(registry, "slots/a")].ahead == 2)
            os.kill(first.process.pid, signal.SIGKILL)
            killed_s = time.monotonic()
            free.set()
            assert behind.result(timeout=30).text == "hi"
            assert time.monotonic() - killed_s < 5 + 10  # its place lapses within 5 s; the rest is for a busy machine


def test_a_task_that_is_cancelled_in_the_middle_of_a_line_frees_its_turn_for_the_one_behind(tmp_path: Path, shared_ledger: str) -> None:
    """All tasks of one process, on one slot: those who are left are served in the order in which they came."""

    free = threading.Event()

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        free.wait(30)
        return 200, {}

    async def scenario() -> list[int]:
        served: list[int] = []

        async def ask(number: int) -> None:
            await client.complete(HELLO, user=str(number))
            served.append(number)

        async with AsyncClient(registry, ledger=shared_ledger, state_dir=tmp_path / "mine", run="fleet", environ={}) as client:
            line, tasks = client._resources.world.wait_queue, list[asyncio.Task[None]]()
            assert isinstance(line, ProcessWaitQueue)
            for number in range(12):
                tasks.append(asyncio.create_task(ask(number)))
                while not provider.seen or line.waiting(account(registry, "slots/a")) < number:  # noqa: ASYNC110 - who joins rings no bell
                    await asyncio.sleep(0.002)
            for number in (3, 4, 9):
                tasks[number].cancel()
            free.set()
            await asyncio.wait(tasks)
        return served

    with LoopbackProvider(behave) as provider:
        registry = registry_file(tmp_path, provider, ", max_parallel: 1")
        served = asyncio.run(scenario())
    assert served == [0, 1, 2, 5, 6, 7, 8, 10, 11]


@contextlib.contextmanager
def held_up(folder: Path, ledger: str, ends: threading.Event | None = None) -> Iterator[tuple[Path, dict[str, object]]]:
    """A registry whose one slot is in use, at the latest until the end (or until `ends`), and settings for a client on the same ledger."""
    free = ends or threading.Event()

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        free.wait(30)
        return 200, {}

    with LoopbackProvider(behave) as provider:
        registry = registry_file(folder, provider, ", max_parallel: 1")
        settings: dict[str, object] = {"ledger": ledger, "state_dir": folder / "mine", "run": "fleet", "environ": {}}
        with Client(registry, **settings) as client, ThreadPoolExecutor(1) as pool:  # type: ignore[arg-type]  # the settings as they are
            using = pool.submit(client.complete, HELLO)
            wait_for(lambda: len(provider.seen) == 1)
            try:
                yield registry, settings
            finally:
                free.set()
            assert using.result().text == "hi"


def wait_for(condition: object, timeout_s: float = 30) -> None:
    """Until it is so."""
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
