"""Answers in Anthropic's format, whole and streamed: read, written, and passed on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given

from anthropic_server import USAGE, answer, events_of, text
from conversations import answers
from paymaster.accounting.usage.record import Usage
from paymaster.dialects.messages.answers import (
    anthropic_usage,
    house_answer,
    openai_usage,
    read_answer,
    reason_of,
    stated_reason,
    write_answer,
)
from paymaster.dialects.messages.house_answers import content_of
from paymaster.dialects.messages.passing import EventPasser, pass_answer
from paymaster.dialects.messages.stream_reader import NOTHING, MessagesReader
from paymaster.dialects.messages.stream_writer import MessagesWriter, own_stamp
from paymaster.dialects.neutral import Answer, Ending, State, Thought, ToolCall
from paymaster.dialects.state import id_with, owner_of, stamped
from paymaster.providers.assembly import Assembly
from paymaster.registry.models import Dialect

THOUGHT = {"type": "thinking", "thinking": "Hmm.", "signature": "sig"}
SEALED = {"type": "redacted_thinking", "data": "c2VhbGVk"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"path": "."}}
EMPTY_CALL = {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
OWNER = owner_of("google", "gemini-3")
ANSWERS = {
    "text": answer(text("Hi.")),
    "all": answer(THOUGHT, SEALED, text("So."), CALL, EMPTY_CALL, stop="tool_use"),
    "stop-sequence": answer(text("One"), stop="stop_sequence", stop_sequence="END"),
    "cut": answer(text("One"), stop="max_tokens"),
    "window": answer(text("One"), stop="model_context_window_exceeded"),
    "pause": answer(SEARCH, FOUND, stop="pause_turn", container={"id": "c"}),
    "refusal": answer(text("No."), stop="refusal", stop_details={"type": "refusal"}),
    "unknown": answer(text("No."), stop="bored"),
}


@pytest.mark.parametrize("message", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_written_as_it_was_read(message: dict[str, object]) -> None:
    rest = {name: message[name] for name in ("id", "model", "usage")}
    assert {**write_answer(read_answer(message)), **rest} == message


def parsed(said: Answer) -> list[object]:
    return [replace(part, arguments=json.loads(part.arguments)) if isinstance(part, ToolCall) else part for part in said.parts]


@given(said=answers())
def test_an_answer_of_another_dialect_keeps_its_parts(said: Answer) -> None:
    again = read_answer(write_answer(said))
    assert (parsed(again), again.ending) == (parsed(said), said.ending)
    assert not any(isinstance(part, Thought) for part in read_answer(write_answer(said, thinking=False)).parts)


@pytest.mark.parametrize(
    ("stop", "ending", "native"),
    [
        ("end_turn", "stop", None), ("max_tokens", "length", None), ("tool_use", "tool_calls", None), ("refusal", "content_filter", None),
        ("model_context_window_exceeded", "length", "model_context_window_exceeded"), ("pause_turn", "stop", "pause_turn"),
        ("compaction", "stop", "compaction"), ("MAX_TOKENS", "MAX_TOKENS", "MAX_TOKENS"),
    ],
)  # fmt: skip
def test_an_ending_is_said_in_both_words(stop: str, ending: str, native: str | None) -> None:
    [choice] = house_answer(answer(text("x"), stop=stop))["choices"]  # type: ignore[misc]  # one choice
    assert (choice["finish_reason"], choice.get("native_finish_reason")) == (ending, native)


def test_endings_of_chat_completions() -> None:
    given = ["stop", "length", "tool_calls", "content_filter", "function_call", "unknown", Ending.STOP]
    assert [reason_of(ending) for ending in given] == ["end_turn", "max_tokens", "tool_use", "refusal", "tool_use", "end_turn", "end_turn"]
    assert (reason_of("stop", "END"), reason_of("length", "END")) == ("stop_sequence", "max_tokens")


def test_an_answer_in_the_house_form() -> None:
    usage = {**USAGE, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}}
    found = house_answer({**ANSWERS["all"], "usage": usage})
    [choice] = found["choices"]  # type: ignore[misc]  # one choice
    assert choice["message"] == {
        "role": "assistant",
        "content": "So.",
        "reasoning_content": "Hmm.",
        "thinking_blocks": [THOUGHT, SEALED],
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "ls", "arguments": '{"path":"."}'}},
            {"id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
        ],
    }
    assert found["usage"] == {
        "prompt_tokens": 24,
        "completion_tokens": 20,
        "total_tokens": 44,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 3},
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    [paused] = house_answer({**ANSWERS["pause"], "usage": None})["choices"]  # type: ignore[misc]  # one choice
    assert paused["message"] == {"role": "assistant", "content": None, "anthropic_blocks": [SEARCH, FOUND]}


def test_usage_in_both_words() -> None:
    counted = anthropic_usage(Usage(input_tokens=5, cache_read_tokens=3, cache_write_5m_tokens=2, output_tokens=4))
    assert counted == {
        "input_tokens": 5, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 4,
    }  # fmt: skip
    assert set(anthropic_usage(None).values()) == {0}
    assert openai_usage(counted)["prompt_tokens"] == 10


@pytest.mark.parametrize("message", ANSWERS.values(), ids=ANSWERS)
def test_a_stream_adds_up_to_the_whole_answer(message: dict[str, object]) -> None:
    reader, assembly = MessagesReader(), Assembly("anthropic.messages")
    for event in events_of(message):
        assembly.add(reader.read(str(event["type"]), event))
    whole, built = house_answer(message), assembly.build()
    assert reader.ended
    assert (built["choices"], built["id"], built["model"]) == (whole["choices"], whole["id"], whole["model"])
    assert reader.shown_usage == whole["usage"]


def test_odd_events_are_harmless() -> None:
    reader = MessagesReader()
    start = {"type": "tool_use", "id": "a", "name": "ls", "input": {"a": 1}}
    odd = [
        {"type": "ping"}, {}, {"type": "content_block_start", "index": 0, "content_block": {}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": {}}},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "thinking_delta", "thinking": ""}},
        {"type": "content_block_stop", "index": 1}, {"type": "message_stop"},
    ]  # fmt: skip
    assert [reader.read("", event) for event in odd] == [NOTHING] * len(odd)
    reader.read("", {"type": "content_block_start", "index": 4, "content_block": {"type": "tool_use", "id": "b", "name": "now"}})
    ended = reader.read("", {"type": "content_block_stop", "index": 4})["choices"][0]["delta"]  # type: ignore[index]  # one choice
    assert ended["tool_calls"] == [{"index": 0, "function": {"arguments": "{}"}}]
    begun = reader.read("", {"type": "content_block_start", "index": 2, "content_block": start})
    assert begun["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": "ls", "arguments": '{"a":1}'}  # type: ignore[index]  # as the API has it
    assert reader.read("", {"type": "content_block_stop", "index": 2}) == NOTHING
    said = reader.read("", {"type": "content_block_start", "index": 3, "content_block": text("Hi.")})
    assert said["choices"][0]["delta"] == {"content": "Hi."}  # type: ignore[index]  # one choice
    assert "usage" not in reader.read("", {"type": "message_delta", "delta": {}})
    assert reader.read("error", {"error": {"type": "overloaded_error"}}) == {"error": {"type": "overloaded_error"}}
    assert reader.read("error", {"message": "no"}) == {"error": {"message": "no"}}


def test_a_compaction_grows_in_pieces() -> None:
    reader = MessagesReader()
    reader.read("", {"type": "content_block_start", "index": 0, "content_block": {"type": "compaction", "content": None}})
    reader.read("", {"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": "They met."}})
    [choice] = reader.read("", {"type": "content_block_stop", "index": 0})["choices"]  # type: ignore[misc]  # one choice
    assert choice["delta"] == {"anthropic_blocks": [{"type": "compaction", "content": "They met."}]}


def chunk(**delta: object) -> dict[str, object]:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta}]}


def called(index: int, arguments: str, name: str = "", call_id: str = "", **more: object) -> dict[str, object]:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"index": index, **({"id": call_id} if call_id else {}), "function": function, **more}


def test_chunks_become_blocks_one_after_the_other() -> None:
    writer = MessagesWriter(thinking=True)
    chunks = [
        chunk(role="assistant", reasoning_content="Hm"),
        chunk(reasoning_content="m."),
        chunk(content="So.", refusal="No."),
        chunk(tool_calls=[called(0, "", "ls", "a"), called(0, "{}"), called(1, "{", "ls", "b"), "odd"]),
        chunk(tool_calls=[called(1, "}"), called(2, "", "rm")]),
        {"id": "c1", "choices": []},
    ]
    events = [event for each in chunks for event in writer.chunk(each, "gemini", OWNER)]
    events += writer.end("gemini", {"stop_reason": "tool_use"}, {"output_tokens": 5})
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [(block["type"], block.get("id")) for block in blocks] == [  # type: ignore[index, attr-defined]  # they are objects
        ("thinking", None), ("text", None), ("tool_use", "a"), ("tool_use", "b"), ("tool_use", "toolu_4"),
    ]  # fmt: skip
    signatures = [event["delta"]["signature"] for event in events if "signature" in event.get("delta", {})]  # type: ignore[operator, index]  # as the API has it
    assert signatures == [own_stamp(OWNER)]
    assert [event["type"] for event in events].count("content_block_stop") == 5
    assert [event["type"] for event in events][-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_thought_has_its_signature_and_hidden_reasoning_its_stamp() -> None:
    entry = {"type": "reasoning.encrypted", "format": "openai-responses-v1", "data": "enc", "id": "rs_1"}
    seal = stamped(State(value="enc", dialect=Dialect.RESPONSES, owner=OWNER))
    writer = MessagesWriter(thinking=True)
    chunks = [
        chunk(thinking_blocks=[{"type": "thinking", "thinking": "a", "signature": None}]),
        chunk(thinking_blocks=[{"type": "thinking", "thinking": "", "signature": "sig"}, SEALED]),
        chunk(reasoning="b"),
        chunk(reasoning_details=[entry, {"type": "reasoning.summary"}, "odd"]),
    ]
    events = [event for each in chunks for event in writer.chunk(each, "gpt", OWNER)]
    assert [event["delta"]["signature"] for event in events if "signature" in event.get("delta", {})] == ["sig", seal]  # type: ignore[operator, index]  # as the API has it
    message = {"reasoning_content": "b", "reasoning_details": [entry, entry], "content": "So."}
    assert content_of(message, OWNER, thinking=True) == [
        {"type": "thinking", "thinking": "b", "signature": seal},
        {"type": "thinking", "thinking": "", "signature": seal},
        text("So."),
    ]
    assert content_of(message, OWNER, thinking=False) == [text("So.")]
    assert content_of({"reasoning": "b"}, "", thinking=True) == [{"type": "thinking", "thinking": "b", "signature": ""}]
    assert [event["type"] for event in MessagesWriter(thinking=True).end("gpt", {}, {})] == [
        "message_start", "message_delta", "message_stop",
    ]  # fmt: skip


def test_google_s_signature_travels_in_the_id_of_its_call() -> None:
    google = {"extra_content": {"google": {"thought_signature": "g"}}}
    shown = id_with("a", State(value="g", dialect=Dialect.CHAT, owner=OWNER))
    events = list(MessagesWriter(thinking=False).chunk(chunk(tool_calls=[called(0, "{}", "ls", "a", **google)]), "gemini", OWNER))
    assert events[1]["content_block"]["id"] == shown  # type: ignore[index]  # an object
    calls = [{"id": "a", "function": {"name": "ls", "arguments": "{}"}, **google}, {"function": {"name": "rm", "arguments": None}}, "odd"]
    assert [block["id"] for block in content_of({"tool_calls": calls}, OWNER, thinking=False)] == [shown, "toolu_1"]


def test_an_answer_is_passed_on_with_stamps_where_signatures_say_nothing() -> None:
    message = answer({**THOUGHT, "signature": ""}, SEALED, text("So."))
    assert pass_answer(message, stamp="") is message
    assert pass_answer({"content": None}, stamp=OWNER) == {"content": None}
    own, sealed = (stamped(State(value=value, dialect=Dialect.MESSAGES, owner=OWNER)) for value in ("", "c2VhbGVk"))
    expected = [{**THOUGHT, "signature": own}, {**SEALED, "data": sealed}, text("So.")]
    assert pass_answer(message, stamp=OWNER)["content"] == expected
    passer, reader, assembly = EventPasser("mine", OWNER), MessagesReader(), Assembly("anthropic.messages")
    passed = [each for event in events_of(message) for each in passer.passed(str(event["type"]), event)]
    for event in passed:
        assembly.add(reader.read("", event))
    blocks = assembly.build()["choices"][0]["message"]["thinking_blocks"]  # type: ignore[index]  # one choice
    assert blocks == expected[:2]
    assert passed[0]["message"]["model"] == "mine"  # type: ignore[index]  # the first event has a message
    signed = [each for event in events_of(answer(THOUGHT)) for each in EventPasser("mine", OWNER).passed("", event)]
    theirs = stamped(State(value="sig", dialect=Dialect.MESSAGES, owner=OWNER))
    assert [event["delta"]["signature"] for event in signed if "signature" in event.get("delta", {})] == [theirs]  # type: ignore[operator, index]  # as the API has it


def test_a_stream_that_lacks_its_end_gets_one() -> None:
    passer = EventPasser("mine", "")
    events = events_of(ANSWERS["text"])
    passed = [each for event in events[:-1] for each in passer.passed("", event)]
    assert [*passed[1:], *passer.end()] == events[1:]
    assert list(passer.passed("odd", {"x": 1})) == [{"type": "odd", "x": 1}]
    list(passer.passed("", events[-1]))
    assert list(passer.end()) == []


ODD_CALL = {**CALL, "input": '{"path": "."}'}
ENDINGS = {
    "a plain end with a call": ("end_turn", True, "tool_use"), "a call's end without one": ("tool_use", False, "end_turn"),
    "a chat server's word": ("MAX_TOKENS", True, "max_tokens"), "one of Anthropic's": ("pause_turn", False, "pause_turn"),
    "a word of tomorrow": ("bored", False, "bored"), "none": (None, True, None),
}  # fmt: skip


@pytest.mark.parametrize(("given", "calls", "stated"), ENDINGS.values(), ids=ENDINGS)
def test_an_ending_that_breaks_the_format_is_not_passed_on(given: str | None, calls: bool, stated: str | None) -> None:
    assert stated_reason(given, calls=calls) == stated
    message = {**answer(*([CALL] if calls else [text("So.")])), "stop_reason": given}
    assert pass_answer(message, stamp="")["stop_reason"] == stated
    passer = EventPasser("mine", "")
    passed = [each for event in events_of(message) for each in passer.passed("", event)]
    assert [event["delta"]["stop_reason"] for event in passed if event["type"] == "message_delta"] == [stated]  # type: ignore[index]  # an object


def test_the_input_of_a_call_is_passed_on_as_clients_read_it() -> None:
    assert pass_answer(answer(ODD_CALL, "odd", {**CALL, "input": None}, stop="tool_use"), stamp="")["content"] == [  # type: ignore[arg-type]  # a block that is no object
        CALL, "odd", {**CALL, "input": {}},
    ]  # fmt: skip
    start = {"type": "content_block_start", "index": 0, "content_block": CALL}
    empty = {**start, "content_block": {**CALL, "input": {}}}
    none, piece, whole = (
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": said}}
        for said in ("", "{}", '{"path":"."}')
    )
    stop = {"type": "content_block_stop", "index": 0}
    for came, expected in (
        ([start, stop], [empty, whole, stop]),
        ([start, none, stop], [empty, none, whole, stop]),
        ([start, piece, stop], [empty, piece, stop]),
        ([empty, piece, stop], [empty, piece, stop]),
    ):
        passer = EventPasser("mine", "")
        assert [each for event in came for each in passer.passed("", event)] == expected
