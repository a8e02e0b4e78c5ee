"""Several worker processes on one socket; knows processes and signals, and not what the workers serve.

The parent only opens the socket, forwards signals and restarts workers that died; it answers no request.
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
MIN_LIFETIME_S = 2.0
"""A worker that ends sooner than this after its start is not restarted at once."""

Work = Callable[[socket.socket, Event], None]
"""The work of one process: it serves on the socket and sets the event when it listens. It must be picklable."""


def serve_in_processes(work: Work, server_socket: socket.socket, count: int, ready: Callable[[], None], drain_s: float) -> int:
    """Run `count` workers until SIGTERM or SIGINT, and wait for them to drain. The exit status is 1 if no worker could start."""
    workers = _Workers(work, server_socket, count)
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        workers.signal_all(signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    if hasattr(signal, "SIGHUP"):
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: workers.signal_all(signal.SIGHUP))
    try:
        workers.start_missing()
        if not workers.wait_until_ready(stop):
            return 1
        ready()
        while not stop.wait(0.2):
            workers.restart_dead()
    finally:
        workers.signal_all(signal.SIGTERM)
        server_socket.close()  # otherwise the system would accept connections that no process answers
        workers.join(drain_s + 10)
        for number, action in before.items():
            signal.signal(number, action)
    return 0


def end_with_parent() -> None:
    """In a worker: drain when the parent has ended, for whatever reason.

    No other process would end the worker, and it would keep the port.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="paymaster-parent", daemon=True).start()


@contextlib.contextmanager
def _sighup_blocked() -> Iterator[None]:
    """Block SIGHUP in this thread and in the processes that it starts: they unblock it when they can handle it."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Workers:
    """The worker processes, each with its start time."""

    def __init__(self, work: Work, server_socket: socket.socket, count: int) -> None:
        self._work, self._server_socket, self._count = work, server_socket, count
        self._context = multiprocessing.get_context("spawn")
        self._ready = self._context.Event()
        self._workers: list[tuple[SpawnProcess, float]] = []

    def start_missing(self) -> None:
        """Start as many as are missing. A SIGHUP that arrives before a worker can handle it waits, rather than ending the worker."""
        while len(self._workers) < self._count:
            process = self._context.Process(target=self._work, args=(self._server_socket, self._ready), name="paymaster-gateway")
            with _sighup_blocked():
                process.start()
            self._workers.append((process, time.monotonic()))

    def wait_until_ready(self, stop: threading.Event) -> bool:
        """Whether one listens; False if all have ended before."""
        while not self._ready.wait(0.1):
            if stop.is_set() or not any(process.is_alive() for process, _ in self._workers):
                return False
        return True

    def restart_dead(self) -> None:
        """Restart workers that ended by themselves."""
        for process, started_at_s in [worker for worker in self._workers if not worker[0].is_alive()]:
            if time.monotonic() - started_at_s < MIN_LIFETIME_S:
                continue
            _LOGGER.error("worker ended with status %s, restarting it", process.exitcode)
            self._workers.remove((process, started_at_s))
        self.start_missing()

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every running worker."""
        for process, _ in self._workers:
            if process.pid is not None and process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def join(self, limit_s: float) -> None:
        """Wait for all; those that don't end in time are killed."""
        until_s = time.monotonic() + limit_s
        for process, _ in self._workers:
            process.join(max(0.1, until_s - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
