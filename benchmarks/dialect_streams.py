"""A stream of each dialect as its provider sends it, and the request for it; knows no server and no figure."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

CHUNKS = 20
_TEXT = "word word"
_PROMPT = "Find the bug in this file. " * 60


@dataclass(frozen=True)
class DialectStream:
    """The path, the body of a request for the model of this name, and the events: before the text, of one piece of it, and behind it."""

    dialect: str
    path: str
    body: bytes
    first: bytes
    piece: bytes
    last: bytes


def _event(data: object, name: str = "") -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + orjson.dumps(data) + b"\n\n"


def _typed(*events: dict[str, object]) -> bytes:
    return b"".join(_event(event, str(event["type"])) for event in events)


def _chat() -> DialectStream:
    around = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m", "system_fingerprint": "fp_1"}

    def chunk(delta: dict[str, object], ending: str | None = None) -> bytes:
        return _event({**around, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": ending}], "usage": None})

    usage = {"prompt_tokens": 400, "completion_tokens": 40, "total_tokens": 440}
    return DialectStream(
        dialect="chat",
        path="/v1/chat/completions",
        body=orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": _PROMPT}], "max_tokens": 100, "stream": True}),
        first=chunk({"role": "assistant", "content": ""}),
        piece=chunk({"content": _TEXT}),
        last=chunk({}, "stop") + _event({**around, "choices": [], "usage": usage}) + b"data: [DONE]\n\n",
    )


def _messages() -> DialectStream:
    usage = {"input_tokens": 400, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": usage,
    }  # fmt: skip
    return DialectStream(
        dialect="messages",
        path="/v1/messages",
        body=orjson.dumps({"model": "messages", "messages": [{"role": "user", "content": _PROMPT}], "max_tokens": 100, "stream": True}),
        first=_typed(
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ),
        piece=_typed({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _TEXT}}),
        last=_typed(
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {**usage, "output_tokens": 40},
            },
            {"type": "message_stop"},
        ),
    )


def _responses() -> DialectStream:
    item = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    done_part = {**part, "text": _TEXT * CHUNKS}
    done = {**item, "status": "completed", "content": [done_part]}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    usage = {
        "input_tokens": 400, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 40,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 440,
    }  # fmt: skip
    response: dict[str, object] = {
        "id": "resp_1", "object": "response", "created_at": 1_790_000_000, "status": "in_progress", "model": "m", "output": [],
        "error": None, "incomplete_details": None, "usage": None,
    }  # fmt: skip
    return DialectStream(
        dialect="responses",
        path="/v1/responses",
        body=orjson.dumps({"model": "responses", "input": _PROMPT, "max_output_tokens": 100, "stream": True, "store": False}),
        first=_typed(
            {"type": "response.created", "sequence_number": 0, "response": response},
            {"type": "response.in_progress", "sequence_number": 1, "response": response},
            {"type": "response.output_item.added", "sequence_number": 2, "output_index": 0, "item": item},
            {"type": "response.content_part.added", "sequence_number": 3, **place, "part": part},
        ),
        piece=_typed({"type": "response.output_text.delta", "sequence_number": 4, **place, "delta": _TEXT, "logprobs": []}),
        last=_typed(
            {"type": "response.output_text.done", "sequence_number": 5, **place, "text": done_part["text"], "logprobs": []},
            {"type": "response.content_part.done", "sequence_number": 6, **place, "part": done_part},
            {"type": "response.output_item.done", "sequence_number": 7, "output_index": 0, "item": done},
            {
                "type": "response.completed",
                "sequence_number": 8,
                "response": {**response, "status": "completed", "output": [done], "usage": usage},
            },
        ),
    )


STREAMS = (_chat(), _messages(), _responses())
"""Chat completions first: the others are compared with it."""
