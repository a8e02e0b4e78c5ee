"""A hold that was admitted long ago is not sent; one that a slow ledger admitted just now is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from call_box import Box, answer, model, registry
from paymaster.flow.admission_time import LONGEST_ANSWER_MS, REMEMBERED_MS, AdmissionTime
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Limits
from paymaster.routing.charges import WINDOW_MARGIN_MS
from paymaster.testing import ManualRuntime

HOUR_MS = 3_600_000

# Each answer: when it was asked for, what the ledger's clock showed, when it arrived; and when its hold was admitted.
ANSWERS = {
    "a fast ledger": [((0, 0, 0), 0), ((100, 101, 102), 101), ((5_000, 5_001, 5_002), 5_001)],
    "a ledger that is always slow to admit": [((0, 2_000, 2_001), 2_001), ((9_000, 11_000, 11_001), 11_001)],
    "a ledger whose answers are always slow": [((0, 1, 2_000), 2_000), ((9_000, 9_001, 11_000), 11_000)],
    "a ledger that takes the time of its callers": [((0, 0, 2_000), 2_000), ((9_000, 9_000, 11_000), 11_000)],
    "a ledger that becomes slow to admit": [((0, 1, 2), 2), ((9_000, 11_000, 11_001), 11_001)],
    "an answer that was slow, or a caller that was stopped": [((0, 1, 2), 2), ((9_000, 9_001, 69_000), 9_002)],
    "a server's clock that is an hour ahead": [((0, HOUR_MS, 2), 2), ((9_000, HOUR_MS + 9_001, 69_000), 9_003)],
    "a server's clock that is an hour behind": [((0, -HOUR_MS, 2), 2), ((9_000, 9_001 - HOUR_MS, 69_000), 9_003)],
    "a server's clock that jumps ahead": [((0, 1, 2), 2), ((9_000, HOUR_MS, 11_000), 11_000)],
    "a ledger's clock that stands still": [((0, 50, 2), 2), ((9_000, 50, 9_002), 9_000)],
    "a caller that was stopped in its first call": [((0, 1, LONGEST_ANSWER_MS + 1), 0), ((90_000, 90_001, 90_002), 90_002)],
    "what was known long ago": [((0, 50, 2), 2), ((2 * REMEMBERED_MS, 2 * REMEMBERED_MS, 2 * REMEMBERED_MS + 40), 2 * REMEMBERED_MS + 40)],
    "what was known before": [((0, 1, 2), 2), ((REMEMBERED_MS, REMEMBERED_MS + 1, REMEMBERED_MS + 40), REMEMBERED_MS + 2)],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_hold_was_admitted_at_most_as_long_ago_as_the_fastest_answer_allows(name):
    found = AdmissionTime()
    for (asked, held, answered), admitted in ANSWERS[name]:
        assert found.admitted_at_ms(held, asked_at_ms=asked, answered_at_ms=answered) == admitted
        assert asked <= admitted <= answered


def test_after_a_doubt_the_next_answer_is_believed():
    found = AdmissionTime()
    found.admitted_at_ms(1, asked_at_ms=0, answered_at_ms=2)
    assert found.admitted_at_ms(2, asked_at_ms=60_000, answered_at_ms=62_000) == 60_000  # its clock stands still
    found.doubt()
    assert found.admitted_at_ms(2, asked_at_ms=62_000, answered_at_ms=64_000) == 64_000
    found.doubt()
    late = 64_000 + 2 * LONGEST_ANSWER_MS
    assert found.admitted_at_ms(2, asked_at_ms=64_000, answered_at_ms=late) == late


class SlowLedger(MemoryLedger):
    """A ledger that takes its time before or after it admits; `keeps_time` by a clock of its own, else by the callers'."""

    def __init__(self, runtime, before_ms, after_ms, *, keeps_time):
        super().__init__()
        self._runtime, self._before_ms, self._after_ms, self._keeps_time = runtime, before_ms, after_ms, keeps_time

    async def reserve(self, hold, now_ms, *, queue_for_ms=0):
        await self._runtime.sleep(self._before_ms)
        at_ms = self._runtime.now_ms() if self._keeps_time else now_ms
        answer = await super().reserve(hold, at_ms, queue_for_ms=queue_for_ms)
        await self._runtime.sleep(self._after_ms)
        return answer


@pytest.mark.parametrize("keeps_time", [True, False])
@pytest.mark.parametrize(("before_ms", "after_ms"), [(0, 0), (2_000, 0), (0, 2_000), (5_000, 4_000)])
def test_a_slow_ledger_makes_no_hold_stale(before_ms, after_ms, keeps_time):
    runtime = ManualRuntime()
    books = SlowLedger(runtime, before_ms, after_ms, keeps_time=keeps_time)
    box = Box(registry(model("a", limits=Limits(rpm=60, tpm=100_000))), {"a": [answer()]}, runtime, books)
    for _ in range(3):
        assert [record.outcome for record in box.ask().attempts] == ["answered"]


@pytest.mark.parametrize("stopped_ms", [WINDOW_MARGIN_MS + 500, 90_000])
@pytest.mark.parametrize("before_ms", [0, 2_000])
def test_a_caller_that_was_stopped_after_its_hold_takes_it_again(before_ms, stopped_ms):
    runtime = ManualRuntime()
    books = SlowLedger(runtime, before_ms, 0, keeps_time=True)
    box = Box(registry(model("a", limits=Limits(rpm=60))), {"a": [answer()]}, runtime, books)
    assert len(box.ask().attempts) == 1
    books._after_ms = stopped_ms
    sleep = runtime.sleep

    async def once(duration_ms):
        await sleep(duration_ms)
        if duration_ms == stopped_ms:
            books._after_ms = 0

    runtime.sleep = once
    assert [record.outcome for record in box.ask().attempts] == ["stale_hold", "answered"]
    assert len(box.called()) == 2


class Stops(list):
    """Events; the first `admitted` stops the caller."""

    def __init__(self, stop):
        super().__init__()
        self._stop = stop

    def append(self, event):
        super().append(event)
        if event.kind == "admitted" and sum(each.kind == "admitted" for each in self) == 1:
            self._stop()


def test_a_caller_that_was_stopped_before_it_sends_takes_its_hold_again():
    runtime = ManualRuntime()
    events = Stops(lambda: runtime.advance(WINDOW_MARGIN_MS + 1))
    box = Box(registry(model("a", limits=Limits(rpm=60))), {"a": [answer()]}, runtime, events=events)
    assert [record.outcome for record in box.ask().attempts] == ["stale_hold", "answered"]


STOPPED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from call_box import Box, Limits, answer, model, registry
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import AsyncioRuntime, run
runtime = AsyncioRuntime()
books = SqliteLedger(Path(sys.argv[1]), runtime.sleep)
box = Box(registry(model("a", limits=Limits(rpm=60))), {"a": [answer()]}, runtime, books)
print(*[record.outcome for record in box.ask().attempts], flush=True)
reserve, stops = books.reserve, [True]
async def stopped(*args, **names):
    held = await reserve(*args, **names)
    if stops:
        stops.pop()
        os.kill(os.getpid(), signal.SIGSTOP)
    return held
books.reserve = stopped
print(*[record.outcome for record in box.ask().attempts], flush=True)
run(books.close())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops a process")
def test_a_process_that_is_stopped_after_its_hold_takes_it_again(tmp_path):
    # A process that is stopped would leave half-written coverage data behind.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "l.db"), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["answered"]
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        time.sleep((WINDOW_MARGIN_MS + 500) / 1_000)  # the time that it is stopped for is what is tested
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline().split() == ["stale_hold", "answered"]
