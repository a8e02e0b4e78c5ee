"""How amounts, durations and times are written, for the terminal, the pages and the log alike; knows no terminal and no page."""

from datetime import UTC, datetime

from paymaster.accounting.budget_units import BudgetUnit, format_amount


def short_usd(amount_nanousd: int) -> str:
    """`$12.35` from a dollar on, `$0.0124` below: rounded, for readers who can find the exact figure elsewhere."""
    sign, amount = ("-", -amount_nanousd) if amount_nanousd < 0 else ("", amount_nanousd)
    if amount >= 995_000_000:
        cents = (amount + 5_000_000) // 10_000_000
        return f"{sign}${cents // 100:,}.{cents % 100:02d}"
    parts = (amount + 50_000) // 100_000
    if amount and not parts:
        return f"{sign}<$0.0001"
    whole, part = divmod(parts, 10_000)
    digits = f"{part:04d}"
    return f"{sign}${whole}.{digits.removesuffix('00')}"


def short_amount(amount: int, unit: BudgetUnit) -> str:
    """The same for a budget in any unit; tokens and requests are not rounded: `1,200 tokens`."""
    return short_usd(amount) if unit is BudgetUnit.USD else format_amount(amount, unit)


def percent(part: int, whole: int) -> int:
    """Rounded down, so that 100 means all of `whole`; 0 if `whole` is 0."""
    return 100 * part // whole if whole else 0


_DAY_MS, _HOUR_MS, _MINUTE_MS = 86_400_000, 3_600_000, 60_000


def age(past_ms: int) -> str:
    """How long ago something was, in one unit: `8 days`, `30 h`, `5 min`; less than a minute as a duration."""
    for unit_ms, least, unit in ((_DAY_MS, 2, "days"), (_HOUR_MS, 2, "h"), (_MINUTE_MS, 1, "min")):
        if past_ms >= least * unit_ms:
            return f"{past_ms // unit_ms:,} {unit}"
    return duration(past_ms)


def duration(time_ms: int) -> str:
    """`340 ms`, `2.3 s`, `4 min 05 s`."""
    if time_ms < 1_000:
        return f"{time_ms} ms"
    if time_ms < 60_000:
        return f"{time_ms // 1_000}.{time_ms % 1_000 // 100} s"
    minutes, seconds = divmod(time_ms // 1_000, 60)
    return f"{minutes:,} min {seconds:02d} s"


def utc_time(at_ms: int) -> str:
    """`2026-11-20 12:00:00 UTC`."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
