"""Signals end a batch in time: what is under way is cut off, and nothing that is over is waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paymaster.agents.stop_signals import SIGTERM_GRACE_S, stopping_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds commands in /proc")
SUPERVISORS_WAIT_S = 10


@pytest.fixture(name="idle_worker")
def _idle_worker():
    """A thread that waits for work, as those of a pool do until the pool is closed."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


@contextmanager
def stopped_twice() -> Iterator[None]:
    """As an agent that goes on after the first signal, and does what is in the block after the second one."""
    calls: list[str] = []
    with suppress(KeyboardInterrupt), stopping_batch(lambda: calls.append("ended")) as stop:
        send_and_wait()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            yield
            raise
    assert calls == ["ended"]
    assert (stop.status, stop.at_once) == (143, True)


def send_and_wait() -> None:
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)


def run_command(seconds: float) -> int:
    return subprocess.run([sys.executable, "-c", f"import time; time.sleep({seconds})"], check=False).returncode


@pytest.mark.usefixtures("idle_worker")
def test_threads_without_a_command_are_not_waited_for():
    began_s = time.monotonic()
    with stopped_twice():
        pass
    assert time.monotonic() - began_s < 1.5


def test_commands_that_run_on_are_ended_one_after_the_other_before_a_supervisor_kills_all():
    with stopped_twice():
        began_s = time.monotonic()
        assert run_command(0) == 0  # such as the one that saves the work
        assert [run_command(300), run_command(300)] == [-signal.SIGTERM] * 2
        assert SIGTERM_GRACE_S + time.monotonic() - began_s < SUPERVISORS_WAIT_S


def test_what_is_started_after_the_batch_is_left_alone():
    with stopped_twice():
        pass
    assert run_command(2) == 0
