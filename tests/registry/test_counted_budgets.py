"""Budgets in tokens and in requests are written like those in dollars, and follow the same rules."""

from __future__ import annotations

from decimal import Decimal

import pytest

from paymaster.accounting.account_names import BUDGET_DIMENSIONS
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.registry.budget_schema import short_budgets
from paymaster.registry.describe import budget_texts
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.models import Budget
from paymaster.registry.schema import PolicySection, registry_json_schema

TOKENS, REQUESTS = BudgetUnit.TOKENS, BudgetUnit.REQUESTS


def test_every_short_form_in_dollars_has_one_in_tokens_and_in_requests():
    for section in (PolicySection, ModelSection):
        forms = {
            unit: {key.partition("_per_")[2] for key in section.model_fields if key.startswith(f"budget_{unit}_per_")}
            for unit in BudgetUnit
        }
        assert len({frozenset(dimensions) for dimensions in forms.values()}) == 1
        assert forms[TOKENS] <= set(BUDGET_DIMENSIONS)


def test_short_and_long_forms_are_read(load):
    text = """\
models:
  a: {provider: ollama, budget_tokens_per_day: 7, budgets: [{requests: 8, per: instance}]}
policies:
  budget_tokens_per_run: 1_000_000
  budget_requests_per_instance: "75"
  budgets:
    - {tokens: 1e6, per: [user, day]}
    - {usd: 5, tokens: 10, requests: 0, per: [key, month], models: [a]}
    - {requests: 9, per: total}
"""
    registry = load(text)
    assert registry.models["a"].budgets == (
        Budget(cap=7, unit=TOKENS, per=("model", "day"), models=("a",), key="models.a.budget_tokens_per_day"),
        Budget(cap=8, unit=REQUESTS, per=("instance", "model"), models=("a",), key="models.a.budgets[0].requests"),
    )
    assert registry.policy.budgets == (
        Budget(cap=1_000_000, unit=TOKENS, per=("run",), key="policies.budget_tokens_per_run"),
        Budget(cap=75, unit=REQUESTS, per=("instance",), key="policies.budget_requests_per_instance"),
        Budget(cap=1_000_000, unit=TOKENS, per=("user", "day"), key="policies.budgets[0].tokens"),
        Budget(cap=5 * 10**9, per=("key", "month"), models=("a",), key="policies.budgets[1]"),
        Budget(cap=10, unit=TOKENS, per=("key", "month"), models=("a",), key="policies.budgets[1].tokens"),
        Budget(cap=0, unit=REQUESTS, per=("key", "month"), models=("a",), key="policies.budgets[1].requests"),
        Budget(cap=9, unit=REQUESTS, per=(), key="policies.budgets[2].requests"),
    )
    assert "1,000,000 tokens per run, soft (policies.budget_tokens_per_run)" in budget_texts(registry)
    assert not registry.policy.hard_stop_on_budget


@pytest.mark.parametrize(
    ("policies", "problem"),
    [
        ("budget_tokens_per_run: -1", "policies.budget_tokens_per_run: must be a whole number, 0 or more, got -1"),
        ("budget_tokens_per_run: 0.5", "policies.budget_tokens_per_run: must be a whole number, 0 or more, got 0.5"),
        ("budget_requests_per_day: 1e16", "policies.budget_requests_per_day: must be at most 1,000,000,000,000,000, got 1E+16"),
        ("budget_tokens_per_runs: 1", "policies.budget_tokens_per_runs: unknown key (did you mean budget_tokens_per_run?)"),
        ("token_budget: 1", "policies.token_budget: unknown key (did you mean budget_tokens_per_run?)"),
        ("max_requests: 1", "policies.max_requests: unknown key (did you mean budget_requests_per_run?)"),
        ("budgets: [{per: run}]", "policies.budgets[0]: a budget needs a cap: usd, tokens or requests"),
        (
            "{budget_tokens_per_run: 1, budgets: [{tokens: 2, usd: 1, per: run}]}",
            "policies.budgets[0]: there is already a budget per run for the same models",
        ),
    ],
)
def test_mistakes_are_reported(problems, policies, problem):
    (found,) = problems(f"models: {{a: {{provider: ollama}}}}\npolicies: {policies if policies[0] == '{' else '{' + policies + '}'}\n")
    assert found.partition(": ")[2] == problem


def test_two_budgets_per_run_in_two_units_are_two_budgets(load):
    text = (
        "models: {a: {provider: ollama}}\npolicies: {budget_usd_per_run: 1, budget_tokens_per_run: 2, budgets: [{requests: 3, per: run}]}"
    )
    assert [budget.unit for budget in load(text).policy.budgets] == ["usd", "tokens", "requests"]


@pytest.mark.parametrize(
    ("flags", "environ", "key", "hard_by"),
    [
        ({"budget_tokens": "5"}, {}, "--budget-tokens", "default with flag --budget-tokens"),
        ({"budget_requests": 5}, {}, "--budget-requests", "default with flag --budget-requests"),
        ({}, {"PAYMASTER_BUDGET_TOKENS": "5"}, "PAYMASTER_BUDGET_TOKENS", "default with environment PAYMASTER_BUDGET_TOKENS"),
    ],
)
def test_a_callers_budget_is_hard_and_replaces_that_of_its_unit_alone(load, flags, environ, key, hard_by):
    policies = "{budget_usd_per_run: 1, budget_tokens_per_run: 2, budget_requests_per_run: 3, budget_tokens_per_day: 4}"
    text = f"models: {{a: {{provider: ollama}}}}\npolicies: {policies}"
    policy = load(text, flags=flags, environ=environ).policy
    given = next(budget for budget in policy.budgets if budget.key == key)
    assert (given.cap, given.per) == (5, ("run",))
    assert sorted(budget.unit for budget in policy.budgets if budget.per == ("run",)) == ["requests", "tokens", "usd"]
    assert len(policy.budgets) == 4
    assert policy.hard_stop_on_budget
    registry = load(text, flags=flags, environ=environ)
    assert registry.origins["hard_stop_on_budget"] == hard_by


def test_all_three_at_once_are_of_the_batch_where_one_is_named(load):
    flags = {"budget_usd": Decimal(1), "budget_tokens": 2, "budget_requests": 3, "batch_id": "b"}
    budgets = load("models: {a: {provider: ollama}}", flags=flags).policy.budgets
    assert [(budget.unit, budget.cap, budget.per) for budget in budgets] == [
        ("usd", 10**9, ("batch",)),
        ("tokens", 2, ("batch",)),
        ("requests", 3, ("batch",)),
    ]


def test_editors_know_that_a_budget_needs_one_of_the_caps():
    definition = registry_json_schema()["$defs"]["BudgetSection"]
    assert definition["anyOf"] == [{"required": ["usd"]}, {"required": ["tokens"]}, {"required": ["requests"]}]
    assert "budget_requests_per_instance" in registry_json_schema()["$defs"]["PolicySection"]["properties"]
    assert short_budgets(PolicySection(budget_tokens_per_user=3)) == [("budget_tokens_per_user", TOKENS, "user", 3)]
