"""Where sessions are at home, in a ledger of every kind: written with an answer, read by other processes, gone when the cache is cold."""

from dataclasses import replace
from decimal import Decimal

import pytest

from call_box import model, registry
from paymaster.accounting.accounts import Hold
from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import Rates
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.accounting.usage.record import Usage
from paymaster.errors import LedgerUnavailable
from paymaster.flow.memories import MOST_REMEMBERED, TRUSTED_MS, Memories, Remembered
from paymaster.registry.models import Affinity
from paymaster.routing.affinity import DEFAULT_LIFETIME_MS, Left, Preferred, WarmSession
from paymaster.routing.endpoint_states import EndpointState
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.planning import plan
from paymaster.routing.recollection import NOTHING_RECALLED
from paymaster.routing.requests import Request
from paymaster.routing.settling import Ended, PlannedAttempt, attempt_record, bill, settlement
from paymaster.runtime import run
from paymaster.scope import Scope
from paymaster.views.ledger_status import ledger_status

T = 1_000_000
RATES = Rates(input=Decimal(3), output=Decimal(15), cache_read=Decimal("0.3"))
PRICE = Price.from_registry(RATES, writes_cache_unasked=False)
EU, US = (model("m", endpoint=name, identity=f"openai:m-id:{name}", price=PRICE) for name in ("eu", "us"))
ENDPOINTS = replace(EU, endpoint="", endpoints=(EU, US))
REGISTRY = registry(ENDPOINTS)
TASK = ({"role": "user", "content": "Fix the parser."},)
STEP = Request(messages=(*TASK, {"role": "assistant", "content": "ls"}, {"role": "user", "content": "a.py"}))
SCOPE = Scope(run="r")
USAGE = Usage(input_tokens=98_000, output_tokens=10)
NUMBERS = iter(range(1_000_000))


class Process:
    """A process's own memory, on a ledger that others use too; `reads` counts what it read."""

    def __init__(self, ledger):
        self.ledger, self.memories, self.reads = ledger, Memories(), 0

    async def balances_of(self, accounts, now_ms):
        self.reads += 1
        return await self.ledger.balances_of(accounts, now_ms)

    def recall(self, request=STEP, at=T, known=REGISTRY, scope=SCOPE):
        return run(self.memories.recall(request, list(known.models.values()), known.policy, scope, self, at))

    def answer(self, place, at=T, request=STEP, usage=USAGE, failure=None):
        """The endpoint answers a call that begins now."""
        recalled = self.recall(request, at)
        [candidate] = plan(request, registry(place), SCOPE, at, TokenCounter()).candidates
        hold = Hold(f"h{next(NUMBERS)}", (), 60_000)
        attempt = PlannedAttempt(call_id="c", number=1, at_ms=at, scope=SCOPE, candidate=candidate, kinds=(), hold=hold, recalled=recalled)
        ended = Ended(usage=usage, failure=failure)
        charged = bill(candidate, ended)
        held = run(self.ledger.reserve(hold, at))
        work = settlement(attempt, ended, charged, attempt_record(attempt, ended, charged), held, REGISTRY.policy)
        run(self.ledger.settle(work, at))
        if failure is None:
            self.memories.answered(attempt, work.posts, at)
        return work.posts

    def home(self, at=T, request=STEP):
        found = self.recall(request, at).preference(ENDPOINTS, REGISTRY.policy, {}, at)
        return None if found is None else found.place


@pytest.fixture
def process(ledger):
    return lambda: Process(ledger)


def test_every_process_finds_the_endpoint_that_answered_last(process):
    first, second = process(), process()
    assert second.home() is None
    first.answer(US)
    assert first.home() == "m/us"
    assert second.home(T + TRUSTED_MS) == "m/us"
    second.answer(EU, T + TRUSTED_MS)
    assert [each.home(T + 2 * TRUSTED_MS) for each in (first, second, process())] == ["m/eu"] * 3


def test_the_home_is_priced_and_says_why(process):
    process().answer(US)
    recalled = process().recall()
    assert recalled.preference(ENDPOINTS, REGISTRY.policy, {}, T) == Preferred("m/us", "kept at us: 98,000 tokens are cached there", 26_460)
    left = recalled.preference(ENDPOINTS, REGISTRY.policy, {"m/us": EndpointState(until_ms=T + 40_000, has_queue=True)}, T)
    assert left == Left("left us: its queue is 40 s, the cold cache costs $0.26")
    open_circuit = EndpointState(until_ms=T + 1_000, why="circuit open after failures")
    assert recalled.preference(ENDPOINTS, REGISTRY.policy, {"m/us": open_circuit}, T) == Left("left us: circuit open after failures")
    pause = open_circuit._replace(why="the provider asked to wait", has_queue=True)
    assert isinstance(recalled.preference(ENDPOINTS, REGISTRY.policy, {"m/us": pause}, T), Preferred)
    gone = replace(ENDPOINTS, endpoints=(EU,))
    assert recalled.preference(gone, REGISTRY.policy, {}, T) is None
    assert recalled.preference(replace(ENDPOINTS, name="other"), REGISTRY.policy, {}, T) is None


def test_a_cold_cache_is_forgotten_and_leaves_nothing(process, ledger):
    first = process()
    first.answer(US)
    assert process().home(T + DEFAULT_LIFETIME_MS - 1) == "m/us"
    assert process().home(T + DEFAULT_LIFETIME_MS) is None
    assert first.home(T + DEFAULT_LIFETIME_MS) is None
    assert not [balance for balance in run(ledger.balances("affinity/", T + DEFAULT_LIFETIME_MS)).values() if balance.total]


def test_the_ledger_is_written_when_something_changes_or_half_of_the_time_is_over(process):
    first = process()
    assert len(first.answer(US)) == 1
    assert first.answer(US, T + 1_000) == ()
    assert len(first.answer(US, T + 1_000, usage=Usage(input_tokens=150_000))) == 1
    assert first.answer(US, T + 2_000, usage=Usage(input_tokens=150_000)) == ()
    assert len(first.answer(EU, T + 3_000)) == 1
    assert len(first.answer(EU, T + 3_000 + DEFAULT_LIFETIME_MS // 2)) == 1
    assert process().home(T + DEFAULT_LIFETIME_MS) == "m/eu"


def test_a_failure_changes_nothing(process):
    first = process()
    first.answer(US)
    first.answer(EU, failure=Failure(FailureKind.OVERLOADED, Billed.NO, "no luck"), usage=None)
    assert process().home() == "m/us"


def test_only_what_a_process_does_not_know_is_read(process):
    first = process()
    first.home(request=Request(messages=TASK))
    assert first.reads == 0  # a conversation that begins has no warm cache
    first.answer(US, request=Request(messages=TASK))
    assert first.home() == "m/us"
    assert first.reads == 0
    assert first.home(T + TRUSTED_MS) == "m/us"
    assert first.reads == 1


def test_a_model_with_one_endpoint_or_no_affinity_costs_nothing(process):
    first = process()
    assert first.recall(known=registry(model("m"))) is NOTHING_RECALLED
    assert first.recall(known=registry(replace(ENDPOINTS, affinity=Affinity.NONE))) is NOTHING_RECALLED
    by_key = first.recall(known=registry(replace(ENDPOINTS, affinity=Affinity.KEY)))
    assert by_key.sessions == {}
    assert first.reads == 0
    assert by_key.session_at(EU) is by_key.session_at(model("m")) is None


class Unavailable:
    """A ledger that does not answer."""

    async def balances_of(self, *_):
        raise LedgerUnavailable("locked for 10 s")


def test_without_a_ledger_what_the_process_knows_counts(process):
    first = process()
    first.answer(US)
    known = run(first.memories.recall(STEP, [ENDPOINTS], REGISTRY.policy, SCOPE, Unavailable(), T + TRUSTED_MS))
    assert known.preference(ENDPOINTS, REGISTRY.policy, {}, T).place == "m/us"
    unknown = run(process().memories.recall(STEP, [ENDPOINTS], REGISTRY.policy, SCOPE, Unavailable(), T))
    assert unknown.sessions["m"] == WarmSession(unknown.sessions["m"].id)


def test_views_don_t_show_it(process, ledger):
    process().answer(US)
    balances = run(ledger.balances("", T))
    assert [name for name in balances if name.startswith("affinity/")]
    assert "affinity" not in repr(ledger_status(balances, REGISTRY))


def test_a_process_remembers_so_many_and_those_used_last():
    remembered = Remembered(most=2)
    for number, name in enumerate("abc"):
        remembered.put(name, number, number)
        remembered.newest("a")
    assert [remembered.newest(name) for name in "abc"] == [(0, 0), None, (2, 2)]
    remembered.forget("a")
    remembered.forget("a")
    assert remembered.newest("a") is None
    assert MOST_REMEMBERED == 10_000


def test_two_calls_that_write_at_once_leave_one_home(process, ledger):
    """Each empties the account before it writes, in one transaction."""
    first, second = process(), process()
    for each in (first, second):
        each.recall()
    first.answer(US)
    second.answer(EU)
    assert process().home() == "m/eu"
    assert run(ledger.balances("affinity/", T)).popitem()[1].live > 0
