"""The content of a message in Anthropic's format, made from a chat completion's message in the house form; knows no request."""

from collections.abc import Mapping

from paymaster.dialects.messages.blocks import parse_arguments
from paymaster.dialects.messages.stream_writer import own_stamp, signed_id, thoughts_in
from paymaster.jsontypes import JsonObject


def content_of(message: JsonObject, owner: str, *, thinking: bool) -> list[JsonObject]:
    """The blocks: thoughts if the client wants them, texts, calls. `owner` is the name on stamps of the model that answers."""
    blocks = [_signed(block, owner) for block in thoughts_in(message, owner)] if thinking else []
    texts = (message.get("content"), message.get("refusal"))
    blocks += [{"type": "text", "text": text} for text in texts if isinstance(text, str) and text]
    calls = message.get("tool_calls")
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        given = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(given, Mapping):
            call_id = signed_id(str(call.get("id") or f"toolu_{index}"), call, owner)
            arguments = given.get("arguments")
            shown = parse_arguments(arguments if isinstance(arguments, str) else "")
            blocks.append({"type": "tool_use", "id": call_id, "name": given.get("name"), "input": shown})
    return blocks


def _signed(block: JsonObject, owner: str) -> JsonObject:
    """A thought that its model did not sign is stamped with the model's name, so that it finds back to it."""
    if block.get("type") != "thinking" or block.get("signature"):
        return block
    return {**block, "signature": own_stamp(owner) if owner else ""}
