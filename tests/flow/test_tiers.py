"""Half price first: a call tries the tiers of its model in turn, pays for the one that answered, and nobody asks one that is full."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from call_box import HELLO, Box, answer, failure, model, per_run, price, registry
from fleet import LoopbackProvider, Seen, fleet, registry_file
from identity_names import account
from paymaster import AsyncClient, Client
from paymaster.accounting.accounts import Charge, Hold
from paymaster.accounting.prices.rates import Rates, RateTable
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, LimitReached, NoModelAvailable, RequestRefused, StreamBroken
from paymaster.flow.endpoint_events import FellBack
from paymaster.flow.events import Admitted, AttemptFailed, AttemptSettled, ModelSkipped
from paymaster.flow.explaining import explain
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Limits, Model
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.requests import Request
from paymaster.routing.tiers import FIRST_PAUSE_MS, LONGEST_PAUSE_MS
from paymaster.testing import ManualRuntime
from paymaster.views.ledger_status import ledger_status
from paymaster.views.states import model_state

HALF = RateTable.of(Rates(input=Decimal("0.5"), output=Decimal(5)), ())
DOUBLE = RateTable.of(Rates(input=Decimal(2), output=Decimal(20)), ())
PRICE = replace(price(), modes=(("flex", HALF), ("priority", DOUBLE)))
LISTED = 100 * 1_000 + 50 * 10_000
MESSAGES = [{"role": "user", "content": "Hello"}]
THROTTLED, ERROR = FailureKind.THROTTLED, FailureKind.SERVER_ERROR


def tiered(name: str = "gpt", *tiers: str, **settings: object) -> Model:
    return model(name, **{"price": PRICE, "tiers": tiers or ("flex", "default"), **settings})


@dataclass
class Seller:
    """A provider that sells tiers: `fails` has what a request at one of them meets now, else it is answered, and billed at the tier asked
    for, or at the one that `serves` names."""

    fails: dict[str | None, Failure] = field(default_factory=dict)
    serves: dict[str | None, str] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)
    turns: int = 0

    async def send(self, call: ProviderCall) -> ProviderReply | Failure:
        tier = call.body.get("service_tier")
        assert tier is None or isinstance(tier, str)
        self.asked.append(tier)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if tier in self.fails:
            return self.fails[tier]
        return answer(usage=Usage(input_tokens=100, output_tokens=50, service_tier=self.serves.get(tier, tier)))

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        outcome = await self.send(call)
        if isinstance(outcome, ProviderReply):
            yield ProviderChunk({"choices": [{"index": 0, "delta": {"content": "Hi"}}]})
        yield outcome

    async def close(self) -> None:
        pass


class TierBox(Box):
    """A flow in a box, with a seller of tiers."""

    def __init__(self, *models: Model, seller: Seller | None = None, runtime: ManualRuntime | None = None, **policy: object) -> None:
        self.seller, self.clock = seller or Seller(), runtime or ManualRuntime()
        super().__init__(registry(*models, **policy), {}, runtime=self.clock)
        self.world.provider_of = lambda _: self.seller  # type: ignore[misc]  # a world is made once, and tests change it

    def asks(self, count: int = 1) -> list[str | None]:
        """The tiers that so many calls ask for, one after another."""
        self.seller.asked.clear()
        for _ in range(count):
            self.ask()
        return list(self.seller.asked)

    def asks_at_once(self, count: int) -> list[str | None]:
        """The tiers that so many calls ask for, all at the same time."""

        async def every() -> None:
            await asyncio.gather(*(self.items(Request(messages=HELLO)) for _ in range(count)))

        self.seller.asked.clear()
        asyncio.run(every())
        return list(self.seller.asked)

    def balance(self, account: str) -> int:
        found = asyncio.run(self.books.balances(account, self.clock.now_ms())).get(account)
        return 0 if found is None else found.total


@pytest.fixture
def box() -> TierBox:
    return TierBox(tiered(), budgets=(per_run("1"),))


@pytest.mark.parametrize(
    ("tiers", "fails", "serves", "asked", "cost", "saved"),
    [
        (("flex", "default"), (), {}, ["flex"], LISTED // 2, LISTED // 2),
        (("flex", "default"), ("flex",), {}, ["flex", "default"], LISTED, None),
        (("flex", "default"), (), {"flex": "default"}, ["flex"], LISTED, None),  # the tier that answered is charged
        (("flex", "priority"), ("flex",), {}, ["flex", "priority"], 2 * LISTED, None),
        (("priority", "flex", "default"), ("priority",), {}, ["priority", "flex"], LISTED // 2, LISTED // 2),
        (("priority", "flex", "default"), ("priority", "flex"), {}, ["priority", "flex", "default"], LISTED, None),
        (("flex",), (), {}, ["flex"], LISTED // 2, LISTED // 2),
    ],
)
def test_the_tiers_are_tried_in_turn_and_the_one_that_answered_is_charged(
    tiers: tuple[str, ...], fails: tuple[str, ...], serves: dict[str | None, str], asked: list[str], cost: int, saved: int | None
) -> None:
    seller = Seller(dict.fromkeys(fails, failure(THROTTLED, status=429)), serves)
    box = TierBox(tiered("gpt", *tiers), seller=seller, budgets=(per_run("1"),), hard_stop_on_budget=True)
    reply = box.ask()
    record = reply.attempts[-1]
    assert seller.asked == asked
    assert (reply.cost_nanousd, record.cost_nanousd, record.saved_nanousd) == (cost, cost, saved)
    assert [each.service_tier for each in reply.attempts] == asked
    assert record.served_tier == serves.get(asked[-1], asked[-1])
    assert [each.cost_nanousd for each in reply.attempts[:-1]] == [0] * (len(asked) - 1)
    assert [each.fallback_from for each in reply.attempts] == [None] * len(asked)
    assert box.spent() == (cost, 0)
    assert all(each.held_nanousd >= each.cost_nanousd for each in reply.attempts)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "ended",
    [
        failure(THROTTLED, status=429),
        failure(THROTTLED, status=429, retry_after_ms=1_000),
        failure(FailureKind.OVERLOADED, status=503),
        failure(FailureKind.OVERLOADED, status=498),
        failure(ERROR, status=500),
        failure(FailureKind.TIMED_OUT, Billed.MAYBE),
        replace(failure(FailureKind.BAD_REQUEST, status=400), message="Flex processing is not available for this model."),
    ],
    ids=lambda ended: f"{ended.kind}-{ended.status}-{ended.retry_after_ms}",
)
def test_what_is_about_the_tier_alone_leaves_the_model_as_it_is(ended: Failure, stream: bool) -> None:
    box = TierBox(tiered(), seller=Seller({"flex": ended}), budgets=(per_run("1"),), breaker_failures=1)
    started_ms = box.clock.now_ms()
    reply = box.ask(Request(messages=HELLO, stream=stream))
    assert box.seller.asked == ["flex", "default"]
    assert box.clock.now_ms() == started_ms  # at once
    assert reply.model == "gpt"
    for kind in ("pause", "breaker", "probe", "failures", "exhausted"):
        assert box.balance(f"{kind}/gpt") == 0
    assert box.balance("tier-pause-flex/gpt") == 1
    assert box.asks(3) == ["default"] * 3


def test_many_429s_of_a_tier_do_not_lower_the_number_of_calls_at_once() -> None:
    box = TierBox(tiered("gpt", limits=Limits(adapts=True)), seller=Seller({"flex": failure(THROTTLED, status=429)}))
    for _ in range(8):
        box.asks()
        box.clock.advance(LONGEST_PAUSE_MS)
    assert "concurrency_lowered" not in box.kinds()
    assert box.balance("overloads/gpt") == 0


def test_a_tier_that_is_full_is_asked_again_after_a_pause_that_grows_and_is_used_again_once_it_answers(box: TierBox) -> None:
    box.seller.fails["flex"] = failure(THROTTLED, status=429)
    asked_at_s, began_ms = [], box.clock.now_ms()
    for _ in range(240):
        if "flex" in box.asks():
            asked_at_s.append((box.clock.now_ms() - began_ms) // 1_000)
        box.clock.advance(15_000)
    waits = [after - before for before, after in pairwise(asked_at_s)]
    assert waits[:5] == [15, 30, 60, 120, 240]
    assert set(waits[5:]) == {300}
    del box.seller.fails["flex"]
    box.clock.advance(LONGEST_PAUSE_MS)
    assert box.asks(3) == ["flex"] * 3
    box.seller.fails["flex"] = failure(THROTTLED, status=429)
    box.asks()
    box.clock.advance(FIRST_PAUSE_MS)
    assert box.asks() == ["flex", "default"]  # the pause is a short one again


def test_64_callers_leave_a_tier_alone_and_one_of_them_finds_out_how_it_is() -> None:
    box = TierBox(tiered(), seller=Seller({"flex": failure(THROTTLED, status=429)}, turns=20))
    assert sorted(map(str, box.asks_at_once(64))) == ["default"] * 64 + ["flex"] * 64  # nobody knew
    assert box.balance("tier-refusals-flex/gpt") == 1  # they failed together, and count once
    assert box.asks_at_once(64) == ["default"] * 64
    box.clock.advance(FIRST_PAUSE_MS)
    assert sorted(map(str, box.asks_at_once(64))) == ["default"] * 64 + ["flex"]
    del box.seller.fails["flex"]
    box.clock.advance(2 * FIRST_PAUSE_MS)
    assert sorted(map(str, box.asks_at_once(64))) == ["default"] * 63 + ["flex"]
    assert box.asks_at_once(64) == ["flex"] * 64


def test_a_probe_that_ends_for_another_reason_lets_the_next_call_find_out(box: TierBox) -> None:
    box.seller.fails["flex"] = failure(THROTTLED, status=429)
    box.asks()
    box.clock.advance(FIRST_PAUSE_MS)
    box.seller.fails["flex"] = failure(FailureKind.BAD_REQUEST, status=400)
    with pytest.raises(RequestRefused):
        box.ask()
    del box.seller.fails["flex"]
    assert box.asks() == ["flex"]


def test_a_call_waits_for_a_tier_for_no_longer_than_its_patience() -> None:
    box = TierBox(tiered("gpt", tier_patience_ms=FIRST_PAUSE_MS // 3), seller=Seller({"flex": failure(THROTTLED, status=429)}))
    box.asks()
    del box.seller.fails["flex"]
    assert box.asks() == ["default"]
    box.clock.advance(FIRST_PAUSE_MS * 3 // 4)
    assert box.asks() == ["flex"]


def test_a_limit_that_both_tiers_share_is_waited_for_at_half_price() -> None:
    box = TierBox(tiered("gpt", limits=Limits(rpm=1)))
    assert box.asks(3) == ["flex"] * 3
    box = TierBox(tiered("gpt", limits=Limits(rpm=1)), model("other", limits=Limits(rpm=1)))
    assert box.asks() == ["flex"]
    box.clock.advance(30_000)
    assert box.asks(2) == [None, "flex"]  # the other model has room, and then the first one again


def test_the_next_tier_comes_before_the_next_model_and_a_failing_model_still_falls_back() -> None:
    fails: dict[str | None, Failure] = {"flex": failure(THROTTLED, status=429), "default": failure(ERROR, status=500)}
    box = TierBox(tiered(), model("other"), seller=Seller(fails), retries_per_model=1)
    reply = box.ask()
    assert box.seller.asked == ["flex", "default", "default", None]
    assert reply.model == "other"
    assert [record.fallback_from for record in reply.attempts] == [None, None, None, "gpt"]


def test_attempts_at_every_tier_count_towards_max_attempts() -> None:
    fails: dict[str | None, Failure] = dict.fromkeys(("flex", "default"), failure(ERROR, status=500))
    box = TierBox(tiered(), seller=Seller(fails), max_attempts=3)
    with pytest.raises(NoModelAvailable) as caught:
        box.ask()
    assert box.seller.asked == ["flex", "default", "default"]
    assert [name for name, _ in caught.value.reasons] == ["gpt (flex)", "gpt"]
    assert "gpt (flex): server error (HTTP 500): no luck" in caught.value.message


def test_a_deadline_holds_over_all_tiers() -> None:
    runtime = ManualRuntime()

    class Slow(Seller):
        async def send(self, call: ProviderCall) -> ProviderReply | Failure:
            assert call.timeouts.total_ms <= 10_000
            runtime.advance(6_000)
            self.asked.append("")
            return failure(FailureKind.TIMED_OUT)

    box = TierBox(tiered(), seller=Slow(), runtime=runtime)
    with pytest.raises(NoModelAvailable):
        asyncio.run(box.items(Request(messages=HELLO), deadline_ms=10_000, max_wait_ms=0))
    assert len(box.seller.asked) == 2


@pytest.mark.parametrize(
    ("kind", "asked"),
    [(FailureKind.BAD_REQUEST, ["flex"]), (FailureKind.CONTENT_POLICY, ["flex"]), (FailureKind.CONTEXT_TOO_LONG, ["flex"])],
)
def test_what_is_about_the_request_is_not_asked_at_the_next_tier(kind: FailureKind, asked: list[str]) -> None:
    box = TierBox(tiered(), seller=Seller({"flex": failure(kind, status=400)}))
    with contextlib.suppress(RequestRefused, NoModelAvailable):
        box.ask()
    assert box.seller.asked[:1] == asked
    assert kind is FailureKind.CONTEXT_TOO_LONG or box.seller.asked == asked


def test_a_refusal_at_the_next_tier_is_the_callers_to_see(box: TierBox) -> None:
    box.seller.fails = {"flex": failure(THROTTLED, status=429), "default": failure(FailureKind.BAD_REQUEST, status=400)}
    with pytest.raises(RequestRefused, match="gpt: bad request"):
        box.ask()


def test_a_throttled_last_tier_is_reported_as_a_limit(box: TierBox) -> None:
    box.seller.fails = dict.fromkeys(("flex", "default"), failure(THROTTLED, status=429, retry_after_ms=900_000))
    with pytest.raises(LimitReached) as caught:
        box.ask()
    assert [name for name, _ in caught.value.reasons] == ["gpt (flex)", "gpt"]


def test_a_connection_that_is_refused_counts_for_the_model(box: TierBox) -> None:
    box.seller.fails["flex"] = failure(FailureKind.CONNECTION_REFUSED)
    assert box.asks() == ["flex", "default"]
    assert (box.balance("tier-pause-flex/gpt"), box.asks()) == (0, ["flex", "default"])


@pytest.mark.parametrize("listed_first", [True, False])
def test_models_with_a_list_and_with_a_single_tier_share_what_they_know_of_it(listed_first: bool) -> None:
    """Two projects on one ledger, as they call the same endpoint: one tries flex first, the other flex alone, a third no tier."""
    seller, runtime, books = Seller({"flex": failure(THROTTLED, status=429, retry_after_ms=5_000)}), ManualRuntime(), MemoryLedger()
    shared = {"identity": "openai:gpt:0123456789ab"}
    both = TierBox(tiered("gpt", **shared), seller=seller, runtime=runtime)
    flex = TierBox(tiered("mine", tiers=(), params={"service_tier": "flex"}, **shared), seller=seller, runtime=runtime, max_wait_ms=1)
    none = TierBox(tiered("plain", tiers=(), **shared), seller=seller, runtime=runtime)
    for box in (both, flex, none):
        box.world.books = books  # type: ignore[misc]  # as above
    if listed_first:
        assert both.asks() == ["flex", "default"]
        with pytest.raises(NoModelAvailable, match="its tier flex is paused after failures"):
            flex.ask()
        assert seller.asked == ["flex", "default"]
    else:
        with pytest.raises(LimitReached):
            flex.ask()
    assert both.asks() == ["default"]
    assert none.asks() == [None]


def test_a_caller_of_one_tier_alone_waits_for_it_and_leaves_the_model_to_others() -> None:
    box = TierBox(tiered("gpt", tiers=(), params={"service_tier": "flex"}))
    busy = [failure(THROTTLED, status=429, retry_after_ms=3_000), failure(THROTTLED, status=429)]

    class Busy(Seller):
        async def send(self, call: ProviderCall) -> ProviderReply | Failure:
            self.asked.append("flex")
            return busy.pop() if busy else answer()

    box.seller = Busy()
    assert box.ask().model == "gpt"
    assert len(box.seller.asked) == 3
    assert box.balance("pause/gpt") == box.balance("failures/gpt") == box.balance("breaker/gpt") == 0


@pytest.mark.parametrize("cap", ["0.0101", "0.0102", "0.0204", "0.05"])
def test_a_hard_budget_is_never_passed_whichever_tier_answers(cap: str) -> None:
    box = TierBox(tiered(), seller=Seller(turns=5), budgets=(per_run(cap),), hard_stop_on_budget=True, max_wait_ms=0)

    async def every() -> None:
        await asyncio.gather(*(box.items(Request(messages=HELLO)) for _ in range(200)), return_exceptions=True)

    for fails, serves in (({}, {}), ({"flex": failure(THROTTLED, status=429)}, {}), ({}, {"flex": "default"})):
        box.seller.fails, box.seller.serves = dict(fails), dict(serves)
        asyncio.run(every())
        spent, held = box.spent()
        assert spent <= int(Decimal(cap) * 10**9)
        assert held == 0
        box.clock.advance(10 * LONGEST_PAUSE_MS)


def test_a_hard_budget_that_pays_for_no_tier_stops_the_call() -> None:
    box = TierBox(tiered(), budgets=(per_run("0.00001"),), hard_stop_on_budget=True)
    with pytest.raises(BudgetExceeded):
        box.ask()
    assert box.seller.asked == []


def test_a_soft_budget_that_is_spent_is_passed_at_half_price_first() -> None:
    box = TierBox(tiered(), budgets=(per_run("0.00001"),))
    assert box.asks() == ["flex"]
    box.seller.fails["flex"] = failure(THROTTLED, status=429)
    assert box.asks() == ["flex", "default"]


def test_events_say_which_tier_was_tried_why_it_was_left_and_what_was_saved(box: TierBox) -> None:
    box.ask()
    box.seller.fails["flex"] = failure(THROTTLED, status=429)
    box.ask()
    box.ask()
    admitted = [event.service_tier for event in box.events if isinstance(event, Admitted)]
    assert admitted == ["flex", "flex", "default", "default"]
    settled = [event for event in box.events if isinstance(event, AttemptSettled)]
    assert [(event.service_tier, event.served_tier, event.saved_nanousd) for event in settled] == [
        ("flex", "flex", LISTED // 2),
        ("default", "default", 0),
        ("default", "default", 0),
    ]
    (failed,) = [event for event in box.events if isinstance(event, AttemptFailed)]
    assert (failed.model, failed.service_tier) == ("gpt", "flex")
    (fell,) = [event for event in box.events if isinstance(event, FellBack)]
    assert (fell.model, fell.service_tier, fell.to_model, fell.to_service_tier) == ("gpt", "flex", "gpt", "default")
    assert fell.reason == "throttled (HTTP 429): no luck"
    (skipped,) = [event for event in box.events if isinstance(event, ModelSkipped)]
    assert (skipped.model, skipped.service_tier, skipped.cause) == ("gpt", "flex", "paused")
    assert skipped.reason == "its tier flex is paused after failures, for 15.0 s more"


def test_explain_has_a_row_for_each_tier_and_says_which_serves(box: TierBox) -> None:
    def rows() -> list[tuple[str | None, bool, str]]:
        found = asyncio.run(explain(box.world, Request(messages=HELLO), box.scope))
        assert {each.model for each in found} == {"gpt"}
        return [(each.service_tier, each.serves, each.why) for each in found]

    called, fallback = "would be called now", "a fallback: called if those before it fail"
    assert rows() == [("flex", True, called), ("default", False, fallback)]
    box.seller.fails["flex"] = failure(THROTTLED, status=429)
    box.ask()
    assert rows() == [("flex", False, "its tier flex is paused after failures: the next tier is tried"), ("default", True, called)]
    box.clock.advance(FIRST_PAUSE_MS)
    assert rows() == [("flex", True, called), ("default", False, fallback)]
    probe = Hold("probe", (Charge("tier-probe-flex/gpt", 1, 1, 0),), 60_000)
    asyncio.run(box.books.reserve(probe, box.clock.now_ms()))
    why = "its tier flex was paused after failures, and a probe is under way: the next tier is tried"
    assert rows() == [("flex", False, why), ("default", True, called)]


def test_the_status_shows_which_tier_is_paused_and_that_the_model_is_not(box: TierBox) -> None:
    box.seller.fails["flex"] = failure(THROTTLED, status=429)
    box.ask()
    now_ms = box.clock.now_ms()
    (state,) = ledger_status(asyncio.run(box.books.balances("", now_ms)), box.registry).models
    assert (state.model, state.paused_until_ms, state.paused_tiers) == ("gpt", None, {"flex": now_ms + FIRST_PAUSE_MS})
    assert model_state(state, now_ms) == ("warn", "flex paused for 15.0 s")


def test_a_stream_that_breaks_at_half_price_ends_as_any_other() -> None:
    class Cut(Seller):
        async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
            self.asked.append(str(call.body.get("service_tier")))
            yield ProviderChunk({"choices": [{"index": 0, "delta": {"content": "Hi"}}]})
            yield failure(ERROR, Billed.MAYBE)

    box = TierBox(tiered(), seller=Cut())
    with pytest.raises(StreamBroken):
        box.ask(Request(messages=HELLO, stream=True))


# Across processes.

LISTED_TIERS = ", params: {service_tier: [flex, default]}"


def full_flex(seen: Seen) -> tuple[int, dict[str, str]]:
    return (429, {}) if seen.tier == "flex" else (200, {})


def test_callers_of_two_processes_leave_a_full_tier_alone(tmp_path: Path, shared_ledger: str) -> None:
    with LoopbackProvider(full_flex) as provider:
        path = registry_file(tmp_path, provider, LISTED_TIERS)
        with Client(path, ledger=shared_ledger, state_dir=tmp_path / "mine", environ={}) as client:
            client.complete(MESSAGES)
        assert [seen.tier for seen in provider.seen] == ["flex", "default"]
        with fleet(path, shared_ledger, tmp_path / "state", processes=2, calls=2, threads=32) as workers:
            workers.go()
            results = workers.results()
        with Client(path, ledger=shared_ledger, state_dir=tmp_path / "mine", environ={}) as client:
            balances = client.balances("")
    assert [result["outcome"] for result in results] == ["ok"] * 128
    took_s = provider.seen[-1].came_s - provider.seen[0].came_s
    probes = sum(seen.tier == "flex" for seen in provider.seen) - 1
    assert probes <= 1 + took_s * 1_000 // FIRST_PAUSE_MS  # a busy machine may take longer than the pause
    assert sum(seen.tier == "default" for seen in provider.seen) == 129
    assert balances[account(path, "tier-refusals-flex/a")].live >= 1
    assert (pause := account(path, "pause/a")) not in balances or not balances[pause].live


def test_a_worker_that_is_killed_between_two_tiers_leaves_no_doubt(tmp_path: Path) -> None:
    """What it held at the second tier is charged once, the first tier stays paused, and the budget is kept."""
    asked, free = threading.Event(), threading.Event()

    def behave(seen: Seen) -> tuple[int, dict[str, str]]:
        if seen.tier == "flex":
            return 429, {}
        if seen.who:
            asked.set()
            free.wait(60)
        return 200, {}

    ledger = f"sqlite:///{tmp_path}/ledger.sqlite3"
    priced = "usd_per_1m_input: 1, usd_per_1m_output: 10"
    with LoopbackProvider(behave) as provider:
        path = registry_file(tmp_path, provider, LISTED_TIERS, ", budget_usd_per_run: 0.004, hard_stop_on_budget: true")
        path.write_text(path.read_text().replace("price: free", priced))
        with (
            fleet(path, ledger, tmp_path / "killed", processes=1, calls=1) as workers,
            Client(path, ledger=ledger, state_dir=tmp_path / "mine", run="fleet", environ={}) as client,
        ):
            workers.go()
            assert asked.wait(60)
            os.kill(workers.process.pid, signal.SIGKILL)
            deadline_s = time.monotonic() + 30
            while client.balances("")["usd/run/fleet"].held and time.monotonic() < deadline_s:
                with contextlib.suppress(BudgetExceeded):
                    client.complete(MESSAGES)
            balances = client.balances("")
            free.set()
    assert balances["usd/run/fleet"].held == balances[account(path, "slots/a")].held == 0
    assert 1_000_000 < balances["usd/run/fleet"].settled <= 4_000_000
    assert [seen.tier for seen in provider.seen].count("flex") == 1


# The callers.


def test_a_library_caller_may_name_tiers_to_try_in_turn(tmp_path: Path) -> None:
    async def ask_async(path: Path) -> None:
        async with AsyncClient(path, ledger="memory:", state_dir=tmp_path, environ={}) as client:
            await client.complete(MESSAGES, service_tier=["flex", "default"])

    with LoopbackProvider(full_flex) as provider:
        path = registry_file(tmp_path, provider)
        with Client(path, ledger="memory:", state_dir=tmp_path, environ={}) as client:
            client.complete(MESSAGES, service_tier=["flex", "default"])
            rows = client.explain(MESSAGES, service_tier=["flex", "default"])
        asyncio.run(ask_async(path))
    assert [seen.tier for seen in provider.seen] == ["flex", "default"] * 2
    assert [(row.service_tier, row.serves) for row in rows] == [("flex", False), ("default", True)]
