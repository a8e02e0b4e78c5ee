"""Starts worker processes, hears what they say and disturbs them; knows no provider and no ledger."""

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

from paymaster.torture.verdicts import Told
from paymaster.torture.worker import Order
from paymaster.torture.worker_main import be_born

_LONGEST_COMPLAINT = 9_000
_NEW_SEED = 7_919


class Ears:
    """Collects what workers say, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._admitted: dict[str, int] = {}
        self._replies: dict[str, dict[int, int]] = {}
        self._counts: Counter[str] = Counter()
        self.ready = 0
        self.crashes: list[str] = []

    def hear(self, line: dict[str, object]) -> None:
        """Take one line."""
        with self._lock:
            match line:
                case {"admitted": str(hold_id), "at_ms": int(at_ms)}:
                    self._admitted[hold_id] = at_ms
                case {"reply": str(call_id), "attempts": list(attempts)}:
                    self._replies[call_id] = dict(attempts)
                case {"counts": dict(counts)}:
                    self._counts.update(counts)
                case _:
                    self.ready += 1

    def listen(self, pipe: IO[bytes]) -> None:
        """Hear a process to its end. The last line of one that was killed may be cut."""
        with pipe:
            for line in pipe:
                if line.endswith(b"\n"):
                    self.hear(orjson.loads(line))

    def told(self) -> Told:
        """Everything heard so far."""
        with self._lock:
            return Told(
                admitted_at_ms=dict(self._admitted), replies=dict(self._replies), counts=dict(self._counts), crashes=tuple(self.crashes)
            )


def nursery() -> ForkServerContext:
    """Where workers are forked from: a process that has loaded all they need, which takes longer than many a run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paymaster.torture.worker_main"])
    return context


class Worker:
    """One process at a time: one that was killed is followed by another. `namespace` is the network namespace it lives in, if any."""

    def __init__(self, order: Order, ears: Ears, context: ForkServerContext, folder: Path, namespace: str | None = None) -> None:
        self._order = order
        self._ears = ears
        self._context = context
        self._complaint = folder / f"worker-{order.number}.err"
        self._namespace = namespace
        self._threads: list[threading.Thread] = []
        self._killed = False
        self._process = self._start()

    @property
    def process_id(self) -> int:
        """The process that works now."""
        return self._process.pid or 0

    def has_ended(self) -> bool:
        """Whether it is done. One that was killed goes on in a new process; one that broke down is reported."""
        if self._process.is_alive():
            return False
        if self._killed:
            self._killed = False
            self._order = replace(self._order, seed=self._order.seed + _NEW_SEED)
            self._process = self._start()
            return False
        self._join()
        if self._process.exitcode != 0:
            self._report(f"ended with status {self._process.exitcode}")
        return True

    def kill(self) -> None:
        """`kill -9`."""
        if self._process.is_alive():
            self._killed = True
            self._process.kill()
            self._process.join()

    def stop(self) -> None:
        """SIGSTOP: it keeps everything and does nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End it for good, and report what it was doing where it had not ended by itself."""
        if self._process.is_alive():
            self.go_on()
            self._signal(signal.SIGABRT)  # on which the interpreter writes where every thread stands
            self._process.join()
            self._report("was ended")
        self._join()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process_id, number)

    def _start(self) -> ForkServerProcess:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=be_born, args=(self._order.to_json(), theirs, str(self._complaint), self._namespace), daemon=True
        )
        process.start()
        theirs.close()
        pipe = os.fdopen(os.dup(ours.fileno()), "rb")
        ours.close()
        self._threads.append(threading.Thread(target=self._ears.listen, args=(pipe,), daemon=True))
        self._threads[-1].start()
        return process

    def _report(self, how: str) -> None:
        text = self._complaint.read_text("utf-8", "replace").strip() if self._complaint.exists() else ""
        self._ears.crashes.append(f"worker {self._order.number} {how}: {text[-_LONGEST_COMPLAINT:]}")

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads.clear()
