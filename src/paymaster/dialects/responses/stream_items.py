"""Items of a streamed response as they grow: each is begun, filled and done in the events that clients expect; knows no chunk."""

from collections.abc import Iterator
from typing import Protocol

from paymaster.dialects.neutral import State
from paymaster.dialects.responses.client_tools import CLIENT_TOOLS, custom_input
from paymaster.dialects.responses.items import plain_summary
from paymaster.dialects.responses.sealed import Sealed, seal
from paymaster.dialects.responses.summaries import sealed_summary
from paymaster.dialects.responses.tools import ToolKey
from paymaster.dialects.state import id_with
from paymaster.jsontypes import JsonObject

Event = tuple[str, dict[str, object]]
"""The type of an event and its fields, without the number."""


class GrowingItem(Protocol):
    """One item of the output; `index` is its place there."""

    index: int

    def begin(self) -> Iterator[Event]:
        """The events of an item that begins."""
        ...

    def close(self) -> Iterator[Event]:
        """The events of an item that is done."""
        ...

    @property
    def done(self) -> JsonObject:
        """The item when it is done."""
        ...


def added(item: JsonObject, index: int) -> Event:
    """An item begins."""
    return "response.output_item.added", {"output_index": index, "item": item}


def ended(item: JsonObject, index: int) -> Event:
    """An item is done."""
    return "response.output_item.done", {"output_index": index, "item": item}


class SummaryItem:
    """A summary, which a client keeps unread. `owner` is its writer's name on stamps."""

    def __init__(self, index: int, item_id: str, owner: str) -> None:
        self.index = index
        self._id, self._owner = item_id, owner
        self._pieces: list[str] = []

    def begin(self) -> Iterator[Event]:
        """The item, as empty as it is."""
        yield added(self.done, self.index)

    def add(self, text: str) -> None:
        """A piece, of which the client is sent nothing before the end."""
        self._pieces.append(text)

    def close(self) -> Iterator[Event]:
        """The whole item."""
        yield ended(self.done, self.index)

    @property
    def done(self) -> JsonObject:
        """The item when it is done."""
        return {"id": self._id, "type": "compaction", "encrypted_content": sealed_summary("".join(self._pieces), self._owner)}


class MessageItem:
    """A message: texts and refusals, each a part of its content."""

    def __init__(self, index: int, item_id: str) -> None:
        self.index = index
        self._fields: dict[str, object] = {"id": item_id, "type": "message", "role": "assistant"}
        self._parts: list[JsonObject] = []
        self._kind = ""
        self._pieces: list[str] = []

    def begin(self) -> Iterator[Event]:
        """The item without content."""
        yield added({**self._fields, "status": "in_progress", "content": []}, self.index)

    def add(self, text: str, kind: str) -> Iterator[Event]:
        """A piece of a text (`output_text`) or of a `refusal`."""
        if kind != self._kind:
            yield from self._close_part()
            self._kind = kind
            yield "response.content_part.added", {**self._at(), "part": _part(kind, "")}
        self._pieces.append(text)
        yield f"response.{kind}.delta", {**self._at(), "delta": text, **_probabilities(kind)}

    def close(self) -> Iterator[Event]:
        """The end of the last part, and of the item."""
        yield from self._close_part()
        yield ended(self.done, self.index)

    @property
    def done(self) -> JsonObject:
        """The whole message."""
        return {**self._fields, "status": "completed", "content": list(self._parts)}

    def _close_part(self) -> Iterator[Event]:
        if not self._kind:
            return
        text, field = "".join(self._pieces), "refusal" if self._kind == "refusal" else "text"
        yield f"response.{self._kind}.done", {**self._at(), field: text, **_probabilities(self._kind)}
        part = _part(self._kind, text)
        yield "response.content_part.done", {**self._at(), "part": part}
        self._parts.append(part)
        self._kind, self._pieces = "", []

    def _at(self) -> dict[str, object]:
        return {"item_id": self._fields["id"], "output_index": self.index, "content_index": len(self._parts)}


def _part(kind: str, text: str) -> JsonObject:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _probabilities(kind: str) -> dict[str, object]:
    return {} if kind == "refusal" else {"logprobs": []}


class ReasoningItem:
    """A thought: its text is the summary, its state the encrypted content, if the client keeps that."""

    def __init__(self, index: int, item_id: str, *, owner: State, keeps: bool) -> None:
        self.index = index
        self._sealed, self._keeps = Sealed(state=owner), keeps
        self._id = id_with(item_id, owner) if owner.owner else item_id
        self._pieces: list[str] = []

    def begin(self) -> Iterator[Event]:
        """The item without a summary."""
        yield added({"id": self._id, "type": "reasoning", "summary": []}, self.index)

    def add(self, text: str) -> Iterator[Event]:
        """A piece of the thought."""
        if not self._pieces:
            yield "response.reasoning_summary_part.added", {**self._at(), "part": {"type": "summary_text", "text": ""}}
        self._pieces.append(text)
        yield "response.reasoning_summary_text.delta", {**self._at(), "delta": text}

    def sign(self, sealed: Sealed) -> None:
        """Take the state that goes back with the thought."""
        self._sealed = sealed

    def close(self) -> Iterator[Event]:
        """The end of the summary, and of the item."""
        if self._pieces:
            text = "".join(self._pieces)
            yield "response.reasoning_summary_text.done", {**self._at(), "text": text}
            yield "response.reasoning_summary_part.done", {**self._at(), "part": {"type": "summary_text", "text": text}}
        yield ended(self.done, self.index)

    @property
    def done(self) -> JsonObject:
        """The whole item. An unsigned thought has the name of its writer alone as its state."""
        item = {"id": self._id, "type": "reasoning", "summary": plain_summary("".join(self._pieces))}
        content = seal(self._sealed)
        return {**item, "encrypted_content": content} if self._keeps and content else item

    def _at(self) -> dict[str, object]:
        return {"item_id": self._id, "output_index": self.index, "summary_index": 0}


class CallItem:
    """A call of a tool that runs at the client, as the client declared it: a function, a custom tool, or one of OpenAI's own."""

    def __init__(self, index: int, item_id: str, call_id: str, key: ToolKey) -> None:
        self.index = index
        self._id, self._key = item_id, key
        self._facts = CLIENT_TOOLS.get(key.type)
        self.call_id = call_id
        self._pieces: list[str] = []

    def begin(self) -> Iterator[Event]:
        """The item without arguments."""
        yield added(self._item("", "in_progress"), self.index)

    def add(self, arguments: str) -> Iterator[Event]:
        """A piece of the arguments. Those of a custom tool are JSON until they are whole, so they come in one piece."""
        self._pieces.append(arguments)
        if self._key.type == "function":
            yield "response.function_call_arguments.delta", {**self._at(), "delta": arguments}

    def close(self) -> Iterator[Event]:
        """The end of the arguments, and of the item."""
        if self._key.type == "custom":
            text = custom_input(self.arguments)
            if text:
                yield "response.custom_tool_call_input.delta", {**self._at(), "delta": text}
            yield "response.custom_tool_call_input.done", {**self._at(), "input": text}
        elif self._facts is None:
            if not self._pieces:
                yield from self.add("{}")
            yield "response.function_call_arguments.done", {**self._at(), "name": self._key.name, "arguments": self.arguments}
        yield ended(self.done, self.index)

    @property
    def arguments(self) -> str:
        """The arguments so far."""
        return "".join(self._pieces)

    @property
    def done(self) -> JsonObject:
        """The whole call."""
        return self._item(self.arguments or "{}", "completed")

    def _item(self, arguments: str, status: str) -> JsonObject:
        group = {"namespace": self._key.namespace} if self._key.namespace else {}
        if self._facts is not None:
            return {
                "id": self._id, "type": self._facts.call, "call_id": self.call_id, "status": status, **self._facts.call_fields(arguments),
            }  # fmt: skip
        own: JsonObject = {"call_id": self.call_id, "name": self._key.name, **group}
        if self._key.type == "custom":
            return {"id": self._id, "type": "custom_tool_call", "status": status, **own, "input": custom_input(arguments)}
        return {"id": self._id, "type": "function_call", "status": status, **own, "arguments": arguments}

    def _at(self) -> dict[str, object]:
        return {"item_id": self._id, "output_index": self.index}
