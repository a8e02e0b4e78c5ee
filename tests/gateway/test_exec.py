"""`paymaster exec`: a command, its gateway, its cost and its exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateways import PRICES, write_registry
from paymaster.gateway.exec_gateway import client_environment, run_command
from paymaster.options import registry_for
from paymaster.providers.scripted.script import Script
from paymaster.providers.scripted.server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CALLER = """
import sys, openai
client = openai.OpenAI(max_retries=0)
for _ in range(int(sys.argv[1])):
    print(client.chat.completions.create(model="default", messages=[{"role": "user", "content": "Hi"}]).model)
sys.exit(7)
"""
CLAUDE = """
import anthropic
print(anthropic.Anthropic().messages.create(model="default", max_tokens=50, messages=[{"role": "user", "content": "Hi"}]).content[0].text)
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Path]:
    with ScriptedServer(Script.model_validate({"models": {"*": {"prices": PRICES}}})) as server:
        path = tmp_path / "registry.yaml"
        write_registry(path, server, ["fast"], {}, {"max_output_tokens": 50})
        yield path


def run(registry: Path, *words: str, flags: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paymaster", "exec", "--model-registry", str(registry), *flags, "--", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=100, check=False)


def test_a_command_uses_the_gateway_and_its_cost_is_printed(registry: Path) -> None:
    ran = run(registry, sys.executable, "-c", CALLER, "2")
    assert ran.stdout.split() == ["fast", "fast"]
    assert "Paymaster: fast: 2 answers, $0.0000" in ran.stderr
    assert ran.returncode == 7


def test_a_hard_budget_is_status_3_with_advice_to_continue(registry: Path) -> None:
    ran = run(registry, sys.executable, "-c", CALLER, "90", flags=("--budget-usd", "0.0006", "--run-id", "exp-1"))
    assert ran.returncode == 3
    assert ran.stdout.count("fast") >= 1
    assert "Stopped by the budget usd/run/exp-1 of $0.0006" in ran.stderr
    assert "--run-id exp-1" in ran.stderr


def test_an_anthropic_client_uses_the_gateway_too(registry: Path) -> None:
    ran = run(registry, sys.executable, "-c", CLAUDE, ANTHROPIC_AUTH_TOKEN="another")
    assert ran.stdout.strip() == "OK."
    assert ran.returncode == 0


def test_a_missing_command_is_a_usage_mistake(run_paymaster: Callable[..., tuple[int, str, str]], registry: Path) -> None:
    status, _, errors = run_paymaster("exec", "--model-registry", str(registry), "--", "no-such-command")
    assert status == 2
    assert "cannot run no-such-command" in errors


def test_below_the_budget_the_exit_status_is_the_commands_own(run_paymaster: Callable[..., tuple[int, str, str]], registry: Path) -> None:
    words = ("--budget-usd", "1", "--", sys.executable, "-c", CALLER, "1")
    status, _, errors = run_paymaster("exec", "--model-registry", str(registry), *words)
    assert status == 7
    assert "of $1.00 spent (--budget-usd)" in errors


def test_the_command_does_not_see_the_providers_keys(registry: Path) -> None:
    registry.write_text(registry.read_text().replace('"model_id"', '"api_key_env": "MY_PROVIDER_KEY", "model_id"', 1))
    given = {"MY_PROVIDER_KEY": "canary", "OPENAI_API_KEY": "own", "PATH": "/bin", "NO_PROXY": "a.b"}
    variables = client_environment(given, registry_for(registry, {"environ": given}), 4711, "pm-exec")
    assert "canary" not in variables.values()
    assert variables["PATH"] == "/bin"
    assert variables["OPENAI_API_KEY"] == variables["ANTHROPIC_API_KEY"] == "pm-exec"
    assert variables["OPENAI_BASE_URL"] == "http://127.0.0.1:4711/v1"
    assert variables["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4711"
    assert variables["NO_PROXY"] == "a.b,127.0.0.1,localhost"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_signals_are_forwarded_and_set_the_exit_status(registry: Path) -> None:
    words = [sys.executable, "-m", "paymaster", "exec", "--model-registry", str(registry), "--", "sh", "-c", "echo up; exec sleep 60"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    with closing(process.stdout), closing(process.stderr):
        assert process.stdout.readline() == "up\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


def test_a_killed_command_has_the_status_of_a_shell() -> None:
    assert run_command(["sh", "-c", "kill -9 $$"], os.environ) == 137
