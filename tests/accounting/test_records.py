"""A record survives its line of the journal, which is small and readable across versions."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.accounting.records import RECORD_VERSION, AttemptRecord

NEEDED = {
    "call_id": "c-1",
    "attempt": 1,
    "at_ms": 1_795_422_600_123,
    "model": "gpt-4o",
    "provider": "openai",
    "model_id": "gpt-4o-2024-11-20",
    "outcome": "answered",
    "billed": "exact",
    "cost_nanousd": 12_300_000,
    "held_nanousd": 51_200_000,
    "cost_source": "registry",
    "run": "exp-42",
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNT = st.integers(0, 2**53)


@given(
    st.builds(
        AttemptRecord,
        call_id=TEXT,
        attempt=COUNT,
        at_ms=COUNT,
        model=TEXT,
        provider=TEXT,
        model_id=TEXT,
        outcome=TEXT,
        billed=TEXT,
        cost_nanousd=st.integers(0, 2**63 - 1),
        held_nanousd=COUNT,
        cost_source=TEXT,
        run=TEXT,
        batch=st.none() | TEXT,
        instance=st.none() | TEXT,
        tags=st.dictionaries(TEXT, TEXT, max_size=3),
        input_tokens=COUNT,
        first_token_ms=st.none() | COUNT,
        status=st.none() | COUNT,
        streamed=st.booleans(),
        message=st.none() | TEXT,
        run_owner=st.none() | TEXT,
    )
)
def test_a_record_is_read_back_unchanged(record):
    assert AttemptRecord.from_json(record.to_json()) == record


def test_the_line_omits_empty_fields_and_keeps_zeros():
    line = json.loads(AttemptRecord(**NEEDED).to_json())
    assert set(line) == {spec.name for spec in fields(AttemptRecord)} - {
        "batch",
        "instance",
        "user",
        "role",
        "tags",
        "first_token_ms",
        "status",
        "finish_reason",
        "fallback_from",
        "request_id",
        "message",
        "run_owner",
        "cost_basis",
        "unknown_fields",
        "endpoint",
        "service_tier",
        "served_tier",
        "saved_nanousd",
    }
    assert line["waited_ms"] == 0
    assert line["streamed"] is False
    assert line["version"] == RECORD_VERSION


def test_a_run_that_is_somebodys_own_is_named_with_its_owner():
    assert AttemptRecord(**NEEDED).run_name == "exp-42"
    assert AttemptRecord(**NEEDED, run_owner="ann").run_name == "ann/exp-42"


def test_a_record_is_one_line():
    assert "\n" not in AttemptRecord(**{**NEEDED, "message": "two\nlines"}).to_json()


def test_a_field_of_a_later_version_is_ignored():
    record = AttemptRecord.from_json(json.dumps({**NEEDED, "colour": "green", "version": RECORD_VERSION + 1}))
    assert record.model == "gpt-4o"
    assert record.version == RECORD_VERSION + 1


def test_a_record_of_an_earlier_version_is_read_with_new_fields_empty():
    record = AttemptRecord.from_json(json.dumps(NEEDED))
    assert (record.batch, record.input_tokens, record.tags, record.operation) == (None, 0, {}, "chat")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '"call_id"', '["call_id"]'])
def test_a_line_that_is_no_record_of_an_attempt_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        AttemptRecord.from_json(text)


def test_a_record_with_a_lone_surrogate_can_be_written():
    record = AttemptRecord(
        call_id="c",
        attempt=1,
        at_ms=1,
        model="m",
        provider="p",
        model_id="i",
        outcome="answered",
        billed="exact",
        cost_nanousd=1,
        held_nanousd=1,
        cost_source="registry",
        run="r\udce9",
    )
    assert AttemptRecord.from_json(record.to_json()).run == "r?"
