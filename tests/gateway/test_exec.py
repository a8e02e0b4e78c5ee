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
    assert "Paymaster: 2 calls came through the gateway, $0.0000" in ran.stderr
    assert "no call came" not in ran.stderr
    assert ran.returncode == 7


@pytest.mark.parametrize("flags", [(), ("-q",)])
def test_a_command_without_a_call_is_warned_of_with_what_to_set_in_it(registry: Path, flags: tuple[str, ...]) -> None:
    ran = run(registry, sys.executable, "-c", "print('done')", flags=flags)
    assert (ran.returncode, ran.stdout) == (0, "done\n")
    assert "Warning: no call came through the gateway." in ran.stderr
    assert "create the client without base_url and api_key" in ran.stderr


def test_requests_with_a_key_of_the_clients_own_are_named(registry: Path) -> None:
    caller = "import openai\nopenai.OpenAI(api_key='sk-own', max_retries=0).models.list()"
    ran = run(registry, sys.executable, "-c", caller)
    assert ran.returncode == 1
    assert "Requests with another key than the one in OPENAI_API_KEY and ANTHROPIC_API_KEY were refused: 1." in ran.stderr


def test_a_command_whose_requests_were_refused_is_shown_why(registry: Path) -> None:
    ran = run(registry, sys.executable, "-c", CALLER.replace("default", "fats"), "1")
    assert ran.returncode == 1
    refused = "Warning: no model was called: the gateway refused each request of python"
    assert refused in ran.stderr
    shown = ran.stderr.partition(refused)[2]
    assert shown.endswith("(1). The last one:\nmodel 'fats' is not in the registry\nDid you mean 'fast'? Known models: fast.\n")


def test_requests_that_were_refused_beside_answered_ones_are_named(registry: Path) -> None:
    background = (
        "import openai\ntry:\n"
        "    openai.OpenAI(max_retries=0).chat.completions.create(model='fats', messages=[{'role': 'user', 'content': 'x'}])\n"
        "except openai.NotFoundError:\n    pass\n"
    )
    ran = run(registry, sys.executable, "-c", f"{background}{CALLER}", "1")
    assert "Paymaster: 1 call came through the gateway" in ran.stderr
    refused = "Warning: the gateway refused some requests of python"
    assert ran.stderr.partition(refused)[2].endswith(
        "(1). The last one:\nmodel 'fats' is not in the registry\nDid you mean 'fast'? Known models: fast.\n"
    )
    assert "refused" not in run(registry, sys.executable, "-c", CALLER, "1").stderr


def test_a_file_that_is_no_program_is_a_usage_mistake(run_paymaster: Callable[..., tuple[int, str, str]], registry: Path) -> None:
    status, _, errors = run_paymaster("exec", "--model-registry", str(registry), "--", str(registry))
    assert status == 2
    assert "Permission denied\nIs it a program, and executable?" in errors


def test_requests_with_another_key_are_named_beside_calls(registry: Path) -> None:
    own = "try:\n    openai.OpenAI(api_key='sk-own', max_retries=0).models.list()\nexcept openai.AuthenticationError:\n    pass\n"
    ran = run(registry, sys.executable, "-c", CALLER.replace("client =", f"{own}client ="), "1")
    assert "1 call came through the gateway" in ran.stderr
    assert "Warning: Requests with another key" in ran.stderr
    assert "no call came" not in ran.stderr


def test_calls_that_were_refused_came_through_too(registry: Path) -> None:
    ran = run(registry, sys.executable, "-c", CALLER, "1", flags=("--budget-usd", "0.000000001"))
    assert "Paymaster: 1 call came through the gateway, $0.00" in ran.stderr
    assert ran.returncode == 3


def test_a_hard_budget_is_status_3_with_advice_to_continue(registry: Path) -> None:
    ran = run(registry, sys.executable, "-c", CALLER, "90", flags=("--budget-usd", "0.0006", "--run-id", "exp-1"))
    assert ran.returncode == 3
    assert ran.stdout.count("fast") >= 1
    assert "Stopped by the budget usd/run/exp-1 of $0.0006" in ran.stderr
    assert "--run-id exp-1" in ran.stderr


@pytest.mark.parametrize("name", ["run", "batch"])
def test_a_command_has_no_second_budget_in_a_run_of_its_own(name: str, registry: Path) -> None:
    caller = CALLER.replace("max_retries=0", f"max_retries=0, default_headers={{'x-paymaster-{name}': 'another'}}")
    ran = run(registry, sys.executable, "-c", caller, "1", flags=("--run-id", "exp-1", "--batch-id", "night-1"))
    assert f"x-paymaster-{name} can't name another" in ran.stderr
    same = caller.replace("'another'", "'exp-1'" if name == "run" else "'night-1'")
    assert run(registry, sys.executable, "-c", same, "1", flags=("--run-id", "exp-1", "--batch-id", "night-1")).returncode == 7


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


FORMS = """
default: by_header
models:
  by_header:
    provider: openai_compatible
    base_url: http://127.0.0.1:9/v1
    aliases: [$IN_ALIAS]
    extra_headers: {X-Secret: $IN_HEADER, X-Other: "Bearer ${IN_BRACES} and $IN_TEXT", X-User: $USER}
    params: {stop: ["${IN_PARAM}"]}
  by_key: {provider: groq, model_id: a, api_key: "$KEY_ONE:::${KEY_TWO}"}
  by_name: {provider: mistral, model_id: b, api_key_env: [NAMED_ONE, NAMED_TWO]}
  by_provider: {provider: gemini, model_id: gemini-2.5-pro}
"""
GONE = ["IN_ALIAS", "IN_HEADER", "IN_BRACES", "IN_TEXT", "IN_PARAM", "KEY_ONE", "KEY_TWO", "NAMED_ONE", "NAMED_TWO", "GROQ_API_KEY"]
GONE += ["MISTRAL_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"]
STAYS = ["PATH", "HOME", "USER", "IN", "KEY", "AWS_PROFILE", "UNNAMED_SECRET"]


@pytest.mark.parametrize("under", ["", "model_registry"])
def test_every_variable_that_the_registry_names_is_removed_and_no_other(tmp_path: Path, under: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(f"{under}:\n  {FORMS.replace(chr(10), chr(10) + '  ')}" if under else FORMS)
    given = {name: f"value of {name}" for name in (*GONE, *STAYS)}
    variables = client_environment(given, registry_for(path, {"environ": given}), 4711, "pm-exec")
    assert {name for name in given if name in variables} == set(STAYS)


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
