"""Nothing of a secret stays in a text, and ordinary texts stay unchanged."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.redaction import MASK, Redactor, redact

SECRETS = ["canary-key-0123456789", 'od"d\\key/with+=', "canary-key-0123456789-longer", "schlüssel-geheim"]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_known_secret_is_masked_in_every_encoding(secret):
    redactor = Redactor(SECRETS)
    forms = [secret, quote(secret, safe=""), b64encode(secret.encode()).decode(), secret.replace("\\", "\\\\").replace('"', '\\"')]
    for form in forms:
        assert redactor.suspects(f"a {form} b")
        assert redactor(f"a {form} b") == f"a {MASK} b"


def test_a_secret_that_begins_with_another_is_masked_whole():
    assert redact("x canary-key-0123456789-longer y", SECRETS) == f"x {MASK} y"


def test_a_secret_with_a_trailing_line_break_is_found_without_it():
    assert redact("is canary-key-0123456789 wrong?", ["canary-key-0123456789\n"]) == f"is {MASK} wrong?"


@pytest.mark.parametrize("word", ["", "x", "none", "EMPTY", "ollama"])
def test_a_placeholder_for_a_key_is_not_masked(word):
    text = f"ollama serves {word} with none and EMPTY"
    assert redact(text, [word]) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abc123def", f"Authorization: Bearer {MASK}"),
        ("authorization: bearer\tabc123def.ghi", f"authorization: bearer\t{MASK}"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", f"{{'Authorization': 'Basic {MASK}'}}"),
        ("x-api-key: 0123456789abcdef", f"x-api-key: {MASK}"),
        ('{"api_key": "0123456789abcdef"}', f'{{"api_key": "{MASK}"}}'),
        ("Ocp-Apim-Subscription-Key=0123456789abcdef", f"Ocp-Apim-Subscription-Key={MASK}"),
        ("access_token=0123456789abcdef&x=1", f"access_token={MASK}&x=1"),
        ("password: hunter2hunter2", f"password: {MASK}"),
        ("GET https://h/v1?key=0123456789abcdef", f"GET https://h/v1?key={MASK}"),
        ("redis://user:pass@host:6379/0", f"redis://{MASK}@host:6379/0"),
        ("http://me@corp.com:pw@proxy:3128", f"http://{MASK}@proxy:3128"),
        ("Incorrect API key provided: sk-proj-abcdefghijklmnop0123.", f"Incorrect API key provided: {MASK}."),
        ("sk-ant-api03-abcdefghij_klmno", MASK),
        ("(sk-or-v1-0123456789abcdef)", f"({MASK})"),
        ("AIzaSyA0123456789abcdefghijklmnopqrstuv", MASK),
        ("gsk_0123456789abcdefghij", MASK),
        ("xai-0123456789abcdefghij", MASK),
        ("hf_0123456789abcdefghij", MASK),
        ("AKIAIOSFODNN7EXAMPLE", MASK),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", MASK),
        ("ya29.a0123456789abcdefghijkl", MASK),
    ],
)
def test_text_that_looks_like_a_key_is_masked(text, left):
    assert Redactor().suspects(text)
    assert redact(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o",
        "django__django-11099",
        "pallets__flask-404512345678901",
        "task-123456789012345678",
        "tokens/gpt-4o has 180,000",
        "max_tokens: 128000",
        "the basic instructions",
        "unexpected key: temperature",
        "http://localhost:11434/v1/chat/completions",
        "see https://docs.example/a@b",
        "rate limit reached, come back in 20 s",
    ],
)
def test_ordinary_text_is_unchanged(text):
    assert redact(text, SECRETS) == text


def test_a_redactor_does_not_show_its_secrets():
    redactor = Redactor(SECRETS)
    assert not any(secret in f"{redactor!r}{redactor}" for secret in SECRETS)


FRAGMENTS = st.sampled_from(
    [
        *SECRETS,
        "Bearer ",
        "basic ",
        "api_key",
        "=",
        ": ",
        "sk-",
        "://",
        "@",
        "user",
        "eyJ",
        ".",
        '"',
        "%3D",
        "token",
        "AIza",
        "0123456789abcdefghij",
        " ",
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=5), max_size=12).map("".join)


@given(TEXTS)
def test_masking_twice_changes_nothing_and_known_secrets_are_gone(text):
    redactor = Redactor(SECRETS)
    left = redactor(text)
    assert redactor(left) == left
    assert not any(secret in left for secret in SECRETS)


@given(TEXTS)
def test_a_text_that_is_not_suspected_is_unchanged(text):
    redactor = Redactor(SECRETS)
    assert redactor.suspects(text) or redactor(text) == text
