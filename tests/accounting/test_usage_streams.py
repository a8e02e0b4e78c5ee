"""Streams are charged by their last cumulative usage, wherever a provider puts it, and never by a sum, a start or an overtaken figure."""

from __future__ import annotations

from decimal import Decimal

import pytest

from paymaster.accounting.usage.openai import generation_cost
from paymaster.accounting.usage.output import UNBOUNDED_TOKENS
from paymaster.accounting.usage.reading import OVERTAKEN, StreamUsage, read_response_usage, read_stream_usage, usage_api
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


def content(text: str) -> dict:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


FIRST = {"usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}}
LAST = {"usage": {"prompt_tokens": 10, "completion_tokens": 51, "total_tokens": 61}}
GEMINI_FIRST = {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1, "totalTokenCount": 11}}

OUTPUT_LATER = [
    pytest.param("openai.chat", {**content("a"), **FIRST}, content("b"), id="text"),
    pytest.param("openai.chat", {"choices": [], **FIRST}, content("b"), id="text after a chunk with usage alone"),
    pytest.param("deepseek.chat", FIRST, {"choices": [{"delta": {"reasoning_content": "Hm"}}]}, id="reasoning"),
    pytest.param("openai.chat", FIRST, {"choices": [{"delta": {"refusal": "No"}}]}, id="refusal"),
    pytest.param("openai.chat", FIRST, {"choices": [{"delta": {"audio": {"data": "AAAA"}}}]}, id="audio"),
    pytest.param("openai.chat", FIRST, {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]}, id="call"),
    pytest.param("openai.chat", FIRST, {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}]}, id="name of a call"),
    pytest.param("openai.chat", FIRST, {"choices": [{"delta": {"function_call": {"arguments": "{"}}}]}, id="old call"),
    pytest.param("litellm.usage", FIRST, {"choices": [{"delta": {"thinking_blocks": [{"thinking": "Hm"}]}}]}, id="litellm's thoughts"),
    pytest.param("openai.text_completions", FIRST, {"choices": [{"index": 0, "text": "b"}]}, id="text completion"),
    pytest.param("perplexity.chat", FIRST, {"choices": [{"message": {"content": "b"}}]}, id="whole message"),
    pytest.param("groq.chat", {"x_groq": FIRST}, content("b"), id="groq"),
    pytest.param("xai.chat", {"usage": {**FIRST["usage"], "cost_in_usd_ticks": 5}}, content("b"), id="xai's cost"),
    pytest.param("openrouter.chat", {"usage": {**FIRST["usage"], "cost": 0.001}}, content("b"), id="openrouter's cost"),
    pytest.param("google.chat", GEMINI_FIRST, content("b"), id="gemini, compatible"),
    pytest.param("gemini.generateContent", GEMINI_FIRST, {"candidates": [{"content": {"parts": [{"text": "b"}]}}]}, id="gemini"),
    pytest.param(
        "gemini.generateContent",
        GEMINI_FIRST,
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]},
        id="gemini call",
    ),
    pytest.param(
        "anthropic.messages",
        delta(input_tokens=10, output_tokens=1),
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}},
        id="anthropic",
    ),
    pytest.param(
        "anthropic.messages",
        delta(input_tokens=10, output_tokens=1),
        {"event": "x", "data": {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}},
        id="anthropic call",
    ),
    pytest.param(
        "openai.responses",
        {"type": "response.in_progress", "response": {"usage": {"input_tokens": 10, "output_tokens": 1}}},
        {"type": "response.output_text.delta", "delta": "b"},
        id="responses",
    ),
    pytest.param(
        "bedrock.converse",
        {"metadata": {"usage": {"inputTokens": 10, "outputTokens": 1}}},
        {"contentBlockDelta": {"delta": {"text": "b"}}},
        id="bedrock",
    ),
    pytest.param("ollama.chat", {"prompt_eval_count": 10, "eval_count": 1}, {"message": {"content": "b"}}, id="ollama"),
    pytest.param("ollama.chat", {"prompt_eval_count": 10, "eval_count": 1}, {"response": "b"}, id="ollama generate"),
    pytest.param(
        "cohere.chat",
        {"usage": {"billed_units": {"input_tokens": 10, "output_tokens": 1}}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": "b"}}}},
        id="cohere",
    ),
]


@pytest.mark.parametrize(("api", "usage", "output"), OUTPUT_LATER)
def test_usage_counts_only_if_no_output_came_after_it(api: str, usage: dict, output: dict) -> None:
    before = read_stream_usage(api, [output, usage])
    assert isinstance(before, Usage)
    assert (before.prompt_tokens, before.completion_tokens) == (10, 1)
    assert read_stream_usage(api, [usage, output]) == OVERTAKEN
    assert read_stream_usage(api, [usage, output, usage]) == before


@pytest.mark.parametrize(
    "nothing",
    [
        {"choices": []},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [{"delta": {"role": "assistant", "content": "", "tool_calls": [], "refusal": None}, "finish_reason": "stop"}]},
        {"choices": [{"delta": {"annotations": [{"url": "x"}], "provider_specific_fields": {"a": "b"}}}]},
        {"choices": [{"delta": None, "message": None, "text": ""}, "odd"]},
        {"choices": [{"delta": {"flag": True, "count": 3}}]},
        {"choices": "?"},
        {"type": "ping"},
        {"type": "content_block_stop", "index": 0},
        {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}, "odd", {"content": None}]},
        {"usage": None, "message": None, "response": None},
    ],
)
def test_a_chunk_without_output_leaves_the_usage_as_it_is(nothing: dict) -> None:
    assert read_stream_usage("openai.chat", [content("a"), LAST, nothing]) == Usage(input_tokens=10, output_tokens=51)


def test_cumulative_usage_in_the_chunk_of_its_output_counts() -> None:
    chunks = [{**content("a"), **FIRST}, {**content("b"), **LAST}]
    assert read_stream_usage("vllm.chat", chunks) == Usage(input_tokens=10, output_tokens=51)


def test_the_output_of_anthropics_start_is_never_final() -> None:
    text = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}}
    assert isinstance(read_stream_usage("anthropic.messages", [START, text]), UnknownUsage)
    silent = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 25}}
    assert read_stream_usage("anthropic.messages", [START, text, silent]) == UnknownUsage("missing_usage", "the usage has no output_tokens")


def test_a_stream_that_counts_no_output_for_its_text_has_unknown_usage() -> None:
    zero = {"usage": {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}}
    assert isinstance(read_stream_usage("openai.chat", [content("a"), zero]), UnknownUsage)


def test_the_input_is_known_before_the_output() -> None:
    stream = StreamUsage("anthropic.messages")
    assert stream.prompt is None
    stream.feed(START)
    stream.feed({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}})
    assert stream.prompt == Usage(input_tokens=25, cache_write_5m_tokens=148, cache_write_1h_tokens=100, service_tier="standard")
    free = StreamUsage("openrouter.chat")
    free.report({"cost": 0.5})
    assert free.prompt is None  # a cost is no count


def test_a_start_of_anthropic_s_without_usage_is_no_usage() -> None:
    assert isinstance(read_stream_usage("anthropic.messages", [{"type": "message_start", "message": {"id": "msg"}}]), UnknownUsage)


def test_usage_that_was_overtaken_is_not_the_latest() -> None:
    stream = StreamUsage("openai.chat")
    assert stream.latest is None
    stream.feed(FIRST)
    assert stream.latest == FIRST["usage"]
    stream.feed(content("b"))
    assert stream.latest is None


@pytest.mark.parametrize(
    ("record", "usd"),
    [
        ({"total_cost": 0.0003}, "0.0003"),
        ({"total_cost": 0}, None),
        ({"total_cost": 0.1, "is_byok": True, "upstream_inference_cost": 0.2}, "0.3"),
        ({"total_cost": 0.1, "is_byok": True}, None),
        ({"total_cost": -1}, None),
        ({"total_cost": None}, None),
        ({}, None),
    ],
)
def test_openrouter_s_record_of_a_generation_has_its_cost(record: dict, usd: str | None) -> None:
    assert generation_cost(record) == (None if usd is None else Decimal(usd))


def test_the_end_of_every_choice_is_noticed() -> None:
    stream = StreamUsage("openai.chat")
    assert not stream.finished
    stream.feed({"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {}, "finish_reason": "stop"}, "odd"]})
    assert not stream.finished
    stream.feed({"choices": [{"delta": {}, "finish_reason": "length"}]})
    assert stream.finished


@pytest.mark.parametrize(
    ("delta", "most"),
    [
        ({"content": "hi"}, 2),
        ({"content": "é"}, 2),
        ({"content": "\ud800"}, 3),
        ({"content": "hi", "reasoning_content": "so"}, 4),
        ({"content": [{"type": "text", "text": "hi"}, 5]}, 6),
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}, 64 + 9),
        ({"function_call": {"name": "f", "arguments": "{}"}}, 64 + 9),
        ({"tool_calls": [5]}, 0),
        ({"audio": {"id": "x"}}, UNBOUNDED_TOKENS),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}, UNBOUNDED_TOKENS),
        ({"content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}, UNBOUNDED_TOKENS),
        ({"content": [{"image_url": "https://x"}]}, UNBOUNDED_TOKENS),
    ],
)
def test_what_came_is_at_most_so_many_tokens(delta: dict, most: int) -> None:
    stream = StreamUsage("openai.chat")
    stream.feed({"choices": [{"delta": delta}]})
    assert stream.delivered_tokens == most


def test_the_usage_of_a_choice_counts_if_there_is_one_choice() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    choice = {"message": {"content": "hi"}, "usage": usage}
    assert read_response_usage("moonshot.chat", {"choices": [choice]}) == Usage(input_tokens=3, output_tokens=4)
    assert isinstance(read_response_usage("moonshot.chat", {"choices": [choice, choice]}), UnknownUsage)
    assert isinstance(read_response_usage("moonshot.chat", {"choices": [{"message": {"content": "hi"}}]}), UnknownUsage)
    stream = StreamUsage("moonshot.chat")
    stream.feed({"choices": [{"index": 0, "delta": {}, "usage": usage}]})
    assert stream.latest == usage
    stream.feed({"choices": [{"index": 1, "delta": {}}]})
    assert stream.latest is None
    assert isinstance(stream.usage, UnknownUsage)


def test_cohere_s_stream_ends_with_its_usage() -> None:
    end = {
        "type": "message-end",
        "delta": {"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}},
    }
    text = {"type": "content-delta", "delta": {"message": {"content": {"text": "b"}}}}
    assert read_stream_usage("cohere.chat", [text, end]) == Usage(input_tokens=3, output_tokens=4)


def test_a_chunk_with_a_tier_and_no_usage_states_the_tier() -> None:
    stream = StreamUsage("openai.chat")
    stream.feed({"choices": [{"index": 0, "delta": {"content": "x"}}], "service_tier": "priority", "usage": None})
    assert stream.latest is None
    stream.feed({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    assert isinstance(stream.usage, Usage)
    assert (stream.usage.completion_tokens, stream.usage.service_tier) == (2, "priority")


def test_a_stream_of_anthropic_s_is_finished_with_its_stop_reason():
    stream = StreamUsage("anthropic.messages")
    events = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 2}},
        {"type": "content_block_delta", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    ]
    finished = []
    for event in events:
        stream.feed(event)
        finished.append(stream.finished)
    assert finished == [False, False, False, False, False, True]
    assert stream.usage == Usage(input_tokens=5, output_tokens=3)
    assert stream.delivered_tokens >= len("Hello") + len("{}")


def test_a_response_is_finished_when_its_last_event_came():
    stream = StreamUsage("openai.responses")
    stream.feed({"type": "response.created", "response": {"usage": None}})
    stream.feed({"type": "response.output_text.delta", "delta": "Hello", "item_id": "msg_1"})
    assert (stream.finished, stream.choices) == (False, 1)
    for end in ("response.completed", "response.incomplete"):
        ended = StreamUsage("openai.responses")
        ended.feed({"type": "response.created", "response": {}})
        ended.feed({"type": end, "response": {"usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}})
        assert (ended.finished, ended.usage) == (True, Usage(input_tokens=3, output_tokens=2))


MESSAGE, SEARCH = {"type": "message", "content": []}, {"type": "web_search_call", "action": {"type": "search", "query": "x"}}
OPENED = {"type": "web_search_call", "action": {"type": "open_page", "url": "x"}}


@pytest.mark.parametrize(
    ("output", "searches", "ran_nothing"),
    [
        ([MESSAGE, {"type": "function_call"}, {"type": "custom_tool_call"}], 0, True),
        ([SEARCH, OPENED, {"type": "web_search_call"}, MESSAGE], 2, False),
        ([OPENED, MESSAGE], 0, False),
        ([MESSAGE, {"type": "code_interpreter_call"}], 0, False),
        ([MESSAGE, SEARCH, {"type": "some_new_call"}], 0, False),
        ([], 0, False),
        (None, 0, False),
        ("text", 0, False),
    ],
)
def test_a_response_lists_what_its_provider_ran(output: object, searches: int, *, ran_nothing: bool) -> None:
    response = {"output": output, "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}
    expected = Usage(input_tokens=3, output_tokens=4, web_search_requests=searches, ran_nothing=ran_nothing)
    assert read_response_usage("openai.responses", response) == expected
    events = [{"type": "response.created", "response": {"output": []}}, {"type": "response.completed", "response": response}]
    assert read_stream_usage("openai.responses", events) == expected


@pytest.mark.parametrize("listed", [[MESSAGE], [], None, [SEARCH, OPENED, MESSAGE]])
@pytest.mark.parametrize("place", ["output_index", "id"])
def test_items_that_were_streamed_count_where_the_last_event_leaves_them_out(listed: object, place: str) -> None:
    events: list[dict] = []
    for index, item in enumerate((SEARCH, OPENED, MESSAGE)):
        at, named = ({"output_index": index}, item) if place == "output_index" else ({}, {**item, "id": f"i{index}"})
        events += [{"type": "response.output_item.added", **at, "item": {**named, "action": None}}]
        events += [{"type": "response.output_item.done", **at, "item": named}]
    response = {"output": listed, "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}
    events.append({"type": "response.completed", "response": response})
    usage = read_stream_usage("openai.responses", events)
    assert usage == Usage(input_tokens=3, output_tokens=4, web_search_requests=1)
