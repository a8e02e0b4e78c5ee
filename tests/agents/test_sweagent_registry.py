"""The registry that is prepared for SWE-agent's model configs: their models, and their limits as budgets."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.agents.sweagent.registry import RequestedModel, prepare_registry
from paymaster.errors import UsageMistake
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.models import Budget
from paymaster.registry.overrides import read_overrides
from paymaster.registry.yamltext import read_yaml

TEXT = """
models:
  big: {{provider: openai, model_id: gpt-4o, capabilities: [function_calling], aliases: [large]}}
  small: {{provider: ollama, capabilities: []}}
default: big
policies: {{fallback_chain: [big, small]{policy}}}
"""
NANO = 10**9


def sources(**environ):
    return Sources(catalogue=Catalogue(), model_data=ModelData(), environ=environ, at=datetime(2026, 11, 1, tzinfo=UTC), directory=Path())


def prepared(*requested, policy="", flags=None, loop=None, provider_of=lambda _: None, environ=None):
    overrides = read_overrides(flags or {}, {})
    registry = read_registry(read_yaml(TEXT.format(policy=policy), "registry.yaml"), overrides, sources())
    return prepare_registry(registry, requested, overrides, sources(**(environ or {})), loop_limit_usd=loop, provider_of=provider_of)


def model(name="big", **settings):
    dollars = {key: Decimal(str(value)) for key, value in settings.items() if key.endswith("_usd")}
    return RequestedModel(name=name, **{**settings, **dollars})


@pytest.mark.parametrize("name", ["big", "large", "default", "small"])
def test_models_of_the_registry_stay_unchanged(name):
    result = prepared(model(name))
    assert list(result.registry.models) == ["big", "small"]
    assert not result.registry.policy.hard_stop_on_budget


def test_config_keys_of_a_model_of_the_registry_are_ignored_with_a_note():
    result = prepared(model(base_url="http://x", keys=("sk",), fallbacks=True, headers={"x-team": "a"}))
    assert [note.split(" ")[0] for note in result.notes] == ["agent.model.api_base", "agent.model.api_key", "agent.model.fallbacks"]
    assert result.registry.models["big"].extra_headers == {"x-team": "a"}
    assert not result.keys


def test_another_name_is_used_as_sweagents_config_describes_it_without_fallbacks():
    requested = model("openai/some-model", base_url="http://127.0.0.1:9/v1", keys=("sk-a", "sk-b"), headers={"x": "y"}, max_input_tokens=9)
    result = prepared(requested)
    found = result.registry.models["openai/some-model"]
    assert (found.provider, found.model_id, found.base_url) == ("openai", "some-model", "http://127.0.0.1:9/v1")
    assert (found.fallbacks, found.max_input_tokens, found.extra_headers) == ((), 9, {"x": "y"})
    assert [result.keys[name] for name in found.key_variables] == ["sk-a", "sk-b"]
    assert "sk-a" not in repr(result) + repr(requested)


@pytest.mark.parametrize(
    ("base_url", "is_free"), [("http://127.0.0.1:4000/v1", False), ("http://localhost:8080", False), ("http://localhost:11434", True)]
)
def test_a_model_of_the_command_line_without_a_price_is_free_only_at_a_local_servers_port(base_url, is_free):
    result = prepared(model("openai/some-model", base_url=base_url))
    price = result.registry.models["openai/some-model"].price
    assert (price is not None) is is_free
    assert "`price: free`" in "".join(result.notes)


def test_litellm_gives_the_provider_of_a_name_without_one():
    result = prepared(model("gpt-4o-mini"), provider_of={"gpt-4o-mini": "openai"}.get, environ={"OPENAI_API_KEY": "sk"})
    found = result.registry.models["gpt-4o-mini"]
    assert (found.provider, found.model_id) == ("openai", "gpt-4o-mini")
    assert found.price is not None


def test_a_name_with_an_unknown_prefix_uses_the_configs_server():
    result = prepared(model("acme/coder", base_url="http://gpu:8000/v1"))
    assert (result.registry.models["acme/coder"].provider, result.registry.models["acme/coder"].model_id) == (
        "openai_compatible",
        "acme/coder",
    )


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UsageMistake, match="did you mean big") as caught:
        prepared(model("bgi"))
    assert "no model 'bgi'" in str(caught.value)


def test_prices_come_from_litellms_registry_file_if_the_config_names_one():
    prices = '{"some-model": {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-06, "max_output_tokens": 50}}'
    found = prepared(model("openai/some-model", price_file=prices)).registry.models["openai/some-model"]
    assert found.price is not None
    assert found.max_output_tokens == 50


@pytest.mark.parametrize("text", ["no json", '{"openai/x": {"input_cost_per_token": "dear"}}'])
def test_an_invalid_price_file_is_reported(text):
    with pytest.raises(UsageMistake, match="litellm_model_registry"):
        prepared(model("openai/x", price_file=text))


def test_a_config_with_function_calling_is_refused_if_no_model_of_the_chain_has_it():
    with pytest.raises(UsageMistake, match=r"--model-registry registry\.yaml --parser thought_action"):
        prepared(model("small", calls_functions=True))
    with pytest.raises(UsageMistake, match=r"--model-registry 'my own\.yaml' --parser thought_action"):
        prepared(model("small", calls_functions=True), flags={"model_registry": "my own.yaml"})
    prepared(model("small"))
    prepared(model("big", calls_functions=True))


def test_limits_of_sweagent_become_hard_budgets():
    policy = prepared(model(per_instance_usd=3, total_usd=10), model("small", per_instance_usd=0, total_usd=7)).registry.policy
    assert policy.hard_stop_on_budget
    assert policy.budgets == (
        Budget(cap=7 * NANO, per=("run",), key="agent.model.total_cost_limit"),
        Budget(cap=3 * NANO, per=("instance",), key="agent.model.per_instance_cost_limit"),
    )


def test_without_limits_the_policy_is_unchanged():
    policy = prepared(model()).registry.policy
    assert policy.budgets == ()
    assert not policy.hard_stop_on_budget


def test_soft_budgets_of_the_registry_stay_soft():
    policy = prepared(model(per_instance_usd=3), policy=", budget_usd_per_run: 1").registry.policy
    assert [budget.per for budget in policy.budgets] == [("run",)]
    assert not policy.hard_stop_on_budget


def test_a_retry_loops_limit_replaces_those_of_its_attempts():
    policy = prepared(model(per_instance_usd=1), model(per_instance_usd=2), loop=Decimal(6)).registry.policy
    assert policy.budgets == (Budget(cap=6 * NANO, per=("instance",), key="agent.retry_loop.cost_limit"),)
    assert not prepared(model(per_instance_usd=1), loop=Decimal(0)).registry.policy.budgets


def test_the_smaller_of_two_run_limits_applies_with_one_note():
    result = prepared(model(total_usd=2), model("small", total_usd=2), flags={"budget_usd": "5"})
    assert [note for note in result.notes if "the smaller one applies" in note] == [
        "--budget-usd is $5.00 and agent.model.total_cost_limit is $2.00: the smaller one applies, $2.00"
    ]
    assert {budget.cap for budget in result.registry.policy.budgets} == {5 * NANO, 2 * NANO}
