"""Spending over time, by model, run and user: sums per time step, as a chart shows them; knows no chart."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paymaster.accounting.records import AttemptRecord
from paymaster.views.reports import GroupBy

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_FINEST_MS = 5 * _MINUTE_MS
_STEPS_MS = (_FINEST_MS, 15 * _MINUTE_MS, _HOUR_MS, 3 * _HOUR_MS, 6 * _HOUR_MS, 12 * _HOUR_MS, _DAY_MS, 7 * _DAY_MS, 28 * _DAY_MS)
MOST_STEPS = 36
MOST_SERIES = 7
"""As many colours as a person can distinguish; all other names are added up as one series."""

_NAMES: Mapping[GroupBy, Callable[[AttemptRecord], str | None]] = {
    GroupBy.MODEL: lambda attempt: attempt.model,
    GroupBy.RUN: lambda attempt: attempt.run_name,
    GroupBy.USER: lambda attempt: attempt.user,
}
CHARTED = tuple(_NAMES)


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart, in nano-dollars per step. `name` is None if the records name none; `is_others` is all other names' sum."""

    name: str | None
    amounts_nanousd: tuple[int, ...]
    is_others: bool = False

    @property
    def total_nanousd(self) -> int:
        """The sum over all steps."""
        return sum(self.amounts_nanousd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The most expensive names and all others, over steps of `step_ms` that begin at `starts_ms` (milliseconds since 1970)."""

    by: GroupBy
    step_ms: int
    starts_ms: tuple[int, ...]
    series: tuple[Series, ...]

    @property
    def total_nanousd(self) -> int:
        """The sum over all steps."""
        return sum(series.total_nanousd for series in self.series)


class Spending:
    """Adds up what attempts cost, in any order. Memory grows with the time span and the names, not with the attempts."""

    def __init__(self, *, only_user: str | None = None) -> None:
        """With `only_user`, other users' attempts are skipped."""
        self._only_user = only_user
        self._sums: dict[GroupBy, defaultdict[tuple[int, str | None], int]] = {by: defaultdict(int) for by in CHARTED}
        self.first_ms: int | None = None
        self.last_ms: int | None = None

    def add(self, attempt: AttemptRecord) -> None:
        """Count an attempt."""
        if self._only_user not in (None, attempt.user):
            return
        self.first_ms = attempt.at_ms if self.first_ms is None else min(self.first_ms, attempt.at_ms)
        self.last_ms = attempt.at_ms if self.last_ms is None else max(self.last_ms, attempt.at_ms)
        self._count(attempt, attempt.cost_nanousd)

    def remove(self, attempt: AttemptRecord) -> None:
        """Take out an attempt that is corrected. Its correct record is added separately."""
        if self._only_user in (None, attempt.user):
            self._count(attempt, -attempt.cost_nanousd)

    def _count(self, attempt: AttemptRecord, amount_nanousd: int) -> None:
        step = attempt.at_ms // _FINEST_MS
        for by, name_of in _NAMES.items():
            self._sums[by][step, name_of(attempt)] += amount_nanousd

    def timeline(self, by: GroupBy, since_ms: int | None = None, until_ms: int | None = None) -> Timeline:
        """The sums of that period (default: from the first to the last attempt), in about `MOST_STEPS` steps at most."""
        begin_ms = since_ms if since_ms is not None else self.first_ms or 0
        end_ms = max(begin_ms + 1, until_ms if until_ms is not None else (self.last_ms or 0) + 1)
        step_ms = next((ms for ms in _STEPS_MS if end_ms - begin_ms <= MOST_STEPS * ms), _STEPS_MS[-1])
        starts_ms = range(begin_ms // step_ms * step_ms, end_ms, step_ms)
        totals: defaultdict[str | None, list[int]] = defaultdict(lambda: [0] * len(starts_ms))
        for (step, name), amount in self._sums[by].items():
            at_ms = step * _FINEST_MS
            if amount and starts_ms.start <= at_ms < starts_ms.stop:
                totals[name][(at_ms - starts_ms.start) // step_ms] += amount
        by_cost = sorted(totals.items(), key=lambda item: (-sum(item[1]), item[0] or ""))
        series = [Series(name, tuple(amounts)) for name, amounts in by_cost[:MOST_SERIES]]
        if others := by_cost[MOST_SERIES:]:
            sums = tuple(map(sum, zip(*(amounts for _, amounts in others), strict=True)))
            series.append(Series(f"{len(others)} others", sums, is_others=True))
        return Timeline(by=by, step_ms=step_ms, starts_ms=tuple(starts_ms), series=tuple(series))
