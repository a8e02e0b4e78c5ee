"""The official `anthropic` package, unmodified, with the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anthropic
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"name": "weather", "description": "The weather.", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
CALL = {
    "text": "Let me look.",
    "tool_calls": [{"name": "weather", "arguments": {"city": "Paris"}, "id": "c1"}, {"name": "weather", "arguments": {}, "id": "c2"}],
}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


def client_of(gateway: Gateway, **settings: object) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key="any", **settings)


def test_a_whole_message(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"answers": [{"text": "Hi there."}], "usage": {"prompt_tokens": 100, "completion_tokens": 7, "cached_tokens": 60}})
    with client_of(gateway) as client:
        message = client.messages.create(model="fast", max_tokens=50, messages=HELLO, system="Be brief.", stop_sequences=["END"])
    assert message.model == "fast"
    assert [block.text for block in message.content] == ["Hi there."]
    assert message.stop_reason == "end_turn"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.output_tokens) == (40, 60, 0, 7)
    assert usage.cost_usd == pytest.approx(gateway.events[-1].cost_nanousd / 1e9)


def test_tool_calls_and_their_results_round_trip(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[CALL, {"text": "It rains.", "when": {"last": "rain"}}])
    question = [{"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}, IMAGE]}]
    with client_of(gateway) as client:
        first = client.messages.create(model="fast", max_tokens=200, messages=question, tools=[TOOL], tool_choice={"type": "any"})
        assert first.stop_reason == "tool_use"
        assert [(block.type, getattr(block, "input", None)) for block in first.content] == [
            ("text", None), ("tool_use", {"city": "Paris"}), ("tool_use", {}),
        ]  # fmt: skip
        results = [
            {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "rain"}]},
            {"type": "tool_result", "tool_use_id": "c2", "content": "rain, too", "is_error": True},
        ]
        turns = [*question, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        second = client.messages.create(model="fast", max_tokens=200, messages=turns, tools=[TOOL])
    assert second.content[0].text == "It rains."


def test_a_stream_adds_up_to_the_same_message(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"chunks": 3, "answers": [CALL]})
    with client_of(gateway) as client, client.messages.stream(model="fast", max_tokens=200, messages=HELLO, tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 3
    assert message.stop_reason == "tool_use"
    assert [block.input for block in message.content if block.type == "tool_use"] == [{"city": "Paris"}, {}]
    assert message.content[0].text == "Let me look."
    assert message.usage.output_tokens > 0


def test_reasoning_is_shown_only_to_clients_that_request_it(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[{"reasoning": "Hmm.", "text": "So."}])
    with client_of(gateway) as client:
        plain = client.messages.create(model="fast", max_tokens=2000, messages=HELLO)
        enabled = {"type": "enabled", "budget_tokens": 1024}
        thought = client.messages.create(model="fast", max_tokens=2000, messages=HELLO, thinking=enabled)
        with client.messages.stream(model="fast", max_tokens=2000, messages=HELLO, thinking=enabled) as stream:
            streamed = stream.get_final_message()
        again = client.messages.create(
            model="fast", max_tokens=2000, messages=[*HELLO, {"role": "assistant", "content": thought.content}, *HELLO], thinking=enabled
        )
    assert [block.type for block in plain.content] == ["text"]
    assert [block.type for block in thought.content] == ["thinking", "text"]
    assert [block.type for block in streamed.content] == ["thinking", "text"]
    assert again.content


def test_a_cut_answer_has_stop_reason_max_tokens(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[{"text": "A long story that has no end. " * 20}])
    with client_of(gateway) as client:
        assert client.messages.create(model="fast", max_tokens=5, messages=HELLO).stop_reason == "max_tokens"


def test_errors_raise_the_clients_own_classes(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"budget_usd_per_run": 0.0001, "hard_stop_on_budget": True})
    with client_of(gateway) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model="fast", max_tokens=500, messages=HELLO)
        with pytest.raises(anthropic.NotFoundError, match="Known models: fast"):
            client.messages.create(model="claude-0", max_tokens=50, messages=HELLO)
        with pytest.raises(anthropic.BadRequestError, match=r"does not take tools\.web_search_20250305"):
            client.messages.create(
                model="fast",
                max_tokens=50,
                messages=HELLO,
                tools=[{"type": "web_search_20250305", "name": "web_search"}],
                tool_choice={"type": "tool", "name": "web_search"},
            )
    assert caught.value.status_code == 402
    assert caught.value.body["error"]["type"] == "billing_error"
    assert gateway.requests() == 0


def test_a_broken_stream_raises(start: Callable[..., Gateway]) -> None:
    gateway = start(
        fast={"chunks": 6, "answers": [{"text": "One two three four."}], "faults": [{"kind": "cut", "after_chunks": 3, "always": True}]}
    )
    with client_of(gateway) as client, pytest.raises(anthropic.APIError, match=r"(?s)cut after it had begun.*Charged .*, the whole hold: "):  # noqa: SIM117  the stream itself raises
        with client.messages.stream(model="fast", max_tokens=200, messages=HELLO) as stream:
            list(stream)


def test_count_tokens_costs_nothing(start: Callable[..., Gateway]) -> None:
    gateway = start()
    with client_of(gateway) as client:
        short = client.messages.count_tokens(model="fast", messages=HELLO).input_tokens
        long = client.messages.count_tokens(model="fast", messages=HELLO, system="Be brief. " * 50, tools=[TOOL]).input_tokens
        assert [model.id for model in client.models.list()] == ["fast"]
    assert 0 < short < long
    assert gateway.requests() == 0


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "judge", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        {"messages": HELLO, "system": [{"type": "image"}]},
        {"messages": HELLO, "tools": [{"input_schema": {}}]},
        {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "sometimes"}},
        {"messages": HELLO, "max_tokens": 0},
        {"messages": HELLO, "max_tokens": None},
    ],
)
def test_an_invalid_request_is_a_bad_request_error(start: Callable[..., Gateway], body: dict[str, object]) -> None:
    gateway = start()
    with client_of(gateway) as client, pytest.raises(anthropic.BadRequestError):
        client.post("/v1/messages", body={"model": "fast", "max_tokens": 50, **body}, cast_to=object)
    assert gateway.requests() == 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_has_no_word_for_is_in_a_header(start: Callable[..., Gateway], stream: bool) -> None:
    gateway = start(fast=[{"text": "Hi."}])
    cited = {"type": "text", "text": "x", "citations": [{}]}
    odd = {"type": "text", "text": "x", "caf\xe9\r\nx: y": 1, "z" * 2_000: 1}
    asked = {"model": "fast", "max_tokens": 50, "stream": stream}
    with client_of(gateway) as client:
        plain = client.messages.with_raw_response.create(**asked, messages=HELLO)
        raw = client.messages.with_raw_response.create(**asked, messages=[{"role": "user", "content": [cited, cited, odd]}])
    dropped = raw.headers["x-paymaster-dropped"]
    assert dropped.split(", ")[:2] == ["messages.citations", r"messages.caf\xe9 x: y"]
    assert len(dropped) < 1_100
    assert "x-paymaster-dropped" not in plain.headers
