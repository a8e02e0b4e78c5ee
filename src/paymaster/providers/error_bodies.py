"""Finds the error in a provider's answer, in any published format; knows nothing about what an error means."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from paymaster.jsontypes import JsonObject
from paymaster.printable import printable_line
from paymaster.redaction import redact

MESSAGE_CHARS = 400
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_MASKED_KEY = re.compile(r"[\w-]{3,}\*{2,}[\w*-]*")
_SHORTEST_PART = 8
_LONGEST_READ = 20_000


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
        return "\n".join((self.message, *self.codes)).lower()


def read_error(body: bytes) -> ErrorBody:
    """The error in a body, which may be any JSON, HTML, text or empty."""
    try:
        return find_error(orjson.loads(body)) or ErrorBody("")
    except orjson.JSONDecodeError:
        text = body[:_LONGEST_READ].decode("utf-8", "replace")
        return ErrorBody(_TAGS.sub(" ", text) if "<" in text else text)


def find_error(value: object) -> ErrorBody | None:
    """The error in parsed JSON, or None. Nested errors (OpenRouter passes the upstream's on as text) are added to the codes."""
    if isinstance(value, list):
        return next((found for item in value if (found := find_error(item)) is not None), None)
    if not isinstance(value, Mapping):
        return ErrorBody(value) if isinstance(value, str) and value else None
    inner = value.get("error")
    if isinstance(inner, Mapping):
        return _from_object(inner, outer=value)
    if isinstance(inner, str) and inner:
        return ErrorBody(inner, _codes(value), value)
    if isinstance(value.get("message"), str) or "detail" in value:
        return _from_object(value, outer={})
    return None


def shown_message(text: str, secrets: Iterable[str]) -> str:
    """A provider's message made safe: one line of at most `MESSAGE_CHARS`, without control characters and secrets."""
    text = redact(text[:_LONGEST_READ], (known := tuple(secrets)))
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


def _from_object(error: JsonObject, outer: JsonObject) -> ErrorBody:
    message = error.get("message") or error.get("detail") or error.get("msg") or ""
    if not isinstance(message, str):
        message = orjson.dumps(message, default=str).decode()
    codes = (*_codes(error), *_codes(outer))
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    if isinstance(raw, str):
        codes = (*codes, raw[:_LONGEST_READ])
    inner = error.get("innererror")
    if isinstance(inner, Mapping):
        codes = (*codes, *_codes(inner))
    return ErrorBody(message, codes, error, tuple(_quotas(error.get("details"))))


def _codes(value: JsonObject) -> tuple[str, ...]:
    found = (value.get(name) for name in ("code", "type", "status", "reason", "error_type"))
    return tuple(str(code) for code in found if isinstance(code, str | int) and not isinstance(code, bool))


def _quotas(details: object) -> Iterable[str]:
    """The names of exceeded quotas, which Gemini sends: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`."""
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("violations") if isinstance(detail, Mapping) else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, Mapping):
                yield str(violation.get("quotaId") or violation.get("quotaMetric") or "")
