"""The registry as the rest of the code sees it: complete, checked, immutable; knows no YAML, no environment and no file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from paymaster.accounting.prices.price import Price
from paymaster.accounting.tokens.counter import Tokenizer


class Effort(StrEnum):
    """When a model that reasons takes OpenAI's `reasoning_effort`."""

    ALWAYS = "always"
    WITHOUT_TOOLS = "without tools"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap on money for each combination of the dimensions in `per`, over all models or those named in `models`.

    `key` is where the registry says so (`policies.budget_usd_per_run`), for messages.
    """

    cap_nanousd: int
    per: tuple[str, ...]
    models: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How fast a model may be called: requests and tokens per minute, requests per day, calls at once. None: no limit of ours.

    `adapts` says that the number of calls at once is found out, see `routing.pacing`; then `max_parallel` is None.
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
    """How long one attempt may take: to connect, to the first token, between chunks, in all."""

    connect_ms: int = 10_000
    first_token_ms: int = 120_000
    between_chunks_ms: int = 60_000
    total_ms: int = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One named model, complete: what the registry says, filled up from the catalogue, the model data and the provider's defaults.

    `provider` is a canonical id; `adapter` names who speaks to it (`openai_http`, `litellm`, `scripted`). `base_url` ends in its version
    path. `key_variables` name environment variables (more than one: a worker stays with one). `capabilities` is None where nothing is
    known, `price` where it is unknown. `embeds` says that it makes vectors, and nothing else; None where nobody knows. Vectors of models
    with the same `vector_space` can be compared. An endpoint takes `max_inputs` of a request for vectors at once, with `max_inputs_tokens`
    in all. `usage_api` says in which shape this endpoint counts usage, `output_limit_param` what it calls the
    output limit; `unsupported_params` are request parameters that it refuses, `effort` says when it takes a reasoning effort,
    `readable_extras` what it reads in messages beyond OpenAI's fields (`cache_control`, `thinking_blocks`, `reasoning_content`). `script`
    is the file a scripted model answers from. `origins` says where each value came from.
    """

    name: str
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
    budgets: tuple[Budget, ...] = ()
    params: Mapping[str, object] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    fallbacks: tuple[str, ...] | None = None
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokenizer: Tokenizer
    usage_api: str = "openai.chat"
    output_limit_param: str = "max_tokens"
    unsupported_params: frozenset[str] = frozenset()
    effort: Effort = Effort.ALWAYS
    readable_extras: frozenset[str] = frozenset()
    script: str | None = None
    aliases: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be spent and where to go when a model can't serve.

    `warn_at_percent` are the shares of a budget at which a threshold event is sent. `max_wait_ms` bounds the waiting for room in one call,
    `patience_ms` how long a model is waited for while a fallback is left, `deadline_ms` the whole chain. `retries_per_model` are the
    attempts after the first at one model, `max_attempts` those of a whole call. A breaker opens for `breaker_pause_ms` after
    `breaker_failures` failures within `breaker_window_ms`. `on_ledger_error` is `refuse`, `spool` or None: as the hardness of budgets says.
    `key_limits` are those of the gateway's key that asks, over all models.
    """

    budgets: tuple[Budget, ...] = ()
    fallback_chain: tuple[str, ...] = ()
    hard_stop_on_budget: bool = False
    warn_at_percent: tuple[int, ...] = (50, 80, 95)
    min_output_tokens: int = 256
    max_wait_ms: int = 300_000
    patience_ms: int = 10_000
    deadline_ms: int = 1_800_000
    retries_per_model: int = 2
    max_attempts: int = 10
    backoff_initial_ms: int = 500
    backoff_max_ms: int = 20_000
    breaker_failures: int = 5
    breaker_window_ms: int = 30_000
    breaker_pause_ms: int = 15_000
    fall_back_on_content_policy: bool = False
    on_ledger_error: str | None = None
    key_limits: Limits | None = None

    @property
    def goes_on_without_ledger(self) -> bool:
        """Whether calls are made while the ledger can't be reached; what nobody decided follows from whether budgets are hard."""
        return not self.hard_stop_on_budget if self.on_ledger_error is None else self.on_ledger_error == "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All models by name, the name used when none is asked for, and the policy. `source` is the file, for messages.

    `origins` says where the default and each value of the policy came from.
    """

    default: str
    models: Mapping[str, Model]
    policy: Policy = Policy()
    source: str = ""
    warnings: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
