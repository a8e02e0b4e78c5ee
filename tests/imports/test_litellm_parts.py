"""The tables behind the import: providers and addresses, durations, variables, prices, strategies, and the writing of YAML."""

from __future__ import annotations

from decimal import Decimal

import pytest

from paymaster.errors import RegistryInvalid, UsageMistake
from paymaster.imports.findings import Findings, Outcome
from paymaster.imports.litellm.chains import Chains
from paymaster.imports.litellm.durations import budget_per
from paymaster.imports.litellm.importing import Imported, import_config
from paymaster.imports.litellm.including import Joined
from paymaster.imports.litellm.providers import SERVERS, UNKNOWN, Target, find_target
from paymaster.imports.litellm.variables import Variables, means_no_key, reference, referenced
from paymaster.imports.yaml_writing import yaml_text
from paymaster.registry.provider_facts import PROVIDERS
from paymaster.registry.yamltext import read_yaml

OWN = "https://models.example/v1"


def imported(text: str) -> Imported:
    return import_config(Joined(read_yaml(text, "config.yaml")))


def finding(made: Imported, field: str) -> tuple[Outcome, str]:
    return next((each.outcome, each.text) for each in made.findings if each.field == field)


def one_model(params: str, rest: str = "") -> Imported:
    return imported(f"model_list: [{{model_name: m, litellm_params: {{{params}}}}}]\n{rest}")


@pytest.mark.parametrize(
    ("model", "stated", "address", "provider", "model_id", "base_url", "dialect"),
    [
        ("openai/gpt-4o", None, None, "openai", "gpt-4o", None, None),
        ("gpt-4o", None, None, "openai", "gpt-4o", None, None),
        ("o3", None, None, "openai", "o3", None, None),
        ("claude-sonnet-4-5", None, None, "anthropic", "claude-sonnet-4-5", None, None),
        ("gemini-2.5-pro", None, None, "vertex", "gemini-2.5-pro", None, None),
        ("gemini/gemini-2.5-pro", None, None, "google", "gemini-2.5-pro", None, None),
        ("anthropic.claude-3-haiku-20240307-v1:0", None, None, "bedrock", "anthropic.claude-3-haiku-20240307-v1:0", None, None),
        ("bedrock/converse/us.amazon.nova-pro-v1:0", None, None, "bedrock", "us.amazon.nova-pro-v1:0", None, None),
        ("vertex_ai_beta/gemini-2.5-pro", None, None, "vertex", "gemini-2.5-pro", None, None),
        ("together_ai/meta-llama/Llama-3", None, None, "together", "meta-llama/Llama-3", None, None),
        ("fireworks_ai/accounts/x/models/y", None, None, "fireworks", "accounts/x/models/y", None, None),
        ("ollama_chat/qwen3:8b", None, "http://box:11434/api/chat", "ollama", "qwen3:8b", "http://box:11434", None),
        ("hosted_vllm/org/model", None, "http://gpu:8000/v1/", "vllm", "org/model", "http://gpu:8000/v1", None),
        ("llamafile/x", None, "http://127.0.0.1:8080/v1", "llamacpp", "x", "http://127.0.0.1:8080/v1", None),
        ("openai/responses/o3", None, None, "openai", "o3", None, "responses"),
        ("azure/o_series/dep", None, "https://h.openai.azure.com/", "azure", "dep", "https://h.openai.azure.com", None),
        ("azure_ai/Llama-3", None, "https://h.services.ai.azure.com/models", "azure", "Llama-3", "https://h.services.ai.azure.com", None),
        ("azure/dep", None, None, "azure", "dep", "$AZURE_API_BASE", None),
        ("openai/dep", None, "https://h.openai.azure.com/openai/v1", "azure", "dep", "https://h.openai.azure.com", None),
        ("openai/deepseek/deepseek-v3.2", None, "https://openrouter.ai/api/v1", "openrouter", "deepseek/deepseek-v3.2", None, None),
        ("openai/gpt-4o", None, "https://api.openai.com/v1", "openai", "gpt-4o", None, None),
        ("openai/gpt-4o", None, "https://eu.api.openai.com/v1", "openai", "gpt-4o", "https://eu.api.openai.com/v1", None),
        ("openai/qwen-plus", None, "https://dashscope.aliyuncs.com/compatible-mode/v1", "dashscope", "qwen-plus",
         "https://dashscope.aliyuncs.com/compatible-mode/v1", None),
        ("openai/gpt-4o", None, "$OPENAI_API_BASE", "openai", "gpt-4o", "$OPENAI_API_BASE", None),
        ("openai/qwen", None, "$LMSTUDIO_URL", "openai_compatible", "qwen", "$LMSTUDIO_URL", None),
        ("openai/house", None, f"{OWN}/chat/completions", "openai_compatible", "house", OWN, None),
        ("house", None, OWN, "openai_compatible", "house", OWN, None),
        ("house", "openai", OWN, "openai_compatible", "house", OWN, None),
        ("groq/llama", "groq", None, "groq", "llama", None, None),
        ("deepseek/deepseek-chat", None, "https://proxy.example/v1", "deepseek", "deepseek-chat", "https://proxy.example/v1", None),
        ("nvidia_nim/meta/llama", None, None, "openai_compatible", "meta/llama", SERVERS["nvidia_nim"][0], None),
        ("text-completion-openai/gpt-3.5-turbo-instruct", None, None, "openai", "gpt-3.5-turbo-instruct", None, None),
        ("watsonx/x", None, OWN, "openai_compatible", "x", OWN, None),
    ],
)  # fmt: skip
def test_a_model_of_litellms_is_found_at_its_provider(model, stated, address, provider, model_id, base_url, dialect):
    target = find_target(model, stated, address)
    assert isinstance(target, Target)
    assert (target.provider, target.model_id, target.base_url, target.dialect) == (provider, model_id, base_url, dialect)


@pytest.mark.parametrize("model", ["sagemaker/x", "elevenlabs/x", "nobody/x", "openai/", "custom_openai/x"])
def test_a_model_without_a_known_server_has_a_reason(model):
    assert isinstance(find_target(model, None, None), str)


def test_every_provider_is_found_by_litellms_own_prefix():
    for facts in PROVIDERS:
        if facts.litellm_prefix != "openai" and facts.adapter != "scripted":
            target = find_target(f"{facts.litellm_prefix}/model", None, OWN if facts.needs_base_url else None)
            assert isinstance(target, Target)
            assert target.provider == facts.id


def test_no_prefix_is_in_two_lists():
    assert UNKNOWN.isdisjoint(SERVERS)


@pytest.mark.parametrize(
    ("duration", "dimensions"),
    [
        (None, ()), ("1d", ("day",)), ("24h", ("day",)), ("86400s", ("day",)), ("daily", ("day",)), ("30d", ("month",)), ("1mo",
        ("month",)),
        ("monthly", ("month",)), ("7d", None), ("1h", None), ("", None), ("soon", None), (30, None), (True, None), (["1d"], None),
    ],
)  # fmt: skip
def test_a_duration_is_a_day_a_month_or_nothing(duration, dimensions):
    per = budget_per(duration)
    assert (None if per is None else per.dimensions) == dimensions


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("os.environ/KEY", "KEY"), (" os.environ/KEY ", "KEY"), ("${KEY}", "KEY"), ("$KEY", "KEY"), ("os.environ/", None),
        ("os.environ/A B", None),
        ("KEY", None), ("https://$HOST", None), (5, None), (None, None),
    ],
)  # fmt: skip
def test_a_variable_is_recognised(text, name):
    assert reference(text) == name


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("os.environ/A", "$A"), ("${A}", "$A"), ("https://os.environ/A/v1", "https://$A/v1"),
        ("$5", "$5"), ("a $B", "a $$B"), ("$$", "$$$"),
        ({"a": ["os.environ/A", 1]}, {"a": ["$A", 1]}), ({"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}), (None, None),
    ],
)  # fmt: skip
def test_variables_are_written_as_a_registry_has_them(value, written):
    assert referenced(value) == written


@pytest.mark.parametrize(
    "text", ["none", "NONE", "", "dummy", "EMPTY", "fake-key", "not-needed", "sk-no-key-required", "ollama", "lm-studio"]
)
def test_texts_that_only_fill_the_field(text):
    assert means_no_key(text)


@pytest.mark.parametrize("text", ["sk-1234", "hunter2", "os.environ/KEY", 5])
def test_other_texts_may_be_keys(text):
    assert not means_no_key(text)


def test_each_secret_has_one_variable():
    variables = Variables(frozenset({"OPENAI_API_KEY"}))
    first = variables.instead_of("secret 1", "OPENAI_API_KEY", "gpt-4o", "gpt-4o")
    again = variables.instead_of("secret 1", "OPENAI_API_KEY", "mini", "mini")
    other = variables.instead_of("secret 2", "OPENAI_API_KEY", "gpt-4o", "gpt-4o")
    assert (first, again, other) == ("GPT_4O_OPENAI_API_KEY", "GPT_4O_OPENAI_API_KEY", "GPT_4O_OPENAI_API_KEY_2")
    assert "secret" not in repr(variables)


@pytest.mark.parametrize(
    ("strategy", "balance"),
    [
        ("simple-shuffle", "weighted"), ("least-busy", "least_loaded"), ("usage-based-routing", "least_loaded"),
        ("usage-based-routing-v2", "least_loaded"), ("latency-based-routing", "fastest"), ("cost-based-routing", "cheapest"), ("magic",
        None),
    ],
)  # fmt: skip
def test_strategies(strategy, balance):
    both = "[{model_name: m, litellm_params: {model: gpt-4o}}, {model_name: m, litellm_params: {model: groq/x}}]"
    made = imported(f"model_list: {both}\nrouter_settings: {{routing_strategy: {strategy}}}")
    assert made.tree["models"]["m"].get("balance") == balance
    outcome, _ = finding(made, "router_settings.routing_strategy")
    assert outcome is (Outcome.NO_COUNTERPART if balance is None else Outcome.CHANGED)


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ("input_cost_per_token: 0.0000025, output_cost_per_token: 1e-5", {"usd_per_1m_input": Decimal("2.5"), "usd_per_1m_output": 10}),
        ('input_cost_per_token: "3e-7", output_cost_per_token: 0', {"usd_per_1m_input": Decimal("0.3"), "usd_per_1m_output": 0}),
        ("input_cost_per_token: 0, output_cost_per_token: 0.0", {"price": "free"}),
        ("input_cost_per_token: 1e-6", {}),
        ("input_cost_per_token: .inf, output_cost_per_token: 1e-6", {}),
        ("input_cost_per_token: true, output_cost_per_token: 1e-6", {}),
    ],
)
def test_prices_are_exact(prices, expected):
    section = one_model(f"model: gpt-4o, {prices}").tree["models"]["m"]
    assert {key: value for key, value in section.items() if key not in ("provider", "model_id")} == expected


@pytest.mark.parametrize(
    ("params", "field", "outcome", "words"),
    [
        ("api_key: sk-1234", "api_key", Outcome.CHANGED, "the key itself is not written"),
        ("api_key: os.environ/K", "api_key", Outcome.CARRIED, "models.m.api_key_env"),
        ("rpm: many", "rpm", Outcome.NO_COUNTERPART, "left out: must be a whole number"),
        ("rpm: 10", "rpm", Outcome.CARRIED, "models.m.rpm"),
        ("max_parallel_requests: 3", "max_parallel_requests", Outcome.CARRIED, "models.m.max_parallel"),
        ("timeout: 5", "timeout", Outcome.CHANGED, "models.m.timeouts.total_s"),
        ("timeout: os.environ/T", "timeout", Outcome.NO_COUNTERPART, "write the seconds"),
        ("temperature: 0.1", "temperature", Outcome.CARRIED, "models.m.params.temperature"),
        ("extra_body: {top_k: 1}", "extra_body.top_k", Outcome.CHANGED, "models.m.params.top_k"),
        ("extra_body: {}", "extra_body", Outcome.CARRIED, "it is empty"),
        ("extra_headers: {X-Team: a}", "extra_headers.X-Team", Outcome.CARRIED, "models.m.extra_headers.X-Team"),
        ("extra_headers: {X-Api-Key: abc}", "extra_headers.X-Api-Key", Outcome.CHANGED, "the value is not written"),
        ("organization: os.environ/ORG", "organization", Outcome.CHANGED, "models.m.extra_headers.OpenAI-Organization"),
        ("api_version: '2024-10-21'", "api_version", Outcome.NO_COUNTERPART, "only Azure"),
        ("drop_params: true", "drop_params", Outcome.CARRIED, "always"),
        ("additional_drop_params: [user]", "additional_drop_params", Outcome.CARRIED, "models.m.compat.drop_params"),
        ("allowed_openai_params: [seed]", "allowed_openai_params", Outcome.CARRIED, "models.m.compat.keep_params"),
        ("aws_region_name: eu-west-1", "aws_region_name", Outcome.NO_COUNTERPART, "OpenAI does not take it"),
        ("region_name: eu", "region_name", Outcome.CARRIED, "models.m.region"),
        ("mock_response: hi", "mock_response", Outcome.NO_COUNTERPART, "provider: scripted"),
        ("max_budget: 5, budget_duration: 1d", "max_budget", Outcome.CHANGED, "models.m.budgets"),
        ("temperatur: 1", "temperatur", Outcome.NO_COUNTERPART, "did you mean temperature?"),
        ("input_cost_per_second: 1", "input_cost_per_second", Outcome.NO_COUNTERPART, "docs/pricing.md"),
    ],
)
def test_a_field_of_litellm_params(params, field, outcome, words):
    made = one_model(f"model: openai/gpt-4o, {params}")
    found, text = finding(made, f"model_list[0].litellm_params.{field}")
    assert found is outcome
    assert words in text


@pytest.mark.parametrize(
    ("settings", "field", "outcome", "words"),
    [
        ("litellm_settings: {cache: false}", "litellm_settings.cache", Outcome.CARRIED, "asks for nothing"),
        ("litellm_settings: {ssl_verify: false}", "litellm_settings.ssl_verify", Outcome.NO_COUNTERPART, "SSL_CERT_FILE"),
        ("general_settings: {master_key: null}", "general_settings.master_key", Outcome.CARRIED, "asks for nothing"),
        ("litellm_settings: {prometheus_new: 1}", "litellm_settings.prometheus_new", Outcome.NO_COUNTERPART, "/metrics"),
        ("litellm_settings: {master_key: a}", "litellm_settings.master_key", Outcome.NO_COUNTERPART, "paymaster keys create"),
        ("litellm_settings: {nm_retries: 1}", "litellm_settings.nm_retries", Outcome.NO_COUNTERPART, "did you mean num_retries?"),
        ("mcp_new: {a: 1}", "mcp_new.a", Outcome.NO_COUNTERPART, "MCP"),
        ("modellist: []", "modellist", Outcome.NO_COUNTERPART, "did you mean model_list?"),
        ("router_settings: {enable_pre_call_checks: true}", "router_settings.enable_pre_call_checks", Outcome.CARRIED, "always"),
        ("router_settings: {num_retries: 3}", "router_settings.num_retries", Outcome.CARRIED, "policies.retries_per_model"),
        ("router_settings: {allowed_fails: 3}", "router_settings.allowed_fails", Outcome.CHANGED, "policies.breaker_failures"),
        (
            "general_settings: {max_parallel_requests: 9}",
            "general_settings.max_parallel_requests",
            Outcome.CARRIED,
            "models.m.max_parallel",
        ),
        ("litellm_settings: {max_budget: 5}", "litellm_settings.max_budget", Outcome.CHANGED, "for all time"),
        ("litellm_settings: {max_budget: 5, budget_duration: 1h}", "litellm_settings.max_budget", Outcome.NO_COUNTERPART, "per day"),
        ("litellm_settings: {budget_duration: 1d}", "litellm_settings.budget_duration", Outcome.NO_COUNTERPART, "needs a budget"),
    ],
)
def test_a_setting(settings, field, outcome, words):
    found, text = finding(one_model("model: openai/gpt-4o", settings), field)
    assert found is outcome
    assert words in text


def test_fallbacks_name_models_and_members_of_families():
    chains = Chains({"mini": "mini", "openai/*": "openai/*", "default": "big"})
    findings = Findings(read_yaml("a: 1", "config.yaml"), "unknown")
    chains.read(
        [{"mini": ["openai/gpt-4o", "groq/x", "mini"]}, {"*": "default"}, {"openai/gpt-4o": ["mini"]}, "text", {"mini": [{}]}],
        ("f",),
        findings,
    )
    assert (chains.chains, chains.common) == ({"mini": ["openai/gpt-4o"]}, ["big"])
    assert [findings.has(("f", *path)) for path in ((0, "mini"), (1, "*"), (2, "openai/gpt-4o"), (3,), (4, "mini"))] == [True] * 5


@pytest.mark.parametrize(
    ("named", "default"),
    [("a", "a"), ("groq/x", "groq/x"), ("groq/*", "b"), ("nobody", "b"), ("1", "b"), ("[a]", "b")],
)
def test_the_default(named, default):
    models = [("groq/*", "groq/*"), ("b", "gpt-4o"), ("a", "gpt-4o-mini")]
    entries = ", ".join(f"{{model_name: '{name}', litellm_params: {{model: '{model}'}}}}" for name, model in models)
    made = imported(f"model_list: [{entries}]\ngeneral_settings: {{completion_model: {named}}}")
    assert made.tree["default"] == default


@pytest.mark.parametrize(
    ("name", "model", "is_family"),
    [
        ("openai/*", "openai/*", True), ("house/*", "openai/*", True), ("*", "openai/*", True), ("claude-*", "anthropic/claude-*", True),
        ("anthropic/claude-*", "anthropic/claude-*", True), ("*", "*", False), ("x/*", "openai/gpt-*", False), ("x", "openai/*", False),
        ("x/*", "openai/gpt-4o", False), ("a*b", "openai/*", False), ("*/*", "openai/*", False),
    ],
)  # fmt: skip
def test_families(name, model, is_family):
    plain = "{model_name: other, litellm_params: {model: gpt-4o}}"
    made = imported(f"model_list: [{{model_name: '{name}', litellm_params: {{model: '{model}'}}}}, {plain}]")
    assert (name in made.tree["models"]) == is_family
    assert made.tree["default"] == "other"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("[]", "must be a map of sections"),
        ("just text", "must be a map of sections"),
        ("a: 1", "has no model_list"),
        ("model_list: []", "model_list has no model"),
        ("model_list:", "model_list has no model"),
        ("model_list: {a: b}", "model_list has no model"),
        ("proxy_config: {model_list: []}", "save what is under proxy_config"),
        ("model_list: []\ngeneral_settings: {store_model_in_db: true}", "models are in a database"),
        ("model_list: [{model_name: a, litellm_params: {model: sagemaker/x}}]", "no model can be carried: a: no provider here"),
        ("a: 1\na: 2", "duplicate key"),
        ("a:\n\t- b", "tab"),
        ("a: &a [*a]", "contains itself"),
        ("a: !!python/object:os.system x", "the tag"),
        ("? [a]\n: b", "a key must be plain text"),
        ("a: b\n---\nc: d", "second YAML document"),
        ("a: [1", "invalid YAML"),
        ("a: \x00", "invalid YAML"),
    ],
)
def test_what_is_no_config_is_one_clear_error(text, words):
    with pytest.raises((RegistryInvalid, UsageMistake), match=r"config\.yaml") as caught:
        imported(text)
    assert words in str(caught.value)


def test_thousands_of_models_in_one_config():
    entries = [f"  - {{model_name: m{number % 1_800}, litellm_params: {{model: openai/gpt-{number}, rpm: x}}}}" for number in range(2_000)]
    made = imported("model_list:\n" + "\n".join(entries))
    assert len(made.tree["models"]) == 1_800
    assert len(made.findings) == 6_000


@pytest.mark.parametrize(
    "value",
    [
        "text", "two words", "true", "No", "null", "~", "1", "1e3", "0x1f", "2026-11-30", "a: b", "a #b", "- a", "", " ", "\n", "\x07",
        "\x7f", "\u2028",
        "\N{PILE OF POO}", '"', "\\", "'", "*", "&a", "!t", "%", "@", "`", "|", ">", "http://h:1/v", "os.environ/A", "$A", "=", "<<",
        ".inf", ".5", "a:",
        0, 5, -3, 123456, Decimal("0.00000025"), Decimal("1E+3"), Decimal("1E-30"), True, False, None, [], {}, [1, "a"],
        {"a": {"b": ["c"]}}, [{"a": 1}], [[]],
    ],
)  # fmt: skip
def test_what_is_written_is_read_again(value):
    tree = {"models": {"m": {"a": value, "b": [value], "c": {"d": value}}}, "key": value}
    assert read_yaml(yaml_text(tree, {("models", "m"): ["a comment"]}), "r.yaml").tree == tree


@pytest.mark.parametrize("key", ["a b", "true", "1", "*", "a/b", "a:b", "", "\N{SNOWMAN}", "- x", "#", "<<"])
def test_keys_are_read_again(key):
    tree = {"models": {key: {"a": 1}}}
    assert read_yaml(yaml_text(tree, {}), "r.yaml").tree == tree
