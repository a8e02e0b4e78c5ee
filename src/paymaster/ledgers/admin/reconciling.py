"""Whether a ledger adds up: sums recomputed from its records, opening balances, windows and open holds; pure, knows no kind of ledger."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from paymaster.accounting.accounts import Record
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, Item, OpeningBalance, RetiredAccount, WindowEntry
from paymaster.ledgers.store import OpenHold


@dataclass(frozen=True, slots=True)
class Difference:
    """A sum that is not what its parts add up to, in the account's unit. `what` is `settled`, `live` or `held`."""

    account: str
    what: str
    stored: int
    adds_up_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """How much was compared, and what differs."""

    accounts: int
    retired: int
    records: int
    holds: int
    opening_balances: int
    differences: tuple[Difference, ...]


def reconcile(items: Iterable[Item], *, adds_up: Callable[[str], bool]) -> Reconciled:
    """Compare every sum of a snapshot with its parts. Memory grows with the accounts and the open holds, not with the records.

    `adds_up` picks the accounts whose settled sum is what their records charged, those without a window: a record does not have it.
    """
    sums = _Recomputed()
    for item in items:
        sums.add(item)
    return Reconciled(
        accounts=len(sums.stored) - sums.retired,
        retired=sums.retired,
        records=sums.records,
        holds=len(sums.open_holds),
        opening_balances=sums.opening_balances,
        differences=tuple(sums.differences(adds_up)),
    )


class _Recomputed:
    """The stored sums of the accounts, and what their parts add up to."""

    def __init__(self) -> None:
        self.stored: dict[str, AccountSums] = {}
        self.open_holds: set[str] = set()
        self.records = self.opening_balances = self.retired = 0
        self._parts: dict[tuple[str, str], int] = {}

    def add(self, item: Item) -> None:
        match item:
            case AccountSums():
                self.stored[item.account] = item
            case RetiredAccount():
                self.retired += 1
                self.stored[item.account] = AccountSums(item.account, item.settled, 0, 0)
            case OpeningBalance():
                self.opening_balances += 1
                self._add(item.account, "settled", item.amount)
            case OpenHold():
                self.open_holds.add(item.id)
                for charge in item.charges:
                    if not charge.window_ms:
                        self._add(charge.account, "held", charge.amount)
            case WindowEntry():
                self._add(item.account, "held" if item.owner in self.open_holds else "live", item.amount)
            case Record():
                self.records += 1
                for account, amount in item.amounts.items():
                    self._add(account, "settled", amount)
            case ExportHead():
                pass

    def _add(self, account: str, what: str, amount: int) -> None:
        self._parts[account, what] = self._parts.get((account, what), 0) + amount

    def differences(self, adds_up: Callable[[str], bool]) -> Iterator[Difference]:
        for account in sorted(self.stored.keys() | {account for account, _ in self._parts}):
            sums = self.stored.get(account, AccountSums(account, 0, 0, 0))
            for what, stored in (("settled", sums.settled), ("live", sums.live), ("held", sums.held)):
                parts = self._parts.get((account, what), 0)
                if stored != parts and (what != "settled" or adds_up(account)):
                    yield Difference(account, what, stored, parts)
