"""The most that an attempt may cost, and how much output an amount pays for, over every model that may answer. Pure; knows no budget."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from paymaster.accounting.prices.price import (
    ENDLESS_OUTPUT_TOKENS,
    Cost,
    Price,
    RequestTerms,
    affordable_output_tokens,
    cost,
    worst_case_nanousd,
)
from paymaster.accounting.usage.record import Usage
from paymaster.registry.models import Model
from paymaster.routing.server_work import Work

EXPECTED_OUTPUT_TOKENS = 1_000
"""How long an answer is taken for at most where endpoints are compared by price."""


class Basis(NamedTuple):
    """What a hold is computed from, all but the output: the prices with the input in each model's tokens, and the request's terms."""

    prices: Sequence[tuple[Price, int]]
    choices: int
    cache_control: str | None
    at: datetime | None
    terms: RequestTerms
    fixed_nanousd: int


def basis_of(
    prices: Sequence[Price],
    prompt_tokens: int,
    choices: int,
    cache_control: str | None,
    at: datetime | None,
    terms: RequestTerms,
    work: Work,
) -> Basis:
    """The basis of a hold, over every price that may apply; without one nothing is held. `at` is as in `worst_case_nanousd`."""
    priced = [(price, prompt_tokens + work.reads_tokens) for price in prices]
    if prices and work.others:
        priced += [(other.price, other.prompt_tokens + work.reads_tokens) for other in work.others]
    return Basis(
        prices=priced,
        choices=choices,
        cache_control=cache_control,
        at=at,
        terms=terms,
        fixed_nanousd=work.fixed_nanousd,
    )


def most_nanousd(basis: Basis, output_tokens: int) -> int:
    """The most that an attempt may cost; 0 if the price is unknown. Raises UnknownTier."""
    if not basis.prices:
        return 0
    most = [
        worst_case_nanousd(price, tokens, output_tokens, basis.choices, cache_control=basis.cache_control, at=basis.at, terms=basis.terms)
        for price, tokens in basis.prices
    ]
    return basis.fixed_nanousd + max(most)


def expected_nanousd(price: Price | None, prompt_tokens: int, output_tokens: int, choices: int, at: datetime) -> int | None:
    """About what a call costs, to compare endpoints by: with no more than `EXPECTED_OUTPUT_TOKENS` per choice; None if it is unknown."""
    usage = Usage(input_tokens=prompt_tokens, output_tokens=min(output_tokens, EXPECTED_OUTPUT_TOKENS) * choices)
    expected = cost(usage, price, at)
    return expected.nanousd if isinstance(expected, Cost) else None


def affordable_tokens(basis: Basis, room_nanousd: int) -> int:
    """The largest output per choice that the amount pays for, whichever model answers. Raises UnknownTier."""
    room_nanousd -= basis.fixed_nanousd
    return min(
        (
            affordable_output_tokens(
                price, tokens, room_nanousd, basis.choices, cache_control=basis.cache_control, at=basis.at, terms=basis.terms
            )
            for price, tokens in basis.prices
        ),
        default=ENDLESS_OUTPUT_TOKENS,
    )


def unpriced_detail(model: Model) -> str:
    """Why an unpriced model cannot serve under a hard budget, with the line to add."""
    if model.is_deployment:
        return (
            f"the name of the deployment {model.model_id} does not say which model it is, so its price is unknown, and the budget is hard; "
            f"add to the registry, under {model.name}: `price_as: …` with the name of that model, such as gpt-4o"
        )
    return (
        f"its price is unknown and the budget is hard; add to the registry, under {model.name}: "
        "`usd_per_1m_input: …` and `usd_per_1m_output: …`, or `price: free`"
    )
