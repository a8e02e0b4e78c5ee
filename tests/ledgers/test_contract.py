"""What every kind of ledger promises."""

import pytest

from paymaster.accounting.accounts import Balance, Change, Charge, Held, Hold, Post, Refused, Settlement
from paymaster.runtime import iterate, run

T = 1_000_000
USD, RPM, SLOT, PAUSE = "usd/run/a", "requests/m", "slots/m", "pause/m"


def usd(amount=10, cap=100):
    return Charge(USD, amount, cap)


def rpm(amount=1, cap=3):
    return Charge(RPM, amount, cap, 60_000)


def slot(cap=2):
    return Charge(SLOT, 1, cap, 0)


def test_a_hold_counts_in_full_until_it_is_settled_and_then_as_what_it_cost(books):
    held = books.reserve("h1", usd(40), rpm(), slot())
    assert held == Held("h1", T, T + 10_000, (Balance(held=40), Balance(held=1), Balance(held=1)))
    settled = books.settle("h1", (usd(40), 25), (rpm(), 1), (slot(), 1), at=T + 5)
    assert settled.changes == (Change(USD, 0, 25), Change(RPM, 0, 1), Change(SLOT, 0, 0))
    assert books.balance(USD) == Balance(settled=25)
    assert books.balance(RPM) == Balance(live=1, free_at=((T + 60_000, 1),))
    assert books.balance(SLOT) == Balance()


def test_a_hold_is_admitted_whole_or_not_at_all(books):
    books.reserve("h1", slot(cap=1))
    refused = books.reserve("h2", usd(), rpm(), slot(cap=1))
    assert isinstance(refused, Refused)
    assert [shortfall.charge.account for shortfall in refused.shortfalls] == [SLOT]
    assert books.balance(USD) == Balance()
    assert books.balance(RPM) == Balance()


def test_a_settlement_posts_the_actual_amount_even_beyond_the_cap(books):
    books.reserve("h1", usd(100))
    assert books.settle("h1", (usd(100), 130)).changes == (Change(USD, 0, 130),)
    refused = books.reserve("h2", usd(0, cap=100))
    assert not refused.waiting_helps


def test_settling_again_changes_nothing(books):
    books.reserve("h1", usd(40))
    books.settle("h1", (usd(40), 25))
    again = books.settle("h1", (usd(40), 39), posts=(Post(PAUSE, 1, 50),))
    assert again.again
    assert again.changes == ()
    assert books.balance(USD) == Balance(settled=25)
    assert books.balance(PAUSE) == Balance()
    assert [record.amounts for record in books.records()] == [{USD: 25}]


def test_reserving_again_with_the_same_id_returns_the_same_hold(books):
    first = books.reserve("h1", usd(40), rpm())
    books.reserve("h2", usd(10))
    again = books.reserve("h1", usd(40), rpm(), at=T + 50)
    assert (again.at_ms, again.lease_until_ms) == (first.at_ms, first.lease_until_ms)
    assert again.balances == (Balance(held=50), Balance(held=1))


def test_the_id_of_a_hold_that_has_ended_is_refused_as_a_mistake(books):
    books.reserve("h1", usd(40))
    books.settle("h1", (usd(40), 25))
    with pytest.raises(ValueError, match="already ended"):
        books.reserve("h1", usd(40))
    books.reserve("h2", usd(40), lease_ms=10)
    with pytest.raises(ValueError, match="already ended"):
        books.reserve("h2", usd(40), at=T + 10)


def test_a_hold_the_ledger_has_never_seen_is_posted_and_recorded(books):
    settled = books.settle("h9", (usd(40), 25), (rpm(), 1), (slot(), 1), held_at=T - 10_000)
    assert settled.changes == (Change(USD, 0, 25), Change(RPM, 0, 1), Change(SLOT, 0, 0))
    assert books.balance(RPM).free_at == ((T + 50_000, 1),)
    assert books.balance(SLOT) == Balance()
    assert [(record.hold_id, record.lost) for record in books.records()] == [("h9", False)]


@pytest.mark.parametrize("settles", [False, True])
def test_a_window_counts_from_admission_whether_open_or_settled(books, settles):
    books.reserve("h1", rpm(3), lease_ms=100_000)
    if settles:
        books.settle("h1", (rpm(3), 3), at=T + 30_000)
    refused = books.reserve("h2", rpm(1), at=T + 59_999)
    assert refused.retry_at_ms == T + 60_000
    assert refused.shortfalls[0].balance.free_at == ((T + 60_000, 3),)
    assert isinstance(books.reserve("h2", rpm(1), at=T + 60_000), Held)
    late = books.settle("h1", (rpm(3), 2), at=T + 60_001)
    assert late.changes == (() if settles else (Change(RPM, 0, 0),))


def test_settling_less_makes_room_in_the_window_at_once(books):
    books.reserve("h1", rpm(3))
    books.settle("h1", (rpm(3), 1))
    assert isinstance(books.reserve("h2", rpm(2)), Held)


def test_retry_at_ms_of_a_refusal_is_exact(books):
    for at, hold_id in enumerate(["h1", "h2", "h3"]):
        books.reserve(hold_id, rpm(), at=T + at * 1_000)
        books.settle(hold_id, (rpm(), 1), at=T + at * 1_000)
    refused = books.reserve("h4", rpm(2), at=T + 5_000)
    assert refused.retry_at_ms == T + 61_000
    assert refused.shortfalls[0].balance.free_at == ((T + 60_000, 1), (T + 61_000, 1))
    assert isinstance(books.reserve("h4", rpm(2), at=T + 60_999), Refused)
    assert isinstance(books.reserve("h4", rpm(2), at=T + 61_000), Held)


def test_an_expired_lease_is_charged_in_full_recorded_and_reported_once(books):
    books.reserve("h1", usd(40), rpm(), slot(), lease_ms=10_000)
    assert books.reserve("h2", usd(1), at=T + 9_999).lost == ()
    lost_holds = books.reserve("h3", usd(1), at=T + 10_000).lost
    assert [(lost.hold_id, lost.at_ms, lost.record) for lost in lost_holds] == [("h1", T + 10_000, '{"lost":"h1"}')]
    assert lost_holds[0].charges == (usd(40), rpm(), slot())
    assert lost_holds[0].changes == (Change(USD, 0, 40), Change(RPM, 0, 1), Change(SLOT, 0, 0))
    assert books.reserve("h4", usd(1), at=T + 10_001).lost == ()
    assert books.balance(USD, at=T + 10_001) == Balance(settled=40, held=3)
    assert books.balance(SLOT, at=T + 10_001) == Balance()
    assert [(record.hold_id, record.lost, record.amounts) for record in books.records()] == [("h1", True, {USD: 40, RPM: 1})]


def test_refusals_settlements_and_sweeps_report_losses_too(books, ledger):
    books.reserve("h1", usd(1), lease_ms=10)
    assert [lost.hold_id for lost in books.reserve("h2", usd(1_000), at=T + 10).lost] == ["h1"]
    books.reserve("h3", usd(1), at=T + 10, lease_ms=10)
    assert [lost.hold_id for lost in books.settle("h4", (usd(1), 1), at=T + 20).lost] == ["h3"]
    books.reserve("h5", usd(1), at=T + 20, lease_ms=10)
    assert [lost.hold_id for lost in run(ledger.sweep(T + 30))] == ["h5"]
    assert run(ledger.sweep(T + 30)) == ()


def test_a_late_settlement_corrects_what_was_charged_as_lost(books):
    books.reserve("h1", usd(40), rpm(2), slot(), lease_ms=10)
    books.reserve("h2", usd(1), at=T + 10)
    late = books.settle("h1", (usd(40), 15), (rpm(2), 1), (slot(), 1), at=T + 20)
    assert not late.again
    assert late.changes == (Change(USD, 40, 15), Change(RPM, 2, 1), Change(SLOT, 0, 0))
    assert books.balance(USD) == Balance(settled=15, held=1)
    assert books.balance(RPM) == Balance(live=1, free_at=((T + 60_000, 1),))
    assert [(record.lost, record.amounts, record.body) for record in books.records()] == [(False, {USD: 15, RPM: 1}, '{"paid":"h1"}')]
    assert books.settle("h1", (usd(40), 15), (rpm(2), 1), (slot(), 1), at=T + 30).again


def test_a_late_settlement_after_the_window_leaves_the_window_alone(books):
    books.reserve("h1", usd(40), rpm(2), lease_ms=10)
    run(books.ledger.sweep(T + 10))
    late = books.settle("h1", (usd(40), 15), (rpm(2), 1), at=T + 60_000)
    assert late.changes == (Change(USD, 40, 15), Change(RPM, 0, 0))


def test_a_late_settlement_counts_in_a_window_in_which_the_hold_had_0(books):
    books.reserve("h1", rpm(0), lease_ms=10)
    books.reserve("h2", usd(1), at=T + 10)
    assert books.settle("h1", (rpm(0), 2), at=T + 20).changes == (Change(RPM, 0, 2),)


def test_a_settlement_at_the_end_of_its_lease_is_not_a_loss(books):
    books.reserve("h1", usd(40), lease_ms=10)
    settled = books.settle("h1", (usd(40), 15), at=T + 10_000)
    assert settled.lost == ()
    assert books.balance(USD) == Balance(settled=15)


def test_balances_show_what_a_sweep_would_leave_and_write_nothing(books):
    books.reserve("h1", usd(40), rpm(2), slot(), Charge("tokens/m", 5, 9, 10), lease_ms=10)
    assert books.balance(USD, at=T + 10) == Balance(settled=40)
    assert books.balance(RPM, at=T + 10) == Balance(live=2, free_at=((T + 60_000, 2),))
    assert books.balance(SLOT, at=T + 10) == Balance()
    assert books.balance("tokens/m", at=T + 10) == Balance()
    assert books.balance(USD) == Balance(held=40)
    assert books.records() == []


def test_balances_are_chosen_by_prefix(books, ledger):
    books.settle("h1", (usd(), 3), (Charge("usd/run/b", 1, 9), 4), (Charge("usd/month/1", 1, 9), 5), (rpm(), 1))
    assert sorted(run(ledger.balances("usd/run/", T))) == [USD, "usd/run/b"]
    assert len(run(ledger.balances("", T))) == 4
    assert run(ledger.balances("usd/run/%", T)) == {}


def test_a_pause_refuses_until_it_is_over(books):
    pause = Charge(PAUSE, 0, 0)
    assert books.post(Post(PAUSE, 1, 500)) == (Change(PAUSE, 0, 1),)
    refused = books.reserve("h1", pause, usd())
    assert refused.retry_at_ms == T + 500
    assert refused.waiting_helps
    assert isinstance(books.reserve("h1", pause, usd(), at=T + 500), Held)


def test_posts_of_the_same_moment_add_up_and_may_be_taken_back(books):
    assert books.post(Post(PAUSE, 1, 500), Post(PAUSE, 1, 500), Post(PAUSE, 1, 700)) == (
        Change(PAUSE, 0, 1),
        Change(PAUSE, 1, 2),
        Change(PAUSE, 2, 3),
    )
    assert books.balance(PAUSE).free_at == ((T + 500, 2), (T + 700, 1))
    assert books.post(Post(PAUSE, -2, 500), Post(USD, 7, None), Post(USD, -2, None)) == (
        Change(PAUSE, 3, 1),
        Change(USD, 0, 7),
        Change(USD, 7, 5),
    )
    assert books.balance(PAUSE).free_at == ((T + 700, 1),)
    assert books.balance(USD) == Balance(settled=5)


def test_clearing_empties_a_window_and_leaves_open_holds_and_settled_amounts(books):
    books.reserve("h1", rpm(1), usd(5))
    books.settle("h2", (rpm(1), 1), (usd(5), 5))
    books.post(Post(PAUSE, 1, 500))
    assert books.post(clears=(PAUSE, RPM, USD, "pause/never")) == (
        Change(PAUSE, 1, 0),
        Change(RPM, 1, 0),
        Change(USD, 5, 5),
        Change("pause/never", 0, 0),
    )
    assert books.balance(RPM) == Balance(held=1, free_at=((T + 60_000, 1),))
    assert books.balance(USD) == Balance(settled=5, held=5)


def test_a_window_is_emptied_before_it_is_posted_to(books):
    books.post(Post(PAUSE, 1, 500))
    assert books.post(Post(PAUSE, 1, 900), clears=(PAUSE,)) == (Change(PAUSE, 0, 1), Change(PAUSE, 1, 0))
    assert books.balance(PAUSE) == Balance(live=1, free_at=((T + 900, 1),))


def test_a_withdrawn_hold_costs_nothing_and_leaves_no_record(books, ledger):
    books.reserve("h1", usd(40), rpm(2), slot(), Charge("tokens/m", 5, 9, 10))
    books.reserve("h2", usd(1), at=T + 10)
    run(ledger.withdraw("h1"))
    assert books.balance(USD) == Balance(held=1)
    assert books.balance(RPM) == books.balance(SLOT) == books.balance("tokens/m") == Balance()
    assert books.records() == []
    assert isinstance(books.reserve("h1", usd(40), at=T + 20), Held)
    books.settle("h2", (usd(1), 1))
    run(ledger.withdraw("h2"))
    assert books.balance(USD) == Balance(settled=1, held=40)


def test_a_settlement_carries_posts_and_clears(books):
    books.post(Post("pause/other", 1, 500))
    books.reserve("h1", usd(5))
    settled = books.settle("h1", (usd(5), 0), posts=(Post(PAUSE, 1, 500),), clears=("pause/other",))
    assert settled.changes == (Change(USD, 0, 0), Change(PAUSE, 0, 1), Change("pause/other", 1, 0))
    assert [record.amounts for record in books.records()] == [{}]


def test_a_window_that_was_emptied_is_not_refilled_by_a_correction(books):
    books.reserve("h1", rpm(2), lease_ms=10)
    books.settle("h2", (usd(), 1), at=T + 10, clears=(RPM,))
    assert books.settle("h1", (rpm(2), 1), at=T + 20).changes == (Change(RPM, 0, 0),)


def test_time_never_runs_backwards(books):
    books.reserve("h1", rpm(3), lease_ms=200_000, at=T + 50_000)
    refused = books.reserve("h2", rpm(1), at=T)
    assert refused.at_ms == T + 50_000
    assert refused.retry_at_ms == T + 110_000
    assert books.settle("h1", (rpm(3), 3), at=T - 99, held_at=T + 50_000).at_ms == T + 50_000


def test_records_come_in_order_and_from_any_time_on(books):
    for at in (1, 2, 3):
        books.settle(f"h{at}", (usd(), at), at=T + at)
    books.settle("h3b", (usd(), 4), at=T + 3)
    assert [record.hold_id for record in books.records()] == ["h1", "h2", "h3", "h3b"]
    assert [record.hold_id for record in books.records(after_ms=T + 2)] == ["h3", "h3b"]
    assert [record.at_ms for record in books.records()] == [T + 1, T + 2, T + 3, T + 3]


def test_a_corrected_record_moves_to_the_end_of_the_journal(books):
    books.reserve("h1", usd(4), lease_ms=10)
    books.settle("h2", (usd(), 1), at=T + 10)
    books.settle("h1", (usd(4), 3), at=T + 20)
    assert [(record.hold_id, record.lost) for record in books.records()] == [("h2", False), ("h1", False)]


def test_writing_goes_on_while_the_journal_is_read(books):
    for number in range(5):
        books.settle(f"h{number}", (usd(), 1))
    reading = iterate(books.ledger.records())
    seen = [next(reading).hold_id]
    books.settle("late", (usd(), 1))
    seen += [record.hold_id for record in reading]
    assert seen == ["h0", "h1", "h2", "h3", "h4"]


def test_malformed_holds_and_posts_are_refused_before_anything_is_written(books):
    with pytest.raises(ValueError, match="twice"):
        books.reserve("h1", usd(), usd())
    with pytest.raises(ValueError, match="amounts"):
        run(books.ledger.settle(Settlement(Hold("h1", (usd(),), 5), T, (), "{}"), T))
    with pytest.raises(ValueError, match="never count"):
        books.post(Post(USD, 1, None), Post(PAUSE, 1, -5))
    assert books.balance(USD) == Balance()


def test_several_losses_are_reported_in_the_order_of_their_leases(books):
    books.reserve("c", usd(1), lease_ms=30)
    books.reserve("a", usd(1), lease_ms=10)
    books.reserve("b", usd(1), lease_ms=20)
    books.reserve("d", usd(1), lease_ms=99)
    assert [lost.hold_id for lost in books.reserve("e", usd(1), at=T + 30).lost] == ["a", "b", "c"]
    assert [lost.hold_id for lost in books.reserve("f", usd(1), at=T + 99).lost] == ["d"]


def test_what_a_settlement_posts_for_good_is_in_its_record(books):
    books.reserve("h1", usd(40), rpm())
    books.settle("h1", (usd(40), 25), (rpm(), 1), posts=(Post(USD, -5, None), Post("usd", 3, None), Post(PAUSE, 1, 500)))
    books.settle("correction", posts=(Post("usd", -3, None),))
    first, second = books.records()
    assert first.amounts == {USD: 20, RPM: 1, "usd": 3}
    assert second.amounts == {"usd": -3}
    assert (books.balance(USD), books.balance("usd").settled) == (Balance(settled=20), 0)


def test_a_living_process_is_no_ended_holder(books):
    books.reserve("h1", Charge("usd/run/a", 10, 100), Charge("slots/m", 1, 1, 0))
    assert run(books.ledger.ended_holders(T)) == ()
    books.settle("h1", (Charge("usd/run/a", 10, 100), 4), (Charge("slots/m", 1, 1, 0), 0))
    assert run(books.ledger.ended_holders(T)) == ()
