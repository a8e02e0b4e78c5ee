"""Messages of chat completions to and from neutral turns; knows no tool's definition and no parameter.

A message that no chat client writes is read as one opaque part of a user's turn, and written as it was.
"""

from collections.abc import Iterator, Mapping, Sequence

from paymaster.dialects.chat.calls import Calls, has_signed_state, read_calls, write_calls
from paymaster.dialects.chat.parts import read_content, write_content, write_part
from paymaster.dialects.chat.shapes import Fields, Unreadable, extras_of, own, shape_of, shape_only
from paymaster.dialects.chat.thoughts import LISTS, read_thoughts, write_thoughts
from paymaster.dialects.neutral import Opaque, Part, Role, Text, Thought, ToolCall, ToolResult, Turn
from paymaster.dialects.state import has_state, is_stamp
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

_ROLES = {role.value: role for role in Role}
_RESULTS = frozenset({"tool", "function"})
_MESSAGE = {"as": "message"}


def read_turns(messages: Sequence[object]) -> Iterator[Turn]:
    """The turns. Messages of tools that follow one another are one turn."""
    calls, results = Calls(), list[Part]()
    for message in messages:
        if not isinstance(message, Mapping):
            raise Unreadable("messages must be objects")
        try:
            read = _read_result(message, calls) if message.get("role") in _RESULTS else read_message(message, calls)
        except Unreadable:
            read = Turn(role=Role.USER, parts=(Opaque(dialect=Dialect.CHAT, value=message),), extras=shape_only(_MESSAGE))
        if isinstance(read, ToolResult):
            results.append(read)
            continue
        if results:
            yield Turn(role=Role.USER, parts=tuple(results))
            results.clear()
        yield read
    if results:
        yield Turn(role=Role.USER, parts=tuple(results))


def read_message(message: JsonObject, calls: Calls) -> Turn:
    """One message that is no tool's. Raises Unreadable."""
    fields = Fields(message)
    role = _ROLES.get(fields.take("role", str) or "")
    if role is None:
        raise Unreadable
    shape: dict[str, object] = {}
    content, kind = read_content(fields.take("content", object))
    fields.forget("content")
    if (kind := kind if "content" in message else "absent") and kind != ("null" if role is Role.ASSISTANT else ""):
        shape["content"] = kind
    thoughts, refusals, asked = list[Part](), list[Part](), list[Part]()
    if role is Role.ASSISTANT:
        thoughts, copies = read_thoughts(fields)
        if copies:
            shape["copies"] = copies
        if isinstance(message.get("refusal"), str):
            refusals.append(Text(text=fields.text("refusal"), refusal=True))
        asked, legacy = read_calls(fields, calls)
        shape |= legacy
    return Turn(role=role, parts=(*thoughts, *content, *refusals, *asked), extras=fields.extras(shape))


def _read_result(message: JsonObject, calls: Calls) -> ToolResult:
    """What a tool returned; a function's result has no id, and answers the last call of its name."""
    fields = Fields(message)
    role = fields.take("role", str)
    shape: dict[str, object] = {}
    parts, kind = read_content(fields.take("content", object))
    fields.forget("content")
    if kind := kind if "content" in message else "absent":
        shape["content"] = kind
    is_error = fields.flag("is_error")
    if is_error is False:
        shape["is_error"] = False
    if role == "function":
        name = message.get("name")
        call_id = calls.legacy_id(name if isinstance(name, str) else "")
        shape["as"] = "function"
    else:
        given = fields.take("tool_call_id", str)
        if given is None:
            raise Unreadable
        call_id = calls.plain_id(given)
    return ToolResult(
        call_id=call_id,
        parts=parts,
        is_error=bool(is_error),
        custom=call_id in calls.custom,
        cache=fields.mapping("cache_control"),
        extras=fields.extras(shape),
    )


def write_turn(turn: Turn, where: str, dropped: list[str]) -> Iterator[JsonObject]:
    """The messages of a turn: each result of a tool is one of its own, before all else that the turn has."""
    if shape_of(turn.extras) == _MESSAGE:
        yield from (part.value for part in turn.parts if isinstance(part, Opaque))
        return
    if turn.role is Role.ASSISTANT:
        yield _write_answer(turn, where, dropped)
        return
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    others = [part for part in turn.parts if not isinstance(part, ToolResult)]
    if results and list(turn.parts[: len(results)]) != results:
        dropped.append(f"{where}.order")
    for index, result in enumerate(results):
        yield _write_result(result, f"{where}.content.{index}", dropped)
    if others or not results:
        dropped += extras_of(turn.extras, where)
        for part in others:
            if isinstance(part, ToolCall | Thought):
                dropped.append(f"{where}.{'tool_calls' if isinstance(part, ToolCall) else 'thinking'}")
        content = _write_contents(others, turn, where, dropped, start=len(results))
        yield own({"role": turn.role.value, **content}, turn.extras)


def _write_answer(turn: Turn, where: str, dropped: list[str]) -> JsonObject:
    """An assistant's message: thoughts, then the content, then the calls."""
    dropped += extras_of(turn.extras, where)
    shape = shape_of(turn.extras)
    thoughts = [part for part in turn.parts if isinstance(part, Thought | Opaque) and is_beside(part)]
    asked = [part for part in turn.parts if isinstance(part, ToolCall)]
    contents = [part for part in turn.parts if not is_beside(part) and not isinstance(part, ToolCall | ToolResult)]
    if not _in_order(turn.parts):
        dropped.append(f"{where}.order")
    if any(isinstance(part, ToolResult) for part in turn.parts):
        dropped.append(f"{where}.tool_result")
    copies = shape.get("copies")
    message: dict[str, object] = {"role": "assistant", **_write_contents(contents, turn, where, dropped)}
    refusals = [part.text for part in contents if isinstance(part, Text) and part.refusal and shape_of(part.extras).get("as") != "part"]
    if refusals:
        message["refusal"] = "".join(refusals)
    message |= write_thoughts(thoughts, copies if isinstance(copies, Mapping) else {}, where, dropped)
    message |= write_calls(asked, shape, where, dropped)
    return own(message, turn.extras)


def _write_contents(parts: Sequence[Part], turn: Turn, where: str, dropped: list[str], start: int = 0) -> dict[str, object]:
    written = [write_part(part, f"{where}.content.{index}", dropped) for index, part in enumerate(parts, start)]
    shape = shape_of(turn.extras).get("content", "null" if turn.role is Role.ASSISTANT else "")
    if shape == "absent" and not any(part is not None for part in written):
        return {}
    return {"content": write_content([part for part in written if part is not None], str(shape))}


def _write_result(result: ToolResult, where: str, dropped: list[str]) -> JsonObject:
    dropped += extras_of(result.extras, where)
    shape = shape_of(result.extras)
    message: dict[str, object] = {"role": "function"} if shape.get("as") == "function" else {"role": "tool", "tool_call_id": result.call_id}
    written = [write_part(part, f"{where}.{index}", dropped) for index, part in enumerate(result.parts)]
    if shape.get("content") != "absent" or result.parts:
        message["content"] = write_content([part for part in written if part is not None], str(shape.get("content", "")))
    if result.is_error or "is_error" in shape:
        message["is_error"] = result.is_error
    if result.cache is not None:
        message["cache_control"] = result.cache
    return own(message, result.extras)


def is_stamped(message: JsonObject) -> bool:
    """Whether a message has state that a model signed: in a thought, beside a call, or in the id of one. On the path of every call."""
    if (role := message.get("role")) != "assistant":
        return role == "tool" and has_state(message.get("tool_call_id"))
    if isinstance(calls := message.get("tool_calls"), list) and any(map(has_signed_state, calls)):
        return True
    return any(_has_signed(message.get(name)) for name in LISTS)


def _has_signed(entries: object) -> bool:
    return isinstance(entries, list) and any(map(_is_signed, entries))


def _is_signed(entry: object) -> bool:
    return isinstance(entry, Mapping) and (is_stamp(entry.get("signature")) or is_stamp(entry.get("data")))


def is_beside(part: Part) -> bool:
    """Whether a message carries the part in a field beside its content, as a thought."""
    if isinstance(part, Opaque):
        return str(part.value.get("type")).startswith("reasoning.")
    return isinstance(part, Thought) and shape_of(part.extras).get("as") != "part"


def _in_order(parts: Sequence[Part]) -> bool:
    ranks = [0 if is_beside(part) else 2 if isinstance(part, ToolCall) else 1 for part in parts]
    return ranks == sorted(ranks)
