"""A server on this machine over HTTP: a local one answers for nothing, and one that may bill is refused before anything is sent."""

# ruff: noqa: E501 -- the example of the specification is quoted unchanged

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from paymaster import Client, NoModelFits
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

HELLO = [{"role": "user", "content": "Hello"}]
THE_REQUEST = """\
model_registry:
  default: gpt-4o
  models:
    gpt-4o: {provider: openai, model_id: gpt-4o, rpm: 60, tpm: 180000, usd_per_1k_input: 5e-3, usd_per_1k_output: 15e-3, capabilities: [function_calling]}
    gemini-pro: {provider: google, model_id: gemini-2.5-pro, rpm: 60, tpm: 200000, usd_per_1k_input: 1e-3, usd_per_1k_output: 2e-3}
    local-llm: {provider: openrouter, model_id: qwen2.5-coder, base_url: http://localhost:11434, rpm: 120, tpm: 300000}
  policies:
    budget_usd_per_run: 5.00
    fallback_chain: [gpt-4o, gemini-pro, local-llm]
    hard_stop_on_budget: true
"""
OLLAMA_PORT = 11434


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_the_local_model_of_the_specification_answers_for_nothing_under_its_hard_budget(tmp_path: Path) -> None:
    """By its name, and as the last of the chain where no key of the others is set."""
    if _is_taken(OLLAMA_PORT):
        pytest.skip("another program of this machine uses Ollama's port")
    path = tmp_path / "registry.yaml"
    path.write_text(THE_REQUEST)
    script = parse_script('models: {qwen2.5-coder: {answers: [{text: "Hi there"}]}}')
    with ScriptedServer(script, port=OLLAMA_PORT), Client(path, ledger="memory:", environ={}) as client:
        replies = [client.complete(HELLO, model="local-llm"), client.complete(HELLO)]
    for reply in replies:
        assert (reply.model, reply.text, reply.cost_nanousd) == ("local-llm", "Hi there", 0)
        assert reply.attempts[0].billed == "exact"


def test_a_server_on_this_machine_that_may_bill_gets_nothing_under_a_hard_budget(tmp_path: Path) -> None:
    script = parse_script('models: {coder: {prices: {usd_per_1m_input: 10, usd_per_1m_output: 30}, answers: [{text: "Hi"}]}}')
    path = tmp_path / "registry.yaml"
    with ScriptedServer(script) as proxy:
        path.write_text(f"models: {{m: {{provider: openai_compatible, model_id: coder, base_url: '{proxy.base_url}'}}}}")
        with Client(path, ledger="memory:", budget_usd=1, environ={}) as client, pytest.raises(NoModelFits, match=r"`price: free`"):
            client.complete(HELLO)
        assert proxy.bill()["requests"] == 0
        with Client(path, ledger="memory:", environ={}) as client:
            assert client.complete(HELLO).attempts[0].billed == "unpriced"
