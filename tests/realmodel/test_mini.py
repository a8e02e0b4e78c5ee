"""`paymaster mini`: the real mini-swe-agent with a real model under a registry, two steps long."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from agents.steps import paymaster
from realmodel.accounts import billed_nanousd, journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from realmodel.servers import ModelServer

    Write = Callable[..., Path]

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

# So small a model seldom keeps to a format by itself: the server lets it write nothing else. What it thinks and what it runs is its own.
STEP = r"""root ::= "THOUGHT: " [a-zA-Z ,']{3,60} "\n\n```mswea_bash_command\n" ("ls" | "cat sum.py") "\n```" """
CONFIG = """
agent:
  system_template: Answer with a thought and one command in a code block.
  instance_template: "{{task}} Look first: list the files, or read sum.py."
  step_limit: 2
environment: {}
"""


def test_mini_takes_two_steps_and_its_figures_are_the_ledgers_and_the_servers(
    model_server: ModelServer, registry: Write, own_state: Path, tmp_path: Path
) -> None:
    folder, trajectory, config = tmp_path / "work", tmp_path / "trajectory.json", tmp_path / "mine.yaml"
    folder.mkdir()
    (folder / "sum.py").write_text("def add(a, b):\n    return a - b\n")
    config.write_text(CONFIG)
    path = registry(model_server, params={"temperature": 0, "grammar": STEP}, max_output_tokens=120)
    before = model_server.counted()
    words = [
        *("mini", "-y", "--exit-immediately", "-t", "add() in sum.py subtracts.", "-o", str(trajectory)),
        *("-c", "mini_textbased.yaml", "-c", str(config), "--model-class", "litellm_textbased"),
        *("--model-registry", str(path), "--budget-usd", "1", "--run-id", "two-steps"),
    ]
    environ = {**os.environ, "MSWEA_GLOBAL_CONFIG_DIR": str(tmp_path), "MSWEA_SILENT_STARTUP": "1", "MSWEA_CONFIGURED": "true"}
    done = subprocess.run(paymaster(*words), cwd=folder, env=environ, check=False, capture_output=True, text=True, timeout=110)
    assert trajectory.exists(), done.stderr
    saved = json.loads(trajectory.read_text())
    assert saved["info"]["exit_status"] == "LimitsExceeded", done.stderr
    observed = [message["content"] for message in saved["messages"] if message["role"] == "user"]
    assert "sum.py" in observed[1] or "return a - b" in observed[1]
    billed = billed_nanousd(model_server.counted() - before)
    records = journal(own_state)
    assert [(record.run, record.outcome, record.billed) for record in records] == [("two-steps", "answered", "exact")] * 2
    assert sum(record.cost_nanousd for record in records) == billed
    assert all(record.cost_nanousd <= record.held_nanousd for record in records)
    stats = saved["info"]["model_stats"]
    assert (stats["api_calls"], round(stats["instance_cost"] * 10**9)) == (2, billed)
