"""Arguments of calls, one piece after the other."""

from __future__ import annotations

import pytest

from paymaster.dialects.chat.normal.arguments import ArgumentPieces, whole_arguments

LONG = '{"a":{"a":1}}'


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (['{"a":', '{"a":1}', "}"], LONG),
        (['{"a":', '{"a":1}'], '{"a":1}'),
        (['{"a":', '{"a":{"a":1}}'], LONG),
        (['{"a":1', "}", '{"a":1}'], '{"a":1}'),
        (['{"a":1', "}", '{"b":1}'], '{"a":1}{"b":1}'),
        (['{"a', '{"a":', '{"a":', '{"a":1}', '{"a":1}'], '{"a":1}'),
        (["  ", "{}", ' {"a":1}'], ' {"a":1}'),
        (['{"a":"x\\', '"}', '"}', '{"a":"x\\"}"}'], '{"a":"x\\"}"}'),
        (['{"a":[{}]}', "\n", '{"a":[{}]}'], '{"a":[{}]}\n'),
        (['{"a":[{}', "]}", "x", '{"a":[{}]}'], '{"a":[{}]}x{"a":[{}]}'),
        (['{"a":1} x', '{"b":1}', "{}"], '{"a":1} x{"b":1}{}'),
        (['{"a":1}', '{"a":1}', "{}", "null"], '{"a":1}'),
        (["no json", " at all"], "no json at all"),
        (['"no object"'], '"no object"'),
        (["[1]"], "[1]"),
        ([[1]], "[1]"),
        ([None, ""], "{}"),
        ([7], "7"),
    ],
)
def test_pieces_are_joined_to_what_the_server_meant(pieces, text):
    arguments = ArgumentPieces()
    sent = []
    for piece in pieces:
        arguments.take(piece)
        sent.append(arguments.take_unsent() or "")
    sent.append(arguments.rest() or "")
    assert "".join(sent) == text
    assert arguments.rest() is None


@pytest.mark.parametrize(("value", "text"), [('"{}"', "{}"), ("null", "{}"), ('"text"', '"text"'), (' {"a": 1}', ' {"a": 1}')])
def test_all_arguments_are_json_text(value, text):
    assert whole_arguments(value) == text
