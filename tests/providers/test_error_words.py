"""What users read of an error: the words of its provider, without names of classes that libraries in between added."""

from __future__ import annotations

import json

import pytest

from paymaster.providers.classification import classify, classify_error_object
from paymaster.providers.error_words import own_words
from paymaster.providers.litellm_failures import failure_of
from paymaster.routing.failures import FailureKind

WORDS = [
    # A litellm proxy, and servers behind it.
    ("litellm.BadRequestError: OpenAIException - The model is busy", "The model is busy"),
    ("litellm.RateLimitError: RateLimitError: GroqException - slow down", "slow down"),
    ("litellm.MidStreamFallbackError: litellm.APIConnectionError: APIConnectionError: OpenAIException - it broke", "it broke"),
    ("MidStreamFallbackError: MidStreamFallbackError: it broke", "it broke"),
    ("litellm.InternalServerError: AnthropicException - full. Handle with `litellm.InternalServerError`.", "full"),
    ("litellm.NotFoundError: no such model. Received Model Group=gpt\nAvailable Model Group Fallbacks=None", "no such model"),
    ("litellm.Timeout: APITimeoutError - too slow LiteLLM Retried: 2 times, LiteLLM Max Retries: 3", "too slow"),
    ("Error during the stream: litellm.APIError: APIError: it broke", "Error during the stream: APIError: it broke"),
    ("Upstream: litellm.exceptions.BadRequestError: VertexAIException - no", "Upstream: no"),
    # Other servers.
    ("ValueError: the prompt is empty", "the prompt is empty"),
    ("RuntimeError: out of memory\nTraceback (most recent call last):\n  File", "out of memory"),
    ("ThrottlingException: Rate exceeded", "Rate exceeded"),
    ("Internal Server Error", "Internal Server Error"),
    ("Error in the request: slow", "Error in the request: slow"),
    ("Your function raised TypeError: no", "Your function raised TypeError: no"),
    ("Response payload is not completed: <ContentLengthError: 400, message='Not enough data.'>", "Response payload is not completed"),
    ("APIError", ""),
    ("", ""),
]


@pytest.mark.parametrize(("text", "words"), WORDS)
def test_the_providers_words_are_found(text, words):
    assert own_words(text) == words


@pytest.mark.parametrize(("text", "words"), [row for row in WORDS if row[1]])
def test_every_way_to_an_error_has_the_providers_words_alone(text, words):
    shown = " ".join(words.split())
    body = {"error": {"message": text, "type": "None", "code": "400"}}
    assert classify(400, {}, json.dumps(body).encode(), now_ms=0).message == shown
    assert classify(400, {}, text.encode(), now_ms=0).message == shown
    in_stream = classify_error_object(body, {}, now_ms=0)
    assert in_stream is not None
    assert in_stream.message == shown


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "Error code: 429 - {'error': {'message': \"You're too fast\", 'type': 'rate_limit_error', 'code': None}}",
            FailureKind.THROTTLED,
            "You're too fast",
        ),
        ("litellm.BadRequestError: OpenAIException - {'message': 'no', 'code': 400}", FailureKind.BAD_REQUEST, "no"),
        ("the set {'a'} has no message", FailureKind.BAD_REQUEST, "the set {'a'} has no message"),
        ("broken {'a': } object", FailureKind.BAD_REQUEST, "broken {'a': } object"),
        ("deep " + "{'a':" * 5_000 + "1" + "}" * 5_000, FailureKind.BAD_REQUEST, "deep {'a':"),
    ],
)
def test_an_error_that_python_printed_is_read(text, kind, message):
    failure = classify(429 if kind is FailureKind.THROTTLED else 400, {}, json.dumps({"error": {"message": text}}).encode(), now_ms=0)
    assert failure.kind is kind
    assert failure.message.startswith(message)


def test_an_error_of_nothing_but_names_gets_words():
    assert classify(429, {}, b'{"error": {"message": "RateLimitError"}}', now_ms=0).message == "HTTP 429 without a message"
    assert failure_of(RuntimeError("litellm.APIError: APIError: "), now_ms=0).message.startswith("litellm failed with RuntimeError")
