"""Whole translations as data: a request of one dialect, and the same as another has it. To change a file on purpose, edit it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anthropic_server import refusal_of
from paymaster.dialects.chat import requests as chat
from paymaster.dialects.messages import requests as messages
from paymaster.dialects.messages.house import for_chat

GOLDEN = Path(__file__).parent / "golden"
TO_CHAT = sorted(GOLDEN.glob("messages-to-chat-*.json"))
TO_MESSAGES = sorted(GOLDEN.glob("chat-to-messages-*.json"))


def _name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", TO_CHAT, ids=_name)
def test_a_request_of_anthropic_s_in_the_house_form(path: Path) -> None:
    golden = json.loads(path.read_text())
    found = chat.write(for_chat(messages.read_request(golden["given"])))
    assert (found.body, list(found.dropped)) == (golden["written"], golden["dropped"])


@pytest.mark.parametrize("path", TO_MESSAGES, ids=_name)
def test_a_chat_request_in_anthropic_s_words(path: Path) -> None:
    golden = json.loads(path.read_text())
    found = messages.write_request(chat.read(golden["given"]))
    assert (found.body, list(found.dropped)) == (golden["written"], golden["dropped"])
    assert refusal_of({**found.body, "model": "claude"}) is None
