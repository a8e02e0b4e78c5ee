"""The lies of the scripted provider: early or absurd usage, absurd times to wait, late cuts, and what a closed stream costs."""

import json
import socket
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from paymaster.providers.scripted.engine import ScriptEngine
from paymaster.providers.scripted.responses import End
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer

PRICED = "prices: {usd_per_1m_input: 1000, usd_per_1m_output: 1000}"
TEXT = "abcdefgh" * 8  # 16 tokens, in 8 chunks of 2
HELLO = [{"role": "user", "content": "Hello you"}]  # 3 tokens


def engine_of(more="", fault=""):
    faults = f"faults: [{{{fault}}}]" if fault else "faults: []"
    return ScriptEngine(parse_script(f"models: {{m: {{{PRICED}, answers: [{{text: {TEXT}}}], {faults}{more}}}}}"), 0)


def respond(engine, *, stream=True):
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return engine.respond({"model": "m", "messages": HELLO, **options}, 0)


def events_of(response):
    data = [piece.data.removeprefix(b"data: ").strip() for piece in response.pieces]
    return [json.loads(each) for each in data if each != b"[DONE]"]


@pytest.mark.parametrize(
    ("kind", "after", "reported", "goes_on_for", "end"),
    [
        ("early_usage", 0, 1, 8, End.COMPLETE),
        ("early_usage", 3, 4, 6, End.COMPLETE),
        ("early_usage", 99, 14, 1, End.COMPLETE),
        ("early_usage_cut", 0, 1, 8, End.CUT),
        ("early_usage_cut", 3, 4, 6, End.CUT),
    ],
)
def test_early_usage_is_right_when_it_is_sent_and_output_follows(kind, after, reported, goes_on_for, end):
    events = events_of(response := respond(engine_of(fault=f"kind: {kind}, after_chunks: {after}")))
    (position,) = (number for number, each in enumerate(events) if "usage" in each)
    assert events[position]["usage"] == {"prompt_tokens": 3, "completion_tokens": reported, "total_tokens": 3 + reported}
    texts = [each["choices"][0]["delta"].get("content") for each in events[position + 1 :]]
    assert sum(bool(text) for text in texts) == goes_on_for
    assert response.end is end


@pytest.mark.parametrize("figure", ["1e30", "-1", "NaN", "9" * 400, '"many"', "null"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_absurd_figure_is_sent_as_it_is(figure, stream):
    response = respond(engine_of(fault=f"kind: absurd_usage, figure: '{figure}'"), stream=stream)
    sent = b"".join(piece.data for piece in response.pieces)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert f'"{name}":{figure}'.encode() in sent


@pytest.mark.parametrize("text", ["0", "-5", "Fri, 31 Dec 2999 23:59:59 GMT", "1e9", ""])
def test_an_absurd_wait_is_sent_as_it_is(text):
    response = respond(engine_of(fault=f"kind: absurd_wait, retry_after: '{text}'"))
    assert (response.status, response.headers["retry-after"]) == (429, text)


@pytest.mark.parametrize(
    ("sent", "billed_tokens"),
    [(0, 3), (1, 3), (2, 3 + 2), (5, 3 + 8), (9, 3 + 16), (10, 3 + 16), (12, 3 + 16)],
)
def test_a_stream_of_a_model_that_stops_is_billed_as_far_as_it_was_sent(sent, billed_tokens):
    engine = engine_of(", stops_on_disconnect: true")
    response = respond(engine)
    assert engine.bill.lines == []
    response.ended(sent)
    (line,) = engine.bill.lines
    assert line.prompt_tokens + line.completion_tokens == billed_tokens
    assert line.billed_nanousd == billed_tokens * 1_000_000


@pytest.mark.parametrize(
    ("fault", "stream"), [("", False), ("kind: throttle", True), ("kind: reset", True), ("kind: silence", True), ("kind: cut", False)]
)
def test_any_other_answer_is_billed_when_it_arrives(fault, stream):
    engine = engine_of(", stops_on_disconnect: true", fault)
    respond(engine, stream=stream).ended(0)
    assert len(engine.bill.lines) == 1


@pytest.mark.parametrize(("fault", "tokens"), [("cut", 4), ("late_cut", 4), ("early_usage_cut", 16), ("stall", 4)])
def test_an_answer_that_the_provider_cuts_is_billed_until_then(fault, tokens):
    engine = engine_of(", stops_on_disconnect: true", f"kind: {fault}, after_chunks: 3")
    response = respond(engine)
    response.ended(len(response.pieces))
    assert engine.bill.lines[0].completion_tokens == tokens


def test_a_caller_that_hangs_up_is_billed_until_then():
    script = f"models: {{m: {{{PRICED}, chunk_ms: 200, stops_on_disconnect: true, answers: [{{text: {TEXT}}}]}}}}"
    with ScriptedServer(parse_script(script)) as server:
        address = urlsplit(server.base_url)
        body = json.dumps({"model": "m", "messages": HELLO, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with closing(socket.create_connection((address.hostname, address.port), 10)) as connection:
            connection.sendall(head + body)
            received = b""
            while b'"abcdefgh"' not in received:
                received += connection.recv(10_000)
        deadline = time.monotonic() + 10
        while not server.engine.bill.lines and time.monotonic() < deadline:
            time.sleep(0.01)
        (line,) = server.engine.bill.lines
    assert 2 <= line.completion_tokens < 16


def test_a_late_cut_comes_after_its_delay():
    script = f"models: {{m: {{answers: [{{text: {TEXT}}}], faults: [{{kind: late_cut, delay_ms: 300}}]}}}}"
    with ScriptedServer(parse_script(script)) as server:
        address = urlsplit(server.base_url)
        body = json.dumps({"model": "m", "messages": HELLO, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with closing(socket.create_connection((address.hostname, address.port), 10)) as connection:
            connection.sendall(head + body)
            began = time.monotonic()
            received = b""
            while data := connection.recv(10_000):
                received += data
        assert time.monotonic() - began >= 0.3
        assert received.count(b"abcdefgh") == 2
        assert b"[DONE]" not in received
