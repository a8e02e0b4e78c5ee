"""A request in a model's terms: parameters and fields that it does not take are dropped if that is harmless, and named. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Effort, Model
from paymaster.routing.requests import EXTRA_BODY, OUTPUT_LIMIT_NAMES, OWN_FIELDS, Request

HARMLESS_PARAMS = frozenset(
    {
        "encoding_format", "frequency_penalty", "logit_bias", "metadata", "parallel_tool_calls", "prediction", "presence_penalty",
        "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "safety_identifier", "seed", "service_tier", "store",
        "temperature", "thinking", "top_k", "top_p", "user", "verbosity",
    }
)  # fmt: skip
"""Parameters without which an answer still answers the question; any other one that a model does not take rules the model out.

Vectors are converted to the requested encoding in any case.
"""

LITELLM_PARAMS = HARMLESS_PARAMS | {
    "audio", "cachedContent", "citations", "container", "context_management", "dimensions", "documents", "enable_search",
    "enable_thinking", "function_call", "functions", "guided_json", "include", "include_reasoning", "inference_geo", "input_type",
    "length_penalty", "logprobs", "max_completion_tokens", "max_tokens", "min_p", "min_tokens", "modalities", "n", "output_config",
    "output_format", "priority", "random_seed", "reasoning", "reasoning_format", "repetition_penalty", "response_format", "safe_prompt",
    "safety_settings", "search_domain_filter", "search_mode", "search_parameters", "speed", "stop", "stop_sequences", "stop_token_ids",
    "structured_outputs", "system", "thinking_budget", "thinking_config", "tool_choice", "top_a", "top_logprobs", "typical_p", "user_id",
    "web_search_options",
}  # fmt: skip
"""What a caller may hand to a model that is called through litellm.

All other keywords of litellm are its settings, and the registry's to set, under `params` of the model: some name the address to which the
request and the provider's key are sent (`base_url`), a file to read, or an answer to make up.
"""

_SAMPLING = ("temperature", "top_k", "top_p")

LEAST_THINKING_TOKENS = 1_024
"""Anthropic's smallest thinking budget."""

MESSAGE_EXTRAS = frozenset({"cache_control", "thinking_blocks", "reasoning_content", "provider_specific_fields"})
"""Message fields outside OpenAI's schema: one model writes them, few others read them."""


@dataclass(frozen=True, slots=True)
class Translation:
    """The request in the model's terms: messages and parameters to send (without the output limit), what was dropped, what rules it out.

    `cache_control` is the longest cache lifetime that the messages ask for (`5m`, `1h`), None if they ask for none.
    """

    messages: Sequence[JsonObject]
    params: Mapping[str, object] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    impossible: tuple[str, ...] = ()
    cache_control: str | None = None


def translate(request: Request, model: Model) -> Translation:
    """Put the request into the model's terms. The caller's parameters override the registry's."""
    thought = _thought(request, model)
    # Anthropic's API takes no sampling beside thinking: the registry's is dropped; the caller's stays for the API to refuse.
    yields = _SAMPLING if "thinking" in thought else ()
    defaults = {name: value for name, value in _defaults(model).items() if name not in yields}
    wanted = {**defaults, **request.params, **thought}
    refused = [name for name in wanted if name in model.unsupported_params]
    if model.adapter == "litellm":
        refused += [name for name, value in request.params.items() if value is not None and name not in {*refused, *LITELLM_PARAMS}]
    dropped = [name for name in refused if name in HARMLESS_PARAMS]
    impossible = tuple(name for name in refused if name not in HARMLESS_PARAMS)
    params = {name: value for name, value in wanted.items() if name not in refused and name not in OUTPUT_LIMIT_NAMES}
    unread = MESSAGE_EXTRAS - model.readable_extras
    messages, stripped = _readable(request.messages, unread)
    lifetime = _cache_lifetime(request, params) if "cache_control" in model.readable_extras else None
    unsent = ("thinking",) if request.thinking is not None and not thought else ()
    return Translation(messages, params, (*dropped, *unsent, *stripped), impossible, lifetime)


def _defaults(model: Model) -> Mapping[str, object]:
    """The registry's parameters. Those of an `extra_body` join them, as a request's do: litellm puts them into the body."""
    extra = model.params.get(EXTRA_BODY)
    if not isinstance(extra, Mapping):
        return model.params
    kept = {name: value for name, value in extra.items() if name in _KEPT_NESTED}
    joined = {name: value for name, value in extra.items() if name not in _KEPT_NESTED}
    rest = {name: value for name, value in model.params.items() if name != EXTRA_BODY}
    return {**rest, **joined, **({EXTRA_BODY: kept} if kept else {})}


_KEPT_NESTED = OWN_FIELDS | {"google"}
"""Google reads its own section where it is; what the flow sets itself is no parameter."""


def _thought(request: Request, model: Model) -> JsonObject:
    """The parameter that makes the model think: Anthropic's or an effort; nothing if it isn't known to reason, or would refuse."""
    wanted = request.thinking
    if wanted is None or model.capabilities is None or "reasoning" not in model.capabilities:
        return {}
    if "thinking_blocks" in model.readable_extras:
        return {} if _acts_without_thought(request.messages) else {"thinking": wanted.own}
    takes = model.effort is Effort.ALWAYS or (model.effort is Effort.WITHOUT_TOOLS and not request.tools)
    return {"reasoning_effort": wanted.effort} if takes else {}


def _acts_without_thought(messages: Sequence[JsonObject]) -> bool:
    """Whether the last answer called tools without a thought of its own: Anthropic's API then refuses to think on."""
    last = next((message for message in reversed(messages) if message.get("role") == "assistant"), {})
    return bool(last.get("tool_calls")) and not last.get("thinking_blocks")


def fit_thinking(params: Mapping[str, object], output_tokens: int) -> Mapping[str, object]:
    """The parameters with a thinking budget that leaves room in the output, as Anthropic's API demands; none where that is too little."""
    thinking = params.get("thinking")
    budget_tokens = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if not isinstance(thinking, Mapping) or not isinstance(budget_tokens, int) or budget_tokens < output_tokens:
        return params
    if output_tokens <= LEAST_THINKING_TOKENS:
        return {name: value for name, value in params.items() if name != "thinking"}
    return {**params, "thinking": {**thinking, "budget_tokens": max(LEAST_THINKING_TOKENS, output_tokens // 2)}}


def _readable(messages: Sequence[JsonObject], unread: frozenset[str]) -> tuple[Sequence[JsonObject], tuple[str, ...]]:
    """The messages without the fields that the model can't read; the very same list where there are none."""
    if all(_is_plain(message, unread) for message in messages):
        return messages, ()
    stripped: set[str] = set()
    result = [message if _is_plain(message, unread) else _strip(message, unread, stripped) for message in messages]
    return result, tuple(f"messages.{name}" for name in sorted(stripped))


def _is_plain(message: JsonObject, unread: frozenset[str]) -> bool:
    """On the path of every call: true where the message has nothing to strip."""
    if not unread.isdisjoint(message):
        return False
    content = message.get("content")
    return not isinstance(content, list) or not any(_unread_in(part, unread) for part in content)


def _unread_in(part: object, unread: frozenset[str]) -> bool:
    return isinstance(part, Mapping) and (not unread.isdisjoint(part) or ("thinking_blocks" in unread and _is_thinking(part)))


def _strip(message: JsonObject, unread: frozenset[str], stripped: set[str]) -> JsonObject:
    stripped |= unread & message.keys()
    kept: dict[str, object] = {name: value for name, value in message.items() if name not in unread}
    content = message.get("content")
    if isinstance(content, list):
        parts: list[object] = []
        for part in content:
            if "thinking_blocks" in unread and isinstance(part, Mapping) and _is_thinking(part):
                stripped.add("thinking_blocks")
            elif isinstance(part, Mapping):
                stripped |= unread & part.keys()
                parts.append({name: value for name, value in part.items() if name not in unread})
            else:
                parts.append(part)
        kept["content"] = parts
    return kept


def _is_thinking(part: JsonObject) -> bool:
    return part.get("type") in ("thinking", "redacted_thinking")


def _cache_lifetime(request: Request, params: Mapping[str, object]) -> str | None:
    markers = _markers((*request.messages, *request.tools))
    markers += [params[name] for name in _CACHE_PARAMS if name in params]
    found: set[str] = set()
    for marker in markers:
        if isinstance(marker, Mapping):
            ttl = marker.get("ttl")
            found.add(ttl if isinstance(ttl, str) else "5m")
        elif isinstance(marker, list) and marker:
            found.add("1h")  # litellm's points, each with a marker of its own
    if not found:
        return None
    return "5m" if found == {"5m"} else "1h"


_CACHE_PARAMS = ("cache_control", "cache_control_injection_points")
"""Parameters that let a provider, or litellm, choose what is cached."""
_MARKED = ("content", "tool_calls")
"""Fields with parts that may be marked."""


def _markers(holders: Sequence[object]) -> list[object]:
    """Every cache marker; litellm reads that of a tool's function, too."""
    markers: list[object] = []
    for holder in holders:
        if type(holder) is not dict and not isinstance(holder, Mapping):
            continue
        if "cache_control" in holder:
            markers.append(holder["cache_control"])
        if type(function := holder.get("function")) is dict and "cache_control" in function:
            markers.append(function["cache_control"])
        for name in _MARKED:
            if type(inner := holder.get(name)) is list:
                markers += _markers(inner)
    return markers
