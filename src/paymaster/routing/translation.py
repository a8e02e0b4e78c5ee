"""A request in a model's terms, and what is dropped for that, by name; the forms themselves are known to the model's dialect. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from paymaster.dialects.chat.fitting.history import fit_history
from paymaster.dialects.chat.fitting.params import DROPS, HARMLESS_PARAMS, FittedParams, Takes, are_plain, fit_params, joined
from paymaster.dialects.chat.fitting.thinking import is_off
from paymaster.dialects.chat.fitting.tool_names import fit_tools
from paymaster.dialects.chat.requests import own_messages
from paymaster.dialects.losses import without_places
from paymaster.dialects.messages.claude_models import without_thinking
from paymaster.dialects.state import owner_of
from paymaster.frozen import frozen_dataclass
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Dialect, Effort, Model
from paymaster.routing.requests import OUTPUT_LIMIT_NAMES, Request, choices_in
from paymaster.routing.wire_bodies import counted_body, own_tools, planned_params, wire_body

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


@frozen_dataclass(frozen=True, slots=True)
class Translation:
    """The request in the model's terms: what to send (without the output limit), what was dropped, what rules the model out.

    `dropped` has the name of each field once, however many messages had it. `cache_control` is the longest cache lifetime that the
    messages ask for (`5m`, `1h`), None if they ask for none. `tool_names` has the caller's names of the tools that are sent under another,
    by that. `wire` is what is sent instead to a model that does not speak chat completions: the body in its dialect.
    """

    messages: Sequence[JsonObject]
    params: Mapping[str, object] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    impossible: tuple[str, ...] = ()
    cache_control: str | None = None
    tools: Sequence[JsonObject] = ()
    tool_names: Mapping[str, str] = field(default_factory=dict)
    wire: JsonObject | None = None


_OF_THE_CALL = frozenset({"model", "messages", "input"})
"""What no registry sets, not in an `extra_body` either."""


def translate(request: Request, model: Model) -> Translation:
    """Put the request into the model's terms. The caller's parameters override the registry's."""
    if model.dialect is not Dialect.CHAT and request.operation is Operation.CHAT:
        return _in_dialect(request, model)
    compat = model.compat
    thought = _thought(request, model)
    # Anthropic's API takes no sampling beside thinking: the registry's is dropped; the caller's stays for the API to refuse.
    yields = _SAMPLING if isinstance(own := thought.get("thinking"), Mapping) and not is_off(own) else ()
    defaults = model.params and {
        name: value for name, value in joined(model.params).items() if name not in yields and name not in _OF_THE_CALL
    }
    wanted = {name: value for name, value in {**defaults, **request.params, **thought}.items() if name not in OUTPUT_LIMIT_NAMES}
    known, others = own_tools(request, wanted, model)
    if known is not request.tools:
        request = replace(request, tools=known)  # a parameter about tools has no place where none is left
    if are_plain(wanted, compat) and model.unsupported_params.isdisjoint(wanted) and model.adapter != "litellm":
        fitted = FittedParams(wanted)
    else:
        fitted = fit_params(wanted, request.params, compat, _takes(request, model, wanted))
    messages, unowned = own_messages(request.messages, owner_of(model.provider, model.model_id))
    history = fit_history(messages, compat)
    tools, tool_names, lost = fit_tools(known, compat)
    silent = request.thinking is None or (is_off(request.thinking.own) and not _reasons(model))
    unsent = () if thought or silent else ("thinking",)
    many = (f"more than {compat.max_tools} tools ({len(tools)} given)",) if compat.max_tools and len(tools) > compat.max_tools else ()
    return Translation(
        history.messages,
        fitted.params,
        without_places((*fitted.dropped, *unsent, *unowned, *history.lost, *lost, *others.dropped, *request.lost)),
        (*fitted.impossible, *many, *others.impossible, *request.only_in_source),
        _cache_lifetime(request.messages, request.tools, fitted.params) if "cache_control" in compat.reads else None,
        tools,
        tool_names,
    )


def _in_dialect(request: Request, model: Model) -> Translation:
    """The request for a model that does not speak chat completions. What is planned with, and counted, is what is sent."""
    compat, source = model.compat, request.source
    defaults = {name: value for name, value in joined(model.params).items() if name not in _OF_THE_CALL}
    wanted = {name: value for name, value in {**defaults, **request.params}.items() if name not in OUTPUT_LIMIT_NAMES}
    fitted = fit_params(wanted, request.params, compat, _takes(request, model, wanted))
    lost: tuple[str, ...] = ()
    tool_names: Mapping[str, str] = {}
    if source is None or source.dialect is Dialect.CHAT:
        history = fit_history(request.messages, compat)
        tools, tool_names, lost = fit_tools(request.tools, compat)
        lost = (*fitted.dropped, *history.lost, *lost)
        request = replace(request, messages=history.messages, tools=tools)
    elsewhere = request.only_in_source if source is not None and source.dialect is not model.dialect else ()
    written = wire_body(request, model, defaults, fitted.params)
    messages, tools = counted_body(model.dialect, written.body, request)
    params = planned_params(request, model, fitted.params, written.body)
    return Translation(
        messages,
        params,
        without_places((*lost, *written.dropped)),
        (*fitted.impossible, *elsewhere, *written.impossible, *(("n",) if choices_in(wanted) > 1 else ())),
        _cache_lifetime(messages, tools, params) if "cache_control" in compat.reads else None,
        tools,
        tool_names,
        written.body,
    )


def _takes(request: Request, model: Model, wanted: JsonObject) -> Takes:
    """What the model takes of this request: of a caller's words for litellm only those that are no settings."""
    refused = model.unsupported_params
    if model.adapter == "litellm":
        known = LITELLM_PARAMS | DROPS
        refused |= {name for name, value in request.params.items() if value is not None and name not in known}
    if request.tools and model.effort is Effort.WITHOUT_TOOLS and wanted.get("reasoning_effort") not in (None, "none"):
        refused |= {"reasoning_effort"}
    return Takes(
        refused=refused, reasons=_reasons(model), effort=_takes_effort(request, model), tools=bool(request.tools or wanted.get("tools"))
    )


def _reasons(model: Model) -> bool | None:
    """Whether it reasons; None if that is not known."""
    return None if model.capabilities is None else "reasoning" in model.capabilities


def _takes_effort(request: Request, model: Model) -> bool:
    return model.effort is Effort.ALWAYS or (model.effort is Effort.WITHOUT_TOOLS and not request.tools)


def _thought(request: Request, model: Model) -> JsonObject:
    """The parameter that makes the model think, or not: Anthropic's or an effort; nothing if it isn't known to reason, or would refuse."""
    wanted, reasons = request.thinking, _reasons(model)
    if wanted is None:
        return {}
    if is_off(wanted.own):
        known = model.compat.thinking_off is not None or "thinking_blocks" in model.compat.reads
        return {"thinking": wanted.own} if known and reasons is not False else {}
    if not reasons:
        return {}
    if "thinking_blocks" in model.compat.reads:
        return {} if _acts_without_thought(request.messages) else {"thinking": wanted.own}
    return {"reasoning_effort": wanted.effort} if _takes_effort(request, model) else {}


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
        return without_thinking(params)
    return {**params, "thinking": {**thinking, "budget_tokens": max(LEAST_THINKING_TOKENS, output_tokens // 2)}}


def _cache_lifetime(messages: Sequence[JsonObject], tools: Sequence[JsonObject], params: Mapping[str, object]) -> str | None:
    markers = _markers((*messages, *tools))
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
        if type(source := holder.get("source")) is dict:  # a document may be a list of parts
            markers += _markers([source])
    return markers
