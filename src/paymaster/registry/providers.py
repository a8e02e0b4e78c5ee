"""How to connect to a model by its provider's facts: adapter, address, key, parameters; knows no file and no price.

Providers are distinguished only here and in the rows of `provider_facts`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from paymaster.registry.compat import Compat
from paymaster.registry.compat_facts import compat_facts
from paymaster.registry.disconnects import StopsOnDisconnect
from paymaster.registry.local_servers import local_server
from paymaster.registry.model_quirks import UNKNOWN_TO, ModelQuirk
from paymaster.registry.models import Dialect, Effort
from paymaster.registry.provider_facts import LITELLM, OPENAI_HTTP, PROVIDERS, SCRIPTED, ProviderFacts
from paymaster.registry.provider_regions import REGIONS, RegionalHost, RegionFacts

_THIS_MACHINE = frozenset({"localhost", "host.docker.internal", "0.0.0.0"})  # noqa: S104 - an address to recognise; nothing listens on it
_PRIVATE_NAMES = (".local", ".lan", ".home", ".home.arpa", ".internal", ".intranet")
_SHARED = ip_network("100.64.0.0/10")  # RFC 6598; Tailscale's addresses
# The name that every OpenAI-style server knows for the output limit; only OpenAI's own models need the newer one.
_ANYWHERE_LIMIT_PARAM = "max_tokens"
_LIMIT_PARAMS = {Dialect.RESPONSES: "max_output_tokens", Dialect.MESSAGES: "max_tokens"}
# With a dated API version, Azure's path names the deployment; with `v1` and `preview` it doesn't.
_DATED = re.compile(r"20\d\d-")
_VERSIONED = re.compile(r"/v\d+$")
_NO_REGIONS = RegionFacts()
_LOCATION = re.compile(r"/locations/([a-z0-9-]+)(?:/|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to call one model. `local`: it runs on the user's machines, because of its address (`by_address`) or its provider.

    `may_load`: its server is the user's own, and may have to load the model before it answers.
    `region` is where its address says that calls are served; None if it says nothing.
    """

    adapter: str
    base_url: str | None
    key_variables: tuple[str, ...]
    key_required: bool
    usage_api: str
    output_limit_param: str
    unsupported_params: frozenset[str]
    compat: Compat
    local: bool
    by_address: bool
    may_load: bool = False
    max_inputs: int | None = None
    max_inputs_tokens: int | None = None
    writes_cache_unasked: bool = False
    effort: Effort = Effort.ALWAYS
    stops: StopsOnDisconnect | None = None
    bill_path: str | None = None
    region: str | None = None
    takes_max_price: bool = False
    dialect: Dialect = Dialect.CHAT


def find_provider(name: str) -> ProviderFacts | None:
    """The provider of this name or alias: `gemini`, `Google`, `x-ai`, `lm-studio`. None for an unknown name."""
    return _BY_NAME.get(_plain(name))


def nearest_provider(name: str) -> str | None:
    """The id of the provider with the nearest spelling."""
    nearest = get_close_matches(_plain(name), _BY_NAME, n=1)
    return _BY_NAME[nearest[0]].id if nearest else None


def provider(provider_id: str) -> ProviderFacts:
    """The row of a canonical id. Raises KeyError."""
    return _BY_NAME[provider_id]


def provider_ids() -> tuple[str, ...]:
    """Every canonical id, hosted providers first."""
    return tuple(facts.id for facts in PROVIDERS)


def provider_names() -> tuple[str, ...]:
    """Every spelling that an editor should accept: ids and aliases, with dashes or underscores."""
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
    dialect: str | None = None,
) -> Connection:
    """The connection by the registry's own values (None: not given) and the provider's facts."""
    speaks = _adapter(facts, base_url, adapter, script)
    own_host = _own_host(facts, base_url)
    at_home = base_url is None or host(base_url) == host(facts.base_url) or own_host is not None
    by_address = base_url is not None and on_this_machine(base_url)
    foreign = not at_home and facts.base_url is not None
    quirk, compat = _quirk(facts, model_id), compat_facts(facts.id, model_id, foreign=foreign)
    # An adapter that is named for another address is OpenAI's wire format, as it was before endpoints spoke others.
    is_chat = speaks != OPENAI_HTTP or (foreign and adapter is not None)
    named = quirk.dialect if (at_home or _below(facts.dialect_hosts, base_url)) and not _DATED.match(api_version or "") else None
    usual = Dialect.CHAT if is_chat else named or facts.dialect
    spoken = usual if dialect is None else Dialect(dialect)
    limit_param = quirk.output_limit_param or (_ANYWHERE_LIMIT_PARAM if foreign else facts.output_limit_param)
    return Connection(
        adapter=speaks,
        base_url=_base_url(facts, base_url, speaks, api_version)
        if spoken is not Dialect.MESSAGES
        else _messages_url(base_url or facts.base_url),
        # A provider's key is not sent to a server on this machine unless the registry names the key.
        key_variables=() if by_address and not facts.local else facts.key_variables,
        key_required=facts.key_required and not by_address,
        usage_api=f"{facts.id}.messages" if spoken is Dialect.MESSAGES else _usage_api(facts, speaks, base_url, spoken, foreign=foreign),
        output_limit_param=_LIMIT_PARAMS.get(spoken, limit_param),
        unsupported_params=(frozenset() if foreign and by_address else facts.unsupported_params | quirk.unsupported_params)
        | UNKNOWN_TO.get(spoken, frozenset()),
        compat=_compat(compat, model_id, spoken, foreign=foreign, unmarked=foreign and by_address),
        local=facts.local or by_address,
        by_address=by_address and not facts.local,
        may_load=facts.local or (base_url is not None and _may_load(facts, base_url)),
        max_inputs=None if foreign else facts.max_inputs,
        max_inputs_tokens=None if foreign else facts.max_inputs_tokens,
        writes_cache_unasked=quirk.writes_cache_unasked,
        effort=_effort(facts, quirk, spoken),
        stops=None if foreign else facts.stops,
        # Also at another address, such as a region's or a proxy's.
        takes_max_price=facts.takes_max_price,
        bill_path=None if foreign or speaks != OPENAI_HTTP else facts.bill_path,
        dialect=spoken,
        region=region_facts(facts).region if own_host is None and not foreign else _region(own_host, base_url or ""),
    )


def _effort(facts: ProviderFacts, quirk: ModelQuirk, spoken: Dialect) -> Effort:
    if not facts.takes_effort:
        return Effort.NEVER
    return Effort.ALWAYS if quirk.effort_with_tools or spoken is not Dialect.CHAT else Effort.WITHOUT_TOOLS


def on_this_machine(base_url: str) -> bool:
    """Whether an address is this machine: localhost, loopback addresses, Docker's name for its host."""
    name = host(base_url)
    if name in _THIS_MACHINE or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _may_load(facts: ProviderFacts, base_url: str) -> bool:
    """Whether a server at this address may run the model itself. Under a hosted provider's name it is a proxy, more often than a model."""
    return in_private_network(base_url) and (facts.any_server or local_server(base_url) is not None)


def in_private_network(base_url: str) -> bool:
    """Whether an address is this machine or in a private network: by its number, a name without a dot, or a name for such networks."""
    name = host(base_url)
    if on_this_machine(base_url) or name.endswith(_PRIVATE_NAMES) or not any(mark in name for mark in ".:"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_private or address in _SHARED


def host(base_url: str | None) -> str:
    """The host of an address in lower case, or an empty string."""
    return (urlsplit(base_url).hostname or "") if base_url else ""


def region_facts(facts: ProviderFacts) -> RegionFacts:
    """What names the region of a call to this provider."""
    return REGIONS.get(facts.id, _NO_REGIONS)


def _own_host(facts: ProviderFacts, base_url: str | None) -> RegionalHost | None:
    """The row of the provider's hosts that the address belongs to."""
    name = host(base_url)
    return next((row for row in region_facts(facts).hosts if re.fullmatch(row.pattern, name)), None)


def _region(row: RegionalHost | None, base_url: str) -> str | None:
    """The region that an address at one of the provider's other hosts states."""
    if row is None:
        return None
    stated = re.fullmatch(row.pattern, host(base_url))
    in_path = _LOCATION.search(urlsplit(base_url).path)
    named = stated.groupdict().get("region") if stated is not None else None
    return row.region or named or (in_path[1] if in_path is not None else None)


def _adapter(facts: ProviderFacts, base_url: str | None, adapter: str | None, script: str | None) -> str:
    if adapter is not None:
        return adapter
    if script is not None:
        return SCRIPTED
    if facts.adapter == SCRIPTED and base_url is not None:
        return OPENAI_HTTP
    return facts.adapter


def _base_url(facts: ProviderFacts, base_url: str | None, adapter: str, api_version: str | None) -> str | None:
    """The endpoint with its version path. litellm completes its own addresses."""
    if base_url is None:
        return facts.base_url if adapter == OPENAI_HTTP else None
    if adapter == LITELLM or urlsplit(base_url).path or _DATED.match(api_version or ""):
        return base_url
    if facts.base_url is not None and (host(base_url) == host(facts.base_url) or _own_host(facts, base_url) is not None):
        return base_url + urlsplit(facts.base_url).path
    return base_url + facts.root_path


def _messages_url(base_url: str | None) -> str | None:
    """An endpoint of Anthropic's messages with its version path, which people leave out as Anthropic's own libraries do."""
    if base_url is None:
        return None
    path = urlsplit(base_url).path.removesuffix("/messages")
    bare = base_url.removesuffix("/messages")
    return bare if _VERSIONED.search(path) else f"{bare}/v1"


def _usage_api(facts: ProviderFacts, adapter: str, base_url: str | None, spoken: Dialect, *, foreign: bool) -> str:
    """The format of the usage: that of the provider whose host it is, whatever the registry calls it."""
    if adapter == LITELLM:
        return "litellm.usage"
    if spoken is Dialect.RESPONSES:
        return f"{_usage_api(facts, adapter, base_url, Dialect.CHAT, foreign=foreign).partition('.')[0]}.responses"
    owner = _owner(host(base_url))
    if owner is None and foreign:
        return facts.usage_api or "openai.chat"
    known = owner or facts
    return known.usage_api or f"{known.id}.chat"


def _owner(name: str) -> ProviderFacts | None:
    """The provider of a host: its own, a regional one below it, or another of its `usage_hosts`."""
    for facts in PROVIDERS:
        if _is_below((host(facts.base_url), *facts.usage_hosts), name) and not facts.local:
            return facts
    return None


def _below(hosts: Iterable[str], base_url: str | None) -> bool:
    """Whether an address is at one of these hosts, or below it."""
    return _is_below(hosts, host(base_url))


def _is_below(hosts: Iterable[str], name: str) -> bool:
    return any(known and (name == known or name.endswith(f".{known}")) for known in hosts)


def _quirk(facts: ProviderFacts, model_id: str) -> ModelQuirk:
    for quirk in facts.quirks:
        if re.match(quirk.pattern, model_id, re.IGNORECASE):
            return quirk
    return ModelQuirk("")


def _compat(compat: Compat, model_id: str, spoken: Dialect, *, foreign: bool, unmarked: bool) -> Compat:
    """The facts of the dialect that is spoken: every endpoint of Anthropic's reads what Anthropic does, and so with OpenAI's responses."""
    if spoken is Dialect.MESSAGES:
        return compat_facts("anthropic", model_id, foreign=foreign)
    if spoken is Dialect.RESPONSES:
        return replace(compat, reads=frozenset({"reasoning_details"}), images_in_tools=True, call_id_limit=64)
    return _unmarked(compat) if unmarked else compat


def _unmarked(compat: Compat) -> Compat:
    """The facts without cache markers: a free server on this machine under a provider's name reads none, and they would be held for."""
    return replace(compat, reads=compat.reads - {"cache_control"})


def _plain(name: str) -> str:
    """A name for comparison: lower case, with `_` for `-`, `.` and spaces."""
    return re.sub(r"[-._\s]+", "_", name.strip().lower())


_BY_NAME: Mapping[str, ProviderFacts] = {_plain(name): facts for facts in PROVIDERS for name in (facts.id, *facts.aliases)}
