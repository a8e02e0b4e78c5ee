"""Clients differ in what they put before a path: each is served, and a path that nothing serves is answered with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from paymaster.gateway.paths import advice_for, model_in_path, routed_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

ASKED = {"role": "user", "content": "Hello"}
BODIES: dict[str, dict[str, object] | None] = {
    "chat/completions": {"model": "fast", "messages": [ASKED]},
    "responses": {"model": "fast", "input": "Hello"},
    "messages": {"model": "fast", "messages": [ASKED], "max_tokens": 50},
    "messages/count_tokens": {"model": "fast", "messages": [ASKED]},
    "completions": {"model": "fast", "prompt": "Hello"},
    "models": None,
    "models/fast": None,
    "model/info": None,
    "model_group/info": None,
    "key/info": None,
    "user/info": None,
}


@pytest.mark.parametrize(
    "prefix", ["v1/", "", "v1/v1/", "/v1/", "v1//v1/", "/", "openai/v1/", "anthropic/v1/", "api/v1/", "api/v0/", "api/"]
)
def test_a_path_is_served_whatever_clients_put_before_it(start: Callable[..., Gateway], prefix: str) -> None:
    gateway = start()
    for path, body in BODIES.items():
        answer = httpx.request("GET" if body is None else "POST", f"{gateway.url}/{prefix}{path}", json=body, timeout=30)
        assert answer.status_code == 200, path


@pytest.mark.parametrize(
    ("path", "routed", "model"),
    [
        ("/openai/deployments/gpt-4o/chat/completions", "/v1/chat/completions", "gpt-4o"),
        ("/openai/deployments/a/b/chat/completions", "/v1/chat/completions", "a/b"),
        ("/openai/deployments/chat/completions", "/v1/completions", "chat"),
        ("/openai/deployments/a", "/openai/deployments/a", None),
        ("/openai/deployments/chat/chat/completions", "/v1/chat/completions", "chat"),
        ("/openai/deployments/a/completions", "/v1/completions", "a"),
        ("/openai/deployments/a/embeddings", "/v1/embeddings", "a"),
        ("/openai/deployments/a/responses", "/v1/responses", "a"),
        ("/openai/deployments/a/responses/resp_1/input_items", "/v1/responses/resp_1/input_items", "a"),
        ("/openai/deployments/a/v1/messages", "/v1/messages", "a"),
        ("/openai/deployments/a/models", "/v1/models", "a"),
        ("/v1/engines/a/embeddings", "/v1/embeddings", "a"),
        ("/openai/deployments", "/v1/models", None),
        ("/openai/models", "/v1/models", None),
        ("/openai/responses/resp_1", "/v1/responses/resp_1", None),
        ("/health", "/healthz", None),
        ("/health/liveliness", "/healthz", None),
        ("/health/readiness/", "/readyz", None),
        *((path, path, None) for path in (
            "/", "/v1", "/v1/", "/healthz", "/v1/healthz", "/dashboard/live", "/v1/nothing", "//healthz", "//", "", "/api/tags", "/openai",
            "/openai/dashboard/live", "/api/healthz", "/metrics", "/openai.json", "/openapi.json",
        )),
    ],
)  # fmt: skip
def test_each_endpoint_has_one_path(path: str, routed: str, model: str | None) -> None:
    assert routed_path(path) == routed
    assert model_in_path(path) == model


@pytest.mark.parametrize("path", ["/health", "/health/liveliness", "/health/liveness", "/health/readiness", "/livez"])
def test_health_is_answered_without_a_call(start: Callable[..., Gateway], path: str) -> None:
    gateway = start()
    assert httpx.get(f"{gateway.url}{path}").status_code == 200
    assert gateway.requests() == 0


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/key/generate", "paymaster keys create"),
        ("/v1/key/generate", "paymaster keys create"),
        ("/user/new", "paymaster keys create"),
        ("/team/list", "paymaster keys create"),
        ("/model/new", "SIGHUP"),
        ("/spend/logs", "paymaster report"),
        ("/global/spend", "paymaster report"),
        ("/api/v1/credits", "paymaster report"),
        ("/api/tags", "Ollama's own API"),
        ("/api/show", "Ollama's own API"),
        ("/api/chat", "Ollama's own API"),
        ("/v1/version", "Ollama's own API"),
        ("/v1beta/models/gemini-3-pro:generateContent", "Google's API"),
        ("/v1beta1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent", "Google's API"),
        ("/model/anthropic.claude-sonnet-5/converse", "Bedrock's API"),
        ("/v1/audio/transcriptions", "ask the provider itself"),
        ("/v1/images/generations", "ask the provider itself"),
        ("/openai/deployments/a/images/generations", "ask the provider itself"),
        ("/v1/files", "ask the provider itself"),
        ("/v1/chat/completion", "lists the paths"),
        ("/nowhere", "lists the paths"),
    ],
)
def test_a_path_that_nothing_serves_has_advice(path: str, advice: str) -> None:
    assert advice in advice_for(path)


def test_the_answer_names_the_path_that_was_asked(start: Callable[..., Gateway]) -> None:
    answer = httpx.post(f"{start().url}/key/generate", json={})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == (
        "POST /key/generate: not found\nKeys are made with `paymaster keys create`, and listed with `paymaster keys list`."
    )
    assert httpx.post(f"{start().url}/key/info", json={}).status_code == 405
