"""Which messages stand where: results behind their calls, roles that an endpoint knows, in an order that it takes; changes no text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from paymaster.jsontypes import JsonObject
from paymaster.registry.compat import Compat

BRIDGE = "OK."
"""The assistant's message between a result and a user, for endpoints that want one there."""


def calls_of(message: JsonObject) -> Sequence[object]:
    """The tool calls of a message."""
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list | tuple) else ()


def call_id_of(call: object) -> object:
    """The id of a call."""
    return call.get("id") if isinstance(call, Mapping) else None


def is_ordered(messages: Sequence[JsonObject]) -> bool:
    """Whether each result stands behind the turn that has its call."""
    open_ids: set[object] | None = None
    for message in messages:
        if message.get("role") != "tool":
            open_ids = {call_id_of(call) for call in calls_of(message)} if message.get("tool_calls") else None
        elif open_ids is None or message.get("tool_call_id") not in open_ids:
            return False
    return True


def ordered(messages: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """The messages, each result directly behind the latest turn before it that has its call. No result is made up, and none is left out."""
    owners: dict[object, int] = {}
    results: dict[int, list[JsonObject]] = {}
    moved: set[int] = set()
    for position, message in enumerate(messages):
        if message.get("role") == "tool" and (owner := owners.get(message.get("tool_call_id"))) is not None:
            results.setdefault(owner, []).append(message)
            moved.add(position)
        owners.update((call_id, position) for call in calls_of(message) if isinstance(call_id := call_id_of(call), str))
    for position, message in enumerate(messages):
        if position not in moved:
            yield message
        yield from results.get(position, ())


def with_known_roles(messages: Sequence[JsonObject], compat: Compat, lost: set[str]) -> Iterator[JsonObject]:
    """The messages without roles that the endpoint doesn't know, or not at that place."""
    first: JsonObject | None = None
    began = False
    for given in messages:
        unknown = given.get("role") == "developer" and not compat.developer_role
        message = {**given, "role": "system"} if unknown else given
        role = message.get("role")
        if not compat.system_first:
            yield message
        elif role not in ("system", "developer"):
            if first is not None:
                yield first
            first, began = None, True
            yield message
        elif began:
            lost.add("messages.system")
            yield {**message, "role": "user"}
        else:
            first = message if first is None else _joined(first, message)
    if first is not None:
        yield first


def in_turns(messages: Sequence[JsonObject], compat: Compat) -> Iterator[JsonObject]:
    """The messages in an order that the endpoint takes: neighbours of one role are joined, and an answer stands behind each result."""
    held: JsonObject | None = None
    for message in messages:
        role, before = message.get("role"), None if held is None else held.get("role")
        if compat.alternating_roles and held is not None and role == before and role in ("user", "assistant"):
            held = _joined(held, message)
            continue
        if held is not None:
            yield held
        if not compat.user_after_tool and before == "tool" and role == "user":
            yield {"role": "assistant", "content": BRIDGE}
        held = message
    if held is not None:
        yield held


def _joined(first: JsonObject, second: JsonObject) -> JsonObject:
    """Two messages of one role as one."""
    joined: dict[str, object] = {**first, **{name: value for name, value in second.items() if not first.get(name)}}
    joined["content"] = _joined_content(first.get("content"), second.get("content"))
    if calls := [*calls_of(first), *calls_of(second)]:
        joined["tool_calls"] = calls
    for name in ("reasoning_content", "reasoning"):
        if _is_text(one := first.get(name)) and _is_text(other := second.get(name)):
            joined[name] = f"{one}\n{other}"
    return joined


def _joined_content(first: object, second: object) -> object:
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: object) -> list[object]:
    return list(content) if isinstance(content, list) else [{"type": "text", "text": content}]


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)
