"""Times of a ledger that has a clock of its own, as its caller's clock would show them; knows no ledger.

A caller whose clock is an hour behind the ledger's reads of room "in 40 s", not "in 60 min 40 s".
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from paymaster.accounting.accounts import Balance, Queued

# Clocks that differ by less are the same to a person.
TOLERANCE_MS = 2_000


def balances_as_seen(balances: Mapping[str, Balance], ledger_ms: int, caller_ms: int) -> dict[str, Balance]:
    """The balances with the times at which their windows get room."""
    ahead_ms = ledger_ms - caller_ms
    if abs(ahead_ms) <= TOLERANCE_MS:
        return dict(balances)
    return {
        name: balance._replace(free_at=tuple((at_ms - ahead_ms, amount) for at_ms, amount in balance.free_at))
        for name, balance in balances.items()
    }


def queue_as_seen(queue: Sequence[Queued], ledger_ms: int, caller_ms: int) -> tuple[Queued, ...]:
    """The queue with the times since which its callers wait."""
    ahead_ms = ledger_ms - caller_ms
    if abs(ahead_ms) <= TOLERANCE_MS:
        return tuple(queue)
    return tuple(replace(each, since_ms=each.since_ms - ahead_ms) for each in queue)
