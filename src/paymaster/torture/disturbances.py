"""Begins and undoes the disturbances of a run; knows its workers and instruments, and no verdict."""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from paymaster.torture.disks import Disk
from paymaster.torture.faults import TortureFault
from paymaster.torture.ledger_under_test import LedgerUnderTest
from paymaster.torture.loss_course import LossCourse
from paymaster.torture.plans import Disturbance, TorturePlan
from paymaster.torture.worker_process import WorkerProcess

STALE_S = 3.0
"""If the bill has not grown for so long, the next disturbance comes anyway."""


@dataclass(slots=True)
class RunState:
    """What a run can disturb, and what has to be undone: (time, number, how)."""

    plan: TorturePlan
    ledger: LedgerUnderTest
    workers: list[WorkerProcess]
    disk: Disk | None
    course: LossCourse | None
    coming: list[Disturbance]
    undo: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    seen_nanousd: int = 0
    grew_at: float = field(default_factory=time.monotonic)

    def step(self, billed_nanousd: int, *, all_ready: bool) -> None:
        """Undo what is over, and begin what is due at this bill."""
        now = time.monotonic()
        if billed_nanousd != self.seen_nanousd or not all_ready:
            self.seen_nanousd, self.grew_at = billed_nanousd, now
        self.undo_due()
        percent = billed_nanousd * 100 // self.plan.budget_nanousd
        is_stale = now - self.grew_at > STALE_S
        if self.course is not None:
            self.course.step()
            if self.course.is_on:
                return
            if self.course.is_due(percent):
                self.undo_due(everything=True)  # the loss is measured alone
                self.course.begin()
                self.done.append(str(self.course.kind))
                return
        if self.coming and (percent >= self.coming[0].at_percent or is_stale):
            self.begin(self.coming.pop(0))
            self.grew_at = now

    def begin(self, disturbance: Disturbance) -> None:
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
