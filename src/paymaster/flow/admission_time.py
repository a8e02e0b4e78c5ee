"""When a hold was admitted, on the caller's clock, from what the ledger's clock says; knows clocks, and no ledger and no window.

A request must reach its provider soon after its hold was admitted, because its windows count from then. The caller knows when it asked and
when the answer arrived, and the ledger says when it admitted, on a clock of its own that may be hours away:

    asked ──── the request is on its way, or waits ──── admitted ──── the answer is on its way, or the caller is stopped ──── arrived

How far the clocks are apart is known at best from the answer that was fastest: none arrives before it was given. An answer that took longer
than that one did is old by the difference. So a ledger that is slow makes no hold old, and a caller that was stopped finds its hold old.
"""

from dataclasses import dataclass, replace

REMEMBERED_MS = 600_000
"""How long a fast answer is remembered at least: clocks drift apart, by half a second in 20 minutes at worst."""

LONGEST_ANSWER_MS = 15_000
"""A ledger gives up before it has tried for so long: with no other answer to compare, the caller was stopped."""


@dataclass(frozen=True, slots=True)
class _Fastest:
    """By how much the ledger's clock was ahead, at least, in this period and in the one before; None if nothing is known."""

    period: int = -1
    now_ms: int | None = None
    before_ms: int | None = None


class AdmissionTime:
    """For all calls that use one ledger, from any thread. All moments are milliseconds."""

    def __init__(self) -> None:
        self._fastest = _Fastest()
        self._trusts_next = False

    def admitted_at_ms(self, held_at_ms: int, *, asked_at_ms: int, answered_at_ms: int) -> int:
        """When the ledger admitted a hold, on the caller's clock. `held_at_ms` is on the ledger's."""
        period, last = answered_at_ms // REMEMBERED_MS, self._fastest
        if period != last.period:
            last = _Fastest(period, None, last.now_ms if period == last.period + 1 else None)
        known = [ahead_ms for ahead_ms in (last.now_ms, last.before_ms) if ahead_ms is not None]
        is_trusted, self._trusts_next = self._trusts_next, False
        ahead_ms = held_at_ms - answered_at_ms
        self._fastest = replace(last, now_ms=ahead_ms if last.now_ms is None else max(last.now_ms, ahead_ms))
        if not known and not is_trusted and answered_at_ms - asked_at_ms > LONGEST_ANSWER_MS:
            return asked_at_ms
        return max(asked_at_ms, held_at_ms - max([*known, ahead_ms]))

    def doubt(self) -> None:
        """A hold was found old. Should a clock be wrong, the next one must not be: its answer is believed whatever the others said."""
        self._fastest, self._trusts_next = _Fastest(), True
