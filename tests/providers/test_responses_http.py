"""OpenAI's responses over HTTP, for blocking and async callers: what a failure is charged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paymaster.accounting.usage.record import Usage
from paymaster.registry.models import Dialect
from paymaster.routing.failures import Billed, Failure, FailureKind
from responses_server import USAGE, ResponsesServer, answer, events_of, message

ERROR = {"code": "server_error", "message": "The server had an error."}
EVENTS = events_of(answer(message("Hello.")))
COUNTED = Usage(input_tokens=36, cache_read_tokens=64, output_tokens=20, reasoning_tokens=5)


@pytest.mark.parametrize("events", [0, 2, len(EVENTS) - 1, None], ids=["at once", "begun", "after all text", "whole"])
@pytest.mark.parametrize(("usage", "expected", "billed"), [(USAGE, COUNTED, Billed.YES), (None, None, Billed.MAYBE)])
def test_a_response_that_failed_is_charged_as_it_was_counted(caller, make_call, events, usage, expected, billed):
    failed = answer(status="failed", error=ERROR, usage=usage)
    given = failed if events is None else [*EVENTS[:events], {"type": "response.failed", "response": failed}]
    with ResponsesServer(given) as server:
        call = make_call(server.url, "gpt-5.5", dialect=Dialect.RESPONSES, usage_api="openai.responses")
        call = replace(call, body={"model": "gpt-5.5", "input": "Hi"})
        failure = caller.send(call) if events is None else caller.stream(call)[1]
    assert isinstance(failure, Failure), failure
    assert (failure.kind, failure.usage, failure.billed) == (FailureKind.SERVER_ERROR, expected, billed)
