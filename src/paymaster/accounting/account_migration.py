"""What accounts of runs get a balance when a ledger is migrated to names with owners; knows names and records, and no ledger.

Until then a run, batch or instance had one account for every caller who named it, and a slash in a value could read as the next dimension.
The old account stays as it is, for callers without a client key: its records still add up to it. Beside it each user who was charged on it
gets the account that a key of this user is charged on from now on.

Nobody's budget becomes larger than it was: where the records don't say whose a part of the old balance is (they left the journal, or the
balance was adjusted by hand), it counts for every user. No new balance is higher than the old one.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from paymaster.accounting.account_names import BUDGET_DIMENSIONS, MONEY, budget_account, dimensions_of, is_money, owner_of
from paymaster.accounting.records import AttemptRecord

_SHARED = frozenset({"run", "batch", "instance"})
_PERSONAL = frozenset({"user", "key"})
_UNRECORDED: Mapping[str, re.Pattern[str]] = {
    "key": re.compile(r"/key/[^/]+"),
    "day": re.compile(r"/day/\d{4}-\d\d-\d\d"),
    "month": re.compile(r"/month/\d{4}-\d\d"),
}
"""Dimensions whose values a record does not have; theirs never had a slash."""


class Charged(NamedTuple):
    """A record of a journal, or the record of an open hold as lost, with what it charged on each account."""

    record: AttemptRecord
    amounts: Mapping[str, int]


def new_balances(balances: Mapping[str, int], charges: Iterable[Charged]) -> dict[str, int]:
    """What to add to which accounts, in nano-dollars: to the settled sum and, as no record has it there, to the opening balance.

    `balances` has what each old account has settled and held together. `charges` are all records of the journal and all open holds. Memory
    grows with the accounts and users, not with the records.
    """
    recorded: defaultdict[str, int] = defaultdict(int)
    own: defaultdict[tuple[str, str], int] = defaultdict(int)
    users = {user for account in balances if (user := (dimensions_of(account) or {}).get("user", "-")) != "-"}
    for record, amounts in charges:
        users |= set() if record.user is None else {record.user}
        for account, amount in amounts.items():
            if is_money(account) and (per := _dimensions(account, record)) is not None:
                recorded[account] += amount
                for name in _names_today(per, record.user) - {account}:
                    own[account, name] += amount
    for account, balance in balances.items():
        if balance > recorded[account]:
            for name in _names_of_all(account, users):
                own.setdefault((account, name), 0)
    added: defaultdict[str, int] = defaultdict(int)
    for (account, name), amount in own.items():
        whole = balances.get(account, 0)
        added[name] += max(0, min(whole, amount + max(0, whole - recorded[account])))
    return {name: amount for name, amount in sorted(added.items()) if amount}


def _dimensions(account: str, record: AttemptRecord) -> dict[str, str] | None:
    """What an old account was counted for, read with the values that built it; None if this record does not explain it."""
    rest = account.removeprefix(MONEY)
    if rest.startswith("/models/"):
        for start in (found.start() for found in re.finditer("/", rest)):
            if start > len("/models") and (per := _walk(rest[start:], record)) is not None:
                return {"models": rest[len("/models/") : start], **per}
        per = dimensions_of(account) or {}
        return per if per.keys() == {"models"} else None
    return _walk(rest, record)


def _walk(rest: str, record: AttemptRecord) -> dict[str, str] | None:
    group = record.batch or record.run
    values = {
        "run": record.run,
        "batch": group,
        "instance": f"{group}:{record.instance or '-'}",
        "user": record.user or "-",
        "model": record.model,
    }
    per: dict[str, str] = {}
    for dimension in BUDGET_DIMENSIONS:
        part = f"/{dimension}/{values.get(dimension, '')}"
        if dimension in _UNRECORDED:
            found = _UNRECORDED[dimension].match(rest)
            part = "" if found is None else found[0]
        if part and f"{rest}/".startswith(f"{part}/"):
            per[dimension] = part.removeprefix(f"/{dimension}/")
            rest = rest.removeprefix(part)
    return None if rest else per


def _names_today(per: Mapping[str, str], user: str | None) -> set[str]:
    """The names that callers without a key, and a key of this user, are charged under today."""
    models = [per["models"]] if "models" in per else []
    counted = {dimension: value for dimension, value in per.items() if dimension != "models"}
    names = {budget_account(counted, models)}
    if user is not None and _can_be_owned(per):
        names.add(budget_account(counted, models, user))
    return names


def _names_of_all(account: str, users: Iterable[str]) -> Iterator[str]:
    """The accounts of all users in place of one whose balance no record explains."""
    per = dimensions_of(account)
    if per is not None and owner_of(account) is None and _can_be_owned(per):
        for user in users:
            yield from _names_today(per, user) - {account}


def _can_be_owned(per: Mapping[str, str]) -> bool:
    return bool(per.keys() & _SHARED) and not per.keys() & _PERSONAL
