"""Anthropic's messages: writes answers, errors and streams in its format; `anthropic_requests` reads the requests."""

from collections.abc import Iterator, Mapping

import orjson

from paymaster.accounting.usage.record import Usage
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.anthropic_requests import read_request
from paymaster.gateway.dialects.dialect import DialectRequest, Receipt
from paymaster.gateway.dialects.fields import cost_fragment, event, trailing_comment
from paymaster.gateway.http_errors import HttpError
from paymaster.jsontypes import JsonObject

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal"}
_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


class AnthropicMessages:
    """`POST /v1/messages`."""

    def read(self, body: JsonObject) -> DialectRequest:
        """See `read_request`."""
        return DialectRequest(request=read_request(body), body=body)

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """A message."""
        message = reply.message
        content = list(_blocks(message, thinking=wants_thinking(request.body)))
        return {
            "id": message_id(reply.call_id),
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": content,
            "stop_reason": stop_reason(reply.finish_reason, calls=bool(reply.tool_calls)),
            "stop_sequence": None,
            "usage": {**usage_of(reply.usage), "cost_usd": cost_fragment(reply.cost_nanousd)},
        }

    def pieces(self, request: DialectRequest) -> "MessagePieces":
        """See `MessagePieces`."""
        return MessagePieces(thinking=wants_thinking(request.body))

    def error(self, error: HttpError) -> JsonObject:
        """See `anthropic_error`."""
        return anthropic_error(error)


class MessagePieces:
    """Anthropic's events, one block after the other. OpenAI's chunks do not mark the end of a block: the next block's start ends it."""

    def __init__(self, *, thinking: bool) -> None:
        self._thinking = thinking
        self._begun = False
        self._index = -1
        self._kind = ""
        self._call: object = None

    def chunk(self, chunk: JsonObject, model: str) -> bytes:
        """What the chunk adds."""
        written = [] if self._begun else [self._start(chunk, model)]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        if isinstance(delta, Mapping):
            written.extend(self._delta(delta))
        return b"".join(written)

    def end(self, reply: Reply, receipt: Receipt) -> bytes:
        """The last block's end, the stop reason and the usage; then the cost, in a comment that clients ignore."""
        reason = stop_reason(reply.finish_reason, calls=bool(reply.tool_calls))
        usage = {**usage_of(reply.usage), "cost_usd": cost_fragment(reply.cost_nanousd)}
        delta = {"stop_reason": reason, "stop_sequence": None}
        return b"".join(
            [
                b"" if self._begun else self._start({}, reply.model),
                *self._close(),
                event({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta"),
                event({"type": "message_stop"}, "message_stop"),
                trailing_comment(receipt),
            ]
        )

    def broken(self, error: HttpError) -> bytes:
        """An error event, and no message_stop."""
        return event(anthropic_error(error), "error")

    def _start(self, chunk: JsonObject, model: str) -> bytes:
        self._begun = True
        usage = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
        message: JsonObject = {
            "id": message_id(str(chunk.get("id", ""))), "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        return event({"type": "message_start", "message": message}, "message_start")

    def _delta(self, delta: JsonObject) -> Iterator[bytes]:
        for thought in _thoughts(delta) if self._thinking else ():
            yield from self._thought(thought)
        for text in (delta.get("content"), delta.get("refusal")):
            if isinstance(text, str) and text:
                yield from self._open("text", {"type": "text", "text": ""})
                yield self._piece({"type": "text_delta", "text": text})
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, Mapping):
                yield from self._tool_call(call)

    def _thought(self, block: JsonObject) -> Iterator[bytes]:
        """A piece of a thought, its signature, or a redacted thought, which comes whole."""
        if block.get("type") == "redacted_thinking":
            yield from self._close()
            yield from self._open("redacted_thinking", block)
            yield from self._close()
            return
        yield from self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if text := block.get("thinking"):
            yield self._piece({"type": "thinking_delta", "thinking": text})
        if signature := block.get("signature"):
            yield self._piece({"type": "signature_delta", "signature": signature})
            yield from self._close()

    def _tool_call(self, call: JsonObject) -> Iterator[bytes]:
        given = call.get("function")
        function: JsonObject = given if isinstance(given, Mapping) else {}
        call_id, key = call.get("id"), call.get("index")
        is_new = self._kind != "tool_use" or (key is not None and key != self._call) or (bool(call_id) and bool(function.get("name")))
        if is_new and function.get("name"):
            yield from self._close()
            self._call = key
            block = {"type": "tool_use", "id": call_id or f"toolu_{self._index + 1}", "name": function["name"], "input": {}}
            yield from self._open("tool_use", block)
        if self._kind == "tool_use" and isinstance(arguments := function.get("arguments"), str) and arguments:
            yield self._piece({"type": "input_json_delta", "partial_json": arguments})

    def _open(self, kind: str, block: JsonObject) -> Iterator[bytes]:
        if self._kind == kind:
            return
        yield from self._close()
        self._kind = kind
        self._index += 1
        yield event({"type": "content_block_start", "index": self._index, "content_block": block}, "content_block_start")

    def _close(self) -> Iterator[bytes]:
        if self._kind:
            self._kind = ""
            yield event({"type": "content_block_stop", "index": self._index}, "content_block_stop")

    def _piece(self, delta: JsonObject) -> bytes:
        return event({"type": "content_block_delta", "index": self._index, "delta": delta}, "content_block_delta")


def wants_thinking(body: JsonObject) -> bool:
    """Whether the client requested thinking: other clients do not expect such a block, and get none."""
    thinking = body.get("thinking")
    return isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")


def anthropic_error(error: HttpError) -> JsonObject:
    """Anthropic's error body."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": _message(error)}}


def _message(error: HttpError) -> str:
    """The text of an error. If the prompt is too long it begins as Anthropic's does: there is no code, and clients look for that phrase."""
    if error.size is None:
        return error.text
    most, tokens = error.size.window_tokens, error.size.prompt_tokens
    figures = "" if most is None or tokens is None else f": {tokens} tokens > {most} maximum"
    return f"prompt is too long{figures}\n{error.text}"


def stop_reason(finish_reason: str, *, calls: bool) -> str:
    """Why an answer ended, in Anthropic's terms."""
    if calls and finish_reason in ("stop", "unknown"):
        return "tool_use"
    return _REASONS.get(finish_reason, "end_turn")


def usage_of(usage: Usage | None) -> dict[str, object]:
    """Tokens by Anthropic's names, which exclude one another."""
    if usage is None:
        return {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    cached = usage.cache_read_tokens + usage.cache_read_audio_tokens + usage.cache_read_image_tokens
    return {
        "input_tokens": usage.prompt_tokens - cached - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens,
    }


def message_id(given: str) -> str:
    """An id with Anthropic's prefix."""
    return given if given.startswith("msg_") else f"msg_{given}"


def _blocks(message: JsonObject, *, thinking: bool) -> Iterator[JsonObject]:
    for block in _thoughts(message) if thinking else ():
        yield block if block.get("type") == "redacted_thinking" else {"signature": "", **block}
    for text in (message.get("content"), message.get("refusal")):
        if isinstance(text, str) and text:
            yield {"type": "text", "text": text}
    calls = message.get("tool_calls")
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        given = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(given, Mapping):
            name, call_id = given.get("name"), call.get("id") or f"toolu_{index}"
            yield {"type": "tool_use", "id": call_id, "name": name, "input": _input(given.get("arguments"))}


def _thoughts(message: JsonObject) -> list[JsonObject]:
    """The thoughts in a message or a delta: Claude's own blocks, with their signatures, or another model's as one block."""
    own = message.get("thinking_blocks")
    blocks = [block for block in own if isinstance(block, Mapping)] if isinstance(own, list) else []
    if blocks:
        return [{name: value for name, value in block.items() if value is not None and name != "cache_control"} for block in blocks]
    thought = message.get("reasoning_content") or message.get("reasoning")
    return [{"type": "thinking", "thinking": thought}] if isinstance(thought, str) and thought else []


def _input(arguments: object) -> JsonObject:
    """The arguments as an object. A model's broken JSON is passed on unparsed, so that the client's own tool reports it."""
    try:
        value = orjson.loads(arguments) if isinstance(arguments, str) and arguments.strip() else {}
    except orjson.JSONDecodeError:
        value = {"_unparsed": arguments}
    return value if isinstance(value, dict) else {"_unparsed": value}
