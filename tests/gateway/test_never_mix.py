"""An instance that another model would have answered, as clients of the gateway see it; and which headers name a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from paymaster.gateway.dialects.dialect import DialectRequest
from paymaster.gateway.dialects.openai_chat import OpenAIChat
from paymaster.gateway.endpoint import with_source
from paymaster.routing.requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

TASK = [{"role": "user", "content": "Fix it."}]
STEP = [*TASK, {"role": "assistant", "content": "ls"}, {"role": "user", "content": "a.py"}]
POLICIES = {"fallback_chain": ["a", "b"], "never_mix": True, "retries_per_model": 0, "max_wait_s": 1}


def test_a_client_is_refused_once_and_the_instance_can_be_run_again(start: Callable[..., Gateway]) -> None:
    gateway = start(policies=POLICIES, a={"faults": [{"kind": "overloaded", "after": 1, "always": True}]}, b=[{"text": "two"}])
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", default_headers={"x-paymaster-instance": "task-1"}) as client:

        def answered(messages: list[dict[str, str]]) -> str | None:
            return client.chat.completions.create(model="a", messages=messages).model  # type: ignore[arg-type]  # plain messages

        assert answered(TASK) == "a"
        before = gateway.requests()
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            answered(STEP)
        assert gateway.requests() == before + 1  # the client did not ask again, and the other model was not asked
        assert caught.value.code == "mix_refused"
        assert "instance task-1" in caught.value.message
        assert [answered(messages) for messages in (TASK, STEP)] == ["b", "b"]


@pytest.mark.parametrize(("headers", "session"), [({"session_id": "s"}, "s"), ({}, None)])
def test_the_session_of_a_header_goes_with_the_request(headers: dict[str, str], session: str | None) -> None:
    asked = DialectRequest(request=Request(messages=TASK), body={})
    assert with_source(asked, OpenAIChat(), headers).session == session
