"""What the flow tells while it works: one frozen dataclass per event, flat and JSON-shaped; knows no sink and no format.

No event carries a prompt, an answer, a header or a key. Amounts of money are nano-dollars, times milliseconds since 1970, durations
milliseconds. The schema and the reference are made from the sentences below each field (scripts/build_events_docs.py). A new event or
field keeps the version; one that is taken away, or means something else, raises it.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from paymaster.scope import Scope

EVENTS_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _CallEvent:
    at_ms: int
    """When it happened."""
    call_id: str
    """The call it belongs to; joins all events and records of one call."""
    scope: Scope
    """Who is calling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted(_CallEvent):
    """A hold was admitted: the attempt is paid for and about to be sent."""

    kind: ClassVar[str] = "admitted"
    model: str
    """The model, by its name in the registry."""
    attempt: int
    """Counts from 1 within the call."""
    held_nanousd: int
    """What was set aside: the most the attempt may cost."""
    prompt_tokens: int
    """The prompt as counted before sending, an upper bound."""
    max_output_tokens: int | None
    """The largest answer that was asked for; null where nothing bounds it."""
    operation: str = "chat"
    """What is asked for: `chat`, `text_completion` or `embeddings`."""
    lowered_from_tokens: int | None = None
    """The largest answer as it was before the budget lowered it; null where it was not lowered."""
    dropped_params: tuple[str, ...] = ()
    """Parameters of the request that this model does not know and that were left out."""
    over_budget: tuple[str, ...] = ()
    """Accounts of soft budgets that have no room for this attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled(_CallEvent):
    """The call waits: for room in an account of ours, or before the same model is tried again."""

    kind: ClassVar[str] = "throttled"
    model: str
    """The model the call waits for."""
    account: str
    """The account without room; empty where the call only waits before it tries again."""
    wait_ms: int | None
    """How long at most; null where only other calls that end make room."""
    reason: str
    """Why, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedByAccount(_CallEvent):
    """No room and no use in waiting: this model is passed over for this call."""

    kind: ClassVar[str] = "refused"
    model: str
    """The model that is passed over."""
    account: str
    """The account without room."""
    cap: int
    """The account's cap, in its own unit (nano-dollars, requests or tokens), as are the next three."""
    settled: int
    """What is already spent or used."""
    held: int
    """What open holds of other calls have set aside."""
    needed: int
    """What this attempt asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSkipped(_CallEvent):
    """A model of the chain is not asked: it can't serve this request, lacks a key or a price, rests, or has no room soon enough."""

    kind: ClassVar[str] = "passed_over"
    model: str
    """The model that is passed over."""
    against: str
    """The kind of reason: `capability`, `vectors`, `context`, `parameter`, `unpriced`, `key`, `limit`, `wait` or `paused`."""
    reason: str
    """Why, in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSettled(_CallEvent):
    """An attempt was answered and paid."""

    kind: ClassVar[str] = "settled"
    model: str
    """The model, by its name in the registry."""
    provider: str
    """Who sold the answer."""
    model_id: str
    """The provider's own name of the model."""
    attempt: int
    """Counts from 1 within the call."""
    cost_nanousd: int
    """What was charged."""
    held_nanousd: int
    """What had been set aside."""
    cost_source: str
    """Where the price came from."""
    billed: str
    """`exact` (the cost is known), `assumed` (it is not, so the hold was charged), `none` (surely not billed) or `unpriced`."""
    input_tokens: int
    """Input neither read from a cache nor written to one."""
    cache_read_tokens: int
    """Input read from a cache."""
    cache_write_tokens: int
    """Input written to a cache."""
    output_tokens: int
    """Output, with its reasoning."""
    reasoning_tokens: int
    """The part of the output that was reasoning."""
    duration_ms: int
    """From sending to the end of the answer."""
    waited_ms: int
    """Waiting for room before it was sent."""
    first_token_ms: int | None
    """From sending to the first piece of the answer; null where it was not streamed."""
    finish_reason: str | None
    """Why the answer ended, in the words of the wire format; null for embeddings."""
    operation: str = "chat"
    """What was asked for: `chat`, `text_completion` or `embeddings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(_CallEvent):
    """An attempt brought no usable answer; `cost_nanousd` is what was charged for it all the same."""

    kind: ClassVar[str] = "failed"
    model: str
    """The model, by its name in the registry."""
    provider: str
    """Who was asked."""
    model_id: str
    """The provider's own name of the model."""
    attempt: int
    """Counts from 1 within the call."""
    failure: str
    """The kind of failure."""
    status: int | None
    """The HTTP status; null where there was no answer."""
    billed: str
    """`exact`, `assumed` (it may have been billed, so the hold was charged), `none` or `unpriced`."""
    cost_nanousd: int
    """What was charged for it all the same."""
    duration_ms: int
    """From sending to the failure."""
    retry_after_ms: int | None
    """How long the provider asked to stay away; null where it did not say."""
    message: str
    """The provider's own words, shortened and without secrets."""
    operation: str = "chat"
    """What was asked for: `chat`, `text_completion` or `embeddings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack(_CallEvent):
    """The call goes on with another model."""

    kind: ClassVar[str] = "fallback"
    model: str
    """The model that is left."""
    to_model: str
    """The model the call goes on with."""
    reason: str
    """Why, in a few words."""
    dropped_params: tuple[str, ...] = ()
    """Parameters of the request that the new model does not know and that are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGivenUp(_CallEvent):
    """The call ends without an answer."""

    kind: ClassVar[str] = "gave_up"
    error: str
    """What the caller is told, by the name of the exception: `NoModelAvailable`, `BudgetExceeded`, `DeadlineExceeded`."""
    attempts: int
    """How many attempts were made."""
    cost_nanousd: int
    """What was charged for them all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdCrossed(_CallEvent):
    """The settled spend of a budget crossed a share that the policy names."""

    kind: ClassVar[str] = "budget_threshold"
    account: str
    """The budget."""
    percent: int
    """The share that was crossed."""
    spent_nanousd: int
    """What is settled."""
    cap_nanousd: int
    """The budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPassed(_CallEvent):
    """A soft budget is over its cap by `over_nanousd`, or a hard one has refused a call (`hard`)."""

    kind: ClassVar[str] = "budget_exceeded"
    account: str
    """The budget."""
    hard: bool
    """True where a call was refused because of it."""
    spent_nanousd: int
    """What is settled."""
    held_nanousd: int
    """What open holds have set aside."""
    needed_nanousd: int
    """What this call asked for."""
    cap_nanousd: int
    """The budget."""
    over_nanousd: int
    """By how much the budget is, or would have been, passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpriced(_CallEvent):
    """A model without a price was called under a soft policy: its cost is not counted."""

    kind: ClassVar[str] = "unpriced"
    model: str
    """The model without a price."""
    advice: str
    """What to add to the registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOpened(_CallEvent):
    """A model is paused for every worker, for `pause_ms`."""

    kind: ClassVar[str] = "breaker_opened"
    model: str
    """The model that rests."""
    reason: str
    """Why, in a few words."""
    pause_ms: int
    """For how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerClosed(_CallEvent):
    """A paused model answered again."""

    kind: ClassVar[str] = "breaker_closed"
    model: str
    """The model that is back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLowered(_CallEvent):
    """The provider said that it is too many: fewer calls to this model are made at once, by every worker (`max_parallel: auto`)."""

    kind: ClassVar[str] = "pace_lowered"
    model: str
    """The model that was overloaded."""
    from_parallel: int
    """Calls at once, until now."""
    to_parallel: int
    """Calls at once, from now on."""
    reason: str
    """The kind of failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLost(_CallEvent):
    """A worker died with an open hold; the full hold was charged. `call_id` and `scope` are those of the lost call."""

    kind: ClassVar[str] = "hold_lost"
    model: str
    """The model that was asked."""
    cost_nanousd: int
    """What was charged: the whole hold."""
    hold_id: str
    """The hold that was never settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementFailed(_CallEvent):
    """The ledger could not be reached after an attempt: what it cost waits on disk, or its hold is charged in full when its lease ends."""

    kind: ClassVar[str] = "settlement_failed"
    model: str
    """The model that was asked."""
    held_nanousd: int
    """What stays set aside meanwhile."""
    spooled: bool = False
    """True where the cost waits on disk and is posted when the ledger is back; otherwise the whole hold is charged when its lease ends."""
    message: str
    """What the ledger said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbooked(_CallEvent):
    """The ledger could not be reached before an attempt, and the policy goes on without it: no budget and no limit counts it yet."""

    kind: ClassVar[str] = "unbooked"
    model: str
    """The model that is asked all the same."""
    held_nanousd: int
    """The most that the attempt may cost; it waits on disk until the ledger is back."""
    message: str
    """What the ledger said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementPosted(_CallEvent):
    """The ledger is back and took what had waited on disk. `call_id` and `scope` are those of the call that it belongs to."""

    kind: ClassVar[str] = "settlement_posted"
    model: str
    """The model that was asked."""
    cost_nanousd: int
    """What was charged."""
    hold_id: str
    """The hold that was settled."""


Event: TypeAlias = (
    Admitted
    | Throttled
    | RefusedByAccount
    | ModelSkipped
    | AttemptSettled
    | AttemptFailed
    | FellBack
    | CallGivenUp
    | ThresholdCrossed
    | BudgetPassed
    | Unpriced
    | BreakerOpened
    | BreakerClosed
    | ConcurrencyLowered
    | HoldLost
    | SettlementFailed
    | Unbooked
    | SettlementPosted
)
