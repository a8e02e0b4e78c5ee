"""What follows from a provider's facts for one model: who speaks, where, with which key and in which terms; knows no file and no price.

Together with the rows in `provider_facts` this is the only place that tells providers apart.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from urllib.parse import urlsplit

from paymaster.registry.models import Effort
from paymaster.registry.provider_facts import LITELLM, OPENAI_HTTP, PROVIDERS, SCRIPTED, ModelQuirk, ProviderFacts

_THIS_MACHINE = frozenset({"localhost", "host.docker.internal", "0.0.0.0"})  # noqa: S104 - an address to recognise, nothing listens on it
# What every OpenAI-style server calls the output limit; only OpenAI's own models ask for the newer name.
_ANYWHERE_LIMIT_PARAM = "max_tokens"
# Azure's dated versions name the deployment in the path; its `v1` and `preview` don't.
_DATED = re.compile(r"20\d\d-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to speak to one model. `local`: it runs on the user's machines, `by_place` because of its address, else by its provider."""

    adapter: str
    base_url: str | None
    key_variables: tuple[str, ...]
    key_required: bool
    usage_api: str
    output_limit_param: str
    unsupported_params: frozenset[str]
    readable_extras: frozenset[str]
    local: bool
    by_place: bool
    max_inputs: int | None = None
    max_inputs_tokens: int | None = None
    writes_cache_unasked: bool = False
    effort: Effort = Effort.ALWAYS


def find_provider(name: str) -> ProviderFacts | None:
    """The provider that people call so: `gemini`, `Google`, `x-ai`, `lm-studio`. None for an unknown name."""
    return _BY_NAME.get(_plain(name))


def nearest_provider(name: str) -> str | None:
    """The known name that is spelled most like this one."""
    near = get_close_matches(_plain(name), _BY_NAME, n=1)
    return _BY_NAME[near[0]].id if near else None


def provider(provider_id: str) -> ProviderFacts:
    """The row of a canonical id. Raises KeyError."""
    return _BY_NAME[provider_id]


def provider_ids() -> tuple[str, ...]:
    """Every canonical id, hosted providers first."""
    return tuple(facts.id for facts in PROVIDERS)


def provider_names() -> tuple[str, ...]:
    """Every spelling that an editor should accept: ids and aliases, with dashes and with underscores."""
    names = [name for facts in PROVIDERS for name in (facts.id, *facts.aliases)]
    return tuple(dict.fromkeys(spelling for name in names for spelling in (name, name.replace("_", "-"))))


def connection(
    facts: ProviderFacts,
    model_id: str,
    *,
    base_url: str | None = None,
    api_version: str | None = None,
    adapter: str | None = None,
    script: str | None = None,
) -> Connection:
    """What the registry's own words (None where it says nothing) and the provider's facts come to."""
    speaks = _adapter(facts, base_url, adapter, script)
    at_home = base_url is None or host(base_url) == host(facts.base_url)
    by_place = base_url is not None and on_this_machine(base_url)
    foreign = not at_home and facts.base_url is not None
    quirk = _quirk(facts, model_id)
    limit_param = _ANYWHERE_LIMIT_PARAM if foreign else facts.output_limit_param
    return Connection(
        adapter=speaks,
        base_url=_base_url(facts, base_url, speaks, api_version),
        # A key is for the provider that issued it: a server on this machine doesn't get it unless the registry says so.
        key_variables=() if by_place and not facts.local else facts.key_variables,
        key_required=facts.key_required and not by_place,
        usage_api=_usage_api(facts, speaks, foreign=foreign),
        output_limit_param=quirk.output_limit_param or limit_param,
        unsupported_params=frozenset() if foreign and by_place else facts.unsupported_params | quirk.unsupported_params,
        readable_extras=frozenset() if foreign and by_place else facts.readable_extras,
        local=facts.local or by_place,
        by_place=by_place and not facts.local,
        max_inputs=None if foreign else facts.max_inputs,
        max_inputs_tokens=None if foreign else facts.max_inputs_tokens,
        writes_cache_unasked=quirk.writes_cache_unasked,
        effort=Effort.NEVER if not facts.takes_effort else Effort.ALWAYS if quirk.effort_with_tools else Effort.WITHOUT_TOOLS,
    )


def on_this_machine(base_url: str) -> bool:
    """Whether an address leads back to this machine: localhost, loopback addresses, Docker's name for its host."""
    name = host(base_url)
    if name in _THIS_MACHINE or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def host(base_url: str | None) -> str:
    """The host of an address in lower case, empty where there is none."""
    return (urlsplit(base_url).hostname or "") if base_url else ""


def _adapter(facts: ProviderFacts, base_url: str | None, adapter: str | None, script: str | None) -> str:
    if adapter is not None:
        return adapter
    if script is not None:
        return SCRIPTED
    if facts.adapter == SCRIPTED and base_url is not None:
        return OPENAI_HTTP
    return facts.adapter


def _base_url(facts: ProviderFacts, base_url: str | None, adapter: str, api_version: str | None) -> str | None:
    """The endpoint with its version path. What litellm speaks to, it completes itself."""
    if base_url is None:
        return facts.base_url if adapter == OPENAI_HTTP else None
    if adapter == LITELLM or urlsplit(base_url).path or _DATED.match(api_version or ""):
        return base_url
    if facts.base_url is not None and host(base_url) == host(facts.base_url):
        return base_url + urlsplit(facts.base_url).path
    return base_url + facts.root_path


def _usage_api(facts: ProviderFacts, adapter: str, *, foreign: bool) -> str:
    if adapter == LITELLM:
        return "litellm.usage"
    if facts.usage_api is not None:
        return facts.usage_api
    return "openai.chat" if foreign else f"{facts.id}.chat"


def _quirk(facts: ProviderFacts, model_id: str) -> ModelQuirk:
    for quirk in facts.quirks:
        if re.match(quirk.pattern, model_id, re.IGNORECASE):
            return quirk
    return ModelQuirk("")


def _plain(name: str) -> str:
    """Names compare without case, and with one sign for `-`, `.`, `_` and a space."""
    return re.sub(r"[-._\s]+", "_", name.strip().lower())


_BY_NAME: Mapping[str, ProviderFacts] = {_plain(name): facts for facts in PROVIDERS for name in (facts.id, *facts.aliases)}
