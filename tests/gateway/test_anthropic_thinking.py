"""Thinking in Anthropic's format: in requests, in whole answers and in streams."""

from __future__ import annotations

import json

import pytest

from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.anthropic_messages import AnthropicMessages
from paymaster.gateway.dialects.anthropic_requests import read_request
from paymaster.gateway.dialects.dialect import DialectRequest
from paymaster.gateway.http_errors import Rejected

HELLO = [{"role": "user", "content": "Hi"}]
THOUGHT = {"type": "thinking", "thinking": "Hmm.", "signature": "sig-1"}
SEALED = {"type": "redacted_thinking", "data": "c2VhbGVk"}
CALL = {"type": "tool_use", "id": "t1", "name": "ls", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "a.txt"}


def body(thinking: object, **more: object) -> dict[str, object]:
    return {"messages": HELLO, "max_tokens": 50_000, "thinking": thinking, **more}


@pytest.mark.parametrize(
    ("thinking", "more", "effort"),
    [
        ({"type": "enabled", "budget_tokens": 1_024}, {}, "low"),
        ({"type": "enabled", "budget_tokens": 2_048}, {}, "medium"),
        ({"type": "enabled", "budget_tokens": 31_999}, {}, "high"),
        ({"type": "adaptive"}, {}, "medium"),
        ({"type": "adaptive"}, {"output_config": {"effort": "low"}}, "low"),
        ({"type": "adaptive"}, {"output_config": {"effort": "max"}}, "high"),
        ({"type": "disabled"}, {}, "none"),
        (None, {}, None),
    ],
)
def test_a_thinking_budget_becomes_an_effort(thinking: object, more: dict[str, object], effort: str | None) -> None:
    requested = read_request(body(thinking, **more)).thinking
    assert (requested and requested.effort) == effort
    assert requested is None or requested.own == thinking


@pytest.mark.parametrize("budget", [None, 0, "much", True])
def test_an_invalid_thinking_budget_is_refused(budget: object) -> None:
    with pytest.raises(Rejected, match="budget_tokens"):
        read_request(body({"type": "enabled", "budget_tokens": budget}))


def test_only_thoughts_with_a_signature_go_back_to_the_model() -> None:
    unsigned = {**THOUGHT, "signature": ""}
    turns = [*HELLO, {"role": "assistant", "content": [unsigned, THOUGHT, SEALED, CALL]}, {"role": "user", "content": [RESULT]}]
    _, turn, result = read_request(body(None, messages=turns)).messages
    assert turn["thinking_blocks"] == [THOUGHT, SEALED]
    assert result["role"] == "tool"
    [plain] = read_request(body(None, messages=[{"role": "assistant", "content": [unsigned, {"type": "text", "text": "x"}]}])).messages
    assert "thinking_blocks" not in plain


def reply(message: dict[str, object]) -> Reply:
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return Reply(body=answer, model="claude", usage=None, finish_reason="stop", cost_nanousd=0, attempts=(), call_id="c1")


def content(message: dict[str, object], thinking: object = None) -> list[object]:
    sent = body(thinking or {"type": "enabled", "budget_tokens": 2_000})
    return AnthropicMessages().whole(DialectRequest(request=read_request(sent), body=sent), reply(message))["content"]


def test_a_thought_comes_back_with_its_signature() -> None:
    blocks = [{**THOUGHT, "cache_control": None}, SEALED]
    found = content({"content": "So.", "reasoning_content": "Hmm.", "thinking_blocks": blocks})
    assert found == [THOUGHT, SEALED, {"type": "text", "text": "So."}]
    assert content({"content": "So.", "reasoning": "Hmm."})[0] == {**THOUGHT, "signature": ""}
    assert content({"content": "So.", "thinking_blocks": blocks}, {"type": "disabled"}) == [{"type": "text", "text": "So."}]


def test_a_streamed_thought_comes_in_pieces_and_then_its_signature() -> None:
    sent_body = body({"type": "enabled", "budget_tokens": 2_000})
    pieces = AnthropicMessages().pieces(DialectRequest(request=read_request(sent_body), body=sent_body))
    deltas = [
        {"role": "assistant", "reasoning_content": "Hm", "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": None}]},
        {"reasoning_content": "m.", "thinking_blocks": [{"type": "thinking", "thinking": "m."}]},
        {"reasoning_content": "", "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "sig-1"}]},
        {"thinking_blocks": [SEALED]},
        {"content": "So."},
    ]
    sent = b"".join(pieces.chunk(ProviderChunk({"id": "x", "choices": [{"index": 0, "delta": delta}]}), "claude") for delta in deltas)
    events = [json.loads(line[6:]) for line in sent.decode().splitlines() if line.startswith("data: ")]
    assert [(event["type"], event.get("index")) for event in events] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
    ]
    assert [event["delta"] for event in events[2:5]] == [
        {"type": "thinking_delta", "thinking": "Hm"},
        {"type": "thinking_delta", "thinking": "m."},
        {"type": "signature_delta", "signature": "sig-1"},
    ]
    assert events[6]["content_block"] == SEALED
