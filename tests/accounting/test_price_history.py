"""Prices over time: which counts at a moment, which may count within a time, factors and moves; and names with a region in them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.accounting.prices.history import PriceHistory
from paymaster.accounting.prices.names import canonical_region, split_region
from paymaster.accounting.prices.places import load_places, read_places
from paymaster.accounting.prices.price import ALWAYS, Period, Price, RequestTerms, worst_case
from paymaster.accounting.prices.rates import Rates
from paymaster.accounting.prices.supplement import load_supplement


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def price(rate: int) -> Price:
    return Price.from_registry(Rates(input=Decimal(rate), output=Decimal(rate)))


def history(*periods: tuple[datetime, int | None], elsewhere: tuple[PriceHistory, ...] = ()) -> PriceHistory:
    return PriceHistory(tuple(Period(start, None if rate is None else price(rate)) for start, rate in periods), elsewhere)


def rates(prices: tuple[Price | None, ...]) -> list[int | None]:
    return [None if found is None else int(found.table.rates(0).input) for found in prices]


MOVING = history((ALWAYS, 1), (day(10), 2), (day(20), None), (day(25), 4))


def test_the_price_of_a_moment_is_that_of_its_period() -> None:
    moments = [datetime(2020, 1, 1, tzinfo=UTC), day(9), day(10), datetime(2026, 1, 10), day(20), day(30)]  # noqa: DTZ001  # a naive time is UTC
    assert rates(tuple(MOVING.at(moment) for moment in moments)) == [1, 1, 2, 2, None, 4]
    assert history((day(5), 1)).at(day(4)) is None
    assert PriceHistory().at(day(1)) is None


@pytest.mark.parametrize(
    ("first", "last", "expected"), [(1, 2, [1]), (9, 10, [1, 2]), (12, 22, [2]), (21, 22, []), (9, 30, [1, 2, 4]), (10, 10, [2])]
)
def test_every_price_within_a_time_is_found(first: int, last: int, expected: list[int]) -> None:
    assert rates(MOVING.within(day(first), day(last))) == expected


def test_other_places_are_among_the_prices_within_a_time_only() -> None:
    unsure = history((ALWAYS, 1), elsewhere=(history((ALWAYS, 3), (day(10), 5)), history((day(20), 9))))
    assert rates(unsure.within(day(9), day(10))) == [1, 3, 5]
    assert rates((unsure.at(day(10)),)) == [1]
    assert rates(history((day(20), 1)).within(day(1), day(2))) == []


def test_a_factor_counts_from_its_day() -> None:
    doubled = MOVING.multiplied(Decimal(2), day(15), "2 x")
    assert rates(tuple(doubled.at(day(number)) for number in (1, 12, 15, 22, 25))) == [1, 2, 4, None, 8]
    assert (doubled.at(day(12)).source, doubled.at(day(15)).source) == ("registry", "registry, 2 x")
    assert rates(history((ALWAYS, 1), elsewhere=(MOVING,)).multiplied(Decimal(3)).within(day(1), day(2))) == [3, 3]


def test_a_moved_name_has_the_other_s_prices_from_its_day() -> None:
    moved = history((ALWAYS, 7), (day(18), 8)).until(day(12), MOVING)
    assert rates(tuple(moved.at(day(number)) for number in (11, 12, 19, 22, 26))) == [7, 2, 2, None, 4]
    assert rates(tuple(PriceHistory().until(day(12), MOVING).at(day(number)) for number in (11, 12))) == [None, 2]


def test_a_multiplied_price_keeps_its_fees_and_multiplies_every_tier_and_hour() -> None:
    listed = Catalogue().lookup("deepseek", "deepseek-v4-flash", day(1).replace(month=11))
    doubled = listed.plus_request(Decimal("0.5")).multiplied(Decimal(2))
    assert doubled.peak_table.rates(0).input == 2 * listed.peak_table.rates(0).input
    assert doubled.peak_table.rates(0).request == doubled.table.rates(0).request == 500_000
    tiered = Catalogue().lookup("openai", "gpt-5.4", day(1))
    changed = tiered.plus_request(Decimal(1)).multiplied(Decimal(2))
    assert [name for name, _ in changed.modes] == [name for name, _ in tiered.modes]
    for (_, table), (_, before) in zip(changed.modes, tiered.modes, strict=True):
        assert table.rates(300_000).output == 2 * before.rates(300_000).output
        assert table.rates(0).request == 1_000_000


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("azure", "azure/us/gpt-5.6", ("us", "gpt-5.6")),
        ("azure", "eu/GPT-5.6", ("eu", "GPT-5.6")),
        ("azure", "azure/global-standard/gpt-4o", ("global", "gpt-4o")),
        ("azure", "eastus2/gpt-4o", ("eastus2", "gpt-4o")),
        ("azure", "deepseek-ai/r1", (None, "deepseek-ai/r1")),
        ("aws", "us-gov.anthropic.claude-opus-5", ("us-gov", "us-gov.anthropic.claude-opus-5")),
        ("aws", "bedrock/eu-west-3/mistral.x", ("eu", "bedrock/eu-west-3/mistral.x")),
        ("aws", "bedrock/us.amazon.nova-pro-v1:0", ("us", "bedrock/us.amazon.nova-pro-v1:0")),
        ("aws", "amazon.nova-pro-v1:0", (None, "amazon.nova-pro-v1:0")),
        (
            "google",
            "projects/p/locations/us-east5/publishers/x/models/y",
            ("us-east5", "projects/p/locations/us-east5/publishers/x/models/y"),
        ),
        ("google", "gemini-2.5-pro", (None, "gemini-2.5-pro")),
        ("openai", "us/gpt-4o", (None, "us/gpt-4o")),
    ],
)
def test_a_name_may_state_its_region(provider: str, model: str, expected: tuple[str | None, str]) -> None:
    assert split_region(provider, model) == expected


@pytest.mark.parametrize(
    ("provider", "region", "expected"),
    [
        ("aws", "eu-west-1", "eu"),
        ("aws", "ap-southeast-2", "apac"),
        ("aws", "us-gov-west-1", "us-gov"),
        ("aws", " EU ", "eu"),
        ("azure", "Global-Standard", "global"),
        ("google", "us-east5", "us-east5"),
    ],
)
def test_a_region_is_put_into_the_words_of_the_price_list(provider: str, region: str, expected: str) -> None:
    assert canonical_region(provider, region) == expected


def test_every_fact_about_places_has_its_source_and_a_known_target() -> None:
    places, catalogue = load_places(), Catalogue()
    assert all(row.source.strip() for row in (*places.place, *places.model, *places.moved, *places.suffix))
    assert all(row.start.tzinfo is not None for row in (*places.place, *places.moved))
    for row in places.moved:
        assert catalogue.history(row.provider, row.to).periods, row.to
    shared = places.histories().keys() & load_supplement().histories().keys()
    assert not shared


def test_a_factor_of_a_place_may_have_a_first_day() -> None:
    row = """
version = "0"
[[place]]
provider = "p"
models = "m"
factor = "2"
from = 2026-01-10T00:00:00Z
source = "s"
"""
    (place,) = read_places(row).place
    assert place.start == day(10)
    assert [place.applies("p", region, name) for region, name in (("eu", "m-1"), ("global", "m"), ("eu", "x"))] == [True, False, False]


def test_a_router_is_held_at_the_most_that_it_may_cost() -> None:
    catalogue = Catalogue()
    router, online = (catalogue.lookup("openrouter", name, day(1)) for name in ("openrouter/auto", "anthropic/claude-sonnet-4.5:online"))
    assert router.is_bound
    assert worst_case(router, 1_000_000, 0, terms=RequestTerms(caching_possible=True)) == Decimal("12.5")
    assert worst_case(online, 0, 0) == Decimal("0.02")


def test_a_model_with_two_modes_is_held_at_the_dearer_one() -> None:
    two_modes = Catalogue().lookup("dashscope", "qwen-plus", day(1))
    assert worst_case(two_modes, 1_000_000, 1_000_000) == Decimal("1.2") + 12
    doubled = two_modes.multiplied(Decimal(2))
    assert worst_case(doubled, 1_000_000, 1_000_000) == 2 * (Decimal("1.2") + 12)


def test_an_answer_s_model_counts_if_it_says_more() -> None:
    catalogue = Catalogue()

    def input_rate(*names: str, provider: str | None = "openai", region: str | None = None) -> str | None:
        found = catalogue.answered(provider, *names, region).at(day(1))
        return None if found is None else str(found.table.rates(0).input)

    assert input_rate("gpt-4o", "gpt-4o-2024-05-13") == "5"
    assert input_rate("gpt-4o-2024-05-13", "gpt-4o") == "5"
    assert input_rate("gpt-4o", "") == "2.5"
    assert input_rate("gpt-4o", "somebody-else") == "2.5"
    assert input_rate("my-gpt-4o", "gpt-4o") == "2.5"
    assert input_rate("mine", "also-mine") is None
    assert input_rate("openai/gpt-4o", "gpt-4o-2024-05-13", provider=None) == "5"
    assert input_rate("team", "gpt-4o", provider="azure", region="eu") == "2.75"
    assert input_rate("gpt-4o", "gpt-4o" + "x" * 300) == "2.5"
    free = catalogue.answered("openrouter", "qwen/qwen3-coder:free", "qwen/qwen3-coder-480b-a35b-07-25:free")
    assert free.at(day(1)).is_free
    assert catalogue.answered("ollama", "x", "gpt-4o").at(day(1)).is_free


def test_what_is_remembered_of_names_in_answers_is_bounded() -> None:
    catalogue = Catalogue()
    for number in range(Catalogue.MOST_REMEMBERED + 10):
        catalogue.history("ollama", str(number))
    assert len(catalogue._found) <= Catalogue.MOST_REMEMBERED  # what it keeps is not seen otherwise
