"""The plan of a seed."""

from pathlib import Path

import pytest

from paymaster.client import Client
from paymaster.errors import UsageMistake
from paymaster.providers.scripted.script import FaultKind
from paymaster.torture.plans import POSSIBLE, LedgerKind, TortureFault, Workload, make_plan, read_faults, registry_text

ALL = Workload(ledger_kind=LedgerKind.PRIVATE_SERVER, workers=4, calls=40, faults=POSSIBLE[LedgerKind.PRIVATE_SERVER])


def test_a_seed_always_gives_the_same_plan():
    assert make_plan(7, ALL) == make_plan(7, ALL)
    assert make_plan(7, ALL) != make_plan(8, ALL)


def test_every_provider_fault_and_every_disturbance_occurs():
    plans = [make_plan(seed, ALL) for seed in range(60)]
    kinds = {fault.kind for plan in plans for model in plan.script.models.values() for fault in model.faults}
    assert kinds == set(FaultKind)
    assert {disturbance.kind for plan in plans for disturbance in plan.disturbances} == {
        TortureFault.KILL,
        TortureFault.STOP,
        TortureFault.RESTART,
        TortureFault.STALL,
        TortureFault.CUT,
    }


def test_one_model_never_fails_for_good_and_one_clock_is_always_right():
    for seed in range(40):
        plan = make_plan(seed, ALL)
        assert not {"quota", "auth", "permission", "unknown_model"} & {fault.kind for fault in plan.script.models["gamma"].faults}
        assert plan.workers[0].offset_ms == plan.workers[0].jump_ms == 0


def test_no_clock_is_ahead_on_a_file_ledger_if_limits_are_measured():
    workload = Workload(ledger_kind=LedgerKind.FILE, workers=6, calls=40, faults=POSSIBLE[LedgerKind.FILE])
    plans = [make_plan(seed, workload) for seed in range(60)]
    assert all(plan.ahead_ms <= 0 for plan in plans if plan.rpm is not None)
    assert any(plan.ahead_ms > 0 for plan in plans)


@pytest.mark.parametrize("ledger_kind", LedgerKind)
def test_without_faults_nothing_is_planned(ledger_kind):
    plan = make_plan(3, Workload(ledger_kind=ledger_kind, workers=2, calls=10, faults=read_faults("none", ledger_kind)))
    assert plan.disturbances == ()
    assert not any(model.faults for model in plan.script.models.values())
    assert read_faults("all", ledger_kind) == POSSIBLE[ledger_kind]


def test_the_registry_of_a_plan_loads(tmp_path: Path):
    plan = make_plan(5, ALL)
    file = tmp_path / "registry.yaml"
    file.write_text(registry_text(plan, "http://127.0.0.1:9/v1"))
    with Client(file, ledger="memory:") as client:
        (budget,) = client.registry.policy.budgets
        assert budget.cap_nanousd == plan.budget_nanousd
        assert {model.limits.rpm for model in client.registry.models.values()} == {plan.rpm}


@pytest.mark.parametrize(
    ("text", "ledger_kind", "message"),
    [
        ("kil", LedgerKind.FILE, "unknown fault 'kil'"),
        ("restart", LedgerKind.FILE, "'restart' is not possible for this kind of ledger"),
        ("kill", LedgerKind.MEMORY, "'kill' is not possible"),
    ],
)
def test_an_unknown_or_impossible_fault_is_refused(text, ledger_kind, message):
    with pytest.raises(UsageMistake, match=message):
        read_faults(text, ledger_kind)
