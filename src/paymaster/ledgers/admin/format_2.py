"""What an export of format 2 means in format 3: accounts of runs that have an owner; knows no ledger and no file.

A ledger of that time is migrated in the same way: `sqlite/upgrades.py`, `redis/migration.py`.
"""

from collections.abc import Iterable, Iterator, Mapping

from paymaster.accounting.account_migration import AccountSplit, read_charge
from paymaster.accounting.account_names import is_money
from paymaster.accounting.accounts import Record
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, Item, OpeningBalance
from paymaster.ledgers.store import OpenHold


def with_owners(items: Iterable[Item]) -> Iterator[Item]:
    """The items of an export in format 2 as format 3 has them; what records have to be read for comes after all of them.

    A sum that changes comes again, and counts instead of the one before.
    """
    accounts, openings = dict[str, AccountSums](), dict[str, int]()
    split: AccountSplit | None = None
    for item in items:
        match item:
            case AccountSums() if is_money(item.account):
                accounts[item.account] = item
            case OpeningBalance():
                openings[item.account] = item.amount
            case OpenHold(_, _, _, charges, lost_record):
                split = split or _split(accounts)
                _count(split, lost_record, {charge.account: charge.amount for charge in charges})
            case Record():
                split = split or _split(accounts)
                _count(split, item.body, item.amounts)
            case _:
                pass
        yield item._replace(format=3) if isinstance(item, ExportHead) else item
    for account, amount in (split or _split(accounts)).new_balances().items():
        before = accounts.get(account, AccountSums(account, 0, 0, 0))
        yield before._replace(settled=before.settled + amount)
        yield OpeningBalance(account, openings.get(account, 0) + amount)


def _split(accounts: dict[str, AccountSums]) -> AccountSplit:
    return AccountSplit({account: sums.settled + sums.held for account, sums in accounts.items()})


def _count(split: AccountSplit, body: str, amounts: Mapping[str, int]) -> None:
    if (charged := read_charge(body, amounts)) is not None:
        split.add(charged)
