"""From the models that a SWE-agent config asks for to a registry that has them, with SWE-agent's own limits as budgets; pure.

Knows what SWE-agent's config says (as `Wanted`), and neither SWE-agent's code nor who calls.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation

from paymaster.accounting.money import cap_nanousd, format_usd
from paymaster.errors import RequestInvalid, UsageMistake, near
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.models import Budget, Model, Policy, Registry
from paymaster.registry.overrides import Overrides, flag_of
from paymaster.registry.providers import find_provider
from paymaster.registry.yamltext import Document, Plain
from paymaster.routing.planning import chain, resolve

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
class Wanted:
    """One `model:` of a SWE-agent config. Limits in dollars, 0 for none, as SWE-agent has them.

    `calls_functions` says that the agent can't do without function calling. `price_file` is the text of the JSON that
    `litellm_model_registry` names.
    """

    name: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """The registry for one process of SWE-agent, keys that came from its config (by variable), and what a person should know."""

    registry: Registry
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


def arrange(
    registry: Registry,
    wanted: Sequence[Wanted],
    overrides: Overrides,
    sources: Sources,
    *,
    loop_limit_usd: Decimal | None = None,
    provider_of: Callable[[str], str | None] = lambda _: None,
) -> Arranged:
    """Add the models that the registry does not know, and SWE-agent's limits to its policy.

    `loop_limit_usd` is a retry loop's `cost_limit`, None without a loop. `provider_of` names the provider of a model whose name does not
    say it. Raises UsageMistake for a name that means nothing and for a model that can't call functions where the agent must.
    """
    keys: dict[str, str] = {}
    notes: list[str] = []
    for asked in {one.name: one for one in reversed(wanted)}.values():
        if _knows(registry, asked.name):
            registry = _with_headers(registry, asked)
            notes += _skipped(registry, asked)
        else:
            model = _foreign(asked, registry, overrides, sources, provider_of, keys)
            registry = replace(registry, models={**registry.models, asked.name: model})
    for asked in wanted:
        _refuse_without_functions(registry, asked, overrides.model_registry)
    policy, said = _with_limits(registry, wanted, overrides, loop_limit_usd)
    return Arranged(registry=replace(registry, policy=policy), keys=keys, notes=(*notes, *said))


def _knows(registry: Registry, name: str) -> bool:
    try:
        resolve(registry, name)
    except RequestInvalid:
        return False
    return True


def _skipped(registry: Registry, asked: Wanted) -> list[str]:
    """What SWE-agent's config says of a model and the registry decides."""
    ignored = [
        key
        for key, given in (
            ("api_base", asked.base_url),
            ("api_version", asked.api_version),
            ("api_key", asked.keys),
            ("fallbacks", asked.fallbacks),
            ("litellm_model_registry", asked.price_file),
        )
        if given
    ]
    name = resolve(registry, asked.name)
    return [f"agent.model.{key} is not used: {name} is described in {registry.source or 'the registry'}" for key in ignored]


def _with_headers(registry: Registry, asked: Wanted) -> Registry:
    """The headers of `completion_kwargs.extra_headers` below the registry's own, for the model that was asked for."""
    if not asked.headers:
        return registry
    name = resolve(registry, asked.name)
    model = replace(registry.models[name], extra_headers={**asked.headers, **registry.models[name].extra_headers})
    return replace(registry, models={**registry.models, name: model})


def _foreign(
    asked: Wanted,
    registry: Registry,
    overrides: Overrides,
    sources: Sources,
    provider_of: Callable[[str], str | None],
    keys: dict[str, str],
) -> Model:
    """A model that the registry does not have, as SWE-agent's config alone describes it; it has no fallbacks."""
    provider, model_id = _provider_and_id(asked, registry, provider_of)
    section: dict[str, Plain] = {"provider": provider, "model_id": model_id, "fallbacks": []}
    if asked.base_url:
        section["base_url"] = asked.base_url
    if asked.api_version:
        section["api_version"] = asked.api_version
    if asked.keys:
        variables = [_KEY_VARIABLE.format(len(keys) + number) for number in range(1, len(asked.keys) + 1)]
        keys.update(zip(variables, asked.keys, strict=True))
        section["api_key_env"] = list(variables)
    if asked.headers:
        section["extra_headers"] = dict(asked.headers)
    section |= _published(asked, model_id)
    tree: Plain = {"models": {asked.name: section}}
    sources = replace(sources, environ={**sources.environ, **keys})
    return read_registry(Document("agent.model of SWE-agent's config", tree), overrides, sources).models[asked.name]


def _provider_and_id(asked: Wanted, registry: Registry, provider_of: Callable[[str], str | None]) -> tuple[str, str]:
    prefix, slash, rest = asked.name.partition("/")
    if slash and (facts := find_provider(prefix)) is not None:
        return facts.id, rest
    if asked.base_url:
        return _ANY_SERVER, asked.name
    named = provider_of(asked.name)
    if named is not None and (facts := find_provider(named)) is not None:
        return facts.id, rest if slash and prefix == named else asked.name
    known = [*registry.models, *(alias for model in registry.models.values() for alias in model.aliases)]
    advice = (
        f"--agent.model.name may be one of {', '.join(registry.models)}, `default`, or provider/model as in openai/gpt-4o "
        f"({near(asked.name, known)})."
    )
    raise UsageMistake(f"the registry {registry.source} has no model {asked.name!r}, and its provider is not known", advice=advice)


def _published(asked: Wanted, model_id: str) -> dict[str, Plain]:
    """Prices and limits from the JSON of `litellm_model_registry`. Raises UsageMistake where it is no such file."""
    found: dict[str, Plain] = {} if asked.max_input_tokens is None else {"max_input_tokens": asked.max_input_tokens}
    if asked.price_file is None:
        return found
    try:
        table = json.loads(asked.price_file, parse_float=Decimal)
    except ValueError as error:
        raise UsageMistake(f"agent.model.litellm_model_registry is not JSON: {error}") from error
    entry = (table.get(asked.name) or table.get(model_id) or {}) if isinstance(table, dict) else {}
    try:
        found |= {ours: Decimal(entry[theirs]) * 1_000_000 for theirs, ours in _LITELLM_PRICES.items() if theirs in entry}
    except (TypeError, InvalidOperation) as error:
        raise UsageMistake(f"agent.model.litellm_model_registry: a price of {asked.name} is no number") from error
    limits = {key: entry[key] for key in ("max_input_tokens", "max_output_tokens") if isinstance(entry.get(key), int)}
    return {**limits, **found}


def _refuse_without_functions(registry: Registry, asked: Wanted, own_file: str | None) -> None:
    """Said before an environment starts. A model of which nothing is known may be able to. `own_file` holds a registry and nothing else."""
    if not asked.calls_functions:
        return
    names = chain(registry, asked.name)
    if any(known is None or "function_calling" in known for known in (registry.models[name].capabilities for name in names)):
        return
    file, moved = (shlex.quote(own_file), "") if own_file else ("registry.yaml", ", once the registry stands in a file of its own")
    raise UsageMistake(
        f"{', '.join(names)}: no function calling, and the agent's config asks for it (agent.tools.parse_function.type: function_calling)",
        advice=(
            f"Ask for commands in the text instead, with a config that says so; this writes one{moved}:\n"
            f"  paymaster init --for sweagent --model-registry {file} --parser thought_action\n"
            "If a model can call functions, add `capabilities: [function_calling]` to it in the registry."
        ),
    )


def _with_limits(
    registry: Registry, wanted: Sequence[Wanted], overrides: Overrides, loop_limit_usd: Decimal | None
) -> tuple[Policy, list[str]]:
    """The policy with SWE-agent's limits among its budgets, and what there is to say about them.

    They always stop a run, as they do without us. Where the registry's own budgets are soft they stay out of the policy: then SWE-agent's
    model looks at them before each call.
    """
    policy, said = registry.policy, list[str]()
    totals = [one.total_usd for one in wanted if one.total_usd > 0]
    instances = [one.per_instance_usd for one in wanted if one.per_instance_usd > 0]
    if totals and overrides.budget_usd is not None:
        smaller = min(*totals, overrides.budget_usd)
        said.append(
            f"{flag_of('budget_usd')} is {_usd(overrides.budget_usd)} and {TOTAL_LIMIT} is {_usd(min(totals))}: the smaller counts, "
            f"{_usd(smaller)}"
        )
    own = policy.budgets or any(model.budgets for model in registry.models.values())
    if own and not policy.hard_stop_on_budget:
        return policy, said
    limits = [Budget(cap_nanousd=cap_nanousd(min(totals)), per=("run",), key=TOTAL_LIMIT)] if totals else []
    if loop_limit_usd is not None and loop_limit_usd > 0:
        limits.append(Budget(cap_nanousd=cap_nanousd(loop_limit_usd), per=("instance",), key=LOOP_LIMIT))
    elif loop_limit_usd is None and instances:
        limits.append(Budget(cap_nanousd=cap_nanousd(min(instances)), per=("instance",), key=INSTANCE_LIMIT))
    if not limits:
        return policy, said
    return replace(policy, budgets=(*policy.budgets, *limits), hard_stop_on_budget=True), said


def _usd(amount: Decimal) -> str:
    return format_usd(cap_nanousd(amount))
