"""What kind of failure an error is: errors of named servers and variants of their wordings, as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paymaster.providers.classification import classify, classify_error_object
from paymaster.routing.failures import Billed, FailureKind

CASES = [json.loads(line) for line in (Path(__file__).parent.parent / "vectors" / "error_kinds.jsonl").read_text("utf-8").splitlines()]


def as_body(body: object) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize("case", CASES, ids=[case["source"] for case in CASES])
def test_an_error_is_of_its_kind(case):
    failure = classify(case["status"], case.get("headers", {}), as_body(case["body"]), now_ms=0)
    assert (failure.kind.value, failure.elsewhere) == (case["kind"], case.get("elsewhere", False))
    if "retry_after_ms" in case:
        assert failure.retry_after_ms == case["retry_after_ms"]


def test_a_400_without_a_body_is_a_length_only_where_the_endpoint_is_known_for_it():
    assert classify(400, {}, b"", now_ms=0, silent_about_length=True).kind is FailureKind.CONTEXT_TOO_LONG
    assert classify(400, {}, b" \n", now_ms=0, silent_about_length=True).kind is FailureKind.CONTEXT_TOO_LONG
    assert classify(400, {}, b"{}", now_ms=0, silent_about_length=True).kind is FailureKind.BAD_REQUEST
    assert classify(422, {}, b"", now_ms=0, silent_about_length=True).kind is FailureKind.BAD_REQUEST
    assert classify(400, {}, b"", now_ms=0).kind is FailureKind.BAD_REQUEST


def test_a_failed_output_may_have_been_billed_whatever_its_status():
    body = as_body({"error": {"message": "Failed to call a function.", "code": "tool_use_failed"}})
    assert classify(400, {}, body, now_ms=0).billed is Billed.MAYBE
    assert classify(400, {}, b"no", now_ms=0).billed is Billed.NO


IN_A_200 = [
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, "quota_exhausted", 402),
    ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, "throttled", 429),
    ({"base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}}, "content_policy", 400),
    ({"base_resp": {"status_code": 1039, "status_msg": "token limit"}}, "throttled", 429),
    ({"base_resp": {"status_code": 2049, "status_msg": "no"}}, "authentication", 401),
    ({"base_resp": {"status_code": 9999, "status_msg": "?"}}, "server_error", 500),
    ({"error_code": 18, "error_msg": "Open api qps request limit reached"}, "throttled", 500),
    ({"code": 429, "msg": "too many"}, "throttled", 429),
    ({"code": "1113", "message": "?"}, "quota_exhausted", 402),
    ({"code": 50505, "message": "Model service overloaded. Please try again later.", "data": None}, "overloaded", 500),
    ({"object": "error", "message": "The model `x` does not exist.", "code": 404}, "unknown_model", 404),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded", 529),
    ({"success": False, "errors": [{"code": 3040, "message": "Capacity temporarily exceeded, please try again."}]}, "overloaded", 500),
    ({"errors": ["too many requests"]}, "throttled", 500),
    ({"detail": "Not authenticated", "status": 401}, "authentication", 401),
    ({"error": "rate limit reached"}, "throttled", 500),
    ({"error": "Unexpected endpoint or method. (POST /chat/completions)"}, "unknown_model", 500),
    ({"error": {"message": "slow", "type": "ThrottlingException"}}, "throttled", 429),
    ({"error": {"message": "x", "http_code": "429"}}, "throttled", 429),
    (
        {"error": {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "x", "status_code": 400}},
        "unusable_answer",
        400,
    ),
    ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached"}}}, None, None),
    ({"base_resp": {"status_code": 0, "status_msg": ""}, "choices": [{}]}, None, None),
    ({"choices": [{}], "code": 7, "message": "?"}, None, None),
    ({"data": [{}], "code": 7, "message": "?"}, None, None),
    ({"id": "x", "object": "chat.completion.chunk"}, None, None),
    ({"message": {"role": "assistant", "content": "hi"}, "done": True}, None, None),
]


@pytest.mark.parametrize(("value", "kind", "status"), IN_A_200)
def test_an_error_with_status_200_has_its_own_kind_and_status(value, kind, status):
    failure = classify_error_object(value, {}, now_ms=0)
    assert (failure and failure.kind.value, failure and failure.status) == (kind, status)


def test_the_message_is_the_providers_own_and_not_the_json_around_it():
    inner = json.dumps({"error": {"message": "prompt is too long: 5 tokens > 3 maximum", "code": 400}})
    for body in (
        {"error": {"message": f"GroqException - {inner}"}},
        {"error": f"upstream: {inner}"},
        {"detail": {"error": {"message": "prompt is too long: 5 tokens > 3 maximum"}}},
        f"event: error\ndata: {inner}\n\n",
    ):
        failure = classify(400, {}, as_body(body), now_ms=0)
        assert (failure.kind.value, failure.message) == ("context_too_long", "prompt is too long: 5 tokens > 3 maximum")
    raw = {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": inner}}}
    assert classify(400, {}, as_body(raw), now_ms=0).message == "Provider returned error: prompt is too long: 5 tokens > 3 maximum"
    assert classify(400, {}, b'{"error": "{\\"a\\": }"}', now_ms=0).message == '{"a": }'
