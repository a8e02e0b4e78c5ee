"""Rows of facts about endpoints that speak chat completions: by provider, and by family of models; knows rows only, no rule about them.

A provider's row holds at any address, since a registry that names the provider means its API. A family's row holds at providers that serve
the models of others with those models' own templates. An address beside a row is where to check it: no row was tried against the real
endpoint. `compat:` in a registry corrects one that is wrong.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from paymaster.registry.compat import ANTHROPIC, MISTRAL, REASONING_CONTENT, THOUGHT_SIGNATURE, Compat, CompatFacts


class Family(NamedTuple):
    """The facts about models whose id has a match of `pattern`, at some providers."""

    pattern: str
    providers: frozenset[str]
    facts: CompatFacts


_REASONING = frozenset({REASONING_CONTENT})
_CLAUDE_READS = frozenset({"cache_control", "thinking_blocks", "reasoning_content", "provider_specific_fields"})
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
# Parameters of servers for open models. APIs that check their parameters refuse them.
_OPEN_SAMPLING = frozenset({"length_penalty", "min_p", "min_tokens", "repetition_penalty", "top_a", "top_k", "typical_p"})
_THINKING = frozenset(
    {
        "chat_template_kwargs", "enable_thinking", "include_reasoning", "prompt_mode", "reasoning", "reasoning_format",
        "separate_reasoning", "think", "thinking", "thinking_budget",
    }
)  # fmt: skip
# What APIs that check their parameters refuse. The section `google` is for Google's endpoint alone.
_FOREIGN = _OPEN_SAMPLING | _THINKING | {"google"}
_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
_PLAIN_THINKING: Mapping[str, object] = {"thinking": {"type": "disabled"}}
_TEMPLATE: Mapping[str, object] = {"chat_template_kwargs": {"enable_thinking": False}}

# developers.openai.com/api/reference, chat completions: lengths of names, ids and `user`, number of tools.
_OPENAI = CompatFacts(call_id_limit=40, tool_name_limit=64, user_limit=64, max_tools=128, drop_params=_FOREIGN)
# developers.openai.com/api/docs/guides/prompt-caching: requests of one key meet the same cache. Azure's dated API versions may refuse it.
_PROMPT_CACHE_KEY = "prompt_cache_key"
_CLAUDE = CompatFacts(
    reads=_CLAUDE_READS, call_id=ANTHROPIC, empty_text=False, images_in_tools=True, thinking_off=_PLAIN_THINKING, tool_name_limit=128
)
# Roles that every chat template knows, in the order that every template takes.
_LOCAL = CompatFacts(developer_role=False, system_first=True, nested=frozenset({"google"}))
_LOCAL_REASONING = CompatFacts(**_LOCAL, reads=_REASONING, thinking_off=_TEMPLATE)

# x.ai, OpenAI and others refuse both without tools, and they mean nothing there.
EVERYWHERE = CompatFacts(tool_choice_without_tools=False)

BY_PROVIDER: Mapping[str, CompatFacts] = {
    "openai": CompatFacts(**_OPENAI, session_param=_PROMPT_CACHE_KEY),
    "azure": _OPENAI,
    "anthropic": _CLAUDE,
    "bedrock": CompatFacts(**{**_CLAUDE, "tool_name_limit": 64}),  # docs.aws.amazon.com/bedrock, ToolSpecification
    "vertex": _CLAUDE,
    # ai.google.dev/gemini-api/docs/openai: `extra_content`, and `extra_body` with a section `google`; unknown fields are refused.
    "google": CompatFacts(
        reads=frozenset({"extra_content"}),
        requires=frozenset({THOUGHT_SIGNATURE}),
        nested=frozenset({"google"}),
        unknown_fields=False,
        developer_role=False,
        empty_text=False,
        tool_name_limit=64,
        thinking_off={"reasoning_effort": "none"},
        drop_params=(_FOREIGN | _LOGPROBS) - {"google"},
    ),
    # docs.mistral.ai/api: no unknown fields. 3280 names the ids, 3230 a user behind a result.
    "mistral": CompatFacts(
        call_id=MISTRAL,
        system_first=True,
        unknown_fields=False,
        developer_role=False,
        empty_text=False,
        user_after_tool=False,
        drop_params=(_FOREIGN | _LOGPROBS) - {"prompt_mode"},
    ),
    # api-docs.deepseek.com/guides/thinking_mode. A list of parts is refused: "invalid type: sequence, expected a string".
    "deepseek": CompatFacts(
        reads=_REASONING, requires=_REASONING, developer_role=False, text_content=True, thinking_off=_PLAIN_THINKING, tool_name_limit=64
    ),
    # platform.kimi.ai/docs/guide/use-kimi-k2-thinking-model. It refuses an empty message.
    "moonshot": CompatFacts(
        reads=_REASONING,
        requires=_REASONING,
        developer_role=False,
        text_content=True,
        empty_text=False,
        thinking_off=_PLAIN_THINKING,
        tool_name_limit=64,
    ),
    "zai": CompatFacts(reads=_REASONING, developer_role=False, thinking_off=_PLAIN_THINKING),  # docs.z.ai/guides/capabilities/thinking-mode
    "minimax": CompatFacts(reads=frozenset({REASONING_CONTENT, "reasoning_details"}), developer_role=False, system_first=True),
    "dashscope": CompatFacts(
        reads=frozenset({REASONING_CONTENT, "cache_control"}),
        developer_role=False,
        system_first=True,
        thinking_off={"enable_thinking": False},
    ),
    # "property 'reasoning_content' is unsupported" at both; `reasoning` is taken.
    "groq": CompatFacts(
        reads=frozenset({"reasoning"}),
        unknown_fields=False,
        tool_name_limit=64,
        max_tools=128,
        drop_params=(_FOREIGN | _LOGPROBS) - {"include_reasoning", "reasoning_format"},
    ),
    "cerebras": CompatFacts(
        reads=frozenset({"reasoning"}), unknown_fields=False, text_content=True, developer_role=False, drop_params=_FOREIGN
    ),
    "xai": CompatFacts(drop_params=_FOREIGN),
    # docs.perplexity.ai: after the system message, user and assistant take turns.
    "perplexity": CompatFacts(alternating_roles=True, system_first=True, developer_role=False, drop_params=_THINKING),
    # openrouter.ai/docs/guides/best-practices/prompt-caching: a session stays with its host, unless `provider.order` is set.
    "openrouter": CompatFacts(
        session_param="session_id",
        reads=frozenset({"cache_control", REASONING_CONTENT, "reasoning_details"}),
        thinking_off={"reasoning": {"enabled": False}},
    ),
    "together": CompatFacts(**_LOCAL, reads=frozenset({REASONING_CONTENT, "reasoning"}), thinking_off={"reasoning": {"enabled": False}}),
    "fireworks": CompatFacts(developer_role=False, reads=_REASONING, thinking_off={"reasoning_effort": "none"}),
    "deepinfra": CompatFacts(**_LOCAL, reads=_REASONING, thinking_off={"reasoning_effort": "none"}),
    "novita": CompatFacts(**_LOCAL, reads=_REASONING, thinking_off={"enable_thinking": False}),
    "nebius": _LOCAL_REASONING,
    "sambanova": CompatFacts(**_LOCAL, text_content=True, thinking_off=_TEMPLATE),
    "huggingface": CompatFacts(developer_role=False),
    "databricks": CompatFacts(developer_role=False),
    "cohere": CompatFacts(developer_role=False),
    "litellm_proxy": CompatFacts(reads=_CLAUDE_READS, nested=frozenset({"google"})),
    "openai_compatible": _LOCAL,
    "vllm": CompatFacts(**_LOCAL, reads=frozenset({REASONING_CONTENT, "reasoning"}), thinking_off=_TEMPLATE),
    "sglang": _LOCAL_REASONING,
    "llamacpp": _LOCAL_REASONING,
    "tgi": _LOCAL,
    "lmstudio": _LOCAL,
    "ollama": CompatFacts(**_LOCAL, reads=frozenset({"reasoning"}), thinking_off={"reasoning_effort": "none"}),
}
"""What each provider's API takes. One that is missing takes what OpenAI's does, without its limits."""

_SERVERS = frozenset({"openai_compatible", "vllm", "sglang", "llamacpp", "lmstudio", "tgi", "nebius"})
_HOSTS = _SERVERS | {"dashscope", "deepinfra", "fireworks", "huggingface", "novita", "openrouter", "sambanova", "together"}
_PROXIES = frozenset({"litellm_proxy", "openai_compatible"})
_OPENAI_API = frozenset({"openai", "azure", "openrouter"}) | _PROXIES
_CLAUDE_API = frozenset({"anthropic", "bedrock", "vertex", "openrouter"}) | _PROXIES
_REASONING_SAMPLING = frozenset({"frequency_penalty", "logit_bias", "presence_penalty", "stop", "temperature", "top_p"} | _LOGPROBS)
_START = r"(^|[^a-z0-9])"

FAMILIES: tuple[Family, ...] = (
    # They refuse these by name: "Unsupported parameter: 'parallel_tool_calls' is not supported with this model".
    Family(r"(^|/)o[134](-|$)", _OPENAI_API, {"drop_params": _REASONING_SAMPLING | {"parallel_tool_calls"}}),
    Family(r"(^|/)gpt-5(-(mini|nano|pro|codex|20\d\d)|$)", _OPENAI_API, {"drop_params": _REASONING_SAMPLING}),
    # How they think least. Some can't be kept from it.
    Family(r"(^|/)(o[134](-|$)|gpt-5(\.\d+)?-codex)", _OPENAI_API - {"openrouter"}, {"thinking_off": {"reasoning_effort": "low"}}),
    Family(r"(^|/)gpt-5(-(mini|nano|20\d\d)|$)", _OPENAI_API - {"openrouter"}, {"thinking_off": {"reasoning_effort": "minimal"}}),
    Family(r"(^|/)gpt-(5\.\d|[6-9])(?!.*codex)", _OPENAI_API - {"openrouter"}, {"thinking_off": {"reasoning_effort": "none"}}),
    # platform.claude.com/docs, migration guide: temperature or top_p from Opus 4.1 on, none of them from Opus 4.7 and Sonnet 5 on.
    Family(r"claude-(opus-4[.-][1-6]|(sonnet|haiku)-4[.-][5-9])(?!\d)", _CLAUDE_API, {"exclusive_params": ("temperature", "top_p")}),
    Family(r"claude-(opus-4[.-][7-9]|[a-z]+-([5-9]|\d\d))(?!\d)", _CLAUDE_API, {"drop_params": _SAMPLING}),
    Family(r"claude", _PROXIES | {"openrouter"}, {"call_id": ANTHROPIC, "empty_text": False}),
    # ai.google.dev/gemini-api/docs/thought-signatures: required from Gemini 3 on.
    Family(r"gemini-[12]\.|gemma|learnlm", frozenset({"google"}), {"requires": frozenset()}),
    Family(r"gemini-2\.5-pro", frozenset({"google"}), {"thinking_off": {"reasoning_effort": "low"}}),
    Family(r"gemini-([3-9]|\d\d)", frozenset({"google"}), {"thinking_off": {"reasoning_effort": "minimal"}}),
    Family(r"gemini", frozenset({"vertex"}), {"thinking_off": {"reasoning_effort": "none"}, "call_id": "any"}),
    Family(
        _START + r"gemini(?!-[12]\.)",
        frozenset({"openai_compatible"}),
        {"reads": frozenset({"extra_content"}), "requires": frozenset({THOUGHT_SIGNATURE}), "thinking_off": {"reasoning_effort": "none"}},
    ),
    Family(r"magistral", frozenset({"mistral"}), {"thinking_off": {"prompt_mode": None}}),
    Family(r"qwen", frozenset({"groq"}), {"thinking_off": {"reasoning_effort": "none"}}),
    Family(r"gpt-oss", frozenset({"groq", "cerebras"}), {"thinking_off": {"reasoning_effort": "low"}}),
    Family(r"glm", frozenset({"cerebras"}), {"thinking_off": {"disable_reasoning": True}}),
    Family(r"grok-3-mini", frozenset({"xai"}), {"thinking_off": {"reasoning_effort": "low"}}),
    # Open models, wherever they are served. Kimi refuses a turn without its thought also behind a router.
    Family(_START + r"deepseek", _HOSTS, {"reads": _REASONING, "requires": _REASONING}),
    Family(_START + r"kimi", _HOSTS, {"reads": _REASONING, "requires": _REASONING}),
    Family(_START + r"(glm|qwen|qwq|gpt-oss|minimax|nemotron|mimo)", _HOSTS, {"reads": _REASONING}),
    Family(_START + r"(deepseek|kimi)", _SERVERS, {"text_content": True, "thinking_off": {"chat_template_kwargs": {"thinking": False}}}),
    Family(_START + r"(glm|qwen|nemotron|mimo)", _SERVERS, {"thinking_off": _TEMPLATE}),
    Family(_START + r"(qwen|qwq)", _HOSTS, {"system_first": True, "developer_role": False}),
    Family(
        _START + r"(mi[sx]tral|devstral|magistral|ministral|codestral|pixtral)",
        _HOSTS,
        {"call_id": MISTRAL, "user_after_tool": False, "system_first": True},
    ),
    Family(_START + r"gemma", _SERVERS, {"alternating_roles": True}),
)
"""What models take by their names. A later row overrides an earlier one; what they read and refuse adds up."""


def compat_facts(provider_id: str, model_id: str, *, foreign: bool = False) -> Compat:
    """The facts about a model at a provider. `foreign`: at an address that is not the provider's, where any server may be.

    What its API wants of a history is harmless there. What it refuses may be taken there, so nothing is refused but what the model does.
    """
    facts = CompatFacts(**{**EVERYWHERE, **BY_PROVIDER.get(provider_id, {})})
    if foreign:
        facts = CompatFacts(**{**facts, "drop_params": frozenset(), "max_tools": None, "developer_role": False, "session_param": None})
    served = {provider_id, "openai_compatible"} if foreign else {provider_id}
    for family in FAMILIES:
        if not family.providers.isdisjoint(served) and re.search(family.pattern, model_id, re.IGNORECASE):
            facts = _joined(facts, family.facts)
    return Compat(**facts)


def _joined(facts: CompatFacts, more: CompatFacts) -> CompatFacts:
    joined = CompatFacts(**{**facts, **more})
    if more.get("reads"):
        joined["reads"] = facts.get("reads", frozenset()) | more["reads"]
    if more.get("drop_params"):
        joined["drop_params"] = facts.get("drop_params", frozenset()) | more["drop_params"]
    return joined
