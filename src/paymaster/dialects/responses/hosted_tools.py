"""Tools that OpenAI runs, taken out of a body that does not depend on them; knows no price and no budget."""

from collections.abc import Collection, Mapping

from paymaster.dialects.neutral import ServerTool, Written
from paymaster.dialects.objects import section
from paymaster.dialects.responses.requests import read
from paymaster.jsontypes import JsonObject

_OF_TOOLS = ("tool_choice", "parallel_tool_calls")


def unforced(body: JsonObject) -> list[JsonObject]:
    """The tools of a body that OpenAI runs and that the tool choice does not force; also those that items declare."""
    return [tool.value for tool in read(body).tools if isinstance(tool, ServerTool) and not tool.forced]


def without(body: JsonObject, left_out: Collection[JsonObject]) -> Written:
    """The body without these tools, and the names of what was left out."""
    kept: dict[str, object] = {**body}
    if isinstance(body.get("tools"), list):
        kept["tools"] = _others(body["tools"], left_out)
    if isinstance(given := body.get("input"), list):
        kept["input"] = [_without_tools(item, left_out) for item in given]
    kinds = {str(tool.get("type")) for tool in left_out}
    choice = section(body.get("tool_choice"))
    if choice.get("type") == "allowed_tools":
        allowed = [tool for tool in _listed(choice.get("tools")) if section(tool).get("type") not in kinds]
        kept["tool_choice"] = {**choice, "tools": allowed} if allowed else "none"
    if not kept.get("tools") and "tools" in body:
        # Some endpoints refuse a tool choice without tools; those of a group in an item go by the item.
        kept = {name: value for name, value in kept.items() if name != "tools" and (name not in _OF_TOOLS or value == "none")}
    return Written(body=kept, dropped=tuple(sorted(f"tools.{kind}" for kind in kinds)))


def _without_tools(item: object, left_out: Collection[JsonObject]) -> object:
    """An item that declares tools, without these; any other as it is."""
    if not isinstance(item, Mapping) or item.get("type") != "additional_tools":
        return item
    return {**item, "tools": _others(item.get("tools"), left_out)}


def _others(tools: object, left_out: Collection[JsonObject]) -> list[object]:
    return [tool for tool in _listed(tools) if tool not in left_out]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
