"""Runs one seed from start to verdict: starts everything, disturbs it as planned, waits for the leases and reads the ledger."""

import contextlib
import shutil
import tempfile
import time
import traceback
from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from paymaster.accounting.accounts import Balance, Record
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.flow.ports import Books
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.urls import open_ledger
from paymaster.providers.scripted.bill import BillLine
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.runtime import BlockingRuntime, iterate, run
from paymaster.torture.disks import Disk
from paymaster.torture.disturbances import RunState
from paymaster.torture.faults import LedgerKind, TortureFault
from paymaster.torture.ledger_under_test import open_ledger_under_test
from paymaster.torture.loss_course import LossCourse
from paymaster.torture.netns import NetworkNamespaces
from paymaster.torture.plans import LEASE_MS, WINDOW_MS, TorturePlan, Workload, make_plan, registry_text
from paymaster.torture.verdicts import Check, Evidence, LossReport, WorkerReports, judge
from paymaster.torture.worker import work
from paymaster.torture.worker_config import WorkerConfig
from paymaster.torture.worker_process import ReportCollector, WorkerProcess, fork_server

LONGEST_RUN_S = 120.0
GRACE_S = 1.0
"""How long after the last lease a hold may still be open."""

_FIRST_ADMISSION_S = 5.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one seed. `disturbed` names the disturbances in order; `folder` has the bill and journal of a run that is not clean."""

    seed: int
    checks: tuple[Check, ...]
    disturbed: tuple[str, ...]
    took_s: float
    folder: Path | None = None

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return all(check.kept for check in self.checks)


def torture(seed: int, workload: Workload, ledger_url: str, hosts: NetworkNamespaces | None = None) -> RunResult:
    """Run one seed. Raises UsageMistake if something that was requested is not available here."""
    return run_plan(make_plan(seed, workload), ledger_url, hosts)


def run_plan(plan: TorturePlan, ledger_url: str, hosts: NetworkNamespaces | None = None) -> RunResult:
    """Run a plan. A ledger that can't be read at the end is a broken promise.

    Raises UsageMistake if something that was requested is not available here.
    """
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="paymaster-torture-"))
    is_kept = False
    try:
        with ScriptedServer(plan.script, host=_host(hosts), bill_path=folder / "bill.jsonl") as provider:
            registry = folder / "registry.yaml"
            registry.write_text(registry_text(plan, provider.base_url), encoding="utf-8")
            if plan.workload.ledger_kind is LedgerKind.MEMORY:
                outcome = _in_this_process(plan, folder, registry)
            else:
                outcome = _in_processes(plan, folder, registry, ledger_url, provider, hosts)
        bill = [
            BillLine(**orjson.loads(line)) for line in (folder / "bill.jsonl").read_bytes().splitlines()
        ]  # complete, as the provider ended
        checks = judge(Evidence(plan, bill, outcome.journal, outcome.balances, outcome.reports, outcome.loss))
        result = RunResult(plan.seed, checks, outcome.disturbed, time.monotonic() - began)
        if result.is_clean:
            return result
        is_kept = True
        (folder / "journal.jsonl").write_bytes(b"".join(orjson.dumps(asdict(record)) + b"\n" for record in outcome.journal))
        return replace(result, folder=folder)
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What a run left behind, besides the provider's bill. A ledger that stayed lost has neither journal nor balances."""

    journal: list[Record]
    balances: dict[str, Balance]
    reports: WorkerReports
    disturbed: tuple[str, ...] = ()
    loss: LossReport | None = None


def _host(hosts: NetworkNamespaces | None) -> str:
    """The address on which the provider and the proxy listen."""
    return "127.0.0.1" if hosts is None else hosts.address


def _in_this_process(plan: TorturePlan, folder: Path, registry: Path) -> _Outcome:
    """Run the worker here: a memory ledger can not be shared between processes."""
    collector, books = ReportCollector(), MemoryLedger()
    try:
        work(_worker_configs(plan, folder, registry, "memory:")[0], collector.add, books)
    except Exception:  # noqa: BLE001 - as at the edge of a worker's process: a crash is a part of the verdict
        collector.crashes.append(traceback.format_exc())
    journal, balances = _read(books, plan)
    return _Outcome(journal=journal, balances=balances, reports=collector.collected())


def _in_processes(
    plan: TorturePlan, folder: Path, registry: Path, ledger_url: str, provider: ScriptedServer, hosts: NetworkNamespaces | None
) -> _Outcome:
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(open_ledger_under_test(plan, ledger_url, folder, _host(hosts)))
        has_full_disk = any(disturbance.kind is TortureFault.DISK for disturbance in plan.disturbances)
        disk = stack.enter_context(Disk(folder / "disk")) if has_full_disk else None
        collector, workers, course = ReportCollector(), list[WorkerProcess](), None
        if plan.loss is not None and ledger.losable is not None:
            course = LossCourse(plan.loss, ledger.losable, workers, collector, _stop_file(folder))
        try:
            for number, config in enumerate(_worker_configs(plan, folder, registry, ledger.worker_url)):
                namespace = hosts.namespace(number) if hosts is not None else None
                workers.append(WorkerProcess(config, collector, fork_server(), folder, namespace))
                if number == 0 and TortureFault.CLOCK in plan.workload.faults:
                    _wait_for_first_admission(collector)
            state = RunState(plan, ledger, workers, disk, course, list(plan.disturbances))
            _disturb_until_done(state, collector, provider)
        finally:
            for worker in workers:
                worker.end()
        disturbed, loss = tuple(state.done), None if course is None else course.report()
        if loss is not None and loss.is_final:
            return _Outcome(journal=[], balances={}, reports=collector.collected(), disturbed=disturbed, loss=loss)
        journal, balances = list[Record](), dict[str, Balance]()
        try:
            with _opened(ledger.url, folder) as books:
                journal, balances = _read(books, plan)
        except (LedgerUnavailable, LedgerUnusable) as error:
            collector.crashes.append(f"the ledger can't be read: {error.message}")
        return _Outcome(journal=journal, balances=balances, reports=collector.collected(), disturbed=disturbed, loss=loss)


def _wait_for_first_admission(collector: ReportCollector) -> None:
    """Let the first worker, whose clock is right, set the time of the ledger: nobody could know that a new ledger's time is wrong."""
    deadline = time.monotonic() + _FIRST_ADMISSION_S
    while not collector.admitted_since(0) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _disturb_until_done(state: RunState, collector: ReportCollector, provider: ScriptedServer) -> None:
    """Begin and undo disturbances until every worker has ended."""
    working, deadline = list(state.workers), time.monotonic() + LONGEST_RUN_S
    while working:
        if time.monotonic() > deadline:
            collector.crashes.append(f"{len(working)} workers had not ended after {LONGEST_RUN_S:g} s")
            break
        state.step(provider.engine.bill.billed_nanousd, all_ready=collector.ready >= len(state.workers))
        working = [worker for worker in working if not worker.has_ended()]
        time.sleep(_POLL_S)
    state.undo_due(everything=True)


def _worker_configs(plan: TorturePlan, folder: Path, registry: Path, ledger_url: str) -> list[WorkerConfig]:
    return [
        WorkerConfig(
            number=worker.number,
            seed=worker.seed,
            style=worker.style,
            callers=worker.callers,
            **asdict(worker.clock),
            cancels=TortureFault.CANCEL in plan.workload.faults,
            loses_ledger=plan.loss is not None,
            registry=str(registry),
            ledger=ledger_url,
            state_dir=str(_state_dir(folder)),
            stop_file=str(_stop_file(folder)),
            lease_ms=LEASE_MS,
            window_ms=WINDOW_MS,
            ends_s=time.time() + LONGEST_RUN_S - GRACE_S,
        )
        for worker in plan.workers
    ]


def _state_dir(folder: Path) -> Path:
    return folder / "state"


def _stop_file(folder: Path) -> Path:
    return folder / "stop"


@contextlib.contextmanager
def _opened(url: str, folder: Path) -> Iterator[Books]:
    books = open_ledger(url, BlockingRuntime().sleep, state_dir=_state_dir(folder), blocking=True)
    try:
        yield books
    finally:
        run(books.close())


def _read(books: Books, plan: TorturePlan) -> tuple[list[Record], dict[str, Balance]]:
    """The journal and the balances once no hold is open, at the latest `GRACE_S` after the last lease is over.

    The clock that reads is right; the ledger's own time may be ahead of it, so the last lease may be over so much later.
    """
    runtime, deadline = BlockingRuntime(), time.monotonic() + (plan.longest_lease_ms + plan.ahead_ms) / 1000 + GRACE_S
    while True:
        now_ms = runtime.now_ms()
        run(books.sweep(now_ms))
        balances = run(books.balances("", now_ms))
        if time.monotonic() > deadline or not any(balance.held for balance in balances.values()):
            return list(iterate(_all(books))), balances
        run(runtime.sleep(50))


async def _all(books: Books) -> AsyncGenerator[Record]:
    async for record in books.records():
        yield record
