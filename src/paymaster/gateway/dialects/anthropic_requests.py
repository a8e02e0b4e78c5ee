"""Turns a request in Anthropic's format into one in OpenAI's; omits or refuses what has no counterpart, and guesses nothing.

Omitted: thinking of earlier turns without a signature (another model's), `container`, `context_management`, empty `mcp_servers`.
`cache_control` stays on its part: the flow passes it to models that read it.
"""

from collections.abc import Iterator, Mapping

import orjson

from paymaster.gateway.dialects.fields import read_count, read_model, read_stream
from paymaster.gateway.http_errors import Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.routing.requests import Request, Thinking

_SAME = ("temperature", "top_p", "top_k", "service_tier")
_OWN = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "max_tokens", "stop_sequences", "stream", "metadata", "thinking", *_SAME}
)
_IGNORED = frozenset({"container", "context_management", "mcp_servers", "betas", "inference_geo", "output_config", "output_format"})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_MEDIUM_TOKENS, _HIGH_TOKENS = 2_048, 4_096
"""Thinking budgets from which the effort is medium, and high: the same as in litellm, whose clients also use the gateway."""
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def read_request(body: JsonObject) -> Request:
    """The request. Raises Rejected."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Rejected(invalid("messages: a list with at least one message is required", "messages"))
    system = _system(body.get("system"))
    turns = [turn for index, message in enumerate(messages) for turn in _message(message, f"messages.{index}")]
    return Request(
        messages=[*system, *turns],
        model=read_model(body),
        tools=tuple(_tools(body.get("tools"))),
        params=dict(_params(body)),
        stream=read_stream(body),
        thinking=_thinking(body),
    )


def _thinking(body: JsonObject) -> Thinking | None:
    """The requested thinking; None if there is none."""
    own = _section(body.get("thinking"))
    match own.get("type"):
        case "enabled":
            budget = read_count(own, "budget_tokens", "thinking.budget_tokens")
            if budget is None:
                raise Rejected(invalid("thinking.budget_tokens: a whole number of at least 1 is required", "thinking"))
            return Thinking(own, "high" if budget >= _HIGH_TOKENS else "medium" if budget >= _MEDIUM_TOKENS else "low")
        case "adaptive":
            return Thinking(own, _EFFORTS.get(str(_section(body.get("output_config")).get("effort")), "medium"))
        case _:
            return None


def _params(body: JsonObject) -> Iterator[tuple[str, object]]:
    limit = read_count(body, "max_tokens")
    if limit is None:
        raise Rejected(invalid("max_tokens: a whole number of at least 1 is required", "max_tokens"))
    yield "max_tokens", limit
    yield from ((name, body[name]) for name in _SAME if body.get(name) is not None)
    if stops := body.get("stop_sequences"):
        yield "stop", stops
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(user := metadata.get("user_id"), str):
        yield "user", user
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        yield from _tool_choice(choice)
    for name, value in body.items():  # unknown fields pass through, for a provider that knows them
        if name not in _OWN and name not in _IGNORED:
            yield name, value
    if isinstance(shape := body.get("output_format") or _section(body.get("output_config")).get("format"), Mapping):
        yield "response_format", {"type": "json_schema", "json_schema": {"name": "answer", "schema": shape.get("schema"), "strict": True}}


def _tool_choice(choice: JsonObject) -> Iterator[tuple[str, object]]:
    match choice.get("type"):
        case "auto" | "none" as same:
            yield "tool_choice", same
        case "any":
            yield "tool_choice", "required"
        case "tool":
            yield "tool_choice", {"type": "function", "function": {"name": choice.get("name")}}
        case other:
            raise Rejected(invalid(f"tool_choice.type: {other!r} is not one of auto, any, tool, none", "tool_choice"))
    if choice.get("disable_parallel_tool_use") is True:
        yield "parallel_tool_calls", False


def _system(system: object) -> list[JsonObject]:
    if system is None or system in ("", []):
        return []
    if isinstance(system, str):
        return [{"role": "system", "content": system}]
    return [{"role": "system", "content": [_text(part, f"system.{index}") for index, part in enumerate(_blocks(system, "system"))]}]


def _tools(tools: object) -> Iterator[JsonObject]:
    if tools is None:
        return
    for index, tool in enumerate(_blocks(tools, "tools")):
        kind, name = tool.get("type", "custom"), tool.get("name")
        if kind != "custom":
            raise Rejected(invalid(f"tools.{index}: {kind!r} runs on Anthropic's own servers and is not available here", "tools"))
        if not isinstance(name, str):
            raise Rejected(invalid(f"tools.{index}.name: a string is required", "tools"))
        function = {"name": name, "parameters": tool.get("input_schema") or {"type": "object", "properties": {}}}
        if isinstance(description := tool.get("description"), str):
            function["description"] = description
        yield {"type": "function", "function": function, **_cache(tool)}


def _message(message: object, where: str) -> Iterator[JsonObject]:
    """One turn. Results of tools come first, each as a message of its own, because they answer the previous turn."""
    if not isinstance(message, Mapping) or message.get("role") not in ("user", "assistant", "system"):
        raise Rejected(invalid(f"{where}.role: one of user, assistant is required", "messages"))
    role, content = message["role"], message.get("content")
    if isinstance(content, str):
        yield {"role": role, "content": content}
        return
    blocks = _blocks(content, f"{where}.content")
    if role == "assistant":
        yield _assistant(blocks, where)
        return
    parts: list[JsonObject] = []
    for index, block in enumerate(blocks):
        if block.get("type") == "tool_result":
            yield from _tool_result(block, f"{where}.content.{index}", parts)
        else:
            parts.append(_part(block, f"{where}.content.{index}"))
    if parts:
        yield {"role": role, "content": parts}


def _assistant(blocks: list[JsonObject], where: str) -> JsonObject:
    texts: list[JsonObject] = []
    calls: list[JsonObject] = []
    thoughts = [block for block in blocks if block.get("type") in _THOUGHTS and (block.get("signature") or block.get("data"))]
    for index, block in enumerate(blocks):
        match block.get("type"):
            case "text":
                texts.append(_text(block, f"{where}.content.{index}"))
            case "tool_use":
                arguments = orjson.dumps(block.get("input") or {}, default=dict).decode()
                calls.append({"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}})
            case kind if kind in _THOUGHTS:
                pass
            case kind:
                raise Rejected(invalid(f"{where}.content.{index}: {kind!r} can't be passed on to every model", "messages"))
    plain = [str(text["text"]) for text in texts if "cache_control" not in text]
    content: object = "".join(plain) if len(plain) == len(texts) else texts
    message: dict[str, object] = {"role": "assistant", "content": content or None if calls else content}
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["thinking_blocks"] = thoughts
    return message


def _tool_result(block: JsonObject, where: str, parts: list[JsonObject]) -> Iterator[JsonObject]:
    """A tool's text; images, which OpenAI's tool messages can't have, follow in a user message."""
    content = block.get("content")
    inner = [] if content is None else [{"type": "text", "text": content}] if isinstance(content, str) else _blocks(content, where)
    texts = [str(_text(part, where)["text"]) for part in inner if part.get("type") == "text"]
    parts.extend(_part(part, where) for part in inner if part.get("type") != "text")
    text = "\n".join(texts)
    if block.get("is_error") is True:
        text = f"Error: {text}" if text else "Error"
    yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text, **_cache(block)}


def _part(block: JsonObject, where: str) -> JsonObject:
    """A piece of a user's turn."""
    source = _section(block.get("source"))
    match block.get("type"), source.get("type"):
        case "text", _:
            return _text(block, where)
        case "image", "base64":
            url = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "image_url", "image_url": {"url": url}, **_cache(block)}
        case "image", "url":
            return {"type": "image_url", "image_url": {"url": source.get("url")}, **_cache(block)}
        case "document", "base64":
            data = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "file", "file": {"filename": block.get("title") or "document.pdf", "file_data": data}, **_cache(block)}
        case "document", "text":
            return {"type": "text", "text": str(source.get("data", "")), **_cache(block)}
        case kind, how:
            what = f"{kind!r}" if how is None else f"{kind!r} by {how!r}"
            raise Rejected(invalid(f"{where}: {what} can't be passed on to every model", "messages"))


def _text(block: JsonObject, where: str) -> JsonObject:
    text = block.get("text")
    if block.get("type", "text") != "text" or not isinstance(text, str):
        raise Rejected(invalid(f"{where}: a text is required here", "messages"))
    return {"type": "text", "text": text, **_cache(block)}


def _cache(block: JsonObject) -> JsonObject:
    marker = block.get("cache_control")
    return {"cache_control": marker} if isinstance(marker, Mapping) else {}


def _blocks(value: object, where: str) -> list[JsonObject]:
    if not isinstance(value, list) or not all(isinstance(block, Mapping) for block in value):
        raise Rejected(invalid(f"{where}: a list of objects is required", where.partition(".")[0]))
    return value


def _section(value: object) -> JsonObject:
    return value if isinstance(value, Mapping) else {}
