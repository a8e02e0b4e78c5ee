"""Converts SWE-agent's history to messages, and a reply to SWE-agent's output; knows both formats, and none of SWE-agent's code."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from paymaster.dialects.chat.fitting.params import joined
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject

HistoryItem: TypeAlias = Mapping[str, object]
"""One entry of SWE-agent's history: role, content, and more keys of SWE-agent's."""


def as_messages(history: Sequence[HistoryItem], *, system_as_user: bool = False) -> list[dict[str, object]]:
    """The history as messages, with tool calls, thinking blocks and cache markers. Contents are shared, not copied: do not change them.

    `system_as_user` is SWE-agent's `convert_system_to_user`, for models that accept no system message.
    """
    return [_message(item, system_as_user=system_as_user) for item in history]


def _message(item: HistoryItem, *, system_as_user: bool) -> dict[str, object]:
    role = item["role"]
    if role == "system" and system_as_user:
        role = "user"
    message: dict[str, object] = {"role": role, "content": item["content"]}
    if role == "tool":
        ids = item.get("tool_call_ids")
        message["tool_call_id"] = ids[0] if isinstance(ids, list) and ids else ""
    elif calls := item.get("tool_calls"):
        message["tool_calls"] = calls
        message |= _thoughts(item.get("thinking_blocks"))
    if "cache_control" in item:
        message["cache_control"] = item["cache_control"]
    return message


def as_output(reply: Reply, *, with_tool_calls: bool) -> dict[str, object]:
    """The first choice as SWE-agent's agents and parsers read it: `message`, `tool_calls` if requested, `thinking_blocks`."""
    output: dict[str, object] = {"message": _text(reply.message)}
    if with_tool_calls:
        output["tool_calls"] = [dict(call) for call in reply.tool_calls]
    blocks, thought = reply.message.get("thinking_blocks"), reply.message.get(_THOUGHT)
    if isinstance(blocks, list) and blocks:
        output["thinking_blocks"] = blocks
    elif with_tool_calls and isinstance(thought, str) and thought:
        output["thinking_blocks"] = [{"type": _THOUGHT, _THOUGHT: thought}]
    return output


_THOUGHT = "reasoning_content"
"""SWE-agent keeps no thoughts but `thinking_blocks`, unread: a thought of another kind, which its model wants back, travels there too."""


def _thoughts(blocks: object) -> dict[str, object]:
    """The thoughts of a turn in the fields that they came in."""
    if not isinstance(blocks, list) or not blocks:
        return {}
    first = blocks[0]
    return {_THOUGHT: first[_THOUGHT]} if isinstance(first, Mapping) and first.get("type") == _THOUGHT else {"thinking_blocks": blocks}


def _text(message: JsonObject) -> str:
    """The text of an answer; some providers send it in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part["text"]) for part in content if isinstance(part, Mapping) and part.get("type") == "text")
    return content if isinstance(content, str) else ""


_OWNED_BY_PAYMASTER = frozenset(
    {
        "api_base", "api_key", "api_version", "base_url", "custom_llm_provider", "extra_headers", "fallbacks",
        "max_retries", "messages", "model", "num_retries", "request_timeout", "stream", "stream_options", "timeout", "tools",
    }
)  # fmt: skip
"""Parameters of litellm in `completion_kwargs` that are ignored: the registry decides the endpoint, retries and time limits."""

_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens")


def request_params(kwargs: Mapping[str, object], *, max_output_tokens: int | None) -> dict[str, object]:
    """The request parameters among SWE-agent's `completion_kwargs`, with its `max_output_tokens` if they set no limit themselves."""
    params = dict(joined({name: value for name, value in kwargs.items() if name not in _OWNED_BY_PAYMASTER}))
    if max_output_tokens and not any(name in params for name in _OUTPUT_LIMITS):
        params["max_tokens"] = max_output_tokens
    return params
