"""Counts what one call of an agent cost, and decides how its failure ends the agent's task; knows errors and events, and no agent."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from paymaster.errors import BudgetExceeded, MixRefused, NoModelAvailable, NoModelFits, PaymasterError, RequestInvalid, RequestRefused
from paymaster.flow.events import AttemptFailed, AttemptSettled, Event, ModelSkipped, RefusedByAccount
from paymaster.routing.failures import FailureKind
from paymaster.routing.skipped import SkipCause


class Ending(StrEnum):
    """How a task ends. The value is what a summary says of its instances."""

    DONE = "done"
    BUDGET = "stopped by a budget"
    TOO_LONG = "context too long"
    CONTENT_POLICY = "refused by a content policy"
    BAD_REQUEST = "refused as a bad request"
    UNFIT = "no model fits"
    NO_ANSWER = "no model answered"
    MIXED = "kept from mixing models"
    FAILED = "failed in the agent"
    CUT_OFF = "cut off"
    NOT_BEGUN = "not begun"


PERMANENT = frozenset({Ending.TOO_LONG, Ending.CONTENT_POLICY, Ending.BAD_REQUEST, Ending.UNFIT})
"""Asking again brings the same refusal: the work so far is the result, and is not paid for twice."""

ASKED_AGAIN = frozenset({Ending.NO_ANSWER, Ending.MIXED, Ending.CUT_OFF, Ending.NOT_BEGUN})
"""They say nothing about the task: the same command does it again."""


@dataclass(slots=True)
class Tally:
    """The cost of calls so far, in nano-dollars; the attempts that were sent; the tokens as the providers counted them.

    `obstacles` has the last obstacle at each model that did not answer: a `FailureKind`, a `SkipCause`.
    """

    attempts: int = 0
    cost_nanousd: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    obstacles: dict[str, str] = field(default_factory=dict)

    def record(self, event: Event) -> None:
        """Count an event of the call."""
        match event:
            case AttemptSettled():
                self.attempts += 1
                self.cost_nanousd += event.cost_nanousd
                self.prompt_tokens += event.input_tokens + event.cache_read_tokens + event.cache_write_tokens
                self.output_tokens += event.output_tokens
            case AttemptFailed():
                self.attempts += 1
                self.cost_nanousd += event.cost_nanousd
                self.obstacles[event.model] = event.failure
            case ModelSkipped():
                self.obstacles[event.model] = event.cause
            case RefusedByAccount():
                self.obstacles[event.model] = SkipCause.BUDGET
            case _:
                pass


_ENDING_OF: Mapping[str, Ending] = {
    FailureKind.CONTEXT_TOO_LONG: Ending.TOO_LONG,
    FailureKind.CONTENT_POLICY: Ending.CONTENT_POLICY,
    FailureKind.BAD_REQUEST: Ending.BAD_REQUEST,
    SkipCause.CONTEXT: Ending.TOO_LONG,
    SkipCause.CAPABILITY: Ending.UNFIT,
    SkipCause.VECTORS: Ending.UNFIT,
    SkipCause.PARAMETER: Ending.UNFIT,
    SkipCause.LIMIT: Ending.UNFIT,
    SkipCause.UNBOUNDED: Ending.UNFIT,
}
"""Obstacles of the request itself. Any other may be gone when the task is done again."""

_AS_IF_ABSENT = frozenset({SkipCause.KEY, SkipCause.UNPRICED})
"""Obstacles of a model that could serve no call of this run: it counts as if it were not in the chain."""


def ending_of(error: PaymasterError, tally: Tally) -> Ending:
    """How a failed call ends its task.

    A call that no model answered ends its task for good only if no model of the chain could ever serve it: a larger one that is down now
    may serve it later.
    """
    match error:
        case BudgetExceeded():
            return Ending.BUDGET
        case RequestRefused(kind=FailureKind.CONTENT_POLICY.value):
            return Ending.CONTENT_POLICY
        case RequestRefused() | RequestInvalid():
            return Ending.BAD_REQUEST
        case NoModelFits(too_long=True):
            return Ending.TOO_LONG
        case MixRefused():
            return Ending.MIXED
        case NoModelFits() | NoModelAvailable():
            return _by_obstacles(tally.obstacles)
        case _:
            return Ending.NO_ANSWER


def _by_obstacles(obstacles: Mapping[str, str]) -> Ending:
    found = [_ENDING_OF.get(obstacle, Ending.NO_ANSWER) for obstacle in obstacles.values() if obstacle not in _AS_IF_ABSENT]
    if not found or Ending.NO_ANSWER in found:
        return Ending.NO_ANSWER
    return Ending.TOO_LONG if Ending.TOO_LONG in found else found[0]


# -------------------------------------------------------------------------------------------------------------------- a batch

_MOST_NAMES = 20


def summary_lines(endings: Mapping[str, Ending]) -> Iterator[str]:
    """How many instances ended how, then their names; nothing if all are done."""
    by_ending = {ending: sorted(name for name, found in endings.items() if found is ending) for ending in Ending}
    by_ending = {ending: names for ending, names in by_ending.items() if names}
    if by_ending.keys() <= {Ending.DONE}:
        return
    counts = ", ".join(f"{len(names):,} {ending}" for ending, names in by_ending.items())
    yield f"Instances: {counts}."
    for ending, names in by_ending.items():
        if ending in PERMANENT:
            yield f"{ending.capitalize()}, with the work so far as the result: {listed(names)}."
        elif ending is Ending.FAILED:
            yield f"{ending.capitalize()}, see its log: {listed(names)}."


def failure_lines(failures: Mapping[str, PaymasterError], endings: Mapping[str, Ending]) -> Iterator[str]:
    """Why instances got no answer: the error of the first one for each kind of failure."""
    by_kind: dict[tuple[Ending, str], str] = {}
    for name, error in failures.items():
        ending = endings.get(name, Ending.DONE)
        if ending in (Ending.NO_ANSWER, Ending.MIXED) or ending in PERMANENT:
            kind = error.failure if isinstance(error, NoModelAvailable) else ""
            by_kind.setdefault((ending, kind or type(error).__name__), f"{name}: {error.message}")
    yield from by_kind.values()


def listed(names: list[str]) -> str:
    """The names, or the first of many and how many there are more."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_MOST_NAMES])} and {more:,} more"


def all_went_well(endings: Mapping[str, Ending], *, answers: int) -> bool:
    """Whether a batch did what it was asked for: no instance is to be done again, and there was an answer unless none was needed."""
    found = set(endings.values())
    return not (ASKED_AGAIN & found) and (answers > 0 or found <= {Ending.DONE})
