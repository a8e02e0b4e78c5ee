"""One worker: callers of one style until the budget is used up; knows no disturbance and judges nothing.

It reports each admission, each reply and, at its end, how its calls ended.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

from paymaster.flow.ports import Books
from paymaster.torture.call_planner import CallPlanner, Emit
from paymaster.torture.callers import ThreadFailures, call_in_child, call_in_tasks, call_once, call_until_done
from paymaster.torture.clients import TorturedAsyncClient, TorturedClient
from paymaster.torture.clocks import SkewedClock
from paymaster.torture.plans import WorkerStyle
from paymaster.torture.worker_config import WorkerConfig


def work(config: WorkerConfig, emit: Emit, books: Books | None = None) -> None:
    """Call until the budget is used up. `books` replaces the ledger of threads."""
    clock = SkewedClock(config.offset_ms, config.speed_percent)
    tasks = config.style == WorkerStyle.TASKS
    planners = [CallPlanner(config, number, clock, emit, cancels=tasks) for number in range(config.callers)]
    match WorkerStyle(config.style):
        case WorkerStyle.TASKS:
            _in_tasks(config, planners, clock, emit)
        case WorkerStyle.BOTH:
            half = len(planners) // 2
            with ThreadFailures().running([partial(_in_tasks, config, planners[:half], clock, emit)]):
                _in_threads(config, planners[half:], clock, emit)
        case WorkerStyle.FORK:
            _in_fork(config, planners, clock, emit)
        case WorkerStyle.GATEWAY if find_spec("uvicorn") is not None:
            _behind_gateway(config, planners, emit)
        case WorkerStyle.COMMAND:
            from paymaster.torture.command_callers import call_command

            call_command(config, planners[0])
        case _:  # threads, and a gateway without the extra that it needs
            _in_threads(config, planners, clock, emit, books)
    _report_counts(planners, emit)


def _report_counts(planners: Sequence[CallPlanner], emit: Emit) -> None:
    counts: Counter[str] = Counter()
    for planner in planners:
        counts.update(planner.counts)
    emit({"counts": dict(counts)})


def _in_threads(config: WorkerConfig, planners: Sequence[CallPlanner], clock: SkewedClock, emit: Emit, books: Books | None = None) -> None:
    with (
        TorturedClient(config, clock, emit, books) as client,
        ThreadFailures().running([partial(call_until_done, client, planner) for planner in planners]),
    ):
        pass


def _in_tasks(config: WorkerConfig, planners: Sequence[CallPlanner], clock: SkewedClock, emit: Emit) -> None:
    async def work() -> None:
        async with TorturedAsyncClient(config, clock, emit) as client:
            await call_in_tasks(client, planners)

    asyncio.run(work())


def _in_fork(config: WorkerConfig, planners: Sequence[CallPlanner], clock: SkewedClock, emit: Emit) -> None:
    """The first planner's calls are made in a child, after a call of the parent with the same client."""
    with TorturedClient(config, clock, emit) as client:
        call_once(client, planners[1])
        child = call_in_child(client, planners[0], partial(_report_counts, planners[:1], emit))
        with ThreadFailures().running([partial(call_until_done, client, planner) for planner in planners[1:]]):
            pass
        _, status = os.waitpid(child, 0)
        planners[0].counts.clear()  # the child reported its own
        if status != 0:
            raise RuntimeError(f"the child of a fork ended with status {os.waitstatus_to_exitcode(status)}")


def _behind_gateway(config: WorkerConfig, planners: Sequence[CallPlanner], emit: Emit) -> None:
    from paymaster.torture.gateway_callers import call_gateway, serving

    with ExitStack() as stack:
        port = stack.enter_context(serving(config, emit))
        stack.enter_context(ThreadFailures().running([partial(call_gateway, port, planner) for planner in planners]))
