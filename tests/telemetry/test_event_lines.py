"""A line of the events file has the documented fields, is valid against the schema, and contains no secret."""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import orjson
import pytest
from jsonschema import Draft202012Validator

from paymaster.flow.events import EVENTS_VERSION, Event
from paymaster.redaction import MASK, Redactor
from paymaster.scope import Scope
from paymaster.telemetry.event_lines import ENVELOPE, as_line, encode, rfc3339

ROOT = Path(__file__).resolve().parents[2]
KINDS = [event.kind for event in get_args(Event)]
CANARY = "canary-5f0a-do-not-leak"
FULL_SCOPE = Scope(run="exp-42", batch="b", instance="django-1", user="ada", role="reviewer", tags={"team": "x"})


def builder():
    spec = importlib.util.spec_from_file_location("build_events_docs", ROOT / "scripts" / "build_events_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads((importlib.resources.files("paymaster.telemetry") / "events.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_there_is_a_sample_of_every_event(events):
    assert list(events) == KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", [Scope(run="exp-42"), FULL_SCOPE], ids=["run only", "full scope"])
def test_every_line_is_valid_against_the_shipped_schema(kind, scope, events, validator):
    line = encode(replace(events[kind], scope=scope), Redactor())
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    validator.validate(orjson.loads(line))


@pytest.mark.parametrize("kind", KINDS)
def test_lines_with_lone_surrogates_are_valid_too(kind, events, filled, validator):
    validator.validate(json.loads(encode(filled(events[kind], CANARY), Redactor([CANARY]))))


def test_a_line_with_an_unknown_or_a_missing_field_is_invalid(events, validator):
    line = orjson.loads(encode(events["fallback"], Redactor()))
    assert not validator.is_valid({**line, "prompt": "secret"})
    assert not validator.is_valid({name: value for name, value in line.items() if name != "to_model"})


def test_a_line_is_flat_and_begins_with_its_envelope(events):
    line = as_line(replace(events["fallback"], scope=FULL_SCOPE))
    assert tuple(line)[: len(ENVELOPE)] == ENVELOPE
    assert line == {
        "v": EVENTS_VERSION,
        "event": "fallback",
        "at": "2026-11-23T08:30:00.123Z",
        "at_ms": 1_795_422_600_123,
        "call_id": "c-1",
        "run": "exp-42",
        "batch": "b",
        "instance": "django-1",
        "user": "ada",
        "role": "reviewer",
        "tags": {"team": "x"},
        "model": "gpt-4o",
        "to_model": "gemini-pro",
        "reason": "throttled",
        "dropped_params": (),
        "endpoint": "",
        "to_endpoint": "",
        "service_tier": None,
        "to_service_tier": None,
    }


def test_missing_names_of_the_scope_are_omitted_and_missing_event_fields_are_null(events):
    line = as_line(events["settled"])
    assert not {"batch", "instance", "user", "role", "tags"} & set(line)
    assert line["first_token_ms"] is None


def test_every_field_of_every_event_reaches_its_line(events):
    for event in events.values():
        assert {spec.name for spec in fields(event)} - {"scope"} <= set(as_line(event))


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (1_795_422_600_999, "2026-11-23T08:30:00.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    ],
)
def test_times_are_written_to_the_millisecond(at_ms, text):
    assert rfc3339(at_ms) == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "secret",
    [CANARY, 'canary"with\\quotes', "canary/with+signs==", "kanarienvögel-geheim"],
)
def test_a_secret_in_any_string_of_an_event_is_masked(kind, secret, events, filled):
    line = encode(filled(events[kind], f"before {secret} after"), Redactor([secret]))
    assert "before" in line.decode()
    assert MASK in line.decode()
    for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        assert form.encode() not in line


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_looks_like_a_key_is_masked(kind, events, filled):
    line = encode(filled(events[kind], "Authorization: Bearer abc.def-123456"), Redactor()).decode()
    assert "abc.def" not in line
    assert MASK in line


def test_a_clean_event_is_written_unchanged(events):
    for event in events.values():
        line = json.loads(encode(event, Redactor([CANARY])))
        assert line == json.loads(json.dumps(as_line(event)))


def test_lone_surrogates_and_integers_beyond_64_bits_can_be_written(events):
    line = encode(replace(events["refused"], model="caf\udce9", cap=2**70), Redactor())
    assert orjson.loads(line.replace(str(2**70).encode(), b"0"))["model"] == "caf?"
    assert json.loads(line)["cap"] == 2**70


def test_the_shipped_schema_and_the_reference_are_current():
    assert builder().main(["--check"]) == 0, "run scripts/build_events_docs.py"


def test_the_reference_names_every_event_and_every_field(events):
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    sections = {section.partition("\n")[0]: section for section in page.split("### ")[1:]}
    for name in ENVELOPE:
        assert f"| `{name}` |" in sections["Every line"]
    for event in events.values():
        for spec in fields(event):
            if spec.name not in ("at_ms", "call_id", "scope"):
                assert f"| `{spec.name}` |" in sections[f"`{event.kind}`"]


def test_the_example_of_the_reference_is_valid(validator):
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    validator.validate(json.loads(page.partition("```json\n")[2].partition("```")[0]))


def test_a_line_has_no_control_characters_and_keeps_its_meaning(events):
    name = "a\x1b[2J\x7f\x9b\u202e\u2028\U000e0041\u4e2d"
    line = encode(replace(events["failed"], scope=Scope(run=name), message=name), Redactor()).decode()
    assert line.removesuffix("\n").isprintable()
    assert (json.loads(line)["run"], json.loads(line)["message"]) == (name, name)
