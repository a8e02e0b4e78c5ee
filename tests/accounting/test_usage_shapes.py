"""Every count of a usage object lands in exactly one field, whatever the provider calls it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.accounting.usage.openai import with_stated_cost
from paymaster.accounting.usage.reading import read_usage
from paymaster.accounting.usage.record import UnknownUsage, Usage

COUNT = st.integers(min_value=0, max_value=10**7)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = """
    prompt_tokens completion_tokens total_tokens prompt_tokens_details completion_tokens_details cost is_byok cost_details
    input_tokens output_tokens cache_creation cache_creation_input_tokens cache_read_input_tokens iterations server_tool_use
    inputTokens outputTokens totalTokens cacheDetails promptTokenCount totalTokenCount cacheTokensDetails thoughtsTokenCount
    prompt_cache_hit_tokens prompt_cache_miss_tokens cost_in_usd_ticks billed_units eval_count prompt_eval_count
    num_cached_tokens prompt_token_details prompt_audio_seconds seconds duration search_units
"""
APIS = """
    openai.chat openai.responses anthropic.messages bedrock.converse gemini.generateContent xai.chat openrouter.chat litellm.usage
    openai.embeddings cohere.rerank openai.transcriptions
"""


@given(api=st.sampled_from(APIS.split()), raw=st.dictionaries(st.sampled_from(NAMES.split()), COUNT | ANY_JSON, max_size=8))
def test_no_usage_object_crashes_the_reader_or_gives_a_negative_count(api: str, raw: dict) -> None:
    usage = read_usage(api, raw)
    if isinstance(usage, Usage):
        assert min(usage.counts) >= 0
        assert usage.total_tokens > 0 or usage.reported_cost_usd is not None or usage.search_units or usage.audio_seconds
    else:
        assert usage.detail


@given(cached=COUNT, written=COUNT, plain=COUNT, text=COUNT, reasoning=COUNT)
def test_the_same_call_in_openai_and_anthropic_format_gives_the_same_record(
    cached: int, written: int, plain: int, text: int, reasoning: int
) -> None:
    openai = {
        "prompt_tokens": plain + cached + written,
        "completion_tokens": text + reasoning,
        "total_tokens": plain + cached + written + text + reasoning,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    anthropic = {
        "input_tokens": plain,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "output_tokens": text + reasoning,
        "output_tokens_details": {"thinking_tokens": reasoning},
    }
    assert read_usage("openai.chat", openai) == read_usage("anthropic.messages", anthropic)


def test_the_fields_add_up_to_the_totals() -> None:
    usage = Usage(
        input_tokens=1, cache_read_tokens=2, cache_write_5m_tokens=4, cache_write_1h_tokens=8, output_tokens=16, output_audio_tokens=32
    )
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.cache_write_tokens) == (15, 48, 63, 12)


def test_gemini_cached_tokens_without_a_split_are_taken_as_text_first() -> None:
    raw = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 70,
        "candidatesTokenCount": 1,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 40},
            {"modality": "AUDIO", "tokenCount": 50},
            {"modality": "VIDEO", "tokenCount": 10},
        ],
    }
    usage = read_usage("gemini.generateContent", raw)
    assert isinstance(usage, Usage)
    assert (usage.input_tokens, usage.cache_read_tokens) == (0, 40)
    assert (usage.input_image_tokens, usage.cache_read_image_tokens) == (0, 10)
    assert (usage.input_audio_tokens, usage.cache_read_audio_tokens) == (30, 20)


def test_gemini_thoughts_inside_the_candidates_are_recognised_by_the_total() -> None:
    raw = {"promptTokenCount": 10, "candidatesTokenCount": 8, "thoughtsTokenCount": 5, "totalTokenCount": 18, "promptTokensDetails": "none"}
    assert read_usage("gemini.generateContent", raw) == Usage(input_tokens=10, output_tokens=8, reasoning_tokens=5)


def test_realtime_cached_tokens_are_split_by_kind() -> None:
    raw = {
        "input_tokens": 100,
        "output_tokens": 50,
        "total_tokens": 150,
        "input_token_details": {
            "text_tokens": 30,
            "audio_tokens": 50,
            "image_tokens": 20,
            "cached_tokens": 45,
            "cached_tokens_details": {"text_tokens": 10, "audio_tokens": 30, "image_tokens": 5},
        },
        "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
    }
    assert read_usage("openai.realtime", raw) == Usage(
        input_tokens=20,
        cache_read_tokens=10,
        input_audio_tokens=20,
        cache_read_audio_tokens=30,
        input_image_tokens=15,
        cache_read_image_tokens=5,
        output_tokens=10,
        output_audio_tokens=40,
    )


def test_cache_hits_follow_from_the_misses_alone() -> None:
    usage = read_usage("deepseek.chat", {"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_miss_tokens": 4})
    assert usage == Usage(input_tokens=4, cache_read_tokens=6, output_tokens=1)


def test_bedrock_cache_writes_are_read_from_the_details_alone() -> None:
    raw = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2, "cacheDetails": [{"ttl": "1h", "inputTokens": 5}, {"inputTokens": 2}]}
    assert read_usage("bedrock.converse", raw) == Usage(input_tokens=1, cache_write_5m_tokens=2, cache_write_1h_tokens=5, output_tokens=1)


def test_a_reported_cost_in_text_keeps_its_digits() -> None:
    usage = read_usage("openrouter.chat", {"prompt_tokens": 1, "completion_tokens": 1, "cost": "0.00000000012345678901234567890123"})
    assert isinstance(usage, Usage)
    assert usage.reported_cost_usd == Decimal("0.00000000012345678901234567890123")


@pytest.mark.parametrize("cost", ["1E+999999", "1E-999999", "1000001", "Infinity", "NaN", "-1"])
def test_an_impossible_cost_makes_the_usage_unknown(cost: str) -> None:
    usage = read_usage("openrouter.chat", {"prompt_tokens": 1, "completion_tokens": 1, "cost": cost})
    assert isinstance(usage, UnknownUsage)
    assert usage.reason == "inconsistent_usage"


def test_unknown_fields_are_ignored() -> None:
    raw = {"prompt_tokens": 1, "completion_tokens": 1, "queue_time": 0.1, "service_tier": 5, "server_tool_use": [], "cache_creation": None}
    assert read_usage("groq.chat", raw) == Usage(input_tokens=1, output_tokens=1)


def test_an_answer_without_usage_has_missing_usage() -> None:
    assert read_usage("openai.chat", None) == UnknownUsage("missing_usage", "the answer has no usage")


def test_a_format_is_recognised_by_its_field_names_too() -> None:
    assert read_usage("google.generate", {"promptTokenCount": 3, "candidatesTokenCount": 4}) == Usage(input_tokens=3, output_tokens=4)
    assert read_usage("bedrock.anything", {"inputTokens": 3, "outputTokens": 4}) == Usage(input_tokens=3, output_tokens=4)


def test_embeddings_usage_is_input_and_perhaps_a_reported_cost() -> None:
    assert read_usage("openai.embeddings", {"prompt_tokens": 8, "total_tokens": 8}) == Usage(input_tokens=8)
    assert read_usage("voyage.embeddings", {"total_tokens": 8}) == Usage(input_tokens=8)
    billed = read_usage("openrouter.embeddings", {"prompt_tokens": 8, "total_tokens": 8, "cost": 0.00000016})
    assert billed == Usage(input_tokens=8, reported_cost_usd=Decimal("0.00000016"))
    assert isinstance(read_usage("google.embeddings", {"prompt_tokens": 0, "total_tokens": 0}), UnknownUsage)


@pytest.mark.parametrize(
    ("stated", "reported_usd"),
    [
        (None, None),
        ("", None),
        ("None", None),
        (" 0.5 ", Decimal("0.5")),
        ("0.0", None),
        ("1e-7", Decimal("1e-7")),
        ("100000", Decimal(100_000)),
    ],
)
def test_a_stated_cost_joins_the_usage(stated: str | None, reported_usd: Decimal | None) -> None:
    usage = Usage(input_tokens=7, output_tokens=2)
    assert with_stated_cost(usage, stated) == replace(usage, reported_cost_usd=reported_usd)


@pytest.mark.parametrize("stated", ["-1", "nan", "inf", "100000.01", "x", "1e400"])
def test_a_stated_cost_that_nobody_can_mean_makes_the_usage_unknown(stated: str) -> None:
    found = with_stated_cost(Usage(input_tokens=7, reported_cost_usd=Decimal(1)), stated)
    assert isinstance(found, UnknownUsage)
    assert found.reason == "inconsistent_usage"


def test_a_stated_cost_wins_and_makes_no_unknown_usage_known() -> None:
    assert with_stated_cost(Usage(input_tokens=7, reported_cost_usd=Decimal(1)), "2") == Usage(input_tokens=7, reported_cost_usd=Decimal(2))
    unknown = UnknownUsage("missing_usage", "the answer has no usage")
    assert with_stated_cost(unknown, "2") is unknown


@pytest.mark.parametrize(("api", "reported_usd"), [("litellm.usage", None), ("openrouter.chat", Decimal(0))])
def test_a_cost_of_0_is_none_that_litellm_knows(api: str, reported_usd: Decimal | None) -> None:
    usage = read_usage(api, {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "cost": 0})
    assert isinstance(usage, Usage)
    assert usage.reported_cost_usd == reported_usd
