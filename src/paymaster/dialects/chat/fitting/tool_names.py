"""The names of tools in a length and spelling that an endpoint takes, and back in its answer; knows no message but its tool calls."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

from paymaster.jsontypes import JsonObject
from paymaster.registry.compat import Compat

_DIGITS = 8
_NO_NAMES: Mapping[str, str] = {}
_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")


def is_taken(name: str, compat: Compat) -> bool:
    """Whether the endpoint takes the name. One that has a limit for names takes letters, digits, `_` and `-`."""
    limit = compat.tool_name_limit
    return limit is None or (len(name) <= limit and _REFUSED.search(name) is None)


def fitting_name(name: str, compat: Compat) -> str:
    """The name as the endpoint takes it: what is cut off, or replaced, is replaced by a hash of the whole."""
    limit = compat.tool_name_limit
    if limit is None or is_taken(name, compat):
        return name
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{_REFUSED.sub('_', name)[: max(0, limit - _DIGITS - 1)]}_{digest}"[-limit:]


def fit_tools(tools: Sequence[JsonObject], compat: Compat) -> tuple[Sequence[JsonObject], Mapping[str, str], tuple[str, ...]]:
    """The tools as the endpoint takes them, the callers' names by those that were sent for them, and what was dropped.

    The very same list comes back where nothing changes.
    """
    if all(_tool_fits(tool, compat) for tool in tools):
        return tools, _NO_NAMES, ()
    fitted = [_fit_tool(tool, compat) for tool in tools]
    names = {sent: name for name, sent in zip(map(_name_of, tools), map(_name_of, fitted), strict=True) if sent != name}
    marked = "cache_control" in compat.unread and any(map(_is_marked, tools))
    return fitted, names, ("tools.cache_control",) if marked else ()


def _tool_fits(tool: JsonObject, compat: Compat) -> bool:
    """Whether a tool is sent as it is: quick, as most are."""
    name = _name_of(tool)
    return (not name or is_taken(name, compat)) and ("cache_control" in compat.reads or not _is_marked(tool))


def _fit_tool(tool: JsonObject, compat: Compat) -> JsonObject:
    name = _name_of(tool)
    if "cache_control" in compat.unread and _is_marked(tool):
        tool = {key: _unmarked(value) for key, value in tool.items() if key != "cache_control"}
    if is_taken(name, compat):
        return tool
    function = tool["function"]
    return {**tool, "function": {**(function if isinstance(function, Mapping) else {}), "name": fitting_name(name, compat)}}


def _unmarked(value: object) -> object:
    return {key: item for key, item in value.items() if key != "cache_control"} if isinstance(value, Mapping) else value


def _is_marked(tool: object) -> bool:
    """Whether a tool has a cache marker, where one is read."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return isinstance(tool, Mapping) and ("cache_control" in tool or (isinstance(function, Mapping) and "cache_control" in function))


def fit_choice(choice: object, compat: Compat) -> object:
    """A `tool_choice` that names a tool by its fitting name; of several (`allowed_tools`), each."""
    if isinstance(choice, Mapping):
        return {key: fitting_name(value, compat) if key == "name" and isinstance(value, str) else fit_choice(value, compat)
                for key, value in choice.items()}  # fmt: skip
    return [fit_choice(each, compat) for each in choice] if isinstance(choice, list) else choice


def restore_names(body: JsonObject, names: Mapping[str, str]) -> JsonObject:
    """An answer, or a chunk of one, with the names that the caller gave its tools."""
    choices = body.get("choices")
    if not names or not isinstance(choices, list):
        return body
    restored = [_restored_choice(choice, names) for choice in choices]
    return body if all(new is old for new, old in zip(restored, choices, strict=True)) else {**body, "choices": restored}


def _restored_choice(choice: object, names: Mapping[str, str]) -> object:
    if not isinstance(choice, Mapping):
        return choice
    for part in ("message", "delta"):
        holder = choice.get(part)
        calls = holder.get("tool_calls") if isinstance(holder, Mapping) else None
        if isinstance(holder, Mapping) and isinstance(calls, list) and any(_name_of(call) in names for call in calls):
            return {**choice, part: {**holder, "tool_calls": [_restored_call(call, names) for call in calls]}}
    return choice


def _restored_call(call: object, names: Mapping[str, str]) -> object:
    if (name := _name_of(call)) not in names or not isinstance(call, Mapping) or not isinstance(function := call["function"], Mapping):
        return call
    return {**call, "function": {**function, "name": names[name]}}


def _name_of(call: object) -> str:
    """The function's name in a tool, or in a call of one; empty if there is none."""
    function = call.get("function") if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""
