"""Tools and the choice among them in Anthropic's format, read and written; knows no message."""

from paymaster.dialects.losses import lost_extras
from paymaster.dialects.messages.blocks import CUSTOM_INPUT
from paymaster.dialects.messages.fields import OWN, cache_of, extras_of, marked
from paymaster.dialects.neutral import ChoiceKind, Conversation, ServerTool, Tool, ToolChoice
from paymaster.dialects.objects import objects, section
from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

_TOOL = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_CHOICE = frozenset({"type", "name", "disable_parallel_tool_use"})
_KINDS = {"auto": ChoiceKind.AUTO, "any": ChoiceKind.REQUIRED, "none": ChoiceKind.NONE, "tool": ChoiceKind.NAMED}
_WORDS = {kind: word for word, kind in _KINDS.items()}
_NO_SCHEMA: JsonObject = {"type": "object", "properties": {}}
_TEXT_SCHEMA: JsonObject = {"type": "object", "properties": {CUSTOM_INPUT: {"type": "string"}}, "required": [CUSTOM_INPUT]}


def read_tools(tools: object, choice: ToolChoice | None) -> tuple[Tool | ServerTool, ...]:
    """The tools: those with a schema run at the client, every other type is Anthropic's own. Raises RequestInvalid."""
    if tools is None:
        return ()
    forced = choice.names if choice is not None and choice.kind is ChoiceKind.NAMED else ()
    return tuple(_read_tool(tool, f"tools.{index}", forced) for index, tool in enumerate(objects(tools, "tools")))


def _read_tool(tool: JsonObject, where: str, forced: tuple[str, ...]) -> Tool | ServerTool:
    name, kind = tool.get("name"), tool.get("type")
    if kind not in (None, "custom"):
        return ServerTool(dialect=OWN, value=tool, forced=name in forced)
    if not isinstance(name, str):
        raise RequestInvalid(f"{where}.name: a string is required")
    schema, strict, description = tool.get("input_schema"), tool.get("strict"), tool.get("description")
    return Tool(
        name=name,
        description=description if isinstance(description, str) else "",
        parameters=schema if isinstance(schema, dict) else None,
        strict=strict if isinstance(strict, bool) else None,
        cache=cache_of(tool),
        extras=extras_of(tool, _TOOL),
    )


def read_choice(choice: object) -> ToolChoice | None:
    """Which tools may be called. Raises RequestInvalid."""
    if not isinstance(choice, dict):
        return None
    word, name = choice.get("type"), choice.get("name")
    kind = _KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise RequestInvalid(f"tool_choice.type: {word!r} is not one of {', '.join(_KINDS)}")
    serial = choice.get("disable_parallel_tool_use")
    return ToolChoice(
        kind=kind,
        names=(name,) if kind is ChoiceKind.NAMED and isinstance(name, str) else (),
        parallel=not serial if isinstance(serial, bool) else None,
        extras=extras_of(choice, _CHOICE),
    )


def write_tools(conversation: Conversation, dropped: dict[str, None]) -> list[JsonObject]:
    """The tools that the request may use. A choice among some of them leaves the others out, for which the format has no word."""
    choice = conversation.choice
    some = choice.names if choice is not None and choice.kind is not ChoiceKind.NAMED else ()
    return [written for tool in conversation.tools if (written := _write_tool(tool, some, dropped)) is not None]


def _write_tool(tool: Tool | ServerTool, some: tuple[str, ...], dropped: dict[str, None]) -> JsonObject | None:
    if isinstance(tool, ServerTool):
        if tool.dialect is not Dialect.RESPONSES:
            return tool.value  # its own, or one that nobody has described: the API decides
        dropped[f"tools.{tool.value.get('type')}"] = None
        return None
    if some and tool.name not in some:
        return None
    function = section(tool.extras.get(Dialect.CHAT, {}).get("function"))
    marker = tool.cache or cache_of(function)  # litellm reads that of the function, too
    is_marker_alone = function.keys() == {"cache_control"}
    dropped |= {name: None for name in lost_extras(tool.extras, OWN, "tools") if name != "tools.function" or not is_marker_alone}
    if tool.format is not None:
        dropped["tools.format"] = None
    block: dict[str, object] = {"name": f"{tool.namespace}__{tool.name}" if tool.namespace else tool.name}
    if tool.description:
        block["description"] = tool.description
    block["input_schema"] = _TEXT_SCHEMA if tool.custom else _schema(tool.parameters)
    if tool.strict is not None and not tool.custom:
        block["strict"] = tool.strict
    return marked(block, marker, tool.extras)


def _schema(parameters: JsonObject | None) -> JsonObject:
    """A schema of an object, as the API wants."""
    if not parameters:
        return _NO_SCHEMA
    return parameters if "type" in parameters else {"type": "object", **parameters}


def write_choice(choice: ToolChoice | None, tools: list[JsonObject], dropped: dict[str, None]) -> JsonObject | None:
    """The choice among these tools; None without tools, as the API refuses one then."""
    if choice is None or not tools:
        return None
    dropped |= dict.fromkeys(lost_extras(choice.extras, OWN, "tool_choice"))
    written: dict[str, object] = {"type": _WORDS[choice.kind]}
    if choice.kind is ChoiceKind.NAMED:
        written["name"] = choice.names[0] if choice.names else ""
    if choice.parallel is not None and choice.kind is not ChoiceKind.NONE:
        written["disable_parallel_tool_use"] = not choice.parallel
    return marked(written, None, choice.extras)


def forces(choice: ToolChoice | None) -> bool:
    """Whether the model must call a tool; it can't think then."""
    return choice is not None and choice.kind in (ChoiceKind.REQUIRED, ChoiceKind.NAMED)
