"""Reads remaining limits and times to wait from headers and error bodies in every published format; knows no clock.

A wait that nobody can mean (none, one that is over, more than a day) counts as not stated; then the next place is read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from paymaster.flow.ports import RateSignals
from paymaster.jsontypes import JsonObject
from paymaster.providers.waits_in_words import wait_in_words_ms
from paymaster.routing.failures import believed_wait_ms

_EPOCH_SECONDS = 10**9
_EPOCH_MS = 10**12
_UNIT_MS = {"d": 86_400_000.0, "h": 3_600_000.0, "m": 60_000.0, "s": 1_000.0, "ms": 1.0, "us": 0.001, "µs": 0.001, "ns": 0.000_001}
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{0,20})?|\.\d{1,20}")
_PART = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)(ms|us|µs|ns|d|h|m|s)")
_SPAN = re.compile(rf"(?:{_PART.pattern})+")
_POLICY_REMAINING = re.compile(r"\b(?:r|remaining)=(\d{1,20})")
_POLICY_RESET = re.compile(r"\b(?:t|reset)=(\d{1,20})")

# OpenAI, Azure, Groq, Mistral and similar; Anthropic; OpenRouter and the IETF draft, which have only one counter; Cerebras.
_REMAINING_REQUESTS = (
    "x-ratelimit-remaining-requests",
    "anthropic-ratelimit-requests-remaining",
    "x-ratelimit-remaining",
    "ratelimit-remaining",
    "x-ratelimit-remaining-requests-minute",
)
_REMAINING_TOKENS = (
    "x-ratelimit-remaining-tokens",
    "anthropic-ratelimit-tokens-remaining",
    "x-ratelimit-remaining-tokens-minute",
    "ratelimitbysize-remaining",
    "x-ratelimitbysize-remaining-minute",
)
_RESET_REQUESTS = (
    "x-ratelimit-reset-requests",
    "anthropic-ratelimit-requests-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-reset",
    "ratelimit-reset",
    "x-ratelimit-reset-requests-minute",
)
_RESET_TOKENS = (
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-tokens-reset",
    "x-ratelimit-reset-tokens-minute",
    "ratelimitbysize-reset",
    "x-ratelimitbysize-reset-minute",
)
_RETRY_AFTER_MS = ("retry-after-ms", "x-ms-retry-after-ms", "x-retry-after-ms")
_RETRY_AFTER = ("retry-after", "x-retry-after", "x-ratelimit-retry-after")
_FILLERS = frozenset({"x", "remaining", "reset", "after", "timeremaining"})
_FIELDS_IN_MS = ("retry_after_ms", "retryafterms")
_FIELDS_IN_S = (
    *("retry_after", "retryafter", "retry_after_seconds", "retryafterseconds", "retry_in", "retry_in_seconds", "retry_delay", "retrydelay"),
    *("reset_in", "reset_in_seconds", "resets_in_seconds", "reset_at", "resets_at", "reset_time", "estimated_time"),
)
"""Fields of an error, in lower case. A number of seconds may be a moment."""
_LITELLM_PREFIX = "llm_provider-"


def plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with names in lower case and without litellm's prefix for headers of the provider."""
    return {name.lower().removeprefix(_LITELLM_PREFIX): value for name, value in headers.items()}


def read_rate_signals(headers: Mapping[str, str], now_ms: int) -> RateSignals:
    """The remaining requests and tokens in `headers` (names in lower case), and the time until they reset."""
    if not any("ratelimit" in name for name in headers):
        return RateSignals()
    return RateSignals(
        remaining_requests=_count(headers, _REMAINING_REQUESTS),
        remaining_tokens=_count(headers, _REMAINING_TOKENS),
        reset_requests_ms=_span(headers, _RESET_REQUESTS, now_ms),
        reset_tokens_ms=_span(headers, _RESET_TOKENS, now_ms),
    )


def read_retry_after(
    headers: Mapping[str, str], error: JsonObject | None, message: str, now_ms: int, *, at_limit: bool = True
) -> int | None:
    """How long to wait, in milliseconds, by the first of these that states it.

    A retry header; the reset of an empty counter; the error object; its message; at a limit (`at_limit`), the reset of a counter of which
    nobody knows what is left, or of tokens, of which too few may be left.

    `error` is the body's error object. An HTTP date is compared with the answer's own Date header, so that clocks need not agree.
    """
    hints = _hints(list(_counters(headers, now_ms)), headers, error, message, now_ms, at_limit=at_limit)
    return next((wait for wait in hints if wait is not None), None)


def _hints(
    counters: Sequence["_Counter"], headers: Mapping[str, str], error: JsonObject | None, message: str, now_ms: int, *, at_limit: bool
) -> Iterator[int | None]:
    yield _retry_header(headers, now_ms)
    yield max((each.reset_ms for each in counters if each.remaining == 0), default=None)
    yield from _body_hints(error, now_ms)
    yield wait_in_words_ms(message, now_ms)
    if at_limit:
        yield min((each.reset_ms for each in counters if each.remaining is None), default=None)
        yield min((each.reset_ms for each in counters if each.of_tokens), default=None)


def span_ms(text: str, now_ms: int) -> int | None:
    """A moment or a duration as milliseconds from now: `1s`, `6m0s`, `20ms`, `12`, `0.5`, epoch (s or ms), RFC 3339, HTTP date.

    None for a text that is none of these, and for a time that nobody can mean.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number >= _EPOCH_MS:
            return believed_wait_ms(number - now_ms)
        return believed_wait_ms(number * 1_000 - now_ms if number >= _EPOCH_SECONDS else number * 1_000)
    if _SPAN.fullmatch(text):
        return believed_wait_ms(sum(float(amount) * _UNIT_MS[unit] for amount, unit in _PART.findall(text)))
    moment = _moment_ms(text)
    return None if moment is None else believed_wait_ms(moment - now_ms)


@dataclass(frozen=True, slots=True)
class _Counter:
    """A counter in headers: what is left (None: not stated), and how long until it is full again."""

    remaining: int | None
    reset_ms: int
    of_tokens: bool


def _counters(headers: Mapping[str, str], now_ms: int) -> Iterator[_Counter]:
    """The counters whose reset is stated. Headers belong together whose names differ in "remaining" and "reset" only, in any order."""
    remaining: dict[frozenset[str], int] = {}
    resets: dict[frozenset[str], int] = {}
    for name, text in headers.items():
        if "ratelimit" not in name:
            continue
        if name.removeprefix("x-") == "ratelimit":  # the IETF draft: `"default";r=0;t=30`, and before `limit=10, remaining=0, reset=30`
            yield from _policies(text)
            continue
        words = frozenset(name.split("-"))
        if "remaining" in words and (left := _whole(text)) is not None:
            remaining[words - _FILLERS] = left
        elif words & {"reset", "timeremaining"} and (reset_ms := span_ms(text, now_ms)) is not None:
            resets.setdefault(words - _FILLERS, reset_ms)
    for counter, reset_ms in resets.items():
        yield _Counter(remaining.get(counter), reset_ms, any("token" in word or "bysize" in word for word in counter))


def _policies(text: str) -> Iterator[_Counter]:
    for policy in text.split(",") if ";" in text else (text,):
        left, reset = _POLICY_REMAINING.search(policy), _POLICY_RESET.search(policy)
        if reset is not None and (reset_ms := believed_wait_ms(float(reset[1]) * 1_000)) is not None:
            yield _Counter(None if left is None else int(left[1]), reset_ms, "token" in policy)


def _retry_header(headers: Mapping[str, str], now_ms: int) -> int | None:
    for name in _RETRY_AFTER_MS:
        in_ms = headers.get(name, "").strip()
        if _NUMBER.fullmatch(in_ms) and (wait := believed_wait_ms(float(in_ms))) is not None:
            return wait
    for name in _RETRY_AFTER:
        text = headers.get(name, "").strip()
        sent_at = _moment_ms(headers.get("date", "")) if text and not _NUMBER.fullmatch(text) else None
        if text and (wait := span_ms(text, now_ms if sent_at is None else sent_at)) is not None:
            return wait
    return None


def _body_hints(error: JsonObject | None, now_ms: int) -> Iterator[int | None]:
    if error is None:
        return
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            # Gemini: google.rpc.RetryInfo has a `retryDelay` such as `17s`, and google.rpc.ErrorInfo may have one of a quota.
            about = detail.get("metadata")
            for found in (detail.get("retryDelay"), about.get("quotaResetDelay") if isinstance(about, Mapping) else None):
                yield _field_ms(found, 1_000, now_ms)
    metadata = error.get("metadata")
    passed_on = metadata.get("headers") if isinstance(metadata, Mapping) else None
    if isinstance(passed_on, Mapping):
        # OpenRouter repeats its headers in the body.
        headers = plain_headers({str(name): str(value) for name, value in passed_on.items()})
        yield _retry_header(headers, now_ms)
        yield read_rate_signals(headers, now_ms).reset_requests_ms
    for fields in (error, metadata if isinstance(metadata, Mapping) else {}):
        for name in (*_FIELDS_IN_MS, *_FIELDS_IN_S):
            yield _field_ms(fields.get(name), 1 if name in _FIELDS_IN_MS else 1_000, now_ms)


def _field_ms(value: object, unit_ms: int, now_ms: int) -> int | None:
    """The wait in a field: a number in its unit, a text with a unit of its own, a moment, or an object with seconds."""
    if isinstance(value, Mapping):
        value = value.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        text = value.strip()
        return span_ms(text, now_ms) if unit_ms > 1 or not _NUMBER.fullmatch(text) else believed_wait_ms(float(text))
    if unit_ms > 1 and _EPOCH_SECONDS <= value < _EPOCH_MS * 10_000:
        return span_ms(f"{value:.3f}" if isinstance(value, float) else str(value), now_ms)
    return believed_wait_ms(value * unit_ms)


def _count(headers: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := _whole(headers.get(name, ""))) is not None), None)


def _whole(text: str) -> int | None:
    return int(float(text)) if _NUMBER.fullmatch(text := text.strip()) else None  # at most 20 digits


def _span(headers: Mapping[str, str], names: tuple[str, ...], now_ms: int) -> int | None:
    return next((span for name in names if name in headers and (span := span_ms(headers[name], now_ms)) is not None), None)


def _moment_ms(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000)
