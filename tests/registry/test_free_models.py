"""Free must be stated: by the price, by the provider's name, or by the default port of a local server on this machine."""

from __future__ import annotations

import pytest

from paymaster.accounting.tokens.counter import PromptCount
from paymaster.errors import NoModelFits
from paymaster.registry.local_servers import DEFAULT_PORTS, local_server
from paymaster.registry.presets import PRESETS, read_preset
from paymaster.registry.provider_facts import PROVIDERS
from paymaster.routing.call_errors import no_model_error
from paymaster.routing.planning import plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.scope import Scope

HELLO = Request(messages=({"role": "user", "content": "Hello"},))
HARD = "policies: {budget_usd_per_run: 1, hard_stop_on_budget: true}"


class CountsOne:
    """Every prompt has one token."""

    def count(self, *_: object) -> PromptCount:
        return PromptCount(1, 1, exact=True)


@pytest.mark.parametrize(
    ("section", "source"),
    [
        ("provider: openai, base_url: 'http://localhost:4000', price: free", "registry: price: free"),
        ("provider: openai_compatible, base_url: 'http://10.0.0.5:4000', price: free", "registry: price: free"),
        *((f"provider: {name}, base_url: 'http://gpu.example.com:4000'", f"local provider {name}") for name in
          ("ollama", "vllm", "sglang", "lmstudio", "llamacpp", "tgi")),
        *((f"provider: openrouter, base_url: 'http://127.0.0.1:{port}'", f"default port of {server.title}")
          for port, server in DEFAULT_PORTS.items()),
        ("provider: openai_compatible, base_url: 'http://[::1]:11434/v1'", "default port of Ollama"),
        ("provider: openai_compatible, base_url: 'http://host.docker.internal:1234/v1'", "default port of LM Studio"),
    ],
)  # fmt: skip
def test_what_is_stated_to_be_free_is_free(load, section, source):
    price = load(f"models: {{m: {{model_id: qwen2.5-coder, {section}}}}}").models["m"].price
    assert (price.is_free, price.source) == (True, source)


@pytest.mark.parametrize("section", ["provider: ollama", "provider: openai_compatible, base_url: 'http://localhost:11434/v1'"])
def test_a_model_that_a_local_server_passes_on_is_not_free(load, section):
    for model_id in ("gpt-oss:120b-cloud", "glm-4.6:cloud"):
        assert load(f"models: {{m: {{model_id: '{model_id}', {section}}}}}").models["m"].price is None


def test_a_model_that_a_local_server_passes_on_may_have_another_models_price(load):
    price = load("models: {m: {provider: ollama, model_id: 'gpt-oss:120b-cloud', price_as: openai/gpt-4o}}").models["m"].price
    assert price is not None
    assert not price.is_free


@pytest.mark.parametrize(
    "section",
    [
        "provider: openai, base_url: 'http://localhost:4000'",  # LiteLLM's proxy
        "provider: litellm_proxy, base_url: 'http://localhost:4000'",
        "provider: openai_compatible, base_url: 'http://127.0.0.1:8787/v1'",
        "provider: openai_compatible, base_url: 'http://127.0.0.1:8080/v1'",
        "provider: openai_compatible, base_url: 'http://127.0.0.1:8000/v1'",
        "provider: openrouter, base_url: 'http://localhost'",
        "provider: openai, base_url: 'http://10.0.0.5:11434'",  # another machine
        "provider: openai, base_url: 'http://ollama.example.com:11434'",
        "provider: openai",
        "provider: ollama, base_url: 'https://ollama.com/v1'",  # its maker's own host
    ],
)
def test_anything_else_without_a_price_is_refused_under_a_hard_budget_with_the_line_to_add(load, section):
    registry = load(f"models: {{m: {{model_id: qwen2.5-coder-x, api_key_env: KEY, {section}}}}}\n{HARD}")
    assert registry.models["m"].price is None
    (warning,) = registry.warnings
    assert "a hard budget refuses it" in warning
    assert "`price: free`" in warning
    planned = plan(HELLO, registry, Scope(run="r"), 0, CountsOne())
    (skipped,) = planned.skipped
    assert not planned.candidates
    assert skipped.cause is SkipCause.UNPRICED
    assert "under m: `usd_per_1m_input: …` and `usd_per_1m_output: …`, or `price: free`" in skipped.detail
    error = no_model_error(HELLO, [Skipped("m", skipped.cause, skipped.detail)], [], [])
    assert isinstance(error, NoModelFits)
    assert "`price: free`" in str(error)


@pytest.mark.parametrize(
    ("section", "advice"),
    [
        ("", "the name of the deployment prod does not say which model it is"),
        ("price_as: gtp-4o", "price_as is gtp-4o, which has no known price"),
    ],
)
def test_a_deployment_without_a_price_is_asked_for_its_model(load, section, advice):
    text = f"models: {{m: {{provider: azure, model_id: prod, base_url: 'https://x.openai.azure.com', {section}}}}}"
    (warning,) = load(text).warnings
    assert warning.startswith(f"m: {advice}")
    assert "a hard budget refuses it" in warning
    assert "price: free" not in warning


def test_a_price_wins_over_a_local_port(load):
    text = "models: {m: {provider: openai, model_id: gpt-4o, base_url: 'http://localhost:11434'}}"
    assert not load(text).models["m"].price.is_free
    own = "models: {m: {provider: openai, base_url: 'http://localhost:11434', usd_per_1m_input: 1, usd_per_1m_output: 2}}"
    assert not load(own).models["m"].price.is_free


def test_a_port_that_proxies_use_as_well_means_no_local_server():
    assert local_server("http://localhost:11434/v1") == DEFAULT_PORTS[11434]
    assert [local_server(f"http://localhost:{port}") for port in (4000, 8000, 8080, 3000, 8787)] == [None] * 5
    assert local_server("http://localhost") is None
    assert all(server.source.startswith("https://") for server in DEFAULT_PORTS.values())


def test_the_presets_state_that_a_local_model_is_free(load):
    local = {facts.id for facts in PROVIDERS if facts.local}
    models = [model for name in PRESETS for model in load(read_preset(name)).models.values() if model.provider in local]
    assert len(models) >= 8
    assert {model.price.source for model in models} == {"registry: price: free"}
