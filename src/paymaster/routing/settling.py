"""What an attempt's end means for the books: the actual amounts, the record, the pauses. Pure: it posts nothing itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from paymaster.accounting.accounts import Charge, Held, Hold, Post, Settlement
from paymaster.accounting.prices.price import Cost, cost
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.operations import Operation
from paymaster.registry.models import Model, Policy
from paymaster.routing.adaptive_concurrency import NO_HEADROOM_STATED, RateHeadroom, overload_posts
from paymaster.routing.charges import (
    ASKED_FOR_TIME,
    OUT_OF_SERVICE,
    UNBOUNDED_SLOTS,
    ChargeKind,
    failures_account,
    pause_account,
    slots_account,
)
from paymaster.routing.failures import RULES, Billed, Failure, FailureKind, pause_ms
from paymaster.routing.planning import Candidate
from paymaster.scope import Scope

HALF_OPEN_MS = 60_000
"""How long after a pause a single probe at a time is let through at least, unless one succeeds earlier."""

MESSAGE_LENGTH = 300

UNSENT = frozenset({FailureKind.CONNECTION_REFUSED, FailureKind.STALE_HOLD})
"""Failures before anything reached the provider: not even a request was used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended, as the books see it: a usage (or why it is unknown), or a failure."""

    usage: Usage | UnknownUsage | None
    failure: Failure | None = None
    duration_ms: int = 0
    first_token_ms: int | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    backoff_ms: int = 0
    left: RateHeadroom = NO_HEADROOM_STATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Who attempted what: everything about an attempt that is known before it is sent. `others` says that another model is left."""

    call_id: str
    number: int
    at_ms: int
    scope: Scope
    candidate: Candidate
    kinds: tuple[ChargeKind, ...]
    hold: Hold
    operation: Operation = Operation.CHAT
    streamed: bool = False
    waited_ms: int = 0
    fallback_from: str | None = None
    others: bool = False


@dataclass(frozen=True, slots=True)
class Bill:
    """What an attempt is charged: nano-dollars, where the figure comes from, and how sure it is (see AttemptRecord.billed)."""

    cost_nanousd: int
    source: str
    billed: str


def bill(candidate: Candidate, ended: Ended) -> Bill:
    """The exact cost where the usage is known; the whole hold where the provider may have billed; nothing where it surely did not."""
    failure = ended.failure
    if failure is not None and failure.billed is Billed.NO:
        return Bill(0, "not billed", "none")
    price = candidate.model.price
    if isinstance(ended.usage, Usage):
        exact = cost(ended.usage, price, candidate.at)
        if isinstance(exact, Cost):
            return Bill(exact.nanousd, exact.source, "exact")
    if price is None:
        return Bill(0, "unpriced", "unpriced")
    return Bill(candidate.held_nanousd, f"hold ({price.source})", "assumed")


def lost_record(attempt: Attempt) -> AttemptRecord:
    """The record that the ledger writes should nobody settle: the hold is charged in full."""
    price = attempt.candidate.model.price
    charged = Bill(attempt.candidate.held_nanousd, f"hold ({price.source})", "assumed") if price else Bill(0, "unpriced", "unpriced")
    return _record(attempt, Ended(usage=None), charged, outcome="lost")


def attempt_record(attempt: Attempt, ended: Ended, charged: Bill) -> AttemptRecord:
    """The record of an attempt that ended."""
    return _record(attempt, ended, charged, outcome="answered" if ended.failure is None else ended.failure.kind.value)


def settlement(attempt: Attempt, ended: Ended, charged: Bill, record: AttemptRecord, held: Held, policy: Policy) -> Settlement:
    """Everything that the end of an attempt writes, for one transaction."""
    failure = ended.failure
    posts = [] if failure is None else _posts(attempt, failure, ended.backoff_ms, policy)
    model = attempt.candidate.model.name
    clears: tuple[str, ...] = ()
    if failure is None and breaker_stands(attempt, held):
        clears = (failures_account(model), slots_account(model))
    elif failure is not None:
        again = probe_failed(attempt, failure, held)
        if again:  # in one step with its end: no other call finds its slot free and the pause not yet there
            posts.extend(opening_posts(attempt, policy))
        if again or RULES[failure.kind].needs_operator:
            clears = (slots_account(model),)  # an earlier one probe at a time gives way to the one that is posted now
    return Settlement(
        hold=attempt.hold,
        held_at_ms=held.at_ms,
        amounts=actual_amounts(attempt.kinds, attempt.hold.charges, ended, charged.cost_nanousd),
        record=record.to_json(),
        posts=tuple(posts),
        clears=clears,
    )


def breaker_stands(attempt: Attempt, held: Held) -> bool:
    """True where failures are on the books for this model, so that an answer has something to clear."""
    return any(
        balance.live > 0
        for meaning, balance in zip(attempt.kinds, held.balances, strict=True)
        if meaning in (ChargeKind.FAILURES, ChargeKind.SLOT)
    )


def was_half_open(attempt: Attempt, held: Held) -> bool:
    """True where the attempt was the probe of a breaker: an entry stands on the model's slots."""
    return any(balance.live > 0 for meaning, balance in zip(attempt.kinds, held.balances, strict=True) if meaning is ChargeKind.SLOT)


def probe_failed(attempt: Attempt, failure: Failure, held: Held) -> bool:
    """True where the attempt was a breaker's probe, and its failure opens it again."""
    return counts_against(attempt, failure) and was_half_open(attempt, held)


def counts_against(attempt: Attempt, failure: Failure) -> bool:
    """True where the failure counts towards opening the model's breaker.

    A 429 that says no time does while another model can answer: else all calls would wait, try again and wait for one that is full. Not
    where the number of calls at once is being found out: there a 429 is what tells it.
    """
    if failure.kind is FailureKind.THROTTLED:
        return attempt.others and failure.retry_after_ms is None and not attempt.candidate.model.limits.adapts
    return RULES[failure.kind].breaker


def opening_posts(attempt: Attempt, policy: Policy) -> tuple[Post, ...]:
    """What opens the breaker: nobody for the pause, then one at a time."""
    model = attempt.candidate.model
    return (Post(pause_account(model.name), OUT_OF_SERVICE, policy.breaker_pause_ms), *_half_open(model, policy.breaker_pause_ms))


def _half_open(model: Model, pause_ms: int) -> tuple[Post, ...]:
    """After the pause one call at a time, for at least as long as one may take."""
    slots = model.limits.max_parallel or UNBOUNDED_SLOTS
    return (Post(slots_account(model.name), slots - 1, pause_ms + max(HALF_OPEN_MS, model.timeouts.total_ms)),) if slots > 1 else ()


def actual_amounts(kinds: Sequence[ChargeKind], charges: Sequence[Charge], ended: Ended, cost_nanousd: int) -> tuple[int, ...]:
    """What each charge comes to in the end. What is not known stays as it was held."""
    return tuple(_actual(meaning, charge.amount, ended, cost_nanousd) for meaning, charge in zip(kinds, charges, strict=True))


def _actual(meaning: ChargeKind, held: int, ended: Ended, cost_nanousd: int) -> int:
    unsent = ended.failure is not None and ended.failure.kind in UNSENT
    match meaning:
        case ChargeKind.MONEY:
            return cost_nanousd
        case ChargeKind.REQUESTS:
            return 0 if unsent else held
        case ChargeKind.TOKENS | ChargeKind.INPUT_TOKENS | ChargeKind.OUTPUT_TOKENS:
            if ended.failure is not None and ended.failure.billed is Billed.NO:
                return 0
            return _tokens(meaning, ended.usage, held)
        case _:
            return 0


def _tokens(meaning: ChargeKind, usage: Usage | UnknownUsage | None, held: int) -> int:
    if not isinstance(usage, Usage):
        return held
    match meaning:
        case ChargeKind.INPUT_TOKENS:
            return usage.prompt_tokens
        case ChargeKind.OUTPUT_TOKENS:
            return usage.output_tokens
        case _:
            return usage.total_tokens


def _posts(attempt: Attempt, failure: Failure, backoff_ms: int, policy: Policy) -> list[Post]:
    model, rule = attempt.candidate.model, RULES[failure.kind]
    posts = []
    stays_off_ms = pause_ms(failure, backoff_ms)
    if stays_off_ms:
        posts.append(Post(pause_account(model.name), OUT_OF_SERVICE if rule.needs_operator else ASKED_FOR_TIME, stays_off_ms))
        if rule.needs_operator:  # somebody has to mend it: whether it is mended one call finds out, not all
            posts.extend(_half_open(model, stays_off_ms))
    if counts_against(attempt, failure):
        posts.append(Post(failures_account(model.name), 1, policy.breaker_window_ms))
    posts.extend(overload_posts(model, failure.kind))
    return posts


def _record(attempt: Attempt, ended: Ended, charged: Bill, outcome: str) -> AttemptRecord:
    usage = ended.usage if isinstance(ended.usage, Usage) else None
    cached = usage.cache_read_tokens + usage.cache_read_audio_tokens + usage.cache_read_image_tokens if usage else 0
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens if usage else 0
    failure, scope, model = ended.failure, attempt.scope, attempt.candidate.model
    return AttemptRecord(
        call_id=attempt.call_id,
        attempt=attempt.number,
        at_ms=attempt.at_ms,
        model=model.name,
        provider=model.provider,
        model_id=model.model_id,
        outcome=outcome,
        billed=charged.billed,
        cost_nanousd=charged.cost_nanousd,
        held_nanousd=attempt.candidate.held_nanousd,
        cost_source=charged.source,
        run=scope.run,
        batch=scope.batch,
        instance=scope.instance,
        user=scope.user,
        role=scope.role,
        tags=scope.tags,
        input_tokens=usage.prompt_tokens - cached - written if usage else 0,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=usage.output_tokens if usage else 0,
        reasoning_tokens=usage.reasoning_tokens if usage else 0,
        waited_ms=attempt.waited_ms,
        duration_ms=ended.duration_ms,
        first_token_ms=ended.first_token_ms,
        status=failure.status if failure else None,
        finish_reason=ended.finish_reason,
        fallback_from=attempt.fallback_from,
        operation=attempt.operation.value,
        streamed=attempt.streamed,
        request_id=ended.request_id,
        message=failure.message[:MESSAGE_LENGTH] if failure else None,
    )
