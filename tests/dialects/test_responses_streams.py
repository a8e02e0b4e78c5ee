"""The events of a response: written in the grammar that clients expect, and read back as chunks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from paymaster.dialects.chat.answers import read_answer
from paymaster.dialects.neutral import Answer, Ending, Opaque, State, Text, Thought, ToolCall
from paymaster.dialects.responses import answers
from paymaster.dialects.responses.answers import finished
from paymaster.dialects.responses.passing import EventPasser, pass_answer
from paymaster.dialects.responses.stream_reader import EventReader, whole
from paymaster.dialects.responses.stream_writer import EventWriter
from paymaster.dialects.state import id_with, owner_of, stamped
from paymaster.registry.models import Dialect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OWNER = owner_of("deepseek", "deepseek-chat")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 120,
}
REQUEST: dict[str, Any] = {
    "include": ["reasoning.encrypted_content"],
    "tools": [
        {"type": "function", "name": "run", "parameters": {}, "strict": False},
        {"type": "custom", "name": "apply_patch"},
        {
            "type": "namespace",
            "name": "mcp__files",
            "description": "Files.",
            "tools": [{"type": "function", "name": "read"}, {"type": "custom", "name": "write"}],
        },
        {"type": "local_shell"},
        {"type": "shell"},
        {"type": "apply_patch"},
        {"type": "tool_search", "execution": "client"},
    ],
}
Object = dict[str, Any]


def call(index: int, name: str = "", arguments: str = "", call_id: str = "", **more: object) -> Object:
    function = {**({"name": name} if name else {}), "arguments": arguments}
    return {"tool_calls": [{"index": index, **({"id": call_id, "type": "function"} if call_id else {}), "function": function, **more}]}


def written(deltas: Iterable[Object], request: Object = REQUEST, ending: str = "stop", owner: str = OWNER) -> list[Object]:
    """The events for these deltas, checked."""
    writer = EventWriter(request, owner)
    events = [*writer.begin("chatcmpl-1", "fast", 1), *writer.begin("chatcmpl-1", "fast", 1)]
    for delta in deltas:
        events += writer.add(delta)
    events += writer.close()
    events.append(writer.end(finished(writer.response, writer.output, ending, USAGE)))
    check_grammar(events)
    return json.loads(json.dumps(events))


def check_grammar(events: list[Object]) -> None:
    """Numbers without a gap; items and their parts each begun, filled and done, in order; the end has what was done."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    items: dict[int, Object] = {}
    done: dict[int, Object] = {}
    texts: dict[tuple[int, str], str] = {}
    parts: set[tuple[int, str, int]] = set()
    for event in events[2:-1]:
        EVENT.validate_python(event)
        kind, index = event["type"].removeprefix("response."), event["output_index"]
        if kind == "output_item.added":
            assert index == len(items)
            items[index] = event["item"]
            continue
        assert index in items
        assert index not in done
        if kind == "output_item.done":
            done[index] = event["item"]
            assert not any(part[0] == index for part in parts)
            assert event["item"].get("id") == items[index].get("id")
            continue
        assert event["item_id"] == items[index]["id"]
        base, _, step = kind.rpartition(".")
        at = event.get("content_index", event.get("summary_index", 0))
        if step == "added" and base.endswith("part"):
            parts.add((index, base, at))
        elif step == "delta":
            texts[index, base] = texts.get((index, base), "") + event["delta"]
            if base in ("output_text", "refusal", "reasoning_summary_text"):
                assert any(part[0] == index for part in parts)
        elif step == "done" and base.endswith("part"):
            parts.remove((index, base, at))
        else:
            field = {"output_text": "text", "refusal": "refusal", "reasoning_summary_text": "text"}.get(base)
            whole_text = event[field or ("input" if "input" in event else "arguments")]
            assert texts.pop((index, base), "") == whole_text
    assert done.keys() == items.keys()
    assert not texts
    final = events[-1]["response"]
    Response.model_validate(final)
    assert final["output"] == [done[index] for index in sorted(done)]


def output(deltas: Iterable[Object], request: Object = REQUEST, owner: str = OWNER) -> list[Object]:
    """The output items, without what only identifies them."""
    items = written(deltas, request, owner=owner)[-1]["response"]["output"]
    return [{name: value for name, value in item.items() if name not in ("id", "status", "role")} for item in items]


def text(said: str, kind: str = "output_text") -> Object:
    return {"type": kind, "refusal": said} if kind == "refusal" else {"type": kind, "text": said, "annotations": [], "logprobs": []}


def thought(said: str, state: State | None = None) -> Object:
    given = state or State(value="", dialect=Dialect.CHAT, owner=OWNER)
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": said}] if said else [], "encrypted_content": stamped(given)}


def state(value: str, dialect: Dialect) -> State:
    return State(value=value, dialect=dialect, owner=OWNER)


def block(said: str = "", signature: str = "") -> Object:
    """One of Claude's thoughts, or a piece of one."""
    return {"type": "thinking", "thinking": said, "signature": signature}


def detail(kind: str, form: str, **fields: str) -> Object:
    """An entry of a router's thoughts."""
    return {"type": f"reasoning.{kind}", "format": form, **fields}


ELSEWHERE = State(value="S", dialect=Dialect.MESSAGES, owner="0" * 12)
LS = '{"command": ["ls"], "timeout_ms": 5}'
SIGNED = {"extra_content": {"google": {"thought_signature": "sig"}}}
ANSWERS: list[tuple[str, list[Object], list[Object]]] = [
    ("nothing", [{"role": "assistant"}, {"content": ""}, {"content": None}], []),
    ("a text in pieces", [{"content": "He"}, {"content": "llo"}], [{"type": "message", "content": [text("Hello")]}]),
    (
        "a text and a refusal",
        [{"content": "I "}, {"refusal": "won't"}, {"refusal": "."}],
        [{"type": "message", "content": [text("I "), text("won't.", "refusal")]}],
    ),
    (
        "a thought, a text, a call",
        [
            {"reasoning_content": "H"},
            {"reasoning_content": "m."},
            {"content": "Look."},
            call(0, "run", "", "c1"),
            call(0, arguments='{"a":1}'),
        ],
        [
            thought("Hm."),
            {"type": "message", "content": [text("Look.")]},
            {"type": "function_call", "call_id": "c1", "name": "run", "arguments": '{"a":1}'},
        ],
    ),
    (
        "calls whose pieces alternate",
        [
            call(0, "run", "", "c1"),
            call(1, "run", "", "c2"),
            call(0, arguments='{"a"'),
            call(1, arguments="{}"),
            call(0, arguments=":1}"),
        ],
        [
            {"type": "function_call", "call_id": "c1", "name": "run", "arguments": '{"a":1}'},
            {"type": "function_call", "call_id": "c2", "name": "run", "arguments": "{}"},
        ],
    ),
    (
        "a call without arguments",
        [call(0, "run", "", "c1")],
        [{"type": "function_call", "call_id": "c1", "name": "run", "arguments": "{}"}],
    ),
    ("a piece of no call", [call(3, arguments="x"), {"tool_calls": ["x"]}, {"tool_calls": "x"}], []),
    (
        "a text after a call",
        [call(0, "run", "{}", "c1"), {"content": "And?"}],
        [{"type": "function_call", "call_id": "c1", "name": "run", "arguments": "{}"}, {"type": "message", "content": [text("And?")]}],
    ),
    (
        "a custom tool, in JSON, in pieces",
        [call(0, "apply_patch", '{"inp', "c1"), call(0, arguments='ut": "*** Begin\\nPatch"}')],
        [{"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin\nPatch"}],
    ),
    *(
        (
            f"a custom tool with {arguments}",
            [call(0, "apply_patch", arguments, "c1")],
            [{"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": given}],
        )
        for arguments, given in [
            ("*** Begin", "*** Begin"), ('{"patch": "x"}', "x"), ('{"input": 5}', '{"input": 5}'), ('"x"', "x"), ("", ""), ("{}", ""),
            ('{"a": "x", "b": "y"}', '{"a": "x", "b": "y"}'),
        ]
    ),
    (
        "tools of a group",
        [call(0, "mcp__files__read", "{}", "c1"), call(1, "mcp__files__write", '{"input": "x"}', "c2")],
        [
            {"type": "function_call", "call_id": "c1", "name": "read", "namespace": "mcp__files", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "write", "namespace": "mcp__files", "input": "x"},
        ],
    ),
    (
        "tools of OpenAI's",
        [
            call(0, "local_shell", LS, "c1"),
            call(1, "shell", '{"commands": ["ls"]}', "c2"),
            call(2, "apply_patch_2", '{"type": "delete_file", "path": "a"}', "c3"),
            call(3, "tool_search", '{"query": "x"}', "c4"),
            call(4, "local_shell", "odd", "c5"),
        ],
        [
            {"type": "local_shell_call", "call_id": "c1", "action": {"type": "exec", "env": {}, "command": ["ls"], "timeout_ms": 5}},
            {"type": "shell_call", "call_id": "c2", "action": {"commands": ["ls"]}},
            {"type": "apply_patch_call", "call_id": "c3", "operation": {"type": "delete_file", "path": "a", "diff": ""}},
            {"type": "tool_search_call", "call_id": "c4", "arguments": {"query": "x"}, "execution": "client"},
            {"type": "local_shell_call", "call_id": "c5", "action": {"type": "exec", "env": {}, "command": []}},
        ],
    ),
    (
        "a tool nobody declared",
        [call(0, "odd", "{}", "c1")],
        [{"type": "function_call", "call_id": "c1", "name": "odd", "arguments": "{}"}],
    ),
    (
        "Gemini's signature of a call",
        [call(0, "run", "{}", "c1", **SIGNED)],
        [{"type": "function_call", "call_id": id_with("c1", state("sig", Dialect.CHAT)), "name": "run", "arguments": "{}"}],
    ),
    (
        "Gemini's signature in a later piece",
        [call(0, "run", "{", "c1"), call(0, arguments="}", **SIGNED)],
        [{"type": "function_call", "call_id": id_with("c1", state("sig", Dialect.CHAT)), "name": "run", "arguments": "{}"}],
    ),
    (
        "Claude's thoughts",
        [
            {"reasoning_content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": ""}]},
            {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "S1"}]},
            {"thinking_blocks": [block("b"), block(signature="S2"), {"type": "redacted_thinking", "data": "R"}]},
            {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "S3"}]},
            {"content": "x"},
        ],
        [
            thought("a", state("S1", Dialect.MESSAGES)),
            thought("b", state("S2", Dialect.MESSAGES)),
            thought("", state("redacted:R", Dialect.MESSAGES)),
            thought("", state("S3", Dialect.MESSAGES)),
            {"type": "message", "content": [text("x")]},
        ],
    ),
    (
        "a router's details",
        [
            {"reasoning_content": "a", "reasoning_details": [detail("summary", "openai-responses-v1", summary="a")]},
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "E", "id": "rs_9", "format": "openai-responses-v1"}]},
            {"reasoning_details": [{"type": "reasoning.text", "text": "b", "signature": "S", "format": "anthropic-claude-v1"}, "odd"]},
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "G", "format": "google-gemini-v1"}]},
        ],
        [
            thought("a", state("rs_9|E", Dialect.RESPONSES)),
            thought("b", state("S", Dialect.MESSAGES)),
            thought("", state("G", Dialect.CHAT)),
        ],
    ),
    (
        "a state that is stamped already",
        [{"thinking_blocks": [block("a", stamped(ELSEWHERE))]}],
        [thought("a", ELSEWHERE)],
    ),
    (
        "thoughts around a text",
        [{"reasoning_content": "a"}, {"content": "x"}, {"reasoning_content": "b"}, {"content": "y"}],
        [
            thought("a"),
            {"type": "message", "content": [text("x")]},
            thought("b"),
            {"type": "message", "content": [text("y")]},
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("deltas", "expected"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_an_answer_as_events(deltas: list[Object], expected: list[Object]) -> None:
    assert output(deltas) == expected


def test_a_client_that_keeps_no_encrypted_content_returns_the_id() -> None:
    [item] = written([{"reasoning_content": "a"}], {})[-1]["response"]["output"]
    assert "encrypted_content" not in item
    part = answers.read({"output": [item]}).parts[0]
    assert part.text == "a"
    assert part.state == State(value="", dialect=Dialect.CHAT, owner=OWNER)


def test_a_model_without_a_name_signs_nothing() -> None:
    [item] = written([{"reasoning_content": "a"}], owner="")[-1]["response"]["output"]
    assert item == {"id": "rs_0chatcmpl1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}


@pytest.mark.parametrize(("ending", "kind", "reason"), [("length", "incomplete", "max_output_tokens"), ("stop", "completed", None)])
def test_how_a_response_ends(ending: str, kind: str, reason: str | None) -> None:
    last = written([{"content": "x"}], {"metadata": {"a": "b"}, "temperature": 0}, ending)[-1]
    assert (last["type"], last["response"]["status"]) == (f"response.{kind}", kind)
    assert (last["response"]["incomplete_details"] or {}).get("reason") == reason
    assert (last["response"]["metadata"], last["response"]["temperature"], last["response"]["store"]) == ({"a": "b"}, 0, False)


def test_ids_fit_openais_own_api() -> None:
    writer = EventWriter(REQUEST, OWNER)
    [*writer.begin("gen-" + "x" * 90, "fast", 1)]
    tools = ("run", "apply_patch", "local_shell", "shell", "apply_patch_2", "tool_search")
    deltas = [{"content": "x"}, *(call(index, name, "{}", f"c{index}") for index, name in enumerate(tools))]
    events = [event for delta in deltas for event in writer.add(delta)]
    ids = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert [identity.partition("_")[0] for identity in ids] == ["msg", "fc", "ctc", "lsh", "sh", "apc", "tsc"]
    assert all(len(identity) <= 64 for identity in ids)


def house(chunks: Iterable[Mapping[str, Any]]) -> Object:
    """The message that chunks add up to."""
    message: Object = {"content": "", "reasoning_content": "", "refusal": "", "tool_calls": {}, "reasoning_details": [], "annotations": []}
    for chunk in chunks:
        for choice in chunk["choices"]:
            message["finish_reason"] = choice["finish_reason"]
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for piece in value:
                        known = message[name].setdefault(piece["index"], {"arguments": ""})
                        known.update({key: piece[key] for key in ("id",) if key in piece})
                        known["arguments"] += piece["function"]["arguments"]
                        known.update({key: piece["function"][key] for key in ("name",) if key in piece["function"]})
                elif name != "role":
                    message[name] += value
        message.update({name: chunk[name] for name in ("usage",) if name in chunk})
    return {name: value for name, value in message.items() if value}


def response(*items: Object, status: str = "completed", **more: object) -> Object:
    return {
        "id": "resp_1", "object": "response", "created_at": 7, "model": "gpt-5.5", "status": status, "output": list(items), "usage": USAGE,
        **more,
    }  # fmt: skip


MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text("Hello")]}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
    "encrypted_content": "gAAAA",
}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "run", "arguments": '{"a":1}', "status": "completed"}
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": 'a "b"\n', "status": "completed"}
SHELL = {
    "type": "local_shell_call",
    "id": "lsh_1",
    "call_id": "c3",
    "status": "completed",
    "action": {"type": "exec", "command": ["ls"], "env": {}},
}
WORD: Object = {"response": {"id": "resp_1", "created_at": 7, "model": "gpt-5.5", "service_tier": "default"}}


def stream(*events: tuple[str, Object]) -> list[Object]:
    return [{"type": kind, **fields} for kind, fields in events]


STREAM = stream(
    ("response.created", WORD),
    ("response.in_progress", WORD),
    ("response.output_item.added", {"output_index": 0, "item": {**REASONING, "summary": []}}),
    ("response.reasoning_summary_part.added", {"output_index": 0, "summary_index": 0}),
    ("response.reasoning_summary_text.delta", {"output_index": 0, "delta": "On"}),
    ("response.reasoning_summary_text.delta", {"output_index": 0, "delta": "e."}),
    ("response.reasoning_summary_part.added", {"output_index": 0, "summary_index": 1}),
    ("response.reasoning_summary_text.delta", {"output_index": 0, "delta": "Two."}),
    ("response.output_item.done", {"output_index": 0, "item": REASONING}),
    ("response.output_item.added", {"output_index": 1, "item": {**MESSAGE, "content": []}}),
    ("response.content_part.added", {"output_index": 1}),
    ("response.output_text.delta", {"output_index": 1, "delta": "Hel"}),
    ("response.output_text.delta", {"output_index": 1, "delta": "lo"}),
    ("response.output_text.annotation.added", {"output_index": 1, "annotation": {"type": "url_citation", "url": "u"}}),
    ("response.output_text.annotation.added", {"output_index": 1, "annotation": {"type": "file_path"}}),
    ("response.output_text.done", {"output_index": 1, "text": "Hello"}),
    ("response.output_item.done", {"output_index": 1, "item": MESSAGE}),
    ("response.output_item.added", {"output_index": 2, "item": {**CALL, "arguments": ""}}),
    ("response.function_call_arguments.delta", {"output_index": 2, "delta": '{"a"'}),
    ("response.function_call_arguments.delta", {"output_index": 2, "delta": ":1}"}),
    ("response.output_item.done", {"output_index": 2, "item": CALL}),
    ("response.output_item.added", {"output_index": 3, "item": {**CUSTOM, "input": ""}}),
    ("response.custom_tool_call_input.delta", {"output_index": 3, "delta": 'a "'}),
    ("response.custom_tool_call_input.delta", {"output_index": 3, "delta": 'b"\n'}),
    ("response.output_item.done", {"output_index": 3, "item": CUSTOM}),
    ("response.output_item.done", {"output_index": 4, "item": SHELL}),
    ("response.web_search_call.searching", {"output_index": 5, "item_id": "ws_1"}),
    ("never.seen", {}),
    ("response.completed", {"response": response(REASONING, MESSAGE, CALL, CUSTOM, SHELL)}),
)
FORMAT = {"id": "rs_1", "format": "openai-responses-v1"}
READ = {
    "content": "Hello",
    "reasoning_content": "One.\n\nTwo.",
    "reasoning_details": [
        {"type": "reasoning.summary", "summary": "One.\n\nTwo.", **FORMAT},
        {"type": "reasoning.encrypted", "data": "gAAAA", **FORMAT},
    ],
    "tool_calls": {
        0: {"id": "c1", "name": "run", "arguments": '{"a":1}'},
        1: {"id": "c2", "name": "apply_patch", "arguments": '{"input":"a \\"b\\"\\n"}'},
        2: {"id": "c3", "name": "local_shell", "arguments": '{"command":["ls"]}'},
    },
    "finish_reason": "tool_calls",
    "usage": {
        "prompt_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0},
        "completion_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 120,
    },
}


def read(events: Iterable[Object]) -> list[Mapping[str, Any]]:
    reader = EventReader()
    return [reader.read(event.get("type", ""), event) for event in events]


def test_a_stream_is_read_as_chunks() -> None:
    chunks = read(STREAM)
    assert house(chunks) == {**READ, "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {("resp_1", 7, "gpt-5.5")}


@pytest.mark.parametrize(
    "left_out",
    [
        {"response.output_item.done"},
        {"response.output_item.added"},
        {"response.output_text.delta", "response.function_call_arguments.delta", "response.custom_tool_call_input.delta"},
        {event["type"] for event in STREAM if event["type"] not in ("response.completed", "response.created")},
        {event["type"] for event in STREAM if event["type"] != "response.completed"},
    ],
    ids=["nothing is done", "nothing begins", "no pieces", "the end alone", "nothing but the end"],
)
def test_what_no_event_brought_comes_with_the_end(left_out: set[str]) -> None:
    events = [event for event in STREAM if event["type"] not in left_out and "annotation" not in event]
    assert house(read(events)) == READ


def test_a_whole_response_is_read_alike() -> None:
    note = {"type": "url_citation", "url": "u"}
    citing = {**MESSAGE, "content": [{**text("Hello"), "annotations": [note]}]}
    body = whole(response(REASONING, citing, CALL, CUSTOM, SHELL, {"type": "web_search_call", "id": "ws_1"}))
    choice = body["choices"][0]
    message = choice["message"]
    assert {
        **message,
        "tool_calls": {index: {"id": call["id"], **call["function"]} for index, call in enumerate(message["tool_calls"])},
    } == {
        "role": "assistant",
        "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
        **{name: value for name, value in READ.items() if name not in ("finish_reason", "usage")},
    }
    assert (body["object"], body["id"], body["usage"], choice["finish_reason"]) == (
        "chat.completion",
        "resp_1",
        READ["usage"],
        "tool_calls",
    )
    assert all(isinstance(part, Text | Thought | ToolCall) for part in read_answer(body).parts)


@pytest.mark.parametrize(
    ("given", "ending"),
    [
        (response(MESSAGE), "stop"),
        (response(CALL), "tool_calls"),
        (response(MESSAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (response(CALL, status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (response(MESSAGE, status="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (response(MESSAGE, status="incomplete", incomplete_details={"reason": "never seen"}), "length"),
        (response(MESSAGE, status="incomplete"), "length"),
    ],
)
def test_endings(given: Object, ending: str) -> None:
    assert whole(given)["choices"][0]["finish_reason"] == ending


ERROR = {"code": "rate_limit_exceeded", "message": "Slow down."}


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "error", "sequence_number": 3, **ERROR, "param": None}, ERROR),
        ({"type": "response.failed", "response": response(status="failed", error=ERROR)}, ERROR),
        ({"type": "response.cancelled", "response": response(status="cancelled")}, {"message": "the response failed"}),
        ({"type": "response.completed", "response": response(status="failed", error=None)}, {"message": "the response failed"}),
    ],
)
def test_failures_are_errors(event: Object, error: Object) -> None:
    [chunk] = read([event])
    assert chunk["error"] == error
    if "response" in event:
        assert whole(event["response"])["error"] == error


def test_a_hosted_call_of_a_search_is_no_call_of_the_client() -> None:
    item = {"type": "tool_search_call", "id": "ts_1", "execution": "server", "arguments": {}, "status": "completed"}
    assert whole(response(item, MESSAGE))["choices"][0]["finish_reason"] == "stop"


def test_odd_events_are_harmless() -> None:
    events = stream(
        ("response.output_item.added", {"output_index": 0, "item": {"type": "function_call"}}),
        ("response.function_call_arguments.delta", {"output_index": 0, "delta": "x"}),
        ("response.output_text.delta", {"output_index": 1, "delta": ""}),
        ("response.refusal.delta", {"output_index": 1, "delta": ""}),
        ("response.reasoning_text.delta", {"output_index": 2, "delta": ""}),
        ("response.output_item.done", {"output_index": 3, "item": {"type": "reasoning"}}),
        ("response.output_item.done", {"output_index": 3, "item": {"type": "reasoning"}}),
        ("response.output_item.done", {"output_index": 4, "item": {"type": "message", "content": ["x"]}}),
        ("response.completed", {"response": {"status": "completed", "output": None}}),
    )
    assert house(read(events)) == {"finish_reason": "stop"}


def test_a_stream_of_the_same_dialect_waits_with_its_end() -> None:
    passer = EventPasser("fast")
    events = [given for event in STREAM for given in passer.passed("", event)]
    assert [event["type"] for event in events] == [event["type"] for event in STREAM[:-1]]
    assert [event["response"]["model"] for event in events if "response" in event] == ["fast", "fast"]
    assert passer.end() == {**STREAM[-1], "response": {**STREAM[-1]["response"], "model": "fast"}}
    assert passer.numbered(("error", {})) == {"type": "error", "sequence_number": len(STREAM)}


def test_an_event_without_a_type_has_its_name() -> None:
    passer = EventPasser("fast")
    assert passer.end() == {}
    assert [*passer.passed("response.created", {"sequence_number": 7})] == [{"type": "response.created", "sequence_number": 7}]
    assert passer.numbered(("error", {}))["sequence_number"] == 8


ARGUMENTS = {"none": ("", "{}"), "an object": ({"a": 1}, '{"a":1}'), "null": (None, "{}"), "text": ('{"a": 1}', '{"a": 1}')}


@pytest.mark.parametrize(("given", "passed"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_the_arguments_of_a_call_are_passed_on_as_text(given: object, passed: str) -> None:
    item = {"type": "function_call", "call_id": "c", "name": "run", "arguments": given, "status": "completed"}
    response = {"status": "completed", "output": ["odd", {"type": "message"}, item]}
    right = {**item, "arguments": passed}
    assert pass_answer(response)["output"] == ["odd", {"type": "message"}, right]
    assert (pass_answer(response) is response) == (given == passed)
    passer = EventPasser("fast")
    done = {"type": "response.output_item.done", "sequence_number": 0, "output_index": 0, "item": item}
    reported = {"type": "response.function_call_arguments.done", "sequence_number": 1, "output_index": 0, "arguments": given}
    assert [*passer.passed("", done)] == [{**done, "item": right}]
    assert next(passer.passed("", reported))["arguments"] == passed


def test_a_last_event_without_its_output_gets_it() -> None:
    passer = EventPasser("fast")
    for event in STREAM[:-1]:
        list(passer.passed("", event))
    last = STREAM[-1]
    list(passer.passed("", {**last, "response": {**last["response"], "output": []}}))
    done = [event["item"] for event in STREAM if event["type"] == "response.output_item.done"]
    assert passer.end()["response"]["output"] == passer.response["output"] == done


DELTAS = st.lists(
    st.one_of(
        st.builds(lambda said: {"content": said}, st.text(max_size=5)),
        st.builds(lambda said: {"refusal": said}, st.text(max_size=5)),
        st.builds(lambda said: {"reasoning_content": said}, st.text(max_size=5)),
        st.builds(
            lambda index, name: call(index, name, '{"input": "x"}', f"c{index}"), st.integers(0, 3), st.sampled_from(["run", "apply_patch"])
        ),
        st.builds(lambda index: call(index, arguments=" "), st.integers(0, 3)),
        st.just({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "S"}]}),
        st.just({"thinking_blocks": [{"type": "redacted_thinking", "data": "R"}]}),
    ),
    max_size=12,
)


@given(DELTAS)
def test_any_answer_keeps_the_grammar_and_reads_the_same(deltas: list[Object]) -> None:
    events = written(deltas)
    read_back = house(read(events))
    for name in ("content", "refusal", "reasoning_content"):
        assert read_back.get(name, "") == "".join(delta.get(name, "") for delta in deltas)
    calls = {piece["index"]: piece["id"] for delta in deltas for piece in reversed(delta.get("tool_calls", [])) if "id" in piece}
    assert sorted(known["id"] for known in read_back.get("tool_calls", {}).values()) == sorted(calls.values())
    last = events[-1]["response"]
    assert house([{**(body := whole(last)), "choices": [{"delta": _as_delta(body), "finish_reason": "x"}]}]).keys() >= {"finish_reason"}
    assert answers.write(answers.read(last)) == last["output"]


def _as_delta(body: Mapping[str, Any]) -> Object:
    message = dict(body["choices"][0]["message"])
    message.pop("tool_calls", None)
    return {name: value for name, value in message.items() if value}


def test_an_answer_of_another_dialect_is_written_as_items() -> None:
    answer = Answer(
        parts=(
            Thought(text="Hm.", state=State(value="S", dialect=Dialect.MESSAGES, owner=OWNER)),
            Thought(state=State(value="R", dialect=Dialect.MESSAGES, owner=OWNER), redacted=True),
            Text(text="Look."),
            ToolCall(id="c1", name="run", arguments="{}", state=state("sig", Dialect.CHAT)),
            Opaque(dialect=Dialect.RESPONSES, value={"type": "web_search_call"}),
        ),
        ending=Ending.TOOL_CALLS,
    )
    items = answers.write(answer)
    assert [item["type"] for item in items] == ["reasoning", "reasoning", "message", "function_call", "web_search_call"]
    back = answers.read({"output": items})
    assert back.ending is Ending.TOOL_CALLS
    assert [part for part in back.parts if not isinstance(part, Text)] == [part for part in answer.parts if not isinstance(part, Text)]
