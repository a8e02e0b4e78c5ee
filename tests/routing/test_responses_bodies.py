"""Requests for models that speak OpenAI's responses, and of clients that do: what is sent, counted and left out."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from call_box import model
from paymaster.accounting.tokens.counter import PromptCount, TokenCounter
from paymaster.accounting.tokens.families import ANY
from paymaster.errors import RequestInvalid
from paymaster.gateway.dialects.anthropic_requests import read_request as read_messages
from paymaster.gateway.dialects.responses_requests import read_request
from paymaster.operations import Operation
from paymaster.providers.endpoints import endpoint_url
from paymaster.registry.compat_facts import compat_facts
from paymaster.registry.models import Dialect, ServerTool
from paymaster.routing.output_limits import output_limit
from paymaster.routing.prompts import prompt_tokens
from paymaster.routing.request_work import most_calls
from paymaster.routing.requests import Request, Source
from paymaster.routing.server_tools import read_tasks
from paymaster.routing.translation import translate

if TYPE_CHECKING:
    from collections.abc import Callable

NATIVE = model("native", dialect=Dialect.RESPONSES, output_limit_param="max_output_tokens")
CHAT = model("chat")
CLAUDE = model("claude", provider="anthropic", model_id="claude-opus-4-8", dialect=Dialect.MESSAGES)
RUN = {"type": "function", "name": "run", "parameters": {"type": "object"}, "strict": False}
SEARCH = {"type": "web_search"}


def asked(**body: Any) -> Request:
    """A request as the gateway has it."""
    given = {"input": "Hi", **body}
    request = read_request(given)
    fields = {name: getattr(request, name) for name in ("messages", "model", "tools", "params", "lost", "only_in_source")}
    return Request(**fields, source=Source(dialect=Dialect.RESPONSES, body=given))


def test_hosted_tools_go_to_a_model_that_has_them_and_to_no_other() -> None:
    request = asked(tools=[RUN, SEARCH])
    assert translate(request, NATIVE).wire == {"input": "Hi", "tools": [RUN, SEARCH]}
    chat = translate(request, CHAT)
    assert [tool["type"] for tool in chat.tools] == ["function"]
    assert (chat.dropped, chat.impossible) == (("tools.web_search",), ())
    claude = translate(request, CLAUDE)
    assert [tool["name"] for tool in claude.tools] == ["run"]
    assert (claude.dropped, claude.impossible) == (("tools.web_search",), ())


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"role": ["user"], "content": "x"}]},
        {"tools": [{"type": ["function"], "name": "f"}]},
        {"input": [{"type": "additional_tools", "tools": [{"type": {}, "name": "f"}]}, {"role": "user", "content": "x"}]},
    ],
)
def test_a_word_of_another_shape_is_the_clients_error(body: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid):
        asked(**body)


@pytest.mark.parametrize(
    ("tools", "asked_calls", "expected"),
    [
        ([SEARCH], None, 2),
        ([SEARCH], 1, 1),
        ([SEARCH], 9, 2),
        ([SEARCH], True, 2),
        ([SEARCH, {"type": "code_interpreter"}, RUN], None, 1),
        ([{"type": "file_search"}, RUN], 7, None),
        ([{"type": "mcp"}], 7, None),
    ],
)
def test_hosted_tools_are_used_as_often_as_is_held_for(tools: list[dict[str, Any]], asked_calls: object, expected: int | None) -> None:
    stated = {"web_search": ServerTool(max_uses=2), "code_execution": ServerTool(max_uses=1), "mcp": ServerTool(tokens_per_use=5)}
    assert most_calls(tools, asked_calls, model("native", server_tools=stated)) == expected


@pytest.mark.parametrize(("environment", "runs"), [("local", []), ("container_auto", ["shell"]), (None, ["shell"])])
def test_a_shell_of_the_callers_is_no_work_of_the_provider(environment: str | None, runs: list[str]) -> None:
    tool = {"type": "shell", **({"environment": {"type": environment}} if environment else {})}
    assert [task.key for task in read_tasks([tool], {}, "gpt-5.5")] == runs


def test_functions_alone_are_the_very_same_list() -> None:
    request = asked(tools=[RUN])
    assert translate(request, CHAT).tools is request.tools


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"tools": [SEARCH], "tool_choice": {"type": "web_search"}}, "a tool of type web_search, which tool_choice forces"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "a file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "a file_id"),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "c", "name": "run", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "file_id": "f"}]},
                ]
            },
            "a file_id",
        ),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}, {"role": "user", "content": "Hi"}]}, "an item of type compaction"),
    ],
)
def test_what_no_other_dialect_can_say_rules_a_model_out(body: dict[str, Any], reason: str) -> None:
    request = asked(**body)
    assert translate(request, NATIVE).impossible == ()
    assert translate(request, CHAT).impossible == (reason,)
    assert translate(request, CLAUDE).impossible == (reason,)


def test_what_is_sent_is_counted() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    more = {"type": "additional_tools", "role": "developer", "tools": [RUN]}
    translation = translate(asked(input=[more, item, {"role": "user", "content": "Hi"}], instructions="Be brief.", tools=[SEARCH]), NATIVE)
    contents = [message["content"] for message in translation.messages]
    assert (contents[0], contents[-1]) == ("Be brief.", [item])
    assert list(translation.tools) == [SEARCH, RUN]


@pytest.mark.parametrize("kind", ["additional_tools", "tool_search_output"])
def test_tools_of_the_provider_that_items_add_are_planned_with(kind: str) -> None:
    found = {"type": kind, "role": "developer", "call_id": "c", "tools": [{"type": "namespace", "name": "n", "tools": [RUN]}, SEARCH]}
    translation = translate(asked(input=[found, {"role": "user", "content": "Hi"}]), NATIVE)
    assert [task.key for task in read_tasks(translation.tools, translation.params, "gpt-5.5")] == ["web_search"]


IMAGE = {"type": "input_image", "file_id": "f", "detail": "high"}
SHOT = {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "file_id": "f"}}


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": [IMAGE]},
        {"type": "function_call_output", "call_id": "c", "output": [IMAGE]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example/a.png"}]},
        SHOT,
    ],
)
def test_an_image_that_the_provider_keeps_counts_as_the_largest(item: dict[str, Any]) -> None:
    messages = translate(asked(input=[item, {"role": "user", "content": "Hi"}]), NATIVE).messages
    assert TokenCounter().count(messages, (), ANY).tokens > ANY.images.tokens(None, "high")


@pytest.mark.parametrize("kind", ["input_video", "file"])
def test_a_part_without_a_bound_has_none_where_only_the_provider_knows_it(kind: str) -> None:
    messages = translate(asked(input=[{"role": "user", "content": [{"type": kind, "file_id": "f"}]}]), NATIVE).messages
    assert TokenCounter().count(messages, (), ANY).unbounded == (kind,)


FORMAT = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: x"}


@pytest.mark.parametrize(
    ("request_of", "counted"),
    [
        (lambda: asked(text={"format": GRAMMAR}), ["text"]),
        (lambda: asked(text={"format": FORMAT}), ["response_format"]),
        (lambda: Request(messages=[{"role": "user", "content": "Hi"}], params={"text": {"format": FORMAT}}), ["text"]),
    ],
)
def test_the_format_of_an_answer_is_counted_once(request_of: Callable[[], Request], counted: list[str]) -> None:
    translation = translate(request_of(), NATIVE)
    assert sorted({"text", "response_format"}.intersection(translation.params)) == counted
    alone = replace(translation, params={})
    counter = TokenCounter()
    assert prompt_tokens(translation, NATIVE, counter, 0).tokens > prompt_tokens(alone, NATIVE, counter, 0).tokens + 30


def test_an_item_that_asks_for_a_summary_is_planned_with() -> None:
    translation = translate(asked(input=[{"role": "user", "content": "Hi"}, {"type": "compaction_trigger"}]), NATIVE)
    assert [task.key for task in read_tasks(translation.tools, translation.params, "gpt-5.5")] == ["compaction"]
    assert translation.wire is not None
    assert "compaction" not in translation.wire


def test_a_chat_request_is_written_anew_and_its_tools_are_counted_so() -> None:
    tool = {"type": "function", "function": {"name": "run"}}
    translation = translate(Request(messages=[{"role": "user", "content": "Hi"}], tools=[tool], params={"stop": ["x"]}), NATIVE)
    assert translation.wire is not None
    written = {"type": "function", "name": "run", "parameters": {"type": "object", "properties": {}}, "strict": False}
    assert (translation.wire["tools"], list(translation.tools)) == ([written], [written])
    assert translate(Request(messages=[{"role": "user", "content": "Hi"}]), NATIVE).tools == []


def test_the_registrys_parameters_are_said_in_the_models_words() -> None:
    settled = model("native", dialect=Dialect.RESPONSES, params={"reasoning_effort": "high", "verbosity": "low", "temperature": 0})
    assert translate(asked(temperature=1), settled).wire == {
        "input": "Hi", "temperature": 1, "reasoning": {"effort": "high"}, "text": {"verbosity": "low"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("base_url", "api_version", "url"),
    [
        ("https://api.openai.com/v1", None, "https://api.openai.com/v1/responses"),
        ("https://x.openai.azure.com/openai/v1", None, "https://x.openai.azure.com/openai/v1/responses"),
        ("https://x.openai.azure.com", "2025-04-01-preview", "https://x.openai.azure.com/openai/responses?api-version=2025-04-01-preview"),
        ("https://x.openai.azure.com/openai/v1", "preview", "https://x.openai.azure.com/openai/v1/responses?api-version=preview"),
    ],
)
def test_where_a_model_is_asked(base_url: str, api_version: str | None, url: str) -> None:
    native = model("native", dialect=Dialect.RESPONSES, base_url=base_url, api_version=api_version)
    assert endpoint_url(native, Operation.CHAT) == url


@pytest.mark.parametrize(("wanted", "tokens"), [(1, 16), (16, 16), (17, 17)])
def test_the_smallest_limit_that_the_api_takes_is_held_for(wanted: int, tokens: int) -> None:
    request = Request(messages=[{"role": "user", "content": "Hi"}], params={"max_tokens": wanted})
    assert output_limit(request, NATIVE, PromptCount(10, 10, exact=True), 1).tokens == tokens
    assert output_limit(request, CHAT, PromptCount(10, 10, exact=True), 1).tokens == wanted


def test_the_name_of_a_user_fits_the_endpoint() -> None:
    """Claude Code's has 191 characters, OpenAI takes 64."""
    openai = model("gpt", provider="openai", model_id="gpt-5.4", dialect=Dialect.RESPONSES, compat=compat_facts("openai", "gpt-5.4"))
    body = {"max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], "metadata": {"user_id": "u" * 191}}
    from_claude_code = replace(read_messages(body), source=Source(dialect=Dialect.MESSAGES, body=body))
    for request in (from_claude_code, asked(user="u" * 191, safety_identifier="short")):
        sent = translate(request, openai).wire
        assert sent is not None
        assert sent["user"] == sha256(b"u" * 191).hexdigest()
    assert sent["safety_identifier"] == "short"
    assert translate(from_claude_code, NATIVE).wire["user"] == "u" * 191  # type: ignore[index]  # a body of its dialect


@pytest.mark.parametrize(
    ("given", "window", "longest", "more", "unbounded"),
    [
        (2, 100_000, 8_000, 16_000, ()),
        (2, None, 8_000, 16_000, ()),
        (50, 100_000, 8_000, None, ()),
        (2, 100_000, None, None, ("thoughts_by_id",)),
        (2, None, None, 0, ("thoughts_by_id",)),
        (-3, None, 8_000, 0, ()),
        ("many", None, 8_000, 0, ()),
        (10**18, None, 8_000, 80_000_000, ()),
    ],
)
def test_thoughts_that_the_endpoint_keeps_are_as_long_as_its_longest_output(
    given: object, window: int | None, longest: int | None, more: int | None, unbounded: tuple[str, ...]
) -> None:
    writer = replace(NATIVE, context_window=window, max_output_tokens=longest)
    plain = translate(asked(), writer)
    alone = prompt_tokens(plain, writer, TokenCounter(), 0).tokens
    counted = prompt_tokens(replace(plain, params={"thoughts_by_id": given}), writer, TokenCounter(), 0)
    assert (counted.tokens, counted.unbounded) == (window if more is None else alone + more, unbounded)


def test_thoughts_by_their_ids_are_planned_with() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    request = asked(input=[{"role": "user", "content": "Hi"}, thought, thought, {"type": "item_reference", "id": "x"}])
    params = translate(request, NATIVE).params
    assert (params["thoughts_by_id"], params["item_reference"]) == (2, True)
    assert not {"thoughts_by_id", "item_reference"} & set(translate(request, CHAT).params)
