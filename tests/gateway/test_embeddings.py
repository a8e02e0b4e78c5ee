"""Embeddings through the gateway: the official `openai` package and bare HTTP; money, limits, keys and fallbacks."""

from __future__ import annotations

import asyncio
import http.client
import json
from contextlib import closing
from typing import TYPE_CHECKING

import openai
import pytest

from gateways import wait_until
from paymaster.gateway.auth import Key
from paymaster.gateway.service import AccessPolicy
from paymaster.registry.models import Budget
from paymaster.vectors import vectors_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

VECTORS = {"capabilities": ["embeddings"], "tokenizer": "text-embedding-3-small", "vector_space": "v", "usd_per_1m_output": 0}
BILLED = {"dimensions": 4, "bytes_per_token": 100}
"""The simulated provider bills one token per 100 bytes, never more than the gateway counts."""


def client_of(gateway: Gateway, **settings: object) -> openai.OpenAI:
    return openai.OpenAI(**{"base_url": f"{gateway.url}/v1", "api_key": "any", "max_retries": 0, **settings})


def post(gateway: Gateway, body: dict[str, object], path: str = "/v1/embeddings") -> tuple[int, dict[str, object], dict[str, str]]:
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=20)
    with closing(connection):
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), {name.lower(): value for name, value in answer.headers.items()}


def test_the_official_client_gets_vectors_in_every_format(start: Callable[..., Gateway]) -> None:
    gateway = start(each=VECTORS, small={"dimensions": 4})
    with client_of(gateway) as client:
        two = client.embeddings.create(model="small", input=["one", "two"])
        assert (two.model, two.object, [entry.index for entry in two.data]) == ("small", "list", [0, 1])
        assert client.embeddings.create(model="default", input="two").data[0].embedding == two.data[1].embedding
        plain = client.embeddings.create(model="small", input="two", encoding_format="float", dimensions=6, user="ann")
        assert len(plain.data[0].embedding) == 6
        tokens = client.embeddings.create(model="small", input=[[1, 2, 3], [4]], extra_body={"unheard_of": {"a": 1}})
        assert (len(tokens.data), tokens.usage.prompt_tokens, tokens.usage.total_tokens) == (2, 4, 4)
        assert len(client.embeddings.create(model="small", input=[1, 2, 3]).data) == 1
    assert gateway.billed_nanousd() == sum(event.cost_nanousd for event in gateway.events if event.kind == "settled")


def test_the_async_client_makes_many_calls_at_once(start: Callable[..., Gateway]) -> None:
    gateway = start(each=VECTORS, small=BILLED)

    async def ask() -> list[openai.types.CreateEmbeddingResponse]:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
            return await asyncio.gather(*(client.embeddings.create(model="small", input=f"text {index}") for index in range(20)))

    assert len({tuple(answer.data[0].embedding) for answer in asyncio.run(ask())}) == 20


def test_vectors_come_in_the_requested_encoding(start: Callable[..., Gateway]) -> None:
    gateway = start(each=VECTORS, small={"dimensions": 2})
    shown = {}
    for encoding in (None, "float", "base64"):
        body_sent = {"model": "small", "input": "x"} | ({"encoding_format": encoding} if encoding else {})
        status, body, _ = post(gateway, body_sent, "/embeddings" if encoding is None else "/v1/embeddings")
        assert status == 200
        shown[encoding] = body
    assert isinstance(shown["base64"]["data"][0]["embedding"], str)
    assert shown[None]["data"] == shown["float"]["data"]
    assert vectors_in(shown["base64"]) == vectors_in(shown["float"])


def test_headers_have_model_cost_and_remaining_limits(start: Callable[..., Gateway]) -> None:
    gateway = start(each={**VECTORS, "rpm": 60, "tpm": 1_000}, policies={"budget_usd_per_run": 0.001}, small=BILLED)
    with client_of(gateway, default_headers={"x-paymaster-run": "index-1", "x-paymaster-tag-team": "search"}) as client:
        raw = client.embeddings.with_raw_response.create(model="small", input=["Hello world", "Hello"])
    shown = raw.headers
    assert (shown["x-paymaster-model"], shown["x-paymaster-attempts"], shown["x-paymaster-cost-usd"]) == ("small", "1", "0.000002")
    assert shown["x-paymaster-budget-left-usd"] == "0.000998"
    assert (shown["x-ratelimit-limit-requests"], shown["x-ratelimit-remaining-requests"]) == ("60", "59")
    assert (shown["x-ratelimit-limit-tokens"], shown["x-ratelimit-remaining-tokens"]) == ("1000", "998")
    assert json.loads(raw.text)["usage"]["cost_usd"] == 0.000002
    [settled] = [event for event in gateway.events if event.kind == "settled"]
    assert (settled.operation, settled.scope.run, settled.scope.tags, settled.call_id) == (
        "embeddings",
        "index-1",
        {"team": "search"},
        shown["x-paymaster-call"],
    )


@pytest.mark.parametrize(
    ("body", "status", "code", "text"),
    [
        ({"input": ""}, 400, "invalid_request", "empty"),
        ({"input": []}, 400, "invalid_request", "a list of texts"),
        ({}, 400, "invalid_request", "a list of texts"),
        ({"input": ["a", 1]}, 400, "invalid_request", "input[1]"),
        ({"input": "x", "dimensions": "many"}, 400, "invalid_request", "dimensions"),
        ({"input": "x", "stream": True}, 400, "invalid_request", "streamed"),
        ({"input": "x", "stream": 1}, 400, "invalid_request", "stream"),
        ({"input": "x", "model": "talks"}, 400, "no_model_fits", "it lacks embeddings"),
        ({"input": "x", "model": 5}, 400, "invalid_request", "model"),
        ({"input": "x", "model": "else"}, 404, "model_not_found", "small"),
        ({"input": ["x", [1] * 9][1:]}, 400, "context_length_exceeded", "has 9 tokens, it takes 5"),
    ],
)
def test_unsupported_requests_are_refused_before_anything_is_sent(
    start: Callable[..., Gateway], body: dict[str, object], status: int, code: str, text: str
) -> None:
    gateway = start(own={"small": {**VECTORS, "max_input_tokens": 5}}, small=BILLED, talks={})
    got, answer, headers = post(gateway, {"model": "small", **body})
    assert (got, answer["error"]["code"], headers["x-should-retry"]) == (status, code, "false")
    assert text in answer["error"]["message"]
    assert gateway.requests() == 0


def test_an_embedding_model_refuses_chat(start: Callable[..., Gateway]) -> None:
    gateway = start(each=VECTORS, small=BILLED)
    with client_of(gateway) as client, pytest.raises(openai.BadRequestError, match="it lacks chat: it makes embeddings"):
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "Hi"}])
    assert gateway.requests() == 0


def test_a_fallback_never_changes_the_vector_space(start: Callable[..., Gateway]) -> None:
    down = {**BILLED, "faults": [{"kind": "overloaded", "always": True}]}
    gateway = start(
        policies={"fallback_chain": ["first", "other", "talks", "again"], "retries_per_model": 0},
        own={"first": VECTORS, "again": VECTORS, "other": {**VECTORS, "vector_space": "else"}},
        first=down,
        other=BILLED,
        talks={},
        again=BILLED,
    )
    with client_of(gateway) as client:
        raw = client.embeddings.with_raw_response.create(model="first", input="Hello")
    assert (raw.headers["x-paymaster-model"], raw.headers["x-paymaster-attempts"]) == ("again", "2")
    assert "can't be compared" in next(event.reason for event in gateway.events if event.kind == "skipped")
    del gateway

    alone = start(policies={"fallback_chain": ["first", "other"], "retries_per_model": 0}, own={"first": VECTORS}, first=down, other={})
    with client_of(alone) as client, pytest.raises(openai.InternalServerError, match="overloaded"):
        client.embeddings.create(model="first", input="Hello")


def test_a_hard_budget_is_a_402_and_a_limit_a_429(start: Callable[..., Gateway]) -> None:
    hard = {"budget_usd_per_run": 0.000003, "hard_stop_on_budget": True, "max_wait_s": 0.01}
    gateway = start(policies=hard, each={**VECTORS, "rpm": 2}, small=BILLED)
    status, answer, headers = post(gateway, {"model": "small", "input": [[1, 2, 3, 4]]})
    assert (status, answer["error"]["code"], headers["x-should-retry"]) == (402, "budget_exceeded", "false")
    assert [post(gateway, {"model": "small", "input": "x"})[0] for _ in range(3)] == [200, 200, 429]
    assert gateway.requests() == 2


def test_a_keys_models_and_budget_apply_to_embeddings(start: Callable[..., Gateway]) -> None:
    cap = Budget(cap=2_000, per=("key",), key="the key's budget")
    key = Key(id="k1", user="ana", digest="", models=("small",), budgets=(cap,))
    access = AccessPolicy(find_key=lambda secret: key if secret == "pm-1" else None, needs_key=lambda: True)
    gateway = start(access=access, each=VECTORS, small=BILLED, large=BILLED)
    with client_of(gateway) as nobody, pytest.raises(openai.AuthenticationError):
        nobody.embeddings.create(model="small", input="x")
    with client_of(gateway, api_key="pm-1") as ana:
        with pytest.raises(openai.NotFoundError):
            ana.embeddings.create(model="large", input="x")
        assert ana.embeddings.create(model="small", input=["x", "y"]).data
        with pytest.raises(openai.APIStatusError) as refused:
            ana.embeddings.create(model="small", input="z")
    assert refused.value.status_code == 402
    [settled] = [event for event in gateway.events if event.kind == "settled"]
    assert (settled.scope.user, settled.scope.key) == ("ana", "k1")


def test_a_client_that_hangs_up_is_charged_its_full_hold(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"budget_usd_per_run": 1}, each=VECTORS, small={**BILLED, "latency_ms": 20_000})
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=20)) as connection:
        body = json.dumps({"model": "small", "input": ["Hello world", "Hello"]})
        connection.request("POST", "/v1/embeddings", body, {"content-type": "application/json"})
        wait_until(lambda: gateway.billed_nanousd() > 0)
    wait_until(lambda: any(event.kind == "failed" for event in gateway.events))
    [failed] = [event for event in gateway.events if event.kind == "failed"]
    assert (failed.failure, failed.operation, failed.billed, failed.cost_nanousd) == ("cancelled", "embeddings", "assumed", 3_000)


def test_sixty_four_clients_stay_within_a_hard_budget(start: Callable[..., Gateway]) -> None:
    cap_nanousd = 100_000  # of 300,000 that 150 calls of two texts ask for
    policies = {"budget_usd_per_run": cap_nanousd / 10**9, "hard_stop_on_budget": True, "breaker_failures": 50}
    faults = [{"kind": "overloaded", "after": 20, "times": 5}, {"kind": "cut", "after": 30, "times": 3}]
    gateway = start(policies=policies, each=VECTORS, small={**BILLED, "latency_ms": 5, "faults": faults})

    async def ask() -> list[int]:
        gate = asyncio.Semaphore(64)
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:

            async def one(index: int) -> int:
                async with gate:
                    try:
                        await client.embeddings.create(
                            model="small", input=[f"word{index}", "other"], extra_headers={"x-paymaster-run": "r1"}
                        )
                    except openai.APIStatusError as error:
                        return error.status_code
                    return 200

            return await asyncio.gather(*(one(index) for index in range(150)))

    statuses = asyncio.run(ask())
    billed_nanousd = gateway.billed_nanousd()
    assert billed_nanousd <= cap_nanousd
    charged_nanousd = sum(event.cost_nanousd for event in gateway.events if event.kind in ("settled", "failed"))
    assert billed_nanousd <= charged_nanousd <= cap_nanousd
    assert charged_nanousd >= cap_nanousd * 98 // 100
    assert set(statuses) <= {200, 402, 502, 503}
    assert 402 in statuses
