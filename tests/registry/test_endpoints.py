"""A model with several endpoints: what each takes from the model, what it doesn't, and what is a mistake."""

# ruff: noqa: E501 -- a row of these tables is an input and its whole message

from __future__ import annotations

from decimal import Decimal

import jsonschema
import pytest
from ruamel.yaml import YAML

from paymaster.registry.models import Affinity, Balancing, Model
from paymaster.registry.schema import registry_json_schema

TEXT = """\
models:
  sonnet:
    provider: anthropic
    model_id: claude-sonnet-5
    rpm: 50
    timeouts: {connect_s: 5}
    params: {temperature: 0.2, top_p: 0.9}
    budget_usd_per_day: 7
    fallbacks: []
    endpoints:
      - {name: direct, api_key_env: DIRECT_KEY, rpm: 1000}
      - {name: eu, provider: bedrock, model_id: eu.anthropic.claude-sonnet-5-v1:0, weight: 2, timeouts: {total_s: 300}, params: {top_p: 1}}
    balance: weighted
    affinity: instance
"""


def endpoints(load, lines: str, head: str = "provider: openai, model_id: gpt-4o", **options: object) -> dict[str, Model]:
    """The endpoints of a model m with these lines, by name."""
    text = f"models: {{m: {{{head}, endpoints: [{lines}]}}}}"
    return {place.endpoint: place for place in load(text, **options).models["m"].endpoints}


def test_each_endpoint_is_complete(load):
    sonnet = load(TEXT).models["sonnet"]
    direct, eu = sonnet.endpoints
    assert (sonnet.name, sonnet.endpoint, sonnet.places) == ("sonnet", "", sonnet.endpoints)
    assert [place.place for place in sonnet.places] == ["sonnet/direct", "sonnet/eu"]
    assert (direct.provider, direct.model_id, direct.key_variables, direct.limits.rpm, direct.weight) == (
        "anthropic", "claude-sonnet-5", ("DIRECT_KEY",), 1000, 1,
    )  # fmt: skip
    assert (eu.provider, eu.model_id, eu.limits.rpm, eu.weight) == ("bedrock", "eu.anthropic.claude-sonnet-5-v1:0", 50, 2)
    assert "DIRECT_KEY" not in eu.key_variables
    assert (direct.params, eu.params) == ({"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2, "top_p": 1})
    assert (eu.timeouts.connect_ms, eu.timeouts.total_ms, direct.timeouts.total_ms) == (5_000, 300_000, 600_000)
    for place in (sonnet, direct, eu):
        assert (place.balance, place.affinity, place.fallbacks) == (Balancing.WEIGHTED, Affinity.INSTANCE, ())
        assert [budget.models for budget in place.budgets] == [("sonnet",)]


def test_a_value_has_the_line_where_it_is_written(load):
    direct, eu = load(TEXT).models["sonnet"].endpoints
    origins = [(place.origins["rpm"], place.origins["provider"], place.origins["model_id"]) for place in (direct, eu)]
    assert origins == [
        ("registry line 11", "registry line 3", "registry line 4"),
        ("registry line 5", "registry line 12", "registry line 12"),
    ]
    assert (eu.origins["timeouts.total_s"], direct.origins["timeouts.connect_s"]) == ("registry line 12", "registry line 6")


def test_a_model_without_endpoints_is_its_own_place(load):
    model = load("models: {m: {provider: ollama, account: mine, balance: order}}").models["m"]
    assert (model.endpoints, model.places, model.place, model.account) == ((), (model,), "m", "mine")
    assert (model.balance, model.affinity) == (Balancing.ORDER, Affinity.CONVERSATION)


@pytest.mark.parametrize(
    ("head", "endpoint", "taken"),
    [
        # what describes the model, and limits, each endpoint takes
        ("provider: openai, context_window: 9000", "provider: groq", {"context_window": 9000}),
        ("provider: openai, capabilities: [vision]", "base_url: 'https://x.example.com'", {"capabilities": frozenset({"vision"})}),
        ("provider: openai, tpm: 7000", "provider: groq", {"limits.tpm": 7000}),
        ("provider: openai, params: {seed: 1}", "provider: groq", {"params": {"seed": 1}}),
        # what belongs to a provider, only one of the same provider
        ("provider: openai, api_key_env: K", "region: eu", {"key_variables": ("K",), "region": "eu"}),
        ("provider: openai, api_key_env: K", "provider: groq", {"key_variables": ("GROQ_API_KEY",)}),
        ("provider: openai, api_key: $K", "provider: groq", {"key_variables": ("GROQ_API_KEY",)}),
        ("provider: openai, api_key: $K", "api_key_env: L", {"key_variables": ("L",)}),
        ("provider: openai, api_key_env: K", "api_key: $L", {"key_variables": ("L",)}),
        ("provider: openai, account: team", "region: eu", {"account": "team"}),
        ("provider: openai, account: team", "provider: groq", {"account": None}),
        ("provider: openai, base_url: 'https://x.example.com'", "provider: groq", {"base_url": "https://api.groq.com/openai/v1"}),
        ("provider: openai, base_url: 'https://x.example.com'", "rpm: 1", {"base_url": "https://x.example.com/v1"}),
        ("provider: openai, dialect: responses", "provider: groq", {"dialect": "chat"}),
        ("provider: azure, api_version: '2024-10-21', base_url: 'https://a.openai.azure.com'", "base_url: 'https://b.openai.azure.com'", {"api_version": "2024-10-21"}),
        ("provider: openai, extra_headers: {X-Key: $K}", "provider: groq", {"extra_headers": {}}),
        ("provider: openai, extra_headers: {X-Key: $K}", "provider: groq, extra_headers: {X-Team: t}", {"extra_headers": {"X-Team": "t"}}),
        ("provider: openai, extra_headers: {X-Key: $K}", "extra_headers: {X-Team: t}", {"extra_headers": {"X-Key": "$K", "X-Team": "t"}}),
        # what belongs to a server, only one on the same host, where the model names one
        ("provider: vllm, api_key_env: K, base_url: 'http://a:8000'", "base_url: 'http://a:8000/v2'", {"key_variables": ("K",)}),
        ("provider: vllm, api_key_env: K, base_url: 'http://a:8000'", "base_url: 'http://b:8000'", {"key_variables": ("VLLM_API_KEY",)}),
        ("provider: vllm, api_key_env: K, base_url: 'http://a:8000'", "base_url: 'http://a:8001'", {"key_variables": ("VLLM_API_KEY",)}),
        ("provider: vllm, api_key_env: K", "base_url: 'http://b:8000'", {"key_variables": ("K",)}),
        ("provider: openai, extra_headers: {X-Key: $K}, base_url: 'https://a.example.com'", "base_url: 'https://b.example.com'", {"extra_headers": {}}),
        # an address replaces a script
        ("provider: scripted, script: a.yaml", "base_url: 'http://b:8000'", {"script": None, "base_url": "http://b:8000/v1"}),
    ],
)  # fmt: skip
def test_an_endpoint_takes_what_belongs_to_it(load, head, endpoint, taken):
    place = endpoints(load, f"{{name: e, {endpoint}}}, {{name: other, provider: ollama}}", head)["e"]
    for key, expected in taken.items():
        value: object = place
        for part in key.split("."):
            value = getattr(value, part)
        assert value == expected, key


@pytest.mark.parametrize(
    ("head", "endpoint", "price"),
    [
        ("provider: openai, usd_per_1m_input: 1, usd_per_1m_output: 2", "region: eu", ("1", "2")),
        ("provider: openai, usd_per_1m_input: 1, usd_per_1m_output: 2", "price_factor: 0.5", ("0.5", "1.0")),
        ("provider: openai, price_factor: 0.5", "usd_per_1m_input: 3, usd_per_1m_output: 4", ("1.5", "2.0")),
        ("provider: openai, usd_per_1m_input: 1, usd_per_1m_output: 2", "usd_per_1k_input: 0.003, usd_per_1k_output: 0.004", ("3", "4")),
        ("provider: openai, usd_per_1m_input: 1, usd_per_1m_output: 2", "base_url: 'https://b.example.com'", ("1", "2")),
        ("provider: openai, usd_per_1m_input: 1, usd_per_1m_output: 2, base_url: 'https://a.example.com'", "base_url: 'https://b.example.com'", None),
        ("provider: openai, price: free", "provider: groq", None),
        ("provider: openai, price: free", "usd_per_1m_input: 1, usd_per_1m_output: 2", ("1", "2")),
        ("usd_per_1m_input: 1, usd_per_1m_output: 2", "provider: groq", ("1", "2")),
    ],
)  # fmt: skip
def test_a_price_that_is_written_holds_for_the_servers_it_was_written_for(load, head, endpoint, price):
    place = endpoints(load, f"{{name: e, {endpoint}}}, {{name: other, provider: ollama}}", f"model_id: mine, {head}")["e"]
    rates = None if place.price is None else place.price.table.tiers[0].rates
    assert (None if rates is None else (rates.input, rates.output)) == (None if price is None else tuple(map(Decimal, price)))


def test_the_model_as_one_holds_wherever_a_call_goes(load):
    head = "provider: ollama, model_id: x"
    some = "{name: a, context_window: 9000, max_output_tokens: 800, capabilities: [vision]}"
    text = f"models: {{m: {{{head}, endpoints: [{some}, {{name: b, base_url: 'http://b', context_window: 7000, capabilities: []}}]}}}}"
    model = load(text).models["m"]
    assert (model.context_window, model.max_output_tokens, model.capabilities) == (7000, 800, frozenset({"vision"}))
    unknown = load(text.replace(", capabilities: []", "")).models["m"]
    assert unknown.capabilities is None


def test_flags_replace_the_limits_of_every_endpoint(load):
    model = load(TEXT, flags={"rpm_limit": 7}).models["sonnet"]
    assert [place.limits.rpm for place in model.places] == [7, 7]


def test_the_endpoints_of_an_embedding_model_make_the_same_vectors(load, problems):
    head = "provider: openai, model_id: text-embedding-3-small"
    assert {place.vector_space for place in endpoints(load, "{name: a}, {name: b, region: eu}", head).values()} == {
        "text-embedding-3-small"
    }
    text = f"models: {{m: {{{head}, endpoints: [{{name: a}}, {{name: b, provider: azure, base_url: 'https://b.openai.azure.com', model_id: mine, capabilities: [%s]}}]%s}}}}"
    assert problems(text % ("embeddings", "")) == [
        "1: models.m.endpoints[1].model_id: m/b makes vectors of mine, which can't be compared with text-embedding-3-small (if both are the same model, write vector_space: in the model)"
    ]
    assert problems(text % ("vision", "")) == [
        "1: models.m.endpoints[1]: m/a makes embeddings and m/b makes none (make two models of them)"
    ]
    same = load(text % ("embeddings", ", vector_space: small")).models["m"]
    assert {place.vector_space for place in same.places} == {"small"}
    swapped = f"models: {{m: {{{head}, endpoints: [{{name: b, provider: groq, model_id: llama-3.3-70b-versatile, capabilities: []}}, {{name: a}}]}}}}"
    assert problems(swapped) == ["1: models.m.endpoints[1]: m/a makes embeddings and m/b makes none (make two models of them)"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("endpoints: []", ["3: models.m.endpoints: must be a list with at least one endpoint (endpoints: [{name: direct}, {name: eu, region: eu}])"]),
        ("endpoints: {a: 1}", ["3: models.m.endpoints: must be a list with at least one endpoint (endpoints: [{name: direct}, {name: eu, region: eu}])"]),
        ("endpoints: [direct]", ["3: models.m.endpoints[0]: must be a map of keys and values"]),
        ("endpoints: [{rpm: 5}]", ["3: models.m.endpoints[0].name: this key is required"]),
        ("endpoints: [{name: a/b}]", ["3: models.m.endpoints[0].name: must be letters, digits, `.`, `_` and `-`, at most 64, and begin with a letter or a digit; got 'a/b'"]),
        ("endpoints: [{name: a}, {name: a, region: eu}]", ["3: models.m.endpoints[1].name: a is already the name of another endpoint of m"]),
        ("endpoints: [{name: a, rpm: 0}, {name: b, region: eu, tpm: x}]", [
            "3: models.m.endpoints[0].rpm: must be a whole number of at least 1, got 0",
            "3: models.m.endpoints[1].tpm: must be a whole number of at least 1, got 'x'",
        ]),
        ("endpoints: [{name: a, rpmm: 5}]", ["3: models.m.endpoints[0].rpmm: unknown key (did you mean rpm?)"]),
        ("endpoints: [{name: a, timeouts: {totl_s: 5}}]", ["3: models.m.endpoints[0].timeouts.totl_s: unknown key (did you mean total_s?)"]),
        ("endpoints: [{name: a, budget_usd_per_run: 5}]", ["3: models.m.endpoints[0].budget_usd_per_run: budget_usd_per_run belongs to the model, not to one of its endpoints (write it beside endpoints:)"]),
        ("endpoints: [{name: a, weight: -1}]", ["3: models.m.endpoints[0].weight: must be a whole number, 0 or more, got -1"]),
        ("endpoints: [{name: a}, {name: b, rpm: 5}]", ["3: models.m.endpoints[1]: b is the same as a: the same server, model and key (remove one of the two; if their limits are apart, give each its account:)"]),
        ("endpoints: [direct, eu]", ["3: models.m.endpoints[0]: must be a map of keys and values", "3: models.m.endpoints[1]: must be a map of keys and values"]),
        ("endpoints: [{name: a}, {name: b, api_key: os.environ/K}]", ["3: models.m.endpoints[1].api_key: this names a variable as LiteLLM does (write api_key_env: K)"]),
        ("deployments: [{name: a}]", ["3: models.m.deployments: unknown key (did you mean endpoints?)"]),
        ("balance: random", ["3: models.m.balance: must be 'order', 'weighted', 'least_loaded', 'cheapest' or 'fastest'"]),
        ("endpoints: [{name: a, provider: azure}]", ["3: models.m.endpoints[0]: provider azure needs base_url: it has no address of its own"]),
        ("endpoints: [{name: a, script: x}]", ["3: models.m.endpoints[0].script: only provider: scripted takes a script"]),
        ("endpoints: [{name: a, max_input_tokens: 9, context_window: 8}]", ["3: models.m.endpoints[0].max_input_tokens: 9 is more than context_window: 8"]),
        ("rpd: 5\n    endpoints: [{name: a, rpm: 9}, {name: b, region: eu}]", ["4: models.m.endpoints[0].rpm: 9 is more than rpd: 5"]),
        ("tokenizer: nonsense\n    endpoints: [{name: a}, {name: b, region: eu}]", ["3: models.m.tokenizer: 'nonsense' has no known tokenizer (name a model such as gpt-4o, claude-sonnet-4-5, qwen3-coder, llama-3.3, or bytes)"]),
        ("usd_per_1m_input: 1\n    endpoints: [{name: a}, {name: b, usd_per_1m_output: 3}]", [
            "4: models.m.endpoints[0]: the price is incomplete: usd_per_1m_output is missing (usd_per_1m_output: 0 if it costs nothing)",
            "4: models.m.endpoints[1]: the price is incomplete: usd_per_1m_input is missing (usd_per_1m_input: 0 if it costs nothing)",
        ]),
    ],
)  # fmt: skip
def test_mistakes_in_endpoints_name_key_and_line(problems, lines, expected):
    found = problems(f"models:\n  m: # the model\n    {lines}\n    provider: openai\n    model_id: gpt-4o\n")
    assert [problem for problem in found if "the same server" not in problem or "is the same as" in expected[0]] == expected


def test_a_name_of_an_endpoint_is_not_that_of_a_model(problems):
    text = "default: m\nmodels:\n  m: {provider: ollama, endpoints: [{name: a}]}\n  m/a: {provider: ollama}\n"
    assert problems(text) == ["3: models.m.endpoints[0].name: m/a is already the name of a model"]


def test_a_provider_is_needed_by_the_model_or_by_each_endpoint(load, problems):
    text = "models: {m: {model_id: x, endpoints: [{name: a, provider: ollama}, {name: b%s}]}}"
    assert problems(text % "") == ["1: models.m.endpoints[1].provider: this key is required"]
    assert [place.provider for place in load(text % ", provider: vllm").models["m"].places] == ["ollama", "vllm"]
    assert problems("models: {m: {endpoints: [{name: a}], provider: opnai}}") == [
        "1: models.m.provider: unknown provider 'opnai' (did you mean openai?)"
    ]
    assert problems("models: {m: {endpoints: [{name: a, provider: opnai}]}}") == [
        "1: models.m.endpoints[0].provider: unknown provider 'opnai' (did you mean openai?)"
    ]


@pytest.mark.parametrize("key", ["api_key_env: K", "api_key: $K", "base_url: 'https://x.example.com'", "dialect: messages", "compat: {}"])
def test_what_belongs_to_one_provider_is_not_shared_by_several(problems, load, key):
    text = "models: {m: {model_id: x, %s, endpoints: [{name: a, provider: openai}, {name: b, provider: %s%s}]}}"
    name = key.partition(":")[0]
    assert problems(text % (key, "groq", "")) == [
        f"1: models.m.{name}: {name} belongs to one provider, and the endpoints have several (write it in the endpoint that it is for)"
    ]
    assert len(load(text % (key, "openai", ", region: eu")).models["m"].endpoints) == 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("api_key_env: A", "api_key_env: B", False),
        ("api_key_env: A", "api_key: $A", True),
        ("api_key_env: A, account: x", "api_key_env: B, account: x", True),
        ("account: x", "account: y", False),
        ("region: eu", "region: us", False),
        ("model_id: a", "model_id: b", False),
        ("base_url: 'https://A.example.com/v1'", "base_url: 'https://a.example.com/'", True),
        ("base_url: 'https://a.example.com'", "base_url: 'https://b.example.com'", False),
        ("rpm: 1, params: {seed: 1}", "rpm: 2", True),
    ],
)
def test_two_endpoints_that_are_one_are_a_mistake(load, problems, one, other, same):
    text = f"models: {{m: {{provider: openai, model_id: gpt-4o, endpoints: [{{name: a, {one}}}, {{name: b, {other}}}]}}}}"
    if same:
        assert [problem.partition(": ")[2].partition(" (")[0] for problem in problems(text)] == [
            "models.m.endpoints[1]: b is the same as a: the same server, model and key"
        ]
    else:
        assert len(load(text).models["m"].endpoints) == 2


def test_warnings_name_the_endpoint(load):
    found = load(
        "models: {m: {provider: openai, model_id: unheard-of, endpoints: [{name: a, price: free}, {name: b, region: eu}]}}"
    ).warnings
    assert [text.partition(":")[0] for text in found] == ["m/b"]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (TEXT, True),
        ("models: {m: {endpoints: [{name: a, provider: openai}]}}", True),
        ("models: {m: {model_id: x}}", False),
        ("models: {m: {provider: openai, endpoints: [{rpm: 5}]}}", False),
        ("models: {m: {provider: openai, endpoints: [{name: a/b}]}}", False),
        ("models: {m: {provider: openai, endpoints: [{name: a, aliases: [x]}]}}", False),
        ("models: {m: {provider: vllm, base_url: $BASE}}", True),
    ],
)
def test_the_json_schema_knows_endpoints(text, fits):
    validator = jsonschema.Draft202012Validator(registry_json_schema())
    assert validator.is_valid(YAML(typ="safe", pure=True).load(text)) == fits


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("balance: fastest", ["m: balance has no effect on a model without `endpoints`"]),
        ("balance: order, affinity: none", ["m: balance and affinity have no effect on a model without `endpoints`"]),
        ("balance: order, endpoints: [{name: a}, {name: b, rpm: 5, account: other}]", []),
        ("rpm: 5", []),
    ],
)
def test_what_needs_several_endpoints_is_warned_of_at_a_model_that_has_one(load, written: str, expected: list[str]) -> None:
    registry = load(f"models: {{m: {{provider: openai, model_id: gpt-4o, {written}}}}}\n")
    assert [warning for warning in registry.warnings if "endpoints" in warning] == expected


def test_a_default_that_no_call_can_use_is_warned_of(load) -> None:
    registry = load("models: {openai/*: {provider: openai}}\n")
    assert registry.warnings == (
        "default: openai/* is a family, so a call that names no model fails. Write the name of one of its models, or of another",
    )
