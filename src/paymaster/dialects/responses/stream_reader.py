"""Reads the events of a response as chat.completion chunks; knows no HTTP and no price.

A whole answer is read in the same way, as the last event of a stream of which nothing else came.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from paymaster.dialects.objects import section
from paymaster.dialects.responses.answers import CUTS
from paymaster.dialects.responses.client_tools import BY_CALL, custom_arguments
from paymaster.dialects.responses.fields import dumped, text_in
from paymaster.jsontypes import JsonObject

ENCRYPTED_FORMAT = "openai-responses-v1"
"""OpenRouter's name for encrypted reasoning of OpenAI's."""
_ENDINGS = {cut: ending for ending, cut in CUTS.items()}
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
OTHER_ITEMS = "openai_items"
"""Items without a counterpart, where there is nothing else in an answer: a compaction, an image, a question whether a tool may be used."""
_READ = frozenset({"message", "reasoning", "function_call", "custom_tool_call", *BY_CALL})
_BETWEEN_PARTS = "\n\n"
NextCall: TypeAlias = Callable[[], int]
"""Gives the place of the next call."""


class EventReader:
    """Reads the events of one stream. Events that are not known have a chunk without choices."""

    idle_events: frozenset[str] = frozenset({"response.created", "response.queued", "response.in_progress"})

    def __init__(self) -> None:
        self.shown_usage: JsonObject = {}
        self._top: dict[str, object] = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": ""}
        self._items: dict[object, _ReadItem] = {}
        self._calls = 0
        self._others: list[JsonObject] = []

    def read(self, event: str, data: JsonObject) -> JsonObject:
        """The chunk for an event; with `error` if it is one."""
        kind = text_in(data, "type") or event
        if kind == "response.output_text.delta" and (piece := text_in(data, "delta")):  # most events
            self._item(data).said = True
            return self._chunk({"content": piece})
        if kind == "error":
            return {"error": {name: data.get(name) for name in ("message", "code", "param") if data.get(name) is not None}}
        if kind in _ENDS:
            return self._end(section(data.get("response")))
        if kind == "response.created":
            self._note(section(data.get("response")))
            return self._chunk({"role": "assistant"})
        delta: dict[str, object] = {}
        for name, value in self._delta(kind, data):
            _merge(delta, name, value)
        return self._chunk(delta) if delta else {**self._top, "choices": []}

    def _note(self, response: JsonObject) -> None:
        known = {"id": response.get("id"), "created": response.get("created_at"), "model": response.get("model")}
        self._top |= {name: value for name, value in known.items() if value}
        if isinstance(tier := response.get("service_tier"), str):
            self._top["service_tier"] = tier

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> dict[str, object]:
        return {**self._top, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}

    def _delta(self, kind: str, data: JsonObject) -> Iterator[tuple[str, object]]:
        """The fields of a delta for an event."""
        item = self._item(data)
        piece = text_in(data, "delta")
        match kind:
            case "response.output_item.added":
                yield from item.begin(section(data.get("item")), self._next_call)
            case "response.output_item.done":
                yield from self._ended(item, section(data.get("item")))
            case "response.refusal.delta":
                yield from item.refuse(piece)
            case "response.reasoning_summary_part.added" | "response.reasoning_text.part.added":
                item.part_begins()
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield from item.think(piece)
            case "response.output_text.annotation.added":
                if notes := [*_citation(section(data.get("annotation")))]:
                    yield "annotations", notes
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                yield from item.argue(piece)
            case _:
                pass

    def _item(self, data: JsonObject) -> "_ReadItem":
        return self._items.setdefault(data.get("output_index"), _ReadItem())

    def _next_call(self) -> int:
        self._calls += 1
        return self._calls - 1

    def _ended(self, item: "_ReadItem", given: JsonObject) -> Iterator[tuple[str, object]]:
        """What the end of an item brings."""
        if item.is_open and text_in(given, "type") not in _READ:
            self._others.append(given)
        yield from item.end(given, self._next_call)

    def _end(self, response: JsonObject) -> JsonObject:
        """The last chunk: what no event before has brought, how the answer ended, and the usage."""
        self._note(response)
        if response.get("status") in ("failed", "cancelled") or section(response.get("error")):
            return {**self._top, "error": {"message": "the response failed", **section(response.get("error"))}}
        delta: dict[str, object] = {}
        output = response.get("output")
        for index, given in enumerate(output if isinstance(output, list) else ()):
            item = self._items.setdefault(index, _ReadItem())
            for name, value in self._ended(item, section(given)):
                _merge(delta, name, value)
        if self._others and not self._calls and not any(item.said for item in self._items.values()):
            delta[OTHER_ITEMS] = self._others
        reason = text_in(section(response.get("incomplete_details")), "reason")
        ending = _ENDINGS.get(reason, "length" if response.get("status") == "incomplete" else "tool_calls" if self._calls else "stop")
        chunk = self._chunk(delta, ending)
        usage = response.get("usage")
        if not isinstance(usage, Mapping):
            return chunk
        self.shown_usage = house_usage(usage)
        return {**chunk, "usage": self.shown_usage}


class _ReadItem:
    """What of one item was read so far. `said`: pieces of its text came."""

    def __init__(self) -> None:
        self._call: int | None = None
        self.said = self._custom = self._argued = self._ended = False
        self._between = ""
        self._thought: list[str] = []

    def begin(self, item: JsonObject, next_call: NextCall) -> Iterator[tuple[str, object]]:
        """An item begins: a call has a name at once."""
        kind = item.get("type")
        if kind in ("function_call", "custom_tool_call") and self._call is None and (name := text_in(item, "name")):
            self._call, self._custom = next_call(), kind == "custom_tool_call"
            call_id = text_in(item, "call_id") or text_in(item, "id")
            function = {"name": name, "arguments": ""}
            yield "tool_calls", [{"index": self._call, "id": call_id, "type": "function", "function": function}]

    def refuse(self, text: str) -> Iterator[tuple[str, object]]:
        """A piece of a refusal."""
        if text:
            self.said = True
            yield "refusal", text

    def part_begins(self) -> None:
        """Another part of a thought begins."""
        self._between = _BETWEEN_PARTS if self._thought else ""

    def think(self, text: str) -> Iterator[tuple[str, object]]:
        """A piece of a thought."""
        if text:
            piece, self._between = f"{self._between}{text}", ""
            self._thought.append(piece)
            yield "reasoning_content", piece

    def argue(self, piece: str) -> Iterator[tuple[str, object]]:
        """A piece of a call's arguments. The text of a custom tool is the text in JSON."""
        if self._call is None or not piece:
            return
        if self._custom:
            escaped = dumped(piece)[1:-1]
            piece = escaped if self._argued else f"{custom_arguments('')[:-2]}{escaped}"
        self._argued = True
        yield self._arguments(piece)

    @property
    def is_open(self) -> bool:
        """Whether its end has not come yet."""
        return not self._ended

    def end(self, item: JsonObject, next_call: NextCall) -> Iterator[tuple[str, object]]:
        """An item is done: what of it has not come yet."""
        if self._ended:
            return
        self._ended = True
        kind = text_in(item, "type")
        if kind == "message" and not self.said:
            self.said = bool(item.get("content"))
            yield from _message(item)
        elif kind == "reasoning":
            yield from self._end_thought(item)
        elif kind in ("function_call", "custom_tool_call") or kind in BY_CALL:
            calls: list[JsonObject] = []
            for _, pieces in (*self.begin(item, next_call), *self._rest_of_call(item, kind, next_call)):
                calls += pieces if isinstance(pieces, list) else ()
            if calls:
                yield "tool_calls", _joined_calls(calls)

    def _rest_of_call(self, item: JsonObject, kind: str, next_call: NextCall) -> Iterator[tuple[str, object]]:
        if (facts := BY_CALL.get(kind)) is not None:
            if not facts.runs_at_client(item):
                return
            call_id = text_in(item, "call_id") or text_in(item, "id")
            function = {"name": facts.type, "arguments": facts.arguments(item)}
            yield "tool_calls", [{"index": next_call(), "id": call_id, "type": "function", "function": function}]
        elif self._custom:
            yield self._arguments('"}' if self._argued else custom_arguments(text_in(item, "input")))
        elif not self._argued and self._call is not None:
            yield self._arguments(text_in(item, "arguments") or "{}")

    def _arguments(self, piece: str) -> tuple[str, object]:
        return "tool_calls", [{"index": self._call, "function": {"arguments": piece}}]

    def _end_thought(self, item: JsonObject) -> Iterator[tuple[str, object]]:
        text = "".join(self._thought)
        if not text:
            shown = item.get("content") or item.get("summary")
            text = _BETWEEN_PARTS.join(text_in(part, "text") for part in _mappings(shown))
            if text:
                yield "reasoning_content", text
        if data := text_in(item, "encrypted_content"):
            of_item = {"id": text_in(item, "id"), "format": ENCRYPTED_FORMAT}
            summary = [{"type": "reasoning.summary", "summary": text, **of_item}] if text else []
            yield "reasoning_details", [*summary, {"type": "reasoning.encrypted", "data": data, **of_item}]


def whole(response: JsonObject) -> JsonObject:
    """The chat.completion for a whole response; one with `error` for one that failed."""
    chunk = EventReader().read("response.completed", {"response": response})
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        return chunk
    delta = choices[0]["delta"]
    message: dict[str, object] = {"role": "assistant", "content": None, **delta}
    if calls := delta.get("tool_calls"):
        message["tool_calls"] = [{name: value for name, value in call.items() if name != "index"} for call in calls]
    choice = {"index": 0, "message": message, "finish_reason": choices[0]["finish_reason"]}
    return {**chunk, "object": "chat.completion", "choices": [choice]}


def house_usage(usage: JsonObject) -> JsonObject:
    """The usage under the names of chat completions, with every detail."""
    return {_USAGE_NAMES.get(name, name): value for name, value in usage.items()}


_USAGE_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


def _message(item: JsonObject) -> Iterator[tuple[str, object]]:
    for part in _mappings(item.get("content")):
        for name, field in (("content", "text"), ("refusal", "refusal")):
            if text := text_in(part, field):
                yield name, text
        if notes := [note for given in _mappings(part.get("annotations")) for note in _citation(given)]:
            yield "annotations", notes


def _citation(given: JsonObject) -> Iterator[JsonObject]:
    """A citation of a page, as chat completions has it; it has no other kind."""
    if given.get("type") == "url_citation":
        yield {"type": "url_citation", "url_citation": {name: value for name, value in given.items() if name != "type"}}


def _joined_calls(pieces: Sequence[JsonObject]) -> list[JsonObject]:
    """The pieces of calls, one for each."""
    calls: dict[object, dict[str, object]] = {}
    for piece in pieces:
        known = calls.setdefault(piece.get("index"), {})
        function, more = section(known.get("function")), section(piece.get("function"))
        joined = {**function, **more, "arguments": text_in(function, "arguments") + text_in(more, "arguments")}
        known.update({**piece, "function": joined})
    return [*calls.values()]


def _merge(delta: dict[str, object], name: str, value: object) -> None:
    """Add a field to a delta that may have it."""
    known = delta.get(name)
    if isinstance(known, str):
        delta[name] = f"{known}{value}"
    elif isinstance(known, list) and isinstance(value, list):
        delta[name] = [*known, *value]
    else:
        delta[name] = value


def _mappings(value: object) -> Iterator[JsonObject]:
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, Mapping):
            yield entry
