"""Counts exactly how much a provider received in any one minute; the time is an argument."""

from collections import deque
from dataclasses import dataclass, field

WINDOW_MS = 60_000


@dataclass(slots=True)
class SlidingWindow:
    """The amounts of the last 60 seconds, and the largest sum of any 60 seconds."""

    largest: int = 0
    _entries: deque[tuple[int, int]] = field(default_factory=deque)
    _sum: int = 0

    def add(self, amount: int, now_ms: int) -> None:
        """Count an accepted amount."""
        self._drop_expired(now_ms)
        self._entries.append((now_ms, amount))
        self._sum += amount
        self.largest = max(self.largest, self._sum)

    def wait_ms(self, amount: int, cap: int, now_ms: int) -> int:
        """The time until `amount` fits under `cap`: 0 if it fits now, the whole window if it never does."""
        self._drop_expired(now_ms)
        surplus = self._sum + amount - cap
        if surplus <= 0:
            return 0
        for at_ms, entry in self._entries:
            surplus -= entry
            if surplus <= 0:
                return at_ms + WINDOW_MS - now_ms
        return WINDOW_MS

    def remaining(self, cap: int, now_ms: int) -> int:
        """The amount that still fits."""
        self._drop_expired(now_ms)
        return max(0, cap - self._sum)

    def _drop_expired(self, now_ms: int) -> None:
        while self._entries and self._entries[0][0] <= now_ms - WINDOW_MS:
            self._sum -= self._entries.popleft()[1]
