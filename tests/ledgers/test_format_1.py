"""An export of format 1 in terms of format 2: what its pauses and slots became."""

import pytest

from paymaster.accounting.accounts import Record
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, Item, OpeningBalance, WindowEntry
from paymaster.ledgers.admin.format_1 import with_breakers
from paymaster.ledgers.store import OpenHold

HEAD = ExportHead(1_000, format=1)
HOLD = OpenHold("h", 900, 5_000, (), "{}")
RECORD = Record("r", 800, lost=False)


def converted(*items: Item) -> list[Item]:
    """Everything but the head, which comes first."""
    head, *others = with_breakers([HEAD, *items])
    assert head == ExportHead(1_000, format=2)
    return others


def test_an_open_circuit_gets_accounts_of_its_own() -> None:
    assert converted(
        AccountSums("pause/house/m", 0, 1_000_000, 0),
        AccountSums("slots/house/m", 0, 3, 1),
        OpeningBalance("usd", 5),
        HOLD,
        WindowEntry("pause/house/m", 2_000, "", 1_000_000),
        WindowEntry("slots/house/m", 62_000, "", 3),
        RECORD,
        RECORD,
    ) == [
        AccountSums("breaker/house/m", 0, 2, 0),
        AccountSums("pause/house/m", 0, 0, 0),
        AccountSums("probe/house/m", 0, 1, 0),
        AccountSums("slots/house/m", 0, 0, 1),
        OpeningBalance("usd", 5),
        HOLD,
        WindowEntry("breaker/house/m", 2_000, "", 1),
        WindowEntry("breaker/house/m", 62_000, "", 1),
        WindowEntry("probe/house/m", 2_000, "", 1),
        RECORD,
        RECORD,
    ]


@pytest.mark.parametrize(("amount", "left"), [(1_000_001, 1), (3_000_002, 2)])
def test_what_a_provider_asked_for_in_the_same_millisecond_stays_a_pause(amount: int, left: int) -> None:
    assert converted(AccountSums("pause/m", 0, amount, 0), WindowEntry("pause/m", 2_000, "", amount)) == [
        AccountSums("breaker/m", 0, 1, 0),
        AccountSums("pause/m", 0, left, 0),
        AccountSums("probe/m", 0, 1, 0),
        WindowEntry("breaker/m", 2_000, "", 1),
        WindowEntry("pause/m", 2_000, "", left),
        WindowEntry("probe/m", 2_000, "", 1),
    ]


def test_everything_else_stays_as_it_was() -> None:
    items: list[Item] = [
        AccountSums("pause/m", 0, 2, 0),
        AccountSums("requests/m", 0, 1, 1),
        HOLD,
        WindowEntry("pause/m", 2_000, "", 2),
        WindowEntry("requests/m", 2_000, "h", 1),
        WindowEntry("requests/m", 3_000, "", 1),
    ]
    assert converted(*items) == items
    assert converted(RECORD) == [RECORD]
    assert converted() == []


def test_overloads_of_the_last_minute_have_a_plain_name() -> None:
    assert converted(AccountSums("unrest/m", 0, 1, 0), WindowEntry("unrest/m", 2_000, "", 1)) == [
        AccountSums("overloads-minute/m", 0, 1, 0),
        WindowEntry("overloads-minute/m", 2_000, "", 1),
    ]
