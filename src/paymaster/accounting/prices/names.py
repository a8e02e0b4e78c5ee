"""Names of providers and models, and which spellings mean the same; knows no price.

A catalogue matches many names by their beginning. That is right for a dated snapshot (`claude-sonnet-4-5-20250929`) and wrong for a new
model (`gemini-2.5-pro-max`), so the part after the known name must look like a snapshot, a version or a preview.
"""

import re
from collections.abc import Iterator

LOCAL_PROVIDERS = frozenset(
    {
        "docker_model_runner",
        "gpt4all",
        "hosted_vllm",
        "jan",
        "koboldcpp",
        "llama_cpp",
        "llamacpp",
        "llamafile",
        "lm_studio",
        "lmstudio",
        "local",
        "localai",
        "mlx",
        "ollama",
        "ollama_chat",
        "sglang",
        "tabbyapi",
        "text_generation_webui",
        "tgi",
        "vllm",
        "xinference",
    }
)
"""Servers on the user's own machines: their calls are free by declaration."""

_ALIASES = {
    "amazon": "aws",
    "amazon_bedrock": "aws",
    "aws_bedrock": "aws",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "claude": "anthropic",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "google_ai_studio": "google",
    "google_vertex": "google",
    "grok": "x-ai",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "togetherai": "together",
    "vertex": "google",
    "vertex_ai": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "voyage_ai": "voyageai",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "z.ai": "zai",
    "z_ai": "zai",
    "zhipu": "zhipuai",
}

_SNAPSHOT = re.compile(
    r"""(?: [-@] (?: 20\d\d-?[01]\d-?[0-3]\d    # 2025-09-29, 20250929
                   | [01]\d-[0-3]\d             # 05-06
                   | [01]\d-20\d\d              # 09-2025
                   | \d{4} | \d{3}              # 0613, 2411, 001
                   | latest | preview | exp | experimental
                   | v\d+ (?: [.:]\d+ )? )      # v1:0
          | :0 ) $""",
    re.VERBOSE,
)

_COMPACT_DATE = re.compile(r"-(20\d\d)([01]\d)([0-3]\d)$")

GLOBAL = "global"
"""The region of a call that may be served anywhere: it has list price."""

_GEOGRAPHY = re.compile(r"^(af|amer|apac|au|ca|eu|global|in|jp|me|sa|us-gov|us)\.")
_BEDROCK_PREFIX = re.compile(
    r"^(?:(?:af|amer|apac|au|ca|eu|global|in|jp|me|regional|sa|us|us-gov)\.)?(?:(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen)\.)?"
)
_BEDROCK_ROUTES = frozenset({"converse", "converse_like", "invoke"})
_AWS_REGION = re.compile(r"^([a-z]{2}(?:-gov)?)-[a-z]+-\d$")
_AWS_GEOGRAPHIES = {"ap": "apac"}
_AZURE_REGION = re.compile(r"(global|global-standard|eu|us|us-gov|[a-z]*(?:central|east|west|north|south)[a-z]*\d?)/(?=.)")
_VERTEX_LOCATION = re.compile(r"(?:^|/)locations/([a-z0-9-]+)/")


def canonical_provider(name: str) -> str:
    """The id of a provider with many names: `gemini` and `vertex_ai` are `google`. An unknown name is returned in lower case."""
    plain = name.strip().lower()
    return _ALIASES.get(_underscored(plain), plain)


def is_local(provider: str) -> bool:
    """Whether the provider is a server on the user's own machines."""
    return _underscored(provider.strip().lower()) in LOCAL_PROVIDERS


def _underscored(name: str) -> str:
    return name.replace("-", "_").replace(" ", "_")


def split_prefix(model: str) -> tuple[str | None, str]:
    """Provider and name: `gemini/gemini-2.5-pro` is (`google`, `gemini-2.5-pro`); None without a slash."""
    prefix, slash, name = model.strip().partition("/")
    return (canonical_provider(prefix), name) if slash else (None, model.strip())


def spellings(provider: str, model: str) -> Iterator[str]:
    """The name in lower case, as given and without the prefixes of routers; each also with dashes in a compact date.

    `provider` is a canonical id. Routers write `gpt-5.2-20251211` where OpenAI itself writes `gpt-5.2-2025-12-11`.
    """
    for name in _without_prefixes(provider, model.strip().lower()):
        yield name
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
        if dashed != name:
            yield dashed


def _without_prefixes(provider: str, name: str) -> Iterator[str]:
    yield name
    if name.startswith(("arn:", "models/", "publishers/", "projects/")):
        name = name.rpartition("/")[2]
        yield name
    while "/" in name:
        prefix, name_after = name.split("/", 1)
        of_bedrock = provider == "aws" and (prefix in _BEDROCK_ROUTES or _AWS_REGION.match(prefix) is not None)
        if canonical_provider(prefix) != provider and prefix != "models" and not of_bedrock:
            return
        name = name_after
        yield name


def split_region(provider: str, model: str) -> tuple[str | None, str]:
    """The region that a name states, and the name without it: `azure/us/gpt-5.6` is (`us`, `gpt-5.6`).

    At Bedrock the geography is a part of the name, and stays: `eu.amazon.nova-pro-v1:0` is (`eu`, the same). `provider` is a canonical id.
    """
    name = model.strip()
    for shorter in _without_prefixes(provider, name.lower()):
        match provider:
            case "azure" if found := _AZURE_REGION.match(shorter):
                return canonical_region(provider, found[1]), name[-len(shorter) :][found.end() :]
            case "aws" if found := _GEOGRAPHY.match(shorter):
                return found[1], name
    if provider == "google" and (found := _VERTEX_LOCATION.search(name.lower())):
        return found[1], name
    # A route (`bedrock/us-gov-west-1/…`) or the fourth part of an ARN.
    parts = re.split("[/:]", name.lower()) if provider == "aws" else []
    segment = next((part for part in parts if _AWS_REGION.match(part)), None)
    return (None if segment is None else canonical_region(provider, segment)), name


def canonical_region(provider: str, region: str) -> str:
    """The region in the words of the price list: at Bedrock, whose prices are by geography, `eu-west-1` is `eu`."""
    plain = region.strip().lower()
    if provider == "aws" and (found := _AWS_REGION.match(plain)):
        return _AWS_GEOGRAPHIES.get(found[1], found[1])
    return GLOBAL if plain == "global-standard" else plain


def in_geography(name: str, region: str) -> str:
    """Bedrock's name of a model in a geography: `eu` and `amazon.nova-pro-v1:0` are `eu.amazon.nova-pro-v1:0`."""
    return f"{region}.{without_geography(name)}"


def without_geography(name: str) -> str:
    """Bedrock's name of a model without its geography."""
    return _GEOGRAPHY.sub("", name)


def with_vendor(name: str) -> str:
    """Bedrock's name of a model with its vendor, which Anthropic's own answers omit; `name` has no geography."""
    return f"anthropic.{name}" if name.startswith("claude") else name


def stated_region(provider: str | None, model: str, region: str | None) -> str | None:
    """Where a call is served: the region that the model's name states, else `region`. `provider` is any of its names."""
    seller = split_prefix(model)[0] if provider is None else canonical_provider(provider)
    return split_region(seller or "", model)[0] or region


def without_snapshots(name: str) -> Iterator[str]:
    """The name, then without its last date, version or preview mark, then without the one before that, and so on."""
    yield name
    while (mark := _SNAPSHOT.search(name)) is not None:
        name = name[: mark.start()]
        yield name


def is_same_model(provider: str, one: str, other: str) -> bool:
    """Whether two names mean the same model at `provider` (any of its names), where one may be a snapshot or an alias of the other."""
    seller = canonical_provider(provider)
    first, second = (list(spellings(seller, name))[-1] for name in (one, other))
    return _is_snapshot(seller, first, second) or _is_snapshot(seller, second, first)


def _is_snapshot(provider: str, name: str, base: str) -> bool:
    return core(provider, base) in (core(provider, shorter) for shorter in without_snapshots(name))


def core(provider: str, name: str) -> str:
    """The name without Bedrock's region and vendor (`us.anthropic.claude-opus-5` is `claude-opus-5`); at others the name itself."""
    return _BEDROCK_PREFIX.sub("", name) if provider == "aws" else name
