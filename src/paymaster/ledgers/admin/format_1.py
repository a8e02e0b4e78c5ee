"""What an export of format 1 means in format 2: the circuit breaker's accounts; knows no ledger and no file.

In format 1 an open circuit was an amount of 1,000,000 on `pause/M`, and a half-open one the model's cap less 1 on `slots/M`, which ended
later. Now `probe/M` has an entry while the circuit is open, and `breaker/M` until it closes (`routing/breaker.py`). A ledger of that
time is migrated in the same way: `sqlite/sql/migrations/0004_breaker.sql`, `redis/lua/migrate.lua`.
"""

from collections.abc import Iterable, Iterator

from paymaster.accounting.account_names import BREAKER, PAUSE, PROBE, RECENT_OVERLOADS, SLOTS, account_of, parse
from paymaster.accounting.accounts import Record
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, InvalidExport, Item, WindowEntry

_OPEN = 1_000_000
_RECENT_OVERLOADS = "unrest"


def with_breakers(items: Iterable[Item]) -> Iterator[Item]:
    """The items of an export in format 1 as format 2 has them, in the same order of kinds. Records are passed on one by one."""
    stream = iter(items)
    for head in stream:
        yield head._replace(format=2) if isinstance(head, ExportHead) else head
        yield from _renewed(stream)


def _renewed(stream: Iterator[Item]) -> Iterator[Item]:
    sums, entries, others = dict[str, AccountSums](), dict[tuple[str, int, str], WindowEntry](), list[Item]()
    first_record: Record | None = None
    for item in stream:
        match item:
            case Record():
                first_record = item
                break
            case AccountSums():
                sums[_renamed(item.account)] = item._replace(account=_renamed(item.account))
            case WindowEntry():
                _renew(item, sums, entries)
            case _:
                others.append(item)
    yield from (sums[account] for account in sorted(sums))
    yield from others
    yield from (entries[key] for key in sorted(entries))
    if first_record is not None:
        yield first_record
        yield from stream


def _renew(entry: WindowEntry, sums: dict[str, AccountSums], entries: dict[tuple[str, int, str], WindowEntry]) -> None:
    """Keep the entry, or what it became. `sums` are those of all accounts, and change with it."""
    kind, model, _ = parse(entry.account)
    moved, became = 0, tuple[str, ...]()
    if not entry.owner and kind == PAUSE and entry.amount >= _OPEN:
        moved, became = entry.amount - entry.amount % _OPEN, (PROBE, BREAKER)
    elif not entry.owner and kind == SLOTS:
        moved, became = entry.amount, (BREAKER,)
    for new_kind in became:
        account = account_of(new_kind, model)
        if (account, entry.until_ms, "") not in entries:
            entries[account, entry.until_ms, ""] = WindowEntry(account, entry.until_ms, "", 1)
            known = sums.get(account, AccountSums(account, 0, 0, 0))
            sums[account] = known._replace(live=known.live + 1)
    if moved:
        if entry.account not in sums:
            raise InvalidExport(0, f"an entry is of the account {entry.account!r}, which has no line")
        sums[entry.account] = sums[entry.account]._replace(live=sums[entry.account].live - moved)
    if moved < entry.amount or not moved:
        kept = entry._replace(account=_renamed(entry.account), amount=entry.amount - moved)
        entries[kept.account, kept.until_ms, kept.owner] = kept


def _renamed(account: str) -> str:
    """`unrest/M` has a plain name now."""
    name = parse(account)
    return account_of(RECENT_OVERLOADS, name.subject) if name.kind == _RECENT_OVERLOADS else account
