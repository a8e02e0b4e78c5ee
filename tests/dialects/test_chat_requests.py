"""Chat completions' requests: what a client wrote is written again exactly so."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import JSON_VALUES
from paymaster.dialects.chat.requests import read, write

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "run", "arguments": '{"a": 1}'}}
USER = {"role": "user", "content": "hi"}
RECORDED: dict[str, dict[str, object]] = {
    "a text": {"messages": [USER]},
    "roles": {"messages": [{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant")]},
    "no messages": {"messages": []},
    "an empty text": {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]},
    "a list of one text": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    "an empty list": {"messages": [{"role": "user", "content": []}, {"role": "assistant", "content": []}]},
    "no content": {"messages": [{"role": "user"}, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1"}]},
    "null content": {"messages": [{"role": r, "content": None} for r in ("user", "assistant")]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "x": 1}, IMAGE]}]},
    "an image by address": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
    "an image as a string": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y.png"}]}]},
    "an image with more": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": None, "format": "png"}, "y": 2}]}
        ]
    },
    "an odd image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": 7}}]}]},
    "an image without an address": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    "audio": {
        "messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav", "z": 1}}]}]
    },
    "odd audio": {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": None}, {"type": "input_audio"}]}]},
    "files": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}, "cache_control": {"type": "ephemeral"}},
                    {"type": "file", "file": {"file_data": "JVBERi0="}},
                    {"type": "file", "file": {"file_data": "https://x/y.pdf", "filename": "y.pdf", "more": 1}},
                    {"type": "file", "file": {"file_data": "data:,plain"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                    {"type": "file", "file": {"file_id": 3}},
                    {"type": "file", "file": {}},
                    {"type": "file", "file": "x"},
                ],
            }
        ]
    },
    "an unknown part": {
        "messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "u"}}, {"no": "type"}, {"type": 3}]}]
    },
    "cached": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            USER,
        ],
        "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}],
    },
    "names": {"messages": [{"role": "user", "name": "ann", "content": "hi"}, {"role": "assistant", "name": "bob", "content": "ho"}]},
    "nulls": {
        "messages": [
            {"role": "assistant", "content": "x", "refusal": None, "audio": None, "tool_calls": None, "function_call": None},
            USER,
        ],
        "temperature": None,
        "tools": None,
    },
    "a refusal": {"messages": [{"role": "assistant", "content": None, "refusal": "no"}]},
    "a refusal in a part": {
        "messages": [{"role": "assistant", "content": [{"type": "text", "text": "t"}, {"type": "refusal", "refusal": "no"}]}]
    },
    "an answer's audio": {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}, "content": "x"}]},
    "annotations": {"messages": [{"role": "assistant", "content": "x", "annotations": [{"type": "url_citation"}], "prefix": True}]},
    "calls and results": {
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call_2", "index": 1}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "r"},
            {"role": "tool", "tool_call_id": "call_2", "name": "run", "content": [{"type": "text", "text": "r"}, IMAGE], "is_error": True},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "r"}], "cache_control": {"type": "ephemeral"}},
            {"role": "tool", "tool_call_id": "call_3", "content": None, "is_error": False},
            USER,
        ]
    },
    "a call with text and an empty list of calls": {
        "messages": [{"role": "assistant", "content": "x", "tool_calls": [CALL]}, {"role": "assistant", "content": "y", "tool_calls": []}]
    },
    "a call without a type": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}", "strict": 1}}], "content": ""}
        ]
    },
    "odd calls": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": ""}}]},
            {"role": "assistant", "tool_calls": ["x"]},
            {"role": "assistant", "function_call": {"name": "f"}},
            {"role": "tool", "content": "no id"},
            {"role": "nobody", "content": "x"},
            {"content": "x"},
            {"role": "user", "content": 5},
            {"role": "user", "content": ["x"]},
            {"role": "tool", "tool_call_id": "c", "content": ["x"]},
        ]
    },
    "a custom call": {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "done"},
        ],
        "tools": [
            {"type": "custom", "custom": {"name": "patch", "description": "d", "format": {"type": "text"}}},
            {
                "type": "custom",
                "custom": {"name": "g", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}},
            },
            {"type": "custom", "custom": {"name": "h", "format": {"type": "other"}}},
        ],
        "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
    },
    "functions": {
        "messages": [
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}", "x": 1}},
            {"role": "function", "name": "f", "content": "r"},
            {"role": "function", "name": "g", "content": "r"},
            {"role": "function", "content": None},
        ],
        "functions": [{"name": "f", "description": "d", "parameters": {"type": "object"}, "x": 1}, {"name": "g"}],
        "function_call": {"name": "f"},
    },
    "a function without a name": {"messages": [USER], "functions": [{"description": "nameless"}]},
    "functions by word": {"messages": [USER], "functions": [], "function_call": "auto"},
    "functions that are none": {"messages": [USER], "functions": ["x"], "function_call": "other"},
    "tools": {
        "messages": [USER],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "", "parameters": {}, "strict": True}},
            {"type": "function", "function": {"name": "g", "strict": False, "parameters": None, "more": {"a": 1}}, "y": 1},
            {"type": "function", "function": {"name": "h", "strict": None}},
            {"type": "function", "function": {}},
            {"type": "function"},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            {"type": "code_interpreter", "container": {"type": "auto"}},
            {"google_search": {}},
            {"type": "openrouter:web_search"},
        ],
        "parallel_tool_calls": False,
    },
    "no tools": {"messages": [USER], "tools": []},
    "tools that are none": {"messages": [USER], "tools": ["x"]},
    "required": {"messages": [USER], "tool_choice": "required", "parallel_tool_calls": True},
    "never": {"messages": [USER], "tool_choice": "none"},
    "another word for a choice": {"messages": [USER], "tool_choice": "any"},
    "a named tool": {"messages": [USER], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "both choices": {"messages": [USER], "tool_choice": "auto", "function_call": "none"},
    "odd choices": {"messages": [USER], "tool_choice": {"type": "function", "function": {"name": "f"}, "x": 1}, "function_call": {"x": 1}},
    "another choice": {"messages": [USER], "tool_choice": {"type": "web_search"}},
    "allowed tools": {
        "messages": [USER],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    },
    "allowed tools of both kinds": {
        "messages": [USER],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}],
            },
        },
    },
    "odd allowed tools": {"messages": [USER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{}]}}},
    "allowed tools without a mode": {"messages": [USER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}}},
    "a schema": {
        "messages": [USER],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
    },
    "any JSON": {"messages": [USER], "response_format": {"type": "json_object"}},
    "text": {"messages": [USER], "response_format": {"type": "text"}},
    "an odd schema": {"messages": [USER], "response_format": {"type": "json_schema", "json_schema": {}}},
    "limits": {"messages": [USER], "max_tokens": 5},
    "both limits": {"messages": [USER], "max_tokens": 5, "max_completion_tokens": 6},
    "an odd limit": {"messages": [USER], "max_tokens": True},
    "an effort": {"messages": [USER], "reasoning_effort": "high"},
    "an effort and thinking": {"messages": [USER], "reasoning_effort": "none", "thinking": {"type": "enabled", "budget_tokens": 2048}},
    "a router's reasoning": {"messages": [USER], "reasoning": {"max_tokens": 2000, "exclude": True}},
    "other parameters": {
        "messages": [USER],
        "temperature": 0.5,
        "stop": ["x"],
        "prediction": {"type": "content", "content": "x"},
        "web_search_options": {"search_context_size": "low"},
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "wav"},
        "metadata": {"a": "b"},
        "logit_bias": {"1": 2},
        "unknown_to_all": {"a": [1]},
    },
    "thoughts as a text": {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "hm"}]},
    "thoughts under another name": {"messages": [{"role": "assistant", "content": "x", "reasoning": "hm"}]},
    "no thoughts": {
        "messages": [{"role": "assistant", "content": "x", "reasoning_content": "", "thinking_blocks": [], "reasoning_details": []}]
    },
    "signed thoughts": {
        "messages": [
            {
                "role": "assistant",
                "content": "x",
                "reasoning_content": "ab",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "a", "signature": "sig"},
                    {"type": "thinking", "thinking": "b", "signature": ""},
                    {"type": "redacted_thinking", "data": "enc"},
                ],
            }
        ]
    },
    "thoughts that differ": {
        "messages": [
            {"role": "assistant", "content": "x", "reasoning_content": "c", "thinking_blocks": [{"type": "thinking", "thinking": "a"}]}
        ]
    },
    "odd thoughts": {
        "messages": [
            {"role": "assistant", "content": "x", "thinking_blocks": [{"type": "thinking"}, "x"], "reasoning_details": ["x"]},
            {"role": "assistant", "content": "x", "thinking_blocks": ["x"]},
        ]
    },
    "thoughts in the content": {
        "messages": [
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "text", "text": "x"}]},
            {
                "role": "assistant",
                "content": [{"type": "redacted_thinking", "data": "a"}, {"type": "thinking", "thinking": [{"type": "text"}]}],
            },
        ]
    },
    "a router's thoughts": {
        "messages": [
            {
                "role": "assistant",
                "content": "x",
                "reasoning": "s",
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "s", "id": "rs_1", "format": "openai-responses-v1", "index": 0},
                    {"type": "reasoning.encrypted", "data": "enc", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
                ],
            },
            {
                "role": "assistant",
                "content": "x",
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "s", "id": "rs_1", "format": "openai-responses-v1"},
                    {"type": "reasoning.encrypted", "data": "enc", "id": "rs_1", "format": "openai-responses-v1"},
                    {"type": "reasoning.encrypted", "data": "enc", "id": "", "format": "openai-responses-v1"},
                    {"type": "reasoning.encrypted", "data": "enc", "id": None, "format": "openai-responses-v1"},
                    {"type": "reasoning.summary", "summary": "s", "format": "openai-responses-v1"},
                    {"type": "reasoning.encrypted", "data": "enc", "format": "google-gemini-v1", "id": "t"},
                    {"type": "reasoning.text", "text": "t", "signature": "sig", "format": "anthropic-claude-v1", "index": 0},
                    {"type": "reasoning.text", "text": "t"},
                    {"type": "reasoning.text"},
                    {"type": "reasoning.new", "x": 1},
                ],
            },
        ]
    },
    "Google's signatures": {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {**CALL, "extra_content": {"google": {"thought_signature": "sig"}}},
                    {**CALL, "extra_content": {"google": {"thought_signature": "sig", "more": 1}, "other": {"a": 1}}},
                    {**CALL, "extra_content": {"google": {"more": 1}}},
                    {**CALL, "extra_content": {}},
                ],
                "extra_content": {"google": {"thought_signature": "of a text"}},
            }
        ]
    },
}


@pytest.mark.parametrize("body", RECORDED.values(), ids=RECORDED.keys())
def test_a_request_is_written_as_it_was_read(body: dict[str, object]) -> None:
    assert write(read(body)).body == body


def _objects_in(value: object) -> list[dict[str, object]]:
    """Every object of a body that a client may add a field to: not those that are passed on unread."""
    found = [value] if isinstance(value, dict) else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found + [each for item in inner for each in _objects_in(item)]


def _copy(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


MESSAGES = [message for body in RECORDED.values() for message in body["messages"]]  # type: ignore[attr-defined]  # all are lists
OTHERS = [{name: value for name, value in body.items() if name != "messages"} for body in RECORDED.values()]


@given(
    messages=st.lists(st.sampled_from(MESSAGES), max_size=4),
    others=st.sampled_from(OTHERS),
    where=st.lists(st.tuples(st.integers(0, 10**6), JSON_VALUES), max_size=3),
)
def test_fields_that_nobody_knows_are_written_again(
    messages: list[dict[str, object]], others: dict[str, object], where: list[tuple[int, object]]
) -> None:
    body = {"messages": [_copy(message) for message in messages], **{name: _copy(value) for name, value in others.items()}}
    for position, value in where:
        objects = _objects_in(body)
        objects[position % len(objects)]["unknown_to_all"] = value
    assert write(read(body)).body == body
