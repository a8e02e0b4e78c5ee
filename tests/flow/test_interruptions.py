"""A call that ends in the middle: what is known is charged, the rest of the hold is free at once, and the message says what and why."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from call_box import HELLO, Box, answer, failure, model, per_run, price, registry
from paymaster.accounting.usage.record import Usage
from paymaster.errors import NoModelAvailable, StreamBroken
from paymaster.flow import events
from paymaster.flow.calls import serve
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply
from paymaster.registry.disconnects import StopsOnDisconnect
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.requests import Request
from paymaster.testing import ManualRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from paymaster.accounting.records import AttemptRecord

STOPS = StopsOnDisconnect(source="a test", stated_on="2026-11-30", tokens_per_second=100, closing_ms=0)
START = {"choices": [{"index": 0, "delta": {"role": "assistant"}}], "usage": {"prompt_tokens": 12, "completion_tokens": 1}}
FINISH = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
END = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13}}
CUT = failure(FailureKind.CONNECTION_LOST, Billed.MAYBE)
STALLED = failure(FailureKind.TIMED_OUT, Billed.MAYBE)


def text(content: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": content}}]}


class Stream:
    """A provider that sends each step after so many milliseconds of a held clock."""

    def __init__(self, runtime: ManualRuntime, *steps: tuple[int, object]) -> None:
        self._runtime, self._steps = runtime, steps

    async def send(self, call: ProviderCall) -> ProviderReply | Failure:
        (_, outcome), *_ = self._steps
        if isinstance(outcome, BaseException):
            raise outcome
        assert isinstance(outcome, ProviderReply | Failure)
        return outcome

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        for wait_ms, step in self._steps:
            self._runtime.advance(wait_ms)
            if isinstance(step, BaseException):
                raise step
            yield ProviderChunk(step) if isinstance(step, dict) else step  # type: ignore[misc]  # a test's steps are right

    async def close(self) -> None:
        """Nothing to release."""


def box_of(*steps: tuple[int, object], policy: dict[str, object] | None = None, **settings: object) -> Box:
    """A model at $3 and $15 per million tokens that may answer with 64,000 tokens: a call holds $0.96."""
    given = {"price": price("3", "15"), "max_output_tokens": 64_000, "stops": STOPS, "capabilities": frozenset(), **settings}
    box = Box(registry(model("a", **given), budgets=(per_run("5"),), retries_per_model=0, **(policy or {})), {})
    assert isinstance(box.runtime, ManualRuntime)
    box.provider = Stream(box.runtime, *steps)  # type: ignore[assignment]  # a provider of this test's own
    return box


def failed(box: Box) -> events.AttemptFailed:
    """The only attempt's failure, with nothing left held."""
    [event] = [event for event in box.events if isinstance(event, events.AttemptFailed)]
    assert box.spent() == (event.cost_nanousd, 0)
    return event


def hang_up(box: Box, chunks: int, wait_ms: int = 0) -> events.AttemptFailed:
    """Read so many chunks, wait, and close the stream."""

    async def scenario() -> None:
        async with aclosing(serve(box.world, Request(messages=HELLO, stream=True), box.scope)) as stream:
            for _ in range(chunks):
                await anext(stream)
            assert isinstance(box.runtime, ManualRuntime)
            box.runtime.advance(wait_ms)

    asyncio.run(scenario())
    return failed(box)


def broken(box: Box) -> StreamBroken:
    """Read to the end, which is a cut."""
    with pytest.raises(StreamBroken) as caught:
        asyncio.run(box.items(Request(messages=HELLO, stream=True)))
    return caught.value


HI_NANOUSD = 12 * 3_000 + 80 * 15_000


def test_a_hi_that_was_cut_costs_a_thousandth_of_its_hold() -> None:
    box = box_of((900, START), (100, text("hi")), (780, CUT))
    error = broken(box)
    event = failed(box)
    assert (event.billed, event.cost_nanousd) == ("estimated", HI_NANOUSD)
    basis = "12 prompt tokens as reported, at most 80 output tokens until the connection closed"
    assert event.cost_basis == basis
    assert error.advice == f"Charged $0.001236: {basis}. Ask again for a whole answer."
    admitted = next(event for event in box.events if isinstance(event, events.Admitted))
    assert admitted.held_nanousd > 700 * HI_NANOUSD


def test_a_caller_who_hangs_up_is_charged_until_then() -> None:
    event = hang_up(box_of((900, START), (100, text("hi")), (10**6, CUT)), chunks=2, wait_ms=780)
    assert (event.failure, event.billed, event.cost_nanousd) == ("cancelled", "estimated", HI_NANOUSD)


def test_a_stall_is_charged_as_long_as_the_connection_was_open() -> None:
    box = box_of((100, START), (100, text("hi")), (60_000, STALLED))
    assert "at most 6,002 output tokens" in broken(box).advice


def test_a_caller_who_reads_slowly_is_charged_for_what_the_provider_made_meanwhile() -> None:
    """The second chunk had been here for long when it was read: the provider may be far ahead of it."""

    async def scenario(box: Box) -> None:
        async with aclosing(serve(box.world, Request(messages=HELLO, stream=True), box.scope)) as stream:
            await anext(stream)
            assert isinstance(box.runtime, ManualRuntime)
            box.runtime.advance(50_000)
            await anext(stream)

    box = box_of((100, text("hi")), (0, text("ho")), (10**6, CUT))
    asyncio.run(scenario(box))
    assert failed(box).cost_basis is not None
    assert "5,004 output tokens" in str(failed(box).cost_basis)


def test_a_tick_of_the_clock_is_no_sign_that_a_slow_reader_has_caught_up() -> None:
    """Only a wait as long as the reader was busy shows that the chunk was not there all the time."""

    async def scenario(box: Box) -> None:
        async with aclosing(serve(box.world, Request(messages=HELLO, stream=True), box.scope)) as stream:
            await anext(stream)
            assert isinstance(box.runtime, ManualRuntime)
            box.runtime.advance(50_000)
            await anext(stream)

    ticked = box_of((100, text("hi")), (1, text("ho")), (10**6, CUT))
    asyncio.run(scenario(ticked))
    assert "5,005 output tokens" in str(failed(ticked).cost_basis)
    waited = box_of((100, text("hi")), (50_000, text("ho")), (10**6, CUT))
    asyncio.run(scenario(waited))
    assert " 4 output tokens" in str(failed(waited).cost_basis)


def test_a_call_that_ends_before_its_first_chunk_is_charged_since_it_was_sent() -> None:
    box = box_of((2_000, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt) as caught:
        asyncio.run(box.items(Request(messages=HELLO, stream=True)))
    event = failed(box)
    assert (event.billed, event.cost_basis) == (
        "estimated",
        f"at most {_prompt_tokens(box):,} prompt tokens and 200 output tokens until the connection closed",
    )
    assert caught.value.__notes__ == [f"Charged {_usd(event.cost_nanousd)}: {event.cost_basis}."]


def _prompt_tokens(box: Box) -> int:
    return next(event.prompt_tokens for event in box.events if isinstance(event, events.Admitted))


def _usd(nanousd: int) -> str:
    from paymaster.accounting.money import format_usd

    return format_usd(nanousd)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, asyncio.CancelledError])
def test_a_whole_answer_that_is_interrupted_costs_its_hold_and_says_so(ending: type[BaseException]) -> None:
    box = box_of((0, ending()))
    with pytest.raises(ending) as caught:
        box.ask()
    event = failed(box)
    assert event.billed == "assumed"
    assert caught.value.__notes__ == [
        f"Charged {_usd(event.cost_nanousd)}, the whole hold: the answer was not streamed, so the provider may have finished it."
    ]


@pytest.mark.parametrize("kind", [FailureKind.CONNECTION_LOST, FailureKind.TIMED_OUT])
def test_a_whole_answer_that_was_lost_costs_its_hold(kind: FailureKind) -> None:
    box = box_of((0, failure(kind, Billed.MAYBE)))
    with pytest.raises(NoModelAvailable, match=r"Charged .*, the whole hold: the answer was not streamed"):
        box.ask()
    event = failed(box)
    assert (event.billed, event.cost_basis) == ("assumed", "the answer was not streamed, so the provider may have finished it")


@pytest.mark.parametrize(
    ("settings", "policy", "why"),
    [
        ({"stops": None}, {}, "openai does not state that it stops when the connection closes"),
        ({"capabilities": None}, {}, "the model may have reasoned without showing it"),
        ({}, {"estimates_interrupted": False}, "interrupted_calls is full_hold"),
    ],
)
def test_elsewhere_the_whole_hold_is_charged_and_the_message_says_why(settings, policy, why) -> None:
    box = box_of((0, START), (100, text("hi")), (100, CUT), policy=policy, **settings)
    error = broken(box)
    event = failed(box)
    admitted = next(event for event in box.events if isinstance(event, events.Admitted))
    assert (event.billed, event.cost_nanousd) == ("assumed", admitted.held_nanousd)
    assert error.advice == f"Charged {_usd(event.cost_nanousd)}, the whole hold: {why}. Ask again for a whole answer."


@pytest.mark.parametrize("policy", [{}, {"estimates_interrupted": False}])
def test_an_answer_that_was_complete_is_charged_exactly_even_if_its_reader_left(policy) -> None:
    event = hang_up(box_of((0, text("hi")), (1, FINISH), (1, END), (10**6, CUT), policy=policy, stops=None), chunks=3)
    assert (event.failure, event.billed, event.cost_nanousd) == ("cancelled", "exact", 12 * 3_000 + 1 * 15_000)


@pytest.mark.parametrize("chunks", [1, 2])
def test_usage_of_an_answer_that_is_not_complete_is_no_bill(chunks: int) -> None:
    counted = {**text("hi"), **END, "choices": text("hi")["choices"]}
    event = hang_up(box_of((0, counted), (1, counted), (10**6, CUT), stops=None), chunks=chunks)
    assert event.billed == "assumed"


def test_an_answer_that_overtook_its_usage_is_charged_as_held_and_the_record_says_why() -> None:
    late = answer(usage=None)
    box = box_of((0, text("hi")), (1, FINISH), (1, late))

    async def last() -> AttemptRecord:
        return (await box.items(Request(messages=HELLO, stream=True)))[-1].attempts[0]  # type: ignore[union-attr]  # the reply

    assert asyncio.run(last()).billed == "assumed"


def test_a_failure_with_the_provider_s_usage_is_exact_and_says_so() -> None:
    counted = failure(FailureKind.CONNECTION_LOST, Billed.YES, usage=Usage(input_tokens=12, output_tokens=3))
    box = box_of((0, text("hi")), (1, counted))
    assert "12 prompt tokens and 3 output tokens, as reported" in broken(box).advice
    assert failed(box).billed == "exact"
