"""A variable that is written as another tool does is answered with how it is written here, and is never called a literal key."""

# ruff: noqa: E501 -- a row of these tables is an input and its whole message

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paymaster.registry.other_references import other_reference

if TYPE_CHECKING:
    from collections.abc import Callable

WRITINGS = {
    "os.environ/OPENAI_API_KEY": "LiteLLM",
    "{env:OPENAI_API_KEY}": "opencode",
    "${env:OPENAI_API_KEY}": "an editor",
    "${env.OPENAI_API_KEY}": "an editor",
    "env.OPENAI_API_KEY": "Bifrost",
    "env::OPENAI_API_KEY": "TensorZero",
    "env:OPENAI_API_KEY": "another tool",
    "env/OPENAI_API_KEY": "another tool",
    "env(OPENAI_API_KEY)": "another tool",
    "ENV['OPENAI_API_KEY']": "another tool",
    "${{ secrets.OPENAI_API_KEY }}": "GitHub Actions or Continue",
    "${{secrets.OPENAI_API_KEY}}": "GitHub Actions or Continue",
    "{{ env.OPENAI_API_KEY }}": "a template",
    "{{ .Env.OPENAI_API_KEY }}": "a template",
    "{{env 'OPENAI_API_KEY'}}": "a template",
    "${OPENAI_API_KEY:-none}": "a shell with a default",
    "${OPENAI_API_KEY:?missing}": "a shell with a default",
    "$env:OPENAI_API_KEY": "PowerShell",
    "%OPENAI_API_KEY%": "Windows",
    "$(OPENAI_API_KEY)": "Kubernetes",
    "process.env.OPENAI_API_KEY": "JavaScript",
    'os.environ["OPENAI_API_KEY"]': "Python",
    "os.environ.get('OPENAI_API_KEY', '')": "Python",
    'os.getenv("OPENAI_API_KEY")': "Python",
}


@pytest.mark.parametrize(("text", "whose"), WRITINGS.items())
def test_a_key_is_named_as_here(text: str, whose: str) -> None:
    message = f"this names a variable as {whose} does"
    assert other_reference(("api_key",), text) == (message, "write api_key_env: OPENAI_API_KEY")
    assert other_reference(("api_key_env", 0), text) == (message, "write api_key_env: OPENAI_API_KEY")
    assert other_reference(("base_url",), text) == (message, "write base_url: $OPENAI_API_KEY")
    header = ("extra_headers", "Authorization")
    assert other_reference(header, f"Bearer {text}") == (message, "write Authorization: Bearer $OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("api_key: os.environ/MY_KEY", ["4: models.a.api_key: this names a variable as LiteLLM does (write api_key_env: MY_KEY)"]),
        ("api_key_env: [GOOD, os.environ/MY_KEY]", ["4: models.a.api_key_env[1]: this names a variable as LiteLLM does (write api_key_env: MY_KEY)"]),
        ("api_key_env: $MY_KEY", ["4: models.a.api_key_env: a variable is named without $ here (write api_key_env: MY_KEY)"]),
        ("api_key_env: ${MY_KEY}", ["4: models.a.api_key_env: a variable is named without $ here (write api_key_env: MY_KEY)"]),
        ("api_key: MY_API_KEY", ["4: models.a.api_key: this is the name of a variable, and no key (write api_key_env: MY_API_KEY)"]),
        ("base_url: os.environ/AZURE_API_BASE", ["4: models.a.base_url: this names a variable as LiteLLM does (write base_url: $AZURE_API_BASE)"]),
        ("base_url: 'https://{env:HOST}/v1'", ["4: models.a.base_url: this names a variable as opencode does (write base_url: https://$HOST/v1)"]),
        ("extra_headers: {X-Org: os.environ/ORG}", ["4: models.a.extra_headers.X-Org: this names a variable as LiteLLM does (write X-Org: $ORG)"]),
        ("extra_headers: {Authorization: 'Bearer {env:A}', X: 'env.B'}", ["4: models.a.extra_headers.Authorization: this names a variable as opencode does (write Authorization: Bearer $A)", "4: models.a.extra_headers.X: this names a variable as Bifrost does (write X: $B)"]),
        ("params: {extra_body: {user: os.environ/ME}}", ["4: models.a.params.extra_body.user: this names a variable as LiteLLM does (write user: $ME)"]),
        ("model_id: os.environ/MODEL", ["4: models.a.model_id: this names a variable as LiteLLM does (write model_id: its value)"]),
        ("extra_headers: {A: 'os.environ/B sk-canary-4f9a8b7c6d5e4f3a2b1c'}", ["4: models.a.extra_headers.A: this names a variable as LiteLLM does (write $B)"]),
    ],
)  # fmt: skip
def test_a_registry_has_one_mistake_for_it(problems: Callable[[str], list[str]], line: str, expected: list[str]) -> None:
    assert problems(f"models:\n  a:\n    provider: openai\n    {line}\n") == expected


def test_other_mistakes_are_reported_beside_it(problems: Callable[[str], list[str]]) -> None:
    text = "models:\n  a:\n    provider: os.environ/P\n    api_key: os.environ/K\n    rpm: 0\n"
    assert [line.split(": ")[1] for line in problems(text)] == ["models.a.provider", "models.a.api_key", "models.a.rpm"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("api_key", "$MY_KEY"),
        ("api_key", "${MY_KEY}"),
        ("api_key", "$A:::$B"),
        ("api_key", "hello"),
        ("api_key", "sk-canary-4f9a8b7c6d5e4f3a2b1c"),
        ("api_key", "os.environ/sk_live_4f9a8b7c6d5e4f3a2b1c"),
        ("api_key", "env::pk_4f9a8b7c6d5e4f3a2b1c"),
        ("api_key_env", "MY_KEY"),
        ("api_key_env", "$sk_live_4f9a8b7c6d5e4f3a2b1c"),
        ("api_key_env", "sk-canary-4f9a8b7c6d5e4f3a2b1c"),
        ("base_url", "https://env.EXAMPLE.com/v1"),
        ("model_id", "org/env.MODEL"),
        ("model_id", "env.model"),
        ("note", "see env.NAME or 100% of %A% here"),
        ("X-Team", "$TEAM"),
    ],
)
def test_other_texts_are_no_variables_of_other_tools(key: str, text: str) -> None:
    assert other_reference((key,), text) is None
