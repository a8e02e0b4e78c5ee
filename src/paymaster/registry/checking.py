"""What the sections of a registry must be together: names that exist, whole prices, limits that fit each other; knows no file format."""

from collections.abc import Iterator, Mapping, Sequence

from paymaster.accounting.tokens.counter import BYTES, tokenizer_for
from paymaster.registry.problems import Findings
from paymaster.registry.provider_facts import OPENAI_HTTP, SCRIPTED
from paymaster.registry.providers import connection, provider
from paymaster.registry.schema import ModelSection, PolicySection, Rates, short_budgets
from paymaster.registry.sections import Written
from paymaster.registry.spelling import near
from paymaster.registry.yamltext import Place

KINDS = ("input", "output", "cache_read", "cache_write")


def check(written: Written, findings: Findings) -> None:
    """Add everything that is wrong between the keys of a section and between sections."""
    names = names_of(written)
    _check_aliases(written, findings)
    for name, section in written.models.items():
        _check_connection(name, section, written, findings)
        _check_prices(name, section, written, findings)
        _check_tokens(name, section, written, findings)
        _check_timeouts(name, section, written, findings)
        _check_budgets(section, written.model_place(name), names, findings, own=name)
        _check_chain(section.fallbacks or (), written.model_place(name, "fallbacks"), names, findings, own=name)
    _check_circles(written, names, findings)
    _check_policy(written, names, findings)
    _check_default(written, names, findings)


def names_of(written: Written) -> Mapping[str, str]:
    """Every name that a model can be called by, to the model's own."""
    aliases = {alias: name for name, section in written.models.items() for alias in section.aliases or ()}
    return aliases | {name: name for name in written.models}


def _check_aliases(written: Written, findings: Findings) -> None:
    owners = {"default": "whichever model is used when none is asked for", **{name: name for name in written.models}}
    for name, section in written.models.items():
        for index, alias in enumerate(section.aliases or ()):
            if alias in owners:
                findings.add(written.model_place(name, "aliases", index), f"{alias!r} already stands for {owners[alias]}")
            owners.setdefault(alias, name)


def _check_connection(name: str, section: ModelSection, written: Written, findings: Findings) -> None:
    place = written.model_place(name)
    if section.api_key is not None and section.api_key_env is not None:
        findings.add((*place, "api_key"), "api_key and api_key_env say the same thing: give one of them")
    if not written.is_right((*place, "provider"), (*place, "base_url"), (*place, "script")):
        return
    facts = provider(section.provider)
    if section.api_version is not None and not facts.versioned:
        findings.add((*place, "api_version"), f"{facts.title} has no API versions", "it is for azure")
    if section.script is not None and facts.adapter != SCRIPTED:
        findings.add((*place, "script"), "a script is for provider: scripted")
    elif facts.adapter == SCRIPTED and (section.script is None) == (section.base_url is None):
        findings.add(place, "provider scripted needs either script: with a file of answers, or base_url: of a scripted server")
    elif facts.needs_base_url and section.base_url is None:
        findings.add(place, f"provider {facts.id} needs base_url: its address is different for everyone")
    elif section.adapter == OPENAI_HTTP and connection(facts, "", base_url=section.base_url, adapter=OPENAI_HTTP).base_url is None:
        findings.add((*place, "adapter"), f"openai_http needs base_url: where {facts.title} speaks OpenAI's wire format is not known")


def _check_prices(name: str, section: ModelSection, written: Written, findings: Findings) -> None:
    place = written.model_place(name)
    given = _check_rates(section, place, findings)
    needed = KINDS[:1] if "embeddings" in (section.capabilities or ()) else KINDS[:2]  # vectors are no tokens: they have no price
    if section.price is not None and (given or section.tiers):
        findings.add((*place, "price"), "a free model has no other price: remove one of the two")
    elif given and (missing := [f"usd_per_1m_{kind}" for kind in needed if kind not in given]) and _prices_are_right(place, written):
        findings.add(place, f"the price is only half there: {missing[0]} is missing", f"{missing[0]}: 0 if it costs nothing")
    if section.tiers and section.price is None and not given and _prices_are_right(place, written):
        findings.add((*place, "tiers"), "tiers need the base price too: usd_per_1m_input and usd_per_1m_output")
    _check_tiers(section, place, findings)


def _check_tiers(section: ModelSection, place: Place, findings: Findings) -> None:
    """They stand in the order of the prompts that they are for."""
    before = 1
    for index, tier in enumerate(section.tiers or ()):
        here = (*place, "tiers", index)
        _check_rates(tier, here, findings)
        first = tier.first_tokens
        if first <= before:
            key = "from_tokens" if tier.above_tokens is None else "above_tokens"
            findings.add((*here, key), f"must start at more than {before:,} prompt tokens: from there on the prices before it hold")
        before = first


def _check_rates(rates: Rates, place: Place, findings: Findings) -> set[str]:
    """The kinds of tokens that have a price."""
    given: set[str] = set()
    for kind in KINDS:
        both = [key for key in (f"usd_per_1k_{kind}", f"usd_per_1m_{kind}") if getattr(rates, key) is not None]
        if len(both) > 1:
            findings.add((*place, both[0]), f"{both[0]} and {both[1]} are the same price twice: give one of them")
        if both:
            given.add(kind)
    return given


def _prices_are_right(place: Place, written: Written) -> bool:
    return written.is_right(*((*place, f"usd_per_{unit}_{kind}") for unit in ("1k", "1m") for kind in KINDS))


def _check_tokens(name: str, section: ModelSection, written: Written, findings: Findings) -> None:
    pairs = (
        ("max_input_tokens", "context_window"),
        ("max_output_tokens", "context_window"),
        ("input_tpm", "tpm"),
        ("output_tpm", "tpm"),
        ("rpm", "rpd"),
    )
    _check_order(section, pairs, written.model_place(name), findings)
    alike = section.tokenizer
    if alike is not None and alike != BYTES.name and tokenizer_for("", alike) is BYTES:
        findings.add(
            (*written.model_place(name), "tokenizer"),
            f"nothing is known of how {alike!r} counts tokens",
            "name a model such as gpt-4o, claude-sonnet-4-5, qwen3-coder, llama-3.3, or bytes",
        )


def _check_timeouts(name: str, section: ModelSection, written: Written, findings: Findings) -> None:
    if section.timeouts is not None:
        pairs = (("connect_s", "total_s"), ("first_token_s", "total_s"), ("between_chunks_s", "total_s"))
        _check_order(section.timeouts, pairs, written.model_place(name, "timeouts"), findings)


def _check_order(section: object, pairs: Sequence[tuple[str, str]], place: Place, findings: Findings) -> None:
    """Of each pair of keys, both given, the first must not be more than the second."""
    for less, more in pairs:
        small, large = getattr(section, less), getattr(section, more)
        if small is not None and large is not None and small > large:
            findings.add((*place, less), f"{small:,} is more than {more}: {large:,}")


def _check_chain(chain: Sequence[str], place: Place, names: Mapping[str, str], findings: Findings, *, own: str | None = None) -> None:
    seen: set[str] = set()
    for index, called in enumerate(chain):
        name = names.get(called)
        if name is None:
            findings.add((*place, index), f"unknown model {called!r}", near(called, names))
        elif name == own:
            findings.add((*place, index), f"{own} can't fall back to itself")
        elif name in seen:
            findings.add((*place, index), f"{called} stands in the chain twice")
        else:
            seen.add(name)


def _check_circles(written: Written, names: Mapping[str, str], findings: Findings) -> None:
    """Models whose own fallbacks lead back to them, each circle once."""
    told: set[str] = set()
    for start in written.models:
        if start not in told and (circle := _circle(start, written.models, names)):
            told.update(circle)
            path = " -> ".join((*circle, start))
            advice = "put these models into policies.fallback_chain, in order: it is walked in one direction"
            findings.add(written.model_place(start, "fallbacks"), f"fallbacks go in a circle: {path}", advice)


def _circle(start: str, models: Mapping[str, ModelSection], names: Mapping[str, str]) -> tuple[str, ...]:
    """The way from a model along fallbacks back to itself; empty where there is none. A model that names itself is reported elsewhere."""
    paths: list[tuple[str, ...]] = [(start,)]
    visited: set[str] = set()
    while paths:
        path = paths.pop()
        for called in models[path[-1]].fallbacks or ():
            name = names.get(called)
            if name == start and len(path) > 1:
                return path
            if name is not None and name != start and name not in visited:
                visited.add(name)
                paths.append((*path, name))
    return ()


def _check_policy(written: Written, names: Mapping[str, str], findings: Findings) -> None:
    policy, place = written.policy, written.policy_place
    _check_chain(policy.fallback_chain or (), (*place, "fallback_chain"), names, findings)
    _check_budgets(policy, place, names, findings)
    _check_order(policy, (("backoff_initial_s", "backoff_max_s"), ("max_wait_s", "deadline_s")), place, findings)


def _check_budgets(
    section: ModelSection | PolicySection, place: Place, names: Mapping[str, str], findings: Findings, *, own: str | None = None
) -> None:
    seen: set[tuple[tuple[str, ...], frozenset[str]]] = {((dimension,), frozenset()) for _, dimension, _ in short_budgets(section)}
    for index, budget in enumerate(section.budgets or ()):
        here = (*place, "budgets", index)
        if own is not None and budget.models is not None:
            findings.add((*here, "models"), f"this budget already belongs to {own}; a budget over several models stands in policies")
            continue
        _check_chain(budget.models or (), (*here, "models"), names, findings)
        key = (tuple(budget.per), frozenset(names.get(name, name) for name in budget.models or ()))
        if key in seen:
            findings.add(here, f"there is already a budget per {' and '.join(budget.per) or 'total'} for the same models")
        seen.add(key)


def _check_default(written: Written, names: Mapping[str, str], findings: Findings) -> None:
    place = (*written.root, "default")
    places = (place, (*written.policy_place, "fallback_chain"))
    if written.default is not None:
        if written.default not in names and names:
            findings.add(place, f"unknown model {written.default!r}", near(written.default, names))
    elif len(written.models) > 1 and not written.policy.fallback_chain and written.is_right(*places):
        missing = "default: is missing, and nothing else says which model to use when none is asked for"
        findings.add(written.root, missing, f"default: {next(iter(names))}")


def default_model(written: Written, names: Mapping[str, str]) -> str:
    """The model that is used when none is asked for."""
    candidates: Iterator[str] = iter((written.default or "", *(written.policy.fallback_chain or ()), *written.models))
    return next(names[name] for name in candidates if name in names)
