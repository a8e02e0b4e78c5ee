"""A flag wins over the environment, the environment over the file, the file over the default; mistakes are reported."""

from __future__ import annotations

from decimal import Decimal

import pytest

from paymaster.errors import RegistryInvalid
from paymaster.registry.describe import describe
from paymaster.registry.models import Budget
from paymaster.registry.overrides import SETTINGS, Overrides, flag_of, read_overrides, variable_of
from paymaster.registry.settings import _Settings

FILE = "models: {a: {provider: ollama, rpm: 1, tpm: 2}}\npolicies: {budget_usd_per_run: 1, budget_usd_per_day: 9}"


def test_a_flag_wins_over_its_variable_and_the_variable_over_the_file(load):
    environ = {"PAYMASTER_RPM_LIMIT": "20", "PAYMASTER_TPM_LIMIT": "5_000"}
    model = load(FILE, environ=environ, flags={"rpm_limit": 30, "tpm_limit": None}).models["a"]
    assert (model.limits.rpm, model.limits.tpm) == (30, 5_000)
    assert (model.origins["rpm"], model.origins["tpm"]) == ("flag --rpm-limit", "environment PAYMASTER_TPM_LIMIT")
    assert load(FILE).models["a"].origins["rpm"] == "registry line 1"


def test_a_budget_for_this_run_replaces_only_the_files_budget_per_run(load):
    policy = load(FILE, flags={"budget_usd": "0.5"}).policy
    assert policy.budgets == (
        Budget(cap=500_000_000, per=("run",), key="--budget-usd"),
        Budget(cap=9_000_000_000, per=("day",), key="policies.budget_usd_per_day"),
    )
    assert load(FILE, environ={"PAYMASTER_BUDGET_USD": "2"}).policy.budgets[0].key == "PAYMASTER_BUDGET_USD"


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        ({"budget_usd": "0.5", "batch_id": "b"}, {}),
        ({"budget_usd": "0.5"}, {"PAYMASTER_BATCH_ID": "b"}),
        ({"batch_id": "b"}, {"PAYMASTER_BUDGET_USD": "0.5"}),
    ],
)
def test_with_a_batch_the_budget_is_the_batchs_and_replaces_those_per_run_and_batch(load, flags, environ):
    file = f"{FILE[:-1]}, budgets: [{{usd: 3, per: [batch]}}, {{usd: 4, per: [instance]}}, {{usd: 5, per: [batch], models: [a]}}]}}"
    registry = load(file, flags=flags, environ=environ)
    assert [(budget.cap // 10**8, budget.per) for budget in registry.policy.budgets] == [
        (5, ("batch",)),
        (90, ("day",)),
        (40, ("instance",)),
        (50, ("batch",)),
    ]
    assert registry.policy.hard_stop_on_budget
    assert describe(registry, {}).budgets[0].origin.endswith(("flag --budget-usd", "environment PAYMASTER_BUDGET_USD"))


@pytest.mark.parametrize(
    ("file", "flags", "environ", "hard", "origin"),
    [
        ("", {}, {}, False, "default"),
        ("", {"budget_usd": 1}, {}, True, "default with flag --budget-usd"),
        ("", {}, {"PAYMASTER_BUDGET_USD": "1"}, True, "default with environment PAYMASTER_BUDGET_USD"),
        ("hard_stop_on_budget: false", {"budget_usd": 1}, {}, False, "registry line 2"),
        ("hard_stop_on_budget: false", {}, {"PAYMASTER_HARD_STOP": "on"}, True, "environment PAYMASTER_HARD_STOP_ON_BUDGET"),
        ("", {"budget_usd": 1}, {"PAYMASTER_HARD_STOP_ON_BUDGET": "0"}, False, "environment PAYMASTER_HARD_STOP_ON_BUDGET"),
        ("", {"hard_stop_on_budget": True}, {"PAYMASTER_HARD_STOP_ON_BUDGET": "no"}, True, "flag --hard-stop-on-budget"),
    ],
)
def test_a_hard_stop_comes_from_flag_environment_or_file_in_this_order(load, file, flags, environ, hard, origin):
    registry = load(f"models: {{a: {{provider: ollama}}}}\npolicies: {{{file}}}", flags=flags, environ=environ)
    assert (registry.policy.hard_stop_on_budget, registry.origins["hard_stop_on_budget"]) == (hard, origin)


def test_every_setting_can_be_a_flag_or_a_variable():
    settings = {
        "model_registry": "r.yaml", "budget_usd": Decimal("1.5"), "budget_tokens": 3, "budget_requests": 0, "rpm_limit": 1,
        "tpm_limit": 2, "hard_stop_on_budget": True,
        "run_id": "r", "batch_id": "b", "user": "u", "ledger": "memory:", "state_dir": "s", "events": "e.jsonl",
    }  # fmt: skip
    by_flag = read_overrides(settings, {})
    by_variable = read_overrides({}, {variable_of(name): str(value) for name, value in settings.items()})
    for name, value in settings.items():
        assert getattr(by_flag, name) == getattr(by_variable, name) == value
        assert by_flag.origins[name] == f"flag {flag_of(name)}"
        assert by_variable.origins[name] == f"environment {variable_of(name)}"
    assert set(settings) == set(SETTINGS) == set(_Settings.model_fields)


def test_the_environment_is_an_argument(monkeypatch):
    monkeypatch.setenv("PAYMASTER_RPM_LIMIT", "7")
    monkeypatch.setenv("RPM_LIMIT", "7")
    assert read_overrides({"tpm_limit": 1}, {}).rpm_limit is None


def test_without_flags_and_variables_nothing_is_overridden():
    assert read_overrides({"rpm_limit": None}, {"PATH": "/bin", "PAYMASTER_LEDGER": " "}) == Overrides()


def test_a_misspelled_variable_is_reported_with_the_nearest(load):
    registry = load(FILE, environ={"PAYMASTER_BUGET_USD": "1", "PAYMASTER_STATE_DIR": "x"})
    assert registry.warnings == ("ignoring the unknown environment variable PAYMASTER_BUGET_USD (did you mean PAYMASTER_BUDGET_USD?)",)


def test_every_invalid_value_is_reported_with_its_flag_or_variable():
    with pytest.raises(RegistryInvalid) as caught:
        read_overrides({"budget_usd": "-1"}, {"PAYMASTER_RPM_LIMIT": "many", "PAYMASTER_HARD_STOP": "maybe"})
    assert sorted(map(str, caught.value.problems)) == [
        "environment PAYMASTER_HARD_STOP_ON_BUDGET: must be true or false, got 'maybe'",
        "environment PAYMASTER_RPM_LIMIT: must be a whole number of at least 1, got 'many'",
        "flag --budget-usd: must be an amount in dollars, 0 or more, got '-1'",
    ]
