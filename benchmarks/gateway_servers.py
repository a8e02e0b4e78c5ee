"""Starts the servers of the gateway's benchmark and reads their CPU and memory; knows no request and no bar."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BEGIN_S = 120
KEY = "authorization: Bearer sk-1\r\n"
LITELLM_PORT, PORTKEY_PORT, BARE_PORT = 4899, 4898, 4897
LITELLM_VARIABLES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


@dataclass
class Server:
    """A server's process. Every request to it has `headers`; a slow one gets only one in `share` of a round's requests."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    headers: str = KEY
    share: int = 1

    def cpu_s(self) -> float:
        """CPU of the process and its children so far."""
        return sum(_cpu_s(pid) for pid in _family(self.process.pid))

    def memory_mb(self) -> float:
        """Memory of the process and its children, shared pages counted proportionally."""
        return sum(_memory_mb(pid) for pid in _family(self.process.pid))


@contextlib.contextmanager
def paymaster(registry: Path, state: Path, *flags: str) -> Iterator[Server]:
    """This project's gateway."""
    command = [sys.executable, "-m", "paymaster", "serve", str(registry), "--port", "0", "--state-dir", str(state), *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "BENCH_KEY": "none"})
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    try:
        yield Server("Paymaster", int(line.partition("http://127.0.0.1:")[2].partition("/")[0]), process)
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


@contextlib.contextmanager
def bare_proxy(upstream_port: int) -> Iterator[Server]:
    """A server that passes everything on unread: the limit of any gateway that is built like this project's."""
    command = [sys.executable, str(Path(__file__).with_name("bare_proxy.py")), str(BARE_PORT), str(upstream_port)]
    with _listening(command, BARE_PORT) as process:
        yield Server("bare proxy", BARE_PORT, process)


@contextlib.contextmanager
def litellm(program: str, config: Path) -> Iterator[Server]:
    """LiteLLM's proxy with one worker and no database."""
    command = [program, "--config", str(config), "--port", str(LITELLM_PORT), "--host", "127.0.0.1", "--num_workers", "1"]
    with _answering(command, LITELLM_PORT, "/health/liveliness", LITELLM_VARIABLES) as process:
        yield Server("LiteLLM", LITELLM_PORT, process, share=8)


@contextlib.contextmanager
def portkey(folder: str, upstream_port: int) -> Iterator[Server]:
    """Portkey's gateway from its npm folder. It keeps no ledger; each request names the upstream."""
    start = Path(folder) / "node_modules/@portkey-ai/gateway/build/start-server.js"
    command = ["node", str(start), f"--port={PORTKEY_PORT}", "--headless"]
    headers = f"{KEY}x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:{upstream_port}/v1\r\n"
    with _answering(command, PORTKEY_PORT, "/", {"NODE_ENV": "production"}) as process:
        yield Server("Portkey", PORTKEY_PORT, process, headers=headers)


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a Redis on a socket in `folder`, with the usual append-only file that is synced every second."""
    folder.mkdir()
    socket = folder / "redis.sock"
    settings = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "save": "", "appendonly": "yes", "logfile": str(folder / "log")}
    program = shutil.which("redis-server") or "redis-server"
    process = subprocess.Popen([program, *(word for name, value in settings.items() for word in (f"--{name}", value))])
    try:
        while not socket.exists():
            assert process.poll() is None, "redis-server ended at once"
            time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _listening(command: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once it takes connections."""
    process = subprocess.Popen(command)
    try:
        until = time.monotonic() + BEGIN_S
        while not _takes_connections(port):
            assert process.poll() is None, f"{command[0]} ended at once"
            assert time.monotonic() < until, f"{command[0]} did not start in time"
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _answering(command: Sequence[str], port: int, path: str, variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once it answers requests."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **variables})
    try:
        until = time.monotonic() + BEGIN_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, f"{command[0]} ended at once"
                assert time.monotonic() < until, f"{command[0]} did not start in time"
                time.sleep(0.5)
        yield process
    finally:
        process.terminate()
        process.wait()


def _takes_connections(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _family(pid: int) -> list[int]:
    """A process and everything that it started."""
    children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [pid, *(member for child in children for member in _family(int(child)))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
