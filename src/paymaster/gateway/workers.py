"""Several gateways on one socket, each a process; knows processes and signals, nothing of what they serve.

The parent listens and answers nothing: it passes signals on, and starts a worker anew that died.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_LOGGER = logging.getLogger("paymaster.gateway")
SHORTEST_LIFE_S = 2.0
"""A worker that ends sooner than this after its start is not started again at once."""

Work = Callable[[socket.socket, Event], None]
"""What a worker does with the socket, in a process of its own; it sets the event when it listens. It must be picklable."""


def serve_in_processes(work: Work, listening: socket.socket, count: int, ready: Callable[[], None], drain_s: float) -> int:
    """Run `count` workers until SIGTERM or SIGINT, and wait for them to drain. The exit status: 1 where no worker could begin."""
    crew = _Crew(work, listening, count)
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        crew.signal_all(signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    if hasattr(signal, "SIGHUP"):
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: crew.signal_all(signal.SIGHUP))
    try:
        crew.start()
        if not crew.wait_until_ready(stop):
            return 1
        ready()
        while not stop.wait(0.2):
            crew.replace_the_dead()
    finally:
        crew.signal_all(signal.SIGTERM)
        listening.close()  # else the system would go on taking connections that nobody answers
        crew.join(drain_s + 10)
        for number, answer in before.items():
            signal.signal(number, answer)
    return 0


def end_with_parent() -> None:
    """In a worker: drain when whoever started it is gone, killed or not.

    Nobody else would tell it to end, and the port would be taken.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="paymaster-parent", daemon=True).start()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Hold SIGHUP back from this thread, and from the processes that it starts: they let it through when they can answer it."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Crew:
    """The workers, each with the time of its start."""

    def __init__(self, work: Work, listening: socket.socket, count: int) -> None:
        self._work, self._listening, self._count = work, listening, count
        self._context = multiprocessing.get_context("spawn")
        self._ready = self._context.Event()
        self._workers: list[tuple[SpawnProcess, float]] = []

    def start(self) -> None:
        """Start as many as are missing. A SIGHUP that comes before one can answer it waits for it, rather than ending it."""
        while len(self._workers) < self._count:
            process = self._context.Process(target=self._work, args=(self._listening, self._ready), name="paymaster-gateway")
            with _held_back():
                process.start()
            self._workers.append((process, time.monotonic()))

    def wait_until_ready(self, stop: threading.Event) -> bool:
        """Whether one listens; False where all have ended before."""
        while not self._ready.wait(0.1):
            if stop.is_set() or not any(process.is_alive() for process, _ in self._workers):
                return False
        return True

    def replace_the_dead(self) -> None:
        """Start a worker anew that ended by itself."""
        for process, began_s in [worker for worker in self._workers if not worker[0].is_alive()]:
            if time.monotonic() - began_s < SHORTEST_LIFE_S:
                continue
            _LOGGER.error("a worker ended with status %s and is started again", process.exitcode)
            self._workers.remove((process, began_s))
        self.start()

    def signal_all(self, number: signal.Signals) -> None:
        """Pass a signal on."""
        for process, _ in self._workers:
            if process.pid is not None and process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def join(self, limit_s: float) -> None:
        """Wait for all; what does not end is killed."""
        until_s = time.monotonic() + limit_s
        for process, _ in self._workers:
            process.join(max(0.1, until_s - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
