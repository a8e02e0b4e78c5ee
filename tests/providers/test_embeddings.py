"""Vectors over real HTTP, from a scripted provider and from endpoints that misbehave; blocking and async, and through litellm itself."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import pytest

from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.flow.ports import ProviderReply
from paymaster.operations import Operation
from paymaster.providers.answers import judge_answer
from paymaster.providers.endpoints import endpoint_url
from paymaster.providers.scripted.engine import ScriptEngine
from paymaster.providers.scripted.script import parse_script
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.vectors import base64_of, floats_of, vectors_in

SCRIPT = """
models:
  m: {prices: {usd_per_1m_input: 1, usd_per_1m_output: 2}, dimensions: 3, faults: %s}
"""


@pytest.fixture
def vector_call(make_call):
    def make(base_url: str, inputs: object = "Hello", **options):
        body = {"input": inputs, **options.pop("body", {})}
        call = make_call(base_url, body=body, **options)
        return replace(call, operation=Operation.EMBEDDINGS, body={name: value for name, value in call.body.items() if name != "messages"})

    return make


@pytest.mark.parametrize(
    ("inputs", "tokens"), [("Hello", [2]), (["Hello", "Hello world"], [2, 3]), ([1, 2, 3], [3]), ([[1, 2], [3]], [2, 1])]
)
def test_every_form_of_input_is_answered_and_counted(caller, vector_call, serve, inputs, tokens):
    server = serve(SCRIPT % "[]")
    reply = caller.send(vector_call(server.base_url, inputs, body={"dimensions": 5}))
    assert isinstance(reply, ProviderReply), reply
    assert [len(vector) for vector in vectors_in(reply.body)] == [5] * len(tokens)
    assert (reply.usage, reply.finish_reason) == (Usage(input_tokens=sum(tokens)), "")
    [line] = server.bill(lines=True)["lines"]
    assert (line["prompt_tokens"], line["completion_tokens"], line["billed_nanousd"]) == (sum(tokens), 0, sum(tokens) * 1_000)


@pytest.mark.parametrize(
    ("fault", "kind", "billed"),
    [
        ("{kind: throttle, retry_after_s: 3}", FailureKind.THROTTLED, Billed.NO),
        ("{kind: server_error}", FailureKind.SERVER_ERROR, Billed.MAYBE),
        ("{kind: context_too_long}", FailureKind.CONTEXT_TOO_LONG, Billed.NO),
        ("{kind: auth}", FailureKind.AUTHENTICATION, Billed.NO),
        ("{kind: reset}", FailureKind.CONNECTION_LOST, Billed.MAYBE),
        ("{kind: cut}", FailureKind.CONNECTION_LOST, Billed.MAYBE),
        ("{kind: truncated_json}", FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
        ("{kind: error_in_stream}", FailureKind.SERVER_ERROR, Billed.MAYBE),
        ("{kind: empty}", FailureKind.UNUSABLE_ANSWER, Billed.YES),
    ],
)
def test_faults_of_embeddings_are_classified_like_those_of_chat(caller, vector_call, serve, fault, kind, billed):
    failure = caller.send(vector_call(serve(SCRIPT % f"[{fault}]").base_url))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.billed) == (kind, billed)


@pytest.mark.parametrize("fault", ["no_usage", "lying_usage"])
def test_missing_usage_is_unknown(caller, vector_call, serve, fault):
    reply = caller.send(vector_call(serve(SCRIPT % f"[{{kind: {fault}}}]").base_url))
    assert isinstance(reply, ProviderReply)
    assert isinstance(reply.usage, UnknownUsage)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "no data"),
        ([], "no data"),
        ([{"embedding": [0.5]}], "1 vectors for 2 inputs"),
        ([{"embedding": [0.5]}, {}], r"data\[1\] has no vector"),
        ([{"embedding": [0.5]}, 5], r"data\[1\] has no vector"),
        ([{"embedding": [0.5]}, {"embedding": []}], r"data\[1\] has no vector"),
        ([{"embedding": ["x"]}, {"embedding": ["y"]}], r"data\[0\] has no vector"),
        ([{"embedding": [0.5]}, {"embedding": [0.5, 1]}], "differ in length"),
        ([{"embedding": [0.5]}, {"embedding": "AAAA"}], "differ in length"),
    ],
)
def test_an_answer_without_every_vector_is_unusable(vector_call, data, why):
    unusable = judge_answer(vector_call("http://127.0.0.1:1", ["a", "b"]), {"data": data})
    assert re.search(why, unusable.reason)


def test_the_url_depends_on_the_operation(vector_call):
    model = vector_call("https://api.test/v1").model
    assert endpoint_url(model, Operation.EMBEDDINGS) == "https://api.test/v1/embeddings"
    assert endpoint_url(model, Operation.TEXT_COMPLETION) == "https://api.test/v1/chat/completions"
    azure = replace(model, base_url="https://x.openai.azure.com", api_version="2024-10-21", model_id="mine")
    assert endpoint_url(azure, Operation.EMBEDDINGS) == (
        "https://x.openai.azure.com/openai/deployments/mine/embeddings?api-version=2024-10-21"
    )


# ------------------------------------------------------------------------------------------------------------- the script


def respond(body: dict[str, object], settings: str = "") -> tuple[int, dict[str, object]]:
    engine = ScriptEngine(parse_script(f"models: {{m: {{{settings}}}}}"), 0)
    done = engine.respond({"model": "m", **body}, 1, embeds=True)
    return done.status, json.loads(b"".join(piece.data for piece in done.pieces))


def test_the_same_text_has_the_same_vector_of_length_one():
    _, first = respond({"input": ["one", "two"]})
    _, again = respond({"input": "two"})
    one, two = vectors_in(first)
    assert vectors_in(again) == [two]
    assert (len(one), one == two) == (8, False)
    assert sum(number * number for number in one) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("body", [{"input": []}, {"input": ""}, {}])
def test_an_empty_input_is_refused(body):
    for settings in ("", "context_window: 5"):
        status, answer = respond(body, settings)
        assert (status, answer["error"]["message"]) == (400, "input is empty.")


def test_base64_holds_the_same_numbers():
    _, plain = respond({"input": "one", "dimensions": 4})
    _, coded = respond({"input": "one", "dimensions": 4, "encoding_format": "base64"})
    assert vectors_in(coded) == vectors_in(plain)
    assert floats_of(base64_of([0.5, -2.0])) == [0.5, -2.0]


def test_a_script_says_how_many_tokens_are_billed_and_how_long_an_input_may_be():
    _, answer = respond({"input": "one"}, "usage: {prompt_tokens: 7}, dimensions: 2")
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert len(vectors_in(answer)[0]) == 2
    status, refused = respond({"input": ["short", "far too long a text"]}, "context_window: 3")
    assert (status, refused["error"]["code"]) == (400, "context_length_exceeded")
    assert respond({"input": ["short"] * 9, "dimensions": None}, "context_window: 3")[0] == 200
    assert respond({"input": "x", "dimensions": 10**6})[0] == 400


# ---------------------------------------------------------------------------------------------------------------- litellm


@pytest.mark.xdist_group("litellm")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("blocking", [True, False])
def test_litellm_sends_one_request_and_returns_its_usage(vector_call, serve, blocking):
    from paymaster.providers.litellm_adapter import LitellmProvider
    from paymaster.providers.litellm_import import import_litellm

    server = serve(SCRIPT % "[{kind: throttle, after: 1, retry_after_s: 3}]")
    provider = LitellmProvider(import_litellm(), blocking=blocking, now_ms=lambda: 0)
    call = vector_call(
        server.base_url,
        ("Hello", "Hello world"),
        body={"encoding_format": "base64", "user": "ann"},
        provider="openai",
        adapter="litellm",
        usage_api="litellm.usage",
        limits={"first_token_ms": 60_000, "total_ms": 90_000},
    )

    def ask():
        if not blocking:
            return asyncio.run(provider.send(call))
        with pytest.raises(StopIteration) as ended:
            provider.send(call).send(None)
        return ended.value.value

    reply = ask()
    assert isinstance(reply, ProviderReply), reply
    assert [len(vector) for vector in vectors_in(reply.body)] == [3, 3]
    assert all(isinstance(entry["embedding"], list) for entry in reply.body["data"]), "litellm is asked for numbers"
    assert (reply.usage, reply.finish_reason) == (Usage(input_tokens=5), "")
    failure = ask()
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.THROTTLED
    assert server.bill()["requests"] == 2


@pytest.mark.xdist_group("litellm")
@pytest.mark.filterwarnings("ignore")
def test_coheres_billed_units_are_charged(vector_call, raw):
    from paymaster.providers.litellm_adapter import LitellmProvider
    from paymaster.providers.litellm_import import import_litellm

    billed = {"embeddings": {"float": [[0.5, 0.25], [1, 0]]}, "meta": {"billed_units": {"input_tokens": 7}}}
    body = json.dumps(billed).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    endpoint = raw(head + body)
    provider = LitellmProvider(import_litellm(), blocking=False, now_ms=lambda: 0)
    call = vector_call(
        endpoint.base_url,
        ["a", "b"],
        body={"input_type": "search_query"},
        provider="cohere",
        adapter="litellm",
        usage_api="litellm.usage",
        limits={"first_token_ms": 60_000, "total_ms": 90_000},
    )
    reply = asyncio.run(provider.send(replace(call, model=replace(call.model, model_id="embed-v4.0"))))
    assert isinstance(reply, ProviderReply), reply
    assert vectors_in(reply.body) == [[0.5, 0.25], [1, 0]]
    assert reply.usage == Usage(input_tokens=7)
    assert b"search_query" in endpoint.requests[0]
