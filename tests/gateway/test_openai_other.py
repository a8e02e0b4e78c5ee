"""Responses and completions, with the official `openai` package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
CALL = {"text": "Let me look.", "tool_calls": [{"name": "weather", "arguments": {"city": "Paris"}, "id": "c1"}]}


def client_of(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)


def test_a_whole_response(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"answers": [{"text": "Hi."}], "usage": {"prompt_tokens": 50, "completion_tokens": 7, "cached_tokens": 30}})
    with client_of(gateway) as client:
        response = client.responses.create(model="fast", input="Hello", instructions="Be brief.", max_output_tokens=50)
    assert (response.output_text, response.model, response.status) == ("Hi.", "fast", "completed")
    assert (response.usage.input_tokens, response.usage.input_tokens_details.cached_tokens, response.usage.output_tokens) == (50, 30, 7)


def test_a_response_with_tool_results_continues(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[CALL, {"text": "It rains.", "when": {"last": "rain"}}])
    question = [{"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}]
    with client_of(gateway) as client:
        first = client.responses.create(model="fast", input=question, tools=[TOOL], tool_choice="auto")
        [call] = [item for item in first.output if item.type == "function_call"]
        assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris"})
        items = [*question, *first.output, {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
        second = client.responses.create(model="fast", input=items, tools=[TOOL])
    assert second.output_text == "It rains."


def test_a_stream_adds_up_to_the_same_response(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"chunks": 3, "answers": [CALL]})
    with client_of(gateway) as client, client.responses.stream(model="fast", input="Weather?", tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 2
    assert response.output_text == "Let me look."
    assert json.loads(response.output[1].arguments) == {"city": "Paris"}
    assert response.usage.output_tokens > 0


def test_a_cut_response_is_incomplete_and_a_broken_one_raises(start: Callable[..., Gateway]) -> None:
    gateway = start(
        fast=[{"text": "A long story. " * 50}],
        broken={"chunks": 6, "answers": [{"text": "One two three."}], "faults": [{"kind": "cut", "after_chunks": 3, "always": True}]},
    )
    with client_of(gateway) as client:
        assert client.responses.create(model="fast", input="Hi", max_output_tokens=5).incomplete_details.reason == "max_output_tokens"
        with pytest.raises(openai.APIError, match="cut after it had begun"):
            list(client.responses.create(model="broken", input="Hi", stream=True))


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"tools": [{"type": "web_search"}], "tool_choice": "required"},
        {"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
        {"tool_choice": {"type": "file_search"}},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": [{"role": "judge", "content": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        {"input": None},
        {"input": 5},
    ],
)
def test_unsupported_fields_are_refused_by_name(start: Callable[..., Gateway], body: dict[str, object]) -> None:
    gateway = start()
    with client_of(gateway) as client, pytest.raises(openai.BadRequestError):
        client.post("/responses", body={"model": "fast", "input": "Hi", **body}, cast_to=object)
    assert gateway.requests() == 0


def test_text_completions_are_answered_by_chat_models(start: Callable[..., Gateway]) -> None:
    gateway = start(fast={"chunks": 2, "answers": [{"text": "there."}]})
    with client_of(gateway) as client:
        whole = client.completions.create(model="fast", prompt="Hi ", max_tokens=20)
        assert (whole.choices[0].text, whole.model, whole.choices[0].finish_reason) == ("there.", "fast", "stop")
        chunks = list(client.completions.create(model="fast", prompt=["Hi "], stream=True, stream_options={"include_usage": True}))
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "there."
        assert chunks[-1].usage.total_tokens > 0
        assert {event.operation for event in gateway.events if event.kind == "settled"} == {"text_completion"}
        for wrong in ({"prompt": ["a", "b"]}, {"prompt": [1, 2]}, {"suffix": "x"}, {"echo": True}, {"logprobs": 3}):
            with pytest.raises(openai.BadRequestError):
                client.completions.create(**{"model": "fast", "prompt": "Hi", **wrong})
