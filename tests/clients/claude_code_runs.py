"""Runs Claude Code by its row, under any model's name, against any address; judges nothing."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from clients.client import all_clients
from clients.running import LONGEST_S, prepare, variables_of
from clients.scenarios import SCENARIOS, Case
from clients.scripted_job import FILES

if TYPE_CHECKING:
    from pathlib import Path


def case_of_claude_code() -> Case:
    """The plain job."""
    client = next(client for client in all_clients() if client.name == "claude-code")
    return Case(client, "messages", SCENARIOS[0], "messages")


def run_in(folder: Path, case: Case, installed: Path, address: str, name: str) -> subprocess.CompletedProcess[str]:
    """The job under a model's name, in the same folders each time, with an empty home."""
    work, home = folder / "work", folder / "home"
    for each in (work, home):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir()
    for path, text in FILES.items():
        (work / path).write_text(text)
    words, env = prepare(case.client, {**variables_of(case, installed, address, work, home), "model": name})
    return subprocess.run(
        words, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
