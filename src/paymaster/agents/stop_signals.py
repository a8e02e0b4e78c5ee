"""Ends an agent's command on Ctrl-C and SIGTERM; knows processes and signals, and no agent.

| signal          | a batch                                                               | a single run                               |
|-----------------|-----------------------------------------------------------------------|--------------------------------------------|
| the first       | as the agent does on Ctrl-C: nothing begins, what is under way ends   | the call is settled, run and command end   |
| SIGTERM + 5 s   | as a second signal: who sends SIGTERM kills soon after                |                                            |
| the second      | open calls are cancelled and settled, environments ended              | as usual                                   |
| the third       | ends the process at once                                              |                                            |
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from paymaster.agents.stderr import write_stderr

SIGTERM_GRACE_S = 5.0
"""Docker and most supervisors send SIGKILL 10 s after SIGTERM, Kubernetes and Slurm after 30 s."""

# How long a command may still run once what is under way is cut off: long enough to read a diff or to remove a container. What is left of
# the 10 s is for settlements, and for the end of the process.
_COMMAND_S, _LOOK_S = 1.5, 0.1


@dataclass(slots=True)
class Stop:
    """The first signal that came, None if none did; and whether a second one cut off what was under way."""

    number: int | None = None
    at_once: bool = False

    @property
    def status(self) -> int:
        """The exit status of a process that this signal ends."""
        return 0 if self.number is None else 128 + self.number

    @property
    def name(self) -> str:
        """What people call it."""
        return "Ctrl-C" if self.number == signal.SIGINT else "SIGTERM"


@contextmanager
def stopping_batch(end_calls: Callable[[], object]) -> Iterator[Stop]:
    """Handle both signals while the block lasts. The first raises KeyboardInterrupt, the second does so after `end_calls`.

    In another thread than the main one, signals can't be handled, and nothing is changed.
    """
    stop = Stop()
    grace = threading.Timer(SIGTERM_GRACE_S, os.kill, (os.getpid(), signal.SIGTERM))
    grace.daemon = True
    over = threading.Event()

    def stop_or_cut(number: int, _frame: FrameType | None) -> None:
        if stop.number is None:
            stop.number = number
            if number == signal.SIGTERM:
                grace.start()
                write_stderr(f"SIGTERM: what is under way may end within {SIGTERM_GRACE_S:g} s.")
            raise KeyboardInterrupt
        stop.at_once = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        grace.cancel()
        write_stderr("Open calls are cancelled and charged for what may have been billed …")
        with suppress(TimeoutError):  # what is not settled by then is charged when the process has ended
            end_calls()
        threading.Thread(target=_end_long_commands, args=(over,), daemon=True).start()
        raise KeyboardInterrupt

    with _handling({signal.SIGINT: stop_or_cut, signal.SIGTERM: stop_or_cut}):
        try:
            yield stop
        finally:
            grace.cancel()
            over.set()


@contextmanager
def stopping_run() -> Iterator[Stop]:
    """Handle SIGTERM while the block lasts: it raises SystemExit in the main thread, which settles the open call. Ctrl-C is the agent's.

    Agents run commands in sessions of their own, which no signal of a terminal reaches: one that is still running ends with the block.
    """
    stop = Stop()

    def end(number: int, _frame: FrameType | None) -> None:
        stop.number = number
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.exit(stop.status)

    with _handling({signal.SIGTERM: end}):
        try:
            yield stop
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                stop.number = stop.number or signal.SIGINT
            _end_commands()
            raise


def raise_stop(stop: Stop, way_on: str) -> NoReturn:
    """End a command that a signal stopped: print how it goes on, then KeyboardInterrupt after Ctrl-C, else SystemExit with the status."""
    write_stderr(way_on)
    if stop.number == signal.SIGINT:
        raise KeyboardInterrupt
    write_stderr(f"Error: stopped by {stop.name}")
    sys.exit(stop.status)


Handler = Callable[[int, FrameType | None], None]


@contextmanager
def _handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _end_long_commands(over: threading.Event) -> None:
    """End each command of an agent that runs on, until the batch is over: the thread that waits for it may have more to start."""
    since_s: dict[int, float] = {}
    while not over.wait(_LOOK_S):
        now_s = time.monotonic()
        since_s = {process: since_s.get(process, now_s) for process in _descendants(os.getpid())}
        for process in [process for process, began_s in since_s.items() if now_s - began_s >= _COMMAND_S]:
            _end(process)
            since_s[process] = math.inf  # once: a second SIGTERM may stop it from cleaning up


def _end_commands() -> None:
    for process in list(_descendants(os.getpid())):
        _end(process)


def _end(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)


def _descendants(process: int) -> Iterator[int]:
    """The processes that this one started, and those that they did; nothing on a system without /proc."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found = [int(word) for word in children.read_text().split()]
        except (OSError, ValueError):
            continue
        for child in found:
            yield child
            yield from _descendants(child)
