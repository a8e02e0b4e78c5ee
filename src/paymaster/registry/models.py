"""The complete, checked and immutable registry that all other code uses; knows no YAML, no environment and no file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.place_names import place_name
from paymaster.accounting.prices.price import Price
from paymaster.accounting.tokens.counter import Tokenizer
from paymaster.registry.compat import PLAIN, Compat
from paymaster.registry.disconnects import StopsOnDisconnect
from paymaster.registry.families import Family, FamilyTable
from paymaster.registry.model_prices import ModelPrices, PriceSource
from paymaster.registry.prefill import Prefill


class Dialect(StrEnum):
    """The wire format that an endpoint speaks: OpenAI's chat completions, OpenAI's responses, or Anthropic's messages."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"


class Effort(StrEnum):
    """When a model that reasons takes OpenAI's `reasoning_effort`."""

    ALWAYS = "always"
    WITHOUT_TOOLS = "without tools"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap for each combination of the dimensions in `per`, over all models or those named in `models`.

    `cap` is in nano-dollars, tokens or requests, by `unit`. `key` is its key path in the registry (`policies.budget_usd_per_run`), for
    messages.
    """

    cap: int
    unit: BudgetUnit = BudgetUnit.USD
    per: tuple[str, ...]
    models: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How fast a model may be called: requests and tokens per minute, requests per day, calls at the same time. None: no limit.

    With `adapts`, the number of parallel calls is found by trying (see `routing.adaptive_concurrency`), and `max_parallel` is None.
    """

    rpm: int | None = None
    tpm: int | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    rpd: int | None = None
    max_parallel: int | None = None
    adapts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Time limits of one attempt: to connect, to the first token, between chunks, in total."""

    connect_ms: int = 10_000
    first_token_ms: int = 90_000
    between_chunks_ms: int = 60_000
    total_ms: int = 600_000


class Balancing(StrEnum):
    """How the endpoint of a call is chosen among those of its model."""

    ORDER = "order"
    WEIGHTED = "weighted"
    LEAST_LOADED = "least_loaded"
    CHEAPEST = "cheapest"
    FASTEST = "fastest"


class Affinity(StrEnum):
    """Which calls keep to the endpoint that answered the one before: those of a conversation, an instance, a gateway key, or none."""

    CONVERSATION = "conversation"
    INSTANCE = "instance"
    KEY = "key"
    NONE = "none"


LOCAL_FIRST_TOKEN_MS = 300_000
"""The default of a server of the user's own, by its provider's name or a private address: loading a model, and reading a long prompt on
a slow card, take minutes."""


TIER_PATIENCE_MS = 2_000
"""How long a call waits for a tier of service that has another after it: the other answers at once."""

FLEX_FIRST_TOKEN_MS, FLEX_TOTAL_MS = 300_000, 900_000
"""The defaults at the tier `flex`, which is slower. OpenAI advises 15 minutes for an answer (developers.openai.com, flex processing)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTool:
    """What the registry states of a tool that a provider runs by itself: the fee of a use, what a use adds to the input, the most uses.

    None is not stated.
    """

    usd_per_use: Decimal | None = None
    tokens_per_use: int | None = None
    max_uses: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One named model: the registry's values, completed from the catalogue, the model data and the provider's facts.

    `provider` is a canonical id, `adapter` the adapter that calls it (`openai_http`, `litellm`, `scripted`). `base_url` ends in its version
    path. `key_variables` are environment variables; with several, each worker keeps to one. `capabilities`, `price` and `embeds` are None
    if unknown. `embeds`: it makes vectors and nothing else; vectors of models with the same `vector_space` can be compared. A request for
    vectors may have `max_inputs` texts with `max_inputs_tokens` together. `usage_api` is the format in which this endpoint reports usage,
    `output_limit_param` its name for the output limit, `unsupported_params` the request parameters it rejects, `effort` when it takes a
    reasoning effort, `compat` which forms of histories and parameters it takes. `stops`: the endpoint stops when the connection of a stream
    closes; None if that is not known. `bill_path` is where the endpoint states later what it billed for an answer. `prefill` is how it
    continues an answer; None: it is not known to. `price` is the price when the registry was loaded, `prices` has it for any moment, in
    `region` (None: unknown, or without meaning for the price). `is_deployment`: its name is the user's own, and says nothing about the
    model behind it. `takes_max_price`: it is a router that chooses no host above the request's `provider.max_price`. `server_tools` are
    the tools that the provider runs, `at_list_price` the tiers of service, betas and fields that cost no more than the price. `script` is
    a scripted model's file of answers, `dialect` the wire format that its endpoint speaks. `origins` has the origin of each value.

    A model with several endpoints has each of them in `endpoints`, complete, with the same name, budgets and fallbacks; its own values are
    those of the first one, except for what must hold wherever a call goes (see `endpoint_joining.over_all`). `endpoint` is the endpoint's
    name, `weight` its share of new conversations. `account` names whose limits its calls count against at the provider, if the key does not
    say that. `variables` are those that the registry names in the address (if they are not set), the headers and the parameters, each with
    its key and line. `family` is the name with a `*` in the registry that the model is of; empty if it has a name of its own there.

    `tiers` are the tiers of service that a call tries in turn; at one of them, `tier` is its name. A call waits `tier_patience_ms` for a
    tier that has another after it. `flex_timeouts` are the time limits at the tier `flex` (None: the usual ones), `standard_tier` is the
    provider's word for the tier at list price.
    """

    name: str
    family: str = ""
    endpoint: str = ""
    endpoints: tuple["Model", ...] = ()
    weight: int = 1
    account: str | None = None
    identity: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    balance: Balancing = Balancing.LEAST_LOADED
    affinity: Affinity = Affinity.CONVERSATION
    provider: str
    model_id: str
    adapter: str
    base_url: str | None = None
    api_version: str | None = None
    key_variables: tuple[str, ...] = ()
    key_required: bool = True
    capabilities: frozenset[str] | None = None
    context_window: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    embeds: bool | None = None
    vector_space: str = ""
    max_inputs: int | None = None
    max_inputs_tokens: int | None = None
    limits: Limits = Limits()
    price: Price | None = None
    prices: ModelPrices | None = None
    region: str | None = None
    is_deployment: bool = False
    budgets: tuple[Budget, ...] = ()
    params: Mapping[str, object] = field(default_factory=dict, repr=False)
    timeouts: Timeouts = Timeouts()
    tiers: tuple[str, ...] = ()
    tier: str = ""
    tier_patience_ms: int = TIER_PATIENCE_MS
    flex_timeouts: Timeouts | None = None
    standard_tier: str | None = None
    fallbacks: tuple[str, ...] | None = None
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokenizer: Tokenizer
    usage_api: str = "openai.chat"
    output_limit_param: str = "max_tokens"
    unsupported_params: frozenset[str] = frozenset()
    effort: Effort = Effort.ALWAYS
    compat: Compat = PLAIN
    stops: StopsOnDisconnect | None = None
    bill_path: str | None = None
    prefill: Prefill | None = None
    takes_max_price: bool = False
    server_tools: Mapping[str, ServerTool] = field(default_factory=dict)
    at_list_price: frozenset[str] = frozenset()
    script: str | None = None
    dialect: Dialect = Dialect.CHAT
    aliases: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where a call is sent, as people read it: the model, with the name of the endpoint if it has several.

        A tier that is tried before another is a place of its own: `gpt (flex)`.
        """
        return place_name(self.name, self.endpoint, self.tier if self.has_next_tier else "")

    @property
    def endpoint_place(self) -> str:
        """The same at every tier of service, for what belongs to the endpoint: limits, keys, counts."""
        return place_name(self.name, self.endpoint)

    @property
    def declared_place(self) -> str:
        """Where the registry has its key: the place at any tier; of a member of a family, that of the family."""
        return place_name(self.family or self.name, self.endpoint)

    @property
    def has_next_tier(self) -> bool:
        """Whether another tier of service is tried after this one."""
        return bool(self.tier) and self.tier != self.tiers[-1]

    @property
    def budget_name(self) -> str:
        """Under which name its budgets are counted: a family has them together."""
        return self.family or self.name

    @property
    def subject(self) -> str:
        """Under which name the accounts of limits, slots, pauses and circuits stand: of what is called, not of its name in a registry."""
        return self.identity or self.name

    @property
    def places(self) -> tuple["Model", ...]:
        """The endpoints, each as a model; the model itself if it has one alone."""
        return self.endpoints or (self,)

    def price_at(self, moment: datetime, answered: str | None = None) -> Price | None:
        """The price of a call sent at this moment: of the model that the answer names, if it says more than this model's name."""
        return self.price if self.prices is None else self.prices.at(moment, answered)

    def prices_within(self, first: datetime, last: datetime) -> tuple[Price, ...]:
        """Every price that a call may have that is sent in this time, the likeliest foremost; none if it is unknown."""
        if self.prices is None:
            return () if self.price is None else (self.price,)
        return self.prices.within(first, last)

    @property
    def may_reason_unseen(self) -> bool:
        """Whether it may bill for reasoning that its answers don't show. A model whose capabilities are unknown may."""
        return self.capabilities is None or "reasoning" in self.capabilities


class StreamRecovery(StrEnum):
    """What happens to a streamed answer that breaks after its first content.

    `OFF`: it ends with an error. `HOLD_BACK`: nothing of it is delivered before it is whole, so that it fails like a whole answer.
    `CONTINUE`: a model that is known to continue an answer is sent what was delivered, and writes the rest.
    """

    OFF = "off"
    HOLD_BACK = "hold_back"
    CONTINUE = "continue"


class Stay(StrEnum):
    """After a fallback, where the calls that follow begin: each with the first model of the chain, or an instance where it is by then."""

    CALL = "call"
    INSTANCE = "instance"


DEFAULT_RETRIES = 2
DEFAULT_ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How much may be spent, and which fallbacks to use when a model can't serve.

    A threshold event is emitted at each of `warn_at_percent` of a budget. A call waits at most `max_wait_ms` in total for room under
    limits and for outages, at most `max_outage_ms` for outages (None: as the caller says, else like any wait), at most `patience_ms` for a
    model that has a fallback, and takes at most `deadline_ms`. `retries_per_model` counts attempts after the first at one model,
    `max_attempts` all attempts of a call except throttled ones whose wait is stated; None is the default, which bounds no unbilled attempt
    once no other model is left. The breaker opens for at most `breaker_pause_ms` after `breaker_failures` failures within
    `breaker_window_ms`. `on_ledger_error` is `refuse`, `spool` or None, which follows from `hard_stop_on_budget`.
    `stream_recovery` is for calls that set none themselves.
    `estimates_interrupted`: an interrupted call is charged by an estimate where the provider's facts allow it, else always by its hold.
    `key_limits` are the limits of the caller's client key, over all models. `only_models`: no request may name a model inside of it, such
    as another one to fall back to, that the registry does not have. `stay` is where an instance goes on after a fallback, until `stay_ms`
    after its last answer; with `never_mix` only the model that answered its first call may answer the others. An hour of waiting is worth
    `waiting_nanousd_per_hour` against a cold cache.
    """

    budgets: tuple[Budget, ...] = ()
    fallback_chain: tuple[str, ...] = ()
    hard_stop_on_budget: bool = False
    warn_at_percent: tuple[int, ...] = (50, 80, 95)
    min_output_tokens: int = 256
    max_wait_ms: int = 300_000
    max_outage_ms: int | None = None
    patience_ms: int = 10_000
    deadline_ms: int = 1_800_000
    retries_per_model: int | None = None
    max_attempts: int | None = None
    backoff_initial_ms: int = 500
    backoff_max_ms: int = 20_000
    breaker_failures: int = 5
    breaker_window_ms: int = 30_000
    breaker_pause_ms: int = 15_000
    fall_back_on_content_policy: bool = False
    stream_recovery: StreamRecovery = StreamRecovery.OFF
    on_ledger_error: str | None = None
    estimates_interrupted: bool = True
    key_limits: Limits | None = None
    only_models: bool = False
    stay: Stay = Stay.CALL
    stay_ms: int = 3_600_000
    never_mix: bool = False
    waiting_nanousd_per_hour: int = 36_000_000_000

    @property
    def retries(self) -> int:
        """Attempts at one model after the first, while another model is left."""
        return DEFAULT_RETRIES if self.retries_per_model is None else self.retries_per_model

    @property
    def most_attempts(self) -> int:
        """All attempts of a call, while another model is left."""
        return DEFAULT_ATTEMPTS if self.max_attempts is None else self.max_attempts

    @property
    def goes_on_without_ledger(self) -> bool:
        """Whether calls are made while the ledger is unavailable. Without `on_ledger_error`: only if budgets are soft."""
        return not self.hard_stop_on_budget if self.on_ledger_error is None else self.on_ledger_error == "spool"


@dataclass(frozen=True, slots=True)
class PriceUpdates:
    """Whether `paymaster serve` updates the price catalogue once a day, and from where (None: where genai-prices publishes it)."""

    daily: bool = False
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All models by name, the default model, and the policy. `source` is the file, for messages.

    `origins` has the origin of the default and of each value of the policy, `variables` the name of every environment variable that the
    file names, and of its providers' usual ones. `catalogue` is the digest of the price catalogue that completed it, or `shipped`;
    `updates` is how `paymaster serve` keeps the catalogue up to date. `published` is that catalogue itself, with the prices of models that
    the registry lacks (None: a registry that was put together without one). `models` has a model for every name of `families`.
    """

    default: str
    models: Mapping[str, Model]
    policy: Policy = Policy()
    source: str = ""
    warnings: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    variables: frozenset[str] = frozenset()
    catalogue: str = ""
    updates: PriceUpdates = PriceUpdates()
    published: PriceSource | None = field(default=None, repr=False, compare=False)
    families: Mapping[str, Family[Model]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look members of families up in the models as well, also where these are replaced."""
        if self.families:
            object.__setattr__(self, "models", FamilyTable(self.models, self.families))

    def mapped(self, change: Callable[[Model], Model]) -> "Registry":
        """The registry with every model changed, members of families too."""
        families = {name: Family(_changed(family.make, change), family.known) for name, family in self.families.items()}
        return replace(self, models={name: change(model) for name, model in self.models.items()}, families=families)


def _changed(make: Callable[[str], Model], change: Callable[[Model], Model]) -> Callable[[str], Model]:
    return lambda name: change(make(name))
