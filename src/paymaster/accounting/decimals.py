"""Exact decimal arithmetic: keeps every digit or raises; knows no money and avoids the default context, which rounds at 28 digits."""

from collections.abc import Iterable
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

_DIGITS = 1_000
EXACT = Context(prec=_DIGITS, Emin=-_DIGITS, Emax=_DIGITS, traps=[DivisionByZero, Inexact, InvalidOperation, Overflow])
"""Arithmetic with this context raises ArithmeticError where a digit would be lost."""


def decimals_needed(values: Iterable[Decimal]) -> int:
    """How many digits after the point the longest of `values` (finite) has."""
    needed = 0
    for value in values:
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int):
            needed = max(needed, -exponent)
    return needed


def scaled(value: Decimal, decimals: int) -> int:
    """`value * 10**decimals` as a whole number. Raises ValueError where digits would be lost, or on NaN and infinity."""
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    try:
        return int(EXACT.to_integral_exact(EXACT.scaleb(value, decimals)))
    except ArithmeticError as error:
        raise ValueError(f"{value} has more than {decimals} decimals, or more than {_DIGITS} digits") from error


def unscaled(number: int, decimals: int) -> Decimal:
    """`number / 10**decimals`, exact to the last digit."""
    return Decimal(f"{number}E-{decimals}")


def plain(value: Decimal) -> str:
    """All digits of `value`, no exponent, no trailing zeros: 1.55E-5 is `0.0000155`, 0E+3 is `0`."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def added(first: Decimal, second: Decimal) -> Decimal:
    """The exact sum. Raises ArithmeticError beyond 1,000 digits."""
    return EXACT.add(first, second)


def multiplied(first: Decimal, second: Decimal) -> Decimal:
    """The exact product. Raises ArithmeticError beyond 1,000 digits."""
    return EXACT.multiply(first, second)
