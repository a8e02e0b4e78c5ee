"""How much output a piece of a streamed answer carries, in any provider's format; knows no usage and no price."""

from collections.abc import Mapping, Sequence

from paymaster.jsontypes import JsonObject

UNBOUNDED_TOKENS = 10**12
"""The bound of output whose size says nothing about its tokens, as audio and images."""

_NOT_OUTPUT = frozenset({"role", "name", "annotations", "citations", "provider_specific_fields"})
_CALLS = frozenset({"tool_calls", "function_call"})
_MEDIA = frozenset({"audio", "image", "images", "video", "videos", "reasoning_details"})
"""Fields of unbounded output. OpenRouter's `reasoning_details` may be a summary, or encrypted."""
_MEDIA_TYPES = ("image", "audio", "video", "file", "inlinedata")

# A model writes a call in the words of its own template: a head for each call, and more around each argument than JSON has.
_CALL_HEAD_TOKENS = 64
_TOKENS_PER_CALL_BYTE = 3

_STARTS = frozenset({"content_block_start", "content-start", "tool-call-start", "text-generation", "tool-calls-chunk"})
_BLOCKS = ("contentBlockStart", "contentBlockDelta")


def output_bound(chunk: JsonObject) -> int:
    """At most how many tokens of output the chunk carries: text, reasoning, tool calls, refusals, audio; 0 if it carries none.

    A text has at most as many tokens as bytes: every public vocabulary is built of bytes.
    """
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        return _of_event(chunk)
    bound = 0
    for choice in choices:
        # The first test is many times faster, and nearly always enough.
        if type(choice) is dict or isinstance(choice, Mapping):
            for part in (choice.get("delta"), choice.get("message")):
                if part is not None and (type(part) is dict or isinstance(part, Mapping)):
                    bound += _of_message(part)
            text = choice.get("text")
            bound += text_bound(text) if isinstance(text, str) else 0
    return bound


def _of_message(message: JsonObject) -> int:
    bound = 0
    for name, value in message.items():
        if not value or name in _NOT_OUTPUT:
            continue
        if isinstance(value, str):
            bound += text_bound(value)
        elif name in _CALLS:
            bound += _of_calls(value)
        elif name in _MEDIA:
            bound += UNBOUNDED_TOKENS
        else:
            bound += _leaves(value)
    return bound


def _of_calls(value: object) -> int:
    calls = value if isinstance(value, list | tuple) else [value]
    return sum(_CALL_HEAD_TOKENS * _has_name(call) + _TOKENS_PER_CALL_BYTE * _leaves(call) for call in calls)


def _has_name(call: object) -> bool:
    inner = call.get("function", call) if isinstance(call, Mapping) else {}
    return isinstance(inner, Mapping) and bool(inner.get("name"))


def _leaves(value: object) -> int:
    """The bytes of every text in JSON."""
    if isinstance(value, str):
        return text_bound(value)
    if type(value) is dict and len(value) == 2 and "text" in value:  # nearly every piece
        kind, text = value.get("type"), value["text"]
        if kind == "text_delta" and type(text) is str:
            return text_bound(text)
    if isinstance(value, Mapping):
        kind = value.get("type")
        if isinstance(kind, str) and kind.lower().startswith(_MEDIA_TYPES):
            return UNBOUNDED_TOKENS
        return sum([UNBOUNDED_TOKENS if name.lower().startswith(_MEDIA_TYPES) else _leaves(part) for name, part in value.items() if part])
    if isinstance(value, Sequence):
        return sum([_leaves(part) for part in value])
    return 0


def text_bound(text: str) -> int:
    """At most how many tokens a text has."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _of_event(event: JsonObject) -> int:
    """The output of an event without `choices`: Anthropic, OpenAI's responses, Cohere, Bedrock, Gemini, Ollama."""
    kind = event.get("type") or event.get("event_type")
    if kind == "content_block_delta":  # most events of Anthropic's
        delta = event.get("delta")
        return max(1, _leaves(delta)) if delta else 0
    if kind == "response.output_text.delta" and isinstance(text := event.get("delta"), str):
        return max(1, text_bound(text))  # most events of OpenAI's responses, and quick
    if isinstance(kind, str):
        carries = kind in _STARTS or (kind.endswith("delta") and kind != "message_delta")
        return max(1, _leaves(event)) if carries else 0
    bound = sum(_leaves(event[name]) or 1 for name in _BLOCKS if event.get(name) is not None)
    candidates = event.get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        content = candidate.get("content") if isinstance(candidate, Mapping) else None
        bound += _leaves(content.get("parts")) if isinstance(content, Mapping) else 0
    message, text = event.get("message"), event.get("response")
    bound += _of_message(message) if isinstance(message, Mapping) else 0
    return bound + text_bound(text) if isinstance(text, str) else bound
