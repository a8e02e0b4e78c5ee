"""Answers in Anthropic's format on their way to a client that speaks it: the model's name, and stamps; all else stays as it came.

But for what breaks the format: an ending in another word, or that is not of what came, and a call whose input is no object.
"""

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from paymaster.dialects.messages.answers import stated_reason
from paymaster.dialects.messages.blocks import arguments_text, parse_arguments
from paymaster.dialects.neutral import State
from paymaster.dialects.objects import section
from paymaster.dialects.state import stamped
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect


def pass_answer(body: JsonObject, *, stamp: str) -> JsonObject:
    """A whole answer. With `stamp` its thoughts are stamped with that owner: nobody else could read its signatures."""
    content = body.get("content")
    if not isinstance(content, list):
        return body
    blocks = [_stamped_block(_call_block(block), stamp) if stamp else _call_block(block) for block in content]
    stated = stated_reason(body.get("stop_reason"), calls=any(_is_call(block) for block in content))
    if stated == body.get("stop_reason") and all(new is old for new, old in zip(blocks, content, strict=True)):
        return body
    return {**body, "content": blocks, "stop_reason": stated}


def _is_call(block: object) -> TypeGuard[JsonObject]:
    return isinstance(block, Mapping) and block.get("type") == "tool_use"


def _call_block(block: object) -> object:
    """A call with its input as an object."""
    if not _is_call(block) or isinstance(given := block.get("input"), Mapping):
        return block
    return {**block, "input": parse_arguments(given) if isinstance(given, str) else {}}


def _stamped_block(block: object, owner: str) -> object:
    if not isinstance(block, Mapping) or block.get("type") not in ("thinking", "redacted_thinking"):
        return block
    name = "data" if block["type"] == "redacted_thinking" else "signature"
    return {**block, name: _stamp(block.get(name), owner)}


def _stamp(signature: object, owner: str) -> str:
    return stamped(State(value=signature if isinstance(signature, str) else "", dialect=Dialect.MESSAGES, owner=owner))


class EventPasser:
    """Passes the events of one stream. `model` is the name that the client knows the model by, `stamp` as in `pass_answer`."""

    def __init__(self, model: str, stamp: str) -> None:
        self._model, self._stamp = model, stamp
        self._unsigned: object = None
        self._inputs: dict[object, str] = {}
        self._has_calls = self._ended = False

    def passed(self, name: str, event: JsonObject) -> Iterator[JsonObject]:
        """The events that the client gets for this one."""
        match event.get("type"):
            case "message_start" if isinstance(message := event.get("message"), Mapping):
                yield {**event, "message": {**message, "model": self._model}}
            case "message_stop":
                self._ended = True
                yield event
            case "message_delta" if isinstance(delta := event.get("delta"), Mapping):
                yield self._ending(event, delta)
            case "content_block_start" | "content_block_delta" | "content_block_stop":
                for each in self._with_input(event):
                    yield from self._with_stamp(each) if self._stamp else (each,)
            case str():
                yield event
            case _:
                yield {"type": name, **event}

    def end(self) -> Iterator[JsonObject]:
        """What is missing of the end."""
        if not self._ended:
            yield {"type": "message_stop"}

    def _ending(self, event: JsonObject, delta: JsonObject) -> JsonObject:
        reason = delta.get("stop_reason")
        stated = stated_reason(reason, calls=self._has_calls)
        return event if stated == reason else {**event, "delta": {**delta, "stop_reason": stated}}

    def _with_input(self, event: JsonObject) -> Iterator[JsonObject]:
        """The input of a call in pieces: some servers send it whole where the call begins, which not every client reads."""
        index, block = event.get("index"), event.get("content_block")
        if _is_call(block):
            self._has_calls = True
            if (given := block.get("input")) != {}:
                event = {**event, "content_block": {**block, "input": {}}}
            if given:
                self._inputs[index] = arguments_text(given)
        elif event["type"] == "content_block_delta":
            if section(event.get("delta")).get("partial_json"):
                self._inputs.pop(index, None)
        elif (text := self._inputs.pop(index, None)) is not None:
            yield {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": text}}
        yield event

    def _with_stamp(self, event: JsonObject) -> Iterator[JsonObject]:
        """A thought's signature with its stamp, also where the model gave none."""
        index = event.get("index")
        block, delta = event.get("content_block"), event.get("delta")
        if isinstance(block, Mapping) and block.get("type") == "thinking":
            self._unsigned = index
        elif isinstance(block, Mapping):
            yield {**event, "content_block": _stamped_block(block, self._stamp)}
            return
        if isinstance(delta, Mapping) and delta.get("type") == "signature_delta":
            self._unsigned = None
            yield {**event, "delta": {**delta, "signature": _stamp(delta.get("signature"), self._stamp)}}
            return
        if event["type"] == "content_block_stop" and self._unsigned == index and index is not None:
            self._unsigned = None
            signature = {"type": "signature_delta", "signature": _stamp("", self._stamp)}
            yield {"type": "content_block_delta", "index": index, "delta": signature}
        yield event
