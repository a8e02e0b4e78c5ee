"""Items of OpenAI's responses read into turns: messages, reasoning, calls and their outputs; knows no request and no answer.

Consecutive items of the model are one turn, and so are consecutive outputs: other dialects have a thought, a text and calls in one message.
Where an item began is noted, so that it can be written again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from paymaster.dialects.neutral import Audio, Document, Image, Opaque, Part, Role, Text, Thought, ToolCall, ToolResult, Turn
from paymaster.dialects.objects import objects, required_text, section
from paymaster.dialects.responses.client_tools import BY_CALL, BY_OUTPUT, output_text
from paymaster.dialects.responses.fields import OWN, extras_of, text_in
from paymaster.dialects.responses.sealed import Sealed, seal, unseal
from paymaster.dialects.responses.summaries import read_summary
from paymaster.dialects.responses.tools import ToolKey, ToolNames
from paymaster.dialects.state import split_id
from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject

_BASE64 = ";base64,"
_ROLES = frozenset(role.value for role in Role)
_SILENT = frozenset({"id", "status", "phase", "caller", "internal_chat_message_metadata_passthrough"})
"""Fields of items that say nothing to another model."""
_ANSWERS = ("_output", "_approval_response")
"""How the types of items end that the client sends."""


class Turns:
    """Turns as they grow, item by item."""

    def __init__(self) -> None:
        self._turns: list[_GrowingTurn] = []
        self._last = ""

    def add(self, role: Role, parts: Sequence[Part], kind: str, message: JsonObject | None = None) -> None:
        """Add the parts of one item of this type. `message` has the own fields of a message."""
        # Two messages in a row are two turns: the first was an answer, too.
        alone = kind == "message" and (role is not Role.ASSISTANT or self._last == "message")
        after_message = role is Role.USER and self._last == "message"
        if alone or after_message or not self._turns or self._turns[-1].role is not role:
            self._turns.append(_GrowingTurn(role))
        turn = self._turns[-1]
        if message is not None:
            turn.messages.append({"at": len(turn.parts), "count": len(parts), **message})
        turn.parts.extend(parts)
        self._last = kind

    def build(self) -> tuple[Turn, ...]:
        """The turns."""
        return tuple(turn.build() for turn in self._turns)


@dataclass(slots=True)
class _GrowingTurn:
    """`messages` notes which of its parts are of one message item, and how that was written."""

    role: Role
    parts: list[Part] = field(default_factory=list)
    messages: list[JsonObject] = field(default_factory=list)

    def build(self) -> Turn:
        extras = extras_of({}, (), messages=self.messages) if self.messages else {}
        return Turn(role=self.role, parts=tuple(self.parts), extras=extras)


def read_items(items: Sequence[JsonObject], names: ToolNames, where: str = "input") -> tuple[Turn, ...]:
    """The turns of a list of items. Items that declare tools are left out. Raises RequestInvalid."""
    turns = Turns()
    for index, item in enumerate(items):
        if item.get("type") != "additional_tools":
            read_item(turns, item, names, f"{where}[{index}]")
    return turns.build()


def read_item(turns: Turns, item: JsonObject, names: ToolNames, where: str) -> None:
    """Add one item. One of a type that is not known is kept as it is."""
    kind = item.get("type", "message")
    match kind:
        case "message":
            role = item.get("role")
            if not isinstance(role, str) or role not in _ROLES:
                raise RequestInvalid(f"{where}.role: one of user, assistant, system, developer is required")
            parts, note = _read_message(item, where)
            turns.add(Role(role), parts, "message", note)
        case "reasoning":
            turns.add(Role.ASSISTANT, [read_thought(item, where)], "reasoning")
        case "function_call" | "custom_tool_call":
            turns.add(Role.ASSISTANT, [_read_call(item, names, where)], "call")
        case "function_call_output" | "custom_tool_call_output":
            turns.add(Role.USER, [_read_output(item, where)], "output")
        case str() if kind in BY_CALL and BY_CALL[kind].runs_at_client(item):
            turns.add(Role.ASSISTANT, [_read_client_call(item, names, where)], "call")
        case str() if kind in BY_OUTPUT and BY_OUTPUT[kind].runs_at_client(item):
            turns.add(Role.USER, [_read_client_output(item, where)], "output")
        case str() if (summary := read_summary(item)) is not None:
            turns.add(Role.USER, [summary], "other")
        case str():
            role = Role.USER if kind.endswith(_ANSWERS) else Role.ASSISTANT
            turns.add(role, [Opaque(dialect=OWN, value=item)], "output" if role is Role.USER else "other")
        case _:
            raise RequestInvalid(f"{where}.type: a string is required")


def _read_message(item: JsonObject, where: str) -> tuple[Sequence[Part], JsonObject | None]:
    """The parts of a message, and the note of its own fields."""
    content = item.get("content")
    own = {name: value for name, value in item.items() if name not in ("role", "content")}
    if isinstance(content, str):
        return [Text(text=content)], {"own": own, "plain": True}
    if not content:
        return [Opaque(dialect=OWN, value=item)], None
    given = objects(content, f"{where}.content")
    role = str(item.get("role"))
    return [read_part(part, f"{where}.content[{index}]", role) for index, part in enumerate(given)], {"own": own}


def read_part(part: JsonObject, where: str, role: str = "user") -> Part:
    """One part of a message or an output. One of a type that is not known is kept as it is. Raises RequestInvalid."""
    match part.get("type"):
        case "input_text" | "output_text" | "text" as kind:
            notes = {} if kind == text_type(role) else {"type": kind}
            text = required_text(part, "text", where)
            return Text(text=text, extras=extras_of(part, ("type", "text"), _silent_in(part), **notes))
        case "refusal":
            return Text(text=required_text(part, "refusal", where), refusal=True, extras=extras_of(part, ("type", "refusal")))
        case "input_image" if text_in(part, "image_url") or text_in(part, "file_id"):
            return _read_image(part)
        case "input_file" if any(text_in(part, name) for name in _PLACES):
            return _read_file(part)
        case "input_audio" if section(part.get("input_audio")).keys() == {"data", "format"}:
            sound = section(part["input_audio"])
            return Audio(data=str(sound["data"]), format=str(sound["format"]), extras=extras_of(part, ("type", "input_audio")))
        case str():
            return Opaque(dialect=OWN, value=part)
        case _:
            raise RequestInvalid(f"{where}.type: a string is required")


_PLACES = ("file_data", "file_url", "file_id")


def text_type(role: str) -> str:
    """The type of a text part in a message of this role."""
    return "output_text" if role == "assistant" else "input_text"


def _silent_in(part: JsonObject) -> tuple[str, ...]:
    """The probabilities of an old answer, and empty lists, say nothing."""
    return ("logprobs", *(name for name in ("annotations",) if not part.get(name)))


def _read_image(part: JsonObject) -> Image:
    media_type, data = split_data_url(text_in(part, "image_url"))
    return Image(
        url="" if data else text_in(part, "image_url"),
        data=data,
        media_type=media_type,
        file_id=text_in(part, "file_id"),
        detail=text_in(part, "detail"),
        extras=extras_of(part, ("type", "image_url", "file_id", "detail")),
    )


def _read_file(part: JsonObject) -> Document:
    given = text_in(part, "file_data")
    media_type, data = split_data_url(given)
    notes: dict[str, object] = {"unnamed": True} if given and "filename" not in part else {}
    return Document(
        url=text_in(part, "file_url"),
        data=data or given,
        media_type=media_type,
        file_id=text_in(part, "file_id"),
        title=text_in(part, "filename"),
        extras=extras_of(part, ("type", "filename", *_PLACES), **notes),
    )


def split_data_url(url: str) -> tuple[str, str]:
    """The media type and the base64 of a `data:` URL; two empty texts of any other."""
    head, found, data = url.partition(_BASE64)
    media_type = head.removeprefix("data:")
    return (media_type, data) if found and data and media_type and media_type != head else ("", "")


def data_url(media_type: str, data: str) -> str:
    """The other way round."""
    return f"data:{media_type}{_BASE64}{data}" if media_type else data


def read_thought(item: JsonObject, where: str) -> Thought:
    """A reasoning item. Its writer is named in the encrypted content, or else in the id."""
    given_id, encrypted = text_in(item, "id"), text_in(item, "encrypted_content")
    own_id, marked = split_id(given_id, OWN)
    sealed = unseal(encrypted) if encrypted else None if marked is None else Sealed(state=marked)
    notes: dict[str, object] = {}
    if sealed is not None and sealed.state.owner:
        own_id = sealed.item_id
        kept = {name: item[name] for name in ("id", "encrypted_content") if name in item}
        if kept != {"encrypted_content": seal(sealed)} or own_id:
            notes["sealed"] = kept
    shown = item.get("content") or item.get("summary")
    text = "\n\n".join(text_in(part, "text") for part in objects(shown, where)) if shown else ""
    lists = {name: item[name] for name in ("summary", "content") if name in item}
    if lists != {"summary": plain_summary(text)}:
        notes["lists"] = lists
    left = {name: value for name, value in item.items() if name != "id"} | ({"id": own_id} if own_id else {})
    extras = extras_of(left, ("type", "summary", "content", "encrypted_content"), _SILENT - {"id"}, **notes)
    if sealed is None:
        return Thought(text=text, extras=extras)
    redacted = sealed.redacted or (not text and sealed.state.dialect is OWN)
    return Thought(text=text, state=sealed.state, redacted=redacted, extras=extras)


def plain_summary(text: str) -> list[JsonObject]:
    """A summary of one part."""
    return [{"type": "summary_text", "text": text}] if text else []


def call_id_of(item: JsonObject, where: str) -> str:
    """The id of a call, which older clients have in another field. Raises RequestInvalid."""
    given = item.get("call_id") or item.get("id")
    if not isinstance(given, str):
        raise RequestInvalid(f"{where}.call_id: a string is required")
    return given


def _read_call(item: JsonObject, names: ToolNames, where: str) -> ToolCall:
    kind = "custom" if item["type"] == "custom_tool_call" else "function"
    key = ToolKey(required_text(item, "name", where), text_in(item, "namespace"), kind)
    given_id = call_id_of(item, where)
    call_id, state = split_id(given_id, OWN)
    notes: dict[str, object] = {} if names.flat(key) == key.name else {"own_name": key.name}
    field = "input" if kind == "custom" else "arguments"
    arguments = text_in(item, field)
    if not arguments and kind == "function":
        arguments, notes["arguments"] = "{}", item.get("arguments")
    taken = ("type", "name", "call_id", field)
    return ToolCall(
        id=call_id,
        name=names.flat(key),
        arguments=arguments,
        custom=kind == "custom",
        state=state,
        extras=extras_of(item, taken, (*_SILENT, "namespace"), **notes),
    )


def _read_client_call(item: JsonObject, names: ToolNames, where: str) -> ToolCall:
    facts = BY_CALL[str(item["type"])]
    call_id, state = split_id(call_id_of(item, where), OWN)
    notes = {"call": facts.type, "given": item.get(facts.holder)}
    return ToolCall(
        id=call_id,
        name=names.flat(ToolKey(facts.type, "", facts.type)),
        arguments=facts.arguments(item),
        state=state,
        extras=extras_of(item, ("type", "call_id", facts.holder), (*_SILENT, *facts.fixed, "environment"), **notes),
    )


def _read_output(item: JsonObject, where: str) -> ToolResult:
    output = item.get("output")
    notes: dict[str, object] = {}
    if isinstance(output, list) and output:
        parts = tuple(read_part(part, f"{where}.output[{index}]") for index, part in enumerate(objects(output, f"{where}.output")))
        notes["list"] = True
    else:
        parts = (Text(text=output),) if isinstance(output, str) else ()
        notes["plain"] = output
    return ToolResult(
        call_id=_result_id(item, where, notes),
        parts=parts,
        custom=item["type"] == "custom_tool_call_output",
        extras=extras_of(item, ("type", "call_id", "output"), (*_SILENT, "name", "namespace"), **notes),
    )


def _read_client_output(item: JsonObject, where: str) -> ToolResult:
    facts = BY_OUTPUT[str(item["type"])]
    notes: dict[str, object] = {"call": facts.type, "given": {name: item[name] for name in ("output", "tools") if name in item}}
    return ToolResult(
        call_id=_result_id(item, where, notes),
        parts=(Text(text=output_text(item)),),
        is_error=item.get("status") == "failed",
        extras=extras_of(item, ("type", "call_id", "output", "tools"), (*_SILENT, *facts.fixed, "max_output_length"), **notes),
    )


def _result_id(item: JsonObject, where: str, notes: dict[str, object]) -> str:
    """The id of the call that a result is of; the note has how the client wrote it, with a state in it."""
    given = call_id_of(item, where)
    call_id, state = split_id(given, OWN)
    if state is not None:
        notes["marked_id"] = {"call_id": given}
    if not item.get("call_id"):
        notes["id_field"] = "id"
    return call_id


_READ_ITEMS = frozenset(
    {"message", "reasoning", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "additional_tools"}
)
_READ_PARTS = frozenset({"input_text", "output_text", "text", "refusal", "input_image", "input_file", "input_audio"})


def only_own(item: JsonObject) -> Iterator[JsonObject]:
    """What of an item no other dialect has a word for: the item, or parts of its content; quick, as there mostly is nothing.

    An image that the provider keeps is one of these.
    """
    kind = str(item.get("type", "message"))
    facts = BY_CALL.get(kind) or BY_OUTPUT.get(kind)
    if kind not in _READ_ITEMS and (facts is None or not facts.runs_at_client(item)):
        yield item
        return
    content = item.get("output" if kind.endswith("_output") else "content")
    if isinstance(content, list) and facts is None and kind != "reasoning":
        yield from (part for part in content if isinstance(part, Mapping) and (part.get("type") not in _READ_PARTS or _is_kept_image(part)))


def _is_kept_image(part: JsonObject) -> bool:
    return part.get("type") == "input_image" and not part.get("image_url")


def loaded_tools(items: Iterable[JsonObject]) -> Iterator[tuple[str, Sequence[JsonObject]]]:
    """The tools that items of a conversation add to those of the request, with the path in the item."""
    for index, item in enumerate(items):
        if item.get("type") in ("additional_tools", "tool_search_output"):
            tools = item.get("tools")
            where = f"input[{index}].tools"
            yield where, objects(tools if tools is not None else [], where)


def ordered(items: Sequence[JsonObject]) -> Sequence[JsonObject]:
    """The items with each output behind its call. Nothing is invented; the very same sequence where nothing is to do."""
    called: set[object] = set()
    calls = {_link(item) for item in items if is_call(item)}
    early: dict[object, list[JsonObject]] = {}
    moved = False
    result: list[JsonObject] = []
    for item in items:
        call_id = _link(item)
        if is_output(item) and call_id in calls and call_id not in called:
            early.setdefault(call_id, []).append(item)
            moved = True
            continue
        result.append(item)
        if is_call(item):
            called.add(call_id)
            result += early.pop(call_id, ())
    return result if moved else items


def _link(item: JsonObject) -> object:
    """What a call and its output have in common."""
    return item.get("call_id") or item.get("id")


def is_call(item: Mapping[str, object]) -> bool:
    """Whether the item calls a tool that runs at the client."""
    kind = str(item.get("type"))
    return kind in ("function_call", "custom_tool_call") or kind in BY_CALL


def is_output(item: Mapping[str, object]) -> bool:
    """Whether the item is what such a tool returned."""
    kind = str(item.get("type"))
    return kind in ("function_call_output", "custom_tool_call_output") or kind in BY_OUTPUT
