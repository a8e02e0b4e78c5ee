"""A provider that throttles and names no time that makes sense, or a very long one: how often it is asked, and how the call ends."""

import asyncio
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

from call_box import Box, Outcome, answer, failure, model, registry
from fleet import LoopbackProvider, Seen, registry_file
from paymaster import AsyncClient, Client
from paymaster.accounting.accounts import Charge, Hold, ReserveOutcome
from paymaster.errors import LimitReached, NoModelAvailable, PaymasterError
from paymaster.flow.events import ModelSkipped
from paymaster.ledgers.memory import MemoryLedger
from paymaster.providers.rates import read_retry_after
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.testing import ManualRuntime
from paymaster.views.ledger_status import ledger_status

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NO_WAIT = [
    "0",
    "0.0",
    "-1",
    "nan",
    "1e400",
    "9" * 400,
    "31536000",
    formatdate(0, usegmt=True),
    "Fri, 31 Dec 2999 23:59:59 GMT",
    "Fri, 31 Dec 999999999999 23:59:59 GMT",
]
MESSAGES = [{"role": "user", "content": "Hello"}]


def asked_through(client_class: type[Client] | type[AsyncClient], headers: dict[str, str], tmp_path: Path) -> tuple[PaymasterError, int]:
    """One call to a provider that always answers 429 with these headers: its error, and how often the provider was asked."""

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        return 429, headers

    with LoopbackProvider(behave) as provider:
        policies = ", max_attempts: 4, backoff_initial_s: 0.01, backoff_max_s: 0.02"
        registry_path = registry_file(tmp_path, provider, policies=policies)
        with pytest.raises(PaymasterError) as caught:
            _ask(registry_path, tmp_path) if client_class is Client else asyncio.run(_ask_async(registry_path, tmp_path))
        return caught.value, len(provider.seen)


def _ask(registry_path: Path, state_dir: Path) -> None:
    with Client(registry_path, ledger="memory:", state_dir=state_dir) as client:
        client.complete(MESSAGES, max_tokens=10)


async def _ask_async(registry_path: Path, state_dir: Path) -> None:
    async with AsyncClient(registry_path, ledger="memory:", state_dir=state_dir) as client:
        await client.complete(MESSAGES, max_tokens=10)


@pytest.mark.parametrize("client_class", [Client, AsyncClient])
@pytest.mark.parametrize("retry_after", NO_WAIT)
def test_a_429_without_a_wait_that_makes_sense_is_tried_max_attempts_times(
    client_class: type[Client] | type[AsyncClient], retry_after: str, tmp_path: Path
) -> None:
    error, requests = asked_through(client_class, {"Retry-After": retry_after}, tmp_path)
    assert requests == 4
    assert isinstance(error, LimitReached)
    assert "throttled (HTTP 429)" in error.message
    assert "max_attempts = 4" in error.message


@pytest.mark.parametrize("name", ["retry-after-ms", "x-ratelimit-reset-requests", "x-ratelimit-reset"])
def test_other_headers_that_name_no_time_are_no_better(name: str, tmp_path: Path) -> None:
    headers = {name: "0", "x-ratelimit-remaining": "0", "x-ratelimit-remaining-requests": "0"}
    error, requests = asked_through(Client, headers, tmp_path)
    assert (type(error), requests) == (LimitReached, 4)


def test_a_provider_that_asks_for_a_millisecond_is_not_asked_a_thousand_times() -> None:
    """Its waits are not counted, but each is raised to the backoff, or a second."""
    runtime = ManualRuntime()
    box = Box(registry(model("a"), max_wait_ms=60_000), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=1)]}, runtime=runtime)
    with pytest.raises(LimitReached):
        box.ask()
    assert 60 <= len(box.called()) <= 90


@pytest.mark.parametrize("has_fallback", [False, True])
def test_a_429_without_a_wait_backs_off_and_is_counted(has_fallback: bool) -> None:
    models = [model("a"), model("b")] if has_fallback else [model("a")]
    outcomes = {"a": [failure(FailureKind.THROTTLED, retry_after_ms=0)], "b": [failure(FailureKind.SERVER_ERROR)]}
    box = Box(registry(*models, max_attempts=6, retries_per_model=1), outcomes)
    with pytest.raises(NoModelAvailable):
        box.ask()
    assert len(box.called()) <= 6
    assert box.called().count("a") == (3 if has_fallback else 6)  # with nobody else left, both are waited for in turn


def test_a_model_that_answers_after_a_few_429s_without_a_wait_is_waited_for() -> None:
    throttled = [failure(FailureKind.THROTTLED) for _ in range(9)]
    assert Box(registry(model("a")), {"a": [*throttled, answer()]}).ask().model == "a"


def test_an_overloaded_model_that_says_0_is_asked_again_after_the_backoff() -> None:
    box = Box(registry(model("a")), {"a": [failure(FailureKind.OVERLOADED, retry_after_ms=0), answer()]})
    assert box.ask().model == "a"
    assert isinstance(box.runtime, ManualRuntime)
    assert box.runtime.slept_ms == [100]


@pytest.mark.parametrize(
    ("kind", "asks_ms", "probes"),
    [
        (FailureKind.THROTTLED, 5 * HOUR_MS, 5),
        (FailureKind.THROTTLED, DAY_MS, 24),
        (FailureKind.QUOTA_EXHAUSTED, 5 * HOUR_MS, 5),
    ],
)
def test_a_model_that_asks_for_a_long_wait_is_probed_once_an_hour(kind: FailureKind, asks_ms: int, probes: int) -> None:
    """Two callers ask once a minute until the time that the provider named; each of its answers names what is left."""
    runtime, books = ManualRuntime(), MemoryLedger()
    ends_at_ms = runtime.now_ms() + asks_ms
    asked_at_ms: list[int] = []

    def full(_: object) -> Failure:
        asked_at_ms.append(runtime.now_ms())
        return failure(kind, Billed.NO, retry_after_ms=ends_at_ms - runtime.now_ms())

    boxes = [Box(registry(model("a"), model("b")), {"a": [full], "b": [answer("b")]}, runtime=runtime, books=books) for _ in range(2)]
    while runtime.now_ms() < ends_at_ms - 60_000:
        for box in boxes:
            assert box.ask().model == "b"
        runtime.advance(60_000)
    assert len(asked_at_ms) == probes
    assert all(HOUR_MS <= later - sooner <= HOUR_MS + 60_000 for sooner, later in pairwise(asked_at_ms))


def test_a_probe_that_is_answered_ends_a_long_wait() -> None:
    runtime = ManualRuntime()
    full = failure(FailureKind.THROTTLED, retry_after_ms=5 * HOUR_MS)
    box = Box(registry(model("a"), model("b")), {"a": [full, answer("a")], "b": [answer("b")]}, runtime=runtime)
    assert box.ask().model == "b"
    assert [event.kind for event in box.events if event.kind.startswith("breaker")] == ["breaker_opened"]
    assert box.ask().model == "b"
    runtime.advance(HOUR_MS)
    assert [box.ask().model for _ in range(3)] == ["a"] * 3
    balances = asyncio.run(box.books.balances("", runtime.now_ms()))
    assert not any(balance.total for account, balance in balances.items() if account.partition("/")[0] in ("pause", "breaker", "probe"))


def test_a_call_that_may_wait_for_hours_is_answered_by_the_first_probe_that_finds_room() -> None:
    full = failure(FailureKind.THROTTLED, retry_after_ms=2 * HOUR_MS)
    box = Box(registry(model("a"), max_wait_ms=3 * HOUR_MS, deadline_ms=4 * HOUR_MS), {"a": [full, answer()]})
    began_ms = box.runtime.now_ms()
    assert box.ask().model == "a"
    assert HOUR_MS <= box.runtime.now_ms() - began_ms <= HOUR_MS + 60_000


def test_the_error_and_the_status_say_when_the_next_probe_is() -> None:
    box = Box(registry(model("a")), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=5 * HOUR_MS)]})
    for _ in range(2):
        with pytest.raises(PaymasterError) as caught:
            box.ask()
        assert getattr(caught.value, "retry_after_ms", None) == HOUR_MS
    assert "the provider asked to wait, for 3,600.0 s more" in str(caught.value)
    now_ms = box.runtime.now_ms()
    [found] = ledger_status(asyncio.run(box.books.balances("", now_ms))).models
    assert (found.open_until_ms, found.paused_until_ms) == (now_ms + HOUR_MS, now_ms + HOUR_MS)


def test_no_entry_keeps_a_model_out_for_longer_than_a_day() -> None:
    for kind in FailureKind:
        for wait_ms in (DAY_MS, 31 * DAY_MS, 10**18):
            box = Box(registry(model("a"), retries_per_model=0), {"a": [failure(kind, Billed.NO, retry_after_ms=wait_ms)]})
            with pytest.raises(PaymasterError):
                box.ask()
            balances = asyncio.run(box.books.balances("", box.runtime.now_ms()))
            ends_ms = [at_ms - box.runtime.now_ms() for balance in balances.values() for at_ms, _ in balance.free_at]
            assert max(ends_ms, default=0) <= DAY_MS, (kind, wait_ms)


def test_a_wait_in_headers_is_a_day_at_most() -> None:
    assert read_retry_after({"retry-after": "86400"}, None, "", 0) == DAY_MS
    assert read_retry_after({"retry-after": "86401"}, None, "", 0) is None


def exhausted_box(runtime: ManualRuntime, books: MemoryLedger, *, asks_ms: int = 2_000, **policy: object) -> tuple[Box, list[Outcome]]:
    """A model that always says when to come back and has no room then, before one that answers; and what the first does."""
    outcomes: list[Outcome] = [failure(FailureKind.THROTTLED, status=429, retry_after_ms=asks_ms)]
    box = Box(registry(model("a"), model("b"), **policy), {"a": outcomes, "b": [answer("b")]}, runtime=runtime, books=books)
    return box, outcomes


def took_ms(box: Box) -> tuple[str, int]:
    """Which model answered a call, and how long that took."""
    began_ms = box.runtime.now_ms()
    return box.ask().model, box.runtime.now_ms() - began_ms


@pytest.mark.parametrize("asks_ms", [1, 1_000, 2_000, 9_000])
@pytest.mark.parametrize("every_ms", [0, 1_500, 40_000, 300_000])
def test_a_model_that_was_waited_for_in_vain_is_not_waited_for_again_by_calls_with_a_fallback(asks_ms: int, every_ms: int) -> None:
    runtime, books = ManualRuntime(), MemoryLedger()
    boxes = [exhausted_box(runtime, books, asks_ms=asks_ms)[0] for _ in range(2)]
    name, first_ms = took_ms(boxes[0])
    assert (name, first_ms <= max(asks_ms, 1_000) + 10) == ("b", True)
    for number in range(30):
        runtime.advance(every_ms)
        assert took_ms(boxes[number % 2]) == ("b", 0)
    asked = sum(box.called().count("a") for box in boxes)
    assert asked <= 2 + (30 if every_ms > asks_ms else 30 * every_ms // asks_ms + 1 if every_ms else 0)


def test_a_model_that_has_room_again_is_asked_and_waited_for_as_before() -> None:
    runtime, books = ManualRuntime(), MemoryLedger()
    box, outcomes = exhausted_box(runtime, books)
    assert took_ms(box) == ("b", 2_000)
    runtime.advance(2_000)
    outcomes[:] = [answer("a")]
    assert took_ms(box) == ("a", 0)
    outcomes[:] = [failure(FailureKind.THROTTLED, retry_after_ms=2_000), answer("a")]
    assert took_ms(box) == ("a", 2_000)


def test_waits_that_help_are_made_again() -> None:
    runtime, books = ManualRuntime(), MemoryLedger()
    box, outcomes = exhausted_box(runtime, books)
    for _ in range(5):
        outcomes[:] = [failure(FailureKind.THROTTLED, retry_after_ms=2_000), answer("a")]
        assert took_ms(box) == ("a", 2_000)


def test_a_call_without_a_fallback_waits_for_an_exhausted_model_and_so_does_one_whose_others_failed() -> None:
    runtime, books = ManualRuntime(), MemoryLedger()
    box, outcomes = exhausted_box(runtime, books)
    assert took_ms(box) == ("b", 2_000)
    outcomes[:] = [answer("a")]
    alone = Box(registry(model("a")), {"a": outcomes}, runtime=runtime, books=books)
    assert took_ms(alone) == ("a", 2_000)
    outcomes[:] = [failure(FailureKind.THROTTLED, retry_after_ms=2_000)] * 2 + [answer("a")]
    box.outcomes["b"][:] = [failure(FailureKind.AUTHENTICATION)]
    name, waited_ms = took_ms(box)
    assert (name, waited_ms <= 6_000) == ("a", True)


class PauseEnds(MemoryLedger):
    """A ledger at which a pause ends between a refusal and the question whether waiting helps."""

    def __init__(self, runtime: ManualRuntime) -> None:
        super().__init__()
        self._runtime, self.armed = runtime, False

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> ReserveOutcome:
        if self.armed and Charge("exhausted/a", 0, 0, 0) in hold.charges:
            self.armed = False
            self._runtime.advance(2_000)
            now_ms += 2_000
        return await super().reserve(hold, now_ms, queue_for_ms=queue_for_ms)


def test_a_pause_that_ends_before_the_question_leaves_the_model_to_be_asked() -> None:
    runtime = ManualRuntime()
    books = PauseEnds(runtime)
    box, outcomes = exhausted_box(runtime, books)
    assert took_ms(box) == ("b", 2_000)
    outcomes[:] = [answer("a")]
    books.armed = True
    assert took_ms(box) == ("a", 2_000)
    assert not books.armed


def test_why_an_exhausted_model_is_skipped_is_reported() -> None:
    runtime, books = ManualRuntime(), MemoryLedger()
    box, _ = exhausted_box(runtime, books)
    took_ms(box)
    box.events.clear()
    took_ms(box)
    [reason] = [event.reason for event in box.events if isinstance(event, ModelSkipped)]
    assert reason == "the provider asked to wait, for 2.0 s more; earlier calls waited in vain"
