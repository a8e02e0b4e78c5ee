"""Budgets in tokens and in requests: the rules of budgets in dollars, for models that cost nothing as well."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from call_box import NANO, Box, answer, failure, model, per_run, price, registry
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.prices.price import Price
from paymaster.accounting.usage.record import UnknownUsage
from paymaster.errors import BudgetExceeded, CallFailed, NoModelAvailable, NoModelFits
from paymaster.flow.events import Admitted, AttemptSettled, BudgetPassed, ThresholdCrossed
from paymaster.operations import Operation
from paymaster.registry.models import Budget
from paymaster.routing.failures import Billed, FailureKind
from paymaster.routing.requests import Request

TOKENS, REQUESTS = "budget-tokens/run/r1", "budget-requests/run/r1"
FREE = Price.free("free")


def in_tokens(cap: int, *per: str) -> Budget:
    return Budget(cap=cap, unit=BudgetUnit.TOKENS, per=per or ("run",), key="policies.budget_tokens_per_run")


def in_requests(cap: int, *per: str) -> Budget:
    return Budget(cap=cap, unit=BudgetUnit.REQUESTS, per=per or ("run",), key="policies.budget_requests_per_run")


def box(*outcomes: object, budgets: tuple[Budget, ...], hard: bool = True, cost: Price | None = FREE, **settings: object) -> Box:
    """A box with a model that is free, unless it has a cost."""
    known = registry(
        model("m", price=cost, **settings), budgets=budgets, hard_stop_on_budget=hard, min_output_tokens=10, warn_at_percent=(80,)
    )
    return Box(known, {"m": list(outcomes) or [answer()]})


@pytest.mark.parametrize("cost", [FREE, None])
def test_a_token_budget_is_charged_what_the_provider_counts_and_stops_a_model_without_a_cost(cost: Price | None) -> None:
    run = box(budgets=(in_tokens(1_500),), cost=cost)
    for calls in range(1, 11):
        run.ask()
        assert run.spent(TOKENS) == (calls * 150, 0)
    with pytest.raises(BudgetExceeded) as caught:
        run.ask()
    error = caught.value
    assert (error.account, error.unit, error.cap, error.held) == (TOKENS, "tokens", 1_500, 0)
    assert 1_500 - error.spent < error.needed
    assert (error.cap_nanousd, error.spent_nanousd, error.needed_nanousd) == (0, 0, 0)
    assert "policies.budget_tokens_per_run = 1,500 tokens can't pay for this call" in str(error)
    assert "Raise policies.budget_tokens_per_run, or ask for fewer output tokens." in str(error)
    (passed,) = [event for event in run.events if isinstance(event, BudgetPassed)]
    assert (passed.hard, passed.unit, passed.cap, passed.cap_nanousd) == (True, "tokens", 1_500, 0)
    assert passed.over == error.spent + error.needed - 1_500


def test_the_worst_case_is_held_and_its_limit_is_sent_to_a_free_model_too() -> None:
    run = box(budgets=(in_tokens(100_000),), max_output_tokens=None)
    run.ask()
    (call,) = run.provider.calls
    (admitted,) = [event for event in run.events if isinstance(event, Admitted)]
    (settled,) = [event for event in run.events if isinstance(event, AttemptSettled)]
    assert call.body["max_tokens"] == 16_384
    assert admitted.budget_left_tokens == 100_000 - 16_384 - admitted.prompt_tokens
    assert settled.budget_left_tokens == 100_000 - 150
    without = box(budgets=(in_requests(5),), max_output_tokens=None)
    without.ask()
    assert "max_tokens" not in without.provider.calls[0].body


def test_an_answer_is_shortened_to_what_the_tightest_of_all_budgets_pays_for() -> None:
    run = box(budgets=(per_run("5"), in_tokens(400), in_requests(5)))
    reply = run.ask()
    (call,) = run.provider.calls
    (admitted,) = [event for event in run.events if isinstance(event, Admitted)]
    assert call.body["max_tokens"] == 400 - admitted.prompt_tokens
    assert (admitted.lowered_from_tokens, admitted.lowered_by) == (1_000, "budget")
    assert (reply.budget_left_usd, reply.budget_left_tokens, reply.budget_left_requests) == (Decimal(5), 250, 4)


def test_dollars_and_tokens_lower_one_answer_together() -> None:
    run = box(budgets=(per_run("0.006"), in_tokens(900)), cost=price())
    run.ask()
    (admitted,) = [event for event in run.events if isinstance(event, Admitted)]
    assert admitted.held_nanousd <= 6 * NANO // 1_000
    assert admitted.max_output_tokens is not None
    assert admitted.max_output_tokens < 900 - admitted.prompt_tokens


@pytest.mark.parametrize(
    ("outcome", "tokens", "requests"),
    [
        (answer(), 150, 1),
        (answer(usage=UnknownUsage("missing_usage", "no usage")), None, 1),  # None: the whole hold
        (failure(FailureKind.BAD_REQUEST, Billed.NO), 0, 0),
        (failure(FailureKind.TIMED_OUT, Billed.MAYBE), None, 1),
        (failure(FailureKind.CONNECTION_REFUSED, Billed.NO), 0, 0),
    ],
)
def test_an_attempt_that_may_be_billed_counts(outcome: object, tokens: int | None, requests: int) -> None:
    budgets = (in_tokens(10**6), in_requests(10**6))
    run = Box(
        registry(model("m", price=FREE), budgets=budgets, hard_stop_on_budget=True, retries_per_model=0, max_attempts=1), {"m": [outcome]}
    )
    with suppress(CallFailed):
        run.ask()
    (admitted,) = [event for event in run.events if isinstance(event, Admitted)]
    held = admitted.prompt_tokens + (admitted.max_output_tokens or 0)
    assert run.spent(TOKENS) == (held if tokens is None else tokens, 0)
    assert run.spent(REQUESTS) == (requests, 0)


def test_a_request_budget_ends_a_run_after_so_many_attempts() -> None:
    run = box(budgets=(in_requests(3),))
    for left in (2, 1, 0):
        assert run.ask().budget_left_requests == left
    with pytest.raises(BudgetExceeded) as caught:
        run.ask()
    assert (caught.value.unit, caught.value.cap, caught.value.spent, caught.value.needed) == ("requests", 3, 3, 1)
    assert "= 3 requests can't pay for this call: 3 requests spent, 0 requests held, 1 request needed" in str(caught.value)
    assert "Raise policies.budget_requests_per_run." in str(caught.value)
    assert len(run.provider.calls) == 3


def test_a_request_budget_that_is_used_up_is_the_reason_beside_one_that_less_output_would_fit() -> None:
    run = box(budgets=(in_tokens(400), in_requests(1)), max_output_tokens=290)
    run.ask()
    with pytest.raises(BudgetExceeded) as caught:
        run.ask()
    assert (caught.value.account, caught.value.unit) == (REQUESTS, "requests")


def test_a_free_model_that_fails_is_not_asked_for_ever_where_its_attempts_count() -> None:
    run = box(failure(FailureKind.SERVER_ERROR, Billed.MAYBE), budgets=(in_requests(1_000),))
    with pytest.raises(NoModelAvailable):
        run.ask()
    assert len(run.provider.calls) <= 10


def test_a_soft_budget_in_tokens_goes_on_and_reports_it() -> None:
    run = box(budgets=(in_tokens(160),), hard=False)
    run.ask()
    reply = run.ask()
    assert (reply.budget_left_tokens, reply.over_budget) == (160 - 300, (TOKENS,))
    (crossed,) = [event for event in run.events if isinstance(event, ThresholdCrossed)]
    assert (crossed.unit, crossed.percent, crossed.spent, crossed.cap, crossed.spent_nanousd) == ("tokens", 80, 150, 160, 0)
    (passed,) = [event for event in run.events if isinstance(event, BudgetPassed)]
    assert (passed.hard, passed.unit, passed.over, passed.over_nanousd) == (False, "tokens", 140, 0)


def test_a_hard_budget_in_dollars_alone_refuses_what_has_no_price() -> None:
    with pytest.raises(NoModelFits, match="`price: free`"):
        box(budgets=(per_run("5"), in_tokens(10**6)), cost=None).ask()
    assert box(budgets=(in_tokens(10**6),), cost=None).ask().attempts[0].billed == "unpriced"


def test_a_budget_that_embeddings_use_holds_their_input_alone() -> None:
    known = registry(model("m", price=FREE, embeds=True), budgets=(in_tokens(5),), hard_stop_on_budget=True)
    run = Box(known, {"m": [answer()]})
    with pytest.raises(BudgetExceeded, match="send less at once"):
        run.ask(Request(messages=(), operation=Operation.EMBEDDINGS, inputs=("Hello, world, and all the rest of it",)))


def test_every_unit_has_accounts_of_its_own_per_dimension() -> None:
    run = box(budgets=(in_tokens(10**6, "model", "day"), in_requests(10**6, "user", "month")))
    run.ask()
    day = datetime.fromtimestamp(run.runtime.now_ms() / 1000, UTC).date().isoformat()
    assert run.spent(f"budget-tokens/model/m/day/{day}") == (150, 0)
    assert run.spent(f"budget-requests/user/-/month/{day[:7]}") == (1, 0)
    assert run.spent("usd") == (0, 0)
