"""Tools of OpenAI's that run at the client, and how they look as functions to other models; knows no request.

Each has a type of its own for its calls and their outputs. For a model of another dialect it is a function, whose arguments are the object
in one field of the call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paymaster.dialects.objects import section
from paymaster.dialects.responses.fields import dumped, loaded, text_in
from paymaster.jsontypes import JsonObject

_TEXT: JsonObject = {"type": "string"}
_COUNT: JsonObject = {"type": "integer"}
_TEXTS: JsonObject = {"type": "array", "items": _TEXT}


def _schema(required: tuple[str, ...], **properties: JsonObject) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTool:
    """One type of tool: the types of its calls and outputs, the field (`holder`) of the call that has its arguments.

    `fixed` are fields of every call, `inner` fields of the arguments that a model need not write. `empty` are the arguments of a call that
    has only begun. `execution` is who runs it if a declaration does not say. The ids of its calls begin with `id_prefix`.
    """

    type: str
    id_prefix: str
    call: str
    output: str
    holder: str
    description: str
    parameters: JsonObject
    fixed: JsonObject = field(default_factory=dict)
    inner: JsonObject = field(default_factory=dict)
    empty: JsonObject = field(default_factory=dict)
    execution: str = "client"

    def runs_at_client(self, tool: JsonObject) -> bool:
        """Whether this declaration, call or output is of a tool that runs at the client."""
        environment = section(tool.get("environment")).get("type", "local")
        return tool.get("execution", self.execution) == "client" and environment == "local"

    def arguments(self, call: JsonObject) -> str:
        """The arguments of a call as JSON text."""
        given = call.get(self.holder)
        if isinstance(given, str):
            return given
        return dumped({name: value for name, value in section(given).items() if name not in self.inner or self.inner[name] != value})

    def call_fields(self, arguments: str) -> dict[str, object]:
        """The fields of a call, by the arguments that a model wrote; an object that is none is left empty."""
        return {self.holder: {**self.inner, **self.empty, **section(loaded(arguments))}, **self.fixed}


_PATCH_KINDS = ["create_file", "update_file", "delete_file"]

CLIENT_TOOLS: Mapping[str, ClientTool] = {
    tool.type: tool
    for tool in (
        ClientTool(
            type="local_shell",
            id_prefix="lsh",
            call="local_shell_call",
            output="local_shell_call_output",
            holder="action",
            description="Runs a command in a shell on the user's machine, and returns its output.",
            parameters=_schema(("command",), command=_TEXTS, working_directory=_TEXT, timeout_ms=_COUNT),
            inner={"type": "exec", "env": {}},
            empty={"command": []},
        ),
        ClientTool(
            type="shell",
            id_prefix="sh",
            call="shell_call",
            output="shell_call_output",
            holder="action",
            description="Runs commands in a shell on the user's machine, and returns their outputs.",
            parameters=_schema(("commands",), commands=_TEXTS, timeout_ms=_COUNT, max_output_length=_COUNT),
            empty={"commands": []},
        ),
        ClientTool(
            type="apply_patch",
            id_prefix="apc",
            call="apply_patch_call",
            output="apply_patch_call_output",
            holder="operation",
            description="Creates, updates or deletes one file. `diff` is in the V4A format, and empty for a deletion.",
            parameters=_schema(("type", "path"), type={"type": "string", "enum": _PATCH_KINDS}, path=_TEXT, diff=_TEXT),
            empty={"type": "update_file", "path": "", "diff": ""},
        ),
        ClientTool(
            type="tool_search",
            id_prefix="tsc",
            call="tool_search_call",
            output="tool_search_output",
            holder="arguments",
            description="Searches for more tools. The tools that are found can be called afterwards.",
            parameters=_schema(("query",), query=_TEXT, limit=_COUNT),
            fixed={"execution": "client"},
            execution="server",
        ),
    )
}
"""By type, in the words of platform.openai.com/docs/api-reference/responses/create (2026-11)."""

BY_CALL: Mapping[str, ClientTool] = {tool.call: tool for tool in CLIENT_TOOLS.values()}
BY_OUTPUT: Mapping[str, ClientTool] = {tool.output: tool for tool in CLIENT_TOOLS.values()}

ID_PREFIXES: Mapping[str, str] = {
    "function_call": "fc",
    "custom_tool_call": "ctc",
    **{tool.call: tool.id_prefix for tool in CLIENT_TOOLS.values()},
}
"""How the ids of calls begin, by the type of the item: OpenAI's API refuses a history in which one has another beginning."""


def call_type(tool_type: str) -> str:
    """The type of the item for a call of a tool of this type."""
    facts = CLIENT_TOOLS.get(tool_type)
    return facts.call if facts is not None else "custom_tool_call" if tool_type == "custom" else "function_call"


def output_text(item: JsonObject) -> str:
    """What an output of such a tool says, as a text for a model that doesn't know it."""
    given = item.get("output")
    if isinstance(given, str) and given:
        return given
    if item.get("type") == "tool_search_output":
        return dumped({"tools": item.get("tools", [])})
    if isinstance(given, list):
        return dumped(given)
    return text_in(item, "status") or "completed"


CUSTOM_INPUT = "input"
"""The only argument of a function that stands for a `custom` tool, which takes a text."""


def custom_input(arguments: str) -> str:
    """The text that a model wrote for such a function: in the argument, in another one if there is no other, or without JSON around it."""
    value = loaded(arguments)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        texts = [text for text in value.values() if isinstance(text, str)]
        given = value.get(CUSTOM_INPUT, texts[0] if len(value) == 1 and texts else None)
        if isinstance(given, str):
            return given
        if not value:
            return ""
    return arguments


def custom_arguments(text: str) -> str:
    """The arguments of such a function for a text."""
    return dumped({CUSTOM_INPUT: text})
