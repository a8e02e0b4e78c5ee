"""The plan of a mixed attack: a worker of every kind, and every disturbance that is possible, in one run. Pure: it starts nothing."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from paymaster.torture.faults import DISTURBANCES, LOSSES, RESTORABLE, LedgerKind, TortureFault
from paymaster.torture.plans import (
    RIGHT,
    ClockPlan,
    Disturbance,
    Loss,
    TorturePlan,
    WorkerPlan,
    WorkerStyle,
    Workload,
    duration_ms,
    latest_percent,
    make_plan,
)

_EARLIEST_PERCENT = 5
_LATE = ClockPlan(offset_ms=-86_400_000)
_EARLY = ClockPlan(jump_ms=3_600_000, jump_after=5)


def make_attack(seed: int, ledger_kind: LedgerKind, calls: int, faults: frozenset[TortureFault]) -> TorturePlan:
    """The plan of a seed, with `calls` for each of the workers. Disturbances follow each other in a random order.

    A loss comes last, and is restored.
    """
    styles = list(WorkerStyle)
    plan = make_plan(seed, Workload(ledger_kind=ledger_kind, workers=len(styles), calls=calls, faults=faults))
    dice = Random(f"attack/{seed}")  # noqa: S311 - it must repeat, and is no secret
    clocks = {WorkerStyle.TASKS: _LATE, WorkerStyle.BOTH: _EARLY} if TortureFault.CLOCK in faults else {}
    workers = tuple(
        WorkerPlan(
            number=number,
            seed=dice.getrandbits(32),
            style=style,
            callers=1 if style is WorkerStyle.COMMAND else 3,
            clock=clocks.get(style, RIGHT),
        )
        for number, style in enumerate(styles)
    )
    kinds = [kind for kind in DISTURBANCES if kind in faults]
    dice.shuffle(kinds)
    losses = [kind for kind in LOSSES if kind in faults & RESTORABLE]
    starts = _starts(len(kinds) + 1, latest_percent(plan.workload))
    return replace(
        plan,
        workers=workers,
        disturbances=tuple(
            Disturbance(kind, at_percent, duration_ms(dice, kind), dice.randrange(len(workers)))
            for kind, at_percent in zip(kinds, starts, strict=False)
        ),
        loss=Loss(dice.choice(losses), starts[-1], dice.randrange(len(workers)), is_restored=True) if losses else None,
    )


def _starts(count: int, latest: int) -> Sequence[int]:
    """As many shares of the budget, at even distances."""
    return [_EARLIEST_PERCENT + (latest - _EARLIEST_PERCENT) * number // max(1, count - 1) for number in range(count)]
