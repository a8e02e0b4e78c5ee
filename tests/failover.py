"""Twenty faults of a provider, each before a gateway with one fallback, and a provider on loopback that shows them and keeps its own bill.

`run` asks one scenario and returns what the client got, what the provider billed, and what the ledger says. Nothing here asserts.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from paymaster import Client
from paymaster.flow.events import AttemptFailed
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from paymaster.flow.events import Event

TEXT = "One two three four five."
NANOUSD = {"first": (1_000, 10_000), "second": (2_000, 20_000)}
"""By model: the price of a token of the prompt, and of one of the answer."""

FAST = {"connect_s": 2, "first_token_s": 0.5, "between_chunks_s": 0.5, "total_s": 3}
POLICIES = {
    "fallback_chain": ["first", "second"], "budget_usd_per_run": 100, "patience_s": 0.5, "max_wait_s": 8, "backoff_initial_s": 0.05,
    "backoff_max_s": 0.2, "breaker_pause_s": 1,
}  # fmt: skip
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
PROMPT_TOKENS, OUTPUT_TOKENS = 12, 5


def event(value: object) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: Mapping[str, object], finish_reason: str | None = None) -> bytes:
    """One chunk of an answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": PROMPT_TOKENS + OUTPUT_TOKENS}
WITH_USAGE = event({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE})
DONE = b"data: [DONE]\n\n"
PIECES = (chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in ("One two", " three", " four five.")))
FINISH = chunk({}, "stop")


@dataclass(frozen=True)
class Answer:
    """What the provider does with one request: waits, writes the pieces, waits for `stall_s`, and closes, or resets the connection."""

    pieces: Sequence[bytes] = (*PIECES, FINISH, WITH_USAGE, DONE)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0
    stall_s: float = 0
    reset: bool = False
    billed: bool = True
    refuses_prefill: bool = False


def refusal(status: int, code: str, message: str, **headers: str) -> Answer:
    """An error, which costs nothing."""
    body = json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}}).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer((body,), status, {"content-type": "application/json", **names}, billed=False)


WHOLE = Answer()
FULL = refusal(429, "rate_limit_exceeded", "Rate limit reached.", retry_after="2")
OVERLOADED = refusal(503, "overloaded", "The model is overloaded.")
BROKEN = refusal(500, "server_error", "The server had an error.")
NO_PREFILL = refusal(400, "invalid_request_error", "This model does not support assistant message prefill.")
JSON = {"content-type": "application/json"}
WHOLE_JSON = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}]}).encode()
EMPTY = event({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE})


@dataclass(frozen=True)
class Scenario:
    """A fault of the first model; the second is healthy unless `second` differs. Each answers its answers in order, the last one for ever.

    `code` is the error that is right, empty where the whole text is. `billed` is how many attempts the provider may bill at most;
    `is_exact`: the ledger has the bill to the nano-dollar, else at most the holds of the attempts whose bill is not known more.
    """

    name: str
    first: Sequence[Answer]
    second: Sequence[Answer] = (WHOLE,)
    code: str = ""
    billed: int = 1
    is_exact: bool = True


SCENARIOS = (
    Scenario("429, Retry-After 2 s", (FULL, WHOLE)),
    Scenario("429 for ever", (FULL,)),
    Scenario("500 once", (BROKEN, WHOLE), is_exact=False),
    Scenario("503 for ever", (OVERLOADED,)),
    Scenario("reset before headers", (Answer((), reset=True, billed=False),), is_exact=False),
    Scenario("no response", (Answer((), wait_s=20),), billed=2, is_exact=False),
    Scenario("slow first token", (Answer(wait_s=4),), billed=2, is_exact=False),
    Scenario("stream cut", (Answer(PIECES[:3]),), billed=4, is_exact=False),
    Scenario("stream stalled", (Answer(PIECES[:3], stall_s=20),), billed=2, is_exact=False),
    Scenario(
        "stream malformed", (Answer((*PIECES[:3], b'data: {"id":"c-1","choi\n\n', FINISH, WITH_USAGE, DONE)),), billed=4, is_exact=False
    ),
    Scenario("no [DONE]", (Answer((*PIECES, FINISH, WITH_USAGE)),)),
    Scenario("context 400", (refusal(400, "context_length_exceeded", "This model's maximum context length is 10 tokens."),)),
    Scenario("content filter", (refusal(400, "content_filter", "The prompt was stopped."),), code="content_filter", billed=0),
    Scenario("fallback refuses a prefill", (Answer(PIECES[:3]),), (replace(WHOLE, refuses_prefill=True),), billed=4, is_exact=False),
    Scenario("outage, then health", (OVERLOADED,) * 5 + (WHOLE,), (OVERLOADED,) * 5 + (WHOLE,)),
    Scenario("accounting after a fallback", (refusal(404, "model_not_found", "There is no such model."),)),
    Scenario("hard quota", (refusal(429, "insufficient_quota", "You exceeded your current quota."),)),
    Scenario("401", (refusal(401, "invalid_api_key", "The key is not valid."),)),
    Scenario("truncated JSON", (Answer((WHOLE_JSON[:60],), headers=JSON),), billed=4, is_exact=False),
    Scenario("empty choices after billing", (Answer((EMPTY, DONE)),), billed=2),
)


class FakeProvider:
    """The provider of one scenario, on a port of this machine. `billed` has the number of billed requests by model."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.requests: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()

    @property
    def billed_nanousd(self) -> int:
        """The bill."""
        prices = ((NANOUSD[model], count) for model, count in self.billed.items())
        return sum(count * (PROMPT_TOKENS * prompt + OUTPUT_TOKENS * output) for (prompt, output), count in prices)

    def take(self, body: Mapping[str, object]) -> Answer:
        """The answer to a request."""
        model = str(body["model"])
        with self._lock:
            answers = self._scenario.first if model == "first" else self._scenario.second
            answer = answers[min(self.requests[model], len(answers) - 1)]
            messages = body["messages"]
            if answer.refuses_prefill and isinstance(messages, list) and messages[-1]["role"] == "assistant":
                answer = NO_PREFILL
            self.requests[model] += 1
            self.billed[model] += answer.billed
        return answer

    def wait(self, seconds: float) -> None:
        """Wait, at most until the end of the scenario."""
        self._stop.wait(seconds)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Answer inside the block; gives the base URL."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            self._stop.set()
            server.shutdown()
            server.server_close()
            thread.join()


def _handler_of(provider: FakeProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = provider.take(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.close_connection = True
            if answer.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                self.connection.close()
                return
            provider.wait(answer.wait_s)
            with suppress(OSError):
                self.send_response(answer.status)
                for name, value in {"content-type": "text/event-stream", "connection": "close", **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in answer.pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                provider.wait(answer.stall_s)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario. `unknown_nanousd` is what the ledger charged for attempts whose bill it does not know."""

    status: int
    text: str
    code: str
    attempts: int
    requests: int
    billed: int
    billed_nanousd: int
    ledger_nanousd: int
    unknown_nanousd: int
    took_s: float

    def misses(self, scenario: Scenario) -> str:
        """What is not as it should be; empty if the answer is whole, or the refusal right, and the ledger has the bill."""
        right = (400, "", scenario.code) if scenario.code else (200, TEXT, "")
        found = []
        if (self.status, self.text, self.code) != right:
            found.append(f"got {self.status} {self.code or self.text!r}")
        if self.billed > scenario.billed:
            found.append(f"{self.billed} billed attempts, at most {scenario.billed} expected")
        most_nanousd = self.billed_nanousd + (0 if scenario.is_exact else self.unknown_nanousd)
        if not self.billed_nanousd <= self.ledger_nanousd <= most_nanousd:
            found.append(f"ledger {self.ledger_nanousd}, billed {self.billed_nanousd}, unknown {self.unknown_nanousd} nano-dollars")
        return "; ".join(found)


def run(scenario: Scenario, folder: Path, recovery: str = "hold_back", second: Mapping[str, object] | None = None) -> Outcome:
    """Ask once for a stream, through a gateway of its own, with this recovery; `second` has keys for the second model."""
    provider, ledger = FakeProvider(scenario), f"sqlite:///{folder}/ledger.sqlite3"
    events: list[Event] = []
    with provider.serving() as base_url:
        registry = folder / "registry.yaml"
        registry.write_text(json.dumps(registry_of(base_url, second or {})))
        settings = {"run": "r1", "ledger": ledger, "state_dir": str(folder)}
        config = GatewayConfig(read_options=lambda: configure(registry, {**settings, "listeners": [events.append]}), access=AccessPolicy())
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        with in_background(config, listening):
            began_s = time.monotonic()
            status, text, code, attempts = ask(port, {"x-paymaster-stream-recovery": recovery})
            took_s = time.monotonic() - began_s
        with Client(registry, **settings) as client:
            ledger_nanousd = client.balances("usd/run/r1")["usd/run/r1"].settled
    unknown = sum(each.cost_nanousd for each in events if isinstance(each, AttemptFailed) and each.billed != "exact")
    bill = (provider.requests.total(), provider.billed.total(), provider.billed_nanousd)
    return Outcome(status, text, code, attempts, *bill, ledger_nanousd, unknown, took_s)


def registry_of(base_url: str, second: Mapping[str, object]) -> dict[str, object]:
    """Both models at the provider."""
    common = {"provider": "openai_compatible", "base_url": base_url, "max_output_tokens": 50, "context_window": 8_000, "timeouts": FAST}
    models = {
        name: {**common, "model_id": name, "usd_per_1m_input": prompt / 1_000, "usd_per_1m_output": output / 1_000}
        for name, (prompt, output) in NANOUSD.items()
    }
    models["second"].update(second)
    return {"default": "first", "models": models, "policies": POLICIES}


def ask(port: int, headers: Mapping[str, str]) -> tuple[int, str, str, int]:
    """One streamed call: the status, the text, the code of the error if there is one, and the number of attempts."""
    body = {"model": "first", "messages": [{"role": "user", "content": "Count to five."}], "stream": True}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        attempts = int(answer.headers["x-paymaster-attempts"] or 0)
        content = answer.read().decode()
    if answer.status != 200:
        return answer.status, "", str(json.loads(content)["error"]["code"]), attempts
    text, code, is_done = "", "", False
    for line in content.splitlines():
        if line == "data: [DONE]":
            is_done = True
        elif line.startswith("data: ") and not is_done:
            data = json.loads(line.removeprefix("data: "))
            code = data["error"]["code"] if "error" in data else code
            text += "".join(choice["delta"].get("content") or "" for choice in data.get("choices", ()))
    return answer.status, text, code or ("" if is_done else "no end"), attempts
