"""A client of the gateway names one tier of service at most; a list of tiers is the registry's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": HELLO}),
        ("responses", {"input": "Hello"}),
        ("messages", {"messages": HELLO, "max_tokens": 50}),
        ("completions", {"prompt": "Hello"}),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_list_of_tiers_from_a_client_is_refused(start: Callable[..., Gateway], path: str, body: dict[str, object], nested: bool) -> None:
    gateway = start()
    tiers = {"service_tier": ["flex", "default"]}
    asked = {"model": "fast", **body, **({"extra_body": tiers} if nested else tiers)}
    answer = httpx.post(f"{gateway.url}/v1/{path}", json=asked, timeout=30)
    assert answer.status_code == 400
    assert "service_tier must be a string" in answer.text
    assert gateway.requests() == 0


def test_a_single_tier_from_a_client_is_sent(start: Callable[..., Gateway]) -> None:
    gateway = start()
    asked = {"model": "fast", "messages": HELLO, "service_tier": "default"}
    assert httpx.post(f"{gateway.url}/v1/chat/completions", json=asked, timeout=30).status_code == 200
