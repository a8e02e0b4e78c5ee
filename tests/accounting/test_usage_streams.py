"""Streams are charged by their last cumulative usage, wherever a provider puts it, and never by a sum or a start."""

from __future__ import annotations

import pytest

from paymaster.accounting.usage.reading import StreamUsage, read_response_usage, read_stream_usage, usage_api
from paymaster.accounting.usage.record import UnknownUsage, Usage

START = {
    "type": "message_start",
    "message": {
        "id": "msg",
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 248,
            "cache_read_input_tokens": 0,
            "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
            "service_tier": "standard",
        },
    },
}


def delta(**usage: int | None) -> dict:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


def test_anthropic_deltas_are_cumulative_and_keep_the_counts_of_the_start() -> None:
    usage = read_stream_usage("anthropic.messages.stream", [START, {"type": "ping"}, delta(output_tokens=5), delta(output_tokens=503)])
    assert isinstance(usage, Usage)
    assert (usage.input_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens, usage.output_tokens) == (25, 148, 100, 503)
    assert usage.service_tier == "standard"


def test_an_anthropic_delta_may_raise_the_prompt() -> None:
    usage = read_stream_usage("anthropic.messages", [START, delta(input_tokens=10_682, output_tokens=510, cache_read_input_tokens=None)])
    assert isinstance(usage, Usage)
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (10_682, 0, 510)


def test_events_are_read_inside_their_envelopes() -> None:
    events = [{"event": "message_start", "data": START}, {"event": "message_delta", "data": delta(output_tokens=7)}]
    usage = read_stream_usage("anthropic.messages", events)
    assert isinstance(usage, Usage)
    assert usage.total_tokens == 25 + 248 + 7


def test_the_usage_of_a_message_that_only_started_is_unknown() -> None:
    assert read_stream_usage("anthropic.messages", [START]) == UnknownUsage(
        "missing_usage", "the stream ended before its message_delta, so the output was never counted"
    )


@pytest.mark.parametrize(
    ("api", "chunks", "prompt", "completion"),
    [
        (
            "gemini.generateContent.stream",
            [
                {"usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10}},
                {"candidates": []},
                {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "totalTokenCount": 20}},
            ],
            10,
            10,
        ),
        ("bedrock.converse.stream", [{"contentBlockDelta": {}}, {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 4}}}], 3, 4),
        (
            "openai.responses.stream",
            [
                {"type": "response.created", "response": {"usage": None}},
                {"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}},
            ],
            3,
            4,
        ),
        ("ollama.chat.stream", [{"done": False}, {"done": True, "prompt_eval_count": 3, "eval_count": 4}], 3, 4),
        ("groq.chat.stream", [{"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}, {"choices": []}], 3, 4),
        ("gemini", [{"usage": {"prompt_tokens": 3, "completion_tokens": 4}}], 3, 4),
    ],
)
def test_the_usage_is_found_wherever_each_provider_puts_it(api: str, chunks: list[dict], prompt: int, completion: int) -> None:
    usage = read_stream_usage(api, chunks)
    assert isinstance(usage, Usage)
    assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, completion)


def test_the_usage_of_a_live_stream_can_be_read_at_any_time() -> None:
    stream = StreamUsage("openai.chat")
    assert stream.usage == UnknownUsage("missing_usage", "the answer has no usage")
    stream.feed({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}, "service_tier": "flex"})
    stream.feed({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}})
    stream.feed({"choices": [], "usage": None})
    assert stream.usage == Usage(input_tokens=9, output_tokens=5, service_tier="flex")


def test_a_stream_without_usage_is_unknown() -> None:
    usage = read_stream_usage("openai.chat", [{"choices": [{"delta": {"content": "hi"}}], "usage": None}])
    assert isinstance(usage, UnknownUsage)
    assert usage.reason == "missing_usage"


def test_a_whole_answers_tier_is_added_to_its_usage() -> None:
    body = {"service_tier": "priority", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    assert read_response_usage("openai.chat", body) == Usage(input_tokens=3, output_tokens=4, service_tier="priority")
    own = {"service_tier": "priority", "usage": {"input_tokens": 3, "output_tokens": 4, "service_tier": "batch"}}
    assert read_response_usage("anthropic.messages", own) == Usage(input_tokens=3, output_tokens=4, service_tier="batch")
    assert isinstance(read_response_usage("openai.chat", {"service_tier": "priority"}), UnknownUsage)


def test_the_api_of_a_provider_is_named_by_its_wire() -> None:
    assert usage_api("OpenRouter") == "openrouter.chat"
    assert usage_api("anthropic", "messages") == "anthropic.messages"
    assert usage_api("gemini", "litellm") == "litellm.usage"


@pytest.mark.parametrize("message", [{"content": "Hello"}, {"content": None, "tool_calls": [{"id": "1"}]}, {"reasoning_content": "Hm"}])
def test_an_answer_with_content_but_no_output_has_unknown_usage(message: dict) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    body = {"usage": usage, "choices": [{"message": message}]}
    assert read_response_usage("openai.chat", body) == UnknownUsage("inconsistent_usage", "there is an answer but no output was counted")
    assert read_response_usage("openai.chat", {**body, "choices": [{"message": {"content": ""}}]}) == Usage(input_tokens=1)
    billed = {**body, "usage": {**usage, "cost": 0.001}}
    assert isinstance(read_response_usage("openrouter.chat", billed), Usage)
