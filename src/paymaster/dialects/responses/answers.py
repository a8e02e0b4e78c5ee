"""Whole answers of OpenAI's responses, read and written; knows no request beyond what it echoes, and no stream."""

from collections.abc import Mapping, Sequence

from paymaster.dialects.neutral import Answer, Ending, Part, Role, ToolCall, Turn
from paymaster.dialects.objects import objects, section
from paymaster.dialects.responses.fields import extras_of, shape_of, text_in
from paymaster.dialects.responses.item_writer import ItemWriter
from paymaster.dialects.responses.items import read_items
from paymaster.dialects.responses.tools import ToolNames
from paymaster.jsontypes import JsonObject

_ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "prompt_cache_key", "reasoning",
    "safety_identifier", "service_tier", "temperature", "text", "tool_choice", "tools", "top_p", "truncation", "user",
)  # fmt: skip
_DEFAULTS: JsonObject = {
    "background": False, "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": None, "metadata": {},
    "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None}, "temperature": None,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None, "truncation": "disabled", "usage": None,
}  # fmt: skip
"""What a response says of a field that its request does not have."""

CUTS: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete, by its ending in chat completions."""
_ENDINGS = {"max_output_tokens": Ending.LENGTH, "content_filter": Ending.CONTENT_FILTER}


def begun(request: JsonObject, response_id: str, model: str, created_s: int) -> dict[str, object]:
    """A response that has just started."""
    echoed = {name: request[name] for name in _ECHOED if request.get(name) is not None}
    fixed = {"id": response_id, "object": "response", "created_at": created_s, "status": "in_progress", "model": model, "output": []}
    return {**_DEFAULTS, **echoed, **fixed, "store": False}


def finished(response: JsonObject, output: Sequence[JsonObject], finish_reason: str, usage: JsonObject) -> dict[str, object]:
    """A whole response, of one that had begun."""
    cut = CUTS.get(finish_reason)
    return {
        **response,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "output": list(output),
        "usage": usage,
    }


def read(response: JsonObject) -> Answer:
    """The answer in a response. Raises RequestInvalid for one that has no items."""
    parts: list[Part] = []
    notes: list[JsonObject] = []
    for turn in read_items(objects(response.get("output"), "output"), ToolNames(), "output"):
        own = objects(shape_of(turn.extras).get("messages", []), "output")
        notes += [{**note, "at": len(parts) + int(str(note["at"]))} for note in own]
        parts += turn.parts
    reason = text_in(section(response.get("incomplete_details")), "reason")
    called = any(isinstance(part, ToolCall) for part in parts)
    ending = _ENDINGS.get(reason, Ending.TOOL_CALLS if called else Ending.STOP)
    return Answer(parts=tuple(parts), ending=ending, extras=extras_of({}, (), messages=notes) if notes else {})


def write(answer: Answer) -> list[JsonObject]:
    """The output items of an answer."""
    return ItemWriter().items([Turn(role=Role.ASSISTANT, parts=answer.parts, extras=answer.extras)])
