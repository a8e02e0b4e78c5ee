"""The plan of a seed."""

from pathlib import Path

import pytest

from paymaster.client import Client
from paymaster.errors import UsageMistake
from paymaster.providers.scripted.script import FaultKind
from paymaster.torture.faults import DISTURBANCES, LOSSES, POSSIBLE, RESTORABLE, LedgerKind, TortureFault, read_faults
from paymaster.torture.plans import LEDGER_AHEAD_MS, WorkerStyle, Workload, make_plan, registry_text
from paymaster.torture.provider_plans import ABSURD_FIGURES, ABSURD_WAITS

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def workload_of(ledger_kind, faults=None, workers=4):
    return Workload(ledger_kind=ledger_kind, workers=workers, calls=40, faults=POSSIBLE[ledger_kind] if faults is None else faults)


ALL = workload_of(LedgerKind.PRIVATE_SERVER)
ON_FILE = workload_of(LedgerKind.FILE, workers=6)


def test_a_seed_always_gives_the_same_plan():
    assert make_plan(7, ALL) == make_plan(7, ALL)
    assert make_plan(7, ALL) != make_plan(8, ALL)


def test_every_lie_of_the_provider_occurs():
    faults = [fault for seed in range(80) for model in make_plan(seed, ALL).script.models.values() for fault in model.faults]
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert {fault.retry_after for fault in faults if fault.kind is FaultKind.ABSURD_WAIT} == set(ABSURD_WAITS)
    assert {fault.figure for fault in faults if fault.kind is FaultKind.ABSURD_USAGE} == set(ABSURD_FIGURES)


@pytest.mark.parametrize("ledger_kind", LedgerKind)
def test_every_disturbance_and_every_loss_that_is_possible_occurs(ledger_kind):
    plans = [make_plan(seed, workload_of(ledger_kind)) for seed in range(300)]
    possible = POSSIBLE[ledger_kind]
    assert {disturbance.kind for plan in plans for disturbance in plan.disturbances} == possible & set(DISTURBANCES)
    losses = [plan.loss for plan in plans if plan.loss is not None]
    assert {loss.kind for loss in losses} == possible & set(LOSSES)
    assert {loss.kind for loss in losses if loss.is_restored} == possible & RESTORABLE
    assert {loss.kind for loss in losses if not loss.is_restored} == possible & set(LOSSES)


def test_a_third_of_the_runs_lose_their_ledger_and_all_do_if_nothing_else_was_chosen():
    assert 70 < sum(make_plan(seed, ON_FILE).loss is not None for seed in range(300)) < 130
    only = workload_of(LedgerKind.FILE, read_faults("remove,wal", LedgerKind.FILE))
    assert all(make_plan(seed, only).loss is not None for seed in range(20))


def test_workers_of_every_style_occur_and_the_first_one_is_plain():
    plans = [make_plan(seed, ON_FILE) for seed in range(60)]
    assert {worker.style for plan in plans for worker in plan.workers} == set(WorkerStyle)
    for plan in plans:
        styles = [worker.style for worker in plan.workers]
        assert styles[0] is WorkerStyle.THREADS
        assert all(styles.count(style) <= 1 for style in (WorkerStyle.GATEWAY, WorkerStyle.COMMAND, WorkerStyle.FORK, WorkerStyle.BOTH))
    plain = make_plan(1, workload_of(LedgerKind.FILE, frozenset({TortureFault.KILL})))
    assert [worker.style for worker in plain.workers] == [WorkerStyle.THREADS, WorkerStyle.TASKS] * 2


def test_one_model_never_fails_for_good_and_one_clock_is_always_right():
    for seed in range(40):
        plan = make_plan(seed, ALL)
        assert not {"quota", "auth", "permission", "unknown_model"} & {fault.kind for fault in plan.script.models["gamma"].faults}
        assert plan.workers[0].clock.is_right


def test_one_clock_at_most_is_far_ahead_on_a_file():
    plans = [make_plan(seed, ON_FILE) for seed in range(120)]
    clocks = [[worker.clock for worker in plan.workers] for plan in plans]
    far = [[clock for clock in each if max(clock.offset_ms, clock.offset_ms + clock.jump_ms) > LEDGER_AHEAD_MS] for each in clocks]
    assert max(map(len, far)) == 1
    shown = {offset for each in clocks for clock in each for offset in (clock.offset_ms, clock.offset_ms + clock.jump_ms)}
    assert {HOUR_MS, -DAY_MS, 60_000} <= shown
    assert {300, 100} == {clock.speed_percent for each in clocks for clock in each}


def test_no_clock_is_a_little_ahead_on_a_file_if_limits_are_measured():
    plans = [make_plan(seed, ON_FILE) for seed in range(120)]
    assert all(plan.ahead_ms == 0 for plan in plans if plan.rpm is not None)
    assert any(plan.ahead_ms == LEDGER_AHEAD_MS for plan in plans)
    assert all(make_plan(seed, ALL).ahead_ms == 0 for seed in range(20))


@pytest.mark.parametrize("ledger_kind", LedgerKind)
def test_without_faults_nothing_is_planned(ledger_kind):
    plan = make_plan(3, workload_of(ledger_kind, read_faults("none", ledger_kind), workers=2))
    assert plan.disturbances == ()
    assert plan.loss is None
    assert all(worker.clock.is_right for worker in plan.workers)
    assert not any(model.faults or model.stops_on_disconnect for model in plan.script.models.values())
    assert read_faults("all", ledger_kind) == POSSIBLE[ledger_kind]


def test_the_registry_of_a_plan_loads(tmp_path: Path):
    plan = make_plan(5, ALL)
    file = tmp_path / "registry.yaml"
    file.write_text(registry_text(plan, "http://127.0.0.1:9/v1"))
    with Client(file, ledger="memory:") as client:
        (budget,) = client.registry.policy.budgets
        assert budget.cap == plan.budget_nanousd
        assert {model.limits.rpm for model in client.registry.models.values()} == {plan.rpm}


@pytest.mark.parametrize(
    ("text", "ledger_kind", "message"),
    [
        ("kil", LedgerKind.FILE, r"unknown fault 'kil' \(did you mean kill\?\)"),
        ("xyz", LedgerKind.FILE, "unknown fault 'xyz'$"),
        ("restart", LedgerKind.FILE, "'restart' is not possible for this kind of ledger"),
        ("flush", LedgerKind.SERVER, "'flush' is not possible for this kind of ledger"),
        ("wal", LedgerKind.PRIVATE_SERVER, "'wal' is not possible for this kind of ledger"),
        ("kill", LedgerKind.MEMORY, "'kill' is not possible"),
    ],
)
def test_an_unknown_or_impossible_fault_is_refused(text, ledger_kind, message):
    with pytest.raises(UsageMistake, match=r"(?m)" + message):
        read_faults(text, ledger_kind)
