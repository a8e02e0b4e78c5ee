"""Content blocks of Anthropic's messages, read into parts and written from them; knows no turn and no rule about their order."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256

import orjson

from paymaster.dialects.losses import lost_extras
from paymaster.dialects.messages.fields import OWN, cache_of, extras_of, marked
from paymaster.dialects.neutral import Document, Image, Opaque, Part, State, Text, Thought, ToolCall, ToolResult
from paymaster.dialects.objects import objects, required_text, section
from paymaster.dialects.state import id_with, is_for, read_stamp, split_id, stamped
from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject

UNPARSED = "_unparsed"
"""The field of a tool's input that has arguments which are no JSON object, so that the client's own tool reports them."""
CUSTOM_INPUT = "input"
"""The only argument of a function that stands for a tool which takes a text."""

_TEXT = frozenset({"type", "text", "cache_control"})
_MEDIA = frozenset({"type", "source", "cache_control"})
_DOCUMENT = _MEDIA | {"title"}
_CALL = frozenset({"type", "id", "name", "input", "cache_control"})
_RESULT = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
_THINKING, _SEALED = frozenset({"type", "thinking", "signature", "cache_control"}), frozenset({"type", "data", "cache_control"})
_PLAIN_SOURCES: Mapping[str, frozenset[str]] = {
    "base64": frozenset({"type", "media_type", "data"}), "url": frozenset({"type", "url"}), "file": frozenset({"type", "file_id"}),
    "text": frozenset({"type", "media_type", "data"}),
}  # fmt: skip
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_ID_DIGITS = 24


def read_content(content: object, where: str) -> tuple[Part, ...]:
    """The parts of a content: a text, or a list of blocks. Raises RequestInvalid."""
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(text=content),) if content else ()
    return tuple(read_block(block, f"{where}.{index}") for index, block in enumerate(objects(content, where)))


def read_block(block: JsonObject, where: str) -> Part:
    """One block. A block of a type that is not known is kept as it is. Raises RequestInvalid for a known one without its fields."""
    match block.get("type"):
        case "text":
            return Text(text=required_text(block, "text", where), cache=cache_of(block), extras=extras_of(block, _TEXT))
        case "image" if _is_plain(block, ("base64", "url", "file")):
            return Image(**_source(block, where), cache=cache_of(block), extras=extras_of(block, _MEDIA))
        case "document" if _is_plain(block, ("base64", "url", "file", "text")):
            return _read_document(block, where)
        case "tool_use":
            return _read_call(block, where)
        case "tool_result":
            return _read_result(block, where)
        case "thinking":
            signature = block.get("signature")
            state = read_stamp(signature, OWN) if isinstance(signature, str) and signature else None
            return Thought(text=required_text(block, "thinking", where), state=state, extras=extras_of(block, _THINKING))
        case "redacted_thinking":
            state = read_stamp(required_text(block, "data", where), OWN)
            return Thought(state=state, redacted=True, extras=extras_of(block, _SEALED))
        case str():
            return Opaque(dialect=OWN, value=block, text="\n".join(_texts_in(block)))
        case _:
            raise RequestInvalid(f"{where}.type: a string is required")


def _read_call(block: JsonObject, where: str) -> ToolCall:
    call_id, state = split_id(required_text(block, "id", where), OWN)
    return ToolCall(
        id=call_id,
        name=required_text(block, "name", where),
        arguments=arguments_text(block.get("input")),
        state=state,
        cache=cache_of(block),
        extras=extras_of(block, _CALL),
    )


def _read_result(block: JsonObject, where: str) -> ToolResult:
    return ToolResult(
        call_id=split_id(required_text(block, "tool_use_id", where), OWN)[0],
        parts=read_content(block.get("content"), f"{where}.content"),
        is_error=block.get("is_error") is True,
        cache=cache_of(block),
        extras=extras_of(block, _RESULT),
    )


def _read_document(block: JsonObject, where: str) -> Document:
    title = block.get("title")
    source = section(block.get("source"))
    place = {"text": str(source.get("data", ""))} if source.get("type") == "text" else _source(block, where)
    return Document(
        **place,
        title=title if isinstance(title, str) else "",
        cache=cache_of(block),
        extras=extras_of(block, _DOCUMENT),
    )


def _is_plain(block: JsonObject, kinds: tuple[str, ...]) -> bool:
    """Whether the source is of a kind that more than this dialect knows, with no other fields."""
    source = section(block.get("source"))
    kind = source.get("type")
    return isinstance(kind, str) and kind in kinds and source.keys() <= _PLAIN_SOURCES[kind]


def _source(block: JsonObject, where: str) -> dict[str, str]:
    source = section(block.get("source"))
    names = {"base64": ("media_type", "data"), "url": ("url",), "file": ("file_id",)}[str(source["type"])]
    return {name: required_text(source, name, f"{where}.source") for name in names}


def _texts_in(block: JsonObject) -> Iterator[str]:
    """What a block says that only this dialect knows: a search result, a document of blocks, the summary of a compaction, a tool found."""
    if block.get("type") == "tool_reference":
        yield f"Tool available: {block.get('tool_name')}"
    if block.get("type") not in ("search_result", "document", "compaction"):
        return
    for content in (block.get("title"), block.get("content"), section(block.get("source")).get("content")):
        for part in (content,) if isinstance(content, str) else content if isinstance(content, list) else ():
            text = part if isinstance(part, str) else section(part).get("text")
            if isinstance(text, str) and text:
                yield text


class BlockWriter:
    """Writes parts as blocks for one model; collects the names of what is lost in `dropped`.

    `owner` is the model's name on stamps. With `signed` only thoughts with a signature are sent. `stamps`: state of other models is
    written with its stamp, for a client; otherwise it is for a model, and left out.
    """

    def __init__(self, *, owner: str = "", signed: bool = True, stamps: bool = False) -> None:
        self._owner, self._signed, self._stamps = owner, signed, stamps
        self.dropped: dict[str, None] = {}

    def drop(self, name: str) -> None:
        """Note what is lost."""
        self.dropped[name] = None

    def blocks(self, parts: tuple[Part, ...], where: str) -> list[JsonObject]:
        """The blocks of a turn's parts. A text without a word is refused by the API, and left out."""
        return [block for part in parts if (block := self.block(part, where)) is not None]

    def block(self, part: Part, where: str) -> JsonObject | None:
        """One block; None if the model can't read the part."""
        if not isinstance(part, Opaque):
            for name in lost_extras(part.extras, OWN, where):
                self.drop(name)
        match part:
            case Text(text=text):
                return marked({"type": "text", "text": text}, part.cache, part.extras) if text.strip() else None
            case Image():
                return marked({"type": "image", "source": _written_source(part)}, part.cache, part.extras)
            case Document():
                return self._document(part)
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part, where)
            case Thought():
                return self._thought(part, where)
            case Opaque(dialect=dialect, value=value, text=text):
                if dialect is OWN:
                    return value
                self.drop(f"{where}.{value.get('type') or dialect.value}")
                return {"type": "text", "text": text} if text.strip() else None
            case _:
                self.drop(f"{where}.audio")
                return None

    def _document(self, part: Document) -> JsonObject:
        title = {"title": part.title} if part.title else {}
        if part.text or not (part.data or part.url or part.file_id):
            source: JsonObject = {"type": "text", "media_type": "text/plain", "data": part.text}
        else:
            source = _written_source(part)
        return marked({"type": "document", "source": source, **title}, part.cache, part.extras)

    def _call(self, part: ToolCall) -> JsonObject:
        name = f"{part.namespace}__{part.name}" if part.namespace else part.name
        given = {CUSTOM_INPUT: part.arguments} if part.custom else parse_arguments(part.arguments)
        call_id = self.call_id(part.id)
        if self._stamps and part.state is not None:
            call_id = id_with(call_id, part.state)
        return marked({"type": "tool_use", "id": call_id, "name": name, "input": given}, part.cache, part.extras)

    def _result(self, part: ToolResult, where: str) -> JsonObject:
        block: dict[str, object] = {"type": "tool_result", "tool_use_id": self.call_id(part.call_id)}
        inner = self.blocks(part.parts, where)
        if inner:
            block["content"] = plain_content(inner)
        if part.is_error:
            block["is_error"] = True
        return marked(block, part.cache, part.extras)

    def _thought(self, part: Thought, where: str) -> JsonObject | None:
        state = part.state
        if state is None:
            if self._signed and not self._stamps:
                self.drop(f"{where}.thinking")
                return None
            return marked({"type": "thinking", "thinking": part.text, "signature": ""}, None, part.extras)
        sent = self._sent(state)
        if sent is None:
            self.drop(f"{where}.thinking")
            return None
        if part.redacted or (state.dialect is not OWN and not part.text):
            return marked({"type": "redacted_thinking", "data": sent}, None, part.extras)
        return marked({"type": "thinking", "thinking": part.text, "signature": sent}, None, part.extras)

    def _sent(self, state: State) -> str | None:
        """What goes for a state: itself to its writer, with its stamp to a client; None: nothing, as it is another model's."""
        if self._stamps:
            return stamped(state)
        return state.value if is_for(state, owner=self._owner, dialect=OWN) else None

    @staticmethod
    def call_id(given: str) -> str:
        """An id that the API takes: as it is, or always the same other one, so that a call and its result agree."""
        return given if _ID.fullmatch(given) else f"toolu_{sha256(given.encode()).hexdigest()[:_ID_DIGITS]}"


def parse_arguments(arguments: str) -> JsonObject:
    """The arguments of a call as an object; others are passed on unparsed."""
    try:
        value = orjson.loads(arguments) if arguments.strip() else {}
    except orjson.JSONDecodeError:
        value = arguments
    return value if isinstance(value, dict) else {UNPARSED: value}


def arguments_text(given: object) -> str:
    """A call's input as the text that its model wrote."""
    if isinstance(given, Mapping) and given.keys() == {UNPARSED} and isinstance(text := given[UNPARSED], str):
        return text
    return given if isinstance(given, str) else orjson.dumps(given or {}, default=dict).decode()


def plain_content(blocks: list[JsonObject]) -> object:
    """The content as it is mostly written: a single text without marks as a string."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and blocks[0]["type"] == "text" else blocks


def _written_source(part: Image | Document) -> JsonObject:
    if part.file_id:
        return {"type": "file", "file_id": part.file_id}
    if part.url:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": part.media_type, "data": part.data}
