"""What a model wants back travels through a responses client unread: to its writer unchanged, to no other model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from call_box import model
from paymaster.dialects.responses.answers import finished
from paymaster.dialects.responses.stream_writer import EventWriter
from paymaster.dialects.state import owner_of
from paymaster.gateway.dialects.responses_requests import read_request
from paymaster.registry.compat import EXTRAS, Compat
from paymaster.registry.models import Dialect
from paymaster.routing.requests import Source
from paymaster.routing.translation import Translation, translate

if TYPE_CHECKING:
    from paymaster.registry.models import Model

READS_ALL = Compat(reads=frozenset(EXTRAS) - {"reasoning"})
CALL = {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "run", "arguments": "{}"}}]}
RUN = {"type": "function", "name": "run", "parameters": {"type": "object"}, "strict": False}
SIGNATURE = {"google": {"thought_signature": "sig=="}}
DETAILS = [
    {"type": "reasoning.summary", "summary": "Hm.", "id": "rs_1", "format": "openai-responses-v1"},
    {"type": "reasoning.encrypted", "data": "gAAAA", "id": "rs_1", "format": "openai-responses-v1"},
]


def chat_model(name: str, provider: str, **settings: object) -> Model:
    return model(name, provider=provider, compat=READS_ALL, **settings)


DEEPSEEK, KIMI = chat_model("deepseek", "deepseek"), chat_model("kimi", "moonshot")
GEMINI, CLAUDE = chat_model("gemini", "google"), chat_model("claude", "bedrock")
ROUTED = chat_model("routed", "openrouter")
NATIVE = model("native", provider="openai", dialect=Dialect.RESPONSES)
DIRECT = model("direct", provider="anthropic", model_id="claude-opus-4-8", dialect=Dialect.MESSAGES, compat=READS_ALL)
EVERYONE = (DEEPSEEK, KIMI, GEMINI, CLAUDE, ROUTED, NATIVE, DIRECT)


def second_turn(writer: Model, deltas: list[dict[str, Any]], reader: Model, *, include: bool, ids: bool = True) -> Translation:
    """The next request of a client that returns what one model answered, in another model's terms."""
    body: dict[str, Any] = {"input": [{"role": "user", "content": "Go."}], "tools": [RUN]}
    body |= {"include": ["reasoning.encrypted_content"]} if include else {}
    events = EventWriter(body, owner_of(writer.provider, writer.model_id))
    [*events.begin("x", writer.name, 0), *(event for delta in deltas for event in events.add(delta)), *events.close()]
    output: Any = finished(events.response, events.output, "tool_calls", {})["output"]
    # Codex returns no ids of items.
    returned = [item if ids else {name: value for name, value in item.items() if name != "id"} for item in output]
    result = {"type": "function_call_output", "call_id": output[-1]["call_id"], "output": "ok"}
    body["input"] = [*body["input"], *returned, result]
    request = read_request(body)
    source = Source(dialect=Dialect.RESPONSES, body=body)
    return translate(type(request)(**{**{name: getattr(request, name) for name in request.__slots__}, "source": source}), reader)


def assistant(translation: Translation) -> dict[str, Any]:
    """The model's own message, without what every reader gets."""
    [message] = [message for message in translation.messages if message["role"] == "assistant"]
    assert [call["id"] for call in message["tool_calls"]] == ["c1"]
    assert [message["tool_call_id"] for message in translation.messages if message["role"] == "tool"] == ["c1"]
    own = {name: value for name, value in message.items() if name not in ("role", "content", "tool_calls")}
    extra = message["tool_calls"][0].get("extra_content")
    return {**own, **({"extra_content": extra} if extra else {})}


THOUGHT = {"reasoning_content": "Hm."}
BLOCK = {"type": "thinking", "thinking": "Hm.", "signature": "S"}
SEALED = {"type": "redacted_thinking", "data": "R"}
STATES: list[tuple[str, Model, list[dict[str, Any]], dict[str, Any]]] = [
    ("a chat model's own words", DEEPSEEK, [THOUGHT, CALL], {"reasoning_content": "Hm."}),
    ("another chat model's", KIMI, [THOUGHT, CALL], {"reasoning_content": "Hm."}),
    ("Gemini's signature", GEMINI, [{"tool_calls": [{**CALL["tool_calls"][0], "extra_content": SIGNATURE}]}], {"extra_content": SIGNATURE}),
    ("Claude's blocks", CLAUDE, [{"thinking_blocks": [BLOCK, SEALED]}, CALL], {"thinking_blocks": [BLOCK, SEALED]}),
    ("a router's sealed thought", ROUTED, [{**THOUGHT, "reasoning_details": DETAILS}, CALL], {"reasoning_details": DETAILS}),
]  # fmt: skip


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize(("writer", "deltas", "own"), [case[1:] for case in STATES], ids=[case[0] for case in STATES])
def test_state_goes_back_to_its_writer(writer: Model, deltas: list[dict[str, Any]], own: dict[str, Any], *, ids: bool) -> None:
    assert assistant(second_turn(writer, deltas, writer, include=True, ids=ids)) == own


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize(("writer", "deltas"), [case[1:3] for case in STATES], ids=[case[0] for case in STATES])
def test_state_goes_to_no_other_model(writer: Model, deltas: list[dict[str, Any]], *, include: bool) -> None:
    for reader in EVERYONE:
        if reader is writer:
            continue
        translation = second_turn(writer, deltas, reader, include=include)
        sent = str(translation.messages if translation.wire is None else translation.wire)
        assert not any(secret in sent for secret in ("Hm.", "sig==", "gAAAA", "pm1_", "'S'", "'R'"))
        assert translation.dropped or writer is GEMINI, reader.name


@pytest.mark.parametrize("writer", [DEEPSEEK, GEMINI])
def test_an_id_is_enough_for_a_client_that_keeps_nothing_encrypted(writer: Model) -> None:
    [(_, _, deltas, own)] = [case for case in STATES if case[1] is writer]
    assert assistant(second_turn(writer, deltas, writer, include=False)) == own
