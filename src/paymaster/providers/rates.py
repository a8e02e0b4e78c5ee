"""Reads remaining limits and times to wait from headers and error bodies in every published format; knows no clock.

A wait that nobody can mean (none, one that is over, more than a day) counts as not stated; then the next place is read.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from paymaster.flow.ports import RateSignals
from paymaster.jsontypes import JsonObject
from paymaster.routing.failures import believed_wait_ms

_EPOCH_SECONDS = 10**9
_EPOCH_MS = 10**12
_UNIT_MS = {"d": 86_400_000.0, "h": 3_600_000.0, "m": 60_000.0, "s": 1_000.0, "ms": 1.0, "us": 0.001, "µs": 0.001, "ns": 0.000_001}
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{0,20})?|\.\d{1,20}")
_PART = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)(ms|us|µs|ns|d|h|m|s)")
_SPAN = re.compile(rf"(?:{_PART.pattern})+")
_IN_WORDS = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+((?:\d+(?:\.\d+)?(?:ms|[hms]))+|\d+(?:\.\d+)?)\s*(milliseconds?|seconds?|minutes?|hours?)?",
    re.IGNORECASE,
)
_WORD_UNITS = {"millisecond": "ms", "second": "s", "minute": "m", "hour": "h"}

# OpenAI, Azure, Groq, Mistral and similar; Anthropic; OpenRouter and the IETF draft, which have only one counter.
_REMAINING_REQUESTS = (
    "x-ratelimit-remaining-requests",
    "anthropic-ratelimit-requests-remaining",
    "x-ratelimit-remaining",
    "ratelimit-remaining",
)
_REMAINING_TOKENS = ("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining")
_RESET_REQUESTS = ("x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset", "x-ratelimit-reset", "ratelimit-reset")
_RESET_TOKENS = ("x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset")
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


def read_retry_after(headers: Mapping[str, str], error: JsonObject | None, message: str, now_ms: int) -> int | None:
    """How long to wait, in milliseconds: from a retry header, else the reset of an empty counter, else the error object, else its message.

    `error` is the body's error object. An HTTP date is compared with the answer's own Date header, so that clocks need not agree.
    """
    by_header = _retry_header(headers, now_ms)
    if by_header is not None:
        return by_header
    signals = read_rate_signals(headers, now_ms)
    empty = [
        reset
        for remaining, reset in (
            (signals.remaining_requests, signals.reset_requests_ms),
            (signals.remaining_tokens, signals.reset_tokens_ms),
        )
        if remaining == 0 and reset is not None
    ]
    if empty:
        return max(empty)
    in_body = next((wait for wait in _body_hints(error, now_ms) if wait is not None), None)
    return in_body if in_body is not None else _wait_in_words(message)


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


def _retry_header(headers: Mapping[str, str], now_ms: int) -> int | None:
    in_ms = headers.get("retry-after-ms", "").strip()
    if _NUMBER.fullmatch(in_ms) and (wait := believed_wait_ms(float(in_ms))) is not None:
        return wait
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    sent_at = _moment_ms(headers.get("date", "")) if not _NUMBER.fullmatch(text) else None
    return span_ms(text, now_ms if sent_at is None else sent_at)


def _body_hints(error: JsonObject | None, now_ms: int) -> Iterator[int | None]:
    if error is None:
        return
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        # Gemini's google.rpc.RetryInfo has a `retryDelay` such as `17s`.
        if isinstance(detail, Mapping) and isinstance(delay := detail.get("retryDelay"), str):
            yield span_ms(delay, now_ms)
    metadata = error.get("metadata")
    passed_on = metadata.get("headers") if isinstance(metadata, Mapping) else None
    if isinstance(passed_on, Mapping):
        # OpenRouter repeats its headers in the body.
        headers = plain_headers({str(name): str(value) for name, value in passed_on.items()})
        yield _retry_header(headers, now_ms)
        yield read_rate_signals(headers, now_ms).reset_requests_ms
    for name, unit_ms in (("retry_after_ms", 1), ("retry_after", 1_000), ("retry_after_seconds", 1_000)):
        wait = error.get(name)
        if isinstance(wait, int | float) and not isinstance(wait, bool):
            yield believed_wait_ms(wait * unit_ms)
        elif isinstance(wait, str) and _NUMBER.fullmatch(wait.strip()):
            yield believed_wait_ms(float(wait) * unit_ms)


def _wait_in_words(message: str) -> int | None:
    found = _IN_WORDS.search(message)
    if found is None:
        return None
    amount, unit = found.groups()
    if _NUMBER.fullmatch(amount):
        return span_ms(amount + _WORD_UNITS[(unit or "second").lower().removesuffix("s")], 0)
    return span_ms(amount.lower(), 0)


def _count(headers: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        text = headers.get(name, "").strip()
        if _NUMBER.fullmatch(text):
            return int(float(text))  # at most 20 digits
    return None


def _span(headers: Mapping[str, str], names: tuple[str, ...], now_ms: int) -> int | None:
    return next((span for name in names if name in headers and (span := span_ms(headers[name], now_ms)) is not None), None)


def _moment_ms(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000)
