"""Where the money went: attempts added up by model, run, day and so on; knows records, and neither their storage nor a table."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from paymaster.accounting.records import AttemptRecord

_DAY_MS = 86_400_000
MOST_INEXACT = 100
"""How many attempts that were charged without an exact figure a report keeps: the most expensive ones."""


class GroupBy(StrEnum):
    """What attempts can be grouped by. A day is a UTC day. A tier of service is the one that the answer names, else the one asked for."""

    MODEL = "model"
    ENDPOINT = "endpoint"
    RUN = "run"
    BATCH = "batch"
    INSTANCE = "instance"
    USER = "user"
    ROLE = "role"
    DAY = "day"
    TIER = "tier"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which records count: those of `run` and of `batch`, if given, from `since_ms` on and before `until_ms`.

    `run` may have its owner (`ann/exp-42`); without one it is every run of this name.
    """

    run: str | None = None
    batch: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def admits(self, record: AttemptRecord) -> bool:
        """Whether the record counts."""
        return (
            (self.run is None or self.run in {record.run, record.run_name})
            and (self.batch is None or record.batch == self.batch)
            and (self.since_ms is None or record.at_ms >= self.since_ms)
            and (self.until_ms is None or record.at_ms < self.until_ms)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """The sums of one group. `group` has a value for each key of `Report.by`; None if the records name none.

    `calls` counts distinct calls: a call that tried two models counts in both rows, and once in the total. `attempts` is `answered` +
    `failed` + `lost`. `exact_nanousd` + `estimated_nanousd` + `assumed_nanousd` is the cost. The cost of `unpriced` attempts is unknown.
    `waits` is how many attempts waited, `waited_ms` how long in all. `fallbacks` is how many times a call fell back to a model of this row.
    `saved_nanousd` is what tiers of service cost less than list price. Tokens: the three kinds of input exclude one another; reasoning is a
    part of the output.
    """

    group: tuple[str | None, ...]
    calls: int
    attempts: int
    answered: int
    failed: int
    lost: int
    unpriced: int
    exact_nanousd: int
    assumed_nanousd: int
    estimated_nanousd: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    waits: int
    waited_ms: int
    fallbacks: int
    first_at_ms: int | None
    last_at_ms: int | None
    saved_nanousd: int = 0

    @property
    def cost_nanousd(self) -> int:
        """What was charged, known, estimated or assumed."""
        return self.exact_nanousd + self.estimated_nanousd + self.assumed_nanousd

    @property
    def tokens(self) -> int:
        """All input and output tokens."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.output_tokens


class Report:
    """Adds up records grouped by `by`. Add them in any order, each attempt once; the rows can be read at any time.

    A million records are added in about three seconds. Memory grows with the calls: their ids are kept, to count each once.
    """

    def __init__(self, by: Sequence[GroupBy], only: RecordFilter | None = None) -> None:
        self.by = tuple(by)
        self._only = only
        self._parts = tuple(_PARTS[column] for column in self.by)
        self._groups: dict[tuple[str | int | None, ...], _GroupSums] = {}
        self._inexact: list[tuple[int, int, str, int, int, AttemptRecord]] = []
        self.inexact_count = 0

    def add(self, record: AttemptRecord) -> None:
        """Count one attempt, if the filter admits it."""
        if self._only is not None and not self._only.admits(record):
            return
        group = tuple([part(record) for part in self._parts])
        sums = self._groups.get(group)
        if sums is None:
            sums = self._groups[group] = _GroupSums()
        sums.add(record)
        if record.billed in _INEXACT and record.cost_nanousd:
            self._keep_inexact(record)

    def extend(self, records: Iterable[AttemptRecord]) -> None:
        """Count many."""
        for record in records:
            self.add(record)

    def rows(self) -> tuple[ReportRow, ...]:
        """One row per group, ordered by the values of the groups; a missing value comes first."""
        named = [(self._named(group), sums) for group, sums in self._groups.items()]
        named.sort(key=lambda item: tuple((part is not None, part or "") for part in item[0]))
        return tuple(sums.row(group) for group, sums in named)

    def total(self) -> ReportRow:
        """Everything in one row, whose `group` is empty. Its sums equal those of the rows to the nano-dollar; calls count once."""
        whole = _GroupSums()
        for sums in self._groups.values():
            whole.merge(sums)
        return whole.row(())

    def inexact(self) -> tuple[AttemptRecord, ...]:
        """The attempts that were charged an estimate or their whole hold, the most expensive first, at most `MOST_INEXACT`."""
        return tuple(entry[-1] for entry in sorted(self._inexact, reverse=True))

    def _keep_inexact(self, record: AttemptRecord) -> None:
        self.inexact_count += 1
        entry = (record.cost_nanousd, record.at_ms, record.call_id, record.attempt, self.inexact_count, record)
        (heapq.heappush if len(self._inexact) < MOST_INEXACT else heapq.heappushpop)(self._inexact, entry)

    def _named(self, group: tuple[str | int | None, ...]) -> tuple[str | None, ...]:
        return tuple(_date(part) if isinstance(part, int) else part for part in group)


@dataclass(slots=True)
class _GroupSums:
    calls: set[str] = field(default_factory=set)
    fallbacks: set[tuple[str, str | None, str]] = field(default_factory=set)
    attempts: int = 0
    answered: int = 0
    lost: int = 0
    unpriced: int = 0
    cost_nanousd: int = 0
    assumed_nanousd: int = 0
    estimated_nanousd: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    waits: int = 0
    waited_ms: int = 0
    saved_nanousd: int = 0
    first_at_ms: int | None = None
    last_at_ms: int | None = None

    def add(self, record: AttemptRecord) -> None:
        self.calls.add(record.call_id)
        self.attempts += 1
        if record.outcome == "answered":
            self.answered += 1
        elif record.outcome == "lost":
            self.lost += 1
        self.cost_nanousd += record.cost_nanousd
        if record.billed == "assumed":
            self.assumed_nanousd += record.cost_nanousd
        elif record.billed == "estimated":
            self.estimated_nanousd += record.cost_nanousd
        elif record.billed == "unpriced":
            self.unpriced += 1
        self.input_tokens += record.input_tokens
        self.cache_read_tokens += record.cache_read_tokens
        self.cache_write_tokens += record.cache_write_tokens
        self.output_tokens += record.output_tokens
        self.reasoning_tokens += record.reasoning_tokens
        self.saved_nanousd += record.saved_nanousd or 0
        if record.waited_ms:
            self.waits += 1
            self.waited_ms += record.waited_ms
        if record.fallback_from is not None:
            # Each attempt at the fallback may name the first model; the call fell back once.
            self.fallbacks.add((record.call_id, record.fallback_from, record.model))
        at_ms = record.at_ms
        if self.first_at_ms is None or at_ms < self.first_at_ms:
            self.first_at_ms = at_ms
        if self.last_at_ms is None or at_ms > self.last_at_ms:
            self.last_at_ms = at_ms

    def merge(self, other: "_GroupSums") -> None:
        self.calls |= other.calls
        self.fallbacks |= other.fallbacks
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        firsts = [at_ms for at_ms in (self.first_at_ms, other.first_at_ms) if at_ms is not None]
        lasts = [at_ms for at_ms in (self.last_at_ms, other.last_at_ms) if at_ms is not None]
        self.first_at_ms = min(firsts, default=None)
        self.last_at_ms = max(lasts, default=None)

    def row(self, group: tuple[str | None, ...]) -> ReportRow:
        return ReportRow(
            group=group,
            calls=len(self.calls),
            attempts=self.attempts,
            answered=self.answered,
            failed=self.attempts - self.answered - self.lost,
            lost=self.lost,
            unpriced=self.unpriced,
            exact_nanousd=self.cost_nanousd - self.assumed_nanousd - self.estimated_nanousd,
            assumed_nanousd=self.assumed_nanousd,
            estimated_nanousd=self.estimated_nanousd,
            input_tokens=self.input_tokens,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=self.reasoning_tokens,
            waits=self.waits,
            waited_ms=self.waited_ms,
            fallbacks=len(self.fallbacks),
            first_at_ms=self.first_at_ms,
            last_at_ms=self.last_at_ms,
            saved_nanousd=self.saved_nanousd,
        )


_INEXACT = frozenset({"assumed", "estimated"})
_SUMS = (
    "attempts",
    "answered",
    "lost",
    "unpriced",
    "cost_nanousd",
    "assumed_nanousd",
    "estimated_nanousd",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "waits",
    "waited_ms",
    "saved_nanousd",
)


_PARTS: Mapping[GroupBy, Callable[[AttemptRecord], str | int | None]] = {
    GroupBy.MODEL: lambda record: record.model,
    GroupBy.ENDPOINT: lambda record: record.place,
    GroupBy.RUN: lambda record: record.run_name,
    GroupBy.BATCH: lambda record: record.batch,
    GroupBy.INSTANCE: lambda record: record.instance,
    GroupBy.USER: lambda record: record.user,
    GroupBy.ROLE: lambda record: record.role,
    GroupBy.DAY: lambda record: record.at_ms // _DAY_MS,  # a number is enough to group by; the date is written once per row
    GroupBy.TIER: lambda record: record.served_tier or record.service_tier,
}


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY_MS // 1000, UTC).date().isoformat()
