"""Reads a request of any dialect as the simulated endpoint needs it: tools, results of tools, texts, a schema; knows no answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that runs at the client. `kind` is `function`, `custom` (free text) or `local_shell`."""

    name: str
    kind: str
    schema: Object
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `prompt_bytes` is its size; `schema` the JSON schema that the answer must have, or None."""

    dialect: str
    model: str
    tools: tuple[Tool, ...]
    results: tuple[str, ...]
    text: str
    schema: Object | None
    stream: bool
    counts_shown: bool
    limit_tokens: int | None
    prompt_bytes: int


def read(dialect: str, body: Object, size: int) -> Asked:
    """Read a request of `chat`, `responses` or `messages`."""
    tools, results, schema = {"chat": _chat, "responses": _responses, "messages": _messages}[dialect](body)
    limits = [body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")]
    return Asked(
        dialect=dialect,
        model=str(body.get("model")),
        tools=tuple(tools),
        results=tuple(results),
        text=json.dumps(body.get("messages", body.get("input")), ensure_ascii=False),
        schema=schema,
        stream=body.get("stream") is True,
        counts_shown=dialect != "chat" or bool((body.get("stream_options") or {}).get("include_usage")),
        limit_tokens=next((limit for limit in limits if limit is not None), None),
        prompt_bytes=size,
    )


def text_of(content: object) -> str:
    """The text of a content: a string, or parts with a `text`."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content] if content else []
    return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in parts)


def is_result(role: object, text: str) -> bool:
    """Whether a message has the result of a tool. smolagents writes it as a user's text."""
    return role == "tool" or (role == "user" and text.startswith("Observation:"))


def _chat(body: Object) -> tuple[list[Tool], list[str], Object | None]:
    tools = [
        Tool(each["function"]["name"], "function", each["function"].get("parameters") or {})
        for each in body.get("tools") or []
        if each.get("type") == "function"
    ]
    results = [text for message in body["messages"] if is_result(message["role"], text := text_of(message.get("content")))]
    form = body.get("response_format") or {}
    return tools, results, (form.get("json_schema") or {}).get("schema")


def _responses(body: Object) -> tuple[list[Tool], list[str], Object | None]:
    items = body["input"] if isinstance(body["input"], list) else []
    added = [tool for item in items if item.get("type") == "additional_tools" for tool in item.get("tools") or []]
    tools = [found for each in [*(body.get("tools") or []), *added] for found in _tools(each)]
    said = [(item, text_of(item.get("output") or item.get("content"))) for item in items]
    results = [text for item, text in said if str(item.get("type")).endswith("_call_output") or is_result(item.get("role"), text)]
    form = (body.get("text") or {}).get("format") or {}
    return tools, results, form.get("schema")


def _tools(tool: Object, namespace: str | None = None) -> list[Tool]:
    match tool.get("type"):
        case "function":
            return [Tool(tool["name"], "function", tool.get("parameters") or {}, namespace)]
        case "custom":
            return [Tool(tool["name"], "custom", {}, namespace)]
        case "local_shell":
            return [Tool("local_shell", "local_shell", {})]
        case "namespace":
            return [found for each in tool.get("tools") or [] for found in _tools(each, str(tool["name"]))]
        case _:
            return []


def _messages(body: Object) -> tuple[list[Tool], list[str], Object | None]:
    tools = [Tool(each["name"], "function", each["input_schema"]) for each in body.get("tools") or [] if "input_schema" in each]
    results = [
        text_of(block.get("content") or block.get("text"))
        for message in body["messages"]
        for block in (message["content"] if isinstance(message["content"], list) else [{"type": "text", "text": message["content"]}])
        if block.get("type") == "tool_result" or is_result("user", str(block.get("text")))
    ]
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return tools, results, form.get("schema")
