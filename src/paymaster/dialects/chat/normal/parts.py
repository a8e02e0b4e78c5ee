"""The text and the thoughts of a message, whole or a piece of it, however a server writes them; knows nothing about tool calls.

Out comes `content` as text or null, and thoughts as `reasoning_content`. Images go to `images`, signed thoughts to `thinking_blocks`, and
parts that nobody knows to `content_parts`. `<think>` in a text is left where it is.
"""

from collections.abc import Iterator, Mapping

from paymaster.jsontypes import JsonObject

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "thought", "thoughts")
"""Fields with thoughts, the first one that has a text counts: some servers send the same text in two. All but the first are renamed."""
_RENAMED = frozenset(_THOUGHT_FIELDS[1:])
DETAILS = "reasoning_details"
"""OpenRouter's thoughts, with what their provider signed: they are kept beside the text, because OpenRouter needs them back."""
_ODD = _RENAMED | {DETAILS}

_TEXTS = frozenset({"text", "output_text", "input_text"})
_THOUGHTS = frozenset({"thinking", "reasoning", "thought", "reasoning_text", "summary_text", "reasoning.text", "reasoning.summary"})
_SIGNED = frozenset({"redacted_thinking"})
_INNER = ("text", "thinking", "reasoning", "content", "summary", "value")
"""Where the text of a part is: a text, a part or a list of parts."""
_DEEPEST = 6


def has_thought(message: JsonObject) -> bool:
    """Whether a field has a thought as a text."""
    return any(message.get(name) for name in _THOUGHT_FIELDS)


def plain_parts(message: JsonObject, *, details_repeat: bool = False) -> JsonObject:
    """The message with its text and thoughts in OpenAI's fields; the very same object where they are there.

    `details_repeat`: what `reasoning_details` say has come as a text, in an earlier piece.
    """
    content, reasoning = message.get("content"), message.get("reasoning_content")
    if (content is None or isinstance(content, str)) and (reasoning is None or isinstance(reasoning, str)) and _ODD.isdisjoint(message):
        return message
    found = _Found()
    if isinstance(content, str):
        found.texts.append(content)
    elif content is not None:
        found.read(content)
    thought = next((text for name in _THOUGHT_FIELDS if (text := text_of(message.get(name)))), "")
    thought = thought or "".join(found.thoughts)
    if not thought and not details_repeat:
        thought = "".join(_details(message.get(DETAILS)))
    kept: dict[str, object] = {name: value for name, value in message.items() if not value or name not in _RENAMED}
    if "content" in message:
        kept["content"] = "".join(found.texts) if found.texts else None
    if thought or not (reasoning is None or isinstance(reasoning, str)):
        kept["reasoning_content"] = thought
    for name, parts in (("images", found.images), ("thinking_blocks", found.signed), ("content_parts", found.others)):
        if parts:
            known = message.get(name)
            kept[name] = [*(known if isinstance(known, list) else ()), *parts]
    if found.refusals:
        kept["refusal"] = "".join(found.refusals)
    return message if kept == message else kept


def text_of(value: object, depth: int = 0) -> str:
    """All text of a value: a text, a part or a list of parts, no deeper than any server writes it."""
    if isinstance(value, str):
        return value
    if depth == _DEEPEST:
        return ""
    if isinstance(value, list):
        return "".join([text_of(part, depth + 1) for part in value])
    if isinstance(value, Mapping):
        return next((text for name in _INNER if (text := text_of(value.get(name), depth + 1))), "")
    return ""


def _details(details: object) -> Iterator[str]:
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            yield text_of(detail.get("text")) or text_of(detail.get("summary"))


class _Found:
    """The parts of a content by what they are."""

    __slots__ = ("images", "others", "refusals", "signed", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.refusals: list[str] = []
        self.images: list[object] = []
        self.signed: list[object] = []
        self.others: list[object] = []

    def read(self, content: object) -> None:
        """Sort the parts."""
        for part in content if isinstance(content, list) else (content,):
            self._sort(part)

    def _sort(self, part: object) -> None:
        if isinstance(part, str):
            self.texts.append(part)
        elif not isinstance(part, Mapping):
            if part is not None:
                self.texts.append(str(part))
        else:
            self._sort_object(part, str(part.get("type") or "").lower())

    def _sort_object(self, part: JsonObject, kind: str) -> None:
        if kind in _TEXTS or (not kind and isinstance(part.get("text"), str)):
            self.texts.append(text_of(part.get("text")) or text_of(part.get("content")))
        elif kind in _SIGNED:
            self.signed.append(part)
        elif kind in _THOUGHTS or (not kind and "thinking" in part):
            self.thoughts.append(text_of(part))
            if part.get("signature"):
                self.signed.append({**part, "thinking": text_of(part)})
        elif kind == "refusal":
            self.refusals.append(text_of(part.get("refusal")) or text_of(part))
        elif kind.startswith("image") or "image_url" in part:
            self.images.append(part)
        else:
            self.others.append(part)
