"""litellm's `cache_control_injection_points`: where a caller wants the prompt cached, as markers on blocks; knows no other field."""

from collections.abc import Iterator, Mapping

from paymaster.dialects.objects import section
from paymaster.jsontypes import JsonObject

POINTS = "cache_control_injection_points"
_MARK: JsonObject = {"type": "ephemeral"}


def with_markers(body: JsonObject) -> JsonObject:
    """The body with a marker at each point, and without the points; the very same object if it has none."""
    if POINTS not in body:
        return body
    points, messages = body[POINTS], body.get("messages")
    marked: dict[str, object] = {name: value for name, value in body.items() if name != POINTS}
    turns = list(messages) if isinstance(messages, list) else []
    for point in points if isinstance(points, list) else ():
        control = section(point).get("control") or _MARK
        if section(point).get("role") == "system" and "system" in marked:
            marked["system"] = _marked_content(marked["system"], control)
        for index in _places(section(point), turns):
            turns[index] = {**turns[index], "content": _marked_content(turns[index].get("content"), control)}
    return {**marked, "messages": turns}


def _places(point: JsonObject, turns: list[JsonObject]) -> Iterator[int]:
    """The turns that a point means: one by its number, from the end if that is negative, or all of a role."""
    index, role = point.get("index"), point.get("role")
    if isinstance(index, int):
        if -len(turns) <= index < len(turns):
            yield index
    elif isinstance(role, str):
        yield from (number for number, turn in enumerate(turns) if turn.get("role") == role)


def _marked_content(content: object, control: object) -> object:
    """The content with a marker on its last block."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not blocks or not isinstance(last := blocks[-1], Mapping):
        return content
    return [*blocks[:-1], {**last, "cache_control": control}]
