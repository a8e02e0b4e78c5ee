"""Every mistake in a registry has one message: line, key, what was expected, nearest spelling."""

# ruff: noqa: E501 -- a row of these tables is an input and its whole message

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.errors import RegistryInvalid
from paymaster.registry.loading import load_registry
from paymaster.registry.overrides import Overrides
from paymaster.registry.yamltext import read_file, read_yaml

A = "models:\n  a:\n    provider: ollama\n"
AB = "default: a\nmodels:\n  a: {provider: ollama}\n  b: {provider: ollama}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the file is empty (a registry starts with models:, see: paymaster init)"),
        ("# nothing\n---\n", "1: the file is empty (a registry starts with models:, see: paymaster init)"),
        ("- a\n- b\n", "1: must be a map of keys and values, with models: at its top"),
        ("hello", "1: must be a map of keys and values, with models: at its top"),
        ("model_registry: [a]", "1: model_registry: must be a map with models: in it"),
        ("model_registry:\n", "1: model_registry: must be a map with models: in it"),
        ("models:\n", "1: models: must be a map with at least one model, each under its name (models: {gpt-4o: {provider: openai, model_id: gpt-4o}})"),
        ("model_registry: {default: a}", "1: model_registry.models: must be a map with at least one model, each under its name (models: {gpt-4o: {provider: openai, model_id: gpt-4o}})"),
        ("models: [a]", "1: models: must be a map with at least one model, each under its name (models: {gpt-4o: {provider: openai, model_id: gpt-4o}})"),
        ("models:\n\ta: 1\n", "2: invalid YAML: indented with a tab (use spaces)"),
        ("a: @\n", "1: invalid YAML: found character '@' that cannot start any token"),
        ("models: {a: [1,\n2\n", "3: invalid YAML: expected ',' or ']', but got '<stream end>', while parsing a flow sequence that begins on line 1"),
        ("a: b: c", "1: invalid YAML: mapping values are not allowed here"),
        ("a: \x01", "1: invalid YAML: a control character"),
        ("a: 1\n---\nb: 1\n", "2: a second YAML document starts here; a registry must be one document"),
        ("a: *nowhere", "1: invalid YAML: found undefined alias 'nowhere'"),
        ("a: &a [*a]", "1: a[0]: this value contains itself"),
        ("a: !secret x", "1: a: the tag !secret is not supported"),
        ("a: !!int x", "1: a: this is tagged as a number but isn't one"),
        ("a: !!float x", "1: a: this is tagged as a number but isn't one"),
        ("? [a]\n: b", "1: a key must be plain text"),
        ("a: {<<: 5}", "1: a: `<<` merges maps, and this is not a map"),
        (f"{A}    rpm: 1\n    tpm: 2\n    rpm: 3\n", "6: models.a.rpm: duplicate key, first on line 4"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_registry_is_refused(problems, text, expected):
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("base_url: https://$/v1", "base_url: has a $ that begins no name of a variable (write $NAME or ${NAME})"),
        ("base_url: https://${A B}/v1", "base_url: has a $ that begins no name of a variable (write $NAME or ${NAME})"),
        ("account: $TEAM", "account: must be a name, and no variable is put in here, got '$TEAM' (account: team-a)"),
        ("rpm: 0", "rpm: must be a whole number of at least 1, got 0"),
        ("rpm: -3", "rpm: must be a whole number of at least 1, got -3"),
        ("rpm: 1.5", "rpm: must be a whole number of at least 1, got 1.5"),
        ("rpm: true", "rpm: must be a whole number of at least 1, got true"),
        ("rpm: many", "rpm: must be a whole number of at least 1, got 'many'"),
        ("rpm: [1]", "rpm: must be a whole number of at least 1, got a list"),
        ("rpm: {}", "rpm: must be a whole number of at least 1, got a map"),
        ("tpm: 1e13", "tpm: must be at most 1,000,000,000,000, got 1E+13"),
        (f"tpm: {'9' * 5000}", f"tpm: must be at most 1,000,000,000,000, got {'9' * 60}"),
        ("usd_per_1k_input: -1", "usd_per_1k_input: must be a price in dollars, 0 or more, got -1"),
        ("usd_per_1k_input: .nan", "usd_per_1k_input: must be a price in dollars, 0 or more, got NaN"),
        ("usd_per_1k_input: nan", "usd_per_1k_input: must be a price in dollars, 0 or more, got 'nan'"),
        ("usd_per_1k_input: .inf", "usd_per_1k_input: must be a price in dollars, 0 or more, got Infinity"),
        ("usd_per_1k_input: $5", "usd_per_1k_input: must be a price in dollars, 0 or more, got '$5'"),
        ("usd_per_1k_input: 1e-99999999", "usd_per_1k_input: must have at most 18 decimals"),
        ("budget_usd_per_run: -1", "budget_usd_per_run: must be an amount in dollars, 0 or more, got -1"),
        ("budget_usd_per_run: -.inf", "budget_usd_per_run: must be an amount in dollars, 0 or more, got -Infinity"),
        ("budget_usd_per_run: 1e10", "budget_usd_per_run: must be at most 1,000,000,000, got 1E+10"),
        ("price: fre", "price: must be 'free' (a price is written as usd_per_1m_input: 3 and usd_per_1m_output: 15, beside model_id)"),
        ("price: {input: 3}", "price: must be 'free' (a price is written as usd_per_1m_input: 3 and usd_per_1m_output: 15, beside model_id)"),
        ("model_id: []", "model_id: must be text, got a list"),
        ("model_id: ''", "model_id: must be text, got ''"),
        ("model_id: true", "model_id: must be text, got true"),
        ("capabilities: [function_caling]", "capabilities: unknown capability 'function_caling' (did you mean function_calling?)"),
        ("capabilities: {a: 1}", "capabilities: must be text, got a map"),
        ("tiers: {}", "tiers: must be a list"),
        ("tiers: [5]", "tiers[0]: must be a map of keys and values"),
        ("tiers: [{}]", "tiers[0]: must start with either above_tokens (only longer prompts) or from_tokens (this length too)"),
        ("tiers: [{above_tokens: 5, from_tokens: 6}]", "tiers[0]: must start with either above_tokens (only longer prompts) or from_tokens (this length too)"),
        ("tiers: [{from_token: 5}]", "tiers[0].from_token: unknown key (did you mean from_tokens?)"),
        ("tiers: [{from_tokens: 0}]", "tiers[0].from_tokens: must be a whole number of at least 1, got 0"),
        ("timeouts: 5", "timeouts: must be a map of keys and values"),
        ("server_tools: {web_search: {max_use: 5}}", "server_tools.web_search.max_use: unknown key (did you mean max_uses?)"),
        ("timeouts: {totl_s: 5}", "timeouts.totl_s: unknown key (did you mean total_s?)"),
        ("timeouts: {total_s: 0}", "timeouts.total_s: must be a time in seconds, at least 0.001, got 0"),
        ("timeouts: {total_s: 5, first_token_s: 6}", "timeouts.first_token_s: 6 is more than total_s: 5"),
        ("base_url: localhost:11434", "base_url: must be an http:// or https:// address, got 'localhost:11434' (did you mean http://localhost:11434?)"),
        ("base_url: ftp://x", "base_url: must be an http:// or https:// address, got 'ftp://x'"),
        ("base_url: 5", "base_url: must be an http:// or https:// address, got 5"),
        ("base_url: 'http://['", "base_url: must be an http:// or https:// address; this one can't be parsed"),
        ("budgets: [{usd: 1, per: week}]", "budgets[0].per: a budget can't be per 'week' (known: run, batch, instance, user, key, model, day, month, total)"),
        ("budgets: [{usd: 1, per: runs}]", "budgets[0].per: a budget can't be per 'runs' (did you mean run?)"),
        ("budgets: [{usd: 1, per: []}]", "budgets[0].per: must name at least one dimension (known: run, batch, instance, user, key, model, day, month, total)"),
        ("budgets: [{usd: 1, per: [run, run]}]", "budgets[0].per: a dimension is given twice"),
        ("budgets: [{usd: 1, per: [run, total]}]", "budgets[0].per: total can't be combined: it is a budget for all time"),
        ("budgets: [{usd: 1, per: run, models: [a]}]", "budgets[0].models: this budget is for a only; put a budget over several models into policies"),
        ("budgets: [{per: run}]", "budgets[0]: a budget needs a cap: usd, tokens or requests"),
        ("extra_headers: [a]", "extra_headers: must be a map of header names to text, got a list"),
        ("extra_headers: {X: true}", "extra_headers: X: must be one line of text"),
        ('extra_headers: {X: "a\\nb"}', "extra_headers: X: must be one line of text"),
        ("params: [a]", "params: must be a map of request parameters, got a list"),
        ("params: {model: other}", "params: model: is no default parameter: each call sets its own"),
        ("params: {extra_body: {messages: []}}", "params: messages: is no default parameter: each call sets its own"),
        ("params: {extra_body: {n: 1.5}}", "params: n: must be a whole number of at least 1, got 1.5"),
        ("params: {temperature: .nan}", "params: temperature: must be a finite number"),
        ("params: {temperature: 1e400}", "params: temperature: must be a finite number"),
        (f"params: {{seed: {'9' * 400}}}", "params: seed: must be a finite number"),
        ("params: {max_tokens: 9223372036854775807}", "params: max_tokens: must be at most 2,147,483,647, got 9223372036854775807"),
        ("params: {max_completion_tokens: -1}", "params: max_completion_tokens: must be a whole number of at least 1, got -1"),
        ("params: {n: 1000000000000}", "params: n: must be at most 10,000, got 1000000000000"),
        ("params: {n: true}", "params: n: must be a whole number of at least 1, got true"),
        ("params: {n: 1.5}", "params: n: must be a whole number of at least 1, got 1.5"),
        ("params: {dimensions: .inf}", "params: dimensions: must be a whole number of at least 1, got Infinity"),
        ("timeouts: {total_s: 1e10}", "timeouts.total_s: must be at most 2,592,000, got 1E+10"),
        ("usd_per_1m_input: 1e7\n    usd_per_1m_output: 1", "usd_per_1m_input: must be at most 1,000,000, got 1E+7"),
        ("max_input_tokens: 5\n    context_window: 4", "max_input_tokens: 5 is more than context_window: 4"),
        ("tokenizer: nobody-7b", "tokenizer: 'nobody-7b' has no known tokenizer (name a model such as gpt-4o, claude-sonnet-4-5, qwen3-coder, llama-3.3, or bytes)"),
        ("input_tpm: 5\n    tpm: 4", "input_tpm: 5 is more than tpm: 4"),
        ("usd_per_1k_input: 1\n    usd_per_1m_input: 1000\n    usd_per_1k_output: 1", "usd_per_1k_input: usd_per_1k_input and usd_per_1m_input give the same price: keep only one"),
        ("price: free\n    usd_per_1k_input: 1", "price: a free model can't have another price: remove one of the two"),
        ("tiers: [{above_tokens: 5}]", "tiers: tiers need a base price too: usd_per_1m_input and usd_per_1m_output"),
        ("fallbacks: [a]", "fallbacks[0]: a can't fall back to itself"),
        ("fallbacks: [b]", "fallbacks[0]: unknown model 'b' (known: a)"),
        ("api_version: v1", "api_version: Ollama has no API versions (api_version is for azure)"),
        ("script: s.yaml", "script: only provider: scripted takes a script"),
        ("apibase: x", "apibase: unknown key (did you mean base_url?)"),
        ("api_base: x", "api_base: unknown key (did you mean base_url?)"),
        ("temperature: 1", "temperature: unknown key (request parameters go under params: {temperature: …})"),
        ("max_tokens: 1", "max_tokens: unknown key (did you mean max_output_tokens?)"),
        ("usd_per_1k_inputs: 1", "usd_per_1k_inputs: unknown key (did you mean usd_per_1k_input?)"),
        ("stay: instance", "stay: unknown key (it is a key of policies)"),
        ("budget_usd_per_batch: 3", "budget_usd_per_batch: unknown key (it is a key of policies)"),
        ("fallback_chain: [a]", "fallback_chain: unknown key (did you mean fallbacks?)"),
        ("timeouts: {rpm: 5}", "timeouts.rpm: unknown key (it is a key of a model, under models)"),
        ("aliases: [default]", "aliases[0]: 'default' is already the name of the default model"),
        ("aliases: [a]", "aliases[0]: 'a' is already the name of a"),
        ("api_key: $A\n    api_key_env: A", "api_key: api_key and api_key_env have the same meaning: give only one"),
    ],
)  # fmt: skip
def test_an_invalid_value_of_a_model_is_reported_with_line_and_key(problems, line, expected):
    found = problems(f"{A}    {line}\n")
    assert [text for text in found if text == f"4: models.a.{expected}"] == found


def test_an_incomplete_price_and_a_section_that_is_no_map_are_reported(problems):
    assert problems(f"{A}    usd_per_1k_input: 1\n") == [
        "2: models.a: the price is incomplete: usd_per_1m_output is missing (usd_per_1m_output: 0 if it costs nothing)"
    ]
    assert problems("models:\n  a: ollama\npolicies: 5\n") == [
        "2: models.a: must be a map of keys and values",
        "3: policies: must be a map of keys and values",
    ]
    assert problems("models:\n  a: {}\n") == ["2: models.a.provider: this key is required"]


def test_tiers_ascend(problems):
    price = f"{A}    usd_per_1m_input: 1\n    usd_per_1m_output: 1\n"

    def reported(tiers):
        return problems(f"{price}    tiers: {tiers}\n")

    ending = "prompt tokens, where the prices before it start"
    assert reported("[{above_tokens: 5}, {above_tokens: 5}]") == [f"6: models.a.tiers[1].above_tokens: must start above 6 {ending}"]
    assert reported("[{above_tokens: 5}, {from_tokens: 6}]") == [f"6: models.a.tiers[1].from_tokens: must start above 6 {ending}"]
    assert reported("[{from_tokens: 1}]") == [f"6: models.a.tiers[0].from_tokens: must start above 1 {ending}"]


OVER_HTTP = "is spoken over HTTP only, and litellm calls this model (remove dialect, or set adapter: openai_http and base_url)"


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("opnai", "provider: unknown provider 'opnai' (did you mean openai?)"),
        ("geminy", "provider: unknown provider 'geminy' (did you mean google?)"),
        ("azure", "provider azure needs base_url: it has no address of its own"),
        ("openai_compatible", "provider openai_compatible needs base_url: it has no address of its own"),
        ("scripted", "provider scripted needs either script: (a file of answers) or base_url: (a scripted server)"),
        (
            "bedrock, adapter: openai_http",
            "adapter: openai_http needs base_url: AWS Bedrock has no known endpoint for OpenAI's wire format",
        ),
        ("openai, adapter: http", "adapter: must be 'openai_http' or 'litellm'"),
        ("openai, dialect: response", "dialect: must be 'chat', 'responses' or 'messages' (did you mean responses?)"),
        ("openai, dialect: qqq", "dialect: must be 'chat', 'responses' or 'messages'"),
        ("openai, adapter: litellm, dialect: responses", f"dialect: responses {OVER_HTTP}"),
        ("bedrock, dialect: messages", f"dialect: messages {OVER_HTTP}"),
        ("scripted, script: s.yaml, dialect: messages", "dialect: a script has no wire format (remove dialect)"),
        ("openai, adapter: http, dialect: messages", "adapter: must be 'openai_http' or 'litellm'"),
    ],
)
def test_a_provider_without_an_address_is_refused(problems, provider, expected):
    prefix = "1: models.a: " if expected.startswith("provider ") else "1: models.a."
    assert problems(f"models: {{a: {{provider: {provider}}}}}") == [f"{prefix}{expected}"]


def test_an_unknown_provider_without_a_similar_name_lists_all_providers(problems):
    [found] = problems("models: {a: {provider: qqqqq}}")
    assert "known: openai, anthropic, google" in found
    assert "provider: openai_compatible, with its base_url" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{AB}policies:\n  fallback_chain: [a, c]\n", ["6: policies.fallback_chain[1]: unknown model 'c' (known: a, b)"]),
        (f"{AB}policies:\n  fallback_chain: [a, A1]\n", ["6: policies.fallback_chain[1]: unknown model 'A1' (did you mean a?)"]),
        (f"{AB}policies:\n  fallback_chain:\n    - a\n    - b\n    - a\n", ["9: policies.fallback_chain[2]: a is in the chain twice"]),
        (f"{AB}policies:\n  fallback_chain: &c [a, *c]\n", ["6: policies.fallback_chain[1]: this value contains itself"]),
        (f"{AB}policies:\n  fallback_chain: {{a: b}}\n", ["6: policies.fallback_chain: must be text, got a map"]),
        (f"{AB}policies:\n  backoff_initial_s: 5\n  backoff_max_s: 1\n", ["6: policies.backoff_initial_s: 5 is more than backoff_max_s: 1"]),
        (f"{AB}policies:\n  warn_at: [0.5, 2]\n", ["6: policies.warn_at[1]: must be at most 1, got 2"]),
        (f"{AB}policies:\n  warn_at: 0.5\n", ["6: policies.warn_at: must be a list"]),
        (f"{AB}policies:\n  hard_stop_on_budget: maybe\n", ["6: policies.hard_stop_on_budget: must be true or false, got 'maybe'"]),
        (f"{AB}policies:\n  hard_stop_on_budget: 1.5\n", ["6: policies.hard_stop_on_budget: must be true or false, got 1.5"]),
        (f"{AB}policies:\n  retries_per_model: -1\n", ["6: policies.retries_per_model: must be a whole number, 0 or more, got -1"]),
        (f"{AB}policies:\n  budget_usd: 5\n", ["6: policies.budget_usd: unknown key (did you mean budget_usd_per_run?)"]),
        (f"{AB}policies:\n  budget_usd_per_run: 5\n  budgets:\n    - {{usd: 1, per: run}}\n", ["8: policies.budgets[0]: there is already a budget per run for the same models"]),
        (f"{AB}policies:\n  budgets: [{{usd: 1, per: total}}, {{usd: 1, per: total}}]\n", ["6: policies.budgets[1]: there is already a budget per total for the same models"]),
        (f"{AB}policies:\n  budgets: [{{usd: 1, per: day, models: [c]}}]\n", ["6: policies.budgets[0].models[0]: unknown model 'c' (known: a, b)"]),
        (AB.replace("default: a", "default: aa"), ["1: default: unknown model 'aa' (did you mean a?)"]),
        (AB.replace("default: a", "default: [a]"), ["1: default: must be the name of a model"]),
        (AB.replace("default: a", "default: ''"), ["1: default: must be the name of a model"]),
        (AB.replace("  b:", "  key/b:", 1), ["4: models.key/b: a model can't be called 'key/b': accounts of the ledger have such names (use another name)"]),
        (AB.replace("default: a\n", ""), ["1: default: is missing; it is needed with more than one model and no fallback_chain (default: a)"]),
        (f"{AB}policies:\n  stay_s: 60\n", ["6: policies.stay_s: without stay: instance it means nothing (add stay: instance, or remove stay_s)"]),
        (f"{AB}policies:\n  stay: instanse\n  stay_s: 60\n", ["6: policies.stay: must be 'call' or 'instance' (did you mean instance?)"]),
        (f"{AB}policies:\n  balance: order\n", ["6: policies.balance: unknown key (it is a key of a model, under models)"]),
        (f"{AB}policies:\n  fallbacks: [a]\n", ["6: policies.fallbacks: unknown key (did you mean fallback_chain?)"]),
        (f"{AB}endpoints: []\n", ["5: endpoints: unknown key (it is a key of a model, under models)"]),
        (f"{AB}never_mix: true\n", ["5: never_mix: unknown key (it is a key of policies)"]),
        (f"{AB}zork: 1\n", ["5: zork: unknown key (known: default, models, policies, prices)"]),
        (f"{AB}polices: {{}}\n", ["5: polices: unknown key (did you mean policies?)"]),
        ("model_registry: {models: {a: {provider: ollama}}}\nagent: {}\n", ["2: agent: unknown key (known: model_registry, policies)"]),
        ("model_registry: {models: {a: {provider: ollama}}, policies: {}}\npolicies: {}\n", ["2: policies: policies are given twice, also on line 1 (join the two)"]),
        ("default: a\nmodel: {a: 1}\n", ["1: there is neither model_registry: nor models: here (see: paymaster init)", "2: model: unknown key (did you mean models?)"]),
        ("models: {default: {provider: ollama}}", ["1: models.default: the name default is reserved for the default model"]),
        ('models: {"": {provider: ollama}}', ["1: models.: a model's name must be printable text"]),
        ('models: {"a\\nb": {provider: ollama}}', ["1: models.a\nb: a model's name must be printable text"]),
    ],
)  # fmt: skip
def test_invalid_policies_and_names_are_reported(problems, text, expected):
    assert problems(text) == expected


def test_a_registry_embedded_in_another_config_must_have_its_section(problems):
    assert problems("models: {a: {provider: ollama}}", embedded=True) == [
        "1: there is neither model_registry: nor models: here (see: paymaster init)"
    ]


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(problems):
    text = """\
default: gpt
models:
  gpt4:
    provider: opnai
    rpm: 0
    capabilities: [function_caling]
    fallbacks: [nobody]
    max_input_tokens: 9
    context_window: 8
  b: {provider: ollama, tpm: -1, aliases: [gpt4]}
policies:
  fallback_chain: [gpt4, gpt5]
  budget_usd_per_run: -1
  warn_att: []
"""
    assert [line.split(": ")[:2] for line in problems(text)] == [
        ["1", "default"],
        ["4", "models.gpt4.provider"],
        ["5", "models.gpt4.rpm"],
        ["6", "models.gpt4.capabilities"],
        ["7", "models.gpt4.fallbacks[0]"],
        ["8", "models.gpt4.max_input_tokens"],
        ["10", "models.b.tpm"],
        ["10", "models.b.aliases[0]"],
        ["12", "policies.fallback_chain[1]"],
        ["13", "policies.budget_usd_per_run"],
        ["14", "policies.warn_att"],
    ]


def test_an_unreadable_file_is_refused(tmp_path):
    def message(path) -> str:
        with pytest.raises(RegistryInvalid) as caught:
            read_file(path)
        return str(caught.value).removeprefix(str(path))

    assert message(tmp_path / "none.yaml") == ": file not found (create one with: paymaster init)"
    assert message(tmp_path) == ": this is a directory, not a YAML file"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("models:\n  caf\u00e9: {}\n".encode("latin-1"))
    assert message(latin) == ":2: not UTF-8 text (save the file as UTF-8)"
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert message(loop) == f": can't be read: {os.strerror(errno.ELOOP)}"


def test_a_missing_file_is_the_users_mistake(tmp_path, catalogue, model_data):
    from datetime import UTC, datetime

    with pytest.raises(RegistryInvalid) as caught:
        load_registry(
            tmp_path / "no.yaml", Overrides(), catalogue=catalogue, model_data=model_data, environ={}, at=datetime(2026, 1, 1, tzinfo=UTC)
        )
    assert caught.value.exit_status == 2


@given(st.text(alphabet="ab:{}[],&*!|>'\"#%@` \n\t-?0123456789.eE+_<~", max_size=60))
def test_any_text_is_read_or_refused_with_a_line(text):
    try:
        lines = [read_yaml(text, "f").line(())]
    except RegistryInvalid as error:
        lines = [problem.line for problem in error.problems]
    assert min(lines) >= 1
