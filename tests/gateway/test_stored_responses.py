"""Responses that an endpoint keeps: who may go on from them, where they are asked for, and what is held for them."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import openai
import pytest

from gateways import PRICES
from paymaster.dialects.neutral import State
from paymaster.dialects.state import id_with, owner_of
from paymaster.gateway.auth import Key, digest_of
from paymaster.gateway.openapi import openapi_document
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure
from paymaster.registry.models import Dialect
from responses_server import ResponsesServer, answer, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Begin = Callable[..., str]

Object = dict[str, Any]
SECRETS = {"ann": "sk-ann", "ben": "sk-ben"}
KEYS = {secret: Key(id=f"{user}1", user=user, digest=digest_of(secret)) for user, secret in SECRETS.items()}
PINNED = {"sk-run": Key(id="run1", user=None, digest=digest_of("sk-run"), pinned=True)}
STORED = answer(message("OK."), store=True)


@pytest.fixture
def servers() -> Iterator[list[ResponsesServer]]:
    """Two endpoints; the second one's models have another address."""
    with ExitStack() as stack:
        yield [stack.enter_context(ResponsesServer(STORED)) for _ in range(2)]


@pytest.fixture
def begin(tmp_path: Path, servers: list[ResponsesServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Start a gateway: `one` and `twin` at the first endpoint, `two` at the second, `chat` at none that keeps anything."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-provider")
    with ExitStack() as stack:

        def start(keys: dict[str, Key] | None = None, **policies: object) -> str:
            own = {"provider": "openai", "dialect": "responses", **PRICES, "context_window": 10_000, "max_output_tokens": 1_000}
            first, second = (server.url for server in servers)
            models = {
                "one": {**own, "model_id": "gpt-one", "base_url": first, "fallbacks": ["two"]},
                "twin": {**own, "model_id": "gpt-twin", "base_url": first},
                "two": {**own, "model_id": "gpt-two", "base_url": second},
                "same": {**own, "model_id": "gpt-one", "base_url": second},
                "chat": {"provider": "openai_compatible", "model_id": "c", "base_url": second, **PRICES},
            }
            registry = tmp_path / "registry.yaml"
            policy = {"backoff_initial_s": 0.01, "retries_per_model": 0, **policies}
            registry.write_text(json.dumps({"default": "one", "models": models, "policies": policy}))
            access = AccessPolicy() if keys is None else AccessPolicy(find_key=keys.get, needs_key=lambda: True)
            config = GatewayConfig(read_options=lambda: configure(registry, {"run": "r1"}), access=access)
            server_socket = listen("127.0.0.1", 0)
            stack.enter_context(in_background(config, server_socket))
            return f"http://127.0.0.1:{server_socket.getsockname()[1]}/v1/responses"

        yield start


def ask(url: str, body: Object | None = None, secret: str = "any", method: str = "") -> tuple[int, Object]:  # noqa: S107 - no secret
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {secret}"}
    request = urllib.request.Request(url, data, headers, method=method or None)  # noqa: S310 - http on loopback
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - http on loopback
            text = reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return 200, json.loads(lines[-1])["response"] if lines else json.loads(text)


def error_of(answered: tuple[int, Object]) -> tuple[int, str, str | None]:
    status, body = answered
    return status, body["error"]["message"], body["error"]["param"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("keys", [None, PINNED])
def test_one_caller_goes_on_from_the_endpoints_own_id(
    begin: Begin, servers: list[ResponsesServer], keys: dict[str, Key] | None, *, stream: bool
) -> None:
    url = begin(keys)
    secret = next(iter(keys or {"any": None}))
    _, first = ask(url, {"model": "one", "input": "Hi", "stream": stream}, secret)
    assert first["id"] == "resp_real"
    output = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
    second = {"model": "one", "input": [output, {"type": "item_reference", "id": "msg_real"}], "previous_response_id": first["id"]}
    assert ask(url, second, secret)[0] == 200
    assert servers[0].requests[1] == {**second, "model": "gpt-one", "max_output_tokens": 1_000}


@pytest.mark.parametrize("stream", [False, True])
def test_only_the_key_that_made_a_response_may_use_it(begin: Begin, servers: list[ResponsesServer], *, stream: bool) -> None:
    url = begin(KEYS)
    _, first = ask(url, {"model": "one", "input": "Hi", "stream": stream}, SECRETS["ann"])
    second = {"model": "one", "input": "More", "stream": stream, "previous_response_id": first["id"]}
    servers[0]._answers = [{**STORED, "previous_response_id": "resp_real"}]
    status, answered = ask(url, second, SECRETS["ann"])
    assert (status, answered["previous_response_id"]) == (200, first["id"])
    assert servers[0].requests[1]["previous_response_id"] == "resp_real"
    for given, secret in ((first["id"], "sk-ben"), ("resp_real", "sk-ben"), ("resp_real", "sk-ann"), (first["id"][:-1], "sk-ann")):
        status, text, param = error_of(ask(url, {**second, "previous_response_id": given}, secret))
        assert (status, param, "is known to this key" in text) == (400, "previous_response_id", True)
    status, text, _ = error_of(ask(url, {"model": "one", "input": [{"type": "item_reference", "id": "msg_1"}]}, "sk-ann"))
    assert (status, "item_reference" in text, "previous_response_id" in text) == (400, True, True)
    assert len(servers[0].requests) == 2


def test_it_goes_to_the_endpoint_that_has_it_and_to_no_other(begin: Begin, servers: list[ResponsesServer]) -> None:
    url = begin()
    servers[0]._answers = [(500, {"error": {"message": "down"}}), STORED, (500, {"error": {"message": "down"}})]
    _, first = ask(url, {"model": "one", "input": "Hi"})
    assert first["id"].startswith("resp_real__")  # `two` answered for `one`
    _, second = ask(url, {"model": "one", "input": "More", "previous_response_id": first["id"]})
    assert (servers[1].requests[1]["model"], servers[1].requests[1]["previous_response_id"]) == ("gpt-two", "resp_real")
    assert second["id"] == "resp_real"
    assert ask(url, {"model": "twin", "input": "More", "previous_response_id": "resp_real"})[0] == 200
    assert servers[0].requests[1]["model"] == "gpt-twin"
    assert ask(url, {"model": "one", "input": "More", "previous_response_id": "resp_real"})[0] >= 500
    assert len(servers[1].requests) == 2


def test_the_openapi_description_allows_the_ids_that_are_shown(begin: Begin) -> None:
    described = json.loads(json.dumps(openapi_document()))["paths"]["/v1/responses/{id}"]["get"]["parameters"][0]["schema"]["pattern"]
    _, stamped = ask(begin(KEYS), {"model": "one", "input": "Hi"}, SECRETS["ann"])
    assert re.search(described, stamped["id"])
    assert re.search(described, "resp_real")


def test_models_of_one_id_at_two_addresses_keep_their_own(begin: Begin, servers: list[ResponsesServer]) -> None:
    url = begin(KEYS)
    for model, server in (("one", servers[0]), ("same", servers[1])):
        _, first = ask(url, {"model": model, "input": "Hi"}, SECRETS["ann"])
        assert ask(url, {"model": model, "input": "More", "previous_response_id": first["id"]}, SECRETS["ann"])[0] == 200
        assert (len(server.requests), server.requests[1]["previous_response_id"]) == (2, "resp_real")
        ask(f"{url}/{first['id']}", secret=SECRETS["ann"])
        assert server.aside == ["GET /v1/responses/resp_real"]


@pytest.mark.parametrize("code", ["ü" * 32, "", "\0", "0" * 100_000], ids=["not ASCII", "empty", "NUL", "long"])
def test_codes_that_nobody_made_are_refused(begin: Begin, servers: list[ResponsesServer], code: str) -> None:
    forged = id_with("resp_real", State(value=code, dialect=Dialect.RESPONSES, owner=owner_of("openai", "gpt-one")))
    body = {"model": "one", "input": "Hi", "previous_response_id": forged}
    status, text, param = error_of(ask(begin(KEYS), body, SECRETS["ann"]))
    assert (status, param, len(text) < 500, servers[0].requests) == (400, "previous_response_id", True, [])


def test_answers_that_nobody_keeps_have_their_own_id(begin: Begin) -> None:
    url = begin(KEYS)
    assert ask(url, {"model": "one", "input": "Hi", "store": False}, SECRETS["ann"])[1]["id"] == "resp_real"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"previous_response_id": 5}, "previous_response_id"),
    ],
)
def test_other_models_refuse_it_by_name(begin: Begin, servers: list[ResponsesServer], body: Object, named: str) -> None:
    status, text, _ = error_of(ask(begin(), {"model": "chat", "input": "Hi", **body}))
    assert (status, named in text) == (400, True), text
    assert not servers[1].requests


@pytest.mark.parametrize(
    "own",
    [
        {"previous_response_id": "resp_1"},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "image_generation_call", "id": "ig_1"}]},
        {"input": [{"role": "user", "content": "Hi"}, *[{"type": "reasoning", "id": "rs_1", "summary": []}] * 9]},
    ],
)
def test_a_hard_budget_holds_for_a_whole_window(begin: Begin, servers: list[ResponsesServer], own: Object) -> None:
    # 10,000 tokens at $1 a million are a cent.
    url = begin(hard_stop_on_budget=True, budget_usd_per_run=0.009)
    status, text, _ = error_of(ask(url, {"model": "twin", "input": "Hi", "max_output_tokens": 16, **own}))
    assert (status, "budget" in text, servers[0].requests) == (402, True, [])
    assert ask(url, {"model": "twin", "input": "Hi", "max_output_tokens": 16})[0] == 200


def test_the_official_client_manages_what_is_stored(begin: Begin, servers: list[ResponsesServer]) -> None:
    url = begin(KEYS)
    with openai.OpenAI(base_url=url.removesuffix("/responses"), api_key="sk-ann", max_retries=0) as client:
        first = client.responses.create(model="one", input="Hi")
        assert client.responses.retrieve(first.id).id == first.id
        client.responses.input_items.list(first.id, limit=2)
        assert client.responses.cancel(first.id).id == first.id
        client.responses.delete(first.id)
        assert servers[0].aside == [
            "GET /v1/responses/resp_real",
            "GET /v1/responses/resp_real/input_items?limit=2",
            "POST /v1/responses/resp_real/cancel",
            "DELETE /v1/responses/resp_real",
        ]
        with pytest.raises(openai.BadRequestError, match="known to this key"):
            client.with_options(api_key="sk-ben").responses.retrieve(first.id)
        with pytest.raises(openai.BadRequestError, match="streamed"):
            client.responses.retrieve(first.id, stream=True)


def test_without_keys_every_endpoint_is_asked_for_a_response(begin: Begin, servers: list[ResponsesServer]) -> None:
    url = begin()
    assert ask(f"{url}/resp_real")[1]["id"] == "resp_real"
    status, text, _ = error_of(ask(f"{url}/resp_other"))
    assert (status, "not found" in text) == (404, True)
    assert [len(server.aside) for server in servers] == [2, 1]
    assert ask(f"{url}/resp_{'Qm9z' * 100}==")[0] == 404  # as long as a litellm proxy's
    assert ask(f"{url}/resp_%2e%2e")[0] == 400
    assert ask(f"{url}/resp_real", {}, method="PUT")[0] == 405


@pytest.mark.parametrize(
    ("model", "counts", "body", "tokens"),
    [
        ("one", True, {"input": "Hi", "previous_response_id": "resp_real", "store": False}, 7_777),
        ("one", True, {"input": "Hi"}, 7_777),
        ("one", False, {"input": "Hi"}, None),
        ("chat", True, {"input": "Hi", "tools": [{"type": "web_search"}]}, None),
    ],
)
def test_the_size_of_a_prompt(
    begin: Begin, servers: list[ResponsesServer], model: str, counts: bool, body: Object, tokens: int | None
) -> None:
    servers[0].counts = counts
    status, counted = ask(f"{begin()}/input_tokens", {"model": model, **body})
    assert (status, counted["object"]) == (200, "response.input_tokens")
    assert counted["input_tokens"] == tokens if tokens else 0 < counted["input_tokens"] < 500
    sent = {name: value for name, value in body.items() if name != "store"}
    assert servers[0].counted == ([{**sent, "model": "gpt-one"}] if model == "one" else [])


def test_a_size_that_only_the_endpoint_knows(begin: Begin, servers: list[ResponsesServer]) -> None:
    url = begin()
    servers[0].counts = False
    for model in ("one", "chat"):
        status, text, param = error_of(ask(f"{url}/input_tokens", {"model": model, "input": "Hi", "previous_response_id": "resp_real"}))
        assert (status, param, "not known here" in text) == (400, "previous_response_id", True)
