"""What is sent of a request, and what the caller reads of the answer, where a model takes less than the caller's client says."""

import asyncio

import pytest

from call_box import HELLO, Box, answer, model, registry
from chat_histories import LONG_NAME, acts, call, result
from paymaster.dialects.chat.fitting.tool_names import fitting_name
from paymaster.errors import NoModelFits
from paymaster.flow.ports import ProviderChunk, ProviderReply
from paymaster.registry.compat import Compat
from paymaster.registry.compat_facts import compat_facts
from paymaster.registry.models import Dialect, ServerTool
from paymaster.routing.requests import Request, Source

LIMITED = Compat(tool_name_limit=64)
SHORT = fitting_name(LONG_NAME, LIMITED)
TOOL = {"type": "function", "function": {"name": LONG_NAME, "parameters": {"type": "object"}}}
REQUEST = {
    "messages": [*HELLO, acts(call("c1", LONG_NAME)), result()],
    "tools": [TOOL],
    "params": {"tool_choice": {"function": {"name": LONG_NAME}}},
}


def calling(name: str) -> ProviderReply:
    body = {"choices": [{"index": 0, "message": acts(call("c2", name)), "finish_reason": "tool_calls"}]}
    return answer(body=body, finish_reason="tool_calls")


def test_a_long_name_is_sent_short_everywhere_and_read_long_in_the_answer() -> None:
    box = Box(registry(model("a", compat=LIMITED)), {"a": [calling(SHORT)]})
    reply = box.ask(Request(**REQUEST))  # type: ignore[arg-type]  # a table of fields
    [sent] = [each.body for each in box.provider.calls]
    assert LONG_NAME not in str(sent)
    assert str(sent).count(SHORT) == 3
    assert reply.tool_calls == (call("c2", LONG_NAME),)


def test_also_in_a_stream() -> None:
    delta = {"role": "assistant", "tool_calls": [{**call("c2", SHORT), "index": 0}]}
    chunk = ProviderChunk({"choices": [{"index": 0, "delta": delta}]})
    box = Box(registry(model("a", compat=LIMITED)), {"a": [chunk, calling(SHORT)]})
    request = Request(**REQUEST, stream=True)  # type: ignore[arg-type]  # as above
    *chunks, reply = asyncio.run(box.items(request))
    assert LONG_NAME in str(chunks[0])
    assert SHORT not in str([*chunks, reply])


def test_too_many_tools_go_to_a_model_that_takes_them() -> None:
    tools = [{"type": "function", "function": {"name": f"t{number}"}} for number in range(129)]
    box = Box(registry(model("a", compat=compat_facts("openai", "gpt-4o")), model("b")), {"b": [answer()]})
    assert box.ask(Request(messages=HELLO, tools=tools)).model == "b"
    lone = Box(registry(model("a", compat=Compat(max_tools=128))), {})
    with pytest.raises(NoModelFits, match=r"it does not take more than 128 tools \(129 given\)"):
        lone.ask(Request(messages=HELLO, tools=tools))


def test_googles_section_is_sent_where_google_reads_it() -> None:
    section = {"google": {"thinking_config": {"thinking_budget": 9}}}
    for given in (section, {"extra_body": section}, {"extra_body": {"extra_body": section}}):
        for asked, own in ((given, {}), ({}, given)):
            box = Box(registry(model("a", compat=compat_facts("google", "gemini-2.5-flash"), params=own)), {"a": [answer()]})
            box.ask(Request(messages=HELLO, params=asked))
            [sent] = box.provider.calls
            assert sent.body["extra_body"] == section
            assert "google" not in sent.body


BUDGET = {"type": "enabled", "budget_tokens": 3_000}
SONNET: dict[str, object] = {
    "provider": "anthropic", "model_id": "claude-sonnet-4-5", "compat": compat_facts("anthropic", "claude-sonnet-4-5"),
    "dialect": Dialect.MESSAGES, "output_limit_param": "max_tokens",
}  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "params", "own", "budget"),
    [
        (8_000, {"reasoning_effort": "high", "max_tokens": 6_000}, None, 4_096),
        (8_000, {"reasoning_effort": "high", "max_tokens": 3_000}, None, 1_500),
        (8_000, {"reasoning_effort": "high", "max_tokens": 500}, None, None),
        (2_500, {"thinking": BUDGET, "max_tokens": 6_000}, BUDGET, 1_250),
        (8_000, {"thinking": BUDGET, "max_tokens": 2_500}, BUDGET, 3_000),
    ],
    ids=["enough", "an effort", "too little for any", "a model that writes less", "the client's own words"],
)
def test_thinking_leaves_room_in_an_output_limit_that_is_not_the_clients(
    limit: int, params: dict[str, object], own: object, budget: int | None
) -> None:
    box = Box(registry(model("a", max_output_tokens=limit, **SONNET)), {"a": [answer()]})
    body = {"messages": HELLO, "thinking": own, "max_tokens": params["max_tokens"]}
    source = None if own is None else Source(dialect=Dialect.MESSAGES, body=body)
    box.ask(Request(messages=HELLO, params=params, source=source))
    [sent] = box.provider.calls
    thinking = sent.body.get("thinking")
    assert (thinking["budget_tokens"] if isinstance(thinking, dict) else None) == budget


def test_the_uses_of_hosted_tools_that_are_held_for_are_sent() -> None:
    stated = {"web_search": ServerTool(max_uses=2, tokens_per_use=100)}
    native = model("a", dialect=Dialect.RESPONSES, output_limit_param="max_output_tokens", server_tools=stated)
    box = Box(registry(native), {"a": [answer()]})
    box.ask(Request(messages=HELLO, tools=[{"type": "web_search"}]))
    assert box.provider.calls[0].body["max_tool_calls"] == 2


def test_what_is_dropped_is_named_in_the_events() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "x", "reasoning_content": "r"}]
    box = Box(registry(model("a", compat=compat_facts("openai", "o3"))), {"a": [answer()]})
    box.ask(Request(messages=messages, params={"parallel_tool_calls": True, "temperature": 0}))
    [admitted] = [event for event in box.events if event.kind == "admitted"]
    assert set(admitted.dropped_params) == {"parallel_tool_calls", "temperature", "messages.reasoning_content"}  # type: ignore[attr-defined]  # by kind
