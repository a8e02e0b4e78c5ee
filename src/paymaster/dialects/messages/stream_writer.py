"""Writes chunks of a chat completion as the events of a stream in Anthropic's format; knows no HTTP, no cost and no error.

Blocks come one after the other. Chunks do not mark the end of a block: the next block's start ends it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from paymaster.dialects.messages.blocks import BlockWriter
from paymaster.dialects.neutral import State
from paymaster.dialects.state import id_with, stamped
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

_NO_USAGE = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}


class MessagesWriter:
    """One stream. With `thinking` its client gets thoughts.

    `owner` is the name on stamps of the model that answers: what it wants back goes into what the client returns, stamped with it.
    `answer_id` gives the id of the message by the first chunk.
    """

    def __init__(self, *, thinking: bool, answer_id: Callable[[JsonObject], str] = lambda chunk: str(chunk.get("id", ""))) -> None:
        self._thinking = thinking
        self._answer_id = answer_id
        self._owner = ""
        self._begun = False
        self._index = -1
        self._kind = ""
        self._call: object = None
        self._unsigned = False

    def chunk(self, chunk: JsonObject, model: str, owner: str = "") -> Iterator[JsonObject]:
        """The events that a chunk adds."""
        self._owner = owner
        if not self._begun:
            yield from self._start(chunk, model)
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        if isinstance(delta, Mapping):
            yield from self._delta(delta)

    def end(self, model: str, delta: JsonObject, usage: JsonObject) -> Iterator[JsonObject]:
        """The last block's end, and the ending with the usage."""
        if not self._begun:
            yield from self._start({}, model)
        yield from self._close()
        yield {"type": "message_delta", "delta": delta, "usage": usage}
        yield {"type": "message_stop"}

    def _start(self, chunk: JsonObject, model: str) -> Iterator[JsonObject]:
        self._begun = True
        message: JsonObject = {
            "id": message_id(self._answer_id(chunk)), "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": _NO_USAGE,
        }  # fmt: skip
        yield {"type": "message_start", "message": message}

    def _delta(self, delta: JsonObject) -> Iterator[JsonObject]:
        for thought in thoughts_in(delta, self._owner) if self._thinking else ():
            yield from self._thought(thought)
        for text in (delta.get("content"), delta.get("refusal")):
            if isinstance(text, str) and text:
                yield from self._open("text", {"type": "text", "text": ""})
                yield self._piece({"type": "text_delta", "text": text})
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, Mapping):
                yield from self._tool_call(call)

    def _thought(self, block: JsonObject) -> Iterator[JsonObject]:
        """A piece of a thought, its signature, or a thought without a text, which comes whole."""
        if block.get("type") == "redacted_thinking":
            yield from self._close()
            yield from self._open("redacted_thinking", block)
            yield from self._close()
            return
        yield from self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        self._unsigned = True
        if text := block.get("thinking"):
            yield self._piece({"type": "thinking_delta", "thinking": text})
        if signature := block.get("signature"):
            self._unsigned = False
            yield self._piece({"type": "signature_delta", "signature": signature})
            yield from self._close()

    def _tool_call(self, call: JsonObject) -> Iterator[JsonObject]:
        given = call.get("function")
        function: JsonObject = given if isinstance(given, Mapping) else {}
        call_id, key = call.get("id"), call.get("index")
        is_new = self._kind != "tool_use" or (key is not None and key != self._call) or (bool(call_id) and bool(function.get("name")))
        if is_new and function.get("name"):
            yield from self._close()
            self._call = key
            shown = signed_id(str(call_id or f"toolu_{self._index + 1}"), call, self._owner)
            yield from self._open("tool_use", {"type": "tool_use", "id": shown, "name": function["name"], "input": {}})
        if self._kind == "tool_use" and isinstance(arguments := function.get("arguments"), str) and arguments:
            yield self._piece({"type": "input_json_delta", "partial_json": arguments})

    def _open(self, kind: str, block: JsonObject) -> Iterator[JsonObject]:
        if self._kind == kind:
            return
        yield from self._close()
        self._kind = kind
        self._index += 1
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _close(self) -> Iterator[JsonObject]:
        """The end of the block. A thought that its model did not sign is stamped with the model's name."""
        if self._kind == "thinking" and self._unsigned and self._owner:
            yield self._piece({"type": "signature_delta", "signature": own_stamp(self._owner)})
        self._unsigned = False
        if self._kind:
            self._kind = ""
            yield {"type": "content_block_stop", "index": self._index}

    def _piece(self, delta: JsonObject) -> JsonObject:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}


def own_stamp(owner: str) -> str:
    """The stamp of a thought whose text is all that its model wants back."""
    return stamped(State(value="", dialect=Dialect.CHAT, owner=owner))


def message_id(given: str) -> str:
    """An id with Anthropic's prefix."""
    return given if given.startswith("msg_") else f"msg_{given}"


def thoughts_in(message: JsonObject, owner: str) -> list[JsonObject]:
    """The thoughts in a message or a delta as blocks: Claude's own, with their signatures, another model's text, encrypted reasoning."""
    own = message.get("thinking_blocks")
    blocks = [_plain_block(block) for block in own if isinstance(block, Mapping)] if isinstance(own, list) else []
    text = message.get("reasoning_content") or message.get("reasoning")
    if not blocks and isinstance(text, str) and text:
        blocks.append({"type": "thinking", "thinking": text})
    details = message.get("reasoning_details")
    for seal in _seals(details if isinstance(details, list) else (), owner):
        if blocks and "signature" not in blocks[-1] and blocks[-1].get("type") == "thinking":
            blocks[-1] = {**blocks[-1], "signature": seal}
        else:
            blocks.append({"type": "thinking", "thinking": "", "signature": seal})
    return blocks


def _plain_block(block: JsonObject) -> JsonObject:
    return {name: value for name, value in block.items() if value is not None and name != "cache_control"}


def _seals(details: Sequence[object], owner: str) -> Iterator[str]:
    """The reasoning that only its model can read, with its stamp."""
    for entry in details:
        if (
            isinstance(entry, Mapping)
            and entry.get("type") == "reasoning.encrypted"
            and isinstance(data := entry.get("data"), str)
            and owner
        ):
            yield stamped(State(value=data, dialect=Dialect.RESPONSES, owner=owner))


def signed_id(call_id: str, call: JsonObject, owner: str) -> str:
    """The id of a call as its client sees it: with Google's thought signature in it, which the client returns nowhere else."""
    shown = BlockWriter.call_id(call_id)
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    if not isinstance(signature, str) or not signature or not owner:
        return shown
    return id_with(shown, State(value=signature, dialect=Dialect.CHAT, owner=owner))
