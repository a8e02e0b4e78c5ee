"""The course of a loss: when the ledger is lost, who must refuse, when it is restored or the run ends; knows no file and no server."""

from collections.abc import Sequence
from pathlib import Path

from paymaster.torture.faults import PARTIAL, TortureFault
from paymaster.torture.losses import LosableLedger
from paymaster.torture.plans import Loss, WorkerStyle
from paymaster.torture.verdicts import LOSS_NOTICED_MS, LossReport
from paymaster.torture.worker_process import ReportCollector, WorkerProcess
from paymaster.torture.wrappers import true_now_ms

REFUSAL_LIMIT_MS = 15_000
"""How long the harness waits for the workers to refuse: longer than they wait for a locked file."""

QUIET_MS = 1_500
"""A ledger that was lost for good is used no more when it has admitted nothing for so long."""

_COPY_AT = 3
"""The older copy of a rollback is taken at a third of the way to the loss."""


class LossCourse:
    """Lets a planned loss happen. Call `step` again and again until the run is over; a file at `stop_file` ends the workers."""

    def __init__(
        self, loss: Loss, ledger: LosableLedger, workers: Sequence[WorkerProcess], collector: ReportCollector, stop_file: Path
    ) -> None:
        self.kind = loss.kind
        self._loss = loss
        self._ledger = ledger
        self._workers = workers
        self._collector = collector
        self._stop_file = stop_file
        self._is_copied = False
        self._at_ms: int | None = None
        self._restored_at_ms: int | None = None
        self._expected: frozenset[int] = frozenset()

    @property
    def is_on(self) -> bool:
        """Whether the ledger is lost now: no other disturbance begins meanwhile, nor ever after if it is not restored."""
        return self._at_ms is not None and self._restored_at_ms is None

    def is_due(self, billed_percent: int) -> bool:
        """Whether the loss is to happen now. Also takes the copy that a rollback needs."""
        if self._at_ms is not None:
            return False
        needs_copy = self._loss.kind is TortureFault.ROLLBACK and not self._is_copied
        if needs_copy and billed_percent * _COPY_AT >= self._loss.at_percent:
            self._ledger.copy()
            self._is_copied = True
        return billed_percent >= self._loss.at_percent

    def begin(self) -> None:
        """Lose the ledger and replace one worker by a new process. Every process that runs then has to refuse."""
        self._ledger.lose(self._loss.kind)
        self._at_ms = true_now_ms()
        running = [worker for worker in self._workers if worker.is_running]
        worker = self._workers[self._loss.worker]
        if len(running) > 1 and worker in running:
            worker.kill()
            worker.has_ended()  # starts the new process
        self._expected = frozenset(each.process_id for each in running)
        if self.kind in PARTIAL:
            # The ledger itself is in its place: a new process may open it, and a fork or a command opens it anew.
            opened_anew = {each.process_id for each in running if each is worker or each.style in {WorkerStyle.FORK, WorkerStyle.COMMAND}}
            self._expected = (self._expected - opened_anew) & self._collector.admitted_since(0, self._at_ms)

    def step(self) -> None:
        """Restore the ledger, or end the run, once everybody has refused."""
        if self._at_ms is None or self._restored_at_ms is not None or self._stop_file.exists():
            return
        now_ms = true_now_ms()
        waited = now_ms - self._at_ms > REFUSAL_LIMIT_MS
        running = {worker.process_id for worker in self._workers if worker.is_running}
        refused = self._collector.refused_since(self._at_ms) >= self._expected & running
        if self._loss.is_restored:
            if refused or waited:
                restored_at_ms = true_now_ms()  # callers may be answered as soon as it begins
                self._ledger.restore(self._loss.kind)
                self._restored_at_ms = restored_at_ms
        elif waited or (refused and now_ms - self._at_ms > QUIET_MS and not self._collector.admitted_since(now_ms - QUIET_MS)):
            self._stop_file.touch()

    def report(self) -> LossReport | None:
        """What happened; None if the run was over before."""
        if self._at_ms is None:
            return None
        refused = self._expected & self._collector.refused_since(self._at_ms)
        # A process that was at its end made no other transaction, so it had nothing to refuse.
        went_on = self._collector.admitted_since(self._at_ms + LOSS_NOTICED_MS, self._restored_at_ms) & self._expected - refused
        return LossReport(self._loss.kind, self._at_ms, self._restored_at_ms, refused=len(refused), went_on=len(went_on))
