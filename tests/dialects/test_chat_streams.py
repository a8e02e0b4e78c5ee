"""Streams of chat completions: however calls are split, they are the same calls; what is right comes out as it came."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dialects.front_ends import NAMES, of_chunks
from dialects.odd_answers import CASES, LAST, calls, chunk, piece
from paymaster.dialects.chat.normal.answers import as_chunk, normal_answer
from paymaster.dialects.chat.normal.faults import Broken, Fault
from paymaster.dialects.chat.normal.streams import NormalStream
from paymaster.dialects.chat.normal.tool_calls import ids_of_calls, made_id

if TYPE_CHECKING:
    from collections.abc import Callable

Call = tuple[str, str, str]
"""An id, a name and arguments as JSON text."""
Deltas = list[dict[str, Any]]


def normal(*chunks: Any, tool_names: tuple[str, ...] = NAMES, done: bool = True) -> list[Any]:
    """The chunks that come out."""
    stream = NormalStream(seed="s", tool_names=tool_names)
    out: list[Any] = []
    for each in chunks:
        got = stream.feed(each)
        assert not isinstance(got, Broken), got
        out += got
    return [*out, *stream.end()] if done else out


def called(deltas: Deltas, ending: str | None = "tool_calls") -> Any:
    """What a strict client reads of a stream of deltas."""
    chunks = [chunk({"role": "assistant", "content": None}), *(chunk(delta) for delta in deltas), chunk({}, ending), LAST]
    return of_chunks(normal(*chunks), None)


# ---------------------------------------------------------------------------------------------------- every way to split

VALUE = st.one_of(
    st.text(max_size=8), st.integers(-9, 9), st.lists(st.booleans(), max_size=2), st.sampled_from(['}{"', "{", '"', "\\", "{}"])
)
OBJECT = st.dictionaries(st.text(min_size=1, max_size=6).filter(lambda key: not key.startswith("{")), VALUE, min_size=1, max_size=3)
TEXT = st.builds(lambda value, tight: json.dumps(value, separators=(",", ":") if tight else None), OBJECT, st.booleans())
CUTS = st.lists(st.integers(1, 30), max_size=5)


def split(text: str, cuts: list[int]) -> list[str]:
    """The text in pieces, none of them empty."""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[start:stop] for start, stop in pairwise(places)]


def right(made: list[Call], cuts: list[int]) -> Deltas:
    """As OpenAI does it."""
    deltas = []
    for index, (call_id, name, text) in enumerate(made):
        deltas += [calls(piece(index, call_id, name, "")), *(calls(piece(index, arguments=part)) for part in split(text, cuts))]
    return deltas


def repeated(made: list[Call], cuts: list[int]) -> Deltas:
    return [calls(piece(index, call_id, name, part)) for index, (call_id, name, text) in enumerate(made) for part in split(text, cuts)]


def empty_ids(made: list[Call], cuts: list[int]) -> Deltas:
    return [
        calls(piece(index, "" if number else call_id, "" if number else name, part))
        for index, (call_id, name, text) in enumerate(made)
        for number, part in enumerate(split(text, cuts))
    ]


def other_ids(made: list[Call], cuts: list[int]) -> Deltas:
    return [
        calls(piece(index, f"{call_id}-{number}" if number else call_id, None if number else name, part))
        for index, (call_id, name, text) in enumerate(made)
        for number, part in enumerate(split(text, cuts))
    ]


def interleaved(made: list[Call], cuts: list[int]) -> Deltas:
    openings = [calls(*(piece(index, call_id, name, "") for index, (call_id, name, _) in enumerate(made)))]
    parts = [(number, index, part) for index, (_, _, text) in enumerate(made) for number, part in enumerate(split(text, cuts))]
    return openings + [calls(piece(index, arguments=part)) for _, index, part in sorted(parts)]


def other_index(made: list[Call], cuts: list[int]) -> Deltas:
    deltas = []
    for index, (call_id, name, text) in enumerate(made):
        rest = [calls(piece(2 * index + 1, arguments=part)) for part in split(text, cuts)]
        deltas += [calls(piece(2 * index, call_id, name, "")), *rest]
    return deltas


def no_index(made: list[Call], cuts: list[int]) -> Deltas:
    return [
        calls(piece(None, None if number else call_id, None if number else name, part))
        for call_id, name, text in made
        for number, part in enumerate(split(text, cuts))
    ]


def index_0(made: list[Call], cuts: list[int]) -> Deltas:
    return [
        calls(piece(0, None if number else call_id, None if number else name, part))
        for call_id, name, text in made
        for number, part in enumerate(split(text, cuts))
    ]


def cumulative(made: list[Call], cuts: list[int]) -> Deltas:
    deltas = []
    for index, (call_id, name, text) in enumerate(made):
        parts = split(text, cuts)
        so_far = ["".join(parts[: number + 1]) for number in range(len(parts))]
        deltas += [calls(piece(index, call_id, name, part)) for part in so_far]
    return deltas


def placeholder(made: list[Call], cuts: list[int]) -> Deltas:
    deltas = []
    for index, (call_id, name, text) in enumerate(made):
        deltas += [calls(piece(index, call_id, name, "{}")), *(calls(piece(index, arguments=part)) for part in split(text, cuts))]
    return deltas


def objects(made: list[Call], cuts: list[int]) -> Deltas:
    del cuts  # an object comes whole
    return [calls(*(piece(index, call_id, name, json.loads(text)) for index, (call_id, name, text) in enumerate(made)))]


def twice_encoded(made: list[Call], cuts: list[int]) -> Deltas:
    return right([(call_id, name, json.dumps(text)) for call_id, name, text in made], cuts)


def no_ids(style: Callable[[list[Call], list[int]], Deltas]) -> Callable[[list[Call], list[int]], Deltas]:
    """The style without any id."""

    def without(made: list[Call], cuts: list[int]) -> Deltas:
        return [
            {"tool_calls": [{name: value for name, value in each.items() if name not in ("id", "type")} for each in delta["tool_calls"]]}
            for delta in style(made, cuts)
        ]

    return without


STYLES = {
    style.__name__: style
    for style in (
        right,
        repeated,
        empty_ids,
        other_ids,
        interleaved,
        other_index,
        no_index,
        index_0,
        cumulative,
        placeholder,
        objects,
        twice_encoded,
    )
}
WITHOUT_IDS = {f"{style.__name__} without ids": no_ids(style) for style in (right, interleaved, other_index, no_index, index_0, cumulative)}


def differ(made: list[Call]) -> bool:
    """Whether no call is like the one before it: without ids nothing else separates them."""
    return all(one[1:] != two[1:] for one, two in pairwise(made))


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(arguments=st.lists(st.tuples(st.sampled_from(NAMES), TEXT), min_size=1, max_size=3), cuts=CUTS)
def test_calls_are_the_same_however_they_are_split(style, arguments, cuts):
    made = [(f"call_{number}", name, text) for number, (name, text) in enumerate(arguments)]
    reading = called(style(made, cuts))
    assert reading.calls == tuple((call_id, name, json.loads(text)) for call_id, name, text in made)
    assert (reading.ending, reading.text) == ("tool_calls", "")


@pytest.mark.parametrize("style", WITHOUT_IDS.values(), ids=WITHOUT_IDS)
@given(arguments=st.lists(st.tuples(st.sampled_from(NAMES), TEXT), min_size=1, max_size=3), cuts=CUTS)
def test_calls_without_ids_are_the_same_and_get_ids(style, arguments, cuts):
    made = [("", name, text) for name, text in arguments]
    assume(differ([(call_id, name, str(json.loads(text))) for call_id, name, text in made]))
    reading = called(style(made, cuts))
    assert [(name, value) for _, name, value in reading.calls] == [(name, json.loads(text)) for _, name, text in made]
    assert [call_id for call_id, _, _ in reading.calls] == [made_id("s", 0, number) for number in range(len(made))]


@given(name=st.sampled_from(NAMES), cut=st.integers(1, 4), text=TEXT)
def test_a_name_in_pieces_is_one_name(name, cut, text):
    parts = split(name, [cut])
    deltas = [calls(piece(0, "a", parts[0], "")), *(calls(piece(0, None, part)) for part in parts[1:]), calls(piece(0, arguments=text))]
    assert called(deltas).calls == (("a", name, json.loads(text)),)


@given(text=TEXT, cuts=CUTS)
def test_the_text_of_arguments_is_what_was_sent(text, cuts):
    chunks = normal(*(chunk(delta) for delta in right([("a", "bash", text)], cuts)), chunk({}, "tool_calls"))
    pieces = [call for each in chunks for call in each["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(call["function"]["arguments"] for call in pieces) == text


# --------------------------------------------------------------------------------------------------------- what is right

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
RIGHT = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Hm.", "content": None}),
    chunk({"content": "Text"}),
    chunk({"refusal": "No."}),
    chunk({"content": "b", "logprobs": None, "reasoning": None}),
    chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}),
    {**HEAD, "choices": [{"index": 0, "delta": {"content": "t"}, "logprobs": None}]},
    chunk(calls(piece(0, "call_a", "bash", ""))),
    chunk(calls(piece(0, arguments='{"comm'))),
    chunk(calls(piece(0, arguments='and":'))),
    chunk(calls({"index": 0, "type": "function", "function": {"arguments": '"l'}})),
    chunk(calls(piece(0, arguments="s"))),
    chunk(calls(piece(0, arguments='"}'))),
    chunk(calls(piece(1, "call_b", "read", '{"p":1}', extra_content={"google": {"thought_signature": "S"}}))),
    chunk(calls({"index": 2, "id": "call_c", "type": "custom", "custom": {"name": "patch", "input": ""}})),
    chunk(calls({"index": 2, "custom": {"input": "*** {"}})),
    {**chunk({}, "tool_calls"), "service_tier": "flex"},
    LAST,
]


def test_a_right_chunk_comes_out_as_the_very_same_object():
    out = normal(*RIGHT)
    assert len(out) == len(RIGHT)
    assert [one is two for one, two in zip(out, RIGHT, strict=True)] == [True] * len(RIGHT)


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hi.", "refusal": None, "annotations": []},
        {"content": None, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"content": "", "reasoning_content": "Hm.", "tool_calls": [{"index": 0, **piece(None, "a", "f", '{"a":1}')}]},
        {"content": None, "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "text"}}]},
    ],
)
def test_a_right_answer_comes_out_as_the_very_same_object(message):
    ending = "tool_calls" if "tool_calls" in message else "stop"
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": ending}
    answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": {"prompt_tokens": 1}}
    assert normal_answer(answer, seed="s") is answer


@pytest.mark.parametrize("case", [case for case in CASES if case.whole is not None], ids=lambda case: case.name)
def test_a_normal_answer_stays_as_it_is_and_so_does_its_chunk(case):
    once = normal_answer(case.whole, seed="s")
    if isinstance(once, Broken):
        return
    assert normal_answer(once, seed="s") is once
    (as_it_is,) = normal(as_chunk(once), done=False)
    assert of_chunks([as_it_is], None).calls == of_chunks([as_chunk(once)], None).calls


# ------------------------------------------------------------------------------------------------------------ odd corners


def test_readers_get_one_call_after_the_other_and_no_call_twice_in_a_chunk():
    out = normal(
        chunk(calls(piece(0, "a", "now", ""), piece(1, "b", "bash", ""))),
        chunk(calls(piece(1, arguments='{"command":"ls"}'))),
        chunk({}, "tool_calls"),
    )
    pieces = [each["choices"][0]["delta"].get("tool_calls") for each in out]
    assert pieces[1] is None
    assert pieces[2] == [
        {"index": 0, "function": {"arguments": "{}"}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls"}'}},
    ]


def test_what_a_choice_has_beside_its_delta_is_kept():
    (out,) = normal(chunk({}, "MAX_TOKENS", beside={"logprobs": None, "content_filter_results": {}, "message": {}}), done=False)
    assert out["choices"] == [
        {
            "index": 0,
            "delta": {},
            "finish_reason": "length",
            "logprobs": None,
            "content_filter_results": {},
            "native_finish_reason": "MAX_TOKENS",
        }
    ]


@pytest.mark.parametrize(
    ("given_parts", "fields"),
    [
        ([{"type": "image_url", "image_url": {"url": "u"}}], {"images": [{"type": "image_url", "image_url": {"url": "u"}}]}),
        ([{"type": "reference", "reference_ids": [1]}], {"content_parts": [{"type": "reference", "reference_ids": [1]}]}),
        (
            [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
            {"reasoning_content": "Hm.", "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]},
        ),
        ([{"type": "redacted_thinking", "data": "x"}], {"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}),
        ([{"type": "refusal", "refusal": "No."}], {"refusal": "No."}),
        ([7, None], {"content": "7"}),
        ([{"text": {"value": "v"}, "type": "text"}], {"content": "v"}),
        ([{"thinking": "Hm."}, {"text": "v"}, {"type": "thinking"}], {"reasoning_content": "Hm.", "content": "v"}),
    ],
)
def test_parts_of_a_content_are_kept_where_they_can_be(given_parts, fields):
    (out,) = normal(chunk({"content": given_parts}), done=False)
    assert out["choices"][0]["delta"] == {"content": None, **fields}


def test_images_beside_a_content_with_images_are_kept():
    image = {"type": "image_url", "image_url": {"url": "u"}}
    (out,) = normal(chunk({"content": [image], "images": ["i"], "reasoning_details": [{"type": "reasoning.encrypted"}, 3]}), done=False)
    assert out["choices"][0]["delta"]["images"] == ["i", image]


@pytest.mark.parametrize("thought", [[{"type": "text", "text": "Hm."}], {"text": "Hm."}])
def test_a_thought_that_is_no_text_becomes_one(thought):
    (out,) = normal(chunk({"reasoning_content": thought}), done=False)
    assert out["choices"][0]["delta"] == {"reasoning_content": "Hm."}
    second = normal(chunk({"content": "a"}), chunk({"reasoning_content": thought}), done=False)[-1]
    assert second["choices"][0]["delta"] == {"reasoning_content": "Hm."}
    (nothing,) = normal(chunk({"reasoning_content": 3}), done=False)
    assert nothing["choices"][0]["delta"] == {"reasoning_content": ""}


def test_a_call_without_a_name_reaches_nobody():
    out = normal(chunk({"content": "Hi."}), chunk(calls(piece(0, "a", arguments="{}"), 3)), chunk({}, "tool_calls"))
    assert of_chunks(out, None).calls == ()
    assert of_chunks(out, None).ending == "stop"
    whole = normal_answer({"choices": [{"message": {"content": "Hi.", "tool_calls": [{"id": "a"}]}}]}, seed="s")
    assert not isinstance(whole, Broken)
    assert whole["choices"][0]["finish_reason"] == "stop"


def test_a_call_has_another_id_than_those_before_it_in_the_conversation():
    def earlier() -> frozenset[str]:
        return frozenset({"call_0", "call_1"})

    stream = NormalStream(seed="s", tool_names=NAMES, earlier_ids=earlier)
    both = [piece(0, "call_0", NAMES[0], "{}"), piece(1, "call_9", NAMES[0], "{}")]
    out = [each for given in (chunk(calls(*both)), chunk({}, "tool_calls")) for each in stream.feed(given)]
    assert [(call[0]) for call in of_chunks(out, None).calls] == [made_id("s", 0, 0), "call_9"]
    given = [{"id": each["id"], "type": "function", "function": each["function"]} for each in both]
    whole = normal_answer({"choices": [{"message": {"tool_calls": given}}]}, seed="s", earlier_ids=earlier)
    assert not isinstance(whole, Broken)
    assert [call["id"] for call in whole["choices"][0]["message"]["tool_calls"]] == [made_id("s", 0, 0), "call_9"]


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        (None, set()),
        ([None, {"role": "user"}, {"tool_calls": None}, {"tool_calls": ["x", {"id": 5}, {"id": "a"}, {"id": "b"}]}], {"a", "b"}),
        (({"tool_calls": ({"id": "a"},)},), {"a"}),
    ],
)
def test_the_ids_of_a_conversation_s_calls(messages, found):
    assert ids_of_calls(messages) == found


def test_a_custom_tool_s_input_is_text_and_not_json():
    def custom(index: int, **fields: Any) -> dict[str, Any]:
        return {"index": index, "custom": fields}

    opening = {**custom(0, name="patch"), "id": "a", "type": "custom"}
    deltas = [calls(opening), calls(custom(0, input="{}")), calls(custom(0, input="{}")), calls({"index": 0, "custom": {"input": 7}})]
    out = normal(*(chunk(delta) for delta in deltas), chunk(calls({**custom(1, name="patch", input="b"), "id": "b"})), chunk({}, "stop"))
    pieces = [call for each in out for call in each["choices"][0]["delta"].get("tool_calls", ())]
    assert [(call["index"], call["custom"]["input"]) for call in pieces] == [(0, "{}"), (0, "{}"), (1, "b")]
    whole = {"choices": [{"message": {"tool_calls": [{"custom": {"name": "patch", "input": None}}]}}]}
    answer = normal_answer(whole, seed="s")
    assert not isinstance(answer, Broken)
    assert answer["choices"][0]["message"]["tool_calls"] == [
        {"id": made_id("s", 0, 0), "type": "custom", "custom": {"name": "patch", "input": ""}}
    ]


@pytest.mark.parametrize("choices", [[], None, "?", [3], [{"index": 0}]])
def test_an_answer_without_a_message_is_left_to_its_judge(choices):
    answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": {"prompt_tokens": 1}}
    assert normal_answer(answer, seed="s") is answer


def test_an_answer_gets_the_fields_that_strict_clients_need():
    answer = normal_answer({"created": 2.5, "id": 7, "choices": [{"delta": {"tool_calls": [3], "content": "a"}}]}, seed="s")
    assert answer == {
        "object": "chat.completion",
        "id": "7",
        "created": 2,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a", "tool_calls": []}, "finish_reason": "stop"}],
    }
    assert as_chunk({"choices": None})["choices"] == []


def test_a_piece_of_a_call_that_was_left_is_sent_all_the_same():
    deltas = [calls(piece(0, "a", "read", '{"p":1}')), calls(piece(1, "b", "write", '{"p"')), calls(piece(0, arguments=" "))]
    pieces = [each["choices"][0]["delta"].get("tool_calls") for each in normal(*(chunk(delta) for delta in deltas), done=False)]
    assert pieces[-1] == [{"index": 0, "function": {"arguments": " "}}]


def test_a_call_whose_arguments_never_come_is_sent_before_the_text_behind_it():
    deltas = [calls(piece(0, "a", "now")), {"content": "So."}]
    sent = [each["choices"][0]["delta"] for each in normal(*(chunk(delta) for delta in deltas), done=False)]
    order = [name for delta in sent for name in ("tool_calls", "content") if delta.get(name)]
    assert order == ["tool_calls", "content"], sent


def test_a_name_that_comes_behind_text_is_of_its_call():
    deltas = [
        calls({"index": 0, "id": "a"}),
        {"content": "So."},
        calls(piece(0, None, "bash", '{"command":"ls"}')),
        calls(piece(1, "b", "now")),
    ]
    assert called(deltas).calls == (("a", "bash", {"command": "ls"}), ("b", "now", {}))


@pytest.mark.parametrize(("created", "shown"), [(1e300, 0), (-1.0, 0), (2.9, 2), ("2", 0), (True, 0)])
def test_a_time_that_is_no_whole_number_is_none(created, shown):
    (out,) = normal(chunk({"content": "a"}, created=created), done=False)
    assert out["created"] == shown


def test_text_below_many_parts_is_none():
    nested: Any = "deep"
    for _ in range(900):
        nested = [{"type": "text", "text": nested}]
    (out,) = normal(chunk({"content": nested}), done=False)
    assert out["choices"][0]["delta"] == {"content": ""}


def test_a_model_that_nobody_named_is_not_made_up():
    first, second, third = normal(
        chunk({"content": "a"}, model=""), chunk({"content": "b"}), chunk({"content": "c"}, model=None), done=False
    )
    assert (first["model"], second["model"], third["model"]) == ("", "m", "m")


def test_what_came_before_the_first_chunk_goes_with_it_or_alone():
    early = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [1]}
    first, second = normal(early, chunk({"content": "a"}), chunk({}, "stop"))
    assert (first["prompt_filter_results"], "prompt_filter_results" in second) == ([1], False)
    (alone,) = normal(early)
    assert (alone["prompt_filter_results"], alone["choices"], alone["id"]) == ([1], [], "chatcmpl-s")


def test_a_chunk_that_is_none_is_dropped_and_one_without_a_head_gets_the_stream_s():
    assert normal({"type": "ping"}, done=False) == []
    _, second = normal(chunk({"content": "a"}), {"choices": [{"delta": {"content": "b"}}, 3]}, done=False)
    assert second == {**HEAD, "choices": [{"index": 0, "delta": {"content": "b"}}]}


def test_a_call_behind_an_early_ending_corrects_it():
    out = normal(chunk({"content": "a"}, "stop"), chunk(calls(piece(0, "a", "now", ""))))
    assert out[-1]["choices"] == [
        {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, "finish_reason": "tool_calls"}
    ]
    assert normal(chunk({"content": "a"}, "stop"))[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_old_function_call_is_a_tool_call_where_tools_were_offered():
    """Old servers answer so whatever was offered, and no reader of tool calls would find it."""
    begun, rest = ({"function_call": {"name": "f", "arguments": '{"a"'}}, {"function_call": {"arguments": ":1}"}})
    said = [each["choices"][0] for each in normal(chunk(begun), chunk(rest), chunk({}, "function_call"))]
    pieces = [called["function"] for each in said for called in each["delta"].get("tool_calls", ())]
    assert ("".join(each["arguments"] for each in pieces), pieces[0]["name"], said[-1]["finish_reason"]) == ('{"a":1}', "f", "tool_calls")
    whole = {"choices": [{"message": {"function_call": {"name": "f", "arguments": '{"a":1}'}}, "finish_reason": "function_call"}]}
    [choice] = normal_answer(whole, seed="s", offers_tools=True)["choices"]
    [called] = choice["message"]["tool_calls"]
    assert (called["function"], choice["finish_reason"]) == ({"name": "f", "arguments": '{"a":1}'}, "tool_calls")
    assert not any("function_call" in holder for holder in (choice["message"], *(each["delta"] for each in said)))


def test_details_that_repeat_a_thought_are_no_second_one():
    """OpenAI's responses say all of a thought again where it ends; details are a thought's text where nothing else is."""
    details = {"reasoning_details": [{"type": "reasoning.summary", "summary": "ab"}, {"type": "reasoning.encrypted", "data": "E"}]}
    said = normal(chunk({"reasoning_content": "a"}), chunk({"reasoning_content": "b"}), chunk(details), chunk({}, "stop"))
    assert [each["choices"][0]["delta"].get("reasoning_content") for each in said] == ["a", "b", None, None]
    assert normal(chunk(details))[0]["choices"][0]["delta"]["reasoning_content"] == "ab"


def test_the_old_function_call_keeps_its_ending():
    old = {"function_call": {"name": "f", "arguments": "{}"}}
    for chunks in ((chunk(old), chunk({}, "function_call")), (chunk(old),)):
        assert normal(*chunks, tool_names=())[-1]["choices"][0]["finish_reason"] == "function_call"
    whole = normal_answer({"choices": [{"message": old, "finish_reason": "function_call"}]}, seed="s")
    assert not isinstance(whole, Broken)
    assert whole["choices"][0]["finish_reason"] == "function_call"


@pytest.mark.parametrize("key", ["finish_reason", "stop_reason"])
def test_anthropic_s_name_for_an_ending_is_read(key):
    choice = {"index": 0, "delta": {"content": "a"}, key: "max_tokens"}
    (out,) = normal({**HEAD, "choices": [choice]}, done=False)
    assert out["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"x_groq": {"id": "r", "error": "over capacity"}}, {"error": "over capacity"}),
        ({"error": [["no"]]}, {"error": "no"}),
        ({"error": 5}, {"error": {"message": "5"}}),
        ({"title": "Too Many Requests", "status": 429}, {"error": {"message": "Too Many Requests", "status": 429}}),
        ({"error_code": 17, "error_msg": "quota"}, {"error": {"message": "quota", "error_code": 17, "code": 17}}),
        ({"detail": [{"msg": "bad"}]}, {"error": {"message": "[{'msg': 'bad'}]"}}),
        (
            {"base_resp": {"status_code": 1026, "status_msg": ""}},
            {"error": {"message": "error (1026)", "code": 400, "type": "content_filter"}},
        ),
        ({"base_resp": {"status_code": 9, "status_msg": "odd"}}, {"error": {"message": "odd (9)", "code": 500}}),
        ({"choices": [{"error": {"code": 1}}]}, {"error": {"code": 1}}),
        ({"choices": [{"index": 0}], "base_resp": {"status_code": 1002}}, {"error": {"message": "error (1002)", "code": 429}}),
    ],
)
def test_an_error_is_found_wherever_it_is(body, error):
    found = NormalStream(seed="s").feed(body)
    assert isinstance(found, Broken)
    assert (found.fault, found.error) == (Fault.SERVER_ERROR, error)
    assert normal_answer(body, seed="s") == found


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [3], "base_resp": {"status_code": "?"}, "x_groq": {"id": "r"}},
        {"usage": {"prompt_tokens": 1}, "message": "fine"},
        {"choices": [], "base_resp": "?", "error": None},
    ],
)
def test_an_answer_without_an_error_has_none(body):
    assert not isinstance(normal_answer(body, seed="s"), Broken)


# ------------------------------------------------------------------------------------------- said in the middle of a call


@pytest.mark.parametrize("said", [{"content": "mid"}, {"reasoning_content": "mid"}], ids=["a text", "a thought"])
@pytest.mark.parametrize(
    ("rest", "ending"),
    [([calls(piece(0, arguments="}"))], "tool_calls"), ([calls(piece(0, arguments="}")), {"content": "end"}], None), ([], "length")],
    ids=["the call goes on", "no ending", "cut by the limit"],
)
def test_what_is_said_in_the_middle_of_a_call_comes_behind_it(said: dict[str, str], rest: Deltas, ending: str | None) -> None:
    deltas = [calls(piece(0, "call_a", "read", '{"p":1')), said, *rest]
    chunks = normal(*(chunk(delta) for delta in deltas), *([] if ending is None else [chunk({}, ending)]))
    sent = [each["choices"][0]["delta"] for each in chunks]
    last_piece = max(place for place, delta in enumerate(sent) if delta.get("tool_calls"))
    [place] = [place for place, delta in enumerate(sent) if "mid" in delta.values()]
    assert place > last_piece
    written = [delta["tool_calls"][0]["function"]["arguments"] for delta in sent if delta.get("tool_calls")]
    assert "".join(written) == '{"p":1' + "}" * bool(rest)
