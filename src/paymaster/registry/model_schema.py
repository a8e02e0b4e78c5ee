"""Every key of a model and of its endpoints with its type, meaning and an example; knows no file and no provider's defaults."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from paymaster.registry.budget_schema import BudgetSection
from paymaster.registry.compat_schema import CompatSection
from paymaster.registry.names import Capabilities, ProviderName
from paymaster.registry.price_schema import BaseSection, DatedPriceSection
from paymaster.registry.tier_schema import TieredSection
from paymaster.registry.values import (
    AccountName,
    BaseUrl,
    Count,
    CountFromZero,
    CountOrAuto,
    Factor,
    Headers,
    KeyReferences,
    Label,
    Names,
    Params,
    PrefillStated,
    Rate,
    Seconds,
    Switch,
    Text,
    Total,
    Usd,
    VariableNames,
)


def _without_default(schema: JsonDict) -> None:
    """An empty text is nothing that an editor should offer."""
    del schema["default"]


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


class PlaceSection(TieredSection):
    """The keys that a model has, and in which each of its endpoints may differ."""

    provider: ProviderName = Field(
        "",  # none: each endpoint has one
        description="The provider: a name from the list of providers. Each endpoint may name its own.",
        examples=["openai"],
        json_schema_extra=_without_default,
    )
    model_id: Text | None = Field(None, description="The provider's name for it. Default: the name in the registry.", examples=["gpt-4o"])
    base_url: BaseUrl | None = Field(
        None,
        description=(
            "The address, if it isn't the provider's own. Without a path, `/v1` is added, as OpenAI-style servers have it. `$NAME` is "
            "replaced by an environment variable."
        ),
        examples=["http://localhost:11434", "https://$HOST/v1"],
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
    account: AccountName | None = Field(
        None,
        description=(
            "Whose limits at the provider the calls count against, if the key does not say it: two keys of one account, or one key for "
            "two. Any name; models and endpoints with the same name at the same server share their limits."
        ),
        examples=["team-a"],
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
    params: Params | None = Field(
        None,
        description="Default request parameters; the caller's own win. `$NAME` in a text is replaced by an environment variable.",
        examples=[{"temperature": 0.2}],
    )
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


class EndpointSection(PlaceSection):
    """One of several endpoints of a model: its name, and what differs from the model."""

    name: Label = Field(description="Its name among the endpoints of the model.", examples=["eu"])
    weight: CountFromZero | None = Field(
        None,
        description="Its share of new conversations under `balance: weighted`. Default 1. 0: only when no other endpoint is left.",
        examples=[2],
    )


class ModelSection(PlaceSection):
    """One named model. Only `provider` is required; other values default to the price catalogue and the model data."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["provider"]}, {"required": ["endpoints"]}]})

    endpoints: list[EndpointSection] | None = Field(
        None,
        description=(
            "The endpoints of the model, if it has several. Each has limits, slots and a circuit of its own; budgets, fallbacks and what "
            "is shown stay with the model. What an endpoint does not say it takes from the model."
        ),
        examples=[[{"name": "direct", "rpm": 1000}, {"name": "eu", "provider": "bedrock", "model_id": "eu.some-model"}]],
    )
    balance: Literal["order", "weighted", "least_loaded", "cheapest", "fastest"] | None = Field(
        None,
        description=(
            "Which endpoint a new conversation gets: the first in `order`, by `weight`, the least loaded, the cheapest, the fastest. "
            "Default `least_loaded`."
        ),
        examples=["weighted"],
    )
    affinity: Literal["conversation", "instance", "key", "none"] | None = Field(
        None,
        description=(
            "Which calls stay at the endpoint that answered the one before, where the prompt is cached: those of a conversation (the "
            "default), an instance, a gateway key, or none."
        ),
        examples=["instance"],
    )
    vector_space: Text | None = Field(
        None,
        description=(
            "For models that make embeddings: models with the same name here make vectors that can be compared, and can be fallbacks "
            "of one another. Default: the model_id after its last slash."
        ),
        examples=["text-embedding-3-small"],
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
    fallbacks: Names | None = Field(
        None,
        description="The fallbacks when this model was requested and can't serve, instead of the policy's chain. Empty: none.",
        examples=[["gemini-pro", "local-llm"]],
    )
    aliases: Names | None = Field(
        None, description="Other names for the model. A name that differs by its date alone needs none.", examples=[["fast"]]
    )
