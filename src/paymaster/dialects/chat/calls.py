"""Calls of tools in a chat message to and from neutral calls; knows ids, and no tool's definition.

A call that is known to have state carries it as Google's API does: `extra_content.google.thought_signature`. A custom tool's call that no
chat client wrote is a function's, with one text, `input`: few endpoints know custom tools.
"""

from collections.abc import Iterable, Mapping
from json import dumps

from paymaster.dialects.chat.shapes import Fields, Unreadable, extras_of, own, shape_of
from paymaster.dialects.neutral import Part, State, ToolCall
from paymaster.dialects.state import has_state, is_stamp, read_stamp, split_id, stamped
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

CUSTOM_INPUT = "input"
"""The parameter of a function that stands for a custom tool."""


class Calls:
    """The calls read so far: which are of custom tools, and the made-up ids of functions' calls, which have none."""

    def __init__(self) -> None:
        self.custom: set[str] = set()
        self._legacy: dict[str, str] = {}
        self._made = 0

    def plain_id(self, given: str) -> str:
        """An id without the state in it."""
        return split_id(given, Dialect.CHAT)[0]

    def make_id(self, name: str) -> str:
        """An id for a function's call."""
        self._made += 1
        made = self._legacy[name] = f"call_function_{self._made}"
        return made

    def legacy_id(self, name: str) -> str:
        """The id of the last call of this function."""
        return self._legacy.get(name) or self.make_id(name)


def read_calls(fields: Fields, calls: Calls) -> tuple[list[Part], JsonObject]:
    """The calls of an assistant's message, and their shape. Raises Unreadable."""
    found: list[Part] = []
    shape: dict[str, object] = {}
    given = fields.take("tool_calls", list)
    if given is not None and not all(isinstance(call, Mapping) for call in given):
        raise Unreadable
    if given == []:
        shape["calls"] = "empty"
    found += (_read_call(call, calls) for call in given or ())
    if (legacy := fields.mapping("function_call")) is not None:
        inner = Fields(legacy)
        name, arguments = inner.take("name", str), inner.take("arguments", str)
        if name is None or arguments is None:
            raise Unreadable
        call_id = calls.make_id(name)
        found.append(ToolCall(id=call_id, name=name, arguments=arguments, extras=inner.extras({"as": "function_call"})))
    return found, shape


def _read_call(call: JsonObject, calls: Calls) -> ToolCall:
    fields, shape = Fields(call), dict[str, object]()
    kind = fields.take("type", str)
    if kind is None:
        shape["type"] = "absent"
    name_of = "custom" if kind == "custom" else "function"
    inner = Fields(fields.mapping(name_of) or {})
    name, text = inner.take("name", str), inner.take("input" if name_of == "custom" else "arguments", str)
    given_id = fields.take("id", str)
    if kind not in (None, "function", "custom") or name is None or text is None or given_id is None:
        raise Unreadable
    call_id, in_id = split_id(given_id, Dialect.CHAT)
    state, beside = _take_signature(fields)
    if name_of == "custom":
        shape["as"] = "custom"
        calls.custom.add(call_id)
    return ToolCall(
        id=call_id,
        name=name,
        arguments=text,
        custom=name_of == "custom",
        state=state or in_id,
        cache=fields.mapping("cache_control"),
        extras=fields.extras(shape, {name_of: inner.rest(), "extra_content": beside}),
    )


def _signature(extra: object) -> str:
    google = extra.get("google") if isinstance(extra, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return signature if isinstance(signature, str) else ""


def _take_signature(fields: Fields) -> tuple[State | None, JsonObject]:
    """Google's thought signature of a call, and what is beside it."""
    extra = fields.mapping("extra_content")
    google, signature = (extra or {}).get("google"), _signature(extra)
    if extra is None or not isinstance(google, Mapping) or not signature:
        fields.put_back("extra_content", extra)
        return None, {}
    rest = {name: value for name, value in google.items() if name != "thought_signature"}
    others = {name: value for name, value in extra.items() if name != "google"}
    return read_stamp(signature, Dialect.CHAT), {**others, **({"google": rest} if rest else {})}


def has_signed_state(call: object) -> bool:
    """Whether a call has state that a model signed."""
    if type(call) is not dict and not isinstance(call, Mapping):
        return False
    return has_state(call.get("id")) or ("extra_content" in call and is_stamp(_signature(call["extra_content"])))


def write_calls(asked: Iterable[ToolCall], shape: JsonObject, where: str, dropped: list[str]) -> dict[str, object]:
    """The fields of a message with these calls."""
    written: dict[str, object] = {}
    calls = []
    for index, call in enumerate(asked):
        path = f"{where}.tool_calls.{index}"
        if shape_of(call.extras).get("as") == "function_call":
            written["function_call"] = own({"name": call.name, "arguments": call.arguments}, call.extras)
        else:
            calls.append(_write_call(call, path, dropped))
    if calls or shape.get("calls") == "empty":
        written["tool_calls"] = calls
    return written


def _write_call(call: ToolCall, where: str, dropped: list[str]) -> JsonObject:
    dropped += extras_of(call.extras, where)
    shape, name = shape_of(call.extras), flat_name(call.namespace, call.name)
    if shape.get("as") == "custom":
        written: dict[str, object] = {"id": call.id, "type": "custom", "custom": {"name": name, "input": call.arguments}}
    else:
        arguments = dumps({CUSTOM_INPUT: call.arguments}, ensure_ascii=False) if call.custom else call.arguments
        written = {"id": call.id, "type": "function", "function": {"name": name, "arguments": arguments}}
        if shape.get("type") == "absent":
            del written["type"]
    if call.state is not None and call.state.dialect is Dialect.CHAT:
        written["extra_content"] = {"google": {"thought_signature": stamped(call.state)}}
    elif call.state is not None:
        dropped.append(f"{where}.state")
    if call.cache is not None:
        written["cache_control"] = call.cache
    return own(written, call.extras)


def flat_name(namespace: str, name: str) -> str:
    """The name of a tool of a group, where groups are not known."""
    return f"{namespace}__{name}" if namespace else name
