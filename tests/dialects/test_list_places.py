"""Entries of lists in deltas have places, as the official library's accumulator demands."""

from __future__ import annotations

import pytest
from openai.lib.streaming._deltas import accumulate_delta

from paymaster.dialects.chat.list_places import ListPlaces

SIGNED = {"type": "thinking", "thinking": "ab", "signature": "S"}
SEALED = {"type": "redacted_thinking", "data": "R"}
STREAMS = {
    "a thought in pieces": (
        [*({"type": "thinking", "thinking": said} for said in "ab"), {"type": "thinking", "thinking": "", "signature": "S"}],
        [SIGNED],
    ),
    "two thoughts": ([SIGNED, SEALED, SIGNED], [SIGNED, SEALED, SIGNED]),
}


@pytest.mark.parametrize(("pieces", "whole"), STREAMS.values(), ids=STREAMS)
def test_the_pieces_add_up_in_the_official_library(pieces: list[dict[str, object]], whole: list[dict[str, object]]) -> None:
    places, added = ListPlaces(), dict[object, object]()
    for piece in pieces:
        chunk = places.placed({"choices": [{"index": 0, "delta": {"thinking_blocks": [piece]}}]})
        added = accumulate_delta(added, chunk["choices"][0]["delta"])  # type: ignore[index]  # one choice
    assert added == {"thinking_blocks": [{**block, "index": index} for index, block in enumerate(whole)]}


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"}, {"tool_calls": [{"id": "a"}]}, {"reasoning_details": [{"index": 3}]}, {"images": ["x"]}, None,
    ],
)  # fmt: skip
def test_a_delta_in_which_nothing_is_missing_stays(delta: object) -> None:
    chunk = {"choices": [{"index": 0, "delta": delta}, "odd"]}
    assert ListPlaces().placed(chunk) is chunk
    assert ListPlaces().placed({}) == {}
