"""Each promise is broken by hand, and the verdict has to say so."""

from dataclasses import replace

import pytest

from paymaster.accounting.accounts import Balance, Record
from paymaster.accounting.records import AttemptRecord
from paymaster.providers.scripted.bill import BillLine
from paymaster.torture.faults import LedgerKind, TortureFault
from paymaster.torture.pairing import COMMAND_USER
from paymaster.torture.plans import LEASE_MS, MAX_ATTEMPTS, WINDOW_MS, Workload, make_plan
from paymaster.torture.verdicts import ACCOUNT, Evidence, LossReport, WorkerReports, judge, largest_window

PLAN = replace(
    make_plan(1, Workload(ledger_kind=LedgerKind.FILE, workers=1, calls=10, faults=frozenset())),
    budget_nanousd=1_000,
    rpm=3,
    tpm=1_000,
    disturbances=(),
)


def line(attempt, cost, at_ms=0, tokens=10, fault=None):
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
        fault=fault,
        attempt=attempt,
    )


def record(hold_id, cost, billed="exact", *, lost=False, number=1, amount=None, call=None, user=None):
    body = AttemptRecord(
        call_id=call or f"call-{hold_id}",
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
        user=user,
    )
    return Record(hold_id, 0, lost=lost, amounts={ACCOUNT: cost if amount is None else amount}, body=body.to_json())


def evidence(**changes):
    reports = WorkerReports(admitted_at_ms={}, lost_at_ms={}, replies={"call-a": {1: 600}}, counts={"answered": 1}, crashes=())
    complete = Evidence(
        plan=PLAN,
        bill=[line("a", 600), line("b", 300)],
        journal=[record("a", 600), record("b", 400, "assumed", lost=True)],
        balances={ACCOUNT: Balance(settled=1_000)},
        reports=reports,
    )
    return replace(complete, **changes)


def broken(run):
    return {check.name for check in judge(run) if not check.kept}


def test_a_run_that_kept_every_promise_is_clean():
    assert broken(evidence()) == set()


def test_a_bill_above_the_budget():
    run = evidence(bill=[line("a", 600), line("b", 401)])
    assert "billed within the budget" in broken(run)


def test_a_budget_of_which_too_little_is_used():
    run = evidence(journal=[record("a", 600), record("b", 379, "assumed")], balances={ACCOUNT: Balance(settled=979)})
    assert broken(run) == {"budget usable"}


def test_more_requests_or_tokens_than_a_window_allows():
    bill = [line("a", 600), line("b", 300), *(line(f"free-{number}", 0, at_ms=WINDOW_MS - 1, tokens=400) for number in range(2))]
    journal = [*evidence().journal, *(record(f"free-{number}", 0) for number in range(2))]
    run = evidence(bill=bill, journal=journal, plan=replace(PLAN, tpm=800))
    assert broken(run) == {"requests within limits", "tokens within limits"}


def test_a_request_that_arrived_late_is_reported_and_not_counted():
    bill = [line("a", 600), line("b", 300), *(line(f"free-{number}", 0) for number in range(2))]
    journal = [*evidence().journal, *(record(f"free-{number}", 0) for number in range(2))]
    reports = replace(evidence().reports, admitted_at_ms={"free-0": -1_001})
    run = evidence(bill=bill, journal=journal, reports=reports)
    assert broken(run) == set()
    assert any("1 arrived late" in check.detail for check in judge(run))


@pytest.mark.parametrize(
    ("bill", "promise"),
    [
        ([line("a", 600), line("b", 300), line("c", 0)], "every request recorded"),
        ([line("a", 600), line("b", 300), line("b", 0)], "every request recorded"),
        ([line("a", 600), line("b", 300), line(None, 0)], "every request recorded"),
        ([line("a", 599), line("b", 300)], "records match bills"),
        ([line("a", 600)], None),  # an attempt that may have been billed is charged, even if it was not
    ],
)
def test_a_bill_that_the_journal_does_not_explain(bill, promise):
    assert broken(evidence(bill=bill)) == ({promise} if promise else set())


@pytest.mark.parametrize(
    "journal",
    [
        [record("a", 600), record("b", 299, "assumed"), record("c", 101)],
        [record("a", 600), record("b", 299, "estimated"), record("c", 101)],
        [record("a", 600), record("b", 0, "none"), record("c", 400, "assumed")],
        [record("a", 600), record("b", 400, "assumed", amount=399), record("c", 1, "assumed")],
        [record("a", 600), record("b", 400, "assumed"), record("c", 1, "exact", amount=0)],
    ],
)
def test_a_record_whose_cost_is_not_the_bill(journal):
    assert "records match bills" in broken(evidence(journal=journal))


def test_a_duplicate_record():
    journal = [*evidence().journal, record("a", 600)]
    assert broken(evidence(journal=journal)) == {"no duplicate record"}


def test_a_balance_that_is_not_the_sum_of_the_records():
    assert broken(evidence(balances={ACCOUNT: Balance(settled=1_001)})) == {"records add up to the balance"}


def test_a_hold_that_outlives_its_lease():
    balances = {ACCOUNT: Balance(settled=1_000), "slots/alpha": Balance(held=1)}
    assert broken(evidence(balances=balances)) == {"no open hold"}


@pytest.mark.parametrize(
    "replies", [{"call-x": {1: 5}}, {"call-a": {2: 600}}, {"call-a": {1: 601}}, {"call-a": {1: 599}}, {"call-b": {1: 401}}]
)
def test_a_reply_that_is_missing_in_the_journal_or_has_another_cost(replies):
    assert broken(evidence(reports=replace(evidence().reports, replies=replies))) == {"every reply recorded"}


def test_a_reply_whose_settlement_failed_is_charged_as_lost():
    assert broken(evidence(reports=replace(evidence().reports, replies={"call-b": {1: 300}}))) == set()


def test_a_worker_that_crashed():
    assert broken(evidence(reports=replace(evidence().reports, crashes=("worker 1 ended with status 1: KeyError",)))) == {
        "no worker crashed"
    }


@pytest.mark.parametrize(
    ("after_ms", "promise"),
    [(0, {"no hold lost early"}), (LEASE_MS - 300, {"no hold lost early"}), (LEASE_MS - 200, set()), (LEASE_MS, set())],
)
def test_a_hold_that_is_charged_as_lost_before_its_lease_is_over(after_ms, promise):
    reports = replace(evidence().reports, admitted_at_ms={"b": 10_000}, lost_at_ms={"b": 10_000 + after_ms, "unknown": 1})
    assert broken(evidence(reports=reports)) == promise


@pytest.mark.parametrize(
    ("kind", "heard_of_at_ms", "promise"),
    [
        (LedgerKind.FILE, 10_099, set()),
        (LedgerKind.FILE, 10_100, {"no hold lost early"}),
        (LedgerKind.PRIVATE_SERVER, 10_099, {"no hold lost early"}),
    ],
)
def test_a_hold_in_a_file_may_be_charged_as_soon_as_its_process_ended(kind, heard_of_at_ms, promise):
    reports = replace(evidence().reports, admitted_at_ms={"b": 10_000}, lost_at_ms={"b": 10_100}, heard_of_at_ms={"b": heard_of_at_ms})
    plan = replace(evidence().plan, workload=replace(evidence().plan.workload, ledger_kind=kind))
    assert broken(replace(evidence(reports=reports), plan=plan)) == promise


@pytest.mark.parametrize(
    ("fault", "promise"), [(None, {"attempts within bounds"}), ("absurd_wait", {"attempts within bounds"}), ("throttle", set())]
)
def test_a_call_with_more_attempts_than_the_policy_allows(fault, promise):
    """A provider that says how long to wait is waited for; any other attempt counts."""
    names = [f"again-{number}" for number in range(MAX_ATTEMPTS + 1)]
    bill = [*evidence().bill, *(line(name, 0, at_ms=WINDOW_MS * number, fault=fault) for number, name in enumerate(names, 1))]
    journal = [*evidence().journal, *(record(name, 0, "none", number=number, call="again") for number, name in enumerate(names))]
    assert broken(evidence(bill=bill, journal=journal)) == promise


LOST = LossReport(TortureFault.REMOVE, at_ms=50_000, restored_at_ms=None, refused=4, went_on=0)


def after_loss(loss, *admitted_at_ms, **changes):
    reports = replace(evidence().reports, admitted_at_ms={f"late-{at_ms}": at_ms for at_ms in admitted_at_ms})
    return evidence(reports=reports, loss=loss, **changes)


def test_a_lost_ledger_is_judged_by_the_bill_and_by_who_refused():
    run = after_loss(LOST, 49_000, journal=[], balances={})
    assert broken(run) == set()
    assert {check.name for check in judge(run)} == {
        "billed within the budget",
        "lost ledger refused",
        "requests within limits",
        "tokens within limits",
        "no worker crashed",
    }
    assert broken(replace(run, bill=[line("a", 1_001)])) == {"billed within the budget"}


@pytest.mark.parametrize(
    ("loss", "admitted_at_ms", "promise"),
    [
        (LOST, (50_100,), set()),  # it was under way
        (LOST, (50_300,), {"lost ledger refused"}),
        (replace(LOST, went_on=1), (), {"lost ledger refused"}),
        (replace(LOST, restored_at_ms=60_000), (59_999,), {"lost ledger refused"}),
        (replace(LOST, restored_at_ms=60_000), (60_000,), set()),
        (replace(LOST, kind=TortureFault.WAL), (59_999,), set()),  # the ledger itself is in its place
        (replace(LOST, kind=TortureFault.WAL, went_on=1), (), {"lost ledger refused"}),
    ],
)
def test_a_lost_ledger_that_workers_go_on_with(loss, admitted_at_ms, promise):
    assert broken(after_loss(loss, *admitted_at_ms)) == promise


def test_a_restored_ledger_is_judged_whole():
    run = after_loss(replace(LOST, restored_at_ms=60_000), balances={ACCOUNT: Balance(settled=900)})
    assert broken(run) == {"budget usable", "records add up to the balance"}


@pytest.mark.parametrize(
    ("records", "bill", "promises"),
    [
        ([("x", 60, "exact"), ("y", 40, "assumed")], [60, 30], set()),
        ([("x", 100, "exact")], [], {"records match bills"}),
        ([("x", 60, "exact"), ("y", 40, "assumed")], [60, 41], {"every request recorded"}),
        ([("x", 60, "exact"), ("y", 40, "assumed")], [61, 30], {"every request recorded", "records match bills"}),
        ([("x", 100, "exact")], [100, 1], {"every request recorded"}),
    ],
)
def test_requests_of_the_command_line_are_found_by_their_cost(records, bill, promises):
    """They don't name their attempt: they are the installed product."""
    journal = [record("a", 600), record("b", 300), *(record(name, cost, billed, user=COMMAND_USER) for name, cost, billed in records)]
    lines = [line("a", 600), line("b", 300), *(line(None, cost, at_ms=WINDOW_MS * number) for number, cost in enumerate(bill, 1))]
    plan = replace(PLAN, budget_nanousd=sum(each.billed_nanousd for each in lines))
    settled = 900 + sum(cost for _, cost, _ in records)
    run = evidence(bill=lines, journal=journal, balances={ACCOUNT: Balance(settled=settled)}, plan=plan)
    assert broken(run) == promises


def test_an_entry_leaves_its_window_at_the_end():
    assert largest_window([(0, 2), (99, 3), (100, 4)], 100) == 7
    assert largest_window([(100, 4), (0, 2), (99, 3)], 101) == 9
    assert largest_window([], 100) == 0
