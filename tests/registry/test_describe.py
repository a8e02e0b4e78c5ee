"""`paymaster check` shows every value with its origin, keys by name, and all of it as JSON."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from paymaster.registry.describe import DescribedValue, describe
from paymaster.registry.schema import registry_json_schema

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = """\
default: gpt
models:
  gpt:
    provider: openai
    model_id: gpt-4o
    rpm: 60
    usd_per_1m_input: 2.50
    usd_per_1m_output: 10
    usd_per_1m_cache_read: 1.25
    tiers: [{above_tokens: 100000, usd_per_1m_input: 5}]
    budget_usd_per_month: 100
    aliases: [four]
  claude: {provider: anthropic, model_id: claude-sonnet-5-5, fallbacks: [gpt]}
  odd: {provider: openai, model_id: unheard-of, capabilities: []}
  mine: {provider: scripted, script: s.yaml}
policies:
  budget_usd_per_run: 5
  budgets:
    - {usd: 1, per: [model, day], models: [gpt, claude]}
    - {usd: 300, per: total}
  fallback_chain: [gpt, mine]
  max_wait_s: 0.5
"""


@pytest.fixture
def table(load):
    environ = {"OPENAI_API_KEY": "sk-not-shown-anywhere"}
    return describe(load(TEXT, environ=environ, flags={"tpm_limit": 9_000}), environ)


def test_each_value_has_its_origin(table):
    gpt, claude, odd, mine = table.models
    assert (gpt.is_default, gpt.chain_place, claude.is_default, claude.chain_place, mine.chain_place) == (True, 1, False, None, 2)
    assert gpt.price == DescribedValue(
        "$2.5 in, $10 out, $1.25 cached per million tokens; from 100,001 prompt tokens $5 in, $10 out, $1.25 cached", "registry line 7"
    )
    assert dict(gpt.limits) == {"rpm": DescribedValue("60", "registry line 6"), "tpm": DescribedValue("9,000", "flag --tpm-limit")}
    assert {key: shown.value for key, shown in gpt.timeouts.items()} == {
        "timeouts.connect_s": "10",
        "timeouts.first_token_s": "90",
        "timeouts.between_chunks_s": "60",
        "timeouts.total_s": "600",
    }
    assert gpt.context_window.value == "128,000"
    assert gpt.context_window.origin.startswith("litellm ")
    assert gpt.endpoint == DescribedValue("https://api.openai.com/v1", "provider openai")
    assert gpt.budgets == (DescribedValue("$100.00 per model and month, gpt only, soft", "registry models.gpt.budget_usd_per_month"),)
    assert (gpt.aliases, gpt.fallbacks, claude.fallbacks) == (("four",), None, ("gpt",))
    assert claude.endpoint.value == "https://api.anthropic.com/v1"
    assert "cache write" in claude.price.value
    assert (odd.price, odd.capabilities.value, odd.context_window) == (DescribedValue("unknown", ""), "none", DescribedValue("unknown", ""))
    assert mine.price == DescribedValue("free", "free: local provider scripted")
    assert mine.endpoint.value.endswith("s.yaml")


def test_keys_are_shown_by_name_and_whether_they_are_set(table):
    assert [(key.variable, key.found) for key in table.models[0].keys] == [("OPENAI_API_KEY", True)]
    assert (table.models[0].key_missing, table.models[1].key_missing) == (None, "ANTHROPIC_API_KEY")
    assert "sk-not-shown" not in json.dumps(asdict(table))


def test_budgets_and_policy_values_have_origins(table):
    assert table.default == DescribedValue("gpt", "registry line 1")
    assert table.budgets == (
        DescribedValue("$5.00 per run, soft", "registry line 17"),
        DescribedValue("$1.00 per model and day, gpt + claude only, soft", "registry policies.budgets[0]"),
        DescribedValue("$300.00 in total, soft", "registry policies.budgets[1]"),
    )
    assert table.policy["hard_stop_on_budget"] == DescribedValue("false: calls over budget are made, and reported", "default")
    assert table.policy["fallback_chain"] == DescribedValue("gpt -> mine", "registry line 21")
    assert table.policy["max_wait_s"] == DescribedValue("0.5", "registry line 22")
    assert table.policy["max_attempts"] == DescribedValue("10", "default")


def test_an_item_of_the_list_of_budgets_has_its_own_origin_in_every_unit(load):
    policies = "{budget_tokens_per_run: 1, budgets: [{usd: 1, tokens: 2, requests: 3, per: day}]}"
    table = describe(load(f"models: {{a: {{provider: ollama}}}}\npolicies: {policies}"), {})
    item = "registry policies.budgets[0]"
    assert [budget.origin for budget in table.budgets] == ["registry line 2", item, f"{item}.tokens", f"{item}.requests"]


def test_a_budget_from_a_flag_has_the_flag_as_its_origin(load):
    table = describe(load("models: {a: {provider: ollama}}", flags={"budget_usd": 2}), {})
    assert table.budgets == (DescribedValue("$2.00 per run, hard", "flag --budget-usd"),)
    assert table.policy["hard_stop_on_budget"] == DescribedValue("true: calls over budget are refused", "default with flag --budget-usd")
    assert table.policy["fallback_chain"].value == "none"
    assert table.default == DescribedValue("a", "default")


def test_the_json_schema_accepts_every_layout():
    schema = registry_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in (TEXT, "model_registry: {models: {a: {provider: x-ai}}}\npolicies: {}", "{$schema: x, models: {a: {provider: gemini}}}"):
        jsonschema.validate(YAML(typ="safe", pure=True).load(text), schema)
    for wrong in ({"models": {}}, {"models": {"a": {"provider": "opnai"}}}, {"models": {"a": {"provider": "openai", "rpm": 0}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_reference_in_the_docs_is_current():
    spec = importlib.util.spec_from_file_location("build_registry_docs", ROOT / "scripts" / "build_registry_docs.py")
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    assert builder.main(["--check"]) == 0, "run scripts/build_registry_docs.py"


def test_the_registry_in_the_docs_loads(load):
    text = (ROOT / "docs" / "registry.md").read_text(encoding="utf-8")
    assert load(text.split("```yaml\n")[1].split("```")[0]).default == "gpt-4o"


def test_reading_flags_loads_neither_pydantic_nor_yaml():
    code = (
        "import sys, paymaster.registry.models, paymaster.registry.presets, paymaster.registry.overrides as overrides; "
        "overrides.read_overrides({}, {'PAYMASTER_X': '1'}); "
        "sys.exit(any(name in sys.modules for name in ('pydantic', 'ruamel.yaml', 'genai_prices')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_adaptive_concurrency_and_the_ledger_policy_are_shown(load):
    text = "models: {a: {provider: openai, model_id: gpt-4o, max_parallel: auto}}\npolicies: {on_ledger_error: refuse}\n"
    registry = load(text)
    table = describe(registry, {})
    assert (registry.models["a"].limits.adapts, registry.models["a"].limits.max_parallel) == (True, None)
    assert table.models[0].limits["max_parallel"].value == "auto"
    assert table.policy["on_ledger_error"] == DescribedValue("refuse: no call without it", "registry line 2")
    assert not registry.policy.goes_on_without_ledger


@pytest.mark.parametrize(
    ("stay", "shown"),
    [
        ("stay: call", "call: every call begins with the first model"),
        ("stay: instance, stay_s: 90", "instance: it goes on with the model that answered last, for 90 s after an answer"),
    ],
)
def test_where_an_instance_goes_on_is_shown(load, stay, shown):
    text = f"models: {{m: {{provider: openai, model_id: gpt-4o}}}}\npolicies: {{{stay}}}\n"
    assert describe(load(text), {}).policy["stay"] == DescribedValue(shown, "registry line 2")
