"""OpenAI's responses' requests: what a client wrote is written again exactly so, and what other dialects are offered of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.dialects.chat import requests as chat
from paymaster.dialects.neutral import (
    Audio,
    ChoiceKind,
    Conversation,
    Document,
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
from paymaster.dialects.responses.items import ordered
from paymaster.dialects.responses.passing import passed
from paymaster.dialects.responses.requests import POLICY_FIELDS, beside_house_form, declared_tools, read, write
from paymaster.dialects.responses.tools import ToolNames
from paymaster.dialects.state import id_with, owner_of, stamped
from paymaster.errors import RequestInvalid
from paymaster.registry.models import Dialect

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER, OTHER = owner_of("openai", "gpt-5.5"), owner_of("deepseek", "deepseek-chat")
OWN = State(value="gAAAA", dialect=Dialect.RESPONSES, owner=OWNER)
THEIRS = State(value="", dialect=Dialect.CHAT, owner=OTHER)
SIGNATURE = State(value="c2ln", dialect=Dialect.MESSAGES, owner=OTHER)
USER = {"role": "user", "content": "hi"}
TEXT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}],
}
REASONING = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "gAAAA"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "run", "arguments": '{"a": 1}', "status": "completed"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FUNCTION = {"type": "function", "name": "run", "description": "Runs.", "parameters": SCHEMA, "strict": False}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Patches.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
}
GROUP = {
    "type": "namespace",
    "name": "mcp__files__",
    "description": "Files.",
    "tools": [{"type": "function", "name": "_read", "parameters": SCHEMA, "strict": True}, {"type": "custom", "name": "write"}],
}
SEARCH = {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": SCHEMA}
HOSTED = [
    {"type": "web_search", "external_web_access": True},
    {"type": "image_generation", "output_format": "png"},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "mcp", "server_label": "x", "server_url": "https://x.example"},
    {"type": "computer_use_preview", "display_width": 1, "display_height": 1, "environment": "linux"},
    {"type": "tool_search"},
    {"type": "shell", "environment": {"type": "container_auto"}},
]
CODEX = {
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}, IMAGE]},
        REASONING,
        ANSWER,
        CALL,
        {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": "*** Begin Patch", "status": "completed"},
        {"type": "function_call", "call_id": "call_3", "namespace": "mcp__files__", "name": "_read", "arguments": "{}"},
        OUTPUT,
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "ok"},
        {"type": "function_call_output", "call_id": "call_3", "output": [{"type": "input_text", "text": "a"}, IMAGE]},
    ],
    "tools": [FUNCTION, PATCH, GROUP, SEARCH, {"type": "local_shell"}, HOSTED[0], HOSTED[1]],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199",
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "out", "schema": SCHEMA, "strict": True}},
    "client_metadata": {"x": "y"},
}
RECORDED: dict[str, dict[str, Any]] = {
    "a text": {"input": "hi"},
    "a text with instructions": {"input": "hi", "instructions": "Be brief."},
    "instructions alone": {"instructions": "Be brief."},
    "empty words": {"input": [USER], "instructions": "", "tools": [], "reasoning": {}},
    "nulls": {
        "input": "hi", "instructions": None, "tools": None, "tool_choice": None, "reasoning": None, "text": None, "user": None,
        "metadata": None, "include": None, "truncation": None, "previous_response_id": None, "background": False, "conversation": None,
        "parallel_tool_calls": None, "temperature": None, "prompt": None,
    },
    "an empty input": {"input": [], "instructions": "Be brief."},
    "roles": {"input": [{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant", "assistant")]},
    "messages with and without a type": {"input": [USER, {**USER, "type": "message"}, TEXT, {**TEXT, "status": "completed", "id": "m"}]},
    "an answer": {"input": [USER, ANSWER, USER, {**ANSWER, "phase": "final_answer"}, ANSWER]},
    "a refusal": {"input": [{**ANSWER, "content": [{"type": "refusal", "refusal": "No."}, *ANSWER["content"]]}]},
    "citations": {
        "input": [{**ANSWER, "content": [{"type": "output_text", "text": "x", "annotations": [{"type": "url_citation", "url": "u"}]}]}]
    },
    "empty contents": {"input": [{"role": "user", "content": []}, {"role": "user", "content": ""}, {"role": "assistant", "content": None}]},
    "parts": {
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a"},
                    {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
                    IMAGE,
                    {"type": "input_image", "image_url": "https://x.example/y.png"},
                    {"type": "input_image", "file_id": "file-1", "detail": "auto"},
                    {"type": "input_image", "image_url": None},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                    {"type": "input_file", "file_data": "JVBERi0="},
                    {"type": "input_file", "file_url": "https://x.example/y.pdf"},
                    {"type": "input_file", "file_id": "file-2"},
                    {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                    {"type": "input_audio", "input_audio": {"data": "UklG"}},
                    {"type": "input_video", "video_url": "u"},
                ],
            }
        ]
    },
    "a part nobody knows first": {"input": [{"role": "user", "content": [{"type": "input_video"}, {"type": "input_text", "text": "a"}]}]},
    "reasoning": {
        "input": [
            REASONING,
            {"type": "reasoning", "summary": []},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "x", "content": None, "status": "completed"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "raw"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "content": [{"type": "reasoning_text", "text": "r"}]},
            {"type": "reasoning", "encrypted_content": None},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}], "encrypted_content": stamped(THEIRS)},
            {"type": "reasoning", "id": id_with("rs_3", THEIRS), "summary": [{"type": "summary_text", "text": "a"}]},
            {"type": "reasoning", "id": id_with("rs_3", THEIRS), "summary": [], "encrypted_content": stamped(SIGNATURE)},
            {
                "type": "reasoning",
                "summary": [],
                "encrypted_content": stamped(State(value="redacted:xyz", dialect=Dialect.MESSAGES, owner=OTHER)),
            },
            ANSWER,
        ]
    },
    "calls": {
        "input": [
            CALL,
            {**CALL, "call_id": "call_2", "arguments": ""},
            {"type": "function_call", "call_id": "call_3", "name": "now"},
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_4", "name": "patch", "input": "", "namespace": "functions"},
            {**CALL, "call_id": id_with("call_5", State(value="sig", dialect=Dialect.CHAT, owner=OTHER))},
            {**OUTPUT, "call_id": id_with("call_5", State(value="sig", dialect=Dialect.CHAT, owner=OTHER))},
            OUTPUT,
            {**OUTPUT, "call_id": "call_2", "output": []},
            {**OUTPUT, "call_id": "call_3", "output": None, "id": "fco_1", "status": "completed"},
            {"type": "custom_tool_call_output", "call_id": "call_4", "output": [{"type": "input_text", "text": "ok"}]},
        ]
    },
    "tools of OpenAI's that run at the client": {
        "input": [
            {
                "type": "local_shell_call",
                "id": "lsh_1",
                "call_id": "call_1",
                "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 5},
            },
            {"type": "local_shell_call_output", "id": "call_1", "output": "a.txt"},
            {"type": "shell_call", "call_id": "call_2", "action": {"commands": ["ls"]}, "status": "completed"},
            {
                "type": "shell_call_output",
                "call_id": "call_2",
                "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
                "max_output_length": 9,
            },
            {"type": "apply_patch_call", "call_id": "call_3", "operation": {"type": "delete_file", "path": "a"}, "status": "completed"},
            {"type": "apply_patch_call_output", "call_id": "call_3", "status": "failed", "output": "no such file"},
            {"type": "apply_patch_call", "call_id": "call_4", "operation": {"type": "delete_file", "path": "a"}, "status": "completed"},
            {"type": "apply_patch_call_output", "call_id": "call_4", "status": "completed"},
            {"type": "tool_search_call", "call_id": "call_5", "execution": "client", "arguments": {"query": "x"}, "status": "completed"},
            {"type": "tool_search_call", "call_id": "call_6", "execution": "client", "arguments": "{}", "status": "completed"},
            {"type": "tool_search_output", "call_id": "call_6", "execution": "client", "tools": [], "status": "completed"},
            {"type": "tool_search_output", "call_id": "call_5", "execution": "client", "tools": [GROUP, HOSTED[0]], "status": "completed"},
            {"type": "tool_search_call", "call_id": None, "execution": "server", "arguments": {"query": "x"}, "status": "completed"},
            {"type": "tool_search_output", "call_id": None, "execution": "server", "tools": [FUNCTION], "status": "completed"},
        ],
        "tools": [{"type": "shell"}, {"type": "apply_patch"}, {"type": "local_shell"}, SEARCH],
    },
    "items of the provider's own tools": {
        "input": [
            USER,
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
            ANSWER,
            {"type": "mcp_approval_request", "id": "mcpr_1", "arguments": "{}", "name": "a", "server_label": "x"},
            {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
            {"type": "compaction", "id": "cmp_1", "encrypted_content": "xyz"},
            {"type": "computer_call_output", "call_id": "call_1", "output": {"type": "computer_screenshot"}},
            {"type": "never_seen", "x": 1},
            USER,
        ]
    },
    "tools that items add": {
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": [{**GROUP, "name": "functions"}, PATCH, HOSTED[0]]},
            USER,
            {"type": "additional_tools", "role": "developer", "tools": None},
        ],
        "tools": [FUNCTION, PATCH],
    },
    "tools": {
        "input": "hi",
        "tools": [
            FUNCTION,
            {"type": "function", "name": "bare"},
            {"type": "function", "name": "nulls", "description": None, "parameters": None, "strict": None},
            {**FUNCTION, "name": "more", "description": "", "strict": True, "defer_loading": True, "x": 1},
            PATCH,
            {"type": "custom", "name": "free", "parameters": {}, "strict": True, "defer_loading": False},
            GROUP,
            {**GROUP, "description": None},
            FUNCTION,
            {"type": "namespace", "name": "empty", "tools": []},
            *HOSTED,
        ],
    },
    "choices": {"input": "hi", "tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
    "no choice": {"input": "hi", "tools": [FUNCTION], "parallel_tool_calls": False},
    "a named choice": {"input": "hi", "tools": [FUNCTION], "tool_choice": {"type": "function", "name": "run"}},
    "a custom choice": {"input": "hi", "tools": [PATCH], "tool_choice": {"type": "custom", "name": "apply_patch"}},
    "allowed tools": {
        "input": "hi",
        "tools": [FUNCTION, HOSTED[0]],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "run"}, {"type": "web_search"}]},
    },
    "a hosted choice": {"input": "hi", "tools": [HOSTED[3]], "tool_choice": {"type": "file_search"}},
    "formats": {"input": "hi", "text": {"format": {"type": "text"}, "verbosity": None}},
    "no format": {"input": "hi", "text": {}},
    "any JSON": {"input": "hi", "text": {"format": {"type": "json_object"}}},
    "parameters": {
        "input": "hi", "temperature": 0.5, "top_p": 1, "user": "u", "metadata": {"a": "b"}, "service_tier": "flex", "top_logprobs": 3,
        "truncation": "auto", "max_tool_calls": 3, "include": ["message.output_text.logprobs"], "safety_identifier": "s", "store": True,
        "prompt_cache_retention": "24h", "new_field": {"x": [1]}, "context_management": [{"type": "compaction"}],
        "reasoning": {"summary": "detailed", "context": "auto"},
    },
    "no truncation": {"input": "hi", "truncation": "disabled", "reasoning": {"effort": "none"}},
    "Codex": CODEX,
}  # fmt: skip


@pytest.mark.parametrize("body", RECORDED.values(), ids=RECORDED)
def test_what_is_read_is_written_again(body: dict[str, Any]) -> None:
    assert write(read(body)).body == body


def test_policy_sets_the_model_the_limit_and_the_stream() -> None:
    body = {"model": "m", "input": "hi", "stream": True, "stream_options": {"include_obfuscation": False}, "max_output_tokens": 99}
    conversation = read(body)
    assert conversation.output_tokens == 99
    assert write(conversation).body == {"input": "hi"}
    assert body.keys() - {"input"} == POLICY_FIELDS


TEXTS = st.text(max_size=8)
NAMES = st.from_regex(r"[a-z]{1,6}", fullmatch=True)


def parts(role: str) -> st.SearchStrategy[dict[str, Any]]:
    text = st.builds(lambda text: {"type": "output_text" if role == "assistant" else "input_text", "text": text}, TEXTS)
    if role == "assistant":
        return st.one_of(text, st.builds(lambda text: {"type": "refusal", "refusal": text}, TEXTS))
    return st.one_of(text, st.just(IMAGE), st.just({"type": "input_file", "file_id": "f"}))


@st.composite
def messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    role = draw(st.sampled_from(["user", "assistant", "system", "developer"]))
    own = draw(st.sampled_from([{}, {"type": "message"}, {"type": "message", "id": "msg_1", "phase": "commentary"}]))
    return [{**own, "role": role, "content": draw(st.one_of(TEXTS, st.lists(parts(role), min_size=1, max_size=3)))}]


@st.composite
def exchanges(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Calls and then their outputs, with a message or a thought between them."""
    calls, outputs = [], []
    for number in range(draw(st.integers(1, 3))):
        call_id = f"{draw(NAMES)}_{number}"
        custom = draw(st.booleans())
        given = {"input": draw(TEXTS)} if custom else {"arguments": draw(st.sampled_from(["{}", '{"a":1}', "odd"]))}
        kind = "custom_tool_call" if custom else "function_call"
        group = draw(st.sampled_from([{}, {"namespace": "g"}]))
        calls.append({"type": kind, "call_id": call_id, "name": draw(NAMES), **given, **group})
        outputs.append({"type": f"{kind}_output", "call_id": call_id, "output": draw(st.one_of(TEXTS, st.just([IMAGE])))})
    thought = draw(st.sampled_from([[], [REASONING], [ANSWER], [REASONING, ANSWER, REASONING]]))
    return [*thought, *calls, *draw(st.permutations(outputs))]


@given(st.lists(st.one_of(messages(), exchanges(), st.just([{"type": "never_seen"}])), min_size=1, max_size=4))
def test_any_history_is_written_again(groups: list[list[dict[str, Any]]]) -> None:
    items = [item for group in groups for item in group]
    # Calls of two exchanges may have one id: a history that no client has.
    called = [item["call_id"] for item in items if "call_id" in item and "output" not in item]
    if len(called) == len(set(called)):
        assert write(read({"input": items})).body == {"input": items}


@pytest.mark.parametrize(
    ("parts", "output"),
    [
        ((), "Error"),
        ((Text(text=""),), "Error"),
        ((Text(text="no"),), "Error: no"),
        ((Image(url="u"),), [{"type": "input_text", "text": "Error"}, {"type": "input_image", "image_url": "u"}]),
    ],
)
def test_a_tool_that_failed_says_so(parts: tuple[Any, ...], output: object) -> None:
    call = ToolCall(id="c", name="f", arguments="{}")
    written = write(conversation(models(call), said(ToolResult(call_id="c", parts=parts, is_error=True))), OWNER)
    assert (written.body["input"][1]["output"], written.dropped) == (output, ())


@pytest.mark.parametrize("description", [{}, {"description": None}, {"description": ""}, {"description": "Patches."}])
def test_other_models_read_the_grammar_of_a_custom_tool(description: dict[str, Any]) -> None:
    tool = {**{name: value for name, value in PATCH.items() if name != "description"}, **description}
    given = {"input": "hi", "tools": [tool]}
    [read_tool] = read(given).tools
    assert isinstance(read_tool, Tool)
    assert read_tool.description.endswith("The input must follow this grammar (lark):\nstart: x")
    assert read_tool.description.startswith(description.get("description") or "The")
    assert write(read(given)).body == given


def test_codex_is_offered_to_chat_models_whole() -> None:
    written = chat.write(read(CODEX), "")
    body = written.body
    names = [tool["function"]["name"] if "function" in tool else tool["type"] for tool in body["tools"]]
    assert names == [
        "run", "apply_patch", "mcp__files__read", "mcp__files__write", "tool_search", "local_shell", "web_search", "image_generation",
    ]  # fmt: skip
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "developer", "user", "assistant", "tool", "tool", "tool"]
    assistant = body["messages"][3]
    assert assistant["content"] == "Let me look."
    calls = [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in assistant["tool_calls"]]
    assert calls == [
        ("call_1", "run", {"a": 1}), ("call_2", "apply_patch", {"input": "*** Begin Patch"}), ("call_3", "mcp__files__read", {}),
    ]  # fmt: skip
    assert (body["reasoning_effort"], body["verbosity"], body["prompt_cache_key"]) == ("medium", "low", "0199")
    assert body["response_format"]["json_schema"] == {"name": "out", "schema": SCHEMA, "strict": True}


@pytest.mark.parametrize(
    ("tools", "flat"),
    [
        ([FUNCTION], ["run"]),
        ([{**GROUP, "name": "functions"}], ["_read", "write"]),
        ([{**GROUP, "name": "a.b/c"}], ["a_b_c__read", "a_b_c__write"]),
        ([GROUP, {"type": "custom", "name": "mcp__files__write"}], ["mcp__files__read", "mcp__files__write_2", "mcp__files__write"]),
        ([PATCH, {"type": "apply_patch"}], ["apply_patch", "apply_patch_2"]),
        ([{**GROUP, "name": "functions"}, {"type": "function", "name": "write"}], ["_read", "write_2", "write"]),
    ],
)
def test_each_tool_has_a_name_of_its_own(tools: list[dict[str, Any]], flat: list[str]) -> None:
    conversation = read({"input": "hi", "tools": tools})
    assert [tool.name for tool in conversation.tools if isinstance(tool, Tool)] == flat
    names = ToolNames(tools)
    assert [names.flat(names.key(name)) for name in flat] == flat
    assert names.key("invented").name == "invented"


@pytest.mark.parametrize(
    ("choice", "tools", "kind", "names", "forced"),
    [
        ("auto", [FUNCTION, HOSTED[0]], ChoiceKind.AUTO, (), []),
        ("none", [FUNCTION], ChoiceKind.NONE, (), []),
        ("required", [FUNCTION, HOSTED[0]], ChoiceKind.REQUIRED, (), []),
        ("required", [HOSTED[0]], ChoiceKind.REQUIRED, (), ["web_search"]),
        ({"type": "web_search"}, [FUNCTION, HOSTED[0], HOSTED[1]], ChoiceKind.AUTO, (), ["web_search"]),
        ({"type": "local_shell"}, [{"type": "local_shell"}], ChoiceKind.NAMED, ("local_shell",), []),
        ({"type": "custom", "name": "apply_patch"}, [PATCH], ChoiceKind.NAMED, ("apply_patch",), []),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "run"}, {"type": "web_search"}]},
            [FUNCTION, PATCH, HOSTED[0]],
            ChoiceKind.REQUIRED,
            ("run",),
            [],
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]},
            [FUNCTION, HOSTED[0]],
            ChoiceKind.AUTO,
            (),
            ["web_search"],
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, [FUNCTION], ChoiceKind.AUTO, (), []),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, [FUNCTION], ChoiceKind.REQUIRED, (), []),
    ],
)
def test_a_choice_of_tools(choice: object, tools: list[object], kind: ChoiceKind, names: tuple[str, ...], forced: list[str]) -> None:
    conversation = read({"input": "hi", "tools": tools, "tool_choice": choice})
    assert conversation.choice is not None
    assert (conversation.choice.kind, conversation.choice.names) == (kind, names)
    assert [tool.value["type"] for tool in conversation.tools if isinstance(tool, ServerTool) and tool.forced] == forced


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": [{"role": "judge", "content": "x"}]}, r"input\[0\].role"),
        ({"input": [{"role": "user", "content": 5}]}, r"input\[0\].content: a list of objects"),
        ({"input": [{"role": "user", "content": [{"type": 5}]}]}, r"input\[0\].content\[0\].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, r"input\[0\].content\[0\].text"),
        ({"input": [{"type": 5}]}, r"input\[0\].type"),
        ({"input": [{"type": "function_call", "name": "x"}]}, r"input\[0\].call_id"),
        ({"input": [{"type": "function_call", "call_id": "x"}]}, r"input\[0\].name"),
        ({"input": [{"type": "additional_tools", "tools": 5}]}, r"input\[0\].tools"),
        ({"input": None}, "input: a text or a list"),
        ({"input": 5}, "input: a list of objects"),
        ({"instructions": ["x"]}, "instructions"),
        ({"tools": "x"}, "tools"),
        ({"tools": [{}]}, r"tools\[0\].type"),
        ({"tools": [{"type": "function"}]}, r"tools\[0\].name"),
        ({"tools": [{"type": "namespace", "name": "x", "tools": [{"type": "web_search", "name": "y"}]}]}, r"tools\[0\].tools\[0\]"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.tools"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice: no tool of type 'file_search'"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
    ],
)
def test_what_is_no_request_is_refused_by_name(body: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestInvalid, match=message):
        read({"input": "hi", **body})


def conversation(*turns: Turn, **fields: Any) -> Conversation:
    return Conversation(turns=turns, **fields)


def said(*parts: Any, role: Role = Role.USER) -> Turn:
    return Turn(role=role, parts=parts)


def models(*parts: Any) -> Turn:
    return said(*parts, role=Role.ASSISTANT)


FOREIGN: list[tuple[str, Conversation, dict[str, Any], list[str]]] = [
    ("a text", conversation(said(Text(text="hi"))), {"input": [TEXT]}, []),
    (
        "parts",
        conversation(
            said(
                Image(data="iVBO", media_type="image/png", detail="high"),
                Image(url="https://x.example"),
                Document(data="JVBE", media_type="application/pdf"),
                Document(url="https://x.example/a.pdf", title="a.pdf"),
                Document(text="words", title="T"),
                Document(text="words"),
                Audio(data="UklG", format="wav"),
                Opaque(dialect=Dialect.MESSAGES, value={"type": "search_result"}, text="found"),
                Opaque(dialect=Dialect.MESSAGES, value={"type": "container_upload"}),
            )
        ),
        {
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "high"},
                        {"type": "input_image", "image_url": "https://x.example"},
                        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBE", "filename": "document.pdf"},
                        {"type": "input_file", "file_url": "https://x.example/a.pdf", "filename": "a.pdf"},
                        {"type": "input_text", "text": "T\n\nwords"},
                        {"type": "input_text", "text": "words"},
                        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                        {"type": "input_text", "text": "found"},
                    ],
                }
            ]
        },
        ["messages.0.search_result", "messages.0.container_upload"],
    ),
    (
        "a turn with its own thought, a text and calls",
        conversation(
            models(
                Thought(text="Hm.", state=OWN),
                Text(text="Look."),
                ToolCall(id="x" * 65, name="run", arguments="{}"),
                ToolCall(id="c2", name="patch", arguments="text", custom=True),
                Text(text="No.", refusal=True),
                Image(url="u"),
            ),
            said(
                ToolResult(call_id="x" * 65, parts=(Text(text="ok"),), is_error=True),
                ToolResult(call_id="c2", parts=(Text(text="a"), Image(url="u"))),
            ),
        ),
        {
            "input": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "gAAAA"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Look."}]},
                {"type": "function_call", "call_id": "call_9537c5fdf120482f7d58d25e9ed583f5", "name": "run", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "text"},
                {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
                {"type": "function_call_output", "call_id": "call_9537c5fdf120482f7d58d25e9ed583f5", "output": "Error: ok"},
                {
                    "type": "custom_tool_call_output",
                    "call_id": "c2",
                    "output": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "u"}],
                },
            ]
        },
        ["messages.0.image"],
    ),
    (
        "thoughts of others, of nobody, and without an item behind",
        conversation(
            models(
                Thought(text="a", state=THEIRS),
                Thought(text="b"),
                ToolCall(id="c", name="f", arguments="{}", state=State(value="s", dialect=Dialect.CHAT, owner=OTHER)),
                Thought(text="c", state=OWN),
            ),
            said(ToolResult(call_id="c", parts=())),
        ),
        {
            "input": [
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": ""},
            ]
        },
        ["messages.0.reasoning", "messages.0.thought_signature"],
    ),
    (
        "tools and a choice",
        conversation(
            said(Text(text="hi")),
            tools=(
                Tool(name="f", description="F.", parameters=SCHEMA),
                Tool(name="g", strict=True),
                Tool(name="c", custom=True, format={"type": "text"}),
                ServerTool(dialect=Dialect.MESSAGES, value={"type": "web_search_20250305", "name": "web_search"}),
            ),
            choice=ToolChoice(kind=ChoiceKind.NAMED, names=("c",), parallel=False),
        ),
        {
            "input": [TEXT],
            "tools": [
                {"type": "function", "name": "f", "description": "F.", "parameters": SCHEMA, "strict": False},
                {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": True},
                {"type": "custom", "name": "c", "format": {"type": "text"}},
            ],
            "tool_choice": {"type": "custom", "name": "c"},
            "parallel_tool_calls": False,
        },
        ["tools.3.web_search_20250305"],
    ),
    (
        "allowed tools",
        conversation(
            said(Text(text="hi")), tools=(Tool(name="f", strict=True),), choice=ToolChoice(kind=ChoiceKind.REQUIRED, names=("f",))
        ),
        {
            "input": [TEXT],
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": True}],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        },
        [],
    ),
    (
        "a choice without tools",
        conversation(said(Text(text="hi")), choice=ToolChoice(kind=ChoiceKind.NONE, names=("f",))),
        {"input": [TEXT]},
        [],
    ),
    (
        "wishes",
        conversation(
            said(Text(text="hi")),
            thinking=ThinkingWish(effort="max", own={Dialect.MESSAGES: {"thinking": {"type": "adaptive"}}}),
            schema={"schema": SCHEMA},
            params={"temperature": 0, "verbosity": "low", "seed": 1, "user": None, "max_tokens": 5, "reasoning": {"summary": "auto"}},
            extras={Dialect.MESSAGES: {"container": "x"}},
        ),
        {
            "input": [TEXT],
            "temperature": 0,
            "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}, "verbosity": "low"},
            "reasoning": {"effort": "xhigh", "summary": "auto"},
        },
        ["seed", "container"],
    ),
    (
        "no thinking, any JSON",
        conversation(said(Text(text="hi")), thinking=ThinkingWish(off=True), schema={}),
        {"input": [TEXT], "reasoning": {"effort": "none"}, "text": {"format": {"type": "json_object"}}},
        [],
    ),
    (
        "a budget",
        conversation(said(Text(text="hi")), thinking=ThinkingWish(budget_tokens=9)),
        {"input": [TEXT], "reasoning": {"effort": "medium"}},
        [],
    ),
]


@pytest.mark.parametrize(("given", "expected", "dropped"), [case[1:] for case in FOREIGN], ids=[case[0] for case in FOREIGN])
def test_another_dialects_request_for_a_model(given: Conversation, expected: dict[str, Any], dropped: list[str]) -> None:
    written = write(given, OWNER)
    stateless = {"store": False, "include": ["reasoning.encrypted_content"]}
    assert (written.body, list(written.dropped)) == ({**expected, **stateless}, dropped)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([USER, CALL, OUTPUT], None),
        ([CALL, USER, OUTPUT], None),
        ([OUTPUT, USER, CALL], [USER, CALL, OUTPUT]),
        ([OUTPUT, USER], None),
        (
            [{**OUTPUT, "call_id": "b"}, OUTPUT, CALL, {**CALL, "call_id": "b"}],
            [CALL, OUTPUT, {**CALL, "call_id": "b"}, {**OUTPUT, "call_id": "b"}],
        ),
    ],
)
def test_an_output_follows_its_call(items: list[dict[str, Any]], expected: list[dict[str, Any]] | None) -> None:
    assert ordered(items) == (expected or items)
    if expected is None:
        assert ordered(items) is items


@pytest.mark.parametrize("body", RECORDED.values(), ids=RECORDED)
def test_what_the_house_form_lacks_is_counted_beside_it(body: dict[str, Any]) -> None:
    items = body["input"] if isinstance(body.get("input"), list) else []
    parts = [part for turn in read(body).turns for part in turn.parts]
    parts += [inner for part in parts if isinstance(part, ToolResult) for inner in part.parts]
    opaque = [part.value for part in parts if isinstance(part, Opaque)]
    beside = [value for message in beside_house_form(body) for value in message["content"] if "file_id" not in value]
    # An empty message, and a part that lacks what it is about, have nothing that a model could read.
    empty = [item for item in items if "role" in item and not item.get("content")]
    assert beside == [value for value in opaque if value not in empty and value.get("type") != "input_audio"]


def test_tools_that_items_add_are_declared_too() -> None:
    body = RECORDED["tools that items add"]
    assert declared_tools(body) == [*body.get("tools", []), *body["input"][0]["tools"]]


LONG = "call_" + "x" * 60


def passing() -> Iterator[tuple[str, list[dict[str, Any]], list[dict[str, Any]], list[str]]]:
    sealed = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}
    signed = State(value="sig", dialect=Dialect.CHAT, owner=OTHER)
    yield "as it came", CODEX["input"], CODEX["input"], []
    yield "another's thought", [{**sealed, "encrypted_content": stamped(THEIRS)}, CALL], [CALL], ["input.0.reasoning"]
    yield "another's, by its id", [{**sealed, "id": id_with("rs_1", THEIRS)}, CALL], [CALL], ["input.0.reasoning"]
    yield (
        "its own, stamped",
        [{**sealed, "id": id_with("rs_1", THEIRS), "encrypted_content": stamped(OWN)}, CALL],
        [{**sealed, "id": "rs_1", "encrypted_content": "gAAAA"}, CALL],
        [],
    )
    yield (
        "its own, without an id",
        [{**sealed, "encrypted_content": stamped(OWN)}, CALL],
        [{**sealed, "encrypted_content": "gAAAA"}, CALL],
        [],
    )
    yield (
        "ids with a state, and long ones",
        [
            {**CALL, "call_id": id_with("call_1", signed)},
            {**CALL, "call_id": LONG},
            {**OUTPUT, "call_id": id_with("call_1", signed)},
            {**OUTPUT, "call_id": LONG},
        ],
        [CALL, {**CALL, "call_id": "call_long"}, OUTPUT, {**OUTPUT, "call_id": "call_long"}],
        ["input.0.thought_signature"],
    )
    custom = {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "x"}
    yield (
        "ids of items that OpenAI refuses",
        [{**CALL, "id": "item_1"}, CALL, {**custom, "id": "fc_1"}, {**custom, "id": "ctc_1"}, {"type": "message", "id": "m"}],
        [
            {name: value for name, value in CALL.items() if name != "id"},
            CALL,
            custom,
            {**custom, "id": "ctc_1"},
            {"type": "message", "id": "m"},
        ],
        [],
    )
    yield "an output before its call", [OUTPUT, CALL], [CALL, OUTPUT], []


@pytest.mark.parametrize(("items", "expected", "dropped"), [case[1:] for case in passing()], ids=[case[0] for case in passing()])
def test_a_request_for_a_model_of_the_same_dialect(items: list[Any], expected: list[Any], dropped: list[str]) -> None:
    written = passed({"input": items, "new_field": 1}, OWNER)
    sent = [dict(item) for item in written.body["input"]]
    longs = {item["call_id"] for item in sent if item.get("call_id", "").startswith("call_") and len(item["call_id"]) == 37}
    for item in sent:
        if item.get("call_id") in longs:
            item["call_id"] = "call_long"
    assert (sent, list(written.dropped), len(longs) < 2) == (expected, dropped, True)
    assert passed({"input": "hi"}, OWNER).body == {"input": "hi"}
