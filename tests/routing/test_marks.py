"""The mark of an endpoint and its key: another for each thing that an operator can change, and too short to give a key away."""

from collections import Counter

import pytest

from call_box import model
from paymaster.routing.marks import mark_of


@pytest.mark.parametrize(
    "changed",
    [
        {"provider": "groq"},
        {"base_url": "http://127.0.0.1:10/v1"},
        {"model_id": "a-new-id"},
        {"api_version": "2026-01-01"},
        {"extra_headers": {"x-team": "b"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_an_operator_can_change_changes_the_mark(changed: dict[str, object]) -> None:
    assert mark_of(model("a"), "key") == mark_of(model("b", model_id="a-id"), "key")  # the name is the registry's own
    assert mark_of(model("a", **changed), "key") != mark_of(model("a"), "key")


def test_another_key_has_another_mark_and_a_mark_fits_many_keys() -> None:
    marks = Counter(mark_of(model("a"), key) for key in [None, "", *map(str, range(5_000))])
    assert mark_of(model("a"), None) != mark_of(model("a"), "") != mark_of(model("a"), "sk-1")
    assert len(marks) == 256
    assert min(marks.values()) > 1
    assert {len(mark) for mark in marks} == {2}
