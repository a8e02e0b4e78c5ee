"""Each event as one sentence for a person, with its log level; knows neither log nor terminal."""

import logging
from collections.abc import Mapping
from typing import TypeAlias, assert_never

from paymaster.accounting.account_names import BREAKER, PAUSE
from paymaster.accounting.budget_units import format_balance
from paymaster.accounting.money import format_usd
from paymaster.accounting.place_names import place_name
from paymaster.flow.endpoint_events import EndpointChanged, FellBack
from paymaster.flow.events import (
    Admitted,
    AttemptFailed,
    AttemptSettled,
    BreakerClosed,
    BreakerOpened,
    BudgetPassed,
    CallGivenUp,
    ConcurrencyLowered,
    Event,
    ModelSkipped,
    PromptUndercounted,
    RefusedByAccount,
    ThresholdCrossed,
    Throttled,
    Unpriced,
)
from paymaster.flow.ledger_events import HoldLost, LedgerEvent, SettlementFailed, SettlementPosted, SettlementSetAside, Unbooked
from paymaster.printable import printable_line
from paymaster.routing.failures import FailureKind
from paymaster.routing.output_limits import Lowering, describe_lowering
from paymaster.views.ledger_status import limit_kind
from paymaster.views.words import duration

LONG_WAIT_MS = 30_000
"""A wait this long is worth a warning: a person would wonder whether the run hangs."""

_PASSING = frozenset({FailureKind.THROTTLED, FailureKind.OVERLOADED, FailureKind.CANCELLED})
"""Failures that need no attention: the policy handles them."""

_SAID_BY_THE_REASON = frozenset({PAUSE, BREAKER})
"""Kinds of accounts whose reason needs no name beside it."""

_OfAnEndpoint: TypeAlias = (
    Admitted
    | Throttled
    | RefusedByAccount
    | ModelSkipped
    | AttemptSettled
    | AttemptFailed
    | FellBack
    | EndpointChanged
    | BreakerOpened
    | BreakerClosed
    | ConcurrencyLowered
    | PromptUndercounted
)
"""Events that name the endpoint of a model, if it has several."""

_LOGGERS_AND_LEVELS: Mapping[type[Event], tuple[str, int]] = {
    Admitted: ("calls", logging.DEBUG),
    Throttled: ("calls", logging.INFO),
    RefusedByAccount: ("calls", logging.INFO),
    ModelSkipped: ("routing", logging.DEBUG),
    AttemptSettled: ("calls", logging.INFO),
    AttemptFailed: ("calls", logging.WARNING),
    FellBack: ("routing", logging.WARNING),
    EndpointChanged: ("routing", logging.INFO),
    CallGivenUp: ("calls", logging.DEBUG),  # the caller gets an error with the same, and more
    ThresholdCrossed: ("budgets", logging.WARNING),
    BudgetPassed: ("budgets", logging.WARNING),
    Unpriced: ("budgets", logging.WARNING),
    BreakerOpened: ("routing", logging.WARNING),
    BreakerClosed: ("routing", logging.INFO),
    ConcurrencyLowered: ("routing", logging.INFO),
    PromptUndercounted: ("budgets", logging.WARNING),
    HoldLost: ("budgets", logging.WARNING),
    SettlementFailed: ("budgets", logging.ERROR),
    Unbooked: ("budgets", logging.ERROR),
    SettlementPosted: ("budgets", logging.WARNING),
    SettlementSetAside: ("budgets", logging.ERROR),
}


def logger_and_level(event: Event) -> tuple[str, int]:
    """The child logger of `paymaster` that an event belongs to, and its level."""
    logger, level = _LOGGERS_AND_LEVELS[type(event)]
    match event:
        case Throttled(wait_ms=int(wait_ms)) if wait_ms >= LONG_WAIT_MS:
            return logger, logging.WARNING
        case AttemptFailed() if event.failure in _PASSING:
            return logger, logging.INFO
        case BudgetPassed(hard=True):
            return logger, logging.INFO  # the caller gets an error with the same, and more
        case _:
            return logger, level


def sentence(event: Event) -> str:
    """The event in words, on one line; the instance of a batch comes first."""
    instance = f"{event.scope.instance}: " if event.scope.instance else ""
    return printable_line(instance + _words(event))


def _words(event: Event) -> str:
    match event:
        case Admitted():
            return _admitted(event)
        case Throttled():
            return _throttled(event)
        case RefusedByAccount() | ModelSkipped() | FellBack():
            return _another_model(event)
        case EndpointChanged():
            return f"{_place(event)} gave the call to {event.to_endpoint}: {event.reason}"
        case AttemptSettled():
            return _settled(event)
        case AttemptFailed():
            return _failed(event)
        case CallGivenUp():
            return (
                f"the call ends without an answer ({event.error}) after {event.attempts} attempts; {format_usd(event.cost_nanousd)} charged"
            )
        case ThresholdCrossed():
            spent, cap = (format_balance(amount, event.account) for amount in (event.spent, event.cap))
            return f"{event.percent} % of {event.account} is spent: {spent} of {cap}"
        case BudgetPassed():
            return _budget_passed(event)
        case Unpriced():
            return f"{event.model} has no price, so its cost is not counted. {event.advice}"
        case BreakerOpened() | BreakerClosed() | ConcurrencyLowered() | PromptUndercounted():
            return _about_a_model(event)
        case HoldLost() | SettlementFailed() | Unbooked() | SettlementPosted() | SettlementSetAside():
            return _about_the_ledger(event)
        case _:
            assert_never(event)


def _place(event: _OfAnEndpoint) -> str:
    return place_name(event.model, event.endpoint)


def _about_a_model(event: BreakerOpened | BreakerClosed | ConcurrencyLowered | PromptUndercounted) -> str:
    match event:
        case BreakerOpened():
            return f"{_place(event)}: circuit open for {duration(event.pause_ms)}, for every worker: {event.reason.replace('_', ' ')}"
        case BreakerClosed():
            return f"{_place(event)}: circuit closed, it answers again"
        case ConcurrencyLowered():
            return f"{_place(event)}: concurrency limit lowered from {event.from_parallel:,} to {event.to_parallel:,} ({event.reason})"
        case PromptUndercounted():
            by = "bytes" if event.percent_of_bytes <= 100 else f"{event.percent_of_bytes / 100:g} times its bytes"
            return (
                f"{_place(event)}: a prompt held for as {event.held_tokens:,} tokens was counted as {event.prompt_tokens:,} by the "
                f"provider. From now on this model is counted by {by}. {event.advice}"
            )
        case _:
            assert_never(event)


def _admitted(event: Admitted) -> str:
    room = "any length" if event.max_output_tokens is None else f"at most {event.max_output_tokens:,} tokens"
    lowered = ""
    if event.lowered_from_tokens is not None:
        why = describe_lowering(event.lowered_from_tokens, event.max_output_tokens or 0, event.lowered_by or Lowering.BUDGET)
        lowered = f" ({why})"
    over = f"; over budget: {', '.join(event.over_budget)}" if event.over_budget else ""
    return (
        f"{_tiered(event)}, attempt {event.attempt}: {format_usd(event.held_nanousd)} held for {event.prompt_tokens:,} tokens in "
        f"and {room} out{lowered}{_without(event.dropped_params)}{over}"
    )


def _throttled(event: Throttled) -> str:
    how_long = f"up to {duration(event.wait_ms)}" if event.wait_ms is not None else "until another call ends"
    where = f" ({event.account})" if event.account and limit_kind(event.account) not in _SAID_BY_THE_REASON else ""
    since_ms = event.at_ms if event.failing_since_ms is None else event.failing_since_ms
    failing = "" if event.failure is None else f"; {event.failure} for {duration(event.at_ms - since_ms)}"
    gives_up = "" if event.gives_up_at_ms is None else f"; gives up in {duration(max(0, event.gives_up_at_ms - event.at_ms))}"
    return f"{_place(event)} waits {how_long}: {event.reason}{where}{failing}{gives_up}"


def _another_model(event: RefusedByAccount | ModelSkipped | FellBack) -> str:
    match event:
        case RefusedByAccount():
            return _refused(event)
        case ModelSkipped():
            return f"{_tiered(event)} skipped: {event.reason}"
        case FellBack():
            new = place_name(event.to_model, event.to_endpoint, event.to_service_tier or "")
            return f"{_tiered(event)} fell back to {new}: {event.reason}{_without(event.dropped_params)}"


def _tiered(event: Admitted | ModelSkipped | FellBack | AttemptSettled | AttemptFailed) -> str:
    return place_name(event.model, event.endpoint, event.service_tier or "")


def _refused(event: RefusedByAccount) -> str:
    needed, cap, settled, held = (format_balance(n, event.account) for n in (event.needed, event.cap, event.settled, event.held))
    return f"{_place(event)} skipped: {event.account} needs {needed} and has {cap}, of which {settled} used and {held} held"


def _settled(event: AttemptSettled) -> str:
    taken_in = event.input_tokens + event.cache_read_tokens + event.cache_write_tokens
    cached = f" ({event.cache_read_tokens:,} cached)" if event.cache_read_tokens else ""
    waited = f" after waiting {duration(event.waited_ms)}" if event.waited_ms else ""
    charged = format_usd(event.cost_nanousd)
    cost = {"unpriced": "cost unknown", "assumed": f"{charged} assumed", "estimated": f"at most {charged}"}.get(event.billed, charged)
    took = f"answered in {duration(event.duration_ms)}{waited}"
    saved = f", {format_usd(event.saved_nanousd)} saved" if event.saved_nanousd else ""
    return f"{_tiered(event)} {took}: {taken_in:,} tokens in{cached}, {event.output_tokens:,} out, {cost}{saved}"


def _failed(event: AttemptFailed) -> str:
    status = f" (HTTP {event.status})" if event.status is not None else ""
    later = f"; retry after {duration(event.retry_after_ms)}" if event.retry_after_ms is not None else ""
    basis = f" ({event.cost_basis})" if event.cost_basis else ""
    charged = f"; {format_usd(event.cost_nanousd)} charged{basis}" if event.cost_nanousd else ""
    kind = event.failure.replace("_", " ")
    return f"{_tiered(event)}, attempt {event.attempt}: {kind}{status} after {duration(event.duration_ms)}{later}{charged}: {event.message}"


def _budget_passed(event: BudgetPassed) -> str:
    amounts = (event.spent, event.held, event.cap, event.needed, event.over)
    spent, held, cap, needed, over = (format_balance(amount, event.account) for amount in amounts)
    state = f"{spent} spent and {held} held of {cap}"
    if event.hard:
        return f"{event.account} stops the call: {state}, {needed} needed"
    return f"{event.account} is over by {over}, and the run goes on: {state}"


def _about_the_ledger(event: LedgerEvent) -> str:
    match event:
        case HoldLost():
            return f"a worker died during a call to {event.model}: its whole hold is charged, {format_usd(event.cost_nanousd)}"
        case SettlementFailed():
            stays = f"{format_usd(event.held_nanousd)} stay held and are charged when the lease ends"
            if event.spooled:
                stays = "it waits on disk until the ledger is available again"
            return f"ledger unavailable, the cost of a call to {event.model} is not recorded; {stays}: {event.message}"
        case Unbooked():
            held = format_usd(event.held_nanousd)
            return f"ledger unavailable, {event.model} is called without it: {held} are in no budget yet. {event.message}"
        case SettlementPosted():
            cost = format_usd(event.cost_nanousd)
            return f"ledger available again: {cost} of a call to {event.model}, which waited on disk, are recorded"
        case SettlementSetAside():
            what = f"{format_usd(event.cost_nanousd)} of a call to {event.model}" if event.model else "a line of the spool"
            return f"{what} can't be recorded and is set aside, see `paymaster ledger status`: {event.reason}"


def _without(params: tuple[str, ...]) -> str:
    return f", without {', '.join(params)}" if params else ""
