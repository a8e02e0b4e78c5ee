"""Which budget of a registry has the duration that LiteLLM states, such as `30d`; knows no amount."""

import re
from dataclasses import dataclass

from paymaster.registry.yamltext import Plain

_DURATION = re.compile(r"(\d{1,6})\s*(s|m|h|d|w|mo)", re.IGNORECASE)
_DAY_S = 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": _DAY_S, "w": 7 * _DAY_S, "mo": 30 * _DAY_S}
_WORDS = {"daily": _DAY_S, "monthly": 30 * _DAY_S}


@dataclass(frozen=True, slots=True)
class Per:
    """What a budget is counted per, beside whom, and how it differs from the duration."""

    dimensions: tuple[str, ...]
    how: str


def budget_per(duration: Plain) -> Per | None:
    """The dimension of time: a day, a month, or none for all time. None for a duration that no budget has."""
    if duration is None:
        return Per((), "a budget for all time, on one ledger")
    text = str(duration).strip().lower() if isinstance(duration, str | int) and not isinstance(duration, bool) else ""
    found = _DURATION.fullmatch(text)
    seconds = _WORDS.get(text) if found is None else int(found[1]) * _SECONDS[found[2]]
    if seconds == _DAY_S:
        return Per(("day",), "a day is a day of the calendar (UTC)")
    if seconds is not None and 28 * _DAY_S <= seconds <= 31 * _DAY_S:
        return Per(("month",), "a month is a month of the calendar (UTC)")
    return None
