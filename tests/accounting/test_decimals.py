"""Decimal arithmetic keeps every digit or raises, and numbers are written without exponents."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.accounting.decimals import added, decimals_needed, multiplied, plain, scaled, unscaled

NUMBERS = st.builds(lambda digits, places: Decimal(f"{digits}E-{places}"), st.integers(-(10**40), 10**40), st.integers(0, 40))


@given(value=NUMBERS)
def test_scaling_and_writing_lose_nothing(value: Decimal) -> None:
    places = decimals_needed((value,))
    assert unscaled(scaled(value, places), places) == value
    assert Decimal(plain(value)) == value
    assert "E" not in plain(value)


@given(first=st.integers(-(10**30), 10**30), second=st.integers(-(10**30), 10**30), places=st.integers(0, 30))
def test_sums_and_products_are_exact(first: int, second: int, places: int) -> None:
    one, other = Decimal(f"{first}E-{places}"), Decimal(f"{second}E-3")
    assert scaled(added(one, other), places + 3) == first * 10**3 + second * 10**places
    assert scaled(multiplied(one, other), places + 3) == first * second


@pytest.mark.parametrize(
    ("written", "text"), [("1.55E-5", "0.0000155"), ("0.18000", "0.18"), ("0E+3", "0"), ("-0.00", "0"), ("12E2", "1200"), ("100", "100")]
)
def test_amounts_are_written_plainly(written: str, text: str) -> None:
    assert plain(Decimal(written)) == text


def test_trailing_zeros_may_be_dropped() -> None:
    assert scaled(Decimal("0.50"), 1) == 5


def test_scaling_refuses_to_lose_a_digit() -> None:
    with pytest.raises(ValueError, match="more than 1 decimals"):
        scaled(Decimal("0.25"), 1)
    with pytest.raises(ValueError, match="not a finite number"):
        scaled(Decimal("NaN"), 1)
    assert decimals_needed((Decimal("NaN"), Decimal("0.5"))) == 1


def test_a_number_of_absurd_length_is_refused_at_once() -> None:
    for text in ("1E+999999", "1E-999999"):
        with pytest.raises(ValueError, match="more than 1000 digits"):
            scaled(Decimal(text), 9)
    with pytest.raises(ArithmeticError):
        multiplied(Decimal("1E+600"), Decimal("1E+600"))
