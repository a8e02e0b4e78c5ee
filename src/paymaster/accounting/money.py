"""Nano-dollars: how dollars become whole nano-dollars and how an amount is written for a reader; knows no price and no account."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from paymaster.accounting.decimals import EXACT

USD_DECIMALS = 9
"""Digits after the point of a dollar amount that is a whole number of nano-dollars."""

NANOUSD_PER_USD = 1_000_000_000


def cap_nanousd(usd: Decimal) -> int:
    """A cap in nano-dollars, rounded down: it never allows more than the dollars that were written."""
    return int(EXACT.scaleb(usd, USD_DECIMALS).to_integral_value(ROUND_FLOOR))


def usd_to_nanousd(usd: Decimal) -> int:
    """A finite cost in nano-dollars, rounded up: it is never less than the bill."""
    return int(EXACT.scaleb(usd, USD_DECIMALS).to_integral_value(ROUND_CEILING))


def scaled_usd_to_nanousd(number: int, decimals: int) -> int:
    """The same for dollars given as `number / 10**decimals`."""
    unit: int = 10**decimals
    nanousd, remainder = divmod(number * NANOUSD_PER_USD, unit)
    return nanousd + 1 if remainder else nanousd


def format_usd(nanousd: int) -> str:
    """Dollars with every digit that counts and at least cents: 12_300_000 is `$0.0123`, 5_000_000_000 is `$5.00`, -1 is `-$0.000000001`."""
    dollars, nanos = divmod(abs(nanousd), NANOUSD_PER_USD)
    fraction = f"{nanos:09d}".rstrip("0").ljust(2, "0")
    sign = "-" if nanousd < 0 else ""
    return f"{sign}${dollars:,}.{fraction}"
