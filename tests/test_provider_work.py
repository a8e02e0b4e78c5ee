"""A provider that searches, routes and falls back at its worst, over real HTTP, with eight threads: a hard budget is not exceeded."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from call_box import HELLO
from paymaster import Client
from paymaster.errors import BudgetExceeded, NoModelFits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MILLION = Decimal(10**6)
HOSTS = (Decimal("0.5"), Decimal(2), Decimal(30))
"""What hosts of one model charge per million tokens, in and out."""
MODELS = {"lab/small": Decimal(2), "lab/large": Decimal(20)}
"""What the cheapest host of each model charges."""
FEE = Decimal("0.01")
RESULT_TOKENS = 3_000


class Provider(BaseHTTPRequestHandler):
    """Bills each request as much as it allows, and keeps the sum."""

    billed = Decimal(0)
    seen: ClassVar[list[dict[str, Any]]] = []
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        usage, usd = bill(body)
        with self.lock:
            Provider.billed += usd
            self.seen.append(body)
        message = {"role": "assistant", "content": "Hi"}
        answer = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def bill(body: dict[str, Any]) -> tuple[dict[str, Any], Decimal]:
    """The usage that is reported, and the bill."""
    output = body.get("max_tokens") or body["max_completion_tokens"]
    most = body.get("provider", {}).get("max_price", {}).get("prompt")
    allowed = [rate for rate in (*HOSTS, *(MODELS[name] for name in body.get("models", ()))) if most is None or rate <= Decimal(str(most))]
    if "provider" in body or "models" in body or "plugins" in body:
        results = sum(plugin.get("max_results", 5) for plugin in body.get("plugins", ()))
        read = 20 + results * RESULT_TOKENS
        usd = max(allowed) * (read + output) / MILLION + results * Decimal("0.004")
        return {"prompt_tokens": read, "completion_tokens": output, "cost": float(usd), "is_byok": False}, usd
    uses = sum(tool["max_uses"] for tool in body.get("tools", ()))
    read = sum(20 + number * RESULT_TOKENS + output * (number > 0) for number in range(uses + 1))
    usage = {"prompt_tokens": read, "completion_tokens": output, "server_tool_use": {"web_search_requests": uses}}
    return usage, (2 * read + 8 * output) / MILLION + uses * FEE


@pytest.fixture
def base_url() -> Iterator[str]:
    """A server with nothing billed yet."""
    Provider.billed = Decimal(0)
    Provider.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def registry_file(folder: Path, base_url: str, budget_usd: str) -> Path:
    """A router's two models and a provider with a search, under a hard budget per run."""
    common = {"base_url": base_url, "api_key_env": "THE_KEY", "context_window": 100_000, "max_output_tokens": 2_000}
    rates = {"usd_per_1m_input": 2, "usd_per_1m_output": 2}
    stated = {"web_search": {"usd_per_use": float(FEE), "tokens_per_use": RESULT_TOKENS, "max_uses": 3}}
    routed = {"provider": "openrouter", **common, **rates}
    models = {
        "small": {**routed, "model_id": "lab/small", "server_tools": {"web_search": {"tokens_per_use": RESULT_TOKENS}}},
        "large": {**routed, "model_id": "lab/large", "usd_per_1m_input": 20, "usd_per_1m_output": 20},
        "searching": {"provider": "openai_compatible", **common, **rates, "usd_per_1m_output": 8, "server_tools": stated},
    }
    policies = {"budget_usd_per_run": float(budget_usd), "hard_stop_on_budget": True}
    path = folder / "registry.json"
    path.write_text(json.dumps({"default": "small", "models": models, "policies": policies}), encoding="utf-8")
    return path


SEARCH = {"type": "web_search_20250305", "name": "web_search"}


@pytest.mark.parametrize(
    ("asked", "budget_usd"),
    [
        pytest.param({"model": "small"}, "0.05", id="a dearer host"),
        pytest.param({"model": "small", "extra_body": {"provider": {"max_price": {"prompt": 1}}}}, "0.05", id="a lower price"),
        pytest.param({"model": "small", "extra_body": {"models": ["lab/small", "lab/large"]}}, "0.5", id="a fallback in the request"),
        pytest.param({"model": "small", "extra_body": {"plugins": [{"id": "web"}]}}, "0.5", id="a plugin"),
        pytest.param({"model": "small", "extra_body": {"plugins": [{"id": "web", "max_results": 2}]}}, "0.5", id="a bounded plugin"),
        pytest.param({"model": "searching", "tools": [SEARCH]}, "1", id="a search"),
        pytest.param({"model": "searching", "tools": [{**SEARCH, "max_uses": 1}]}, "1", id="a bounded search"),
    ],
)
def test_a_hard_budget_is_not_exceeded_at_the_provider(asked: dict[str, Any], budget_usd: str, base_url: str, tmp_path: Path) -> None:
    environ = {"THE_KEY": "a"}
    with Client(registry=registry_file(tmp_path, base_url, budget_usd), state_dir=tmp_path, run="r", environ=environ) as client:

        def until_refused(_: int) -> int:
            calls = 0
            try:
                while True:
                    client.complete(HELLO, max_tokens=1_000, **asked)
                    calls += 1
            except BudgetExceeded:
                return calls

        with ThreadPoolExecutor(8) as pool:
            calls = sum(pool.map(until_refused, range(8)))
        charged = Decimal(client.balances("usd/run/r")["usd/run/r"].settled) / 10**9
    assert calls > 0
    assert Provider.billed <= charged <= Decimal(budget_usd)


def test_nothing_is_sent_for_a_model_that_may_answer_without_a_price(base_url: str, tmp_path: Path) -> None:
    with Client(registry=registry_file(tmp_path, base_url, "1"), state_dir=tmp_path, run="r", environ={"THE_KEY": "a"}) as client:
        with pytest.raises(NoModelFits, match="models names 'lab/huge'"):
            client.complete(HELLO, extra_body={"models": ["lab/huge"]}, model="small")
        with pytest.raises(NoModelFits, match=r"server_tools: \{file_search: \{max_uses: …, usd_per_use: …\}\}"):
            client.complete(HELLO, tools=[{"type": "file_search"}], model="searching")
    assert Provider.seen == []
