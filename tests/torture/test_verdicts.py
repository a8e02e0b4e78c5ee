"""A verdict is worth something only if it can fail: each promise is broken by hand."""

from dataclasses import replace

import pytest

from paymaster.accounting.accounts import Balance, Record
from paymaster.accounting.records import AttemptRecord
from paymaster.providers.scripted.bill import BillLine
from paymaster.torture.plans import WINDOW_MS, LedgerAdmin, Load, draw
from paymaster.torture.verdicts import ACCOUNT, Evidence, Told, judge, largest_window

PLAN = replace(
    draw(1, Load(admin=LedgerAdmin.FILE, workers=1, calls=10, faults=frozenset())), budget_nanousd=1_000, rpm=3, tpm=1_000, disturbances=()
)


def line(attempt, cost, at_ms=0, tokens=10):
    return BillLine(
        at_ms=at_ms,
        model="alpha",
        status=200,
        streamed=False,
        step=0,
        prompt_tokens=tokens,
        completion_tokens=0,
        cached_tokens=0,
        billed_nanousd=cost,
        attempt=attempt,
    )


def record(hold_id, cost, billed="exact", *, lost=False, number=1, amount=None):
    body = AttemptRecord(
        call_id=f"call-{hold_id}",
        attempt=number,
        at_ms=0,
        model="alpha",
        provider="scripted",
        model_id="alpha",
        outcome="answered",
        billed=billed,
        cost_nanousd=cost,
        held_nanousd=cost,
        cost_source="registry",
        run="torture",
    )
    return Record(hold_id, 0, lost=lost, amounts={ACCOUNT: cost if amount is None else amount}, body=body.to_json())


def evidence(**changes):
    told = Told(admitted_at_ms={}, replies={"call-a": {1: 600}}, counts={"answered": 1}, crashes=())
    whole = Evidence(
        plan=PLAN,
        bill=[line("a", 600), line("b", 300)],
        journal=[record("a", 600), record("b", 400, "assumed", lost=True)],
        balances={ACCOUNT: Balance(settled=1_000)},
        told=told,
    )
    return replace(whole, **changes)


def broken(given):
    return {check.name for check in judge(given) if not check.kept}


def test_a_run_that_kept_every_promise_is_clean():
    assert broken(evidence()) == set()


def test_more_billed_than_the_budget():
    given = evidence(bill=[line("a", 600), line("b", 401)])
    assert "billed within the budget" in broken(given)


def test_too_little_of_the_budget_used():
    given = evidence(journal=[record("a", 600), record("b", 379, "assumed")], balances={ACCOUNT: Balance(settled=979)})
    assert broken(given) == {"budget usable"}


def test_more_requests_or_tokens_than_a_window_allows():
    bill = [line("a", 600), line("b", 300), *(line(f"free-{number}", 0, at_ms=WINDOW_MS - 1, tokens=400) for number in range(2))]
    journal = [*evidence().journal, *(record(f"free-{number}", 0) for number in range(2))]
    given = evidence(bill=bill, journal=journal, plan=replace(PLAN, tpm=800))
    assert broken(given) == {"requests within limits", "tokens within limits"}


def test_a_request_that_arrived_late_is_told_and_not_counted():
    bill = [line("a", 600), line("b", 300), *(line(f"free-{number}", 0) for number in range(2))]
    journal = [*evidence().journal, *(record(f"free-{number}", 0) for number in range(2))]
    told = replace(evidence().told, admitted_at_ms={"free-0": -1_001})
    given = evidence(bill=bill, journal=journal, told=told)
    assert broken(given) == set()
    assert any("1 arrived late" in check.detail for check in judge(given))


@pytest.mark.parametrize(
    ("bill", "promise"),
    [
        ([line("a", 600), line("b", 300), line("c", 0)], "every request recorded"),
        ([line("a", 600), line("b", 300), line("b", 0)], "every request recorded"),
        ([line("a", 600), line("b", 300), line(None, 0)], "every request recorded"),
        ([line("a", 599), line("b", 300)], "records are bills"),
        ([line("a", 600)], None),  # what may have been billed and was not is charged all the same
    ],
)
def test_a_bill_that_the_journal_does_not_explain(bill, promise):
    assert broken(evidence(bill=bill)) == ({promise} if promise else set())


@pytest.mark.parametrize(
    "journal",
    [
        [record("a", 600), record("b", 299, "assumed"), record("c", 101)],
        [record("a", 600), record("b", 0, "none"), record("c", 400, "assumed")],
        [record("a", 600), record("b", 400, "assumed", amount=399), record("c", 1, "assumed")],
        [record("a", 600), record("b", 400, "assumed"), record("c", 1, "exact", amount=0)],
    ],
)
def test_a_record_that_does_not_cost_what_was_billed(journal):
    assert "records are bills" in broken(evidence(journal=journal))


def test_a_record_that_stands_twice():
    journal = [*evidence().journal, record("a", 600)]
    assert broken(evidence(journal=journal)) == {"no record doubled"}


def test_balances_that_the_records_do_not_add_up_to():
    assert broken(evidence(balances={ACCOUNT: Balance(settled=1_001)})) == {"records add up to the balance"}


def test_a_hold_that_outlives_its_lease():
    balances = {ACCOUNT: Balance(settled=1_000), "slots/alpha": Balance(held=1)}
    assert broken(evidence(balances=balances)) == {"no hold left"}


@pytest.mark.parametrize(
    "replies", [{"call-x": {1: 5}}, {"call-a": {2: 600}}, {"call-a": {1: 601}}, {"call-a": {1: 599}}, {"call-b": {1: 401}}]
)
def test_a_reply_that_the_journal_does_not_know_or_knows_otherwise(replies):
    assert broken(evidence(told=replace(evidence().told, replies=replies))) == {"every reply recorded"}


def test_a_reply_whose_settlement_failed_is_charged_as_lost():
    assert broken(evidence(told=replace(evidence().told, replies={"call-b": {1: 300}}))) == set()


def test_a_worker_that_broke_down():
    assert broken(evidence(told=replace(evidence().told, crashes=("worker 1 ended with status 1: KeyError",)))) == {"no worker broke down"}


def test_an_entry_leaves_its_window_at_the_end():
    assert largest_window([(0, 2), (99, 3), (100, 4)], 100) == 7
    assert largest_window([(100, 4), (0, 2), (99, 3)], 101) == 9
    assert largest_window([], 100) == 0
