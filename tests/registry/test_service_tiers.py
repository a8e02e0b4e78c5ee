"""Tiers of service in a registry: a list of them, what is refused, their time limits, the preset."""

# ruff: noqa: E501 -- a row of these tables is an input and its whole message

from __future__ import annotations

import pytest

from paymaster.registry.models import TIER_PATIENCE_MS
from paymaster.registry.presets import read_preset


def one(lines: str, provider: str = "openai") -> str:
    return f"models:\n  a:\n    provider: {provider}\n    model_id: gpt-5\n{lines}"


def params(value: str) -> str:
    return f"    params: {{service_tier: {value}, temperature: 0.2}}\n"


@pytest.mark.parametrize(
    ("provider", "value", "tiers", "standard"),
    [
        ("openai", "[flex, default]", ("flex", "default"), "default"),
        ("openai", "[flex]", ("flex",), "default"),
        ("openai", "[flex, priority, auto]", ("flex", "priority", "auto"), "default"),
        ("openai", "[flex, standard]", ("flex", "standard"), "default"),  # any word for list price is the provider's own
        ("groq", "[flex, default]", ("flex", "default"), "on_demand"),
        ("openrouter", "[flex, default]", ("flex", "default"), "default"),
        ("anthropic", "[auto, standard_only]", ("auto", "standard_only"), "standard_only"),
        ("together", "[turbo, default]", ("turbo", "default"), None),  # nothing is known of its tiers
    ],
)
def test_a_list_of_tiers_is_tried_in_turn(load, provider, value, tiers, standard):
    model = load(one(params(value), provider)).models["a"]
    assert (model.tiers, model.standard_tier) == (tiers, standard)
    assert dict(model.params) == {"temperature": 0.2}


def test_a_single_tier_stays_among_the_parameters(load):
    model = load(one(params("flex"))).models["a"]
    assert (model.tiers, model.params["service_tier"]) == ((), "flex")


def test_no_tier_is_none(load):
    assert load(one(params("null"))).models["a"].tiers == ()


@pytest.mark.parametrize(
    ("provider", "line", "expected"),
    [
        ("openai", params("[]"), "5: models.a.params.service_tier: must be the name of a tier, or a list of names (params: {service_tier: [flex, default]})"),
        ("openai", params("[flex, 7]"), "5: models.a.params.service_tier: must be the name of a tier, or a list of names (params: {service_tier: [flex, default]})"),
        ("openai", params("'flex, default'"), "5: models.a.params.service_tier: must be the name of a tier, or a list of names (params: {service_tier: [flex, default]})"),
        ("openai", params("{flex: 1}"), "5: models.a.params.service_tier: must be the name of a tier, or a list of names (params: {service_tier: [flex, default]})"),
        ("openai", params("[flx, default]"), "5: models.a.params.service_tier[0]: OpenAI has no tier 'flx' (its tiers are default, flex, priority, fast, scale, auto)"),
        ("openai", params("[flex, default, flex]"), "5: models.a.params.service_tier[2]: flex is the same tier as one before it (name each tier once)"),
        ("openai", params("[default, standard]"), "5: models.a.params.service_tier[1]: standard is the same tier as one before it (name each tier once)"),
        ("anthropic", params("[flex, default]"), "5: models.a.params.service_tier[0]: Anthropic has no tier 'flex' (its tiers are standard_only, auto)"),
        ("google", params("[flex, default]"), "5: models.a.params.service_tier: Google Gemini API takes no service_tier at this endpoint (remove service_tier)"),
        ("openai", "    params: {extra_body: {service_tier: [flex]}}\n", "5: models.a.params.extra_body.service_tier: a list of tiers belongs under params itself (params: {service_tier: [flex, default]})"),
        ("openai", "    tier_patience_s: -1\n", "5: models.a.tier_patience_s: must be a time in seconds, at least 0.001, got -1"),
    ],
)  # fmt: skip
def test_what_can_t_be_tried_in_turn_is_reported(problems, provider, line, expected):
    assert problems(one(line, provider)) == [expected]


def test_another_server_may_know_other_tiers(load):
    assert load(one(params("[turbo, default]") + "    base_url: https://gateway.example.com/v1\n")).models["a"].tiers == (
        "turbo",
        "default",
    )


@pytest.mark.parametrize(
    ("lines", "patience_ms", "first_token_ms", "total_ms"),
    [
        ("", TIER_PATIENCE_MS, 300_000, 900_000),
        ("    tier_patience_s: 5\n    flex_first_token_s: 20\n", 5_000, 20_000, 900_000),
        ("    timeouts: {first_token_s: 400}\n", TIER_PATIENCE_MS, 400_000, 900_000),
        ("    timeouts: {total_s: 60}\n", TIER_PATIENCE_MS, 60_000, 60_000),
        ("    timeouts: {total_s: 1200}\n    flex_first_token_s: 20\n", TIER_PATIENCE_MS, 20_000, 1_200_000),
    ],
)
def test_flex_has_time_limits_of_its_own(load, lines, patience_ms, first_token_ms, total_ms):
    model = load(one(params("[flex, default]") + lines)).models["a"]
    assert model.tier_patience_ms == patience_ms
    assert (model.flex_timeouts.first_token_ms, model.flex_timeouts.total_ms) == (first_token_ms, total_ms)
    assert model.timeouts.total_ms == (model.flex_timeouts.total_ms if "total_s" in lines else 600_000)


def test_the_preset_asks_flex_first_and_knows_its_price(load):
    models = load(read_preset("flex")).models
    assert {name: model.tiers for name, model in models.items()} == {
        "gpt": ("flex", "default"),
        "gpt-small": ("flex", "default"),
        "deepseek": (),
    }
    for name in ("gpt", "gpt-small"):
        price = models[name].price
        assert price.mode("flex").tiers[0].rates.input * 2 == price.table.tiers[0].rates.input
