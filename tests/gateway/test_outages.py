"""When no model answers, the caller of a gateway waits as long as the caller, else the registry, else the gateway allows."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

DOWN = {"faults": [{"kind": "overloaded", "always": True}]}
BODY = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}).encode()


def ask(gateway: Gateway, **headers: str) -> tuple[int, dict[str, str], str, float]:
    """The status, headers and body of one call, and how long it took in seconds."""
    began = time.monotonic()
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=40)) as connection:
        connection.request("POST", "/v1/chat/completions", BODY, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = answer.read().decode()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body, time.monotonic() - began


@pytest.mark.parametrize(
    ("policies", "headers", "most_s"),
    [
        ({"max_outage_s": 1}, {}, 1),
        ({"max_wait_s": 1}, {}, 1),
        ({}, {"x_paymaster_max_wait": "1"}, 1),
        ({}, {"x_paymaster_max_wait": "0"}, 0),
        ({"max_outage_s": 60}, {"x_paymaster_max_wait": "1"}, 1),
    ],
)
def test_a_caller_waits_no_longer_than_was_said(
    start: Callable[..., Gateway], policies: dict[str, object], headers: dict[str, str], most_s: int
) -> None:
    gateway = start(policies=policies, fast=DOWN)
    status, found, body, took_s = ask(gateway, **headers)
    assert (status, found["x-should-retry"], int(found["retry-after"]) >= 1) == (502, "true", True), (found, body)
    assert "no_model_available" in body
    assert took_s < most_s + 3


def test_a_caller_who_comes_while_the_circuit_is_open_waits_no_longer(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"max_outage_s": 1, "breaker_failures": 1, "breaker_pause_s": 30}, fast=DOWN)
    ask(gateway)
    status, found, _, took_s = ask(gateway)
    assert (status, took_s < 4, 1 <= int(found["retry-after"]) <= 30) == (503, True, True), (status, took_s, found)


def test_a_short_outage_is_waited_out(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"faults": [{"kind": "overloaded", "times": 4}]})
    status, _, body, _ = ask(gateway)
    assert status == 200, body


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "86401", "soon", ""])
def test_a_wait_that_nobody_can_mean_is_refused(start: Callable[..., Gateway], wait: str) -> None:
    status, _, body, _ = ask(start(), x_paymaster_max_wait=wait)
    assert (status, "x-paymaster-max-wait must be seconds, 0 or more and at most 86,400" in body) == (400, True), body


def test_every_caller_of_a_throttled_model_gets_429(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"max_wait_s": 1}, fast={"faults": [{"kind": "throttle", "retry_after_s": 200}]})
    for _ in range(3):
        status, headers, body, _ = ask(gateway)
        assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 190 < int(headers["retry-after"]) <= 200
    assert gateway.requests() == 1
