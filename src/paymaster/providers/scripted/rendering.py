"""Writes a scripted answer in OpenAI's wire format, whole or in chunks; knows no fault and no time."""

from collections.abc import Iterator

import orjson

from paymaster.jsontypes import JsonObject
from paymaster.providers.scripted.answers import AnswerText, TokenCounts

DONE = b"data: [DONE]\n\n"


def event(value: JsonObject) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def usage_object(counts: TokenCounts) -> dict[str, object]:
    """Usage as OpenAI writes it."""
    usage: dict[str, object] = {
        "prompt_tokens": counts.prompt_tokens,
        "completion_tokens": counts.completion_tokens,
        "total_tokens": counts.total_tokens,
    }
    if counts.cached_tokens:
        usage["prompt_tokens_details"] = {"cached_tokens": counts.cached_tokens}
    if counts.reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": counts.reasoning_tokens}
    return usage


def embeddings_usage(counts: TokenCounts) -> dict[str, object]:
    """Usage of a request for vectors, as OpenAI writes it."""
    return {"prompt_tokens": counts.prompt_tokens, "total_tokens": counts.prompt_tokens}


def whole_answer(head: JsonObject, answer_text: AnswerText, choices: int, usage: JsonObject | None) -> dict[str, object]:
    """A chat.completion object."""
    message: dict[str, object] = {
        "role": "assistant",
        "content": answer_text.text or (None if answer_text.calls or answer_text.refusal else ""),
    }
    if answer_text.reasoning:
        message["reasoning_content"] = answer_text.reasoning
    if answer_text.refusal:
        message["refusal"] = answer_text.refusal
    if answer_text.calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in answer_text.calls
        ]
    answer: dict[str, object] = {
        **head,
        "object": "chat.completion",
        "choices": [
            {"index": index, "message": message, "finish_reason": answer_text.finish_reason, "logprobs": None} for index in range(choices)
        ],
    }
    if usage is not None:
        answer["usage"] = usage
    return answer


def chunks(head: JsonObject, answer_text: AnswerText, choices: int, pieces: int) -> Iterator[tuple[dict[str, object], int]]:
    """chat.completion.chunk objects: the text in about `pieces` parts, then the tool calls, then the finish reason.

    Each with the bytes of output in it.
    """
    for index in range(choices):
        yield _chunk(head, index, {"role": "assistant", "content": ""}), 0
        for name, text in (("reasoning_content", answer_text.reasoning), ("content", answer_text.text), ("refusal", answer_text.refusal)):
            for part in _parts(text, pieces):
                yield _chunk(head, index, {name: part}), len(part.encode())
        for number, (call_id, name, arguments) in enumerate(answer_text.calls):
            opening = {"index": number, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
            yield _chunk(head, index, {"tool_calls": [opening]}), len(name.encode())
            for part in _parts(arguments, pieces):
                yield _chunk(head, index, {"tool_calls": [{"index": number, "function": {"arguments": part}}]}), len(part.encode())
        yield _chunk(head, index, {}, answer_text.finish_reason), 0


def usage_chunk(head: JsonObject, usage: JsonObject) -> dict[str, object]:
    """The last chunk of a stream whose request asked for usage."""
    return {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}


def _chunk(head: JsonObject, index: int, delta: JsonObject, finish_reason: str | None = None) -> dict[str, object]:
    return {**head, "object": "chat.completion.chunk", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def _parts(text: str, pieces: int) -> Iterator[str]:
    size = max(1, -(-len(text) // pieces))
    for start in range(0, len(text), size):
        yield text[start : start + size]
