"""Which recovery a stream has, which answers may be continued and how that is asked for, and when a model is not paid again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from call_box import HELLO, model, registry
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.errors import RequestInvalid
from paymaster.registry.models import Dialect, Policy, StreamRecovery
from paymaster.registry.prefill import Prefill
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.planning import plan
from paymaster.routing.recovery import (
    continued,
    continues_streams,
    not_continued,
    read_stream_recovery,
    recovery_of,
    retries_after,
    with_prefill,
)
from paymaster.routing.requests import Request, Source, Thinking
from paymaster.routing.skipped import SkipCause
from paymaster.routing.staying import staying
from paymaster.scope import Scope

if TYPE_CHECKING:
    from paymaster.jsontypes import JsonObject

OFF, HOLD_BACK, CONTINUE = StreamRecovery


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), ("off", OFF), ("hold_back", HOLD_BACK), ("continue", CONTINUE), (HOLD_BACK, HOLD_BACK)]
)
def test_a_recovery_is_read(value: object, expected: StreamRecovery | None) -> None:
    assert read_stream_recovery("stream_recovery", value) is expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hold-back", "x must be off, hold_back or continue, got 'hold-back' (did you mean hold_back?)"),
        ("Hold_Back", "x must be off, hold_back or continue, got 'Hold_Back' (did you mean hold_back?)"),
        ("", "x must be off, hold_back or continue, got '' (known: off, hold_back, continue)"),
        (True, "x must be off, hold_back or continue, got True (known: off, hold_back, continue)"),
        (0, "x must be off, hold_back or continue, got 0 (known: off, hold_back, continue)"),
        (["off"], "x must be off, hold_back or continue, got a list (did you mean off?)"),
    ],
)
def test_an_unknown_recovery_is_refused_with_the_nearest(value: object, message: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_stream_recovery("x", value)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("stream", "own", "policy", "expected"),
    [
        (True, None, OFF, OFF),
        (True, None, HOLD_BACK, HOLD_BACK),
        (True, OFF, HOLD_BACK, OFF),
        (True, HOLD_BACK, OFF, HOLD_BACK),
        (False, HOLD_BACK, HOLD_BACK, OFF),
    ],
)
def test_a_streams_own_recovery_counts_else_the_policys(
    stream: bool, own: StreamRecovery | None, policy: StreamRecovery, expected: StreamRecovery
) -> None:
    assert recovery_of(Request(stream=stream, stream_recovery=own), Policy(stream_recovery=policy)) is expected


@pytest.mark.parametrize(
    ("kind", "billed", "costly", "has_fallback", "expected"),
    [
        (FailureKind.UNUSABLE_ANSWER, Billed.YES, True, True, 0),
        (FailureKind.UNUSABLE_ANSWER, Billed.YES, True, False, 2),
        (FailureKind.UNUSABLE_ANSWER, Billed.YES, False, True, 2),
        (FailureKind.UNUSABLE_ANSWER, Billed.MAYBE, True, True, 2),
        (FailureKind.SERVER_ERROR, Billed.YES, True, True, 2),
    ],
)
def test_an_answer_that_was_billed_for_nothing_is_not_bought_again_while_another_model_is_left(
    kind: FailureKind, billed: Billed, costly: bool, has_fallback: bool, expected: int
) -> None:
    assert retries_after(Failure(kind, billed, "empty"), 2, costly=costly, has_fallback=has_fallback) == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, True),
        ({"n": 1, "response_format": {"type": "text"}, "temperature": 0}, True),
        ({"n": 2}, False),
        ({"best_of": 2}, False),
        ({"response_format": {"type": "json_schema"}}, False),
        ({"response_format": "text"}, False),
        ({"structured_outputs": {}}, False),
    ],
)
def test_one_text_of_no_given_form_is_continued(params: dict[str, object], expected: bool) -> None:
    chain = registry(model("a"), model("b", prefill=Prefill.PLAIN), stream_recovery=CONTINUE)
    assert continues_streams(Request(stream=True, params=params), chain) is expected


def test_a_stream_is_continued_if_a_model_is_known_to_and_the_policy_says_so() -> None:
    request, knows, thinks = Request(stream=True), model("a", prefill=Prefill.PLAIN), Thinking({}, "low")
    assert continues_streams(request, registry(knows, stream_recovery=CONTINUE))
    assert not continues_streams(request, registry(model("a"), stream_recovery=CONTINUE))
    assert not continues_streams(request, registry(knows, stream_recovery=HOLD_BACK))
    assert not continues_streams(Request(), registry(knows, stream_recovery=CONTINUE))
    assert not continues_streams(Request(stream=True, thinking=thinks), registry(knows, stream_recovery=CONTINUE))


def test_the_rest_is_asked_for_with_the_answer_so_far() -> None:
    request = Request(messages=HELLO, params={"max_tokens": 10, "temperature": 0}, stream=True)
    rest = continued(request, "x" * 20)
    assert rest.messages == (*HELLO, {"role": "assistant", "content": "x" * 20})
    assert (rest.params, rest.continues) == ({"max_tokens": 5, "temperature": 0}, True)
    assert continued(request, "x" * 99).params["max_tokens"] == 1
    assert continued(Request(messages=HELLO, params={"max_tokens": None}), "x").params == {"max_tokens": None}


BEGUN = {"role": "assistant", "content": "One"}


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (Dialect.MESSAGES, {"messages": [*HELLO], "system": "S"}, {"messages": [*HELLO, BEGUN], "system": "S"}),
        (Dialect.CHAT, {"messages": [*HELLO]}, {"messages": [*HELLO, BEGUN]}),
        (Dialect.RESPONSES, {"input": [*HELLO]}, {"input": [*HELLO, BEGUN]}),
        (Dialect.RESPONSES, {"input": "Hi"}, {"input": [{"role": "user", "content": "Hi"}, BEGUN]}),
        (Dialect.RESPONSES, {"instructions": "Hi"}, {"instructions": "Hi", "input": [BEGUN]}),
    ],
)
def test_a_model_of_the_clients_dialect_gets_the_answer_so_far_too(dialect: Dialect, body: JsonObject, expected: JsonObject) -> None:
    rest = continued(Request(messages=HELLO, source=Source(dialect=dialect, body=body)), "One")
    assert rest.source is not None
    assert rest.source.body == expected


@pytest.mark.parametrize(
    ("form", "last", "more"),
    [
        (Prefill.PLAIN, {}, {}),
        (None, {}, {}),
        (Prefill.PREFIX, {"prefix": True}, {}),
        (Prefill.PARTIAL, {"partial": True}, {}),
        (Prefill.CONTINUE_FINAL_MESSAGE, {}, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
def test_each_endpoint_is_asked_in_its_own_form(form: Prefill | None, last: dict[str, object], more: dict[str, object]) -> None:
    begun = {"role": "assistant", "content": "One"}
    sent = with_prefill({"model": "m", "messages": [*HELLO, begun]}, form)
    assert sent == {"model": "m", "messages": [*HELLO, {**begun, **last}], **more}


@pytest.mark.parametrize(
    ("prefill", "never_mix", "begun_by", "cause"),
    [
        (None, False, "b", SkipCause.CAPABILITY),
        (Prefill.PLAIN, False, "b", None),
        (Prefill.PLAIN, True, "b", SkipCause.MIXED),
        (Prefill.PLAIN, True, "a", None),
        (Prefill.PLAIN, True, None, None),
    ],
)
def test_who_continues_an_answer(prefill: Prefill | None, never_mix: bool, begun_by: str | None, cause: SkipCause | None) -> None:
    request, scope, policy = Request(messages=HELLO), Scope(run="r", instance="i"), Policy(never_mix=never_mix)
    [candidate] = plan(request, registry(model("a", prefill=prefill)), scope, 0, TokenCounter()).candidates
    found = not_continued(candidate, staying(request, scope, policy, ("a", "b")), begun_by)
    assert (None if found is None else found.cause) is cause
