"""One call from its request to its reply: what is held, sent, settled, retried and reported."""

import asyncio
from dataclasses import replace

import pytest

from call_box import HELLO, Box, Outcome, answer, failure, model, per_run, registry
from paymaster.accounting.accounts import Hold, ReserveOutcome
from paymaster.accounting.money import format_usd
from paymaster.accounting.prices.catalogue import Catalogue, PriceData
from paymaster.accounting.prices.published import read_published
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    KeyMissing,
    LimitReached,
    NoModelAvailable,
    NoModelFits,
    RequestInvalid,
    RequestRefused,
    StreamBroken,
)
from paymaster.flow import events
from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Limits, Model, Registry
from paymaster.routing.failures import Billed, Failure, FailureKind, SizeFigures
from paymaster.routing.requests import Request
from paymaster.testing import ManualRuntime
from price_servers import prices

COST = 100 * 1000 + 50 * 10_000  # nano-dollars of `answer()` at $1 and $10 per million


def test_an_answer_is_paid_for_exactly_and_recorded() -> None:
    box = Box(registry(model("a"), budgets=(per_run("1"),)), {"a": [answer()]})
    reply = box.ask()
    assert reply.text == "Hi"
    assert (reply.model, reply.cost_nanousd) == ("a", COST)
    assert box.spent() == (COST, 0)
    assert [(record.outcome, record.billed, record.cost_nanousd, record.run) for record in reply.attempts] == [
        ("answered", "exact", COST, "r1")
    ]
    assert box.kinds() == ["admitted", "settled"]


@pytest.mark.parametrize(
    ("published", "charged", "billed", "basis"),
    [
        ((("advisor-id", 5),), 60 * 1000 + 40 * 5_000 + 50 * 10_000, "exact", "with passes of advisor-id"),
        ((("other", 5),), None, "assumed", "a pass was made by advisor-id, which has no price in the registry or the catalogue"),
    ],
)
def test_a_pass_of_another_model_is_charged_at_its_own_price(
    published: tuple[tuple[str, int], ...], charged: int | None, billed: str, basis: str
) -> None:
    parts = (Usage(input_tokens=60, output_tokens=50), Usage(input_tokens=40, model="advisor-id"))
    catalogue = Catalogue(lambda: PriceData(read_published(prices(*published)), "test"))
    known = replace(registry(model("a"), budgets=(per_run("1"),)), published=catalogue)
    box = Box(known, {"a": [answer(usage=Usage(input_tokens=100, output_tokens=50, parts=parts))]})
    (record,) = box.ask().attempts
    assert (record.billed, record.cost_basis) == (billed, basis)
    assert record.cost_nanousd == (record.held_nanousd if charged is None else charged)
    assert box.spent() == (record.cost_nanousd, 0)


def test_the_hold_stands_while_the_provider_works() -> None:
    seen: list[tuple[int, int]] = []

    box = Box(registry(model("a"), budgets=(per_run("1"),)), {"a": [answer()]})

    async def scenario() -> None:
        original = box.provider.send

        async def send(call: object) -> object:
            balance = (await box.books.balances("usd/", box.runtime.now_ms()))["usd/run/r1"]
            seen.append((balance.settled, balance.held))
            return await original(call)  # type: ignore[arg-type]  # the very call

        box.provider.send = send  # type: ignore[assignment,method-assign]  # a look at the books from inside
        await box.items(Request(messages=HELLO))

    asyncio.run(scenario())
    [(settled, held)] = seen
    assert settled == 0
    assert held >= 1000 * 10_000  # at least the whole output


def test_a_hard_budget_refuses_before_anything_is_sent_and_says_why() -> None:
    box = Box(registry(model("a"), budgets=(per_run("0.000001"),), hard_stop_on_budget=True), {"a": [answer()]})
    with pytest.raises(BudgetExceeded) as caught:
        box.ask()
    assert box.called() == []
    assert caught.value.account == "usd/run/r1"
    assert caught.value.cap_nanousd == 1000
    assert caught.value.needed_nanousd > 1000
    assert "budget_usd_per_run" in str(caught.value)
    assert caught.value.exit_status == 3
    assert "budget_exceeded" in box.kinds()


def hard(*models: Model, usd: str = "0.012") -> Registry:
    """Each attempt holds a little over a cent: a second one can't be paid for once the first is charged in full."""
    return registry(*models, budgets=(per_run(usd),), hard_stop_on_budget=True, retries_per_model=2)


def test_a_call_whose_retry_the_budget_refuses_is_stopped_by_the_budget_and_says_what_was_tried() -> None:
    box = Box(hard(model("a")), {"a": [failure(FailureKind.SERVER_ERROR, Billed.MAYBE, status=500)]})
    with pytest.raises(BudgetExceeded) as caught:
        box.ask()
    assert box.called() == ["a"]
    assert caught.value.account == "usd/run/r1"
    charged = format_usd(caught.value.spent_nanousd)
    assert f"attempt 1, a: server error (HTTP 500), {charged} charged: no luck" in str(caught.value)
    assert box.kinds().count("budget_exceeded") == 1


def test_a_call_whose_fallback_the_budget_refuses_is_stopped_by_the_budget() -> None:
    blind = model("blind", max_input_tokens=1)  # what never could have served has no say
    box = Box(hard(model("a"), model("b"), blind), {"a": [failure(FailureKind.TIMED_OUT, Billed.MAYBE)], "b": [answer()]})
    with pytest.raises(BudgetExceeded) as caught:
        box.ask()
    assert box.called() == ["a"]
    said = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in said[1:4]] == ["attempt 1, a", "b", "blind"]


def test_a_budget_that_refused_one_model_does_not_stop_a_call_that_ends_with_another_one_s_failure() -> None:
    free = model("free", price=type(model("x").price).free("registry"))  # type: ignore[union-attr]  # it has one
    box = Box(hard(model("a"), free, usd="0.000001"), {"free": [failure(FailureKind.CONNECTION_REFUSED)]})
    with pytest.raises(NoModelAvailable) as caught:
        box.ask()
    assert dict(caught.value.reasons).keys() == {"a", "free"}
    throttled = Box(hard(model("a"), free, usd="0.000001"), {"free": [failure(FailureKind.THROTTLED, retry_after_ms=10**9)]})
    with pytest.raises(LimitReached):
        throttled.ask()


class Slow(MemoryLedger):
    """Its first answer goes astray, and is asked for again when the lease is over: the process was stopped in between."""

    asked = False
    swept = False

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> ReserveOutcome:
        if not self.asked:
            self.asked = True
            await super().reserve(hold, now_ms)
            now_ms += 10 * hold.lease_ms
            if self.swept:
                await self.sweep(now_ms)
        return await super().reserve(hold, now_ms, queue_for_ms=queue_for_ms)


@pytest.mark.parametrize("swept", [False, True])
def test_a_hold_whose_answer_went_astray_until_its_lease_was_over_is_taken_anew(*, swept: bool) -> None:
    """Nothing was sent for the first one: it is given back, unless somebody has charged it as lost meanwhile."""
    books = Slow()
    books.swept = swept
    box = Box(registry(model("a"), budgets=(per_run("1"),), hard_stop_on_budget=True), {"a": [answer()]}, books=books)
    assert box.ask().text == "Hi"
    assert box.called() == ["a"]
    spent, held = box.spent()
    assert held == 0
    assert spent > 10_000_000 + COST if swept else spent == COST


def test_the_last_of_many_attempts_are_listed() -> None:
    again = [failure(FailureKind.THROTTLED, retry_after_ms=10) for _ in range(20)]
    patient = registry(model("a"), budgets=(per_run("0.012"),), hard_stop_on_budget=True, retries_per_model=30)
    box = Box(patient, {"a": [*again, failure(FailureKind.SERVER_ERROR, Billed.MAYBE)]})
    with pytest.raises(BudgetExceeded) as caught:
        box.ask()
    assert "9 earlier attempts" in str(caught.value)
    assert "attempt 21, a: server error" in str(caught.value)


def test_a_free_model_at_the_end_of_the_chain_serves_when_the_budget_cannot_pay() -> None:
    free = model("free", price=type(model("x").price).free("registry"))  # type: ignore[union-attr]  # it has one
    box = Box(registry(model("a"), free, budgets=(per_run("0.000001"),), hard_stop_on_budget=True), {"a": [answer()], "free": [answer()]})
    assert box.ask().model == "free"
    assert box.called() == ["free"]


def test_under_a_hard_budget_the_output_is_lowered_to_what_is_left() -> None:
    box = Box(registry(model("a"), budgets=(per_run("0.005"),), hard_stop_on_budget=True), {"a": [answer()]})
    box.ask()
    sent = box.provider.calls[0].body["max_tokens"]
    assert isinstance(sent, int)
    assert 256 <= sent < 1000
    [admitted] = [event for event in box.events if isinstance(event, events.Admitted)]
    assert (admitted.lowered_from_tokens, admitted.max_output_tokens) == (1000, sent)


def test_the_output_is_never_lowered_below_the_minimum() -> None:
    box = Box(registry(model("a"), budgets=(per_run("0.002"),), hard_stop_on_budget=True), {"a": [answer()]})
    with pytest.raises(BudgetExceeded):
        box.ask()
    assert box.called() == []


def test_a_soft_budget_prefers_a_model_within_it_and_else_goes_on_and_says_by_how_much() -> None:
    cheap = model("cheap", price=type(model("x").price).free("registry"))  # type: ignore[union-attr]  # it has one
    both = Box(registry(model("a"), cheap, budgets=(per_run("0.000001"),)), {"a": [answer()], "cheap": [answer()]})
    assert both.ask().model == "cheap"
    alone = Box(registry(model("a"), budgets=(per_run("0.000001"),)), {"a": [answer()]})
    assert alone.ask().model == "a"
    passed = [event for event in alone.events if isinstance(event, events.BudgetPassed)]
    assert passed[-1].over_nanousd == COST - 1000
    assert not passed[-1].hard
    [admitted] = [event for event in alone.events if isinstance(event, events.Admitted)]
    assert admitted.over_budget == ("usd/run/r1",)
    assert alone.spent() == (COST, 0)


def test_each_threshold_is_reported_once() -> None:
    box = Box(registry(model("a"), budgets=(per_run("0.0012"),), warn_at_percent=(50, 80)), {"a": [answer()]})
    box.ask()
    box.ask()
    box.ask()
    crossed = [event.percent for event in box.events if isinstance(event, events.ThresholdCrossed)]
    assert crossed == [50, 80]


@pytest.mark.parametrize("kind", [FailureKind.OVERLOADED, FailureKind.SERVER_ERROR, FailureKind.CONNECTION_LOST])
def test_a_passing_fault_is_retried_with_backoff_and_then_left(kind: FailureKind) -> None:
    box = Box(registry(model("a"), model("b"), retries_per_model=2), {"a": [failure(kind)], "b": [answer()]})
    reply = box.ask()
    assert reply.model == "b"
    assert box.called() == ["a", "a", "a", "b"]
    assert [record.outcome for record in reply.attempts] == [kind.value] * 3 + ["answered"]
    assert reply.attempts[-1].fallback_from == "a"
    assert isinstance(box.runtime, ManualRuntime)
    assert box.runtime.slept_ms == [100, 200]


def test_the_error_of_a_call_says_what_its_attempts_were_charged() -> None:
    box = Box(registry(model("a"), retries_per_model=1, budgets=(per_run("1"),)), {"a": [failure(FailureKind.SERVER_ERROR, Billed.MAYBE)]})
    with pytest.raises(NoModelAvailable) as caught:
        box.ask()
    assert caught.value.advice.startswith(f"Charged {format_usd(box.spent()[0])} for 2 attempts. ")


def test_what_may_have_been_billed_is_charged_in_full() -> None:
    lost = failure(FailureKind.CONNECTION_LOST, Billed.MAYBE)
    box = Box(registry(model("a"), budgets=(per_run("1"),), retries_per_model=0), {"a": [lost]})
    with pytest.raises(NoModelAvailable):
        box.ask()
    settled, held = box.spent()
    assert held == 0
    assert settled >= 1000 * 10_000


def test_an_answer_without_usage_is_charged_at_its_hold_never_at_nothing() -> None:
    silent = replace(answer(), usage=UnknownUsage("missing_usage", "no usage in the answer"))
    box = Box(registry(model("a"), budgets=(per_run("1"),)), {"a": [silent]})
    reply = box.ask()
    assert reply.usage is None
    assert reply.attempts[0].billed == "assumed"
    assert box.spent()[0] == reply.attempts[0].held_nanousd > 0


def test_a_bill_above_the_hold_is_posted_as_it_is() -> None:
    box = Box(registry(model("a"), budgets=(per_run("1"),)), {"a": [answer(output_tokens=5000)]})
    reply = box.ask()
    assert reply.cost_nanousd > reply.attempts[0].held_nanousd
    assert box.spent() == (reply.cost_nanousd, 0)


def test_a_throttled_model_is_waited_for_by_every_worker() -> None:
    box = Box(registry(model("a")), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=3000), answer()]})
    began = box.runtime.now_ms()
    assert box.ask().model == "a"
    assert box.called() == ["a", "a"]
    assert box.runtime.now_ms() - began >= 3000
    assert asyncio.run(box.books.balances("pause/a", began))["pause/a"].live == 0


def test_a_pause_longer_than_our_patience_sends_the_call_to_the_next_model_at_once() -> None:
    box = Box(registry(model("a"), model("b")), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=60_000)], "b": [answer()]})
    began = box.runtime.now_ms()
    assert box.ask().model == "b"
    assert box.ask().model == "b"
    assert box.called() == ["a", "b", "b"]
    assert box.runtime.now_ms() - began < 1000


def test_with_nobody_else_left_a_call_waits_out_a_long_pause() -> None:
    down = failure(FailureKind.AUTHENTICATION, status=401)
    box = Box(registry(model("a"), model("b")), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=40_000), answer()], "b": [down]})
    began = box.runtime.now_ms()
    assert box.ask().model == "a"
    assert box.called() == ["a", "b", "a"]
    assert box.runtime.now_ms() - began >= 40_000


def test_no_run_ends_because_of_a_throttle_that_lasts() -> None:
    throttled = [failure(FailureKind.THROTTLED, retry_after_ms=1000) for _ in range(40)]
    box = Box(registry(model("a"), max_attempts=5), {"a": [*throttled, answer()]})
    assert box.ask().model == "a"


def test_a_hard_quota_is_no_throttle() -> None:
    box = Box(registry(model("a"), model("b")), {"a": [failure(FailureKind.QUOTA_EXHAUSTED)], "b": [answer()]})
    assert box.ask().model == "b"
    assert box.ask().model == "b"
    assert box.called() == ["a", "b", "b"]


def test_a_bad_request_is_the_callers_and_goes_nowhere_else() -> None:
    box = Box(registry(model("a"), model("b")), {"a": [failure(FailureKind.BAD_REQUEST, status=400)], "b": [answer()]})
    with pytest.raises(RequestRefused, match="bad request"):
        box.ask()
    assert box.called() == ["a"]


def refused(status: int = 400, *, elsewhere: bool = False) -> Failure:
    return failure(FailureKind.BAD_REQUEST, status=status, elsewhere=elsewhere)


DOWN = failure(FailureKind.SERVER_ERROR)


@pytest.mark.parametrize(
    ("outcomes", "called"),
    [
        ({"a": [DOWN], "b": [refused()], "c": [answer()]}, ["a", "a", "a", "b", "c"]),
        ({"a": [failure(FailureKind.AUTHENTICATION)], "b": [refused()], "c": [refused(422)], "d": [answer()]}, ["a", "b", "c", "d"]),
        ({"a": [refused(elsewhere=True)], "b": [answer()]}, ["a", "b"]),
        # Once no other model is left, the first one is waited for.
        ({"a": [DOWN, DOWN, DOWN, answer()], "b": [refused()]}, ["a", "a", "a", "b", "a"]),
    ],
)
def test_what_a_fallback_refuses_another_model_may_take(outcomes: dict[str, list[Outcome]], called: list[str]) -> None:
    box = Box(registry(*(model(name) for name in outcomes)), outcomes)
    assert box.ask().model == called[-1]
    assert box.called() == called


def test_a_request_that_every_model_refuses_is_refused_with_the_first_status_and_all_reasons() -> None:
    box = Box(registry(model("a"), model("b"), model("c")), {"a": [refused(elsewhere=True)], "b": [refused(422)], "c": [refused(404)]})
    with pytest.raises(RequestRefused) as caught:
        box.ask()
    assert (caught.value.kind, caught.value.status) == ("bad_request", 400)
    assert str(caught.value).splitlines() == [
        "a: bad request (HTTP 400): no luck",
        "no other model took the request:",
        "  b: bad request (HTTP 422): no luck",
        "  c: bad request (HTTP 404): no luck",
    ]


def test_a_content_policy_gives_up_unless_the_policy_says_next() -> None:
    outcomes = {"a": [failure(FailureKind.CONTENT_POLICY)], "b": [answer()]}
    strict = Box(registry(model("a"), model("b")), {name: list(found) for name, found in outcomes.items()})
    with pytest.raises(RequestRefused):
        strict.ask()
    lenient = Box(
        registry(model("a"), model("b"), fall_back_on_content_policy=True), {name: list(found) for name, found in outcomes.items()}
    )
    assert lenient.ask().model == "b"


def test_a_context_that_is_too_long_goes_to_a_model_that_takes_what_was_counted() -> None:
    models = (model("a", context_window=1000), model("small", context_window=900), model("large", context_window=9000))
    too_long = failure(FailureKind.CONTEXT_TOO_LONG, size=SizeFigures(window_tokens=1000, prompt_tokens=1200))
    box = Box(registry(*models, min_output_tokens=1), {"a": [too_long], "small": [answer()], "large": [answer()]})
    assert box.ask().model == "large"
    assert box.called() == ["a", "large"]


def test_the_attempts_of_a_call_are_bounded() -> None:
    models = [model(name) for name in "abcdef"]
    box = Box(registry(*models, max_attempts=4, retries_per_model=1), {name: [failure(FailureKind.SERVER_ERROR)] for name in "abcdef"})
    with pytest.raises(NoModelAvailable, match="max_attempts = 4"):
        box.ask()
    assert len(box.called()) == 4


def test_a_deadline_bounds_the_whole_chain() -> None:
    box = Box(registry(model("a")), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=2000)]})
    began = box.runtime.now_ms()
    with pytest.raises((DeadlineExceeded, NoModelAvailable)):
        box.ask(deadline_ms=5000)
    assert box.runtime.now_ms() - began <= 5000


def test_our_own_rate_limit_waits_for_its_window() -> None:
    box = Box(registry(model("a", limits=Limits(rpm=2))), {"a": [answer()]})
    began = box.runtime.now_ms()
    for _ in range(3):
        box.ask()
    assert box.runtime.now_ms() - began >= 60_000
    throttled = [event for event in box.events if isinstance(event, events.Throttled)]
    assert throttled[0].account == "requests/a"


def test_a_full_model_overflows_to_its_fallback() -> None:
    box = Box(registry(model("a", limits=Limits(rpm=1)), model("b")), {"a": [answer()], "b": [answer()]})
    assert [box.ask().model for _ in range(3)] == ["a", "b", "b"]


def test_the_breaker_opens_for_everybody_and_one_probe_closes_it() -> None:
    down = [failure(FailureKind.SERVER_ERROR) for _ in range(3)]
    box = Box(registry(model("a"), model("b"), breaker_failures=3, retries_per_model=2), {"a": [*down, answer()], "b": [answer()]})
    assert box.ask().model == "b"
    assert "breaker_opened" in box.kinds()
    assert box.ask().model == "b"
    assert box.called() == ["a", "a", "a", "b", "b"]  # nobody asks a model whose breaker is open
    assert isinstance(box.runtime, ManualRuntime)
    box.runtime.advance(16_000)
    assert box.ask().model == "a"
    assert box.kinds()[-1] == "breaker_closed"
    assert asyncio.run(box.books.balances("slots/a", box.runtime.now_ms()))["slots/a"].total == 0


def test_a_probe_that_fails_opens_the_breaker_again() -> None:
    box = Box(
        registry(model("a"), model("b"), breaker_failures=2, retries_per_model=1),
        {"a": [failure(FailureKind.SERVER_ERROR)], "b": [answer()]},
    )
    box.ask()
    assert isinstance(box.runtime, ManualRuntime)
    box.runtime.advance(16_000)
    before = len(box.called())
    box.ask()
    assert box.called()[before:] == ["a", "b"]
    assert box.kinds().count("breaker_opened") == 2


def test_streaming_yields_chunks_and_then_the_reply() -> None:
    box = Box(registry(model("a"), budgets=(per_run("1"),)), {"a": [answer()]})
    items = asyncio.run(box.items(Request(messages=HELLO, stream=True)))
    assert [type(item) for item in items] == [ProviderChunk, ProviderChunk, Reply]
    assert box.spent() == (COST, 0)


def test_a_stream_that_fails_before_its_first_chunk_falls_back() -> None:
    box = Box(registry(model("a"), model("b"), retries_per_model=0), {"a": [failure(FailureKind.TIMED_OUT)], "b": [answer()]})
    items = asyncio.run(box.items(Request(messages=HELLO, stream=True)))
    assert isinstance(items[-1], Reply)
    assert items[-1].model == "b"


def test_a_stream_that_is_cut_is_charged_and_never_looks_complete() -> None:
    chunk = ProviderChunk({"choices": [{"index": 0, "delta": {"content": "H"}}]})
    cut = failure(FailureKind.CONNECTION_LOST, Billed.MAYBE, delivered_chars=1)
    box = Box(registry(model("a"), model("b"), budgets=(per_run("1"),)), {"a": [chunk, cut], "b": [answer()]})
    with pytest.raises(StreamBroken, match="cut after it had begun"):
        asyncio.run(box.items(Request(messages=HELLO, stream=True)))
    assert box.called() == ["a"]
    settled, held = box.spent()
    assert (settled > 0, held) == (True, 0)


def test_a_caller_who_closes_a_stream_settles_the_hold() -> None:
    box = Box(registry(model("a"), budgets=(per_run("1"),)), {"a": [answer()]})

    async def scenario() -> None:
        from paymaster.flow.calls import serve

        stream = serve(box.world, Request(messages=HELLO, stream=True), box.scope)
        assert isinstance(await anext(stream), ProviderChunk)
        await stream.aclose()

    asyncio.run(scenario())
    settled, held = box.spent()
    assert (settled > 0, held) == (True, 0)
    assert box.kinds()[-1] == "failed"


def test_a_cancelled_call_settles_its_hold() -> None:
    box = Box(registry(model("a"), budgets=(per_run("1"),)), {"a": [asyncio.CancelledError()]})
    with pytest.raises(asyncio.CancelledError):
        box.ask()
    settled, held = box.spent()
    assert (settled > 0, held) == (True, 0)


def test_a_call_that_is_interrupted_by_the_keyboard_settles_its_hold() -> None:
    box = Box(registry(model("a"), budgets=(per_run("1"),)), {"a": [KeyboardInterrupt()]})
    with pytest.raises(KeyboardInterrupt):
        box.ask()
    settled, held = box.spent()
    assert (settled > 0, held) == (True, 0)


def test_an_unpriced_model_is_refused_under_a_hard_budget_with_the_line_to_add() -> None:
    box = Box(registry(model("a", price=None), budgets=(per_run("1"),), hard_stop_on_budget=True), {"a": [answer()]})
    with pytest.raises(NoModelFits, match="usd_per_1m_input") as caught:
        box.ask()
    assert caught.value.exit_status == 2
    assert box.called() == []


def test_an_unpriced_model_under_a_soft_budget_serves_loudly() -> None:
    box = Box(registry(model("a", price=None), budgets=(per_run("1"),)), {"a": [answer()]})
    reply = box.ask()
    assert (reply.attempts[0].billed, reply.cost_nanousd) == ("unpriced", 0)
    assert "unpriced" in box.kinds()


def test_what_no_model_can_do_is_said_before_anything_is_sent() -> None:
    box = Box(
        registry(model("a", capabilities=frozenset()), model("b", capabilities=frozenset({"vision"}))), {"a": [answer()], "b": [answer()]}
    )
    with pytest.raises(NoModelFits) as caught:
        box.ask(Request(messages=HELLO, tools=({"type": "function", "function": {"name": "f"}},)))
    assert caught.value.reasons == (("a", "it lacks function_calling"), ("b", "it lacks function_calling"))
    assert box.called() == []


def test_a_missing_key_names_its_variable_and_its_model() -> None:
    box = Box(registry(model("a")), {"a": [answer()]}, missing_keys={"a": "A_KEY"})
    with pytest.raises(KeyMissing, match="a: its key is missing: environment variable A_KEY is not set"):
        box.ask()


def test_an_unknown_model_is_named_with_the_nearest() -> None:
    box = Box(registry(model("gpt-4o")), {"gpt-4o": [answer()]})
    with pytest.raises(RequestInvalid, match="Did you mean 'gpt-4o'"):
        box.ask(Request(messages=HELLO, model="gpt4o"))


def test_a_hold_that_went_stale_before_it_was_sent_is_taken_again() -> None:
    box = Box(registry(model("a", limits=Limits(rpm=60)), budgets=(per_run("1"),)), {"a": [answer()]})
    assert isinstance(box.runtime, ManualRuntime)
    reserve, stopped = box.books.reserve, [True]

    async def stop_once(*args: object, **names: object) -> object:
        outcome = await reserve(*args, **names)  # type: ignore[arg-type]  # passed through
        if stopped.pop() if stopped else False:
            box.runtime.advance(90_000)  # type: ignore[attr-defined]  # the worker was stopped between its hold and its request
        return outcome

    box.books.reserve = stop_once  # type: ignore[method-assign,assignment]  # a stop signal
    reply = box.ask()
    assert [record.outcome for record in reply.attempts] == ["stale_hold", "answered"]
    assert box.called() == ["a"]
    assert box.spent() == (COST, 0)


def test_a_skipped_model_and_a_call_without_an_answer_are_reported() -> None:
    lacking = model("blind", capabilities=frozenset())
    box = Box(registry(lacking, model("down"), retries_per_model=0), {"down": [failure(FailureKind.SERVER_ERROR)]})
    with pytest.raises(NoModelAvailable):
        box.ask(Request(messages=HELLO, tools=({"type": "function", "function": {"name": "f"}},)))
    assert [event.kind for event in box.events if event.kind in ("skipped", "gave_up")] == ["skipped", "gave_up"]
