"""Worker processes that call one provider on loopback, which writes down when each request came and went; nothing here asserts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

SOURCE = str(Path(__file__).parents[1] / "src")


@dataclass
class Seen:
    """One request: when it came and went (seconds of this process's clock), who sent it, how many others were there, its answer.

    `tier` is the tier of service that it asked for.
    """

    came_s: float
    who: str
    others: int
    tier: str = ""
    status: int = 0
    went_s: float = 0.0


Answer = tuple[int, dict[str, str]]


class LoopbackProvider:
    """OpenAI's chat completions on loopback. `behave` gets the request and says status and headers; it may wait. Use it as a context."""

    def __init__(self, behave: Callable[[Seen], Answer]) -> None:
        self.seen: list[Seen] = []
        self.behave = behave
        self.usage: object = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self._lock = threading.Lock()
        self._inside = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, headers = provider._serve(body.get("user", ""), body.get("service_tier", ""))
                message = {"role": "assistant", "content": "hi"}
                answer: dict[str, object] = {"error": {"message": "not now", "type": "x"}}
                if status == 200:
                    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": provider.usage}
                    answer |= {"service_tier": body["service_tier"]} if "service_tier" in body else {}
                text = json.dumps(answer).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in {**headers, "content-type": "application/json", "content-length": str(len(text))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def _serve(self, who: str, tier: str) -> Answer:
        with self._lock:
            seen = Seen(time.monotonic(), who, self._inside, tier)
            self.seen.append(seen)
            self._inside += 1
        try:
            seen.status, headers = self.behave(seen)
            return seen.status, headers
        finally:
            with self._lock:
                self._inside -= 1
                seen.went_s = time.monotonic()

    def answered(self, status: int = 200) -> list[Seen]:
        """The requests that were answered so."""
        return [seen for seen in list(self.seen) if seen.status == status]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


WORKER = """
import json, os, sys, threading, time
from paymaster import Client, PaymasterError
import paymaster.options, paymaster.registry.loading, paymaster.providers.openai_http, paymaster.providers.sync_transport
registry, ledger, state, calls, threads, processes = *sys.argv[1:4], *map(int, sys.argv[4:])
children = []
for _ in range(processes - 1):  # each a fork of a process that has loaded everything and opened nothing
    if (child := os.fork()) == 0:
        children = None
        break
    children.append(child)
client = Client(registry, ledger=ledger, state_dir=state, run="fleet", environ={}, events=os.path.join(state, f"{os.getpid()}.jsonl"))
def work(thread):
    who = f"{os.getpid()}-{thread}"
    for number in range(calls):
        began = time.monotonic()
        try:
            client.complete([{"role": "user", "content": "Hello"}], user=who)
            outcome = "ok"
        except PaymasterError as error:
            outcome = type(error).__name__
        sys.stdout.write(json.dumps({"who": who, "outcome": outcome, "took_s": time.monotonic() - began}) + "\\n")
        sys.stdout.flush()
client.balances("")
print("ready", flush=True)
sys.stdin.read()
line = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for thread in line: thread.start()
for thread in line: thread.join()
client.close()
for child in children or ():
    os.waitpid(child, 0)
"""


def registry_file(folder: Path, provider: LoopbackProvider, model: str = "", policies: str = "") -> Path:
    """A registry of one model at the provider."""
    path = folder / "registry.yaml"
    path.write_text(
        "model_registry:\n  models:\n"
        f"    a: {{provider: openai_compatible, model_id: a, base_url: '{provider.base_url}', price: free, "
        f"max_output_tokens: 100{model}}}\n"
        f"  policies: {{fallback_chain: [a]{policies}}}\n"
    )
    return path


@dataclass
class Fleet:
    """Processes that all begin at a word. `process` is the first one, the others' parent."""

    process: subprocess.Popen[str]
    count: int

    def go(self) -> None:
        """Wait until all are ready, then let them begin."""
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        for _ in range(self.count):
            self.process.stdout.readline()
        self.process.stdin.close()
        self.process.stdin = None

    def results(self, timeout_s: float = 80) -> list[dict[str, object]]:
        """What every call came to, when all are done."""
        return [json.loads(line) for line in self.process.communicate(timeout=timeout_s)[0].splitlines()]


@contextlib.contextmanager
def fleet(registry: Path, ledger: str, state: Path, *, processes: int, calls: int, threads: int = 1) -> Iterator[Fleet]:
    """Start the processes; those that still run at the end are killed."""
    # A process that is killed would leave half-written coverage data behind.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    state.mkdir(parents=True, exist_ok=True)
    settings = [str(registry), ledger, str(state), str(calls), str(threads), str(processes)]
    command = [sys.executable, "-c", textwrap.dedent(WORKER), *settings]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, start_new_session=True)
    try:
        yield Fleet(process, processes)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
