"""Finds the error in a provider's answer, in any published format; knows nothing about what an error means."""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from paymaster.jsontypes import JsonObject
from paymaster.printable import printable_line
from paymaster.providers.error_words import own_words
from paymaster.redaction import redact

MESSAGE_CHARS = 400
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_MASKED_KEY = re.compile(r"[\w-]{3,}\*{2,}[\w*-]*")
_SHORTEST_PART = 8
_LONGEST_READ = 20_000
_DEEPEST = 4
_MESSAGES = ("message", "detail", "msg", "error_msg", "title")
_CODES = ("code", "type", "status", "reason", "error_type", "error_code", "status_code", "statuscode", "http_code", "__type")

BASE_RESP = "base_resp "
"""What stands before a code of MiniMax's, whose numbers are its own."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The error of an answer: its message, codes and types, the error object, and names of exceeded quotas."""

    message: str
    codes: tuple[str, ...] = ()
    object: JsonObject | None = None
    quotas: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Message and codes, each on a line of its own, in lower case, which the rules search: a code is no figure of the message."""
        return "\n".join((self.message[:_LONGEST_READ], *self.codes)).lower()


def read_error(body: bytes) -> ErrorBody:
    """The error in a body, which may be any JSON, HTML, text (also with JSON in it, as an event of a stream) or empty."""
    try:
        return find_error(orjson.loads(body)) or ErrorBody("")
    except orjson.JSONDecodeError:
        text = body[:_LONGEST_READ].decode("utf-8", "replace")
        return _nested(text) or ErrorBody(_TAGS.sub(" ", text) if "<" in text else text)


def is_error(value: JsonObject) -> bool:
    """Whether JSON that came with status 200 is an error: it has an error object, or a status of failure and no answer."""
    if value.get("error"):
        return True
    base = value.get("base_resp")
    if isinstance(base, Mapping) and base.get("status_code"):
        return True
    if value.get("choices") or value.get("data"):
        return False
    failed = value.get("success") is False or value.get("object") == "error" or value.get("type") == "error"
    failed = failed or bool(value.get("error_code") or value.get("errors") or value.get("detail"))
    return failed or (bool(value.get("code")) and isinstance(value.get("message") or value.get("msg"), str))


def find_error(value: object) -> ErrorBody | None:
    """The error in parsed JSON, or None. Names ignore case (Tencent and AWS write them with capitals).

    Nested errors (OpenRouter and other resellers pass the upstream's on as text) are added to the message and the codes.
    """
    return _find(value, _DEEPEST)


def _find(value: object, depth: int) -> ErrorBody | None:
    if depth == 0:
        return None
    if isinstance(value, list):
        return next((found for item in value if (found := _find(item, depth - 1)) is not None), None)
    if not isinstance(value, Mapping):
        return ErrorBody(value) if isinstance(value, str) and value else None
    fields = _lower(value)
    inner, several, base = fields.get("error"), fields.get("errors"), fields.get("base_resp")
    if isinstance(inner, Mapping):
        return _from_object(_lower(inner), fields, depth)
    if isinstance(inner, str) and inner:
        message = fields.get("message")
        return (
            _with_nested(message, (inner, *_codes(fields)), fields, depth)
            if isinstance(message, str) and message
            else (_with_nested(inner, _codes(fields), fields, depth))
        )
    if isinstance(several, list) and several:  # Cloudflare, watsonx
        first = several[0]
        return _from_object(_lower(first), fields, depth) if isinstance(first, Mapping) else _find(first, depth - 1)
    if isinstance(base, Mapping):  # MiniMax
        return ErrorBody(str(base.get("status_msg") or ""), (f"{BASE_RESP}{base.get('status_code')}",), fields)
    if isinstance(response := fields.get("response"), Mapping) and "error" in _lower(response):  # Tencent
        return _find(response, depth - 1)
    if any(isinstance(fields.get(name), str) for name in ("message", "msg", "error_msg", "title")) or "detail" in fields:
        return _from_object(fields, {}, depth)
    return None


def shown_message(text: str, secrets: Iterable[str]) -> str:
    """A provider's own words made safe: one line of at most `MESSAGE_CHARS`, without control characters and secrets."""
    text = redact(own_words(text[:_LONGEST_READ]), (known := tuple(secrets)))
    for secret in known:
        text = _without_parts(text, secret)
    text = printable_line(_MASKED_KEY.sub("[redacted]", text))
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"


def _without_parts(text: str, secret: str) -> str:
    """The text without parts of a secret: some endpoints show the beginning or the end of an invalid key."""
    for size in range(len(secret) - 1, _SHORTEST_PART - 1, -1):
        for part in (secret[:size], secret[-size:]):
            if part in text:
                text = text.replace(part, "[redacted]")
    return text


def _from_object(error: JsonObject, outer: JsonObject, depth: int) -> ErrorBody:
    message = next((text for name in _MESSAGES if (text := error.get(name))), "")
    codes = (*_codes(error), *_codes(outer))
    if isinstance(message, Mapping) and (inner := _find(message, depth - 1)) is not None:
        message, codes = inner.message, (*inner.codes, *codes)
    if not isinstance(message, str):
        message = orjson.dumps(message, default=str).decode()
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    if isinstance(raw, str) and raw:
        upstream = _nested(raw)
        message = f"{message}: {raw[:_LONGEST_READ] if upstream is None else upstream.message}"
        codes = (*codes, *(() if upstream is None else upstream.codes))
    inner_error = error.get("innererror")
    if isinstance(inner_error, Mapping):
        codes = (*codes, *_codes(inner_error))
    return _with_nested(message, codes, {**outer, **error}, depth)


def _with_nested(message: str, codes: tuple[str, ...], fields: JsonObject, depth: int) -> ErrorBody:
    """The error, with that in its message if there is one as JSON: its words are the provider's own."""
    found = _nested(message, depth - 1)
    if found is not None:
        message, codes = found.message, (*codes, *found.codes)
    return ErrorBody(message, codes, fields, tuple(_quotas(fields.get("details"))))


def _nested(text: str, depth: int = 2) -> ErrorBody | None:
    """The error in an object of JSON inside a text: an event of a stream, or what a reseller passes on."""
    begin, end = text.find("{"), text.rfind("}")
    if not 0 <= begin < end <= _LONGEST_READ or not ('"' in text[begin:end] or "'" in text[begin:end]):
        return None
    try:
        value = orjson.loads(text[begin : end + 1])
    except orjson.JSONDecodeError:
        value = _of_python(text[begin : end + 1])
    found = _find(value, depth)
    return found if found is not None and found.message else None


def _of_python(text: str) -> object:
    """An object as Python prints it: OpenAI's library does so in its errors, which servers that use it pass on."""
    if not text.startswith("{'"):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _lower(value: JsonObject) -> dict[str, object]:
    return {name.lower(): field for name, field in value.items()}


def _codes(value: JsonObject) -> tuple[str, ...]:
    found = (value.get(name) for name in _CODES)
    return tuple(str(code) for code in found if isinstance(code, str | int) and not isinstance(code, bool))


def _quotas(details: object) -> Iterable[str]:
    """The names of exceeded quotas, which Gemini sends: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`."""
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("violations") if isinstance(detail, Mapping) else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, Mapping):
                yield str(violation.get("quotaId") or violation.get("quotaMetric") or "")
