"""What every kind of ledger promises to calls that wait for room."""

from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Post, Queued, Refused, Waiters
from paymaster.runtime import run

T = 1_000_000
USD, SLOT = "usd/run/a", "slots/m"


def usd(amount=10, cap=100):
    return Charge(USD, amount, cap)


def slot(cap=2):
    return Charge(SLOT, 1, cap, 0)


def test_a_ticket_keeps_room_for_a_large_request(books):
    books.reserve("h1", usd(60))
    assert isinstance(books.reserve("big", usd(90), queue_for_ms=5_000), Refused)
    small = books.reserve("small", usd(10))
    assert isinstance(small, Refused)
    assert small.shortfalls[0].balance.ahead == 90
    assert small.waiting_helps
    books.settle("h1", (usd(60), 5))
    assert isinstance(books.reserve("small", usd(10)), Refused)
    assert isinstance(books.reserve("big", usd(90)), Held)
    books.settle("big", (usd(90), 10))
    assert isinstance(books.reserve("small", usd(10)), Held)


def test_the_queue_is_served_in_the_order_of_first_arrival(books):
    books.reserve("h1", usd(100))
    books.reserve("a", usd(60), queue_for_ms=5_000)
    books.reserve("b", usd(60), queue_for_ms=5_000, at=T + 1)
    assert books.reserve("a", usd(60), queue_for_ms=5_000, at=T + 2).shortfalls[0].balance.ahead == 0
    assert books.reserve("b", usd(60), queue_for_ms=5_000, at=T + 3).shortfalls[0].balance.ahead == 60
    books.settle("h1", (usd(100), 0), at=T + 4)
    assert isinstance(books.reserve("b", usd(60), queue_for_ms=5_000, at=T + 5), Refused)
    assert isinstance(books.reserve("a", usd(60), at=T + 6), Held)


def test_a_large_request_is_not_starved_by_small_ones_of_a_rate_limit(books):
    """Small requests keep arriving and would fill the window as it moves; they are refused until the large one has had its room."""
    window_ms, cap, waits = 1_000, 100, []

    def tokens(amount):
        return Charge("tokens/m", amount, cap, window_ms)

    for number in range(10):
        assert isinstance(books.reserve(f"first{number}", tokens(10), at=T + 100 * number), Held)
    for step in range(1, 400):
        at = T + 900 + 10 * step
        large = books.reserve("large", tokens(90), at=at, queue_for_ms=5_000)
        if isinstance(large, Held):
            break
        waits.append(books.reserve(f"small{step}", tokens(10), at=at))
    assert isinstance(large, Held)
    assert all(isinstance(small, Refused) for small in waits)
    assert at <= T + 900 + window_ms  # as soon as what was there before has left the window
    assert isinstance(books.reserve("small", tokens(10), at=at + 100), Held)


def test_a_ticket_lapses_unless_it_is_renewed(books):
    books.reserve("h1", usd(60))
    books.reserve("big", usd(90), queue_for_ms=1_000)
    books.reserve("big", usd(90), queue_for_ms=1_000, at=T + 900)
    assert isinstance(books.reserve("small", usd(10), at=T + 1_899), Refused)
    assert isinstance(books.reserve("small", usd(10), at=T + 1_900), Held)


def test_the_queue_can_be_read(books, ledger):
    assert run(ledger.waiting(T)) == ()
    books.reserve("h1", usd(100), slot(cap=1))

    def wait_in_queue(name, at, waiters, *charges):
        run(ledger.reserve(Hold(name, charges, 10_000, waiters=waiters), at, queue_for_ms=1_000))

    wait_in_queue("a", T + 10, Waiters({"m": 3, "other": 1}, 7), usd(60), slot(cap=1))
    books.reserve("b", usd(60), queue_for_ms=5_000, at=T + 20)  # without waiters
    wait_in_queue("a", T + 900, Waiters({"m": 5}, 897), usd(60))
    first, second = run(ledger.waiting(T + 950))
    assert first == Queued("a", (SLOT, USD), {"m": 5}, T + 3)
    assert second == Queued("b", (USD,), {}, T + 20)
    assert [ticket.hold_id for ticket in run(ledger.waiting(T + 1_900))] == ["b"]  # the other one was not renewed
    assert run(ledger.waiting(T + 950)) == (first, second)  # reading has changed nothing
    run(ledger.withdraw("a"))
    run(ledger.withdraw("b"))
    assert run(ledger.waiting(T + 950)) == ()


def test_a_ticket_can_be_given_up(books, ledger):
    books.reserve("h1", usd(60))
    books.reserve("big", usd(90), queue_for_ms=5_000)
    run(ledger.withdraw("big"))
    run(ledger.withdraw("never stood there"))
    assert isinstance(books.reserve("small", usd(10)), Held)


def test_a_ticket_on_one_account_is_kept_while_another_refuses(books):
    books.reserve("h1", usd(60))
    books.reserve("big", usd(90), slot(cap=1), queue_for_ms=5_000)
    books.settle("h1", (usd(60), 0))
    run(books.ledger.post((Post(SLOT, 1, 100),), (), T))
    assert [reason.charge.account for reason in books.reserve("big", usd(90), slot(cap=1), queue_for_ms=5_000).shortfalls] == [SLOT]
    assert [reason.charge.account for reason in books.reserve("small", usd(20)).shortfalls] == [USD]
    assert books.balance(USD).ahead == 90


def test_no_ticket_is_kept_if_waiting_does_not_help(books):
    books.settle("h1", (usd(60), 60))
    assert not books.reserve("big", usd(90), queue_for_ms=5_000).waiting_helps
    assert isinstance(books.reserve("small", usd(10)), Held)


def test_a_ticket_is_taken_back_when_waiting_no_longer_helps(books):
    books.reserve("h1", usd(60))
    books.reserve("big", usd(90), queue_for_ms=5_000)
    books.settle("h1", (usd(60), 60))
    assert not books.reserve("big", usd(90), queue_for_ms=5_000).waiting_helps
    assert isinstance(books.reserve("small", usd(10)), Held)


def test_a_hold_is_blocked_neither_by_its_own_ticket_nor_by_later_ones(books):
    books.reserve("h1", usd(60))
    books.reserve("big", usd(90), queue_for_ms=5_000)
    books.settle("h1", (usd(60), 10))
    held = books.reserve("big", usd(90), queue_for_ms=5_000)
    assert isinstance(held, Held)
    assert held.balances == (Balance(settled=10, held=90),)
