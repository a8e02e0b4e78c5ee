"""What chat completions makes of conversations and answers of other dialects, and what it has no word for."""

import pytest
from hypothesis import given

from conversations import OWNERS, answers
from paymaster.dialects.chat.answers import read_answer, write_answer
from paymaster.dialects.chat.requests import own_messages, passed, read, write
from paymaster.dialects.neutral import (
    Answer,
    ChoiceKind,
    Conversation,
    Document,
    Ending,
    Image,
    Opaque,
    Part,
    Role,
    ServerTool,
    State,
    Text,
    ThinkingWish,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from paymaster.dialects.state import id_with, stamped
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

ONE, TWO = OWNERS
CACHE = {"type": "ephemeral"}
THEIRS = {Dialect.MESSAGES: {"citations": {"enabled": True}}}

USER_PARTS: dict[str, tuple[Part, list[JsonObject] | str, list[str]]] = {
    "a cached text": (Text(text="a", cache=CACHE), [{"type": "text", "text": "a", "cache_control": CACHE}], []),
    "a field of another dialect": (Text(text="a", extras=THEIRS), "a", ["messages.0.content.0.citations"]),
    "an image's data": (
        Image(data="iVBO", media_type="image/png", detail="high"),
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "high"}}],
        [],
    ),
    "an image by file": (Image(file_id="file_1"), "", ["messages.0.content.0.file_id"]),
    "a document's data": (
        Document(data="JVBE", media_type="application/pdf", cache=CACHE),
        [{"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "document.pdf"}, "cache_control": CACHE}],
        [],
    ),
    "a document by address": (
        Document(url="https://x/y.pdf", title="y"),
        [{"type": "file", "file": {"file_data": "https://x/y.pdf", "filename": "y"}}],
        [],
    ),
    "a document as text": (Document(text="d"), "d", []),
    "a document as text with a title": (Document(text="d", title="t"), "d", ["messages.0.content.0.title"]),
    "a part of another dialect": (
        Opaque(dialect=Dialect.MESSAGES, value={"type": "server_tool_use"}),
        "",
        ["messages.0.content.0.server_tool_use"],
    ),
    "one that says something": (
        Opaque(dialect=Dialect.MESSAGES, value={"type": "search_result"}, text="found"),
        "found",
        ["messages.0.content.0.search_result"],
    ),
    "a thought of a user": (Thought(text="hm"), "", ["messages.0.thinking"]),
    "a call of a user": (ToolCall(id="c", name="f", arguments="{}"), "", ["messages.0.tool_calls"]),
}


@pytest.mark.parametrize(("part", "content", "dropped"), USER_PARTS.values(), ids=USER_PARTS.keys())
def test_a_part_in_a_message_of_a_user(part: Part, content: object, dropped: list[str]) -> None:
    written = write(Conversation(turns=(Turn(role=Role.USER, parts=(part,)),)))
    assert written.body == {"messages": [{"role": "user", "content": content}]}
    assert list(written.dropped) == dropped


ENCRYPTED = State(value="enc", dialect=Dialect.RESPONSES)
SIGNED = State(value="sig", dialect=Dialect.MESSAGES)
CALL = ToolCall(id="c", name="f", arguments="{}")
WRITTEN_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}

ASSISTANT_PARTS: dict[str, tuple[tuple[Part, ...], JsonObject, list[str]]] = {
    "thoughts that nobody signed": ((Thought(text="a"), Thought(text="b")), {"content": None, "reasoning_content": "a\n\nb"}, []),
    "a signed thought": (
        (Thought(text="a", state=SIGNED), Text(text="t")),
        {"content": "t", "thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": "sig"}]},
        [],
    ),
    "a redacted thought": (
        (Thought(redacted=True, state=SIGNED),),
        {"content": None, "thinking_blocks": [{"type": "redacted_thinking", "data": "sig"}]},
        [],
    ),
    "encrypted reasoning": (
        (Thought(text="a", state=ENCRYPTED, extras={Dialect.RESPONSES: {"id": "rs_1", "phase": "x"}}),),
        {
            "content": None,
            "reasoning_details": [
                {"type": "reasoning.summary", "format": "openai-responses-v1", "summary": "a", "id": "rs_1"},
                {"type": "reasoning.encrypted", "format": "openai-responses-v1", "data": "enc", "id": "rs_1"},
            ],
        },
        ["messages.0.phase"],
    ),
    "a thought that only names its writer": (
        (Thought(text="a", state=State(value="", dialect=Dialect.CHAT, owner=ONE)),),
        {"content": None, "thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": f"pm1_{ONE}_c_"}]},
        [],
    ),
    "a thought without a word of state": (
        (Thought(text="a", state=State(value="", dialect=Dialect.CHAT)),),
        {"content": None, "reasoning_content": "a"},
        [],
    ),
    "thoughts of several kinds": (
        (Thought(text="a"), Thought(text="b", state=SIGNED)),
        {"content": None, "reasoning_content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "b", "signature": "sig"}]},
        ["messages.0.order"],
    ),
    "text behind a call": ((CALL, Text(text="t")), {"content": "t", "tool_calls": [WRITTEN_CALL]}, ["messages.0.order"]),
    "a result": ((Text(text="t"), ToolResult(call_id="c", parts=())), {"content": "t"}, ["messages.0.tool_result"]),
    "a refusal": ((Text(text="no", refusal=True),), {"content": None, "refusal": "no"}, []),
    "a cached call in a group": (
        (ToolCall(id="c", name="f", arguments="{}", namespace="g", cache=CACHE),),
        {"content": None, "tool_calls": [{**WRITTEN_CALL, "function": {"name": "g__f", "arguments": "{}"}, "cache_control": CACHE}]},
        [],
    ),
    "a custom call": (
        (ToolCall(id="c", name="f", arguments='say "ß"', custom=True),),
        {"content": None, "tool_calls": [{**WRITTEN_CALL, "function": {"name": "f", "arguments": '{"input": "say \\"ß\\""}'}}]},
        [],
    ),
    "a call with state": (
        (ToolCall(id="c", name="f", arguments="{}", state=State(value="s", dialect=Dialect.CHAT)),),
        {"content": None, "tool_calls": [{**WRITTEN_CALL, "extra_content": {"google": {"thought_signature": "s"}}}]},
        [],
    ),
    "a call with another dialect's state": (
        (ToolCall(id="c", name="f", arguments="{}", state=SIGNED),),
        {"content": None, "tool_calls": [WRITTEN_CALL]},
        ["messages.0.tool_calls.0.state"],
    ),
}


@pytest.mark.parametrize(("parts", "message", "dropped"), ASSISTANT_PARTS.values(), ids=ASSISTANT_PARTS.keys())
def test_parts_in_a_message_of_an_assistant(parts: tuple[Part, ...], message: JsonObject, dropped: list[str]) -> None:
    written = write(Conversation(turns=(Turn(role=Role.ASSISTANT, parts=parts),)))
    assert written.body == {"messages": [{"role": "assistant", **message}]}
    assert list(written.dropped) == dropped


def test_results_come_before_all_else_of_their_turn() -> None:
    image = Image(url="https://x/y.png")
    results = (ToolResult(call_id="a", parts=(Text(text="r"), image), is_error=True, cache=CACHE), ToolResult(call_id="b", parts=()))
    written = write(Conversation(turns=(Turn(role=Role.USER, parts=(Text(text="t"), *results)),)))
    shown = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    assert written.body["messages"] == [
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "r"}, shown], "is_error": True, "cache_control": CACHE},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": "t"},
    ]
    assert written.dropped == ("messages.0.order",)


def test_wishes_of_other_dialects() -> None:
    conversation = Conversation(
        turns=(),
        tools=(
            Tool(name="patch", description="d", custom=True, format={"type": "grammar", "syntax": "lark"}),
            ServerTool(dialect=Dialect.RESPONSES, value={"type": "web_search"}),
        ),
        choice=ToolChoice(kind=ChoiceKind.AUTO, names=("patch",), parallel=False),
        schema={"name": "n", "schema": {}},
        output_tokens=7,
        params={"temperature": 0},
        extras={Dialect.MESSAGES: {"container": "c"}},
    )
    written = write(conversation)
    parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"], "additionalProperties": False}
    function = {"type": "function", "function": {"name": "patch"}}
    assert written.body == {
        "messages": [],
        "tools": [
            {"type": "function", "function": {"name": "patch", "description": "d", "parameters": parameters}},
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function]}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "max_completion_tokens": 7,
        "temperature": 0,
    }
    assert written.dropped == ("container", "tools.0.format")


@pytest.mark.parametrize(
    ("wish", "params"),
    [
        (ThinkingWish(effort="high"), {"reasoning_effort": "high"}),
        (ThinkingWish(effort="low", adaptive=True), {"reasoning_effort": "low", "thinking": {"type": "adaptive"}}),
        (ThinkingWish(budget_tokens=2048), {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (ThinkingWish(off=True), {"thinking": {"type": "disabled"}}),
        (ThinkingWish(), {}),
    ],
)
def test_a_wish_to_think_in_the_words_of_chat(wish: ThinkingWish, params: JsonObject) -> None:
    assert write(Conversation(turns=(), thinking=wish)).body == {"messages": [], **params}


@pytest.mark.parametrize(
    ("params", "wish"),
    [
        ({"reasoning_effort": "none"}, (True, "none", None, False)),
        ({"thinking": {"type": "disabled"}}, (True, "", None, False)),
        ({"thinking": {"type": "adaptive"}}, (False, "", None, True)),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, (True, "", 0, False)),
        ({"reasoning": {"enabled": False}}, (True, "", None, False)),
        ({"reasoning": {"effort": "high", "max_tokens": True}}, (False, "high", None, False)),
    ],
)
def test_a_wish_to_think_is_read(params: JsonObject, wish: tuple[object, ...]) -> None:
    found = read({"messages": [], **params}).thinking
    assert found is not None
    assert (found.off, found.effort, found.budget_tokens, found.adaptive) == wish


def test_a_message_that_is_no_object_is_an_error() -> None:
    with pytest.raises(ValueError, match="messages must be objects"):
        read({"messages": ["x"]})


GEMINI = State(value="s", dialect=Dialect.CHAT, owner=ONE)
HISTORY: list[JsonObject] = [
    {
        "role": "assistant",
        "content": "x",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "a", "signature": stamped(State(value="", dialect=Dialect.CHAT, owner=ONE))},
            {"type": "redacted_thinking", "data": stamped(State(value="r", dialect=Dialect.MESSAGES, owner=TWO))},
        ],
        "tool_calls": [
            {**WRITTEN_CALL, "id": id_with("c", GEMINI)},
            {**WRITTEN_CALL, "id": "d", "extra_content": {"google": {"thought_signature": stamped(GEMINI)}}},
        ],
    },
    {"role": "tool", "tool_call_id": id_with("c", GEMINI), "content": "r"},
    {"role": "user", "content": "go on"},
]
SIGNED_CALL = {**WRITTEN_CALL, "extra_content": {"google": {"thought_signature": "s"}}}


def test_a_model_reads_its_own_state_in_plain_words() -> None:
    messages, dropped = own_messages(HISTORY, ONE)
    assert messages == [
        {"role": "assistant", "content": "x", "reasoning_content": "a", "tool_calls": [SIGNED_CALL, {**SIGNED_CALL, "id": "d"}]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {"role": "user", "content": "go on"},
    ]
    assert dropped == ("messages.0.thinking",)


def test_another_model_reads_none() -> None:
    messages, dropped = own_messages(HISTORY, "0" * 12)
    assert messages[0] == {"role": "assistant", "content": "x", "tool_calls": [WRITTEN_CALL, {**WRITTEN_CALL, "id": "d"}]}
    assert dropped == ("messages.0.thinking", "messages.0.tool_calls.state")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "x"},
        {"role": "tool", "tool_call_id": None, "content": "x"},
        {"role": "assistant", "tool_calls": ["x", {"id": 1}], "thinking_blocks": ["x", {"signature": "pm1_x"}], "reasoning_details": None},
    ],
)
def test_messages_without_state_of_a_known_writer_stay_the_very_same(message: JsonObject) -> None:
    messages = [message]
    assert own_messages(messages, ONE)[0] is messages


def test_a_body_without_messages_passes() -> None:
    assert passed({"input": "x"}, ONE).body == {"input": "x"}


def _choice(message: JsonObject, ending: str | None, index: int = 0) -> JsonObject:
    return {"index": index, "message": {"role": "assistant", **message}, "finish_reason": ending}


WHOLE: dict[str, list[JsonObject]] = {
    "a text": [{**_choice({"content": "x", "refusal": None}, "stop"), "logprobs": None}],
    "calls": [_choice({"content": None, "tool_calls": [WRITTEN_CALL]}, "tool_calls")],
    "an older call": [_choice({"content": None, "function_call": {"name": "f", "arguments": ""}}, "function_call")],
    "no ending": [_choice({"content": "x", "reasoning_content": "hm"}, None)],
    "several": [_choice({"content": "a", "annotations": []}, "stop"), _choice({"content": "b"}, "length", 1)],
}
AROUND = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 1}, "service_tier": None}


@pytest.mark.parametrize("around", [AROUND, {"object": "chat.completion"}])
@pytest.mark.parametrize("choices", WHOLE.values(), ids=WHOLE.keys())
def test_an_answer_is_written_as_it_was_read(choices: list[JsonObject], around: JsonObject) -> None:
    body = {**around, "choices": choices}
    assert write_answer(read_answer(body)).body == body


@given(answer=answers())
def test_an_answer_is_read_as_it_was_written(answer: Answer) -> None:
    written = write_answer(answer)
    read_back = read_answer(written.body)
    assert written.dropped == ()
    assert (read_back.parts, read_back.ending) == (answer.parts, answer.ending)


def test_an_answer_of_another_dialect() -> None:
    answer = Answer(parts=(Text(text="x"),), ending=Ending.STOP, stop_sequence="END", extras={Dialect.MESSAGES: {"container": "c"}})
    written = write_answer(answer)
    assert written.dropped == ("container", "stop_sequence")


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": ["x"]}, {"choices": [{"message": "x"}]}])
def test_an_answer_without_a_message_is_an_error(body: JsonObject) -> None:
    with pytest.raises(ValueError, match="a choice with a message"):
        read_answer(body)
