"""Whole translations as data: a request of one dialect, and the same as another has it. To change a file on purpose, edit it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anthropic_server import refusal_of as refusal_of_anthropic
from paymaster.dialects.chat import requests as chat
from paymaster.dialects.messages import requests as messages
from paymaster.dialects.responses import requests as responses
from responses_server import refusal_of

GOLDEN = Path(__file__).parent / "golden"
OWNER = "0123456789ab"
READ = {"chat": chat.read, "messages": messages.read_request, "responses": responses.read}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*-to-responses-*.json")), ids=lambda path: path.stem)
def test_another_dialects_request_in_the_words_of_responses(path: Path) -> None:
    golden = json.loads(path.read_text())
    found = responses.write(READ[path.stem.partition("-")[0]](golden["given"]), OWNER)
    assert (found.body, list(found.dropped)) == (golden["written"], golden["dropped"])
    assert refusal_of(found.body) is None


def test_a_request_of_codex_in_the_house_form() -> None:
    golden = json.loads((GOLDEN / "responses-to-chat-codex.json").read_text())
    found = chat.write(responses.read(golden["given"]))
    assert (found.body, list(found.dropped)) == (golden["written"], golden["dropped"])


def test_a_request_of_codex_in_anthropics_words() -> None:
    golden = json.loads((GOLDEN / "responses-to-messages-codex.json").read_text())
    found = messages.write_request(responses.read(golden["given"]), OWNER)
    assert (found.body, sorted(found.dropped)) == (golden["written"], sorted(golden["dropped"]))
    assert refusal_of_anthropic({"model": "claude", "max_tokens": 5, **found.body}) is None
