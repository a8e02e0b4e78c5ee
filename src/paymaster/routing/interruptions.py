"""What an interrupted call is charged: an upper bound of what can have been billed, or the whole hold. Pure: times are arguments."""

from dataclasses import dataclass, replace

from paymaster.accounting.money import format_usd
from paymaster.accounting.prices.price import PLAIN_TERMS, Cost, Price, cost, worst_case_nanousd
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import Usage
from paymaster.registry.disconnects import StopsOnDisconnect
from paymaster.registry.models import Policy
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.planning import Candidate
from paymaster.routing.server_work import NO_WORK

_INTERRUPTED = frozenset({FailureKind.CONNECTION_LOST, FailureKind.TIMED_OUT, FailureKind.CANCELLED})
_MS_PER_S = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What had come of a stream when it was interrupted.

    `prompt` is the input that the provider reported, None if it reported none. `output_tokens` is at most how many tokens had come. The
    stream was last known to be read up to its end `unseen_ms` before the connection closed. Output came at `tokens_per_second` at most.
    `served_by` is the upstream provider that the answer names.
    """

    prompt: Usage | None
    output_tokens: int
    unseen_ms: int
    tokens_per_second: int
    served_by: str | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """An upper bound: its cost, the usage that costs it, and what it is made of, in words."""

    cost_nanousd: int
    usage: Usage
    basis: str


@dataclass(frozen=True, slots=True)
class WholeHold:
    """The whole hold, and why, in words."""

    basis: str


def was_interrupted(failure: Failure) -> bool:
    """Whether the attempt ended in the middle, and may have been billed to an unknown amount."""
    return failure.kind in _INTERRUPTED and failure.billed is Billed.MAYBE and failure.usage is None


def estimate(candidate: Candidate, policy: Policy, delivered: Delivered | None) -> Estimate | WholeHold:
    """What an interrupted attempt is charged. `delivered` is None if the answer was not streamed.

    The output until then is what had come, and what the fastest answer adds until the connection was closed on both sides.
    """
    model, price = candidate.model, candidate.price
    stops = model.stops
    if not policy.estimates_interrupted:
        return WholeHold("interrupted_calls is full_hold")
    if price is None:
        return WholeHold("the model has no price")
    if stops is None:
        return WholeHold(f"{model.provider} does not state that it stops when the connection closes")
    if delivered is None:
        return WholeHold("the answer was not streamed, so the provider may have finished it")
    if not stops.holds_for(delivered.served_by):
        upstream = delivered.served_by or "a provider that it did not name"
        return WholeHold(f"{model.provider} had {upstream} answer, which does not state that it stops when the connection closes")
    if candidate.work != NO_WORK:
        return WholeHold("the provider may have used tools or models of its own")
    if model.may_reason_unseen:
        return WholeHold("the model may have reasoned without showing it")
    if delivered.prompt is None and candidate.prompt.unbounded and not (model.max_input_tokens or model.context_window):
        return WholeHold(f"nothing bounds how many tokens {', '.join(candidate.prompt.unbounded)} has; it may have cost more")
    return _estimated(candidate, price, delivered, _output_tokens(candidate, stops, delivered))


def _output_tokens(candidate: Candidate, stops: StopsOnDisconnect, delivered: Delivered) -> int:
    fastest = max(stops.tokens_per_second * candidate.choices, delivered.tokens_per_second)
    unseen_tokens = -(-(delivered.unseen_ms + stops.closing_ms) * fastest // _MS_PER_S)
    return min(candidate.output_tokens * candidate.choices, delivered.output_tokens + unseen_tokens)


def _estimated(candidate: Candidate, price: Price, delivered: Delivered, output_tokens: int) -> Estimate:
    """The bound at the highest rates that could apply; at the rates of the answer if the input is known and the terms are plain."""
    prompt = delivered.prompt
    until = f"{output_tokens:,} output tokens until the connection closed"
    if prompt is None:
        usage, basis = Usage(input_tokens=candidate.prompt.tokens), f"at most {candidate.prompt.tokens:,} prompt tokens and {until}"
    else:
        usage, basis = prompt, f"{prompt.prompt_tokens:,} prompt tokens as reported, at most {until}"
    usage = replace(usage, output_tokens=output_tokens)
    # With several prices, the call may have been sent after a change of its price, or served in the dearest place.
    certain = prompt is not None and candidate.terms == PLAIN_TERMS and len(candidate.prices) == 1
    known = cost(usage, price, candidate.at) if certain else None
    bounds = (_at_most_nanousd(candidate, each, usage) for each in candidate.prices)
    bound_nanousd = known.nanousd if isinstance(known, Cost) else max(bounds)
    return Estimate(bound_nanousd, usage, basis)


def _at_most_nanousd(candidate: Candidate, price: Price, usage: Usage) -> int:
    return worst_case_nanousd(
        price,
        usage.prompt_tokens,
        usage.output_tokens,
        cache_control=candidate.translation.cache_control,
        at=candidate.hold_at,
        terms=candidate.terms,
    )


def describe_charge(record: AttemptRecord) -> str:
    """What an attempt was charged and why, in a sentence for a person."""
    charged = f"Charged {format_usd(record.cost_nanousd)}"
    match record.billed:
        case "none":
            return "Nothing was charged."
        case "unpriced":
            return "Its cost is unknown: the model has no price."
        case "exact" | "estimated":
            return f"{charged}: {describe_counting(record)}."
        case _:
            return f"{charged}, {describe_counting(record)}."


def describe_counting(record: AttemptRecord) -> str:
    """How the charge of an attempt was counted: by the provider's figure, as an upper bound, or as the whole hold and why."""
    match record.billed:
        case "exact":
            prompt = record.input_tokens + record.cache_read_tokens + record.cache_write_tokens
            return f"{prompt:,} prompt tokens and {record.output_tokens:,} output tokens, as reported"
        case "estimated":
            return record.cost_basis or "at most what can have been billed"
        case _:
            return f"the whole hold: {record.cost_basis or 'the provider reported no usage that counts'}"
