"""Embedding models in a registry, and the values that are filled in for them."""

from __future__ import annotations

import pytest


def test_public_embedding_models_are_known_with_their_prices(load):
    names = {
        "small": ("openai", "text-embedding-3-small", "0.02"),
        "large": ("openai", "text-embedding-3-large", "0.13"),
        "ada": ("openai", "text-embedding-ada-002", "0.1"),
        "azure": ("azure", "text-embedding-3-small", "0.02"),
        "cohere": ("cohere", "embed-v4.0", "0.12"),
        "cohere3": ("cohere", "embed-english-v3.0", "0.1"),
        "mistral": ("mistral", "mistral-embed", "0.1"),
        "gemini": ("google", "gemini-embedding-001", "0.15"),
        "titan": ("bedrock", "amazon.titan-embed-text-v2:0", "0.02"),
    }
    rows = [
        f"  {name}: {{provider: {provider}, model_id: '{model_id}'{', base_url: https://x.openai.azure.com' * (provider == 'azure')}}}"
        for name, (provider, model_id, _) in names.items()
    ]
    models = load("default: small\nmodels:\n" + "\n".join(rows)).models
    for name, (_, model_id, usd) in names.items():
        model = models[name]
        assert (model.embeds, model.vector_space) == (True, model_id.rpartition("/")[2]), name
        assert "embeddings" in model.capabilities
        assert model.max_output_tokens is None
        assert format(model.price.table.tiers[0].rates.input.normalize(), "f") == usd, name
    assert (models["small"].max_inputs, models["small"].max_inputs_tokens, models["small"].max_input_tokens) == (2_048, 300_000, 8_191)
    assert (models["cohere"].max_inputs, models["mistral"].max_inputs) == (96, None)


@pytest.mark.parametrize(
    ("text", "embeds"),
    [
        ("provider: openai, model_id: gpt-4o", False),
        ("provider: openai_compatible, base_url: 'http://127.0.0.1:1', model_id: own", None),
        ("provider: openai_compatible, base_url: 'http://127.0.0.1:1', model_id: own, capabilities: [embeddings]", True),
        ("provider: openai_compatible, base_url: 'http://127.0.0.1:1', model_id: own, capabilities: embedding", True),
        ("provider: openai_compatible, base_url: 'http://127.0.0.1:1', model_id: own, capabilities: [vision]", False),
        ("provider: openai, model_id: text-embedding-3-small, capabilities: []", True),
    ],
)
def test_the_registry_or_the_model_data_decides_whether_a_model_embeds(load, text, embeds):
    assert load(f"models: {{a: {{{text}}}}}").models["a"].embeds is embeds


def test_models_with_different_names_can_share_a_vector_space(load):
    models = load(
        "default: a\nmodels:\n"
        "  a: {provider: openai, model_id: text-embedding-3-small}\n"
        "  b: {provider: azure, base_url: 'https://x.openai.azure.com', model_id: mine, vector_space: text-embedding-3-small}\n"
        "  c: {provider: openrouter, model_id: openai/text-embedding-3-small, capabilities: [embeddings]}\n"
    ).models
    assert {model.vector_space for model in models.values()} == {"text-embedding-3-small"}


def test_input_limits_hold_only_for_the_providers_own_endpoint(load):
    model = load("models: {a: {provider: openai, model_id: text-embedding-3-small, base_url: 'http://127.0.0.1:1/v1'}}").models["a"]
    assert (model.max_inputs, model.max_inputs_tokens) == (None, None)


def test_an_embedding_model_needs_no_output_price(load, problems):
    text = "models: {a: {provider: openai_compatible, base_url: 'https://e.test', model_id: own, usd_per_1m_input: 0.1%s}}"
    model = load(text % ", capabilities: [embeddings]").models["a"]
    assert (str(model.price.table.tiers[0].rates.input), model.price.table.tiers[0].rates.output) == ("0.1", 0)
    [problem] = problems(text % "")
    assert "usd_per_1m_output is missing" in problem


def test_a_fallback_that_can_never_be_used_is_warned_about(load):
    registry = load(
        "default: a\nmodels:\n"
        "  a: {provider: openai, model_id: text-embedding-3-small, fallbacks: [b, c, d]}\n"
        "  b: {provider: azure, base_url: 'https://x.openai.azure.com', model_id: text-embedding-3-small, fallbacks: []}\n"
        "  c: {provider: openai, model_id: text-embedding-3-large}\n"
        "  d: {provider: openai, model_id: gpt-4o, fallbacks: [c]}\n"
    )
    assert [warning.split(",")[0] for warning in registry.warnings] == [
        "a: its fallback c is never used",
        "a: its fallback d makes no embeddings",
    ]
