"""Every key of a registry file with its type, meaning and an example; knows no file and no provider's defaults.

`paymaster schema` and the reference in docs/registry.md are made from these descriptions.
"""

from typing import Any, Literal

from pydantic import Field

from paymaster.registry.budget_schema import BudgetSection
from paymaster.registry.compat_schema import CompatSection
from paymaster.registry.names import Capabilities, ProviderName
from paymaster.registry.price_schema import BaseSection, DatedPriceSection, PriceSection
from paymaster.registry.values import (
    BaseUrl,
    Count,
    CountFromZero,
    CountOrAuto,
    Factor,
    Headers,
    KeyReferences,
    Names,
    Params,
    PrefillStated,
    Rate,
    Seconds,
    Share,
    Switch,
    Text,
    Total,
    Usd,
    VariableNames,
)


class TimeoutsSection(BaseSection):
    """Time limits of one attempt, in seconds."""

    connect_s: Seconds | None = Field(None, description="To connect. Default 10.", examples=[10])
    first_token_s: Seconds | None = Field(
        None, description="To the first token of a stream. Default 90; 300 for local providers and private addresses.", examples=[60]
    )
    between_chunks_s: Seconds | None = Field(None, description="Between two chunks of a stream. Default 60.", examples=[30])
    total_s: Seconds | None = Field(None, description="For the whole answer. Default 600.", examples=[300])


class ServerToolSection(BaseSection):
    """A tool that the provider runs by itself: what a hard budget holds for it, where the request or the price list does not say.

    `tokens_per_use` is, for a compaction, the length of the summary.
    """

    usd_per_use: Rate | None = Field(None, description="The fee of one use in dollars, beside tokens. 0: none.", examples=[0.01])
    tokens_per_use: Count | None = Field(
        None,
        description="The most tokens that one use adds to what the model reads. Default: as many as the model takes.",
        examples=[8_000],
    )
    max_uses: Count | None = Field(
        None,
        description="The most uses in one request. It is sent as `max_uses` where the tool has that field and the request does not set it.",
        examples=[5],
    )


class ModelSection(PriceSection):
    """One named model. Only `provider` is required; other values default to the price catalogue and the model data."""

    provider: ProviderName = Field(description="The provider: a name from the list of providers.", examples=["openai"])
    model_id: Text | None = Field(None, description="The provider's name for it. Default: the name in the registry.", examples=["gpt-4o"])
    base_url: BaseUrl | None = Field(
        None,
        description="The endpoint, if it isn't the provider's own. Without a path, `/v1` is added, as OpenAI-style servers have it.",
        examples=["http://localhost:11434"],
    )
    api_version: Text | None = Field(None, description="Azure's API version.", examples=["2024-10-21"])
    api_key_env: VariableNames | None = Field(
        None,
        description="The environment variable that holds the key. With several, each worker keeps to one, so that prompt caches stay warm.",
        examples=["OPENAI_API_KEY", ["KEY_A", "KEY_B"]],
    )
    api_key: KeyReferences | None = Field(
        None,
        description="The same as a reference: `$NAME`, or several joined by `:::`. The key itself is refused.",
        examples=["$KEY_A:::$KEY_B"],
    )
    capabilities: Capabilities | None = Field(
        None,
        description="What it can do; replaces the model data. An empty list: nothing but text.",
        examples=[["function_calling", "vision"]],
    )
    context_window: Count | None = Field(
        None,
        description=(
            "Prompt and answer together, in tokens. The output limit that is sent is lowered to what the prompt leaves. A prompt that does "
            "not fit goes to a model where it fits if the count is exact (see `tokenizer`); otherwise the provider decides, and the call "
            "falls back to a model that takes what it counted."
        ),
        examples=[128_000],
    )
    max_input_tokens: Count | None = Field(None, description="The longest prompt, in tokens.", examples=[128_000])
    max_output_tokens: Count | None = Field(None, description="The longest answer, in tokens.", examples=[16_384])
    vector_space: Text | None = Field(
        None,
        description=(
            "For models that make embeddings: models with the same name here make vectors that can be compared, and can be fallbacks "
            "of one another. Default: the model_id after its last slash."
        ),
        examples=["text-embedding-3-small"],
    )
    tokenizer: Text | None = Field(
        None,
        description="A model with the same vocabulary, if the model's own name is unknown. `bytes` is never too few for the text.",
        examples=["gpt-4o", "qwen3-coder", "bytes"],
    )
    rpm: Count | None = Field(None, description="Requests per minute.", examples=[60])
    tpm: Count | None = Field(None, description="Tokens per minute, prompts and answers together.", examples=[180_000])
    input_tpm: Count | None = Field(None, description="Prompt tokens per minute.")
    output_tpm: Count | None = Field(None, description="Output tokens per minute.")
    rpd: Count | None = Field(None, description="Requests per day.")
    max_parallel: CountOrAuto | None = Field(
        None,
        description=(
            "Calls at the same time. `auto`: as many as the provider takes, found by all processes of the ledger together; it grows "
            "with successful calls and shrinks when the provider is overloaded or throttles."
        ),
        examples=[8, "auto"],
    )
    price: Literal["free"] | None = Field(None, description="`free` for a model that costs nothing. It is never assumed.")
    prices: list[DatedPriceSection] | None = Field(
        None, description="Other prices for a time: a promotion, a change that is announced. Of two that overlap, the later one counts."
    )
    price_factor: Factor | None = Field(
        None,
        description=(
            "Multiplies the price of every token, the catalogue's or the registry's, after the factor of the region: a contract, a "
            "reseller. Fees for searches and requests stay."
        ),
        examples=[0.9],
    )
    price_as: Text | None = Field(
        None,
        description=(
            "The model whose published price counts, if the name says nothing (a deployment at Azure, a name of your own): a model of the "
            "same provider, or of another as `openai/gpt-4o`."
        ),
        examples=["gpt-4o"],
    )
    region: Text | None = Field(
        None,
        description=(
            "Where calls are served, as far as prices depend on it: `global`, `eu`, `us`, `us-east5` … Default: what the address, the "
            "name, `params` or the environment say. If it is unknown, the dearest place is held for."
        ),
        examples=["eu"],
    )
    budget_usd_per_run: Usd | None = Field(None, description="Dollars that one run may spend on this model.", examples=[2])
    budget_usd_per_day: Usd | None = Field(None, description="Dollars per day (UTC) on this model.")
    budget_usd_per_month: Usd | None = Field(None, description="Dollars per month (UTC) on this model.", examples=[100])
    budget_tokens_per_run: Total | None = Field(None, description="Tokens that one run may use of this model.", examples=[500_000])
    budget_tokens_per_day: Total | None = Field(None, description="Tokens of this model per day (UTC).")
    budget_tokens_per_month: Total | None = Field(None, description="Tokens of this model per month (UTC).")
    budget_requests_per_run: Total | None = Field(None, description="Requests that one run may send to this model.", examples=[100])
    budget_requests_per_day: Total | None = Field(None, description="Requests to this model per day (UTC).")
    budget_requests_per_month: Total | None = Field(None, description="Requests to this model per month (UTC).")
    budgets: list[BudgetSection] | None = Field(None, description="More budgets of this model.", examples=[[{"usd": 1, "per": "instance"}]])
    params: Params | None = Field(None, description="Default request parameters; the caller's own win.", examples=[{"temperature": 0.2}])
    timeouts: TimeoutsSection | None = Field(None, description="Time limits of one attempt.")
    stops_on_disconnect: Switch | None = Field(
        None,
        description=(
            "Whether the endpoint stops, and bills no more, when the connection of a stream closes. Then an interrupted stream is charged "
            "by an estimate, if its capabilities are known and have no `reasoning`. Default: what the provider states."
        ),
        examples=[True],
    )
    max_tokens_per_second: Count | None = Field(
        None,
        description="For that estimate: no answer comes faster. Default 1000; state more for an endpoint that is faster.",
        examples=[3_000],
    )
    prefill: PrefillStated | None = Field(
        None,
        description=(
            "Whether the model continues an answer that a request has begun, for `stream_recovery: continue`, and how it is asked to: "
            "`plain` (it does by itself), `prefix` or `partial` (a field of the message), `continue_final_message` (a field of the "
            "request); true: as is known of the provider, else `plain`. Default: what is known of the provider and model."
        ),
        examples=[True, "prefix"],
    )
    fallbacks: Names | None = Field(
        None,
        description="The fallbacks when this model was requested and can't serve, instead of the policy's chain. Empty: none.",
        examples=[["gemini-pro", "local-llm"]],
    )
    server_tools: dict[Text, ServerToolSection] | None = Field(
        None,
        description=(
            "What tools cost that the provider runs by itself, by type: `web_search`, `web_fetch`, `code_execution`, `file_search`, "
            "`image_generation`, `mcp`, `tool_search`, `advisor`, `compaction`, `google_maps`, the id of a plugin, or any other type as "
            "the request has it."
        ),
        examples=[{"web_search": {"usd_per_use": 0.01, "tokens_per_use": 8_000, "max_uses": 5}}],
    )
    at_list_price: Names | None = Field(
        None,
        description=(
            "Tiers of service (`service_tier`, `speed`) and betas (`anthropic-beta`) that cost no more than the price of this model. A "
            "hard budget refuses unknown ones."
        ),
        examples=[["turbo", "some-beta-2026-10-01"]],
    )
    extra_headers: Headers | None = Field(
        None, description="Headers for every request. `$NAME` is replaced by an environment variable.", examples=[{"X-Team": "search"}]
    )
    compat: CompatSection | None = Field(
        None,
        description="What the endpoint takes, where Paymaster's own facts about it are wrong or missing.",
        examples=[{"reads": ["reasoning_content"], "drop_params": ["temperature"], "system_first": True, "text_content": True}],
    )
    aliases: Names | None = Field(
        None, description="Other names for the model. A name that differs by its date alone needs none.", examples=[["fast"]]
    )
    adapter: Literal["openai_http", "litellm"] | None = Field(
        None,
        description="How to call the endpoint, if the provider's default doesn't fit: over HTTP (see `dialect`), or through litellm.",
    )
    dialect: Literal["chat", "responses", "messages"] | None = Field(
        None,
        description=(
            "The wire format that the endpoint speaks, if it is not the provider's usual one: OpenAI's chat completions or responses, or "
            "Anthropic's messages."
        ),
        examples=["messages"],
    )
    script: Text | None = Field(
        None, description="For provider `scripted`: the file of answers, relative to the registry.", examples=["script.yaml"]
    )


RETRIES = (
    "Attempts at one model after the first, while another model is left. Default 2. With no other left, a model that fails is tried until "
    "`max_wait_s`, as long as it costs nothing; attempts that may be billed stay bounded, by this number if it is set, else by "
    "`max_attempts`. 0: the same model is never tried again, whatever happens."
)
ATTEMPTS = (
    "All attempts of one call, except a 429 that says how long to wait. Default 10. If it is set, it also bounds an outage with no other "
    "model left; otherwise only attempts that may be billed count there."
)
BREAKER_PAUSE = (
    "How long the circuit stays open before a probe. Default 15. If a call has no other model, and a probe costs nothing, the first pauses "
    "are shorter: from a second on, each a quarter longer."
)


class PolicySection(BaseSection):
    """How much may be spent, and which fallbacks to use when a model can't serve."""

    budget_usd_per_run: Usd | None = Field(None, description="Dollars for one run: the short form of {usd: …, per: run}.", examples=[5])
    budget_usd_per_batch: Usd | None = Field(None, description="Dollars for one batch.")
    budget_usd_per_instance: Usd | None = Field(None, description="Dollars for one instance (a task of a batch).", examples=[1])
    budget_usd_per_user: Usd | None = Field(None, description="Dollars for one user.")
    budget_usd_per_day: Usd | None = Field(None, description="Dollars per day (UTC).")
    budget_usd_per_month: Usd | None = Field(None, description="Dollars per month (UTC).", examples=[200])
    budget_tokens_per_run: Total | None = Field(None, description="Tokens for one run, prompts and answers together.", examples=[2_000_000])
    budget_tokens_per_batch: Total | None = Field(None, description="Tokens for one batch.")
    budget_tokens_per_instance: Total | None = Field(None, description="Tokens for one instance (a task of a batch).", examples=[300_000])
    budget_tokens_per_user: Total | None = Field(None, description="Tokens for one user.")
    budget_tokens_per_day: Total | None = Field(None, description="Tokens per day (UTC).")
    budget_tokens_per_month: Total | None = Field(None, description="Tokens per month (UTC).")
    budget_requests_per_run: Total | None = Field(None, description="Requests for one run: attempts that may be billed.", examples=[500])
    budget_requests_per_batch: Total | None = Field(None, description="Requests for one batch.")
    budget_requests_per_instance: Total | None = Field(None, description="Requests for one instance (a task of a batch).", examples=[75])
    budget_requests_per_user: Total | None = Field(None, description="Requests for one user.")
    budget_requests_per_day: Total | None = Field(None, description="Requests per day (UTC).")
    budget_requests_per_month: Total | None = Field(None, description="Requests per month (UTC).")
    budgets: list[BudgetSection] | None = Field(
        None, description="Any other budget.", examples=[[{"usd": 50, "per": ["model", "day"], "models": ["gpt-4o"]}]]
    )
    hard_stop_on_budget: Switch | None = Field(
        None,
        description=(
            "true: a call over budget is refused. false (the default): it is made, and the log says by how much the budget is exceeded. "
            "A budget given by --budget-usd, --budget-tokens, --budget-requests or their variables is hard unless this is false."
        ),
        examples=[True],
    )
    warn_at: list[Share] | None = Field(
        None, description="Shares of a budget at which to log a warning. Default 0.5, 0.8, 0.95.", examples=[[0.5, 0.9]]
    )
    fallback_chain: Names | None = Field(
        None, description="The fallbacks, in order, when the requested model can't serve.", examples=[["gpt-4o", "gemini-pro"]]
    )
    fall_back_on_content_policy: Switch | None = Field(
        None, description="Whether to try the next model after a refusal by a provider's content policy. Default false: raise the error."
    )
    stream_recovery: Literal["off", "hold_back", "continue"] | None = Field(
        None,
        description=(
            "What happens to a streamed answer that is cut, stalls or can't be read after its first content. `off` (the default): it ends "
            "with an error. `hold_back`: nothing of it is delivered before it is whole, so that it is tried again and falls back like any "
            "other failure; the text then comes all at once. `continue`: if only text was delivered, a model that is known to continue an "
            "answer writes the rest of it. A call may set it for itself."
        ),
        examples=["hold_back"],
    )
    min_output_tokens: Count | None = Field(
        None,
        description="A hard budget and a window shorten answers to what they leave, but never below this. Default 256.",
    )
    max_wait_s: Seconds | None = Field(
        None, description="The longest total wait of one call: for room under limits, for pauses and for outages. Default 300."
    )
    max_outage_s: Seconds | None = Field(
        None,
        description=(
            "How long a call waits, once no other model is left, for models that fail: outages, open circuits. Default: `max_wait_s`; "
            "30 for the callers of `paymaster serve`."
        ),
    )
    patience_s: Seconds | None = Field(None, description="The longest wait for a model that has another fallback. Default 10.")
    deadline_s: Seconds | None = Field(None, description="The deadline of a call over the whole chain, waits included. Default 1800.")
    retries_per_model: CountFromZero | None = Field(None, description=RETRIES)
    max_attempts: Count | None = Field(None, description=ATTEMPTS)
    backoff_initial_s: Seconds | None = Field(None, description="The first wait before a retry, if the provider names none. Default 0.5.")
    backoff_max_s: Seconds | None = Field(None, description="The longest wait before a retry. Default 20.")
    breaker_failures: Count | None = Field(None, description="Failures in a row that open a model's circuit. Default 5.")
    breaker_window_s: Seconds | None = Field(None, description="The time within which those failures must happen. Default 30.")
    breaker_pause_s: Seconds | None = Field(None, description=BREAKER_PAUSE)
    on_ledger_error: Literal["refuse", "spool"] | None = Field(
        None,
        description=(
            "What happens to calls while the ledger is unavailable. `refuse`: they fail. `spool`: they are made without budgets and "
            "limits, and posted later. Default: refuse if hard_stop_on_budget is true, else spool."
        ),
        examples=["spool"],
    )
    interrupted_calls: Literal["estimate", "full_hold"] | None = Field(
        None,
        description=(
            "What an interrupted call costs if its bill is not known. `estimate` (the default): at most what the provider can have billed "
            "until the connection closed, where it states that it stops then, else the whole hold. `full_hold`: always the whole hold."
        ),
        examples=["full_hold"],
    )


class PricesSection(BaseSection):
    """How `paymaster serve` keeps the price catalogue of its state directory up to date. `paymaster prices update` does it once."""

    auto_update: Literal["daily"] | None = Field(
        None,
        description=(
            "`daily`: `paymaster serve` fetches new prices once a day and uses them. A price that moves more than tenfold is held back."
        ),
        examples=["daily"],
    )
    update_from: Text | None = Field(
        None,
        description=(
            "A URL, or a file relative to the registry, with price data in genai-prices' shape. Default: where genai-prices publishes it."
        ),
        examples=["https://prices.example.com/data.json"],
    )


class RegistrySection(BaseSection):
    """The registry: the models, the default model and the policy."""

    default: Text | None = Field(
        None, description="The model of calls that name none. Default: the first of the fallback chain, else the only model."
    )
    models: dict[str, ModelSection] = Field(description="The models by name.", min_length=1)
    policies: PolicySection | None = Field(None, description="Budgets, fallbacks and their limits.")
    prices: PricesSection | None = Field(None, description="Updates of the price catalogue.")


def registry_json_schema() -> dict[str, Any]:  # Any: a JSON Schema has any depth
    """The JSON Schema (2020-12) of a registry file, for editors: the registry itself, or under `model_registry:`."""
    schema = RegistrySection.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema.pop("$defs")
    schema["properties"]["$schema"] = {"type": "string", "description": "For editors; ignored."}
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
