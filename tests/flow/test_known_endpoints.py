"""What a process knows of endpoints: from readings, from its own admissions, and in a forked child."""

import asyncio

from call_box import model, spread
from paymaster.accounting.accounts import Charge, Held, Hold, Post
from paymaster.errors import LedgerUnavailable
from paymaster.flow.known_endpoints import MOST_KNOWN, READ_EVERY_MS, KnownEndpoints
from paymaster.ledgers.memory import MemoryLedger
from paymaster.routing.endpoint_states import SAMPLE_MS, EndpointState, Sample

NOW_MS = 1_000_000
MODEL = spread("m", "x", "y")
X, Y = MODEL.places


def states(known: KnownEndpoints) -> dict[str, EndpointState]:
    """What is known, by place."""
    return dict(known.balancer(MODEL, "c", NOW_MS, streamed=False).states)


def test_own_open_calls_count_at_once_and_those_of_others_with_the_next_reading() -> None:
    known, books = KnownEndpoints(), MemoryLedger()
    asyncio.run(books.reserve(Hold("other", (Charge("slots/m:x", 1, None, 0),), 60_000), NOW_MS))
    known.begun(X, "mine")
    assert states(known)["m/x"].open_calls == 1
    asyncio.run(known.read([MODEL, model("plain")], books, NOW_MS))
    assert states(known)["m/x"].open_calls == 1  # the ledger has not admitted it yet
    known.ended(X, "mine")
    asyncio.run(known.read([MODEL], books, NOW_MS + READ_EVERY_MS - 1))
    assert states(known)["m/x"].open_calls == 0
    asyncio.run(known.read([MODEL], books, NOW_MS + READ_EVERY_MS))
    assert states(known)["m/x"].open_calls == 1


def test_a_ledger_that_is_unavailable_leaves_what_is_known() -> None:
    class Unavailable(MemoryLedger):
        async def balances_of(self, *_: object) -> dict[str, object]:  # type: ignore[override]  # it never answers
            raise LedgerUnavailable("no answer")

    known = KnownEndpoints()
    known.keeps_off(X, NOW_MS + 5_000, "overloaded")
    asyncio.run(known.read([MODEL], Unavailable(), NOW_MS))
    assert states(known)["m/x"].left_ms(NOW_MS) == 5_000
    known.keeps_off(X, NOW_MS + 1_000, "a shorter one")
    assert states(known)["m/x"].why == "overloaded"


def test_what_is_measured_is_posted_once_in_ten_seconds() -> None:
    known, answered = KnownEndpoints(), Sample(answer_ms=400, answers=1)
    assert len(known.measured(X, answered, NOW_MS)) == 2
    assert known.measured(X, answered, NOW_MS + 1) == ()
    assert known.measured(X, Sample(errors=1), NOW_MS + 2) == ()
    assert states(known)["m/x"].failures == 1
    posts = known.measured(X, answered, NOW_MS + SAMPLE_MS)
    assert {post.account: post.amount for post in posts} == {"answers-ms/m:x": 800, "answers/m:x": 2, "errors/m:x": 1}


def test_what_says_nothing_about_an_endpoint_leaves_its_failures_as_they_are() -> None:
    known = KnownEndpoints()
    known.measured(X, Sample(errors=1), NOW_MS)
    known.measured(X, Sample(), NOW_MS)  # cancelled, refused for its key, or about a tier alone
    assert states(known)["m/x"].failures == 1
    known.measured(X, Sample(first_token_ms=400, first_tokens=1), NOW_MS)
    assert states(known)["m/x"].failures == 0


def test_models_with_one_endpoint_leave_no_trace_and_a_child_begins_anew() -> None:
    known, plain = KnownEndpoints(), model("plain")
    known.begun(plain, "c")
    known.asked(plain, (), Held("h", NOW_MS, NOW_MS, ()), NOW_MS)
    known.keeps_off(plain, NOW_MS + 1, "why")
    known.ended(plain, "c")
    assert known.measured(plain, Sample(errors=1), NOW_MS) == ()
    assert not known.balancer(plain, "c", NOW_MS, streamed=False).states
    known.begun(Y, "c")
    known.renew()
    assert states(known) == {}


def test_a_post_of_another_process_is_read() -> None:
    known, books = KnownEndpoints(), MemoryLedger()
    asyncio.run(books.post((Post("probe/m:y", 1, 30_000),), (), NOW_MS))
    asyncio.run(known.read([MODEL], books, NOW_MS))
    assert states(known)["m/y"].unavailable(NOW_MS) == "circuit open after failures"


def test_what_is_known_of_invented_members_of_families_is_bounded() -> None:
    known, books = KnownEndpoints(), MemoryLedger()
    known.begun(X, "mine")
    for number in range(MOST_KNOWN):
        asyncio.run(known.read([spread(f"m{number}", "x", "y")], books, NOW_MS))
        known.balancer(spread(f"m{number}", "x", "y"), "c", NOW_MS, streamed=False)
    assert len(known._known) <= MOST_KNOWN + 2
    assert len(known._read_at_ms) + len(known._draws) <= MOST_KNOWN + 2
    assert states(known)["m/x"].open_calls == 1


def test_a_draw_that_was_explained_is_that_of_the_next_call() -> None:
    known = KnownEndpoints()
    said = known.balancer(MODEL, "asked", NOW_MS, streamed=False, explains=True).draw
    draws = [known.balancer(MODEL, f"c{number}", NOW_MS, streamed=False).draw for number in range(2)]
    assert (draws[0], draws[1] == said) == (said, False)
