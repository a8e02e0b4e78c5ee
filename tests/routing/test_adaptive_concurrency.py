"""The limit of calls at once that is found out: each move by itself, and how it comes near a limit that is not stated."""

import heapq
import random
from dataclasses import dataclass, field

import pytest

from call_box import model
from paymaster.accounting.accounts import Balance, Change, Charge, Held, Hold, Post, Refused, Settlement, Shortfall
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Limits
from paymaster.routing.adaptive_concurrency import (
    FIRST,
    MOST,
    NOT_STATED,
    ConcurrencyState,
    RateHeadroom,
    concurrency_charges,
    floor_posts,
    limit_at,
    move,
    move_post,
    overload_posts,
)
from paymaster.routing.failures import FailureKind
from paymaster.runtime import run

ADAPTIVE, FIXED = model("m", limits=Limits(adapts=True)), model("m", limits=Limits(max_parallel=8))
THROTTLED = FailureKind.THROTTLED


def moved(
    pace: ConcurrencyState,
    failure: FailureKind | None = None,
    *,
    overloads: int | None = None,
    headroom: RateHeadroom = NOT_STATED,
    draw: float = 0.0,
) -> int:
    """By how much the limit moves where `overloads` are on the books at the attempt's end (as many as at its beginning, if not said)."""
    now = pace.overloads if overloads is None else overloads
    return move("m", pace, (Change("usd/run/r", 0, 5), Change("overloads/m", now, now)), failure, headroom, draw)


def test_the_limit_grows_with_every_answer_until_the_first_overload() -> None:
    assert moved(ConcurrencyState(10, 10, 0, 0), draw=0.99) == 1


@pytest.mark.parametrize(("recent_overloads", "draw", "by"), [(0, 0.24, 1), (0, 0.26, 0), (1, 0.04, 1), (1, 0.06, 0)])
def test_after_an_overload_it_grows_by_a_quarter_in_a_round_and_by_one_slot_while_the_last_is_recent(
    recent_overloads: int, draw: float, by: int
) -> None:
    assert moved(ConcurrencyState(20, 20, 3, recent_overloads), draw=draw) == by


def test_a_small_limit_is_not_tried_at_every_turn() -> None:
    assert [moved(ConcurrencyState(1, 1, 3, 1), draw=draw) for draw in (0.09, 0.11)] == [1, 0]


@pytest.mark.parametrize(
    "pace",
    [ConcurrencyState(10, 4, 0, 0), ConcurrencyState(MOST, MOST, 0, 0)],
)
def test_a_limit_that_nobody_comes_near_and_the_largest_one_do_not_grow(pace: ConcurrencyState) -> None:
    assert moved(pace) == 0


@pytest.mark.parametrize(
    ("headroom", "by"),
    [
        (RateHeadroom(requests=10), 0),
        (RateHeadroom(requests=11), 1),
        (RateHeadroom(tokens=1_000, used_tokens=100), 0),
        (RateHeadroom(tokens=1_001, used_tokens=100), 1),
    ],
)
def test_it_does_not_grow_where_the_providers_headers_leave_no_room_for_those_under_way(headroom: RateHeadroom, by: int) -> None:
    assert moved(ConcurrencyState(10, 10, 0, 0), headroom=headroom) == by


@pytest.mark.parametrize(("slots", "by"), [(100, -30), (10, -3), (3, -1), (2, -1), (1, 0)])
def test_an_overload_leaves_seven_tenths_and_never_less_than_one_slot(slots: int, by: int) -> None:
    assert moved(ConcurrencyState(slots, slots, 0, 0), THROTTLED) == by
    assert moved(ConcurrencyState(slots, slots, 0, 0), FailureKind.OVERLOADED) == by


def test_other_failures_say_nothing_about_the_limit() -> None:
    assert moved(ConcurrencyState(10, 10, 0, 0), FailureKind.SERVER_ERROR) == 0


@pytest.mark.parametrize("failure", [None, THROTTLED])
def test_of_all_calls_under_way_only_the_first_overload_moves_it(failure: FailureKind | None) -> None:
    assert moved(ConcurrencyState(10, 10, 0, 0), failure, overloads=1) == 0
    assert move("m", ConcurrencyState(10, 10, 0, 0), (), failure, NOT_STATED, 0.0) == 0  # no ledger


def test_what_is_charged_and_posted() -> None:
    assert [charge.account for charge in concurrency_charges(ADAPTIVE)] == ["parallel/m", "overloads/m", "overloads-minute/m"]
    assert concurrency_charges(FIXED) == ()
    assert [post.account for post in overload_posts(ADAPTIVE, THROTTLED)] == ["overloads/m", "overloads-minute/m"]
    assert overload_posts(ADAPTIVE, FailureKind.TIMED_OUT) == overload_posts(FIXED, THROTTLED) == ()


def test_the_pace_is_read_from_the_balances_of_the_admission() -> None:
    charges = (Charge("usd/run/r", 1, 9), *concurrency_charges(ADAPTIVE))
    balances = (Balance(), Balance(settled=-6, held=7), Balance(settled=2), Balance(live=1))
    assert limit_at(ADAPTIVE, charges, Held("h", 0, 1, balances)) == ConcurrencyState(10, 7, 2, 1)
    assert limit_at(ADAPTIVE, charges, Held("h", 0, 1, balances, unbooked="away")) is None
    assert limit_at(FIXED, charges[:1], Held("h", 0, 1, balances[:1])) is None


def test_a_limit_that_was_moved_below_one_slot_comes_back() -> None:
    charge = concurrency_charges(ADAPTIVE)[0]
    gone = Shortfall(charge, Balance(settled=FIRST + 1), None)
    assert floor_posts(Refused("h", 0, (gone,))) == (Post("parallel/m", -2, None),)
    used = Shortfall(charge, Balance(settled=FIRST - 1, held=1), None)
    other = Shortfall(Charge("usd/run/r", 1, 1), Balance(settled=FIRST), None)
    assert floor_posts(Refused("h", 0, (used, other))) == ()


@dataclass
class Town:
    """Calls in virtual time over a real ledger: `callers` always have one to make; the provider takes `takes` at once and refuses more."""

    takes: int
    callers: int = 64
    took_ms: int = 1_000
    answered: int = 0
    refused: int = 0
    now_ms: int = 1_000_000
    serial: int = 0
    inside: int = 0
    under_way: list[tuple[int, int, Hold, Held, FailureKind | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.books, self.dice = MemoryLedger(), random.Random(7)

    def limit(self) -> int:
        return FIRST - run(self.books.balances("parallel/", self.now_ms))["parallel/m"].settled

    def live(self, seconds: int) -> None:
        """Let the time pass; answered and refused are counted anew."""
        self.answered = self.refused = 0
        until_ms = self.now_ms + seconds * 1_000
        while self.now_ms < until_ms:
            while len(self.under_way) < self.callers and self._send():
                pass
            if self.under_way and self.under_way[0][0] <= self.now_ms + 50:
                self._end()
            else:
                self.now_ms += 50

    def _send(self) -> bool:
        self.serial += 1
        hold = Hold(f"h{self.serial}", (Charge("pause/m", 0, 0, 0), *concurrency_charges(ADAPTIVE)), 600_000)
        held = run(self.books.reserve(hold, self.now_ms))
        if not isinstance(held, Held):
            return False
        fits = self.inside < self.takes
        self.inside += fits
        took_ms = self.took_ms + self.dice.randrange(200) if fits else 20
        heapq.heappush(self.under_way, (self.now_ms + took_ms, self.serial, hold, held, None if fits else THROTTLED))
        return True

    def _end(self) -> None:
        self.now_ms, _, hold, held, failure = heapq.heappop(self.under_way)
        self.inside -= failure is None
        self.answered += failure is None
        self.refused += failure is not None
        posts = () if failure is None else (Post("pause/m", 1, 500), *overload_posts(ADAPTIVE, failure))
        settled = run(self.books.settle(Settlement(hold, held.at_ms, (0,) * len(hold.charges), "{}", posts), self.now_ms))
        pace = limit_at(ADAPTIVE, hold.charges, held)
        assert pace is not None
        by = move("m", pace, settled.changes, failure, NOT_STATED, self.dice.random())
        run(self.books.post((move_post("m", by),), (), self.now_ms))


@pytest.mark.parametrize("takes", [1, 6, 16])
def test_it_comes_near_an_unknown_limit_and_stays_there_with_few_refusals(takes: int) -> None:
    town = Town(takes)
    town.live(40)
    town.live(100)
    most = 100 * takes / 1.1
    assert town.answered > 0.7 * most
    assert town.refused < 0.2 * town.answered


def test_it_follows_a_limit_that_grows_and_one_that_shrinks() -> None:
    town = Town(8)
    town.live(60)
    assert 4 <= town.limit() <= 9
    town.takes = 24
    town.live(120)
    assert town.limit() >= 14
    town.takes = 8
    town.live(30)
    assert town.limit() <= 11
    town.live(40)
    assert town.refused < 0.15 * town.answered


def test_without_any_refusal_it_doubles_until_everybody_has_room() -> None:
    town = Town(1_000, callers=100)
    town.live(8)
    assert 100 <= town.limit() <= 400
