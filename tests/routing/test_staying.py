"""With which model an instance stays, by what the ledger has of it, and what a hold and an answer do there."""

import pytest

from paymaster.accounting.accounts import Balance, Charge, Post, Refused, Shortfall
from paymaster.registry.models import Policy, Stay
from paymaster.routing.requests import Request
from paymaster.routing.staying import (
    NEVER_MIX_MS,
    Staying,
    answered_by,
    found,
    keeps_instances,
    stay_charges,
    stay_clears,
    stay_posts,
    staying,
)
from paymaster.scope import Scope

TASK = Request(messages=({"role": "user", "content": "Fix it."},))
STEP = Request(messages=(*TASK.messages, {"role": "assistant", "content": "ls"}, {"role": "user", "content": "a.py"}))
ONE = Scope(run="r", instance="task-1")
CHAIN = ("a", "b", "c")
STAYS, NEVER = Policy(stay=Stay.INSTANCE), Policy(never_mix=True)
NOW_MS = 1_000_000


def asked(request: Request = STEP, policy: Policy = NEVER) -> Staying:
    known = staying(request, ONE, policy, CHAIN)
    assert known is not None
    return known


def with_entries(known: Staying, entries: dict[str, int], left_ms: int = 1_000) -> Staying:
    at_ms = NOW_MS + left_ms
    balances = {
        account: Balance(live=entries[model], free_at=((at_ms, entries[model]),))
        for model, account in zip(known.chain, known.accounts, strict=True)
        if model in entries
    }
    return found(known, {**balances, "other": Balance(live=1)}, NOW_MS)


@pytest.mark.parametrize(
    ("policy", "scope", "chain", "matters"),
    [
        (Policy(), ONE, CHAIN, False),
        (STAYS, ONE, CHAIN, True),
        (NEVER, ONE, CHAIN, True),
        (NEVER, Scope(run="r"), CHAIN, False),
        (NEVER, ONE, ("a",), False),
    ],
)
def test_when_it_matters_who_answered_before(policy: Policy, scope: Scope, chain: tuple[str, ...], matters: bool) -> None:
    assert (staying(TASK, scope, policy, chain) is not None) is matters
    assert keeps_instances(policy, scope) >= matters


def test_names_of_accounts_have_the_digest_and_the_model() -> None:
    known = asked()
    assert known.accounts == tuple(f"stays/{known.instance}/{model}" for model in CHAIN)
    assert "task-1" not in known.instance


@pytest.mark.parametrize(
    ("policy", "entries", "order", "barred"),
    [
        (STAYS, {}, CHAIN, ()),
        (STAYS, {"b": 7}, ("b", "a", "c"), ()),
        (NEVER, {}, CHAIN, ()),
        (NEVER, {"b": 7}, ("b", "a", "c"), ("a", "c")),
        (NEVER, {"a": 7}, CHAIN, ("b", "c")),
    ],
)
def test_the_order_and_who_may_not_answer(policy: Policy, entries: dict[str, int], order: tuple[str, ...], barred: tuple[str, ...]) -> None:
    known = with_entries(asked(policy=policy), entries)
    assert (known.order, known.barred) == (order, barred)


def test_the_first_call_once_more_begins_anew_and_another_one_does_not() -> None:
    first = asked(TASK)
    assert first.mark > 0
    assert asked(STEP).mark == 0
    again = with_entries(first, {"b": first.mark})
    assert (again.home, again.again, again.answered) == (None, True, ("b",))
    other = with_entries(first, {"b": first.mark + 1})
    assert (other.home, other.again, other.began) == ("b", False, first.mark + 1)


def test_what_a_hold_charges_under_never_mix() -> None:
    known = with_entries(asked(), {})
    a, b, c = known.accounts
    assert stay_charges(known, "b") == (Charge(a, 0, 0, 0), Charge(b, 1, None, 0), Charge(c, 0, 0, 0))
    first = asked(TASK)
    assert [charge.cap for charge in stay_charges(with_entries(first, {"b": first.mark}), "a")] == [None, None, None]
    assert stay_charges(asked(policy=STAYS), "b") == stay_charges(None, "b") == ()


def test_which_model_refused_a_hold() -> None:
    account = asked().accounts[1]

    def refused(*balances: tuple[str, Balance]) -> Refused:
        return Refused("h", NOW_MS, tuple(Shortfall(Charge(name, 0, 0, 0), balance, None) for name, balance in balances))

    assert answered_by(refused((account, Balance(live=7)))) == "b"
    assert answered_by(refused((account, Balance(held=1)))) is None  # it is being asked: how that ends is waited for
    assert answered_by(refused(("pause/a", Balance(live=1)))) is None


@pytest.mark.parametrize(
    ("policy", "entries", "answered", "posts", "clears"),
    [
        (STAYS, {}, "a", (), ()),
        (STAYS, {}, "b", ("b",), ("b",)),
        (STAYS, {"b": 7}, "b", ("b",), ("b",)),
        (STAYS, {"b": 7}, "c", ("c",), ("b", "c")),
        (STAYS, {"b": 7}, "a", (), ("b",)),
        (NEVER, {}, "a", ("a",), ("a",)),
        (NEVER, {"b": 7}, "b", ("b",), ("b",)),
    ],
)
def test_what_an_answer_leaves(
    policy: Policy, entries: dict[str, int], answered: str, posts: tuple[str, ...], clears: tuple[str, ...]
) -> None:
    known = with_entries(asked(policy=policy), entries)
    names = dict(zip(CHAIN, known.accounts, strict=True))
    began = next(iter(entries.values()), 1)
    for_ms = NEVER_MIX_MS if policy.never_mix else policy.stay_ms
    assert stay_posts(known, answered) == tuple(Post(names[model], began, for_ms) for model in posts)
    assert stay_clears(known, answered) == tuple(names[model] for model in clears)


def test_an_entry_that_is_not_half_over_is_left_as_it_is_under_never_mix() -> None:
    young, old = (with_entries(asked(), {"b": 7}, left_ms) for left_ms in (NEVER_MIX_MS - 1_000, NEVER_MIX_MS // 2))
    assert stay_posts(young, "b") == stay_clears(young, "b") == ()
    assert stay_posts(old, "b") != ()
    assert stay_posts(with_entries(asked(policy=STAYS), {"b": 7}, 3_599_000), "b") != ()


def test_nothing_is_left_where_it_does_not_matter() -> None:
    assert stay_posts(None, "a") == stay_clears(None, "a") == ()
