"""What a migration of a ledger's file does beyond SQL, by the schema's version; knows tables as they were then, and no open ledger."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import orjson

from paymaster.accounting.account_migration import AccountSplit, Charged, read_charge

Upgrade: TypeAlias = Callable[[sqlite3.Connection, Mapping[str, str]], None]
"""Runs within the migration's transaction, after the script of its version; with the statements of `sql/upgrades` by their verb."""


def split_accounts(connection: sqlite3.Connection, sql: Mapping[str, str]) -> None:
    """Give each user who was charged on a run's account an account of their own."""
    split = AccountSplit(dict(connection.execute(sql["list_budgets"])))
    if not split.needs_charges(has_users=bool(connection.execute(sql["names_user"]).fetchone()[0])):
        return
    for charged in _charges(connection, sql):
        split.add(charged)
    for account, amount in split.new_balances().items():
        connection.execute(sql["add_settled"], (account, amount))
        connection.execute(sql["add_opening"], (account, amount))


def _charges(connection: sqlite3.Connection, sql: Mapping[str, str]) -> Iterator[Charged]:
    """All records, and each open hold as it would be charged if it were lost."""
    for body, amounts in connection.execute(sql["list_charged"]):
        if (charged := read_charge(body, amounts)) is not None:
            yield charged
    for lost_record, charges in connection.execute(sql["list_held"]):
        held = {account: amount for account, amount, *_ in orjson.loads(charges)}
        if (charged := read_charge(lost_record, held)) is not None:
            yield charged


UPGRADES: Mapping[int, Upgrade] = {5: split_accounts}
