"""An export of an earlier format in today's terms: what accounts of runs became, and that no format is left out."""

from __future__ import annotations

import pytest

from paymaster.accounting.accounts import Charge, Record
from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.admin.earlier_formats import up_to_date
from paymaster.ledgers.admin.export_format import FORMAT, OLDEST_FORMAT, AccountSums, ExportHead, Item, OpeningBalance, WindowEntry
from paymaster.ledgers.admin.format_2 import with_owners
from paymaster.ledgers.store import OpenHold


def body(user: str | None, run: str = "r") -> str:
    return AttemptRecord(
        call_id="c",
        attempt=1,
        at_ms=1,
        model="m",
        provider="p",
        model_id="m",
        outcome="answered",
        billed="exact",
        cost_nanousd=1,
        held_nanousd=1,
        cost_source="registry",
        run=run,
        user=user,
    ).to_json()


def paid(amount: int, user: str | None, account: str = "usd/run/r", run: str = "r") -> Record:
    return Record(f"{user}-{amount}", 800, lost=False, amounts={account: amount, "usd": amount}, body=body(user, run))


HEAD, ALL, RUN = ExportHead(1_000, format=2), AccountSums("usd", 9, 0, 0), AccountSums("usd/run/r", 9, 0, 0)
HOLD = OpenHold("h", 900, 5_000, (Charge("usd/run/r", 4, 20, None), Charge("requests/m", 1, 5, 60_000)), body("ann"))
CORRECTION = Record("fix", 800, lost=False, amounts={"usd/run/r": 3}, body='{"correction": "adjust"}')
CASES: dict[str, tuple[list[Item], list[Item]]] = {
    "each user gets the own part": (
        [ALL, RUN, paid(2, "ann"), paid(7, "ben")],
        [
            AccountSums("usd/~ann/run/r", 2, 0, 0),
            OpeningBalance("usd/~ann/run/r", 2),
            AccountSums("usd/~ben/run/r", 7, 0, 0),
            OpeningBalance("usd/~ben/run/r", 7),
        ],
    ),
    "an open hold counts as spent": (
        [RUN._replace(settled=5, held=4), HOLD, paid(5, None)],
        [AccountSums("usd/~ann/run/r", 4, 0, 0), OpeningBalance("usd/~ann/run/r", 4)],
    ),
    "a correction counts for every user": (
        [RUN._replace(settled=5), CORRECTION, paid(2, "ann")],
        [AccountSums("usd/~ann/run/r", 5, 0, 0), OpeningBalance("usd/~ann/run/r", 5)],
    ),
    "a sum that was there is added to": (
        [
            AccountSums("usd/run/r%2Fkey/k", 5, 0, 1),
            AccountSums("usd/run/r/key/k", 4, 0, 0),
            OpeningBalance("usd/run/r%2Fkey/k", 2),
            paid(4, None, "usd/run/r/key/k", "r/key/k"),
        ],
        [AccountSums("usd/run/r%2Fkey/k", 9, 0, 1), OpeningBalance("usd/run/r%2Fkey/k", 6)],
    ),
    "without a user nothing is added": ([ALL, RUN, WindowEntry("requests/m", 5, "", 1), paid(9, None)], []),
    "without records nothing is added": ([ALL, RUN], []),
    "an empty ledger": ([], []),
}


@pytest.mark.parametrize(("items", "added"), CASES.values(), ids=CASES)
def test_accounts_are_split_after_the_last_record(items: list[Item], added: list[Item]) -> None:
    assert list(with_owners([HEAD, *items])) == [ExportHead(1_000, format=3), *items, *added]


@pytest.mark.parametrize("earlier", range(OLDEST_FORMAT, FORMAT))
def test_every_earlier_format_is_brought_up_to_date(earlier: int) -> None:
    head, *items = up_to_date([ExportHead(1_000, format=earlier), RUN, paid(9, "ann")])
    assert head == ExportHead(1_000)
    assert items[:2] == [RUN, paid(9, "ann")]
    assert items[2:] == ([AccountSums("usd/~ann/run/r", 9, 0, 0), OpeningBalance("usd/~ann/run/r", 9)] if earlier < 3 else [])


def test_an_export_of_today_is_passed_on() -> None:
    items: list[Item] = [ExportHead(1_000), AccountSums("slots/m", 0, 3, 0), RUN, WindowEntry("slots/m", 2_000, "", 3), paid(9, "ann")]
    assert list(up_to_date(items)) == items
    assert list(up_to_date([])) == []
