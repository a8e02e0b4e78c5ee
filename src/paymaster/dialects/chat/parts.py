"""Parts of a chat message's content to and from neutral parts; knows no message and no request."""

from collections.abc import Iterable, Mapping, Sequence

from paymaster.dialects.chat.shapes import Fields, Unreadable, extras_of, own, shape_of
from paymaster.dialects.chat.thoughts import is_block, read_block, write_block
from paymaster.dialects.neutral import Audio, Document, Image, Opaque, Part, Text, Thought
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

_DATA = "data:"
_BASE64 = ";base64,"
_LINKS = ("http://", "https://")


def read_content(content: object) -> tuple[tuple[Part, ...], str]:
    """The parts of a content, and its shape: empty where `write_content` writes these parts so by itself."""
    if isinstance(content, str):
        return (Text(text=content),), ""
    if content is None:
        return (), "null"
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise Unreadable
    parts = tuple(read_part(part) for part in content)
    return parts, "list" if not parts or is_plain(parts) else ""


def write_content(parts: Sequence[JsonObject], shape: str) -> object:
    """The content of these written parts: one plain text is a string unless its client wrote a list."""
    if not parts:
        return [] if shape == "list" else None if shape == "null" else ""
    if shape != "list" and len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text":
        return parts[0]["text"]
    return list(parts)


def is_plain(parts: Iterable[Part]) -> bool:
    """Whether a content is one text and nothing else, which is written as a string."""
    first, *rest = (*parts, None)
    return rest == [None] and isinstance(first, Text) and not first.refusal and first.cache is None and not first.extras


def read_part(part: JsonObject) -> Part:
    """One part; what has no neutral word stays as it is."""
    fields = Fields(part)
    match fields.take("type", str):
        case "text" if isinstance(part.get("text"), str):
            text = fields.text("text")
            return Text(text=text, cache=fields.mapping("cache_control"), extras=fields.extras())
        case "refusal" if isinstance(part.get("refusal"), str):
            text = fields.text("refusal")
            return Text(text=text, refusal=True, cache=fields.mapping("cache_control"), extras=fields.extras({"as": "part"}))
        case "image_url" if (image := _read_image(fields)) is not None:
            return image
        case "file" if (document := _read_file(fields)) is not None:
            return document
        case "input_audio" if (audio := _read_audio(fields)) is not None:
            return audio
        case _ if is_block(part):
            return read_block(part, {"as": "part"})
        case _:
            return Opaque(dialect=Dialect.CHAT, value=part)


def _read_image(fields: Fields) -> Image | None:
    given = fields.take("image_url", object)
    inner = Fields(given if isinstance(given, Mapping) else {"url": given})
    url = inner.text("url")
    if not url or inner.is_odd:
        return None
    media_type, data = split_data_url(url)
    return Image(
        url="" if data else url,
        data=data,
        media_type=media_type,
        detail=inner.text("detail"),
        cache=fields.mapping("cache_control"),
        extras=fields.extras({"as": "string"} if isinstance(given, str) else {}, {"image_url": inner.rest()}),
    )


def _read_file(fields: Fields) -> Document | None:
    """A file: its data as a URL with its type, raw base64, or an address, as routers take it."""
    given = fields.take("file", object)
    if not isinstance(given, Mapping):
        return None
    inner = Fields(given)
    data, file_id, title = inner.text("file_data"), inner.text("file_id"), inner.text("filename")
    if not (data or file_id) or inner.is_odd:
        return None
    media_type, encoded = split_data_url(data)
    is_link = data.startswith((*_LINKS, _DATA)) and not encoded
    return Document(
        url=data if is_link else "",
        data="" if is_link else encoded or data,
        media_type=media_type,
        file_id=file_id,
        title=title,
        cache=fields.mapping("cache_control"),
        extras=fields.extras({} if title or not data else {"name": "absent"}, {"file": inner.rest()}),
    )


def _read_audio(fields: Fields) -> Audio | None:
    given = fields.take("input_audio", object)
    inner = Fields(given if isinstance(given, Mapping) else {})
    data, form = inner.text("data"), inner.text("format")
    if not data or not form:
        return None
    return Audio(data=data, format=form, extras=fields.extras({}, {"input_audio": inner.rest()}))


def split_data_url(url: str) -> tuple[str, str]:
    """The media type and the base64 of a `data:` URL; two empty texts of any other."""
    head, found, data = url.partition(_BASE64)
    if not found or not head.startswith(_DATA) or len(head) == len(_DATA) or not data:
        return "", ""
    return head.removeprefix(_DATA), data


def write_part(part: Part, where: str, dropped: list[str]) -> JsonObject | None:
    """A part of a content; None where it is written elsewhere in a message, or can't be."""
    match part:
        case Text():
            if part.refusal and shape_of(part.extras).get("as") != "part":
                return None
            written: dict[str, object] = {"type": "refusal", "refusal": part.text} if part.refusal else {"type": "text", "text": part.text}
            return _with(written, part.cache, part.extras, where, dropped)
        case Image():
            return _write_image(part, where, dropped)
        case Document():
            return _write_document(part, where, dropped)
        case Audio():
            sound: dict[str, object] = {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
            return _with(sound, None, part.extras, where, dropped)
        case Thought() if shape_of(part.extras).get("as") == "part":
            return write_block(part, where, dropped)
        case Opaque() if part.dialect is Dialect.CHAT:
            return part.value
        case Opaque():
            dropped.append(f"{where}.{part.value.get('type', 'part')}")
            return {"type": "text", "text": part.text} if part.text else None
        case _:
            return None


def _write_image(image: Image, where: str, dropped: list[str]) -> JsonObject | None:
    if image.file_id and not (image.url or image.data):
        dropped.append(f"{where}.file_id")
        return None
    url = f"{_DATA}{image.media_type}{_BASE64}{image.data}" if image.data else image.url
    if shape_of(image.extras).get("as") == "string":
        return _with({"type": "image_url", "image_url": url}, image.cache, image.extras, where, dropped)
    inner: JsonObject = {"url": url, **({"detail": image.detail} if image.detail else {})}
    return _with({"type": "image_url", "image_url": inner}, image.cache, image.extras, where, dropped)


def _write_document(document: Document, where: str, dropped: list[str]) -> JsonObject:
    """A plain text goes as a text, which every model reads."""
    if document.text:
        if document.title:
            dropped.append(f"{where}.title")
        return _with({"type": "text", "text": document.text}, document.cache, document.extras, where, dropped)
    data = document.data or document.url
    if document.data and document.media_type:
        data = f"{_DATA}{document.media_type}{_BASE64}{document.data}"
    given = {"file_data": data, "file_id": document.file_id, "filename": document.title}
    inner = {name: value for name, value in given.items() if value}
    if data and not document.title and "name" not in shape_of(document.extras):
        inner["filename"] = "document.pdf"  # OpenAI's API demands a name beside the data
    return _with({"type": "file", "file": inner}, document.cache, document.extras, where, dropped)


def _with(
    written: dict[str, object], cache: JsonObject | None, extras: Mapping[Dialect, JsonObject], where: str, dropped: list[str]
) -> JsonObject:
    """The part with its cache marker and what only this dialect knows of it."""
    dropped += extras_of(extras, where)
    if cache is not None:
        written["cache_control"] = cache
    return own(written, extras)
