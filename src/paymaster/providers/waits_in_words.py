"""Reads how long to wait from the words of an error, in English and Chinese; knows no header and no field.

A moment without a time zone is taken for the next one that it can be, in China's time or UTC: Z.ai writes China's ("Your limit will reset
at 2026-02-01 12:00:00"; github.com/can1357/oh-my-pi, issue 11014). A wait that is too short costs one refusal; one that is too long, hours.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

from paymaster.routing.failures import believed_wait_ms

_LONGEST_READ = 4_000
_UNITS_MS = {
    "ms": 1.0, "msec": 1.0, "msecs": 1.0, "millisecond": 1.0, "milliseconds": 1.0, "毫秒": 1.0,
    "s": 1_000.0, "sec": 1_000.0, "secs": 1_000.0, "second": 1_000.0, "seconds": 1_000.0, "秒": 1_000.0, "秒钟": 1_000.0,
    "m": 60_000.0, "min": 60_000.0, "mins": 60_000.0, "minute": 60_000.0, "minutes": 60_000.0, "分": 60_000.0, "分钟": 60_000.0,
    "h": 3_600_000.0, "hr": 3_600_000.0, "hrs": 3_600_000.0, "hour": 3_600_000.0, "hours": 3_600_000.0, "小时": 3_600_000.0,
    "d": 86_400_000.0, "day": 86_400_000.0, "days": 86_400_000.0, "天": 86_400_000.0,
}  # fmt: skip
_UNIT = "|".join(sorted(_UNITS_MS, key=len, reverse=True))
_NUMBER = r"\d{1,20}(?:\.\d{1,20})?"
_PART = re.compile(rf"({_NUMBER})\s*({_UNIT})(?![a-z])", re.IGNORECASE)
_PARTS = rf"{_NUMBER}\s*(?:{_UNIT})(?![a-z])(?:,?\s*(?:and\s+)?{_NUMBER}\s*(?:{_UNIT})(?![a-z])){{0,4}}"
_SPAN = rf"(?:{_PARTS}|{_NUMBER}(?![\d.:-]|\s*[/%]))"

_SPANS = (
    re.compile(
        r"(?:try(?:ing)?(?: (?:your|the) request)? again|retry(?:ing)?(?: (?:your|the) request)?|come back|reset(?:s|ting)?"
        r"|available(?: again)?|replenished|resumes?)"
        rf"[\s:]*(?:in|after)[\s:]*(?:about |at least |another |approximately )?({_SPAN})",
        re.IGNORECASE,
    ),
    re.compile(rf"\bwait(?:ing)?(?: for)?(?: about| at least| another| approximately)?\s*({_SPAN})", re.IGNORECASE),
    re.compile(rf"retry[_-]after[\"']?\s*[:=]?\s*({_SPAN})", re.IGNORECASE),
    re.compile(rf"(?:等待|稍等)\s*({_SPAN})"),
    re.compile(rf"({_PARTS})\s*(?:之?后|以?后|再)"),
)
_CLOCK = re.compile(
    r"(?:again|retry|reset|resets|replenished|available) (?:in|after) (?:(\d{1,3})\.)?(\d{1,3}):(\d\d):(\d\d)\b", re.IGNORECASE
)
"""A span as .NET writes it: `12.11:28:18`."""

_MOMENT = r"(\d{4}-\d\d-\d\d)(?:[T ]|,? at )(\d\d:\d\d(?::\d\d)?)(?:\.\d{1,9})?\s*(Z\b|UTC\b|GMT\b|[+-]\d\d:?\d\d)?"
_MOMENTS = (
    re.compile(
        r"(?:again|retry|retrying|resets?|resumes?|regain access|available|until|unblocked|expires?)[^\d.;]{0,20}" + _MOMENT, re.IGNORECASE
    ),
    re.compile(_MOMENT + r"\s*(?:之?后|重置|恢复|刷新)"),
)
_CHINA = timezone(timedelta(hours=8))


def wait_in_words_ms(message: str, now_ms: int) -> int | None:
    """The wait that the message states, in milliseconds from now; None if it states none, or none that anybody can mean."""
    text = message[:_LONGEST_READ]
    return next((wait for stated in _stated(text, now_ms) if (wait := believed_wait_ms(stated)) is not None), None)


def _stated(text: str, now_ms: int) -> Iterator[float]:
    for pattern in _MOMENTS:
        if (found := pattern.search(text)) is not None:
            yield from _until(*found.groups(), now_ms=now_ms)
    if (found := _CLOCK.search(text)) is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        yield (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000.0
    for pattern in _SPANS:
        if (found := pattern.search(text)) is not None:
            yield _span_ms(found[1])


def _span_ms(text: str) -> float:
    """A span of one or several parts; a number alone is seconds."""
    parts = _PART.findall(text)
    if not parts:
        return float(text) * 1_000
    return sum(float(amount) * _UNITS_MS[unit.lower()] for amount, unit in parts)


def _until(date: str, time: str, zone: str | None, *, now_ms: int) -> Iterator[float]:
    """The times until the moments that are meant, the nearest first."""
    try:
        moment = datetime.fromisoformat(f"{date} {time}")
    except ValueError:
        return
    zones = (_CHINA, UTC) if zone is None else (UTC,)
    if zone is not None and zone[0] in "+-":
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        moment -= timedelta(hours=hours, minutes=minutes) * (1 if zone[0] == "+" else -1)
    for each in zones:
        yield moment.replace(tzinfo=each).timestamp() * 1_000 - now_ms
