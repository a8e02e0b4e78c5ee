"""Reads the events of a stream in Anthropic's format as chunks of a chat completion in the house form; knows no HTTP and no client."""

from paymaster.dialects.messages.answers import OPAQUE, house_ending, native_ending, openai_usage, signed_by
from paymaster.dialects.messages.blocks import arguments_text, parse_arguments
from paymaster.dialects.objects import section
from paymaster.jsontypes import JsonObject

NOTHING: JsonObject = {"object": "chat.completion.chunk", "choices": []}
"""The chunk of an event that says nothing to a reader of chat completions."""


class _OpaqueBlock:
    """A block that only Anthropic knows, as it grows: a use of a server's tool and its result, a compaction."""

    def __init__(self, block: JsonObject) -> None:
        self._block = dict(block)
        self._input: list[str] = []

    def add(self, delta: JsonObject) -> None:
        """Add a piece: of the input of a tool, or the fields of anything else."""
        if isinstance(piece := delta.get("partial_json"), str):
            self._input.append(piece)
        else:
            self._block |= {name: value for name, value in delta.items() if name != "type"}

    def build(self) -> JsonObject:
        """The whole block."""
        return {**self._block, "input": parse_arguments("".join(self._input))} if self._input else self._block


class MessagesReader:
    """Takes events in order. A block's index counts all blocks, a call's only the calls.

    `ended` is true from `message_stop` on: whatever follows is no part of the answer. With an `owner` signatures are stamped with it.
    """

    __slots__ = ("_calls", "_head", "_opaque", "_owner", "_silent", "_usage", "ended")

    idle_events: frozenset[str] = frozenset({"ping"})

    def __init__(self, owner: str = "") -> None:
        self._owner = owner
        self._head: JsonObject = NOTHING
        self._calls: dict[object, int] = {}
        self._silent: set[object] = set()
        self._opaque: dict[object, _OpaqueBlock] = {}
        self._usage: dict[str, object] = {}
        self.ended = False

    @property
    def shown_usage(self) -> JsonObject:
        """The usage so far, in the words of chat completions."""
        return openai_usage(self._usage)

    def read(self, event: str, data: JsonObject) -> JsonObject:
        """The chunk for an event: without choices if it has no counterpart, with `error` if the event is one."""
        match data.get("type") or event:
            case "message_start":
                return self._start(section(data.get("message")))
            case "content_block_start":
                return self._begin(data.get("index"), section(data.get("content_block")))
            case "content_block_delta":
                return self._continue(data.get("index"), section(data.get("delta")))
            case "content_block_stop":
                return self._stop(data.get("index"))
            case "message_delta":
                return self._end(data)
            case "message_stop":
                self.ended = True
                return NOTHING
            case "error":
                return {"error": data.get("error") or data}
            case _:
                return NOTHING

    def _start(self, message: JsonObject) -> JsonObject:
        self._head = {"id": message.get("id"), "object": "chat.completion.chunk", "created": 0, "model": message.get("model")}
        self._usage |= section(message.get("usage"))
        return self._chunk({"role": "assistant"})

    def _begin(self, index: object, block: JsonObject) -> JsonObject:
        match block.get("type"):
            case "tool_use":
                number = self._calls[index] = len(self._calls)
                given = block.get("input")
                arguments = arguments_text(given) if given else ""
                if not arguments:
                    self._silent.add(index)
                function = {"name": block.get("name"), "arguments": arguments}
                return self._chunk({"tool_calls": [{"index": number, "id": block.get("id"), "type": "function", "function": function}]})
            case "text":
                return self._chunk({"content": block["text"]}) if block.get("text") else NOTHING
            case "thinking":
                return self._thought(block.get("thinking"), block.get("signature"))
            case "redacted_thinking":
                return self._chunk({"thinking_blocks": [signed_by(block, self._owner)]})
            case str():
                self._opaque[index] = _OpaqueBlock(block)
                return NOTHING
            case _:
                return NOTHING

    def _continue(self, index: object, delta: JsonObject) -> JsonObject:
        match delta.get("type"):
            case "text_delta" if delta.get("text"):
                return self._chunk({"content": delta["text"]})
            case "input_json_delta" if index in self._calls and delta.get("partial_json"):
                self._silent.discard(index)
                return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": delta["partial_json"]}}]})
            case "thinking_delta":
                return self._thought(delta.get("thinking"), None)
            case "signature_delta":
                return self._thought(None, delta.get("signature"))
            case _:
                if index in self._opaque:
                    self._opaque[index].add(delta)
                return NOTHING

    def _stop(self, index: object) -> JsonObject:
        """The end of a block. A call without arguments has the empty object; a block that only Anthropic knows is passed on whole."""
        if index in self._opaque:
            return self._chunk({OPAQUE: [self._opaque.pop(index).build()]})
        if index not in self._silent:
            return NOTHING
        self._silent.discard(index)
        return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": "{}"}}]})

    def _end(self, data: JsonObject) -> JsonObject:
        """The ending and the counts: those that a later event leaves out are as before."""
        delta = section(data.get("delta"))
        self._usage |= {name: value for name, value in section(data.get("usage")).items() if value is not None}
        reason = delta.get("stop_reason")
        finish = house_ending(reason) if reason else None
        choice = {"index": 0, "delta": {}, "finish_reason": finish, **native_ending(delta)}
        return {**self._head, "choices": [choice], **({"usage": openai_usage(self._usage)} if self._usage else {})}

    def _thought(self, text: object, signature: object) -> JsonObject:
        block = {"type": "thinking", "thinking": text if isinstance(text, str) else ""}
        if not block["thinking"] and not signature:
            return NOTHING
        said = {"reasoning_content": text} if text else {}
        return self._chunk({**said, "thinking_blocks": [signed_by({**block, "signature": signature}, self._owner) if signature else block]})

    def _chunk(self, delta: JsonObject) -> JsonObject:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
