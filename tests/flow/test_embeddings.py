"""A call for vectors from its request to its reply: the same flow as for words, and what differs."""

from __future__ import annotations

import pytest

from call_box import Box, Limits, failure, model, per_run, registry
from paymaster.accounting.tokens.counter import tokenizer_for
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, NoModelAvailable, NoModelFits
from paymaster.flow.ports import ProviderReply
from paymaster.operations import Operation
from paymaster.routing.failures import FailureKind
from paymaster.routing.requests import Request
from paymaster.vectors import base64_of

VECTORS = [[0.5, -0.25], [1.0, 0.0]]


def embedder(name: str, **settings: object):
    exact = tokenizer_for("openai", "text-embedding-3-small")
    return model(name, **{"embeds": True, "vector_space": "s", "tokenizer": exact, "max_output_tokens": None, **settings})


def vectors(found: object = VECTORS, tokens: int = 3) -> ProviderReply:
    data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(found)]
    return ProviderReply(body={"object": "list", "data": data}, usage=Usage(input_tokens=tokens), finish_reason="", duration_ms=5)


def asked(inputs=("Hello world", "Hello"), **fields) -> Request:
    return Request(operation=Operation.EMBEDDINGS, inputs=inputs, **fields)


def test_the_input_goes_out_untouched_and_what_was_billed_is_paid() -> None:
    box = Box(registry(embedder("a"), budgets=(per_run("1"),), hard_stop_on_budget=True), {"a": [vectors()]})
    reply = box.ask(asked(params={"dimensions": 2, "user": "ann", "unheard_of": [1]}))
    [sent] = box.provider.calls
    assert sent.operation is Operation.EMBEDDINGS
    assert sent.body == {"model": "a-id", "input": ("Hello world", "Hello"), "dimensions": 2, "user": "ann", "unheard_of": [1]}
    assert (reply.vectors, reply.cost_nanousd, reply.text) == (VECTORS, 3_000, "")
    assert box.spent() == (3_000, 0)
    [record] = reply.attempts
    assert (record.operation, record.finish_reason, record.input_tokens, record.output_tokens) == ("embeddings", None, 3, 0)
    assert [(event.kind, event.operation) for event in box.events] == [("admitted", "embeddings"), ("settled", "embeddings")]
    assert box.events[0].max_output_tokens is None


def test_vectors_come_in_the_encoding_that_was_asked_for() -> None:
    texts = [base64_of(vector) for vector in VECTORS]
    for given in (VECTORS, texts):
        for encoding, expected in ((None, VECTORS), ("float", VECTORS), ("base64", texts)):
            box = Box(registry(embedder("a")), {"a": [vectors(given)]})
            reply = box.ask(asked(params={"encoding_format": encoding} if encoding else {}))
            assert [entry["embedding"] for entry in reply.body["data"]] == expected
            assert reply.vectors == VECTORS


@pytest.mark.parametrize("own", [["no base64!"], ["kein Bäse64"], ["AAA="], [[10**400]], [[[0.5], [0.25]]], [[0.5, "x"]]])
def test_what_is_no_vector_of_openai_s_stays_as_the_provider_wrote_it(own: list[object]) -> None:
    for encoding in ("float", "base64", "ubinary"):
        box = Box(registry(embedder("a")), {"a": [vectors(own)]})
        reply = box.ask(asked("x", params={"encoding_format": encoding}))
        assert [entry["embedding"] for entry in reply.body["data"]] == own


def test_a_vector_that_can_not_be_read_moves_no_other_to_the_wrong_input() -> None:
    own = ["no base64!", base64_of(VECTORS[1])]
    reply = Box(registry(embedder("a")), {"a": [vectors(own)]}).ask(asked(params={"encoding_format": "base64"}))
    with pytest.raises(ValueError, match="of input 0 is neither numbers nor base64"):
        _ = reply.vectors
    assert [entry["embedding"] for entry in reply.body["data"]] == own  # it was paid for, and is there


def test_vectors_stand_in_the_order_of_the_input() -> None:
    body = {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]}
    box = Box(registry(embedder("a")), {"a": [ProviderReply(body, Usage(input_tokens=1), "", 5)]})
    assert box.ask(asked()).vectors == [[1.0], [2.0]]


def test_a_fallback_goes_to_the_same_vectors_elsewhere_and_to_no_others() -> None:
    entries = (embedder("a"), embedder("b", vector_space="other"), embedder("c"))
    throttled = failure(FailureKind.THROTTLED, retry_after_ms=3_600_000)
    box = Box(registry(*entries), {"a": [throttled], "b": [vectors()], "c": [vectors()]})
    assert box.ask(asked()).model == "c"
    assert box.called() == ["a", "c"]
    assert box.kinds() == ["admitted", "failed", "skipped", "fallback", "admitted", "settled"]
    assert "can't be compared" in box.events[2].reason
    alone = Box(registry(*entries[:2], retries_per_model=0), {"a": [failure(FailureKind.SERVER_ERROR)], "b": [vectors()]})
    with pytest.raises(NoModelAvailable, match="can't be compared"):
        alone.ask(asked())
    assert alone.called() == ["a"]


def test_a_hard_budget_refuses_before_anything_is_sent() -> None:
    box = Box(registry(embedder("a"), budgets=(per_run("0.000002"),), hard_stop_on_budget=True), {"a": [vectors()]})
    with pytest.raises(BudgetExceeded) as refused:
        box.ask(asked())
    assert "send less at once" in refused.value.advice
    assert box.called() == []
    assert box.ask(asked("Hello world")).cost_nanousd == 3_000, "the bill is the truth, even where it is more than was held"


def test_tokens_per_minute_count_the_input() -> None:
    box = Box(registry(embedder("a", limits=Limits(tpm=5, rpm=5))), {"a": [vectors()]})
    box.ask(asked())
    with pytest.raises(NoModelFits, match="do not fit tpm"):
        box.ask(asked([[1, 2, 3, 4, 5, 6]]))
    assert box.spent("tokens/a") == (0, 0)


def test_an_answer_of_unknown_usage_costs_its_hold() -> None:
    from paymaster.accounting.usage.record import UnknownUsage

    lost = ProviderReply({"data": [{"embedding": [1.0]}]}, UnknownUsage("missing_usage", "none"), "", 5)
    box = Box(registry(embedder("a"), budgets=(per_run("1"),)), {"a": [lost]})
    reply = box.ask(asked("Hello world"))
    assert (reply.cost_nanousd, reply.attempts[0].billed, reply.usage) == (2_000, "assumed", None)
