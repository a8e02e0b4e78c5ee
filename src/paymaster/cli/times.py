"""Moments as people write and read them on a command line; knows no clock."""

import re
from datetime import UTC, datetime, timedelta

from paymaster.cli.terminal import Cell
from paymaster.errors import UsageMistake

_AGO = re.compile(r"(\d+)\s*(s|m|min|h|d|w)")
_UNITS_MS = {"s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def read_moment(text: str, now_ms: int, flag: str, *, end_of_day: bool = False) -> int:
    """Milliseconds since 1970. A time without a zone is UTC; with `end_of_day` a day alone means its end. Raises UsageMistake."""
    if ago := _AGO.fullmatch(text.strip().lower()):
        return now_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        at = datetime.fromisoformat(text.strip())
        if _DAY.fullmatch(text.strip()) and end_of_day:
            at += timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise UsageMistake(
            f"{flag} {text}: not a time", advice="Write 2026-11-20, 2026-11-20T12:00, 2026-11-20T12:00+01:00, 24h or 7d."
        ) from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def moment(at_ms: int | None) -> str | Cell:
    """A time in UTC, to the second."""
    return Cell("-", "weak") if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
