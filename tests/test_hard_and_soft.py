"""The one rule for hard and soft budgets, over every way to give a budget, and what a caller learns of a soft one that is passed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from paymaster import AsyncClient, BudgetExceeded, Client
from paymaster.agents.clients import ClientCache
from paymaster.cli import main
from paymaster.flow.events import BudgetPassed
from paymaster.gateway.auth import Key
from paymaster.gateway.service import registry_for_key
from paymaster.options import registry_for
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.registry.models import Budget, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

HELLO = [{"role": "user", "content": "Hello"}]
SCRIPT = 'models: {m: {prices: {usd_per_1m_input: 1000, usd_per_1m_output: 1000}, answers: [{text: "one two three four"}]}}'


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Commands set up the log of their process; this restores it for other tests."""
    root = logging.getLogger("paymaster")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(parse_script(SCRIPT)) as running:
        yield running


@pytest.fixture
def write(tmp_path: Path, server: ScriptedServer) -> Callable[..., Path]:
    def write_registry(policies: str = "", model: str = "") -> Path:
        path = tmp_path / "registry.yaml"
        price = f"usd_per_1m_input: 1000, usd_per_1m_output: 1000, max_output_tokens: 20{model}"
        path.write_text(
            f"models: {{m: {{provider: openai_compatible, base_url: '{server.base_url}', {price}}}}}\npolicies: {{{policies}}}\n"
        )
        return path

    return write_registry


# ------------------------------------------------------------------------------------------------------------- the rule


def in_file(path: Path, settings: Mapping[str, object]) -> Policy:
    with Client(str(path), ledger="memory:", **settings) as client:
        return client.registry.policy


def as_argument(path: Path, settings: Mapping[str, object]) -> Policy:
    with Client(str(path), ledger="memory:", budget_usd=1, **settings) as client:
        return client.registry.policy


def for_a_loaded_registry(path: Path, settings: Mapping[str, object]) -> Policy:
    with Client(registry_for(str(path), {}), ledger="memory:", budget_usd=1, **settings) as client:
        return client.registry.policy


def for_a_registry_loaded_with_it(path: Path, settings: Mapping[str, object]) -> Policy:
    loaded = registry_for(str(path), {"budget_usd": 1, **settings})
    with Client(loaded, ledger="memory:", budget_usd=1, **settings) as client:
        assert client.registry.policy == loaded.policy
        assert client.registry.origins == loaded.origins
        return client.registry.policy


def for_an_async_client(path: Path, settings: Mapping[str, object]) -> Policy:
    async def read() -> Policy:
        async with AsyncClient(registry_for(str(path), {}), ledger="memory:", budget_usd=1, **settings) as client:
            return client.registry.policy

    return asyncio.run(read())


def in_a_batch(path: Path, settings: Mapping[str, object]) -> Policy:
    with Client(str(path), ledger="memory:", budget_usd=1, batch="b", **settings) as client:
        return client.registry.policy


def by_variable(path: Path, settings: Mapping[str, object]) -> Policy:
    os.environ["PAYMASTER_BUDGET_USD"] = "1"
    try:
        return in_file(path, settings)
    finally:
        del os.environ["PAYMASTER_BUDGET_USD"]


def for_agents(path: Path, settings: Mapping[str, object]) -> Policy:
    cache = ClientCache()
    try:
        return cache.client(str(path), {"ledger": "memory:", "budget_usd": "1", **settings}).registry.policy
    finally:
        cache.close()


def for_a_key(path: Path, settings: Mapping[str, object]) -> Policy:
    key = Key(id="k", user=None, digest="", budgets=(Budget(cap=10**9, per=("key",)),))
    return registry_for_key(registry_for(str(path), settings), key).policy


GIVEN_BY_A_CALLER = [
    as_argument,
    for_a_loaded_registry,
    for_a_registry_loaded_with_it,
    for_an_async_client,
    in_a_batch,
    by_variable,
    for_agents,
]


@pytest.mark.parametrize(
    ("argument", "variable", "file", "for_the_file", "for_a_caller"),
    [
        (None, None, None, False, True),
        (None, None, True, True, True),
        (None, None, False, False, False),
        (None, "true", None, True, True),
        (None, "true", False, True, True),
        (None, "false", None, False, False),
        (None, "false", True, False, False),
        (True, None, None, True, True),
        (True, None, False, True, True),
        (True, "false", None, True, True),
        (False, None, None, False, False),
        (False, None, True, False, False),
        (False, "true", None, False, False),
    ],
)
def test_one_rule_for_every_way_to_give_a_budget(write, monkeypatch, argument, variable, file, for_the_file, for_a_caller):
    decided = "" if file is None else f", hard_stop_on_budget: {str(file).lower()}"
    path = write(f"budget_usd_per_run: 2{decided}")
    if variable is not None:
        monkeypatch.setenv("PAYMASTER_HARD_STOP_ON_BUDGET", variable)
    settings = {} if argument is None else {"hard_stop_on_budget": argument}
    assert in_file(path, settings).hard_stop_on_budget is for_the_file
    for way in GIVEN_BY_A_CALLER:
        policy = way(path, settings)
        assert (way, policy.hard_stop_on_budget) == (way, for_a_caller)
        assert [budget.cap for budget in policy.budgets] == [10**9]
    assert for_a_key(path, settings).hard_stop_on_budget is True


@pytest.mark.parametrize("key", ["budget_usd_per_run: 2", "budget_usd_per_day: 2", "budgets: [{usd: 2, per: total}]", ""])
def test_every_budget_in_the_file_is_soft_unless_it_decides(write, key):
    assert in_file(write(key, ", budget_usd_per_month: 3"), {}).hard_stop_on_budget is False


def test_a_budget_for_a_loaded_registry_stops_its_calls(write):
    with Client(registry_for(str(write()), {}), ledger="memory:", budget_usd="0.000001") as client, pytest.raises(BudgetExceeded):
        client.complete(HELLO)


def test_limits_for_a_loaded_registry_apply(write):
    with Client(registry_for(str(write()), {}), ledger="memory:", rpm_limit=3, tpm_limit=5_000) as client:
        limits, origins = client.registry.models["m"].limits, client.registry.models["m"].origins
    assert (limits.rpm, limits.tpm, origins["rpm"]) == (3, 5_000, "flag --rpm-limit")


# --------------------------------------------------------------------------------------------- hard or soft, everywhere


@pytest.mark.parametrize(("flags", "kind"), [((), "soft"), (("--hard-stop-on-budget",), "hard"), (("--budget-usd", "1"), "hard")])
def test_check_and_explain_say_hard_or_soft_of_each_budget(write, capsys, flags, kind):
    path = write("budget_usd_per_run: 2, budgets: [{usd: 3, per: [user, day]}]", ", budget_usd_per_month: 4")
    assert main(["check", str(path), *flags]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"\$\d\.00 per run, {kind}", shown)
    assert f"$3.00 per user and day, {kind}" in shown
    assert f"$4.00 per model and month, m only, {kind}" in shown
    assert main(["explain", str(path), *flags]) == 0
    shown = capsys.readouterr().out
    per_month = rf"\$4\.00 per model and month, m only, {kind} \(models\.m\."
    assert re.search(rf"^Budgets: \$\d\.00 per run, {kind} \(.*{per_month}", shown, re.MULTILINE)
    assert re.search(rf"usd/run/\S+ .* {kind}$", shown, re.MULTILINE)
    assert main(["explain", str(path), *flags, "--json"]) == 0
    accounts = json.loads(capsys.readouterr().out)[0]["accounts"]
    assert {account["hard"] for account in accounts if account["kind"] == "money"} == {kind == "hard"}
    assert {account["hard"] for account in accounts if account["kind"] != "money"} == {None}


@pytest.mark.parametrize(("hard", "why"), [(True, "(a hard budget)"), (False, "(a soft budget: called all the same")])
def test_explain_names_the_kind_of_the_budget_in_the_way(write, hard, why):
    with Client(str(write("budget_usd_per_run: 0.000001")), ledger="memory:", hard_stop_on_budget=hard) as client:
        (verdict,) = client.explain(HELLO)
        assert why in verdict.why
        assert verdict.serves is not hard
        if not hard:
            assert client.complete(HELLO).model == verdict.model


@pytest.mark.parametrize(
    ("policies", "line"),
    [
        ("budget_usd_per_run: 2", "run r: budgets: $2.00 per run, soft (policies.budget_usd_per_run)"),
        (
            "budget_usd_per_run: 2, budget_usd_per_day: 3, hard_stop_on_budget: true",
            "run r: budgets: $2.00 per run, hard (policies.budget_usd_per_run); $3.00 per day, hard (policies.budget_usd_per_day)",
        ),
        ("", "run r: no budget"),
    ],
)
def test_the_first_line_of_a_clients_log_has_its_budgets(write, caplog, policies, line):
    caplog.set_level(logging.DEBUG, "paymaster")
    with Client(str(write(policies)), ledger="memory:", run="r") as client:
        client.complete(HELLO)
    assert caplog.messages[0] == line
    assert caplog.records[0].name == "paymaster.budgets"


# ------------------------------------------------------------------------------------------------- a passed soft budget


def test_a_reply_has_what_is_left_and_the_budgets_that_are_passed(write):
    with Client(str(write("budget_usd_per_run: 0.02, budget_usd_per_day: 1")), ledger="memory:", run="r") as client:
        first = client.complete(HELLO)
        assert first.budget_left_usd == Decimal("0.02") - first.cost_usd
        assert first.over_budget == ()
        second = client.complete(HELLO)
        with client.stream(HELLO) as stream:
            list(stream)
        third = stream.reply
    assert second.budget_left_usd == Decimal("0.02") - first.cost_usd - second.cost_usd
    assert third.budget_left_usd == second.budget_left_usd - third.cost_usd
    assert third.budget_left_usd < 0
    assert third.over_budget == ("usd/run/r",)
    assert third.budget_left_nanousd == third.budget_left_usd * 10**9


def test_an_async_reply_has_them_too(write):
    async def ask() -> None:
        async with AsyncClient(str(write("budget_usd_per_run: 0.000001")), ledger="memory:", run="r") as client:
            whole = await client.complete(HELLO)
            async with client.stream(HELLO) as stream:
                assert [chunk async for chunk in stream]
        assert whole.over_budget == stream.reply.over_budget == ("usd/run/r",)
        assert 0 > whole.budget_left_usd > stream.reply.budget_left_usd

    asyncio.run(ask())


def test_without_a_budget_a_reply_has_neither(write):
    with Client(str(write()), ledger="memory:") as client:
        reply = client.complete(HELLO)
    assert (reply.budget_left_usd, reply.over_budget) == (None, ())


PROGRAM = """
import logging, sys
from paymaster import Client
{setup}
for run in ("one", "two", "one"):
    with Client(sys.argv[1], ledger=sys.argv[2], run=run) as client:
        for _ in range(3):
            reply = client.complete([{{"role": "user", "content": "Hello"}}])
            assert reply.over_budget
"""


@pytest.mark.parametrize(
    ("setup", "once", "logged"),
    [
        ("", True, False),
        ("logging.getLogger('paymaster').setLevel('DEBUG')", True, False),
        ("logging.getLogger('other').addHandler(logging.StreamHandler())", True, False),
        ("logging.basicConfig()", False, True),
        ("logging.getLogger('paymaster.budgets').addHandler(logging.StreamHandler())", False, True),
        ("logging.getLogger('paymaster').addHandler(logging.NullHandler())", False, False),
        ("logging.getLogger('paymaster').setLevel('ERROR')", False, False),
        ("sys.stderr.close()", False, False),
        ("sys.stderr = None", False, False),
    ],
)
def test_without_a_logging_setup_a_passed_budget_is_on_standard_error_once(write, tmp_path, setup, once, logged):
    path = write("budget_usd_per_run: 0.000001")
    command = [sys.executable, "-c", PROGRAM.format(setup=setup), str(path), f"sqlite:///{tmp_path}/l.db"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    for run, calls in (("one", 6), ("two", 3)):
        over = rf"usd/run/{run} is over by \$"
        assert len(re.findall(rf"^Paymaster: {over}", ran.stderr, re.MULTILINE)) == once
        assert len(re.findall(rf"^(?!Paymaster:).*{over}", ran.stderr, re.MULTILINE)) == (calls if logged else 0)
    if once:
        assert len(ran.stderr.splitlines()) == 2
        assert "`hard_stop_on_budget: true`" in ran.stderr


def test_a_hard_budget_is_an_error_and_no_line(write, capsys):
    events: list[object] = []
    path = write("budget_usd_per_run: 0.000001, hard_stop_on_budget: true")
    with Client(str(path), ledger="memory:", listeners=[events.append]) as client, pytest.raises(BudgetExceeded):
        client.complete(HELLO)
    assert any(isinstance(event, BudgetPassed) and event.hard for event in events)
    assert capsys.readouterr().err == ""
