"""How dollars become nano-dollars, and how an amount is written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.accounting.money import NANOUSD_PER_USD, USD_DECIMALS, cap_nanousd, format_usd, scaled_usd_to_nanousd, usd_to_nanousd


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (12_300_000, "$0.0123"),
        (100_000_000, "$0.10"),
        (5_000_000_000, "$5.00"),
        (1_234_567_891_234_567_891, "$1,234,567,891.234567891"),
        (-10_000_000, "-$0.01"),
    ],
)
def test_an_amount_reads_with_cents_and_every_digit_that_counts(nanousd, text):
    assert format_usd(nanousd) == text


@given(st.integers(-(2**63), 2**63))
def test_no_digit_is_lost(nanousd):
    assert Decimal(format_usd(nanousd).replace("$", "").replace(",", "")) * NANOUSD_PER_USD == nanousd


@pytest.mark.parametrize(
    ("usd", "cap", "cost"),
    [
        ("0", 0, 0),
        ("0.0000000001", 0, 1),
        ("0.000000001", 1, 1),
        ("1.0000000011", 1_000_000_001, 1_000_000_002),
        ("5e2", 500 * NANOUSD_PER_USD, 500 * NANOUSD_PER_USD),
        ("1234567890.12345678901234567890123456789", 1_234_567_890_123_456_789, 1_234_567_890_123_456_790),
    ],
)
def test_a_cap_is_rounded_down_and_a_cost_is_rounded_up(usd, cap, cost):
    assert cap_nanousd(Decimal(usd)) == cap
    assert usd_to_nanousd(Decimal(usd)) == cost


@given(number=st.integers(0, 10**40), decimals=st.integers(0, 30))
def test_a_scaled_cost_is_rounded_like_any_other(number, decimals):
    assert scaled_usd_to_nanousd(number, decimals) == usd_to_nanousd(Decimal(f"{number}E-{decimals}"))
    assert NANOUSD_PER_USD == 10**USD_DECIMALS
