"""What the end of an attempt writes into the ledger: the exact cost if it is known, else the hold; nothing if nothing was billed."""

from dataclasses import replace

import pytest

from call_box import HELLO, failure, model, per_run, price, registry
from paymaster.accounting.accounts import Balance, Charge, Held, Hold
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.registry.models import Limits, Model, Policy
from paymaster.routing.breaker import State
from paymaster.routing.charges import ChargeKind
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.settling import (
    Ended,
    PlannedAttempt,
    actual_amounts,
    attempt_record,
    bill,
    circuit_at,
    lost_record,
    opens_circuit,
    settlement,
)
from paymaster.scope import Scope


def candidate(entry: Model) -> Candidate:
    """What the plan makes of a model."""
    return plan(Request(messages=HELLO), registry(entry, budgets=(per_run("5"),)), Scope(run="r"), 0, TokenCounter()).candidates[0]


def attempt(entry: Model, circuit: ChargeKind = ChargeKind.BREAKER) -> PlannedAttempt:
    """An attempt at a model, ordinary or as the probe of its circuit."""
    hold = Hold("h", (Charge(f"slots/{entry.name}", 1, 4, 0), Charge(f"{circuit}/{entry.name}", 0, 1, 0)), 1000)
    kinds = (ChargeKind.SLOT, circuit)
    return PlannedAttempt(
        call_id="c", number=1, at_ms=0, scope=Scope(run="r"), candidate=candidate(entry), kinds=kinds, hold=hold, mark="3f"
    )


USED = Usage(input_tokens=10, output_tokens=5, cache_read_tokens=3)
ALL = (
    ChargeKind.MONEY,
    ChargeKind.REQUESTS,
    ChargeKind.TOKENS,
    ChargeKind.INPUT_TOKENS,
    ChargeKind.OUTPUT_TOKENS,
    ChargeKind.SLOT,
    ChargeKind.PAUSE,
    ChargeKind.FAILURES,
)
HELD = tuple(Charge(kind.value, 100, 1000, None) for kind in ALL)


@pytest.mark.parametrize(
    ("usage", "failed", "amounts"),
    [
        (USED, None, (7, 100, 18, 13, 5, 0, 0, 0)),
        (None, None, (7, 100, 100, 100, 100, 0, 0, 0)),
        (None, failure(FailureKind.THROTTLED), (7, 100, 0, 0, 0, 0, 0, 0)),
        (None, failure(FailureKind.CONNECTION_REFUSED), (7, 0, 0, 0, 0, 0, 0, 0)),
        (USED, failure(FailureKind.UNUSABLE_ANSWER, Billed.YES), (7, 100, 18, 13, 5, 0, 0, 0)),
    ],
)
def test_the_actual_amounts(usage: Usage | None, failed: Failure | None, amounts: tuple[int, ...]) -> None:
    assert actual_amounts(ALL, HELD, Ended(usage=usage, failure=failed), 7) == amounts


def test_bills() -> None:
    priced, free_of_price = candidate(model("a")), candidate(model("b", price=None))
    assert bill(priced, Ended(usage=USED)).billed == "exact"
    assert bill(priced, Ended(usage=UnknownUsage("missing_usage", ""))).cost_nanousd == priced.held_nanousd
    assert bill(priced, Ended(usage=None, failure=failure(FailureKind.THROTTLED))).cost_nanousd == 0
    unknown = bill(priced, Ended(usage=Usage(input_tokens=1, service_tier="priority")))
    assert (unknown.billed, unknown.basis) == ("assumed", "the price of 'priority' is unknown for this model")
    assert bill(priced, Ended(usage=Usage(input_tokens=10**12))).basis is None
    two = Usage(input_tokens=20, parts=(Usage(input_tokens=10), Usage(input_tokens=10, model="o")))
    with_another = bill(priced, Ended(usage=two), {"o": price("5", "5")}.get)
    assert (with_another.cost_nanousd, with_another.basis) == (60_000, "with passes of o")
    assert bill(priced, Ended(usage=two)).billed == "assumed"
    assert bill(free_of_price, Ended(usage=USED)).billed == "unpriced"
    assert bill(free_of_price, Ended(usage=None)).billed == "unpriced"


def test_a_lost_hold_is_recorded_at_its_full_amount() -> None:
    record = lost_record(attempt(model("a")))
    assert (record.outcome, record.billed) == ("lost", "assumed")
    assert record.cost_nanousd == record.held_nanousd > 0
    assert lost_record(attempt(model("b", price=None))).billed == "unpriced"


@pytest.mark.parametrize(("own_names", "owner"), [({"run"}, "ann"), ({"batch", "instance"}, None), (set(), None)])
def test_a_record_has_the_owner_of_its_run(own_names: set[str], owner: str | None) -> None:
    scope = Scope(run="r", user="ann", key="k1", own_names=frozenset(own_names))
    assert lost_record(replace(attempt(model("a")), scope=scope)).run_owner == owner


@pytest.mark.parametrize(
    ("circuit", "kind", "opened"),
    [
        (ChargeKind.PROBE, FailureKind.SERVER_ERROR, ["probe/a", "breaker/a"]),
        (ChargeKind.BREAKER, FailureKind.SERVER_ERROR, []),  # no probe: whether the circuit opens depends on the count of failures
        (ChargeKind.PROBE, FailureKind.CANCELLED, []),  # says nothing about the provider
        (
            ChargeKind.BREAKER,
            FailureKind.QUOTA_EXHAUSTED,
            ["probe/a", "breaker/a", "operator-quota-exhausted/a", "operator-quota-exhausted/a/endpoint/3f"],
        ),
    ],
)
def test_a_failure_that_opens_the_circuit_opens_it_in_its_own_settlement(circuit: ChargeKind, kind: FailureKind, opened: list[str]) -> None:
    """In two steps another process's call could slip in between them, and would be a second probe at once."""
    tried, ended = attempt(model("a", limits=Limits(max_parallel=4)), circuit), Ended(usage=None, failure=failure(kind))
    charged = bill(tried.candidate, ended)
    written = settlement(tried, ended, charged, lost_record(tried), Held("h", 0, 1, (Balance(held=1), Balance())), Policy())
    assert [post.account for post in written.posts if post.account != "failures/a"] == opened
    assert opens_circuit(tried, failure(kind)) is bool(opened)
    assert bool(written.clears) is (ChargeKind.PROBE in tried.kinds and kind is FailureKind.SERVER_ERROR)


def test_a_provider_that_asks_to_wait_pauses_the_model_and_leaves_its_circuit_closed() -> None:
    tried, ended = attempt(model("a")), Ended(usage=None, failure=failure(FailureKind.THROTTLED, retry_after_ms=2_000))
    written = settlement(tried, ended, bill(tried.candidate, ended), lost_record(tried), Held("h", 0, 1, (Balance(held=1),)), Policy())
    assert [(post.account, post.amount, post.for_ms) for post in written.posts] == [("pause/a", 1, 2_000)]


def test_an_error_that_requires_operator_action_opens_the_circuit_for_25_seconds_or_as_long_as_the_provider_says() -> None:
    tried = attempt(model("a"))
    pauses = []
    for retry_after_ms in (None, 3_600_000):
        ended = Ended(usage=None, failure=failure(FailureKind.QUOTA_EXHAUSTED, retry_after_ms=retry_after_ms))
        written = settlement(tried, ended, bill(tried.candidate, ended), lost_record(tried), Held("h", 0, 1, (Balance(held=1),)), Policy())
        pauses.append({post.account: post.for_ms for post in written.posts})
    longest_ms = 600_000
    assert pauses == [
        {
            "probe/a": 25_000,
            "breaker/a": 25_000 + longest_ms,
            "operator-quota-exhausted/a": 25_000,
            "operator-quota-exhausted/a/endpoint/3f": 25_000,
        },
        {"probe/a": 3_600_000, "breaker/a": 3_600_000 + longest_ms},
    ]


def test_the_answer_of_a_probe_closes_the_circuit() -> None:
    probe, ended = attempt(model("a"), ChargeKind.PROBE), Ended(usage=USED)
    held = Held("h", 0, 1, (Balance(held=1), Balance(held=1)))
    written = settlement(
        probe, ended, bill(probe.candidate, ended), attempt_record(probe, ended, bill(probe.candidate, ended)), held, Policy()
    )
    assert written.clears[:3] == ("breaker/a", "probe/a", "failures/a")
    assert {account.partition("-")[0] for account in written.clears[3:]} == {"operator"}
    assert (circuit_at(probe), circuit_at(attempt(model("a")))) == (State.HALF_OPEN, State.CLOSED)
