"""What LiteLLM's clients ask about models, keys and users, answered from the registry and the ledger; knows no route and no header.

Field names and units are LiteLLM's (docs.litellm.ai, November 2026): dollars per token and dollars, as JSON numbers. What is not known is
left out of a model, and null for a key, never 0.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.prices.price import PER_MILLION
from paymaster.gateway.auth import Key
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Budget, Model

_NANOUSD_PER_USD = 10**9
_DURATIONS: Mapping[str, str] = {"day": "1d", "month": "1mo"}
_SUPPORTS: Mapping[str, str] = {
    "function_calling": "supports_function_calling",
    "parallel_tool_calls": "supports_parallel_function_calling",
    "tool_choice": "supports_tool_choice",
    "json_schema": "supports_response_schema",
    "vision": "supports_vision",
    "pdf": "supports_pdf_input",
    "audio": "supports_audio_input",
    "audio_output": "supports_audio_output",
    "video": "supports_video_input",
    "reasoning": "supports_reasoning",
    "prompt_caching": "supports_prompt_caching",
    "system_messages": "supports_system_messages",
    "assistant_prefill": "supports_assistant_prefill",
    "web_search": "supports_web_search",
    "computer_use": "supports_computer_use",
}


class OwnBudget(NamedTuple):
    """A budget that counts nobody else's calls, and what of it is spent and held, in its own unit."""

    budget: Budget
    spent: int
    held: int

    @property
    def left(self) -> int:
        """What is neither spent nor held."""
        return self.budget.cap - self.spent - self.held


def model_entry(model: Model) -> JsonObject:
    """One model as `/model/info` has it."""
    return {
        "model_name": model.name,
        "litellm_params": {"model": f"{model.provider}/{model.model_id}"},
        "model_info": {"id": model.name, "db_model": False, "litellm_provider": model.provider, **_facts(model)},
    }


def group_entry(model: Model) -> JsonObject:
    """One model as `/model_group/info` has it, with all its endpoints."""
    providers = list(dict.fromkeys(place.provider for place in model.places))
    return {"model_group": model.name, "providers": providers, **_facts(model)}


def key_info(key: Key | None, models: Sequence[str], budgets: Sequence[OwnBudget]) -> JsonObject:
    """A caller's own key as `/key/info` has it. Without a budget in dollars, nobody counts what the key has spent."""
    limits = None if key is None else key.limits
    tightest = _tightest(budgets)
    return {
        "key_name": None if key is None else key.id,
        "key_alias": None if key is None else key.id,
        "user_id": None if key is None else key.user,
        "models": list(models),
        "spend": None if tightest is None else _usd(tightest.spent),
        "max_budget": None if tightest is None else _usd(tightest.budget.cap),
        "budget_duration": None if tightest is None else _duration(tightest.budget),
        "rpm_limit": None if limits is None else limits.rpm,
        "tpm_limit": None if limits is None else limits.tpm,
        "max_parallel_requests": None if limits is None else limits.max_parallel,
        "expires": None,
        "blocked": False,
    }


def user_info(key: Key | None, info: JsonObject, budgets: Sequence[OwnBudget]) -> JsonObject:
    """The caller's user as `/user/info` has it, with the one key that asks: a key shows no other."""
    user = None if key is None else key.user
    tightest = _tightest([own for own in budgets if "user" in own.budget.per])
    own = {
        "user_id": user,
        "spend": None if tightest is None else _usd(tightest.spent),
        "max_budget": None if tightest is None else _usd(tightest.budget.cap),
    }
    return {"user_id": user, "user_info": own, "keys": [] if key is None else [info], "teams": []}


def _facts(model: Model) -> JsonObject:
    """Limits, prices and capabilities, those that are known."""
    longest = model.max_input_tokens or model.context_window
    facts: dict[str, object] = {
        "mode": "embedding" if model.embeds else "chat",
        "max_tokens": model.max_output_tokens,
        "max_input_tokens": longest,
        "max_output_tokens": model.max_output_tokens,
        **_prices(model),
        "rpm": _sum([place.limits.rpm for place in model.places]),
        "tpm": _sum([place.limits.tpm for place in model.places]),
    }
    if model.capabilities is not None:
        facts |= {name: capability in model.capabilities for capability, name in _SUPPORTS.items()}
    return {name: value for name, value in facts.items() if value is not None}


def _prices(model: Model) -> JsonObject:
    """The list price of a short prompt."""
    if model.price is None:
        return {}
    rates = model.price.table.tiers[0].rates
    named = {
        "input_cost_per_token": rates.input,
        "output_cost_per_token": rates.output,
        "cache_read_input_token_cost": rates.cache_read,
        "cache_creation_input_token_cost": rates.cache_write_5m,
    }
    return {name: float(rate / Decimal(PER_MILLION)) for name, rate in named.items() if rate is not None}


def _sum(limits: Sequence[int | None]) -> int | None:
    """The limits of all endpoints together; None if one has none."""
    return None if None in limits else sum(limit for limit in limits if limit is not None)


def _tightest(budgets: Sequence[OwnBudget]) -> OwnBudget | None:
    """The budget in dollars that ends first: one for the key, if there is one."""
    in_usd = [own for own in budgets if own.budget.unit is BudgetUnit.USD]
    of_key = [own for own in in_usd if "key" in own.budget.per]
    return min(of_key or in_usd, key=lambda own: own.left, default=None)


def _usd(nanousd: int) -> float:
    return nanousd / _NANOUSD_PER_USD


def _duration(budget: Budget) -> str | None:
    """LiteLLM's word for how long a budget lasts; None for one that never starts anew."""
    return next((_DURATIONS[dimension] for dimension in budget.per if dimension in _DURATIONS), None)
