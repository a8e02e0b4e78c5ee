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
from functools import lru_cache
from typing import NamedTuple

import orjson

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


_DIMENSIONS = re.compile(f"/(?=(?:models|{'|'.join(BUDGET_DIMENSIONS)})(?:/|$))")
# What records name comes in runs: this many of the latest answers are kept.
_REMEMBERED = 4096


class Payer(NamedTuple):
    """What a record has of the values that account names are built from."""

    run: str
    model: str
    batch: str | None = None
    instance: str | None = None
    user: str | None = None


class Charged(NamedTuple):
    """A record of a journal, or the record of an open hold as lost, with what it charged on each account."""

    record: AttemptRecord | Payer
    amounts: Mapping[str, int]


def read_charge(body: str, amounts: str | Mapping[str, int]) -> Charged | None:
    """A record as the journal has it, and what it charged (a text is JSON). None for a correction, and for what can't be read.

    What can't be read counts for every user. There may be millions of records: reading all fields of each would take three times as long.
    """
    try:
        record: object = orjson.loads(body)
        charged: object = orjson.loads(amounts) if isinstance(amounts, str) else amounts
    except ValueError:
        return None
    if not isinstance(record, dict) or "call_id" not in record or not isinstance(charged, Mapping):
        return None
    run, model, *others = map(record.get, Payer._fields)
    are_names = isinstance(run, str) and isinstance(model, str) and all(name is None or isinstance(name, str) for name in others)
    if not are_names or not all(isinstance(amount, int) for amount in charged.values()):
        return None
    return Charged(Payer(str(run), str(model), *others), charged)


def new_balances(balances: Mapping[str, int], charges: Iterable[Charged]) -> dict[str, int]:
    """What to add to which accounts, in nano-dollars: to the settled sum and, as no record has it there, to the opening balance.

    `balances` has what each old account has settled and held together. `charges` are all records of the journal and all open holds. Memory
    grows with the accounts and users, not with the records.
    """
    split = AccountSplit(balances)
    for charged in charges:
        split.add(charged)
    return split.new_balances()


class AccountSplit:
    """`new_balances` for charges that come one by one."""

    def __init__(self, balances: Mapping[str, int]) -> None:
        self._balances = {account: balance for account, balance in balances.items() if is_money(account)}
        self._concerned = frozenset(filter(_is_concerned, self._balances))
        self._users = {user for account in self._balances if (user := (dimensions_of(account) or {}).get("user", "-")) != "-"}
        self._recorded: defaultdict[str, int] = defaultdict(int)
        self._own: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._others = lru_cache(_REMEMBERED)(_other_names)

    def needs_charges(self, *, has_users: bool) -> bool:
        """Whether any account could be split. Otherwise no charge has to be read.

        `has_users`: whether any record or open hold names a user.
        """
        names_users = has_users or bool(self._users)
        return any(names_users or _is_ambiguous(account) for account in self._concerned)

    def add(self, charged: Charged) -> None:
        """Count a record or an open hold."""
        record = charged.record
        if record.user is not None:
            self._users.add(record.user)
        for account, amount in charged.amounts.items():
            if account in self._concerned:
                others = self._others(account, record.run, record.batch, record.instance, record.user, record.model)
                if others is not None:
                    self._recorded[account] += amount
                    for name in others:
                        self._own[account, name] += amount

    def new_balances(self) -> dict[str, int]:
        """What to add to which accounts, when all charges are counted."""
        for account in self._concerned:
            if self._balances[account] > self._recorded[account]:
                for name in _names_of_all(account, self._users):
                    self._own.setdefault((account, name), 0)
        added: defaultdict[str, int] = defaultdict(int)
        for (account, name), amount in self._own.items():
            whole = self._balances[account]
            added[name] += max(0, min(whole, amount + max(0, whole - self._recorded[account])))
        return {name: amount for name, amount in sorted(added.items()) if amount}


def _is_concerned(account: str) -> bool:
    """Whether records can explain another name for it."""
    return _is_ambiguous(account) or bool((dimensions_of(account) or {}).keys() & _SHARED)


def _is_ambiguous(account: str) -> bool:
    """Whether it could be read in two ways: a value may have had a slash or a percent sign that is escaped today."""
    return "%" in account or len(_DIMENSIONS.findall(account)) > 1


def _other_names(account: str, run: str, batch: str | None, instance: str | None, user: str | None, model: str) -> frozenset[str] | None:
    """The names of today for what was charged on an old account, without its own; None if the values don't explain it."""
    per = _dimensions(account, Payer(run, model, batch, instance, user))
    return None if per is None else frozenset(_names_today(per, user) - {account})


def _dimensions(account: str, record: Payer) -> dict[str, str] | None:
    """What an old account was counted for, read with the values that built it; None if this record does not explain it."""
    rest = account.removeprefix(MONEY)
    if rest.startswith("/models/"):
        for start in (found.start() for found in re.finditer("/", rest)):
            if start > len("/models") and (per := _walk(rest[start:], record)) is not None:
                return {"models": rest[len("/models/") : start], **per}
        per = dimensions_of(account) or {}
        return per if per.keys() == {"models"} else None
    return _walk(rest, record)


def _walk(rest: str, record: Payer) -> dict[str, str] | None:
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
