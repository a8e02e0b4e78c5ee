"""The last bytes of a stream in every dialect: the end that its clients know, and behind it nothing but a comment."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]
ENDS = {
    "/v1/chat/completions": ({"messages": HELLO}, "data: [DONE]"),
    "/v1/completions": ({"prompt": "Hello"}, "data: [DONE]"),
    "/v1/messages": ({"messages": HELLO, "max_tokens": 50}, 'data: {"type":"message_stop"}'),
    "/v1/responses": ({"input": "Hello"}, 'data: {"type":"response.completed"'),
}


def lines_of(gateway: Gateway, path: str, body: dict[str, object]) -> list[str]:
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=30)) as connection:
        connection.request("POST", path, json.dumps({"model": "fast", "stream": True, **body}))
        answer = connection.getresponse()
        assert "x-litellm-response-cost" not in answer.headers
        return answer.read().decode().splitlines()


@pytest.mark.parametrize("counted", [False, True], ids=["without usage", "with usage"])
@pytest.mark.parametrize("path", ENDS)
def test_nothing_but_a_comment_follows_the_end(start: Callable[..., Gateway], path: str, *, counted: bool) -> None:
    body, end = ENDS[path]
    gateway = start(fast={"chunks": 3, "answers": [{"text": "One two three."}]})
    lines = lines_of(gateway, path, {**body, **({"stream_options": {"include_usage": True}} if counted and "completions" in path else {})})
    last = max(number for number, line in enumerate(lines) if line.startswith("data: "))
    assert lines[last].startswith(end)
    assert lines[last + 1] == ""
    assert lines[last + 2].startswith(': paymaster {"call_id":')
    assert lines[last + 3 :] == [""]


@pytest.mark.parametrize("fault", ["cut", "error_in_stream"])
@pytest.mark.parametrize("path", ENDS)
def test_a_stream_that_breaks_ends_in_an_error_and_nothing_else(start: Callable[..., Gateway], path: str, fault: str) -> None:
    body, end = ENDS[path]
    gateway = start(fast={"chunks": 6, "answers": [{"text": "One two three four five."}], "faults": [{"kind": fault, "always": True}]})
    lines = lines_of(gateway, path, body)
    assert not any(line.startswith(end) for line in lines)
    *_, last, blank = lines
    assert last.startswith("data: ")
    assert "the answer was cut after it had begun" in last
    assert blank == ""
