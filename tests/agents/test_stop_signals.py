"""Signals end a batch in time: what is under way is cut off, and nothing that is over is waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from paymaster.agents.stop_signals import SIGTERM_GRACE_S, stopping_batch

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


def stop_twice(command: subprocess.Popen[bytes] | None = None) -> float:
    """How long the second signal took, in seconds."""
    calls: list[str] = []
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt), stopping_batch(lambda: calls.append("ended")) as stop:
        send_twice()
    took_s = time.monotonic() - began_s
    assert calls == ["ended"]
    assert (stop.status, stop.at_once) == (143, True)
    if command is not None:
        assert command.wait(30) == -signal.SIGTERM
    return took_s


def send_twice() -> None:
    """As an agent that goes on after the first signal."""
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)


@pytest.mark.usefixtures("idle_worker")
def test_threads_without_a_command_are_not_waited_for():
    assert stop_twice() < 1.5


@pytest.mark.usefixtures("idle_worker")
def test_a_command_that_does_not_end_is_ended_before_a_supervisor_kills_all():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) as command:
        assert SIGTERM_GRACE_S + stop_twice(command) < SUPERVISORS_WAIT_S
