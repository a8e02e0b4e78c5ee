"""A provider that states later what it billed corrects the charge of an interrupted call: once, exactly, and behind the call."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from call_box import HELLO, Box, failure, model, per_run, price, registry
from paymaster.accounting.corrections import Correction
from paymaster.accounting.records import AttemptRecord
from paymaster.background import BackgroundTasks, BackgroundThreads
from paymaster.errors import LedgerUnavailable, StreamBroken
from paymaster.flow.bill_correction import ASK_AFTER_MS
from paymaster.flow.ports import ProviderCall, ProviderChunk
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Budget
from paymaster.routing.failures import Billed, FailureKind
from paymaster.routing.requests import Request
from paymaster.runtime import run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from paymaster.accounting.accounts import Record, Settled, Settlement
    from paymaster.routing.failures import Failure

HI = ProviderChunk({"id": "gen-1", "choices": [{"index": 0, "delta": {"content": "hi"}}]})
CUT = failure(FailureKind.CONNECTION_LOST, Billed.MAYBE)
BILLED_NANOUSD = 300_000


class Router:
    """A provider that cuts every answer and states its bill at the last of so many questions; None: never."""

    def __init__(self, questions: int | None, chunk: ProviderChunk = HI) -> None:
        self.asked: list[str] = []
        self._questions, self._chunk = questions, chunk

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | Failure]:
        yield self._chunk
        yield CUT

    async def billed(self, call: ProviderCall, answer_id: str) -> Decimal | None:
        self.asked.append(answer_id)
        return Decimal("0.0003") if len(self.asked) == self._questions else None

    async def close(self) -> None:
        """Nothing to release."""


class Later:
    """Keeps the work; `finish` does it at once, with the pauses noted."""

    def __init__(self) -> None:
        self.work: list[Callable[..., Awaitable[None]]] = []
        self.paused_ms: list[int] = []

    def __call__(self, work: Callable[..., Awaitable[None]]) -> None:
        self.work.append(work)

    async def _pause(self, duration_ms: int) -> None:
        self.paused_ms.append(duration_ms)

    def finish(self) -> None:
        for work in self.work:
            asyncio.run(work(self._pause))  # type: ignore[arg-type]  # the work is a coroutine function


def box_of(provider: object, *, books: MemoryLedger | None = None, **settings: object) -> tuple[Box, Later]:
    given = {"price": price("3", "15"), "max_output_tokens": 64_000, "bill_path": "/generation?id=", "provider": "openrouter", **settings}
    budgets = (per_run("5"), Budget(cap=9 * 10**9, per=("model",), key="policies.budgets[0]"))
    box, later = Box(registry(model("a", **given), budgets=budgets, retries_per_model=0), {}, books=books or MemoryLedger()), Later()
    box.provider = provider  # type: ignore[assignment]  # a provider of this test's own
    object.__setattr__(box.world, "run_later", later)
    return box, later


def cut(box: Box) -> None:
    with pytest.raises(StreamBroken):
        asyncio.run(box.items(Request(messages=HELLO, stream=True)))


def records_of(box: Box) -> list[Record]:
    async def read() -> list[Record]:
        return [record async for record in box.books.records()]

    return asyncio.run(read())


@pytest.mark.parametrize("questions", [1, 4])
def test_the_bill_replaces_the_charge_in_every_budget_once(questions: int) -> None:
    provider = Router(questions)
    box, later = box_of(provider)
    cut(box)
    charged, _ = box.spent()
    assert charged > 3_000 * BILLED_NANOUSD
    later.finish()
    provider.asked.clear()
    later.finish()  # a repeated correction counts once
    assert later.paused_ms[:questions] == list(ASK_AFTER_MS[:questions])
    attempt, *corrected = records_of(box)
    assert AttemptRecord.from_json(attempt.body).billed == "assumed"
    assert [(Correction.from_json(record.body).correction, sum(record.amounts.values())) for record in corrected] == [
        ("bill", BILLED_NANOUSD - charged)
    ] * 2
    assert {balance.settled for balance in asyncio.run(box.books.balances("usd/", 0)).values()} == {BILLED_NANOUSD}
    assert "openrouter billed $0.0003 for attempt 1 of call" in corrected[0].body


def test_a_provider_that_never_states_its_bill_is_asked_a_few_times() -> None:
    provider = Router(None)
    box, later = box_of(provider)
    cut(box)
    later.finish()
    assert provider.asked == ["gen-1"] * len(ASK_AFTER_MS)
    assert len(records_of(box)) == 1


@pytest.mark.parametrize(
    ("provider", "settings"),
    [
        (Router(1), {"bill_path": None}),
        (Router(1), {"price": None}),
        (Router(1, ProviderChunk({"choices": HI.body["choices"]})), {}),
    ],
)
def test_nothing_is_asked_where_there_is_nothing_to_learn(provider: Router, settings: dict) -> None:
    box, later = box_of(provider, **settings)
    cut(box)
    assert later.work == []


def test_a_provider_that_states_no_bills_is_not_asked() -> None:
    silent = Router(1)
    box, later = box_of(silent)
    cut(box)
    box.provider = object()  # type: ignore[assignment]  # it has no `billed`
    later.finish()
    assert silent.asked == []


class Failing(MemoryLedger):
    """It is unavailable once `fails` is set."""

    fails = False

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        if self.fails:
            raise LedgerUnavailable("locked")
        return await super().settle(settlement, now_ms)


def test_an_unavailable_ledger_keeps_the_charge() -> None:
    books = Failing()
    box, later = box_of(Router(1), books=books)
    cut(box)
    books.fails = True
    later.finish()
    assert len(records_of(box)) == 1
    unsettled, never = box_of(Router(1), books=books)
    cut(unsettled)
    assert never.work == []


def test_work_in_threads_ends_with_the_client() -> None:
    background, seen = BackgroundThreads(), []

    async def work(pause: Callable[[int], Awaitable[None]]) -> None:
        await pause(0)
        seen.append("began")
        await pause(60_000)
        seen.append("ended")

    async def broken(_pause: Callable[[int], Awaitable[None]]) -> None:
        raise OSError("no luck")

    background(broken)
    background(work)
    while not seen:
        time.sleep(0.001)
    began = time.monotonic()
    run(background.close())
    assert time.monotonic() - began < 30
    assert seen == ["began"]


def test_work_in_tasks_ends_with_the_client(caplog) -> None:
    seen = []

    async def broken(_pause: Callable[[int], Awaitable[None]]) -> None:
        raise OSError("no luck")

    async def scenario() -> None:
        background, began = BackgroundTasks(), asyncio.Event()

        async def work(pause: Callable[[int], Awaitable[None]]) -> None:
            await pause(0)
            seen.append("began")
            began.set()
            await pause(60_000)
            seen.append("ended")

        background(broken)
        background(work)
        await began.wait()
        await background.close()

    asyncio.run(scenario())
    assert seen == ["began"]
    assert "its charge stays: OSError: no luck" in caplog.text
