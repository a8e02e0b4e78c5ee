"""The example request of `explain --needs`: turns capabilities such as `vision` into parts of a request; knows no model."""

from collections.abc import Sequence

from paymaster.errors import UsageMistake, near
from paymaster.jsontypes import JsonObject
from paymaster.registry.names import CAPABILITIES, CAPABILITY_ALIASES
from paymaster.routing.requests import Request

_TOOL: JsonObject = {"type": "function", "function": {"name": "example", "parameters": {"type": "object", "properties": {}}}}
_SCHEMA: JsonObject = {"type": "json_schema", "json_schema": {"name": "example", "schema": {"type": "object", "properties": {}}}}
_PARTS: dict[str, JsonObject] = {
    # The smallest PNG: one transparent pixel.
    "vision": {
        "type": "image_url",
        "image_url": {
            "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
        },
    },
    "audio": {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}},
    "pdf": {"type": "file", "file": {"filename": "example.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
}
NEEDS = ("function_calling", "json_schema", *_PARTS)
"""The capabilities that a request visibly needs before it is sent."""


def request_for(needs: str | None, messages: Sequence[JsonObject], tools: Sequence[JsonObject]) -> Request:
    """A request with these messages and tools that needs the capabilities in `needs`, joined by commas. Raises UsageMistake."""
    capabilities = [_capability(word.strip()) for word in (needs or "").split(",") if word.strip()]
    parts = [_PARTS[name] for name in capabilities if name in _PARTS]
    return Request(
        messages=[*messages, *([{"role": "user", "content": parts}] if parts else [])],
        tools=tuple(tools) or ((_TOOL,) if "function_calling" in capabilities else ()),
        params={"response_format": _SCHEMA} if "json_schema" in capabilities else {},
    )


def _capability(word: str) -> str:
    plain = word.lower().replace("-", "_")
    name = CAPABILITY_ALIASES.get(plain, plain)
    if name in NEEDS:
        return name
    advice = f"A request can need: {', '.join(NEEDS)}."
    if name in CAPABILITIES:
        raise UsageMistake(f"--needs {word}: whether a request needs this can't be seen before it is sent", advice=advice)
    raise UsageMistake(f"--needs {word}: unknown capability ({near(name, NEEDS)})", advice=advice)
