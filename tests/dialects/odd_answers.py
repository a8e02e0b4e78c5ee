"""Answers as servers really write them, whole and streamed, each with its one right reading: data, and a few words to write it in.

Sources: bug reports about the servers and clients named in the comments.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
OLD_USAGE = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
COUNTED = (100, 20)
DONE = b"data: [DONE]\n\n"
ANY_ID = "?"
"""An id that the normaliser makes."""


@dataclass(frozen=True)
class Reading:
    """What a front end makes of an answer. `calls` are ids, names and arguments. `usage` is (prompt, output), None if unknown."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, Any], ...] = ()
    ending: str = "stop"
    usage: tuple[int, int] | None = COUNTED
    failure: str | None = None


@dataclass(frozen=True)
class Case:
    """A model of the odd server: its stream, its whole answer (None: it has none of that kind), and the reading of both."""

    name: str
    reading: Reading
    stream: bytes | None = None
    whole: Any = None
    status: int = 200
    tags: frozenset[str] = field(default_factory=frozenset)


def chunk(
    delta: dict[str, Any] | None = None, ending: str | None = None, *, beside: dict[str, Any] | None = None, **top: Any
) -> dict[str, Any]:
    """A chunk with one choice; `beside` is next to its delta."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": ending, **(beside or {})}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **top}


LAST = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE}


def events(*chunks: dict[str, Any] | bytes, done: bool = True) -> bytes:
    """The bytes of a stream."""
    parts = [part if isinstance(part, bytes) else b"data: " + json.dumps(part).encode() + b"\n\n" for part in chunks]
    return b"".join(parts) + (DONE if done else b"")


def piece(
    index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: Any = None, **extra: Any
) -> dict[str, Any]:
    """A piece of a tool call, with what is given only."""
    fields: dict[str, Any] = {"index": index, "id": call_id, "type": None if call_id is None else "function"}
    inner = {"name": name, "arguments": arguments}
    own = {key: value for key, value in fields.items() if value is not None}
    return {**own, "function": {key: value for key, value in inner.items() if value is not None}, **extra}


def calls(*pieces: dict[str, Any]) -> dict[str, Any]:
    """A delta with pieces of calls."""
    return {"tool_calls": list(pieces)}


def called(*deltas: dict[str, Any], ending: str | None = "tool_calls") -> bytes:
    """A stream of deltas, with usage at its end."""
    return events(chunk({"role": "assistant", "content": None}), *(chunk(delta) for delta in deltas), chunk({}, ending), LAST)


def whole(message: dict[str, Any], ending: str | None = "stop", **top: Any) -> dict[str, Any]:
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": ending}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE, **top}


def whole_call(call_id: Any, name: str, arguments: Any, **extra: Any) -> dict[str, Any]:
    """A call of a whole answer."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **extra}


LS = {"command": "ls"}
ONE = Reading(calls=(("call_a", "bash", LS),), ending="tool_calls")
TWO = Reading(calls=(("call_a", "read", {"p": 1}), ("call_b", "write", {"p": 2})), ending="tool_calls")
TWO_MADE = Reading(calls=((ANY_ID, "read", {"p": 1}), (ANY_ID, "write", {"p": 2})), ending="tool_calls")
ONE_MADE = Reading(calls=((ANY_ID, "bash", LS),), ending="tool_calls")
NO_ARGUMENTS = Reading(calls=(("call_a", "now", {}),), ending="tool_calls")
A1, A2, B1, B2 = '{"p"', ":1}", '{"p"', ":2}"

PIECES = [
    Case("right", TWO, called(calls(piece(0, "call_a", "read", A1 + A2)), calls(piece(1, "call_b", "write", B1 + B2)))),
    Case(
        "interleaved",
        TWO,
        called(
            calls(piece(0, "call_a", "read", ""), piece(1, "call_b", "write", "")),
            calls(piece(0, arguments=A1)),
            calls(piece(1, arguments=B1)),
            calls(piece(0, arguments=A2)),
            calls(piece(1, arguments=B2)),
        ),
    ),
    Case(
        "id and name in each piece",
        TWO,
        called(
            *(calls(piece(0, "call_a", "read", text)) for text in (A1, A2)),
            *(calls(piece(1, "call_b", "write", text)) for text in (B1, B2)),
        ),
    ),
    Case(
        "an empty id from the second piece on",
        ONE,
        called(calls(piece(0, "call_a", "bash", "")), calls(piece(0, "", "", '{"command"')), calls(piece(0, "", "", ':"ls"}'))),
    ),
    Case(
        "another id from the second piece on",
        ONE,
        called(calls(piece(0, "call_a", "bash", '{"command"')), calls(piece(0, "x1", None, ':"ls')), calls(piece(0, "x2", None, '"}'))),
    ),
    Case(
        "another id and the name in each piece",
        ONE,
        called(calls(piece(0, "call_a", "bash", '{"command"')), calls(piece(0, "x1", "bash", ':"ls')), calls(piece(0, "x2", "bash", '"}'))),
    ),
    Case(
        "the rest under another index",
        ONE,
        called(calls(piece(0, "call_a", "bash", "")), calls(piece(1, arguments='{"command"')), calls(piece(1, arguments=':"ls"}'))),
    ),
    Case(
        "the rest under another index, with its id",
        ONE,
        called(calls(piece(0, "call_a", "bash", '{"command"')), calls(piece(1, "call_a", None, ':"ls"}'))),
    ),
    Case(
        "the rest under another index, two calls",
        TWO,
        called(
            calls(piece(0, "call_a", "read", "")),
            calls(piece(1, arguments=A1 + A2)),
            calls(piece(2, "call_b", "write", "")),
            calls(piece(3, arguments=B1 + B2)),
        ),
    ),
    Case(
        "no index",
        TWO,
        called(
            calls(piece(None, "call_a", "read", A1)),
            calls(piece(arguments=A2)),
            calls(piece(None, "call_b", "write", B1)),
            calls(piece(arguments=B2)),
        ),
    ),
    Case("no index, in one chunk", TWO, called(calls(piece(None, "call_a", "read", A1 + A2), piece(None, "call_b", "write", B1 + B2)))),
    Case("index 0 for all, with ids", TWO, called(calls(piece(0, "call_a", "read", A1 + A2)), calls(piece(0, "call_b", "write", B1 + B2)))),
    Case(
        "index 0 for all, with ids, in one chunk",
        TWO,
        called(calls(piece(0, "call_a", "read", A1 + A2), piece(0, "call_b", "write", B1 + B2))),
    ),
    Case(
        "index 0 for all, with ids, in pieces",
        TWO,
        called(
            calls(piece(0, "call_a", "read", A1)),
            calls(piece(0, arguments=A2)),
            calls(piece(0, "call_b", "write", B1)),
            calls(piece(0, arguments=B2)),
        ),
    ),
    Case("index 0 for all, empty ids", TWO_MADE, called(calls(piece(0, "", "read", A1 + A2)), calls(piece(0, "", "write", B1 + B2)))),
    Case(
        "index 0 for all, no ids, in pieces",
        TWO_MADE,
        called(
            calls(piece(0, None, "read", A1)),
            calls(piece(0, arguments=A2)),
            calls(piece(0, None, "write", "")),
            calls(piece(0, arguments=B1 + B2)),
        ),
    ),
    Case(
        "index 0 for all, no ids, one tool",
        Reading(calls=((ANY_ID, "bash", {"command": "a"}), (ANY_ID, "bash", {"command": "b"})), ending="tool_calls"),
        called(calls(piece(0, None, "bash", '{"command":"a"}')), calls(piece(0, None, "bash", '{"command":"b"}'))),
    ),
    Case(
        "no id at all",
        TWO_MADE,
        called(
            calls(piece(0, None, "read", "")),
            calls(piece(0, arguments=A1 + A2)),
            calls(piece(1, None, "write", "")),
            calls(piece(1, arguments=B1 + B2)),
        ),
    ),
    Case(
        "neither index nor id",
        TWO_MADE,
        called(calls(piece(None, None, "read", A1)), calls(piece(arguments=A2)), calls(piece(None, None, "write", B1 + B2))),
    ),
    Case(
        "one id for all",
        Reading(calls=(("call_a", "read", {"p": 1}), (ANY_ID, "write", {"p": 2})), ending="tool_calls"),
        called(calls(piece(0, "call_a", "read", A1 + A2)), calls(piece(1, "call_a", "write", B1 + B2))),
    ),
    Case(
        "the id before the name",
        ONE,
        called(
            calls({"index": 0, "id": "call_a", "type": "function"}),
            calls(piece(0, None, "bash", "")),
            calls(piece(0, arguments='{"command":"ls"}')),
        ),
    ),
    Case(
        "the name before the id",
        ONE,
        called(calls(piece(0, None, "bash")), calls({"index": 0, "id": "call_a"}), calls(piece(0, arguments='{"command":"ls"}'))),
    ),
    Case(
        "the name in pieces",
        ONE,
        called(calls(piece(0, "call_a", "ba", "")), calls(piece(0, None, "sh", "")), calls(piece(0, arguments='{"command":"ls"}'))),
    ),
    Case(
        "the name in pieces of an unknown tool",
        Reading(calls=(("call_a", "unheard_of", {}),), ending="tool_calls"),
        called(calls(piece(0, "call_a", "unheard")), calls(piece(0, None, "_of")), calls(piece(0, arguments="{}"))),
    ),
    Case(
        "name and arguments without an object around",
        ONE,
        called({"tool_calls": [{"index": 0, "id": "call_a", "name": "bash", "arguments": '{"command":"ls"}'}]}),
        whole({"tool_calls": [{"id": "call_a", "name": "bash", "arguments": LS}]}),
    ),
    Case(
        "a single call, not in a list",
        ONE,
        called({"tool_calls": piece(0, "call_a", "bash", '{"command":"ls"}')}),
        whole({"tool_calls": whole_call("call_a", "bash", '{"command":"ls"}')}),
    ),
    Case("indexes from 1", TWO, called(calls(piece(1, "call_a", "read", A1 + A2)), calls(piece(2, "call_b", "write", B1 + B2)))),
    Case(
        "an index as text",
        ONE,
        called(
            {"tool_calls": [{"index": "0", "id": "call_a", "function": {"name": "bash", "arguments": '{"command"'}}]},
            {"tool_calls": [{"index": "0", "function": {"arguments": ':"ls"}'}}]},
        ),
    ),
    Case(
        "ids that are numbers",
        Reading(calls=(("7", "bash", LS),), ending="tool_calls"),
        called(calls({**piece(0, None, "bash", '{"command":"ls"}'), "id": 7})),
        whole({"tool_calls": [whole_call(7, "bash", '{"command":"ls"}')]}, "tool_calls"),
    ),
    Case(
        "no ids in a whole answer",
        TWO_MADE,
        None,
        whole(
            {
                "tool_calls": [
                    {"function": {"name": "read", "arguments": A1 + A2}},
                    {"id": "", "function": {"name": "write", "arguments": B1 + B2}},
                ]
            },
            "tool_calls",
        ),
    ),
    Case(
        "one id for two whole calls",
        Reading(calls=(("x", "read", {"p": 1}), (ANY_ID, "write", {"p": 2})), ending="tool_calls"),
        None,
        whole({"tool_calls": [whole_call("x", "read", A1 + A2), whole_call("x", "write", B1 + B2)]}, "tool_calls"),
    ),
]

ARGUMENTS = [
    Case(
        "arguments as an object",
        ONE,
        called(calls(piece(0, "call_a", "bash", LS))),
        whole({"tool_calls": [whole_call("call_a", "bash", LS)]}, "tool_calls"),
    ),
    Case(
        "null arguments",
        NO_ARGUMENTS,
        called({"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": {"name": "now", "arguments": None}}]}),
        whole({"tool_calls": [whole_call("call_a", "now", None)]}, "tool_calls"),
    ),
    Case(
        "empty arguments",
        NO_ARGUMENTS,
        called(calls(piece(0, "call_a", "now", ""))),
        whole({"tool_calls": [whole_call("call_a", "now", "")]}, "tool_calls"),
    ),
    Case(
        "no arguments",
        NO_ARGUMENTS,
        called(calls(piece(0, "call_a", "now"))),
        whole({"tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "now"}}]}, "tool_calls"),
    ),
    Case(
        "an empty object",
        NO_ARGUMENTS,
        called(calls(piece(0, "call_a", "now", {}))),
        whole({"tool_calls": [whole_call("call_a", "now", {})]}, "tool_calls"),
    ),
    Case(
        "an empty list",
        NO_ARGUMENTS,
        called(calls(piece(0, "call_a", "now", []))),
        whole({"tool_calls": [whole_call("call_a", "now", [])]}, "tool_calls"),
    ),
    Case(
        "the text {}",
        NO_ARGUMENTS,
        called(calls(piece(0, "call_a", "now", "")), calls(piece(0, arguments="{}"))),
        whole({"tool_calls": [whole_call("call_a", "now", "{}")]}, "tool_calls"),
    ),
    Case(
        "a placeholder before the arguments",
        ONE,
        called(calls(piece(0, "call_a", "bash", "{}")), calls(piece(0, arguments='{"command"')), calls(piece(0, arguments=':"ls"}'))),
    ),
    Case(
        "a placeholder object before the arguments",
        ONE,
        called(calls(piece(0, "call_a", "bash", {})), calls(piece(0, arguments='{"command":"ls"}'))),
    ),
    Case(
        "a placeholder behind the arguments",
        ONE,
        called(calls(piece(0, "call_a", "bash", '{"command":"ls"}')), calls(piece(0, arguments="{}"))),
    ),
    Case(
        "two calls without arguments",
        Reading(calls=(("a", "now", {}), ("b", "now", {})), ending="tool_calls"),
        called(calls(piece(0, "a", "now", "")), calls(piece(1, "b", "now", ""))),
    ),
    Case(
        "a call behind one without arguments",
        Reading(calls=(("a", "now", {}), ("b", "bash", LS)), ending="tool_calls"),
        called(calls(piece(0, "a", "now", "{}")), calls(piece(1, "b", "bash", '{"command"')), calls(piece(1, arguments=':"ls"}'))),
    ),
    # DeepSeek at Baidu Qianfan, GLM on local servers: each piece has all arguments so far.
    Case(
        "each piece has all so far",
        ONE,
        called(
            calls(piece(0, "call_a", "bash", '{"comm')),
            calls(piece(0, arguments='{"command"')),
            calls(piece(0, arguments='{"command":"ls"')),
            calls(piece(0, arguments='{"command":"ls"}')),
        ),
    ),
    Case(
        "the last piece has all",
        ONE,
        called(
            calls(piece(0, "call_a", "bash", '{"command"')),
            calls(piece(0, arguments=':"ls"}')),
            calls(piece(0, arguments='{"command": "ls"}')),
        ),
    ),
    Case(
        "all in two pieces that begin alike",
        ONE,
        called(calls(piece(0, "call_a", "bash", '{"command":')), calls(piece(0, arguments='{"command":"ls"}'))),
    ),
    Case(
        "encoded twice",
        ONE,
        called(calls(piece(0, "call_a", "bash", '"{\\"comm')), calls(piece(0, arguments='and\\":\\"ls\\"}"'))),
        whole({"tool_calls": [whole_call("call_a", "bash", json.dumps(json.dumps(LS)))]}, "tool_calls"),
    ),
    Case(
        "broken arguments stay",
        Reading(calls=(("call_a", "bash", '{"command": ls'),), ending="tool_calls"),
        called(calls(piece(0, "call_a", "bash", '{"command"')), calls(piece(0, arguments=": ls"))),
        whole({"tool_calls": [whole_call("call_a", "bash", '{"command": ls')]}, "tool_calls"),
    ),
    Case(
        "text behind a call without arguments",
        Reading(text="So.", calls=(("call_a", "now", {}),), ending="tool_calls"),
        called(calls(piece(0, "call_a", "now", "")), {"content": "So."}),
    ),
    # Gemini's own field must come back to it.
    Case(
        "a signature beside a call",
        ONE,
        called(calls(piece(0, "call_a", "bash", '{"command":"ls"}', extra_content={"google": {"thought_signature": "S"}})), ending="stop"),
        whole(
            {"tool_calls": [whole_call("call_a", "bash", '{"command":"ls"}', extra_content={"google": {"thought_signature": "S"}})]}, "stop"
        ),
    ),
]

THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
THOUGHTFUL = Reading(text="It is 4.", reasoning="Hm.")
TEXTS = [
    # Magistral: lists of parts and texts in one stream.
    Case(
        "parts",
        THOUGHTFUL,
        events(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": THOUGHT}),
            chunk({"content": "It "}),
            chunk({"content": [{"type": "text", "text": "is 4."}]}),
            chunk({"content": ""}, "stop", usage=USAGE),
        ),
        whole({"content": [*THOUGHT, {"type": "text", "text": "It is 4."}]}),
    ),
    Case(
        "texts among parts",
        THOUGHTFUL,
        events(
            chunk({"content": [{"type": "reasoning", "text": "Hm."}, "It "]}),
            chunk({"content": {"type": "text", "text": "is 4."}}),
            chunk({}, "stop"),
            LAST,
        ),
        whole({"content": [{"type": "reasoning", "text": "Hm."}, "It ", {"type": "output_text", "text": "is 4."}]}),
    ),
    Case(
        "reasoning_content",
        THOUGHTFUL,
        events(
            chunk({"role": "assistant", "content": None, "reasoning_content": "Hm."}),
            chunk({"content": "It is 4.", "reasoning_content": None}),
            chunk({}, "stop"),
            LAST,
        ),
        whole({"content": "It is 4.", "reasoning_content": "Hm."}),
    ),
    Case(
        "reasoning",
        THOUGHTFUL,
        events(
            chunk({"role": "assistant", "content": "", "reasoning": "H"}),
            chunk({"content": "", "reasoning": "m."}),
            chunk({"content": "It is 4."}),
            chunk({}, "stop"),
            LAST,
        ),
        whole({"content": "It is 4.", "reasoning": "Hm."}),
    ),
    Case(
        "thinking",
        THOUGHTFUL,
        events(chunk({"thinking": "Hm."}), chunk({"content": "It is 4."}), chunk({}, "stop"), LAST),
        whole({"content": "It is 4.", "thinking": "Hm."}),
    ),
    Case(
        "the same thought in two fields",
        THOUGHTFUL,
        events(chunk({"reasoning": "Hm.", "reasoning_content": "Hm."}), chunk({"content": "It is 4."}), chunk({}, "stop"), LAST),
        whole({"content": "It is 4.", "reasoning": "Hm.", "reasoning_content": "Hm."}),
    ),
    Case(
        "reasoning with details",
        THOUGHTFUL,
        events(
            chunk({"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}),
            chunk({"content": "It is 4."}),
            chunk({}, "stop"),
            LAST,
        ),
        whole({"content": "It is 4.", "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}),
    ),
    Case(
        "details alone",
        THOUGHTFUL,
        events(
            chunk({"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}, {"type": "reasoning.encrypted", "data": "x"}]}),
            chunk({"content": "It is 4."}),
            chunk({}, "stop"),
            LAST,
        ),
        whole({"content": "It is 4.", "reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]}),
    ),
    Case(
        "tags in the text",
        Reading(text="<think>Hm.</think>It is 4."),
        events(chunk({"content": "<think>Hm."}), chunk({"content": "</think>It is 4."}), chunk({}, "stop"), LAST),
        whole({"content": "<think>Hm.</think>It is 4."}),
    ),
    Case(
        "thoughts, text and a call",
        Reading(text="Text.", reasoning="ab", calls=(("call_a", "bash", LS),), ending="tool_calls"),
        events(
            chunk({"role": "assistant", "reasoning_content": "a"}),
            chunk({"content": "Text."}),
            chunk({"reasoning_content": "b"}),
            chunk(calls(piece(0, "call_a", "bash", '{"command":"ls"}'))),
            chunk({"content": ""}, "tool_calls"),
            LAST,
        ),
        whole(
            {"content": "Text.", "reasoning_content": "ab", "tool_calls": [whole_call("call_a", "bash", '{"command":"ls"}')]}, "tool_calls"
        ),
    ),
    Case(
        "text in a choice",
        Reading(text="Hi."),
        events(
            {"choices": [{"text": "H", "index": 0}]}, {"choices": [{"text": "i.", "index": 0, "finish_reason": "stop"}], "usage": USAGE}
        ),
        {"choices": [{"text": "Hi.", "finish_reason": "stop"}], "usage": USAGE},
    ),
    Case(
        "a message in a chunk",
        Reading(text="Hi."),
        events(
            {
                "id": "c1",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
                "usage": USAGE,
            }
        ),
    ),
    Case(
        "a message of all at the end",
        Reading(text="Hi."),
        events(
            chunk({"content": "Hi."}),
            {
                "id": "c1",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
                "usage": USAGE,
            },
        ),
    ),
    Case(
        "no head",
        Reading(text="Hi."),
        events({"choices": [{"delta": {"content": "Hi."}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"usage": USAGE}),
        {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "usage": USAGE},
    ),
]


def _ended(word: str | None, ending: str) -> Case:
    text = Reading(text="Half an ans", ending=ending)
    return Case(
        f"ending {word!r}",
        text,
        events(chunk({"role": "assistant", "content": "Half an ans"}), chunk({}, word), LAST),
        whole({"content": "Half an ans"}, word),
    )


def _call_ended(word: str | None, ending: str) -> Case:
    reading = Reading(calls=ONE.calls, ending=ending)
    return Case(
        f"call ending {word!r}",
        reading,
        called(calls(piece(0, "call_a", "bash", '{"command":"ls"}')), ending=word),
        whole({"content": None, "tool_calls": [whole_call("call_a", "bash", '{"command":"ls"}')]}, word),
    )


def _failed(word: str, kind: str) -> Case:
    return Case(
        f"ending {word!r}",
        Reading(failure=kind),
        events(chunk({"role": "assistant", "content": "Half"}), chunk({}, word), LAST),
        whole({"content": "Half"}, word),
    )


ENDINGS = [
    *(
        _ended(word, "length")
        for word in ("length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens", "MaxTokens", "FINISH_REASON_MAX_TOKENS")
    ),
    *(
        _ended(word, "stop")
        for word in (
            "stop",
            "STOP",
            "end_turn",
            "eos",
            "eos_token",
            "stop_sequence",
            "complete",
            "COMPLETE",
            "tool_use",
            "unheard-of",
            "",
            None,
        )
    ),
    *(_ended(word, "content_filter") for word in ("content_filter", "SAFETY", "RECITATION", "sensitive", "PROHIBITED_CONTENT")),
    *(
        _call_ended(word, "tool_calls")
        for word in ("tool_calls", "tool_use", "TOOL_CALLS", "function_call", "stop", "STOP", "end_turn", "unheard-of", None)
    ),
    *(_call_ended(word, "length") for word in ("length", "MAX_TOKENS")),
    *(_failed(word, "server_error") for word in ("abort", "cancelled", "error", "network_error")),
    _failed("insufficient_system_resource", "overloaded"),
    _failed("repetition_truncation", "unusable_answer"),
    _failed("MALFORMED_FUNCTION_CALL", "unusable_answer"),
    Case(
        "no ending, a call that is cut",
        Reading(failure="connection_lost"),
        events(chunk(calls(piece(0, "call_a", "bash", '{"comm'))), LAST),
    ),
]

ERROR = {"message": "Provider disconnected", "code": 502}
FAILURES = [
    Case(
        "an error beside a choice",
        Reading(failure="server_error"),
        events(chunk({"content": "Half"}), chunk({"content": ""}, "error", error=ERROR)),
        whole({"content": "Half"}, "error", error=ERROR),
    ),
    Case(
        "an error in a choice",
        Reading(failure="overloaded"),
        events(chunk({"content": "Half"}), chunk({}, "stop", beside={"error": {"code": 503, "message": "busy"}})),
        {
            **whole({"content": "Half"}),
            "choices": [{"index": 0, "message": {"content": "Half"}, "finish_reason": "stop", "error": {"code": 503, "message": "busy"}}],
        },
    ),
    Case(
        "an error as an object",
        Reading(failure="throttled"),
        events({"error": {"message": "slow down", "code": 429}}),
        {"error": {"message": "slow down", "code": 429}},
    ),
    Case(
        "an error beside no choices",
        Reading(failure="throttled"),
        events({"id": "c", "choices": [], "error": {"message": "slow down", "code": 429}}),
        {"choices": [], "error": {"message": "slow down", "code": 429}},
    ),
    Case(
        "an error as a text",
        Reading(failure="server_error"),
        events({"error": "The model has crashed."}),
        {"error": "The model has crashed."},
    ),
    Case("an error event", Reading(failure="server_error"), b'event: error\ndata: {"message":"The model has crashed."}\n\n'),
    Case(
        "an error in the middle",
        Reading(failure="overloaded"),
        events(chunk({"content": "Half"}), {"error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ),
    Case(
        "a message alone",
        Reading(failure="server_error"),
        events({"message": "Something broke", "status": 500}),
        {"message": "Something broke", "status": 500},
    ),
    Case(
        "code and msg",
        Reading(failure="authentication"),
        events({"code": 401, "msg": "token expired", "success": False}),
        {"code": 401, "msg": "token expired", "success": False},
    ),
    Case("detail", Reading(failure="server_error"), events({"detail": "Internal error"}), {"detail": "Internal error"}),
    Case(
        "a list of errors",
        Reading(failure="throttled"),
        events({"errors": [{"message": "slow down", "code": 429}]}),
        {"errors": [{"message": "slow down", "code": 429}]},
    ),
    Case(
        "MiniMax: no balance",
        Reading(failure="quota_exhausted"),
        events(
            {
                "id": "c",
                "choices": None,
                "usage": {"total_tokens": 0},
                "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"},
            }
        ),
        {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
    ),
    Case(
        "MiniMax: rate limit",
        Reading(failure="throttled"),
        events({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}),
        {"choices": [], "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
    ),
    Case(
        "MiniMax: all is well",
        Reading(text="Hi."),
        events(chunk({"role": "", "content": "Hi."}, base_resp={"status_code": 0, "status_msg": ""}), chunk({}, "stop"), LAST),
        whole({"content": "Hi."}, base_resp={"status_code": 0, "status_msg": ""}),
    ),
]

UNCOUNTED = Reading(text="Hi.", usage=None)
HI = Reading(text="Hi.")
COUNTS = [
    Case("usage before the text", UNCOUNTED, events(chunk({"content": "H"}, usage=OLD_USAGE), chunk({"content": "i."}), chunk({}, "stop"))),
    Case(
        "usage before the text and at the end",
        HI,
        events(chunk({"content": "H"}, usage=OLD_USAGE), chunk({"content": "i."}), chunk({}, "stop"), LAST),
    ),
    Case(
        "usage in the last choice",
        HI,
        events(chunk({"content": "Hi."}), chunk({}, "stop", beside={"usage": USAGE})),
        {
            **whole({"content": "Hi."}),
            "usage": None,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop", "usage": USAGE}],
        },
    ),
    Case(
        "usage of Groq",
        HI,
        events(chunk({"content": "Hi."}), chunk({}, "stop", x_groq={"id": "r", "usage": USAGE})),
        {**whole({"content": "Hi."}), "usage": None, "x_groq": {"usage": USAGE}},
    ),
    Case(
        "usage in every chunk",
        HI,
        events(
            chunk({"content": "H"}, usage=OLD_USAGE),
            chunk({"content": "i."}, usage={**USAGE, "completion_tokens": 19, "total_tokens": 119}),
            chunk({}, "stop", usage=USAGE),
        ),
    ),
    Case("usage at the end of the text", HI, events(chunk({"content": "H"}), chunk({"content": "i."}, "stop", usage=USAGE))),
    Case(
        "no usage",
        UNCOUNTED,
        events(chunk({"content": "Hi."}), chunk({}, "stop")),
        {key: value for key, value in whole({"content": "Hi."}).items() if key != "usage"},
    ),
]

FILTERS = {"hate": {"filtered": False, "severity": "safe"}}
NO_HEAD = {"id": "", "object": "", "created": 0, "model": ""}
STREAMS = [
    Case(
        "comments and events",
        HI,
        b": PROCESSING\n\n: PROCESSING\n\nevent: completion\n"
        + events(chunk({"content": "Hi."}), b': wait\n\nevent: ping\ndata: {"type": "ping"}\n\ndata: \n\n', chunk({}, "stop"), LAST),
    ),
    Case(
        "a role in each chunk",
        HI,
        events(
            *(chunk({"role": "assistant", "content": text}) for text in ("", "H", "i.", "")), chunk({"role": "assistant"}, "stop"), LAST
        ),
    ),
    Case("no [DONE]", HI, events(chunk({"content": "Hi."}), chunk({}, "stop", usage=USAGE), done=False)),
    Case(
        "chunks without choices",
        HI,
        events(
            {**NO_HEAD, "choices": []},
            chunk({"content": "Hi."}),
            {"id": "c1", "choices": None},
            {"id": "c1", "object": "x"},
            chunk({}, "stop"),
            LAST,
        ),
    ),
    Case(
        "Azure",
        HI,
        events(
            {**NO_HEAD, "choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": FILTERS}]},
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "Hi."}),
            {
                **NO_HEAD,
                "choices": [
                    {"index": 0, "finish_reason": None, "content_filter_results": FILTERS, "content_filter_offsets": {"check_offset": 1}}
                ],
            },
            chunk({}, "stop"),
            LAST,
        ),
    ),
    Case("the word null as an ending", HI, events(chunk({"content": "H"}, "null"), chunk({"content": "i."}, ""), chunk({}, "stop"), LAST)),
    Case(
        "the ending twice",
        ONE,
        called(calls(piece(0, "call_a", "bash", '{"command":"ls"}')), ending="tool_calls").removesuffix(DONE)
        + events(chunk({}, "stop"), LAST),
    ),
]

CASES = [*PIECES, *ARGUMENTS, *TEXTS, *ENDINGS, *FAILURES, *COUNTS, *STREAMS]
