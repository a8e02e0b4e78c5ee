"""Heads of requests that two readers could understand differently: refused before anything else is read."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from gateways import served

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADS = {
    "one Host": ("GET /v1/models HTTP/1.1\r\nHost: {host}\r\n", 200, ""),
    "one Host and one Origin": ("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n", 200, ""),
    "HTTP/1.0 without Host": ("GET /v1/models HTTP/1.0\r\n", 200, ""),
    "two of a header that decides nothing": ("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nAccept: a\r\nAccept: b\r\n", 200, ""),
    "an empty Host": ("GET /v1/models HTTP/1.1\r\nHost:\r\n", 200, ""),
    "no Host": ("GET /v1/models HTTP/1.1\r\n", 400, "no Host header, which HTTP/1.1 needs"),
    "no Host but a whole address": ("GET http://{host}/v1/models HTTP/1.1\r\n", 400, "no Host header"),
    "two Hosts": ("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nHost: {host}\r\n", 400, "two host headers"),
    "the same Host twice": ("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nhost: {host}\r\n", 400, "two host headers"),
    "two Hosts in HTTP/1.0": ("GET /v1/models HTTP/1.0\r\nHost: evil.example\r\nHost: {host}\r\n", 400, "two host headers"),
    "two Origins": (
        "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\nOrigin: http://{host}\r\n",
        400,
        "two origin headers",
    ),
    "two keys": (
        "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        400,
        "two authorization headers",
    ),
    "two keys of another kind": (
        "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: a\r\nX-Api-Key: b\r\n",
        400,
        "two x-api-key headers",
    ),
    "two runs": (
        "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nX-Paymaster-Run: a\r\nX-Paymaster-Run: b\r\n",
        400,
        "two x-paymaster-run headers",
    ),
    "two Hosts at a path that needs no key": ("GET /healthz HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n", 400, "two host headers"),
    "no Host at a path that is not there": ("GET /nowhere HTTP/1.1\r\n", 400, "no Host header"),
}


def answer(url: str, head: str) -> tuple[int, str]:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(f"{head.format(host=f'{host}:{port}')}Connection: close\r\n\r\n".encode())
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    return int(received.split()[1]), received.decode()


@pytest.fixture(scope="module", params=["1", pytest.param("2", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="Unix only"))])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway of one worker, then one of two."""
    folder = tmp_path_factory.mktemp("heads")
    (folder / "script.yaml").write_text("models: {m: {answers: [{text: Hi}]}}\n")
    (folder / "registry.yaml").write_text("models: {m: {provider: scripted, model_id: m, script: script.yaml}}\n")
    with served(folder / "registry.yaml", "--workers", request.param, "--state-dir", str(folder / "state")) as server:
        yield server.url


@pytest.mark.parametrize(("head", "status", "text"), HEADS.values(), ids=HEADS)
def test_a_head_is_refused_where_its_readers_could_differ(url: str, head: str, status: int, text: str) -> None:
    for _ in range(4):  # any worker may answer
        got, received = answer(url, head)
        assert got == status
        assert text in received
