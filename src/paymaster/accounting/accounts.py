"""Bounded accounts: what a hold is and the one rule that admits it; knows no model, no currency and no storage.

A budget, a rate limit, a concurrency cap and a provider's "retry after" are all an account with a cap. `Charge.window_ms` sets one of
three lifetimes:

    window_ms is None   the settled amount stays for good       a budget (its period is in the account's name)
    window_ms == 0      the amount counts while the hold is open    a concurrency slot
    window_ms > 0       the amount counts that long after the hold was admitted, whether it is open or settled    requests per minute

The balance of an account is the sum of what is settled, what is open and what lives in its window. A hold charges several accounts and is
admitted if and only if every `balance + ahead + amount <= cap`, where `ahead` is what earlier callers in the queue have asked for.

An entry of a window lives in [admission, admission + window_ms): at its end it no longer counts. A lease ends in the same way.

Values that every call makes by the dozen are named tuples, which cost a fraction of a frozen dataclass.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from paymaster.frozen import frozen_dataclass

# A ledger keeps signed 64-bit integers and adds them up: one amount may not come near their end (here 4.6 billion dollars in nano-dollars).
LARGEST_AMOUNT = 2**62


class Charge(NamedTuple):
    """One account's part of a hold. `amount` (0 or more) and `cap` are in the account's unit; `cap=None` is counted and never refused."""

    account: str
    amount: int
    cap: int | None
    window_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Waiters:
    """Who waits with one queued hold, for status views: callers by name, and for how long the first of them has waited."""

    names: Mapping[str, int]
    waited_ms: int


@frozen_dataclass(frozen=True, slots=True)
class Hold:
    """What a caller asks for: all charges or none. `id` is the caller's own, unique; asking again with the same id is harmless.

    The charges name an account at most once.

    `lost_record` is the JSON text written as the hold's record when its lease (`lease_ms`, counted from admission) runs out unsettled.
    `may_go_unbooked` says that the call goes on, as if it were admitted, if the ledger is unavailable. `waiters` is who waits with it if it
    is queued.
    """

    id: str
    charges: tuple[Charge, ...]
    lease_ms: int
    lost_record: str = "{}"
    may_go_unbooked: bool = False
    waiters: Waiters | None = None


class HoldEnded(ValueError):
    """A repeated `reserve` named a hold that has already been settled, or charged as lost; the answer to the first one was lost.

    Nothing more is charged. A call that goes on needs a hold with a new id.
    """


@dataclass(frozen=True, slots=True)
class Queued:
    """A hold in the queue: which accounts refused it, how many callers wait with it by name, and since when (the ledger's time)."""

    hold_id: str
    accounts: tuple[str, ...]
    names: Mapping[str, int]
    since_ms: int


class EndedHolder(NamedTuple):
    """What a process that ended, or is no longer heard of, still holds: so many holds, and the amounts by account.

    The last of it is charged at `charged_at_ms` at the latest, or by the first call after that.
    """

    process: str
    holds: int
    held: Mapping[str, int]
    charged_at_ms: int


class Balance(NamedTuple):
    """An account's state at one instant: `settled` (for good), `live` (in its window) and `held` (of open holds), in its own unit.

    What an open hold has in a window counts in `held` until it is settled, then in `live`; never in both.
    `free_at` lists what leaves the window and when: (at_ms, amount), ascending, live or held. A refusal lists as much as must leave for the
    charge to fit, `Books.balances` lists all, an admission nothing. `ahead` is what earlier callers in the queue ask for.
    """

    settled: int = 0
    live: int = 0
    held: int = 0
    ahead: int = 0
    free_at: tuple[tuple[int, int], ...] = ()

    @property
    def total(self) -> int:
        """Everything that counts against the cap, without callers in the queue."""
        return self.settled + self.live + self.held


class Change(NamedTuple):
    """What a settlement, a post or a loss did to one account: settled + live, before and after, in its own unit (without open holds)."""

    account: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A hold whose lease ran out: its full amounts were charged and `record` was written at `at_ms`, when the loss was noticed.

    `changes` stand in the order of the charges; a budget's threshold may be crossed here as well as by a settlement.
    """

    hold_id: str
    at_ms: int
    charges: tuple[Charge, ...]
    record: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """The hold was admitted at `at_ms` (the ledger's time). `balances` stand in the order of the charges and include this hold.

    `unbooked` says why no ledger has it, where the policy lets calls go on without one; then the balances are empty.
    """

    hold_id: str
    at_ms: int
    lease_until_ms: int
    balances: tuple[Balance, ...]
    lost: tuple[Lost, ...] = ()
    unbooked: str = ""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why one charge did not fit. `retry_at_ms` is when the window alone makes room; None where only settling holds can, or nothing."""

    charge: Charge
    balance: Balance
    retry_at_ms: int | None

    @property
    def waiting_helps(self) -> bool:
        """True where what is settled for good leaves room, so that time or other callers' settlements can make it fit."""
        cap = self.charge.cap
        if cap is None or self.charge.amount + self.balance.settled > cap:
            return False
        return self.retry_at_ms is not None or self.balance.held + self.balance.ahead > 0

    @property
    def may_end_early(self) -> bool:
        """True where a call that ends may make room: slots that are in use, or asked for before, unless entries alone leave no room."""
        charge, balance = self.charge, self.balance
        fits_without_calls = charge.cap is None or charge.amount + balance.settled + balance.live <= charge.cap
        return charge.window_ms == 0 and balance.held + balance.ahead > 0 and fits_without_calls


@dataclass(frozen=True, slots=True)
class Refused:
    """The hold was not admitted and nothing was charged; every charge that did not fit, in the order of the charges."""

    hold_id: str
    at_ms: int
    shortfalls: tuple[Shortfall, ...]
    lost: tuple[Lost, ...] = ()

    @property
    def waiting_helps(self) -> bool:
        """True where waiting helps every charge that did not fit."""
        return all(shortfall.waiting_helps for shortfall in self.shortfalls)

    @property
    def retry_at_ms(self) -> int | None:
        """When windows alone would let it in; None while open holds stand in the way as well."""
        times = [shortfall.retry_at_ms for shortfall in self.shortfalls]
        return None if None in times else max(time for time in times if time is not None)

    @property
    def ask_again_at_ms(self) -> int | None:
        """The earliest time at which asking again can succeed; None if any call that ends may make room.

        It lies before `retry_at_ms` where slots are kept back for a while and one is in use: how that call ends may free the others.
        """
        times = [shortfall.retry_at_ms for shortfall in self.shortfalls if not shortfall.may_end_early]
        return max((time for time in times if time is not None), default=None) if None not in times else None


@dataclass(frozen=True, slots=True)
class Post:
    """An entry that no hold carries: `amount` counts on `account` for `for_ms` (None: for good). A pause is a post on a cap of 0.

    A negative amount corrects an earlier entry.
    """

    account: str
    amount: int
    for_ms: int | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a hold ended. `amounts` are the actual ones in the order of the hold's charges; `record` is the attempt's JSON text.

    In the same transaction the windows of the accounts named in `clears` are emptied, and then `posts` are added;
    what open holds have in a window stays there.
    """

    hold: Hold
    held_at_ms: int
    amounts: tuple[int, ...]
    record: str
    posts: tuple[Post, ...] = ()
    clears: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """The settlement stands. `again` says that it already stood (nothing was charged twice); then `changes` is empty.

    `changes` stand in the order of the hold's charges, then of the posts, then of the clears. `spooled` says why the ledger could not take
    it, where it waits on disk instead; then there are no changes yet.
    """

    hold_id: str
    at_ms: int
    changes: tuple[Change, ...]
    again: bool = False
    lost: tuple[Lost, ...] = ()
    spooled: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal: the record of a hold, what was charged and whether it was lost. The last record of a hold counts.

    `amounts` maps accounts to what was charged to them, and what the settlement posted for good besides; slots, which charge nothing, and
    amounts of 0 are left out. So the records of an account without a window add up to its settled sum.
    """

    hold_id: str
    at_ms: int
    lost: bool
    amounts: Mapping[str, int] = field(default_factory=dict)
    body: str = "{}"


ReserveOutcome: TypeAlias = Held | Refused


def check_hold(hold: Hold) -> None:
    """Raise ValueError for a hold no ledger can keep: an account named twice, an amount or a window out of range, an empty lease."""
    accounts = {charge.account for charge in hold.charges}
    if len(accounts) != len(hold.charges):
        raise ValueError(f"hold {hold.id!r} charges an account twice")
    if hold.lease_ms <= 0:
        raise ValueError(f"hold {hold.id!r} has a lease of {hold.lease_ms} ms; it must be longer than 0")
    for charge in hold.charges:
        if not 0 <= charge.amount <= LARGEST_AMOUNT:
            raise ValueError(f"hold {hold.id!r} charges {charge.amount} to {charge.account!r}; an amount lies between 0 and 2**62")
        if charge.window_ms is not None and charge.window_ms < 0:
            raise ValueError(f"hold {hold.id!r} has a window of {charge.window_ms} ms on {charge.account!r}")


def check_settlement(settlement: Settlement) -> None:
    """Raise ValueError for a settlement that does not fit its hold: another number of amounts, or an amount out of range."""
    hold = settlement.hold
    if len(settlement.amounts) != len(hold.charges):
        raise ValueError(f"hold {hold.id!r} has {len(hold.charges)} charges and is settled with {len(settlement.amounts)} amounts")
    for amount in settlement.amounts:
        if not 0 <= amount <= LARGEST_AMOUNT:
            raise ValueError(f"hold {hold.id!r} is settled with {amount}; an amount lies between 0 and 2**62")
    check_posts(settlement.posts)


def check_posts(posts: Sequence[Post]) -> None:
    """Raise ValueError for a post that no ledger can keep: an amount out of range, or no time to live."""
    for post in posts:
        if abs(post.amount) > LARGEST_AMOUNT:
            raise ValueError(f"{post.amount} on {post.account!r} is out of range: a post lies between -2**62 and 2**62")
        if post.for_ms is not None and post.for_ms <= 0:
            raise ValueError(f"a post on {post.account!r} for {post.for_ms} ms would never count")


def recorded_amounts(charges: Sequence[Charge], amounts: Sequence[int], posts: Sequence[Post] = ()) -> dict[str, int]:
    """What a record says was charged: nothing for slots, nothing where the amount is 0; and what was posted for good."""
    charged = {charge.account: amount for charge, amount in zip(charges, amounts, strict=True) if charge.window_ms != 0}
    for post in posts:
        if post.for_ms is None:
            charged[post.account] = charged.get(post.account, 0) + post.amount
    return {account: amount for account, amount in charged.items() if amount}


def excess(charge: Charge, counted: int) -> int:
    """The rule: by how much the charge does not fit where `counted`, the balance and what is ahead, counts already. At 0 it fits."""
    return 0 if charge.cap is None else counted + charge.amount - charge.cap


def shortfalls(charges: Sequence[Charge], balances: Sequence[Balance]) -> tuple[Shortfall, ...]:
    """The charges that do not fit. `balances` stand in the order of `charges`; an empty answer means that the hold is admitted."""
    return tuple(
        Shortfall(charge, balance, _room_at_ms(charge, balance))
        for charge, balance in zip(charges, balances, strict=True)
        if excess(charge, balance.total + balance.ahead) > 0
    )


def leaving_until_it_fits(charge: Charge, balance: Balance, entries: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """As many of `entries`, (at_ms, amount) ascending, as must leave for the charge to fit; all where that is too few."""
    missing = excess(charge, balance.total + balance.ahead)
    needed: list[tuple[int, int]] = []
    for entry in entries:
        if missing <= 0:
            break
        needed.append(entry)
        missing -= entry[1]
    return tuple(needed)


def _room_at_ms(charge: Charge, balance: Balance) -> int | None:
    """When enough leaves the window for the charge to fit, were nobody to settle or ask in between; None if that never happens."""
    missing = excess(charge, balance.total + balance.ahead)
    for at_ms, amount in balance.free_at:
        missing -= amount
        if missing <= 0:
            return at_ms
    return None
