"""What one transaction of a ledger does, step by step; knows no storage, no clock and no lock, only the rows a `Store` keeps.

Every step runs between the begin and the commit of its ledger, so it reads and writes as if it were alone. An exception is raised before
the first write.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import attrgetter

from paymaster.accounting.accounts import (
    Balance,
    Change,
    Charge,
    EndedHolder,
    Held,
    Hold,
    HoldEnded,
    Lost,
    Post,
    Queued,
    Record,
    Refused,
    ReserveOutcome,
    Settled,
    Settlement,
    Shortfall,
    check_hold,
    check_posts,
    check_settlement,
    excess,
    leaving_until_it_fits,
    recorded_amounts,
    shortfalls,
)
from paymaster.ledgers.account_views import AccountViews, by_time
from paymaster.ledgers.retirement import retire_in_passing
from paymaster.ledgers.store import NO_HOLD, EndedProcess, Entry, OpenHold, Store
from paymaster.ledgers.unit_of_work import LOST_AT_ONCE, LedgerQueue, UnitOfWork

# As many holds as there are.
ALL = 2**31
# A refusal looks at so many entries of a window.
LEAVING_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Unfinished:
    """There is more to clean up than one transaction does, and what is left may be in the way: ask again at once. `lost` was charged."""

    lost: tuple[Lost, ...]


def with_lost(outcome: ReserveOutcome, lost: tuple[Lost, ...]) -> ReserveOutcome:
    """The outcome, with what transactions before it charged as lost."""
    return replace(outcome, lost=lost + outcome.lost) if lost else outcome


def reserve(store: Store, hold: Hold, now_ms: int, queue_for_ms: int) -> ReserveOutcome | Unfinished:
    """Admit the hold whole, or refuse it and keep its ticket in the queue.

    Raises:
        ValueError: the hold is malformed.
        HoldEnded: its id is that of one that has ended.
    """
    check_hold(hold)
    known = store.find_known(hold.id)
    unit = UnitOfWork(store, known.clock, now_ms)
    if known.was_lost is not None or (known.open and known.open.lease_until_ms <= unit.now_ms):
        raise HoldEnded(f"hold {hold.id!r} has already ended; a new attempt needs an id of its own")
    lost = _sweep(unit)
    if known.open:
        held = _held(unit, known.open, lost)
        unit.close()
        return held
    queue = LedgerQueue(unit, hold.id)
    charges = hold.charges
    rows = unit.load([charge.account for charge in charges])
    if any(excess(charge, row.total + queue.ahead(row.name)) > 0 for charge, row in zip(charges, rows, strict=True)):
        if unit.is_unfinished:
            unit.close()
            return Unfinished(lost)
        before = [Balance(row.settled, row.live, row.held, queue.ahead(row.name)) for row in rows]
        refused = Refused(hold.id, unit.now_ms, _explain(unit, charges, before), lost)
        queue.stay(refused, queue_for_ms, hold.waiters)
        unit.close()
        return refused
    queue.leave()
    admitted = OpenHold(hold.id, unit.now_ms, unit.now_ms + hold.lease_ms, charges, hold.lost_record, store.process)
    _open(unit, admitted)
    held = _held(unit, admitted, lost, queue.ahead)
    unit.close()
    return held


def withdraw(store: Store, hold_id: str) -> None:
    """Take a hold back as if it had never been made: its ticket, and what it holds while it is open."""
    known = store.find_known(hold_id)
    unit = UnitOfWork(store, known.clock, known.clock.now_ms)
    store.drop_ticket(hold_id)
    if known.open:
        store.drop_hold(hold_id)
        _fold(unit, known.open, [0] * len(known.open.charges))
    unit.close()


def settle(store: Store, settlement: Settlement, now_ms: int) -> Settled:
    """Post the actual amounts and the record; at most once per hold.

    A hold whose lease is over is settled like any other unless a transaction before this one has already charged it as lost.

    Raises:
        ValueError: the amounts are malformed.
    """
    check_settlement(settlement)
    hold_id = settlement.hold.id
    known = store.find_known(hold_id)
    unit = UnitOfWork(store, known.clock, now_ms)
    is_settled = known.was_lost is False
    if known.open:
        store.drop_hold(hold_id)
    lost = _sweep(unit)
    if is_settled:
        unit.close()
        return Settled(hold_id, unit.now_ms, (), again=True, lost=lost)
    if known.open:
        charges = known.open.charges
        changes = _fold(unit, known.open, settlement.amounts)
    elif known.was_lost:
        charges = settlement.hold.charges
        changes = _correct(unit, settlement, store.find_charged(hold_id))
    else:
        charges = settlement.hold.charges
        changes = _fold(unit, _never_seen(settlement, unit.now_ms), settlement.amounts)
    amounts = recorded_amounts(charges, settlement.amounts, settlement.posts)
    store.write_record(Record(hold_id, unit.now_ms, lost=False, amounts=amounts, body=settlement.record))
    changes += _post(unit, settlement.posts, settlement.clears)
    retire_in_passing(unit)
    unit.close()
    return Settled(hold_id, unit.now_ms, tuple(changes), lost=lost)


def post(store: Store, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
    """Empty windows, then add entries that no hold carries.

    It does not sweep: it could not report the lost holds.

    Raises:
        ValueError: a post is malformed.
    """
    check_posts(posts)
    unit = UnitOfWork(store, store.find_known(NO_HOLD).clock, now_ms)
    changes = _post(unit, posts, clears)
    unit.close()
    return tuple(changes)


def sweep(store: Store, now_ms: int, ended: Collection[EndedProcess] = ()) -> tuple[Lost, ...]:
    """Charge and record some of the holds of `ended` processes and of those whose lease is over; none is left if it answers nothing."""
    unit = UnitOfWork(store, store.find_known(NO_HOLD).clock, now_ms)
    lost = _sweep(unit, ended)
    unit.close()
    return lost


def views(store: Store, now_ms: int) -> AccountViews:
    """How accounts look now, for a caller with this time."""
    clock = store.find_known(NO_HOLD).clock
    store.set_time(clock, now_ms)
    now_ms = clock.now_ms
    is_due = clock.next_lease_end_ms is not None and clock.next_lease_end_ms <= now_ms
    tickets = [ticket for ticket in store.list_tickets() if ticket.until_ms > now_ms] if clock.queue_until_ms > now_ms else []
    return AccountViews(now_ms, store.list_expired_holds(now_ms, ALL) if is_due else (), tickets)


def balances(store: Store, prefix: str, now_ms: int) -> dict[str, Balance]:
    """The accounts as a sweep would leave them, without writing anything: the caller that sweeps reports the lost holds."""
    seen = views(store, now_ms)
    windows = {name: tuple(entries) for name, entries in groupby(store.list_all_entries(prefix), key=attrgetter("account"))}
    return {row.name: seen.whole(row, windows.get(row.name, ())) for row in store.list_accounts(prefix)}


def balances_of(store: Store, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
    """The same of these accounts alone, also if they have left the ledger; those never written are left out."""
    seen, names = views(store, now_ms), list(dict.fromkeys(accounts))
    rows = (*store.read_accounts(names), *store.read_retired(names))
    return {row.name: seen.whole(row, store.list_entries(row.name)) for row in rows}


def ended_holders(store: Store, processes: Collection[str], now_ms: int) -> tuple[EndedHolder, ...]:
    """What these processes hold, which the next call charges: it is due now. Without holds whose lease is over."""
    ledger_ms = time(store, now_ms)
    holds: dict[str, int] = {}
    held: dict[str, dict[str, int]] = {}
    for hold in store.list_holds_of(processes, ALL):
        if hold.lease_until_ms > ledger_ms:
            holds[hold.process] = holds.get(hold.process, 0) + 1
            amounts = held.setdefault(hold.process, {})
            for charge in hold.charges:
                amounts[charge.account] = amounts.get(charge.account, 0) + charge.amount
    return tuple(EndedHolder(process, count, held[process], now_ms) for process, count in sorted(holds.items()))


def time(store: Store, now_ms: int) -> int:
    """The ledger's time for a caller with this one."""
    clock = store.find_known(NO_HOLD).clock
    store.set_time(clock, now_ms)
    return clock.now_ms


def waiting(store: Store, now_ms: int) -> tuple[Queued, ...]:
    """The queue, first come first, without tickets that have lapsed."""
    clock = store.find_known(NO_HOLD).clock
    store.set_time(clock, now_ms)
    now_ms = clock.now_ms
    tickets = [ticket for ticket in store.list_tickets() if ticket.until_ms > now_ms] if clock.queue_until_ms > now_ms else []
    return tuple(Queued(ticket.hold_id, tuple(sorted(ticket.asks)), ticket.names, ticket.since_ms) for ticket in tickets)


def _held(unit: UnitOfWork, hold: OpenHold, lost: tuple[Lost, ...], ahead: Callable[[str], int] = lambda _account: 0) -> Held:
    """The answer for a hold that is open."""
    rows = unit.load([charge.account for charge in hold.charges])
    after = tuple(Balance(row.settled, row.live, row.held, ahead(row.name)) for row in rows)
    return Held(hold.id, hold.at_ms, hold.lease_until_ms, after, lost)


def _explain(unit: UnitOfWork, charges: Sequence[Charge], balances: Sequence[Balance]) -> tuple[Shortfall, ...]:
    """The shortfalls, each with what must leave its window first."""
    reasons = shortfalls(charges, balances)
    detailed = [reason.balance._replace(free_at=_leaving(unit, reason)) for reason in reasons]
    return shortfalls([reason.charge for reason in reasons], detailed)


def _leaving(unit: UnitOfWork, reason: Shortfall) -> tuple[tuple[int, int], ...]:
    """What must leave the window for the charge to fit.

    Beyond so many entries what is missing comes with the last of them, if the window has as much: the caller asks again then.
    """
    charge, balance = reason.charge, reason.balance
    entries = list(islice(unit.store.list_entries(charge.account), LEAVING_AT_ONCE))
    needed = leaving_until_it_fits(charge, balance, by_time(entries))
    left = sum(amount for _, amount in needed)
    missing = excess(charge, balance.total + balance.ahead) - left
    if len(entries) == LEAVING_AT_ONCE and 0 < missing <= balance.live + balance.held - left:
        return (*needed, (entries[-1].free_at_ms, missing))
    return needed


def _open(unit: UnitOfWork, hold: OpenHold) -> None:
    """Count the hold on its accounts and keep it until its lease is over."""
    unit.store.write_hold(hold)
    clock = unit.clock
    if clock.next_lease_end_ms is None or hold.lease_until_ms < clock.next_lease_end_ms:
        clock.next_lease_end_ms = hold.lease_until_ms
    for charge, row in zip(hold.charges, unit.load([charge.account for charge in hold.charges]), strict=True):
        if charge.amount:
            row.held += charge.amount
            row.changed = True
            if charge.window_ms:
                unit.enter(Entry(charge.account, hold.at_ms + charge.window_ms, hold.id, charge.amount, is_open=True))


def _fold(unit: UnitOfWork, hold: OpenHold, amounts: Sequence[int]) -> list[Change]:
    """End an open hold: free what it held, count the actual amounts."""
    changes: list[Change] = []
    rows = unit.load([charge.account for charge in hold.charges])
    for charge, row, amount in zip(hold.charges, rows, amounts, strict=True):
        before = row.settled + row.live
        window_ms = charge.window_ms
        if window_ms is None:
            row.held -= charge.amount
            row.settled += amount
        elif window_ms == 0:
            row.held -= charge.amount
        elif (charge.amount or amount) and unit.still_counts(charge.account, hold.at_ms + window_ms, hold.id):
            row.held -= charge.amount
            row.live += amount
            unit.enter(Entry(charge.account, hold.at_ms + window_ms, hold.id, amount, is_open=False))
        row.changed = row.changed or bool(charge.amount or amount)
        changes.append(Change(charge.account, before, row.settled + row.live))
    return changes


def _never_seen(settlement: Settlement, now_ms: int) -> OpenHold:
    """A hold that the ledger does not know, as one that held nothing: only its actual amounts count."""
    charges = tuple(charge._replace(amount=0) for charge in settlement.hold.charges)
    at_ms = min(settlement.held_at_ms, now_ms)
    return OpenHold(settlement.hold.id, at_ms, now_ms, charges, settlement.record)


def _correct(unit: UnitOfWork, settlement: Settlement, charged: Mapping[str, int]) -> list[Change]:
    """Replace what was charged for a lost hold by what it really cost."""
    unit.flush()
    changes: list[Change] = []
    charges = settlement.hold.charges
    for charge, row, amount in zip(charges, unit.load([charge.account for charge in charges]), settlement.amounts, strict=True):
        before = row.settled + row.live
        if charge.window_ms is None:
            row.settled += amount - charged.get(charge.account, 0)
        elif charge.window_ms:
            free_at_ms = settlement.held_at_ms + charge.window_ms
            entry = unit.store.find_entry(charge.account, free_at_ms, settlement.hold.id)
            if entry is None and free_at_ms > unit.now_ms and charge.account not in charged:
                entry = Entry(charge.account, free_at_ms, settlement.hold.id, 0, is_open=False)
            # Otherwise the window has passed, or it was emptied since.
            if entry is not None:
                row.live += amount - entry.amount
                unit.enter(entry._replace(amount=amount))
        row.changed = True
        changes.append(Change(charge.account, before, row.settled + row.live))
    return changes


def _post(unit: UnitOfWork, posts: Sequence[Post], clears: Sequence[str]) -> list[Change]:
    """Empty windows, then add what no hold carries; the changes of the posts come before those of the clears."""
    cleared: list[Change] = []
    for account in clears:
        row = unit.load([account])[0]
        unit.flush()
        unit.store.drop_settled(account)
        cleared.append(Change(account, row.settled + row.live, row.settled))
        row.live = 0
        row.changed = True
    posted: list[Change] = []
    for entry in posts:
        row = unit.load([entry.account])[0]
        before = row.settled + row.live
        if entry.for_ms is None:
            row.settled += entry.amount
        else:
            unit.flush()
            free_at_ms = unit.now_ms + entry.for_ms
            same = unit.store.find_entry(entry.account, free_at_ms, NO_HOLD)
            unit.enter(Entry(entry.account, free_at_ms, NO_HOLD, entry.amount + (same.amount if same else 0), is_open=False))
            row.live += entry.amount
        row.changed = True
        posted.append(Change(entry.account, before, row.settled + row.live))
    return posted + cleared


def _sweep(unit: UnitOfWork, ended: Collection[EndedProcess] = ()) -> tuple[Lost, ...]:
    """Charge holds that are over in full and write their records, at most `LOST_AT_ONCE`: those of ended processes, then the oldest.

    The tickets of ended processes are dropped.
    `next_lease_end_ms` may lie before the first lease's end, as a settlement does not look at the other holds; never after it.
    """
    clock, now_ms = unit.clock, unit.now_ms
    if not ended and (clock.next_lease_end_ms is None or clock.next_lease_end_ms > now_ms):
        return ()
    for ticket in [ticket for process in ended for ticket in process.tickets]:
        unit.store.drop_ticket(ticket)
    lost: list[Lost] = []
    holds = unit.store.list_holds_of({process.name for process in ended}, LOST_AT_ONCE) if ended else ()
    for hold in holds or unit.store.list_expired_holds(now_ms, LOST_AT_ONCE):
        amounts = [charge.amount for charge in hold.charges]
        unit.store.drop_hold(hold.id)
        changes = _fold(unit, hold, amounts)
        unit.store.write_record(Record(hold.id, now_ms, lost=True, amounts=recorded_amounts(hold.charges, amounts), body=hold.lost_record))
        lost.append(Lost(hold.id, now_ms, hold.charges, hold.lost_record, tuple(changes)))
    if len(lost) < LOST_AT_ONCE:  # otherwise there may be more: the next transaction looks
        clock.next_lease_end_ms = unit.store.next_lease_end_ms()
    return tuple(lost)
