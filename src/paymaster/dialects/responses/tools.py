"""Tools and the tool choice of OpenAI's responses, read and written; knows no item and no model.

Other dialects know functions with a name. So the tools of a group (`namespace`) get names that are unique in the request, and tools of
OpenAI's that run at the client become functions; `ToolNames` has the way back.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from paymaster.dialects.losses import lost_extras
from paymaster.dialects.neutral import SHAPE, ChoiceKind, Conversation, ServerTool, Tool, ToolChoice
from paymaster.dialects.objects import objects, required_text, section
from paymaster.dialects.responses.client_tools import CLIENT_TOOLS
from paymaster.dialects.responses.fields import OWN, extras_of, shape_of, text_in, with_own
from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject

_OWN_GROUP = "functions"
"""The group that OpenAI's models see every function in: its tools keep their names (Codex sends it; a call without a group is in it)."""
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_EVERY_OBJECT: JsonObject = {"type": "object", "properties": {}}
_PLAIN_KINDS = frozenset({"function", "custom"})


@dataclass(frozen=True, slots=True)
class ToolKey:
    """What a client calls a tool: its own name, the group it is in, and its type."""

    name: str
    namespace: str = ""
    type: str = "function"


class ToolNames:
    """The names under which other dialects know the tools of one request, each name once."""

    def __init__(self, tools: Iterable[JsonObject] = ()) -> None:
        self._flat: dict[ToolKey, str] = {}
        self._keys: dict[str, ToolKey] = {}
        keys = [key for tool in tools for key in keys_in(tool)]
        # A tool outside of any group keeps its name, wherever it is in the list.
        for key in sorted(keys, key=lambda key: bool(key.namespace)):
            self.flat(key)

    def flat(self, key: ToolKey) -> str:
        """The name of a tool, which stays the same."""
        known = self._flat.get(key)
        if known is None:
            known = wanted = _joined(key)
            number = 1
            while known in self._keys:
                number += 1
                known = f"{wanted}_{number}"
            self._flat[key], self._keys[known] = known, key
        return known

    def key(self, flat: str) -> ToolKey:
        """What the client calls the tool of this name. A name that the model made up is a function's."""
        return self._keys.get(flat) or ToolKey(flat)


def _joined(key: ToolKey) -> str:
    if key.namespace in ("", _OWN_GROUP):
        return key.name
    return _NOT_IN_NAMES.sub("_", f"{key.namespace.rstrip('_')}__{key.name.lstrip('_')}")


def keys_in(tool: JsonObject, namespace: str = "") -> Iterator[ToolKey]:
    """The keys of a declared tool that runs at the client; those of its tools if it is a group."""
    kind, name = tool.get("type"), tool.get("name")
    if kind == "namespace" and isinstance(name, str):
        inner = tool.get("tools")
        for each in inner if isinstance(inner, list) else ():
            yield from keys_in(section(each), name)
    elif isinstance(kind, str) and kind in _PLAIN_KINDS and isinstance(name, str):
        yield ToolKey(name, namespace, kind)
    elif isinstance(kind, str) and kind in CLIENT_TOOLS and CLIENT_TOOLS[kind].runs_at_client(tool):
        yield ToolKey(kind, namespace, kind)


def read_tools(given: object, names: ToolNames, where: str = "tools") -> tuple[Tool | ServerTool, ...]:
    """The tools of a list. Raises RequestInvalid for one that is no tool of this dialect."""
    if given is None:
        return ()
    return tuple(tool for index, item in enumerate(objects(given, where)) for tool in _read_tool(item, names, f"{where}[{index}]"))


def loaded(tool: Tool | ServerTool) -> Tool | ServerTool:
    """The tool, noted as one that an item of the input has."""
    if isinstance(tool, ServerTool):
        return replace(tool, loaded=True)
    fields = tool.extras.get(OWN, {})
    return replace(tool, extras={**tool.extras, OWN: {**fields, SHAPE: {**shape_of(tool.extras), "loaded": True}}})


def _read_tool(item: JsonObject, names: ToolNames, where: str) -> Iterator[Tool | ServerTool]:
    kind = required_text(item, "type", where)
    if kind == "namespace":
        name = required_text(item, "name", where)
        group: dict[str, object] = {field: value for field, value in item.items() if field not in ("type", "name", "tools")}
        for index, each in enumerate(objects(item.get("tools"), f"{where}.tools")):
            tool = _read_function(each, names, f"{where}.tools[{index}]", name, {} if index else {"group": group})
            yield tool
        if not item.get("tools"):
            yield ServerTool(dialect=OWN, value=item)
    elif kind in _PLAIN_KINDS:
        yield _read_function(item, names, where)
    elif kind in CLIENT_TOOLS and CLIENT_TOOLS[kind].runs_at_client(item):
        facts = CLIENT_TOOLS[kind]
        parameters = item.get("parameters")
        yield Tool(
            name=names.flat(ToolKey(kind, "", kind)),
            description=text_in(item, "description") or facts.description,
            parameters=parameters if isinstance(parameters, Mapping) else facts.parameters,
            extras=extras_of({}, (), declared=item),
        )
    else:
        yield ServerTool(dialect=OWN, value=item)


_TAKEN = frozenset({"type", "name", "description", "parameters", "strict", "format"})
_SILENT = frozenset({"defer_loading", "allowed_callers", "output_schema"})
"""What other models need not know: they are offered the tool at once, and call it directly."""


def _read_function(item: JsonObject, names: ToolNames, where: str, namespace: str = "", group: JsonObject | None = None) -> Tool:
    kind, name = required_text(item, "type", where), required_text(item, "name", where)
    if kind not in _PLAIN_KINDS:
        raise RequestInvalid(f"{where}: a tool of type {kind!r} can't be in a namespace")
    flat = names.flat(ToolKey(name, namespace, kind))
    notes: dict[str, object] = {**({"namespace": namespace} if namespace else {}), **(group or {})}
    if flat != name:
        notes["own_name"] = name
    strict, parameters, form = item.get("strict"), item.get("parameters"), item.get("format")
    if strict is None:
        notes["strict"] = "unsaid"
    custom = kind == "custom"
    description = text_in(item, "description")
    if custom and (grammar := _grammar(section(form))):
        description = f"{description}\n\n{grammar}".lstrip()
        notes["description"] = item.get("description")
    elif item.get("description") == "":
        notes["description"] = ""
    taken = _TAKEN - ({"parameters", "strict"} if custom else {"format"})
    return Tool(
        name=flat,
        description=description,
        parameters=parameters if not custom and isinstance(parameters, Mapping) else None,
        strict=strict if not custom and isinstance(strict, bool) else None,
        custom=custom,
        format=form if custom and isinstance(form, Mapping) else None,
        extras=extras_of(item, taken, _SILENT, **notes),
    )


def _grammar(form: JsonObject) -> str:
    """What other models are asked of the text of a custom tool, which nothing but this API can enforce."""
    definition = text_in(form, "definition")
    return f"The input must follow this grammar ({text_in(form, 'syntax') or 'lark'}):\n{definition}" if definition else ""


def write_tools(tools: Iterable[Tool | ServerTool], dropped: list[str]) -> list[JsonObject]:
    """The tools in this dialect; those of one group together again."""
    written: list[JsonObject] = []
    group: list[JsonObject] | None = None
    for index, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            group = None
            if tool.loaded:
                continue  # an item of the input has it
            if tool.dialect is OWN:
                written.append(tool.value)
            else:
                dropped.append(f"tools.{index}.{tool.value.get('type') or tool.value.get('name')}")
            continue
        dropped += lost_extras(tool.extras, OWN, f"tools.{index}")
        shape = shape_of(tool.extras)
        if "loaded" in shape:
            continue  # an item of the input has it
        namespace = shape.get("namespace")
        if "group" in shape:
            group = []
            written.append({"type": "namespace", "name": namespace, **section(shape["group"]), "tools": group})
        if namespace is None or group is None:
            group = None
            written.append(_write_tool(tool))
        else:
            group.append(_write_tool(tool))
    return written


def _write_tool(tool: Tool) -> JsonObject:
    shape = shape_of(tool.extras)
    declared = shape.get("declared")
    if isinstance(declared, Mapping):
        return declared
    written: dict[str, object] = {"type": "custom" if tool.custom else "function", "name": shape.get("own_name", tool.name)}
    description = shape.get("description", tool.description or None)
    if description is not None:
        written["description"] = description
    if tool.custom:
        if tool.format is not None:
            written["format"] = tool.format
        return with_own(written, tool.extras)
    is_own = OWN in tool.extras
    if tool.parameters is not None or not is_own:
        written["parameters"] = _EVERY_OBJECT if tool.parameters is None else tool.parameters
    if tool.strict is not None or shape.get("strict") != "unsaid":
        # Here a schema is strict unless it says otherwise; everywhere else it is the other way round.
        written["strict"] = bool(tool.strict)
    return with_own(written, tool.extras)


_WORDS = {"auto": ChoiceKind.AUTO, "required": ChoiceKind.REQUIRED, "none": ChoiceKind.NONE}


def read_choice(body: JsonObject, names: ToolNames) -> tuple[ToolChoice | None, frozenset[str]]:
    """The tool choice, and the types of the provider's own tools that it forces. Raises RequestInvalid."""
    given, parallel = body.get("tool_choice"), body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise RequestInvalid("parallel_tool_calls: true or false is required")
    if given is None:
        return (
            None if parallel is None else ToolChoice(kind=ChoiceKind.AUTO, parallel=parallel, extras=extras_of({}, (), unsaid=True))
        ), _NONE
    if isinstance(given, str):
        if given not in _WORDS:
            raise RequestInvalid(f"tool_choice: one of auto, required, none is required, got {given!r}")
        return ToolChoice(kind=_WORDS[given], parallel=parallel), _NONE
    if not isinstance(given, Mapping):
        raise RequestInvalid("tool_choice: a string or an object is required")
    kind = required_text(given, "type", "tool_choice")
    is_list = kind == "allowed_tools"
    named = objects(given.get("tools"), "tool_choice.tools") if is_list else [given]
    required = not is_list or given.get("mode") == "required"
    flats = tuple(names.flat(key) for tool in named for key in _chosen(tool))
    hosted = frozenset(str(tool.get("type")) for tool in named if not any(_chosen(tool)))
    extras = extras_of({}, (), choice=given)
    if not flats:
        kind_of_list = ChoiceKind.REQUIRED if required and not hosted else ChoiceKind.AUTO
        return ToolChoice(kind=kind_of_list, parallel=parallel, extras=extras), hosted if required else _NONE
    word = ChoiceKind.NAMED if not is_list else ChoiceKind.REQUIRED if required else ChoiceKind.AUTO
    return ToolChoice(kind=word, names=flats, parallel=parallel, extras=extras), _NONE


_NONE: frozenset[str] = frozenset()


def no_choice(choice: ToolChoice | None, given: object) -> ToolChoice:
    """The choice of a request that wants no call, whatever it says of tools. It is written again as it was given."""
    parallel = None if choice is None else choice.parallel
    said: dict[str, object] = {"unsaid": True} if given is None else {"choice": given}
    return ToolChoice(kind=ChoiceKind.NONE, parallel=parallel, extras=extras_of({}, (), **said))


def _chosen(tool: JsonObject) -> Iterator[ToolKey]:
    """The key of a tool that a choice names, if it is one that runs at the client."""
    kind, name = str(tool.get("type")), tool.get("name")
    if kind in _PLAIN_KINDS and isinstance(name, str):
        yield ToolKey(name, text_in(tool, "namespace"), kind)
    elif kind in CLIENT_TOOLS and CLIENT_TOOLS[kind].runs_at_client(tool):
        yield ToolKey(kind, "", kind)


def with_forced(tools: Iterable[Tool | ServerTool], forced: frozenset[str]) -> tuple[Tool | ServerTool, ...]:
    """The tools, of which those of the provider are marked that the tool choice forces."""
    return tuple(
        replace(tool, forced=True) if isinstance(tool, ServerTool) and str(tool.value.get("type")) in forced else tool for tool in tools
    )


def write_choice(conversation: Conversation) -> dict[str, object]:
    """The fields `tool_choice` and `parallel_tool_calls`."""
    choice = conversation.choice
    if choice is None:
        return {}
    parallel: dict[str, object] = {} if choice.parallel is None else {"parallel_tool_calls": choice.parallel}
    shape = shape_of(choice.extras)
    if "choice" in shape:
        return {"tool_choice": shape["choice"], **parallel}
    if shape.get("unsaid"):
        return parallel
    customs = {tool.name for tool in conversation.tools if isinstance(tool, Tool) and tool.custom}
    named = [{"type": "custom" if name in customs else "function", "name": name} for name in choice.names]
    if choice.kind is ChoiceKind.NAMED and named:
        return {"tool_choice": named[0], **parallel}
    if named and choice.kind is not ChoiceKind.NONE:
        return {"tool_choice": {"type": "allowed_tools", "mode": choice.kind.value, "tools": named}, **parallel}
    return {"tool_choice": choice.kind.value if choice.kind is not ChoiceKind.NAMED else "required", **parallel}
