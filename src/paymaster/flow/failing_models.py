"""What a call has tried: how often, what its models failed with, and what is reported of the waits that follow; decides nothing."""

from dataclasses import dataclass, replace

from paymaster.flow.admission import Patience
from paymaster.flow.call_events import Outlook
from paymaster.flow.ports import Runtime
from paymaster.routing.call_errors import name_failure
from paymaster.routing.failures import Failure, FailureKind
from paymaster.routing.planning import Candidate
from paymaster.routing.skipped import Skipped
from paymaster.routing.waiting import LOOK_AGAIN_MS, Awaited

_WORTH_MENTIONING_MS = 1_000
"""A call that waited for less than this does not mention it in its error."""


@dataclass(slots=True)
class Tries:
    """The attempts of a call at one model: all of them, those that bound it, and those that may have cost something."""

    made: int = 0
    bounding: int = 0
    costly: int = 0


def fallback_from(previous: Candidate | None, candidate: Candidate) -> str | None:
    """The model that was tried before this one; None if it is the same one, at another tier of service."""
    return None if previous is None or previous.model.name == candidate.model.name else previous.model.name


@dataclass(frozen=True, slots=True)
class _Failing:
    """What a model last failed with in this call, that a wait may help, and since when it fails."""

    skipped: Skipped
    failure: Failure
    since_ms: int


class FailingModels:
    """The models and endpoints of a call that a wait may help, by place."""

    def __init__(self, runtime: Runtime, patience: Patience) -> None:
        self._runtime, self._patience = runtime, patience
        self._failing: dict[str, _Failing] = {}

    def note(self, skipped: Skipped, failure: Failure) -> None:
        """Remember what the candidate failed with."""
        place = skipped.place
        since_ms = self._failing[place].since_ms if place in self._failing else self._runtime.now_ms()
        self._failing[place] = _Failing(skipped, failure, since_ms)

    def why(self, place: str) -> Skipped | None:
        """What it last failed with, as the reason why it does not serve; None if it did not fail."""
        failing = self._failing.get(place)
        return None if failing is None else failing.skipped

    def kind(self, place: str) -> str:
        """The kind of its last failure."""
        return self._failing[place].failure.kind.value

    def is_throttled(self, place: str) -> bool:
        """Whether its provider refused the last attempt with the time when to come back."""
        failing = self._failing.get(place)
        return failing is not None and failing.failure.kind is FailureKind.THROTTLED and failing.failure.asked_ms is not None

    def outlook(self, place: str) -> Outlook:
        """What a report of a wait for the model says: its failure, since when, and when the call gives up."""
        failing = self._failing.get(place)
        gives_up_at_ms = self._runtime.now_ms() + self._patience.left_ms(has_fallback=False)
        if failing is None:
            return Outlook(None, None, gives_up_at_ms)
        return Outlook(name_failure(failing.failure), failing.since_ms, gives_up_at_ms)

    def given_up(self, awaited: Awaited) -> Skipped:
        """Why a model that was waited for does not serve, with how long that was."""
        why, waited_ms = awaited.why, self._patience.spent_ms
        if not awaited.outage or awaited.why.failure is None:
            return why
        waited = f"; the call waited {waited_ms / 1000:,.1f} s in all" if waited_ms >= _WORTH_MENTIONING_MS else ""
        return replace(why, detail=why.detail + waited, retry_in_ms=max(LOOK_AGAIN_MS, awaited.expected_at_ms - self._runtime.now_ms()))
