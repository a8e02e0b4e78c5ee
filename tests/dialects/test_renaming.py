"""The registry's name of a model in the bytes of a chunk: every other byte stays, and where that isn't sure nothing is done."""

import json

import orjson
import pytest
from hypothesis import given

from conversations import JSON_VALUES, WORDS
from paymaster.dialects.chat.renaming import Renamer

KEPT = [
    (b'{"id":"a","model":"m","choices":[{"delta":{"content":"x"}}]}', b'{"id":"a","model":"fast","choices":[{"delta":{"content":"x"}}]}'),
    (b'{ "model" : "m\\u00e9", "x": 1.0 }', b'{ "model":"fast", "x": 1.0 }'),
    (
        b'{"model":"m","choices":[{"delta":{"content":"\\"model\\":\\"m\\""}}]}',
        b'{"model":"fast","choices":[{"delta":{"content":"\\"model\\":\\"m\\""}}]}',
    ),
    (b'{"model":"a\\"b","x":1}', b'{"model":"fast","x":1}'),
]
UNSURE = [
    b"{}",
    b'{"x":"model"}',
    b'{"model":null}',
    b'{"model":"m","x":{"model":"other"}}',
    b'{"model":"m","x":"model"}',
    b'{"m\\u006fdel":"m","x":"model"}',
]


@pytest.mark.parametrize(("raw", "renamed"), KEPT)
def test_only_the_name_of_the_model_changes(raw: bytes, renamed: bytes) -> None:
    renamer = Renamer("fast")
    assert renamer.renamed(raw, orjson.loads(raw)) == renamed
    assert renamer.renamed(raw, orjson.loads(raw)) == renamed


@pytest.mark.parametrize("raw", UNSURE)
def test_where_it_is_not_sure_nothing_is_done(raw: bytes) -> None:
    assert Renamer("fast").renamed(raw, orjson.loads(raw)) is None


def test_a_chunk_that_writes_the_same_name_in_another_way_is_left_to_others() -> None:
    renamer = Renamer("fast")
    assert renamer.renamed(b'{"model":"m"}', {"model": "m"}) == b'{"model":"fast"}'
    assert renamer.renamed(b'{"model": "m"}', {"model": "m"}) is None


@given(before=JSON_VALUES, after=JSON_VALUES, model=WORDS)
def test_a_renamed_chunk_says_the_same(before: object, after: object, model: str) -> None:
    chunk = {"a": before, "model": model, "b": after}
    for separators in ((",", ":"), (", ", ": ")):
        renamed = Renamer("fast").renamed(json.dumps(chunk, separators=separators).encode(), chunk)
        assert renamed is None or json.loads(renamed) == {**chunk, "model": "fast"}
