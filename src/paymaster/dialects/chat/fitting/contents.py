"""The content of messages in a form that an endpoint takes: text as text, images where they may be, nothing empty; knows no order."""

from collections.abc import Iterator, Mapping, Sequence

from paymaster.dialects.chat.fitting.turns import calls_of
from paymaster.jsontypes import JsonObject

NO_TEXT = "(no text)"
"""What is sent for a user's message without any text to endpoints that refuse those: leaving it out would change whose turn it is."""
IMAGE_FOLLOWS = "(The image follows.)"
"""A result that was nothing but an image."""


def text_of(part: object) -> str | None:
    """The text of a part that is nothing but text; None for any other."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return None
    text = part.get(_TEXTS.get(str(part.get("type")), ""))
    return text if isinstance(text, str) else None


_TEXTS: Mapping[str, str] = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}


def with_images_behind(messages: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """The messages with the images of results in a user's message behind the last result of the turn, each under the id of its call."""
    moved: list[object] = []
    for message in messages:
        if message.get("role") != "tool":
            if moved:
                yield {"role": "user", "content": moved}
                moved = []
            yield message
            continue
        content = message.get("content")
        others = [part for part in content if text_of(part) is None] if isinstance(content, list) else []
        if not isinstance(content, list) or not others:
            yield message
            continue
        texts = [part for part in content if text_of(part) is not None]
        yield {**message, "content": texts or IMAGE_FOLLOWS}
        moved += [{"type": "text", "text": f"Result of tool call {message.get('tool_call_id')}:"}, *others]
    if moved:
        yield {"role": "user", "content": moved}


def as_text(message: JsonObject, lost: set[str]) -> JsonObject:
    """The message with its parts as one text, line by line, if they are nothing but text. A marker of a part has no place there."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    texts = [text_of(part) for part in content]
    if any(text is None for text in texts):
        return message
    if any("cache_control" in part for part in content if isinstance(part, Mapping)):
        lost.add("messages.cache_control")
    return {**message, "content": "\n".join(text for text in texts if text)}


def without_empty_text(messages: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """The messages without empty texts. A message that has nothing else is left out, a user's gets a stand-in, a result stays."""
    for given in messages:
        role, content, message = given.get("role"), given.get("content"), given
        if isinstance(content, list) and any(map(is_blank, content)):
            content = [part for part in content if not is_blank(part)]
            message = {**given, "content": content}
        if role == "tool" or not (content is None or content == [] or is_blank(content)):
            yield message
        elif role == "user":
            yield {**message, "content": NO_TEXT}
        elif calls_of(message) or message.get("thinking_blocks") or message.get("function_call"):
            yield message if content is None else {**message, "content": None}


def is_blank(part: object) -> bool:
    """Whether a text, or a part with text, is empty."""
    text = text_of(part)
    return text is not None and not text.strip()
