"""What a registry file may say: every key with its kind, its meaning and an example; knows no file and no provider's defaults.

The descriptions and examples here are the reference: `paymaster schema` and docs/registry.md are made from them.
"""

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paymaster.registry.names import Capabilities, Dimensions, ProviderName
from paymaster.registry.values import (
    BaseUrl,
    Count,
    CountFromZero,
    CountOrAuto,
    Headers,
    KeyReferences,
    Names,
    Params,
    Rate,
    Seconds,
    Share,
    Switch,
    Text,
    Usd,
    VariableNames,
    refuse,
)


class Section(BaseModel):
    """What all sections share: no key is taken that isn't known, and descriptions stand with the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


BUDGET_PREFIX = "budget_usd_per_"


def short_budgets(section: "ModelSection | PolicySection") -> list[tuple[str, str, Decimal]]:
    """The short forms of budgets that a section uses: key, what it is per, dollars."""
    amounts = ((key, getattr(section, key)) for key in type(section).model_fields if key.startswith(BUDGET_PREFIX))
    return [(key, key.removeprefix(BUDGET_PREFIX), usd) for key, usd in amounts if usd is not None]


class Rates(Section):
    """Prices per 1,000 or per 1,000,000 tokens; one of the two for each kind of token."""

    usd_per_1k_input: Rate | None = Field(None, description="Dollars per 1,000 prompt tokens.", examples=[0.0025])
    usd_per_1k_output: Rate | None = Field(None, description="Dollars per 1,000 answered tokens, reasoning included.", examples=[0.01])
    usd_per_1k_cache_read: Rate | None = Field(None, description="Dollars per 1,000 prompt tokens read from the provider's cache.")
    usd_per_1k_cache_write: Rate | None = Field(None, description="Dollars per 1,000 prompt tokens written to the provider's cache.")
    usd_per_1m_input: Rate | None = Field(None, description="Dollars per 1,000,000 prompt tokens.", examples=[2.5])
    usd_per_1m_output: Rate | None = Field(None, description="Dollars per 1,000,000 answered tokens, reasoning included.", examples=[10])
    usd_per_1m_cache_read: Rate | None = Field(
        None, description="Dollars per 1,000,000 prompt tokens read from the cache.", examples=[1.25]
    )
    usd_per_1m_cache_write: Rate | None = Field(
        None, description="Dollars per 1,000,000 prompt tokens written to the cache.", examples=[3.75]
    )


class TierSection(Rates):
    """Prices of the whole request once its prompt is long. One of `above_tokens` and `from_tokens` says from where on.

    What is left out stays as in the base price.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["above_tokens"]}, {"required": ["from_tokens"]}]})

    above_tokens: Count | None = Field(
        None,
        description="The tier starts above this many prompt tokens, cached ones included: Google, OpenAI, Anthropic.",
        examples=[200_000],
    )
    from_tokens: Count | None = Field(None, description="The tier starts at this many prompt tokens already: xAI.", examples=[200_000])

    @model_validator(mode="after")
    def _starts_once(self) -> "TierSection":
        if (self.above_tokens is None) == (self.from_tokens is None):
            refuse("must say where it starts: with above_tokens (longer prompts) or from_tokens (that length too), one of the two")
        return self

    @property
    def first_tokens(self) -> int:
        """The shortest prompt that these prices hold for."""
        return self.from_tokens or 0 if self.above_tokens is None else self.above_tokens + 1


class BudgetSection(Section):
    """A cap on money for each combination of what it is `per`."""

    usd: Usd = Field(description="The cap in dollars.", examples=[5])
    per: Dimensions = Field(
        description=(
            "What the budget is counted for: one or more of run, batch, instance (a task of a batch), user, key (of the gateway), model, "
            "day, month (both UTC). "
            "`total` alone is for all time."
        ),
        examples=[["run"], ["model", "day"]],
    )
    models: Names | None = Field(None, description="Only calls to these models count, together; without it all do.", examples=[["gpt-4o"]])


class TimeoutsSection(Section):
    """How long one attempt may take, in seconds."""

    connect_s: Seconds | None = Field(None, description="To connect. Default 10.", examples=[10])
    first_token_s: Seconds | None = Field(None, description="To the first token of a stream. Default 120.", examples=[60])
    between_chunks_s: Seconds | None = Field(None, description="Between two chunks of a stream. Default 60.", examples=[30])
    total_s: Seconds | None = Field(None, description="For the whole answer. Default 600.", examples=[300])


class ModelSection(Rates):
    """One named model. Only `provider` is needed; what is left out is filled from the price catalogue and the model data."""

    provider: ProviderName = Field(description="Who serves it: a name from the list of providers.", examples=["openai"])
    model_id: Text | None = Field(None, description="The provider's name for it. Default: the name in the registry.", examples=["gpt-4o"])
    base_url: BaseUrl | None = Field(
        None,
        description="The endpoint, where it isn't the provider's own. Without a path, the `/v1` of an OpenAI-style server.",
        examples=["http://localhost:11434"],
    )
    api_version: Text | None = Field(None, description="Azure's API version.", examples=["2024-10-21"])
    api_key_env: VariableNames | None = Field(
        None,
        description="The environment variable that holds the key. Several: each worker stays with one, so that prompt caches stay warm.",
        examples=["OPENAI_API_KEY", ["KEY_A", "KEY_B"]],
    )
    api_key: KeyReferences | None = Field(
        None,
        description="The same as references: `$NAME`, several joined by `:::`. The key itself is refused.",
        examples=["$KEY_A:::$KEY_B"],
    )
    capabilities: Capabilities | None = Field(
        None,
        description="What it can do; then exactly this counts. An empty list: nothing but text.",
        examples=[["function_calling", "vision"]],
    )
    context_window: Count | None = Field(None, description="Prompt and answer together, in tokens.", examples=[128_000])
    max_input_tokens: Count | None = Field(None, description="The longest prompt, in tokens.", examples=[128_000])
    max_output_tokens: Count | None = Field(None, description="The longest answer, in tokens.", examples=[16_384])
    vector_space: Text | None = Field(
        None,
        description=(
            "For models that make embeddings: those with the same word make vectors that can be compared, and may stand in for one "
            "another. Default: the model_id without what stands before its last slash."
        ),
        examples=["text-embedding-3-small"],
    )
    tokenizer: Text | None = Field(
        None,
        description="A model that counts tokens the same way, where the model's own name does not tell; `bytes` is never too few.",
        examples=["gpt-4o", "qwen3-coder", "bytes"],
    )
    rpm: Count | None = Field(None, description="Requests per minute.", examples=[60])
    tpm: Count | None = Field(None, description="Tokens per minute, prompts and answers together.", examples=[180_000])
    input_tpm: Count | None = Field(None, description="Prompt tokens per minute.")
    output_tpm: Count | None = Field(None, description="Answered tokens per minute.")
    rpd: Count | None = Field(None, description="Requests per day.")
    max_parallel: CountOrAuto | None = Field(
        None,
        description=(
            "Calls at the same time. `auto`: as many as the provider takes, found out by all processes of the ledger together; it grows "
            "while answers come and shrinks when the provider says that it is too many."
        ),
        examples=[8, "auto"],
    )
    price: Literal["free"] | None = Field(None, description="`free` for a model that costs nothing. It is said out loud, never guessed.")
    tiers: list[TierSection] | None = Field(None, description="Prices for long prompts, shortest first.")
    budget_usd_per_run: Usd | None = Field(None, description="Dollars that one run may spend on this model.", examples=[2])
    budget_usd_per_day: Usd | None = Field(None, description="Dollars per day (UTC) on this model.")
    budget_usd_per_month: Usd | None = Field(None, description="Dollars per month (UTC) on this model.", examples=[100])
    budgets: list[BudgetSection] | None = Field(None, description="More budgets of this model.", examples=[[{"usd": 1, "per": "instance"}]])
    params: Params | None = Field(
        None, description="Request parameters that are sent unless the caller gives others.", examples=[{"temperature": 0.2}]
    )
    timeouts: TimeoutsSection | None = Field(None, description="Time limits of one attempt.")
    fallbacks: Names | None = Field(
        None,
        description="The models to go on with when this one was asked for and can't serve, instead of the policy's chain. Empty: none.",
        examples=[["gemini-pro", "local-llm"]],
    )
    extra_headers: Headers | None = Field(
        None, description="Sent with each request. `$NAME` stands for an environment variable.", examples=[{"X-Team": "search"}]
    )
    aliases: Names | None = Field(None, description="Other names it may be asked for by.", examples=[["gpt-4o-2024-11-20"]])
    adapter: Literal["openai_http", "litellm"] | None = Field(
        None,
        description="Who speaks to the endpoint, where the provider's own choice doesn't fit: OpenAI's wire format over HTTP, or litellm.",
    )
    script: Text | None = Field(
        None, description="For provider `scripted`: the file of answers, relative to the registry.", examples=["script.yaml"]
    )


class PolicySection(Section):
    """What may be spent, and where to go when a model can't serve."""

    budget_usd_per_run: Usd | None = Field(None, description="Dollars for one run: the short form of {usd: …, per: run}.", examples=[5])
    budget_usd_per_batch: Usd | None = Field(None, description="Dollars for one batch.")
    budget_usd_per_instance: Usd | None = Field(None, description="Dollars for one instance (a task of a batch).", examples=[1])
    budget_usd_per_user: Usd | None = Field(None, description="Dollars for one user.")
    budget_usd_per_day: Usd | None = Field(None, description="Dollars per day (UTC).")
    budget_usd_per_month: Usd | None = Field(None, description="Dollars per month (UTC).", examples=[200])
    budgets: list[BudgetSection] | None = Field(
        None, description="Any other budget.", examples=[[{"usd": 50, "per": ["model", "day"], "models": ["gpt-4o"]}]]
    )
    hard_stop_on_budget: Switch | None = Field(
        None,
        description=(
            "true: a call that no budget can pay for is not made. false (the default): the run goes on, and the log says by how much "
            "it is over. A budget given by --budget-usd or PAYMASTER_BUDGET_USD is hard unless this says otherwise."
        ),
        examples=[True],
    )
    warn_at: list[Share] | None = Field(
        None, description="Shares of a budget at which to say so. Default 0.5, 0.8, 0.95.", examples=[[0.5, 0.9]]
    )
    fallback_chain: Names | None = Field(
        None, description="The models to go on with, in order, when the one asked for can't serve.", examples=[["gpt-4o", "gemini-pro"]]
    )
    fall_back_on_content_policy: Switch | None = Field(
        None, description="Whether a refusal by a provider's content policy goes to the next model. Default false: the caller is told."
    )
    min_output_tokens: Count | None = Field(
        None, description="Under a hard budget an answer is shortened to what is left, but never below this. Default 256."
    )
    max_wait_s: Seconds | None = Field(None, description="The longest wait for room under a limit in one call. Default 300.")
    patience_s: Seconds | None = Field(None, description="The longest wait for one model while a fallback is left. Default 10.")
    deadline_s: Seconds | None = Field(None, description="For the whole chain, waits included. Default 1800.")
    retries_per_model: CountFromZero | None = Field(None, description="Attempts at one model after its first. Default 2.")
    max_attempts: Count | None = Field(None, description="Attempts of one call over the whole chain. Default 10.")
    backoff_initial_s: Seconds | None = Field(
        None, description="The first pause before a retry, where the provider names none. Default 0.5."
    )
    backoff_max_s: Seconds | None = Field(None, description="The longest pause before a retry. Default 20.")
    breaker_failures: Count | None = Field(None, description="Failures in a row after which a model is left alone. Default 5.")
    breaker_window_s: Seconds | None = Field(None, description="The time within which those failures must fall. Default 30.")
    breaker_pause_s: Seconds | None = Field(None, description="How long it is left alone. Default 15.")
    on_ledger_error: Literal["refuse", "spool"] | None = Field(
        None,
        description=(
            "What happens to calls while the ledger can't be reached. `refuse`: they fail. `spool`: they go on without budgets and limits, "
            "and are posted when it is back. Default: refuse where hard_stop_on_budget is true, else spool."
        ),
        examples=["spool"],
    )


class RegistrySection(Section):
    """The registry: the models, the one to use when none is asked for, and the policy."""

    default: Text | None = Field(
        None, description="The model that is used when none is asked for. Default: the first of the fallback chain, else the only model."
    )
    models: dict[str, ModelSection] = Field(description="The models, each under the name it is asked for by.", min_length=1)
    policies: PolicySection | None = Field(None, description="Budgets, fallbacks and their limits.")


def registry_json_schema() -> dict[str, Any]:  # Any: a JSON Schema is as deep as it likes
    """The JSON Schema (2020-12) of a registry file, for editors: the registry itself, or under `model_registry:`."""
    schema = RegistrySection.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema.pop("$defs")
    schema["properties"]["$schema"] = {"type": "string", "description": "For editors; means nothing here."}
    definitions["RegistrySection"] = schema
    inside = {
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "model_registry": {"$ref": "#/$defs/RegistrySection"},
            "policies": {"$ref": "#/$defs/PolicySection"},
        },
        "required": ["model_registry"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Paymaster registry",
        "description": schema["description"],
        "anyOf": [inside, {"$ref": "#/$defs/RegistrySection"}],
        "$defs": dict(sorted(definitions.items())),
    }
