"""Spending over time, by model, run and user: sums per step of time, as a chart shows them; pure."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paymaster.accounting.records import AttemptRecord
from paymaster.views.reports import Key

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_FINEST_MS = 5 * _MINUTE_MS
_STEPS_MS = (_FINEST_MS, 15 * _MINUTE_MS, _HOUR_MS, 3 * _HOUR_MS, 6 * _HOUR_MS, 12 * _HOUR_MS, _DAY_MS, 7 * _DAY_MS, 28 * _DAY_MS)
MOST_STEPS = 36
MOST_SERIES = 7
"""What a person can tell apart by colour; the rest is added up as one."""

_NAMES: Mapping[Key, Callable[[AttemptRecord], str | None]] = {
    Key.MODEL: lambda attempt: attempt.model,
    Key.RUN: lambda attempt: attempt.run,
    Key.USER: lambda attempt: attempt.user,
}
KEYS = tuple(_NAMES)


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart: `name` is None where the records name none; nano-dollars per step."""

    name: str | None
    amounts_nanousd: tuple[int, ...]
    is_rest: bool = False

    @property
    def total_nanousd(self) -> int:
        """All of it."""
        return sum(self.amounts_nanousd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The dearest names and the rest, over steps of `step_ms` that begin at `starts_ms` (UTC, milliseconds since 1970)."""

    key: Key
    step_ms: int
    starts_ms: tuple[int, ...]
    series: tuple[Series, ...]

    @property
    def total_nanousd(self) -> int:
        """All of it."""
        return sum(series.total_nanousd for series in self.series)


class Spending:
    """Adds up what attempts cost, in any order. Memory grows with the time covered and the names seen, not with the attempts."""

    def __init__(self, *, only_user: str | None = None) -> None:
        """With `only_user`, attempts of others are passed over."""
        self._only_user = only_user
        self._sums: dict[Key, defaultdict[tuple[int, str | None], int]] = {key: defaultdict(int) for key in KEYS}
        self.first_ms: int | None = None
        self.last_ms: int | None = None

    def add(self, attempt: AttemptRecord) -> None:
        """Count an attempt."""
        if self._only_user not in (None, attempt.user):
            return
        self.first_ms = attempt.at_ms if self.first_ms is None else min(self.first_ms, attempt.at_ms)
        self.last_ms = attempt.at_ms if self.last_ms is None else max(self.last_ms, attempt.at_ms)
        self._shift(attempt, attempt.cost_nanousd)

    def take_back(self, attempt: AttemptRecord) -> None:
        """An attempt that was counted is corrected: the new record is added by itself."""
        if self._only_user in (None, attempt.user):
            self._shift(attempt, -attempt.cost_nanousd)

    def _shift(self, attempt: AttemptRecord, by_nanousd: int) -> None:
        place = attempt.at_ms // _FINEST_MS
        for key, name_of in _NAMES.items():
            self._sums[key][place, name_of(attempt)] += by_nanousd

    def timeline(self, key: Key, since_ms: int | None = None, until_ms: int | None = None) -> Timeline:
        """The sums from then until then (default: from the first to the last attempt), in at most `MOST_STEPS` steps or so."""
        begin_ms = since_ms if since_ms is not None else self.first_ms or 0
        end_ms = max(begin_ms + 1, until_ms if until_ms is not None else (self.last_ms or 0) + 1)
        step_ms = next((step for step in _STEPS_MS if end_ms - begin_ms <= MOST_STEPS * step), _STEPS_MS[-1])
        starts_ms = range(begin_ms // step_ms * step_ms, end_ms, step_ms)
        totals: defaultdict[str | None, list[int]] = defaultdict(lambda: [0] * len(starts_ms))
        for (place, name), amount in self._sums[key].items():
            at_ms = place * _FINEST_MS
            if amount and starts_ms.start <= at_ms < starts_ms.stop:
                totals[name][(at_ms - starts_ms.start) // step_ms] += amount
        dearest = sorted(totals.items(), key=lambda item: (-sum(item[1]), item[0] or ""))
        series = [Series(name, tuple(amounts)) for name, amounts in dearest[:MOST_SERIES]]
        if rest := dearest[MOST_SERIES:]:
            series.append(Series(f"{len(rest)} others", tuple(map(sum, zip(*(amounts for _, amounts in rest), strict=True))), is_rest=True))
        return Timeline(key=key, step_ms=step_ms, starts_ms=tuple(starts_ms), series=tuple(series))
