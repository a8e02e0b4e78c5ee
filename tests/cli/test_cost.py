"""`paymaster cost`: adds costs to JSON lines."""

from __future__ import annotations

import io
import json
import sys
from decimal import Decimal
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


SEARCH = {"type": "web_search_20250305", "name": "web_search"}
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8"}
SONNET = {"provider": "anthropic", "model": "claude-sonnet-4-6", "prompt_tokens_upper_bound": 663, "max_output_tokens": 1000}
QWEN = {"provider": "openrouter", "model": "qwen/qwen3-coder", "prompt_tokens_upper_bound": 74, "max_output_tokens": 1000}


@pytest.mark.parametrize(
    ("request_line", "billed_usd", "reason"),
    [
        pytest.param({**SONNET, "tools": [{**SEARCH, "max_uses": 5}]}, "0.1475", None, id="searches: a public bill of 2026"),
        pytest.param({**SONNET, "tools": [SEARCH]}, None, "unbounded", id="searches without a limit"),
        pytest.param({**SONNET, "tools": [SEARCH], "server_tools": {"web_search": {"max_uses": 5}}}, "0.1475", None, id="as in a registry"),
        pytest.param({**SONNET, "tools": [ADVISOR]}, None, "unbounded", id="an advisor without a limit"),
        pytest.param({**SONNET, "tools": [{**ADVISOR, "max_uses": 1, "max_tokens": 2048}]}, "0.07", None, id="an advisor"),
        pytest.param({**SONNET, "request": {"service_tier": "turbo"}}, None, "unbounded", id="an unknown tier"),
        pytest.param({**SONNET, "request": {"tools": [SEARCH], "messages": []}}, None, "unbounded", id="a whole request"),
        pytest.param({**SONNET, "tools": [], "cache_control": "1h"}, "0.018978", None, id="cache writes"),
        pytest.param({**QWEN, "request": {"models": ["anthropic/claude-opus-5"]}}, "0.02537", None, id="a fallback in the request"),
        pytest.param({**QWEN, "request": {"models": ["some-lab/strange"]}}, None, "unbounded", id="a fallback without a price"),
        pytest.param({"provider": "openrouter", "model": "x", "request": {}}, None, "unbounded", id="a request without sizes"),
        pytest.param({**QWEN, "model": "some-lab/strange", "request": {}}, None, "unpriced", id="a model without a price"),
    ],
)
def test_a_request_holds_what_it_may_be_billed_or_is_refused(paymaster, give, request_line, billed_usd, reason):
    give(json.dumps({"id": "kept", **request_line}).encode())
    ended = paymaster("cost")
    answer = json.loads(ended.out)
    assert (ended.status, answer["id"], answer.get("reason")) == (0, "kept", reason)
    assert (answer["worst_case_usd"] is None) == (billed_usd is None)
    if billed_usd is not None:
        assert Decimal(answer["worst_case_usd"]) >= Decimal(billed_usd)


def test_a_router_is_shown_the_price_that_it_is_sent(paymaster, give):
    give(f"{json.dumps(QWEN)}\n{json.dumps({**QWEN, 'request': {'provider': {'max_price': {'prompt': 0.1}}}})}".encode())
    sent = [json.loads(line)["max_price"] for line in paymaster("cost").out.splitlines()]
    assert sent == [{"prompt": 0.3, "completion": 1, "request": 0}, {"prompt": 0.1, "completion": 1, "request": 0}]


@pytest.mark.parametrize("broken", [{"provider": "no-such"}, {"server_tools": {"web_search": {"uses": 1}}}, {"request": {"n": 0}}])
def test_a_request_that_nobody_can_mean_is_a_bad_line(paymaster, give, broken):
    give(json.dumps({**SONNET, "tools": [], **broken}).encode())
    ended = paymaster("cost")
    assert ended.status == 2
    assert "standard input:1" in ended.err
