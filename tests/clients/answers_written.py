"""Writes an answer in any dialect, whole and as events; knows no HTTP and no time.

An event is a name (empty in chat) and its data, with the number of bytes of output that it carries.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clients.bills import Usage
    from clients.scripted_job import Answer

Object = dict[str, Any]
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    data: Object
    name: str = ""
    output_bytes: int = 0


def pieces(text: str, size: int = 12) -> list[str]:
    """A text in pieces."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def whole(dialect: str, model: str, answer: Answer, usage: Usage) -> Object:
    """A whole answer."""
    return {"chat": _chat, "responses": _response, "messages": _message}[dialect](model, answer, usage)


def events(dialect: str, model: str, answer: Answer, usage: Usage, *, counts_shown: bool) -> Iterator[Event]:
    """The same as a stream. Each text comes in pieces."""
    body = whole(dialect, model, answer, usage)
    match dialect:
        case "chat":
            return _chat_events(body, counts_shown=counts_shown)
        case "responses":
            return _response_events(body)
        case _:
            return _message_events(body)


def _chat(model: str, answer: Answer, usage: Usage) -> Object:
    message: Object = {"role": "assistant", "content": answer.text or None}
    if answer.thought:
        message["reasoning_content"] = answer.thought
    if answer.calls:
        message["tool_calls"] = [
            {"id": f"call_{next(_NUMBERS)}", "type": "function", "function": {"name": call.tool.name, "arguments": call.arguments}}
            for call in answer.calls
        ]
    counts = {
        "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens, "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.thought_tokens},
    }  # fmt: skip
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if answer.calls else "stop"}
    return {
        "id": f"chatcmpl-{next(_NUMBERS)}", "object": "chat.completion", "created": 1_790_000_000, "model": model,
        "choices": [choice], "usage": counts,
    }  # fmt: skip


def _chat_events(body: Object, *, counts_shown: bool) -> Iterator[Event]:
    head = {**body, "object": "chat.completion.chunk"}
    usage, [choice] = head.pop("usage"), head.pop("choices")
    message = choice["message"]

    def chunk(delta: Object, ending: str | None = None, output_bytes: int = 0) -> Event:
        return Event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": ending}]}, "", output_bytes)

    yield chunk({"role": "assistant", "content": ""})
    for field in ("reasoning_content", "content"):
        for piece in pieces(message.get(field) or ""):
            yield chunk({field: piece}, output_bytes=len(piece))
    for index, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        yield chunk({"tool_calls": [{"index": index, **call, "function": {"name": function["name"], "arguments": ""}}]})
        for piece in pieces(function["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, output_bytes=len(piece))
    yield chunk({}, choice["finish_reason"])
    if counts_shown:
        yield Event({**head, "choices": [], "usage": usage})


def _response(model: str, answer: Answer, usage: Usage) -> Object:
    items: list[Object] = []
    if answer.thought:
        summary = [{"type": "summary_text", "text": answer.thought}]
        items.append({"id": f"rs_{next(_NUMBERS)}", "type": "reasoning", "summary": summary, "encrypted_content": "sealed"})
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        items.append({"id": f"msg_{next(_NUMBERS)}", "type": "message", "role": "assistant", "status": "completed", "content": [part]})
    for call in answer.calls:
        number, tool = next(_NUMBERS), call.tool
        own: Object = {"call_id": f"call_{number}", "status": "completed"}
        if tool.kind == "local_shell":
            items.append({"id": f"lsh_{number}", "type": "local_shell_call", **own, "action": json.loads(call.arguments)})
        elif tool.kind == "custom":
            items.append({"id": f"ctc_{number}", "type": "custom_tool_call", **own, "name": tool.name, "input": call.arguments})
        else:
            named = {"name": tool.name, **({"namespace": tool.namespace} if tool.namespace else {})}
            items.append({"id": f"fc_{number}", "type": "function_call", **own, **named, "arguments": call.arguments})
    counts = {
        "input_tokens": usage.prompt_tokens, "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens, "output_tokens_details": {"reasoning_tokens": usage.thought_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }  # fmt: skip
    return {
        "id": f"resp_{next(_NUMBERS)}", "object": "response", "created_at": 1_790_000_000, "status": "completed", "model": model,
        "output": items, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None,
        "usage": counts,
    }  # fmt: skip


def _response_events(body: Object) -> Iterator[Event]:
    numbers = itertools.count()

    def event(kind: str, output_bytes: int = 0, **fields: object) -> Event:
        return Event({"type": f"response.{kind}", "sequence_number": next(numbers), **fields}, f"response.{kind}", output_bytes)

    head = {**body, "output": [], "status": "in_progress", "usage": None}
    yield event("created", response=head)
    yield event("in_progress", response=head)
    for index, item in enumerate(body["output"]):
        begun = {
            **item,
            **{name: empty for name, empty in (("summary", []), ("content", []), ("arguments", ""), ("input", "")) if name in item},
        }
        yield event("output_item.added", output_index=index, item=begun)
        yield from _item_events(event, index, item)
        yield event("output_item.done", output_index=index, item=item)
    yield event("completed", response=body)


def _item_events(event: Any, index: int, item: Object) -> Iterator[Event]:
    at = {"output_index": index, "item_id": item["id"]}
    for part in item.get("summary", []):
        place = {**at, "summary_index": 0}
        yield event("reasoning_summary_part.added", **place, part={**part, "text": ""})
        for piece in pieces(part["text"]):
            yield event("reasoning_summary_text.delta", len(piece), **place, delta=piece)
        yield event("reasoning_summary_text.done", **place, text=part["text"])
        yield event("reasoning_summary_part.done", **place, part=part)
    for part in item.get("content", []):
        place = {**at, "content_index": 0}
        yield event("content_part.added", **place, part={**part, "text": ""})
        for piece in pieces(part["text"]):
            yield event("output_text.delta", len(piece), **place, delta=piece, logprobs=[])
        yield event("output_text.done", **place, text=part["text"], logprobs=[])
        yield event("content_part.done", **place, part=part)
    for field, kind in (("arguments", "function_call_arguments"), ("input", "custom_tool_call_input")):
        if field in item:
            for piece in pieces(item[field]):
                yield event(f"{kind}.delta", len(piece), **at, delta=piece)
            yield event(f"{kind}.done", **at, **{field: item[field]})


def _message(model: str, answer: Answer, usage: Usage) -> Object:
    content: list[Object] = []
    if answer.thought:
        content.append({"type": "thinking", "thinking": answer.thought, "signature": f"{model}-signed"})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    content += [
        {"type": "tool_use", "id": f"toolu_{next(_NUMBERS)}", "name": call.tool.name, "input": json.loads(call.arguments)}
        for call in answer.calls
    ]
    counts = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens, "output_tokens": usage.output_tokens,
    }  # fmt: skip
    return {
        "id": f"msg_{next(_NUMBERS)}", "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": "tool_use" if answer.calls else "end_turn", "stop_sequence": None, "usage": counts,
    }  # fmt: skip


def _message_events(body: Object) -> Iterator[Event]:
    def event(kind: str, output_bytes: int = 0, **fields: object) -> Event:
        return Event({"type": kind, **fields}, kind, output_bytes)

    begun = {**body, "content": [], "stop_reason": None, "usage": {**body["usage"], "output_tokens": 1}}
    yield event("message_start", message=begun)
    for index, block in enumerate(body["content"]):
        field, kind, start = {
            "thinking": ("thinking", "thinking_delta", {"thinking": "", "signature": ""}),
            "text": ("text", "text_delta", {"text": ""}),
            "tool_use": ("partial_json", "input_json_delta", {"input": {}}),
        }[block["type"]]
        yield event("content_block_start", index=index, content_block={**block, **start})
        for piece in pieces(json.dumps(block["input"]) if kind == "input_json_delta" else block[field]):
            yield event("content_block_delta", len(piece), index=index, delta={"type": kind, field: piece})
        if kind == "thinking_delta":
            yield event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": block["signature"]})
        yield event("content_block_stop", index=index)
    ending = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=ending, usage=body["usage"])
    yield event("message_stop")
