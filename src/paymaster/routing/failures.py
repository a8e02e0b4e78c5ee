"""What went wrong at a provider and what it means for the next step: one table; knows no HTTP and no clock."""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeFigures:
    """What a provider that refuses a request for its size says about sizes, in tokens; None for what it does not say.

    `window_tokens` is the most that prompt and answer may have together, or the prompt alone. `prompt_tokens` is the prompt as the
    provider counted it (`prompt_is_bound`: at least that many), `requested_tokens` the prompt and the output limit together.
    `output_tokens` is the longest answer of the model, `affordable_tokens` the longest one that the account's credit pays for.
    `about_output`: it says that a shorter answer would help.
    """

    window_tokens: int | None = None
    prompt_tokens: int | None = None
    prompt_is_bound: bool = False
    requested_tokens: int | None = None
    output_tokens: int | None = None
    affordable_tokens: int | None = None
    about_output: bool = False


NO_FIGURES = SizeFigures()


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that brought no usable answer.

    `message` is the provider's own words, without secrets, at most a few hundred characters. `retry_after_ms` is a duration.
    `usage` is what the provider said it counted, where it did. `delivered_chars` is how much of a stream had come. `size` is what it says
    about the sizes that it takes. `elsewhere`: a bad request for what only this model asks for, so another may take it as it is.
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
    size: SizeFigures = NO_FIGURES
    elsewhere: bool = False

    @property
    def asked_ms(self) -> int | None:
        """How long the provider asked to wait; None if it did not, or asked for nothing or more than a day."""
        return None if self.retry_after_ms is None else believed_wait_ms(self.retry_after_ms)


LONGEST_WAIT_MS = 86_400_000
"""A day: a provider that asks for more is not believed, because its limits reset daily at the latest."""

PROBE_EVERY_MS = 3_600_000
"""How often one call finds out whether a provider that asked for a long wait has room earlier."""

LEAST_WAIT_MS = 1_000
"""A shorter wait is raised to the backoff or this, whichever is shorter: one that is a moment too short is asked for over and over."""


def believed_wait_ms(wait_ms: float) -> int | None:
    """A wait that a provider names, in whole milliseconds; None for one that is over already, or longer than any limit lasts."""
    return ceil(wait_ms) if 0 < wait_ms <= LONGEST_WAIT_MS else None


class Then(StrEnum):
    """Where a failed call goes when its model is not tried again."""

    NEXT = "next"
    NEXT_LARGER_CONTEXT = "next_larger_context"
    GIVE_UP = "give_up"


class WaitOut(StrEnum):
    """Whether a call with no other model left waits until the model answers again, for as long as it may wait.

    `BOUNDED`: yes, but `max_attempts` bounds the attempts that may cost something.
    """

    NEVER = "never"
    BOUNDED = "yes"
    IF_STATED = "if the provider states when"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one kind of failure means.

    `again`: the same model may be tried again. `pause_ms`: no worker calls the model for that long (None: as long as the provider or
    the backoff says). `breaker`: it counts towards opening the breaker. `needs_operator`: only an operator can fix the cause.
    `at_once`: nothing was sent, so that there is nothing to wait for. `wait_out`: what a call without another model does.
    `then_at_fallback` counts instead of `then` at a model that the call fell back to; None: the same.
    """

    again: bool
    then: Then
    then_at_fallback: Then | None = None
    pauses: bool = False
    pause_ms: int | None = None
    breaker: bool = False
    needs_operator: bool = False
    at_once: bool = False
    wait_out: WaitOut = WaitOut.NEVER


OPERATOR_PROBE_MS = 25_000
"""How often one call finds out whether an operator has fixed the cause: a top-up or a new key is noticed within half a minute."""

RULES: dict[FailureKind, Rule] = {
    FailureKind.THROTTLED: Rule(again=True, then=Then.NEXT, pauses=True, wait_out=WaitOut.BOUNDED),
    FailureKind.QUOTA_EXHAUSTED: Rule(
        again=False, then=Then.NEXT, pauses=True, pause_ms=OPERATOR_PROBE_MS, needs_operator=True, wait_out=WaitOut.IF_STATED
    ),
    FailureKind.OVERLOADED: Rule(again=True, then=Then.NEXT, breaker=True, wait_out=WaitOut.BOUNDED),
    FailureKind.SERVER_ERROR: Rule(again=True, then=Then.NEXT, breaker=True, wait_out=WaitOut.BOUNDED),
    FailureKind.CONNECTION_REFUSED: Rule(again=True, then=Then.NEXT, breaker=True, wait_out=WaitOut.BOUNDED),
    FailureKind.CONNECTION_LOST: Rule(again=True, then=Then.NEXT, breaker=True, wait_out=WaitOut.BOUNDED),
    FailureKind.UNUSABLE_ANSWER: Rule(again=True, then=Then.NEXT, breaker=True),
    FailureKind.TIMED_OUT: Rule(again=False, then=Then.NEXT, breaker=True, wait_out=WaitOut.BOUNDED),
    FailureKind.CONTEXT_TOO_LONG: Rule(again=False, then=Then.NEXT_LARGER_CONTEXT),
    FailureKind.CONTENT_POLICY: Rule(again=False, then=Then.GIVE_UP),
    FailureKind.AUTHENTICATION: Rule(again=False, then=Then.NEXT, pauses=True, pause_ms=OPERATOR_PROBE_MS, needs_operator=True),
    FailureKind.PERMISSION: Rule(again=False, then=Then.NEXT, pauses=True, pause_ms=OPERATOR_PROBE_MS, needs_operator=True),
    FailureKind.UNKNOWN_MODEL: Rule(again=False, then=Then.NEXT, pauses=True, pause_ms=OPERATOR_PROBE_MS, needs_operator=True),
    FailureKind.BAD_REQUEST: Rule(again=False, then=Then.GIVE_UP, then_at_fallback=Then.NEXT),
    FailureKind.CANCELLED: Rule(again=False, then=Then.GIVE_UP),
    FailureKind.STALE_HOLD: Rule(again=True, then=Then.NEXT, at_once=True),
}
"""Every kind has its row; docs/design/failures-and-breaker.md gives the reasons. `rule_of` finds the rule of a failure."""

SMALLER_IS_PAID = Rule(again=False, then=Then.NEXT)
"""The credit pays for a smaller request, so the model stays in use for everybody."""

TAKEN_ELSEWHERE = Rule(again=False, then=Then.NEXT)
"""A request that is bad for what this model alone asks for: a prefill, thoughts of its own. Nothing of it is wrong for others."""

LEAST_USEFUL_TOKENS = 256
"""Credit for a shorter answer is none. It is also the default of `min_output_tokens`."""


def rule_of(failure: Failure) -> Rule:
    """The rule of the failure's kind, unless another model may take the request, or the credit pays for a smaller one."""
    if failure.elsewhere:
        return TAKEN_ELSEWHERE
    return SMALLER_IS_PAID if pays_for_less(failure) else RULES[failure.kind]


def pays_for_less(failure: Failure) -> bool:
    """Whether the provider refused for lack of credit, and named a smaller request that the credit pays for."""
    if failure.kind is not FailureKind.QUOTA_EXHAUSTED:
        return False
    size = failure.size
    if size.affordable_tokens is not None:
        return size.affordable_tokens >= LEAST_USEFUL_TOKENS
    return size.window_tokens is not None and size.window_tokens >= LEAST_USEFUL_TOKENS


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The same model once more, after `after_ms`."""

    after_ms: int


NextStep: TypeAlias = TryAgain | Then


def next_step(
    failure: Failure,
    *,
    tried: int,
    retries: int,
    backoff_ms: int,
    patience_ms: int,
    next_on_content_policy: bool,
    is_fallback: bool = False,
) -> NextStep:
    """What to do after a failure. `tried` counts the attempts at this model, `patience_ms` is the longest wait worth it for this model.

    `is_fallback`: the model is not the first of the call's chain.
    """
    rule = rule_of(failure)
    if rule.again and tried <= retries:
        after_ms = wait_ms(failure, backoff_ms)
        if after_ms <= patience_ms:
            return TryAgain(after_ms)
    if failure.kind is FailureKind.CONTENT_POLICY and next_on_content_policy:
        return Then.NEXT
    return rule.then if rule.then_at_fallback is None or not is_fallback else rule.then_at_fallback


def wait_ms(failure: Failure, backoff_ms: int) -> int:
    """The wait before the same model is tried again: what the provider asked for, else the backoff."""
    if rule_of(failure).at_once:
        return 0
    if failure.asked_ms is None:
        return backoff_ms
    return max(failure.asked_ms, min(backoff_ms, LEAST_WAIT_MS))


def pause_ms(failure: Failure, backoff_ms: int) -> int | None:
    """How long every worker stays off the model after this failure, at most until the next probe; None: not at all."""
    rule = rule_of(failure)
    if not rule.pauses:
        return None
    return min(PROBE_EVERY_MS, wait_ms(failure, backoff_ms) if rule.pause_ms is None else max(rule.pause_ms, failure.asked_ms or 0))


def counts_as_attempt(failure: Failure) -> bool:
    """Whether a failed attempt counts towards `max_attempts`: all but a throttled one whose provider says how long to wait."""
    return failure.kind is not FailureKind.THROTTLED or failure.asked_ms is None


def may_cost(failure: Failure, *, is_free: bool) -> bool:
    """Whether the attempt may have cost something. `is_free`: the model's price is 0."""
    return failure.billed is not Billed.NO and not is_free


def waits_out(failure: Failure, *, costly: bool, costly_left: int) -> bool:
    """Whether a call with no other model left waits until this model answers again.

    `costly`: the attempt may have cost something; `costly_left` is how many more of that kind the call may make.
    """
    waits = {
        WaitOut.NEVER: False,
        WaitOut.BOUNDED: not costly or costly_left > 0,
        WaitOut.IF_STATED: failure.asked_ms is not None,
    }
    return waits[rule_of(failure).wait_out]


def leaves_time(failure: Failure, *, costly: bool, took_ms: int, left_ms: int) -> bool:
    """Whether the deadline leaves time to repeat the attempt: one that timed out, and may have cost something, half of what it took."""
    return not costly or failure.kind is not FailureKind.TIMED_OUT or 2 * left_ms >= took_ms


def needs_operator(failure: Failure) -> bool:
    """Whether only an operator can fix the cause: a quota that comes back at a time that the provider states is not among them."""
    rule = rule_of(failure)
    return rule.needs_operator and not (rule.wait_out is WaitOut.IF_STATED and failure.asked_ms is not None)


OPERATOR_KINDS = tuple(kind for kind, rule in RULES.items() if rule.needs_operator)
"""The kinds of failures that only an operator can fix."""


def asks_for_long(failure: Failure) -> bool:
    """Whether the provider asked for such a long wait that one probe finds out now and then whether it has room earlier."""
    return failure.kind is FailureKind.THROTTLED and failure.asked_ms is not None and failure.asked_ms > PROBE_EVERY_MS
