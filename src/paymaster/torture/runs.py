"""Runs one seed from start to verdict: starts everything, disturbs it as planned, waits for the leases and reads the ledger."""

import contextlib
import heapq
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import orjson

from paymaster.accounting.accounts import Balance, Record
from paymaster.flow.ports import Books
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.urls import open_ledger
from paymaster.providers.scripted.bill import BillLine
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.runtime import BlockingRuntime, iterate, run
from paymaster.torture.disks import Disk
from paymaster.torture.ledger_under_test import LedgerUnderTest, open_ledger_under_test
from paymaster.torture.netns import NetworkNamespaces
from paymaster.torture.plans import (
    LEASE_MS,
    WINDOW_MS,
    Disturbance,
    LedgerKind,
    TortureFault,
    TorturePlan,
    Workload,
    make_plan,
    registry_text,
)
from paymaster.torture.verdicts import Check, Evidence, judge
from paymaster.torture.worker import WorkerConfig, work
from paymaster.torture.worker_process import ReportCollector, WorkerProcess, fork_server

LONGEST_RUN_S = 120.0
STALE_S = 3.0
"""If the bill has not grown for so long, the next disturbance comes anyway."""

GRACE_S = 1.0
"""How long after the last lease a hold may still be open."""

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


@dataclass(slots=True)
class RunState:
    """What a run can disturb, and what has to be undone: (time, number, how)."""

    plan: TorturePlan
    ledger: LedgerUnderTest
    workers: list[WorkerProcess]
    disk: Disk | None
    undo: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def disturb(self, disturbance: Disturbance) -> None:
        """Begin a disturbance, and remember how to undo it."""
        worker = self.workers[disturbance.worker]
        undo: Callable[[], None] | None = None
        match disturbance.kind:
            case TortureFault.KILL:
                worker.kill()
            case TortureFault.STOP:
                worker.stop()
                undo = worker.resume
            case TortureFault.DISK if self.disk is not None:
                self.disk.fill([each.process_id for each in self.workers])
                undo = self.disk.free
            case TortureFault.RESTART if self.ledger.server is not None:
                self.ledger.server.kill()
                undo = self.ledger.server.start
            case TortureFault.STALL if self.ledger.proxy is not None:
                self.ledger.proxy.stall()
                undo = self.ledger.proxy.restore
            case TortureFault.CUT if self.ledger.proxy is not None:
                self.ledger.proxy.cut()
                undo = self.ledger.proxy.restore
            case _:
                return
        self.done.append(str(disturbance.kind))
        if undo is not None:
            heapq.heappush(self.undo, (time.monotonic() + disturbance.for_ms / 1000, len(self.done), undo))

    def undo_due(self, *, everything: bool = False) -> None:
        """Undo the disturbances whose time is over."""
        while self.undo and (everything or self.undo[0][0] <= time.monotonic()):
            heapq.heappop(self.undo)[2]()


def torture(seed: int, workload: Workload, ledger_url: str, hosts: NetworkNamespaces | None = None) -> RunResult:
    """Run one seed.

    Raises UsageMistake if something that was requested is not available here, and LedgerUnavailable or LedgerUnusable if the ledger can
    not be read at the end.
    """
    began, plan = time.monotonic(), make_plan(seed, workload)
    folder = Path(tempfile.mkdtemp(prefix="paymaster-torture-"))
    is_kept = False
    try:
        with ScriptedServer(plan.script, host=_host(hosts), bill_path=folder / "bill.jsonl") as provider:
            registry = folder / "registry.yaml"
            registry.write_text(registry_text(plan, provider.base_url), encoding="utf-8")
            if workload.ledger_kind is LedgerKind.MEMORY:
                evidence, disturbed = _in_this_process(plan, folder, registry)
            else:
                evidence, disturbed = _in_processes(plan, folder, registry, ledger_url, provider, hosts)
        result = RunResult(seed, judge(evidence), disturbed, time.monotonic() - began)
        if result.is_clean:
            return result
        is_kept = True
        (folder / "journal.jsonl").write_bytes(b"".join(orjson.dumps(asdict(record)) + b"\n" for record in evidence.journal))
        return replace(result, folder=folder)
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


def _host(hosts: NetworkNamespaces | None) -> str:
    """The address on which the provider and the proxy listen."""
    return "127.0.0.1" if hosts is None else hosts.address


def _in_this_process(plan: TorturePlan, folder: Path, registry: Path) -> tuple[Evidence, tuple[str, ...]]:
    """Run the worker here: a memory ledger can not be shared between processes."""
    collector, books = ReportCollector(), MemoryLedger()
    work(_worker_configs(plan, folder, registry, "memory:")[0], collector.add, books)
    journal, balances = _read(books, plan)
    return _evidence(plan, folder, collector, journal, balances), ()


def _in_processes(
    plan: TorturePlan, folder: Path, registry: Path, ledger_url: str, provider: ScriptedServer, hosts: NetworkNamespaces | None
) -> tuple[Evidence, tuple[str, ...]]:
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(open_ledger_under_test(plan, ledger_url, folder, _host(hosts)))
        has_full_disk = any(disturbance.kind is TortureFault.DISK for disturbance in plan.disturbances)
        disk = stack.enter_context(Disk(folder / "disk")) if has_full_disk else None
        collector, workers = ReportCollector(), list[WorkerProcess]()
        try:
            for number, config in enumerate(_worker_configs(plan, folder, registry, ledger.worker_url)):
                namespace = hosts.namespace(number) if hosts is not None else None
                workers.append(WorkerProcess(config, collector, fork_server(), folder, namespace))
            state = RunState(plan, ledger, workers, disk)
            _disturb_until_done(state, collector, provider)
        finally:
            for worker in workers:
                worker.end()
        with _opened(ledger.url) as books:
            journal, balances = _read(books, plan)
        return _evidence(plan, folder, collector, journal, balances), tuple(state.done)


def _disturb_until_done(state: RunState, collector: ReportCollector, provider: ScriptedServer) -> None:
    """Begin and undo disturbances until every worker has ended."""
    coming, working = list(state.plan.disturbances), list(state.workers)
    deadline, grew_at, seen = time.monotonic() + LONGEST_RUN_S, time.monotonic(), 0
    while working:
        now = time.monotonic()
        if now > deadline:
            collector.crashes.append(f"{len(working)} workers had not ended after {LONGEST_RUN_S:g} s")
            break
        billed = provider.engine.bill.billed_nanousd
        if billed != seen or collector.ready < len(state.workers):
            seen, grew_at = billed, now
        state.undo_due()
        if coming and (billed * 100 >= coming[0].at_percent * state.plan.budget_nanousd or now - grew_at > STALE_S):
            state.disturb(coming.pop(0))
            grew_at = now
        working = [worker for worker in working if not worker.has_ended()]
        time.sleep(_POLL_S)
    state.undo_due(everything=True)


def _worker_configs(plan: TorturePlan, folder: Path, registry: Path, ledger_url: str) -> list[WorkerConfig]:
    return [
        WorkerConfig(
            number=worker.number,
            seed=worker.seed,
            tasks=worker.tasks,
            callers=worker.callers,
            offset_ms=worker.offset_ms,
            jump_ms=worker.jump_ms,
            jump_after=worker.jump_after,
            cancels=TortureFault.CANCEL in plan.workload.faults,
            registry=str(registry),
            ledger=ledger_url,
            state_dir=str(folder / "state"),
            lease_ms=LEASE_MS,
            window_ms=WINDOW_MS,
            ends_s=time.time() + LONGEST_RUN_S - GRACE_S,
        )
        for worker in plan.workers
    ]


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Books]:
    books = open_ledger(url, BlockingRuntime().sleep, blocking=True)
    try:
        yield books
    finally:
        run(books.close())


def _read(books: Books, plan: TorturePlan) -> tuple[list[Record], dict[str, Balance]]:
    """The journal and the balances once no hold is open, at the latest `GRACE_S` after the last lease is over."""
    runtime, deadline = BlockingRuntime(), time.monotonic() + LEASE_MS / 1000 + GRACE_S
    while True:
        now_ms = runtime.now_ms() + plan.ahead_ms
        run(books.sweep(now_ms))
        balances = run(books.balances("", now_ms))
        if time.monotonic() > deadline or not any(balance.held for balance in balances.values()):
            return list(iterate(_all(books))), balances
        run(runtime.sleep(50))


async def _all(books: Books) -> AsyncGenerator[Record]:
    async for record in books.records():
        yield record


def _evidence(plan: TorturePlan, folder: Path, collector: ReportCollector, journal: list[Record], balances: dict[str, Balance]) -> Evidence:
    lines = (folder / "bill.jsonl").read_bytes().splitlines()
    return Evidence(
        plan=plan,
        bill=[BillLine(**orjson.loads(line)) for line in lines],
        journal=journal,
        balances=balances,
        reports=collector.collected(),
    )
