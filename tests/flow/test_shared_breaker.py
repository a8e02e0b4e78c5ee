"""One circuit breaker for every registry on a ledger: caps that differ keep no healthy model away, and one probe goes at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from call_box import HELLO, Box, answer, failure, model, registry
from fleet import LoopbackProvider
from paymaster import AsyncClient
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Limits
from paymaster.routing.breaker import State
from paymaster.routing.failures import FailureKind
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
