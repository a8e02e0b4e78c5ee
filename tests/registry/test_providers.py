"""Names of providers, and the endpoint, adapter, key and parameters that follow from each."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from paymaster.accounting.usage.reading import read_usage
from paymaster.registry.models import Dialect, Effort
from paymaster.registry.provider_facts import LITELLM, OPENAI_HTTP, PROVIDERS
from paymaster.registry.providers import (
    connection,
    find_provider,
    nearest_provider,
    on_this_machine,
    provider,
    provider_ids,
    provider_names,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai", "openai"), ("OpenAI", "openai"), ("gemini", "google"), ("google", "google"), ("vertex", "vertex"),
        ("vertex_ai", "vertex"),
        ("x-ai", "xai"), ("xai", "xai"), ("aws", "bedrock"), ("bedrock", "bedrock"), ("azure", "azure"), ("lm-studio", "lmstudio"),
        ("lmstudio", "lmstudio"), ("llama.cpp", "llamacpp"), ("llamacpp", "llamacpp"), ("together_ai", "together"),
        ("Together AI", "together"),
        ("fireworks", "fireworks"), ("ollama", "ollama"), ("vllm", "vllm"), ("hosted_vllm", "vllm"), ("deepseek", "deepseek"),
        ("mistral", "mistral"), ("groq", "groq"), ("openrouter", "openrouter"), ("anthropic", "anthropic"), ("sglang", "sglang"),
    ],
)  # fmt: skip
def test_providers_are_found_by_their_usual_names(name, expected):
    assert find_provider(name).id == expected


def test_an_unknown_name_may_have_a_nearest_provider():
    assert (find_provider("opnai"), nearest_provider("opnai"), nearest_provider("qqqqq")) == (None, "openai", None)


def test_no_name_means_two_providers():
    names = [name for facts in PROVIDERS for name in (facts.id, *facts.aliases)]
    assert len(set(names)) == len(names)
    assert {find_provider(name).id for name in provider_names()} == set(provider_ids())


@pytest.mark.parametrize("provider_id", provider_ids())
def test_every_provider_has_a_connection(provider_id):
    facts = provider(provider_id)
    speaks = connection(facts, "m", base_url="https://mine.example.com" if facts.needs_base_url else None)
    if speaks.adapter == OPENAI_HTTP:
        assert urlsplit(speaks.base_url).scheme in {"http", "https"}
    assert speaks.key_variables or not speaks.key_required
    usage = read_usage(speaks.usage_api, {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 5)


@pytest.mark.parametrize(
    ("provider_id", "base_url", "api_version", "expected"),
    [
        ("openai", None, None, "https://api.openai.com/v1"),
        ("openai", "http://localhost:8000", None, "http://localhost:8000/v1"),
        ("openai", "http://localhost:8000/api", None, "http://localhost:8000/api"),
        ("openrouter", "http://localhost:11434", None, "http://localhost:11434/v1"),
        ("openrouter", "https://openrouter.ai", None, "https://openrouter.ai/api/v1"),
        ("groq", "https://api.groq.com", None, "https://api.groq.com/openai/v1"),
        ("azure", "https://x.openai.azure.com", None, "https://x.openai.azure.com/openai/v1"),
        ("azure", "https://x.openai.azure.com", "preview", "https://x.openai.azure.com/openai/v1"),
        ("azure", "https://x.openai.azure.com", "2024-10-21", "https://x.openai.azure.com"),
        ("anthropic", "https://proxy.example.com", None, "https://proxy.example.com/v1"),
        ("anthropic", "https://api.deepseek.com/anthropic", None, "https://api.deepseek.com/anthropic/v1"),
        ("anthropic", "https://proxy.example.com/v1/messages", None, "https://proxy.example.com/v1"),
        ("anthropic", None, None, "https://api.anthropic.com/v1"),
        ("bedrock", None, None, None),
    ],
)
def test_a_base_url_is_completed_with_the_usual_path(provider_id, base_url, api_version, expected):
    assert connection(provider(provider_id), "m", base_url=base_url, api_version=api_version).base_url == expected


@pytest.mark.parametrize(
    ("provider_id", "base_url", "expected"),
    [
        ("google", "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi", "google.chat"),
        ("openai_compatible", "https://us-east5-aiplatform.googleapis.com/v1/projects/p/endpoints/openapi", "google.chat"),
        ("openai", "https://generativelanguage.googleapis.com/v1beta/openai", "google.chat"),
        ("openrouter", "https://eu.openrouter.ai/api/v1", "openrouter.chat"),
        ("openai", "https://openrouter.ai/api/v1", "openrouter.chat"),
        ("openai", "https://api.x.ai/v1", "xai.chat"),
        ("openai", "https://eu.api.openai.com/v1", "openai.chat"),
        ("openrouter", "https://notopenrouter.ai/api/v1", "openai.chat"),
        ("google", "https://proxy.example.com/v1", "openai.chat"),
        ("google", "http://localhost:11434/v1", "openai.chat"),
        ("litellm_proxy", "https://proxy.example.com/v1", "litellm.usage"),
        ("groq", None, "groq.chat"),
    ],
)
def test_usage_is_read_as_the_host_s_own_provider_reports_it(provider_id, base_url, expected):
    assert connection(provider(provider_id), "m", base_url=base_url).usage_api == expected


def test_the_adapter_follows_from_provider_and_registry():
    assert connection(provider("anthropic"), "m").adapter == OPENAI_HTTP
    assert connection(provider("bedrock"), "m").adapter == LITELLM
    assert connection(provider("anthropic"), "m", base_url="http://localhost:1", adapter=OPENAI_HTTP).adapter == OPENAI_HTTP
    assert connection(provider("openai"), "m", adapter=LITELLM).usage_api == "litellm.usage"
    assert connection(provider("scripted"), "m", script="s.yaml").adapter == "scripted"
    assert connection(provider("scripted"), "m", base_url="http://localhost:1").adapter == OPENAI_HTTP


@pytest.mark.parametrize(
    ("provider_id", "settings", "expected"),
    [
        ("anthropic", {}, Dialect.MESSAGES),
        ("anthropic", {"base_url": "https://proxy.example.com"}, Dialect.MESSAGES),
        # OpenAI's wire format, as an adapter that is named always was.
        ("anthropic", {"base_url": "https://proxy.example.com", "adapter": OPENAI_HTTP}, Dialect.CHAT),
        ("anthropic", {"adapter": LITELLM}, Dialect.CHAT),
        ("bedrock", {}, Dialect.CHAT),
        ("deepseek", {}, Dialect.CHAT),
        ("vertex", {"dialect": "messages"}, Dialect.MESSAGES),
        ("deepseek", {"base_url": "https://api.deepseek.com/anthropic", "dialect": "messages"}, Dialect.MESSAGES),
    ],
)
def test_the_dialect_follows_from_provider_and_registry(provider_id, settings, expected):
    speaks = connection(provider(provider_id), "m", **settings)
    assert speaks.dialect is expected
    if expected is Dialect.MESSAGES:
        assert {"cache_control", "thinking_blocks"} <= speaks.compat.reads
        assert speaks.usage_api == f"{provider_id}.messages"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:1", True), ("http://LOCALHOST", True), ("http://127.8.9.1/v1", True), ("http://[::1]:8", True),
        ("http://api.localhost", True), ("http://host.docker.internal:1", True), ("http://0.0.0.0:8000", True),
        ("http://10.0.0.1", False), ("http://192.168.1.1", False),
        ("https://localhost.example.com", False), ("https://api.openai.com", False),
    ],
)  # fmt: skip
def test_addresses_of_this_machine_are_recognised(url, expected):
    assert on_this_machine(url) is expected


def test_a_local_server_gets_no_key_of_a_hosted_provider():
    speaks = connection(provider("openai"), "m", base_url="http://localhost:1")
    assert (speaks.key_variables, speaks.key_required, speaks.local, speaks.by_address) == ((), False, True, True)
    vllm = connection(provider("vllm"), "m", base_url="http://localhost:1")
    assert (vllm.key_variables, vllm.key_required, vllm.local, vllm.by_address) == (("VLLM_API_KEY",), False, True, False)
    proxy = connection(provider("openai"), "m", base_url="https://proxy.example.com")
    assert (proxy.key_variables, proxy.key_required, proxy.local) == (("OPENAI_API_KEY",), True, False)


@pytest.mark.parametrize(
    ("provider_id", "model_id", "base_url", "limit_param", "refused"),
    [
        ("openai", "gpt-4o", None, "max_completion_tokens", set()),
        ("openai", "o3-mini", None, "max_completion_tokens", {"temperature"}),
        ("openai", "gpt-5-mini", None, "max_completion_tokens", {"temperature"}),
        ("openai", "gpt-6.1-sol", None, "max_output_tokens", {"stop", "n"}),
        ("openai", "gpt-4o", "http://localhost:1", "max_tokens", set()),
        ("openai", "gpt-5.4", "https://proxy.example.com", "max_completion_tokens", set()),
        ("xai", "grok-4.7", None, "max_tokens", {"stop"}),
        ("mistral", "devstral-2512", None, "max_tokens", {"seed", "stream_options"}),
        ("google", "gemini-2.5-pro", None, "max_tokens", {"seed", "frequency_penalty"}),
        ("google", "x", "http://localhost:1", "max_tokens", set()),
    ],
)
def test_each_provider_gets_its_own_parameter_names(provider_id, model_id, base_url, limit_param, refused):
    speaks = connection(provider(provider_id), model_id, base_url=base_url)
    assert speaks.output_limit_param == limit_param
    assert refused <= speaks.unsupported_params
    assert bool(refused) == bool(speaks.unsupported_params)


def test_cache_marks_and_thinking_go_to_providers_that_read_them():
    assert {"cache_control", "thinking_blocks"} <= connection(provider("anthropic"), "claude-sonnet-5-5").compat.reads
    assert connection(provider("openai"), "gpt-4o").compat.reads == frozenset()
    assert connection(provider("openrouter"), "m", base_url="http://localhost:1").compat.reads == {"reasoning_content", "reasoning_details"}


@pytest.mark.parametrize(
    ("provider_id", "model_id", "effort"),
    [
        ("openai", "gpt-5", Effort.ALWAYS),
        ("openai", "gpt-5.1-2025-11-13", Effort.ALWAYS),
        ("openai", "gpt-5.2", Effort.ALWAYS),
        ("openai", "gpt-5.2-chat-latest", Effort.WITHOUT_TOOLS),
        ("azure", "gpt-5.4-mini", Effort.WITHOUT_TOOLS),
        ("openai", "gpt-6-sol", Effort.ALWAYS),
        ("google", "gemini-2.5-pro", Effort.ALWAYS),
        ("mistral", "magistral-medium-latest", Effort.NEVER),
        ("groq", "qwen/qwen3-32b", Effort.NEVER),
    ],
)
def test_a_reasoning_effort_goes_to_models_that_take_it(provider_id, model_id, effort):
    assert connection(provider(provider_id), model_id, base_url="https://x.test" if provider_id == "azure" else None).effort is effort


V1 = "https://res.openai.azure.com/openai/v1"


@pytest.mark.parametrize(
    ("provider_id", "model_id", "given", "expected"),
    [
        ("openai", "gpt-4o", {}, Dialect.CHAT),
        ("openai", "o3", {}, Dialect.CHAT),
        ("openai", "gpt-5", {}, Dialect.CHAT),
        ("openai", "gpt-5.1", {}, Dialect.CHAT),
        *(
            ("openai", model_id, {}, Dialect.RESPONSES)
            for model_id in (
                "gpt-5.2", "gpt-5.2-pro", "gpt-5.4-mini", "gpt-5.5-2026-04-23", "gpt-5.6-sol", "gpt-6-astra", "gpt-5-codex", "gpt-5-pro",
                "gpt-5.1-codex-max", "gpt-5.3-codex", "codex-mini-latest", "o1-pro", "o3-pro-2025-06-10", "o3-deep-research",
                "o4-mini-deep-research", "computer-use-preview", "gpt-daybreak-blue-latest",
            )
        ),
        ("openai", "gpt-5.3-chat-latest", {}, Dialect.CHAT),
        ("openai", "gpt-5.5", {"base_url": "https://api.openai.com/v1"}, Dialect.RESPONSES),
        ("openai", "gpt-5.5", {"base_url": "https://eu.api.openai.com/v1"}, Dialect.RESPONSES),
        ("openai", "gpt-5.5", {"base_url": "https://proxy.example.com"}, Dialect.CHAT),
        ("openai", "gpt-5.5", {"base_url": "http://localhost:1", "dialect": "responses"}, Dialect.RESPONSES),
        ("openai", "gpt-5.5", {"dialect": "chat"}, Dialect.CHAT),
        ("openai", "gpt-5.5", {"adapter": LITELLM}, Dialect.CHAT),
        ("azure", "gpt-5.5", {"base_url": V1}, Dialect.RESPONSES),
        ("azure", "my-deployment", {"base_url": V1}, Dialect.CHAT),
        ("azure", "gpt-5.5", {"base_url": "https://res.openai.azure.com", "api_version": "2025-04-01-preview"}, Dialect.CHAT),
        ("azure", "gpt-5.5", {"base_url": "https://proxy.example.com"}, Dialect.CHAT),
        ("xai", "grok-4.20-multi-agent", {}, Dialect.RESPONSES),
        ("xai", "grok-4.20-reasoning", {}, Dialect.CHAT),
        ("openrouter", "openai/gpt-5.5", {}, Dialect.CHAT),
        ("vllm", "openai/gpt-oss-120b", {"base_url": "http://localhost:8000", "dialect": "responses"}, Dialect.RESPONSES),
    ],
)  # fmt: skip
def test_a_model_speaks_the_wire_format_that_it_can_do_most_in(provider_id, model_id, given, expected):
    speaks = connection(provider(provider_id), model_id, **given)
    assert speaks.dialect is expected
    if expected is Dialect.RESPONSES:
        assert (speaks.output_limit_param, speaks.usage_api.partition(".")[2]) == ("max_output_tokens", "responses")
        assert speaks.compat.reads == {"reasoning_details"}
        assert speaks.compat.images_in_tools
