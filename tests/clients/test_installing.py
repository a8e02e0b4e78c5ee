"""What `make test-clients` says of a client that could not be installed, and which tests it chooses for a client."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from clients.client import all_clients

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "client_tests.py"
ROWS = {client.name: client for client in all_clients()}
NPM = """\
npm error code ETARGET
npm error notarget No matching version found for cline@99.0.1.
npm error notarget In most cases you or one of your dependencies are requesting a package version that doesn't exist.
npm notice To update run: npm install -g npm@11.21.2
npm error A complete log of this run can be found in: /home/ann/.npm/_logs/debug-0.log
"""
PIP = """\
WARNING: Location 'file:///opt/pypi/simple/llm/' is ignored: it is neither a file nor a directory.
ERROR: Could not find a version that satisfies the requirement llm==99.0 (from versions: 0.1, 0.2)
ERROR: No matching distribution found for llm==99.0
"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("client_tests", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "stderr", "reason"),
    [
        ("cline", NPM, "notarget No matching version found for cline@99.0.1."),
        ("llm", PIP, "No matching distribution found for llm==99.0"),
        ("llm", "Killed\n", ""),
    ],
)
def test_the_reason_is_the_line_that_says_what_went_wrong(script, name: str, stderr: str, reason: str) -> None:
    assert script.reason_of(ROWS[name], stderr) == reason


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("llm", "[llm-chat-"),
        ("codex-config", "[codex-config-responses-"),
        ("claude-code", "[claude-code-messages- or test_claude_code or test_claude_code_cache"),
    ],
)
def test_only_the_tests_of_the_client_are_chosen(script, name: str, expression: str) -> None:
    assert script.chosen(ROWS[name]) == expression
    assert all((SCRIPT.parents[1] / "tests" / "clients" / module).exists() for module in ROWS[name].more_tests)


def test_an_installed_client_is_left_as_it_is(script, tmp_path: Path) -> None:
    client = ROWS["cline"]
    program = tmp_path / client.program
    program.parent.mkdir(parents=True)
    program.touch()
    (tmp_path / ".installed").write_text("\n".join(client.packages))
    assert script.install(client, tmp_path) == ""
    assert program.exists()
