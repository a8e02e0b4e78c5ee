"""The names that a registry may use for providers, capabilities and budget dimensions; knows no section and no file."""

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from paymaster.accounting.account_names import BUDGET_DIMENSIONS
from paymaster.errors import near
from paymaster.registry.providers import find_provider, nearest_provider, provider_ids, provider_names
from paymaster.registry.secrets import shown
from paymaster.registry.values import read_names, read_text, refuse

TOTAL = "total"
"""A budget per `total` is for all time."""

CAPABILITIES: Mapping[str, str] = {
    "function_calling": "takes tools and answers with tool calls",
    "parallel_tool_calls": "answers with several tool calls at once",
    "tool_choice": "takes a choice of the tool to call",
    "json_mode": "answers in JSON on request",
    "json_schema": "follows a JSON Schema",
    "vision": "reads images",
    "pdf": "reads PDF files",
    "audio": "takes audio",
    "audio_output": "answers with audio",
    "video": "takes video",
    "reasoning": "thinks before it answers",
    "prompt_caching": "bills repeated prompts at a lower price",
    "system_messages": "takes system messages",
    "assistant_prefill": "continues the beginning of an answer",
    "web_search": "searches the web by itself",
    "computer_use": "operates a computer by itself",
    "embeddings": "makes vectors of texts, and nothing else",
}
"""Every capability and its meaning."""

CAPABILITY_ALIASES: Mapping[str, str] = {
    "tools": "function_calling", "tool_use": "function_calling", "tool_calling": "function_calling", "tool_calls": "function_calling",
    "functions": "function_calling", "parallel_function_calling": "parallel_tool_calls", "images": "vision", "image": "vision",
    "image_input": "vision", "structured_output": "json_schema", "structured_outputs": "json_schema", "response_schema": "json_schema",
    "json_object": "json_mode", "pdf_input": "pdf", "files": "pdf", "audio_input": "audio", "video_input": "video", "thinking": "reasoning",
    "caching": "prompt_caching", "prefill": "assistant_prefill", "embedding": "embeddings",
}  # fmt: skip
"""Other common names of capabilities."""


def _provider(value: object) -> str:
    """The canonical id."""
    name = read_text(value)
    facts = find_provider(name)
    if facts is None:
        nearest = nearest_provider(name)
        other = "for any other OpenAI-style server: provider: openai_compatible, with its base_url"
        refuse(f"unknown provider {shown(name)}", f"did you mean {nearest}?" if nearest else f"known: {', '.join(provider_ids())}; {other}")
    return facts.id


def _capabilities(names: list[str]) -> list[str]:
    """The canonical names, without repetition."""
    canonical = [CAPABILITY_ALIASES.get(plain := name.lower().replace("-", "_"), plain) for name in names]
    if unknown := [name for name in canonical if name not in CAPABILITIES]:
        refuse(f"unknown capability {', '.join(map(shown, unknown))}", near(unknown[0], CAPABILITIES))
    return list(dict.fromkeys(canonical))


def _dimensions(names: list[str]) -> list[str]:
    """The dimensions in the order of account names; none for `total`."""
    if names == [TOTAL]:
        return []
    if not names:
        refuse("must name at least one dimension", f"known: {', '.join((*BUDGET_DIMENSIONS, TOTAL))}")
    if unknown := [name for name in names if name not in BUDGET_DIMENSIONS]:
        if TOTAL in unknown:
            refuse("total can't be combined: it is a budget for all time")
        refuse(f"a budget can't be per {', '.join(map(shown, unknown))}", near(unknown[0], (*BUDGET_DIMENSIONS, TOTAL)))
    if len(set(names)) < len(names):
        refuse("a dimension is given twice")
    return sorted(names, key=BUDGET_DIMENSIONS.index)


def _list_of(words: Iterable[str]) -> WithJsonSchema:
    items = {"type": "string", "enum": list(words)}
    return WithJsonSchema({"anyOf": [items, {"type": "array", "items": items}]})


ProviderName: TypeAlias = Annotated[str, BeforeValidator(_provider), WithJsonSchema({"type": "string", "enum": list(provider_names())})]
Capabilities: TypeAlias = Annotated[
    list[str], BeforeValidator(read_names), AfterValidator(_capabilities), _list_of((*CAPABILITIES, *CAPABILITY_ALIASES))
]
Dimensions: TypeAlias = Annotated[
    list[str], BeforeValidator(read_names), AfterValidator(_dimensions), _list_of((*BUDGET_DIMENSIONS, TOTAL))
]
