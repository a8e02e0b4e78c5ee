"""Turns written as items of OpenAI's responses, for a client or for one model; knows no request and no answer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TypeAlias, TypeGuard

from paymaster.dialects.losses import lost_extras
from paymaster.dialects.neutral import Audio, Document, Image, Opaque, Part, Role, Text, Thought, ToolCall, ToolResult, Turn
from paymaster.dialects.objects import objects, section
from paymaster.dialects.responses.client_tools import CLIENT_TOOLS
from paymaster.dialects.responses.fields import OWN, shape_of, with_own
from paymaster.dialects.responses.items import data_url, is_call, is_output, ordered, plain_summary, text_type
from paymaster.dialects.responses.sealed import Sealed, seal
from paymaster.dialects.state import id_with, is_for
from paymaster.jsontypes import JsonObject

LONGEST_ID = 64
"""OpenAI's limit for the ids of calls."""
_ID_DIGITS = 32
_Item: TypeAlias = Thought | ToolCall | ToolResult | Opaque
"""Parts that are items of their own."""


class ItemWriter:
    """Writes turns as items; the names of what is lost are in `dropped`.

    For a model, `owner` is its name on stamps, and the state of others is left out. Without one, everything is written, with stamps.
    """

    def __init__(self, *, owner: str = "") -> None:
        self._owner = owner
        self._customs: set[str] = set()
        self.dropped: list[str] = []

    def items(self, turns: Sequence[Turn]) -> list[JsonObject]:
        """The items of these turns, each output behind its call."""
        self._customs = {part.id for turn in turns for part in turn.parts if isinstance(part, ToolCall) and part.custom}
        written = [item for index, turn in enumerate(turns) for item in self._turn(turn, f"messages.{index}")]
        return list(ordered(with_items_behind(written) if self._owner else written))

    def _turn(self, turn: Turn, where: str) -> Iterator[JsonObject]:
        self.dropped += lost_extras(turn.extras, OWN, where)
        noted = shape_of(turn.extras).get("messages")
        notes = {note["at"]: note for note in objects(noted if noted is not None else [], where)}
        content: list[JsonObject] = []
        note: JsonObject = {}
        left = 0
        for index, part in enumerate(turn.parts):
            if index in notes:
                yield from _message(turn.role, content, note)
                content, note = [], notes[index]
                left = int(str(note["count"]))
            inside, left = left > 0, left - 1
            piece = self._content(part, where, turn.role.value) if inside or not _is_item(part) else None
            if piece is not None:
                content.append(piece)
            elif not inside and _is_item(part):
                yield from _message(turn.role, content, note)
                content, note = [], {}
                yield from self._item(part, where)
        yield from _message(turn.role, content, note)

    def _content(self, part: Part, where: str, role: str) -> JsonObject | None:
        """A part of a message or an output; None if there is no word for it there."""
        if not isinstance(part, Opaque):
            self._note_losses(part, where)
        match part:
            case Text(refusal=True):
                return with_own({"type": "refusal", "refusal": part.text}, part.extras)
            case Text():
                kind = shape_of(part.extras).get("type", text_type(role))
                return with_own({"type": kind, "text": part.text}, part.extras)
            case Opaque(dialect=dialect) if dialect is OWN:
                return part.value
            case Opaque(text=text) if text:
                self.dropped.append(f"{where}.{part.value.get('type') or part.dialect.value}")
                return {"type": text_type(role), "text": text}
            case Image() if role != Role.ASSISTANT:
                return _image(part)
            case Document() if role != Role.ASSISTANT:
                return _document(part)
            case Audio() if role != Role.ASSISTANT:
                return with_own({"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}, part.extras)
            case Opaque():
                self.dropped.append(f"{where}.{part.value.get('type') or part.dialect.value}")
            case _:
                self.dropped.append(f"{where}.{type(part).__name__.lower()}")
        return None

    def _item(self, part: _Item, where: str) -> Iterator[JsonObject]:
        match part:
            case Thought():
                yield from self._thought(part, where)
            case ToolCall():
                self._note_losses(part, where)
                yield self._call(part, where)
            case ToolResult():
                self._note_losses(part, where)
                yield self._result(part, where)
            case _:
                yield part.value

    def _note_losses(self, part: Text | Image | Document | Audio | ToolCall | ToolResult | Thought, where: str) -> None:
        self.dropped += lost_extras(part.extras, OWN, where)

    def _thought(self, part: Thought, where: str) -> Iterator[JsonObject]:
        state, shape = part.state, shape_of(part.extras)
        if self._owner and (state is None or not state.value or not is_for(state, owner=self._owner, dialect=OWN)):
            self.dropped.append(f"{where}.reasoning")
            return
        self._note_losses(part, where)
        lists = shape.get("lists")
        given = section(lists) if lists is not None else {"summary": plain_summary(part.text)}
        written = with_own({"type": "reasoning", **given}, part.extras)
        if "sealed" in shape and not self._owner:
            written.update(section(shape["sealed"]))
        elif state is not None:
            written["encrypted_content"] = state.value if self._owner else seal(Sealed(state=state, redacted=part.redacted))
        yield written

    def _call(self, part: ToolCall, where: str) -> JsonObject:
        shape = shape_of(part.extras)
        facts = CLIENT_TOOLS.get(str(shape.get("call")))
        call_id = self._call_id(part.id)
        if part.state is not None:
            if not self._owner:
                call_id = id_with(part.id, part.state)
            else:
                self.dropped.append(f"{where}.thought_signature")
        if facts is not None:
            return with_own({"type": facts.call, "call_id": call_id, facts.holder: shape.get("given")}, part.extras)
        name = shape.get("own_name", part.name)
        if part.custom:
            written = {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": part.arguments}
        else:
            arguments = shape.get("arguments", part.arguments)
            written = {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
        return with_own({key: value for key, value in written.items() if key != "arguments" or value is not None}, part.extras)

    def _result(self, part: ToolResult, where: str) -> JsonObject:
        shape = shape_of(part.extras)
        facts = CLIENT_TOOLS.get(str(shape.get("call")))
        marked = section(shape.get("marked_id")) if not self._owner else {}
        call_id = {str(shape.get("id_field", "call_id")): self._call_id(part.call_id), **marked}
        if facts is not None:
            return with_own({"type": facts.output, **call_id, **section(shape.get("given"))}, part.extras)
        kind = "custom_tool_call_output" if part.custom or part.call_id in self._customs else "function_call_output"
        return with_own({"type": kind, **call_id, "output": self._output(part, where)}, part.extras)

    def _output(self, part: ToolResult, where: str) -> object:
        shape = shape_of(part.extras)
        if "plain" in shape:
            return part.parts[0].text if part.parts and isinstance(part.parts[0], Text) else shape["plain"]
        parts = _with_error(part.parts) if part.is_error else part.parts
        pieces = [piece for inner in parts if (piece := self._content(inner, where, Role.USER)) is not None]
        if "list" not in shape and all(piece.keys() == {"type", "text"} for piece in pieces) and len(pieces) < 2:
            return "".join(str(piece["text"]) for piece in pieces)
        return pieces

    def _call_id(self, given: str) -> str:
        """An id that the API takes: as it is, or always the same shorter one, so that a call and its output agree."""
        if not self._owner:
            return given
        return short_id(given)


def _with_error(parts: Sequence[Part]) -> list[Part]:
    """What a tool returned that failed: its text says so, as this dialect has no other word for it."""
    first = parts[0] if parts else None
    if isinstance(first, Text) and first.text:
        return [replace(first, text=f"Error: {first.text}"), *parts[1:]]
    return [Text(text="Error"), *(parts[1:] if isinstance(first, Text) else parts)]


def short_id(given: str) -> str:
    """The id, or always the same shorter one if OpenAI's API refuses it."""
    return given if 0 < len(given) <= LONGEST_ID else f"call_{sha256(given.encode()).hexdigest()[:_ID_DIGITS]}"


def _is_item(part: Part) -> TypeGuard[_Item]:
    """Whether a part is an item of its own."""
    return isinstance(part, Thought | ToolCall | ToolResult) or (isinstance(part, Opaque) and part.dialect is OWN)


def _message(role: Role, content: list[JsonObject], note: JsonObject) -> Iterator[JsonObject]:
    """A message with these parts, if there are any; as its client wrote it."""
    if not content:
        return
    written = content[0]["text"] if note.get("plain") else content
    own = note.get("own")
    yield {"role": role.value, "content": written, **(section(own) if own is not None else {"type": "message"})}


def _image(image: Image) -> JsonObject:
    url = data_url(image.media_type, image.data) if image.data else image.url
    given = {"image_url": url, "file_id": image.file_id, "detail": image.detail}
    return with_own({"type": "input_image", **{name: value for name, value in given.items() if value}}, image.extras)


def _document(document: Document) -> JsonObject:
    if document.text:
        title = f"{document.title}\n\n" if document.title else ""
        return {"type": "input_text", "text": f"{title}{document.text}"}
    given = {
        "file_data": data_url(document.media_type, document.data) if document.data else "",
        "file_url": document.url,
        "file_id": document.file_id,
        "filename": document.title,
    }
    if document.data and not document.title and "unnamed" not in shape_of(document.extras):
        given["filename"] = "document.pdf"  # the API demands a name beside the data
    return with_own({"type": "input_file", **{name: value for name, value in given.items() if value}}, document.extras)


def with_items_behind(items: Iterable[JsonObject]) -> list[JsonObject]:
    """The items without reasoning that no item of the model follows: the API refuses it."""
    kept: list[JsonObject] = []
    waiting: list[JsonObject] = []
    for item in items:
        if item.get("type") == "reasoning":
            waiting.append(item)
            continue
        is_models = is_call(item) or (not is_output(item) and item.get("role", "assistant") == "assistant")
        kept += waiting if is_models else ()
        waiting = []
        kept.append(item)
    return kept
