"""Starts worker processes, collects their reports, and kills or stops them; knows no provider and no ledger."""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import IO

import orjson

from paymaster.torture.verdicts import WorkerReports
from paymaster.torture.worker_config import WorkerConfig
from paymaster.torture.worker_main import run_worker

_LONGEST_STDERR_CHARS = 9_000
_NEW_SEED = 7_919


class ReportCollector:
    """Collects what workers report. Any number of threads may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._admitted: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        self._admissions: list[tuple[int, int]] = []
        self._lost: dict[str, int] = {}
        self._process_of: dict[str, int] = {}
        self._refused: dict[int, int] = {}
        self._replies: dict[str, dict[int, int]] = {}
        self._counts: Counter[str] = Counter()
        self.ready = 0
        self.crashes: list[str] = []

    def add(self, report: dict[str, object]) -> None:
        """Add one report."""
        with self._lock:
            match report:
                case {"admitted": str(hold_id), "at_ms": int(at_ms), "by": int(process_id)}:
                    self._admitted[hold_id] = at_ms
                    self._process_of[hold_id] = process_id
                    self._answered[hold_id] = _whole(report.get("answered_at_ms"), at_ms)
                    self._admissions.append((at_ms, process_id))
                case {"lost": str(hold_id), "at_ms": int(at_ms)}:
                    self._lost.setdefault(hold_id, at_ms)
                case {"refused": int(process_id), "at_ms": int(at_ms)}:
                    self._refused[process_id] = at_ms
                case {"reply": str(call_id), "attempts": list(attempts)}:
                    self._replies[call_id] = dict(attempts)
                case {"counts": dict(counts)}:
                    self._counts.update(counts)
                case _:
                    self.ready += 1

    def read_pipe(self, pipe: IO[bytes]) -> None:
        """Add the reports of a process until it ends. The last line of a killed process may be cut."""
        with pipe:
            for line in pipe:
                if line.endswith(b"\n"):
                    self.add(orjson.loads(line))

    def collected(self) -> WorkerReports:
        """Everything reported so far."""
        with self._lock:
            heard_of_at_ms: dict[int, int] = {}
            for hold_id, process_id in self._process_of.items():
                heard_of_at_ms[process_id] = max(self._answered[hold_id], heard_of_at_ms.get(process_id, 0))
            return WorkerReports(
                admitted_at_ms=dict(self._admitted),
                answered_at_ms=dict(self._answered),
                lost_at_ms=dict(self._lost),
                heard_of_at_ms={hold_id: heard_of_at_ms[process_id] for hold_id, process_id in self._process_of.items()},
                replies=dict(self._replies),
                counts=dict(self._counts),
                crashes=tuple(self.crashes),
            )

    def refused_since(self, at_ms: int) -> frozenset[int]:
        """The processes whose calls the ledger has refused since then."""
        with self._lock:
            return frozenset(process_id for process_id, newest_ms in self._refused.items() if newest_ms >= at_ms)

    def admitted_since(self, at_ms: int, until_ms: int | None = None) -> frozenset[int]:
        """The processes with a hold that was asked for since then, and was admitted."""
        with self._lock:
            return frozenset(
                process_id for asked_ms, process_id in self._admissions if at_ms <= asked_ms and (until_ms is None or asked_ms < until_ms)
            )


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def fork_server() -> ForkServerContext:
    """Forks workers from a process that has loaded all they need: loading takes longer than many a run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paymaster.torture.worker_main"])
    return context


class WorkerProcess:
    """One process at a time: after a kill, a new one is started. It runs in the network namespace `namespace`, if any.

    The new one's clock is right: a second process with the same wrong clock would confirm it.
    """

    def __init__(
        self, config: WorkerConfig, collector: ReportCollector, context: ForkServerContext, folder: Path, namespace: str | None = None
    ) -> None:
        self._config = config
        self._collector = collector
        self._context = context
        self._stderr = folder / f"worker-{config.number}.err"
        self._namespace = namespace
        self._threads: list[threading.Thread] = []
        self._killed = False
        self._process = self._start()

    @property
    def style(self) -> str:
        """How it calls: a WorkerStyle."""
        return self._config.style

    @property
    def process_id(self) -> int:
        """The current process."""
        return self._process.pid or 0

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.is_alive()

    def has_ended(self) -> bool:
        """Whether the worker is done. After a kill, a new process is started; a crash is reported."""
        if self._process.is_alive():
            return False
        if self._killed:
            self._killed = False
            self._config = replace(self._config, seed=self._config.seed + _NEW_SEED, offset_ms=0, jump_ms=0, speed_percent=100)
            self._process = self._start()
            return False
        self._join()
        if self._process.exitcode != 0:
            self._report_crash(f"ended with status {self._process.exitcode}")
        return True

    def kill(self) -> None:
        """`kill -9`."""
        if self._process.is_alive():
            self._killed = True
            self._process.kill()
            self._process.join()

    def stop(self) -> None:
        """SIGSTOP: the process keeps everything and does nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End it for good. If it was still running, report what it was doing."""
        if self._process.is_alive():
            self.resume()
            self._signal(signal.SIGABRT)  # the interpreter then writes every thread's stack
            self._process.join()
            self._report_crash("was ended")
        self._join()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process_id, number)

    def _start(self) -> ForkServerProcess:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=run_worker, args=(self._config.to_json(), theirs, str(self._stderr), self._namespace), daemon=True
        )
        process.start()
        theirs.close()
        pipe = os.fdopen(os.dup(ours.fileno()), "rb")
        ours.close()
        self._threads.append(threading.Thread(target=self._collector.read_pipe, args=(pipe,), daemon=True))
        self._threads[-1].start()
        return process

    def _report_crash(self, how: str) -> None:
        text = self._stderr.read_text("utf-8", "replace").strip() if self._stderr.exists() else ""
        self._collector.crashes.append(f"worker {self._config.number} {how}: {text[-_LONGEST_STDERR_CHARS:]}")

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads.clear()
