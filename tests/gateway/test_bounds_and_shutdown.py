"""Bounds on slow and misbehaving clients, hang-ups, and shutdown."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import openai
import pytest

from gateways import wait_until
from paymaster.gateway.open_files import max_calls, raise_limit
from paymaster.gateway.request_body import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]
ASK = json.dumps({"model": "fast", "messages": HELLO}).encode()
ASK_STREAM = json.dumps({"model": "fast", "messages": HELLO, "stream": True}).encode()
SLOW = {"chunks": 200, "chunk_ms": 50, "answers": [{"text": "word " * 400}]}


def connect(gateway: Gateway) -> socket.socket:
    host, port = gateway.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head(length: int) -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % length


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


def kinds(gateway: Gateway) -> list[str]:
    return [event.kind for event in gateway.events]


def test_a_body_that_is_too_large_is_refused(start: Callable[..., Gateway]) -> None:
    gateway = start(bounds=Bounds(body_bytes=1_000))
    with closing(connect(gateway)) as connection:
        connection.sendall(head(5_000))
        assert b" 413 " in connection.recv(4096)
    with closing(connect(gateway)) as connection:
        connection.sendall(head(0).replace(b"content-length: 0", b"transfer-encoding: chunked") + b"800\r\n" + b"x" * 2048 + b"\r\n")
        assert b" 413 " in connection.recv(4096)
    assert gateway.requests() == 0


def test_a_late_or_too_large_head_is_refused(start: Callable[..., Gateway]) -> None:
    gateway = start(bounds=Bounds(header_ms=300, header_bytes=2_000))
    with closing(connect(gateway)) as connection:
        connection.sendall(b"POST /v1/chat")
        assert b" 408 " in read_all(connection)
    with closing(connect(gateway)) as connection:
        assert b" 408 " in read_all(connection)
    with closing(connect(gateway)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n" + b"x-a: " + b"y" * 3_000)
        assert b" 431 " in read_all(connection)


def test_a_late_body_is_a_408(start: Callable[..., Gateway]) -> None:
    gateway = start(bounds=Bounds(body_ms=200))
    with closing(connect(gateway)) as connection:
        connection.sendall(head(100) + b"{")
        assert b" 408 " in connection.recv(4096)


def test_an_idle_connection_is_closed(start: Callable[..., Gateway]) -> None:
    gateway = start(bounds=Bounds(idle_ms=1_000))
    with closing(connect(gateway)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert read_all(connection).endswith(b'{"status":"ok"}')


def test_a_client_that_hangs_up_is_charged_what_its_call_may_have_cost(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=SLOW, policies={"budget_usd_per_run": 1})
    with closing(connect(gateway)) as connection:
        connection.sendall(head(len(ASK_STREAM)) + ASK_STREAM)
        assert b"data: " in connection.recv(65536)
    wait_until(lambda: "failed" in kinds(gateway))
    failed = next(event for event in gateway.events if event.kind == "failed")
    assert (failed.failure, failed.billed) == ("cancelled", "assumed")
    assert gateway.service.open_calls == 0


def test_a_client_that_hangs_up_is_charged_until_then_where_the_provider_stops(start: Callable[..., Gateway]) -> None:
    prices = {"usd_per_1m_input": 3, "usd_per_1m_output": 15, "max_output_tokens": 64_000}
    gateway = start(fast=SLOW, policies={"budget_usd_per_run": 5}, each={**prices, "stops_on_disconnect": True, "capabilities": []})
    with closing(connect(gateway)) as connection:
        connection.sendall(head(len(ASK_STREAM)) + ASK_STREAM)
        assert b"data: " in connection.recv(65536)
    wait_until(lambda: "failed" in kinds(gateway))
    failed = next(event for event in gateway.events if event.kind == "failed")
    admitted = next(event for event in gateway.events if event.kind == "admitted")
    assert (failed.failure, failed.billed) == ("cancelled", "estimated")
    assert 0 < failed.cost_nanousd < admitted.held_nanousd // 2
    assert failed.cost_basis.endswith("output tokens until the connection closed")


def test_a_client_that_hangs_up_before_the_answer_cancels_the_call(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"latency_ms": 30_000})
    with closing(connect(gateway)) as connection:
        connection.sendall(head(len(ASK)) + ASK)
        wait_until(lambda: gateway.requests() == 1)
    wait_until(lambda: "failed" in kinds(gateway))
    assert gateway.service.open_calls == 0


def test_a_client_that_does_not_read_is_disconnected(start: Callable[..., Gateway]) -> None:
    gateway = start(
        fast={"chunks": 400, "answers": [{"text": "x" * 20_000_000}]},
        bounds=Bounds(reading_ms=300),
        each={"max_output_tokens": 10_000_000},
    )
    with closing(connect(gateway)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(len(ASK_STREAM)) + ASK_STREAM)
        wait_until(lambda: "failed" in kinds(gateway))
    wait_until(lambda: gateway.service.open_calls == 0)


def test_a_hundred_open_streams_complete(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"chunks": 3, "chunk_ms": 200, "answers": [{"text": "One two three."}]})
    connections = [connect(gateway) for _ in range(100)]
    for connection in connections:
        connection.sendall(head(len(ASK_STREAM)).replace(b"host:", b"connection: close\r\nhost:") + ASK_STREAM)
    answers = [read_all(connection) for connection in connections]
    for connection in connections:
        connection.close()
    assert all(b"data: [DONE]" in answer for answer in answers)
    assert gateway.service.open_calls == 0


def test_a_draining_gateway_lets_calls_finish(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"chunks": 5, "chunk_ms": 100, "answers": [{"text": "One two three four five."}]}, drain_s=10)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        stream = client.chat.completions.create(model="fast", messages=HELLO, stream=True)
        next(stream)
        gateway.running.end()
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == "One two three four five."


def test_a_call_that_outlasts_the_drain_is_cancelled_and_settled(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=SLOW, drain_s=1)
    with closing(connect(gateway)) as connection:
        connection.sendall(head(len(ASK_STREAM)) + ASK_STREAM)
        assert b"data: " in connection.recv(65536)
        gateway.running.end()
        answer = read_all(connection)
    assert b"[DONE]" not in answer
    wait_until(lambda: "failed" in kinds(gateway))


def test_a_call_above_the_open_call_limit_is_refused_with_retry_after(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=SLOW, bounds=Bounds(open_calls=1))
    with closing(connect(gateway)) as connection, openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        connection.sendall(head(len(ASK_STREAM)) + ASK_STREAM)
        assert b"data: " in connection.recv(65536)
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(model="fast", messages=HELLO)
    assert refused.value.code == "overloaded"
    assert refused.value.response.headers["retry-after"] == "1"
    assert gateway.requests() == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files there")
def test_the_open_files_limit_is_raised_as_far_as_allowed() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert raise_limit(300) == 300
        assert raise_limit(200) == 300
        assert max_calls(300) == 86
        assert max_calls(20) == 1
        assert max_calls(None) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
