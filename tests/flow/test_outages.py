"""How long a call waits, and for what: outages are waited out, and what waiting can't help fails at once."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from call_box import HELLO, Box, answer, failure, model, per_run, registry
from fleet import LoopbackProvider, registry_file
from paymaster import AsyncClient, Client
from paymaster.errors import LimitReached, NoModelAvailable, PaymasterError
from paymaster.flow.events import Throttled
from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.ledgers.memory import MemoryLedger
from paymaster.routing.failures import OPERATOR_KINDS, Billed, Failure, FailureKind
from paymaster.routing.requests import Request
from paymaster.testing import ManualRuntime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fleet import Seen
    from paymaster.flow.ports import ProviderCall, ProviderReply

SECOND_MS = 1_000
MAX_WAIT_MS = 300_000


class Down:
    """A model that fails for a time, in the given ways one after the other, then answers; it keeps when it was asked meanwhile."""

    def __init__(self, runtime: ManualRuntime, for_ms: int, *failures: Failure) -> None:
        self._runtime, self._failures = runtime, failures
        self.ends_at_ms = runtime.now_ms() + for_ms
        self.asked_at_ms: list[int] = []

    def __call__(self, _: ProviderCall) -> ProviderReply | Failure:
        if self._runtime.now_ms() >= self.ends_at_ms:
            return answer()
        self.asked_at_ms.append(self._runtime.now_ms())
        return self._failures[(len(self.asked_at_ms) - 1) % len(self._failures)]


OVERLOADED = failure(FailureKind.OVERLOADED, status=529)
UNAVAILABLE = failure(FailureKind.OVERLOADED, status=503)
REFUSED = failure(FailureKind.CONNECTION_REFUSED)
NO_CONNECTION = failure(FailureKind.TIMED_OUT, Billed.NO)
THROTTLED = failure(FailureKind.THROTTLED, status=429)
SAYS_ZERO = failure(FailureKind.THROTTLED, status=429, retry_after_ms=0)
SAYS_TWO_SECONDS = failure(FailureKind.THROTTLED, status=429, retry_after_ms=2_000)
MAYBE_BILLED = failure(FailureKind.SERVER_ERROR, Billed.MAYBE, status=500)
LOST = failure(FailureKind.CONNECTION_LOST, Billed.MAYBE)
UNUSABLE = failure(FailureKind.UNUSABLE_ANSWER, Billed.MAYBE)
SILENT = failure(FailureKind.TIMED_OUT, Billed.MAYBE)

OUTAGES = {
    "529 for 25 s": (25, [OVERLOADED]),
    "refused for 60 s": (60, [REFUSED]),
    "no connection for 60 s": (60, [NO_CONNECTION]),
    "503 for 4 minutes": (240, [UNAVAILABLE]),
    "429 without a wait for 25 s": (25, [THROTTLED]),
    "Retry-After: 0 for 25 s": (25, [SAYS_ZERO]),
    "429 and 503 and refused for 60 s": (60, [THROTTLED, UNAVAILABLE, REFUSED, SAYS_TWO_SECONDS]),
    "500 that may be billed for 25 s": (25, [MAYBE_BILLED]),
    "lost connections for 25 s": (25, [LOST]),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_is_waited_out_if_no_other_model_is_left(outage: str, streamed: bool) -> None:
    seconds, failures = OUTAGES[outage]
    runtime = ManualRuntime()
    down = Down(runtime, seconds * SECOND_MS, *failures)
    box = Box(registry(model("a")), {"a": [down]}, runtime=runtime)
    _stream_callables(box)
    items = asyncio.run(box.items(Request(messages=HELLO, stream=streamed)))
    assert isinstance(items[-1], Reply)
    late_ms = runtime.now_ms() - down.ends_at_ms
    assert late_ms <= max(2 * SECOND_MS, min(15, seconds) * SECOND_MS)
    assert len(down.asked_at_ms) <= 18 + seconds // 10


def _stream_callables(box: Box) -> None:
    """Let the provider stream what a callable answers."""
    whole = box.provider.send

    async def stream(call: ProviderCall):  # type: ignore[no-untyped-def]  # an asynchronous generator of what `send` answers
        outcome = await whole(call)
        if not isinstance(outcome, Failure):
            yield ProviderChunk({"choices": [{"index": 0, "delta": {"content": "Hi"}}]})
        yield outcome

    box.provider.stream = stream  # type: ignore[method-assign]  # as above


@pytest.mark.parametrize("number", [3, 4, 9])
def test_a_provider_that_answers_503_a_few_times_is_asked_until_it_answers(number: int) -> None:
    box = Box(registry(model("a")), {"a": [*[UNAVAILABLE] * number, answer()]})
    assert box.ask().model == "a"


def test_an_outage_longer_than_the_call_may_wait_ends_with_its_reason_and_a_time_to_come_back() -> None:
    box = Box(registry(model("a")), {"a": [OVERLOADED]})
    began_ms = box.runtime.now_ms()
    with pytest.raises(NoModelAvailable) as caught:
        box.ask()
    assert MAX_WAIT_MS - 16 * SECOND_MS <= box.runtime.now_ms() - began_ms <= MAX_WAIT_MS + SECOND_MS
    assert "overloaded (HTTP 529): no luck; the call waited 2" in caught.value.message
    assert caught.value.failure == "overloaded"
    assert SECOND_MS <= (caught.value.retry_after_ms or 0) <= 15 * SECOND_MS
    assert len(box.called()) <= 35


@pytest.mark.parametrize(("max_wait_ms", "most"), [(0, 1), (30 * SECOND_MS, 14)])
def test_a_call_waits_no_longer_than_it_may(max_wait_ms: int, most: int) -> None:
    box = Box(registry(model("a")), {"a": [REFUSED]})
    began_ms = box.runtime.now_ms()
    with pytest.raises(NoModelAvailable):
        box.ask(max_wait_ms=max_wait_ms)
    assert box.runtime.now_ms() - began_ms <= max_wait_ms
    assert len(box.called()) <= most


@pytest.mark.parametrize(
    ("failures", "policy", "requests"),
    [
        ([OVERLOADED], {"retries_per_model": 0}, 1),  # never the same model again
        ([OVERLOADED], {"max_attempts": 4}, 4),  # the user's own bound
        ([MAYBE_BILLED], {}, 10),
        ([MAYBE_BILLED], {"retries_per_model": 1}, 2),
        ([LOST], {"max_attempts": 3}, 3),
        ([OVERLOADED, MAYBE_BILLED], {"max_wait_ms": 10**9, "deadline_ms": 10**9}, 20),  # the unbilled ones don't count
        ([UNUSABLE], {}, 3),
        ([SILENT], {}, 10),
        ([SILENT], {"retries_per_model": 0}, 1),
        ([SILENT], {"retries_per_model": 2}, 3),
        ([SILENT], {"max_attempts": 2}, 2),
    ],
    ids=str,
)
def test_attempts_that_may_cost_something_are_bounded_and_so_is_what_the_user_bounds(
    failures: list[Failure], policy: dict[str, object], requests: int
) -> None:
    runtime = ManualRuntime()
    down = Down(runtime, 10**9, *failures)
    box = Box(registry(model("a"), budgets=(per_run("100"),), hard_stop_on_budget=True, **policy), {"a": [down]}, runtime=runtime)
    with pytest.raises(NoModelAvailable):
        box.ask()
    assert len(down.asked_at_ms) == requests
    billed = sum(each.billed is not Billed.NO for each in failures) * requests // len(failures)
    held_nanousd = 1_000 * 10_000
    assert held_nanousd * billed <= box.spent()[0] <= 2 * held_nanousd * billed


def test_a_free_model_costs_nothing_however_often_it_is_asked() -> None:
    runtime = ManualRuntime()
    down = Down(runtime, 240 * SECOND_MS, MAYBE_BILLED)
    free = model("a", price=type(model("x").price).free("registry"))  # type: ignore[union-attr]  # it has one
    assert Box(registry(free), {"a": [down]}, runtime=runtime).ask().model == "a"


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("failures", [(OVERLOADED, REFUSED), (SAYS_TWO_SECONDS, UNAVAILABLE), (THROTTLED, THROTTLED)], ids=str)
def test_of_a_chain_that_is_down_the_model_that_is_back_first_answers(failures: tuple[Failure, Failure], first: str) -> None:
    runtime = ManualRuntime()
    downs = {name: Down(runtime, (40 if name == first else 200) * SECOND_MS, found) for name, found in zip("ab", failures, strict=True)}
    box = Box(registry(model("a"), model("b")), {name: [down] for name, down in downs.items()}, runtime=runtime)
    assert box.ask().model == first
    assert runtime.now_ms() - downs[first].ends_at_ms <= 16 * SECOND_MS


def test_a_model_that_needs_an_operator_is_not_waited_for_but_one_before_it_is() -> None:
    runtime = ManualRuntime()
    down = Down(runtime, 60 * SECOND_MS, OVERLOADED)
    box = Box(registry(model("a"), model("b")), {"a": [down], "b": [failure(FailureKind.AUTHENTICATION)]}, runtime=runtime)
    assert box.ask().model == "a"
    assert box.called().count("b") == 1


def test_a_long_chain_that_is_down_is_waited_for_though_it_uses_up_its_attempts() -> None:
    runtime = ManualRuntime()
    names = "abcdef"
    downs = {name: Down(runtime, 60 * SECOND_MS, OVERLOADED) for name in names}
    box = Box(registry(*map(model, names)), {name: [down] for name, down in downs.items()}, runtime=runtime)
    assert box.ask().model in names


def test_a_soft_budget_is_passed_before_an_outage_is_waited_out() -> None:
    free = model("a", price=type(model("x").price).free("registry"))  # type: ignore[union-attr]  # it has one
    box = Box(registry(free, model("b"), budgets=(per_run("0.000001"),)), {"a": [OVERLOADED], "b": [answer()]})
    assert box.ask().model == "b"
    assert box.runtime.now_ms() - ManualRuntime().now_ms() < SECOND_MS


def test_a_call_does_not_back_off_before_it_falls_back_from_an_open_circuit() -> None:
    box = Box(registry(model("a"), model("b"), breaker_failures=1), {"a": [OVERLOADED], "b": [answer()]})
    assert box.ask().model == "b"
    assert isinstance(box.runtime, ManualRuntime)
    assert box.runtime.slept_ms == []


@pytest.mark.parametrize("waits_ms", [20 * SECOND_MS, 100 * SECOND_MS])
def test_a_quota_that_comes_back_by_itself_is_waited_for(waits_ms: int) -> None:
    box = Box(registry(model("a")), {"a": [failure(FailureKind.QUOTA_EXHAUSTED, retry_after_ms=waits_ms), answer()]})
    assert box.ask().model == "a"


@pytest.mark.parametrize("waits_ms", [None, 2 * MAX_WAIT_MS])
def test_a_quota_that_does_not_come_back_in_time_fails_at_once(waits_ms: int | None) -> None:
    box = Box(registry(model("a")), {"a": [failure(FailureKind.QUOTA_EXHAUSTED, retry_after_ms=waits_ms)]})
    began_ms = box.runtime.now_ms()
    with pytest.raises(NoModelAvailable, match="quota exhausted"):
        box.ask()
    assert box.runtime.now_ms() == began_ms


@pytest.mark.parametrize("kind", OPERATOR_KINDS)
def test_what_only_an_operator_can_fix_fails_every_caller_at_once_and_one_in_25_s_probes(kind: FailureKind) -> None:
    runtime, books = ManualRuntime(), MemoryLedger()
    asked = [failure(kind, status=401)]
    boxes = [Box(registry(model("a")), {"a": asked}, runtime=runtime, books=books) for _ in range(3)]
    began_ms = runtime.now_ms()
    errors = []
    for second in range(100):
        for box in boxes:
            with pytest.raises(NoModelAvailable) as caught:
                box.ask()
            errors.append(caught.value)
        assert runtime.now_ms() == began_ms + second * SECOND_MS
        runtime.advance(SECOND_MS)
    assert sum(len(box.called()) for box in boxes) == 4
    assert {error.failure for error in errors} == {kind.value}
    assert {type(error) for error in errors} == {NoModelAvailable}
    name = kind.value.replace("_", " ")
    assert f"a: {name} (HTTP 401): no luck; requires operator action" in errors[0].message
    assert f"a: {name}, as another call found 1.0 s ago; requires operator action; a call may try again in 24.0 s" in errors[3].message
    asked[:] = [answer()]
    runtime.advance(25 * SECOND_MS)
    assert [box.ask().model for box in boxes] == ["a"] * 3


def refuses_key(bad: str, kind: FailureKind) -> Callable[[ProviderCall], ProviderReply | Failure]:
    """A provider that refuses one key."""
    return lambda call: failure(kind, status=401) if call.key == bad else answer()


@pytest.mark.parametrize("kind", OPERATOR_KINDS)
def test_a_caller_with_another_key_is_answered_at_once_and_closes_the_circuit(kind: FailureKind) -> None:
    runtime, books = ManualRuntime(), MemoryLedger()
    old, new = (
        Box(registry(model("a")), {"a": [refuses_key("old", kind)]}, runtime=runtime, books=books, key=key) for key in ("old", "new")
    )
    began_ms = runtime.now_ms()
    for _ in range(3):
        with pytest.raises(NoModelAvailable):
            old.ask()
    assert [new.ask().model for _ in range(3)] == ["a"] * 3
    assert (len(old.called()), len(new.called()), runtime.now_ms()) == (1, 3, began_ms)


def test_a_new_key_that_is_wrong_too_fails_at_once_and_a_third_is_tried() -> None:
    runtime, books = ManualRuntime(), MemoryLedger()

    def box(key: str) -> Box:
        outcome = answer() if key == "right" else failure(FailureKind.AUTHENTICATION)
        return Box(registry(model("a")), {"a": [outcome]}, runtime=runtime, books=books, key=key)

    began_ms, wrong = runtime.now_ms(), [box("one"), box("two"), box("three")]
    for each in wrong * 3:
        with pytest.raises(NoModelAvailable, match="authentication"):
            each.ask()
    assert [len(each.called()) for each in wrong] == [1, 1, 1]
    assert box("right").ask().model == "a"
    assert runtime.now_ms() == began_ms


def test_a_new_key_that_meets_an_outage_waits_for_it_like_everybody() -> None:
    runtime, books = ManualRuntime(), MemoryLedger()
    down = Down(runtime, 25 * SECOND_MS, OVERLOADED)
    old = Box(registry(model("a")), {"a": [failure(FailureKind.AUTHENTICATION)]}, runtime=runtime, books=books, key="old")
    new = Box(registry(model("a")), {"a": [down]}, runtime=runtime, books=books, key="new")
    with pytest.raises(NoModelAvailable):
        old.ask()
    assert new.ask().model == "a"
    assert len(down.asked_at_ms) <= 14


def test_a_circuit_that_opens_for_another_reason_is_waited_for_again() -> None:
    """The key is fixed, and the provider is overloaded when the probe comes."""
    runtime = ManualRuntime()
    box = Box(registry(model("a")), {"a": [failure(FailureKind.AUTHENTICATION), *[OVERLOADED] * 3, answer()]}, runtime=runtime)
    with pytest.raises(NoModelAvailable):
        box.ask()
    runtime.advance(25 * SECOND_MS)
    assert box.ask().model == "a"


def test_each_wait_is_reported_with_its_reason_and_its_end() -> None:
    runtime = ManualRuntime()
    box = Box(registry(model("a")), {"a": [Down(runtime, 25 * SECOND_MS, OVERLOADED)]}, runtime=runtime)
    began_ms = runtime.now_ms()
    box.ask()
    waits = [event for event in box.events if isinstance(event, Throttled)]
    assert {event.failure for event in waits} == {"overloaded (HTTP 529)"}
    assert {event.failing_since_ms for event in waits} == {began_ms}
    assert {event.gives_up_at_ms for event in waits} == {began_ms + MAX_WAIT_MS}
    known = [(event.at_ms, event.wait_ms) for event in waits if event.wait_ms is not None]
    for (at_ms, wait_ms), (later_ms, _) in pairwise(known):
        assert wait_ms is not None
        assert later_ms - at_ms <= wait_ms + SECOND_MS  # no wait goes on for long without a report


# Real threads, tasks and sockets.


class Provider:
    """Answers with a status until the time is over."""

    def __init__(self, status: int, for_s: float, headers: dict[str, str] | None = None) -> None:
        self._status, self._headers = status, headers or {}
        self._ends_s = time.monotonic() + for_s

    def __call__(self, _: Seen) -> tuple[int, dict[str, str]]:
        time.sleep(0.02)
        return (self._status, self._headers) if time.monotonic() < self._ends_s else (200, {})


def _threads(file: Path, ledger: str, state_dir: Path, number: int) -> list[str | PaymasterError]:
    with Client(file, ledger=ledger, state_dir=state_dir, run="r") as client:
        found: list[str | PaymasterError] = []

        def call() -> None:
            try:
                found.append(client.complete(HELLO, max_tokens=10).model)
            except PaymasterError as error:
                found.append(error)

        threads = [threading.Thread(target=call) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    return found


def _tasks(file: Path, ledger: str, state_dir: Path, number: int) -> list[str | PaymasterError]:
    async def scenario() -> list[str | PaymasterError]:
        async with AsyncClient(file, ledger=ledger, state_dir=state_dir, run="r") as client:
            replies = await asyncio.gather(*(client.complete(HELLO, max_tokens=10) for _ in range(number)), return_exceptions=True)
        found: list[str | PaymasterError] = []
        for reply in replies:
            assert isinstance(reply, Reply | PaymasterError)
            found.append(reply.model if isinstance(reply, Reply) else reply)
        return found

    return asyncio.run(scenario())


@pytest.mark.parametrize("callers", [_threads, _tasks])
@pytest.mark.parametrize(("status", "headers"), [(503, {}), (529, {}), (429, {}), (429, {"Retry-After": "0"})])
def test_many_callers_of_a_dead_provider_probe_it_one_at_a_time(
    callers: Callable[[Path, str, Path, int], list[str | PaymasterError]],
    status: int,
    headers: dict[str, str],
    tmp_path: Path,
) -> None:
    number, seconds = 16, 4
    with LoopbackProvider(Provider(status, seconds, headers)) as provider:
        file = registry_file(tmp_path, provider, policies=", backoff_initial_s: 0.3")
        found = callers(file, "memory:", tmp_path / "state", number)
        failed = [seen for seen in provider.seen if seen.status != 200]
    assert found == ["a"] * number
    assert len(failed) <= number + 8  # each once before anybody knows, a few retries under way, then one probe at a time


@pytest.mark.parametrize("callers", [_threads, _tasks])
def test_a_wrong_key_fails_all_callers_in_a_moment_also_those_who_wait_for_a_slot(
    callers: Callable[[Path, str, Path, int], list[str | PaymasterError]], shared_ledger: str, tmp_path: Path
) -> None:
    with LoopbackProvider(lambda _: (401, {})) as provider:
        file = registry_file(tmp_path, provider, ", max_parallel: 1")
        began_s = time.monotonic()
        found = callers(file, shared_ledger, tmp_path / "state", 6)
        took_s = time.monotonic() - began_s
        assert len(provider.seen) == 1
    assert [type(error) for error in found] == [NoModelAvailable] * 6
    assert all("authentication" in str(error) for error in found)
    assert took_s < 5  # 0.1 s on a quiet machine; it was 125


@pytest.mark.parametrize(
    ("call_ms", "policy_ms", "waits_ms"),
    [(None, 20_000, 20_000), (5_000, 20_000, 5_000), (20_000, 5_000, 5_000), (0, 20_000, 0), (None, 0, 0)],
)
def test_of_the_calls_longest_wait_and_the_registrys_the_smaller_counts(call_ms: int | None, policy_ms: int, waits_ms: int) -> None:
    box = Box(registry(model("a"), max_wait_ms=policy_ms), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=SECOND_MS)]})
    began_ms = box.runtime.now_ms()
    with pytest.raises(LimitReached):
        box.ask(max_wait_ms=call_ms)
    assert waits_ms - 2 * SECOND_MS <= box.runtime.now_ms() - began_ms <= waits_ms
