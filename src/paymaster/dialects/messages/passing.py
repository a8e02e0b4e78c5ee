"""Answers in Anthropic's format on their way to a client that speaks it: the model's name, and stamps; all else stays as it came."""

from collections.abc import Iterator, Mapping

from paymaster.dialects.neutral import State
from paymaster.dialects.state import stamped
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect


def pass_answer(body: JsonObject, *, stamp: str) -> JsonObject:
    """A whole answer. With `stamp` its thoughts are stamped with that owner: nobody else could read its signatures."""
    content = body.get("content")
    if not stamp or not isinstance(content, list):
        return body
    return {**body, "content": [_stamped_block(block, stamp) for block in content]}


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
        self._ended = False

    def passed(self, name: str, event: JsonObject) -> Iterator[JsonObject]:
        """The events that the client gets for this one."""
        match event.get("type"):
            case "message_start" if isinstance(message := event.get("message"), Mapping):
                yield {**event, "message": {**message, "model": self._model}}
            case "message_stop":
                self._ended = True
                yield event
            case "content_block_start" | "content_block_delta" | "content_block_stop" if self._stamp:
                yield from self._with_stamp(event)
            case str():
                yield event
            case _:
                yield {"type": name, **event}

    def end(self) -> Iterator[JsonObject]:
        """What is missing of the end."""
        if not self._ended:
            yield {"type": "message_stop"}

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
