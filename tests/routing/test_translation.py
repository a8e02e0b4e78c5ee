"""What of a request another model can read: a switch of model in the middle of a conversation is safe."""

from typing import Any

import pytest

from call_box import HELLO, model
from paymaster.registry.compat import Compat
from paymaster.registry.models import Dialect, Effort
from paymaster.routing.requests import Request, Thinking
from paymaster.routing.translation import fit_thinking, translate

EPHEMERAL = {"type": "ephemeral"}


def test_a_conversation_without_extras_is_passed_on_as_the_very_same_list() -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "text", "text": "y"}]}]
    translation = translate(Request(messages=messages), model("a"))
    assert translation.messages is messages
    assert translation.dropped == ()


def test_markers_and_thinking_that_a_model_cannot_read_are_taken_out_and_named() -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": EPHEMERAL}]},
        {"role": "assistant", "content": "a", "thinking_blocks": [{"thinking": "t"}], "reasoning_content": "r"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "b"}, "odd"]},
        {"role": "user", "content": "u"},
    ]
    translation = translate(Request(messages=messages), model("a"))
    assert list(translation.messages) == [
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}, "odd"]},
        {"role": "user", "content": "u"},
    ]
    assert translation.dropped == ("messages.cache_control", "messages.reasoning_content", "messages.thinking_blocks")
    assert messages[1]["thinking_blocks"]  # the caller's own messages are left alone


def test_a_model_that_reads_the_extras_gets_them_and_pays_for_the_longest_cache() -> None:
    reader = model("a", compat=Compat(reads=frozenset({"cache_control", "thinking_blocks", "reasoning_content"})))
    messages = [{"role": "user", "content": [{"type": "text", "text": "s", "cache_control": EPHEMERAL}]}]
    assert translate(Request(messages=messages), reader).messages is messages
    assert translate(Request(messages=messages), reader).cache_control == "5m"
    longer = [*messages, {"role": "user", "content": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    assert translate(Request(messages=longer), reader).cache_control == "1h"
    assert translate(Request(messages=[{"role": "user", "content": "x"}]), reader).cache_control is None
    assert translate(Request(messages=[{"role": "user", "content": "x", "cache_control": None}]), reader).cache_control is None


def test_the_fields_of_the_registrys_extra_body_join_the_others() -> None:
    extra = {"n": 3, "max_tokens": 9, "provider": {"sort": "price"}, "google": {"cached_content": "x"}, "model": "y"}
    entry = model("a", params={"n": 2, "seed": 1, "extra_body": extra})
    assert translate(Request(messages=HELLO), entry).params == {
        "n": 3, "seed": 1, "provider": {"sort": "price"}, "google": {"cached_content": "x"}
    }  # fmt: skip
    assert translate(Request(messages=HELLO, params={"n": 1}), entry).params["n"] == 1
    assert translate(Request(messages=HELLO), model("a", params={"extra_body": {"n": 3}})).params == {"n": 3}


HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "x", **HOUR}, "odd"]}]}
CALL = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, **HOUR}]}


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": [RESULT]},
        {"messages": [CALL]},
        {"tools": [{"type": "function", "function": {"name": "f", **HOUR}}]},
        {"tools": [{"type": "function", "function": {"name": "f"}, **HOUR}]},
        {"params": HOUR},
        {"params": {"cache_control_injection_points": [{"location": "message", "control": HOUR["cache_control"]}]}},
    ],
    ids=("in a result", "a call", "a function", "a tool", "the request", "points"),
)
def test_a_cache_marker_counts_wherever_it_is_read(asked: dict[str, Any]) -> None:
    reader = model("a", compat=Compat(reads=frozenset({"cache_control"})))
    request = Request(**{"messages": [{"role": "user", "content": "x"}], **asked})
    assert translate(request, reader).cache_control == "1h"


def test_the_callers_parameters_stand_above_the_registrys() -> None:
    translation = translate(
        Request(messages=[{"role": "user", "content": "x"}], params={"temperature": 1, "max_tokens": 5}),
        model("a", params={"temperature": 0, "top_p": 0.5}),
    )
    assert dict(translation.params) == {"temperature": 1, "top_p": 0.5}


@pytest.mark.parametrize(
    "word",
    ["base_url", "api_base", "api_key", "headers", "custom_llm_provider", "mock_response", "client", "model_list", "aws_sts_endpoint"],
)
@pytest.mark.parametrize("where", ["params", "extra_body"])
def test_a_caller_sets_no_setting_of_litellm(word: str, where: str) -> None:
    given = {word: "http://127.0.0.1:9"}
    request = Request(messages=HELLO, params=given if where == "params" else {"extra_body": given})
    translation = translate(request, model("a", adapter="litellm"))
    assert translation.impossible == (word,)
    assert not translation.params


def test_the_registry_sets_them_and_a_caller_the_fields_of_providers() -> None:
    asked = {"temperature": 1, "tool_choice": "auto", "top_k": 5, "api_base": None}
    translation = translate(
        Request(messages=HELLO, params=asked), model("a", adapter="litellm", params={"aws_region_name": "eu-central-1"})
    )
    assert dict(translation.params) == {"aws_region_name": "eu-central-1", **asked}
    assert not translation.impossible


# --------------------------------------------------------------------------------------------------------------- thinking

BUDGET = {"type": "enabled", "budget_tokens": 4_000}
REASONS = frozenset({"reasoning", "function_calling"})
CLAUDE = {"capabilities": REASONS, "compat": Compat(reads=frozenset({"thinking_blocks"}))}
TOOL = {"type": "function", "function": {"name": "ls"}}


def thinking(**fields: object) -> Request:
    return Request(**{"messages": HELLO, "thinking": Thinking(BUDGET, "medium"), **fields})  # type: ignore[arg-type]  # a test names any field


def test_a_model_that_reads_anthropic_s_parameter_gets_it() -> None:
    translation = translate(thinking(), model("claude", **CLAUDE, params={"temperature": 0.2, "max_tokens": 9, "stop": "x"}))
    assert (translation.params, translation.dropped) == ({"thinking": BUDGET, "stop": "x"}, ())


def test_others_that_reason_get_an_effort() -> None:
    translation = translate(thinking(), model("gpt", capabilities=REASONS, params={"reasoning_effort": "low"}))
    assert (translation.params, translation.dropped) == ({"reasoning_effort": "medium"}, ())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"capabilities": frozenset({"vision"})},
        {"capabilities": REASONS, "effort": Effort.NEVER},
        {"capabilities": REASONS, "effort": Effort.WITHOUT_TOOLS},
    ],
)
def test_where_it_would_be_refused_or_nothing_is_known_it_is_left_out_and_named(settings: dict[str, object]) -> None:
    translation = translate(thinking(tools=(TOOL,)), model("m", **settings))
    assert (translation.params, translation.dropped) == ({}, ("thinking",))


def test_an_effort_without_tools_is_taken_where_one_with_tools_is_not() -> None:
    assert translate(thinking(), model("m", capabilities=REASONS, effort=Effort.WITHOUT_TOOLS)).params == {"reasoning_effort": "medium"}


def test_an_effort_with_tools_is_dropped_where_it_would_be_refused() -> None:
    picky = model("m", effort=Effort.WITHOUT_TOOLS)
    asked = Request(messages=HELLO, tools=(TOOL,), params={"reasoning_effort": "high"})
    assert (translate(asked, picky).params, translate(asked, picky).dropped) == ({}, ("reasoning_effort",))
    for params, tools in (({"reasoning_effort": "none"}, (TOOL,)), ({"reasoning_effort": "high"}, ())):
        assert translate(Request(messages=HELLO, tools=tools, params=params), picky).params == params


DISABLED = {"type": "disabled"}


@pytest.mark.parametrize(
    ("settings", "sent", "dropped"),
    [
        ({"compat": Compat(thinking_off={"reasoning_effort": "none"})}, {"reasoning_effort": "none", "temperature": 0}, ()),
        ({"compat": Compat(reads=frozenset({"thinking_blocks"}))}, {"thinking": DISABLED, "temperature": 0}, ()),
        ({"compat": Compat(drop_params=frozenset({"thinking"}))}, {"temperature": 0}, ("thinking",)),
        ({"capabilities": frozenset({"vision"})}, {"temperature": 0}, ()),
        ({}, {"temperature": 0}, ("thinking",)),
        ({"capabilities": None}, {"temperature": 0}, ()),
        ({"capabilities": None, "compat": Compat(thinking_off={"think": False})}, {"think": False, "temperature": 0}, ()),
    ],
)
def test_no_thinking_is_passed_on_to_a_model_that_reasons(settings: dict[str, Any], sent: dict[str, Any], dropped: tuple[str, ...]) -> None:
    entry = model("m", **{"capabilities": REASONS, "params": {"temperature": 0}, **settings})
    translation = translate(thinking(thinking=Thinking(DISABLED, "none")), entry)
    assert (translation.params, translation.dropped) == (sent, dropped)


def test_a_turn_that_called_tools_without_a_thought_is_not_thought_on() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    result = {"role": "tool", "tool_call_id": "c", "content": "x"}
    acted = translate(thinking(messages=[*HELLO, call, result]), model("claude", **CLAUDE))
    assert (acted.params, acted.dropped) == ({}, ("thinking",))
    thought = {**call, "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]}
    assert translate(thinking(messages=[*HELLO, thought, result]), model("claude", **CLAUDE)).params == {"thinking": BUDGET}


def test_a_thinking_budget_leaves_room_in_an_output_that_was_lowered() -> None:
    assert fit_thinking({"thinking": BUDGET, "a": 1}, 5_000) == {"thinking": BUDGET, "a": 1}
    assert fit_thinking({"thinking": BUDGET}, 4_000) == {"thinking": {"type": "enabled", "budget_tokens": 2_000}}
    assert fit_thinking({"thinking": BUDGET}, 1_500) == {"thinking": {"type": "enabled", "budget_tokens": 1_024}}
    clearing = {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}
    assert fit_thinking({"thinking": BUDGET, "a": 1, **clearing}, 1_024) == {"a": 1}
    for other in ({"thinking": {"type": "adaptive"}}, {"thinking": "x"}, {}):
        assert fit_thinking(other, 10) == other


@pytest.mark.parametrize("dialect", [Dialect.MESSAGES, Dialect.RESPONSES])
def test_a_long_history_names_what_is_lost_once(dialect: Dialect) -> None:
    history = [{"role": "user", "content": "x", "name": "ada"}, {"role": "assistant", "content": "y"}] * 40
    assert translate(Request(messages=history), model("a", dialect=dialect)).dropped == ("messages.name",)


TUPLES = [
    {"role": "user", "content": ({"type": "text", "text": "x"},)},
    {"role": "assistant", "content": None, "tool_calls": ({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},)},
    {"role": "tool", "tool_call_id": "c", "content": "y"},
]


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_lists(each) for name, each in value.items()}
    return [*map(_as_lists, value)] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("dialect", [Dialect.MESSAGES, Dialect.RESPONSES])
def test_tuples_of_a_program_are_lists_in_every_dialect(dialect: Dialect) -> None:
    given = translate(Request(messages=tuple(TUPLES)), model("a", dialect=dialect))
    listed = translate(Request(messages=_as_lists(TUPLES)), model("a", dialect=dialect))
    assert (given.wire, given.dropped) == (listed.wire, ())
    assert str(given.wire).count("'c'") == 2


VIDEO = {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}
ODD = [
    ([{"role": "user", "content": [{"type": "text", "text": "x"}, VIDEO, VIDEO]}], ("a part of type video_url",)),
    ([{"role": "user", "content": [1]}], ("a part or message of this form",)),
    ([{"role": "user", "content": [{"text": "x"}]}], ("a part or message of this form",)),
    ([{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "text", "text": "y"}, {"type": "odd"}]}], ()),
]


@pytest.mark.parametrize("dialect", [Dialect.MESSAGES, Dialect.RESPONSES])
@pytest.mark.parametrize(("messages", "impossible"), ODD)
def test_what_a_user_says_is_not_left_out(messages: list[dict[str, Any]], impossible: tuple[str, ...], dialect: Dialect) -> None:
    assert translate(Request(messages=messages), model("a", dialect=dialect)).impossible == impossible
    assert translate(Request(messages=messages), model("a")).impossible == ()
