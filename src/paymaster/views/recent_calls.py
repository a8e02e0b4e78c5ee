"""The latest calls, each with why it was answered by this model and why not by the others; knows records and lines of events, no ledger."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from paymaster.accounting.records import AttemptRecord

_TAIL_BYTES = 256_000
_MOST_FILES = 4
_MOST_WORDS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentCall:
    """One call. `model` is who answered, else who was asked last, empty where nobody was; `outcome` is `answered` or what went wrong.

    `why` has a sentence for each model that was asked or passed over, in order.
    """

    call_id: str
    at_ms: int
    run: str
    user: str | None
    instance: str | None
    model: str
    outcome: str
    cost_nanousd: int
    tokens_in: int
    tokens_out: int
    duration_ms: int
    waited_ms: int
    attempts: int
    why: tuple[str, ...]

    @property
    def is_answered(self) -> bool:
        """Whether somebody answered."""
        return self.outcome == "answered"


@dataclass(slots=True)
class Told:
    """What the events say of a call beyond its records: who was passed over, and whether it ended without an answer."""

    at_ms: int
    run: str
    user: str | None
    instance: str | None
    notes: list[str] = field(default_factory=list)
    error: str | None = None


class RecentCalls:
    """Keeps the records of the latest calls."""

    def __init__(self, most: int = 20, *, only_user: str | None = None) -> None:
        """With `only_user`, calls of others are passed over."""
        self._most, self._only_user = most, only_user
        self._calls: OrderedDict[str, list[AttemptRecord]] = OrderedDict()

    def add(self, attempt: AttemptRecord) -> None:
        """An attempt was recorded."""
        if self._only_user not in (None, attempt.user):
            return
        self._calls.setdefault(attempt.call_id, []).append(attempt)
        self._calls.move_to_end(attempt.call_id)
        if len(self._calls) > self._most:
            self._calls.popitem(last=False)

    def take_back(self, attempt: AttemptRecord) -> None:
        """It is corrected."""
        if attempts := self._calls.get(attempt.call_id):
            self._calls[attempt.call_id] = [other for other in attempts if other.attempt != attempt.attempt]

    def calls(self, told: Mapping[str, Told] | None = None) -> list[RecentCall]:
        """The calls, the latest first."""
        told = told or {}
        shown = [_from_records(attempts, told.get(call_id)) for call_id, attempts in self._calls.items() if attempts]
        shown += [_from_events(call_id, said) for call_id, said in told.items() if said.error is not None and call_id not in self._calls]
        mine = [call for call in shown if self._only_user in (None, call.user)]
        return sorted(mine, key=lambda call: (-call.at_ms, call.call_id))[: self._most]


def _from_records(attempts: list[AttemptRecord], told: Told | None) -> RecentCall:
    last = attempts[-1]
    return RecentCall(
        call_id=last.call_id,
        at_ms=attempts[0].at_ms,
        run=last.run,
        user=last.user,
        instance=last.instance,
        model=last.model,
        outcome=_words(last.outcome),
        cost_nanousd=sum(attempt.cost_nanousd for attempt in attempts),
        tokens_in=last.input_tokens + last.cache_read_tokens + last.cache_write_tokens,
        tokens_out=last.output_tokens,
        duration_ms=last.duration_ms,
        waited_ms=sum(attempt.waited_ms for attempt in attempts),
        attempts=len(attempts),
        why=(*(told.notes if told else ()), *_story(attempts)),
    )


def _from_events(call_id: str, told: Told) -> RecentCall:
    return RecentCall(
        call_id=call_id,
        at_ms=told.at_ms,
        run=told.run,
        user=told.user,
        instance=told.instance,
        model="",
        outcome=_apart(told.error or "").lower(),
        cost_nanousd=0,
        tokens_in=0,
        tokens_out=0,
        duration_ms=0,
        waited_ms=0,
        attempts=0,
        why=tuple(told.notes),
    )


def _story(attempts: list[AttemptRecord]) -> list[str]:
    said: list[str] = []
    for attempt in attempts:
        if attempt.outcome != "answered":
            status = f" (HTTP {attempt.status})" if attempt.status is not None else ""
            message = f": {attempt.message}" if attempt.message else ""
            said.append(f"{attempt.model} was asked and failed: {_words(attempt.outcome)}{status}{message}"[:_MOST_WORDS])
        elif attempt.attempt == 1:
            said.append(f"{attempt.model} was asked first, and answered.")
        elif attempt.fallback_from is not None:
            said.append(f"{attempt.model} came next, and answered.")
        else:
            said.append(f"{attempt.model} was asked again, and answered.")
    return said


def read_call_notes(paths: Iterable[Path]) -> dict[str, Told]:
    """What the last events of these files say, by call. Files that can't be read, and lines that are no events, are passed over."""
    told: dict[str, Told] = {}
    for path in paths:
        for line in _last_lines(path):
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(event, dict):
                _take(told, event)
    return told


def newest_files(directory: Path) -> list[Path]:
    """The event files that were written to last."""
    try:
        files = [(path.stat().st_mtime_ns, path) for path in directory.glob("*.jsonl")]
    except OSError:
        return []
    return [path for _, path in sorted(files, reverse=True)[:_MOST_FILES]]


def _last_lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).splitlines()
    except OSError:
        return []
    return lines[1:] if end > _TAIL_BYTES else lines


def _take(told: dict[str, Told], event: dict[str, object]) -> None:
    """Only what the records lack."""
    call_id, kind, at_ms, model = (event.get(name) for name in ("call_id", "event", "at_ms", "model"))
    if not isinstance(call_id, str) or not isinstance(at_ms, int):
        return
    note, error = "", None
    match kind:
        case "passed_over":
            note = f"{model} was not asked: {event.get('reason')}"
        case "refused":
            note = f"{model} was passed over: {event.get('account')} has no room for it."
        case "throttled" if event.get("account"):
            note = f"{model} was waited for: {event.get('reason')}"
        case "gave_up":
            error = str(event.get("error"))
        case _:
            return
    run, user, instance = (event.get(name) for name in ("run", "user", "instance"))
    said = told.setdefault(
        call_id,
        Told(at_ms, str(run), user if isinstance(user, str) else None, instance if isinstance(instance, str) else None),
    )
    if note and note[:_MOST_WORDS] not in said.notes:
        said.notes.append(note[:_MOST_WORDS])
    said.error = error or said.error


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _apart(name: str) -> str:
    """`BudgetExceeded` as `Budget Exceeded`."""
    return "".join(f" {char}" if char.isupper() else char for char in name).strip()
