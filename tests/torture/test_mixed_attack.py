"""The mixed attack: a worker of every kind on one budget, while everything is disturbed; its long form is a benchmark."""

import os
import sys
from pathlib import Path

import pytest

from paymaster.torture.faults import DISTURBANCES, LOSSES, POSSIBLE, RESTORABLE, LedgerKind, TortureFault, read_faults
from paymaster.torture.mixed_attack import make_attack
from paymaster.torture.plans import WorkerStyle
from paymaster.torture.runs import run_plan
from redis_servers import server_program

CALLS = 8
needs_redis = pytest.mark.skipif(server_program() is None, reason="no redis-server or valkey-server on the PATH")


@pytest.mark.parametrize("ledger_kind", [LedgerKind.FILE, LedgerKind.PRIVATE_SERVER])
def test_an_attack_has_a_worker_of_every_kind_and_every_disturbance(ledger_kind):
    plans = [make_attack(seed, ledger_kind, CALLS, POSSIBLE[ledger_kind]) for seed in range(40)]
    assert make_attack(3, ledger_kind, CALLS, POSSIBLE[ledger_kind]) == plans[3]
    for plan in plans:
        assert [worker.style for worker in plan.workers] == list(WorkerStyle)
        assert {disturbance.kind for disturbance in plan.disturbances} == POSSIBLE[ledger_kind] & set(DISTURBANCES)
        assert plan.workers[0].clock.is_right
        assert sum(worker.clock.is_right for worker in plan.workers) == len(plan.workers) - 2
        starts = [disturbance.at_percent for disturbance in plan.disturbances]
        assert starts == sorted(starts)
        assert starts[-1] <= plan.loss.at_percent
    assert {plan.loss.kind for plan in plans} == POSSIBLE[ledger_kind] & RESTORABLE & set(LOSSES)
    assert all(plan.loss.is_restored for plan in plans)


def test_an_attack_without_faults_is_a_run_of_right_clocks():
    plan = make_attack(1, LedgerKind.FILE, CALLS, frozenset({TortureFault.KILL}))
    assert plan.loss is None
    assert all(worker.clock.is_right for worker in plan.workers)


@pytest.mark.skipif(sys.platform == "win32", reason="workers are forked and stopped, which Windows can not do")
@pytest.mark.parametrize(
    ("ledger", "faults"),
    [
        ("sqlite:", "mixed,cancel,kill,stop,disk"),
        ("sqlite:", "mixed,cancel,kill,stop,disk,clock,move,rollback,empty,rename"),
        pytest.param("redis", "mixed,cancel,kill,stop,restart,stall,cut,clock,swapdb,rollback,empty", marks=needs_redis),
    ],
)
def test_a_mixed_attack_stays_within_the_budget_and_uses_it(monkeypatch, ledger, faults):
    if program := server_program():
        monkeypatch.setenv("PATH", str(Path(program).parent), prepend=os.pathsep)
    kind = LedgerKind.PRIVATE_SERVER if ledger == "redis" else LedgerKind.FILE
    result = run_plan(make_attack(1, kind, CALLS, read_faults(faults, kind)), ledger)
    assert result.is_clean, "\n".join(f"{check.name}: {check.detail}" for check in result.checks if not check.kept)
