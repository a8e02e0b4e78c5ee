"""What an attempt's end means for the ledger: the actual amounts, the record, the pauses. Pure: it posts nothing itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from paymaster.accounting.account_names import PAUSE, account_of
from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Post, Settlement
from paymaster.accounting.bounds import LARGEST_CALL_NANOUSD
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.corrections import Correction
from paymaster.accounting.money import format_usd
from paymaster.accounting.prices.price import Cost, Price, PriceOfModel, UnknownCost, cost
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.frozen import frozen_dataclass
from paymaster.operations import Operation
from paymaster.registry.models import Policy
from paymaster.routing import breaker
from paymaster.routing.adaptive_concurrency import NOT_STATED, RateHeadroom, overload_posts
from paymaster.routing.charges import ChargeKind
from paymaster.routing.exhaustion import exhaustion_clears, exhaustion_posts
from paymaster.routing.failures import Billed, Failure, FailureKind, may_cost, needs_operator, pause_ms, rule_of
from paymaster.routing.interruptions import Estimate, WholeHold
from paymaster.routing.planning import Candidate
from paymaster.routing.recollection import NOTHING_RECALLED, Recollection, answer_posts
from paymaster.routing.server_work import NO_WORK
from paymaster.routing.tiers import LONGEST_TIER, blames_tier, saved_nanousd, tier_clears, tier_posts
from paymaster.scope import Scope

MESSAGE_LENGTH = 300
_CORRECTION_LEASE_MS = 60_000

NOTHING_SENT = frozenset({FailureKind.CONNECTION_REFUSED, FailureKind.STALE_HOLD})
"""Failures before anything reached the provider: not even a request was used up."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended, as the ledger sees it: a usage (or why it is unknown), or a failure; `interrupted` is what one in the middle of
    an answer is charged. `sent_at_ms` is when the request was sent, whose price counts, and `answered` the model that the answer names.
    """

    usage: Usage | UnknownUsage | None
    failure: Failure | None = None
    duration_ms: int = 0
    first_token_ms: int | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    backoff_ms: int = 0
    headroom: RateHeadroom = NOT_STATED
    interrupted: Estimate | WholeHold | None = None
    sent_at_ms: int | None = None
    answered: str | None = None


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAttempt:
    """Everything about an attempt that is known before it is sent. `has_fallback` says that another model is left to try.

    `after_pause`: the call has waited for this model as its provider asked. `mark` is of the endpoint and the key (`mark_of`). `recalled`
    is what the call knows of the calls before it.
    """

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
    has_fallback: bool = False
    after_pause: bool = False
    mark: str = ""
    recalled: Recollection = NOTHING_RECALLED


@dataclass(frozen=True, slots=True)
class AttemptCost:
    """What an attempt is charged: nano-dollars, where the figure comes from, how sure it is and why (see `billed` and `cost_basis` of
    AttemptRecord).
    """

    cost_nanousd: int
    source: str
    billed: str
    basis: str | None = None


def bill(candidate: Candidate, ended: Ended, price_of: PriceOfModel | None = None) -> AttemptCost:
    """The exact cost where the usage is known; nothing where the provider surely did not bill; else a bound, or the whole hold.

    `price_of` has the prices of other models, for an answer with passes of theirs.
    """
    failure = ended.failure
    if failure is not None and failure.billed is Billed.NO:
        return AttemptCost(0, "not billed", "none")
    price = candidate.price
    why = ended.usage.detail if isinstance(ended.usage, UnknownUsage) else None
    if isinstance(ended.usage, Usage):
        exact = _exact(candidate, ended, ended.usage, price_of)
        if isinstance(exact, AttemptCost) and exact.cost_nanousd <= LARGEST_CALL_NANOUSD:
            return exact
        why = exact.detail if isinstance(exact, UnknownCost) else None
    if price is None:
        return AttemptCost(0, "unpriced", "unpriced")
    interrupted = ended.interrupted
    if isinstance(interrupted, Estimate):
        return AttemptCost(interrupted.cost_nanousd, f"estimate ({price.source})", "estimated", interrupted.basis)
    basis = interrupted.basis if interrupted is not None else why
    return AttemptCost(candidate.held_nanousd, f"hold ({price.source})", "assumed", basis)


def sent_at(candidate: Candidate, ended: Ended) -> datetime:
    """When the request was sent: the moment whose price counts."""
    return candidate.at if ended.sent_at_ms is None else datetime.fromtimestamp(ended.sent_at_ms / 1000, UTC)


def _exact(candidate: Candidate, ended: Ended, usage: Usage, price_of: PriceOfModel | None) -> AttemptCost | UnknownCost:
    """The cost of this usage; what the provider did by itself and no usage counts is charged as it was held."""
    # A pass that names no model is the asked one's, also if the answer ends with a fallback's name.
    work, answered, at = candidate.work, None if usage.parts else ended.answered, sent_at(candidate, ended)
    price = candidate.model.price_at(at, answered)
    if usage.reported_cost_usd is not None or work is NO_WORK:
        known = cost(usage, price, at, price_of=price_of)
        return AttemptCost(known.nanousd, known.source, "exact", _other_models(usage)) if isinstance(known, Cost) else known
    uncounted = work.uncounted_searches and not usage.web_search_requests and not usage.ran_nothing
    fees_nanousd = 0 if usage.ran_nothing else work.uncounted_nanousd
    billed = replace(usage, web_search_requests=work.web_searches) if uncounted else usage
    prices, is_certain = _answering(candidate, price, answered)
    costs: list[Cost] = []
    for each in prices:
        found = cost(billed, each, at, price_of=price_of)
        if isinstance(found, UnknownCost):
            return found
        costs.append(found)
    dearest = max(costs, key=lambda each: each.nanousd)
    guessed = [
        *([] if is_certain else ["another model may have answered"]),
        *(["no usage counts what the provider ran by itself, which is charged as held"] if uncounted or fees_nanousd else []),
    ]
    nanousd = dearest.nanousd + fees_nanousd
    if not guessed:
        return AttemptCost(nanousd, dearest.source, "exact", _other_models(usage))
    tokens = f"{usage.prompt_tokens:,} prompt tokens and {usage.output_tokens:,} output tokens as reported"
    return AttemptCost(nanousd, dearest.source, "estimated", f"at most, by {tokens}: {'; '.join(guessed)}")


def _answering(candidate: Candidate, price: Price | None, answered: str | None) -> tuple[Sequence[Price | None], bool]:
    """The prices of the model that answered, and whether that is certain; of all that may have, if the answer doesn't name one of them."""
    others = candidate.work.others
    named = [other.price for other in others if other.model_id == answered]
    if named:
        return named, True
    if answered == candidate.model.model_id:
        return [price], True
    return [price, *(other.price for other in others)], not others


def _other_models(usage: Usage) -> str | None:
    """Which models besides the caller's the bill is made of, in words."""
    names = dict.fromkeys(part.model for part in usage.parts if part.model is not None)
    return f"with passes of {' and '.join(names)}" if names else None


def lost_record(attempt: PlannedAttempt) -> AttemptRecord:
    """The record that the ledger writes should nobody settle: the hold is charged in full."""
    price = attempt.candidate.price
    charged = (
        AttemptCost(attempt.candidate.held_nanousd, f"hold ({price.source})", "assumed")
        if price
        else AttemptCost(0, "unpriced", "unpriced")
    )
    return _record(attempt, Ended(usage=None), charged, outcome="lost")


def attempt_record(attempt: PlannedAttempt, ended: Ended, charged: AttemptCost) -> AttemptRecord:
    """The record of an attempt that ended."""
    return _record(attempt, ended, charged, outcome="answered" if ended.failure is None else ended.failure.kind.value)


def settlement(
    attempt: PlannedAttempt, ended: Ended, charged: AttemptCost, record: AttemptRecord, held: Held, policy: Policy
) -> Settlement:
    """Everything that the end of an attempt writes, for one transaction."""
    usage = ended.usage if isinstance(ended.usage, Usage) else None
    learned, forgotten = answer_posts(attempt.recalled, attempt.candidate, usage, attempt.at_ms) if ended.failure is None else ((), ())
    subject, state, event = attempt.candidate.model.subject, circuit_at(attempt), circuit_event_of(attempt, ended.failure)
    return Settlement(
        hold=attempt.hold,
        held_at_ms=held.at_ms,
        amounts=actual_amounts(attempt.kinds, attempt.hold.charges, ended, charged.cost_nanousd),
        record=record.to_json(),
        posts=learned if ended.failure is None else _posts(attempt, held, ended.failure, ended.backoff_ms, policy),
        clears=(
            *breaker.clears(subject, state, event, _balance(attempt, held, ChargeKind.FAILURES), attempt.mark),
            *exhaustion_clears(subject, ended.failure, _balance(attempt, held, ChargeKind.EXHAUSTED)),
            *forgotten,
            *tier_clears(attempt.candidate, ended.failure, _balance(attempt, held, ChargeKind.TIER_REFUSALS).live),
        ),
    )


def corrections(attempt: PlannedAttempt, record: AttemptRecord, billed_nanousd: int, at_ms: int) -> tuple[Settlement, ...]:
    """What replaces the charge of an attempt by what the provider billed: an entry for each budget, each with a record of its own.

    The ids follow from the hold's, so that a repeated correction counts once.
    """
    amount = billed_nanousd - record.cost_nanousd
    accounts = [charge.account for kind, charge in zip(attempt.kinds, attempt.hold.charges, strict=True) if kind is ChargeKind.MONEY]
    reason = (
        f"{record.provider} billed {format_usd(billed_nanousd)} for attempt {record.attempt} of call {record.call_id}, which was charged "
        f"{format_usd(record.cost_nanousd)} ({record.billed})"
    )
    return tuple(
        Settlement(
            Hold(f"correction-{attempt.hold.id}-{number}", (), _CORRECTION_LEASE_MS),
            at_ms,
            (),
            Correction(correction="bill", at_ms=at_ms, account=account, amount=amount, reason=reason, user=record.user).to_json(),
            (Post(account, amount, None),),
        )
        for number, account in enumerate(accounts if amount else ())
    )


def circuit_at(attempt: PlannedAttempt) -> breaker.State:
    """The state of the circuit that the attempt was admitted in: only a probe passes one that is half open."""
    return breaker.State.HALF_OPEN if ChargeKind.PROBE in attempt.kinds else breaker.State.CLOSED


def circuit_event_of(attempt: PlannedAttempt, failure: Failure | None) -> breaker.CircuitEvent:
    """What the end of the attempt means for the circuit: nothing, if it is about a tier of service alone."""
    if failure is not None and blames_tier(attempt.candidate, failure):
        return breaker.CircuitEvent.NOTHING
    return breaker.event_of(failure, adapts=attempt.candidate.model.limits.adapts)


def circuit_pause_ms(attempt: PlannedAttempt, held: Held, failure: Failure, backoff_ms: int, policy: Policy) -> int:
    """How long a circuit that this failure opens stays open.

    A call without another model waits for the model, so the first pauses are short, unless each probe may cost something.
    """
    if circuit_event_of(attempt, failure) in (breaker.CircuitEvent.OPERATOR, breaker.CircuitEvent.LONG_WAIT):
        return pause_ms(failure, backoff_ms) or policy.breaker_pause_ms
    if attempt.has_fallback or costs(attempt.candidate, failure):
        return policy.breaker_pause_ms
    return breaker.outage_pause_ms(_balance(attempt, held, ChargeKind.OPENINGS).live, policy.breaker_pause_ms)


def costs(candidate: Candidate, failure: Failure) -> bool:
    """Whether the attempt may have cost something, in dollars or of a budget in tokens or requests."""
    price = candidate.price
    counted = any(budget.unit is not BudgetUnit.USD for budget in candidate.budgets)
    return may_cost(failure, is_free=price is not None and price.is_free and not counted)


def circuit_posts(
    attempt: PlannedAttempt, held: Held, event: breaker.CircuitEvent, failure: Failure, backoff_ms: int, policy: Policy
) -> tuple[Post, ...]:
    """What the failure adds to the circuit's accounts, with `event` for what it means."""
    model = attempt.candidate.model
    return breaker.posts(
        model.subject,
        circuit_at(attempt),
        event,
        pause_ms=circuit_pause_ms(attempt, held, failure, backoff_ms, policy),
        half_open_ms=breaker.half_open_ms(model.timeouts.total_ms, policy.breaker_pause_ms),
        window_ms=policy.breaker_window_ms,
        asked_ms=failure.asked_ms or 0,
        reason=breaker.Reason(failure.kind, attempt.mark) if event is breaker.CircuitEvent.OPERATOR and needs_operator(failure) else None,
    )


def opens_circuit(attempt: PlannedAttempt, failure: Failure) -> bool:
    """Whether the settlement of this failure opens the circuit: a probe that failed, or an error that requires operator action."""
    return breaker.TRANSITIONS[circuit_at(attempt), circuit_event_of(attempt, failure)] is breaker.State.OPEN


def _balance(attempt: PlannedAttempt, held: Held, kind: ChargeKind) -> Balance:
    """What the admission found on the account of this kind; nothing where no ledger has the hold."""
    found = (balance for own, balance in zip(attempt.kinds, held.balances, strict=False) if own is kind)
    return next(found, Balance())


def actual_amounts(kinds: Sequence[ChargeKind], charges: Sequence[Charge], ended: Ended, cost_nanousd: int) -> tuple[int, ...]:
    """What each charge comes to in the end. What is not known stays as it was held."""
    return tuple(_actual(kind, charge.amount, ended, cost_nanousd) for kind, charge in zip(kinds, charges, strict=True))


def _actual(kind: ChargeKind, held: int, ended: Ended, cost_nanousd: int) -> int:
    unsent = ended.failure is not None and ended.failure.kind in NOTHING_SENT
    match kind:
        case ChargeKind.MONEY:
            return cost_nanousd
        case ChargeKind.REQUESTS:
            return 0 if unsent else held
        case ChargeKind.BUDGET_REQUESTS:
            return 0 if ended.failure is not None and ended.failure.billed is Billed.NO else held
        case ChargeKind.BUDGET_TOKENS | ChargeKind.TOKENS | ChargeKind.INPUT_TOKENS | ChargeKind.OUTPUT_TOKENS:
            if ended.failure is not None and ended.failure.billed is Billed.NO:
                return 0
            return _tokens(kind, _counted(ended), held)
        case _:
            return 0


def _counted(ended: Ended) -> Usage | UnknownUsage | None:
    """The usage that the provider reported, else that of the estimate."""
    if not isinstance(ended.usage, Usage) and isinstance(ended.interrupted, Estimate):
        return ended.interrupted.usage
    return ended.usage


def _tokens(kind: ChargeKind, usage: Usage | UnknownUsage | None, held: int) -> int:
    if not isinstance(usage, Usage):
        return held
    match kind:
        case ChargeKind.INPUT_TOKENS:
            return usage.prompt_tokens
        case ChargeKind.OUTPUT_TOKENS:
            return usage.output_tokens
        case _:
            return usage.total_tokens


def _posts(attempt: PlannedAttempt, held: Held, failure: Failure, backoff_ms: int, policy: Policy) -> tuple[Post, ...]:
    model, event = attempt.candidate.model, circuit_event_of(attempt, failure)
    if blames_tier(attempt.candidate, failure):
        refusals, longest_ms = _balance(attempt, held, ChargeKind.TIER_REFUSALS).live, policy.breaker_pause_ms
        return tier_posts(attempt.candidate, failure, refusals, backoff_ms=backoff_ms, longest_pause_ms=longest_ms)
    stays_off_ms = None if rule_of(failure).needs_operator else pause_ms(failure, backoff_ms)
    if failure.asked_ms is None and opens_circuit(attempt, failure):
        stays_off_ms = None  # the circuit's own pause is enough, and grows for all workers alike
    pause = (Post(account_of(PAUSE, model.subject), 1, stays_off_ms),) if stays_off_ms else ()
    remembered = _balance(attempt, held, ChargeKind.EXHAUSTED)
    vain = exhaustion_posts(model.subject, failure, remembered, after_pause=attempt.after_pause) if attempt.has_fallback else ()
    return (*pause, *vain, *circuit_posts(attempt, held, event, failure, backoff_ms, policy), *overload_posts(model, failure.kind))


def _record(attempt: PlannedAttempt, ended: Ended, charged: AttemptCost, outcome: str) -> AttemptRecord:
    counted = _counted(ended)
    usage = counted if isinstance(counted, Usage) else None
    cached = usage.cache_read_tokens + usage.cache_read_audio_tokens + usage.cache_read_image_tokens if usage else 0
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens if usage else 0
    failure, scope, model = ended.failure, attempt.scope, attempt.candidate.model
    at, exact = sent_at(attempt.candidate, ended), usage if charged.billed == "exact" else None
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
        cost_basis=charged.basis,
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
        run_owner=scope.user if "run" in scope.own_names else None,
        unknown_fields=", ".join(attempt.candidate.unknown_fields)[:MESSAGE_LENGTH] or None,
        endpoint=attempt.candidate.model.endpoint or None,
        service_tier=attempt.candidate.asked_tier,
        served_tier=usage.service_tier[:LONGEST_TIER] if usage and usage.service_tier else None,
        saved_nanousd=saved_nanousd(exact, model.price_at(at), at, charged.cost_nanousd) or None,
    )
