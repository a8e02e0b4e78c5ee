"""Times to wait and remaining limits in every published format."""

from __future__ import annotations

import pytest

from paymaster.flow.ports import RateSignals
from paymaster.providers.rates import plain_headers, read_rate_signals, read_retry_after, span_ms

NOW_MS = 1_760_000_000_000  # 2025-10-09T08:53:20Z


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("1s", 1_000),
        ("6m0s", 360_000),
        ("20ms", 20),
        ("1h2m3.5s", 3_723_500),
        ("1d", 86_400_000),
        ("250µs", 1),
        ("12", 12_000),
        ("0.5", 500),
        (".5", 500),
        ("86400", 86_400_000),
        ("86400.001", None),
        ("0", None),
        ("0s", None),
        (" 7 ", 7_000),
        ("1760000005", 5_000),
        ("1760000005000", 5_000),
        ("1759999990", None),
        ("1760000000", None),
        ("2025-10-09T08:53:25Z", 5_000),
        ("2025-10-09T08:53:25", 5_000),
        ("2025-10-09T10:53:25+02:00", 5_000),
        ("Thu, 09 Oct 2025 08:53:25 GMT", 5_000),
        ("99999999", None),
        ("99999999999999999999", None),
        ("9" * 5_000, None),
        ("Fri, 31 Dec 2999 23:59:59 GMT", None),
        ("Fri, 31 Dec 999999999999 23:59:59 GMT", None),
        ("Fri, 99999999999999999999 Dec 2025 23:59:59 GMT", None),
        ("Fri, 31 Dec 2025 23:59:59 +99999999999999999999", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("99999999999999999999d", None),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("2025-99-99", None),
        ("Thu, 99 Foo 2025 08:53:25 GMT", None),
    ],
)
def test_a_duration_or_moment_in_any_form_is_a_wait(text, expected_ms):
    assert span_ms(text, NOW_MS) == expected_ms


@pytest.mark.parametrize(
    ("headers", "expected_ms"),
    [
        ({"retry-after": "120"}, 120_000),
        ({"retry-after": "1.5"}, 1_500),
        ({"retry-after": "5", "retry-after-ms": "4200.5"}, 4_201),
        # The server's clock is 100 s ahead of ours: only the difference between its own two dates counts.
        ({"retry-after": "Thu, 09 Oct 2025 08:55:10 GMT", "date": "Thu, 09 Oct 2025 08:55:00 GMT"}, 10_000),
        ({"retry-after": "Thu, 09 Oct 2025 08:53:30 GMT"}, 10_000),
        ({"retry-after": "Thu, 09 Oct 2025 08:53:30 GMT", "date": "yesterday"}, 10_000),
        ({"retry-after": "Thu, 09 Oct 2020 08:53:30 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after-ms": "0"}, None),
        ({"retry-after-ms": "0", "retry-after": "3"}, 3_000),
        ({"retry-after-ms": "99999999999", "retry-after": "3"}, 3_000),
        ({"retry-after": "0", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3s"}, 3_000),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "99999999"}, None),
        ({"retry-after": "1760000030"}, 30_000),
        ({"retry-after": "whenever"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "3s", "x-ratelimit-reset-tokens": "9s"}, 3_000),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "3s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "9s",
            },
            9_000,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1760000007000"}, 7_000),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2025-10-09T08:53:24Z"}, 4_000),
        ({"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "3s"}, None),
    ],
)
def test_the_wait_is_read_from_headers(headers, expected_ms):
    assert read_retry_after(headers, None, "", NOW_MS) == expected_ms


@pytest.mark.parametrize(
    ("error", "message", "expected_ms"),
    [
        ({"metadata": {"headers": {"X-RateLimit-Reset": "1760000002000", "X-RateLimit-Limit": "20"}}}, "", 2_000),
        ({"metadata": {"headers": {"Retry-After": 4}}}, "", 4_000),
        ({"details": [{"retryDelay": "3s"}, 7]}, "", 3_000),
        ({"details": "x", "retry_after": 1.25}, "", 1_250),
        ({"retry_after_ms": 70}, "", 70),
        ({"retry_after": True}, "", None),
        ({"retry_after": -1}, "", None),
        ({"retry_after": 0}, "", None),
        ({"retry_after": 10**400}, "", None),
        ({"retry_after": float("inf")}, "", None),
        ({"retry_after": float("nan")}, "", None),
        ({"retry_after": "7"}, "", 7_000),
        ({"retry_after": "nan"}, "", None),
        ({"retry_after_ms": 0, "retry_after": 2}, "", 2_000),
        ({"retry_after": 0}, "Please try again in 4s.", 4_000),
        ({"details": [{"retryDelay": "9999999s"}]}, "", None),
        ({"metadata": {"headers": {"X-RateLimit-Reset": "99999999999999"}}}, "", None),
        (None, "Please try again in 6m0s.", 360_000),
        (None, "Please try again in 20ms.", 20),
        (None, "please retry after 7 seconds", 7_000),
        (None, "Retry after 2 minutes.", 120_000),
        (None, "try again in 3", 3_000),
        (None, "try again later", None),
        (None, "try again in 0s", None),
        (None, f"try again in {'9' * 5_000} hours", None),
    ],
)
def test_the_wait_is_read_from_the_error(error, message, expected_ms):
    assert read_retry_after({}, error, message, NOW_MS) == expected_ms


def test_limits_are_read_by_each_providers_names_and_with_litellms_prefix():
    headers = plain_headers({"llm_provider-X-RateLimit-Remaining-Tokens": "149984", "LLM_Provider-x-ratelimit-reset-tokens": "6m0s"})
    assert read_rate_signals(headers, NOW_MS) == RateSignals(remaining_tokens=149_984, reset_tokens_ms=360_000)
    anthropic = {"anthropic-ratelimit-requests-remaining": "49", "anthropic-ratelimit-requests-reset": "2025-10-09T08:54:20Z"}
    assert read_rate_signals(anthropic, NOW_MS) == RateSignals(remaining_requests=49, reset_requests_ms=60_000)
    assert read_rate_signals({"content-type": "x"}, NOW_MS) == RateSignals()
    assert read_rate_signals({"x-ratelimit-remaining-requests": "many"}, NOW_MS) == RateSignals()
