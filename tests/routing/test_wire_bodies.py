"""Requests for models that speak Anthropic's messages: what is sent, what is planned with, and what rules a model out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.accounting.tokens.families import ANY, tokenizer_for
from paymaster.gateway.dialects.anthropic_requests import read_request
from paymaster.registry.compat_facts import compat_facts
from paymaster.registry.models import Dialect, Model
from paymaster.routing.betas import passed_headers
from paymaster.routing.request_terms import betas_of, unknown_betas
from paymaster.routing.requests import Request, Source
from paymaster.routing.server_tools import read_tasks
from paymaster.routing.translation import translate

HELLO = [{"role": "user", "content": "Hello"}]
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
LS = {"name": "ls", "input_schema": {"type": "object"}}


def claude(**fields: object) -> Model:
    given = {
        "name": "claude", "provider": "anthropic", "model_id": "claude-opus-4-8", "adapter": "openai_http", "dialect": Dialect.MESSAGES,
        "tokenizer": tokenizer_for("anthropic", "claude-opus-4-8"), "compat": compat_facts("anthropic", "claude-opus-4-8"),
    }  # fmt: skip
    return Model(**{**given, **fields})  # type: ignore[arg-type]  # fields of every type


def other() -> Model:
    return claude(name="gpt", provider="openai", model_id="gpt-4o", dialect=Dialect.CHAT, compat=compat_facts("openai", "gpt-4o"))


def from_anthropic(headers: dict[str, str] | None = None, **body: object) -> Request:
    whole = {"max_tokens": 100, "messages": HELLO, "model": "claude", "stream": True, **body}
    return replace(read_request(whole), source=Source(dialect=Dialect.MESSAGES, body=whole, headers=headers or {}))


def test_the_body_is_the_client_s_without_what_the_flow_sets() -> None:
    translation = translate(from_anthropic(telepathy=True, thread={"type": "create"}), claude())
    assert translation.wire == {"messages": HELLO, "telepathy": True, "thread": {"type": "create"}}
    assert translation.params["thread"] == {"type": "create"}
    assert (translation.dropped, translation.impossible) == ((), ())


def test_the_registry_s_parameters_are_said_in_the_model_s_words() -> None:
    model = claude(model_id="claude-sonnet-4-6", params={"stop": "END", "reasoning_effort": "low", "extra_body": {"telepathy": 1}})
    model = replace(model, compat=compat_facts("anthropic", "claude-sonnet-4-6"))
    expected = {
        "stop_sequences": ["END"], "thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"},
        "telepathy": 1, "messages": HELLO,
    }  # fmt: skip
    assert translate(from_anthropic(), model).wire == expected
    assert translate(Request(messages=HELLO), model).wire == expected
    assert translate(from_anthropic(thinking={"type": "disabled"}), model).wire == {**expected, "thinking": {"type": "disabled"}}


def test_what_the_endpoint_refuses_is_left_out_and_named() -> None:
    sampled = translate(from_anthropic(temperature=0.5, top_p=0.5), claude())
    assert (sampled.wire, sampled.dropped) == ({"messages": HELLO}, ("temperature", "top_p"))
    model = claude(model_id="claude-sonnet-4-6", compat=compat_facts("anthropic", "claude-sonnet-4-6"))
    assert translate(from_anthropic(temperature=0.5, top_p=0.5), model).wire == {"messages": HELLO, "temperature": 0.5}


LIMITS = {"max_tokens": 100, "max_completion_tokens": 9_999, "max_output_tokens": 9_999}


def test_an_output_limit_under_another_name_is_left_out_and_named() -> None:
    request = from_anthropic(**LIMITS)
    assert request.asked_output_tokens == 100
    translation = translate(request, claude())
    assert translation.wire == {"messages": HELLO}
    assert translation.dropped == ("max_completion_tokens", "max_output_tokens")
    chat = translate(request, other())
    assert LIMITS.keys().isdisjoint(chat.params)
    assert chat.dropped == ("max_completion_tokens", "max_output_tokens")
    for model in (other(), claude(), claude(name="r", provider="openai", dialect=Dialect.RESPONSES)):
        translation = translate(Request(messages=HELLO, params=LIMITS), model)
        assert LIMITS.keys().isdisjoint({**translation.params, **(translation.wire or {})})
        assert translation.dropped == ()
    assert Request(messages=HELLO, params={"max_output_tokens": 9}).asked_output_tokens == 9


@pytest.mark.parametrize(("params", "lacking"), [({"n": 2}, ("n",)), ({"logprobs": True}, ("logprobs",)), ({"n": 1, "seed": 1}, ())])
def test_what_can_t_be_left_out_rules_the_model_out(params: dict[str, object], lacking: tuple[str, ...]) -> None:
    model = claude(unsupported_params=frozenset({"logprobs"}))
    assert translate(Request(messages=HELLO, params=params), model).impossible == lacking


def test_what_is_counted_is_what_is_sent() -> None:
    cited = [{"type": "text", "text": "So.", "citations": [{"cited_text": "x" * 400}]}]
    turns = [*HELLO, {"role": "assistant", "content": cited}, *HELLO]
    marked = [{**LS, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    translation = translate(from_anthropic(messages=turns, system="S", tools=marked), claude())
    assert translation.messages == [{"role": "system", "content": "S"}, *turns]
    assert translation.tools == marked
    assert translation.cache_control == "1h"


def test_what_the_provider_does_by_itself_is_planned_with() -> None:
    edits = {"edits": [{"type": "compact_20260112"}]}
    request = from_anthropic(context_management=edits, compaction={}, tools=[SEARCH])
    translation = translate(request, claude())
    keys = [task.key for task in read_tasks(translation.tools, translation.params, "claude-opus-4-8")]
    assert sorted(keys) == ["compaction", "compaction", "web_search"]


def test_tools_of_anthropic_s_are_left_out_where_no_one_forces_them() -> None:
    request = from_anthropic(tools=[SEARCH, LS])
    translation = translate(request, other())
    assert [tool["function"]["name"] for tool in translation.tools] == ["ls"]  # type: ignore[index]  # one function
    assert translation.dropped == ("tools.web_search_20250305",)
    forced = from_anthropic(tools=[SEARCH], tool_choice={"type": "tool", "name": "web_search"})
    assert translate(forced, other()).impossible == ("tools.web_search_20250305",)
    responses = claude(name="gpt", provider="openai", model_id="gpt-5.5", dialect=Dialect.RESPONSES)
    assert translate(forced, responses).impossible == ("tools.web_search_20250305",)
    assert translate(from_anthropic(tools=[SEARCH, LS]), responses).impossible == ()
    assert translate(from_anthropic(tools=[LS]), other()).dropped == ()
    bedrock = claude(dialect=Dialect.CHAT, adapter="litellm")
    assert translate(request, bedrock).tools[0] == SEARCH
    assert translate(replace(request, source=None), other()).tools[0] == SEARCH


def test_a_choice_among_tools_that_are_all_left_out_is_left_out_too() -> None:
    request = from_anthropic(tools=[SEARCH], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    for model in (other(), claude(name="gpt", provider="openai", model_id="gpt-5.5", dialect=Dialect.RESPONSES)):
        translation = translate(request, model)
        sent = translation.params if translation.wire is None else translation.wire
        assert translation.impossible == ()
        assert "tools.web_search_20250305" in translation.dropped
        assert not {"tool_choice", "parallel_tool_calls", "tools"} & sent.keys()


def test_a_user_s_block_that_only_anthropic_knows_rules_others_out() -> None:
    hologram = [{"role": "user", "content": [{"type": "hologram"}]}]
    assert translate(from_anthropic(messages=hologram), claude()).impossible == ()
    assert translate(from_anthropic(messages=hologram), other()).impossible == ("a block of type hologram",)


@pytest.mark.parametrize("kind", ["image", "document"])
@pytest.mark.parametrize("in_result", [False, True])
def test_a_file_that_anthropic_keeps_is_sent_to_no_other_dialect(kind: str, in_result: bool) -> None:
    block = {"type": kind, "source": {"type": "file", "file_id": "file_1"}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [block]}
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "ls", "input": {}}]}
    request = from_anthropic(messages=[*HELLO, call, {"role": "user", "content": [result if in_result else block]}])
    assert translate(request, claude()).impossible == ()
    assert translate(request, other()).impossible == ("a file_id",)
    assert translate(request, claude(dialect=Dialect.RESPONSES)).impossible == ("a file_id",)


def test_a_word_of_another_shape_is_no_error_of_ours() -> None:
    assert translate(from_anthropic(output_config={"effort": ["x"]}), claude()).dropped == ("output_config.effort",)
    assert translate(Request(messages=HELLO, params={"service_tier": ["x"]}), claude()).wire == {
        "messages": HELLO, "service_tier": ["x"],
    }  # fmt: skip
    part = [{"role": "user", "content": [{"type": ["x"], "text": "y"}]}]
    assert TokenCounter().count(translate(Request(messages=part), other()).messages, (), ANY).tokens > 20


@pytest.mark.parametrize("deep", [False, True])
def test_a_marker_within_a_document_is_held_for(deep: bool) -> None:
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    document = {"type": "document", "source": {"type": "content", "content": [part]}}
    content = [{"type": "tool_result", "tool_use_id": "a", "content": [document]}] if deep else [document]
    assert translate(from_anthropic(messages=[{"role": "user", "content": content}]), claude()).cache_control == "1h"


@pytest.mark.parametrize(
    ("given", "hard", "expected"),
    [
        ("effort-2025-11-24, golden-2027-01-01", False, "effort-2025-11-24, golden-2027-01-01"),
        ("effort-2025-11-24, golden-2027-01-01", True, "effort-2025-11-24"),
        ("silver,fast-mode-2026-02-01", True, "silver,fast-mode-2026-02-01"),
        ("golden-2027-01-01", True, None),
    ],
)
def test_betas_of_a_header_go_on_if_their_price_is_known(given: str, hard: bool, expected: str | None) -> None:
    model = claude(at_list_price=frozenset({"silver"}))
    request = from_anthropic({"anthropic-beta": given, "x-other": "1"})
    headers = passed_headers(request.source, model, hard=hard)
    assert headers == {"x-other": "1", **({"anthropic-beta": expected} if expected else {})}
    assert passed_headers(request.source, other(), hard=hard) == {}
    assert passed_headers(None, model, hard=hard) == {}
    params = translate(request, model).params
    assert unknown_betas(params, model) == []
    assert ("fast-mode-2026-02-01" in betas_of(params, model)) is ("fast-mode" in given)
