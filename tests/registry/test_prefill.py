"""Which models are known to continue an answer, how they are asked to, and what a registry states instead."""

from __future__ import annotations

import pytest

from paymaster.errors import RegistryInvalid
from paymaster.registry.prefill import Prefill

PLAIN, PREFIX, PARTIAL, FINAL = Prefill


@pytest.mark.parametrize(
    ("provider", "model_id", "more", "expected"),
    [
        ("anthropic", "claude-3-5-sonnet-20241022", "", PLAIN),
        ("anthropic", "claude-sonnet-4-20250514", "", PLAIN),
        ("anthropic", "claude-opus-4-1-20250805", "", PLAIN),
        ("anthropic", "claude-sonnet-4-5", "", PLAIN),
        ("anthropic", "claude-haiku-4-5-20251001", "", PLAIN),
        ("anthropic", "claude-opus-4-6", "", None),
        ("anthropic", "claude-sonnet-5-5", "", None),
        ("openrouter", "anthropic/claude-sonnet-4.5", "", PLAIN),
        ("openrouter", "anthropic/claude-opus-4.6", "", None),
        ("openrouter", "deepseek/deepseek-v4-pro", "", None),
        ("deepseek", "deepseek-chat", "", None),
        ("deepseek", "deepseek-chat", "base_url: https://api.deepseek.com/beta", PREFIX),
        ("mistral", "mistral-large-latest", "", PREFIX),
        ("mistral", "magistral-medium-latest", "", None),
        ("mistral", "mistral-large-latest", "base_url: https://proxy.example.com/v1", None),
        ("moonshot", "kimi-k2-0905-preview", "", PARTIAL),
        ("moonshot", "kimi-k2-thinking", "", None),
        ("vllm", "qwen", "base_url: http://localhost:8000", FINAL),
        ("sglang", "qwen", "base_url: http://localhost:30000", FINAL),
        ("openai", "gpt-5", "", None),
        ("openai_compatible", "m", "base_url: http://localhost:9, prefill: true", PLAIN),
        ("openai_compatible", "m", "base_url: http://localhost:9, prefill: partial", PARTIAL),
        ("mistral", "mistral-large-latest", "prefill: true", PREFIX),
        ("mistral", "mistral-large-latest", "prefill: plain", PLAIN),
        ("mistral", "mistral-large-latest", "prefill: false", None),
        ("openai_compatible", "m", "base_url: http://localhost:9, prefill: prefix, dialect: messages", PLAIN),
        ("openai_compatible", "m", "base_url: http://localhost:9, prefill: prefix, dialect: responses", None),
        ("openai_compatible", "m", "base_url: http://localhost:9, dialect: messages", None),
    ],
)
def test_a_model_continues_answers_where_that_is_known_or_stated(load, provider, model_id, more, expected):
    registry = load(f"models: {{a: {{provider: {provider}, model_id: {model_id}{', ' if more else ''}{more}}}}}")
    assert registry.models["a"].prefill is expected


@pytest.mark.parametrize("stated", ["maybe", "1", "[prefix]", "prefx"])
def test_another_form_is_refused(load, stated):
    with pytest.raises(RegistryInvalid, match=r"must be true, false or a known form, got .* \((did you mean prefix|known: plain, prefix)"):
        load(f"models: {{a: {{provider: ollama, prefill: {stated}}}}}")
