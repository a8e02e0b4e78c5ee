"""Describes a registry in rows for a reader: each value as text, with its origin; knows no terminal and shows no secret."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from json import dumps

from paymaster.accounting.budget_units import BudgetUnit, format_amount
from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import Rates
from paymaster.registry.compat import PLAIN, Compat
from paymaster.registry.families import is_family
from paymaster.registry.models import Budget, Model, Policy, Registry, Stay, StreamRecovery
from paymaster.registry.provider_keys import missing_key, other_variables

DEFAULT = "default"
_LIMITS = ("rpm", "tpm", "input_tpm", "output_tpm", "rpd", "max_parallel")
_TIMES = ("max_wait", "patience", "deadline", "backoff_initial", "backoff_max", "breaker_window", "breaker_pause")
_TIMEOUTS = ("connect", "first_token", "between_chunks", "total")
_RECOVERIES: Mapping[StreamRecovery, str] = {
    StreamRecovery.OFF: "off: a stream that breaks ends with an error",
    StreamRecovery.HOLD_BACK: "hold_back: a stream is delivered once it is whole",
    StreamRecovery.CONTINUE: "continue: another model writes the rest of a stream that breaks, if it is known to",
}


@dataclass(frozen=True, slots=True)
class DescribedValue:
    """A value as text and its origin: `registry line 7`, `catalogue …`, `default`, `flag --rpm-limit`."""

    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class DescribedKey:
    """An environment variable and whether it is set; never its value."""

    variable: str
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """One model. `chain_place` is its position in the fallback chain, from 1. `key_missing` names the variables to set before a call.

    A model with several endpoints has each in `endpoints`, described like a model: `place` is the model with the endpoint's name, and
    `weight` its share of new conversations. `balance` and `affinity` are how one is chosen. `named_in` has the key and line of variables in
    its address, headers and parameters.

    `limits` holds only limits that are set, `compat` only facts that the registry states or that differ from OpenAI's own API.
    """

    name: str
    place: str
    is_default: bool
    chain_place: int | None
    provider: DescribedValue
    model_id: DescribedValue
    adapter: DescribedValue
    dialect: DescribedValue
    endpoint: DescribedValue
    price: DescribedValue
    region: DescribedValue
    context_window: DescribedValue
    max_input_tokens: DescribedValue
    max_output_tokens: DescribedValue
    capabilities: DescribedValue
    limits: Mapping[str, DescribedValue]
    timeouts: Mapping[str, DescribedValue]
    prefill: DescribedValue
    compat: Mapping[str, DescribedValue]
    keys: tuple[DescribedKey, ...]
    named_in: Mapping[str, str]
    key_missing: str | None
    budgets: tuple[DescribedValue, ...]
    aliases: tuple[str, ...]
    fallbacks: tuple[str, ...] | None
    account: DescribedValue
    weight: DescribedValue
    balance: DescribedValue
    affinity: DescribedValue
    endpoints: tuple["ModelDescription", ...] = ()

    @property
    def places(self) -> tuple["ModelDescription", ...]:
        """The endpoints; the model itself if it has none."""
        return self.endpoints or (self,)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryDescription:
    """The whole registry. `policy` maps each key of the policy to its value."""

    source: str
    default: DescribedValue
    models: tuple[ModelDescription, ...]
    budgets: tuple[DescribedValue, ...]
    policy: Mapping[str, DescribedValue]
    warnings: tuple[str, ...]


def describe(registry: Registry, environ: Mapping[str, str]) -> RegistryDescription:
    """Every value of the registry with its origin. Values of `environ` are never shown."""
    origins, policy = registry.origins, registry.policy
    return RegistryDescription(
        source=registry.source,
        default=DescribedValue(registry.default, origins.get("default", DEFAULT)),
        models=tuple(_model_row(model, registry, environ) for model in registry.models.values()),
        budgets=tuple(_budget(budget, policy, _budget_origin(budget, origins)) for budget in policy.budgets),
        policy=_policy_rows(policy, origins),
        warnings=registry.warnings,
    )


def budget_texts(registry: Registry) -> tuple[str, ...]:
    """Every budget with its key: `$5.00 per run, hard (policies.budget_usd_per_run)`."""
    budgets = (*registry.policy.budgets, *(budget for model in registry.models.values() for budget in model.budgets))
    return tuple(f"{_budget_text(budget, registry.policy)}{f' ({budget.key})' if budget.key else ''}" for budget in budgets)


def price_text(price: Price | None) -> str:
    """`$2.5 in, $10 out, $1.25 cached per million tokens`; `free`; `unknown`."""
    if price is None:
        return "unknown"
    if price.is_free:
        return "free"
    base, *longer = price.table.tiers
    tiers = [f"; from {tier.from_prompt_tokens:,} prompt tokens {_rates_text(tier.rates)}" for tier in longer]
    return f"{_rates_text(base.rates)} per million tokens{''.join(tiers)}"


def _rates_text(rates: Rates) -> str:
    shown = [f"${plain(rates.input)} in", f"${plain(rates.output)} out"]
    for rate, word in ((rates.cache_read, "cached"), (rates.cache_write_5m, "cache write")):
        if rate is not None:
            shown.append(f"${plain(rate)} {word}")
    return ", ".join(shown)


def _model_row(model: Model, registry: Registry, environ: Mapping[str, str]) -> ModelDescription:
    chain = registry.policy.fallback_chain

    def shown(key: str, value: object) -> DescribedValue:
        text = f"{value:,}" if isinstance(value, int) else str(value)
        return DescribedValue("unknown" if value is None else text, model.origins.get(key, DEFAULT if value is not None else ""))

    limits: dict[str, object] = {name: getattr(model.limits, name) for name in _LIMITS}
    if model.limits.adapts:
        limits["max_parallel"] = "auto"
    capabilities = None if model.capabilities is None else ", ".join(sorted(model.capabilities)) or "none"
    return ModelDescription(
        name=model.name,
        place=model.place,
        is_default=model.name == registry.default,
        chain_place=chain.index(model.name) + 1 if model.name in chain else None,
        provider=shown("provider", model.provider),
        model_id=shown("model_id", model.model_id),
        adapter=shown("adapter", model.adapter),
        dialect=shown("dialect", model.dialect),
        endpoint=shown("base_url", model.base_url or model.script or "chosen by litellm"),
        price=DescribedValue("by model" if is_family(model.name) else price_text(model.price), model.origins.get("price", "")),
        region=shown("region", model.region),
        context_window=shown("context_window", model.context_window),
        max_input_tokens=shown("max_input_tokens", model.max_input_tokens),
        max_output_tokens=shown("max_output_tokens", "none" if model.embeds else model.max_output_tokens),
        capabilities=shown("capabilities", capabilities),
        limits={name: shown(name, value) for name, value in limits.items() if value is not None},
        timeouts=_timeouts(model),
        prefill=shown("prefill", model.prefill or "none"),
        compat=_compat(model),
        keys=tuple(DescribedKey(name, bool(environ.get(name, "").strip())) for name in (*model.key_variables, *other_variables(model))),
        named_in=model.variables,
        key_missing=missing_key(model, environ),
        budgets=tuple(_budget(budget, registry.policy, f"registry {budget.key}") for budget in model.budgets),
        aliases=model.aliases,
        fallbacks=model.fallbacks,
        account=shown("account", model.account or "that of the key"),
        weight=shown("weight", model.weight),
        balance=shown("balance", model.balance),
        affinity=shown("affinity", model.affinity),
        endpoints=tuple(_model_row(endpoint, registry, environ) for endpoint in model.endpoints),
    )


def _timeouts(model: Model) -> dict[str, DescribedValue]:
    """The time limits in seconds, by their keys in the registry."""
    limits = {f"timeouts.{name}_s": getattr(model.timeouts, f"{name}_ms") / 1000 for name in _TIMEOUTS}
    return {key: DescribedValue(f"{limit_s:g}", model.origins.get(key, DEFAULT)) for key, limit_s in limits.items()}


def _compat(model: Model) -> dict[str, DescribedValue]:
    """What the endpoint takes, by the keys in the registry."""
    facts = {each.name: getattr(model.compat, each.name) for each in fields(Compat) if each.init}
    facts["drop_params"] = model.compat.drop_params | model.unsupported_params
    shown = {f"compat.{name}": value for name, value in facts.items() if value != getattr(PLAIN, name) or f"compat.{name}" in model.origins}
    return {key: DescribedValue(_fact(value), _compat_origin(model, key)) for key, value in shown.items()}


def _compat_origin(model: Model, key: str) -> str:
    by_provider, stated = f"provider {model.provider}", model.origins.get(key)
    if key == "compat.drop_params" and stated is not None:
        return f"{by_provider}, and {stated}"
    return stated or by_provider


def _fact(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case Mapping():
            return dumps(value)
        case frozenset():
            return ", ".join(sorted(value)) or "none"
        case tuple():
            return ", ".join(value) or "none"
        case _:
            return str(value)


def _budget(budget: Budget, policy: Policy, origin: str) -> DescribedValue:
    return DescribedValue(_budget_text(budget, policy), origin)


def _budget_text(budget: Budget, policy: Policy) -> str:
    per = " and ".join(budget.per)
    models = f", {' + '.join(budget.models)} only" if budget.models else ""
    kind = "hard" if policy.hard_stop_on_budget else "soft"
    return f"{format_amount(budget.cap, budget.unit)} {f'per {per}' if per else 'in total'}{models}, {kind}"


def _budget_origin(budget: Budget, origins: Mapping[str, str]) -> str:
    """The budget's own key for an item of the list `budgets`; else the origin of its short form, or of the flag that replaced it."""
    key = budget.key.rpartition(".")[2]
    return f"registry {budget.key}" if "[" in budget.key else origins.get(key, origins.get(f"budget_{budget.unit}_per_run", DEFAULT))


def _stay_text(policy: Policy) -> str:
    if policy.stay is Stay.CALL:
        return "call: every call begins with the first model"
    return f"instance: it goes on with the model that answered last, for {policy.stay_ms / 1000:g} s after an answer"


def _policy_rows(policy: Policy, origins: Mapping[str, str]) -> dict[str, DescribedValue]:
    over_budget = "refused" if policy.hard_stop_on_budget else "made, and reported"
    texts = {
        "hard_stop_on_budget": f"{str(policy.hard_stop_on_budget).lower()}: calls over budget are {over_budget}",
        "fallback_chain": " -> ".join(policy.fallback_chain) or "none",
        "warn_at": ", ".join(f"{percent} %" for percent in policy.warn_at_percent),
        "min_output_tokens": str(policy.min_output_tokens),
        "retries_per_model": str(policy.retries),
        "max_attempts": str(policy.most_attempts),
        "breaker_failures": str(policy.breaker_failures),
        "fall_back_on_content_policy": str(policy.fall_back_on_content_policy).lower(),
        "stream_recovery": _RECOVERIES[policy.stream_recovery],
        "interrupted_calls": "estimate: at most what can have been billed" if policy.estimates_interrupted else "full_hold: the whole hold",
        "stay": _stay_text(policy),
        "never_mix": "true: only the model that answered an instance first may answer it" if policy.never_mix else "false",
        "waiting_usd_per_hour": format_amount(policy.waiting_nanousd_per_hour, BudgetUnit.USD),
        "on_ledger_error": "spool: calls go on without it" if policy.goes_on_without_ledger else "refuse: no call without it",
    }
    texts |= {f"{key}_s": f"{getattr(policy, f'{key}_ms') / 1000:g}" for key in _TIMES}
    return {key: DescribedValue(text, origins.get(key, DEFAULT)) for key, text in texts.items()}
