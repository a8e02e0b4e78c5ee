"""A pass of another model has the registry's price for it, else that of the catalogue which completed the registry."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from call_box import model, price, registry
from paymaster.accounting.prices.catalogue import Catalogue, PriceData
from paymaster.accounting.prices.history import PriceHistory
from paymaster.accounting.prices.published import read_published
from paymaster.registry.model_prices import ModelPrices
from paymaster.routing.passes import price_of_pass
from price_servers import prices

AT = datetime(2026, 11, 20, tzinfo=UTC)
CATALOGUE = Catalogue(
    lambda: PriceData(read_published(prices(("novel-1", 1), ("novel-1-2026-10-01", 5), ("other-2", 7), provider="anthropic")), "test")
)
ASKED = model("asked", provider="anthropic", model_id="claude-sonnet-4-6", price=price("3", "15"))
ADVISOR = model("advisor", provider="anthropic", model_id="claude-opus-4-8", price=price("4", "20"))
SNAPSHOT = model("snapshot", provider="anthropic", model_id="claude-opus-4-8-20260401", price=price("6", "20"))
PUBLISHED = model(
    "published",
    provider="anthropic",
    model_id="novel-1",
    prices=ModelPrices(CATALOGUE.history("anthropic", "novel-1"), CATALOGUE, "anthropic", "novel-1"),
)
UNPRICED = model("unpriced", provider="anthropic", model_id="other-2", price=None)
ELSEWHERE = model("elsewhere", provider="openrouter", model_id="other-3", price=price("9", "9"))
REGISTRY = replace(registry(ASKED, ADVISOR, SNAPSHOT, PUBLISHED, UNPRICED, ELSEWHERE), published=CATALOGUE)


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        ("claude-sonnet-4-6", 3),
        ("claude-sonnet-4-6-20260101", 3),
        ("claude-opus-4-8", 4),
        ("claude-opus-4-8-20260401", 6),
        ("novel-1", 1),
        ("novel-1-2026-10-01", 5),  # the catalogue knows the snapshot, and the registry states no price of its own
        ("other-2", 7),
        ("other-3", None),
    ],
)
def test_the_registry_s_price_at_the_same_provider_comes_first(name: str, usd: int | None) -> None:
    found = price_of_pass(REGISTRY, ASKED, AT)(name)
    assert (None if found is None else found.table.tiers[0].rates.input) == usd


def test_a_price_of_the_catalogue_has_the_asked_model_s_factor() -> None:
    asked = replace(ASKED, prices=ModelPrices(PriceHistory.of(price("3", "15")), factor=Decimal(2)))
    found = price_of_pass(REGISTRY, asked, AT)("other-2")
    assert found is not None
    assert found.table.tiers[0].rates.input == 14


@pytest.mark.parametrize(
    ("model_id", "region", "usd"),
    [
        ("us-gov.anthropic.claude-sonnet-5", None, "6"),
        ("anthropic.claude-sonnet-5", "us-gov-west-1", "6"),
        ("global.anthropic.claude-sonnet-5", "us-east-1", "5"),
        ("anthropic.claude-sonnet-5", "us-east-1", "5.5"),
    ],
)
def test_a_pass_is_made_where_the_asked_model_is_served(model_id: str, region: str | None, usd: str) -> None:
    asked = model("asked", provider="bedrock", model_id=model_id, region=region)
    found = price_of_pass(replace(registry(asked), published=Catalogue()), asked, AT)("claude-opus-5")
    assert found is not None
    assert found.table.tiers[0].rates.input == Decimal(usd)


def test_a_registry_without_a_catalogue_has_its_own_prices_only() -> None:
    assert price_of_pass(replace(REGISTRY, published=None), ASKED, AT)("other-2") is None


def test_an_endpoint_of_a_model_has_its_own_price() -> None:
    places = (
        replace(ELSEWHERE, name="two", endpoint="a"),
        model("two", provider="anthropic", model_id="claude-opus-5", price=price("8", "9"), endpoint="b"),
    )
    entries = replace(registry(ASKED, replace(places[0], endpoint="", endpoints=places)), published=CATALOGUE)
    found = price_of_pass(entries, ASKED, AT)("claude-opus-5")
    assert found is not None
    assert found.table.tiers[0].rates.input == 8
