"""What a user gives a command: texts, files, standard input and times, each with one clear error; knows no command and no clock."""

import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from paymaster.errors import UsageMistake
from paymaster.jsontypes import JsonObject

STANDARD_INPUT = "-"
_AGO = re.compile(r"(\d{1,12})\s*(s|m|min|h|d|w)")
_UNITS_MS = {"s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def read_text(source: str | Path) -> str:
    """The text of a file, or of standard input for `-`. Raises UsageMistake."""
    name = "standard input" if str(source) == STANDARD_INPUT else str(source)
    try:
        data = sys.stdin.buffer.read() if str(source) == STANDARD_INPUT else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageMistake(f"{name} is not UTF-8 (byte {error.start + 1})") from error
    except OSError as error:
        raise UsageMistake(f"cannot read {name}: {error.strerror or error}") from error


def check_text(text: str, what: str) -> str:
    """The text itself. Raises UsageMistake if it is blank or not valid Unicode; `what` names it."""
    if not text.strip():
        raise UsageMistake(f"{what} is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageMistake(f"{what} is not UTF-8 (character {error.start + 1})") from error
    return text


def read_objects(source: Path, key: str) -> list[JsonObject]:
    """A JSON list of objects from a file, or the list under `key` if the file has an object. Raises UsageMistake."""
    text = read_text(source)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageMistake(f"{source} is not JSON: {error}") from error
    if isinstance(value, Mapping):
        value = value.get(key)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise UsageMistake(f"{source}: a JSON list of objects is expected, or an object with one under {key!r}")
    return value


def read_time(text: str, now_ms: int, flag: str, *, end_of_day: bool = False) -> int:
    """Milliseconds since 1970. A time without a zone is UTC; with `end_of_day` a date alone means its end. Raises UsageMistake."""
    if ago := _AGO.fullmatch(text.strip().lower()):
        return max(0, now_ms - int(ago[1]) * _UNITS_MS[ago[2]])
    try:
        at = datetime.fromisoformat(text.strip())
        if _DAY.fullmatch(text.strip()) and end_of_day:
            at += timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise UsageMistake(
            f"{flag} {text}: not a time", advice="Write 2026-11-20, 2026-11-20T12:00, 2026-11-20T12:00+01:00, 24h or 7d."
        ) from error
    return max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))
