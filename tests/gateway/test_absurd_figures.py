"""Figures that nobody can mean, over HTTP: 400 with the field and its greatest value in every dialect, and never 500."""

from __future__ import annotations

import http.client
import json
import logging
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateways import wait_until
from paymaster.errors import UsageMistake
from paymaster.gateway.key_file import KeyStore, NewKey, create_key, read_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateways import Gateway

CHAT = ("/v1/chat/completions", {"model": "fast", "messages": [{"role": "user", "content": "Hello"}]})
MESSAGES = ("/v1/messages", {**CHAT[1], "max_tokens": 10})
RESPONSES = ("/v1/responses", {"model": "fast", "input": "Hello"})
COMPLETIONS = ("/v1/completions", {"model": "fast", "prompt": "Hello"})
EMBEDDINGS = ("/v1/embeddings", {"model": "fast", "input": "Hello"})
FIELDS = [
    (CHAT, "max_tokens", "2,147,483,647"),
    (CHAT, "max_completion_tokens", "2,147,483,647"),
    (CHAT, "max_output_tokens", "2,147,483,647"),
    (CHAT, "n", "10,000"),
    (COMPLETIONS, "max_tokens", "2,147,483,647"),
    (COMPLETIONS, "n", "10,000"),
    (RESPONSES, "max_output_tokens", "2,147,483,647"),
    (MESSAGES, "max_tokens", "2,147,483,647"),
    (EMBEDDINGS, "dimensions", "1,000,000"),
]
NO_COUNTS = ["-1", "0", "1.5", "1e30", "18446744073709551616", '"7"', "true", "[7]", '{"a": 7}']
TOO_LARGE = ["9223372036854775807", "1000000000000", "2147483648", "18446744073709551615"]


def post(gateway: Gateway, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The status and the body of one request."""
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=20)) as connection:
        connection.request("POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def body_of(base: dict[str, object], **raw: str) -> bytes:
    """The base with some fields as raw JSON, which Python would not write."""
    fields = [json.dumps(name) + ": " + json.dumps(value) for name, value in base.items() if name not in raw]
    return ("{" + ", ".join([*fields, *(f'"{name}": {text}' for name, text in raw.items())]) + "}").encode()


def test_every_count_is_bounded_in_every_dialect(start: Callable[..., Gateway], caplog: pytest.LogCaptureFixture) -> None:
    gateway = start(policies={"budget_usd_per_run": 1, "hard_stop_on_budget": True})
    with caplog.at_level(logging.ERROR):
        for (path, base), name, most in FIELDS:
            for value in NO_COUNTS:
                status, answer = post(gateway, path, body_of(base, **{name: value}))
                assert (status, f"{name} must be a whole number of at least 1" in answer) == (400, True), (path, name, value, answer)
            for value in TOO_LARGE:
                status, answer = post(gateway, path, body_of(base, **{name: value}))
                assert (status, f"{name} must be at most {most}, got {value}" in answer) == (400, True), (path, name, value, answer)
    assert gateway.requests() == 0
    assert caplog.records == []


@pytest.mark.parametrize("digits", [400, 5_000])
def test_a_number_beyond_json_is_no_json(start: Callable[..., Gateway], digits: int) -> None:
    gateway = start()
    for (path, base), name, _ in FIELDS:
        status, answer = post(gateway, path, body_of(base, **{name: "9" * digits}))
        assert (status, "the body is not JSON" in answer) == (400, True), answer


@pytest.mark.parametrize(
    ("dialect", "raw", "said"),
    [
        (MESSAGES, {"thinking": '{"type": "enabled", "budget_tokens": 9223372036854775807}'}, "thinking.budget_tokens must be at most"),
        (MESSAGES, {"thinking": '{"type": "enabled", "budget_tokens": 1e30}'}, "thinking.budget_tokens must be a whole number"),
        (EMBEDDINGS, {"input": "[1, 9223372036854775807]"}, "which is no token"),
        (EMBEDDINGS, {"input": "[1, 1e30]"}, "which is no token"),
        (CHAT, {"max_tokens": "9223372036854775807", "n": "9223372036854775807", "stream": "true"}, "max_tokens must be at most"),
    ],
)
def test_other_figures_are_bounded_too(
    start: Callable[..., Gateway], dialect: tuple[str, dict[str, object]], raw: dict[str, str], said: str
) -> None:
    gateway = start()
    status, answer = post(gateway, dialect[0], body_of(dialect[1], **raw))
    assert (status, said in answer) == (400, True), answer


def test_a_length_of_thousands_of_digits_is_refused(start: Callable[..., Gateway]) -> None:
    gateway = start()
    assert post(gateway, CHAT[0], b"{}", {"content-length": "9" * 5_000})[0] in (400, 413)
    assert post(gateway, CHAT[0], body_of(CHAT[1]))[0] == 200


@pytest.mark.parametrize("deadline", ["nan", "inf", "-1", "0", "1e400", "9" * 5_000, "86401", "soon"])
def test_a_deadline_that_nobody_can_mean_is_refused(start: Callable[..., Gateway], deadline: str) -> None:
    gateway = start()
    status, answer = post(gateway, CHAT[0], body_of(CHAT[1]), {"x-paymaster-deadline": deadline})
    assert (status, "at most 86,400" in answer) == (400, True)


def test_an_absurd_usage_costs_the_hold_and_the_answer_arrives(start: Callable[..., Gateway], caplog: pytest.LogCaptureFixture) -> None:
    gateway = start(fast={"answers": [{"text": "Hi."}], "usage": {"prompt_tokens": 10**12, "completion_tokens": 10**12}})
    with caplog.at_level(logging.ERROR):
        for stream in ("false", "true"):
            status, answer = post(gateway, CHAT[0], body_of(CHAT[1], stream=stream))
            assert status == 200
            assert "finish_reason" in answer
    assert caplog.records == []
    wait_until(lambda: sum(event.kind == "settled" for event in gateway.events) == 2)
    settled = [event for event in gateway.events if event.kind == "settled"]
    assert {event.billed for event in settled} == {"assumed"}
    assert all(event.cost_nanousd == event.held_nanousd for event in settled if hasattr(event, "held_nanousd"))


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ({"rpm": 10**13}, "rpm: must be at most 1,000,000,000,000"),
        ({"tpm": -1}, "tpm: must be a whole number of at least 1, got -1"),
        ({"max_parallel": 10**5_000}, "max_parallel: must be at most 1,000,000,000,000, got a number of about 5,001 digits"),
    ],
    ids=["rpm", "tpm", "max_parallel"],
)
def test_a_key_has_the_bounds_of_a_registry(tmp_path: Path, right: dict[str, int], said: str) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(UsageMistake, match=said):
        create_key(path, NewKey(user="ana", **right), 1)
    assert not read_keys(path).keys


@pytest.mark.parametrize(
    "figure",
    [
        '"rpm": 1e30',
        '"rpm": -1',
        '"tpm": true',
        '"usd": "NaN"',
        '"usd": "1e400"',
        '"usd": -1',
        f'"rpm": {"9" * 5_000}',
        '"created_at_ms": 1e18',
    ],
)
def test_a_keys_file_with_an_absurd_figure_is_named_and_never_crashes(tmp_path: Path, figure: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(f'{{"keys": [{{"id": "a", "user": "ana", "digest": "{"0" * 64}", "created_at_ms": 1, {figure}}}]}}')
    with pytest.raises(UsageMistake, match=r"can't be used as a keys file: .*(number|figure|at most|whole|amount|keys\.0)"):
        read_keys(path)
    assert KeyStore(path).find("pm-a-x") is None


def test_the_command_that_creates_keys_names_the_greatest_value(run_paymaster: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for words, said in (
        (("--rpm", "1000000000001"), "1000000000000"),
        (("--tpm", "9" * 5_000), "--tpm"),
        (("--budget-usd", "1e-5000"), "--budget-usd: must have at most 18 decimals"),
        (("--budget-usd", "1e10"), "--budget-usd: must be at most 1,000,000,000, got '1e10'"),
        (("--budget-usd", "nan"), "--budget-usd: must be an amount in dollars, 0 or more, got 'nan'"),
        (("--budget-usd", "sNaN"), "--budget-usd: must be an amount in dollars, 0 or more, got 'sNaN'"),
    ):
        status, _, errors = run_paymaster("keys", "create", "--user", "ana", *words, "--state-dir", str(tmp_path))
        assert (status, said in errors) == (2, True), errors
