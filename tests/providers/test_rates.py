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
        # Azure, and other names of the same
        ({"x-ms-retry-after-ms": "1500"}, 1_500),
        ({"retry-after-ms": "0", "x-ms-retry-after-ms": "700"}, 700),
        ({"x-ratelimit-retry-after": "8"}, 8_000),
        ({"retry-after": "0", "x-retry-after": "4"}, 4_000),
        # Cerebras
        (
            {
                "x-ratelimit-remaining-requests-day": "14000",
                "x-ratelimit-reset-requests-day": "33011.382867",
                "x-ratelimit-remaining-tokens-minute": "0",
                "x-ratelimit-reset-tokens-minute": "11.38286",
            },
            11_383,
        ),
        ({"x-ratelimit-remaining-requests-day": "0", "x-ratelimit-reset-requests-day": "33011"}, 33_011_000),
        ({"x-ratelimit-reset-tokens-minute": "11.4", "x-ratelimit-reset-requests-day": "33011"}, 11_400),
        # tokens are left, and too few of them
        ({"x-ratelimit-remaining-tokens-minute": "512", "x-ratelimit-reset-tokens-minute": "9"}, 9_000),
        # Mistral
        ({"ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "31"}, 31_000),
        ({"ratelimitbysize-reset": "31", "ratelimitbysize-limit": "500000"}, 31_000),
        ({"x-ratelimitbysize-remaining-minute": "0", "x-ratelimitbysize-reset-minute": "20"}, 20_000),
        # the IETF drafts, OpenRouter, Discord's way, GitHub Models
        ({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30_000),
        ({"ratelimit-reset": "30"}, 30_000),
        ({"ratelimit": "limit=100, remaining=0, reset=30"}, 30_000),
        ({"ratelimit": '"burst";r=5;t=3, "hour";r=0;t=60', "ratelimit-policy": '"hour";q=100;w=3600'}, 60_000),
        ({"ratelimit": '"default";t=7'}, 7_000),
        ({"ratelimit": '"default";r=0;t=0'}, None),
        ({"ratelimit": "?"}, None),
        ({"x-ratelimit-reset-after": "0.75"}, 750),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "2"}, 2_000),
        ({"x-ratelimit-reset": "1760000007"}, 7_000),
        ({"x-ratelimit-timeremaining": "43"}, 43_000),
        # Anthropic
        ({"anthropic-ratelimit-input-tokens-remaining": "0", "anthropic-ratelimit-input-tokens-reset": "2025-10-09T08:53:26Z"}, 6_000),
        ({"anthropic-ratelimit-unified-reset": "1760000060"}, 60_000),
        # nothing that makes sense
        ({"x-ratelimit-reset-tokens-minute": "-3", "x-ratelimit-reset": "1759999999"}, None),
        ({"ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "99999999"}, None),
    ],
)
def test_the_wait_is_read_from_headers(headers, expected_ms):
    assert read_retry_after(headers, None, "", NOW_MS) == expected_ms


@pytest.mark.parametrize(
    ("headers", "expected_ms"),
    [({"ratelimit-reset": "30"}, None), ({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30_000), ({"retry-after": "3"}, 3_000)],
)
def test_a_counter_that_may_have_room_says_nothing_about_a_failure_of_another_kind(headers, expected_ms):
    assert read_retry_after(headers, None, "", NOW_MS, at_limit=False) == expected_ms


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
        ({"retryafter": "12s"}, "", 12_000),
        ({"retry_after_ms": "250"}, "", 250),
        ({"retry_after": 1_760_000_004}, "", 4_000),
        ({"resets_at": 1_760_000_030.5}, "", 30_500),
        ({"reset_at": "2025-10-09T08:53:25Z"}, "", 5_000),
        ({"resets_in_seconds": 90}, "", 90_000),
        ({"estimated_time": 20.0}, "", 20_000),
        ({"retry_delay": {"seconds": 17}}, "", 17_000),
        ({"metadata": {"retry_after": 3}}, "", 3_000),
        ({"retry_after": [1]}, "", None),
        ({"details": [{"metadata": {"quotaResetDelay": "1.5s"}}]}, "", 1_500),
        ({"details": [{"metadata": "x", "retryDelay": "soon"}]}, "", None),
        (None, "Rate limit of 10 per 60s exceeded for UserByModelByMinute. Please wait 43 seconds before retrying.", 43_000),
        (None, "Please retry after 20 seconds.", 20_000),
        (None, "request reached organization max RPM: 20, please try again after 1 seconds", 1_000),
        (None, "You can try again in 1 minute 30 seconds", 90_000),
        (None, "Please wait for 2 hours and 5 minutes", 7_500_000),
        (None, "quota resets in 2h 5m", 7_500_000),
        (None, "The limit resets after 30s.", 30_000),
        (None, "(reset after 30s)", 30_000),
        (None, "Please retry your request after 1h2m3.5s", 3_723_500),
        (None, "Retry-After: 12", 12_000),
        (None, "Expected available in 45 seconds.", 45_000),
        (None, "Please try again in 500 ms", 500),
        (None, "Please wait 3", 3_000),
        (None, "Quota will be replenished in 12:28:18.", 44_898_000),
        (None, "Quota will be replenished in 2.11:28:18.", None),
        (None, "请在 20 秒后重试", 20_000),
        (None, "请求过于频繁, 请等待30秒", 30_000),
        (None, "请1分钟后再试", 60_000),
        (None, "请 2 小时后重试", 7_200_000),
        (None, "wait 50% longer", None),
        (None, "retry in 2025", 2_025_000),
        # moments
        (None, "You have exceeded the 5-hour usage quota. It will reset at 2025-10-09 17:53:20 +0800 CST.", 3_600_000),
        (None, "5-hour usage limit reached for Token Plan Starter (0/0 used), resets at 2025-10-09T09:00:00Z (2056)", 400_000),
        (None, "You will regain access on 2025-10-09 at 10:53 UTC.", 7_180_000),
        (None, "You will regain access on 2026-12-01 at 00:00 UTC.", None),
        # without a zone: China's time if that is to come, else UTC
        (None, "Usage limit reached for 5 hour. Your limit will reset at 2025-10-09 17:53:20", 3_600_000),
        (None, "已达到 5 小时的使用上限。您的限额将在 2025-10-09 17:53:20 重置。", 3_600_000),
        (None, "Your limit will reset at 2025-10-09 09:53:20", 3_600_000),
        (None, "Your limit will reset at 2025-10-08 12:00:00", None),
        (None, "Your limit will reset at 2025-99-99 12:00:00", None),
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
