"""A pass of another model has the registry's price for it, else the published one."""

from datetime import UTC, datetime

import pytest

from call_box import model, price, registry
from paymaster.accounting.prices.price import Price
from paymaster.routing.passes import no_published_price, price_of_pass

AT = datetime(2026, 11, 20, tzinfo=UTC)
ASKED = model("asked", provider="anthropic", model_id="claude-sonnet-4-6", price=price("3", "15"))
ADVISOR = model("advisor", provider="anthropic", model_id="claude-opus-4-8", price=price("4", "20"))
UNPRICED = model("unpriced", provider="anthropic", model_id="claude-fable-5", price=None)
ELSEWHERE = model("elsewhere", provider="openrouter", model_id="claude-haiku-4-5", price=price("7", "7"))
REGISTRY = registry(ASKED, ADVISOR, UNPRICED, ELSEWHERE)
PUBLISHED = price("1", "2")


def published(provider: str | None, model_id: str, at: datetime, region: str | None) -> Price | None:
    assert (provider, at, region) == ("anthropic", AT, None)
    return PUBLISHED if model_id.startswith("claude") else None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("claude-sonnet-4-6", ASKED.price),
        ("claude-sonnet-4-6-20260101", ASKED.price),
        ("claude-opus-4-8", ADVISOR.price),
        ("claude-fable-5", PUBLISHED),
        ("claude-haiku-4-5", PUBLISHED),
        ("other", None),
    ],
)
def test_the_registry_s_price_at_the_same_provider_comes_first(name: str, found: Price | None) -> None:
    assert price_of_pass(REGISTRY, ASKED, AT, published)(name) == found


def test_a_program_may_know_no_published_price() -> None:
    assert price_of_pass(REGISTRY, ASKED, AT, no_published_price)("claude-haiku-4-5") is None
