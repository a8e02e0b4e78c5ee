"""How far a ledger on one machine follows the clocks of its callers: the rule, and the machine's own clock; knows no SQL and no account.

uptime                       counts from the start of the machine, the same for all of its processes; nobody can set it
a caller within TOLERANCE    the ledger's time goes on by the uptime, and the caller's clock confirms it
a caller who is behind       the ledger's time goes on by the uptime
a caller who is ahead        believed if nothing is open that the jump could end, or if a second process claims the same
                             and nobody has confirmed the ledger's time since the first claim
the machine was restarted    the caller is believed: no process that could have an open hold is left
no machine's clock counted   as on a fresh or migrated ledger: the time goes on from the newest one in it, and the rules above hold
"""

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

# A caller's clock that differs by less is right: clocks are set by fractions of a second all the time.
TOLERANCE_MS = 2_000
# A second process must claim the same jump this long after the first, so that those who know better can be heard in between.
AGREES_AFTER_MS = 1_000


class MachineTime(NamedTuple):
    """The machine's start, by a name that is new at each, and the milliseconds since then."""

    boot_id: str
    uptime_ms: int


ReadsMachineTime: TypeAlias = Callable[[], MachineTime]


class Claim(NamedTuple):
    """A process whose clock is `ahead_ms` ahead of the ledger's time: since when, and when it said so last, in the ledger's time."""

    process: str
    ahead_ms: int
    since_ms: int
    at_ms: int


def is_agreed(mine: Claim, others: Iterable[Claim], confirmed_at_ms: int) -> bool:
    """Whether another process claims the same as `mine`, and nobody has confirmed the ledger's time since then."""
    return any(
        other.process != mine.process
        and abs(other.ahead_ms - mine.ahead_ms) <= TOLERANCE_MS
        and other.since_ms > confirmed_at_ms
        and mine.at_ms - other.since_ms >= AGREES_AFTER_MS
        for other in others
    )


def machine_clock() -> ReadsMachineTime | None:
    """The clock of this machine; None on systems that have no such clock: a ledger there follows the latest of its callers.

    It is the kernel's count of ticks (times(2)), with a resolution of 10 ms. Unlike the other clocks it has no offset in a time namespace,
    and libraries that fake the time for a process leave it alone. It stands still while the machine sleeps.
    """
    boot_id = _boot_id()
    return None if boot_id is None else lambda: MachineTime(boot_id, round(os.times().elapsed * 1000))


@cache
def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None
