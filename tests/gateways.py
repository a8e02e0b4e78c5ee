"""A running gateway for simulated models, and the registry that it serves."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from paymaster.flow.events import Event
    from paymaster.gateway.service import Service
    from paymaster.gateway.serving import RunningGateway
    from paymaster.providers.scripted.server import ScriptedServer

PRICES = {"usd_per_1m_input": 1, "usd_per_1m_output": 10}
MODEL = {
    "provider": "openai_compatible",
    "capabilities": ["function_calling", "vision", "json_schema"],
    "max_output_tokens": 1_000,
    **PRICES,
}


@dataclass
class Gateway:
    """A running gateway, its simulated provider and its events."""

    url: str
    running: RunningGateway
    provider: ScriptedServer
    registry: Path
    events: list[Event] = field(default_factory=list)

    @property
    def service(self) -> Service:
        """What it holds open."""
        return self.running.service

    def requests(self) -> int:
        """How many requests reached the provider."""
        return int(str(self.provider.bill()["requests"]))

    def billed_nanousd(self) -> int:
        """What the provider billed."""
        return int(str(self.provider.bill()["billed_nanousd"]))


def write_registry(
    path: Path,
    provider: ScriptedServer,
    names: list[str],
    policies: Mapping[str, object],
    each: Mapping[str, object],
    own: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Write a registry of the provider's models; `each` has keys for all models, `own` for the model of that name."""
    models = {name: {**MODEL, "model_id": name, "base_url": provider.base_url, **each, **(own or {}).get(name, {})} for name in names}
    path.write_text(
        json.dumps({"default": names[0], "models": models, "policies": {"backoff_initial_s": 0.01, "backoff_max_s": 0.02, **policies}})
    )


@dataclass
class Served:
    """A running `paymaster serve`, and its output so far."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    def signal(self, name: str) -> None:
        """Send a signal."""
        self.process.send_signal(getattr(signal, name))


@contextmanager
def served(registry: Path, *flags: str, through: Sequence[str] = ()) -> Iterator[Served]:
    """`paymaster serve` as a process of its own, started with the prefix `through`. At the end it drains."""
    words = [*through, sys.executable, "-m", "paymaster", "serve", str(registry), "--port", "0", *flags]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines: list[str] = []
    url = ""
    while not url:
        line = process.stderr.readline()
        assert line, lines
        lines.append(line)
        url = line.partition(" at ")[2].partition("/v1")[0]
    reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield Served(process, url, lines)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)
        reader.join(10)
        process.stderr.close()


def ask(url: str, model: str = "default") -> tuple[int, str]:
    """One call: the status, and the model that answered, or else the body."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}))
        answer = connection.getresponse()
        return answer.status, answer.headers["x-paymaster-model"] or answer.read().decode()


def wait_until(true: Callable[[], bool], limit_s: float = 30) -> None:
    """Wait for a condition that another thread or process fulfils."""
    until_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def post(url: str, body: dict[str, Any], path: str = "responses") -> tuple[int, bytes]:
    """One request to a gateway: the status and the body."""
    request = urllib.request.Request(f"{url}/v1/{path}", json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310 - http on loopback
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - http on loopback
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def events_in(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream."""
    return [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: ")]
