"""`make demo`, from end to end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from agents.steps import SUBMIT, bash

if TYPE_CHECKING:
    from collections.abc import Callable

    from paymaster.providers.scripted.server import ScriptedServer

    Serve = Callable[..., ScriptedServer]
    Write = Callable[..., Path]

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "run.py"


def run_demo(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO)], env={**os.environ, **environment}, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_demo_fixes_the_bug_despite_throttling_and_shows_its_cost(own_state: Path) -> None:
    started = time.monotonic()
    done = run_demo()
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert time.monotonic() - started < 60
    assert "FAILED (failures=1)" in output
    assert "The models are simulated" in output
    for event in ("throttled (HTTP 429)", "overloaded (HTTP 503)", "50 % of usd/run/"):
        assert event in output
    assert "frontier fell back to workhorse: overloaded (HTTP 503): The model is overloaded." in output
    assert "sorted(UNIT_MS, key=len, reverse=True)" in output
    assert "Done: the failing test passes." in output
    assert not own_state.exists()


def test_the_demo_fails_if_the_agent_leaves_the_test_failing(serve: Serve, registry: Write, own_state: Path) -> None:
    path = registry(serve(mine=[bash(SUBMIT)]), "mine")
    done = run_demo(REGISTRY=str(path))
    assert done.returncode != 0
    assert "the tests still fail" in done.stdout
    assert "mine" in done.stdout
    assert (own_state / "ledger.sqlite3").exists()
