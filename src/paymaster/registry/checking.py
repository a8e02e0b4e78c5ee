"""Checks what spans several keys of a registry: names that exist, whole prices, limits that fit each other; knows no file format."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from paymaster.accounting.account_names import can_be_subject
from paymaster.accounting.prices.price import STANDARD_TIERS
from paymaster.accounting.tokens.counter import BYTES, tokenizer_for
from paymaster.errors import near
from paymaster.registry.budget_schema import short_budgets
from paymaster.registry.endpoint_checking import check_endpoints
from paymaster.registry.endpoints import WrittenPlace
from paymaster.registry.families import MARK, Family, FamilyTable, is_family
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.models import Dialect
from paymaster.registry.price_schema import DatedPriceSection, PriceSection, RatesSection
from paymaster.registry.problems import Findings
from paymaster.registry.provider_facts import LITELLM, OPENAI_HTTP, SCRIPTED
from paymaster.registry.providers import connection, provider
from paymaster.registry.schema import PolicySection
from paymaster.registry.sections import Written
from paymaster.registry.service_tiers import check_tiers
from paymaster.registry.yamltext import KeyPath

KINDS = ("input", "output", "cache_read", "cache_write")
PathOf: TypeAlias = Callable[..., KeyPath]
"""Gives the path of a key inside of a section: where it is written."""
_PAIRED = frozenset(f"usd_per_{unit}_{kind}" for unit in ("1k", "1m") for kind in KINDS)


def check(written: Written, findings: Findings) -> None:
    """Add every mistake between the keys of a section and between sections."""
    names = names_of(written)
    _check_aliases(written, findings)
    for name, section in written.models.items():
        if not can_be_subject(name):
            findings.add(
                written.model_path(name), f"a model can't be called {name!r}: accounts of the ledger have such names", "use another name"
            )
        if MARK in name.removesuffix(MARK):
            findings.add(written.model_path(name), "only the end of a name can be a *, for a family of models", "openai/*")
        for place in written.places[name]:
            _check_model_id(place, findings)
            _check_connection(place, written, findings)
            _check_dialect(place, written, findings)
            _check_prices(place, written, findings)
            _check_tokens(place, findings)
            _check_timeouts(place, findings)
        check_endpoints(name, written, findings)
        _check_budgets(section, written.model_path(name), names, findings, own=name)
        _check_chain(section.fallbacks or (), written.model_path(name, "fallbacks"), names, findings, own=name)
    _check_policy(written, names, findings)
    _check_default(written, names, findings)


def names_of(written: Written) -> FamilyTable[str]:
    """Every name and alias, with the name of its model; a member of a family has its own."""
    families = {name: Family(str) for name in written.models if is_family(name)}
    aliases = {alias: name for name, section in written.models.items() for alias in section.aliases or ()}
    return FamilyTable(aliases | {name: name for name in written.models}, families)


def _check_aliases(written: Written, findings: Findings) -> None:
    owners = {"default": "the default model", **{name: name for name in written.models}}
    for name, section in written.models.items():
        for index, alias in enumerate(section.aliases or ()):
            if is_family(name):
                path = written.model_path(name, "aliases", index)
                findings.add(path, f"{name} is a family of models, and {alias!r} names none of them", "give the model a name of its own")
            elif alias in owners:
                findings.add(written.model_path(name, "aliases", index), f"{alias!r} is already the name of {owners[alias]}")
            owners.setdefault(alias, name)


def _check_model_id(place: WrittenPlace, findings: Findings) -> None:
    """A `*` stands for what the name of a family's member has in its place, once."""
    stars = (place.section.model_id or "").count(MARK)
    if stars > 1:
        findings.add(place.path("model_id"), "can have one *, for what follows in the names of the family", "model_id: eu.anthropic.*")
    elif stars and not is_family(place.model):
        findings.add(place.path("model_id"), f"has a *, and {place.model} is no family of models", "end the model's name in *, too")


def _check_connection(place: WrittenPlace, written: Written, findings: Findings) -> None:
    section = place.section
    if section.api_key is not None and section.api_key_env is not None:
        findings.add(place.path("api_key"), "api_key and api_key_env have the same meaning: give only one")
    if not written.is_valid(place.path("provider"), place.path("base_url"), place.path("script")):
        return
    facts = provider(section.provider)
    if section.api_version is not None and not facts.versioned:
        findings.add(place.path("api_version"), f"{facts.title} has no API versions", "api_version is for azure")
    if section.script is not None and facts.adapter != SCRIPTED:
        findings.add(place.path("script"), "only provider: scripted takes a script")
    elif facts.adapter == SCRIPTED and (section.script is None) == (section.base_url is None):
        findings.add(place.path(), "provider scripted needs either script: (a file of answers) or base_url: (a scripted server)")
    elif facts.needs_base_url and section.base_url is None:
        findings.add(place.path(), f"provider {facts.id} needs base_url: it has no address of its own")
    elif section.adapter == OPENAI_HTTP and connection(facts, "", base_url=section.base_url, adapter=OPENAI_HTTP).base_url is None:
        findings.add(place.path("adapter"), f"openai_http needs base_url: {facts.title} has no known endpoint for OpenAI's wire format")
    check_tiers(section, facts, place.path("params"), findings)


def _check_dialect(place: WrittenPlace, written: Written, findings: Findings) -> None:
    """Only an endpoint that is called over HTTP can be spoken to in another dialect."""
    section, deciding = place.section, [place.path(key) for key in ("provider", "base_url", "adapter")]
    if section.dialect in (None, Dialect.CHAT) or not written.is_valid(*deciding):
        return
    adapter = connection(provider(section.provider), "", base_url=section.base_url, adapter=section.adapter, script=section.script).adapter
    if adapter == LITELLM:
        message = f"{section.dialect} is spoken over HTTP only, and litellm calls this model"
        findings.add(place.path("dialect"), message, "remove dialect, or set adapter: openai_http and base_url")
    elif adapter == SCRIPTED:
        findings.add(place.path("dialect"), "a script has no wire format", "remove dialect")


def _check_prices(place: WrittenPlace, written: Written, findings: Findings) -> None:
    section = place.section
    given = _check_rates(section, place.path, findings)
    changes = [key for key in ("tiers", "service_tiers", "peak", "prices") if getattr(section, key)]
    factors = [key for key in ("price_factor", "price_as") if getattr(section, key) is not None]
    needed = KINDS[:1] if "embeddings" in (section.capabilities or ()) else KINDS[:2]  # vectors have no price of their own
    if section.price is not None and (given or changes or factors):
        findings.add(place.path("price"), "a free model can't have another price: remove one of the two")
    elif given and section.price_as is not None:
        findings.add(place.path("price_as"), "the model has a price of its own: remove one of the two")
    elif given and (missing := [f"usd_per_1m_{kind}" for kind in needed if kind not in given]) and _prices_are_valid(place, written):
        findings.add(place.path(), f"the price is incomplete: {missing[0]} is missing", f"{missing[0]}: 0 if it costs nothing")
    if changes and section.price is None and not given and _prices_are_valid(place, written):
        verb = "needs" if changes[0] == "peak" else "need"
        findings.add(place.path(changes[0]), f"{changes[0]} {verb} a base price too: usd_per_1m_input and usd_per_1m_output")
    _check_price(section, place.path, findings)
    for index, dated in enumerate(section.prices or ()):
        at = partial(place.path, "prices", index)
        _check_rates(dated, at, findings)
        _check_price(dated, at, findings)


def _check_price(section: ModelSection | DatedPriceSection, at: PathOf, findings: Findings) -> None:
    """Check what may change a price: tiers, service tiers, peak hours."""
    _check_tiers(section, at, findings)
    for name, tier in (section.service_tiers or {}).items():
        _check_rates(tier, partial(at, "service_tiers", name), findings)
        if name.strip().lower() in STANDARD_TIERS:
            findings.add(at("service_tiers", name), "this tier has the model's own price: remove it here")
    if section.peak is not None:
        _check_rates(section.peak, partial(at, "peak"), findings)


def _check_tiers(section: PriceSection, at: PathOf, findings: Findings) -> None:
    """Each tier must start at a longer prompt than the one before it."""
    previous_start = 1
    for index, tier in enumerate(section.tiers or ()):
        _check_rates(tier, partial(at, "tiers", index), findings)
        start = tier.first_tokens
        if start <= previous_start:
            key = "from_tokens" if tier.above_tokens is None else "above_tokens"
            findings.add(at("tiers", index, key), f"must start above {previous_start:,} prompt tokens, where the prices before it start")
        previous_start = start


def _check_rates(rates: RatesSection, at: PathOf, findings: Findings) -> set[str]:
    """Check that no price is given twice; the kinds of tokens that have a price."""
    given = {key for key in RatesSection.model_fields if key not in _PAIRED and getattr(rates, key) is not None}
    for kind in KINDS:
        both = [key for key in (f"usd_per_1k_{kind}", f"usd_per_1m_{kind}") if getattr(rates, key) is not None]
        if len(both) > 1:
            findings.add(at(both[0]), f"{both[0]} and {both[1]} give the same price: keep only one")
        if both:
            given.add(kind)
    return given


def _prices_are_valid(place: WrittenPlace, written: Written) -> bool:
    return written.is_valid(*(place.path(key) for key in RatesSection.model_fields))


def _check_tokens(place: WrittenPlace, findings: Findings) -> None:
    pairs = (
        ("max_input_tokens", "context_window"),
        ("max_output_tokens", "context_window"),
        ("input_tpm", "tpm"),
        ("output_tpm", "tpm"),
        ("rpm", "rpd"),
    )
    _check_order(place.section, pairs, place.path, findings)
    named = place.section.tokenizer
    if named is not None and named != BYTES.name and tokenizer_for("", named) is BYTES:
        findings.add(
            place.path("tokenizer"),
            f"{named!r} has no known tokenizer",
            "name a model such as gpt-4o, claude-sonnet-4-5, qwen3-coder, llama-3.3, or bytes",
        )


def _check_timeouts(place: WrittenPlace, findings: Findings) -> None:
    if place.section.timeouts is not None:
        pairs = (("connect_s", "total_s"), ("first_token_s", "total_s"), ("between_chunks_s", "total_s"))
        _check_order(place.section.timeouts, pairs, partial(place.path, "timeouts"), findings)


def _check_order(section: object, pairs: Sequence[tuple[str, str]], at: PathOf, findings: Findings) -> None:
    """In each pair, the first key must not be more than the second, if both are given."""
    for lower, upper in pairs:
        low, high = getattr(section, lower), getattr(section, upper)
        if low is not None and high is not None and low > high:
            findings.add(at(lower), f"{low:,} is more than {upper}: {high:,}")


def _check_chain(chain: Sequence[str], path: KeyPath, names: FamilyTable[str], findings: Findings, *, own: str | None = None) -> None:
    seen: set[str] = set()
    for index, called in enumerate(chain):
        name = names.find(called)
        if name is None:
            findings.add((*path, index), f"unknown model {called!r}", near(called, names))
        elif name == own:
            findings.add((*path, index), f"{own} can't fall back to itself")
        elif name in seen:
            findings.add((*path, index), f"{called} is in the chain twice")
        else:
            seen.add(name)


def _check_policy(written: Written, names: FamilyTable[str], findings: Findings) -> None:
    policy, path = written.policy, written.policy_path
    _check_chain(policy.fallback_chain or (), (*path, "fallback_chain"), names, findings)
    _check_budgets(policy, path, names, findings)
    _check_order(policy, (("backoff_initial_s", "backoff_max_s"), ("max_wait_s", "deadline_s")), lambda *keys: (*path, *keys), findings)
    if policy.stay_s is not None and policy.stay != "instance" and written.is_valid((*path, "stay")):
        findings.add((*path, "stay_s"), "without stay: instance it means nothing", "add stay: instance, or remove stay_s")


def _check_budgets(
    section: ModelSection | PolicySection, path: KeyPath, names: FamilyTable[str], findings: Findings, *, own: str | None = None
) -> None:
    seen: set[tuple[str, tuple[str, ...], frozenset[str]]] = {
        (unit, (dimension,), frozenset()) for _, unit, dimension, _ in short_budgets(section)
    }
    for index, budget in enumerate(section.budgets or ()):
        budget_path = (*path, "budgets", index)
        if own is not None and budget.models is not None:
            findings.add((*budget_path, "models"), f"this budget is for {own} only; put a budget over several models into policies")
            continue
        _check_chain(budget.models or (), (*budget_path, "models"), names, findings)
        models = frozenset(names.get(name, name) for name in budget.models or ())
        keys = {(unit, tuple(budget.per), models) for unit in budget.caps}
        if keys & seen:
            findings.add(budget_path, f"there is already a budget per {' and '.join(budget.per) or 'total'} for the same models")
        seen |= keys


def _check_default(written: Written, names: FamilyTable[str], findings: Findings) -> None:
    path = (*written.root, "default")
    deciding_paths = (path, (*written.policy_path, "fallback_chain"))
    if written.default is not None:
        if names.find(written.default) is None and names:
            findings.add(path, f"unknown model {written.default!r}", near(written.default, names))
    elif len(written.models) > 1 and not written.policy.fallback_chain and written.is_valid(*deciding_paths):
        missing = "default: is missing; it is needed with more than one model and no fallback_chain"
        findings.add(written.root, missing, f"default: {min(names, key=is_family)}")


def default_model(written: Written, names: FamilyTable[str]) -> str:
    """The model that is used when a call names none."""
    candidates: Iterator[str] = iter((written.default or "", *(written.policy.fallback_chain or ()), *written.models))
    return next(found for name in candidates if (found := names.find(name)) is not None)
