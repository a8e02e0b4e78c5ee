"""Server-sent events do not depend on where their bytes are split; chunks of every provider make one whole answer."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.dialects.chat.normal.streams import NormalStream
from paymaster.providers.assembly import Assembly
from paymaster.providers.sse import EventParser, ServerEvent

LINE = st.sampled_from([b"data: a", b"data:b", b"data", b": comment", b"event: error", b"id: 3", b"", b"", b"data: \xc3\xa9", b"nonsense"])
END = st.sampled_from([b"\n", b"\r\n", b"\r"])


def parse(parts: list[bytes]) -> list[ServerEvent]:
    parser = EventParser()
    return [event for part in parts for event in parser.feed(part)] + parser.finish()


@given(
    lines=st.lists(LINE, max_size=12),
    end=END,
    bom=st.booleans(),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_events_do_not_depend_on_where_the_bytes_are_split(lines, end, bom, cuts):
    data = (b"\xef\xbb\xbf" if bom else b"") + end.join([*lines, b""])
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[start:stop] for start, stop in pairwise(places)]
    assert parse(parts) == parse([data])


def test_a_long_line_takes_time_that_grows_with_its_length_alone():
    parts = [b"data: ", *[b"x" * 1_400] * 6_000, b"\n\n"]
    began = time.process_time()
    assert len(parse(parts)[0].data) == 1_400 * 6_000
    assert time.process_time() - began < 1.0


def test_an_event_has_its_name_and_all_its_data_lines():
    data = b": hello\nevent: error\ndata: one\ndata:two\ndata\n\ndata: three\n\nevent: lonely\n\ndata: last"
    assert parse([data]) == [ServerEvent("error", b"one\ntwo\n"), ServerEvent("", b"three"), ServerEvent("", b"last")]


def test_a_byte_order_mark_in_pieces_is_skipped():
    assert parse([b"\xef", b"\xbb", b"\xbfdata: x\n\n"]) == [ServerEvent("", b"x")]


def joined(*chunks: dict[str, object], api: str = "openai.chat") -> Assembly:
    """The chunks of a provider, as an adapter passes them on."""
    assembly, stream = Assembly(api), NormalStream(seed="s")
    for chunk in chunks:
        assembly.usage.feed(chunk)
        for normal in stream.feed(chunk):
            assembly.add(normal)
    return assembly


def assembled(*deltas: dict[str, object]) -> dict[str, object]:
    chunks = [{"id": "a", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    assembly = joined(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    assert assembly.finished
    return assembly.build()["choices"][0]["message"]


def test_reasoning_refusals_lists_and_unknown_fields_are_kept():
    message = assembled(
        {"reasoning_content": "think", "reasoning": "r", "annotations": [{"x": 1}], "images": ["i1"]},
        {"reasoning_content": "ing", "refusal": "no", "annotations": [{"x": 2}], "audio": {"id": "au"}, "empty": ""},
    )
    assert message == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "thinking",
        "refusal": "no",
        "annotations": [{"x": 1}, {"x": 2}],
        "images": ["i1"],
        "audio": {"id": "au"},
    }


def test_thoughts_are_joined_into_the_blocks_that_their_model_expects():
    def piece(thinking, signature=None):
        return {"thinking_blocks": [{"type": "thinking", "thinking": thinking, "signature": signature}]}

    sealed = {"type": "redacted_thinking", "data": "x"}
    message = assembled(piece("Fir"), piece("st."), piece("", "s1"), piece("Second.", "s2"), {"thinking_blocks": [sealed]}, piece("Third."))
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "First.", "signature": "s1"},
        {"type": "thinking", "thinking": "Second.", "signature": "s2"},
        sealed,
        {"type": "thinking", "thinking": "Third."},
    ]


def test_the_old_function_call_is_joined():
    old = assembled({"function_call": {"name": "f", "arguments": '{"a"'}}, {"function_call": {"arguments": ":1}", "odd": 3}})
    assert old["function_call"] == {"name": "f", "arguments": '{"a":1}'}


def test_several_choices_logprobs_and_top_level_fields_are_kept():
    chunks = [
        {"id": "a", "model": "m", "service_tier": None, "choices": [{"index": 1, "delta": {"content": "B"}, "logprobs": {"content": [1]}}]},
        {"id": "ignored", "service_tier": "flex", "choices": [{"index": 0, "delta": {"content": "A"}}, 3], "usage": None},
        {"choices": [{"index": 1, "delta": {}, "logprobs": {"content": [2], "refusal": None}, "finish_reason": "stop", "native": "x"}]},
    ]
    assert not Assembly().finished
    assert not joined(*chunks).finished
    assembly = joined(
        *chunks,
        {"choices": [{"delta": None, "finish_reason": "length"}], "usage": {"prompt_tokens": 1}},
        {"choices": [], "usage": {"prompt_tokens": 5}},
        {"choices": "?", "x_groq": {"usage": {"prompt_tokens": 6}}},
    )
    assert assembly.build() == {
        "id": "a",
        "model": "m",
        "created": 0,
        "service_tier": "flex",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "length"},
            {
                "index": 1,
                "message": {"role": "assistant", "content": "B"},
                "finish_reason": "stop",
                "native": "x",
                "logprobs": {"content": [1, 2]},
            },
        ],
        "usage": {"prompt_tokens": 6},
    }


EARLY = {"prompt_tokens": 10, "completion_tokens": 1}


@pytest.mark.parametrize(
    "usage",
    [
        {"usage": EARLY},
        {"x_groq": {"usage": EARLY}},
        {"usageMetadata": {"promptTokenCount": 10}},
        {"metadata": {"usage": EARLY}},
        {"prompt_eval_count": 10, "eval_count": 1},
    ],
)
def test_usage_that_output_came_after_is_not_in_the_answer(usage):
    first = {"id": "a", "choices": [{"index": 0, "delta": {"content": "A"}}], **usage}
    assert "usage" in joined(first).build()
    assembly = joined(first, {"choices": [{"index": 0, "delta": {"content": "B"}, "finish_reason": "stop"}]})
    assert assembly.build().keys() == {"id", "object", "created", "choices"}


def test_fields_that_may_have_usage_are_kept_without_it():
    built = joined({"choices": [], "id": "a", "x_groq": {"id": "g", "usage": EARLY}, "metadata": {"team": "t"}, "message": ""}).build()
    assert (built["x_groq"], built["metadata"], built["message"], built["usage"]) == ({"id": "g"}, {"team": "t"}, "", EARLY)


@pytest.mark.parametrize("more", [(), ({"choices": [{"index": 0, "delta": {"content": "b"}}]},)])
def test_usage_in_a_choice_is_the_answer_s_and_not_the_choice_s(more):
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    first = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop", "usage": usage}]}
    whole = joined(first, *more, api="moonshot.chat").build()
    assert "usage" not in whole["choices"][0]
    assert whole.get("usage") == (None if more else usage)
