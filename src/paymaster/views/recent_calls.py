"""Recent calls, each with why its model answered and why the others did not; knows records and lines of events, and no ledger."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from paymaster.accounting.records import AttemptRecord

_TAIL_BYTES = 256_000
_MAX_FILES = 4
_MAX_NOTE_LENGTH = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentCall:
    """One call. `model` answered it, or was tried last; it is empty if none was tried. `outcome` is `answered` or what went wrong.

    `why` has a sentence for each model that was tried or skipped, in order.
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
        """Whether a model answered."""
        return self.outcome == "answered"


@dataclass(slots=True)
class CallNotes:
    """What the events of a call add to its records: which models were skipped, and the error of a call without an answer."""

    at_ms: int
    run: str
    user: str | None
    instance: str | None
    notes: list[str] = field(default_factory=list)
    error: str | None = None


class RecentCalls:
    """Keeps the records of the most recent calls."""

    def __init__(self, most: int = 20, *, only_user: str | None = None) -> None:
        """With `only_user`, other users' calls are skipped."""
        self._most, self._only_user = most, only_user
        self._calls: OrderedDict[str, list[AttemptRecord]] = OrderedDict()

    def add(self, attempt: AttemptRecord) -> None:
        """Take in an attempt that was recorded."""
        if self._only_user not in (None, attempt.user):
            return
        self._calls.setdefault(attempt.call_id, []).append(attempt)
        self._calls.move_to_end(attempt.call_id)
        if len(self._calls) > self._most:
            self._calls.popitem(last=False)

    def remove(self, attempt: AttemptRecord) -> None:
        """Take out an attempt that is corrected."""
        if attempts := self._calls.get(attempt.call_id):
            self._calls[attempt.call_id] = [other for other in attempts if other.attempt != attempt.attempt]

    def calls(self, notes_of: Mapping[str, CallNotes] | None = None) -> list[RecentCall]:
        """The calls, the most recent first; `notes_of` has notes by call."""
        notes_of = notes_of or {}
        shown = [_from_records(attempts, notes_of.get(call_id)) for call_id, attempts in self._calls.items() if attempts]
        shown += [
            _from_notes(call_id, notes) for call_id, notes in notes_of.items() if notes.error is not None and call_id not in self._calls
        ]
        visible = [call for call in shown if self._only_user in (None, call.user)]
        return sorted(visible, key=lambda call: (-call.at_ms, call.call_id))[: self._most]


def _from_records(attempts: list[AttemptRecord], notes: CallNotes | None) -> RecentCall:
    last = attempts[-1]
    return RecentCall(
        call_id=last.call_id,
        at_ms=attempts[0].at_ms,
        run=last.run,
        user=last.user,
        instance=last.instance,
        model=last.model,
        outcome=_spaced(last.outcome),
        cost_nanousd=sum(attempt.cost_nanousd for attempt in attempts),
        tokens_in=last.input_tokens + last.cache_read_tokens + last.cache_write_tokens,
        tokens_out=last.output_tokens,
        duration_ms=last.duration_ms,
        waited_ms=sum(attempt.waited_ms for attempt in attempts),
        attempts=len(attempts),
        why=(*(notes.notes if notes else ()), *_attempt_notes(attempts)),
    )


def _from_notes(call_id: str, notes: CallNotes) -> RecentCall:
    return RecentCall(
        call_id=call_id,
        at_ms=notes.at_ms,
        run=notes.run,
        user=notes.user,
        instance=notes.instance,
        model="",
        outcome=_split_name(notes.error or "").lower(),
        cost_nanousd=0,
        tokens_in=0,
        tokens_out=0,
        duration_ms=0,
        waited_ms=0,
        attempts=0,
        why=tuple(notes.notes),
    )


def _attempt_notes(attempts: list[AttemptRecord]) -> list[str]:
    notes: list[str] = []
    for attempt in attempts:
        if attempt.outcome != "answered":
            status = f" (HTTP {attempt.status})" if attempt.status is not None else ""
            message = f": {attempt.message}" if attempt.message else ""
            notes.append(f"{attempt.model} failed: {_spaced(attempt.outcome)}{status}{message}"[:_MAX_NOTE_LENGTH])
        elif attempt.attempt == 1:
            notes.append(f"{attempt.model} answered the first attempt.")
        elif attempt.fallback_from is not None:
            notes.append(f"{attempt.model} answered as a fallback.")
        else:
            notes.append(f"{attempt.model} answered a retry.")
    return notes


def read_call_notes(paths: Iterable[Path]) -> dict[str, CallNotes]:
    """Notes from the last events of these files, by call. Unreadable files and lines that are no events are skipped."""
    notes_of: dict[str, CallNotes] = {}
    for path in paths:
        for line in _last_lines(path):
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(event, dict):
                _add_note(notes_of, event)
    return notes_of


def newest_files(directory: Path) -> list[Path]:
    """The event files that were written to last."""
    try:
        files = [(path.stat().st_mtime_ns, path) for path in directory.glob("*.jsonl")]
    except OSError:
        return []
    return [path for _, path in sorted(files, reverse=True)[:_MAX_FILES]]


def _last_lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).splitlines()
    except OSError:
        return []
    return lines[1:] if end > _TAIL_BYTES else lines


def _add_note(notes_of: dict[str, CallNotes], event: dict[str, object]) -> None:
    """Keep what the records lack. `passed_over` is what earlier versions called `skipped`."""
    call_id, kind, at_ms, model = (event.get(name) for name in ("call_id", "event", "at_ms", "model"))
    if not isinstance(call_id, str) or not isinstance(at_ms, int):
        return
    note, error = "", None
    match kind:
        case "skipped" | "passed_over":
            note = f"{model} was skipped: {event.get('reason')}"
        case "refused":
            note = f"{model} was skipped: {event.get('account')} has no room."
        case "throttled" if event.get("account"):
            note = f"The call waited for {model}: {event.get('reason')}"
        case "gave_up":
            error = str(event.get("error"))
        case _:
            return
    run, user, instance = (event.get(name) for name in ("run", "user", "instance"))
    notes = notes_of.setdefault(
        call_id,
        CallNotes(at_ms, str(run), user if isinstance(user, str) else None, instance if isinstance(instance, str) else None),
    )
    if note and note[:_MAX_NOTE_LENGTH] not in notes.notes:
        notes.notes.append(note[:_MAX_NOTE_LENGTH])
    notes.error = error or notes.error


def _spaced(outcome: str) -> str:
    return outcome.replace("_", " ")


def _split_name(name: str) -> str:
    """`BudgetExceeded` as `Budget Exceeded`."""
    return "".join(f" {char}" if char.isupper() else char for char in name).strip()
