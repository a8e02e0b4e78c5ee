"""Request parameters as endpoints take them: what is wanted, what is sent, what is dropped by name, what rules the model out."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import pytest

from paymaster.dialects.chat.fitting.params import FittedParams, Takes, are_plain, fit_params, joined, nested
from paymaster.registry.compat import Compat
from paymaster.registry.compat_facts import compat_facts

TOOLS = Takes(tools=True)
LONG_USER = "user_" + "x" * 186
OPENAI, O3, GPT_5, GPT_54 = (compat_facts("openai", model_id) for model_id in ("gpt-4o", "o3", "gpt-5", "gpt-5.4"))
CLAUDE, OPUS = (compat_facts("anthropic", model_id) for model_id in ("claude-sonnet-4-5-20250929", "claude-opus-4-8"))
DEEPSEEK, GOOGLE = compat_facts("deepseek", "deepseek-v4-pro"), compat_facts("google", "gemini-2.5-flash")
QWEN = compat_facts("vllm", "Qwen/Qwen3-32B")


class Case(NamedTuple):
    """What is wanted of an endpoint, and what comes of it. `asked` are the caller's, if they differ."""

    compat: Compat
    wanted: Mapping[str, Any]
    sent: Mapping[str, Any]
    dropped: tuple[str, ...] = ()
    impossible: tuple[str, ...] = ()
    takes: Takes = TOOLS
    asked: Mapping[str, Any] | None = None


CASES: Mapping[str, Case] = {
    "nothing": Case(OPENAI, {}, {}),
    "what it takes": Case(OPENAI, {"temperature": 0, "tool_choice": "auto"}, {"temperature": 0, "tool_choice": "auto"}),
    "sampling of a reasoning model": Case(
        O3, {"temperature": 0, "top_p": 1, "stop": "x", "parallel_tool_calls": True}, {},
        ("temperature", "top_p", "stop", "parallel_tool_calls"),
    ),
    "a reasoning model behind a proxy": Case(compat_facts("litellm_proxy", "openai/o3"), {"temperature": 0}, {}, ("temperature",)),
    "a null is not named": Case(O3, {"top_p": None}, {}),
    "parameters of open models": Case(OPENAI, {"top_k": 5, "min_p": 0.1}, {}, ("top_k", "min_p")),
    "what changes the answer": Case(OPENAI, {"n": 2, "seed": 1}, {}, ("seed",), ("n",), takes=Takes(refused=frozenset({"n", "seed"}))),
    "what holds without it": Case(
        OPENAI, {"n": 1, "logprobs": False, "best_of": 1, "modalities": ["text"], "response_format": {"type": "text"}}, {},
        takes=Takes(refused=frozenset({"n", "logprobs", "best_of", "modalities", "response_format"})),
    ),
    "the probability of a token is no default": Case(
        OPENAI, {"logprobs": 0, "n": True}, {}, (), ("logprobs", "n"), takes=Takes(refused=frozenset({"n", "logprobs"}))
    ),
    "unless the caller lets it go": Case(OPENAI, {"n": 2, "drop_params": True}, {}, ("n",), takes=Takes(refused=frozenset({"n"}))),
    "a refusal to let it go": Case(OPENAI, {"n": 2, "drop_params": False}, {}, (), ("n",), takes=Takes(refused=frozenset({"n"}))),
    "or names it": Case(OPENAI, {"n": 2, "seed": 1, "additional_drop_params": ["n"]}, {"seed": 1}, ("n",)),
    "or names it in one list": Case(OPENAI, {"n": 2, "drop_params": ["n", "seed"]}, {}, ("n",)),
    "temperature or top_p": Case(CLAUDE, {"temperature": 0, "top_p": 1}, {"temperature": 0}, ("top_p",)),
    "the caller's is the one": Case(CLAUDE, {"temperature": 0, "top_p": 1}, {"top_p": 1}, ("temperature",), asked={"top_p": 1}),
    "one of them": Case(CLAUDE, {"top_p": 1, "temperature": None}, {"top_p": 1, "temperature": None}),
    "no sampling at all": Case(OPUS, {"temperature": 0, "top_p": 1, "top_k": 3}, {}, ("temperature", "top_p", "top_k")),
    "a choice without tools": Case(
        OPENAI, {"tool_choice": "auto", "parallel_tool_calls": False}, {}, ("parallel_tool_calls", "tool_choice"), takes=Takes()
    ),
    "where it is taken": Case(Compat(), {"tool_choice": "auto"}, {"tool_choice": "auto"}, takes=Takes()),
    "refused anyway": Case(O3, {"parallel_tool_calls": False}, {}, ("parallel_tool_calls",), takes=Takes()),
    "a long user": Case(OPENAI, {"user": LONG_USER}, {"user": sha256(LONG_USER.encode()).hexdigest()}),
    "a short user": Case(OPENAI, {"user": "u" * 64, "safety_identifier": 5}, {"user": "u" * 64, "safety_identifier": 5}),
    "a long user where there is no limit": Case(DEEPSEEK, {"user": LONG_USER}, {"user": LONG_USER}),
    "the choice of a tool with a long name": Case(
        Compat(tool_name_limit=20),
        {"tool_choice": {"type": "function", "function": {"name": "n" * 21}}},
        {"tool_choice": {"type": "function", "function": {"name": f"{'n' * 11}_7d379550"}}},
    ),
    "of several": Case(
        Compat(tool_name_limit=20),
        {"tool_choice": {"allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "n" * 21}}]}}},
        {"tool_choice": {"allowed_tools": {"mode": "auto", "tools": [{"function": {"name": f"{'n' * 11}_7d379550"}}]}}},
    ),
    "Google's settings elsewhere": Case(OPENAI, {"google": {"thinking_config": {"thinking_budget": 9}}}, {}, ("google",)),
    "Google's texts elsewhere": Case(OPENAI, {"google": {"system_instruction": "x"}}, {"google": {"system_instruction": "x"}}),
    "Google's own": Case(GOOGLE, {"google": {"safety_settings": []}}, {"google": {"safety_settings": []}}),
}  # fmt: skip

OFF: Mapping[str, Mapping[str, Any]] = {
    "Anthropic": {"thinking": {"type": "disabled"}},
    "a budget of 0": {"thinking": {"type": "enabled", "budget_tokens": 0}},
    "OpenAI": {"reasoning_effort": "none"},
    "OpenRouter": {"reasoning": {"enabled": False}},
    "OpenRouter's effort": {"reasoning": {"effort": "none"}},
    "OpenRouter's budget": {"reasoning": {"max_tokens": 0}},
    "Alibaba": {"enable_thinking": False},
    "Alibaba's budget": {"thinking_budget": 0},
    "Ollama": {"think": False},
    "vLLM": {"chat_template_kwargs": {"enable_thinking": False, "x": 1}},
    "DeepSeek's template": {"chat_template_kwargs": {"thinking": False}},
    "Google": {"google": {"thinking_config": {"thinking_budget": 0}, "x": 1}},
}

WORDS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("deepseek", "deepseek-v4-pro", {"thinking": {"type": "disabled"}}),
    ("zai", "glm-5", {"thinking": {"type": "disabled"}}),
    ("moonshot", "kimi-k2.5", {"thinking": {"type": "disabled"}}),
    ("dashscope", "qwen3-max", {"enable_thinking": False}),
    ("vllm", "Qwen/Qwen3-32B", {"chat_template_kwargs": {"enable_thinking": False}}),
    ("sglang", "deepseek-ai/DeepSeek-V3.2", {"chat_template_kwargs": {"thinking": False}}),
    ("openai_compatible", "glm-4.7", {"chat_template_kwargs": {"enable_thinking": False}}),
    ("google", "gemini-2.5-flash", {"reasoning_effort": "none"}),
    ("google", "gemini-2.5-pro", {"reasoning_effort": "low"}),
    ("google", "gemini-3-flash", {"reasoning_effort": "minimal"}),
    ("openai", "gpt-5.1", {"reasoning_effort": "none"}),
    ("openai", "gpt-6.1-sol", {"reasoning_effort": "none"}),
    ("openai", "gpt-5-mini", {"reasoning_effort": "minimal"}),
    ("azure", "o3", {"reasoning_effort": "low"}),
    ("openrouter", "deepseek/deepseek-v3.2", {"reasoning": {"enabled": False}}),
    ("ollama", "qwen3:8b", {"reasoning_effort": "none"}),
    ("mistral", "magistral-medium-latest", {"prompt_mode": None}),
    ("groq", "qwen/qwen3-32b", {"reasoning_effort": "none"}),
    ("anthropic", "claude-opus-4-8", {"thinking": {"type": "disabled"}}),
)


def fitted(case: Case) -> FittedParams:
    return fit_params(case.wanted, case.wanted if case.asked is None else case.asked, case.compat, case.takes)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_parameters_are_sent_as_the_endpoint_takes_them(case: Case) -> None:
    assert fitted(case) == FittedParams(case.sent, case.dropped, case.impossible)
    assert not are_plain(case.wanted, case.compat) or case.takes.refused or case.sent == case.wanted


@pytest.mark.parametrize(("provider_id", "model_id", "words"), WORDS)
def test_no_thinking_is_said_in_the_models_own_words(provider_id: str, model_id: str, words: Mapping[str, Any]) -> None:
    for asked in ({"thinking": {"type": "disabled"}, "seed": 1}, {"reasoning_effort": "none", "seed": 1}):
        assert fit_params(asked, asked, compat_facts(provider_id, model_id), TOOLS) == FittedParams({"seed": 1, **words})


@pytest.mark.parametrize("asked", OFF.values(), ids=OFF)
def test_it_is_understood_in_the_words_of_any_api(asked: Mapping[str, Any]) -> None:
    template = {name: value for name, value in asked.get("chat_template_kwargs", {}).items() if name == "x"}
    google = {"google": {"x": 1}} if "google" in asked else {}
    assert fit_params(asked, asked, DEEPSEEK, TOOLS).params == {
        "thinking": {"type": "disabled"}, **({"chat_template_kwargs": template} if template else {}), **google
    }  # fmt: skip
    assert fit_params(asked, asked, QWEN, TOOLS).params == {"chat_template_kwargs": {"enable_thinking": False, **template}, **google}


def test_the_least_effort_is_none_where_there_is_no_such_word() -> None:
    minimal = {"reasoning_effort": "minimal"}
    assert fit_params(minimal, minimal, DEEPSEEK, TOOLS).params == {"thinking": {"type": "disabled"}}
    assert fit_params(minimal, minimal, GPT_5, TOOLS).params == minimal
    assert fit_params(minimal, minimal, GPT_54, TOOLS).params == {"reasoning_effort": "none"}
    assert fit_params(minimal, minimal, compat_facts("openrouter", "m"), TOOLS).params == minimal


def test_a_model_that_does_not_reason_needs_no_word() -> None:
    off = {"thinking": {"type": "disabled"}, "seed": 1}
    assert fit_params(off, off, OPENAI, Takes(reasons=False)) == FittedParams({"seed": 1})
    assert fit_params(off, off, QWEN, Takes(reasons=False)) == FittedParams({"seed": 1})


def test_where_no_word_is_known_the_callers_own_is_sent_or_dropped() -> None:
    off = {"thinking": {"type": "disabled"}}
    assert fit_params(off, off, compat_facts("openai_compatible", "m"), TOOLS).params == off
    assert fit_params(off, off, OPENAI, TOOLS) == FittedParams({}, ("thinking",))
    assert fit_params(off, off, Compat(thinking_off={}), TOOLS).params == {}


@pytest.mark.parametrize(
    ("asked", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_048}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4_096}}, "high"),
        ({"thinking": {"type": "adaptive"}}, "medium"),
        ({"reasoning": {"effort": "high"}}, "high"),
        ({"reasoning": {"max_tokens": 5_000}}, "high"),
        ({"reasoning": {"enabled": True}}, "medium"),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "low"}, "low"),
    ],
)
def test_thinking_is_an_effort_where_the_endpoint_knows_only_that(asked: Mapping[str, Any], effort: str) -> None:
    assert fit_params(asked, asked, GPT_5, TOOLS) == FittedParams({"reasoning_effort": effort})
    own = fit_params(asked, asked, DEEPSEEK, TOOLS)
    assert own.params == asked


@pytest.mark.parametrize("takes", [Takes(effort=False), Takes(reasons=False)])
def test_thinking_that_would_be_refused_is_dropped(takes: Takes) -> None:
    asked = {"thinking": {"type": "enabled", "budget_tokens": 2_048}}
    assert fit_params(asked, asked, GPT_5, takes) == FittedParams({}, ("thinking",))
    assert fit_params({"thinking": True}, {}, GPT_5, TOOLS) == FittedParams({}, ("thinking",))


def test_the_fields_of_an_extra_body_join_the_others_wherever_it_is_given() -> None:
    section = {"google": {"thinking_config": {"thinking_budget": 5}}}
    for given in (section, {"extra_body": section}, {"extra_body": {"extra_body": section}}):
        assert joined({**given, "seed": 1}) == {"seed": 1, **section}
    assert nested({"seed": 1, **section}, GOOGLE) == {"seed": 1, "extra_body": section}
    assert nested({"seed": 1, **section}, Compat()) == {"seed": 1, **section}
    assert joined({"extra_body": None, "a": 1}) == {"a": 1}
    assert joined({"extra_body": "x"}) == {"extra_body": "x"}
