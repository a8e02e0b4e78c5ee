"""The command line in this process, a scripted provider, and a registry for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from cli.programs import Ended
from paymaster.cli import main
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCRIPT = """
models:
  fast:
    prices: {usd_per_1m_input: 1, usd_per_1m_output: 4}
    answers:
      - {when: {match: "smile"}, text: "A smile: \u263a \U0001f600 caf\u00e9 \u2026"}
      - {when: {match: "escape"}, text: "before\\e[2Jafter"}
      - {text: "Blue light is scattered most."}
  faulty:
    faults: [{kind: server_error, always: true}]
  cut:
    answers: [{text: "This answer never comes to its end, whatever happens."}]
    faults: [{kind: cut, always: true, after_chunks: 2}]
  slow:
    answers: [{text: "One two three four five six seven eight."}]
    latency_ms: 3000
    chunk_ms: 2000
"""


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Commands set up the log of their process; this restores it for other tests."""
    root = logging.getLogger("paymaster")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before


@pytest.fixture
def paymaster(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*words: object) -> Ended:
        capsys.readouterr()
        status = main([str(word) for word in words])
        output = capsys.readouterr()
        return Ended(status, output.out, output.err)

    return run


@pytest.fixture(scope="session")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(parse_script(SCRIPT)) as running:
        yield running


@pytest.fixture
def registry(tmp_path: Path, server: ScriptedServer) -> Path:
    """Two working models with prices, in a chain, under a hard budget of five cents per run."""
    path = tmp_path / "registry.yaml"
    common = f"provider: openai_compatible, base_url: '{server.base_url}', context_window: 8000, max_output_tokens: 500"
    path.write_text(
        f"""
default: fast
models:
  fast: {{{common}, usd_per_1m_input: 1, usd_per_1m_output: 4, rpm: 600, tpm: 1000000, capabilities: [function_calling]}}
  backup: {{{common}, model_id: fast, usd_per_1m_input: 1, usd_per_1m_output: 4}}
  faulty: {{{common}, usd_per_1m_input: 1, usd_per_1m_output: 4, fallbacks: [backup]}}
  dead: {{{common}, model_id: faulty, usd_per_1m_input: 1, usd_per_1m_output: 4, fallbacks: []}}
  cut: {{{common}, usd_per_1m_input: 1, usd_per_1m_output: 4, fallbacks: []}}
  slow: {{{common}, usd_per_1m_input: 1, usd_per_1m_output: 4, fallbacks: []}}
policies:
  budget_usd_per_run: 0.05
  hard_stop_on_budget: true
  fallback_chain: [fast, backup]
  backoff_initial_s: 0.01
  backoff_max_s: 0.02
"""
    )
    return path
