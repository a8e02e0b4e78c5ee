"""Errors of real providers, and the failure kind of each."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.providers.classification import classify, classify_error_object, if_silent
from paymaster.providers.error_bodies import shown_message
from paymaster.routing.failures import Billed, Failure, FailureKind

NOW_MS = 1_760_000_000_000
K = FailureKind


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error") -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def gemini(code: int, message: str, status: str, *details: object) -> list[object]:
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def quota_failure(quota_id: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaMetric": "m", "quotaId": quota_id}]}


PLAN = "You exceeded your current quota, please check your plan and billing details."
CASES = [
    # throttles
    (
        429,
        openai(
            "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.",
            "rate_limit_exceeded",
            "tokens",
        ),
        K.THROTTLED,
    ),
    (
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "This request would exceed your organization's rate limit"}},
        K.THROTTLED,
    ),
    (429, gemini(429, PLAN, "RESOURCE_EXHAUSTED", quota_failure("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")), K.THROTTLED),
    (429, gemini(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"), K.THROTTLED),
    (429, {"message": "Requests rate limit exceeded", "type": "rate_limited", "code": "1300"}, K.THROTTLED),
    (429, openai("Provider returned error", "429") | {"user_id": "u"}, K.THROTTLED),
    (429, "<html><h1>429 Too Many Requests</h1></html>", K.THROTTLED),
    (429, "", K.THROTTLED),
    # spent
    (429, openai(PLAN, "insufficient_quota", "insufficient_quota"), K.QUOTA_EXHAUSTED),
    (429, openai("You have reached your billing limit", "billing_hard_limit_reached"), K.QUOTA_EXHAUSTED),
    (429, gemini(429, PLAN, "RESOURCE_EXHAUSTED", quota_failure("GenerateRequestsPerDayPerProjectPerModel-FreeTier")), K.QUOTA_EXHAUSTED),
    (
        429,
        gemini(429, f"{PLAN} Quota exceeded for metric: x, limit: 0", "RESOURCE_EXHAUSTED", quota_failure("GenerateContentFreeTier")),
        K.QUOTA_EXHAUSTED,
    ),
    (
        429,
        openai(
            "Rate limit reached for model `llama` on tokens per day (TPD): Limit 100000. Please try again in 7m12s.", "rate_limit_exceeded"
        ),
        K.QUOTA_EXHAUSTED,
    ),
    (429, openai("Rate limit exceeded: free-models-per-day. Add 10 credits", "429"), K.QUOTA_EXHAUSTED),
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}}, K.QUOTA_EXHAUSTED),
    (402, openai("This request requires more credits, or fewer max_tokens.", "402"), K.QUOTA_EXHAUSTED),
    (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API."},
        },
        K.QUOTA_EXHAUSTED,
    ),
    (403, openai("Key limit exceeded (total limit). Manage it using the settings.", "403"), K.QUOTA_EXHAUSTED),
    (
        403,
        {"code": "denied", "error": "Your team has either used all available credits or reached its monthly spending limit."},
        K.QUOTA_EXHAUSTED,
    ),
    # overloaded, broken
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, K.OVERLOADED),
    (503, gemini(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"), K.OVERLOADED),
    (500, openai("The engine is currently overloaded, please try again later"), K.OVERLOADED),
    (498, openai("capacity exceeded"), K.OVERLOADED),
    (500, {"error": {"message": "Internal server error"}}, K.SERVER_ERROR),
    (502, "<html><title>502 Bad Gateway</title></html>", K.SERVER_ERROR),
    (504, "upstream request timeout", K.SERVER_ERROR),
    (408, "", K.SERVER_ERROR),
    (409, "", K.SERVER_ERROR),
    # too long
    (
        400,
        openai(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.", "context_length_exceeded"
        ),
        K.CONTEXT_TOO_LONG,
    ),
    (
        400,
        openai("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."),
        K.CONTEXT_TOO_LONG,
    ),
    (
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}},
        K.CONTEXT_TOO_LONG,
    ),
    (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            },
        },
        K.CONTEXT_TOO_LONG,
    ),
    (413, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, K.CONTEXT_TOO_LONG),
    (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5000",
            "type": "BadRequestError",
            "code": 400,
        },
        K.CONTEXT_TOO_LONG,
    ),
    (
        400,
        {"object": "error", "message": "The decoder prompt (length 9000) is longer than the maximum model length of 4096.", "code": 400},
        K.CONTEXT_TOO_LONG,
    ),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
            }
        },
        K.CONTEXT_TOO_LONG,
    ),
    (400, {"error": {"message": "the input length exceeds the context length", "type": "api_error"}}, K.CONTEXT_TOO_LONG),
    (500, {"error": "input exceeds maximum context length"}, K.CONTEXT_TOO_LONG),
    (
        400,
        gemini(400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "INVALID_ARGUMENT"),
        K.CONTEXT_TOO_LONG,
    ),
    (400, openai("Please reduce the length of the messages or completion.", "context_length_exceeded"), K.CONTEXT_TOO_LONG),
    (
        413,
        openai("Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 8000", "rate_limit_exceeded"),
        K.CONTEXT_TOO_LONG,
    ),
    (
        429,
        openai(
            "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Requested 50000.",
            "rate_limit_exceeded",
            "tokens",
        ),
        K.CONTEXT_TOO_LONG,
    ),
    (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            "code": "3051",
        },
        K.CONTEXT_TOO_LONG,
    ),
    (400, {"error": {"message": "This endpoint's maximum context length is 32768 tokens.", "code": 400}}, K.CONTEXT_TOO_LONG),
    (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
        },
        K.CONTEXT_TOO_LONG,
    ),
    (400, {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193."}}, K.CONTEXT_TOO_LONG),
    (
        400,
        {"object": "error", "message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."},
        K.CONTEXT_TOO_LONG,
    ),
    # content
    (
        400,
        {
            "error": {
                "code": "content_filter",
                "message": "The response was filtered",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        K.CONTENT_POLICY,
    ),
    (400, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"), K.CONTENT_POLICY),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}, K.CONTENT_POLICY),
    (403, {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["violence"]}}}, K.CONTENT_POLICY),
    (400, {"error": {"message": "Output blocked by content filtering policy", "type": "invalid_request_error"}}, K.CONTENT_POLICY),
    (400, {"error": {"code": "data_inspection_failed", "message": "Output data may contain inappropriate content."}}, K.CONTENT_POLICY),
    # keys, rights, names
    (401, openai("Incorrect API key provided", "invalid_api_key"), K.AUTHENTICATION),
    (400, gemini(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"), K.AUTHENTICATION),
    (400, {"code": "x", "error": "Incorrect API key provided: ab***cd."}, K.AUTHENTICATION),
    (403, openai("You have no access to this project"), K.PERMISSION),
    (404, openai("The model `gpt-9` does not exist or you do not have access to it.", "model_not_found"), K.UNKNOWN_MODEL),
    (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}, K.UNKNOWN_MODEL),
    (404, {"error": {"message": 'model "qwen9" not found, try pulling it first', "type": "api_error"}}, K.UNKNOWN_MODEL),
    (400, {"error": {"message": "xyz/abc is not a valid model ID", "code": 400}}, K.UNKNOWN_MODEL),
    (400, {"object": "error", "message": "Invalid model: mistral-huge", "type": "invalid_model", "code": "1500"}, K.UNKNOWN_MODEL),
    (400, {"error": {"message": "Model Not Exist"}}, K.UNKNOWN_MODEL),
    (400, openai("The model `llama2` has been decommissioned and is no longer supported.", "model_decommissioned"), K.UNKNOWN_MODEL),
    (404, {"error": {"message": "No endpoints found for a/b.", "code": 404}}, K.UNKNOWN_MODEL),
    (405, "", K.UNKNOWN_MODEL),
    (410, "gone", K.UNKNOWN_MODEL),
    (501, "Error code explanation: 501 - Server does not understand this operation.", K.UNKNOWN_MODEL),
    # the caller's own
    (400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens."), K.BAD_REQUEST),
    (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens",
            },
        },
        K.BAD_REQUEST,
    ),
    (422, {"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}, K.BAD_REQUEST),
    (400, {"detail": "Unknown parameter"}, K.BAD_REQUEST),
    (
        501,
        {
            "error": {
                "code": 501,
                "message": "This server does not support embeddings. Start it with `--embeddings`",
                "type": "not_supported_error",
            }
        },
        K.BAD_REQUEST,
    ),
    (501, {"detail": "The model doesn't support this."}, K.BAD_REQUEST),
    (418, b"\xff\xfe\x00", K.BAD_REQUEST),
]


def as_body(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize(("status", "body", "kind"), CASES)
def test_a_providers_wording_is_classified(status, body, kind):
    failure = classify(status, {}, as_body(body), now_ms=NOW_MS)
    assert failure.kind is kind
    assert failure.status == status
    assert len(failure.message) <= 420


@pytest.mark.parametrize(
    ("status", "billed"),
    [
        (400, "no"),
        (401, "no"),
        (403, "no"),
        (404, "no"),
        (408, "maybe"),
        (409, "no"),
        (429, "no"),
        (500, "maybe"),
        (501, "no"),
        (502, "maybe"),
        (503, "no"),
        (504, "maybe"),
        (521, "no"),
        (524, "maybe"),
        (529, "no"),
        (307, "no"),
    ],
)
def test_an_error_counts_as_unbilled_only_if_that_is_certain(status, billed):
    assert classify(status, {}, b"", now_ms=NOW_MS).billed is Billed(billed)


def test_an_upstream_error_that_a_reseller_passes_on_is_classified():
    raw = json.dumps({"error": {"message": "maximum context length is 4096"}})
    body = json.dumps({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}).encode()
    assert classify(400, {}, body, now_ms=NOW_MS).kind is K.CONTEXT_TOO_LONG


def test_a_message_has_no_control_characters():
    assert shown_message("no\x1b[2J\n way\x9b\u202e", ()) == r"no\x1b[2J way\x9b\u202e"


def test_a_long_message_is_cut_and_never_ends_in_a_part_of_a_key():
    key = "plainkeywithoutanyshape0123456789"
    body = json.dumps({"error": {"message": "x" * 370 + f" {key} " + "y" * 5_000}}).encode()
    message = classify(400, {}, body, now_ms=NOW_MS, secrets=[key]).message
    assert "plainkey" not in message
    assert message.endswith("…")


def test_the_wait_is_read_from_headers_body_and_message():
    assert classify(429, {"retry-after": "2.5"}, b"", now_ms=NOW_MS).retry_after_ms == 2_500
    hint = gemini(429, PLAN, "RESOURCE_EXHAUSTED", {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"})
    assert classify(429, {}, as_body(hint), now_ms=NOW_MS).retry_after_ms == 17_500
    words = openai("Rate limit reached. Please try again in 1m1.5s. Visit …", "rate_limit_exceeded")
    assert classify(429, {}, as_body(words), now_ms=NOW_MS).retry_after_ms == 61_500


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"error": {"code": 402, "message": "no credits"}}, K.QUOTA_EXHAUSTED),
        ({"error": {"type": "rate_limit_error", "message": "slow"}}, K.THROTTLED),
        ({"error": {"code": "context_length_exceeded", "type": "invalid_request_error", "message": ""}}, K.CONTEXT_TOO_LONG),
        ({"error": {"message": "?"}}, K.SERVER_ERROR),
        ({"error": True}, None),
        ({"error": None, "choices": []}, None),
        ({"choices": []}, None),
        ([1], None),
    ],
)
def test_an_error_with_status_200_may_have_been_billed(value, kind):
    failure = classify_error_object(value, {"x-request-id": "r1"}, now_ms=NOW_MS)
    assert (failure.kind if failure else None) is kind
    if failure:
        assert (failure.billed, failure.request_id) == (Billed.MAYBE, "r1")


@pytest.mark.parametrize(
    ("silent_ms", "limit_ms", "is_silent"),
    [
        (0, 90_000, False),
        (10_000, 90_000, False),
        (10_001, 90_000, True),
        (10_001, 600_000, True),
        (1_000, 3_000, False),
        (1_001, 3_000, True),
        (1_001, 0, True),
    ],
)
def test_a_lost_connection_was_silent_after_ten_seconds_or_a_third_of_the_limit(silent_ms, limit_ms, is_silent):
    lost = Failure(FailureKind.CONNECTION_LOST, Billed.MAYBE, "lost", duration_ms=7)
    found = if_silent(lost, silent_ms=silent_ms, limit_ms=limit_ms)
    assert (found.kind is FailureKind.TIMED_OUT) == is_silent
    assert (found.billed, found.duration_ms) == (Billed.MAYBE, 7)
    assert ("after a silence of" in found.message) == is_silent


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "code",
                    "type",
                    "details",
                    "metadata",
                    "detail",
                    "retry_after",
                    "raw",
                    "headers",
                    "violations",
                    "innererror",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(status=st.integers(300, 599), body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_classified_without_an_exception(status, body):
    failure = classify(status, {"retry-after": body[:10].decode("latin-1")}, body, now_ms=NOW_MS)
    assert failure.kind in FailureKind
    assert failure.retry_after_ms is None or failure.retry_after_ms >= 0
