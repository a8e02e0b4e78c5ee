"""What only Claude Code does: it finds models by their dated names, and shows why a model is unknown."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from clients.caching_endpoint import CachingEndpoint
from clients.claude_code_runs import case_of_claude_code, run_in
from clients.running import gateway
from clients.scripted_job import WORD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get("CLIENTS"), reason="needs installed clients: make test-clients"),
]
PRICES = {"usd_per_1m_input": "3", "usd_per_1m_output": "15"}
NAME = "claude-haiku-4-5"


@pytest.mark.parametrize(
    ("asked", "status", "shown"),
    [
        (f"{NAME}-20251001", 0, WORD),
        (f"{NAME}[1m]", 0, WORD),
        ("claude-haiku-4-6", 1, f"model 'claude-haiku-4-6' is not in the registry\\nDid you mean '{NAME}'?"),
    ],
)
def test_it_finds_a_model_or_shows_why_not(asked: str, status: int, shown: str, installed: Callable[[str], Path], tmp_path: Path) -> None:
    registry = tmp_path / "registry.json"
    with CachingEndpoint() as endpoint:
        model = {"provider": "anthropic", "model_id": NAME, "base_url": endpoint.url, **PRICES}
        registry.write_text(json.dumps({"default": NAME, "models": {NAME: model}}))
        with gateway(registry, f"sqlite:///{tmp_path / 'ledger.db'}") as address:
            ended = run_in(tmp_path, case_of_claude_code(), installed("claude-code"), address, asked)
    assert (ended.returncode, shown in ended.stdout) == (status, True), ended.stdout[-3_000:]
    assert {request["model"] for request in endpoint.requests} == ({NAME} if status == 0 else set())
