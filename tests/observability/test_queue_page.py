"""The dashboard while calls wait in the queue: how many, for which model, how long, and what for."""

from __future__ import annotations

import http.client
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from paymaster.gateway.observability import Observability
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

REGISTRY = """
default: slow
models:
  slow: {provider: scripted, model_id: slow, script: script.yaml, price: free, max_parallel: 1}
  idle: {provider: scripted, model_id: slow, script: script.yaml, price: free}
"""


def fetch(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
def test_the_dashboard_shows_waiting_calls(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    urls = {"memory": "memory:", "sqlite": f"sqlite:{tmp_path / 'books.sqlite3'}"}
    ledger = urls.get(kind) or request.getfixturevalue("redis_url")
    (tmp_path / "script.yaml").write_text("models:\n  slow: {answers: [{text: one}], latency_ms: 1000}\n")
    (tmp_path / "registry.yaml").write_text(REGISTRY)
    observability = Observability({})
    options = {"run": "r1", "state_dir": tmp_path / "state", "ledger": ledger}
    config = GatewayConfig(
        read_options=lambda: observability.add_listeners(configure(tmp_path / "registry.yaml", options)),
        extra_routes=(observability.routes,),
    )  # type: ignore[arg-type]  # the settings as they are
    server_socket = listen("127.0.0.1", 0)
    port = server_socket.getsockname()[1]
    body = json.dumps({"model": "slow", "messages": [{"role": "user", "content": "Hi"}]})
    with in_background(config, server_socket), ThreadPoolExecutor(3) as pool:
        calls: list[Future[tuple[int, str]]] = []
        seen: set[str] = set()
        for _ in range(5):  # a busy machine may draw no page while calls wait
            calls += [pool.submit(fetch, port, "POST", "/v1/chat/completions", body) for _ in range(3)]
            while not all(call.done() for call in calls):
                text = fetch(port, "GET", "/dashboard/live")[1]
                seen.update(re.findall(r"(\d) for [0-9.]+ m?s \(max_parallel\)", text))
                time.sleep(0.1)
            if seen:
                break
        assert {call.result()[0] for call in calls} == {200}
        time.sleep(1)  # as long as a page may be old
        text = fetch(port, "GET", "/")[1]
    assert seen
    assert seen <= {"2", "1"}
    assert text.count('data-label="waiting">none') == 2
    assert "0 waiting" in text
