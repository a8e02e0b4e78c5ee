"""Which provider, model and address a deployment of LiteLLM means; knows LiteLLM's names of providers, and no other field."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from paymaster.registry.provider_facts import LITELLM, PROVIDERS, SCRIPTED, ProviderFacts
from paymaster.registry.providers import find_provider, host, region_facts

_COMPATIBLE = "openai_compatible"

SERVERS: Mapping[str, tuple[str, str]] = {
    "ai21": ("https://api.ai21.com/studio/v1", "AI21_API_KEY"),
    "ai21_chat": ("https://api.ai21.com/studio/v1", "AI21_API_KEY"),
    "aihubmix": ("https://aihubmix.com/v1", "AIHUBMIX_API_KEY"),
    "aiml": ("https://api.aimlapi.com/v1", "AIML_API_KEY"),
    "baseten": ("https://inference.baseten.co/v1", "BASETEN_API_KEY"),
    "chutes": ("https://llm.chutes.ai/v1", "CHUTES_API_KEY"),
    "codestral": ("https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
    "featherless_ai": ("https://api.featherless.ai/v1", "FEATHERLESS_AI_API_KEY"),
    "friendliai": ("https://api.friendli.ai/serverless/v1", "FRIENDLI_TOKEN"),
    "github": ("https://models.github.ai/inference", "GITHUB_API_KEY"),
    "hyperbolic": ("https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    "inception": ("https://api.inceptionlabs.ai/v1", "INCEPTION_API_KEY"),
    "lambda_ai": ("https://api.lambda.ai/v1", "LAMBDA_API_KEY"),
    "meta_llama": ("https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
    "modelscope": ("https://api-inference.modelscope.cn/v1", "MODELSCOPE_API_KEY"),
    "morph": ("https://api.morphllm.com/v1", "MORPH_API_KEY"),
    "nano-gpt": ("https://nano-gpt.com/api/v1", "NANOGPT_API_KEY"),
    "nscale": ("https://inference.api.nscale.com/v1", "NSCALE_API_KEY"),
    "nvidia_nim": ("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "poe": ("https://api.poe.com/v1", "POE_API_KEY"),
    "scaleway": ("https://api.scaleway.ai/v1", "SCW_SECRET_KEY"),
    "siliconflow": ("https://api.siliconflow.com/v1", "SILICONFLOW_API_KEY"),
    "synthetic": ("https://api.synthetic.new/openai/v1", "SYNTHETIC_API_KEY"),
    "v0": ("https://api.v0.dev/v1", "V0_API_KEY"),
    "vercel_ai_gateway": ("https://ai-gateway.vercel.sh/v1", "VERCEL_AI_GATEWAY_API_KEY"),
    "volcengine": ("https://ark.cn-beijing.volces.com/api/v3", "VOLCENGINE_API_KEY"),
    "voyage": ("https://api.voyageai.com/v1", "VOYAGE_API_KEY"),
    "wandb": ("https://api.inference.wandb.ai/v1", "WANDB_API_KEY"),
}
"""Providers without facts of their own that speak OpenAI's format, by LiteLLM's prefix: address and usual variable of the key.

From litellm's get_llm_provider_logic.py and openai_like/providers.json, and the providers' own pages.
"""

UNKNOWN = frozenset({
    "aleph_alpha", "anthropic_text", "assemblyai", "aws_polly", "azure_text", "bedrock_mantle", "black_forest_labs", "bytez",
    "chatgpt", "clarifai", "cloudflare", "cometapi", "datarobot", "deepgram", "elevenlabs", "fal_ai", "galadriel", "gigachat",
    "github_copilot", "gradient_ai", "heroku", "infinity", "jina_ai", "langgraph", "lemonade", "manus", "maritalk", "nlp_cloud",
    "nvidia_riva", "oci", "ollama_embed", "oobabooga", "petals", "predibase", "ragflow", "recraft", "replicate", "runwayml",
    "sagemaker", "sagemaker_chat", "snowflake", "text-completion-codestral", "text-completion-inception", "topaz", "triton",
    "watsonx", "watsonx_text", "xinference",
})  # fmt: skip
"""Other prefixes of LiteLLM's: their servers speak formats, or have addresses, that are not known here."""

_ALSO: Mapping[str, str] = {
    "vertex_ai_beta": "vertex",
    "text-completion-openai": "openai",
    "aiohttp_openai": _COMPATIBLE,
    "openai_like": _COMPATIBLE,
    "custom_openai": _COMPATIBLE,
    "qwencloud": "dashscope",
}
_BY_NAME = (
    (
        re.compile(r"(gpt-|chatgpt-|o\d|text-embedding-|codex-|computer-use|ft:|dall-e|whisper|tts-|davinci|babbage|omni-mod|text-mod)"),
        "openai",
    ),
    (re.compile(r"claude"), "anthropic"),
    (re.compile(r"gemini-"), "vertex"),
    (re.compile(r"command|embed-(english|multilingual)"), "cohere"),
    (re.compile(r"(anthropic|amazon|meta|mistral|cohere|ai21)\.|(us|eu|apac|global)\.[a-z]+\."), "bedrock"),
    (re.compile(r"deepseek-(chat|reasoner)"), "deepseek"),
)
"""The provider of a name without a prefix, as LiteLLM knows it."""

_BASES: Mapping[str, str] = {"azure": "AZURE_API_BASE", "databricks": "DATABRICKS_API_BASE", "litellm_proxy": "LITELLM_PROXY_API_BASE"}
"""Where LiteLLM finds an address that the deployment lacks."""

_ROUTES: Mapping[str, re.Pattern[str]] = {
    "openai": re.compile(r"(responses|chat)/(.+)"),
    "azure": re.compile(r"(o_series|gpt5_series|responses|chat|deployments)/(.+)"),
    "bedrock": re.compile(r"(converse|invoke|converse_like)/(.+)"),
}
"""What LiteLLM writes before a model's name to say how it is asked."""

_OPERATION = re.compile(r"/(chat/completions|completions|embeddings|responses|messages)$")
_OF_PROVIDER: Mapping[str, re.Pattern[str]] = {
    "ollama": re.compile(r"/api(/(chat|generate|embed|embeddings|tags))?$"),
    "azure": re.compile(r"/(openai|models)(/.*)?$"),
}
"""The end of an address that Paymaster adds itself, or does not call."""

_AZURE = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a deployment calls. `base_url` is None for the provider's own address. `key_variable` is the usual variable of its key.

    `how` says what differs from what the config has, if a reader has to know it.
    """

    provider: str
    model_id: str
    base_url: str | None = None
    dialect: str | None = None
    key_variable: str | None = None
    how: str = ""

    @property
    def facts(self) -> ProviderFacts:
        """The facts of the provider. Raises LookupError for an id that there is none of."""
        return next(facts for facts in PROVIDERS if facts.id == self.provider)

    @property
    def by_litellm(self) -> bool:
        """Whether litellm calls it, and takes its own parameters in `params`."""
        return self.facts.adapter == LITELLM

    @property
    def needs_key(self) -> bool:
        """Whether a call without a key makes no sense."""
        return self.key_variable is not None if self.provider == _COMPATIBLE else self.facts.key_required


def find_target(model: str, stated: str | None, address: str | None) -> Target | str:
    """What `litellm_params` call: by `model`, `custom_llm_provider` and `api_base` (an address, or `$NAME`). Else why it is nothing."""
    prefix, model_id = _split(model, stated)
    if not model_id:
        return "its model has no name after the provider"
    if prefix in UNKNOWN and address is None:
        return (
            f"no provider here is what LiteLLM calls {prefix}; a server that speaks OpenAI's format is openai_compatible with its base_url"
        )
    known = None if prefix is None else provider_named(prefix)
    if known is None and prefix in SERVERS and prefix is not None:
        return _with_address(_server(prefix, model_id), address)
    if known is None and address is None:
        return "nothing says which provider it is: LiteLLM's prefix is unknown here, and there is no api_base"
    facts_id = known or _COMPATIBLE
    route = _ROUTES[facts_id].fullmatch(model_id) if facts_id in _ROUTES else None
    target = Target(provider=facts_id, model_id=model_id)
    if route is not None:
        target = replace(target, model_id=route[2], dialect="responses" if route[1] == "responses" else None)
    if prefix == "text-completion-openai":
        target = replace(target, how="asked by chat completions; the gateway's /v1/completions makes texts of them")
    key = target.facts.key_variables
    return _with_address(replace(target, key_variable=key[0] if key else None), address)


def _server(prefix: str, model_id: str) -> Target:
    base_url, variable = SERVERS[prefix]
    how = f"{prefix} speaks OpenAI's format at this address"
    return Target(provider=_COMPATIBLE, model_id=model_id, base_url=base_url, key_variable=variable, how=how)


def _split(model: str, stated: str | None) -> tuple[str | None, str]:
    """LiteLLM's prefix of a model, and the rest of its name."""
    before, slash, after = model.partition("/")
    if stated is not None:
        return stated, (after if slash and before == stated else model)
    if slash and (provider_named(before) is not None or before in SERVERS or before in UNKNOWN):
        return before, after
    found = next((provider for pattern, provider in _BY_NAME if pattern.match(model)), None)
    return found, model


def provider_named(prefix: str) -> str | None:
    """The provider here of LiteLLM's prefix; None if there is none."""
    facts = find_provider(_ALSO.get(prefix, prefix))
    return None if facts is None or facts.id == SCRIPTED else facts.id


def _with_address(target: Target, address: str | None) -> Target | str:
    """The target at an address of its own, under the provider whose address it is."""
    facts = target.facts
    if address is None:
        if not facts.needs_base_url or target.base_url is not None:
            return target
        variable = _BASES.get(target.provider)
        if variable is None:
            return f"{facts.title} has no address of its own, and there is no api_base"
        return replace(target, base_url=f"${variable}", how=f"its address is in {variable}, where LiteLLM reads it")
    if address.startswith("$"):
        own = target.provider != "openai" or "OPENAI" in address
        return replace(target, base_url=address) if own else _as_compatible(target, address)
    plain = _OPERATION.sub("", address.rstrip("/"))
    owner = _owner(plain)
    if target.provider in ("openai", _COMPATIBLE):
        if owner is None:
            return _as_compatible(target, plain)
        key = owner.key_variables[0] if owner.key_variables else None
        how = target.how if owner.id == target.provider else f"the address is {owner.title}'s"
        target = replace(target, provider=owner.id, key_variable=key, how=how)
    if target.provider in _OF_PROVIDER:
        plain = _OF_PROVIDER[target.provider].sub("", plain)
    return replace(target, base_url=None if _is_usual(target.facts, plain) else plain)


def _as_compatible(target: Target, base_url: str) -> Target:
    how = target.how or "openai/ at another address; give it a price: no server's price is assumed"
    return replace(
        target, provider=_COMPATIBLE, base_url=base_url, key_variable=None, how=how if target.provider == "openai" else target.how
    )


def _owner(address: str) -> ProviderFacts | None:
    """The hosted provider that this address belongs to."""
    try:
        name = host(address)
    except ValueError:
        return None
    if name.endswith(_AZURE):
        return find_provider("azure")
    own = (facts for facts in PROVIDERS if not facts.local and facts.base_url is not None)
    return next((facts for facts in own if _has_host(facts, name)), None)


def _has_host(facts: ProviderFacts, name: str) -> bool:
    """Whether a host is the provider's usual one, below it, or one of a region."""
    usual = host(facts.base_url)
    return name == usual or name.endswith(f".{usual}") or any(re.fullmatch(row.pattern, name) for row in region_facts(facts).hosts)


def _is_usual(facts: ProviderFacts, address: str) -> bool:
    """Whether an address is the provider's own, whatever version its path has."""
    try:
        return (
            facts.base_url is not None and host(address) == host(facts.base_url) and urlsplit(address).port == urlsplit(facts.base_url).port
        )
    except ValueError:
        return False
