"""A request that needs what a user names: turns words like `vision` into the parts of a request that ask for it; knows no model."""

from collections.abc import Sequence

from paymaster.errors import UsageMistake, near
from paymaster.jsontypes import JsonObject
from paymaster.registry.names import CAPABILITIES, CAPABILITY_ALIASES
from paymaster.routing.requests import Request

_TOOL: JsonObject = {"type": "function", "function": {"name": "example", "parameters": {"type": "object", "properties": {}}}}
_SCHEMA: JsonObject = {"type": "json_schema", "json_schema": {"name": "example", "schema": {"type": "object", "properties": {}}}}
_PARTS: dict[str, JsonObject] = {
    # The smallest PNG there is: one transparent pixel.
    "vision": {
        "type": "image_url",
        "image_url": {
            "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
        },
    },
    "audio": {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}},
    "pdf": {"type": "file", "file": {"filename": "example.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
}
ASKABLE = ("function_calling", "json_schema", *_PARTS)
"""The capabilities that a request can be seen to need before it is sent."""


def request_for(needs: str | None, messages: Sequence[JsonObject], tools: Sequence[JsonObject]) -> Request:
    """A request with these messages and tools that needs the words in `needs`, joined by commas. Raises UsageMistake for other words."""
    words = [_capability(word.strip()) for word in (needs or "").split(",") if word.strip()]
    parts = [_PARTS[word] for word in words if word in _PARTS]
    asked = list(messages)
    if parts:
        asked.append({"role": "user", "content": parts})
    return Request(
        messages=asked,
        tools=tuple(tools) or ((_TOOL,) if "function_calling" in words else ()),
        params={"response_format": _SCHEMA} if "json_schema" in words else {},
    )


def _capability(word: str) -> str:
    plain = word.lower().replace("-", "_")
    name = CAPABILITY_ALIASES.get(plain, plain)
    if name in ASKABLE:
        return name
    advice = f"A request can need: {', '.join(ASKABLE)}."
    if name in CAPABILITIES:
        raise UsageMistake(f"--needs {word}: no request shows that it needs this before it is sent", advice=advice)
    raise UsageMistake(f"--needs {word}: unknown capability ({near(name, ASKABLE)})", advice=advice)
