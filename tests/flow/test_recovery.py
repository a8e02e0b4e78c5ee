"""A model that fails for two minutes, with a fallback behind it: how often it is asked meanwhile, and how soon it is in use again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from call_box import Box, answer, failure, model, registry
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.requests import Request
from paymaster.testing import ManualRuntime

if TYPE_CHECKING:
    from paymaster.flow.ports import ProviderCall, ProviderReply

OUTAGE_MS, SECOND_MS = 120_000, 1_000
DOWN = [
    FailureKind.QUOTA_EXHAUSTED,
    FailureKind.OVERLOADED,
    FailureKind.SERVER_ERROR,
    FailureKind.CONNECTION_REFUSED,
    FailureKind.CONNECTION_LOST,
    FailureKind.UNUSABLE_ANSWER,
    FailureKind.TIMED_OUT,
    FailureKind.AUTHENTICATION,
    FailureKind.PERMISSION,
    FailureKind.UNKNOWN_MODEL,
    FailureKind.THROTTLED,  # a 429 that does not say for how long
]


class Outage:
    """A model that fails in its own way from `from_ms` on for `OUTAGE_MS`, and keeps when it was asked meanwhile."""

    def __init__(self, kind: FailureKind, runtime: ManualRuntime, *, retry_after_ms: int | None = None) -> None:
        self.kind, self.runtime, self.retry_after_ms = kind, runtime, retry_after_ms
        self.ends_at_ms = runtime.now_ms() + OUTAGE_MS
        self.asked_at_ms: list[int] = []

    def __call__(self, _: ProviderCall) -> ProviderReply | Failure:
        now_ms = self.runtime.now_ms()
        if now_ms >= self.ends_at_ms:
            return answer("first")
        self.asked_at_ms.append(now_ms)
        return failure(self.kind, Billed.NO, retry_after_ms=self.retry_after_ms)


def live_through(outage: Outage) -> tuple[list[str], int]:
    """A call a second, until one is answered by the model that failed: who answered each, and how long after the outage that was."""
    runtime = outage.runtime
    box = Box(registry(model("first"), model("second")), {"first": [outage], "second": [answer("second")]}, runtime=runtime)
    answered: list[str] = []
    while "first" not in answered:
        began_ms = runtime.now_ms()
        answered.append(box.ask().model)
        runtime.advance(max(0, SECOND_MS - (runtime.now_ms() - began_ms)))
    return answered, runtime.now_ms() - outage.ends_at_ms


@pytest.mark.parametrize("kind", DOWN)
def test_a_model_that_fails_is_seldom_asked_and_soon_back(kind: FailureKind) -> None:
    outage = Outage(kind, ManualRuntime())
    answered, back_after_ms = live_through(outage)
    assert set(answered) == {"first", "second"}
    assert back_after_ms <= 30_000
    assert len(outage.asked_at_ms) <= 12
    assert len(answered) >= OUTAGE_MS / SECOND_MS  # one a second: nobody waits for what fails while another model answers


def test_why_a_model_was_skipped_is_reported_for_every_call() -> None:
    box = Box(
        registry(model("first"), model("second"), breaker_failures=1), {"first": [failure(FailureKind.SERVER_ERROR)], "second": [answer()]}
    )
    box.ask()
    box.events.clear()
    assert box.ask().model == "second"
    reported = box.events[0]
    assert (reported.kind, reported.model, reported.cause) == ("skipped", "first", "paused")
    assert reported.reason.startswith("circuit open after failures, for 15.")


def test_a_model_that_asks_for_time_gets_it_and_is_back_when_it_said() -> None:
    outage = Outage(FailureKind.THROTTLED, ManualRuntime(), retry_after_ms=20_000)
    _, back_after_ms = live_through(outage)
    assert back_after_ms <= 20_000 + SECOND_MS
    assert len(outage.asked_at_ms) == 6
    assert all(later - sooner >= 20_000 for sooner, later in zip(outage.asked_at_ms, outage.asked_at_ms[1:], strict=False))


def test_a_model_that_flaps_is_asked_as_seldom_as_one_that_is_down() -> None:
    """Well for a second in every ten: what it answers counts, and what it does not is not tried over and over."""
    runtime = ManualRuntime()
    asked: list[int] = []

    def flapping(_: ProviderCall) -> ProviderReply | Failure:
        if runtime.now_ms() % 10_000 < SECOND_MS:
            return answer("first")
        asked.append(runtime.now_ms())
        return failure(FailureKind.SERVER_ERROR)

    box = Box(registry(model("first"), model("second")), {"first": [flapping], "second": [answer("second")]}, runtime=runtime)
    for _ in range(120):
        began_ms = runtime.now_ms()
        assert box.ask().model in ("first", "second")
        runtime.advance(max(0, SECOND_MS - (runtime.now_ms() - began_ms)))
    assert len(asked) <= 30
    assert "first" in box.called()


def test_a_request_that_is_wrong_pauses_no_model_for_others() -> None:
    outage = Outage(FailureKind.CONTEXT_TOO_LONG, ManualRuntime())
    runtime = outage.runtime
    larger = model("second", context_window=100_000)
    box = Box(registry(model("first", context_window=10_000), larger), {"first": [outage], "second": [answer()]}, runtime=runtime)
    assert [box.ask(Request(messages=[{"role": "user", "content": "Hi"}])).model for _ in range(10)] == ["second"] * 10
    assert len(outage.asked_at_ms) == 10
    runtime.advance(OUTAGE_MS)
    assert box.ask().model == "first"
