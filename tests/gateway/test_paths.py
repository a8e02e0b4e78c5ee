"""Clients differ in whether they add `/v1` to an address: a path is served with it, without it, with it twice, and behind two slashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from paymaster.gateway.app import routed_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

ASKED = {"role": "user", "content": "Hello"}
BODIES: dict[str, dict[str, object] | None] = {
    "chat/completions": {"model": "fast", "messages": [ASKED]},
    "responses": {"model": "fast", "input": "Hello"},
    "messages": {"model": "fast", "messages": [ASKED], "max_tokens": 50},
    "messages/count_tokens": {"model": "fast", "messages": [ASKED]},
    "completions": {"model": "fast", "prompt": "Hello"},
    "models": None,
    "models/fast": None,
}


@pytest.mark.parametrize("prefix", ["v1/", "", "v1/v1/", "/v1/", "v1//v1/", "/"])
def test_a_path_is_served_however_often_it_has_v1(start: Callable[..., Gateway], prefix: str) -> None:
    gateway = start()
    for path, body in BODIES.items():
        answer = httpx.request("GET" if body is None else "POST", f"{gateway.url}/{prefix}{path}", json=body, timeout=30)
        assert answer.status_code == 200, path


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/healthz", "/v1/healthz", "/dashboard/live", "/v1/nothing", "//healthz", "//", ""])
def test_another_path_stays_as_it_is(path: str) -> None:
    assert routed_path(path) == path
