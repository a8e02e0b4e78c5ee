"""`paymaster cost`: adds costs to JSON lines."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from cli.programs import run_process

VECTORS = Path(__file__).parent.parent / "vectors"
GOOD = '{"id": "a", "provider": "openai", "model": "gpt-4o", "raw_usage": {"prompt_tokens": 1000, "completion_tokens": 500}}'


@pytest.fixture
def give(monkeypatch):
    def set_input(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return set_input


def test_every_test_vector_gets_its_cost(paymaster):
    ended = paymaster("cost", VECTORS / "usage_costs.jsonl")
    assert (ended.status, ended.err) == (0, "")
    given = [json.loads(line) for line in (VECTORS / "usage_costs.jsonl").read_text().splitlines()]
    priced = [json.loads(line) for line in ended.out.splitlines()]
    assert len(priced) == len(given)
    for before, after in zip(given, priced, strict=True):
        assert after["cost_usd"] == before["expected_cost_usd"], before["id"]
        assert {**after, **before} == after  # every given field is unchanged
        assert "cost_source" in after


@pytest.mark.parametrize("words", [("cost",), ("cost", "-")])
def test_standard_input_is_the_default(paymaster, give, words):
    give(f"{GOOD}\n\n{GOOD}".encode())
    ended = paymaster(*words)
    assert ended.status == 0
    assert [json.loads(line)["cost_usd"] for line in ended.out.splitlines()] == ["0.0075", "0.0075"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"model": 3}', "model: must be text"),
        (b'{"provider": "openai", "model": "gpt-4o", "raw_usage": []}', "raw_usage"),
        (b'{"provider": "openai", "model": "gpt-4o", "raw_usage": null, "at": "yesterday"}', "at: must be a time"),
        (b"caf\xe9", "not UTF-8: byte 4 is 0xe9"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_named_and_the_good_ones_are_still_priced(paymaster, give, bad, why):
    give(GOOD.encode() + b"\n" + bad + b"\n" + GOOD.encode() + b"\n")
    ended = paymaster("cost")
    assert ended.status == 2
    assert ended.err.startswith(f"Error: standard input:2: {why}")
    assert ended.err.count("\n") == 1
    assert len(ended.out.splitlines()) == 2


def test_an_unknown_model_has_no_cost_and_says_why(paymaster, give):
    give(b'{"provider": "openai", "model": "no-such-model", "raw_usage": {"prompt_tokens": 1, "completion_tokens": 1}}')
    priced = json.loads(paymaster("cost").out)
    assert priced["cost_usd"] is None
    assert priced["reason"]


def test_a_byte_order_mark_is_skipped(paymaster, tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert paymaster("cost", file).status == 0


def test_a_missing_file_is_a_mistake(paymaster):
    ended = paymaster("cost", "nowhere.jsonl")
    assert (ended.status, ended.out) == (2, "")
    assert "cannot read nowhere.jsonl: No such file or directory" in ended.err


def test_a_narrow_encoding_still_gets_json(tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text(GOOD.replace('"a"', '"caf\u00e9 \u4e2d \U0001f600"'), encoding="utf-8")
    ended = run_process("cost", file, PYTHONIOENCODING="latin-1")
    assert json.loads(ended.out)["id"] == "caf\u00e9 \u4e2d \U0001f600"


def test_an_empty_input_gives_no_output(paymaster, give):
    give(b"")
    assert paymaster("cost") == type(paymaster("cost"))(0, "", "")
