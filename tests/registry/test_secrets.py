"""A key in a registry is refused wherever it is, and never shown."""

from __future__ import annotations

import pytest

from paymaster.registry.describe import describe
from paymaster.registry.provider_keys import keys_found, missing_key
from paymaster.registry.secrets import holds_a_secret, looks_like_a_secret, names_a_secret, shown

CANARY = "sk-canary-4f9a8b7c6d5e4f3a2b1c"


@pytest.mark.parametrize(
    "line",
    [
        f"api_key: {CANARY}",
        "api_key: 12345",
        f"api_key: $GOOD:::{CANARY}",
        f"api_key_env: {CANARY}",
        f"api_key_env: [GOOD, {CANARY}]",
        f"apikey: {CANARY}",
        f"extra_headers: {{Authorization: 'Bearer {CANARY}'}}",
        f"extra_headers: {{X-Whatever: {CANARY}}}",
        "extra_headers: {api-key: plainword}",
        "extra_headers: {X-Auth: Bearer plainword}",
        "extra_headers: {X-B: Basic cGxhaW46d29yZA==}",
        "extra_headers: {Ocp-Apim-Subscription-Key: 0123456789abcdef0123456789abcdef}",
        f"account: {CANARY}",
        f"params: {{api_key: {CANARY}}}",
        f"params: {{metadata: {{note: {CANARY}}}}}",
        f"params: {{list: [{CANARY}]}}",
        "params: {aws_session_token: plainword}",
        f"base_url: https://user:{CANARY}@example.com/v1",
        f"base_url: https://example.com/v1?key={CANARY}",
        f"base_url: {CANARY}",
        f"provider: {CANARY}",
        f"endpoints: [{{name: e, api_key: {CANARY}}}]",
        f"endpoints: [{{name: e, extra_headers: {{Authorization: {CANARY}}}}}]",
        f"endpoints: [{{name: {CANARY}}}]",
        f"params: {{note: 'Bearer {CANARY} $OTHER'}}",
        f"model_id: [{CANARY}]",
        f"rpm: {CANARY}",
        f"capabilities: [{CANARY}]",
        f"price: {CANARY}",
        f"script: [{CANARY}",
        f"params: {{a: '{CANARY}",
        f"model_id: x\n    model_id: {CANARY}",
    ],
)
def test_a_key_is_refused_and_never_shown(problems, line):
    text = "\n".join(problems(f"models:\n  a:\n    {'' if line.startswith('provider') else 'provider: openai'}\n    {line}\n"))
    assert "canary" not in text
    assert text


def test_a_registry_with_references_shows_names_and_no_values(load):
    environ = {"MY_KEY": CANARY, "TEAM": CANARY}
    text = "models: {a: {provider: openai, model_id: gpt-4o, api_key: $MY_KEY, extra_headers: {X-Team: '${TEAM}'}}}"
    registry = load(text, environ=environ)
    table = describe(registry, environ)
    assert "canary" not in repr(registry) + repr(table)
    assert [(key.variable, key.found) for key in table.models[0].keys] == [("MY_KEY", True), ("TEAM", True)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("models: {a: {provider: ollama}}", {"OLLAMA_API_KEY"}),
        ("models: {a: {provider: ollama, context_window: 8000, extra_headers: {A: 'x $ONE${TWO}'}}}", {"ONE", "TWO", "OLLAMA_API_KEY"}),
        ("models: {a: {provider: groq, model_id: m, api_key: '$ONE:::${TWO}'}}", {"ONE", "TWO", "GROQ_API_KEY"}),
        ("models: {a: {provider: groq, model_id: m, api_key_env: [ONE, TWO]}}", {"ONE", "TWO", "GROQ_API_KEY"}),
        ("models: {a: {provider: gemini, model_id: m}}", {"GEMINI_API_KEY", "GOOGLE_API_KEY"}),
        ("models: {a: {provider: ollama, aliases: [$ONE], params: {stop: [{b: '${TWO}'}]}}}", {"ONE", "TWO", "OLLAMA_API_KEY"}),
        ("model_registry: {models: {a: {provider: vllm}}}\npolicies: {budgets: [{usd: 1, per: run}]}", {"VLLM_API_KEY"}),
    ],
)
def test_every_variable_that_a_registry_names_is_known(load, text, names):
    assert load(text).variables == names


def test_a_missing_key_is_reported_by_its_variables(load):
    model = load("models: {a: {provider: google, model_id: gemini-2.5-pro}}").models["a"]
    assert missing_key(model, {}) == "GEMINI_API_KEY or GOOGLE_API_KEY"
    assert missing_key(model, {"GOOGLE_API_KEY": "x"}) is None
    assert keys_found(model, {"GOOGLE_API_KEY": "x", "GEMINI_API_KEY": " "}) == ("GOOGLE_API_KEY",)
    local = load("models: {a: {provider: ollama}}").models["a"]
    assert missing_key(local, {}) is None


@pytest.mark.parametrize(
    "key",
    [CANARY, "gsk_0123456789abcdef", "AIzaSyA-0123456789", "hf_abcdefghijkl", "xai-0123456789ab", "Bearer sk-abcdefghijklm", "aB3" * 9,
     "AKIA0123456789ABCDEF", "eyJhbGciOiJIUzI1NiJ9"],
)  # fmt: skip
def test_texts_shaped_like_keys_are_recognised(key):
    assert looks_like_a_secret(key)
    assert key not in shown(key)


@pytest.mark.parametrize(
    "text",
    ["gpt-4o", "Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", "accounts/fireworks/models/glm-5p3", "sk-short",
     "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
     "OPENAI_API_KEY", "0123456789abcdef0123456789abcdef"],
)  # fmt: skip
def test_texts_that_only_resemble_keys_are_not(text):
    assert not looks_like_a_secret(text)
    assert shown(text) == repr(text)


def test_parameter_names_of_secrets_are_recognised():
    assert all(map(names_a_secret, ["api_key", "aws_secret_access_key", "Authorization", "auth-token", "vertex_password"]))
    assert not any(map(names_a_secret, ["max_tokens", "stop_token_ids", "logit_bias", "prompt_cache_key", "seed"]))


@pytest.mark.parametrize(
    "text", ["Bearer $TOKEN", "Bearer part-${TOKEN}", "Basic features", "token bucket", "a bearer of news", "Bearer", "search", ""]
)
def test_headers_without_a_secret_are_taken(text):
    assert not holds_a_secret("X-Team", text)


def test_values_in_messages_are_shortened():
    assert shown("x" * 100) == repr("x" * 60 + "…")
    assert [shown(value) for value in ([1], {}, None, True, False, 5)] == ["a list", "a map", "nothing", "true", "false", "5"]
