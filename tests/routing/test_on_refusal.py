"""What a refused hold means for a call, decided without asking anybody."""

import pytest

from call_box import HELLO, model, per_run, price, registry
from paymaster.accounting.accounts import Balance, Charge, Refused, Shortfall
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.registry.models import Budget
from paymaster.routing.charges import ChargeKind, Remaining, charges, remaining
from paymaster.routing.failures import FailureKind
from paymaster.routing.on_refusal import (
    Decision,
    GoOnOverBudget,
    Hopeless,
    Lowered,
    SkipModel,
    WaitFor,
    deferred,
    on_refusal,
    waits_too_long,
)
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause
from paymaster.scope import Scope

RUN = "usd/run/r1"


def candidate(*, hard: bool, budget: str = "5") -> Candidate:
    """A candidate under a budget per run."""
    known = registry(model("m"), budgets=(per_run(budget),), hard_stop_on_budget=hard)
    return plan(Request(messages=HELLO), known, Scope(run="r1"), 0, TokenCounter()).candidates[0]


def refused(*shortfalls: Shortfall) -> Refused:
    """A refusal at 1,000 ms."""
    return Refused("h", 1_000, shortfalls)


def short(account: str, *, amount: int = 1, cap: int = 10, retry_at_ms: int | None = None, **balance: int) -> Shortfall:
    """A charge that did not fit."""
    window_ms = None if account.startswith(("usd/", "budget-")) else 0
    return Shortfall(Charge(account, amount, cap, window_ms), Balance(**balance), retry_at_ms)


def decide(found: Candidate, *shortfalls: Shortfall, enforce_money: bool = True) -> Decision:
    """The decision, with 100 tokens as the least output that is worth a call."""
    return on_refusal(found, refused(*shortfalls), enforce_money=enforce_money, min_output_tokens=100)


def test_a_hard_budget_that_pays_for_less_output_lowers_it() -> None:
    found = candidate(hard=True)
    spent = short(RUN, amount=found.held_nanousd, cap=found.held_nanousd, settled=found.held_nanousd // 2)
    decision = decide(found, spent)
    assert isinstance(decision, Lowered)
    assert decision.candidate.held_nanousd <= found.held_nanousd // 2
    assert 100 <= decision.candidate.output_tokens < found.output_tokens


def test_a_hard_budget_that_pays_for_too_little_skips_the_model() -> None:
    found = candidate(hard=True)
    decision = decide(found, short(RUN, amount=found.held_nanousd, cap=100, settled=100))
    assert isinstance(decision, SkipModel)
    assert (decision.skipped.cause, decision.budget is not None) == (SkipCause.BUDGET, True)


TOKENS, REQUESTS = "budget-tokens/run/r1", "budget-requests/run/r1"


def counted(**settings: object) -> Candidate:
    """A candidate under hard budgets in all units."""
    budgets = (per_run("5"), *(Budget(cap=10_000, unit=unit, per=("run",)) for unit in (BudgetUnit.TOKENS, BudgetUnit.REQUESTS)))
    known = registry(model("m", **settings), budgets=budgets, hard_stop_on_budget=True)
    return plan(Request(messages=HELLO), known, Scope(run="r1"), 0, TokenCounter()).candidates[0]


def test_a_model_is_skipped_at_once_where_another_one_has_answered_the_instance() -> None:
    decision = decide(candidate(hard=True), short("stays/1a2b/other", amount=0, cap=0, live=1))
    assert isinstance(decision, Hopeless)
    assert (decision.skipped.cause, decision.skipped.detail) == (
        SkipCause.MIXED,
        "other has answered this instance, and never_mix allows no other model",
    )


@pytest.mark.parametrize("room_tokens", [400, 700])
def test_the_output_is_lowered_to_what_every_hard_budget_pays_for(room_tokens: int) -> None:
    found = counted()
    tokens = short(TOKENS, amount=found.held_tokens, cap=10_000, settled=10_000 - room_tokens)
    money = short(RUN, amount=found.held_nanousd, cap=found.held_nanousd, settled=found.held_nanousd // 2)
    for shortfalls in ((tokens, money), (money, tokens)):
        decision = decide(found, *shortfalls)
        assert isinstance(decision, Lowered)
        assert decision.candidate.held_tokens <= room_tokens
        assert decision.candidate.held_nanousd <= found.held_nanousd // 2
    alone = decide(found, tokens)
    assert isinstance(alone, Lowered)
    assert alone.candidate.held_tokens == room_tokens


@pytest.mark.parametrize(
    ("found", "shortfalls"),
    [
        (counted(), [short(REQUESTS, settled=10)]),  # less output needs as many requests
        (counted(), [short(TOKENS, amount=1_100, cap=10_000, settled=9_999), short(RUN, amount=10**7, cap=10**7, settled=1)]),  # too little
        (counted(price=price("1", "0")), [short(RUN, amount=100, cap=1_000, settled=950)]),  # output costs nothing
    ],
)
def test_where_less_output_does_not_help_the_model_is_skipped(found: Candidate, shortfalls: list[Shortfall]) -> None:
    decision = decide(found, *shortfalls)
    assert isinstance(decision, SkipModel)
    assert decision.budget is not None
    assert decision.budget.budget.account == shortfalls[0].charge.account


def test_a_hard_budget_that_open_holds_fill_is_waited_for() -> None:
    found = candidate(hard=True)
    assert decide(found, short(RUN, amount=1, cap=10, held=10)) == WaitFor(RUN)


def test_a_soft_budget_that_only_open_holds_fill_is_no_reason_to_wait() -> None:
    found = candidate(hard=False)
    assert decide(found, short(RUN, held=10)) == GoOnOverBudget()
    spent = decide(found, short(RUN, settled=10))
    assert isinstance(spent, SkipModel)
    assert spent.skipped.cause is SkipCause.BUDGET


def test_a_limit_that_no_wait_can_open_skips_the_model() -> None:
    decision = decide(candidate(hard=False), short("requests/m", settled=10))
    assert isinstance(decision, SkipModel)
    assert (decision.skipped.cause, decision.budget) == (SkipCause.LIMIT, None)
    assert decide(candidate(hard=False), short("slots/m", held=10), short("pause/m", cap=0, live=1)) != decision


@pytest.mark.parametrize(
    ("account", "retry_at_ms", "has_fallback", "too_long"),
    [
        ("probe/m", 1_500, True, True),  # a circuit is never waited for while another model is left
        ("breaker/m", None, True, True),
        ("pause/m", 1_500, True, False),  # within patience
        ("pause/m", 9_000, True, True),
        ("slots/m", None, True, False),  # any call that ends may make room
        ("pause/m", 9_000, False, True),
        ("pause/m", 1_500, False, False),
    ],
)
def test_how_long_a_refusal_is_waited_for(account: str, retry_at_ms: int | None, has_fallback: bool, too_long: bool) -> None:
    live = 0 if account == "slots/m" else 1
    found = refused(short(account, cap=0 if live else 1, live=live, held=1 - live, retry_at_ms=retry_at_ms))
    assert waits_too_long("m", found, 1_000, 3_000, has_fallback=has_fallback) is too_long


def test_nobody_waits_beyond_the_time_it_has() -> None:
    assert waits_too_long("m", refused(short("slots/m", held=10)), 3_000, 3_000, has_fallback=False)


def test_a_deferred_model_says_when_it_is_worth_another_try() -> None:
    paused = deferred(model("m"), refused(short("pause/m", cap=0, live=1, retry_at_ms=4_000)), 10_000, 500)
    assert (paused.skipped.cause, paused.skipped.retry_in_ms, paused.retry_at_ms) == (SkipCause.PAUSED, 3_000, 13_000)
    open_circuit = deferred(model("m"), refused(short("slots/m", held=10), short("probe/m", live=1, retry_at_ms=4_000)), 0, 500)
    assert (open_circuit.skipped.cause, open_circuit.skipped.failure) == (SkipCause.PAUSED, None)
    assert paused.skipped.failure is FailureKind.THROTTLED
    full = deferred(model("m"), refused(short("slots/m", held=10)), 10_000, 500)
    assert (full.skipped.cause, full.retry_at_ms) == (SkipCause.WAIT, 10_000)
    assert deferred(model("m"), None, 10_000, 500).skipped.detail == "not at the head of the queue within 0.5 s"
    assert deferred(model("m"), None, 10_000, 0).skipped.detail == "earlier calls wait for its limits"
    no_room = deferred(model("m"), refused(short("slots/m", held=10)), 10_000, 0)
    assert no_room.skipped.detail == "no room now: slots/m: 10 of 10 used, 1 needed"


KINDS = (ChargeKind.MONEY, ChargeKind.MONEY, ChargeKind.REQUESTS, ChargeKind.REQUESTS, ChargeKind.TOKENS, ChargeKind.SLOT)
CHARGED = (
    Charge("usd/run/r", 40, 100),
    Charge("usd", 40, 1_000),
    Charge("requests/m", 1, 60, 61_000),
    Charge("requests-day/m", 1, 3, 86_401_000),
    Charge("tokens/m", 30, 1_000, 61_000),
    Charge("slots/m", 1, 4, 0),
)
FOUND = (
    Balance(settled=20, held=40),
    Balance(settled=900, held=40),
    Balance(live=9, held=1),
    Balance(held=1),
    Balance(held=30),
    Balance(held=1),
)
NO_OTHER_BUDGET = {"budget_left_tokens": None, "budget_left_requests": None}
NOTHING_CAPPED = Remaining(
    **NO_OTHER_BUDGET, budget_left_nanousd=None, requests_left=None, requests_cap=None, tokens_left=None, tokens_cap=None
)


def test_what_remains_is_of_the_tightest_budget_and_of_limits_per_minute() -> None:
    before = remaining(KINDS, CHARGED, FOUND)
    assert before == Remaining(
        **NO_OTHER_BUDGET, budget_left_nanousd=40, requests_left=50, requests_cap=60, tokens_left=970, tokens_cap=1_000
    )
    after = remaining(KINDS, CHARGED, FOUND, (10, 10, 1, 1, 50, 0))
    assert after == Remaining(
        **NO_OTHER_BUDGET, budget_left_nanousd=70, requests_left=50, requests_cap=60, tokens_left=950, tokens_cap=1_000
    )
    assert remaining(KINDS[::-1], CHARGED[::-1], FOUND[::-1])["budget_left_nanousd"] == 40  # in whatever order
    assert remaining(KINDS, CHARGED, ()) == NOTHING_CAPPED  # no ledger has the hold


def test_nothing_remains_below_zero_and_nothing_is_known_without_a_cap() -> None:
    over = remaining((ChargeKind.MONEY,), (Charge("usd", 40, 100),), (Balance(settled=120, held=40),))
    assert over["budget_left_nanousd"] == 0
    soft = charges(candidate(hard=False), enforce_money=False)
    assert remaining([kind for kind, _ in soft], [charge for _, charge in soft], [Balance()] * len(soft)) == NOTHING_CAPPED
