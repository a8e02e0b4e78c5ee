"""Prices in a registry: everything that a bill knows, for a time, by hour and by tier; factors, other names and regions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.history import PriceHistory
from paymaster.accounting.prices.price import Price, cost, worst_case
from paymaster.accounting.prices.rates import METERS
from paymaster.accounting.usage.record import Usage
from paymaster.registry.model_prices import MOST_REMEMBERED, ModelPrices

if TYPE_CHECKING:
    from collections.abc import Callable

    from paymaster.registry.models import Model, Registry

BASE = "provider: openai_compatible, base_url: 'https://lab.example/v1', usd_per_1m_input: 10, usd_per_1m_output: 20"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
A_MILLION = Usage(input_tokens=1_000_000)


@pytest.fixture
def model(load: Callable[..., Registry]) -> Callable[..., Model]:
    return lambda more="", base=BASE, **options: load(f"models: {{m: {{{base}{more}}}}}", **options).models["m"]


def usd(model: Model, at: datetime = NOON, usage: Usage = A_MILLION) -> str:
    return plain(cost(usage, model.price_at(at), at).usd)


def test_each_kind_of_token_and_fee_has_a_price(model: Callable[..., Model]) -> None:
    rates = {
        "usd_per_1m_cache_read": 1, "usd_per_1m_cache_write": 2, "usd_per_1m_cache_write_1h": 3, "usd_per_1m_input_audio": 4,
        "usd_per_1m_cache_read_audio": 5, "usd_per_1m_input_image": 6, "usd_per_1m_cache_read_image": 7, "usd_per_1m_output_audio": 8,
        "usd_per_1m_output_image": 9, "usd_per_1m_input_video": 11, "usd_per_1m_output_video": 12,
        "usd_per_web_search": "0.01", "usd_per_request": "0.005",
    }  # fmt: skip
    own = model("".join(f", {key}: {rate}" for key, rate in rates.items())).price.table.rates(0)
    found = {meter: getattr(own, meter) for meter in METERS}
    assert found == {
        "input": 10, "cache_read": 1, "cache_write_5m": 2, "cache_write_1h": 3, "input_audio": 4, "cache_read_audio": 5, "input_image": 6,
        "cache_read_image": 7, "output": 20, "output_audio": 8, "output_image": 9, "input_video": 11, "output_video": 12,
        "web_search": 10_000, "request": 5_000, "search_unit": None, "audio_hour": None,
    }  # fmt: skip


def test_a_fee_for_each_request_is_on_the_bill_and_in_the_hold(model: Callable[..., Model]) -> None:
    priced = model(", usd_per_request: 0.005")
    assert usd(priced) == "10.005"
    assert plain(worst_case(priced.price, 1_000_000, 0)) == "10.005"


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        ("{price_factor: 2}", ("20", "30")),
        ("{usd_per_1m_input: 12}", ("12", "12")),
    ],
)
def test_a_service_tier_has_a_factor_or_prices_of_its_own(model: Callable[..., Model], tier: str, expected: tuple[str, str]) -> None:
    priced = model(f", tiers: [{{above_tokens: 1000000, usd_per_1m_input: 15}}], service_tiers: {{Priority: {tier}}}")
    served = [replace(A_MILLION, service_tier="priority"), Usage(input_tokens=2_000_000, service_tier="priority")]
    assert (usd(priced, usage=served[0]), plain(Decimal(usd(priced, usage=served[1])) / 2)) == expected
    assert usd(priced) == "10"


def test_peak_hours_have_a_price_of_their_own(model: Callable[..., Model]) -> None:
    priced = model(", peak: {hours: ['22:00-02:00', '12:00 - 13:00'], weekdays_only: true, days_off: [2026-11-24], price_factor: 1.5}")
    moments = ["23T11:59", "23T12:00", "23T22:00", "24T12:00", "25T01:59", "25T02:00", "28T12:00"]
    found = [usd(priced, datetime.fromisoformat(f"2026-11-{moment}:00+00:00")) for moment in moments]
    assert found == ["10", "15", "15", "10", "15", "10", "10"]
    assert priced.price.peak.days_off == {date(2026, 11, 24)}


def test_a_price_may_count_for_a_time(model: Callable[..., Model]) -> None:
    priced = model(
        ", tiers: [{above_tokens: 2000000, usd_per_1m_input: 30}], service_tiers: {fast: {price_factor: 2}}"
        ", prices: [{until_date: 2026-01-01, usd_per_1m_input: 5}, {from_date: 2027-01-01, usd_per_1m_input: 12, usd_per_1m_output: 25}"
        ", {from_date: '2027-06-01T08:00:00+02:00', until_date: 2027-07-01, usd_per_1m_input: 8, service_tiers: {}, tiers: []"
        ", peak: {hours: '00:00-24:00', price_factor: 2}}]"
    )
    days = ["2025-12-31T23:59:59", "2026-01-01T00:00:00", "2027-01-01T00:00:00", "2027-06-01T06:00:00", "2027-07-01T00:00:00"]
    assert [usd(priced, datetime.fromisoformat(f"{day}+00:00")) for day in days] == ["5", "10", "12", "16", "12"]
    assert usd(priced, NOON, replace(A_MILLION, speed="fast")) == "20"
    assert [price.table.rates(0).input for price in priced.prices_within(NOON, datetime(2027, 6, 2, tzinfo=UTC))] == [10, 12, 8]
    assert [price.table.rates(2_000_001).input for price in priced.prices_within(NOON, datetime(2027, 6, 2, tzinfo=UTC))] == [30, 30, 8]


@pytest.mark.parametrize(
    ("more", "base", "expected"),
    [
        (", price_factor: 0.9", BASE, "9"),
        (", price_factor: 2", "provider: openai, model_id: gpt-4o", "5"),
        (", price_factor: 2, region: eu", "provider: openai, model_id: gpt-5.4", "5.5"),
        (", price_as: gpt-4o", "provider: openai, model_id: team-a", "2.5"),
        (", price_as: openai/gpt-4o", "provider: openai_compatible, base_url: 'https://lab.example'", "2.5"),
        (", price_as: gpt-4o, price_factor: 2", "provider: openai_compatible, base_url: 'https://lab.example'", "5"),
    ],
)
def test_a_price_may_be_a_factor_or_that_of_another_name(more: str, base: str, expected: str, model: Callable[..., Model]) -> None:
    assert usd(model(more, base), usage=Usage(input_tokens=1_000)) == plain(Decimal(expected) / 1_000)


def test_the_model_in_an_answer_counts_only_for_published_prices(model: Callable[..., Model]) -> None:
    published = model(", price_factor: 2", "provider: openai, model_id: gpt-4o")
    inputs = [published.price_at(NOON, name).table.rates(0).input for name in (None, "gpt-4o", "gpt-4o-2024-05-13", "who-knows")]
    assert inputs == [5, 5, 10, 5]
    assert published.price_at(NOON, "gpt-4o-2024-05-13") is published.price_at(NOON, "gpt-4o-2024-05-13")  # remembered
    for stated in (model(), model(", price_as: gpt-4o", "provider: openai, model_id: x")):
        assert stated.price_at(NOON, "gpt-4o-2024-05-13") == stated.price


def test_a_name_that_price_as_does_not_find_is_a_warning(load: Callable[..., Registry]) -> None:
    registry = load("models: {m: {provider: azure, model_id: team, base_url: 'https://x.openai.azure.com', price_as: gpt-99}}")
    assert registry.models["m"].price is None
    (warning,) = registry.warnings
    assert warning.startswith("m: price_as is gpt-99, which has no known price, so a hard budget refuses it")
    assert warning.endswith("Write the name of a model that has one")


@pytest.mark.parametrize(
    ("section", "environ", "region", "origin"),
    [
        ("provider: openai, model_id: gpt-5.4", {}, "global", "provider openai"),
        ("provider: openai, model_id: gpt-5.4, base_url: 'https://eu.api.openai.com'", {}, "eu", "registry line 1"),
        ("provider: openai, model_id: gpt-5.4, base_url: 'https://eu.api.openai.com', region: us", {}, "us", "registry line 1"),
        ("provider: openai, model_id: gpt-5.4, base_url: 'https://proxy.example/v1'", {}, None, None),
        ("provider: google, base_url: 'https://aiplatform.googleapis.com/v1/projects/p/locations/us-east5/endpoints/openapi'", {},
         "us-east5", "registry line 1"),
        ("provider: google, base_url: 'https://aiplatform.googleapis.com/v1'", {}, None, None),
        ("provider: google, base_url: 'https://europe-west1-aiplatform.googleapis.com/v1'", {}, "europe-west1", "registry line 1"),
        ("provider: google, base_url: 'https://aiplatform.eu.rep.googleapis.com/v1'", {}, "eu", "registry line 1"),
        ("provider: vertex, model_id: claude-opus-5", {}, "us-central1", "provider vertex"),
        ("provider: vertex, model_id: claude-opus-5", {"VERTEXAI_LOCATION": "global"}, "global", "variable VERTEXAI_LOCATION"),
        ("provider: vertex, params: {vertex_location: us-east5}", {"VERTEXAI_LOCATION": "global"}, "us-east5", "registry line 1"),
        ("provider: bedrock, model_id: amazon.nova-pro-v1:0", {"AWS_REGION": "eu-west-1"}, "eu-west-1", "variable AWS_REGION"),
        ("provider: bedrock, params: {aws_region_name: us-gov-west-1}", {}, "us-gov-west-1", "registry line 1"),
        ("provider: bedrock, params: {aws_region_name: 5}", {}, None, None),
        ("provider: azure, base_url: 'https://x.openai.azure.com'", {}, None, None),
        ("provider: azure, base_url: 'https://x.openai.azure.us'", {}, "us-gov", "registry line 1"),
        ("provider: dashscope, base_url: 'https://dashscope.aliyuncs.com/compatible-mode/v1'", {}, "cn", "registry line 1"),
    ],
)  # fmt: skip
def test_the_region_is_what_registry_address_or_environment_say(
    load: Callable[..., Registry], section: str, environ: dict[str, str], region: str | None, origin: str | None
) -> None:
    model = load(f"models: {{m: {{{section}}}}}", environ=environ).models["m"]
    assert (model.region, model.origins.get("region")) == (region, origin)


@pytest.mark.parametrize(
    ("section", "usage_api", "base_url"),
    [
        ("openrouter, base_url: 'https://eu.openrouter.ai'", "openrouter.chat", "https://eu.openrouter.ai/api/v1"),
        ("openai, base_url: 'https://eu.api.openai.com'", "openai.chat", "https://eu.api.openai.com/v1"),
        ("google, base_url: 'https://aiplatform.googleapis.com/v1/x'", "google.chat", "https://aiplatform.googleapis.com/v1/x"),
        ("openrouter, base_url: 'https://openrouter.ai.example'", "openai.chat", "https://openrouter.ai.example/v1"),
    ],
)
def test_a_provider_s_other_hosts_are_the_same_provider(load: Callable[..., Registry], section: str, usage_api: str, base_url: str) -> None:
    model = load(f"models: {{m: {{provider: {section}}}}}").models["m"]
    assert (model.usage_api, model.base_url) == (usage_api, base_url)
    assert (model.bill_path is not None) == (usage_api == "openrouter.chat")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (", usd_per_request: -1", "m.usd_per_request: must be a fee in dollars, 0 or more, got -1"),
        (", price_factor: 0", "m.price_factor: must be a factor above 0, got 0"),
        (", service_tiers: {priority: {}}", "m.service_tiers.priority: must have either price_factor or prices (price_factor: 2)"),
        (", service_tiers: {priority: {price_factor: 2, usd_per_1m_input: 1}}",
         "m.service_tiers.priority: must have either price_factor or prices (price_factor: 2)"),
        (", service_tiers: {default: {price_factor: 2}}", "m.service_tiers.default: this tier has the model's own price: remove it here"),
        (", service_tiers: {priority: {price_facto: 2}}", "m.service_tiers.priority.price_facto: unknown key (did you mean price_factor?)"),
        (", service_tiers: {fast: {usd_per_1k_input: 1, usd_per_1m_input: 1}}",
         "m.service_tiers.fast.usd_per_1k_input: usd_per_1k_input and usd_per_1m_input give the same price: keep only one"),
        (", peak: {hours: '25:00-26:00', price_factor: 2}", "m.peak.hours: must be hours like 01:00-04:00, got '25:00-26:00'"),
        (", peak: {hours: noon, price_factor: 2}", "m.peak.hours: must be hours like 01:00-04:00, got 'noon'"),
        (", peak: {hours: '01:00-02:00', days_off: soon, price_factor: 2}",
         "m.peak.days_off: must be a day like 2027-01-01 or a moment like 2027-01-01T08:00:00Z, got 'soon'"),
        (", peak: {price_factor: 2}", "m.peak.hours: this key is required"),
        (", prices: [{usd_per_1m_input: 1}]", "m.prices[0]: must have a date: from_date, until_date or both (from_date: 2027-01-01)"),
        (", prices: [{from_date: 2027-02-01, until_date: 2027-01-01}]", "m.prices[0]: ends on 2027-01-01, before it starts on 2027-02-01"),
        (", prices: [{from_date: 5}]",
         "m.prices[0].from_date: must be a day like 2027-01-01 or a moment like 2027-01-01T08:00:00Z, got 5"),
        (", prices: [{from_date: 2027-02-01, tiers: [{above_tokens: 5}, {above_tokens: 3}]}]",
         "m.prices[0].tiers[1].above_tokens: must start above 6 prompt tokens, where the prices before it start"),
        (", price_as: gpt-4o", "m.price_as: the model has a price of its own: remove one of the two"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_price_is_reported(problems: Callable[..., list[str]], more: str, problem: str) -> None:
    assert problems(f"models: {{m: {{{BASE}{more}}}}}") == [f"1: models.{problem}"]


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("price: free, price_as: gpt-4o", "m.price: a free model can't have another price: remove one of the two"),
        ("price: free, price_factor: 2", "m.price: a free model can't have another price: remove one of the two"),
        ("usd_per_request: 1", "m: the price is incomplete: usd_per_1m_input is missing (usd_per_1m_input: 0 if it costs nothing)"),
        ("prices: [{from_date: 2027-01-01}]", "m.prices: prices need a base price too: usd_per_1m_input and usd_per_1m_output"),
        ("peak: {hours: '01:00-02:00', price_factor: 2}",
         "m.peak: peak needs a base price too: usd_per_1m_input and usd_per_1m_output"),
    ],
)  # fmt: skip
def test_a_price_must_be_whole(problems: Callable[..., list[str]], section: str, problem: str) -> None:
    assert problems(f"models: {{m: {{provider: openai, {section}}}}}") == [f"1: models.{problem}"]


def test_a_price_that_writes_to_the_cache_unasked_does_so_at_any_time(model: Callable[..., Model]) -> None:
    unasked = BASE.replace("openai_compatible", "openai") + ", model_id: gpt-6-sol"
    own = model(", prices: [{from_date: 2027-01-01, usd_per_1m_input: 1}]", unasked)
    assert all(price.writes_cache_unasked for price in own.prices_within(NOON, datetime(2027, 2, 1, tzinfo=UTC)))
    free = model("", "provider: openai, model_id: gpt-6-sol, price: free")
    assert not free.price.writes_cache_unasked


def test_what_is_remembered_of_names_in_answers_is_bounded(model: Callable[..., Model]) -> None:
    prices = model("", "provider: openai, model_id: gpt-4o").prices
    for number in range(MOST_REMEMBERED + 10):
        assert prices.at(NOON, f"{number}" * 200) == prices.at(NOON)
    assert 0 < len(prices._answered) <= MOST_REMEMBERED  # what it keeps is not seen otherwise
    assert max(map(len, prices._answered)) <= 300


def test_prices_without_a_source_ignore_the_model_in_an_answer() -> None:
    prices = ModelPrices(PriceHistory.of(Price.free("x")))
    assert prices.at(NOON, "gpt-4o").is_free
    assert prices.within(NOON, NOON) == (prices.at(NOON),)
