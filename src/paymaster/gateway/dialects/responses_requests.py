"""Turns a request to OpenAI's Responses API into one for chat completions; refuses by name what needs a provider's own server."""

from collections.abc import Iterator, Mapping

from paymaster.gateway.dialects.fields import read_count, read_model, read_stream
from paymaster.gateway.http_errors import Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.routing.requests import Request

_SAME = (
    "temperature", "top_p", "user", "metadata", "parallel_tool_calls", "service_tier", "prompt_cache_key", "safety_identifier",
)  # fmt: skip
_STATEFUL = ("previous_response_id", "conversation", "background", "prompt")
"""What only a server that stores answers can do."""


def read_request(body: JsonObject) -> Request:
    """The request. Raises Rejected."""
    for name in _STATEFUL:
        if body.get(name) not in (None, False):
            advice = "Send the whole conversation as `input`: nothing is stored here."
            raise Rejected(invalid(f"{name} is not available through this gateway", name, advice))
    messages = [*_instructions(body.get("instructions")), *_input(body.get("input"))]
    if not messages:
        raise Rejected(invalid("input: a text or a list of items is required", "input"))
    return Request(
        messages=messages,
        model=read_model(body),
        tools=tuple(_tools(body.get("tools"))),
        params=dict(_params(body)),
        stream=read_stream(body),
    )


def _params(body: JsonObject) -> Iterator[tuple[str, object]]:
    yield from ((name, body[name]) for name in _SAME if body.get(name) is not None)
    if (limit := read_count(body, "max_output_tokens")) is not None:
        yield "max_completion_tokens", limit
    reasoning = _section(body.get("reasoning"))
    if reasoning.get("effort") is not None:
        yield "reasoning_effort", reasoning["effort"]
    text = _section(body.get("text"))
    if text.get("verbosity") is not None:
        yield "verbosity", text["verbosity"]
    shape = _section(text.get("format"))
    if shape.get("type") == "json_schema":
        yield "response_format", {"type": "json_schema", "json_schema": {name: value for name, value in shape.items() if name != "type"}}
    elif shape.get("type") == "json_object":
        yield "response_format", {"type": "json_object"}
    choice = body.get("tool_choice")
    if isinstance(choice, str):
        yield "tool_choice", choice
    elif isinstance(choice, Mapping):
        if choice.get("type") != "function":
            raise Rejected(invalid(f"tool_choice: {choice.get('type')!r} is not available through this gateway", "tool_choice"))
        yield "tool_choice", {"type": "function", "function": {"name": choice.get("name")}}


def _tools(tools: object) -> Iterator[JsonObject]:
    if tools is None:
        return
    for index, tool in enumerate(_items(tools, "tools")):
        if tool.get("type") != "function" or not isinstance(tool.get("name"), str):
            message = f"tools[{index}]: {tool.get('type')!r} runs on OpenAI's own servers; only functions are available here"
            raise Rejected(invalid(message, "tools"))
        yield {"type": "function", "function": {name: value for name, value in tool.items() if name != "type" and value is not None}}


def _instructions(given: object) -> list[JsonObject]:
    if given is None:
        return []
    return [{"role": "system", "content": given}] if isinstance(given, str) else list(_input(given))


def _input(given: object) -> list[JsonObject]:
    if given is None:
        return []
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[dict[str, object]] = []
    for index, item in enumerate(_items(given, "input")):
        _add(messages, item, f"input[{index}]")
    return [*messages]


def _add(messages: list[dict[str, object]], item: JsonObject, where: str) -> None:
    """One item. Tool calls are added to the assistant's message before them."""
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            if role not in ("user", "assistant", "system", "developer"):
                raise Rejected(invalid(f"{where}.role: one of user, assistant, system, developer is required", "input"))
            messages.append({"role": "system" if role == "developer" else role, "content": _content(item.get("content"), where)})
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
            call = {"id": item.get("call_id") or item.get("id"), "type": "function", "function": function}
            last = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
            if last is None:
                last = {"role": "assistant", "content": None}
                messages.append(last)
            known = last.get("tool_calls")
            last["tool_calls"] = [*(known if isinstance(known, list) else ()), call]
        case "function_call_output":
            output = item.get("output")
            content = output if isinstance(output, str) else _content(output, where)
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
        case "reasoning":
            pass  # its text may be encrypted, and no other model may read it
        case kind:
            raise Rejected(invalid(f"{where}: {kind!r} can't be passed on to every model", "input"))


def _content(content: object, where: str) -> object:
    if content is None or isinstance(content, str):
        return content or ""
    parts = [_part(part, where) for part in _items(content, where)]
    if all(part["type"] == "text" for part in parts):
        return "".join(str(part["text"]) for part in parts)
    return parts


def _part(part: JsonObject, where: str) -> JsonObject:
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "refusal":
            return {"type": "text", "text": str(part.get("text") or part.get("refusal") or "")}
        case "input_image" if isinstance(part.get("image_url"), str):
            detail = {"detail": part["detail"]} if isinstance(part.get("detail"), str) else {}
            return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
        case "input_file" if isinstance(part.get("file_data"), str):
            return {"type": "file", "file": {"filename": part.get("filename") or "file.pdf", "file_data": part["file_data"]}}
        case kind:
            raise Rejected(invalid(f"{where}: {kind!r} can't be passed on to every model", "input"))


def _items(value: object, where: str) -> list[JsonObject]:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise Rejected(invalid(f"{where}: a list of objects is required", where.partition("[")[0]))
    return value


def _section(value: object) -> JsonObject:
    return value if isinstance(value, Mapping) else {}
