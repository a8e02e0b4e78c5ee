"""Fixtures for tests of agents: simulated models over real HTTP, a registry of them, a git repository, and a mini without user settings."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

from agents.steps import PRICES
from paymaster.agents.clients import CLIENTS
from paymaster.providers.scripted.script import Script
from paymaster.providers.scripted.server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# mini reads the user's settings when it is imported.
os.environ["MSWEA_GLOBAL_CONFIG_DIR"] = tempfile.mkdtemp(prefix="mini-config-")
os.environ["MSWEA_SILENT_STARTUP"] = "1"
os.environ["MSWEA_CONFIGURED"] = "true"


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    """Start a scripted provider: each keyword is a model with its answers, or its whole section."""
    servers: list[ScriptedServer] = []

    def start(**models: object) -> ScriptedServer:
        sections = {name: given if isinstance(given, dict) else {"answers": given} for name, given in models.items()}
        script = Script.model_validate({"models": {name: {"prices": PRICES, **section} for name, section in sections.items()}})
        servers.append(ScriptedServer(script).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def registry(tmp_path: Path) -> Callable[..., Path]:
    """Write a registry of the server's models, in the order of their names in the chain."""

    def write(server: ScriptedServer, *names: str, **policies: object) -> Path:
        model = {
            "provider": "scripted",
            "base_url": server.base_url,
            "capabilities": ["function_calling"],
            "context_window": 64_000,
            "max_output_tokens": 1_000,
            **PRICES,
        }
        path = tmp_path / "registry.yaml"
        models = {name: {**model, "model_id": name} for name in names}
        path.write_text(json.dumps({"default": names[0], "models": models, "policies": {"fallback_chain": list(names), **policies}}))
        return path

    return write


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with one file."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "sum.py").write_text("def add(a, b):\n    return a - b\n")
    for args in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-qm", "init"]):
        subprocess.run(["git", "-C", str(folder), *args], check=True)
    return folder


@pytest.fixture(autouse=True)
def _own_clients() -> Iterator[None]:
    yield
    CLIENTS.close()
