"""Price data from a network is read as a whole or refused, in little time whatever it has."""

import json
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices.data import providers as shipped
from genai_prices.types import ModelPrice, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from paymaster.accounting.prices.catalogue import Catalogue, PriceData, with_later
from paymaster.accounting.prices.price import ALWAYS, Period, Price
from paymaster.accounting.prices.published import PriceDataInvalid, read_published, write_published

RATES = {"input_mtok": 1, "output_mtok": 2.5}


def data(*models: dict[str, object], **provider: object) -> str:
    return json.dumps([{"id": "openai", "name": "OpenAI", "models": list(models), **provider}])


def model(name: str = "m-1", prices: object = RATES, **more: object) -> dict[str, object]:
    return {"id": name, "match": {"equals": name}, "prices": prices, **more}


def test_the_shipped_data_is_written_and_read_without_loss() -> None:
    text = write_published(shipped)
    read = read_published(text)
    assert write_published(read) == text
    assert [(provider.id, len(provider.models)) for provider in read] == [(provider.id, len(provider.models)) for provider in shipped]
    assert json.loads(text)[0]["models"][0]["id"] == shipped[0].models[0].id


def test_every_shipped_price_is_the_same_after_an_update() -> None:
    read = Catalogue(lambda: PriceData(read_published(write_published(shipped)), "copy"))
    own, at = Catalogue(), datetime(2026, 11, 30, tzinfo=UTC)
    for provider in shipped[:12]:
        for entry in provider.models[:20]:
            known, copied = own.lookup(provider.id, entry.id, at), read.lookup(provider.id, entry.id, at)
            assert (None if known is None else (known.table, known.modes)) == (None if copied is None else (copied.table, copied.modes))


def test_every_part_of_a_model_is_read() -> None:
    text = data(
        model(
            prices=[
                {"prices": RATES},
                {"constraint": {"start_date": "2027-01-01"}, "prices": {"input_mtok": {"base": 1, "tiers": [{"start": 9, "price": 2}]}}},
                {"constraint": {"start_time": "01:00:00Z", "end_time": "04:00:00Z"}, "prices": RATES},
            ],
            price_variants=[{"when": {"speed": "fast"}, "prices": {"input_mtok": 0.1, "_hidden": 3}, "constraint": None}],
            match={"or": [{"contains": "m"}, {"and": [{"starts_with": "m"}, {"ends_with": "1"}, {"regex": "^m-(?:\\d+)?$"}]}]},
            context_window=1000,
            deprecated=True,
            name="Model 1",
            price_comments="ignored",
        ),
        model_match={"starts_with": "m"},
        fallback_model_providers=["google"],
        extractors=[{"anything": 1}],
    )
    (provider,) = read_published(text)
    (entry,) = provider.models
    assert entry.context_window == 1000
    assert entry.is_match("m-1")
    first, second, third = entry.prices
    assert first.prices == ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal("2.5"))
    assert isinstance(second.constraint, StartDateConstraint)
    assert isinstance(second.prices.input_mtok, TieredPrices)
    assert isinstance(third.constraint, TimeOfDateConstraint)
    assert entry.price_variants[0].prices == ModelPrice(input_mtok=Decimal("0.1"))
    assert read_published(write_published([provider])) == [provider]


MISTAKES = [
    ("", "not JSON"),
    ('[{"id": "openai", "models": [{"id"', "not JSON"),
    (b"\xff\xfe\x00", "not JSON"),
    ("[" * 100_000, "nested too deeply"),
    ("{}", "must be a list"),
    ("[]", "no model"),
    (data(), "no model"),
    ("[3]", "must be a map"),
    ('[{"id": "p", "models": 3}]', "must be a list"),
    ('[{"id": "", "models": []}]', "must be a text"),
    (data(model()).replace('"m-1"', "7"), "must be a text"),
    (data(model("x" * 301)), "must be a text"),
    (data(model(prices={"input_mtok": -1})), "between 0 and"),
    (data(model(prices={"input_mtok": "1.5"})), "must be a number"),
    (data(model(prices={"input_mtok": True})), "must be a number"),
    (data(model(prices={"input_mtok": 10**9})), "between 0 and"),
    (data(model(prices={"input_mtok": 1})).replace(": 1}", ": 1e-400000000}"), "digits after the point"),
    (data(model(prices={"input_mtok": 1})).replace(": 1}", ": 1e999999999}"), "between 0 and"),
    (data(model(prices={"input_mtok": float("nan")})), "NaN"),
    (data(model(prices={"input_mtok": float("inf")})), "Infinity"),
    (data(model(prices={"input_mtok": 1})).replace(": 1}", f": {'9' * 5000}}}"), "not JSON"),
    (data(model(prices="free")), "must be a map"),
    (data(model(prices=[])), "empty list"),
    (data(model(prices=[{"prices": RATES}] * 1001)), "more than 1,000"),
    (data(model(prices={"input_mtok": {"base": 1}})), "must be a list"),
    (data(model(prices={"input_mtok": {"base": 1, "tiers": [{"start": -1, "price": 1}]}})), "whole number"),
    (data(model(prices={"input_mtok": {"base": 1, "tiers": [{"start": 1.5, "price": 1}]}})), "whole number"),
    (data(model(prices=[{"prices": RATES, "constraint": {"start_date": "soon"}}])), "start_date"),
    (data(model(prices=[{"prices": RATES, "constraint": {}}])), "start_time"),
    (data(model(price_variants=[{"when": {}, "prices": RATES}])), "when is empty"),
    (data(model(context_window=-5)), "whole number"),
    (data(model(match={"sounds_like": "m"})), "none of"),
    (data(model(match={"or": [{"or": [{"or": [{"or": [{"or": [{"or": []}]}]}]}]}]})), "nested too deeply"),
    (data(model(match={"regex": "(a+)+$"})), "too long"),
    (data(model(match={"regex": "(a|a)*$"})), "too long"),
    (data(model(match={"regex": "(ab){2,30}$"})), "too long"),
    (data(model(match={"regex": "a?" * 30 + "a" * 30})), "too long"),
    (data(model(match={"regex": ".*.*.*.*a"})), "too long"),
    (data(model(match={"regex": "a{1,9}" * 9})), "too long"),
    (data(model(match={"regex": r"(.)\1"})), "too long"),
    (data(model(match={"regex": "["})), "not a regular expression"),
    (json.dumps([{"id": "p", "models": [model()]}, {"id": "p", "models": []}]), "twice"),
]


@pytest.mark.parametrize(("text", "reason"), MISTAKES, ids=[f"{number}-{reason}" for number, (_, reason) in enumerate(MISTAKES)])
def test_data_with_a_mistake_is_refused_at_once(text: str | bytes, reason: str) -> None:
    began = time.perf_counter()
    with pytest.raises(PriceDataInvalid, match=reason):
        read_published(text)
    assert time.perf_counter() - began < 5


def test_too_many_models_are_refused() -> None:
    rows = json.dumps([model(f"m-{number}") for number in range(30_000)])
    with pytest.raises(PriceDataInvalid, match="more than 50,000 models"):
        read_published(f'[{{"id": "a", "models": {rows}}}, {{"id": "b", "models": {rows}}}]')


def test_a_mistake_is_reported_with_its_place() -> None:
    with pytest.raises(PriceDataInvalid, match=r"openai m-2: prices\.output_mtok must be between 0 and 1,000,000, and is -2"):
        read_published(data(model(), model("m-2", {"input_mtok": 1, "output_mtok": -2})))


def test_our_own_history_goes_on_with_prices_that_start_after_it_was_written() -> None:
    days = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 6, 9, 12)]
    ours = (Period(ALWAYS, Price.free("ours")), Period(days[3], None))
    published = (Period(ALWAYS, Price.free("old")), Period(days[0], Price.free("old")), Period(days[2], Price.free("new")))
    merged = with_later(ours, published, days[1])
    assert [(period.start, None if period.price is None else period.price.source) for period in merged] == [
        (ALWAYS, "ours"),
        (days[2], "new"),
        (days[3], None),
    ]


def test_a_catalogue_lists_its_models_and_their_prices_by_geography() -> None:
    catalogue = Catalogue()
    assert ("openai", "gpt-4o") in catalogue.names()
    for _ in range(2):
        (us, world) = (catalogue.history("bedrock", "anthropic.claude-opus-5-5", region).periods for region in ("us", "global"))
        assert [period.price.table.rates(0).input for period in (us[-1], world[-1]) if period.price] == [Decimal("4.4"), Decimal(4)]
