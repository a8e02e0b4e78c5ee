"""One row per provider: address, adapter, key variables, names of parameters; knows rows only, no rule about them.

All differences between providers are data here, so that no other package tests for a provider's name.
"""

from dataclasses import dataclass

from paymaster.registry.disconnects import OPENROUTER, StopsOnDisconnect
from paymaster.registry.model_quirks import GROK_QUIRKS, OPENAI_QUIRKS, ModelQuirk
from paymaster.registry.models import Dialect

OPENAI_HTTP = "openai_http"
LITELLM = "litellm"
SCRIPTED = "scripted"

_OPENAI_ONLY = frozenset(
    {"metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "store", "verbosity"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFacts:
    """The facts about one provider.

    `base_url` is its endpoint, None if every customer has another one (`needs_base_url`) or if litellm knows it. `root_path` completes an
    address without a path. `local` providers run on the user's machines and are free by declaration. `key_variables` are alternatives, the
    usual one first. `usage_api` is the format of its usage, if it isn't the adapter's usual one, also at its other hosts `usage_hosts`.
    `litellm_prefix` is litellm's name for it. The endpoint rejects `unsupported_params`. An embeddings request may have `max_inputs` texts
    with `max_inputs_tokens` together. `takes_effort`: all its reasoning models take OpenAI's `reasoning_effort`. `versioned`: it takes an
    `api_version`, and with a dated one no `root_path`. `stops`: it stops when the connection of a stream closes. `bill_path`: it states
    there, after the endpoint and before the id of an answer, what it billed for the answer. `names_deployments`: its model names are its
    customers' own. `takes_max_price`: it is a router, and chooses no host above the request's `provider.max_price`.
    `any_server`: its name says nothing of who runs the models. `cost_header`: it states there what it charges for a whole answer.
    `silent_about_length`: it refuses a prompt that is too long with a 400 that has no body.
    `tiers` are the words that its `service_tier` takes, the one for list price first; none: they are not known.
    `dialect` is the wire format that it speaks, or, for some models, their quirk's: at its own address and below `dialect_hosts`.
    """

    id: str
    title: str
    aliases: tuple[str, ...] = ()
    base_url: str | None = None
    needs_base_url: bool = False
    root_path: str = "/v1"
    adapter: str = OPENAI_HTTP
    local: bool = False
    key_variables: tuple[str, ...] = ()
    key_required: bool = True
    usage_api: str | None = None
    usage_hosts: tuple[str, ...] = ()
    litellm_prefix: str = "openai"
    output_limit_param: str = "max_tokens"
    unsupported_params: frozenset[str] = frozenset()
    quirks: tuple[ModelQuirk, ...] = ()
    versioned: bool = False
    takes_effort: bool = True
    max_inputs: int | None = None
    max_inputs_tokens: int | None = None
    stops: StopsOnDisconnect | None = None
    bill_path: str | None = None
    names_deployments: bool = False
    takes_max_price: bool = False
    silent_about_length: bool = False
    any_server: bool = False
    cost_header: str | None = None
    tiers: tuple[str, ...] = ()
    dialect: Dialect = Dialect.CHAT
    dialect_hosts: tuple[str, ...] = ()


_HOSTED = (
    ProviderFacts(
        id="openai",
        title="OpenAI",
        base_url="https://api.openai.com/v1",
        key_variables=("OPENAI_API_KEY",),
        output_limit_param="max_completion_tokens",
        quirks=OPENAI_QUIRKS,
        # platform.openai.com/docs/api-reference/embeddings/create
        max_inputs=2_048,
        max_inputs_tokens=300_000,
        # developers.openai.com/api/docs: chat completions, service_tier; flex processing; 2026-11
        tiers=("default", "flex", "priority", "fast", "scale", "auto"),
    ),
    ProviderFacts(
        id="anthropic",
        title="Anthropic",
        aliases=("claude",),
        base_url="https://api.anthropic.com/v1",
        dialect=Dialect.MESSAGES,
        usage_api="anthropic.messages",
        key_variables=("ANTHROPIC_API_KEY",),
        litellm_prefix="anthropic",
        # platform.claude.com/docs, service tiers: `auto` uses priority capacity where the account has some
        tiers=("standard_only", "auto"),
        # The API knows no more than one answer, and no probabilities.
        unsupported_params=frozenset({"best_of", "logprobs", "top_logprobs"}),
    ),
    ProviderFacts(
        id="google",
        title="Google Gemini API",
        aliases=("gemini", "google_ai_studio", "google_genai", "googleai"),
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        # cloud.google.com/vertex-ai/generative-ai/docs/start/openai: aiplatform.googleapis.com, REGION-aiplatform.googleapis.com
        usage_hosts=("googleapis.com",),
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        litellm_prefix="gemini",
        # The endpoint rejects unknown fields.
        unsupported_params=_OPENAI_ONLY
        | {"frequency_penalty", "logit_bias", "logprobs", "presence_penalty", "seed", "service_tier", "top_logprobs", "user"},
    ),
    ProviderFacts(
        id="vertex",
        title="Google Vertex AI",
        aliases=("vertex_ai", "vertexai", "google_vertex", "google_vertexai"),
        adapter=LITELLM,
        # Google's own libraries find the credentials in files and variables.
        key_required=False,
        litellm_prefix="vertex_ai",
    ),
    ProviderFacts(
        id="bedrock",
        title="AWS Bedrock",
        aliases=("aws", "aws_bedrock", "amazon", "amazon_bedrock"),
        adapter=LITELLM,
        # AWS's own libraries find the credentials in profiles, roles and variables.
        key_required=False,
        litellm_prefix="bedrock",
    ),
    ProviderFacts(
        id="azure",
        title="Microsoft Azure OpenAI",
        aliases=("azure_openai", "azure_ai", "microsoft", "azure_foundry"),
        needs_base_url=True,
        root_path="/openai/v1",
        key_variables=("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
        litellm_prefix="azure",
        names_deployments=True,
        versioned=True,
        output_limit_param="max_completion_tokens",
        quirks=OPENAI_QUIRKS,
        dialect_hosts=("azure.com",),
        max_inputs=2_048,
        tiers=("default", "flex", "priority", "auto"),  # learn.microsoft.com, Azure OpenAI: priority processing, flex processing
    ),
    ProviderFacts(
        id="cohere",
        title="Cohere",
        takes_effort=False,
        aliases=("cohere_chat",),
        adapter=LITELLM,
        key_variables=("COHERE_API_KEY", "CO_API_KEY"),
        litellm_prefix="cohere_chat",
        # docs.cohere.com/reference/embed
        max_inputs=96,
    ),
    ProviderFacts(
        id="mistral",
        title="Mistral AI",
        takes_effort=False,
        aliases=("mistralai",),
        base_url="https://api.mistral.ai/v1",
        key_variables=("MISTRAL_API_KEY",),
        litellm_prefix="mistral",
        # The endpoint rejects unknown fields. Its streams report usage without the option.
        unsupported_params=_OPENAI_ONLY | {"logit_bias", "logprobs", "seed", "service_tier", "stream_options", "top_logprobs", "user"},
    ),
    ProviderFacts(
        id="deepseek",
        title="DeepSeek",
        base_url="https://api.deepseek.com/v1",
        key_variables=("DEEPSEEK_API_KEY",),
        litellm_prefix="deepseek",
    ),
    ProviderFacts(
        id="xai",
        title="xAI",
        takes_effort=False,
        aliases=("x_ai", "grok"),
        base_url="https://api.x.ai/v1",
        key_variables=("XAI_API_KEY",),
        litellm_prefix="xai",
        quirks=GROK_QUIRKS,
    ),
    ProviderFacts(
        id="groq",
        title="Groq",
        takes_effort=False,
        base_url="https://api.groq.com/openai/v1",
        key_variables=("GROQ_API_KEY",),
        litellm_prefix="groq",
        output_limit_param="max_completion_tokens",
        unsupported_params=frozenset({"logit_bias", "logprobs", "top_logprobs"}),
        tiers=("on_demand", "flex", "performance", "auto"),  # console.groq.com/docs/service-tiers
    ),
    ProviderFacts(
        id="openrouter",
        title="OpenRouter",
        aliases=("open_router",),
        base_url="https://openrouter.ai/api/v1",
        key_variables=("OPENROUTER_API_KEY",),
        litellm_prefix="openrouter",
        stops=OPENROUTER,
        bill_path="/generation?id=",  # openrouter.ai/docs/api-reference/get-a-generation
        takes_max_price=True,  # openrouter.ai/docs/guides/routing/provider-selection
        tiers=("default", "flex", "priority", "fast", "scale", "auto"),  # openrouter.ai/docs/guides/features/service-tiers
    ),
    ProviderFacts(
        id="together",
        title="Together AI",
        aliases=("together_ai", "togetherai"),
        base_url="https://api.together.xyz/v1",
        key_variables=("TOGETHER_API_KEY", "TOGETHERAI_API_KEY"),
        litellm_prefix="together_ai",
    ),
    ProviderFacts(
        id="fireworks",
        title="Fireworks AI",
        aliases=("fireworks_ai", "fireworksai"),
        base_url="https://api.fireworks.ai/inference/v1",
        key_variables=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
        litellm_prefix="fireworks_ai",
    ),
    ProviderFacts(
        id="cerebras",
        title="Cerebras",
        base_url="https://api.cerebras.ai/v1",
        key_variables=("CEREBRAS_API_KEY",),
        litellm_prefix="cerebras",
        output_limit_param="max_completion_tokens",
        unsupported_params=frozenset({"frequency_penalty", "logit_bias", "presence_penalty"}),
        silent_about_length=True,
    ),
    ProviderFacts(
        id="moonshot",
        title="Moonshot AI",
        aliases=("moonshotai", "kimi"),
        base_url="https://api.moonshot.ai/v1",
        key_variables=("MOONSHOT_API_KEY",),
        litellm_prefix="moonshot",
    ),
    ProviderFacts(
        id="zai",
        title="Z.ai",
        aliases=("z_ai", "glm", "zhipu"),
        base_url="https://api.z.ai/api/paas/v4",
        key_variables=("ZAI_API_KEY",),
        litellm_prefix="zai",
    ),
    ProviderFacts(
        id="minimax",
        title="MiniMax",
        base_url="https://api.minimax.io/v1",
        key_variables=("MINIMAX_API_KEY",),
        litellm_prefix="minimax",
    ),
    ProviderFacts(
        id="perplexity",
        title="Perplexity",
        base_url="https://api.perplexity.ai",
        key_variables=("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
        litellm_prefix="perplexity",
    ),
    ProviderFacts(
        id="deepinfra",
        title="DeepInfra",
        aliases=("deep_infra",),
        base_url="https://api.deepinfra.com/v1/openai",
        key_variables=("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"),
        litellm_prefix="deepinfra",
    ),
    ProviderFacts(
        id="novita",
        title="Novita AI",
        aliases=("novita_ai",),
        base_url="https://api.novita.ai/openai/v1",
        key_variables=("NOVITA_API_KEY",),
        litellm_prefix="novita",
    ),
    ProviderFacts(
        id="nebius",
        title="Nebius",
        base_url="https://api.studio.nebius.com/v1",
        key_variables=("NEBIUS_API_KEY",),
        litellm_prefix="nebius",
    ),
    ProviderFacts(
        id="sambanova",
        title="SambaNova",
        base_url="https://api.sambanova.ai/v1",
        key_variables=("SAMBANOVA_API_KEY",),
        litellm_prefix="sambanova",
    ),
    ProviderFacts(
        id="huggingface",
        title="Hugging Face",
        aliases=("hf", "hugging_face"),
        base_url="https://router.huggingface.co/v1",
        key_variables=("HF_TOKEN", "HUGGINGFACE_API_KEY"),
        litellm_prefix="huggingface",
    ),
    ProviderFacts(
        id="dashscope",
        title="Alibaba Model Studio",
        aliases=("alibaba", "qwen"),
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        key_variables=("DASHSCOPE_API_KEY",),
        litellm_prefix="dashscope",
    ),
    ProviderFacts(
        id="databricks",
        title="Databricks",
        needs_base_url=True,
        root_path="/serving-endpoints",
        key_variables=("DATABRICKS_TOKEN", "DATABRICKS_API_KEY"),
        litellm_prefix="databricks",
    ),
    ProviderFacts(
        id="litellm_proxy",
        title="A LiteLLM proxy",
        aliases=("litellm",),
        needs_base_url=True,
        usage_api="litellm.usage",
        key_variables=("LITELLM_PROXY_API_KEY",),
        key_required=False,
        litellm_prefix="litellm_proxy",
        cost_header="x-litellm-response-cost",  # docs.litellm.ai/docs/proxy/response_headers
    ),
    ProviderFacts(
        id="openai_compatible",
        title="Any other server that speaks OpenAI's wire format",
        aliases=("openai_like", "custom", "custom_openai", "compatible"),
        needs_base_url=True,
        key_required=False,
        usage_api="openai.chat",
        any_server=True,
    ),
)

_LOCAL = tuple(
    ProviderFacts(
        id=name,
        title=title,
        aliases=aliases,
        base_url=base_url,
        local=True,
        key_variables=key_variables,
        key_required=False,
        litellm_prefix=litellm_prefix,
        usage_api="openai.chat",
    )
    for name, title, aliases, base_url, key_variables, litellm_prefix in (
        ("ollama", "Ollama", ("ollama_chat",), "http://localhost:11434/v1", ("OLLAMA_API_KEY",), "ollama_chat"),
        ("vllm", "vLLM", ("hosted_vllm",), "http://localhost:8000/v1", ("VLLM_API_KEY",), "hosted_vllm"),
        ("sglang", "SGLang", (), "http://localhost:30000/v1", ("SGLANG_API_KEY",), "openai"),
        ("lmstudio", "LM Studio", ("lm_studio",), "http://localhost:1234/v1", ("LM_STUDIO_API_KEY",), "lm_studio"),
        (
            "llamacpp",
            "llama.cpp",
            ("llama_cpp", "llama.cpp", "llama_server", "llamafile"),
            "http://localhost:8080/v1",
            ("LLAMA_API_KEY",),
            "openai",
        ),
        ("tgi", "Text Generation Inference", ("text_generation_inference",), "http://localhost:3000/v1", (), "openai"),
    )
)

_SIMULATED = (
    ProviderFacts(
        id=SCRIPTED,
        title="The scripted provider: answers from a file",
        adapter=SCRIPTED,
        local=True,
        key_required=False,
        usage_api="openai.chat",
    ),
)

PROVIDERS: tuple[ProviderFacts, ...] = (*_HOSTED, *_LOCAL, *_SIMULATED)
"""Every provider, hosted ones first."""
