"""Limits and capabilities of public models are found by exact name, in the shipped file and as its builder makes it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from paymaster.registry.model_data import ModelData, read_shipped_data

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "build_model_data.py"


@pytest.fixture(scope="module")
def data():
    return ModelData()


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_model_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_model_is_found_with_its_limits_capabilities_and_source(data):
    facts = data.lookup("openai", "gpt-4o")
    assert (facts.mode, facts.context_window, facts.max_input_tokens, facts.max_output_tokens) == ("chat", 128_000, 128_000, 16_384)
    assert facts.capabilities >= {"function_calling", "vision", "json_schema", "parallel_tool_calls"}
    assert facts.source.startswith("litellm ")
    assert facts.source.endswith(" model data")


def test_separate_input_and_output_limits_add_up_to_the_window(data):
    facts = data.lookup("openai", "gpt-5")
    assert (facts.max_input_tokens, facts.max_output_tokens, facts.context_window) == (272_000, 128_000, 400_000)
    gemini = data.lookup("google", "gemini-2.5-pro")
    assert gemini.context_window == gemini.max_input_tokens + gemini.max_output_tokens


@pytest.mark.parametrize(
    ("provider", "model_id"),
    [
        ("google", "gemini-2.5-pro"),
        ("google", "gemini/gemini-2.5-pro"),
        ("google", "models/gemini-2.5-pro"),
        ("vertex", "gemini-2.5-pro"),
        ("vertex", "vertex_ai/claude-opus-4-5@20251101"),
        ("azure", "gpt-4o"),
        ("azure", "azure/gpt-4o"),
        ("anthropic", "claude-sonnet-4-5"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("openrouter", "openai/gpt-4o"),
        ("openrouter", "anthropic/claude-sonnet-4-5"),
        ("openrouter", "anthropic/claude-sonnet-4.5"),
        ("openrouter", "google/gemini-2.5-pro"),
        ("openrouter", "google/gemini-2.5-pro:nitro"),
        ("openrouter", "anthropic/claude-sonnet-4.5:online"),
        ("openrouter", "x-ai/grok-4.5"),
        ("litellm", "gemini/gemini-2.5-pro"),
        ("deepseek", "deepseek-chat"),
        ("mistral", "codestral-latest"),
        ("groq", "openai/gpt-oss-120b"),
        ("together", "moonshotai/Kimi-K2-Instruct"),
        ("fireworks", "fireworks_ai/accounts/fireworks/models/qwen3-14b"),
        ("xai", "grok-4.5"),
        ("cohere", "command-r7b-12-2024"),
        ("ollama", "llama3"),
        ("openai", "text-embedding-3-small"),
    ],
)
def test_models_are_found_under_the_names_that_providers_use(data, provider, model_id):
    assert data.lookup(provider, model_id) is not None


@pytest.mark.parametrize(
    ("provider", "model_id"),
    [
        ("openai", "gpt-4o-hyper-2027-01-01"),
        ("openai", "gpt-4"[:4]),
        ("google", "gemini-2.5-pro-max"),
        ("vllm", "openai/gpt-4o"),
        ("openrouter", "nobody/gpt-4o"),
        ("openrouter", "gpt-4o"),
        ("nobody", "gpt-4o"),
    ],
)
def test_an_unknown_name_has_no_facts(data, provider, model_id):
    assert data.lookup(provider, model_id) is None


def test_capabilities_are_unknown_if_none_is_listed(data):
    assert data.lookup("openai", "text-embedding-3-small").capabilities is None


def test_the_file_is_read_once_on_the_first_look_up():
    reads = []
    data = ModelData(lambda: reads.append(1) or read_shipped_data())
    assert not reads
    data.lookup("openai", "gpt-4o")
    data.lookup("openai", "gpt-5")
    assert len(reads) == 1


def test_the_file_is_small_and_holds_no_prices():
    text = read_shipped_data()
    assert len(text) < 400_000
    assert "cost" not in text
    assert set(json.loads(text)) == {"source", "row", "capabilities", "rows", "providers"}


# --------------------------------------------------------------------------------------------------- how it is made


def test_the_builder_keeps_limits_and_capabilities_of_text_models_only(build):
    table = {
        "sample_spec": {"mode": "one of: chat"},
        "gpt-x": {
            "mode": "chat",
            "litellm_provider": "openai",
            "max_input_tokens": 100,
            "max_output_tokens": 20,
            "supports_vision": True,
            "supports_pdf_input": False,
            "input_cost_per_token": 1e-6,
        },
        "gemini/gemini-x": {"mode": "chat", "litellm_provider": "gemini", "max_input_tokens": 100, "max_output_tokens": 20},
        "bedrock/eu-west-1/m": {"mode": "chat", "litellm_provider": "bedrock", "max_input_tokens": 100, "max_output_tokens": 0},
        "vertex_ai/m": {"mode": "chat", "litellm_provider": "vertex_ai-m_models", "max_output_tokens": 7},
        "painter": {"mode": "image_generation", "litellm_provider": "openai", "max_input_tokens": 100},
        "unheard-of": {"mode": "chat", "litellm_provider": "openai"},
        "homeless": {"mode": "chat", "max_input_tokens": 5},
    }
    text = build.render(table, "litellm 0 model data")
    data = ModelData(lambda: text)
    assert "1e-06" not in text
    found = data.lookup("openai", "gpt-x")
    assert (found.context_window, found.max_output_tokens, found.capabilities) == (100, 20, frozenset({"vision"}))
    assert data.lookup("google", "gemini-x").context_window == 120
    assert data.lookup("google", "gemini-x").capabilities is None
    assert data.lookup("bedrock", "eu-west-1/m").max_output_tokens is None
    assert data.lookup("vertex", "m").max_output_tokens == 7
    assert all(data.lookup("openai", name) is None for name in ("painter", "unheard-of", "homeless"))


def test_the_shipped_file_is_current(build):
    spec = importlib.util.find_spec("litellm")
    source = json.loads(read_shipped_data())["source"]
    if spec is None or source != f"litellm {build.version('litellm')} model data":
        pytest.skip("the table that the file was made from is not installed here")
    table = json.loads((Path(spec.origin).parent / build.TABLE).read_text(encoding="utf-8"))
    assert build.render(table, source) == read_shipped_data()


def test_the_builder_without_litellm_names_the_missing_package():
    # -S and -I leave the interpreter without installed packages.
    done = subprocess.run([sys.executable, "-S", "-I", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "litellm is not installed" in done.stderr
