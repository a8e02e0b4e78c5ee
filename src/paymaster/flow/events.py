"""What the flow reports while it works: one frozen dataclass per event, flat and JSON-shaped; knows no listener and no format.

No event carries a prompt, an answer, a header or a key. Amounts of money are nano-dollars, times milliseconds since 1970, durations
milliseconds. The schema and the reference are made from the sentences below each field (scripts/build_events_docs.py). A new event or
field keeps the version; one that is taken away, or means something else, raises it.
"""

from typing import ClassVar, TypeAlias

from paymaster.flow.call_event import CallEvent
from paymaster.flow.endpoint_events import EndpointChanged, FellBack
from paymaster.flow.ledger_events import LedgerEvent
from paymaster.frozen import frozen_dataclass

EVENTS_VERSION = 2
"""2: `passed_over` became `skipped` (its `against` is `cause`), `pace_lowered` became `concurrency_lowered`."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Admitted(CallEvent):
    """A hold was admitted: the attempt is paid for and about to be sent."""

    kind: ClassVar[str] = "admitted"
    model: str
    """The model, by its name in the registry."""
    attempt: int
    """Counts from 1 within the call."""
    held_nanousd: int
    """What was held: the most the attempt may cost."""
    prompt_tokens: int
    """The prompt as counted before sending, an upper bound."""
    max_output_tokens: int | None
    """The largest answer that the request allows; null without a bound."""
    operation: str = "chat"
    """The operation: `chat`, `text_completion` or `embeddings`."""
    service_tier: str | None = None
    """The tier of service that is asked for; null for the provider's own choice."""
    lowered_from_tokens: int | None = None
    """The largest answer before it was lowered; null if it was not."""
    lowered_by: str | None = None
    """What lowered it last: `window`, `rate_limit`, `budget`, `largest_hold` or `provider` (it named what it takes); else null."""
    dropped_params: tuple[str, ...] = ()
    """Parameters of the request that this model does not know and that were left out."""
    over_budget: tuple[str, ...] = ()
    """Accounts of soft budgets that have no room for this attempt."""
    budget_left_nanousd: int | None = None
    """What is left of the budget that ends first, with this hold counted; null without one."""
    budget_left_tokens: int | None = None
    """The same of the budgets in tokens."""
    budget_left_requests: int | None = None
    """The same of the budgets in requests."""
    requests_left: int | None = None
    """Requests left of the tightest requests-per-minute limit; null without one."""
    requests_cap: int | None = None
    """That limit."""
    tokens_left: int | None = None
    """Tokens left of the tightest tokens-per-minute limit; null without one."""
    tokens_cap: int | None = None
    """That limit."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""
    chosen: str = ""
    """Why this endpoint, in a few words; empty if the model has one alone."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Throttled(CallEvent):
    """The call waits: for room in an account, or before it tries the same model again."""

    kind: ClassVar[str] = "throttled"
    model: str
    """The model the call waits for."""
    account: str
    """The account without room; empty if the call only backs off before it tries again."""
    wait_ms: int | None
    """How long at most; null if only the end of other calls makes room."""
    reason: str
    """Why, in a few words."""
    failure: str | None = None
    """What the model last failed with in this call, such as `overloaded (HTTP 529)`; null if it has not failed."""
    failing_since_ms: int | None = None
    """When it first did so."""
    gives_up_at_ms: int | None = None
    """When the call gives up waiting."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class RefusedByAccount(CallEvent):
    """An account has no room and waiting does not help: this call skips the model."""

    kind: ClassVar[str] = "refused"
    model: str
    """The model that is skipped."""
    account: str
    """The account without room."""
    cap: int
    """The account's cap, in its own unit (nano-dollars, requests or tokens), as are the next three."""
    settled: int
    """What is already spent or used."""
    held: int
    """What open holds of other calls have."""
    needed: int
    """What this attempt asked for."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class ModelSkipped(CallEvent):
    """A model of the chain is not called: it can't serve the request, has no key or price, is paused, or has no room soon enough."""

    kind: ClassVar[str] = "skipped"
    model: str
    """The model that is skipped."""
    cause: str
    """The kind of reason: `capability`, `vectors`, `context`, `parameter`, `unpriced`, `unbounded`, `key`, `limit`,
    `wait`, `paused` or `mixed` (another model has answered the instance, and `never_mix` is set)."""
    reason: str
    """Why, in a sentence."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""
    service_tier: str | None = None
    """The tier of service that is skipped, if another tier of the model is tried next; else null."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSettled(CallEvent):
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
    """What had been held."""
    cost_source: str
    """Where the price came from."""
    billed: str
    """`exact` (the cost is known), `estimated` (at most what can have been billed), `assumed` (it is not known, so the hold was charged),
    `none` (not billed) or `unpriced`."""
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
    """From sending to the first piece of the answer; null if it was not streamed."""
    finish_reason: str | None
    """Why the answer ended, in the words of the wire format; null for embeddings."""
    operation: str = "chat"
    """The operation: `chat`, `text_completion` or `embeddings`."""
    service_tier: str | None = None
    """The tier of service that was asked for; null for the provider's own choice."""
    served_tier: str | None = None
    """The tier that the answer names; null if it names none."""
    saved_nanousd: int = 0
    """What it cost less than at list price, by that tier."""
    budget_left_nanousd: int | None = None
    """What is left of the budget that ends first, with this attempt paid; null without one."""
    budget_left_tokens: int | None = None
    """The same of the budgets in tokens."""
    budget_left_requests: int | None = None
    """The same of the budgets in requests."""
    requests_left: int | None = None
    """Requests left of the tightest requests-per-minute limit; null without one."""
    requests_cap: int | None = None
    """That limit."""
    tokens_left: int | None = None
    """Tokens left of the tightest tokens-per-minute limit; null without one."""
    tokens_cap: int | None = None
    """That limit."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(CallEvent):
    """An attempt brought no usable answer; `cost_nanousd` is what was charged for it all the same."""

    kind: ClassVar[str] = "failed"
    model: str
    """The model, by its name in the registry."""
    provider: str
    """The provider that was called."""
    model_id: str
    """The provider's own name of the model."""
    attempt: int
    """Counts from 1 within the call."""
    failure: str
    """The kind of failure."""
    status: int | None
    """The HTTP status; null without an answer."""
    billed: str
    """`exact`, `estimated` (at most what can have been billed), `assumed` (unknown, so the hold was charged), `none` or `unpriced`."""
    cost_nanousd: int
    """What was charged for it all the same."""
    duration_ms: int
    """From sending to the failure."""
    retry_after_ms: int | None
    """How long the provider asked to wait; null if it did not say."""
    message: str
    """The provider's own words, shortened and without secrets."""
    operation: str = "chat"
    """The operation: `chat`, `text_completion` or `embeddings`."""
    cost_basis: str | None = None
    """What an estimate is made of, why the whole hold was charged, or which other models made passes of the answer; else null."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""
    service_tier: str | None = None
    """The tier of service that was asked for; null for the provider's own choice."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class CallGivenUp(CallEvent):
    """The call ends without an answer."""

    kind: ClassVar[str] = "gave_up"
    error: str
    """The name of the exception that the caller gets: `NoModelAvailable`, `BudgetExceeded`, `DeadlineExceeded`."""
    attempts: int
    """How many attempts were made."""
    cost_nanousd: int
    """What was charged for them all the same."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdCrossed(CallEvent):
    """The settled spend of a budget crossed a share that the policy names."""

    kind: ClassVar[str] = "budget_threshold"
    account: str
    """The budget."""
    percent: int
    """The share that was crossed."""
    spent_nanousd: int
    """What is settled; 0 for a budget in tokens or requests."""
    cap_nanousd: int
    """The budget; 0 for one in tokens or requests."""
    unit: str = "usd"
    """The unit of the budget: `usd` (amounts are in nano-dollars), `tokens` or `requests`."""
    spent: int
    """What is settled, in this unit."""
    cap: int
    """The budget, in this unit."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPassed(CallEvent):
    """A soft budget is over its cap by `over`, or a hard one has refused a call (`hard`).

    The fields in nano-dollars are 0 for a budget in tokens or requests.
    """

    kind: ClassVar[str] = "budget_exceeded"
    account: str
    """The budget."""
    hard: bool
    """True if it refused a call."""
    spent_nanousd: int
    """What is settled."""
    held_nanousd: int
    """What open holds have."""
    needed_nanousd: int
    """What this call asked for."""
    cap_nanousd: int
    """The budget."""
    over_nanousd: int
    """By how much the budget is, or would have been, passed."""
    unit: str = "usd"
    """The unit of the budget: `usd` (amounts are in nano-dollars), `tokens` or `requests`."""
    spent: int
    """What is settled, in this unit."""
    held: int
    """What open holds have, in this unit."""
    needed: int
    """What this call asked for, in this unit."""
    cap: int
    """The budget, in this unit."""
    over: int
    """By how much the budget is, or would have been, passed, in this unit."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Unpriced(CallEvent):
    """A model without a price was called under a soft policy: its cost is not counted."""

    kind: ClassVar[str] = "unpriced"
    model: str
    """The model without a price."""
    advice: str
    """What to add to the registry."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOpened(CallEvent):
    """A circuit breaker opened: no worker calls the model for `pause_ms`."""

    kind: ClassVar[str] = "breaker_opened"
    model: str
    """The model that is not called."""
    reason: str
    """Why, in a few words."""
    pause_ms: int
    """For how long."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class BreakerClosed(CallEvent):
    """A circuit breaker closed: the probe was answered."""

    kind: ClassVar[str] = "breaker_closed"
    model: str
    """The model that is called again."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLowered(CallEvent):
    """The provider was overloaded: every worker makes fewer calls to this model at once (`max_parallel: auto`)."""

    kind: ClassVar[str] = "concurrency_lowered"
    model: str
    """The model that was overloaded."""
    from_parallel: int
    """Calls at once, until now."""
    to_parallel: int
    """Calls at once, from now on."""
    reason: str
    """The kind of failure."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class PromptUndercounted(CallEvent):
    """The provider counted more tokens in a prompt than were held for: every worker counts this model more carefully from now on."""

    kind: ClassVar[str] = "prompt_undercounted"
    model: str
    """The model whose count was too low."""
    held_tokens: int
    """What was held for."""
    prompt_tokens: int
    """What the provider counted."""
    percent_of_bytes: int
    """How a prompt is counted from now on: as so many percent of its bytes."""
    advice: str
    """What to change in the registry."""
    endpoint: str = ""
    """The endpoint of the model; empty if it has one alone."""


Event: TypeAlias = (
    Admitted
    | Throttled
    | RefusedByAccount
    | ModelSkipped
    | AttemptSettled
    | AttemptFailed
    | FellBack
    | EndpointChanged
    | CallGivenUp
    | ThresholdCrossed
    | BudgetPassed
    | Unpriced
    | BreakerOpened
    | BreakerClosed
    | ConcurrencyLowered
    | PromptUndercounted
    | LedgerEvent
)
