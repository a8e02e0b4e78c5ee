"""An odd answer has one reading, whichever front end it is read through: the clients, the gateway's dialects, the agents' models."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from dialects.front_ends import FrontEnds
from dialects.odd_answers import ANY_ID, CASES, Reading
from gateways import MODEL
from paymaster.agents.clients import CLIENTS
from paymaster.flow.events import AttemptFailed, Event
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("whole", "streamed")
BY_NAME = {case.name: case for case in CASES}
MADE = re.compile(r"call_[A-Za-z0-9_-]{8,35}")


class OddServer(BaseHTTPRequestHandler):
    """Answers as the case of the model's name states."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        case = BY_NAME[body["model"]]
        is_stream = body.get("stream") and case.stream is not None
        data = case.stream if is_stream and case.stream is not None else json.dumps(case.whole).encode()
        self.send_response(case.status)
        self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture(scope="module")
def failed() -> list[Event]:
    """The events of the gateway."""
    return []


@pytest.fixture(scope="module")
def front_ends(tmp_path_factory: pytest.TempPathFactory, failed: list[Event]) -> Iterator[FrontEnds]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OddServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folder = tmp_path_factory.mktemp("odd")
        registry = folder / "registry.yaml"
        each = {**MODEL, "capabilities": ["function_calling", "reasoning"], "base_url": f"http://127.0.0.1:{server.server_port}/v1"}
        policies = {"retries_per_model": 0, "max_attempts": 1, "max_wait_s": 0.05, "breaker_failures": 1_000}
        # A model for each kind of answer, because a failure pauses its model.
        names = {
            f"m{number}-{kind}": {**each, "model_id": case.name, "account": kind}
            for number, case in enumerate(CASES)
            for kind in ("whole", "streamed")
        }
        registry.write_text(json.dumps({"default": "m0-whole", "models": names, "policies": policies}))
        config = GatewayConfig(read_options=lambda: configure(registry, {"ledger": "memory:", "listeners": [failed.append]}), drain_s=1)
        socket = listen("127.0.0.1", 0)
        port = socket.getsockname()[1]
        with in_background(config, socket):
            ends = FrontEnds(registry, port)
            yield ends
            ends.close()
        CLIENTS.close()
        server.shutdown()


def shown(reading: Reading, expected: Reading, front_end: str) -> Reading:
    """The reading without what this front end has no field for, and with ids that were made checked."""
    if len(reading.calls) == len(expected.calls):
        assert len({call_id for call_id, _, _ in reading.calls}) == len(reading.calls)
        for (call_id, _, _), (wanted, _, _) in zip(reading.calls, expected.calls, strict=True):
            assert wanted != ANY_ID or MADE.fullmatch(call_id), call_id
        ids = [wanted if wanted == ANY_ID else call[0] for call, (wanted, _, _) in zip(reading.calls, expected.calls, strict=True)]
        calls = tuple((call_id, *call[1:]) for call_id, call in zip(ids, reading.calls, strict=True))
        reading = replace(reading, calls=calls)
    if front_end == "responses":
        reading = replace(reading, reasoning=expected.reasoning)
    return replace(reading, ending=expected.ending if expected.failure else reading.ending)


READ = [(number, streamed) for number, case in enumerate(CASES) for streamed in (False, True) if (case.stream if streamed else case.whole)]


@pytest.mark.parametrize(("number", "streamed"), READ, ids=[f"{CASES[number].name}, {KINDS[streamed]}" for number, streamed in READ])
def test_an_odd_answer_has_one_reading(front_ends: FrontEnds, failed: list[Event], number: int, streamed: bool) -> None:
    case = CASES[number]
    readings: dict[str, Reading] = {}
    failed.clear()
    expected = replace(case.reading, failure=None if case.reading.failure is None else "failed")
    if expected.failure:
        expected = replace(expected, text="", usage=None)
    for front_end, read in front_ends.readers(streamed=streamed):
        reading = read(f"m{number}-{KINDS[streamed]}")
        if reading.failure:
            reading = replace(reading, usage=None)
        readings[front_end] = shown(reading, expected, front_end)
    assert readings == dict.fromkeys(readings, expected)
    kinds = {event.failure for event in failed if isinstance(event, AttemptFailed)}
    assert kinds == ({case.reading.failure} if case.reading.failure else set())
