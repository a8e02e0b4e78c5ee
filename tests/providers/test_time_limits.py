"""Every wait of an attempt ends by its time limit, whatever drips; the same for both transports."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from paymaster.flow.ports import ProviderReply
from paymaster.providers import sockets
from paymaster.providers.sync_transport import SyncTransport
from paymaster.providers.time_limits import TimeLimit, describe_limit
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest
from paymaster.registry.models import Timeouts
from paymaster.routing.failures import Billed, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b'{"choices":[{"index":0,"message":{"content":"Yes."},"finish_reason":"stop"}]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CONTINUE, EARLY_HINTS = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def drip(data: bytes, pause_s: float = 0.05) -> list[bytes | float]:
    """The bytes one at a time."""
    return [part for byte in data for part in (bytes([byte]), pause_s)]


def repeat(part: bytes, pause_s: float = 0.02) -> list[bytes | float]:
    """The same part for longer than any limit here."""
    return [part, pause_s] * 400


DRIPS = {
    "head": drip(HEAD + b"content-length: 2\r\n\r\n{}" * 20),
    "headers without end": [HEAD, *repeat(b"x: y\r\n", 0.1)],
    "one header without end": [HEAD + b"x: ", *repeat(b"y", 0.1)],
    "100 without end": repeat(CONTINUE),
    "102 without end": repeat(PROCESSING),
    "103 without end": repeat(EARLY_HINTS),
    "100 without end, at once": [CONTINUE * 20_000, 5.0],
    "100 and silence": [CONTINUE, 5.0],
    "body": [HEAD + b"content-length: 1000\r\n\r\n", *repeat(b" ", 0.1)],
    "size of a chunk": [HEAD + b"transfer-encoding: chunked\r\n\r\n", *drip(b"0" * 400)],
    "chunks": [HEAD + b"transfer-encoding: chunked\r\n\r\n", *repeat(b"1\r\n \r\n", 0.1)],
    "trailers": [HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", *repeat(b"x: y\r\n", 0.1)],
    "nothing after compression": [HEAD + b"content-encoding: gzip\r\n\r\n", *drip(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * 400)],
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_whole_answer_ends_at_its_total_time(caller, make_call, raw, name):
    endpoint = raw(DRIPS[name])
    began = time.monotonic()
    failure = caller.send(make_call(endpoint.base_url, limits={"total_ms": 400}))
    assert time.monotonic() - began < 2
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.MAYBE)
    assert endpoint.gone.wait(2)


@pytest.mark.parametrize(
    ("answer", "limits", "named"),
    [
        (DRIPS["head"], {"first_token_ms": 400}, "first_token"),
        (DRIPS["head"], {"total_ms": 400}, "total"),
        (DRIPS["100 without end"], {"first_token_ms": 400}, "first_token"),
        ([EVENTS, *drip(b'data: {"choices":' * 30)], {"first_token_ms": 400}, "first_token"),
        ([EVENTS, b'data: {"choices":[]}\n\n', *drip(b'data: {"choices":' * 30)], {"between_chunks_ms": 400}, "between_chunks"),
        ([EVENTS, *repeat(b'data: {"choices":[]}\n\n')], {"total_ms": 400}, "total"),
        ([b"HTTP/1.1 500 Oops\r\ncontent-length: 999\r\n\r\n", *repeat(b" ", 0.1)], {"total_ms": 400}, "total"),
    ],
)
def test_a_stream_ends_at_each_of_its_limits(caller, make_call, raw, answer, limits, named):
    endpoint = raw(answer)
    began = time.monotonic()
    _, failure = caller.stream(make_call(endpoint.base_url, limits=limits))
    assert time.monotonic() - began < 2
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.MAYBE)
    assert named in failure.message
    assert endpoint.gone.wait(2)


@pytest.mark.parametrize("interim", [CONTINUE, PROCESSING, EARLY_HINTS, b"HTTP/1.1 199 Whatever\r\n\r\n", CONTINUE + EARLY_HINTS * 30])
def test_interim_answers_are_skipped(caller, make_call, raw, wire, interim):
    endpoint = raw(interim + wire.whole(OK), [interim, 0.02, wire.whole(OK)], keep=True)
    call = make_call(endpoint.base_url)
    assert [isinstance(caller.send(call), ProviderReply) for _ in range(2)] == [True, True]
    assert endpoint.connections == 1


def test_another_protocol_is_no_answer(caller, make_call, raw):
    endpoint = raw([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", 5.0])
    failure = caller.send(make_call(endpoint.base_url))
    assert (failure.kind, failure.billed) == (FailureKind.UNUSABLE_ANSWER, Billed.MAYBE)
    assert "101" in failure.message
    assert endpoint.gone.wait(2)


def test_a_connection_lost_after_an_interim_answer_is_lost(caller, make_call, raw):
    failure = caller.send(make_call(raw(EARLY_HINTS).base_url))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_LOST, Billed.MAYBE)


# ------------------------------------------------------------------------------------------------- before the request


@pytest.fixture
def handshake() -> Iterator[Callable[..., str]]:
    """An address that takes connections and does with each what it is given."""
    with contextlib.ExitStack() as stack:

        def listen(act: Callable[[socket.socket], None]) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def accept() -> None:
                with contextlib.suppress(OSError):
                    connection = stack.enter_context(listener.accept()[0])
                    act(connection)

            threading.Thread(target=accept, daemon=True).start()
            return f"127.0.0.1:{listener.getsockname()[1]}"

        yield listen


def send_slowly(data: bytes) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    return act


def test_a_tls_handshake_that_drips_ends_with_the_time_to_connect(caller, make_call, handshake):
    address = handshake(send_slowly(b"\x16\x03\x03\x40\x00\x02" + b"\0" * 200))
    began = time.monotonic()
    failure = caller.send(make_call(f"https://{address}/v1", limits={"connect_ms": 400}))
    assert time.monotonic() - began < 2
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.NO)


def test_a_proxy_that_drips_ends_with_the_time_to_connect(caller, make_call, handshake, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://{handshake(send_slowly(b'HTTP/1.1 200 OK' + b'x: y' * 99))}")
    began = time.monotonic()
    failure = caller.send(make_call("https://models.example/v1", limits={"connect_ms": 400}))
    assert time.monotonic() - began < 2
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.NO)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_a_server_that_reads_slowly_ends_with_the_total_time(caller, make_call, handshake):
    def read_slowly(connection: socket.socket) -> None:
        while connection.recv(1_000):
            time.sleep(0.05)

    address = handshake(read_slowly)
    began = time.monotonic()
    call = make_call(f"http://{address}/v1", body={"messages": [{"role": "user", "content": "x" * 30_000_000}]}, limits={"total_ms": 700})
    failure = caller.send(call)
    assert time.monotonic() - began < 3
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.MAYBE)


def test_a_name_that_is_looked_up_slowly_ends_with_the_time_to_connect(monkeypatch):
    ended, real = threading.Event(), socket.getaddrinfo

    def look_up(host, port, *args, flags=0, **named):
        if not flags:
            ended.wait(5)
        return real(host, port, *args, flags=flags, **named)

    monkeypatch.setattr(sockets.socket, "getaddrinfo", look_up)
    began = time.monotonic()
    with pytest.raises(ExchangeBroken) as caught:
        SyncTransport().post(HttpRequest("http://models.example/v1", b"", {}), connect_ms=200, wait_ms=5_000).send(None)
    assert time.monotonic() - began < 2
    ended.set()
    assert caught.value.fault is ExchangeFault.CONNECT_TIMEOUT


def test_the_next_address_is_tried_in_the_time_that_is_left(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(sockets.socket, "getaddrinfo", lambda *_, **__: addresses)
        with sockets.connect("models.example", port, sockets.TimeLimit(1_000)) as made:
            assert made.getpeername() == ("127.0.0.1", port)


def test_a_name_is_looked_up_where_no_thread_can_be_started(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, sockets.connect("localhost", listener.getsockname()[1], sockets.TimeLimit(1_000)) as made:
        assert made.getpeername() == listener.getsockname()


# ------------------------------------------------------------------------------------------- silence before an end

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
LONG, SHORT = 0.7, 0.05


@pytest.mark.parametrize("end", ["closed", "reset"])
@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([LONG], FailureKind.TIMED_OUT),
        ([SHORT], FailureKind.CONNECTION_LOST),
        ([LONG, CONTINUE], FailureKind.TIMED_OUT),
        ([HEAD + b"content-length: 9\r\n\r\n", LONG], FailureKind.TIMED_OUT),
        ([HEAD + b"content-length: 9\r\n\r\n", SHORT], FailureKind.CONNECTION_LOST),
        ([HEAD + b"content-length: 99\r\n\r\n", *[b" ", 0.1] * 7], FailureKind.TIMED_OUT),
        ([HEAD + b"content-length: 99\r\n\r\n", *[b"x", 0.1] * 7], FailureKind.CONNECTION_LOST),
        ([HEAD + b"content-length: 99\r\n\r\n", LONG, b"x"], FailureKind.CONNECTION_LOST),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n", LONG], FailureKind.TIMED_OUT),
    ],
)
def test_a_connection_lost_after_a_silence_timed_out(caller, make_call, raw, parts, kind, end):
    endpoint = raw(parts, reset=end == "reset")
    failure = caller.send(make_call(endpoint.base_url, limits={"total_ms": 1_500}))
    assert (failure.kind, failure.billed) == (kind, Billed.MAYBE)
    assert ("silence" in failure.message) == (kind is FailureKind.TIMED_OUT)


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([LONG], FailureKind.TIMED_OUT),
        ([SHORT], FailureKind.CONNECTION_LOST),
        ([EVENTS, LONG], FailureKind.TIMED_OUT),
        ([EVENTS, SHORT], FailureKind.UNUSABLE_ANSWER),
        ([EVENTS, *[b": wait\n\n", 0.1] * 7], FailureKind.TIMED_OUT),
        ([EVENTS, ROLE, LONG], FailureKind.TIMED_OUT),
        ([EVENTS, CHUNK, LONG], FailureKind.TIMED_OUT),
        ([EVENTS, CHUNK, SHORT], FailureKind.CONNECTION_LOST),
        ([EVENTS, *[CHUNK, 0.2] * 4], FailureKind.CONNECTION_LOST),
        ([EVENTS, ROLE, LONG, b"data: [DONE]\n\n"], FailureKind.UNUSABLE_ANSWER),
        ([HEAD + b"connection: close\r\n\r\n", LONG], FailureKind.TIMED_OUT),
        ([HEAD + b"connection: close\r\n\r\n", SHORT], FailureKind.UNUSABLE_ANSWER),
    ],
)
def test_a_stream_that_ends_after_a_silence_timed_out(caller, make_call, raw, parts, kind):
    limits = {"total_ms": 3_000, "first_token_ms": 1_500, "between_chunks_ms": 1_500}
    _, failure = caller.stream(make_call(raw(parts).base_url, limits=limits))
    assert (failure.kind, failure.billed) == (kind, Billed.MAYBE)
    assert ("silence" in failure.message) == (kind is FailureKind.TIMED_OUT)


OWN = Timeouts(connect_ms=10_000, first_token_ms=90_000, between_chunks_ms=60_000, total_ms=600_000)


@pytest.mark.parametrize(
    ("limit", "total_ms", "words"),
    [
        (TimeLimit.CONNECT, 600_000, "timeouts.connect_s of the model is 10 s; raise it in the registry"),
        (TimeLimit.FIRST_TOKEN, 600_000, "timeouts.first_token_s of the model is 90 s; raise it in the registry"),
        (TimeLimit.BETWEEN_CHUNKS, 600_000, "timeouts.between_chunks_s of the model is 60 s; raise it in the registry"),
        (TimeLimit.TOTAL, 600_000, "timeouts.total_s of the model is 600 s; raise it in the registry"),
        (TimeLimit.TOTAL, 1_500, "the call's deadline left 1.5 s; allow it more time, or raise policies.deadline_s"),
        (TimeLimit.FIRST_TOKEN, 1_500, "the call's deadline left 1.5 s; allow it more time, or raise policies.deadline_s"),
        (TimeLimit.CONNECT, 1_500, "the call's deadline left 1.5 s; allow it more time, or raise policies.deadline_s"),
        (TimeLimit.FIRST_TOKEN, 90_000, "timeouts.first_token_s of the model is 90 s; raise it in the registry"),
    ],
)
def test_a_limit_is_named_by_the_key_to_set(limit, total_ms, words):
    assert describe_limit(limit, OWN, replace(OWN, total_ms=total_ms)).startswith(words)
