"""Both clients charge the model that an answer names, whole and streamed, under a hard budget, over HTTP on loopback."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paymaster import AsyncClient, Client, NoModelFits

HELLO = [{"role": "user", "content": "Hello"}]
USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
LONG = [{"role": "user", "content": "x" * 4_000}]


class Deployment(BaseHTTPRequestHandler):
    """A deployment behind a name that says nothing: its answers name the model, except in the first chunk of a stream."""

    named = "gpt-4o-2024-08-06"

    def do_POST(self) -> None:
        """An answer, whole or in chunks."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        choice: dict[str, object] = {"index": 0, "finish_reason": "stop"}
        if not asked.get("stream"):
            choice["message"] = {"role": "assistant", "content": "Hi"}
            self._send("application/json", json.dumps({"id": "a", "model": self.named, "choices": [choice], "usage": USAGE}))
            return
        chunks: list[Mapping[str, object]] = [
            {"id": "", "model": "", "choices": [], "prompt_filter_results": []},
            {"id": "a", "model": self.named, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
            {"id": "a", "model": self.named, "choices": [{**choice, "delta": {}}]},
            {"id": "a", "model": "", "choices": [], "usage": USAGE},
        ]
        self._send("text/event-stream", "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n")

    def _send(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(name="registry")
def write(tmp_path: Path) -> Iterator[Path]:
    """A registry of deployments at Azure, of which two say which model they are."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Deployment)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f"provider: azure, base_url: 'http://127.0.0.1:{server.server_port}/openai/v1', max_output_tokens: 600"
    path = tmp_path / "registry.yaml"
    path.write_text(
        "default: stated\nmodels:\n"
        f"  stated: {{{at}, model_id: team-a-prod, price_as: gpt-4o, region: global}}\n"
        f"  zone: {{{at}, model_id: team-a-prod, price_as: gpt-4o, region: eu}}\n"
        f"  alias: {{{at}, model_id: gpt-4o}}\n"
        f"  dearer: {{{at}, model_id: team-a-prod, price_as: gpt-4o, region: global, price_factor: 2}}\n"
        "policies: {budget_usd_per_run: 1, hard_stop_on_budget: true}\n"
    )
    yield path
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "cost_nanousd"), [("stated", 7_500_000), ("zone", 8_250_000), ("alias", 7_500_000), ("dearer", 15_000_000)]
)
def test_a_deployment_costs_what_its_model_costs(registry: Path, tmp_path: Path, name: str, cost_nanousd: int) -> None:
    async def ask() -> int:
        async with AsyncClient(registry, state_dir=tmp_path, environ={}) as client:
            return (await client.complete(LONG, model=name)).cost_nanousd

    with Client(registry, state_dir=tmp_path, environ={}) as client:
        whole = client.complete(LONG, model=name)
        with client.stream(LONG, model=name) as stream:
            list(stream)
        assert {whole.attempts[0].billed, stream.reply.attempts[0].billed} == {"exact"}
        assert whole.attempts[0].held_nanousd >= whole.cost_nanousd
        assert [whole.cost_nanousd, stream.reply.cost_nanousd, asyncio.run(ask())] == [cost_nanousd] * 3


def test_the_price_of_another_model_in_an_answer_is_charged(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deployment, "named", "gpt-4o-mini-2024-07-18")
    with Client(registry, state_dir=tmp_path, environ={}) as client:
        assert client.complete(LONG, model="alias").cost_nanousd == 450_000
        assert client.complete(LONG, model="stated").cost_nanousd == 7_500_000  # what the registry states stays


def test_a_name_that_says_nothing_is_refused_with_the_key_that_helps(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    deployment = "{provider: azure, base_url: 'https://nowhere.openai.azure.com', model_id: team-a-prod, api_key_env: KEY}"
    path.write_text(f"models: {{team: {deployment}}}\npolicies: {{budget_usd_per_run: 1, hard_stop_on_budget: true}}\n")
    advice = "add to the registry, under team: `price_as: …`"
    with Client(path, state_dir=tmp_path, environ={"KEY": "k"}) as client, pytest.raises(NoModelFits, match=advice):
        client.complete(HELLO)
