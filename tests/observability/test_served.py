"""`paymaster serve` as a process: workers add up their metrics, and OpenTelemetry is used only on request."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from otlp_collector import collecting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()


@contextmanager
def served(folder: Path, *flags: str, **environ: str) -> Iterator[str]:
    """A gateway in a process of its own; gives its address."""
    (folder / "script.yaml").write_text("models: {m: {answers: [{text: Hi}]}}\n")
    (folder / "registry.yaml").write_text("models: {m: {provider: scripted, model_id: m, script: script.yaml}}\n")
    words = [sys.executable, "-m", "paymaster", "serve", str(folder / "registry.yaml"), "--port", "0", "--run-id", "r", *flags]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ})
    try:
        line = process.stderr.readline()
        yield line.partition(" at ")[2].partition("/v1")[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def read(url: str, body: bytes | None = None) -> str:
    # A new connection each time, so that any worker may answer.
    request = urllib.request.Request(url, body, {"content-type": "application/json", "connection": "close"})  # noqa: S310  on loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  the same
        return answer.read().decode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers share a socket as Unix does")
def test_every_worker_shows_the_sums_of_all_workers(tmp_path):
    with served(tmp_path, "--workers", "2") as url:
        for _ in range(12):
            read(f"{url}/v1/chat/completions", BODY)
        shown = {re.search(r"^paymaster_attempts_total{.*} (\S+)$", read(f"{url}/metrics"), flags=re.MULTILINE)[1] for _ in range(8)}
        calls = {len(re.findall(r'id="why-', read(f"{url}/"))) for _ in range(4)}
    assert shown == {"12.0"}
    assert calls == {12}


def test_opentelemetry_is_exported_before_shutdown(tmp_path):
    with collecting() as (address, paths), served(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=address) as url:
        read(f"{url}/v1/chat/completions", BODY)
    assert {"/v1/traces", "/v1/metrics"} <= set(paths)
