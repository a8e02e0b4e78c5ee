"""The rule of bounded accounts."""

import pytest

from paymaster.accounting.accounts import (
    LARGEST_AMOUNT,
    Balance,
    Charge,
    Hold,
    Post,
    Refused,
    Settlement,
    Shortfall,
    check_hold,
    check_posts,
    check_settlement,
    leaving_until_it_fits,
    shortfalls,
)


def charge(amount=10, cap=100, window_ms=None, account="usd/run/a"):
    return Charge(account, amount, cap, window_ms)


def only(charge, balance):
    (shortfall,) = shortfalls([charge], [balance])
    return shortfall


@pytest.mark.parametrize(
    ("balance", "fits"),
    [
        (Balance(), True),
        (Balance(settled=90), True),
        (Balance(settled=91), False),
        (Balance(live=91), False),
        (Balance(held=91), False),
        (Balance(settled=40, live=30, held=20), True),
        (Balance(settled=40, live=30, held=20, ahead=1), False),
    ],
)
def test_a_charge_fits_while_everything_that_counts_stays_within_the_cap(balance, fits):
    assert (shortfalls([charge()], [balance]) == ()) is fits


def test_an_account_without_a_cap_counts_and_never_refuses():
    assert shortfalls([charge(cap=None)], [Balance(settled=10**18)]) == ()


def test_a_pause_refuses_a_charge_of_zero():
    assert shortfalls([charge(amount=0, cap=0)], [Balance()]) == ()
    assert only(charge(amount=0, cap=0), Balance(live=1, free_at=((500, 1),))).retry_at_ms == 500


def test_all_charges_that_do_not_fit_are_reported_in_order():
    charges = [charge(account="a"), charge(account="b"), charge(account="c")]
    balances = [Balance(settled=95), Balance(), Balance(held=100)]
    assert [shortfall.charge.account for shortfall in shortfalls(charges, balances)] == ["a", "c"]


def test_a_window_has_room_once_enough_has_left_it():
    balance = Balance(live=100, free_at=((1_000, 4), (2_000, 6), (3_000, 90)))
    assert only(charge(amount=4), balance).retry_at_ms == 1_000
    assert only(charge(amount=5), balance).retry_at_ms == 2_000
    assert only(charge(amount=11), balance).retry_at_ms == 3_000


def test_calls_ahead_in_the_queue_are_served_first():
    balance = Balance(live=100, ahead=4, free_at=((1_000, 4), (2_000, 96)))
    assert only(charge(amount=4), balance).retry_at_ms == 2_000


def test_time_makes_no_room_held_by_open_holds_or_settled_money():
    assert only(charge(), Balance(held=95)).retry_at_ms is None
    assert only(charge(), Balance(settled=95, free_at=())).retry_at_ms is None


@pytest.mark.parametrize(
    ("balance", "helps"),
    [
        (Balance(settled=90, held=10), True),
        (Balance(settled=91, held=10), False),
        (Balance(settled=95), False),
        (Balance(live=100, free_at=((5, 100),)), True),
        (Balance(settled=85, ahead=10), True),
    ],
)
def test_waiting_helps_only_if_the_settled_sum_leaves_room(balance, helps):
    assert only(charge(), balance).waiting_helps is helps


def test_waiting_never_helps_a_charge_above_the_cap():
    assert not only(charge(amount=101), Balance(held=5)).waiting_helps


def test_waiting_never_helps_a_shortfall_without_a_cap():
    assert not Shortfall(charge(cap=None), Balance(held=5), None).waiting_helps


def test_a_refusal_waits_for_its_latest_window_and_only_if_waiting_helps_everywhere():
    first = only(charge(account="a"), Balance(live=100, free_at=((5, 100),)))
    second = only(charge(account="b"), Balance(live=100, free_at=((9, 100),)))
    holds = only(charge(account="c"), Balance(held=100))
    spent = only(charge(account="d"), Balance(settled=100))
    assert Refused("h", 0, (first, second)).retry_at_ms == 9
    assert Refused("h", 0, (first, holds)).retry_at_ms is None
    assert Refused("h", 0, (first, holds)).waiting_helps
    assert not Refused("h", 0, (first, spent)).waiting_helps


def test_only_the_entries_that_must_leave_are_listed():
    entries = [(1, 5), (2, 5), (3, 5)]
    assert leaving_until_it_fits(charge(amount=10, cap=20), Balance(live=16), entries) == ((1, 5), (2, 5))
    assert leaving_until_it_fits(charge(amount=10, cap=20), Balance(live=10), entries) == ()
    assert leaving_until_it_fits(charge(amount=10, cap=20), Balance(live=99), entries) == tuple(entries)


def test_room_is_found_before_the_whole_window_has_left():
    assert only(charge(), Balance(held=80, live=15, free_at=((7, 15),))).retry_at_ms == 7


@pytest.mark.parametrize(
    ("charges", "lease_ms", "message"),
    [
        ((charge(), charge()), 10, "twice"),
        ((charge(amount=-1),), 10, "between 0 and"),
        ((charge(amount=LARGEST_AMOUNT + 1),), 10, "between 0 and"),
        ((charge(window_ms=-1),), 10, "window"),
        ((charge(),), 0, "lease"),
    ],
)
def test_a_malformed_hold_is_refused(charges, lease_ms, message):
    with pytest.raises(ValueError, match=message):
        check_hold(Hold("h-1", charges, lease_ms))


def test_a_valid_hold_passes():
    check_hold(Hold("h-1", (charge(), charge(account="slots/m", window_ms=0), charge(account="rpm/m", window_ms=60_000)), 10))


def test_a_settlement_must_fit_its_hold():
    hold = Hold("h-1", (charge(),), 10)
    check_settlement(Settlement(hold, 0, (7,), "{}"))
    with pytest.raises(ValueError, match="1 charges and is settled with 2"):
        check_settlement(Settlement(hold, 0, (7, 8), "{}"))
    with pytest.raises(ValueError, match="settled with -1"):
        check_settlement(Settlement(hold, 0, (-1,), "{}"))


def test_a_post_counts_for_a_while_or_for_ever():
    check_posts([Post("pause/m", 1, 500), Post("usd/run/a", -5, None)])
    with pytest.raises(ValueError, match="never count"):
        check_posts([Post("pause/m", 1, 0)])
    with pytest.raises(ValueError, match="out of range"):
        check_posts([Post("usd/run/a", -LARGEST_AMOUNT - 1, None)])


def test_slots_may_be_free_before_windows_and_a_pause_may_not():
    kept_back = Shortfall(charge(1, 4, 0, "slots/m"), Balance(live=3, held=1, free_at=((900, 3),)), 900)
    pause = Shortfall(charge(0, 0, 0, "pause/m"), Balance(live=1, free_at=((500, 1),)), 500)
    in_use = Shortfall(charge(1, 4, 0, "slots/m"), Balance(held=4), None)
    budget = Shortfall(charge(), Balance(held=95), None)
    assert Refused("h", 0, (kept_back,)).ask_again_at_ms is None
    assert Refused("h", 0, (pause, kept_back)).ask_again_at_ms == 500
    assert Refused("h", 0, (pause, in_use)).ask_again_at_ms == 500
    assert Refused("h", 0, (pause, budget)).ask_again_at_ms is None
    assert Refused("h", 0, (pause, kept_back)).retry_at_ms == 900
