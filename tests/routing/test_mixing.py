"""Which error a call ends with where never_mix kept other models from answering."""

import pytest

from call_box import HELLO, model, registry
from paymaster.accounting.accounts import Balance, Charge, Shortfall
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.errors import BudgetExceeded, KeyMissing, LimitReached, MixRefused, NoModelAvailable, NoModelFits, PaymasterError
from paymaster.routing.budgets import BudgetAccount
from paymaster.routing.call_errors import BudgetRefusal
from paymaster.routing.failures import FailureKind
from paymaster.routing.mixing import unanswered
from paymaster.routing.planning import plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.scope import Scope

REQUEST = Request(messages=HELLO)
BARRED = Skipped("b", SkipCause.MIXED, "a has answered this instance, and never_mix allows no other model")
FAILED = Skipped("a", SkipCause.FAILED, "overloaded", failure=FailureKind.OVERLOADED)


def refusal(account: str) -> BudgetRefusal:
    [candidate] = plan(REQUEST, registry(model("a")), Scope(run="r"), 0, TokenCounter()).candidates
    budget = BudgetAccount(account=account, cap=1, unit=BudgetUnit.USD, key="policies.x")
    return BudgetRefusal(candidate, budget, Shortfall(Charge(account, 5, 1), Balance(), None))


@pytest.mark.parametrize(
    ("own", "account", "raised"),
    [
        (FAILED, "", MixRefused),
        (Skipped("a", SkipCause.PAUSED, "circuit open"), "", MixRefused),
        (Skipped("a", SkipCause.WAIT, "no room"), "", MixRefused),
        (Skipped("a", SkipCause.BUDGET, "no money"), "usd/model/a/day/2026-11-30", MixRefused),
        (Skipped("a", SkipCause.BUDGET, "no money"), "usd/models/a+b/run/r", MixRefused),
        (Skipped("a", SkipCause.BUDGET, "no money"), "usd/run/r", BudgetExceeded),
        (Skipped("a", SkipCause.CONTEXT, "too long"), "", NoModelFits),
        (Skipped("a", SkipCause.FAILED, "too long", failure=FailureKind.CONTEXT_TOO_LONG), "", MixRefused),
        (Skipped("a", SkipCause.KEY, "no key"), "", KeyMissing),
    ],
    ids=lambda value: value.detail if isinstance(value, Skipped) else None,
)
def test_a_call_that_would_have_fallen_back_is_refused(own: Skipped, account: str, raised: type[PaymasterError]) -> None:
    refusals = [refusal(account)] if account else []
    found = unanswered(REQUEST, [BARRED, own], refusals, [], instance="task-1", home="a")
    assert type(found) is raised


def test_the_refusal_says_which_instance_why_and_what_to_do() -> None:
    found = unanswered(REQUEST, [BARRED, FAILED], [], [], instance="task-1", home="a")
    assert isinstance(found, MixRefused)
    assert found.message == (
        "instance task-1: the model a that answered it can't serve this call, and never_mix allows no other:\n"
        "  b: a has answered this instance, and never_mix allows no other model\n"
        "  a: overloaded"
    )
    assert (found.instance, found.model, found.failure) == ("task-1", "a", "overloaded")
    assert [name for name, _ in found.reasons] == ["b", "a"]


def test_where_another_process_answered_meanwhile_the_model_may_be_unknown() -> None:
    found = unanswered(REQUEST, [BARRED], [], [], instance=None, home=None)
    assert isinstance(found, MixRefused)
    assert found.message.startswith("instance None: the model that answered it")


@pytest.mark.parametrize(("own", "raised"), [(FAILED, NoModelAvailable), (Skipped("a", SkipCause.WAIT, "no room"), LimitReached)])
def test_without_never_mix_every_error_is_as_before(own: Skipped, raised: type[PaymasterError]) -> None:
    assert type(unanswered(REQUEST, [own], [], [])) is raised
