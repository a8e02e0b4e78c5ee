"""Writes chat.completion chunks as the events of a response; knows no HTTP and no price.

A whole answer is written in the same way, from one chunk: so both forms of an answer have the same items.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

from paymaster.dialects.neutral import State
from paymaster.dialects.objects import section
from paymaster.dialects.responses.answers import begun
from paymaster.dialects.responses.client_tools import ID_PREFIXES, call_type
from paymaster.dialects.responses.fields import OWN, text_in
from paymaster.dialects.responses.requests import asks_for_summary, names_of, wants_encrypted
from paymaster.dialects.responses.sealed import Sealed
from paymaster.dialects.responses.stream_items import CallItem, Event, GrowingItem, MessageItem, ReasoningItem, SummaryItem
from paymaster.dialects.state import id_with, read_stamp
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

Item = TypeVar("Item", MessageItem, ReasoningItem)

_FORMATS = {"openai-responses-v1": OWN, "anthropic-claude-v1": Dialect.MESSAGES}
"""In whose words the state in `reasoning_details` is, by OpenRouter's names."""
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9]")
_ID_LETTERS = 40


class EventWriter:
    """The events of one response. `request` is the client's body; `owner` signs the state of the model that answers (see `state`)."""

    def __init__(self, request: JsonObject, owner: str = "") -> None:
        self._request = request
        self.owner = owner
        self._names = names_of(request)
        self._keeps = wants_encrypted(request)
        self._summarises = asks_for_summary(request)
        self._summary: SummaryItem | None = None
        self._number = -1
        self._items: list[GrowingItem] = []
        self._open: list[GrowingItem] = []
        self._calls: dict[object, CallItem] = {}
        self.response: dict[str, object] = {}

    @property
    def output(self) -> list[JsonObject]:
        """The items that are done."""
        return [item.done for item in self._items if item not in self._open]

    def begin(self, response_id: str, model: str, created_s: int) -> Iterator[JsonObject]:
        """The first events; nothing if they were written."""
        if self.response:
            return
        self.response = begun(self._request, response_id if response_id.startswith("resp_") else f"resp_{response_id}", model, created_s)
        for kind in ("response.created", "response.in_progress"):
            yield self.numbered((kind, {"response": self.response}))

    def add(self, delta: JsonObject) -> Iterator[JsonObject]:
        """The events for the delta of a choice."""
        for event in self._of_delta(delta):
            yield self.numbered(event)

    def close(self) -> Iterator[JsonObject]:
        """The ends of all items that are open."""
        for event in self._close(GrowingItem):
            yield self.numbered(event)

    def end(self, response: JsonObject) -> JsonObject:
        """The last event of a response that is whole, cut or failed."""
        self.response = dict(response)
        return self.numbered((f"response.{response['status']}", {"response": response}))

    def numbered(self, event: Event) -> JsonObject:
        """The event with the next number."""
        self._number += 1
        kind, fields = event
        return {"type": kind, "sequence_number": self._number, **fields}

    def _of_delta(self, delta: JsonObject) -> Iterator[Event]:
        if self._summarises:
            yield from self._summarise(text_in(delta, "content"))
            return
        yield from self._thoughts(delta)
        for name, kind in (("content", "output_text"), ("refusal", "refusal")):
            text = delta.get(name)
            if isinstance(text, str) and text:
                yield from self._close(ReasoningItem)
                message = self._last(MessageItem)
                if message is None:
                    message = MessageItem(len(self._items), self._item_id("msg"))
                    yield from self._begin(message)
                yield from message.add(text, kind)
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            yield from self._call(section(call))

    def _summarise(self, text: str) -> Iterator[Event]:
        """The text alone is the answer: who asks for a summary expects one item, and gets none that would replace a history by nothing."""
        if not text:
            return
        if self._summary is None:
            self._summary = SummaryItem(len(self._items), self._item_id("cmp"), self.owner)
            yield from self._begin(self._summary)
        self._summary.add(text)

    def _thoughts(self, delta: JsonObject) -> Iterator[Event]:
        """The text comes in one of three fields, and may be repeated in another; a state ends a thought."""
        text = text_in(delta, "reasoning_content")
        if text:
            yield from self._think(text)
        for block in _mappings(delta.get("thinking_blocks")):
            if not text and (piece := text_in(block, "thinking")):
                yield from self._think(piece)
            redacted = block.get("type") == "redacted_thinking"
            if value := text_in(block, "data" if redacted else "signature"):
                yield from self._sign(read_stamp(value, Dialect.MESSAGES), redacted=redacted)
        for entry in _mappings(delta.get("reasoning_details")):
            piece = text_in(entry, "text") or text_in(entry, "summary")
            if not text and piece:
                yield from self._think(piece)
            if value := text_in(entry, "data") or text_in(entry, "signature"):
                dialect = _FORMATS.get(text_in(entry, "format"), Dialect.CHAT)
                yield from self._sign(read_stamp(value, dialect), entry_id=text_in(entry, "id"))

    def _think(self, text: str) -> Iterator[Event]:
        yield from self._close(MessageItem)
        thought = self._last(ReasoningItem)
        if thought is None:
            thought = self._thought("")
            yield from self._begin(thought)
        yield from thought.add(text)

    def _thought(self, entry_id: str) -> ReasoningItem:
        state = State(value="", dialect=Dialect.CHAT, owner=self.owner)
        return ReasoningItem(len(self._items), entry_id or self._item_id("rs"), owner=state, keeps=self._keeps)

    def _sign(self, state: State, *, redacted: bool = False, entry_id: str = "") -> Iterator[Event]:
        """The state of the thought that is open. A redacted one is a thought of its own, as is a state without a text."""
        thought = None if redacted else self._last(ReasoningItem)
        if thought is None:
            yield from self._close(ReasoningItem)
            thought = self._thought(entry_id)
            yield from self._begin(thought)
        owned = state if state.owner else State(value=state.value, dialect=state.dialect, owner=self.owner)
        thought.sign(Sealed(state=owned, redacted=redacted, item_id="" if state.owner else entry_id))
        yield from self._close(ReasoningItem)

    def _call(self, call: JsonObject) -> Iterator[Event]:
        function, key = section(call.get("function")), call.get("index")
        item = self._calls.get(key)
        if item is None:
            if not (name := text_in(function, "name")):
                return
            yield from self._close(ReasoningItem)
            yield from self._close(MessageItem)
            tool = self._names.key(name)
            item_id = self._item_id(ID_PREFIXES[call_type(tool.type)])
            item = self._calls[key] = CallItem(len(self._items), item_id, text_in(call, "id") or item_id, tool)
            item.call_id = self._with_signature(item.call_id, call)
            yield from self._begin(item)
        else:
            item.call_id = self._with_signature(item.call_id, call)
        if arguments := text_in(function, "arguments"):
            yield from item.add(arguments)

    def _with_signature(self, call_id: str, call: JsonObject) -> str:
        """Gemini's signature of a thought comes with a call, and goes back with it: in the id, which every client returns."""
        signature = text_in(section(section(call.get("extra_content")).get("google")), "thought_signature")
        return id_with(call_id, State(value=signature, dialect=Dialect.CHAT, owner=self.owner)) if signature else call_id

    def _begin(self, item: GrowingItem) -> Iterator[Event]:
        self._items.append(item)
        self._open.append(item)
        yield from item.begin()

    def _close(self, kind: type[object]) -> Iterator[Event]:
        """End the open items of this kind. Calls stay open until the end, as their pieces may alternate."""
        for item in [item for item in self._open if kind is GrowingItem or isinstance(item, kind)]:
            self._open.remove(item)
            yield from item.close()

    def _last(self, kind: type[Item]) -> Item | None:
        return next((item for item in self._open if isinstance(item, kind)), None)

    def _item_id(self, prefix: str) -> str:
        """An id of at most 64 letters, as OpenAI's own API demands of a history."""
        own = _NOT_IN_IDS.sub("", str(self.response.get("id", "")).removeprefix("resp_"))[-_ID_LETTERS:]
        return f"{prefix}_{len(self._items)}{own}"


def _mappings(value: object) -> Iterator[JsonObject]:
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, Mapping):
            yield entry
