"""Requests in Anthropic's format: what is read is written again, and what the API refuses is never written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthropic_server import refusal_of
from conversations import JSON_VALUES, NAMES, conversations
from paymaster.dialects.chat import requests as chat
from paymaster.dialects.messages.blocks import BlockWriter, arguments_text, read_block
from paymaster.dialects.messages.cache_points import POINTS
from paymaster.dialects.messages.claude_models import fit_body
from paymaster.dialects.messages.requests import pass_request, read_request, write_request
from paymaster.dialects.messages.wishes import wants_thinking
from paymaster.dialects.neutral import (
    Audio,
    ChoiceKind,
    Conversation,
    Image,
    Opaque,
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
from paymaster.dialects.state import id_with, owner_of, stamped
from paymaster.errors import RequestInvalid
from paymaster.registry.models import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

HELLO = [{"role": "user", "content": "Hello"}]
MARK = {"type": "ephemeral", "ttl": "1h"}
OWN, OTHER = owner_of("anthropic", "claude"), owner_of("deepseek", "v4")
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}

BLOCKS: dict[str, dict[str, object]] = {
    "text": {"type": "text", "text": "Hi."},
    "text-cached": {"type": "text", "text": "Hi.", "cache_control": MARK},
    "text-cited": {"type": "text", "text": "So.", "citations": [{"type": "char_location", "cited_text": "x", "document_index": 0}]},
    "image": {"type": "image", "source": PNG, "cache_control": MARK},
    "image-url": {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    "image-file": {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
    "image-of-another-kind": {"type": "image", "source": {"type": "memory", "key": "x"}},
    "pdf": {
        "type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, "title": "Report",
        "context": "From 2026.", "citations": {"enabled": True}, "cache_control": MARK,
    },
    "pdf-url": {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    "pdf-file": {"type": "document", "source": {"type": "file", "file_id": "file_2"}},
    "document-text": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Sales rose."}, "title": "Note"},
    "document-blocks": {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Sales rose."}]}},
    "document-of-other-blocks": {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": PNG}, "Text."]}},
    "search-result": {"type": "search_result", "source": "https://x", "title": "X", "content": [{"type": "text", "text": "Y"}]},
    "container-upload": {"type": "container_upload", "file_id": "file_3"},
    "unknown": {"type": "hologram", "data": {"x": [1, None]}},
    "call": {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"path": ".", "deep": [1.5, None, True]}},
    "call-of-a-program": {"type": "tool_use", "id": "toolu_2", "name": "ls", "input": {}, "caller": {"type": "direct"}},
    "call-with-broken-arguments": {"type": "tool_use", "id": "toolu_3", "name": "ls", "input": {"_unparsed": '{"a": '}},
    "result": {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt"},
    "result-empty": {"type": "tool_result", "tool_use_id": "toolu_1"},
    "result-of-an-error": {
        "type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "cache_control": MARK,
        "content": [{"type": "text", "text": "no"}, {"type": "image", "source": PNG}, {"type": "tool_reference", "tool_name": "ls"}],
    },
    "thought": {"type": "thinking", "thinking": "Hmm.", "signature": "c2ln"},
    "thought-without-text": {"type": "thinking", "thinking": "", "signature": "c2ln"},
    "thought-unsigned": {"type": "thinking", "thinking": "Hmm.", "signature": ""},
    "thought-sealed": {"type": "redacted_thinking", "data": "c2VhbGVk"},
    "server-tool": {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    "server-result": {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result"}]},
    "code": {"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_2", "content": {"stdout": "1"}},
    "mcp": {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "x", "server_name": "s", "input": {}},
    "compaction": {"type": "compaction", "content": "They said hello.", "encrypted_content": "x"},
}  # fmt: skip

WISHES: dict[str, dict[str, object]] = {
    "nothing": {},
    "system": {"system": "Be brief."},
    "system-cached": {"system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}, {"type": "text", "text": "Be kind."}]},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["END"]},
    "tier": {"service_tier": "standard_only", "inference_geo": "us", "speed": "fast"},
    "tier-auto": {"service_tier": "auto"},
    "budget": {"thinking": {"type": "enabled", "budget_tokens": 2_048, "display": "omitted"}},
    "adaptive": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max", "task_budget": {"type": "tokens", "total": 1}}},
    "disabled": {"thinking": {"type": "disabled"}},
    "effort": {"output_config": {"effort": "low"}},
    "schema": {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}},
    "odd-schema": {"output_config": {"format": {"type": "regex", "pattern": "x"}}},
    "odd-output-format": {"output_format": {"type": "regex", "pattern": "x"}},
    "metadata": {"metadata": {"user_id": "user_" + "a" * 186, "session": "s"}},
    "container": {"container": {"id": "c1", "skills": [{"skill_id": "xlsx"}]}, "mcp_servers": [{"type": "url", "url": "https://x"}]},
    "context": {"context_management": {"edits": [{"type": "compact_20260112"}]}, "cache_control": MARK, "betas": ["x-2026-01-01"]},
    "fallbacks": {"fallbacks": [{"model": "claude-haiku-5-5"}], "thread": {"type": "create"}},
    "unknown": {"telepathy": {"on": True}},
    "choice": {"tools": [{"name": "ls", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "ls"}},
    "choice-any": {
        "tools": [{"name": "ls", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    },
    "tools": {
        "tools": [
            {
                "name": "ls", "description": "Lists.", "input_schema": {"type": "object", "properties": {"p": {"type": "string"}}},
                "strict": True, "cache_control": MARK, "input_examples": [{"p": "."}], "eager_input_streaming": True,
                "defer_loading": True, "allowed_callers": ["direct"],
            },
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
        ],
        "tool_choice": {"type": "none"},
    },
}  # fmt: skip


def plain(body: Mapping[str, object]) -> dict[str, object]:
    """A body with all that says the same said in one way: a lone text as a string."""
    messages = body["messages"]
    assert isinstance(messages, list)
    return {**body, "messages": [{**message, "content": _plain(message["content"])} for message in messages]}


def _plain(content: object) -> object:
    return content[0]["text"] if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"} else content


def again(body: Mapping[str, object]) -> dict[str, object]:
    written = write_request(read_request(body), signed=False)
    assert written.dropped == ()
    return written.body


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_block_is_written_as_it_was_read(block: dict[str, object]) -> None:
    role = "user" if block["type"] in ("tool_result", "image", "document", "search_result", "container_upload") else "assistant"
    body = {"max_tokens": 5, "messages": [*HELLO, {"role": role, "content": [block, BLOCKS["text"]]}]}
    if role == "user":
        body["messages"] = [{"role": "assistant", "content": "x"}, {"role": role, "content": [block, BLOCKS["text"]]}]
    assert again(body) == body


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_a_wish_is_written_as_it_was_read(wish: dict[str, object]) -> None:
    body = {"max_tokens": 5, "messages": HELLO, **wish}
    assert again(body) == body


def test_system_messages_within_a_conversation_keep_their_place_and_fields() -> None:
    later = {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": MARK}], "clear_at": "next_user_message"}
    body = {"max_tokens": 5, "system": "S", "messages": [*HELLO, later, {"role": "assistant", "content": "Yes."}, *HELLO]}
    assert again(body) == body


_SAID = {"user": ["image", "pdf", "search-result", "text", "text-cached"], "assistant": ["text-cited", "server-tool", "thought", "text"]}


@given(
    turns=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=4),
    wishes=st.lists(st.sampled_from(list(WISHES)), max_size=4, unique=True),
    unknown=st.dictionaries(NAMES.map("x_{}".format), JSON_VALUES.filter(lambda value: value is not None), max_size=2),
)
def test_a_request_is_written_as_it_was_read(turns: list[list[int]], wishes: list[str], unknown: dict[str, object]) -> None:
    messages = []
    for index, numbers in enumerate(turns):
        role = ("user", "assistant")[index % 2]
        messages.append({"role": role, "content": [{**BLOCKS[_SAID[role][number]], "x_field": number} for number in numbers]})
    body: dict[str, object] = {"max_tokens": 5, "messages": [*messages, *([] if len(turns) % 2 else HELLO)]}
    for name in wishes:
        body |= WISHES[name]
    if "tool_choice" in body and "tools" not in body:
        del body["tool_choice"]
    body |= unknown
    assert plain(again(body)) == plain(body)


def asks(*parts: object, role: Role = Role.USER) -> Turn:
    return Turn(role=role, parts=parts)  # type: ignore[arg-type]  # parts of every kind


def says(*parts: object) -> Turn:
    return asks(*parts, role=Role.ASSISTANT)


def written(*turns: Turn, owner: str = OWN, **fields: object) -> tuple[list[object], tuple[str, ...]]:
    found = write_request(Conversation(turns=turns, **fields), owner)  # type: ignore[arg-type]  # fields of every type
    messages = found.body["messages"]
    assert isinstance(messages, list)
    return messages, found.dropped


def test_sides_alternate_and_results_come_first_behind_their_calls() -> None:
    first, second = ToolCall(id="a", name="ls", arguments="{}"), ToolCall(id="b", name="ls", arguments="{}")
    messages, dropped = written(
        asks(Text(text="Go.")),
        asks(Text(text=" ")),
        says(Text(text=""), first, second),
        asks(Text(text="And?")),
        asks(ToolResult(call_id="b", parts=(Text(text="2"),))),
        asks(ToolResult(call_id="a", parts=()), Text(text="Well?")),
    )
    assert messages == [
        {"role": "user", "content": "Go."},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "ls", "input": {}},
                {"type": "tool_use", "id": "b", "name": "ls", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "b", "content": "2"},
                {"type": "tool_result", "tool_use_id": "a"},
                {"type": "text", "text": "And?"},
                {"type": "text", "text": "Well?"},
            ],
        },
    ]
    assert dropped == ()


@pytest.mark.parametrize("call_id", ["functions.ls:0", "", "call|1", "ß" * 50, "call_1"])
def test_a_call_and_its_result_keep_one_id_that_the_api_takes(call_id: str) -> None:
    messages, _ = written(
        asks(Text(text="Go.")), says(ToolCall(id=call_id, name="ls", arguments="")), asks(ToolResult(call_id=call_id, parts=()))
    )
    assert refusal_of({"model": "claude", "max_tokens": 5, "messages": messages}) is None
    assert (messages[1]["content"][0]["id"] == call_id) is (call_id == "call_1")  # type: ignore[index]  # as the API has them


@pytest.mark.parametrize(
    ("ids", "sent"),
    [
        (("call_0", "call_0", "call_0", "call_0_2"), ["call_0", "call_0_3", "call_0_4", "call_0_2"]),
        (("a", "b", "a"), ["a", "b", "a_2"]),
        (("a", "b", "c"), ["a", "b", "c"]),
    ],
)
def test_each_call_has_an_id_of_its_own(ids: tuple[str, ...], sent: list[str]) -> None:
    """Some servers count anew in every answer, and the API refuses a conversation that has an id twice."""
    called = [says(ToolCall(id=each, name="ls", arguments="")) for each in ids]
    results = [asks(ToolResult(call_id=each, parts=(Text(text=str(at)),)), Text(text="On.")) for at, each in enumerate(ids)]
    messages, _ = written(asks(Text(text="Go.")), *(turn for pair in zip(called, results, strict=True) for turn in pair))
    assert refusal_of({"model": "claude", "max_tokens": 5, "messages": messages}) is None
    assert [message["content"][0]["id"] for message in messages[1::2]] == sent  # type: ignore[index]  # as the API has them
    found = [message["content"][0] for message in messages[2::2]]  # type: ignore[index]  # as the API has them
    assert [(block["tool_use_id"], block["content"]) for block in found] == [(each, str(at)) for at, each in enumerate(sent)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"a": 1}', {"a": 1}), ("", {}), ("[1]", {"_unparsed": [1]}), ('{"a": ', {"_unparsed": '{"a": '}), ('"x"', {"_unparsed": "x"})],
)
def test_arguments_are_an_object(arguments: str, expected: object) -> None:
    messages, _ = written(asks(Text(text="Go.")), says(ToolCall(id="a", name="ls", arguments=arguments)))
    assert messages[1]["content"][0]["input"] == expected  # type: ignore[index]  # as the API has them


def test_arguments_of_any_shape_are_json_text() -> None:
    assert [arguments_text(given) for given in (None, {}, {"a": 1}, '{"a":', {"_unparsed": "{"}, {"_unparsed": [1]})] == [
        "{}", "{}", '{"a":1}', '{"a":', "{", '{"_unparsed":[1]}',
    ]  # fmt: skip


def test_instructions_alone_are_what_is_said() -> None:
    assert written(asks(Text(text="Be brief."), role=Role.SYSTEM))[0] == [{"role": "user", "content": "Be brief."}]


def test_an_answer_to_continue_does_not_end_in_white_space() -> None:
    assert written(asks(Text(text="Go.")), says(Text(text="The \n")))[0][1] == {"role": "assistant", "content": "The"}
    cited = {Dialect.MESSAGES: {"citations": []}}
    ending = written(asks(Text(text="Go.")), says(Text(text="A"), Text(text="B ", extras=cited)))[0][1]
    assert ending["content"][1]["text"] == "B"  # type: ignore[index]  # as the API has them
    thought = Thought(state=State(value="s", dialect=Dialect.MESSAGES), redacted=True)
    assert written(asks(Text(text="Go.")), says(Text(text="A "), thought))[0][1]["content"][0]["text"] == "A "  # type: ignore[index]  # as the API has it


def test_thoughts_go_to_the_model_that_wrote_them() -> None:
    own = Thought(text="a", state=State(value="sig", dialect=Dialect.MESSAGES, owner=OWN))
    unstamped = Thought(text="b", state=State(value="sig2", dialect=Dialect.MESSAGES))
    others = (
        Thought(text="c", state=State(value="", dialect=Dialect.CHAT, owner=OTHER)),
        Thought(text="d", state=State(value="x", dialect=Dialect.MESSAGES, owner=OTHER)),
        Thought(text="e", state=State(value="x", dialect=Dialect.RESPONSES, owner=OWN)),
        Thought(text="f"),
    )
    messages, dropped = written(asks(Text(text="Go.")), says(own, *others, unstamped, Text(text="So.")), asks(Text(text="?")))
    assert messages[1]["content"] == [  # type: ignore[index]  # as the API has them
        {"type": "thinking", "thinking": "a", "signature": "sig"},
        {"type": "thinking", "thinking": "b", "signature": "sig2"},
        {"type": "text", "text": "So."},
    ]
    assert dropped == ("messages.thinking",)


def test_a_client_gets_every_state_with_its_stamp() -> None:
    writer = BlockWriter(stamps=True)
    state = State(value="sig", dialect=Dialect.CHAT, owner=OTHER)
    sealed = State(value="enc", dialect=Dialect.RESPONSES, owner=OTHER)
    call = ToolCall(id="a", name="ls", arguments="{}", state=state)
    parts = (Thought(text="a", state=state), Thought(state=sealed), Thought(text="b"), call)
    blocks = writer.blocks(parts, "content")
    assert blocks == [
        {"type": "thinking", "thinking": "a", "signature": stamped(state)},
        {"type": "redacted_thinking", "data": stamped(sealed)},
        {"type": "thinking", "thinking": "b", "signature": ""},
        {"type": "tool_use", "id": id_with("a", state), "name": "ls", "input": {}},
    ]
    read = [read_block(block, "x") for block in blocks]
    assert [part.state for part in read if isinstance(part, Thought | ToolCall)] == [state, sealed, None, state]


def test_what_has_no_word_is_named() -> None:
    turn = asks(
        Text(text="Go.", extras={Dialect.CHAT: {"annotations": []}}),
        Audio(data="x", format="wav"),
        Image(url="https://x", detail="low"),
        Opaque(dialect=Dialect.RESPONSES, value={"type": "computer_screenshot"}),
        Opaque(dialect=Dialect.CHAT, value={}, text="As text."),
    )
    tools = (
        ServerTool(dialect=Dialect.RESPONSES, value={"type": "file_search"}),
        Tool(name="patch", custom=True, format={"type": "grammar"}, strict=True),
        Tool(name="ls", namespace="fs", description="Lists.", parameters={"properties": {}}, extras={Dialect.CHAT: {"x": 1}}),
        Tool(name="rm"),
    )
    found = write_request(
        Conversation(
            turns=(Turn(role=Role.USER, parts=turn.parts, extras={Dialect.CHAT: {"name": "Al"}}),),
            tools=tools,
            choice=ToolChoice(kind=ChoiceKind.REQUIRED, names=("patch", "ls"), extras={Dialect.CHAT: {"y": 1}}),
            thinking=ThinkingWish(effort="high"),
            schema={},
            params={"seed": 1, "n": 1, "stop": ["END", " "], "user": "u", "temperature": 1.5, "service_tier": "flex", "top_k": None},
            extras={Dialect.RESPONSES: {"truncation": "auto"}},
        )
    )
    assert found.dropped == (
        "truncation", "messages.annotations", "messages.audio", "messages.computer_screenshot", "messages.chat", "messages.name",
        "tools.file_search", "tools.format", "tools.x", "tool_choice.y", "reasoning_effort", "response_format", "seed", "stop",
        "service_tier",
    )  # fmt: skip
    assert found.body["tools"] == [
        {"name": "patch", "input_schema": {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}},
        {"name": "fs__ls", "description": "Lists.", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert found.body["tool_choice"] == {"type": "any"}
    assert (found.body["stop_sequences"], found.body["metadata"], found.body["temperature"]) == (["END"], {"user_id": "u"}, 1)


def test_a_chat_client_may_use_words_of_anthropic_s() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2_000, "display": "omitted"}
    wish = ThinkingWish(budget_tokens=2_000, own={Dialect.CHAT: {"thinking": thinking}})
    params = {"output_config": {"effort": "low"}, "metadata": {"user_id": "u", "x": "y"}, "context_management": {"edits": []}, "min_p": 1}
    found = write_request(Conversation(turns=(asks(Text(text="Go.")),), thinking=wish, params=params))
    assert {name: value for name, value in found.body.items() if name != "messages"} == {
        "thinking": thinking,
        "output_config": {"effort": "low"},
        "metadata": {"user_id": "u"},
        "context_management": {"edits": []},
    }
    assert found.dropped == ("metadata", "min_p")


def test_markers_of_chat_messages_and_functions_are_their_last_block_s() -> None:
    mark = {"type": "ephemeral"}
    body = {
        "messages": [
            {"role": "system", "content": "S", "cache_control": mark},
            {"role": "user", "content": "Hi", "cache_control": mark, "name": "Al"},
            {"role": "assistant", "content": "", "cache_control": mark},
        ],
        "tools": [{"type": "function", "function": {"name": "ls", "cache_control": mark}}],
    }
    found = write_request(chat.read(body))
    assert found.body == {
        "system": [{"type": "text", "text": "S", "cache_control": mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": mark}]}],
        "tools": [{"name": "ls", "input_schema": {"type": "object", "properties": {}}, "cache_control": mark}],
    }
    assert found.dropped == ("messages.name",)


def test_points_to_cache_become_markers() -> None:
    mark, hour = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
    body = {"system": "S", "messages": [*HELLO, {"role": "assistant", "content": [BLOCKS["call"]]}, {"role": "user", "content": []}]}
    points: list[object] = [
        {"location": "message", "role": "system"}, {"location": "message", "index": -2, "control": hour},
        {"location": "message", "role": "user"}, {"index": 9}, "odd",
    ]  # fmt: skip
    assert fit_body({**body, POINTS: points}, "deepseek").body == {
        "system": [{"type": "text", "text": "S", "cache_control": mark}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": mark}]},
            {"role": "assistant", "content": [{**BLOCKS["call"], "cache_control": hour}]},
            {"role": "user", "content": []},
        ],
    }
    assert fit_body({POINTS: None}, "deepseek").body == {"messages": []}


def test_stops_without_a_word_are_left_out() -> None:
    for stop, kept in (("END", ["END"]), (" ", None)):
        body = write_request(Conversation(turns=(asks(Text(text="Go.")),), params={"stop": stop})).body
        assert body.get("stop_sequences") == kept
    assert write_request(Conversation(turns=(asks(Text(text="Go.")),), tools=(Tool(name="ls"),))).body["tools"] == [
        {"name": "ls", "input_schema": {"type": "object", "properties": {}}}
    ]
    assert [wants_thinking({"thinking": {"type": kind}}) for kind in ("enabled", "adaptive", "disabled")] == [True, True, False]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (ThinkingWish(effort="minimal"), {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}}),
        (ThinkingWish(effort="high", shown=False), {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (ThinkingWish(budget_tokens=2_000), {"thinking": {"type": "enabled", "budget_tokens": 2_000}}),
        (ThinkingWish(effort="none"), {"thinking": {"type": "disabled"}}),
        (ThinkingWish(off=True), {"thinking": {"type": "disabled"}}),
    ],
)
def test_thinking_of_another_dialect_is_said_in_its_words(wish: ThinkingWish, expected: dict[str, object]) -> None:
    body = write_request(Conversation(turns=(asks(Text(text="Go.")),), thinking=wish)).body
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


@pytest.mark.parametrize("strict", [True, None])
def test_a_schema_that_is_not_strict_is_closed_as_the_api_demands(strict: bool | None) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}}}, "required": ["a"]}
    shape = {"name": "x", "schema": schema, **({"strict": strict} if strict else {})}
    body = write_request(Conversation(turns=(asks(Text(text="Go.")),), schema=shape)).body
    found = json.dumps(body["output_config"])
    assert found.count('"additionalProperties": false') == (0 if strict else 2)


@given(conversation=conversations())
def test_no_conversation_is_refused_for_its_form(conversation: Conversation) -> None:
    body = {**write_request(conversation, OWN).body, "model": "claude", "max_tokens": 5}
    assert refusal_of(body) is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": ["x"]},
        {"messages": [{"role": ["user"], "content": "x"}]},
        {"messages": [{"role": "user", "content": [5]}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        {"messages": HELLO, "tools": "ls"},
        {"messages": HELLO, "tools": [{"type": "custom"}]},
        {"messages": HELLO, "tool_choice": {"type": ["any"]}},
        {"messages": HELLO, "system": [{"type": "image", "source": PNG}]},
        {"messages": HELLO, "max_tokens": None},
        {"messages": HELLO, "thinking": {"type": "enabled", "budget_tokens": True}},
    ],
)
def test_an_invalid_request_is_refused_with_its_place(body: dict[str, object]) -> None:
    with pytest.raises(RequestInvalid, match=r"messages|system|tools|tool_choice|max_tokens|thinking"):
        read_request({"max_tokens": 5, **body})


def test_a_request_passes_as_it_came_but_for_the_state_of_others() -> None:
    body = {"model": "claude", "max_tokens": 5, "stream": True, "messages": [*HELLO, {"role": "assistant", "content": [BLOCKS["thought"]]}]}
    passed = pass_request(body, OWN)
    assert (passed.body, passed.dropped) == (body, ())
    assert passed.body["messages"] is body["messages"]
    assert pass_request({"messages": None}, OWN).body == {"messages": None}
    own, other = (State(value="sig", dialect=Dialect.MESSAGES, owner=owner) for owner in (OWN, OTHER))
    google = State(value="g", dialect=Dialect.CHAT, owner=OTHER)
    history = [
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": stamped(other)}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "a", "signature": stamped(own)},
                {"type": "thinking", "thinking": "b", "signature": stamped(other)},
                {"type": "tool_use", "id": id_with("a", google), "name": "ls", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id_with("a", google)}, {"type": "tool_result"}]},
    ]
    passed = pass_request({"messages": [*HELLO, *history]}, OWN)
    assert passed.body["messages"] == [
        *HELLO,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "a", "signature": "sig"},
                {"type": "tool_use", "id": "a", "name": "ls", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}, {"type": "tool_result"}]},
    ]
    assert passed.dropped == ("messages.thinking",)
