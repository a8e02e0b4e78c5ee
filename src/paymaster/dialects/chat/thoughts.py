"""Thoughts beside a chat message to and from neutral thoughts, in the conventions of those who had to carry them; knows no other field.

A signed thought is a block of `thinking_blocks`, as litellm has it; OpenAI's encrypted reasoning and a router's own are entries of
`reasoning_details`, as OpenRouter has it; a thought that nobody signed is a text, `reasoning_content`. Where the writer of a state is
known, the state is stamped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from paymaster.dialects.chat.shapes import Fields, extras_of, own, shape_of, shape_only
from paymaster.dialects.neutral import Opaque, Part, Thought
from paymaster.dialects.state import read_stamp, stamped
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

BLOCKS = "thinking_blocks"
DETAILS = "reasoning_details"
LISTS = (BLOCKS, DETAILS)
TEXTS = ("reasoning_content", "reasoning")
"""The fields that have a thought as a text; the first is the one that is written."""

_OPENAI = "openai-responses-v1"
_DIALECTS = {_OPENAI: Dialect.RESPONSES, "anthropic-claude-v1": Dialect.MESSAGES}
"""In whose words the state of an entry is, by its format; any other is the router's own."""
_SUMMARY, _ENCRYPTED = "reasoning.summary", "reasoning.encrypted"
_TEXT_FIELDS = {_SUMMARY: "summary", _ENCRYPTED: "data", "reasoning.text": "text"}


def read_thoughts(fields: Fields) -> tuple[list[Part], JsonObject]:
    """The thoughts of a message, and the texts that only repeat them, which are a shape."""
    thoughts: list[Part] = []
    blocks = fields.take(BLOCKS, list)
    if blocks and all(is_block(block) for block in blocks):
        thoughts += (read_block(block) for block in blocks)
    else:
        fields.put_back(BLOCKS, blocks)
    details = fields.take(DETAILS, list)
    if details and all(isinstance(entry, Mapping) for entry in details):
        thoughts += _read_details(details)
    else:
        fields.put_back(DETAILS, details)
    copies: dict[str, object] = {}
    for name in TEXTS:
        text = fields.take(name, str)
        if text is None:
            continue
        if not thoughts and text:
            thoughts.append(Thought(text=text, extras=shape_only({"as": name} if name != TEXTS[0] else {})))
        elif thoughts and text in copies_of(thoughts):
            copies[name] = text
        else:
            fields.put_back(name, text)
    return thoughts, copies


def copies_of(thoughts: Iterable[Part]) -> tuple[str, str]:
    """The texts under which a server repeats the thoughts of its lists."""
    texts = [part.text for part in thoughts if isinstance(part, Thought) and part.text]
    return "".join(texts), "\n\n".join(texts)


def is_block(part: object) -> bool:
    """Whether this is one of Anthropic's blocks."""
    if not isinstance(part, Mapping):
        return False
    if part.get("type") == "redacted_thinking":
        return isinstance(part.get("data"), str) and bool(part["data"])
    return part.get("type") == "thinking" and isinstance(part.get("thinking"), str)


def read_block(block: JsonObject, shape: JsonObject | None = None) -> Thought:
    """One of Anthropic's blocks. Without a signature it is still a block, and nobody's."""
    fields, as_block = Fields(block), {"as": "block", **(shape or {})}
    if fields.take("type", str) == "redacted_thinking":
        return Thought(state=read_stamp(fields.text("data"), Dialect.MESSAGES), redacted=True, extras=fields.extras(shape))
    text, signature = fields.text("thinking"), fields.text("signature")
    state = read_stamp(signature, Dialect.MESSAGES) if signature else None
    return Thought(text=text, state=state, extras=fields.extras(shape if signature else as_block))


def write_block(thought: Thought, where: str, dropped: list[str]) -> JsonObject:
    """One of Anthropic's blocks, its state stamped where the writer is known."""
    dropped += extras_of(thought.extras, where)
    value = "" if thought.state is None else stamped(thought.state)
    if thought.redacted:
        return own({"type": "redacted_thinking", "data": value}, thought.extras)
    return own({"type": "thinking", "thinking": thought.text, **({"signature": value} if value else {})}, thought.extras)


def write_thoughts(thoughts: Sequence[Thought | Opaque], copies: JsonObject, where: str, dropped: list[str]) -> dict[str, object]:
    """The fields of a message that carry its thoughts."""
    fields: dict[str, list[object]] = {}
    texts: dict[str, list[str]] = {}
    for part in thoughts:
        if isinstance(part, Opaque):
            fields.setdefault(DETAILS, []).append(part.value)
            continue
        place = shape_of(part.extras).get("as")
        state = part.state if part.state is not None and stamped(part.state) else None
        if place in _TEXT_FIELDS or (state is not None and state.dialect is Dialect.RESPONSES):
            fields.setdefault(DETAILS, []).extend(_write_details(part, where, dropped))
        elif place == "block" or state is not None:
            fields.setdefault(BLOCKS, []).append(write_block(part, where, dropped))
        else:
            dropped += extras_of(part.extras, where)
            texts.setdefault(place if isinstance(place, str) else TEXTS[0], []).append(part.text)
    if len(fields) + len(texts) > 1:
        dropped.append(f"{where}.order")
    repeated = {name: text for name, text in copies.items() if text in copies_of(thoughts)}
    return {**fields, **{name: "\n\n".join(said) for name, said in texts.items()}, **repeated}


def _read_details(entries: Sequence[JsonObject]) -> Iterator[Part]:
    """A summary directly before the encrypted reasoning of the same item is one thought with it."""
    summary = ""
    for entry, after in zip(entries, (*entries[1:], {}), strict=True):
        if _is_item(entry, _SUMMARY, "summary") and _is_item(after, _ENCRYPTED, "data") and entry.get("id") == after.get("id"):
            summary = str(entry["summary"])
        elif _is_item(entry, _ENCRYPTED, "data"):
            state = read_stamp(str(entry["data"]), Dialect.RESPONSES)
            extras = {Dialect.RESPONSES: {"id": entry["id"]}} if "id" in entry else {}
            yield Thought(text=summary, state=state, redacted=not summary, extras=extras)
            summary = ""
        else:
            yield _read_detail(entry)


def _is_item(entry: JsonObject, kind: str, field: str) -> bool:
    """Whether it is a part of an item of OpenAI's, as `_write_details` writes it."""
    texts = {name: value for name, value in entry.items() if isinstance(value, str) and (value or name == "id")}
    return texts.keys() - {"id"} == {"type", "format", field} == entry.keys() - {"id"} and (
        texts["type"] == kind and texts["format"] == _OPENAI and ("id" in texts) == ("id" in entry)
    )


def _read_detail(entry: JsonObject) -> Part:
    """Any other entry: its format says in whose words its state is."""
    fields = Fields(entry)
    kind, form = fields.take("type", str), fields.text("format")
    field = _TEXT_FIELDS.get(kind or "")
    if field is None or not (text := fields.text(field)):
        return Opaque(dialect=Dialect.CHAT, value=entry)
    value = text if kind == _ENCRYPTED else fields.text("signature")
    state = read_stamp(value, _DIALECTS.get(form, Dialect.CHAT)) if value else None
    extras = fields.extras({"as": kind, **({"format": form} if form else {})})
    return Thought(text="" if kind == _ENCRYPTED else text, state=state, redacted=kind == _ENCRYPTED, extras=extras)


def _write_details(thought: Thought, where: str, dropped: list[str]) -> Iterator[JsonObject]:
    shape, value = shape_of(thought.extras), "" if thought.state is None else stamped(thought.state)
    if (kind := shape.get("as")) in _TEXT_FIELDS:
        dropped += extras_of(thought.extras, where)
        entry: dict[str, object] = {"type": kind, _TEXT_FIELDS[str(kind)]: value if kind == _ENCRYPTED else thought.text}
        signature = {"signature": value} if value and kind != _ENCRYPTED else {}
        form = {"format": shape["format"]} if "format" in shape else {}
        yield own({**entry, **signature, **form}, thought.extras)
        return
    item = dict(thought.extras.get(Dialect.RESPONSES, {}))
    known = {name: item.pop(name) for name in ("id",) if name in item}
    dropped += extras_of({**thought.extras, Dialect.RESPONSES: item}, where)
    if thought.text:
        yield {"type": _SUMMARY, "format": _OPENAI, "summary": thought.text, **known}
    yield {"type": _ENCRYPTED, "format": _OPENAI, "data": value, **known}
