"""Figures of a request that nobody can mean: refused by name, before anything is held; and the largest hold."""

import re
from decimal import Decimal

import pytest

from call_box import HELLO, answer, failure, model, per_run, price, registry
from call_box import Box as FlowBox
from paymaster.accounting.bounds import LARGEST_CALL_NANOUSD, MOST_CHOICES, MOST_TOKENS, shown
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, NoModelFits, RequestInvalid
from paymaster.operations import Operation
from paymaster.registry.models import Limits, Model
from paymaster.routing.failures import Billed, FailureKind
from paymaster.routing.planning import Candidate, Plan, plan
from paymaster.routing.requests import Request, check_request, read_deadline_ms, read_max_wait_ms, with_extra_body
from paymaster.routing.skipped import SkipCause
from paymaster.scope import Scope

HUGE = 10**5_000
NOON_MS = 1_795_435_200_000
SELF_CONTAINED: dict[str, object] = {}
SELF_CONTAINED["a"] = SELF_CONTAINED


def planned(entry: Model, **params: object) -> Plan:
    """The plan of a small request to one model."""
    return plan(Request(messages=HELLO, params=params), registry(entry), Scope(run="r1"), NOON_MS, TokenCounter())


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"max_tokens": 2**63 - 1, "n": 2**63 - 1}, "max_tokens must be at most 2,147,483,647, got 9223372036854775807"),
        ({"max_completion_tokens": HUGE}, "max_completion_tokens must be at most 2,147,483,647, got a number of about 5,001 digits"),
        ({"max_output_tokens": 10**10}, "max_output_tokens must be at most 2,147,483,647, got 10000000000"),
        ({"n": 10**12}, "n must be at most 10,000, got 1000000000000"),
        ({"n": -HUGE}, "n must be a whole number of at least 1, got a number of about 5,001 digits"),
        ({"n": 0}, "n must be a whole number of at least 1, got 0"),
        ({"n": 2.0}, "n must be a whole number of at least 1, got 2.0"),
        ({"n": "2"}, "n must be a whole number of at least 1, got '2'"),
        ({"max_tokens": float("nan")}, "max_tokens must be a whole number of at least 1, got nan"),
        ({"max_tokens": [HUGE]}, "max_tokens must be a whole number of at least 1, got a list"),
        ({"temperature": float("nan")}, "temperature must be a finite number, got nan"),
        ({"temperature": float("inf")}, "temperature must be a finite number, got inf"),
        ({"seed": 10**400}, "seed must be at most 1e308, got a number of about 401 digits"),
        ({"logit_bias": {"50256": float("-inf")}}, r"logit_bias.50256 must be a finite number, got -inf"),
        ({"extra_body": {"a": [1, HUGE]}}, r"a\[1\] must be at most 1e308"),
        ({"extra_body": SELF_CONTAINED}, "a is nested too deeply to be sent"),
    ],
    ids=shown,
)
def test_an_absurd_figure_is_refused_by_name(params: dict[str, object], said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        check_request(Request(messages=HELLO, params=params))


@pytest.mark.parametrize("tokens", [10**400, HUGE, -1, 2**31, True, 1.0], ids=shown)
def test_a_token_that_no_vocabulary_has_is_refused(tokens: object) -> None:
    with pytest.raises(RequestInvalid, match="which is no token"):
        check_request(Request(operation=Operation.EMBEDDINGS, inputs=[1, tokens]))  # type: ignore[list-item]  # any value


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ({"role": "tool", "tool_call_id": ["a"]}, "tool_call_id"),
        ({"role": "assistant", "tool_calls": [{"id": {}, "function": {"name": "f"}}]}, "tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": ["x", {"id": "a", "function": {"name": []}}]}, "tool_calls[1].function.name"),
    ],
)
def test_ids_and_names_of_calls_are_no_lists_and_no_objects(message: dict[str, object], name: str) -> None:
    with pytest.raises(RequestInvalid, match=re.escape(f"messages[1].{name} must be a string")):
        check_request(Request(messages=[*HELLO, message]))
    check_request(Request(messages=[{"role": "assistant", "tool_calls": [{"id": None, "function": None}]}]))
    check_request(Request(messages=[{"role": "assistant", "tool_calls": None}]))


def test_the_fields_of_an_extra_body_are_fields_of_the_body() -> None:
    plain = {"model": "m", "max_tokens": 5}
    assert with_extra_body(plain) is plain
    assert with_extra_body({**plain, "extra_body": None}) == plain
    assert with_extra_body({**plain, "extra_body": {"top_k": 1, "extra_body": {"max_tokens": 9}}}) == {**plain, "max_tokens": 9, "top_k": 1}


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("x", "extra_body must be an object, not str"),
        ({"extra_body": {"model": "dear"}}, "extra_body must not have model"),
        ({"tools": [], "input": ""}, "extra_body must not have input, tools"),
    ],
)
def test_an_extra_body_sets_nothing_that_the_call_itself_has(extra: object, said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        with_extra_body({"model": "m", "extra_body": extra})


def test_dimensions_are_a_count() -> None:
    with pytest.raises(RequestInvalid, match="dimensions must be at most 1,000,000, got 1000001"):
        check_request(Request(operation=Operation.EMBEDDINGS, inputs="x", params={"dimensions": 1_000_001}))


def test_ordinary_figures_and_the_greatest_ones_pass() -> None:
    params = {
        "max_tokens": MOST_TOKENS,
        "n": MOST_CHOICES,
        "seed": 2**70,
        "temperature": 0.2,
        "top_k": -1,
        "stop": ["a"],
        "logit_bias": {"1": -100},
        "max_completion_tokens": None,
        "logprobs": True,
    }
    check_request(Request(messages=HELLO, params=params))


@pytest.mark.parametrize(
    "deadline_s", [float("nan"), float("inf"), float("-inf"), 10**400, HUGE, "5", True, Decimal(5), [5], 2_592_001], ids=shown
)
def test_a_deadline_that_nobody_can_mean_is_refused(deadline_s: object) -> None:
    with pytest.raises(RequestInvalid, match="deadline_s must be a number of seconds, at most 2,592,000, got "):
        read_deadline_ms(deadline_s)


@pytest.mark.parametrize("max_wait_s", [float("nan"), float("inf"), -1, 10**400, "5", True, Decimal(5), 2_592_001], ids=shown)
def test_a_longest_wait_that_nobody_can_mean_is_refused(max_wait_s: object) -> None:
    with pytest.raises(RequestInvalid, match="max_wait_s must be a number of seconds, from 0 to 2,592,000, got "):
        read_max_wait_ms(max_wait_s)


def test_a_longest_wait_is_whole_milliseconds() -> None:
    assert [read_max_wait_ms(max_wait_s) for max_wait_s in (None, 0, 0.25, 2_592_000)] == [None, 0, 250, 2_592_000_000]


def test_a_deadline_is_whole_milliseconds() -> None:
    assert [read_deadline_ms(deadline_s) for deadline_s in (None, 0, 1.5, 30, 2_592_000)] == [None, 0, 1_500, 30_000, 2_592_000_000]


def test_an_output_that_would_hold_more_than_any_call_costs_is_lowered() -> None:
    [candidate] = planned(model("a", price=price("1", "1000"), max_output_tokens=None), max_tokens=MOST_TOKENS).candidates
    assert candidate.lowered_from_tokens == MOST_TOKENS
    assert candidate.limit_sent
    assert 0.99 * LARGEST_CALL_NANOUSD < candidate.held_nanousd <= LARGEST_CALL_NANOUSD


def test_a_model_whose_prompt_alone_would_hold_more_is_skipped() -> None:
    [skipped] = planned(model("a", price=price("1000000000", "1000000000"))).skipped
    assert skipped.cause is SkipCause.LIMIT
    assert "and at most $100,000.00 is held for one call" in skipped.detail
    box = FlowBox(registry(model("a", price=price("1000000000", "1000000000"))), {"a": [answer()]})
    with pytest.raises(NoModelFits, match="at most"):
        box.ask()


def test_no_figure_of_a_registry_makes_a_hold_that_no_ledger_keeps() -> None:
    """A registry made in code is not checked as a file is."""
    entry = model("a", params={"n": 10**30}, price=price("1000000", "1000000"), limits=Limits(tpm=10**12))
    assert not planned(entry).candidates
    free = model("a", params={"n": 10**30}, price=None)
    assert [candidate.held_nanousd for candidate in planned(free).candidates] == [0]


def test_answers_that_the_registry_asks_for_are_held_for() -> None:
    def held(entry: Model, **params: object) -> tuple[int, int]:
        [candidate] = planned(entry, **params).candidates
        assert isinstance(candidate, Candidate)
        return candidate.choices, candidate.held_nanousd

    one, four = held(model("a")), held(model("a", params={"n": 4}))
    assert (one[0], four[0]) == (1, 4)
    assert four[1] == held(model("a"), n=4)[1] > one[1]
    assert held(model("a", params={"n": 4}), n=2)[0] == 2  # the caller's own wins


def test_many_answers_are_the_budgets_matter_and_not_the_ledgers() -> None:
    box = FlowBox(registry(model("a"), budgets=(per_run("1"),), hard_stop_on_budget=True), {"a": [answer()]})
    with pytest.raises(BudgetExceeded):
        box.ask(Request(messages=HELLO, params={"n": MOST_CHOICES, "max_tokens": 1_000}))
    with pytest.raises(RequestInvalid, match="n must be at most 10,000"):
        box.ask(Request(messages=HELLO, params={"n": 10**12}))
    assert box.called() == []
    assert box.spent() == (0, 0)


@pytest.mark.parametrize("failed", [False, True])
def test_a_usage_whose_cost_no_call_has_costs_the_hold(failed: bool) -> None:
    """Each count alone is possible; with a registry's highest price the sum is not."""
    dear = model("a", price=price("100000", "100000"), max_output_tokens=10)
    usage = Usage(input_tokens=MOST_TOKENS, output_tokens=MOST_TOKENS)
    broken = failure(FailureKind.UNUSABLE_ANSWER, Billed.YES, usage=usage)
    box = FlowBox(registry(dear, budgets=(per_run("1000"),), retries_per_model=0), {"a": [broken if failed else answer(usage=usage)]})
    if failed:
        with pytest.raises(Exception, match="no model answered"):
            box.ask()
    else:
        assert box.ask().attempts[0].billed == "assumed"
    spent, held = box.spent()
    assert held == 0
    assert 0 < spent < 1000 * 10**9
