"""Whether a ledger adds up: balances recomputed from its records, openings, windows and open holds; pure, and reads no ledger itself."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from paymaster.accounting.accounts import Record
from paymaster.ledgers.admin.export_format import Head, Item, Opening, Sums, Windowed
from paymaster.ledgers.store import OpenHold


@dataclass(frozen=True, slots=True)
class Difference:
    """A sum that is not what its parts add up to, in the account's unit. `what` is `settled`, `live` or `held`."""

    account: str
    what: str
    stands: int
    adds_up_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """How much was compared, and what differs."""

    accounts: int
    records: int
    holds: int
    openings: int
    differences: tuple[Difference, ...]


def reconcile(items: Iterable[Item], *, adds_up: Callable[[str], bool]) -> Reconciled:
    """Compare every sum of a snapshot with its parts. Memory grows with the accounts and the open holds, not with the records.

    `adds_up` tells the accounts whose settled sum is what their records charged, those without a window: a record does not say it.
    """
    paper = _Paper()
    for item in items:
        paper.take(item)
    return Reconciled(
        accounts=len(paper.stands),
        records=paper.records,
        holds=len(paper.opened),
        openings=paper.openings,
        differences=tuple(paper.differences(adds_up)),
    )


class _Paper:
    """What stands in the accounts, and what their parts add up to."""

    def __init__(self) -> None:
        self.stands: dict[str, Sums] = {}
        self.opened: set[str] = set()
        self.records = self.openings = 0
        self._parts: dict[tuple[str, str], int] = {}

    def take(self, item: Item) -> None:
        match item:
            case Sums():
                self.stands[item.account] = item
            case Opening():
                self.openings += 1
                self._add(item.account, "settled", item.amount)
            case OpenHold():
                self.opened.add(item.id)
                for charge in item.charges:
                    if not charge.window_ms:
                        self._add(charge.account, "held", charge.amount)
            case Windowed():
                self._add(item.account, "held" if item.owner in self.opened else "live", item.amount)
            case Record():
                self.records += 1
                for account, amount in item.amounts.items():
                    self._add(account, "settled", amount)
            case Head():
                pass

    def _add(self, account: str, what: str, amount: int) -> None:
        self._parts[account, what] = self._parts.get((account, what), 0) + amount

    def differences(self, adds_up: Callable[[str], bool]) -> Iterator[Difference]:
        for account in sorted(self.stands.keys() | {account for account, _ in self._parts}):
            sums = self.stands.get(account, Sums(account, 0, 0, 0))
            for what, stands in (("settled", sums.settled), ("live", sums.live), ("held", sums.held)):
                parts = self._parts.get((account, what), 0)
                if stands != parts and (what != "settled" or adds_up(account)):
                    yield Difference(account, what, stands, parts)
