"""Where the money went: attempts added up by model, run, day and so on; knows records, and neither where they lie nor how a table looks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from paymaster.accounting.records import AttemptRecord

_DAY_MS = 86_400_000


class Key(StrEnum):
    """What rows can be made by. A day is a day of UTC."""

    MODEL = "model"
    RUN = "run"
    BATCH = "batch"
    INSTANCE = "instance"
    USER = "user"
    ROLE = "role"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which records count: those of `run` and of `batch`, where given, from `since_ms` on and before `until_ms`."""

    run: str | None = None
    batch: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def admits(self, record: AttemptRecord) -> bool:
        """True where the record counts."""
        return (
            (self.run is None or record.run == self.run)
            and (self.batch is None or record.batch == self.batch)
            and (self.since_ms is None or record.at_ms >= self.since_ms)
            and (self.until_ms is None or record.at_ms < self.until_ms)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The sums of one group. `key` stands in the order of the report's keys; None where the records name none.

    `calls` counts distinct calls: one that tried two models counts in the row of each, and once in the total. `attempts` is `answered` +
    `failed` + `lost`. `exact_nanousd` + `assumed_nanousd` is the cost. `unpriced` attempts cost what nobody here knows. `waits` is how many
    attempts waited, `waited_ms` how long in all. `fallbacks` is how many times a call came to a model of this row from another one.
    Tokens: the three kinds of input exclude one another; reasoning is a part of the output.
    """

    key: tuple[str | None, ...]
    calls: int
    attempts: int
    answered: int
    failed: int
    lost: int
    unpriced: int
    exact_nanousd: int
    assumed_nanousd: int
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

    @property
    def cost_nanousd(self) -> int:
        """What was charged, known or assumed."""
        return self.exact_nanousd + self.assumed_nanousd

    @property
    def tokens(self) -> int:
        """Everything that went in and came out."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.output_tokens


class Report:
    """Adds up records by `keys`; add them in any order, each attempt once, and look at the rows at any time.

    A million records are added in about three seconds. Memory grows with the calls (their ids are kept, to count each once).
    """

    def __init__(self, keys: Sequence[Key], only: Filter | None = None) -> None:
        self.keys = tuple(keys)
        self._only = only
        self._parts = tuple(_PARTS[key] for key in self.keys)
        self._tallies: dict[tuple[str | int | None, ...], _Tally] = {}

    def add(self, record: AttemptRecord) -> None:
        """Count one attempt, if the filter admits it."""
        if self._only is not None and not self._only.admits(record):
            return
        group = tuple([part(record) for part in self._parts])
        tally = self._tallies.get(group)
        if tally is None:
            tally = self._tallies[group] = _Tally()
        tally.add(record)

    def extend(self, records: Iterable[AttemptRecord]) -> None:
        """Count many."""
        for record in records:
            self.add(record)

    def rows(self) -> tuple[Row, ...]:
        """One row per group, in the order of the keys' values; a missing value comes first."""
        named = [(self._named(group), tally) for group, tally in self._tallies.items()]
        named.sort(key=lambda item: tuple((part is not None, part or "") for part in item[0]))
        return tuple(tally.row(key) for key, tally in named)

    def total(self) -> Row:
        """Everything in one row, whose `key` is empty. Sums agree with the rows' to the nano-dollar; calls are counted once."""
        whole = _Tally()
        for tally in self._tallies.values():
            whole.merge(tally)
        return whole.row(())

    def _named(self, group: tuple[str | int | None, ...]) -> tuple[str | None, ...]:
        return tuple(_date(part) if isinstance(part, int) else part for part in group)


@dataclass(slots=True)
class _Tally:
    calls: set[str] = field(default_factory=set)
    fallbacks: set[tuple[str, str | None, str]] = field(default_factory=set)
    attempts: int = 0
    answered: int = 0
    lost: int = 0
    unpriced: int = 0
    cost_nanousd: int = 0
    assumed_nanousd: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    waits: int = 0
    waited_ms: int = 0
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
        elif record.billed == "unpriced":
            self.unpriced += 1
        self.input_tokens += record.input_tokens
        self.cache_read_tokens += record.cache_read_tokens
        self.cache_write_tokens += record.cache_write_tokens
        self.output_tokens += record.output_tokens
        self.reasoning_tokens += record.reasoning_tokens
        if record.waited_ms:
            self.waits += 1
            self.waited_ms += record.waited_ms
        if record.fallback_from is not None:
            # Every attempt at the fallback may name where the call came from: it came once.
            self.fallbacks.add((record.call_id, record.fallback_from, record.model))
        at_ms = record.at_ms
        if self.first_at_ms is None or at_ms < self.first_at_ms:
            self.first_at_ms = at_ms
        if self.last_at_ms is None or at_ms > self.last_at_ms:
            self.last_at_ms = at_ms

    def merge(self, other: "_Tally") -> None:
        self.calls |= other.calls
        self.fallbacks |= other.fallbacks
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        firsts = [at_ms for at_ms in (self.first_at_ms, other.first_at_ms) if at_ms is not None]
        lasts = [at_ms for at_ms in (self.last_at_ms, other.last_at_ms) if at_ms is not None]
        self.first_at_ms = min(firsts, default=None)
        self.last_at_ms = max(lasts, default=None)

    def row(self, key: tuple[str | None, ...]) -> Row:
        return Row(
            key=key,
            calls=len(self.calls),
            attempts=self.attempts,
            answered=self.answered,
            failed=self.attempts - self.answered - self.lost,
            lost=self.lost,
            unpriced=self.unpriced,
            exact_nanousd=self.cost_nanousd - self.assumed_nanousd,
            assumed_nanousd=self.assumed_nanousd,
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
        )


_SUMS = (
    "attempts",
    "answered",
    "lost",
    "unpriced",
    "cost_nanousd",
    "assumed_nanousd",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "waits",
    "waited_ms",
)


_PARTS: Mapping[Key, Callable[[AttemptRecord], str | int | None]] = {
    Key.MODEL: lambda record: record.model,
    Key.RUN: lambda record: record.run,
    Key.BATCH: lambda record: record.batch,
    Key.INSTANCE: lambda record: record.instance,
    Key.USER: lambda record: record.user,
    Key.ROLE: lambda record: record.role,
    Key.DAY: lambda record: record.at_ms // _DAY_MS,  # a number is enough to tell days apart; the date is written once per row
}


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY_MS // 1000, UTC).date().isoformat()
