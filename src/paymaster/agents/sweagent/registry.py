"""Prepares the registry of a run: adds the models that SWE-agent's config names, and SWE-agent's own limits as budgets; pure.

It knows SWE-agent's config as `RequestedModel`s, and none of SWE-agent's code.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation

from paymaster.accounting.money import cap_nanousd, format_usd
from paymaster.agents.model_checks import require_function_calling
from paymaster.errors import UsageMistake, near
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.models import Budget, Model, Policy, Registry
from paymaster.registry.overrides import Overrides, flag_of
from paymaster.registry.providers import find_provider
from paymaster.registry.yamltext import Document, Plain
from paymaster.routing.chains import has_name, resolve

INSTANCE_LIMIT = "agent.model.per_instance_cost_limit"
TOTAL_LIMIT = "agent.model.total_cost_limit"
LOOP_LIMIT = "agent.retry_loop.cost_limit"

_ANY_SERVER = "openai_compatible"
_KEY_VARIABLE = "SWE_AGENT_MODEL_KEY_{}"
_LITELLM_PRICES = {
    "input_cost_per_token": "usd_per_1m_input",
    "output_cost_per_token": "usd_per_1m_output",
    "cache_read_input_token_cost": "usd_per_1m_cache_read",
    "cache_creation_input_token_cost": "usd_per_1m_cache_write",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedModel:
    """One `model:` of a SWE-agent config. Limits are in dollars; 0 is no limit, as in SWE-agent.

    `setting` is where the config has the name. `calls_functions`: the agent requires function calling. `price_file` is the text of the JSON
    file that `litellm_model_registry` names. `params` and `prompt` are what its requests have: parameters, and templates they begin with.
    """

    name: str
    setting: str = "agent.model.name"
    calls_functions: bool = False
    per_instance_usd: Decimal = Decimal(0)
    total_usd: Decimal = Decimal(0)
    base_url: str | None = None
    api_version: str | None = None
    keys: tuple[str, ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_input_tokens: int | None = None
    price_file: str | None = None
    fallbacks: bool = False
    params: Mapping[str, object] = field(default_factory=dict)
    prompt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRegistry:
    """The registry for one process of SWE-agent, the keys from its config (by environment variable), and notes for the user."""

    registry: Registry
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


def prepare_registry(
    registry: Registry,
    requested_models: Sequence[RequestedModel],
    overrides: Overrides,
    sources: Sources,
    *,
    loop_limit_usd: Decimal | None = None,
    provider_of: Callable[[str], str | None] = lambda _: None,
) -> PreparedRegistry:
    """Add the models that the registry does not have, and add SWE-agent's limits to its policy.

    `loop_limit_usd` is the `cost_limit` of a retry loop, None without a loop. `provider_of` gives the provider of a model whose name does
    not have it. Raises UsageMistake for an unknown name, and for a model without function calling if the agent requires it.
    """
    keys: dict[str, str] = {}
    notes: list[str] = []
    written = registry
    for model in {one.name: one for one in reversed(requested_models)}.values():
        if has_name(registry, model.name):
            registry = _with_headers(registry, model)
            notes += _ignored_keys(registry, model)
        else:
            added, warnings = _unregistered(model, written, overrides, sources, provider_of, keys)
            registry = replace(registry, models={**registry.models, model.name: added})
            notes += warnings
    for model in requested_models:
        _require_function_calling(registry, model, overrides.model_registry)
    policy, limit_notes = _with_limits(registry, requested_models, overrides, loop_limit_usd)
    return PreparedRegistry(registry=replace(registry, policy=policy), keys=keys, notes=(*notes, *limit_notes))


def _ignored_keys(registry: Registry, requested: RequestedModel) -> list[str]:
    """A note for each key of SWE-agent's config that the registry overrides."""
    ignored = [
        key
        for key, given in (
            ("api_base", requested.base_url),
            ("api_version", requested.api_version),
            ("api_key", requested.keys),
            ("fallbacks", requested.fallbacks),
            ("litellm_model_registry", requested.price_file),
        )
        if given
    ]
    name = resolve(registry, requested.name)
    return [f"agent.model.{key} is not used: {name} is described in {registry.source or 'the registry'}" for key in ignored]


def _with_headers(registry: Registry, requested: RequestedModel) -> Registry:
    """Add the headers of `completion_kwargs.extra_headers` to the requested model; the registry's own headers win."""
    if not requested.headers:
        return registry
    name = resolve(registry, requested.name)

    def with_them(model: Model) -> Model:
        headers = {**requested.headers, **model.extra_headers}
        return replace(model, extra_headers=headers, endpoints=tuple(map(with_them, model.endpoints)))

    return replace(registry, models={**registry.models, name: with_them(registry.models[name])})


def _unregistered(
    requested: RequestedModel,
    registry: Registry,
    overrides: Overrides,
    sources: Sources,
    provider_of: Callable[[str], str | None],
    keys: dict[str, str],
) -> tuple[Model, list[str]]:
    """A model that only SWE-agent's config describes; it has no fallbacks. And the warnings that a model of a registry would have."""
    provider, model_id = _provider_and_id(requested, registry, provider_of)
    section: dict[str, Plain] = {"provider": provider, "model_id": model_id, "fallbacks": []}
    if requested.base_url:
        section["base_url"] = requested.base_url
    if requested.api_version:
        section["api_version"] = requested.api_version
    if requested.keys:
        variables = [_KEY_VARIABLE.format(len(keys) + number) for number in range(1, len(requested.keys) + 1)]
        keys.update(zip(variables, requested.keys, strict=True))
        section["api_key_env"] = list(variables)
    if requested.headers:
        section["extra_headers"] = dict(requested.headers)
    section |= _litellm_data(requested, model_id)
    tree: Plain = {"models": {requested.name: section}}
    sources = replace(sources, environ={**sources.environ, **keys})
    read = read_registry(Document("agent.model of SWE-agent's config", tree), overrides, sources)
    return read.models[requested.name], [f"{warning} (in the registry, as a model of its own)" for warning in read.warnings]


def _provider_and_id(requested: RequestedModel, registry: Registry, provider_of: Callable[[str], str | None]) -> tuple[str, str]:
    prefix, slash, model_id = requested.name.partition("/")
    if slash and (facts := find_provider(prefix)) is not None:
        return facts.id, model_id
    if requested.base_url:
        return _ANY_SERVER, requested.name
    provider = provider_of(requested.name)
    if provider is not None and (facts := find_provider(provider)) is not None:
        return facts.id, model_id if slash and prefix == provider else requested.name
    known = [*registry.models, *(alias for model in registry.models.values() for alias in model.aliases)]
    advice = (
        f"{requested.setting} may be one of {', '.join(registry.models)}, `default`, or provider/model as in openai/gpt-4o "
        f"({near(requested.name, known)}). Or let a model of the registry answer to this name: `aliases: [{requested.name}]`."
    )
    raise UsageMistake(
        f"{requested.setting}: the registry {registry.source} has no model {requested.name!r}, and its provider is not known", advice=advice
    )


def _litellm_data(requested: RequestedModel, model_id: str) -> dict[str, Plain]:
    """Prices and limits from the JSON of `litellm_model_registry`. Raises UsageMistake if the file can not be used."""
    found: dict[str, Plain] = {} if requested.max_input_tokens is None else {"max_input_tokens": requested.max_input_tokens}
    if requested.price_file is None:
        return found
    try:
        table = json.loads(requested.price_file, parse_float=Decimal)
    except ValueError as error:
        raise UsageMistake(f"agent.model.litellm_model_registry is not JSON: {error}") from error
    entry = (table.get(requested.name) or table.get(model_id) or {}) if isinstance(table, dict) else {}
    try:
        found |= {ours: Decimal(entry[theirs]) * 1_000_000 for theirs, ours in _LITELLM_PRICES.items() if theirs in entry}
    except (TypeError, InvalidOperation) as error:
        raise UsageMistake(f"agent.model.litellm_model_registry: a price of {requested.name} is not a number") from error
    limits = {key: entry[key] for key in ("max_input_tokens", "max_output_tokens") if isinstance(entry.get(key), int)}
    return {**limits, **found}


def _require_function_calling(registry: Registry, requested: RequestedModel, own_file: str | None) -> None:
    """`own_file` is a file with nothing but a registry."""
    if requested.calls_functions:
        setting = "agent.tools.parse_function.type: function_calling"
        require_function_calling(registry, requested.name, setting=setting, advice=without_function_calling(own_file))


def without_function_calling(own_file: str | None) -> str:
    """What to do where no model can call functions."""
    file, moved = (shlex.quote(own_file), "") if own_file else ("registry.yaml", ", once the registry is in its own file")
    return (
        f"Use a config that reads commands from the text; this writes one{moved}:\n"
        f"  paymaster init --for sweagent --model-registry {file} --parser thought_action\n"
        "If a model can call functions, add `capabilities: [function_calling]` to it in the registry."
    )


def _with_limits(
    registry: Registry, requested_models: Sequence[RequestedModel], overrides: Overrides, loop_limit_usd: Decimal | None
) -> tuple[Policy, list[str]]:
    """The policy with SWE-agent's limits among its budgets, and notes on them.

    The limits always stop a run, as they do without Paymaster. If the registry's own budgets are soft, the limits stay out of the policy,
    and the model class checks them before each call.
    """
    policy, notes = registry.policy, list[str]()
    totals = [one.total_usd for one in requested_models if one.total_usd > 0]
    instances = [one.per_instance_usd for one in requested_models if one.per_instance_usd > 0]
    if totals and overrides.budget_usd is not None:
        smaller = min(*totals, overrides.budget_usd)
        notes.append(
            f"{flag_of('budget_usd')} is {_usd(overrides.budget_usd)} and {TOTAL_LIMIT} is {_usd(min(totals))}: the smaller one applies, "
            f"{_usd(smaller)}"
        )
    own = policy.budgets or any(model.budgets for model in registry.models.values())
    if own and not policy.hard_stop_on_budget:
        return policy, notes
    limits = [Budget(cap=cap_nanousd(min(totals)), per=("run",), key=TOTAL_LIMIT)] if totals else []
    if loop_limit_usd is not None and loop_limit_usd > 0:
        limits.append(Budget(cap=cap_nanousd(loop_limit_usd), per=("instance",), key=LOOP_LIMIT))
    elif loop_limit_usd is None and instances:
        limits.append(Budget(cap=cap_nanousd(min(instances)), per=("instance",), key=INSTANCE_LIMIT))
    if not limits:
        return policy, notes
    return replace(policy, budgets=(*policy.budgets, *limits), hard_stop_on_budget=True), notes


def _usd(amount: Decimal) -> str:
    return format_usd(cap_nanousd(amount))
