"""One seed from start to verdict: starts everything, does at each moment what the plan says, waits for the leases and reads the books."""

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
from paymaster.torture.ledgers import Ledger, kept
from paymaster.torture.netns import Hosts
from paymaster.torture.plans import LEASE_MS, WINDOW_MS, Disturbance, Fault, LedgerKind, Load, Plan, draw, registry_text
from paymaster.torture.verdicts import Check, Evidence, judge
from paymaster.torture.worker import Order, work
from paymaster.torture.workers import Ears, Worker, nursery

LONGEST_RUN_S = 120.0
STALE_S = 3.0
"""When the bill has not grown for so long, the next disturbance comes all the same."""

GRACE_S = 1.0
"""How long after the last lease a hold may still stand."""

_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a seed. `disturbed` names what was done, in order; `folder` holds the bill and the events of a run that is not clean."""

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
class Scene:
    """What a run can lay hands on, and what is to be undone when: (moment, number, how)."""

    plan: Plan
    ledger: Ledger
    workers: list[Worker]
    disk: Disk | None
    undo: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def disturb(self, disturbance: Disturbance) -> None:
        """Do it, and note how to undo it."""
        worker = self.workers[disturbance.worker]
        undo: Callable[[], None] | None = None
        match disturbance.kind:
            case Fault.KILL:
                worker.kill()
            case Fault.STOP:
                worker.stop()
                undo = worker.go_on
            case Fault.DISK if self.disk is not None:
                self.disk.fill([each.process_id for each in self.workers])
                undo = self.disk.free
            case Fault.RESTART if self.ledger.server is not None:
                self.ledger.server.kill()
                undo = self.ledger.server.start
            case Fault.STALL if self.ledger.link is not None:
                self.ledger.link.stall()
                undo = self.ledger.link.mend
            case Fault.CUT if self.ledger.link is not None:
                self.ledger.link.cut()
                undo = self.ledger.link.mend
            case _:
                return
        self.done.append(str(disturbance.kind))
        if undo is not None:
            heapq.heappush(self.undo, (time.monotonic() + disturbance.for_ms / 1000, len(self.done), undo))

    def undo_due(self, *, everything: bool = False) -> None:
        """Undo what has lasted long enough."""
        while self.undo and (everything or self.undo[0][0] <= time.monotonic()):
            heapq.heappop(self.undo)[2]()


def torture(seed: int, load: Load, ledger_url: str, hosts: Hosts | None = None) -> Verdict:
    """Run one seed.

    Raises UsageMistake where something that was asked for cannot be had, and LedgerUnavailable, LedgerUnusable where the ledger itself
    cannot be read in the end.
    """
    began, plan = time.monotonic(), draw(seed, load)
    folder = Path(tempfile.mkdtemp(prefix="paymaster-torture-"))
    is_kept = False
    try:
        with ScriptedServer(plan.script, host=_host(hosts), bill_path=folder / "bill.jsonl") as provider:
            registry = folder / "registry.yaml"
            registry.write_text(registry_text(plan, provider.base_url), encoding="utf-8")
            if load.ledger_kind is LedgerKind.MEMORY:
                evidence, disturbed = _in_this_process(plan, folder, registry)
            else:
                evidence, disturbed = _in_processes(plan, folder, registry, ledger_url, provider, hosts)
        verdict = Verdict(seed, judge(evidence), disturbed, time.monotonic() - began)
        if verdict.is_clean:
            return verdict
        is_kept = True
        (folder / "journal.jsonl").write_bytes(b"".join(orjson.dumps(asdict(record)) + b"\n" for record in evidence.journal))
        return replace(verdict, folder=folder)
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


def _host(hosts: Hosts | None) -> str:
    """Where the provider and the link listen."""
    return "127.0.0.1" if hosts is None else hosts.address


def _in_this_process(plan: Plan, folder: Path, registry: Path) -> tuple[Evidence, tuple[str, ...]]:
    """The worker runs here, as its ledger lives in one process."""
    ears, books = Ears(), MemoryLedger()
    work(_orders(plan, folder, registry, "memory:")[0], ears.hear, books)
    journal, balances = _read(books, plan)
    return _evidence(plan, folder, ears, journal, balances), ()


def _in_processes(
    plan: Plan, folder: Path, registry: Path, ledger_url: str, provider: ScriptedServer, hosts: Hosts | None
) -> tuple[Evidence, tuple[str, ...]]:
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(kept(plan, ledger_url, folder, _host(hosts)))
        has_full_disk = any(disturbance.kind is Fault.DISK for disturbance in plan.disturbances)
        disk = stack.enter_context(Disk(folder / "disk")) if has_full_disk else None
        ears, workers = Ears(), list[Worker]()
        try:
            for number, order in enumerate(_orders(plan, folder, registry, ledger.worker_url)):
                workers.append(Worker(order, ears, nursery(), folder, hosts.namespace(number) if hosts is not None else None))
            scene = Scene(plan, ledger, workers, disk)
            _direct(scene, ears, provider)
        finally:
            for worker in workers:
                worker.end()
        with _opened(ledger.url) as books:
            journal, balances = _read(books, plan)
        return _evidence(plan, folder, ears, journal, balances), tuple(scene.done)


def _direct(scene: Scene, ears: Ears, provider: ScriptedServer) -> None:
    """Disturb, and undo, until every worker has ended."""
    coming, working = list(scene.plan.disturbances), list(scene.workers)
    deadline, grew_at, seen = time.monotonic() + LONGEST_RUN_S, time.monotonic(), 0
    while working:
        now = time.monotonic()
        if now > deadline:
            ears.crashes.append(f"{len(working)} workers had not ended after {LONGEST_RUN_S:g} s")
            break
        billed = provider.stage.bill.billed_nanousd
        if billed != seen or ears.ready < len(scene.workers):
            seen, grew_at = billed, now
        scene.undo_due()
        if coming and (billed * 100 >= coming[0].at_percent * scene.plan.budget_nanousd or now - grew_at > STALE_S):
            scene.disturb(coming.pop(0))
            grew_at = now
        working = [worker for worker in working if not worker.has_ended()]
        time.sleep(_LOOK_S)
    scene.undo_due(everything=True)


def _orders(plan: Plan, folder: Path, registry: Path, ledger_url: str) -> list[Order]:
    return [
        Order(
            number=worker.number,
            seed=worker.seed,
            tasks=worker.tasks,
            callers=worker.callers,
            offset_ms=worker.offset_ms,
            jump_ms=worker.jump_ms,
            jump_after=worker.jump_after,
            cancels=Fault.CANCEL in plan.load.faults,
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


def _read(books: Books, plan: Plan) -> tuple[list[Record], dict[str, Balance]]:
    """The journal and the balances, once no hold is left; or at the latest `GRACE_S` after every lease is over."""
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


def _evidence(plan: Plan, folder: Path, ears: Ears, journal: list[Record], balances: dict[str, Balance]) -> Evidence:
    lines = (folder / "bill.jsonl").read_bytes().splitlines()
    return Evidence(
        plan=plan, bill=[BillLine(**orjson.loads(line)) for line in lines], journal=journal, balances=balances, told=ears.told()
    )
