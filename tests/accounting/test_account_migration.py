"""What accounts of runs get a balance when a ledger is migrated: each user's own part, and never too little."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import NamedTuple

import pytest

from paymaster.accounting.account_migration import AccountSplit, Charged, Payer, new_balances, read_charge
from paymaster.accounting.records import AttemptRecord


def record(cost: int, user: str | None = None, run: str = "r", batch: str | None = None, instance: str | None = None) -> AttemptRecord:
    return AttemptRecord(
        call_id="c",
        attempt=1,
        at_ms=1,
        model="lab/m",
        provider="p",
        model_id="m",
        outcome="answered",
        billed="exact",
        cost_nanousd=cost,
        held_nanousd=cost,
        cost_source="registry",
        run=run,
        batch=batch,
        instance=instance,
        user=user,
    )


class Case(NamedTuple):
    """An old account with its balance, the records that charged it, and what is added to which account."""

    account: str
    balance: int
    records: list[AttemptRecord]
    added: dict[str, int]
    others: dict[str, int] = {}  # noqa: RUF012  nobody changes it


CASES = {
    "each user gets the own part": Case(
        "usd/run/r", 6, [record(1, "ann"), record(2, "ben"), record(3, "ben")], {"usd/~ann/run/r": 1, "usd/~ben/run/r": 5}
    ),
    "callers without a name keep the old account": Case("usd/run/r", 3, [record(1), record(2)], {}),
    "an open hold counts as spent": Case("usd/run/r", 9, [record(1, "ann"), record(8, "ann")], {"usd/~ann/run/r": 9}),
    "a batch": Case("usd/batch/b", 1, [record(1, "ann", batch="b")], {"usd/~ann/batch/b": 1}),
    "a batch that is the run": Case("usd/batch/r", 1, [record(1, "ann")], {"usd/~ann/batch/r": 1}),
    "an instance": Case("usd/instance/b:x/1", 1, [record(1, "ann", batch="b", instance="x/1")], {"usd/~ann/instance/b:x/1": 1}),
    "an instance without a name": Case("usd/instance/r:-", 1, [record(1, "ann")], {"usd/~ann/instance/r:-": 1}),
    "a run per model and month": Case(
        "usd/run/r/model/lab/m/month/2026-11", 1, [record(1, "ann")], {"usd/~ann/run/r/model/lab/m/month/2026-11": 1}
    ),
    "a run per day": Case("usd/run/r/day/2026-11-22", 1, [record(1, "ann")], {"usd/~ann/run/r/day/2026-11-22": 1}),
    "a run over some models": Case("usd/models/a+lab/m/run/r", 1, [record(1, "ann")], {"usd/~ann/models/a+lab/m/run/r": 1}),
    "all runs over some models": Case("usd/models/a+b", 1, [record(1, "ann")], {}),
    "a user's run": Case("usd/run/r/user/ann", 1, [record(1, "ann")], {}),
    "a key's run": Case("usd/run/r/key/k1", 1, [record(1, "ann")], {}),
    "a user": Case("usd/user/ann/month/2026-11", 1, [record(1, "ann")], {}),
    "everything": Case("usd", 1, [record(1, "ann")], {}),
    "no money": Case("requests/m", 1, [record(1, "ann")], {}),
    "a run whose name has another user in it": Case(
        "usd/run/r/user/ben", 1, [record(1, "ann", run="r/user/ben")], {"usd/run/r%2Fuser/ben": 1, "usd/~ann/run/r%2Fuser/ben": 1}
    ),
    "the same without a user": Case("usd/run/r/user/ben", 1, [record(1, run="r/user/ben")], {"usd/run/r%2Fuser/ben": 1}),
    "a run whose name has an escape in it": Case("usd/run/%2F", 1, [record(1, run="%2F")], {"usd/run/%252F": 1}),
    "records that left the journal count for every user": Case(
        "usd/run/r",
        10,
        [record(1, "ann"), record(2)],
        {"usd/~ann/run/r": 8, "usd/~ben/run/r": 7},
        {"usd/user/ben/month/2026-11": 5, "usd/user/-/month/2026-11": 5, "requests/user/eve": 1},
    ),
    "a budget that was reset is not filled again": Case(
        "usd/run/r", 2, [record(5, "ann"), record(2, "ben")], {"usd/~ann/run/r": 2, "usd/~ben/run/r": 2}
    ),
    "a balance below zero": Case("usd/run/r", -2, [record(5, "ann")], {}),
    "an account that the record does not explain": Case(
        "usd/models/a/run/other", 3, [record(3, "ann")], {"usd/~ann/models/a/run/other": 3}
    ),
    "a user's account that no record explains": Case("usd/run/r/user/ben", 3, [record(3, "ann")], {}),
    "an account that has an owner already": Case("usd/~ann/run/r", 3, [record(0, "ann", run="other")], {}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_accounts_are_split_by_user(case: Case) -> None:
    charges = [Charged(each, {case.account: each.cost_nanousd}) for each in case.records]
    assert new_balances({case.account: case.balance, **case.others}, charges) == case.added


def test_no_budget_becomes_larger() -> None:
    """Random histories of which records were lost: nobody has less on the new account than was spent under the own name."""
    draw = random.Random(5)
    for _ in range(300):
        history = [record(draw.randint(0, 9), draw.choice(["ann", "ben", None]), draw.choice("ab")) for _ in range(draw.randint(1, 12))]
        spent: defaultdict[str, int] = defaultdict(int)
        own: defaultdict[str, int] = defaultdict(int)
        for each in history:
            spent[f"usd/run/{each.run}"] += each.cost_nanousd
            spent[f"usd/user/{each.user or '-'}"] += each.cost_nanousd
            own[f"usd/~{each.user}/run/{each.run}"] += each.cost_nanousd if each.user else 0
        kept = [Charged(each, {f"usd/run/{each.run}": each.cost_nanousd}) for each in history if draw.random() < 0.7]
        added = new_balances(spent, kept)
        assert all(added.get(account, 0) >= amount for account, amount in own.items())
        assert all(amount <= spent[f"usd/run/{account[-1]}"] for account, amount in added.items())


READ = {
    "a record": (record(1, "ann", batch="b", instance="i").to_json(), Payer("r", "lab/m", "b", "i", "ann")),
    "a record without a user": (record(1).to_json(), Payer("r", "lab/m")),
    "a correction": ('{"correction": "adjust", "account": "usd/run/r"}', None),
    "a record without a run": ('{"call_id": "c", "model": "m"}', None),
    "a run that is no text": ('{"call_id": "c", "model": "m", "run": 5}', None),
    "a user that is no text": ('{"call_id": "c", "model": "m", "run": "r", "user": ["ann"]}', None),
    "no object": ("[]", None),
    "no JSON": ("{", None),
}


@pytest.mark.parametrize(("body", "payer"), READ.values(), ids=READ)
def test_a_record_is_read_for_who_pays(body: str, payer: Payer | None) -> None:
    for amounts in ({"usd": 1}, '{"usd": 1}'):
        assert read_charge(body, amounts) == (None if payer is None else Charged(payer, {"usd": 1}))


@pytest.mark.parametrize("amounts", ["{", "[]", '{"usd": "1"}', '{"usd": 1.5}'])
def test_a_record_with_damaged_amounts_is_not_read(amounts: str) -> None:
    assert read_charge(record(1).to_json(), amounts) is None


NEEDED = [
    ((), True, False),
    (("usd", "requests/m", "requests/run/r", "usd/day/2026-11-22", "usd/user/ann"), True, False),
    (("usd/run/r",), False, False),
    (("usd/run/r",), True, True),
    (("usd/models/a+b/batch/b",), True, True),
    (("usd/run/r", "usd/user/-"), False, False),
    (("usd/run/r", "usd/user/ann"), False, True),
    (("usd/run/r/day/2026-11-22",), False, True),
    (("usd/run/%2F",), False, True),
]


@pytest.mark.parametrize(("accounts", "has_users", "needed"), NEEDED)
def test_records_are_read_only_if_an_account_could_be_split(accounts: tuple[str, ...], has_users: bool, needed: bool) -> None:
    assert AccountSplit(dict.fromkeys(accounts, 1)).needs_charges(has_users=has_users) is needed
