"""A valid registry is loaded and completed: both layouts, missing values, and their origins."""

# ruff: noqa: E501 -- the example of the specification is quoted unchanged

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from paymaster.accounting.prices.price import cost, worst_case_nanousd
from paymaster.accounting.usage.record import Usage
from paymaster.errors import RegistryInvalid
from paymaster.registry.loading import load_registry
from paymaster.registry.models import Budget, ServerTool, Timeouts
from paymaster.registry.overrides import Overrides

THE_REQUEST = """\
model_registry:
  default: gpt-4o
  models:
    gpt-4o: {provider: openai, model_id: gpt-4o, rpm: 60, tpm: 180000, usd_per_1k_input: 5e-3, usd_per_1k_output: 15e-3, capabilities: [function_calling]}
    gemini-pro: {provider: google, model_id: gemini-2.5-pro, rpm: 60, tpm: 200000, usd_per_1k_input: 1e-3, usd_per_1k_output: 2e-3}
    local-llm: {provider: openrouter, model_id: qwen2.5-coder, base_url: http://localhost:11434, rpm: 120, tpm: 300000}
  policies:
    budget_usd_per_run: 5.00
    fallback_chain: [gpt-4o, gemini-pro, local-llm]
    hard_stop_on_budget: true
"""


def test_what_the_provider_runs_by_itself_is_stated_by_type(load):
    registry = load(
        """
models:
  claude: {provider: anthropic, model_id: claude-sonnet-4-6, at_list_price: [Turbo, batch],
           server_tools: {web_search: {usd_per_use: 0.02, tokens_per_use: 8_000}, code_execution: {max_uses: 3}}}
"""
    )
    claude = registry.models["claude"]
    assert claude.server_tools == {
        "web_search": ServerTool(usd_per_use=Decimal("0.02"), tokens_per_use=8_000),
        "code_execution": ServerTool(max_uses=3),
    }
    assert {tier.rates.web_search for tier in claude.price.table.tiers} == {Decimal(20_000)}
    assert claude.price.mode("turbo") == claude.price.table
    assert claude.price.mode("batch") != claude.price.table


def test_only_a_router_is_sent_a_price_limit(load):
    written = "{provider: openrouter, model_id: qwen/qwen3-coder, base_url: 'http://localhost:9000', %s}"
    models = "\n".join(
        f"  {name}: {written % price}" for name, price in (("paid", "usd_per_1m_input: 1, usd_per_1m_output: 2"), ("free", "price: free"))
    )
    registry = load(
        f"default: paid\nmodels:\n{models}\n  hosted: {{provider: openrouter, model_id: 'x/y:free', price: free}}\n  own: {{provider: openai}}\n"
    )
    assert {name: model.takes_max_price for name, model in registry.models.items()} == {
        "paid": True,
        "free": False,
        "hosted": True,
        "own": False,
    }


def test_the_example_of_the_specification_loads_unchanged(load):
    registry = load(THE_REQUEST)
    gpt, gemini, local = registry.models.values()
    assert registry.default == "gpt-4o"
    assert registry.policy.fallback_chain == ("gpt-4o", "gemini-pro", "local-llm")
    assert registry.policy.hard_stop_on_budget
    assert registry.policy.budgets == (Budget(cap=5_000_000_000, per=("run",), key="policies.budget_usd_per_run"),)
    assert (gpt.limits.rpm, gpt.limits.tpm, gpt.capabilities) == (60, 180_000, {"function_calling"})
    assert worst_case_nanousd(gpt.price, 1_000, 1_000, 1) == 20_000_000
    assert (gemini.provider, gemini.base_url) == ("google", "https://generativelanguage.googleapis.com/v1beta/openai")
    assert "function_calling" in gemini.capabilities
    assert (local.base_url, local.adapter, local.key_variables, local.key_required) == (
        "http://localhost:11434/v1",
        "openai_http",
        (),
        False,
    )
    assert local.price.is_free
    assert local.price.source == "default port of Ollama"
    assert [warning for warning in registry.warnings if "local-llm" in warning and "counts as free" in warning]


def test_numbers_as_text_are_exact(load):
    price = (
        load("models: {a: {provider: openai, rpm: '60', tpm: 1_000, usd_per_1k_input: '5e-3', usd_per_1k_output: 0.1}}").models["a"].price
    )
    rates = price.table.tiers[0].rates
    assert (rates.input, rates.output) == (Decimal(5), Decimal(100))


@pytest.mark.parametrize(
    "text",
    [
        "model_registry: {models: {a: {provider: ollama}}, policies: {budget_usd_per_run: 1}}",
        "model_registry: {models: {a: {provider: ollama}}}\npolicies: {budget_usd_per_run: 1}",
        "models: {a: {provider: ollama}}\npolicies: {budget_usd_per_run: 1}",
        "$schema: registry.schema.json\nmodels: {a: {provider: ollama}}\npolicies: {budget_usd_per_run: 1}",
        '{"models": {"a": {"provider": "ollama"}}, "policies": {"budget_usd_per_run": 1}}',
    ],
)
def test_all_layouts_give_the_same_registry(load, text):
    registry = load(text)
    assert registry.policy.budgets == (Budget(cap=1_000_000_000, per=("run",), key="policies.budget_usd_per_run"),)
    assert registry.default == "a"


def test_in_another_programs_config_only_the_registry_section_is_read(load):
    text = "agent: {model: {name: x}}\nmodel_registry: {models: {a: {provider: ollama}}}"
    assert load(text, embedded=True).models["a"].provider == "ollama"


def test_anchors_and_merges_work_and_a_maps_own_keys_win(load):
    text = """\
base: &base {provider: openai, rpm: 60}
model_registry:
  default: a
  models:
    a: &a {provider: ollama, rpm: 1, tpm: 5}
    b: {rpm: 2, <<: *a}
    c: {<<: [*base, *a], rpm: 3}
    d: *a
"""
    models = load(text, embedded=True).models
    assert [(model.provider, model.limits.rpm, model.limits.tpm) for model in models.values()] == [
        ("ollama", 1, 5),
        ("ollama", 2, 5),
        ("openai", 3, 5),
        ("ollama", 1, 5),
    ]


def test_missing_values_are_filled_in_with_their_origin(load):
    model = load("models:\n  a:\n    provider: OpenAI\n    model_id: gpt-4o\n    rpm: 5\n").models["a"]
    assert (model.context_window, model.max_output_tokens, model.limits.rpm) == (128_000, 16_384, 5)
    assert model.price.table.tiers[0].rates.input == Decimal("2.5")
    origins = model.origins
    assert origins["rpm"] == "registry line 5"
    assert origins["price"].startswith("catalogue genai-prices ")
    assert origins["context_window"].startswith("litellm ")
    assert origins["base_url"] == "provider openai"


def test_filled_in_limits_never_exceed_the_registrys_own(load):
    model = load("models: {gpt-4o: {provider: openai, context_window: 8000}}").models["gpt-4o"]
    assert (model.model_id, model.context_window, model.max_input_tokens, model.max_output_tokens) == ("gpt-4o", 8000, 8000, 8000)
    model = load("models: {a: {provider: vllm, max_output_tokens: 100, max_input_tokens: 1000, capabilities: []}}").models["a"]
    assert (model.context_window, model.max_input_tokens, model.max_output_tokens, model.capabilities) == (None, 1000, 100, frozenset())


def test_a_model_without_a_known_price_is_unpriced_and_warned_about(load):
    registry = load("models: {a: {provider: openai, model_id: gpt-4o-hyper-2027-01-01}}")
    assert registry.models["a"].price is None
    assert "usd_per_1m_input and usd_per_1m_output, or `price: free`" in registry.warnings[0]
    assert registry.models["a"].capabilities is None


def test_a_private_address_is_not_free(load):
    registry = load("models: {a: {provider: openai, model_id: ours, base_url: 'http://10.0.0.5:4000/v1'}}")
    assert registry.models["a"].price is None


def test_a_known_model_keeps_its_price_behind_a_proxy_on_this_machine(load):
    registry = load("models: {a: {provider: openai, model_id: gpt-4o, base_url: 'http://127.0.0.1:4000'}}")
    assert registry.models["a"].price.table.tiers[0].rates.input == Decimal("2.5")
    assert registry.warnings == ()


def test_only_the_registry_or_a_local_provider_makes_a_model_free(load):
    registry = load(
        "models: {a: {provider: openai, model_id: x, price: free}, b: {provider: vllm, base_url: 'https://gpu.example.com'}}\ndefault: a"
    )
    a, b = registry.models.values()
    assert (a.price.is_free, a.price.source) == (True, "registry: price: free")
    assert (b.price.is_free, b.price.source, b.base_url) == (True, "local provider vllm", "https://gpu.example.com/v1")
    assert registry.warnings == ()


def test_prices_have_tiers_cache_rates_and_either_unit(load):
    text = """\
models:
  a:
    provider: openai
    model_id: mine
    usd_per_1m_input: 2
    usd_per_1k_output: 0.01
    usd_per_1m_cache_read: 0.5
    usd_per_1m_cache_write: 2.5
    tiers:
      - {above_tokens: 200000, usd_per_1m_input: 4, usd_per_1m_output: 15}
"""
    base, tier = load(text).models["a"].price.table.tiers
    assert (base.rates.input, base.rates.output, base.rates.cache_read, base.rates.cache_write_5m) == (
        2,
        10,
        Decimal("0.5"),
        Decimal("2.5"),
    )
    assert (tier.from_prompt_tokens, tier.rates.input, tier.rates.output, tier.rates.cache_read) == (200_001, 4, 15, Decimal("0.5"))


def test_a_tier_starts_above_or_at_a_length(load):
    """xAI's long prices hold from 200,000 prompt tokens on; Google's and OpenAI's above them."""
    text = """\
models:
  a:
    provider: xai
    model_id: mine
    usd_per_1m_input: 2
    usd_per_1m_output: 6
    tiers:
      - {%s: 200_000, usd_per_1m_input: 4, usd_per_1m_output: 12}
      - {above_tokens: 300_000, usd_per_1m_input: 5}
"""
    at, above = (load(text % key).models["a"].price for key in ("from_tokens", "above_tokens"))
    assert [tier.from_prompt_tokens for tier in at.table.tiers] == [0, 200_000, 300_001]
    usage, noon = Usage(input_tokens=200_000, output_tokens=100), datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert [cost(usage, price, noon).usd for price in (at, above)] == [Decimal("0.8012"), Decimal("0.4006")]


def test_every_kind_of_budget_is_read(load):
    text = """\
default: a
models:
  a:
    provider: ollama
    budget_usd_per_run: 0.1234567891
    budget_usd_per_month: 2
    budgets: [{usd: 3, per: [instance]}]
  b: {provider: ollama, aliases: [bee]}
policies:
  budget_usd_per_day: 4
  budgets:
    - {usd: 5, per: [day, model], models: [bee, a]}
    - {usd: 6, per: total}
"""
    registry = load(text)
    assert registry.models["a"].budgets == (
        Budget(cap=123_456_789, per=("run", "model"), models=("a",), key="models.a.budget_usd_per_run"),
        Budget(cap=2_000_000_000, per=("model", "month"), models=("a",), key="models.a.budget_usd_per_month"),
        Budget(cap=3_000_000_000, per=("instance", "model"), models=("a",), key="models.a.budgets[0]"),
    )
    assert registry.policy.budgets == (
        Budget(cap=4_000_000_000, per=("day",), key="policies.budget_usd_per_day"),
        Budget(cap=5_000_000_000, per=("model", "day"), models=("b", "a"), key="policies.budgets[0]"),
        Budget(cap=6_000_000_000, per=(), key="policies.budgets[1]"),
    )


@pytest.mark.parametrize(
    ("written", "recovery"), [("", "off"), ("stream_recovery: off", "off"), ("stream_recovery: hold_back", "hold_back")]
)
def test_a_stream_recovery_is_read(load, written, recovery):
    assert load(f"models: {{a: {{provider: ollama}}}}\npolicies: {{{written}}}\n").policy.stream_recovery == recovery


def test_an_unknown_stream_recovery_is_refused(load):
    with pytest.raises(RegistryInvalid, match="stream_recovery"):
        load("models: {a: {provider: ollama}}\npolicies: {stream_recovery: hold-back}\n")


def test_policies_and_time_limits_are_read_in_seconds(load):
    text = """\
models: {a: {provider: ollama, timeouts: {connect_s: 2.5, total_s: 30}, fallbacks: []}}
policies:
  warn_at: [0.9, 0.5]
  hard_stop_on_budget: "yes"
  min_output_tokens: 10
  max_wait_s: 1
  patience_s: 0.5
  deadline_s: 60
  retries_per_model: 0
  max_attempts: 3
  backoff_initial_s: 0.25
  backoff_max_s: 2
  breaker_failures: 9
  breaker_window_s: 8
  breaker_pause_s: 7
  fall_back_on_content_policy: on
"""
    registry = load(text)
    policy = registry.policy
    assert (policy.warn_at_percent, policy.hard_stop_on_budget, policy.fall_back_on_content_policy) == ((50, 90), True, True)
    assert (policy.min_output_tokens, policy.retries_per_model, policy.max_attempts, policy.breaker_failures) == (10, 0, 3, 9)
    assert (policy.max_wait_ms, policy.patience_ms, policy.deadline_ms) == (1_000, 500, 60_000)
    assert (policy.backoff_initial_ms, policy.backoff_max_ms, policy.breaker_window_ms, policy.breaker_pause_ms) == (
        250,
        2_000,
        8_000,
        7_000,
    )
    model = registry.models["a"]
    assert model.timeouts == Timeouts(connect_ms=2_500, first_token_ms=30_000, between_chunks_ms=30_000, total_ms=30_000)
    assert model.fallbacks == ()
    assert model.origins["timeouts.connect_s"] == "registry line 1"


@pytest.mark.parametrize(
    ("section", "first_token_ms"),
    [
        ("{provider: openai, model_id: gpt-4o}", 90_000),
        ("{provider: anthropic, model_id: claude-sonnet-5-5}", 90_000),
        ("{provider: openai, model_id: m, base_url: 'http://127.0.0.1:9/v1'}", 90_000),  # a proxy, more often than a model
        *[(f"{{provider: {name}, model_id: m}}", 300_000) for name in ("vllm", "ollama", "llamacpp", "sglang", "lmstudio")],
        ("{provider: vllm, model_id: m, base_url: 'http://gpu-box:8000'}", 300_000),
        ("{provider: ollama, model_id: 'gpt-oss:120b-cloud'}", 90_000),
        ("{provider: litellm_proxy, model_id: m, base_url: 'http://127.0.0.1:4000'}", 90_000),
        ("{provider: openai, model_id: m, base_url: 'http://127.0.0.1:11434/v1'}", 300_000),
        ("{provider: openai, model_id: m, base_url: 'http://192.168.1.7:1234/v1'}", 300_000),
        *[
            (f"{{provider: openai_compatible, model_id: m, base_url: 'http://{host}/v1'}}", first_token_ms)
            for first_token_ms, hosts in {
                300_000: (
                    "localhost:8080",
                    "127.0.0.1:9",
                    "[::1]:8000",
                    "10.1.2.3",
                    "172.16.0.9:5000",
                    "192.168.1.7",
                    "[fd12::1]:8000",
                    "100.64.3.2:8000",
                    "gpu-box:8000",
                    "box.local",
                    "box.lan:8000",
                    "llm.corp.internal",
                    "host.docker.internal:1234",
                ),
                90_000: ("8.8.8.8", "llm.example.com", "[2606:4700::1111]", "172.32.0.1", "100.128.0.1"),
            }.items()
            for host in hosts
        ],
        ("{provider: vllm, model_id: m, timeouts: {connect_s: 1}}", 300_000),
        ("{provider: vllm, model_id: m, timeouts: {total_s: 60}}", 60_000),
        ("{provider: vllm, model_id: m, timeouts: {first_token_s: 20}}", 20_000),
        ("{provider: openai, model_id: gpt-4o, timeouts: {total_s: 1000}}", 90_000),
    ],
)
def test_a_first_token_is_waited_for_by_where_the_model_runs(load, section, first_token_ms):
    assert load(f"default: a\nmodels: {{a: {section}}}").models["a"].timeouts.first_token_ms == first_token_ms


def test_names_that_look_like_numbers_are_names(load):
    registry = load(
        "default: 4.10\nmodels: {4.10: {provider: ollama, model_id: 7}, 2: {provider: ollama}}\npolicies: {fallback_chain: [4.10, 2]}"
    )
    assert registry.default == "4.10"
    assert registry.models["4.10"].model_id == "7"
    assert registry.policy.fallback_chain == ("4.10", "2")


def test_the_default_is_the_first_of_the_chain_unless_it_is_named(load):
    models = "models: {a: {provider: ollama}, b: {provider: ollama, aliases: [bee]}}\n"
    assert load(f"{models}policies: {{fallback_chain: [bee, a]}}").default == "b"
    assert load(f"{models}default: bee").default == "b"


def test_params_headers_aliases_and_fallbacks_are_kept(load):
    text = """\
default: a
models:
  a:
    provider: ollama
    params: {temperature: 0.2, seed: 7, stop: [x, 1.5], extra: {deep: 1e-1}, flag: true, nothing: null}
    extra_headers: {X-Team: search, X-Level: 5, Authorization: "Bearer $TOKEN"}
    fallbacks: [bee]
    capabilities: [tools, Images, function_calling]
  b: {provider: ollama, aliases: bee}
"""
    model = load(text).models["a"]
    assert model.params == {"temperature": 0.2, "seed": 7, "stop": ["x", 1.5], "extra": {"deep": 0.1}, "flag": True, "nothing": None}
    assert type(model.params["temperature"]) is float
    assert model.extra_headers == {"X-Team": "search", "X-Level": "5", "Authorization": "Bearer $TOKEN"}
    assert model.fallbacks == ("b",)
    assert model.capabilities == {"function_calling", "vision"}


@pytest.mark.parametrize(
    ("keys", "environ", "expected"),
    [
        ("api_key_env: MINE", {}, (("MINE",), True)),
        ("api_key_env: [A, B]", {}, (("A", "B"), True)),
        ("api_key: '$A:::${B}'", {}, (("A", "B"), True)),
        ("", {}, (("GEMINI_API_KEY", "GOOGLE_API_KEY"), True)),
        ("", {"GOOGLE_API_KEY": "x"}, (("GOOGLE_API_KEY",), True)),
        ("base_url: http://localhost:1", {"GEMINI_API_KEY": "x"}, ((), False)),
    ],
)
def test_key_variables_come_from_the_registry_or_the_provider(load, keys, environ, expected):
    model = load(f"models: {{a: {{provider: gemini, model_id: gemini-2.5-pro, {keys}}}}}", environ=environ).models["a"]
    assert (model.key_variables, model.key_required) == expected


def test_a_scripts_path_is_relative_to_the_registry(load):
    model = load("models: {a: {provider: scripted, script: answers.yaml}}").models["a"]
    assert (model.adapter, model.script, model.price.is_free) == ("scripted", "/where/it/is/answers.yaml", True)


def test_a_file_is_read_with_its_name_and_directory(tmp_path, catalogue, model_data):
    file = tmp_path / "registry.yaml"
    file.write_bytes(b"\xef\xbb\xbfmodels: {a: {provider: scripted, script: s.yaml}}\r\n")
    at = datetime(2026, 11, 23, tzinfo=UTC)
    registry = load_registry(file, Overrides(), catalogue=catalogue, model_data=model_data, environ={}, at=at)
    assert registry.source == str(file)
    assert registry.models["a"].script == str(tmp_path / "s.yaml")


@pytest.mark.parametrize(("alike", "encoding"), [("gpt-4o", "o200k_base"), ("bytes", None)])
def test_a_model_can_name_another_models_tokenizer(load, alike, encoding):
    text = "models:\n  a: {provider: vllm, model_id: house-model, tokenizer: %s}\n"
    assert load(text % alike).models["a"].tokenizer.encoding == encoding


@pytest.mark.parametrize(
    "own", [{"a": ["b"], "b": ["a"]}, {"a": ["b"], "b": ["c"], "c": ["a"]}, {"a": ["b", "c"], "b": ["a", "c"], "c": ["a"]}]
)
def test_models_may_be_fallbacks_of_each_other(load, own):
    models = "".join(f"  {name}: {{provider: ollama, fallbacks: [{', '.join(own.get(name, []))}]}}\n" for name in "abc")
    loaded = load(f"default: a\nmodels:\n{models}policies: {{fallback_chain: [a, b]}}\n")
    assert {name: list(model.fallbacks or ()) for name, model in loaded.models.items()} == {name: own.get(name, []) for name in "abc"}
