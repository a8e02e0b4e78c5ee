"""Tools and the choice of a tool in chat completions to and from neutral ones; knows no message.

A custom tool that no chat client wrote is a function with one text, `input`: few endpoints know custom tools.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from paymaster.dialects.chat.calls import CUSTOM_INPUT, flat_name
from paymaster.dialects.chat.shapes import Fields, extras_of, own, shape_of, shape_only
from paymaster.dialects.neutral import ChoiceKind, ServerTool, Tool, ToolChoice
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

_CUSTOM_PARAMETERS = {
    "type": "object",
    "properties": {CUSTOM_INPUT: {"type": "string"}},
    "required": [CUSTOM_INPUT],
    "additionalProperties": False,
}
_ANTHROPIC = re.compile(r"\w+_20\d{6}")
"""The types of Anthropic's own tools end in a date."""
_OPENAI = frozenset(
    {
        "apply_patch", "code_interpreter", "computer_use", "computer_use_preview", "file_search", "image_generation", "local_shell", "mcp",
        "shell", "tool_search", "web_search", "web_search_preview",
    }
)  # fmt: skip
_KINDS = {"auto": ChoiceKind.AUTO, "required": ChoiceKind.REQUIRED, "none": ChoiceKind.NONE}


def read_tools(fields: Fields, shape: dict[str, object]) -> tuple[Tool | ServerTool, ...]:
    """The tools, and functions as older clients have them."""
    found: list[Tool | ServerTool] = []
    for name, reader, is_fit in (("tools", _read_tool, _is_object), ("functions", _read_older, _is_named)):
        given = fields.take(name, list)
        if given is None or not all(is_fit(tool) for tool in given):
            fields.put_back(name, given)
            continue
        if not given:
            shape[name] = "empty"
        found += (reader(tool) for tool in given)
    return tuple(found)


def _is_object(tool: object) -> bool:
    return isinstance(tool, Mapping)


def _is_named(tool: object) -> bool:
    return isinstance(tool, Mapping) and isinstance(tool.get("name"), str) and bool(tool["name"])


def _read_tool(tool: JsonObject) -> Tool | ServerTool:
    fields, kind = Fields(tool), tool.get("type")
    fields.take("type", str)
    given = fields.mapping("custom" if kind == "custom" else "function")
    inner = Fields(given or {})
    name = inner.text("name")
    if kind not in ("function", "custom") or not name:
        return ServerTool(dialect=_owner(kind), value=tool)
    shape: dict[str, object] = {}
    if kind == "custom":
        shape["as"] = "custom"
    return Tool(
        name=name,
        description=inner.text("description"),
        parameters=inner.mapping("parameters"),
        strict=inner.flag("strict"),
        custom=kind == "custom",
        format=_read_format(inner),
        cache=fields.mapping("cache_control"),
        extras=fields.extras(shape, {str(kind): inner.rest()}),
    )


def _read_older(function: JsonObject) -> Tool:
    fields = Fields(function)
    name = fields.text("name")
    return Tool(
        name=name,
        description=fields.text("description"),
        parameters=fields.mapping("parameters"),
        extras=fields.extras({"as": "function"}),
    )


def _owner(kind: object) -> Dialect:
    """Whose words a tool is in that the provider runs."""
    if not isinstance(kind, str):
        return Dialect.CHAT
    return Dialect.MESSAGES if _ANTHROPIC.fullmatch(kind) else Dialect.RESPONSES if kind in _OPENAI else Dialect.CHAT


def _read_format(inner: Fields) -> JsonObject | None:
    """A custom tool's format. Chat completions has the grammar in an object of its own."""
    given = inner.mapping("format")
    if given is None or given == {"type": "text"}:
        return given
    grammar = given.get("grammar")
    if given.keys() == {"type", "grammar"} and given["type"] == "grammar" and isinstance(grammar, Mapping) and "type" not in grammar:
        return {"type": "grammar", **grammar}
    inner.put_back("format", given)
    return None


def _write_format(given: JsonObject | None) -> JsonObject:
    if given is None:
        return {}
    rest = {name: value for name, value in given.items() if name != "type"}
    return {"format": {"type": "grammar", "grammar": rest} if given.get("type") == "grammar" else given}


def write_tools(tools: Sequence[Tool | ServerTool], shape: JsonObject, dropped: list[str]) -> dict[str, object]:
    """The fields of a request with these tools. A provider's own tool is written as it is: planning has to know it."""
    written: dict[str, list[object]] = {name: [] for name in ("tools", "functions") if shape.get(name) == "empty"}
    for index, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            written.setdefault("tools", []).append(tool.value)
            continue
        dropped += extras_of(tool.extras, f"tools.{index}")
        if shape_of(tool.extras).get("as") == "function":
            written.setdefault("functions", []).append(own({**_described(tool), **_parameters(tool.parameters)}, tool.extras))
        else:
            written.setdefault("tools", []).append(_write_tool(tool, f"tools.{index}", dropped))
    return dict(written)


def _write_tool(tool: Tool, where: str, dropped: list[str]) -> JsonObject:
    if shape_of(tool.extras).get("as") == "custom":
        written: dict[str, object] = {"type": "custom", "custom": {**_described(tool), **_write_format(tool.format)}}
    else:
        if tool.format is not None:
            dropped.append(f"{where}.format")
        parameters = _CUSTOM_PARAMETERS if tool.custom else tool.parameters
        strict = {} if tool.strict is None else {"strict": tool.strict}
        written = {"type": "function", "function": {**_described(tool), **_parameters(parameters), **strict}}
    if tool.cache is not None:
        written["cache_control"] = tool.cache
    return own(written, tool.extras)


def _described(tool: Tool) -> dict[str, object]:
    return {"name": flat_name(tool.namespace, tool.name), **({"description": tool.description} if tool.description else {})}


def _parameters(parameters: JsonObject | None) -> dict[str, object]:
    return {} if parameters is None else {"parameters": parameters}


def read_choice(fields: Fields) -> ToolChoice | None:
    """Which tools may be called; None if the client left it open, or in words that only its endpoint knows."""
    parallel = fields.flag("parallel_tool_calls")
    for name, reader in (("tool_choice", _read_chosen), ("function_call", _read_older_choice)):
        given = fields.take(name, object)
        if (choice := reader(given)) is not None:
            return replace(choice, parallel=parallel)
        fields.put_back(name, given)
    if parallel is None:
        return None
    return ToolChoice(kind=ChoiceKind.AUTO, parallel=parallel, extras=shape_only({"as": "absent"}))


def _read_chosen(given: object) -> ToolChoice | None:
    if isinstance(given, str):
        return ToolChoice(kind=_KINDS[given]) if given in _KINDS else None
    if not isinstance(given, Mapping):
        return None
    kind = str(given.get("type"))
    if kind == "allowed_tools":
        return _read_allowed(given)
    name = _only_name(given.get(kind))
    if kind not in ("function", "custom") or name is None or len(given) > 2:
        return None
    return ToolChoice(kind=ChoiceKind.NAMED, names=(name,), extras=shape_only({"as": kind} if kind == "custom" else {}))


def _read_older_choice(given: object) -> ToolChoice | None:
    extras = shape_only({"as": "function_call"})
    if isinstance(given, str):
        return ToolChoice(kind=_KINDS[given], extras=extras) if given in _KINDS else None
    name = _only_name(given)
    return None if name is None else ToolChoice(kind=ChoiceKind.NAMED, names=(name,), extras=extras)


def _only_name(given: object) -> str | None:
    """The name in an object that has nothing else."""
    name = given.get("name") if isinstance(given, Mapping) and len(given) == 1 else None
    return name if isinstance(name, str) else None


def _read_allowed(given: JsonObject) -> ToolChoice | None:
    allowed = given.get("allowed_tools")
    if len(given) > 2 or not isinstance(allowed, Mapping) or allowed.keys() != {"mode", "tools"}:
        return None
    kind, tools = _KINDS.get(str(allowed["mode"])), allowed["tools"]
    names = [_allowed_name(tool) for tool in tools] if isinstance(tools, list) else []
    chosen = tuple(name for name in names if name is not None)
    if kind is None or not names or len(chosen) < len(names):
        return None
    shape = {} if tools == [_function_named(name) for name in chosen] else {"tools": tools}
    return ToolChoice(kind=kind, names=chosen, extras=shape_only(shape))


def _allowed_name(tool: object) -> str | None:
    named = tool.get(str(tool.get("type"))) if isinstance(tool, Mapping) else None
    name = named.get("name") if isinstance(named, Mapping) else None
    return name if isinstance(name, str) else None


def _function_named(name: str) -> JsonObject:
    return {"type": "function", "function": {"name": name}}


def write_choice(choice: ToolChoice, dropped: list[str]) -> dict[str, object]:
    """The fields of a request with this choice."""
    dropped += extras_of(choice.extras, "tool_choice")
    shape = shape_of(choice.extras)
    written: dict[str, object] = {} if choice.parallel is None else {"parallel_tool_calls": choice.parallel}
    older = shape.get("as") == "function_call"
    if shape.get("as") == "absent":
        return written
    if choice.kind is ChoiceKind.NAMED:
        chosen: object = {"name": choice.names[0]} if older else _named(choice.names[0], custom=shape.get("as") == "custom")
    elif choice.names:
        tools = shape.get("tools") or [_function_named(name) for name in choice.names]
        chosen = {"type": "allowed_tools", "allowed_tools": {"mode": choice.kind.value, "tools": tools}}
    else:
        chosen = choice.kind.value
    return {**written, "function_call" if older else "tool_choice": chosen}


def _named(name: str, *, custom: bool) -> JsonObject:
    return {"type": "custom", "custom": {"name": name}} if custom else _function_named(name)
