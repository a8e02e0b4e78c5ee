"""Whole answers in Anthropic's format, read and written, and the words of both for endings and usage; knows no stream and no HTTP."""

from collections.abc import Mapping

from paymaster.accounting.usage.record import Usage
from paymaster.dialects.chat.normal.endings import own_word
from paymaster.dialects.messages.blocks import BlockWriter, read_content
from paymaster.dialects.messages.fields import OWN
from paymaster.dialects.neutral import Answer, Ending, Opaque, State, Text, Thought, ToolCall
from paymaster.dialects.objects import section
from paymaster.dialects.state import stamped
from paymaster.jsontypes import JsonObject

_ENDINGS = {
    "end_turn": Ending.STOP, "stop_sequence": Ending.STOP, "max_tokens": Ending.LENGTH, "tool_use": Ending.TOOL_CALLS,
    "refusal": Ending.CONTENT_FILTER, "model_context_window_exceeded": Ending.LENGTH, "pause_turn": Ending.STOP,
    "compaction": Ending.STOP,
}  # fmt: skip
_REASONS = {
    Ending.STOP: "end_turn", Ending.LENGTH: "max_tokens", Ending.TOOL_CALLS: "tool_use", Ending.CONTENT_FILTER: "refusal",
}  # fmt: skip
_HEAD = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
OPAQUE = "anthropic_blocks"
"""The field of a message in the house form that has the blocks which only Anthropic knows."""
_SIGNED = {"thinking": "signature", "redacted_thinking": "data"}
"""The field with what its model signed, of each kind of thought."""
_OUTSIDE = ("cache_creation_input_tokens", "cache_read_input_tokens")


def read_answer(body: JsonObject) -> Answer:
    """The answer. Raises RequestInvalid for a body that is none."""
    reason, stopped_at = body.get("stop_reason"), body.get("stop_sequence")
    ending = ending_of(reason)
    extras = {name: value for name, value in body.items() if name not in _HEAD and value is not None}
    if reason != reason_of(ending, stopped_at):
        extras["stop_reason"] = reason
    return Answer(
        parts=read_content(body.get("content"), "content"),
        ending=ending,
        stop_sequence=stopped_at if isinstance(stopped_at, str) else None,
        extras={OWN: extras} if extras else {},
    )


def write_answer(answer: Answer, *, thinking: bool = True) -> JsonObject:
    """The content and the ending of an answer. Without `thinking` it has no thoughts: its client expects none.

    What models want back goes with a stamp into what the client returns.
    """
    writer = BlockWriter(stamps=True)
    parts = answer.parts if thinking else tuple(part for part in answer.parts if not isinstance(part, Thought))
    own = answer.extras.get(OWN, {})
    return {
        "type": "message",
        "role": "assistant",
        "content": writer.blocks(parts, "content"),
        "stop_reason": reason_of(answer.ending, answer.stop_sequence),
        "stop_sequence": answer.stop_sequence,
        **own,
    }


def ending_of(reason: object) -> Ending:
    """Why an answer ended; a word that nobody knows is a plain end."""
    return _ENDINGS.get(reason, Ending.STOP) if isinstance(reason, str) else Ending.STOP


def reason_of(ending: str, stop_sequence: object = None) -> str:
    """The ending in Anthropic's word."""
    if ending == Ending.STOP and isinstance(stop_sequence, str):
        return "stop_sequence"
    return _REASONS.get(Ending(ending), "end_turn") if ending in _REASONS else "tool_use" if ending == "function_call" else "end_turn"


def openai_usage(usage: JsonObject) -> JsonObject:
    """A usage in OpenAI's words, with Anthropic's own beside them. OpenAI's prompt includes the cached tokens."""
    figures = {name: usage.get(name) for name in ("input_tokens", "output_tokens", *_OUTSIDE)}
    counts = {name: value if isinstance(value, int) else 0 for name, value in figures.items()}
    prompt = counts["input_tokens"] + sum(counts[name] for name in _OUTSIDE)
    thinking = section(usage.get("output_tokens_details")).get("thinking_tokens")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": counts["output_tokens"],
        "total_tokens": prompt + counts["output_tokens"],
        "prompt_tokens_details": {
            "cached_tokens": counts["cache_read_input_tokens"], "cache_write_tokens": counts["cache_creation_input_tokens"],
        },
        **({"completion_tokens_details": {"reasoning_tokens": thinking}} if isinstance(thinking, int) else {}),
        **{name: value for name, value in usage.items() if name not in ("input_tokens", "output_tokens") and value is not None},
    }  # fmt: skip


def anthropic_usage(usage: Usage | None) -> dict[str, object]:
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


def signed_by(block: object, owner: str) -> object:
    """A thought whose signature, if it has one, is stamped with its owner; any other block, and without an owner, as it is."""
    name = _SIGNED.get(str(block.get("type"))) if owner and isinstance(block, Mapping) else None
    if name is None or not isinstance(block, Mapping) or not isinstance(value := block.get(name), str) or not value:
        return block
    return {**block, name: stamped(State(value=value, dialect=OWN, owner=owner))}


def house_answer(body: JsonObject, owner: str = "") -> dict[str, object]:
    """The chat.completion for an answer; what it has no word for stays in `native_finish_reason` and `stop_sequence` of its choice.

    With an `owner` signatures are stamped with it: nobody else could read them, and a client of chat returns them to any model.
    """
    content = body.get("content")
    if owner and isinstance(content, list):
        body = {**body, "content": [signed_by(block, owner) for block in content]}
    answer = read_answer(body)
    choice: dict[str, object] = {"index": 0, "message": house_message(answer), "finish_reason": house_ending(body.get("stop_reason"))}
    choice |= native_ending(body)
    usage = body.get("usage")
    return {
        "id": body.get("id"),
        "object": "chat.completion",
        "model": body.get("model"),
        "choices": [choice],
        **({"usage": openai_usage(usage)} if isinstance(usage, Mapping) else {}),
    }


def house_ending(reason: object) -> object:
    """The ending in the word of chat completions; a word that is not Anthropic's stays: a table elsewhere has the words of all servers."""
    known = _ENDINGS.get(reason) if isinstance(reason, str) else Ending.STOP
    return reason if known is None else known.value


def stated_reason(reason: object, *, calls: bool) -> object:
    """The ending of an answer as Anthropic says it: not every endpoint that is compatible has its words, or minds that calls decide.

    A word that nobody knows stays: it may be one of Anthropic's next.
    """
    if not isinstance(reason, str):
        return reason
    stated = reason
    if reason not in _ENDINGS and (word := own_word(reason)) is not None:
        stated = reason_of(word)
    if calls and stated == "end_turn":
        return "tool_use"
    return "end_turn" if stated == "tool_use" and not calls else stated


def native_ending(delta: JsonObject) -> JsonObject:
    """The ending as Anthropic says it, where chat completions has no word for it."""
    reason, stopped_at = delta.get("stop_reason"), delta.get("stop_sequence")
    known = {} if reason in ("end_turn", "max_tokens", "tool_use", "refusal", None) else {"native_finish_reason": reason}
    return {**known, **({"stop_sequence": stopped_at} if isinstance(stopped_at, str) else {})}


def house_message(answer: Answer) -> dict[str, object]:
    """The message of an answer in the house form."""
    texts = [part.text for part in answer.parts if isinstance(part, Text)]
    thoughts = [part for part in answer.parts if isinstance(part, Thought)]
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    message: dict[str, object] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if said := "".join(part.text for part in thoughts):
        message["reasoning_content"] = said
    if thoughts:
        message["thinking_blocks"] = BlockWriter(stamps=True).blocks(tuple(thoughts), "content")
    if calls:
        message["tool_calls"] = [house_call(call) for call in calls]
    if opaque := [part.value for part in answer.parts if isinstance(part, Opaque)]:
        message[OPAQUE] = opaque
    return message


def house_call(call: ToolCall) -> JsonObject:
    """A call as chat completions has it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
