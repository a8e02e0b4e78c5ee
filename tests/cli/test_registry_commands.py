"""`init`, `check` and `schema`: a registry is written, checked, refused and called."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from paymaster.registry.presets import PRESETS
from paymaster.registry.recognising import FILE_KINDS
from redis_servers import free_port

MODEL = "  m: {provider: openai, model_id: gpt-4o"
R3 = """\
model_registry:
  default: gpt-4o
  models:
    gpt-4o: {provider: openai, model_id: gpt-4o, rpm: 60, tpm: 180000, usd_per_1k_input: 5e-3, usd_per_1k_output: 15e-3, \
capabilities: [function_calling]}
    gemini-pro: {provider: google, model_id: gemini-2.5-pro, rpm: 60, tpm: 200000, usd_per_1k_input: 1e-3, usd_per_1k_output: 2e-3}
    local-llm: {provider: openrouter, model_id: qwen2.5-coder, base_url: http://localhost:11434, rpm: 120, tpm: 300000}
  policies:
    budget_usd_per_run: 5.00
    fallback_chain: [gpt-4o, gemini-pro, local-llm]
    hard_stop_on_budget: true
"""


# ---------------------------------------------------------------------------------------------------------------- init


def test_init_writes_a_registry_that_check_accepts(paymaster):
    ended = paymaster("init")
    assert (ended.status, ended.err) == (0, "")
    assert "registry.yaml" in ended.out
    assert paymaster("check", "registry.yaml").status == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_comments_and_no_mistakes(paymaster, preset):
    assert paymaster("init", "--preset", preset, "--output", "r.yaml").status == 0
    assert "#" in Path("r.yaml").read_text(encoding="utf-8")
    assert paymaster("check", "r.yaml").status == 0


def test_init_overwrites_only_with_force(paymaster):
    Path("registry.yaml").write_text("mine")
    ended = paymaster("init")
    assert ended.status == 2
    assert "registry.yaml already exists" in ended.err
    assert "--force" in ended.err
    assert Path("registry.yaml").read_text() == "mine"
    assert paymaster("init", "--force").status == 0
    assert "mine" not in Path("registry.yaml").read_text()
    assert [path.name for path in Path().iterdir()] == ["registry.yaml"]


def test_init_to_standard_output(paymaster):
    ended = paymaster("init", "-p", "local", "-o", "-")
    assert "models" in str(YAML(typ="safe").load(ended.out))
    assert not Path("registry.yaml").exists()


def test_an_unknown_preset_is_a_mistake_and_names_the_nearest(paymaster):
    ended = paymaster("init", "--preset", "hostd")
    assert ended.status == 2
    assert "hosted" in ended.err
    assert not Path("registry.yaml").exists()


@pytest.mark.parametrize("output", ["nowhere/registry.yaml", "."])
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_an_unwritable_output_path_is_a_mistake(paymaster, output, force):
    ended = paymaster("init", "--output", output, *force)
    assert ended.status == 2
    assert ended.err.startswith("Error: ")


# -------------------------------------------------------------------------------------------------------------- schema


def test_the_schema_is_valid_and_accepts_the_presets(paymaster):
    schema = json.loads(paymaster("schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    for preset in PRESETS:
        jsonschema.validate(YAML(typ="safe").load(paymaster("init", "-p", preset, "-o", "-").out), schema)


# --------------------------------------------------------------------------------------------------------------- check


def test_a_registry_with_alternative_keys_is_accepted(paymaster, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789abcdef")
    Path("r.yaml").write_text(R3)
    ended = paymaster("check", "r.yaml")
    assert ended.status == 0
    for text in (
        "gpt-4o",
        "gemini-2.5-pro",
        "http://localhost:11434/v1",
        "$5 in, $15 out",
        "rpm 60, tpm 180,000",
        "$5.00 per run",
        "OPENAI_API_KEY set",
    ):
        assert text in ended.out, text
    assert "GEMINI_API_KEY" in ended.err
    assert "canary" not in ended.out + ended.err


def test_check_shows_the_origin_of_each_value(paymaster, monkeypatch):
    monkeypatch.setenv("PAYMASTER_TPM_LIMIT", "5000")
    Path("r.yaml").write_text(R3)
    ended = paymaster("check", "r.yaml", "--origins", "--rpm-limit", "7", "--budget-usd", "3")
    lines = {tuple(line.split()[:2]): line for line in ended.out.splitlines()}
    assert "7 " in lines["gpt-4o", "rpm"]
    assert lines["gpt-4o", "rpm"].endswith("flag --rpm-limit")
    assert lines["gpt-4o", "tpm"].endswith("environment PAYMASTER_TPM_LIMIT")
    assert lines["gpt-4o", "price"].endswith("registry line 4")
    assert "$3.00 per run" in ended.out
    assert "flag --budget-usd" in ended.out


def test_check_as_json_has_values_and_origins(paymaster):
    Path("r.yaml").write_text(R3)
    shown = json.loads(paymaster("check", "r.yaml", "--json").out)
    model = shown["models"][0]
    assert (model["name"], model["is_default"], model["chain_place"]) == ("gpt-4o", True, 1)
    assert model["limits"]["rpm"] == {"value": "60", "origin": "registry line 4"}
    assert {"variable": "OPENAI_API_KEY", "found": False} in model["keys"]
    assert shown["live"] is None
    assert any("OPENAI_API_KEY" in warning for warning in shown["warnings"])


@pytest.mark.parametrize("variable", ["PAYMASTER_MODEL_REGISTRY", ""])
def test_the_registry_may_come_from_flag_or_environment(paymaster, monkeypatch, variable):
    Path("r.yaml").write_text(R3)
    if variable:
        monkeypatch.setenv(variable, "r.yaml")
    assert paymaster("check", *(() if variable else ("--model-registry", "r.yaml"))).status == 0


def test_two_different_registries_are_a_mistake(paymaster):
    assert paymaster("check", "a.yaml", "--model-registry", "b.yaml").status == 2


def test_no_registry_is_a_mistake_with_advice(paymaster):
    ended = paymaster("check")
    assert ended.status == 2
    assert "--model-registry" in ended.err
    assert "paymaster init" in ended.err


def test_an_unpriced_model_under_a_hard_budget_is_warned_of(paymaster):
    Path("r.yaml").write_text(
        "models: {m: {provider: openai, model_id: no-such-model}}\npolicies: {budget_usd_per_run: 1, hard_stop_on_budget: true}\n"
    )
    ended = paymaster("check", "r.yaml")
    assert ended.status == 0
    assert "price" in ended.err


MISTAKES = {
    "empty": ("", "empty"),
    "not yaml": ("models: {a: [}", "r.yaml:1"),
    "a list": ("- a\n- b\n", "must be a map"),
    "a tab": ("models:\n\tm: {provider: openai}\n", "r.yaml:2"),
    "a key twice": (f"models:\n{MODEL}}}\n{MODEL}}}\n", "r.yaml:3"),
    "negative price": (f"models:\n{MODEL}, usd_per_1k_input: -1, usd_per_1k_output: 1}}\n", "0 or more, got -1"),
    "price that is not a number": (f"models:\n{MODEL}, usd_per_1k_input: .nan, usd_per_1k_output: 1}}\n", "usd_per_1k_input"),
    "endless budget": (f"models:\n{MODEL}}}\npolicies: {{budget_usd_per_run: .inf}}\n", "budget_usd_per_run"),
    "rpm 0": (f"models:\n{MODEL}, rpm: 0}}\n", "at least 1"),
    "unknown provider": ("models:\n  m: {provider: opnai}\n", "did you mean openai?"),
    "unknown capability": (f"models:\n{MODEL}, capabilities: [function_caling]}}\n", "function_calling"),
    "unknown key": (f"models:\n{MODEL}, rmp: 3}}\n", "did you mean rpm?"),
    "unknown model in the chain": (f"models:\n{MODEL}}}\npolicies: {{fallback_chain: [mm]}}\n", "unknown model 'mm'"),
    "a chain that names itself": (f"models:\n{MODEL}, fallbacks: [m]}}\n", "itself"),
    "a key in the file": (f"models:\n{MODEL}, api_key: sk-canary-0123456789abcdef0123}}\n", "api_key"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_file_and_is_status_2(paymaster, name):
    text, expected = MISTAKES[name]
    Path("r.yaml").write_text(text)
    ended = paymaster("check", "r.yaml")
    assert (ended.status, ended.out) == (2, "")
    assert "r.yaml" in ended.err
    assert expected in ended.err
    assert "canary" not in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "words", [("check",), ("ask", "Hi", "--model-registry"), ("explain",), ("serve",), ("init", "--for", "mini", "--model-registry")]
)
def test_another_programs_file_is_named_by_every_command_that_loads_a_registry(paymaster, words):
    Path("config.yaml").write_text("model_list:\n  - {model_name: a, litellm_params: {model: openai/gpt-4o}}\n")
    ended = paymaster(*words, "config.yaml")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        "Error: config.yaml: this is a config of LiteLLM, not a registry (to convert it: paymaster init --from litellm config.yaml)\n"
    )


def test_the_advice_about_other_files_names_commands_that_exist(paymaster):
    commands = {words for row in FILE_KINDS for words in re.findall(r"paymaster ([a-z]+(?: (?:import|post|update|list)\b)?)", row.advice)}
    assert {"init", "exec", "ledger import", "ledger post", "prices update", "keys list"} <= commands
    for words in sorted(commands):
        assert paymaster(*words.split(), "--help").status == 0, words


def test_all_mistakes_are_named_at_once(paymaster):
    Path("r.yaml").write_text("default: a\nmodels:\n  a: {provider: opnai}\n  b: {provider: openai, rpm: 0}\n")
    ended = paymaster("check", "r.yaml")
    first, *lines = ended.err.splitlines()
    assert first == "Error: 2 mistakes"
    assert [line[:9] for line in lines] == ["r.yaml:3:", "r.yaml:4:"]


@pytest.mark.parametrize(("words", "expected"), [(("nowhere.yaml",), "nowhere.yaml"), ((".",), ".")])
def test_an_unreadable_registry_is_a_mistake(paymaster, words, expected):
    ended = paymaster("check", *words)
    assert ended.status == 2
    assert expected in ended.err


@pytest.mark.parametrize(
    "words", [("--budget-usd", "much"), ("--budget-usd", "nan"), ("--budget-usd", "-1"), ("--rpm-limit", "0"), ("--rpm-limit", "x")]
)
def test_an_invalid_flag_is_a_mistake_and_named(paymaster, words):
    Path("r.yaml").write_text(R3)
    ended = paymaster("check", "r.yaml", *words)
    assert ended.status == 2
    assert words[0] in ended.err


def test_an_invalid_variable_is_a_mistake_and_named(paymaster, monkeypatch):
    monkeypatch.setenv("PAYMASTER_BUDGET_USD", "much")
    Path("r.yaml").write_text(R3)
    ended = paymaster("check", "r.yaml")
    assert ended.status == 2
    assert "PAYMASTER_BUDGET_USD" in ended.err


def test_an_unknown_variable_is_warned_of(paymaster, monkeypatch):
    monkeypatch.setenv("PAYMASTER_BUGDET_USD", "1")
    Path("r.yaml").write_text(R3)
    assert "PAYMASTER_BUGDET_USD" in paymaster("check", "r.yaml").err


# -------------------------------------------------------------------------------------------------------- check --live


def test_live_asks_each_model_once_and_prints_the_cost(paymaster, registry):
    ended = paymaster("check", registry, "--live")
    assert ended.status == 1
    answers = {line.split()[0]: line.split()[1] for line in ended.out.split("Live check\n")[1].splitlines()[1:-1]}
    assert answers["fast"] == answers["backup"] == "yes"
    assert answers["dead"] == answers["faulty"] == "no"
    assert "The answers cost $0.00" in ended.out


def test_live_is_paid_for_in_the_ledger(paymaster, registry):
    shown = json.loads(paymaster("check", registry, "--live", "--json", "--run-id", "checked").out)
    cost = sum(answer["cost_nanousd"] for answer in shown["live"])
    report = json.loads(paymaster("report", "--json", "--run-id", "checked").out)
    assert 0 < cost <= report["total"]["cost_nanousd"]
    assert report["ledger_agrees"] is True


def test_live_with_good_endpoints_is_status_0(paymaster, registry):
    text = registry.read_text()
    registry.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("  faulty", "  dead", "  cut", "  slow"))))
    ended = paymaster("check", registry, "--live")
    assert ended.status == 0
    assert ended.err == ""


def test_live_stays_within_the_budget(paymaster, registry):
    ended = paymaster("check", registry, "--live", "--budget-usd", "0.000001")
    assert ended.status == 1
    assert "budget" in ended.out
    assert json.loads(paymaster("report", "--json").out)["total"]["cost_nanousd"] == 0


def test_live_asks_an_embedding_model_for_a_vector(paymaster, registry, server):
    vectors = f"{{provider: openai_compatible, base_url: '{server.base_url}', model_id: fast, capabilities: [embeddings], price: free}}"
    registry.write_text(f"models: {{fast: {vectors}}}\n")
    ended = paymaster("check", registry, "--live")
    assert (ended.status, ended.err) == (0, "")
    assert "embeddings" in ended.out
    assert server.bill(lines=True)["lines"][-1]["completion_tokens"] == 0


def test_check_and_explain_accept_embedding_models(paymaster):
    models = "models: {talks: {provider: openai, model_id: gpt-4o}, vectors: {provider: openai, model_id: text-embedding-3-small}}"
    Path("r.yaml").write_text(f"default: talks\n{models}\npolicies: {{fallback_chain: [vectors, talks]}}\n")
    ended = paymaster("check", "r.yaml")
    assert ended.status == 0
    assert "embeddings" in ended.out
    shown = json.loads(paymaster("check", "r.yaml", "--json").out)
    assert [model["max_output_tokens"]["value"] for model in shown["models"] if model["name"] == "vectors"] == ["none"]
    explained = paymaster("explain", "r.yaml", "-m", "vectors", "--prompt", "Why?")
    assert "it lacks chat: it makes embeddings" in explained.out


def test_check_warns_of_server_settings_that_break_hard_budgets(paymaster, registry, redis_url):
    ended = paymaster("check", registry, "--ledger", redis_url)
    assert ended.status == 0
    assert "appendfsync is everysec: a crash of its machine forgets" in ended.err
    shown = json.loads(paymaster("check", registry, "--ledger", redis_url, "--json").out)
    assert any("Set appendfsync always" in warning for warning in shown["warnings"])


def test_check_shows_the_registry_before_the_unavailable_ledger(paymaster, registry):
    ended = paymaster("check", registry, "--ledger", f"redis://ann:s3cret@127.0.0.1:{free_port()}?timeout_ms=50")
    assert ended.status == 2
    assert "Models" in ended.out
    assert "did not answer" in ended.err
    assert "s3cret" not in ended.err
