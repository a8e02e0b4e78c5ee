"""Budgets in tokens and in requests on the command line: flags, status, report, corrections and explain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paymaster.providers.scripted.server import ScriptedServer

TOKENS, REQUESTS = "budget-tokens/run/r", "budget-requests/run/r"


@pytest.fixture
def free(tmp_path: Path, server: ScriptedServer) -> Path:
    """A free model."""
    path = tmp_path / "free.yaml"
    path.write_text(
        f"models: {{fast: {{provider: openai_compatible, base_url: '{server.base_url}', price: free, max_output_tokens: 500}}}}\n"
    )
    return path


@pytest.fixture
def ask(paymaster: Callable[..., object], free: Path) -> Callable[..., object]:
    return lambda *words: paymaster("ask", "Why is the sky blue?", "--model-registry", free, "--run-id", "r", *words)


def status_of(paymaster: Callable[..., object], *words: object) -> dict[str, dict[str, object]]:
    shown = json.loads(paymaster("status", "--run-id", "r", "--json", *words).out)
    return {budget["account"]: budget for budget in shown["budgets"]}


def test_flags_bound_a_free_model_and_every_view_shows_it(paymaster, free, ask):
    flags = ("--budget-tokens", "2_000", "--budget-requests", "2")
    first = ask(*flags, "--json")
    assert first.status == 0
    answer = json.loads(first.out)
    used = answer["attempts"][0]["input_tokens"] + answer["attempts"][0]["output_tokens"]
    assert (answer["budget_left_tokens"], answer["budget_left_requests"], answer["budget_left_usd"]) == (2_000 - used, 1, None)
    second = ask(*flags)
    assert f"{2_000 - 2 * used:,} tokens left of 2,000 tokens (--budget-tokens); 0 requests left of 2 requests" in second.err
    third = ask(*flags)
    assert third.status == 3
    assert "--budget-requests = 2 requests can't pay for this call: 2 requests spent" in third.err
    assert "Raise --budget-requests." in third.err

    shown = status_of(paymaster, "--model-registry", free, *flags)
    assert {name: (each["unit"], each["spent"], each["held"], each["cap"], each["left"]) for name, each in shown.items()} == {
        TOKENS: ("tokens", 2 * used, 0, 2_000, 2_000 - 2 * used),
        REQUESTS: ("requests", 2, 0, 2, 0),
    }
    assert not [key for each in shown.values() for key in each if key.endswith("_nanousd")]
    table = paymaster("status", "--model-registry", free, *flags).out
    for words in ("2 requests", "2,000 tokens", "all spent"):
        assert words in table
    report = paymaster("report", "--json")
    assert json.loads(report.out)["ledger_agrees"] is True
    assert "agree with the ledger's 2 budgets" in (paymaster("report").out + paymaster("report").err)
    assert paymaster("ledger", "verify").status == 0


def test_variables_are_the_same_as_flags(ask, monkeypatch):
    monkeypatch.setenv("PAYMASTER_BUDGET_REQUESTS", "1")
    assert ask().status == 0
    ended = ask()
    assert ended.status == 3
    assert "PAYMASTER_BUDGET_REQUESTS = 1 request can't pay" in ended.err


def test_a_correction_is_in_the_unit_of_its_budget(paymaster, ask):
    ask("--budget-tokens", "5000")
    spent = status_of(paymaster)[TOKENS]["spent"]
    adjusted = paymaster("ledger", "adjust", TOKENS, "--tokens", "-10", "--reason", "a broken answer")
    assert adjusted.out.strip() == f"{TOKENS}: {spent} tokens → {spent - 10} tokens"
    assert json.loads(paymaster("report", "--json").out)["ledger_agrees"] is True
    assert "-10 tokens" in paymaster("report").out
    new = paymaster("ledger", "adjust", REQUESTS, "--requests", "+3", "--reason", "made elsewhere", "--new")
    assert new.out.strip() == f"{REQUESTS}: 0 requests → 3 requests"
    for words, expected in (
        (("--usd", "1"), "does not count in the unit of --usd"),
        (("--tokens", "many"), "not a whole number"),
        (("--tokens", "0"), "nothing would change"),
        (("--tokens", str(10**16)), "too large"),
        ((), "needs an amount"),
    ):
        ended = paymaster("ledger", "adjust", TOKENS, *words, "--reason", "x")
        assert (ended.status, expected in ended.err) == (2, True), words
    reset = paymaster("ledger", "reset", TOKENS, "--yes")
    assert f"{TOKENS}: {spent - 10} tokens → 0 tokens." in reset.out


def test_explain_and_check_show_every_unit(paymaster, free):
    flags = ("--model-registry", free, "--budget-tokens", "100", "--budget-requests", "1")
    explained = paymaster("explain", *flags)
    assert "100 tokens per run, hard (--budget-tokens); 1 request per run, hard (--budget-requests)" in explained.out + explained.err
    assert "budget-tokens/run/" in explained.out
    checked = paymaster("check", *flags)
    assert "100 tokens per run, hard" in checked.out


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "2e15"])
def test_a_value_that_is_no_number_of_tokens_is_a_mistake(ask, value):
    ended = ask("--budget-tokens", value)
    assert ended.status == 2
    assert "flag --budget-tokens: must be" in ended.err


def test_a_key_has_budgets_in_every_unit(paymaster):
    created = json.loads(
        paymaster("keys", "create", "--user", "ana", "--budget-tokens", "1_000", "--budget-requests", "5", "--per", "day", "--json").out
    )
    assert (created["tokens"], created["requests"], created["usd"], created["per"]) == (1_000, 5, None, "day")
    assert "1,000 tokens per day, 5 requests per day" in paymaster("keys", "list").out
    assert "--budget-tokens 1_000_000" in paymaster("keys", "create", "--user", "x", "--budget-tokens", "lots").err
    assert "needs a budget" in paymaster("keys", "create", "--user", "x", "--per", "day").err
