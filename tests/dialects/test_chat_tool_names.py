"""Names of tools that are too long, or spelled as an endpoint refuses, are sent under another name and come back as they were."""

from typing import Any

import pytest

from chat_histories import LONG_NAME, call
from paymaster.dialects.chat.fitting.call_ids import fitting_ids
from paymaster.dialects.chat.fitting.tool_names import fit_tools, fitting_name, restore_names
from paymaster.registry.compat import Compat

LIMITED = Compat(tool_name_limit=64)
STRICT = {"type": "object", "properties": {}}


def tool(name: str, **more: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": STRICT, **more}}


def test_a_schema_stays_what_its_client_asked() -> None:
    for more in ({}, {"strict": True}, {"strict": False}):
        [fitted], _, _ = fit_tools([tool(LONG_NAME, **more)], LIMITED)
        assert fitted == {"type": "function", "function": {"parameters": STRICT, **more, "name": fitting_name(LONG_NAME, LIMITED)}}


def test_tools_that_fit_are_passed_on_as_the_very_same_list() -> None:
    tools: list[Any] = [tool("ls"), {"type": "web_search"}, "google_search", {"type": "custom", "name": "x"}]
    assert fit_tools(tools, LIMITED)[0] is tools
    assert fit_tools([tool("a.b" * 50)], Compat())[1] == {}


@pytest.mark.parametrize(
    "name", [LONG_NAME, "n" * 65, "server.tool", "a b", "名前", "\ud800"], ids=["long", "65", "dot", "space", "letters", "surrogate"]
)
def test_a_name_is_shortened_spelled_as_it_is_taken_and_stays_the_same(name: str) -> None:
    short = fitting_name(name, LIMITED)
    assert len(short) <= 64
    assert short.replace("_", "").replace("-", "").isascii()
    assert fitting_name(short, LIMITED) == short
    assert fitting_name(name + "x", LIMITED) != short
    assert len(fitting_name(name, Compat(tool_name_limit=5))) <= max(5, len(name))


def test_cache_markers_of_tools_go_where_they_are_read() -> None:
    marked = [
        {**tool("ls"), "cache_control": {}},
        {"type": "function", "function": {"name": "x", "cache_control": {}}},
        {"type": "web", "n": 1},
    ]
    fitted, names, lost = fit_tools(marked, Compat())
    assert list(fitted) == [tool("ls"), {"type": "function", "function": {"name": "x"}}, {"type": "web", "n": 1}]
    assert (names, lost) == ({}, ("tools.cache_control",))
    assert fit_tools(marked, Compat(reads=frozenset({"cache_control"})))[0] is marked


@pytest.mark.parametrize("part", ["message", "delta"])
def test_the_caller_reads_the_name_that_it_gave(part: str) -> None:
    _, names, lost = fit_tools([tool(LONG_NAME), tool("ls")], LIMITED)
    assert lost == ()
    body = {
        "id": 1,
        "choices": [{"index": 0, part: {"tool_calls": [call(name=fitting_name(LONG_NAME, LIMITED)), call("c2"), "odd"]}}, "odd"],
    }
    restored = restore_names(body, names)
    assert restored == {"id": 1, "choices": [{"index": 0, part: {"tool_calls": [call(name=LONG_NAME), call("c2"), "odd"]}}, "odd"]}
    for other in ({"choices": [{part: {"tool_calls": [call()]}}]}, {"choices": [{part: {"content": "x"}}]}, {"choices": None}, {}):
        assert restore_names(other, names) is other
    assert restore_names(body, {}) is body


def test_two_ids_never_become_one() -> None:
    ids = [f"call_{number}" for number in range(3_000)]
    taken = next(iter(fitting_ids(["call_0"], Compat(call_id="mistral")).values()))
    for compat in (Compat(call_id="mistral"), Compat(call_id_limit=6), Compat(call_id="anthropic", call_id_limit=12)):
        fitted = fitting_ids([*ids, taken, "a:b", "a.b"], compat)
        sent = [fitted.get(call_id, call_id) for call_id in [*ids, taken, "a:b", "a.b"]]
        assert len(set(sent)) == len(sent)
