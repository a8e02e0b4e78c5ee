"""New prices that nobody should believe unseen are held back, and everything else is taken."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from genai_prices.data import providers as shipped
from genai_prices.types import (
    ClauseContains,
    ClauseEquals,
    ClauseOr,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from paymaster.accounting.prices.comparing import Comparison, compare

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


def rates(**usd: object) -> ModelPrice:
    return ModelPrice(**{f"{key}_mtok": value if isinstance(value, TieredPrices) else Decimal(str(value)) for key, value in usd.items()})


def tiered(base: int, above: int) -> TieredPrices:
    return TieredPrices(base=Decimal(base), tiers=[Tier(200_000, Decimal(above))])


def entry(name: str = "m", prices: object = None, **more: object) -> ModelInfo:
    return ModelInfo(id=name, match=more.pop("match", ClauseEquals(name)), prices=prices or rates(input=1, output=4), **more)


def sold(*models: ModelInfo, name: str = "p") -> Provider:
    return Provider(id=name, name=name, api_pattern="", models=list(models))


def from_day(day: str, prices: ModelPrice) -> ConditionalPrice:
    return ConditionalPrice(StartDateConstraint(date.fromisoformat(day)), prices=prices)


def of(used: object, new: object) -> Comparison:
    return compare([sold(entry(prices=used))], [sold(entry(prices=new))], AT)


ONE_FOUR = rates(input=1, output=4)
MOVES = [
    # in use, new, kind
    (ONE_FOUR, rates(input=10, output=40), None),
    (ONE_FOUR, rates(input="10.01", output=4), "moved"),
    (ONE_FOUR, rates(input="0.1", output="0.4"), None),
    (ONE_FOUR, rates(input=1, output="0.39"), "moved"),
    (ONE_FOUR, rates(input=1, output=4, cache_read="0.2"), None),
    (ONE_FOUR, rates(input=1, output=4, cache_read="0.09"), "moved"),  # a cache read without a price costs what input costs
    (ONE_FOUR, rates(input=0, output=0), "moved"),
    (rates(input=0, output=0), ONE_FOUR, "moved"),
    (rates(input=1), rates(input=1, output=0), "moved"),  # output without a price costs what input costs
    (rates(input=tiered(1, 2), output=4), rates(input=tiered(1, 4), output=4), None),
    (rates(input=tiered(1, 2), output=4), rates(input=tiered(1, 40), output=4), "moved"),
    (rates(input=1, output=4), rates(input=tiered(1, 40), output=4), "moved"),
    ([from_day("2026-01-01", ONE_FOUR), from_day("2026-10-01", ONE_FOUR)], [from_day("2026-01-01", ONE_FOUR)], "older"),
    ([from_day("2026-10-01", ONE_FOUR)], ONE_FOUR, "older"),
    (ONE_FOUR, [from_day("2026-10-01", rates(input=2, output=4))], None),
    ([from_day("2026-10-01", ONE_FOUR)], [from_day("2026-10-01", ONE_FOUR), from_day("2026-11-01", rates(input=2, output=5))], None),
    (ONE_FOUR, [ConditionalPrice(prices=ONE_FOUR), from_day("2027-01-01", rates(input=99, output=4))], "moved"),
    (ONE_FOUR, [ConditionalPrice(prices=rates(input=99, output=4)), from_day("2026-11-01", ONE_FOUR)], "moved"),
    ([ConditionalPrice(prices=ONE_FOUR), from_day("2027-01-01", rates(input=2, output=4))], ONE_FOUR, None),
    (ONE_FOUR, ModelPrice(output_image_mtok=Decimal(1)), "unpriced"),
    (ModelPrice(output_image_mtok=Decimal(1)), ModelPrice(output_image_mtok=Decimal(100)), None),
    (
        [ConditionalPrice(prices=rates(input=1, output=4)), from_day("2026-12-01", ModelPrice(output_image_mtok=Decimal(1)))],
        [ConditionalPrice(prices=rates(input=1, output=4)), from_day("2026-12-01", rates(input=99, output=4))],
        None,
    ),
    (ONE_FOUR, ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(4), web_searches_kcount=Decimal(10)), None),
    (ONE_FOUR, ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(4), requests_kcount=Decimal(10)), "moved"),
]


@pytest.mark.parametrize(("used", "new", "kind"), MOVES)
def test_a_price_that_moves_more_than_tenfold_is_held_back(used: object, new: object, kind: str | None) -> None:
    compared = of(used, new)
    assert [row.kind for row in compared.held_back] == ([] if kind is None else [kind])
    assert compared.providers[0].models[0].prices == (new if kind is None else used)
    assert (compared.changed, compared.unchanged) == ((1, 0) if kind is None and used != new else (0, 0))
    assert bool(compared.signs_of_age) == (kind == "older")


def test_a_tier_of_service_is_compared_too() -> None:
    def with_batch(usd: str) -> Provider:
        return sold(entry(price_variants=[PriceVariant(when={"processing": "batch"}, prices=rates(input=usd))]))

    assert of(ONE_FOUR, ONE_FOUR).unchanged == 1
    assert not compare([with_batch("0.5")], [with_batch("0.6")], AT).held_back
    (held,) = compare([with_batch("0.5")], [with_batch("50")], AT).held_back
    assert held.detail == "batch: input_mtok $0.5 became $50"
    # Without a price of its own, a tier costs the list price: from 0.01 to 1.
    (gone,) = compare([with_batch("0.01")], [sold(entry())], AT).held_back
    assert gone.kind == "moved"


def test_a_model_that_vanishes_stays() -> None:
    compared = compare([sold(entry("a"), entry("b"))], [sold(entry("b"), entry("c"))], AT)
    assert [(row.model, row.kind) for row in compared.held_back] == [("a", "vanished")]
    assert [model.id for model in compared.providers[0].models] == ["b", "c", "a"]
    assert (compared.added, compared.changed, compared.unchanged) == (1, 0, 1)


def test_a_provider_that_vanishes_stays_if_it_has_prices() -> None:
    unpriced = sold(entry(prices=ModelPrice(output_image_mtok=Decimal(1))), name="speech")
    compared = compare([sold(entry()), sold(entry(), name="q"), unpriced], [sold(entry())], AT)
    assert [(row.provider, row.kind) for row in compared.held_back] == [("q", "vanished")]
    assert sorted(provider.id for provider in compared.providers) == ["p", "q"]


def test_only_a_copy_of_most_models_can_be_an_old_one() -> None:
    dated = entry("a", [from_day("2026-10-01", ONE_FOUR)])
    assert compare([sold(dated, entry("b"))], [sold(entry("a"), entry("b"))], AT).signs_of_age
    few = compare([sold(dated, entry("b"), entry("c"))], [sold(entry("a"))], AT)
    assert [row.kind for row in few.held_back] == ["older", "vanished", "vanished"]
    assert not few.signs_of_age


def test_a_seller_that_loses_the_prices_of_a_maker_keeps_them() -> None:
    def seller(*makers: str, match: object = None) -> Provider:
        return Provider(
            id="p", name="p", api_pattern="", model_match=match, fallback_model_providers=list(makers) or None, models=[entry()]
        )

    match = ClauseContains("m")
    compared = compare([seller("openai", "meta", match=match)], [seller("meta")], AT)
    assert [(row.model, row.kind) for row in compared.held_back] == [("models of openai", "vanished")]
    assert compared.providers[0].fallback_model_providers == ["meta", "openai"]
    assert compared.providers[0].model_match == match
    assert (compared.changed, compared.unchanged) == (0, 1)
    assert not compare([seller("meta")], [seller("meta", "openai")], AT).held_back
    gone = compare([seller("openai")], [sold(entry(), name="q")], AT)
    assert [row.model for row in gone.held_back] == ["models of openai", "m"]


def test_a_price_by_the_hour_is_not_compared() -> None:
    hours = TimeOfDateConstraint(datetime(1, 1, 1, 1).time(), datetime(1, 1, 1, 4).time())  # noqa: DTZ001  hours of any day
    by_hour = [ConditionalPrice(prices=ONE_FOUR), ConditionalPrice(hours, prices=rates(input=99, output=99))]
    assert not of(by_hour, rates(input=99, output=99)).held_back


def test_a_new_entry_that_takes_over_the_name_of_another_is_noticed() -> None:
    used = sold(entry("gpt-4o", match=ClauseOr([ClauseEquals("gpt-4o"), ClauseEquals("gpt-4o-new")])), entry("other"))
    taken = sold(entry("sneaky", rates(input=99, output=99), match=ClauseEquals("gpt-4o-new")), *used.models)
    compared = compare([used], [taken], AT)
    assert [(row.model, row.kind) for row in compared.held_back] == [("gpt-4o", "moved")]
    assert [model.id for model in compared.providers[0].models] == ["gpt-4o", "other", "sneaky"]


def test_a_name_that_vanishes_keeps_its_price_and_the_others_get_the_new_one() -> None:
    used = sold(entry("a", match=ClauseOr([ClauseEquals("a"), ClauseEquals("a-latest")])))
    compared = compare([used], [sold(entry("a", rates(input=2, output=5)))], AT)
    assert [row.kind for row in compared.held_back] == ["vanished"]
    assert [model.prices for model in compared.providers[0].models] == [rates(input=2, output=5), ONE_FOUR]


def test_a_held_back_entry_keeps_its_names() -> None:
    used = sold(entry("gpt-4o", match=ClauseStartsWith("gpt-4o")))
    taken = sold(entry("gpt-4o", rates(input=99, output=99), match=ClauseContains("gpt-4o")), entry("n"))
    compared = compare([used], [taken], AT)
    assert compared.providers[0].models[0].prices == ONE_FOUR
    assert [model.id for model in compared.providers[0].models] == ["gpt-4o", "n"]


def test_a_name_that_moves_to_an_entry_of_the_same_price_is_no_move() -> None:
    used = sold(entry("a", match=ClauseOr([ClauseEquals("a"), ClauseEquals("a-latest")])))
    moved = sold(entry("a"), entry("a-2", match=ClauseOr([ClauseEquals("a-2"), ClauseEquals("a-latest")])))
    assert not compare([used], [moved], AT).held_back


def test_the_shipped_data_is_the_same_as_itself() -> None:
    compared = compare(shipped, shipped, AT)
    assert not compared.held_back
    assert (compared.added, compared.changed) == (0, 0)
    assert compared.unchanged == sum(len(provider.models) for provider in shipped)


def test_a_name_that_an_entry_matches_by_accident_is_not_its_name() -> None:
    used = sold(entry("m", match=ClauseStartsWith("m")), entry("m-max", rates(input=50, output=50)))
    assert not compare([used], [sold(*reversed(used.models))], AT).held_back


CHEAP = rates(input="0.01", output="0.01")


@pytest.mark.parametrize(
    ("used", "new", "name"),
    [
        ([entry("m")], [entry("m-2026-01-01", CHEAP), entry("m")], "m-2026-01-01"),
        (
            [entry("m", match=ClauseStartsWith("m"))],
            [entry("n", CHEAP, match=ClauseContains("m")), entry("m", match=ClauseStartsWith("m"))],
            "m",
        ),
        (
            [entry("m"), entry("n", CHEAP)],
            [
                entry("n", CHEAP, match=ClauseOr([ClauseEquals("n"), ClauseEquals("m")])),
                entry("m", match=ClauseOr([ClauseEquals("m"), ClauseEquals("m-2026-01-01")])),
            ],
            "m",
        ),
        ([entry("m")], [entry("m", CHEAP), entry("m")], "m"),
    ],
    ids=["a snapshot", "another entry", "an entry in use", "the id twice"],
)
def test_a_name_is_not_taken_from_a_model_that_is_held_back(used: list[ModelInfo], new: list[ModelInfo], name: str) -> None:
    used[0] = ModelInfo(id="m", match=ClauseOr([ClauseEquals("m"), ClauseEquals("m-2026-01-01")]), prices=ONE_FOUR)
    compared = compare([sold(*used)], [sold(*new)], AT)
    assert [(row.model, row.kind) for row in compared.held_back] == [("m", "moved")]
    assert next(model for model in compared.providers[0].models if model.is_match(name)).prices == ONE_FOUR


@pytest.mark.parametrize(
    ("prices", "kinds"), [(CHEAP, ["moved"]), (rates(input=2, output=5), []), (ModelPrice(output_image_mtok=Decimal(1)), ["unpriced"])]
)
def test_an_own_price_of_a_maker_s_model_may_not_be_far_from_the_maker_s(prices: ModelPrice, kinds: list[str]) -> None:
    def data(*own: ModelInfo) -> list[Provider]:
        seller = sold(entry("own"), *own, name="seller")
        seller.fallback_model_providers = ["unknown", "maker"]
        return [seller, sold(entry("m"), entry("n", ModelPrice(output_image_mtok=Decimal(1))), name="maker")]

    compared = compare(data(), data(entry("m", prices), entry("n", CHEAP), entry("new", CHEAP)), AT)
    assert [(row.provider, row.model, row.kind) for row in compared.held_back] == [("seller", "m", kind) for kind in kinds]
    taken = [model.id for model in compared.providers[0].models]
    assert taken == ["own", *([] if kinds else ["m"]), "n", "new"]
    assert compared.added == len(taken) - 1


def test_a_new_provider_does_not_become_the_maker_of_known_models() -> None:
    compared = compare([sold(entry(), name="maker")], [sold(entry(prices=CHEAP), name="new"), sold(entry(), name="maker")], AT)
    assert [provider.id for provider in compared.providers] == ["maker", "new"]
