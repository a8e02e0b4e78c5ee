"""Which accounts leave a ledger, and when it looks for them: a page now and then, in passing; knows no storage.

A budget whose period ended leaves after `retire_days`, if nothing of it is held; its settled sum is kept. Whatever needs it later, a late
settlement or a caller whose clock is behind, takes the sum back first (`UnitOfWork.load`), so no budget is granted twice. A limit's account
leaves when it is empty: no account means the same as one that is empty. A budget without a period is a bound for good, and stays.
"""

from collections.abc import Iterable
from typing import NamedTuple

from paymaster.accounting.account_names import is_budget, period_end_ms
from paymaster.ledgers.store import NO_HOLD, Store
from paymaster.ledgers.unit_of_work import UnitOfWork

MS_PER_DAY = 86_400_000
RETIRE_DAYS = 35
"""How long a budget stays after its period ended, unless the ledger has another setting. Longer than a month, so that a ledger which
follows a clock that is a month ahead keeps the current one."""
MOST_DAYS = 36_500
PAGE = 200
"""So many accounts are looked at in one transaction: about a millisecond."""
PAGE_EVERY_MS = 1_000
LOOK_EVERY_MS = 3_600_000


class Leaving(NamedTuple):
    """The accounts that leave: budgets whose sums are kept, and limits that are empty."""

    ended: list[str]
    empty: list[str]


def leaving(idle: Iterable[tuple[str, int]], now_ms: int, retire_days: int) -> Leaving:
    """Those of `idle` that leave: accounts without anything held or in a window, each with its settled sum."""
    found = Leaving([], [])
    for name, settled in idle:
        if is_budget(name):
            end_ms = period_end_ms(name)
            if end_ms is not None and end_ms + retire_days * MS_PER_DAY <= now_ms:
                found.ended.append(name)
        elif not settled:
            found.empty.append(name)
    return found


def retire_in_passing(unit: UnitOfWork) -> None:
    """Look at the next page of accounts, if it is time: every hour the first page, then one each second until all were looked at."""
    clock = unit.clock
    if clock.retire_at_ms > unit.now_ms:
        return
    if clock.retire_at_ms:  # a new ledger has nothing to look for
        _, clock.retire_after = _retire_page(unit, clock.retire_after, clock.retire_days)
    clock.retire_at_ms = unit.now_ms + (PAGE_EVERY_MS if clock.retire_after else LOOK_EVERY_MS)
    clock.changed = True


def retire(store: Store, now_ms: int, after: str, retire_days: int | None) -> tuple[int, str]:
    """Look at the accounts behind `after`, a page of them: how many left, and the last name; '' at the end.

    `retire_days` counts instead of the ledger's own setting.
    """
    unit = UnitOfWork(store, store.find_known(NO_HOLD).clock, now_ms)
    unit.load(())  # what has left its window counts no more
    unit.close()
    unit = UnitOfWork(store, store.find_known(NO_HOLD).clock, now_ms)
    found = _retire_page(unit, after, unit.clock.retire_days if retire_days is None else retire_days)
    unit.close()
    return found


def _retire_page(unit: UnitOfWork, after: str, retire_days: int) -> tuple[int, str]:
    unit.load(())
    rows = unit.store.page_accounts(after, PAGE)
    idle = {row.name: row for row in rows if not row.live and not row.held and not unit.has(row.name)}
    ended, empty = leaving(((row.name, row.settled) for row in idle.values()), unit.now_ms, retire_days)
    if ended or empty:
        unit.store.retire([idle[name] for name in ended if idle[name].settled], [*ended, *empty])
    return len(ended) + len(empty), rows[-1].name if len(rows) == PAGE else ""
