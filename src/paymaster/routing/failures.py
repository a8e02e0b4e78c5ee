"""What went wrong at a provider and what it means for the next step: one table; knows no HTTP and no clock."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from paymaster.accounting.usage.record import Usage


class FailureKind(StrEnum):
    """Every way an attempt can fail, by what it means for the caller."""

    THROTTLED = "throttled"
    QUOTA_EXHAUSTED = "quota_exhausted"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_LOST = "connection_lost"
    UNUSABLE_ANSWER = "unusable_answer"
    TIMED_OUT = "timed_out"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_POLICY = "content_policy"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    UNKNOWN_MODEL = "unknown_model"
    BAD_REQUEST = "bad_request"
    CANCELLED = "cancelled"
    STALE_HOLD = "stale_hold"


class Billed(StrEnum):
    """Whether the provider may have charged for the attempt."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that brought no usable answer.

    `message` is the provider's own words, without secrets, at most a few hundred characters. `retry_after_ms` is a duration.
    `usage` is what the provider said it counted, where it did. `delivered_chars` is how much of a stream had come.
    """

    kind: FailureKind
    billed: Billed
    message: str
    status: int | None = None
    retry_after_ms: int | None = None
    usage: Usage | None = None
    duration_ms: int = 0
    delivered_chars: int = 0
    request_id: str | None = None


class Then(StrEnum):
    """Where a failed call goes when its model is not tried again."""

    NEXT = "next"
    NEXT_LARGER_CONTEXT = "next_larger_context"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one kind of failure means.

    `again`: the same model may be tried again. `pause_ms`: no worker calls the model for that long (None: as long as the provider or
    the backoff says). `breaker`: it counts towards opening the breaker. `needs_operator`: only an operator can fix the cause.
    """

    again: bool
    then: Then
    pauses: bool = False
    pause_ms: int | None = None
    breaker: bool = False
    needs_operator: bool = False


OPERATOR_PROBE_MS = 25_000
"""How often one call finds out whether an operator has fixed the cause: a top-up or a new key is noticed within half a minute."""

RULES: dict[FailureKind, Rule] = {
    FailureKind.THROTTLED: Rule(again=True, then=Then.NEXT, pauses=True),
    FailureKind.QUOTA_EXHAUSTED: Rule(again=False, then=Then.NEXT, pauses=True, pause_ms=OPERATOR_PROBE_MS, needs_operator=True),
    FailureKind.OVERLOADED: Rule(again=True, then=Then.NEXT, breaker=True),
    FailureKind.SERVER_ERROR: Rule(again=True, then=Then.NEXT, breaker=True),
    FailureKind.CONNECTION_REFUSED: Rule(again=True, then=Then.NEXT, breaker=True),
    FailureKind.CONNECTION_LOST: Rule(again=True, then=Then.NEXT, breaker=True),
    FailureKind.UNUSABLE_ANSWER: Rule(again=True, then=Then.NEXT, breaker=True),
    FailureKind.TIMED_OUT: Rule(again=False, then=Then.NEXT, breaker=True),
    FailureKind.CONTEXT_TOO_LONG: Rule(again=False, then=Then.NEXT_LARGER_CONTEXT),
    FailureKind.CONTENT_POLICY: Rule(again=False, then=Then.GIVE_UP),
    FailureKind.AUTHENTICATION: Rule(again=False, then=Then.NEXT, pauses=True, pause_ms=OPERATOR_PROBE_MS, needs_operator=True),
    FailureKind.PERMISSION: Rule(again=False, then=Then.NEXT, pauses=True, pause_ms=OPERATOR_PROBE_MS, needs_operator=True),
    FailureKind.UNKNOWN_MODEL: Rule(again=False, then=Then.NEXT, pauses=True, pause_ms=OPERATOR_PROBE_MS, needs_operator=True),
    FailureKind.BAD_REQUEST: Rule(again=False, then=Then.GIVE_UP),
    FailureKind.CANCELLED: Rule(again=False, then=Then.GIVE_UP),
    FailureKind.STALE_HOLD: Rule(again=True, then=Then.NEXT),
}
"""Every kind has its row; docs/design/failures-and-breaker.md gives the reasons."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The same model once more, after `after_ms`."""

    after_ms: int


NextStep: TypeAlias = TryAgain | Then


def next_step(failure: Failure, *, tried: int, retries: int, backoff_ms: int, patience_ms: int, next_on_content_policy: bool) -> NextStep:
    """What to do after a failure. `tried` counts the attempts at this model, `patience_ms` is the longest wait worth it for this model."""
    rule = RULES[failure.kind]
    if rule.again and tried <= retries:
        after_ms = backoff_ms if failure.retry_after_ms is None else failure.retry_after_ms
        if after_ms <= patience_ms:
            return TryAgain(after_ms)
    if failure.kind is FailureKind.CONTENT_POLICY and next_on_content_policy:
        return Then.NEXT
    return rule.then


def pause_ms(failure: Failure, backoff_ms: int) -> int | None:
    """How long every worker stays off the model after this failure; None: not at all."""
    rule = RULES[failure.kind]
    if not rule.pauses:
        return None
    if rule.pause_ms is not None:
        return max(rule.pause_ms, failure.retry_after_ms or 0)
    return backoff_ms if failure.retry_after_ms is None else failure.retry_after_ms
