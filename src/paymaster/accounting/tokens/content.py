"""Finds the parts of a message that cost tokens: texts to count, known numbers of tokens, parts without a bound; knows no vocabulary.

text, refusals, reasoning, names, arguments    counted as text
images, sounds                                 by the family's formula (images.py)
signatures, encrypted reasoning                their bytes: their content is never longer
cache marks                                    nothing
files by reference or as PDF, video            no bound: a few bytes can hold any number of pages
anything unknown                               the bytes of its JSON, but images, files and videos in it by the lines above
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paymaster.accounting.tokens.families import Tokenizer
from paymaster.accounting.tokens.images import audio_tokens, image_size
from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject

_TEXT_KEYS = frozenset({"text", "refusal", "thinking", "reasoning", "reasoning_content"})
_ID_KEYS = frozenset({"id", "call_id", "tool_use_id"})
_SILENT_KEYS = frozenset({"type", "cache_control"})
_UNBOUNDED_TYPES = frozenset({"file", "input_file", "document", "video", "video_url", "input_video"})
_IMAGE_TYPES = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_AUDIO_TYPES = frozenset({"input_audio", "audio"})
_MEDIA_TYPES = tuple(_IMAGE_TYPES | _UNBOUNDED_TYPES)
# An image of unknown size is taken for a screenshot of a page.
_LIKELY_SIZE = (1024, 1024)


@dataclass(slots=True)
class Weight:
    """The parts of a message: `texts` still to count, an upper bound of all others in `tokens`, their best guess in `likely_tokens`.

    `unbounded` names the kinds of parts without a known bound.
    """

    tokens: int = 0
    likely_tokens: int = 0
    texts: list[str] = field(default_factory=list)
    unbounded: list[str] = field(default_factory=list)

    def add(self, tokens: int) -> None:
        """Add a known number of tokens."""
        self.tokens += tokens
        self.likely_tokens += tokens

    def add_json(self, value: object) -> None:
        """Add a value of unknown meaning: the bytes of its JSON, a quarter of them as the guess."""
        size = len(compact_json(value).encode("utf-8", "surrogatepass"))
        self.tokens += size
        self.likely_tokens += -(-size // 4)


def weigh_message(message: JsonObject, tokenizer: Tokenizer) -> Weight:
    """One chat message, with the tokens of the chat template. Raises RequestInvalid for values that JSON can't express."""
    weight = Weight()
    weight.add(tokenizer.message_tokens)
    for key, value in message.items():
        match key, value:
            case (_, None) | ("cache_control", _):
                pass
            case "role", str():
                weight.texts.append(value)
            case "name", str():
                weight.texts.append(value)
                weight.add(1)
            case "tool_call_id", str():
                weight.texts.append(value)
                weight.add(tokenizer.tool_call_tokens)
            case "tool_calls", list() | tuple():
                for call in value:
                    _add_call(weight, call, tokenizer)
            case "function_call", _:
                _add_call(weight, value, tokenizer)
            case (("content" | "refusal" | "reasoning" | "reasoning_content" | "thinking_blocks"), _):
                _add_content(weight, value, tokenizer)
            case _:
                weight.add_json({key: value})
    return weight


def weigh_tools(tools: Sequence[JsonObject], tokenizer: Tokenizer) -> Weight:
    """The schemas of all tools: their compact JSON as one text, and the family's tokens for having tools."""
    weight = Weight(texts=[compact_json(tools)])
    weight.add(tokenizer.tools_tokens)
    return weight


def compact_json(value: object) -> str:
    """JSON without spaces and escapes, of any mappings and sequences. Raises RequestInvalid for values that JSON can't express."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError) as error:  # keys that aren't strings; a value that contains itself; NaN
        raise RequestInvalid(f"A message or a tool can't be written as JSON: {error}.") from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return list(value)
    raise RequestInvalid(
        f"A message or a tool contains a value of type {type(value).__name__}, which JSON can't express.",
        advice="Pass plain dicts, lists, strings and numbers (for objects of an SDK: model_dump()).",
    )


def _add_call(weight: Weight, call: object, tokenizer: Tokenizer) -> None:
    """Add a tool call: id, name and arguments as texts; any other shape as JSON."""
    weight.add(tokenizer.tool_call_tokens)
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments), **more}, **outer} if not more:
            weight.texts += (name, arguments)
            _add_other_keys(weight, outer)
        case {"name": str(name), "arguments": str(arguments), **outer}:
            weight.texts += (name, arguments)
            _add_other_keys(weight, outer)
        case _:
            weight.texts.append(compact_json(call))


def _add_other_keys(weight: Weight, others: Mapping[str, object] | Mapping[object, object]) -> None:
    """Add keys beside the known ones: ids as text, cache marks as nothing, others as JSON."""
    for key, value in others.items():
        if value is None or key in _SILENT_KEYS:
            continue
        if isinstance(value, str) and key in _TEXT_KEYS | _ID_KEYS:
            weight.texts.append(value)
        else:
            weight.add_json({key: value})


def _add_content(weight: Weight, content: object, tokenizer: Tokenizer) -> None:
    """Add a text, a part, or a sequence of either."""
    if isinstance(content, str):
        weight.texts.append(content)
    elif isinstance(content, Mapping):
        _add_part(weight, content, tokenizer)
    elif isinstance(content, (list, tuple)):
        for part in content:
            _add_content(weight, part, tokenizer)
    else:
        weight.add_json(content)


def _add_part(weight: Weight, part: JsonObject, tokenizer: Tokenizer) -> None:
    kind = str(part.get("type"))
    if kind in _IMAGE_TYPES:
        _add_image(weight, part, tokenizer)
        return
    if kind in _AUDIO_TYPES and (data := _audio_data(part)) is not None:
        weight.add(audio_tokens(data))
        return
    match part:
        case {"type": "document", "source": {"type": "text", "data": str(text)}, **others}:
            weight.texts.append(text)
            _add_other_keys(weight, others)
        case {"type": str(named)} if named in _UNBOUNDED_TYPES or named in _AUDIO_TYPES:
            weight.unbounded.append(named)
        case {"type": "tool_use", "name": str(name), "input": arguments, **others}:
            weight.add(tokenizer.tool_call_tokens)
            weight.texts += (name, compact_json(arguments))
            _add_other_keys(weight, others)
        case {"type": "tool_result", **others}:
            weight.add(tokenizer.tool_call_tokens)
            _add_content(weight, others.pop("content", ""), tokenizer)
            _add_other_keys(weight, others)
        case {"type": str(), **others} if others.keys() & _TEXT_KEYS:
            _add_other_keys(weight, others)
        case _:
            weight.add_json({name: _without_media(weight, value, tokenizer) for name, value in part.items()})


def _without_media(weight: Weight, value: object, tokenizer: Tokenizer) -> object:
    """What is left of a value of unknown meaning when its images, files and videos were added."""
    if isinstance(value, Mapping):
        if value.get("type") in _MEDIA_TYPES:
            _add_part(weight, value, tokenizer)
            return None
        return {name: _without_media(weight, inner, tokenizer) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_media(weight, inner, tokenizer) for inner in value]
    return value


def _add_image(weight: Weight, part: JsonObject, tokenizer: Tokenizer) -> None:
    url, detail = _image_url(part)
    size = image_size(url)
    weight.tokens += tokenizer.images.tokens(size, detail)
    weight.likely_tokens += tokenizer.images.tokens(size or _LIKELY_SIZE, detail)


def _image_url(part: JsonObject) -> tuple[str, str]:
    """The URL or data of an image, and its detail; an empty URL for an unknown shape, which costs the maximum."""
    match part:
        case {"image_url": {"url": str(url), **others}}:
            detail = others.get("detail", part.get("detail"))
        case {"image_url": str(url)} | {"source": {"data": str(url)}}:
            detail = part.get("detail")
        case _:
            url, detail = "", part.get("detail")
    return url, detail if isinstance(detail, str) else ""


def _audio_data(part: JsonObject) -> str | None:
    match part:
        case {"input_audio": {"data": str(data)}} | {"source": {"data": str(data)}}:
            return data
        case _:
            return None
