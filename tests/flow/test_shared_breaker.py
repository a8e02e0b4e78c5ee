"""One circuit breaker for every registry on a ledger: caps that differ keep no healthy model away, and one probe goes at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from call_box import HELLO, Box, answer, failure, model, registry
from fleet import LoopbackProvider
from identity_names import account
from paymaster import AsyncClient, NoModelAvailable
from paymaster.accounting.accounts import Charge, Held, Hold, Post, Refused
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.wait_queue import ProcessWaitQueue
from paymaster.registry.models import Limits, Registry, Timeouts
from paymaster.routing.breaker import State, admission_charges
from paymaster.routing.failures import FailureKind
from paymaster.scope import Scope
from paymaster.testing import ManualRuntime
from paymaster.views.ledger_status import ledger_status

if TYPE_CHECKING:
    from pathlib import Path

    from fleet import Seen

SECOND_MS = 1_000
CAPS = [(None, None), (None, 4), (4, None), (8, 2), (2, 8), (1, None), (None, 1), (4, 4)]
KINDS = [FailureKind.SERVER_ERROR, FailureKind.QUOTA_EXHAUSTED, FailureKind.AUTHENTICATION]


def boxes(first_cap: int | None, second_cap: int | None, kind: FailureKind) -> tuple[Box, Box]:
    """Two registries with a cap each on one ledger and one clock; the model fails for the first and answers the second."""
    runtime, books = ManualRuntime(), MemoryLedger()

    def box(cap: int | None, outcome: object) -> Box:
        entry = model("first", limits=Limits(max_parallel=cap))
        return Box(
            registry(entry, model("second"), breaker_failures=2, retries_per_model=0),
            {"first": [outcome], "second": [answer("second")]},  # type: ignore[list-item]  # an outcome of any kind
            runtime=runtime,
            books=books,
        )

    return box(first_cap, failure(kind)), box(second_cap, answer("first"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first_cap", "second_cap"), CAPS)
def test_a_model_that_is_well_again_serves_within_30_seconds_whatever_the_caps(
    first_cap: int | None, second_cap: int | None, kind: FailureKind
) -> None:
    failing, well = boxes(first_cap, second_cap, kind)
    for _ in range(2):
        assert failing.ask().model == "second"
    opened_at_ms = well.runtime.now_ms()
    assert well.ask().model == "second"  # the circuit is open for this registry too
    assert well.provider.calls[-1].model.name == "second"
    while well.ask().model != "first":
        assert isinstance(well.runtime, ManualRuntime)
        well.runtime.advance(SECOND_MS)
        assert well.runtime.now_ms() - opened_at_ms <= 30_000
    assert well.ask().model == "first"  # and the circuit is closed: no more probes
    assert [event.kind for event in well.events if event.kind.startswith("breaker")] == ["breaker_closed"]


@pytest.mark.parametrize(("first_cap", "second_cap"), CAPS)
def test_a_model_that_still_fails_is_probed_once_per_pause(first_cap: int | None, second_cap: int | None) -> None:
    failing, other = boxes(first_cap, second_cap, FailureKind.SERVER_ERROR)
    other.outcomes["first"][:] = [failure(FailureKind.SERVER_ERROR)]
    for _ in range(2):
        failing.ask()
    before = len(other.provider.calls)
    for _ in range(60):
        assert other.ask().model == "second"
        assert isinstance(other.runtime, ManualRuntime)
        other.runtime.advance(SECOND_MS)
    probes = [call for call in other.provider.calls[before:] if call.model.name == "first"]
    assert 3 <= len(probes) <= 4  # a minute, at 15 seconds between probes
    assert [event.kind for event in other.events if event.kind.startswith("breaker")] == ["breaker_opened"] * len(probes)


def test_the_status_names_the_state_of_the_circuit_and_what_a_provider_asked_for() -> None:
    failing, _ = boxes(None, None, FailureKind.SERVER_ERROR)
    for _ in range(2):
        failing.ask()
    runtime = failing.runtime
    assert isinstance(runtime, ManualRuntime)

    def state() -> tuple[State, int | None, int | None]:
        balances = asyncio.run(failing.books.balances("", runtime.now_ms()))
        [first] = [each for each in ledger_status(balances).models if each.model == "first"]
        return first.circuit, first.open_until_ms, first.paused_until_ms

    assert state() == (State.OPEN, runtime.now_ms() + 15_000, None)
    runtime.advance(15_000)
    assert state() == (State.HALF_OPEN, None, None)
    failing.outcomes["first"][:] = [failure(FailureKind.THROTTLED, retry_after_ms=90_000)]
    failing.ask()  # the probe: the provider asks to wait, which says nothing about its health
    assert state() == (State.HALF_OPEN, None, runtime.now_ms() + 90_000)


def failing_box(registry_: Registry, runtime: ManualRuntime, books: MemoryLedger, outcomes: dict[str, list[object]], **scope: str) -> Box:
    """A caller of its own on a shared ledger and clock."""
    return Box(registry_, outcomes, runtime=runtime, books=books, scope=Scope(**{"run": "r", **scope}))  # type: ignore[arg-type]  # outcomes of any kind


def test_a_caller_that_waits_for_something_else_keeps_no_probe_out() -> None:
    """It has been refused by the open circuit, and is then refused by its key's own limit: its turn in the queue asks for no probe."""
    runtime, books = ManualRuntime(), MemoryLedger()
    first, second = model("first"), model("second")
    policy: dict[str, object] = {"breaker_failures": 1, "retries_per_model": 0}
    failing = failing_box(
        registry(first, second, **policy), runtime, books, {"first": [failure(FailureKind.SERVER_ERROR)], "second": [answer("second")]}
    )
    assert failing.ask().model == "second"
    asyncio.run(_wait_in_the_queue(books, runtime))
    runtime.advance(15_000)
    well = failing_box(registry(first, second, **policy), runtime, books, {"first": [answer("first")], "second": [answer("second")]})
    assert well.ask().model == "first"


async def _wait_in_the_queue(books: MemoryLedger, runtime: ManualRuntime) -> None:
    """Refused on everything that an ordinary hold and a probe may meet, with a turn in the ledger for as long as the pause."""
    ordinary = [charge for charge in admission_charges("first", as_probe=False) if charge.cap is not None]
    hold = Hold("waits", (*ordinary, Charge("slots/key/k1", 1, 0, 0)), 60_000)
    await books.post((Post("slots/key/k1", 1, 500_000),), (), runtime.now_ms())
    assert isinstance(await books.reserve(hold, runtime.now_ms(), queue_for_ms=60_000), Refused)


def test_a_circuit_is_not_closed_while_its_probe_is_under_way_however_long_that_takes() -> None:
    """The half-open period ends during a probe that hangs; the calls after it must not meet the dead model all at once."""
    runtime, books = ManualRuntime(), MemoryLedger()
    entry = model("first", timeouts=Timeouts(total_ms=60_000))
    box = failing_box(
        registry(entry, model("second"), breaker_failures=1, retries_per_model=0),
        runtime,
        books,
        {"first": [failure(FailureKind.SERVER_ERROR)], "second": [answer("second")]},
    )
    box.ask()
    runtime.advance(74_000)  # a second before the period ends
    probe = Hold("probe", admission_charges("first", as_probe=True), 90_000)
    assert isinstance(asyncio.run(books.reserve(probe, runtime.now_ms())), Held)
    for _ in range(10):
        runtime.advance(5_000)
        assert box.ask().model == "second"
    assert len([call for call in box.provider.calls if call.model.name == "first"]) == 1


def test_calls_that_wait_for_an_open_circuit_are_served_in_their_order(tmp_path: Path) -> None:
    served: list[str] = []

    def behave(seen: Seen) -> tuple[int, dict[str, str]]:
        if not served and not answering.is_set():
            return 503, {}
        served.append(seen.who)
        return 200, {}

    async def scenario() -> None:
        async with AsyncClient(file, ledger="memory:", state_dir=tmp_path / "state", run="r", environ={}) as client:
            with pytest.raises(NoModelAvailable):
                await client.complete(HELLO, model="alone", user="opens")
            early = []
            for number in range(8):
                early.append(asyncio.create_task(client.complete(HELLO, model="alone", user=f"early-{number}")))
                await asyncio.sleep(0.02)
            answering.set()
            late = []
            while not all(task.done() for task in early):
                if len(late) < 30:
                    late.append(asyncio.create_task(client.complete(HELLO, model="alone", user=f"late-{len(late)}")))
                await asyncio.sleep(0.01)
            await asyncio.gather(*early, *late)

    answering = threading.Event()
    file = tmp_path / "registry.yaml"
    with LoopbackProvider(behave) as provider:
        file.write_text(ALONE % provider.base_url)
        asyncio.run(scenario())
    early = [user for user in served if user.startswith("early")]
    assert served[: len(early)] == [f"early-{number}" for number in range(8)]


ALONE = """
models:
  alone: {provider: openai_compatible, model_id: a, base_url: "%s", price: free, max_parallel: 1}
policies: {breaker_failures: 1, breaker_pause_s: 0.5, retries_per_model: 0, max_wait_s: 60}
"""


def test_a_call_with_a_fallback_does_not_queue_behind_those_who_wait_for_a_slot_of_a_model_that_fails(tmp_path: Path) -> None:
    """They came for a slot before the circuit opened, and now wait for it in the same queue."""
    free, arrived = threading.Event(), threading.Event()

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        arrived.set()
        free.wait(60)
        return 503, {}

    async def scenario() -> tuple[str, float]:
        async with AsyncClient(file, ledger="memory:", state_dir=tmp_path / "state", run="r", environ={}) as client:
            holder = asyncio.create_task(client.complete(HELLO, model="a", user="holds the slot"))
            await asyncio.to_thread(arrived.wait, 30)
            waiter = asyncio.create_task(client.complete(HELLO, model="lonely"))
            queue = client._resources.world.wait_queue
            assert isinstance(queue, ProcessWaitQueue)
            while queue.waiting(account(client.registry, "slots/a")) < 1:  # noqa: ASYNC110 - joining the queue sets no event
                await asyncio.sleep(0.01)
            await client._resources.books.post(
                (Post(account(client.registry, "probe/a"), 1, 60_000), Post(account(client.registry, "breaker/a"), 1, 120_000)),
                (),
                client._resources.runtime.now_ms(),
            )
            began_s = time.monotonic()
            model_ = (await client.complete(HELLO, model="a")).model
            took_s = time.monotonic() - began_s
            free.set()
            for task in (holder, waiter):
                task.cancel()
            await asyncio.wait([holder, waiter])
        return model_, took_s

    file = tmp_path / "registry.yaml"
    with LoopbackProvider(behave) as busy, LoopbackProvider(lambda _: (503, {})) as down, LoopbackProvider(lambda _: (200, {})) as well:
        file.write_text(QUEUED % (busy.base_url, down.base_url, well.base_url))
        model_, took_s = asyncio.run(scenario())
    assert model_ == "well"
    assert took_s < 5


QUEUED = """
default: a
models:
  a: {provider: openai_compatible, model_id: a, base_url: "%s", price: free, max_parallel: 1, fallbacks: [well]}
  lonely: {provider: openai_compatible, model_id: l, base_url: "%s", price: free, fallbacks: [a]}
  well: {provider: openai_compatible, model_id: w, base_url: "%s", price: free}
policies: {breaker_failures: 5, patience_s: 30, retries_per_model: 0}
"""


REGISTRY = """
default: a
models:
  a: {provider: openai_compatible, model_id: a, base_url: "%s", price: free, max_parallel: %s, fallbacks: [b]}
  b: {provider: openai_compatible, model_id: b, base_url: "%s", price: free}
policies: {breaker_failures: 1, breaker_pause_s: 0.3, retries_per_model: 0}
"""


def test_one_probe_at_a_time_among_many_callers_of_two_registries(shared_ledger: str, tmp_path: Path) -> None:
    """Sixteen callers of two registries meet a circuit that is half open: one request reaches the model until it is answered."""
    answered, early = threading.Event(), 0
    statuses = iter([503])

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        nonlocal early
        if (status := next(statuses, 200)) == 200 and not answered.is_set():
            early += 1
            time.sleep(0.3)
            answered.set()
        return status, {}

    async def scenario() -> tuple[list[str], list[str]]:
        files = [tmp_path / "two.yaml", tmp_path / "eight.yaml"]
        for file, cap in zip(files, (2, 8), strict=True):
            file.write_text(REGISTRY % (failing.base_url, cap, well.base_url))
        async with (
            AsyncClient(files[0], ledger=shared_ledger, state_dir=tmp_path / "state", run="r", environ={}) as two,
            AsyncClient(files[1], ledger=shared_ledger, state_dir=tmp_path / "state", run="r", environ={}) as eight,
        ):
            assert (await two.complete(HELLO)).model == "b"
            await asyncio.sleep(0.35)
            replies = await asyncio.gather(*(client.complete(HELLO) for client in (two, eight) for _ in range(8)))
            again = await asyncio.gather(two.complete(HELLO), eight.complete(HELLO))
        return [reply.model for reply in replies], [reply.model for reply in again]

    with LoopbackProvider(behave) as failing, LoopbackProvider(lambda _: (200, {})) as well:
        replies, again = asyncio.run(scenario())
    assert early == 1
    assert "a" in replies
    assert again == ["a", "a"]
