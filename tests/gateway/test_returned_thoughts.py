"""What a model wants back, through a client in Anthropic's format: to the model that wrote it, and to no other."""

from __future__ import annotations

import pytest

from paymaster.accounting.tokens.families import tokenizer_for
from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.anthropic_messages import AnthropicMessages
from paymaster.gateway.dialects.anthropic_requests import read_request
from paymaster.gateway.dialects.dialect import DialectRequest
from paymaster.registry.compat_facts import compat_facts
from paymaster.registry.models import Dialect, Model
from paymaster.routing.requests import Source
from paymaster.routing.translation import translate

HELLO = [{"role": "user", "content": "Hi"}]
RESULT = {"type": "tool_result", "content": "a.txt"}


def model(name: str, provider: str, model_id: str, dialect: Dialect = Dialect.CHAT) -> Model:
    facts = compat_facts("anthropic" if dialect is Dialect.MESSAGES else provider, model_id)
    return Model(
        name=name, provider=provider, model_id=model_id, adapter="openai_http", tokenizer=tokenizer_for(provider, model_id), compat=facts,
        dialect=dialect, capabilities=frozenset({"reasoning", "function_calling"}),
    )  # fmt: skip


MODELS = {
    each.name: each
    for each in (
        model("deepseek", "deepseek", "deepseek-v4-pro"),
        model("kimi", "moonshot", "kimi-k2-thinking"),
        model("gemini", "google", "gemini-3-pro"),
        model("claude", "anthropic", "claude-opus-4-8", Dialect.MESSAGES),
    )
}
GOOGLE = {"google": {"thought_signature": "Z29vZ2xl"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
ANSWERS: dict[str, dict[str, object]] = {
    "deepseek": {"content": None, "reasoning_content": "Hmm.", "tool_calls": [CALL]},
    "kimi": {"content": "So.", "reasoning_content": "Hmm.", "tool_calls": [CALL]},
    "gemini": {"content": None, "tool_calls": [{**CALL, "extra_content": GOOGLE}]},
}


def request_of(body: dict[str, object], **more: object) -> DialectRequest:
    request = read_request(body)
    return DialectRequest(request=request, body=body, models=MODELS, **more)  # type: ignore[arg-type]  # fields of every type


def whole(name: str, message: dict[str, object], body: dict[str, object]) -> list[dict[str, object]]:
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    reply = Reply(body=answer, model=name, usage=None, finish_reason="tool_calls", cost_nanousd=0, attempts=(), call_id="c1")
    content = AnthropicMessages().whole(request_of(body), reply)["content"]
    assert isinstance(content, list)
    return content


def sent(name: str, body: dict[str, object]) -> dict[str, object]:
    """The turn of the assistant as it reaches the model, or the body in its own dialect."""
    request = request_of({**body, "model": name}).request
    object.__setattr__(request, "source", Source(dialect=Dialect.MESSAGES, body=body))
    translation = translate(request, MODELS[name])
    messages = translation.messages if translation.wire is None else translation.wire["messages"]
    assert isinstance(messages, list)
    [turn] = [message for message in messages if message["role"] == "assistant"]
    return turn


@pytest.mark.parametrize("writer", ANSWERS)
@pytest.mark.parametrize("reader", MODELS)
def test_what_a_model_wants_back_returns_to_it_alone(writer: str, reader: str) -> None:
    body: dict[str, object] = {"messages": HELLO, "max_tokens": 50_000, "thinking": {"type": "adaptive"}}
    content = whole(writer, ANSWERS[writer], body)
    call_id = next(block["id"] for block in content if block["type"] == "tool_use")
    turns = [*HELLO, {"role": "assistant", "content": content}, {"role": "user", "content": [{**RESULT, "tool_use_id": call_id}]}]
    turn = sent(reader, {**body, "messages": turns})
    text = str(turn)
    assert "pm1" not in text
    if reader == "claude":
        assert turn["content"] == [*([{"type": "text", "text": "So."}] if writer == "kimi" else []), {
            "type": "tool_use", "id": "c1", "name": "ls", "input": {},
        }]  # fmt: skip
        return
    [call] = turn["tool_calls"]  # type: ignore[misc]  # one call
    assert call["id"] == "c1"
    assert ("Hmm." in text) is (writer == reader and writer != "gemini")
    assert ("Z29vZ2xl" in text) is (writer == reader == "gemini")
    if writer == reader and writer != "gemini":
        assert turn["reasoning_content"] == "Hmm."


def test_a_stream_carries_the_same_state_as_a_whole_answer() -> None:
    body: dict[str, object] = {"messages": HELLO, "max_tokens": 50_000, "thinking": {"type": "adaptive"}, "model": "kimi"}
    pieces = AnthropicMessages().pieces(request_of(body))
    deltas = [{"reasoning_content": "Hm"}, {"reasoning_content": "m."}, {"content": "So."}]
    streamed = b"".join(pieces.chunk(ProviderChunk({"id": "x", "choices": [{"index": 0, "delta": each}]}), "kimi") for each in deltas)
    signature = whole("kimi", ANSWERS["kimi"], body)[0]["signature"]
    assert f'"signature":"{signature}"'.encode() in streamed


def test_a_client_that_did_not_ask_for_thoughts_gets_none_and_still_returns_a_signature() -> None:
    body: dict[str, object] = {"messages": HELLO, "max_tokens": 50_000}
    assert [block["type"] for block in whole("deepseek", ANSWERS["deepseek"], body)] == ["tool_use"]
    [block] = whole("gemini", ANSWERS["gemini"], body)
    turns = [*HELLO, {"role": "assistant", "content": [block]}, {"role": "user", "content": [{**RESULT, "tool_use_id": block["id"]}]}]
    [call] = sent("gemini", {**body, "messages": turns})["tool_calls"]  # type: ignore[misc]  # one call
    assert call["extra_content"] == GOOGLE
