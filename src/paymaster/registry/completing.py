"""Completes a registry: fills in missing values and notes the origin of each; knows no file.

A value comes from a flag or variable, else from the registry, the price catalogue, the model data, the provider's facts or a default.
`Model.origins` names the origin.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from paymaster.accounting.prices.price import Price
from paymaster.accounting.tokens.counter import tokenizer_for
from paymaster.errors import RegistryInvalid
from paymaster.registry.checking import default_model, names_of
from paymaster.registry.compat_schema import compat_origins, kept_params, overridden
from paymaster.registry.connecting import connection_of
from paymaster.registry.disconnects import StopsOnDisconnect
from paymaster.registry.drafts import Draft, KnownModels, Sources
from paymaster.registry.endpoint_joining import check_vectors, over_all, vector_space_of
from paymaster.registry.endpoints import members_place
from paymaster.registry.families import MARK, Family, family_of, is_family, member_of
from paymaster.registry.local_servers import is_hosted
from paymaster.registry.model_data import ModelFacts
from paymaster.registry.models import LOCAL_FIRST_TOKEN_MS, Limits, Model, PriceUpdates, Registry, Timeouts
from paymaster.registry.named_variables import named_variables
from paymaster.registry.overrides import Overrides
from paymaster.registry.policies import DEFAULT, budgets_of, complete_policy, milliseconds, override_policy
from paymaster.registry.prefill import prefill_of
from paymaster.registry.price_completing import prices_of
from paymaster.registry.pricing import server_tools, with_stated_terms
from paymaster.registry.problems import Findings
from paymaster.registry.providers import Connection, provider, region_facts
from paymaster.registry.schema import PricesSection
from paymaster.registry.secrets import variable_names
from paymaster.registry.sections import Written
from paymaster.registry.service_tiers import tier_fields

__all__ = ["GUESS", "KnownModels", "Sources", "complete", "override_registry"]

GUESS = "guess: "
"""The origin of a value that no source states for this model begins with it."""
LIMITS = ("rpm", "tpm", "input_tpm", "output_tpm", "rpd", "max_parallel")
EMBEDDINGS = "embeddings"
_NO_FACTS = ModelFacts("chat", None, None, None, None, "")


def complete(written: Written, overrides: Overrides, sources: Sources) -> Registry:
    """The complete registry. `written` must have been checked. Raises RegistryInvalid for endpoints that make different vectors."""
    names, findings = names_of(written), Findings(written.document)
    drafts = {name: [Draft(place, written, overrides) for place in places] for name, places in written.places.items()}
    models = {name: _over_all(name, each, names, sources) for name, each in drafts.items()}
    for model in models.values():
        check_vectors(model, written.places[model.name], findings)
    if findings.problems:
        raise RegistryInvalid(findings.sorted())
    policy, origins = complete_policy(written, overrides, names)
    default = default_model(written, names)
    return Registry(
        default=default,
        models=models,
        policy=policy,
        source=written.document.file,
        warnings=(*overrides.warnings, *_warnings(drafts), *_unusable_fallbacks(models), *_idle(default, drafts)),
        origins={"default": written.origin((*written.root, "default")) if written.default else DEFAULT, **origins},
        variables=named_variables(written),
        updates=_price_updates(written.prices, sources.directory),
        published=sources.catalogue,
        families={name: _family(name, each, names, sources) for name, each in drafts.items() if is_family(name)},
    )


def _warnings(drafts: Mapping[str, Sequence[Draft]]) -> Iterator[str]:
    """Those of every model. A family has none of its own, since its members are known only by their names."""
    return (warning for name, places in drafts.items() if not is_family(name) for draft in places for warning in draft.warnings)


def _over_all(name: str, drafts: Sequence[Draft], names: Mapping[str, str], sources: Sources) -> Model:
    return over_all(drafts[0].written.models[name], [_complete_model(draft, names, sources) for draft in drafts])


def _family(name: str, drafts: Sequence[Draft], names: Mapping[str, str], sources: Sources) -> Family[Model]:
    """Completes members when they are asked for, from the same sources as all models of the registry."""

    def make(member: str) -> Model:
        members = [Draft(members_place(draft.place, member), draft.written, draft.overrides) for draft in drafts]
        return _over_all(name, members, names, sources)

    def known() -> tuple[str, ...]:
        providers = dict.fromkeys(draft.section.provider for draft in drafts)
        found = (member_of(name, known) for each in providers for known in sources.model_data.names(each))
        return tuple(dict.fromkeys(each for each in found if family_of(each, [name])))

    return Family(make, known)


def _price_updates(section: PricesSection, directory: Path) -> PriceUpdates:
    source = section.update_from
    if source is not None and "://" not in source:
        source = str(directory / source)
    return PriceUpdates(daily=section.auto_update is not None, source=source)


def override_registry(registry: Registry, overrides: Overrides) -> Registry:
    """A complete registry under a caller's settings; those that are not given, and the same ones once more, change nothing."""
    policy, origins = override_policy(registry.policy, registry.origins, overrides)
    limits = {"rpm": overrides.rpm_limit, "tpm": overrides.tpm_limit}
    noted = {key: overrides.origins[f"{key}_limit"] for key, limit in limits.items() if limit is not None}

    def limited(model: Model) -> Model:
        limits = replace(model.limits, rpm=overrides.rpm_limit or model.limits.rpm, tpm=overrides.tpm_limit or model.limits.tpm)
        return replace(model, limits=limits, origins={**model.origins, **noted}, endpoints=tuple(map(limited, model.endpoints)))

    return replace(registry.mapped(limited), policy=policy, origins=origins)


def _unusable_fallbacks(models: Mapping[str, Model]) -> Iterator[str]:
    """Warnings about fallbacks of embedding models that can never be used, because vectors of two spaces can't be compared."""
    for model in models.values():
        for other in [models[name] for name in model.fallbacks or ()] if model.embeds else ():
            if other.embeds is False:
                yield f"{model.name}: its fallback {other.name} makes no embeddings, so it is never used"
            elif other.vector_space != model.vector_space:
                yield (
                    f"{model.name}: its fallback {other.name} is never used, because vectors of {other.vector_space} can't be compared "
                    f"with those of {model.vector_space}. If both are the same model, give both the same vector_space"
                )


def _idle(default: str, drafts: Mapping[str, Sequence[Draft]]) -> Iterator[str]:
    """Warnings about a default that no call can use, and about keys for several endpoints at a model that has one alone."""
    if is_family(default):
        yield f"default: {default} is a family, so a call that names no model fails. Write the name of one of its models, or of another"
    for name, (first, *_) in drafts.items():
        written = [key for key in ("balance", "affinity") if not first.place.endpoint and getattr(first.section, key) is not None]
        if written:
            yield f"{name}: {' and '.join(written)} {'have' if written[1:] else 'has'} no effect on a model without `endpoints`"


def _complete_model(draft: Draft, names: Mapping[str, str], sources: Sources) -> Model:
    section, name, owner = draft.section, draft.place.model, draft.place.family or draft.place.model
    model_id = section.model_id or (MARK if is_family(name) else name)
    speaks = _connection(draft, model_id)
    known = sources.model_data.lookup(section.provider, model_id)
    variables, required = _keys(draft, speaks, sources.environ)
    region = _region(draft, speaks, sources.environ)
    prices = with_stated_terms(prices_of(draft, speaks, model_id, region, sources), section)
    context_window, max_input, max_output = _token_limits(draft, known, _lookup(draft, speaks, model_id, sources))
    capabilities = _capabilities(draft, known)
    price = prices.at(sources.at)
    return Model(
        name=name,
        family=draft.place.family,
        endpoint=draft.place.endpoint,
        weight=draft.place.weight,
        account=section.account,
        variables=draft.place.variables,
        provider=section.provider,
        model_id=model_id,
        adapter=speaks.adapter,
        base_url=speaks.base_url,
        api_version=section.api_version,
        key_variables=variables,
        key_required=required,
        capabilities=capabilities,
        context_window=context_window,
        max_input_tokens=max_input,
        max_output_tokens=max_output,
        embeds=None if known is None and capabilities is None else EMBEDDINGS in (capabilities or ()),
        vector_space=section.vector_space or vector_space_of(model_id),
        max_inputs=speaks.max_inputs,
        max_inputs_tokens=speaks.max_inputs_tokens,
        limits=_limits(draft),
        price=price,
        prices=prices,
        region=region,
        is_deployment=(facts := provider(section.provider)).names_deployments,
        budgets=budgets_of(section, draft.written.model_path(owner), names, own=owner),
        **tier_fields(section, facts, _timeouts(draft, speaks, model_id)),
        fallbacks=None if section.fallbacks is None else tuple(names[called] for called in section.fallbacks),
        extra_headers=section.extra_headers or {},
        tokenizer=tokenizer_for(section.provider, section.tokenizer or model_id),
        usage_api=speaks.usage_api,
        output_limit_param=speaks.output_limit_param,
        unsupported_params=speaks.unsupported_params - kept_params(section.compat),
        effort=speaks.effort,
        compat=overridden(speaks.compat, section.compat),
        bill_path=speaks.bill_path,
        prefill=prefill_of(section.provider, model_id, speaks.base_url, stated=section.prefill, dialect=speaks.dialect),
        takes_max_price=speaks.takes_max_price and not _is_free_here(speaks, price),
        server_tools=server_tools(section),
        at_list_price=frozenset(section.at_list_price or ()),
        stops=_stops(draft, speaks, sources.at),
        script=None if section.script is None else str(sources.directory / section.script),
        dialect=speaks.dialect,
        aliases=tuple(section.aliases or ()),
        origins=draft.origins | compat_origins(section.compat, draft.line("compat")),
    )


def _connection(draft: Draft, model_id: str) -> Connection:
    section, speaks = draft.section, connection_of(draft.section, model_id)
    _note_endpoint(draft)
    draft.note("provider", draft.line("provider"))
    draft.note("model_id", draft.line("model_id") if section.model_id else "the model's name")
    by_provider = f"provider {section.provider}"
    for key in ("base_url", "adapter", "dialect", "prefill"):
        draft.note(key, by_provider if getattr(section, key) is None else draft.line(key))
    if section.base_url is not None and speaks.base_url != section.base_url:
        draft.note("base_url", f"{draft.line('base_url')}, with the server's usual path")
    return speaks


def _note_endpoint(draft: Draft) -> None:
    """The origins of what only a model with several endpoints has, or what the provider alone reads."""
    for key in ("account", "weight", "balance", "affinity"):
        if (path := draft.place.path(key)) in draft.written.document.lines:
            draft.note(key, draft.written.origin(path))


def _keys(draft: Draft, speaks: Connection, environ: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
    """The variables that may hold a key, and whether the model needs one."""
    section = draft.section
    if section.api_key_env is not None:
        draft.note("key", draft.line("api_key_env"))
        return tuple(section.api_key_env), True
    if section.api_key is not None:
        draft.note("key", draft.line("api_key"))
        return variable_names(section.api_key), True
    draft.note("key", f"provider {section.provider}" if speaks.key_variables else "no key")
    # A provider's variables are alternatives: the first one that is set is used.
    found = next(((name,) for name in speaks.key_variables if environ.get(name)), None)
    return found or speaks.key_variables, speaks.key_required


def _region(draft: Draft, speaks: Connection, environ: Mapping[str, str]) -> str | None:
    """Where calls are served: by the registry, else by the address, the parameters, the environment or the provider's own choice."""
    section, facts = draft.section, region_facts(provider(draft.section.provider))
    if section.region is not None:
        draft.note("region", draft.line("region"))
        return section.region
    if speaks.region is not None and speaks.region != facts.region:
        draft.note("region", draft.line("base_url"))
        return speaks.region
    for name in facts.params:
        if isinstance(value := (section.params or {}).get(name), str):
            draft.note("region", draft.line("params"))
            return value
    for name in facts.variables:
        if value := environ.get(name, "").strip():
            draft.note("region", f"variable {name}")
            return value
    if speaks.region is not None:
        draft.note("region", f"provider {section.provider}")
    return speaks.region


def _is_free_here(speaks: Connection, price: Price | None) -> bool:
    """A free server on this machine under a router's name is no router, and may refuse a field that it doesn't know."""
    return speaks.by_address and price is not None and price.is_free


def _capabilities(draft: Draft, known: ModelFacts | None) -> frozenset[str] | None:
    embeds = frozenset({EMBEDDINGS} if known is not None and known.mode == "embedding" else ())
    if draft.section.capabilities is not None:
        draft.note("capabilities", draft.line("capabilities"))
        return frozenset(draft.section.capabilities) | embeds
    if known is not None and (known.capabilities is not None or embeds):
        draft.note("capabilities", known.source)
        return (known.capabilities or frozenset()) | embeds
    return None


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Finds limits that the model data lacks. A server of the user's own has what its operator gave it, so nothing is guessed for it."""

    provider: str
    model_id: str
    sources: Sources
    own_server: bool

    def find(self, limit: str, *, embeds: bool) -> tuple[int, str] | None:
        """A limit and its origin: the catalogue's, else a guess. An embedding has no output to limit."""
        if self.own_server:
            return None
        if limit == "context_window" and (published := self.sources.catalogue.context_window(self.provider, self.model_id)) is not None:
            return published
        guessed = None if embeds else self.sources.model_data.guess(self.provider, self.model_id, limit)
        return None if guessed is None else (guessed.tokens, f"{GUESS}{guessed.source}")


def _lookup(draft: Draft, speaks: Connection, model_id: str, sources: Sources) -> _Lookup:
    section, facts = draft.section, provider(draft.section.provider)
    own_server = speaks.local or (section.base_url is not None and not facts.versioned)  # Azure's customers all have addresses of their own
    return _Lookup(facts.id, model_id, sources, own_server=own_server)


def _token_limits(draft: Draft, known: ModelFacts | None, lookup: _Lookup) -> tuple[int | None, int | None, int | None]:
    """Context window, input limit and output limit. A limit that is filled in never exceeds the registry's own window."""
    section = draft.section
    facts = known or _NO_FACTS
    window = section.context_window
    found: dict[str, int | None] = {}
    for key, written, stated in (
        ("context_window", window, facts.context_window),
        ("max_input_tokens", section.max_input_tokens, facts.max_input_tokens),
        ("max_output_tokens", section.max_output_tokens, facts.max_output_tokens),
    ):
        limit, origin = (stated, facts.source) if written is None else (written, draft.line(key))
        if limit is None and key != "max_input_tokens":
            limit, origin = lookup.find(key, embeds=facts.mode == "embedding") or (None, "")
            window = window or found.get("context_window")  # the output of another seller may be larger than the window of this one
        found[key] = limit if written is not None or limit is None else min(limit, window or limit)
        if found[key] is not None:
            draft.note(key, origin)
    return found["context_window"], found["max_input_tokens"], found["max_output_tokens"]


def _stops(draft: Draft, speaks: Connection, at: datetime) -> StopsOnDisconnect | None:
    """The registry's own statement, else the provider's; with the registry's speed, if it has one."""
    section, stops = draft.section, speaks.stops
    if section.stops_on_disconnect is not None:
        draft.note("stops_on_disconnect", origin := draft.line("stops_on_disconnect"))
        stops = StopsOnDisconnect(source=origin, stated_on=f"{at:%Y-%m-%d}") if section.stops_on_disconnect else None
    elif stops is not None:
        draft.note("stops_on_disconnect", f"{stops.source} ({stops.stated_on})")
    if stops is None or section.max_tokens_per_second is None:
        return stops
    draft.note("max_tokens_per_second", draft.line("max_tokens_per_second"))
    return replace(stops, tokens_per_second=section.max_tokens_per_second)


def _limits(draft: Draft) -> Limits:
    section, overrides = draft.section, draft.overrides
    values: dict[str, int | None] = {}
    adapts = section.max_parallel == "auto"
    for key, replacement in (*((key, None) for key in LIMITS), ("rpm", overrides.rpm_limit), ("tpm", overrides.tpm_limit)):
        written = getattr(section, key)
        if replacement is not None:
            values[key] = replacement
            draft.note(key, overrides.origins[f"{key}_limit"])
        elif key not in values:
            values[key] = None if written == "auto" else written
            if written is not None:
                draft.note(key, draft.line(key))
    return Limits(**values, adapts=adapts)


def _timeouts(draft: Draft, speaks: Connection, model_id: str) -> Timeouts:
    section, defaults = draft.section.timeouts, Timeouts()
    if speaks.may_load and not is_hosted(draft.section.base_url, model_id):
        defaults = replace(defaults, first_token_ms=LOCAL_FIRST_TOKEN_MS)
        address = draft.section.base_url
        where = f"local provider {draft.section.provider}" if address is None else f"a server at a private address ({address})"
        draft.note("timeouts.first_token_s", f"default of {where}")
    if section is None:
        return defaults
    total_ms = milliseconds(section.total_s, defaults.total_ms)
    for key in section.model_fields_set:
        draft.note(f"timeouts.{key}", draft.line("timeouts"))
    return Timeouts(
        connect_ms=min(total_ms, milliseconds(section.connect_s, defaults.connect_ms)),
        first_token_ms=min(total_ms, milliseconds(section.first_token_s, defaults.first_token_ms)),
        between_chunks_ms=min(total_ms, milliseconds(section.between_chunks_s, defaults.between_chunks_ms)),
        total_ms=total_ms,
    )
