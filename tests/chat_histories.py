"""Messages of chat completions for tests, in few words; nothing here asserts."""

from collections.abc import Mapping, Sequence
from typing import Any

History = Sequence[Mapping[str, Any]]
EPHEMERAL = {"type": "ephemeral"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
USER = {"role": "user", "content": "u"}
LONG_ID, LONG_NAME = "call_" + "x" * 60, "mcp__server__" + "n" * 70


def text(value: str, **more: object) -> dict[str, object]:
    return {"type": "text", "text": value, **more}


def call(call_id: str = "c1", name: str = "ls", **more: object) -> dict[str, object]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": '{"a": 1}'}, **more}


def acts(*calls: Mapping[str, object], **more: object) -> dict[str, object]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls or (call(),)), **more}


def result(call_id: str = "c1", content: object = "done") -> dict[str, object]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def says(content: object, **more: object) -> dict[str, object]:
    return {"role": "assistant", "content": content, **more}


def system(content: object, role: str = "system") -> dict[str, object]:
    return {"role": role, "content": content}


def signed(signature: str) -> dict[str, object]:
    return {"extra_content": {"google": {"thought_signature": signature}}}
