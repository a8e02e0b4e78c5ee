"""A prompt that is too long for every model, as clients have to see it: OpenAI's and Anthropic's phrases, which they match."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest

from paymaster.errors import NoModelFits, PromptSize
from paymaster.gateway.dialects.anthropic_messages import anthropic_error
from paymaster.gateway.dialects.openai_chat import openai_error
from paymaster.gateway.http_errors import http_error_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

LONG = [{"role": "user", "content": "word " * 2_000}]
OPENAI = "This model's maximum context length is 500 tokens. However, your messages resulted in "
ADDRESSES = {
    "chat/completions": ({"messages": LONG}, OPENAI),
    "responses": ({"input": LONG[0]["content"]}, OPENAI),
    "completions": ({"prompt": LONG[0]["content"]}, OPENAI),
    "messages": ({"messages": LONG, "max_tokens": 50}, "prompt is too long: "),
}


def refusal_of(gateway: Gateway, address: str, body: dict[str, object]) -> dict[str, object]:
    data, kind = json.dumps({"model": "fast", **body}).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/v1/{address}", data, kind)  # noqa: S310 - our own loopback address
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(request)  # noqa: S310 - our own loopback address
    with caught.value as answered:
        assert (answered.code, answered.headers["x-should-retry"]) == (400, "false")
        return json.loads(answered.read())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("counted_by", ["provider", "us"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_prompt_that_is_too_long_has_the_phrase_of_its_dialect(
    start: Callable[..., Gateway], address: str, counted_by: str, stream: bool
) -> None:
    own = {"context_window": 500, "max_output_tokens": 100, "tokenizer": "gpt-4o"} if counted_by == "us" else {}
    gateway = start(fast={"context_window": 500}, own={"fast": own})
    body, phrase = ADDRESSES[address]
    error = refusal_of(gateway, address, {**body, "stream": stream})["error"]
    assert error["message"].startswith(phrase)
    assert error["type"] == "invalid_request_error"
    assert address == "messages" or error["code"] == "context_length_exceeded"
    assert "tokens > 500 maximum\n" in error["message"] or address != "messages"
    assert gateway.requests() == (counted_by == "provider")


@pytest.mark.parametrize(
    ("size", "in_openais_words", "in_anthropics_words"),
    [
        (PromptSize(), "This model's maximum context length is exceeded. Please", "prompt is too long\n"),
        (PromptSize(None, 900), "This model's maximum context length is 900 tokens. Please", "prompt is too long\n"),
        (PromptSize(950, None), "is exceeded. However, your messages resulted in 950 tokens. Please", "prompt is too long\n"),
        (
            PromptSize(950, 900),
            "is 900 tokens. However, your messages resulted in 950 tokens. Please",
            "prompt is too long: 950 tokens > 900",
        ),
    ],
)
def test_figures_that_are_unknown_are_left_out(size: PromptSize, in_openais_words: str, in_anthropics_words: str) -> None:
    error = http_error_of(NoModelFits("no model fits", [], too_long=True, size=size), ())
    assert in_openais_words in str(openai_error(error)["error"]["message"])
    assert str(anthropic_error(error)["error"]["message"]).startswith(in_anthropics_words)
    other = http_error_of(NoModelFits("no model fits", []), ())
    assert (other.code, openai_error(other)["error"]["message"], anthropic_error(other)["error"]["message"]) == (
        "no_model_fits", "no model fits", "no model fits",
    )  # fmt: skip
