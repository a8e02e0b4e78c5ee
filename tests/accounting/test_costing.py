"""A recorded answer goes in as one line of JSON and comes out with its cost."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from paymaster.accounting.costing import BadLine, cost_line, cost_record
from paymaster.accounting.prices.catalogue import Catalogue

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LINE = {
    "id": "one",
    "api": "openai.chat",
    "provider": "openai",
    "model": "gpt-4o",
    "raw_usage": {"prompt_tokens": 1000, "completion_tokens": 500},
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


def test_a_line_comes_back_with_its_cost(catalogue: Catalogue) -> None:
    answer = json.loads(cost_line(json.dumps(LINE), catalogue, NOW))
    assert answer == LINE | {"cost_usd": "0.0075", "cost_source": answer["cost_source"]}


def test_a_bill_with_more_digits_than_a_float_keeps_them(catalogue: Catalogue) -> None:
    usage = '{"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.12345678901234567890123}'
    line = f'{{"api": "openrouter.chat", "provider": "openrouter", "raw_usage": {usage}}}'
    assert json.loads(cost_line(line, catalogue, NOW))["cost_usd"] == "0.12345678901234567890123"


def test_missing_fields_default_to_openai_chat_now(catalogue: Catalogue) -> None:
    record = {"model": "gpt-4o", "raw_usage": {"prompt_tokens": 1000, "completion_tokens": 500}}
    assert cost_record(record, catalogue, NOW)["cost_usd"] == "0.0075"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps(LINE | {"at": "yesterday"}), "at: must be a time like 2026-11-20T12:00:00Z, got 'yesterday'"),
        (json.dumps(LINE | {"provider": 7}), "provider: must be text, got 7"),
        (json.dumps(LINE | {"raw_usage": 7}), "raw_usage: must be a JSON object or null"),
        (json.dumps(LINE | {"prompt_tokens_upper_bound": -1}), "prompt_tokens_upper_bound: must be a whole number, got -1"),
        (
            json.dumps(LINE | {"prompt_tokens_upper_bound": 10**4000}),
            "prompt_tokens_upper_bound: must be at most 2,147,483,647, got a number",
        ),
        (json.dumps(LINE | {"prompt_tokens_upper_bound": 1, "max_output_tokens": 1, "n": 10**5}), "n: must be at most 10,000, got 100000"),
        (json.dumps(LINE)[:-1] + ', "n": ' + "9" * 5_000 + "}", "not JSON: Exceeds the limit"),
        (json.dumps(LINE | {"prompt_tokens_upper_bound": 1}), "max_output_tokens: must be a whole number, got None"),
    ],
)
def test_a_bad_line_is_refused_with_the_field_and_what_was_expected(line: str, message: str, catalogue: Catalogue) -> None:
    with pytest.raises(BadLine) as caught:
        cost_line(line, catalogue, NOW)
    assert message in str(caught.value)


def test_an_unsent_request_gets_the_amount_to_hold(catalogue: Catalogue) -> None:
    request = {"model": "gpt-4o", "prompt_tokens_upper_bound": 10_000, "max_output_tokens": 4096}
    assert cost_record(request, catalogue, NOW)["worst_case_usd"] == "0.06596"
    assert cost_record(request | {"n": 2}, catalogue, NOW)["worst_case_usd"] == "0.10692"
    assert cost_record(request | {"service_tier": "priority"}, catalogue, NOW)["worst_case_usd"] == "0.112132"
    assert cost_record(request | {"service_tier": "warp"}, catalogue, NOW)["reason"] == "unknown_tier"
    assert cost_record(request | {"model": "gpt-9"}, catalogue, NOW)["reason"] == "unknown_model"


@pytest.mark.parametrize(
    ("request_", "held"),
    [
        ({"model": "claude-sonnet-4-5", "prompt_tokens_upper_bound": 10_000, "max_output_tokens": 8000}, "0.15"),
        ({"model": "claude-sonnet-4-5", "prompt_tokens_upper_bound": 10_000, "max_output_tokens": 8000, "cache_control": "1h"}, "0.18"),
        ({"model": "claude-opus-4-8", "prompt_tokens_upper_bound": 1000, "max_output_tokens": 1000, "speed": "fast"}, "0.06"),
        ({"model": "claude-haiku-4-5", "prompt_tokens_upper_bound": 1000, "max_output_tokens": 1000, "web_searches": 5}, "0.056"),
        ({"model": "gemini-2.5-pro", "prompt_tokens_upper_bound": 201_000, "max_output_tokens": 65_536}, "1.48554"),
        ({"model": "grok-4.7", "prompt_tokens_upper_bound": 200_000, "max_output_tokens": 1000}, "0.812"),
        # images, which nobody asked for: 10 tokens at $0.3 and 1,290 at $30
        ({"model": "gemini-2.5-flash-image", "prompt_tokens_upper_bound": 10, "max_output_tokens": 1290}, "0.038703"),
        ({"model": "deepseek-flash", "prompt_tokens_upper_bound": 10_000, "max_output_tokens": 1000}, "0.0042"),
        ({"model": "gpt-6.1-sol", "prompt_tokens_upper_bound": 272_000, "max_output_tokens": 1000}, "0.69"),
        ({"provider": "ollama", "model": "x", "prompt_tokens_upper_bound": 272_000, "max_output_tokens": 1000}, "0"),
    ],
)
def test_holds_match_those_worked_out_by_hand(request_: dict, held: str, catalogue: Catalogue) -> None:
    assert cost_record(request_, catalogue, NOW)["worst_case_usd"] == held


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("usage", "; it has usage, which should be named raw_usage"),
        ("usageMetadata", "; it has usageMetadata, which should be named raw_usage"),
        ("rawusage", "; it has rawusage, which should be named raw_usage"),
        ("chunks", "; it has chunks, which should be named stream"),
        ("atempts", "; it has atempts, which should be named attempts"),
        ("x", ""),
    ],
)
def test_a_line_that_lacks_its_usage_gets_the_keys_that_were_not_found(key: str, hint: str, catalogue: Catalogue) -> None:
    record = {"provider": "openai", "model": "gpt-4o", key: {"prompt_tokens": 1}}
    priced = cost_record(record, catalogue, NOW)
    assert (priced["cost_usd"], priced["reason"]) == (None, "missing_key")
    assert priced["detail"] == f"the line has none of the keys raw_usage, stream, attempts, search_units, seconds{hint}"


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ({"raw_usage": {"prompt_tokens": 1, "completion_tokens": 1}}, "the line has no model"),
        (
            {"model": "gpt-9", "raw_usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            "the catalogue has no price of model 'gpt-9'",
        ),
        (
            {"provider": "azure", "model": "a", "response_model": "b", "raw_usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            "the catalogue has no price of response_model 'b' or model 'a' at azure",
        ),
        ({"model": "gpt-4o", "raw_usage": {"completion_tokens": 1}}, "the usage has no prompt_tokens or input_tokens"),
        ({"model": "gpt-4o", "attempts": [{"total_tokens": 1}]}, "attempts[0]: the usage has no prompt_tokens or input_tokens"),
        ({"model": "gpt-4o", "attempts": [{"model": "gpt-4o"}]}, "attempts[0]: the line has none of the keys"),
    ],
)
def test_a_line_without_a_cost_names_what_is_missing(record: dict, detail: str, catalogue: Catalogue) -> None:
    assert str(cost_record(record, catalogue, NOW)["detail"]).startswith(detail)


@pytest.mark.parametrize("attempts", [5, "x", {}, [1], [None]])
def test_attempts_that_are_no_list_of_objects_are_refused(attempts: object, catalogue: Catalogue) -> None:
    with pytest.raises(BadLine, match="attempts: must be a list of JSON objects"):
        cost_record(LINE | {"attempts": attempts}, catalogue, NOW)


def test_the_sources_of_all_attempts_are_named(catalogue: Catalogue) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 1}
    priced = cost_record(
        {"model": "gpt-4o", "attempts": [usage, usage, {"provider": "ollama", "model": "x", "raw_usage": usage}]}, catalogue, NOW
    )
    assert str(priced["cost_source"]).startswith("catalogue genai-prices ")
    assert str(priced["cost_source"]).endswith(" and local provider ollama")
