"""Summaries that clients of OpenAI's responses ask for, keep and return; tools of a body that nobody forced."""

from __future__ import annotations

from typing import Any

import pytest

from paymaster.dialects.neutral import ChoiceKind, Opaque
from paymaster.dialects.responses.hosted_tools import unforced, without
from paymaster.dialects.responses.passing import passed
from paymaster.dialects.responses.requests import read, refers_to_items, thoughts_by_id, write
from paymaster.dialects.responses.stream_writer import EventWriter
from paymaster.dialects.responses.summaries import REQUEST, sealed_summary, summary_in

OWNER = "0123456789ab"
RUN = {"type": "function", "name": "run", "parameters": {"type": "object", "properties": {}}, "strict": False}
SEARCH = {"type": "web_search"}
USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
TRIGGER = {"type": "compaction_trigger"}


@pytest.mark.parametrize(
    "tools",
    [
        {},
        {"tools": [RUN]},
        {"tools": [RUN], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tools": [RUN], "parallel_tool_calls": True},
        {"tools": [RUN], "tool_choice": {"type": "function", "name": "run"}},
    ],
)
def test_who_asks_for_a_summary_wants_no_call(tools: dict[str, Any]) -> None:
    body = {"input": [USER, TRIGGER], **tools}
    conversation = read(body)
    [asked] = conversation.turns[-1].parts
    assert (isinstance(asked, Opaque) and asked.text, write(conversation).body) == (REQUEST, body)
    assert (conversation.choice and conversation.choice.kind) == (ChoiceKind.NONE if tools else None)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"type": "compaction", "encrypted_content": sealed_summary("Done.", OWNER)}, "Done."),
        ({"type": "compaction_summary", "encrypted_content": sealed_summary("Done.", "")}, "Done."),
        ({"type": "compaction", "encrypted_content": "sealed"}, ""),
        ({"type": "compaction"}, ""),
        ({"type": "reasoning", "encrypted_content": sealed_summary("Done.", OWNER)}, ""),
    ],
)
def test_a_summary_of_ours_is_read_and_any_other_stays_sealed(item: dict[str, Any], text: str) -> None:
    assert summary_in(item).rpartition("\n\n")[2] == text
    if item["type"] == "reasoning":
        return
    assert write(read({"input": [item]})).body == {"input": [item]}
    [sent] = passed({"input": [item]}, OWNER).body["input"]
    assert sent == item if not text else sent["content"][0]["text"].endswith(text)


@pytest.mark.parametrize(
    ("deltas", "types"),
    [
        ([{"role": "assistant", "content": ""}, {"content": "So"}, {"content": " far."}], ["compaction"]),
        ([{"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "run", "arguments": "{}"}}]}], []),
    ],
    ids=["a text", "a call alone"],
)
def test_only_a_text_becomes_a_summary(deltas: list[dict[str, Any]], types: list[str]) -> None:
    writer = EventWriter({"input": [USER, {"type": "compaction_trigger"}], "tools": [RUN]}, OWNER)
    events = [event for delta in deltas for event in writer.add(delta)]
    assert len([*events, *writer.close()]) == 2 * len(types)  # it begins and is done
    assert [item["type"] for item in writer.output] == types


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"tools": [RUN, SEARCH]}, [SEARCH]),
        ({"tools": [SEARCH], "tool_choice": "required"}, []),
        ({"tools": [SEARCH], "tool_choice": SEARCH}, []),
        ({"tools": [{"type": "namespace", "name": "n", "tools": []}]}, [{"type": "namespace", "name": "n", "tools": []}]),
        ({}, []),
    ],
)
def test_tools_that_nobody_forced(body: dict[str, Any], found: list[object]) -> None:
    assert unforced({"input": "Hi", **body}) == found


def test_a_text_and_items_without_tools_stay_as_they_are() -> None:
    assert without({"input": "Hi", "tools": [SEARCH], "tool_choice": "auto"}, [SEARCH]).body == {"input": "Hi"}
    written = without({"input": [USER, 5]}, [SEARCH])
    assert (written.body, written.dropped) == ({"input": [USER, 5]}, ("tools.web_search",))


@pytest.mark.parametrize(
    ("given", "refers"),
    [
        ("Hi", False),
        ([USER, 5], False),
        ([{"type": "item_reference", "id": "x"}], True),
        ([{"type": "image_generation_call", "id": "ig_1"}], True),
        ([{"type": "image_generation_call", "id": "ig_1", "result": None}], True),
        ([{"type": "image_generation_call", "id": "ig_1", "result": "aGk="}], False),
    ],
)
def test_references_to_items(given: object, *, refers: bool) -> None:
    assert refers_to_items({"input": given}) is refers


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ({"input": "Hi"}, 0),
        ({"input": [USER, 5, THOUGHT, {**THOUGHT, "encrypted_content": None, "content": []}]}, 2),
        ({"input": [THOUGHT], "store": None}, 1),
        ({"input": [THOUGHT], "store": False}, 0),
        ({"input": [{**THOUGHT, "encrypted_content": "sealed"}]}, 0),
        ({"input": [{**THOUGHT, "content": [{"type": "reasoning_text", "text": "Hm."}]}]}, 0),
        ({"input": [{"type": "reasoning", "summary": []}]}, 0),
    ],
)
def test_thoughts_that_only_their_endpoint_has(body: dict[str, Any], number: int) -> None:
    assert thoughts_by_id(body) == number
