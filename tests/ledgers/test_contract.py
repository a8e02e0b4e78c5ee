"""What every ledger promises, whatever keeps it."""

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


def test_a_hold_counts_in_full_until_it_is_settled_and_then_as_what_it_cost(active):
    held = active.reserve("h1", usd(40), rpm(), slot())
    assert held == Held("h1", T, T + 10_000, (Balance(held=40), Balance(held=1), Balance(held=1)))
    settled = active.settle("h1", (usd(40), 25), (rpm(), 1), (slot(), 1), at=T + 5)
    assert settled.changes == (Change(USD, 0, 25), Change(RPM, 0, 1), Change(SLOT, 0, 0))
    assert active.balance(USD) == Balance(settled=25)
    assert active.balance(RPM) == Balance(live=1, free_at=((T + 60_000, 1),))
    assert active.balance(SLOT) == Balance()


def test_all_or_nothing(active):
    active.reserve("h1", slot(cap=1))
    refused = active.reserve("h2", usd(), rpm(), slot(cap=1))
    assert isinstance(refused, Refused)
    assert [shortfall.charge.account for shortfall in refused.shortfalls] == [SLOT]
    assert active.balance(USD) == Balance()
    assert active.balance(RPM) == Balance()


def test_a_settlement_posts_the_truth_even_beyond_the_cap(active):
    active.reserve("h1", usd(100))
    assert active.settle("h1", (usd(100), 130)).changes == (Change(USD, 0, 130),)
    refused = active.reserve("h2", usd(0, cap=100))
    assert not refused.waiting_helps


def test_settling_again_changes_nothing(active):
    active.reserve("h1", usd(40))
    active.settle("h1", (usd(40), 25))
    again = active.settle("h1", (usd(40), 39), posts=(Post(PAUSE, 1, 50),))
    assert again.again
    assert again.changes == ()
    assert active.balance(USD) == Balance(settled=25)
    assert active.balance(PAUSE) == Balance()
    assert [record.amounts for record in active.records()] == [{USD: 25}]


def test_asking_again_with_the_same_id_returns_the_same_hold(active):
    first = active.reserve("h1", usd(40), rpm())
    active.reserve("h2", usd(10))
    again = active.reserve("h1", usd(40), rpm(), at=T + 50)
    assert (again.at_ms, again.lease_until_ms) == (first.at_ms, first.lease_until_ms)
    assert again.balances == (Balance(held=50), Balance(held=1))


def test_the_id_of_a_hold_that_has_ended_is_refused_as_a_mistake(active):
    active.reserve("h1", usd(40))
    active.settle("h1", (usd(40), 25))
    with pytest.raises(ValueError, match="already ended"):
        active.reserve("h1", usd(40))
    active.reserve("h2", usd(40), lease_ms=10)
    with pytest.raises(ValueError, match="already ended"):
        active.reserve("h2", usd(40), at=T + 10)


def test_a_hold_the_ledger_has_never_seen_is_posted_and_recorded(active):
    settled = active.settle("h9", (usd(40), 25), (rpm(), 1), (slot(), 1), held_at=T - 10_000)
    assert settled.changes == (Change(USD, 0, 25), Change(RPM, 0, 1), Change(SLOT, 0, 0))
    assert active.balance(RPM).free_at == ((T + 50_000, 1),)
    assert active.balance(SLOT) == Balance()
    assert [(record.hold_id, record.lost) for record in active.records()] == [("h9", False)]


@pytest.mark.parametrize("settles", [False, True])
def test_a_window_counts_from_admission_whether_open_or_settled(active, settles):
    active.reserve("h1", rpm(3), lease_ms=100_000)
    if settles:
        active.settle("h1", (rpm(3), 3), at=T + 30_000)
    refused = active.reserve("h2", rpm(1), at=T + 59_999)
    assert refused.retry_at_ms == T + 60_000
    assert refused.shortfalls[0].balance.free_at == ((T + 60_000, 3),)
    assert isinstance(active.reserve("h2", rpm(1), at=T + 60_000), Held)
    late = active.settle("h1", (rpm(3), 2), at=T + 60_001)
    assert late.changes == (() if settles else (Change(RPM, 0, 0),))


def test_settling_less_makes_room_in_the_window_at_once(active):
    active.reserve("h1", rpm(3))
    active.settle("h1", (rpm(3), 1))
    assert isinstance(active.reserve("h2", rpm(2)), Held)


def test_when_to_come_back_is_exact(active):
    for at, hold_id in enumerate(["h1", "h2", "h3"]):
        active.reserve(hold_id, rpm(), at=T + at * 1_000)
        active.settle(hold_id, (rpm(), 1), at=T + at * 1_000)
    refused = active.reserve("h4", rpm(2), at=T + 5_000)
    assert refused.retry_at_ms == T + 61_000
    assert refused.shortfalls[0].balance.free_at == ((T + 60_000, 1), (T + 61_000, 1))
    assert isinstance(active.reserve("h4", rpm(2), at=T + 60_999), Refused)
    assert isinstance(active.reserve("h4", rpm(2), at=T + 61_000), Held)


def test_a_lease_that_runs_out_is_charged_in_full_recorded_and_told_once(active):
    active.reserve("h1", usd(40), rpm(), slot(), lease_ms=10_000)
    assert active.reserve("h2", usd(1), at=T + 9_999).lost == ()
    told = active.reserve("h3", usd(1), at=T + 10_000).lost
    assert [(lost.hold_id, lost.at_ms, lost.record) for lost in told] == [("h1", T + 10_000, '{"lost":"h1"}')]
    assert told[0].charges == (usd(40), rpm(), slot())
    assert told[0].changes == (Change(USD, 0, 40), Change(RPM, 0, 1), Change(SLOT, 0, 0))
    assert active.reserve("h4", usd(1), at=T + 10_001).lost == ()
    assert active.balance(USD, at=T + 10_001) == Balance(settled=40, held=3)
    assert active.balance(SLOT, at=T + 10_001) == Balance()
    assert [(record.hold_id, record.lost, record.amounts) for record in active.records()] == [("h1", True, {USD: 40, RPM: 1})]


def test_a_refusal_and_a_settlement_and_a_sweep_tell_of_losses_too(active, ledger):
    active.reserve("h1", usd(1), lease_ms=10)
    assert [lost.hold_id for lost in active.reserve("h2", usd(1_000), at=T + 10).lost] == ["h1"]
    active.reserve("h3", usd(1), at=T + 10, lease_ms=10)
    assert [lost.hold_id for lost in active.settle("h4", (usd(1), 1), at=T + 20).lost] == ["h3"]
    active.reserve("h5", usd(1), at=T + 20, lease_ms=10)
    assert [lost.hold_id for lost in run(ledger.sweep(T + 30))] == ["h5"]
    assert run(ledger.sweep(T + 30)) == ()


def test_a_late_settlement_corrects_what_was_charged_as_lost(active):
    active.reserve("h1", usd(40), rpm(2), slot(), lease_ms=10)
    active.reserve("h2", usd(1), at=T + 10)
    late = active.settle("h1", (usd(40), 15), (rpm(2), 1), (slot(), 1), at=T + 20)
    assert not late.again
    assert late.changes == (Change(USD, 40, 15), Change(RPM, 2, 1), Change(SLOT, 0, 0))
    assert active.balance(USD) == Balance(settled=15, held=1)
    assert active.balance(RPM) == Balance(live=1, free_at=((T + 60_000, 1),))
    assert [(record.lost, record.amounts, record.body) for record in active.records()] == [(False, {USD: 15, RPM: 1}, '{"paid":"h1"}')]
    assert active.settle("h1", (usd(40), 15), (rpm(2), 1), (slot(), 1), at=T + 30).again


def test_a_late_settlement_after_the_window_leaves_the_window_alone(active):
    active.reserve("h1", usd(40), rpm(2), lease_ms=10)
    run(active.ledger.sweep(T + 10))
    late = active.settle("h1", (usd(40), 15), (rpm(2), 1), at=T + 60_000)
    assert late.changes == (Change(USD, 40, 15), Change(RPM, 0, 0))


def test_a_late_settlement_counts_in_a_window_where_the_hold_had_asked_for_nothing(active):
    active.reserve("h1", rpm(0), lease_ms=10)
    active.reserve("h2", usd(1), at=T + 10)
    assert active.settle("h1", (rpm(0), 2), at=T + 20).changes == (Change(RPM, 0, 2),)


def test_a_settlement_at_the_end_of_its_lease_is_not_a_loss(active):
    active.reserve("h1", usd(40), lease_ms=10)
    settled = active.settle("h1", (usd(40), 15), at=T + 10_000)
    assert settled.lost == ()
    assert active.balance(USD) == Balance(settled=15)


def test_balances_show_what_a_sweep_would_leave_and_write_nothing(active):
    active.reserve("h1", usd(40), rpm(2), slot(), Charge("tokens/m", 5, 9, 10), lease_ms=10)
    assert active.balance(USD, at=T + 10) == Balance(settled=40)
    assert active.balance(RPM, at=T + 10) == Balance(live=2, free_at=((T + 60_000, 2),))
    assert active.balance(SLOT, at=T + 10) == Balance()
    assert active.balance("tokens/m", at=T + 10) == Balance()
    assert active.balance(USD) == Balance(held=40)
    assert active.records() == []


def test_balances_are_chosen_by_prefix(active, ledger):
    active.settle("h1", (usd(), 3), (Charge("usd/run/b", 1, 9), 4), (Charge("usd/month/1", 1, 9), 5), (rpm(), 1))
    assert sorted(run(ledger.balances("usd/run/", T))) == [USD, "usd/run/b"]
    assert len(run(ledger.balances("", T))) == 4
    assert run(ledger.balances("usd/run/%", T)) == {}


def test_a_pause_refuses_until_it_is_over(active):
    pause = Charge(PAUSE, 0, 0)
    assert active.post(Post(PAUSE, 1, 500)) == (Change(PAUSE, 0, 1),)
    refused = active.reserve("h1", pause, usd())
    assert refused.retry_at_ms == T + 500
    assert refused.waiting_helps
    assert isinstance(active.reserve("h1", pause, usd(), at=T + 500), Held)


def test_posts_of_the_same_moment_add_up_and_may_be_taken_back(active):
    assert active.post(Post(PAUSE, 1, 500), Post(PAUSE, 1, 500), Post(PAUSE, 1, 700)) == (
        Change(PAUSE, 0, 1),
        Change(PAUSE, 1, 2),
        Change(PAUSE, 2, 3),
    )
    assert active.balance(PAUSE).free_at == ((T + 500, 2), (T + 700, 1))
    assert active.post(Post(PAUSE, -2, 500), Post(USD, 7, None), Post(USD, -2, None)) == (
        Change(PAUSE, 3, 1),
        Change(USD, 0, 7),
        Change(USD, 7, 5),
    )
    assert active.balance(PAUSE).free_at == ((T + 700, 1),)
    assert active.balance(USD) == Balance(settled=5)


def test_clearing_empties_a_window_and_leaves_open_holds_and_settled_amounts(active):
    active.reserve("h1", rpm(1), usd(5))
    active.settle("h2", (rpm(1), 1), (usd(5), 5))
    active.post(Post(PAUSE, 1, 500))
    assert active.post(clears=(PAUSE, RPM, USD, "pause/never")) == (
        Change(PAUSE, 1, 0),
        Change(RPM, 1, 0),
        Change(USD, 5, 5),
        Change("pause/never", 0, 0),
    )
    assert active.balance(RPM) == Balance(held=1, free_at=((T + 60_000, 1),))
    assert active.balance(USD) == Balance(settled=5, held=5)


def test_a_window_is_emptied_before_it_is_posted_to(active):
    active.post(Post(PAUSE, 1, 500))
    assert active.post(Post(PAUSE, 1, 900), clears=(PAUSE,)) == (Change(PAUSE, 0, 1), Change(PAUSE, 1, 0))
    assert active.balance(PAUSE) == Balance(live=1, free_at=((T + 900, 1),))


def test_a_withdrawn_hold_costs_nothing_and_leaves_no_record(active, ledger):
    active.reserve("h1", usd(40), rpm(2), slot(), Charge("tokens/m", 5, 9, 10))
    active.reserve("h2", usd(1), at=T + 10)
    run(ledger.withdraw("h1"))
    assert active.balance(USD) == Balance(held=1)
    assert active.balance(RPM) == active.balance(SLOT) == active.balance("tokens/m") == Balance()
    assert active.records() == []
    assert isinstance(active.reserve("h1", usd(40), at=T + 20), Held)
    active.settle("h2", (usd(1), 1))
    run(ledger.withdraw("h2"))
    assert active.balance(USD) == Balance(settled=1, held=40)


def test_a_settlement_carries_posts_and_clears(active):
    active.post(Post("pause/other", 1, 500))
    active.reserve("h1", usd(5))
    settled = active.settle("h1", (usd(5), 0), posts=(Post(PAUSE, 1, 500),), clears=("pause/other",))
    assert settled.changes == (Change(USD, 0, 0), Change(PAUSE, 0, 1), Change("pause/other", 1, 0))
    assert [record.amounts for record in active.records()] == [{}]


def test_a_window_that_was_emptied_is_not_refilled_by_a_correction(active):
    active.reserve("h1", rpm(2), lease_ms=10)
    active.settle("h2", (usd(), 1), at=T + 10, clears=(RPM,))
    assert active.settle("h1", (rpm(2), 1), at=T + 20).changes == (Change(RPM, 0, 0),)


def test_time_never_runs_backwards(active):
    active.reserve("h1", rpm(3), lease_ms=200_000, at=T + 50_000)
    refused = active.reserve("h2", rpm(1), at=T)
    assert refused.at_ms == T + 50_000
    assert refused.retry_at_ms == T + 110_000
    assert active.settle("h1", (rpm(3), 3), at=T - 99, held_at=T + 50_000).at_ms == T + 50_000


def test_records_come_in_order_and_from_any_time_on(active):
    for at in (1, 2, 3):
        active.settle(f"h{at}", (usd(), at), at=T + at)
    active.settle("h3b", (usd(), 4), at=T + 3)
    assert [record.hold_id for record in active.records()] == ["h1", "h2", "h3", "h3b"]
    assert [record.hold_id for record in active.records(after_ms=T + 2)] == ["h3", "h3b"]
    assert [record.at_ms for record in active.records()] == [T + 1, T + 2, T + 3, T + 3]


def test_a_corrected_record_moves_to_the_end_of_the_journal(active):
    active.reserve("h1", usd(4), lease_ms=10)
    active.settle("h2", (usd(), 1), at=T + 10)
    active.settle("h1", (usd(4), 3), at=T + 20)
    assert [(record.hold_id, record.lost) for record in active.records()] == [("h2", False), ("h1", False)]


def test_writing_goes_on_while_the_journal_is_read(active):
    for number in range(5):
        active.settle(f"h{number}", (usd(), 1))
    reading = iterate(active.ledger.records())
    seen = [next(reading).hold_id]
    active.settle("late", (usd(), 1))
    seen += [record.hold_id for record in reading]
    assert seen == ["h0", "h1", "h2", "h3", "h4"]


def test_malformed_holds_and_posts_are_refused_before_anything_is_written(active):
    with pytest.raises(ValueError, match="twice"):
        active.reserve("h1", usd(), usd())
    with pytest.raises(ValueError, match="amounts"):
        run(active.ledger.settle(Settlement(Hold("h1", (usd(),), 5), T, (), "{}"), T))
    with pytest.raises(ValueError, match="never count"):
        active.post(Post(USD, 1, None), Post(PAUSE, 1, -5))
    assert active.balance(USD) == Balance()


def test_losses_of_several_holds_are_told_in_the_order_of_their_leases(active):
    active.reserve("c", usd(1), lease_ms=30)
    active.reserve("a", usd(1), lease_ms=10)
    active.reserve("b", usd(1), lease_ms=20)
    active.reserve("d", usd(1), lease_ms=99)
    assert [lost.hold_id for lost in active.reserve("e", usd(1), at=T + 30).lost] == ["a", "b", "c"]
    assert [lost.hold_id for lost in active.reserve("f", usd(1), at=T + 99).lost] == ["d"]


def test_what_a_settlement_posts_for_good_stands_in_its_record(active):
    active.reserve("h1", usd(40), rpm())
    active.settle("h1", (usd(40), 25), (rpm(), 1), posts=(Post(USD, -5, None), Post("usd", 3, None), Post(PAUSE, 1, 500)))
    active.settle("correction", posts=(Post("usd", -3, None),))
    first, second = active.records()
    assert first.amounts == {USD: 20, RPM: 1, "usd": 3}
    assert second.amounts == {"usd": -3}
    assert (active.balance(USD), active.balance("usd").settled) == (Balance(settled=20), 0)
