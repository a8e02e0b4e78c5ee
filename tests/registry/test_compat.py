"""What an endpoint takes: by its provider, by the family of its model, and by `compat:` in the registry, which has the last word."""

from collections.abc import Callable
from typing import Any

import pytest

from paymaster.registry.compat import Compat
from paymaster.registry.compat_facts import compat_facts
from paymaster.registry.describe import DescribedValue, describe
from paymaster.registry.models import Model, Registry

Load = Callable[..., Registry]
Problems = Callable[[str], list[str]]


def one(load: Load, compat: str, provider: str = "deepseek", model_id: str = "deepseek-v4-pro") -> Model:
    text = f"models:\n  m:\n    provider: {provider}\n    model_id: {model_id}\n    base_url: http://gpu.example/v1\n"
    return load(f"{text}    compat: {compat}\n").models["m"]


def test_a_registry_corrects_what_is_known(load: Load) -> None:
    model = one(
        load, "{reads: [reasoning], drop_params: [n, seed], system_first: true, text_content: false, user_limit: 9, call_id: mistral}"
    )
    known = compat_facts("deepseek", "deepseek-v4-pro", foreign=True)
    compat = model.compat
    assert compat.reads == {"reasoning"}
    assert compat.unread >= {"reasoning_content"}
    assert compat.drop_params == known.drop_params | {"n", "seed"}
    assert (compat.system_first, compat.text_content, compat.user_limit, compat.call_id) == (True, False, 9, "mistral")
    assert (compat.requires, compat.thinking_off) == (known.requires, known.thinking_off)


@pytest.mark.parametrize(
    ("written", "name", "expected"),
    [
        ("{reads: reasoning}", "reads", {"reasoning"}),
        ("{reads: []}", "reads", frozenset()),
        ("{requires: []}", "requires", frozenset()),
        ("{tool_name_limit: 0}", "tool_name_limit", None),
        ("{exclusive_params: [temperature, top_p]}", "exclusive_params", ("temperature", "top_p")),
        ("{thinking_off: {enable_thinking: false}}", "thinking_off", {"enable_thinking": False}),
        ("{nested: google}", "nested", {"google"}),
        ("{names: null}", "names", True),
        ("{session_param: prompt_cache_key}", "session_param", "prompt_cache_key"),
        ("{session_param: none}", "session_param", None),
    ],
)
def test_each_fact_can_be_replaced(load: Load, written: str, name: str, expected: object) -> None:
    assert getattr(one(load, written).compat, name) == expected


def test_a_parameter_is_kept_although_the_provider_refuses_it(load: Load) -> None:
    text = "models:\n  m: {provider: groq, model_id: x, api_key_env: K, compat: {keep_params: [logprobs, min_p]}}\n"
    model = load(text).models["m"]
    assert {"logprobs", "min_p"}.isdisjoint(model.compat.drop_params | model.unsupported_params)
    assert "top_logprobs" in model.compat.drop_params & model.unsupported_params


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{read: x}", "unknown key (did you mean reads?)"),
        ("{reads: [reasoning_contents]}", "unknown word 'reasoning_contents' (did you mean reasoning_content?)"),
        ("{requires: thought_signatures}", "unknown word 'thought_signatures' (did you mean thought_signature?)"),
        ("{call_id: mistrall}", "unknown form 'mistrall' (did you mean mistral?)"),
        ("{system_first: maybe}", "must be true or false, got 'maybe'"),
        ("{max_tools: -1}", "must be a whole number, 0 or more, got -1"),
        ("[x]", "must be a map of keys and values"),
    ],
)
def test_a_mistake_names_the_key_and_the_nearest_word(problems: Problems, written: str, expected: str) -> None:
    [problem] = problems(f"models:\n  m:\n    provider: ollama\n    compat: {written}\n")
    assert problem.startswith("4: models.m.compat")
    assert problem.endswith(expected)


def test_a_description_has_each_fact_with_its_origin(load: Load) -> None:
    registry = load(
        "models:\n  m:\n    provider: deepseek\n    api_key_env: K\n    compat: {developer_role: true, keep_params: [n], requires: []}\n"
    )
    shown = {key: (value.value, value.origin) for key, value in describe(registry, {}).models[0].compat.items()}
    assert shown == {
        "compat.reads": ("reasoning_content", "provider deepseek"),
        "compat.requires": ("none", "registry line 5"),
        "compat.drop_params": ("none", "provider deepseek, and registry line 5"),
        "compat.thinking_off": ('{"thinking": {"type": "disabled"}}', "provider deepseek"),
        "compat.developer_role": ("true", "registry line 5"),
        "compat.text_content": ("true", "provider deepseek"),
        "compat.tool_choice_without_tools": ("false", "provider deepseek"),
        "compat.tool_name_limit": ("64", "provider deepseek"),
    }


def test_a_limit_that_is_lifted_is_shown(load: Load) -> None:
    [row] = describe(one_registry(load), {}).models
    assert row.compat["compat.user_limit"].value == "none"


def one_registry(load: Load) -> Registry:
    return load("models: {m: {provider: openai, model_id: gpt-4o, api_key_env: K, compat: {user_limit: 0}}}\n")


REASONING = frozenset({"reasoning_content"})


@pytest.mark.parametrize(
    ("provider_id", "model_id", "facts"),
    [
        ("openai", "gpt-4o", {"tool_name_limit": 64, "call_id_limit": 40, "user_limit": 64, "max_tools": 128, "requires": frozenset()}),
        ("openai_compatible", "kimi-k2.5", {"reads": REASONING, "requires": REASONING, "developer_role": False, "text_content": True}),
        ("vllm", "deepseek-ai/DeepSeek-V3.2", {"requires": REASONING, "text_content": True}),
        ("openrouter", "moonshotai/kimi-k2-thinking", {"requires": REASONING}),
        ("openai_compatible", "llama-4", {"reads": frozenset(), "requires": frozenset(), "system_first": True}),
        ("openrouter", "qwen/qwen3-coder", {"system_first": True, "developer_role": False}),
        ("vllm", "mistralai/Devstral-Small-2507", {"call_id": "mistral", "user_after_tool": False}),
        ("mistral", "mistral-large-latest", {"call_id": "mistral", "unknown_fields": False, "developer_role": False}),
        ("google", "gemini-3-pro-preview", {"requires": frozenset({"thought_signature"}), "unknown_fields": False}),
        ("google", "gemini-2.5-flash", {"requires": frozenset(), "reads": frozenset({"extra_content"})}),
        ("openai_compatible", "gemini-3-flash", {"requires": frozenset({"thought_signature"})}),
        ("groq", "openai/gpt-oss-120b", {"reads": frozenset({"reasoning"}), "unknown_fields": False}),
        ("cerebras", "zai-glm-4.7", {"reads": frozenset({"reasoning"})}),
        ("deepseek", "deepseek-chat", {"text_content": True, "requires": REASONING}),
        ("perplexity", "sonar", {"alternating_roles": True}),
        ("anthropic", "claude-opus-4-20250514", {"exclusive_params": (), "drop_params": frozenset()}),
        ("anthropic", "claude-opus-4-1-20250805", {"exclusive_params": ("temperature", "top_p")}),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", {"exclusive_params": ("temperature", "top_p"), "tool_name_limit": 64}),
        ("vertex", "claude-sonnet-5@20260630", {"drop_params": frozenset({"temperature", "top_p", "top_k"})}),
        ("openrouter", "anthropic/claude-opus-4.8", {"drop_params": frozenset({"temperature", "top_p", "top_k"})}),
        ("scripted", "m", {"tool_choice_without_tools": False, "reads": frozenset()}),
    ],
)
def test_facts_follow_the_provider_and_the_family(provider_id: str, model_id: str, facts: dict[str, Any]) -> None:
    found = compat_facts(provider_id, model_id)
    assert {name: getattr(found, name) for name in facts} == facts


def test_at_an_address_that_is_not_its_own_a_provider_refuses_only_what_its_models_do() -> None:
    foreign = compat_facts("openai", "qwen3-32b", foreign=True)
    assert (foreign.drop_params, foreign.max_tools, foreign.developer_role) == (frozenset(), None, False)
    assert (foreign.reads, foreign.system_first) == (REASONING, True)
    assert "temperature" in compat_facts("openai", "o3", foreign=True).drop_params
    assert compat_facts("deepseek", "deepseek-chat", foreign=True).requires == REASONING


def test_an_endpoint_of_which_nothing_is_known_takes_everything() -> None:
    assert Compat(reads=frozenset({"reasoning"})).unread == {
        "reasoning_content", "reasoning_details", "thinking_blocks", "cache_control", "extra_content", "provider_specific_fields",
        "anthropic_blocks",
        "openai_items",
    }  # fmt: skip


def test_the_facts_of_an_endpoint_are_shown_with_their_origins(load: Load) -> None:
    text = """models:
  plain: {provider: ollama, dialect: messages, prefill: true}
  claude: {provider: anthropic, model_id: claude-sonnet-4-5, compat: {exclusive_params: [top_p, temperature], drop_params: seed}}
  new: {provider: openai, model_id: gpt-5.5}
default: plain
"""
    plain, claude, new = describe(load(text), {}).models
    dialects = [(row.dialect.value, row.dialect.origin) for row in (plain, claude, new)]
    prefills = [(row.prefill.value, row.prefill.origin) for row in (plain, claude, new)]
    assert dialects == [("messages", "registry line 2"), ("messages", "provider anthropic"), ("responses", "provider openai")]
    assert prefills == [("plain", "registry line 2"), ("plain", "provider anthropic"), ("none", "provider openai")]
    assert claude.compat["compat.exclusive_params"] == DescribedValue("top_p, temperature", "registry line 3")
    assert claude.compat["compat.drop_params"] == DescribedValue(
        "best_of, logprobs, seed, top_logprobs", "provider anthropic, and registry line 3"
    )
    assert {"stop", "n"} <= set(new.compat["compat.drop_params"].value.split(", "))
