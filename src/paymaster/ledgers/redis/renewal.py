"""Short leases of open holds, which the process that made them renews while it lives; knows no account and no call.

A lease lasts 45 s at most, so what a killed process held is charged, and its slots are free, that soon. A living process renews all its
leases every 15 s. A thread with a connection of its own does that, because callers may block in a call, and loops in their users' code. It
is started with the first hold and ends with the last one. No lease goes beyond the hold's own end (`Hold.lease_ms`), so a call that hangs
for ever is charged as well.

A lease that lapses although its process lives, because the process was stopped or the server could not be reached, makes its hold lost: it
is charged in full, and corrected when it settles. No renewal takes that back.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from paymaster.accounting.accounts import Hold
from paymaster.forks import renew_in_children
from paymaster.ledgers.redis.expectation import Expectation
from paymaster.ledgers.redis.messages import split_reply
from paymaster.ledgers.redis.scripts import ScriptRunner
from paymaster.runtime import run

# So many holds are renewed by one script, in about a millisecond of the server's time.
PAGE = 100
# A new thread stays this long even without an open hold, so that calls which are over in milliseconds don't start one each.
QUIET_S = 1.0
# How long closing waits for a thread that is about to end.
CLOSE_S = 1.0
_LOGGER = logging.getLogger("paymaster.ledgers")


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a lease lasts, how often it is renewed, and how soon after a renewal that failed it is tried again."""

    lease_ms: int = 45_000
    renew_ms: int = 15_000
    retry_ms: int = 2_000

    @property
    def missed_ms(self) -> int:
        """What is left of a lease at most once two renewals were missed."""
        return self.lease_ms - 2 * self.renew_ms


SHORT = LeaseTimes()
# For a ledger that has its callers' time: every lease is as long as its hold asks for.
UNRENEWED = LeaseTimes(lease_ms=2**53)


class NotRenewed(Exception):
    """The ledger did not renew leases, and answered this word: it is another one, or being brought up to date."""


@dataclass(frozen=True, slots=True)
class _Renewed:
    """A hold that is renewed: how long its lease may be in all, and when that is over by this process's clock."""

    own_ms: int
    ends_at_s: float


class LeaseRenewal:
    """The open holds of this process on one ledger, the `expected` one. `connect` makes a connection for the thread."""

    def __init__(self, connect: Callable[[], ScriptRunner], expected: Expectation, times: LeaseTimes) -> None:
        self._connect = connect
        self._expected = expected
        self.times = times
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the open holds are its parent's, whose thread goes on to renew them."""
        self._lock = threading.Lock()
        self._open: dict[str, _Renewed] = {}
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._quiet_until_s = 0.0
        self._is_asking = False

    def lease_ms(self, hold: Hold) -> int:
        """The lease that the hold is admitted with."""
        return min(hold.lease_ms, self.times.lease_ms)

    def add(self, hold: Hold) -> None:
        """The hold is open: renew its lease until `remove`, or until its own end."""
        if hold.lease_ms <= self.times.lease_ms:
            return
        now_s = time.monotonic()
        with self._lock:
            self._open[hold.id] = _Renewed(hold.lease_ms, now_s + hold.lease_ms / 1_000)
            if self._thread is None:
                self._quiet_until_s = now_s + QUIET_S
                self._woken.clear()
                thread = threading.Thread(target=self._work, name="paymaster-leases", daemon=True)
                with suppress(RuntimeError):  # there can be no more threads, or the program ends: the lease is not renewed
                    thread.start()
                    self._thread = thread

    def remove(self, hold_id: str) -> None:
        """The hold has ended, or it is left to the end of its lease."""
        with self._lock:
            if self._open.pop(hold_id, None) is not None and not self._open and time.monotonic() > self._quiet_until_s:
                self._woken.set()

    def close(self) -> None:
        """Leave what is open to its lease, and end the thread; one that waits for the server ends when it is answered."""
        with self._lock:
            self._open.clear()
            self._woken.set()
            thread = None if self._is_asking else self._thread
        if thread is not None:
            thread.join(CLOSE_S)

    def _work(self) -> None:
        """Renew the leases, in the thread, while there are open holds."""
        due_s = succeeded_s = time.monotonic() + self.times.renew_ms / 1_000
        runner: ScriptRunner | None = None
        has_warned = False
        self._woken.wait(QUIET_S)
        while self._goes_on():
            left_s = due_s - time.monotonic()
            if left_s > 0:
                self._woken.wait(left_s)
                continue
            runner = runner or self._connect()
            try:
                self._renew_all(runner)
            except Exception as error:  # noqa: BLE001 - the edge of a thread: no caller is left to catch it, and the next try may succeed
                due_s = time.monotonic() + self.times.retry_ms / 1_000
                if not has_warned and time.monotonic() - succeeded_s > self.times.renew_ms / 1_000:
                    has_warned = True
                    self._warn(error)
                run(runner.connections.close())
                runner = None
            else:
                due_s = time.monotonic() + self.times.renew_ms / 1_000
                succeeded_s, has_warned = time.monotonic(), False
        if runner is not None:
            run(runner.connections.close())

    def _goes_on(self) -> bool:
        """Whether there is something to renew; if not, another hold starts another thread."""
        with self._lock:
            self._is_asking = False
            self._woken.clear()
            if not self._open:
                self._thread = None
            return self._thread is not None

    def _renew_all(self, runner: ScriptRunner) -> None:
        """Renew what is open, in pages, and forget what can't be renewed any more. Raises whatever goes wrong."""
        now_s = time.monotonic()
        with self._lock:
            self._open = {hold_id: hold for hold_id, hold in self._open.items() if hold.ends_at_s > now_s}
            holds = list(self._open.items())
            self._is_asking = True
        for first in range(0, len(holds), PAGE):
            page = holds[first : first + PAGE]
            final = [hold_id for (hold_id, _), letter in zip(page, self._ask(runner, page), strict=True) if letter == "n"]
            with self._lock:
                for hold_id in final:
                    self._open.pop(hold_id, None)

    def _ask(self, runner: ScriptRunner, holds: Sequence[tuple[str, _Renewed]]) -> str:
        """Renew these; a letter for each (`renew.lua`)."""
        ids, own_ms = [hold_id for hold_id, _ in holds], [hold.own_ms for _, hold in holds]
        request = {"holds": ids, "own_ms": own_ms, "lease_ms": self.times.lease_ms, **self._expected.fields()}
        word, letters, _ = split_reply(run(runner.run("renew", request)))
        if word != "RENEWED":
            raise NotRenewed(word)
        return letters.decode()

    def _warn(self, error: Exception) -> None:
        _LOGGER.warning(
            "The leases on %s can't be renewed (open calls: %d): %s: %s. A call whose lease ends is charged in full until it settles.",
            self._expected.location,
            len(self._open),
            type(error).__name__,
            str(error).rstrip("."),
        )
