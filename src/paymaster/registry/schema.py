"""Every key of a registry file with its type, meaning and an example; knows no file and no provider's defaults.

`paymaster schema` and the reference in docs/registry.md are made from these descriptions.
"""

from typing import Any, Literal

from pydantic import Field

from paymaster.registry.budget_schema import BudgetSection
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.price_schema import BaseSection
from paymaster.registry.values import (
    Count,
    CountFromZero,
    Names,
    Seconds,
    Share,
    Switch,
    Text,
    Total,
    Usd,
)

RETRIES = (
    "Attempts at one model after the first (of several endpoints: after one at each), while another model is left. Default 2. "
    "With no other left, a model that fails is tried until `max_wait_s`, as long as it costs nothing; attempts that may be billed stay "
    "bounded, by this number if it is set, else by `max_attempts`. 0: the same model is never tried again, whatever happens."
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
    stay: Literal["call", "instance"] | None = Field(
        None,
        description=(
            "Where the calls after a fallback begin. `call` (the default): each with the first model again. `instance`: an instance goes "
            "on with the model that answered it last, until `stay_s` after its last answer: one model, and a warm cache."
        ),
        examples=["instance"],
    )
    stay_s: Seconds | None = Field(None, description="How long after its last answer an instance stays with a model. Default 3600.")
    never_mix: Switch | None = Field(
        None,
        description=(
            "true: only the model that answered an instance first may answer its other calls. If it can't, the call fails with "
            "MixRefused, so that the instance is run again, instead of falling back. Default false."
        ),
        examples=[True],
    )
    waiting_usd_per_hour: Usd | None = Field(
        None,
        description=(
            "What an hour of waiting is worth: a conversation leaves the endpoint that has its cache if the wait costs more than the cold "
            "cache. 0: it never leaves for a queue. Default 36, a cent per second."
        ),
        examples=[5],
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
    models: dict[str, ModelSection] = Field(
        description="The models by name. A name that ends in `*`, such as `openai/*`, is a family of models.", min_length=1
    )
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
