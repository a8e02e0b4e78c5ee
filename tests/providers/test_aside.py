"""Requests beside calls: what an endpoint that does not answer them is said to have done."""

from __future__ import annotations

import asyncio

import pytest

from paymaster.accounting.tokens.counter import tokenizer_for
from paymaster.flow.ports import ProviderCall, SideRequest
from paymaster.providers.openai_http import OpenAIHttp
from paymaster.providers.transport import ExchangeBroken, ExchangeFault
from paymaster.registry.models import Dialect, Model, Timeouts
from paymaster.routing.failures import Failure


class Broken:
    """A transport on which every exchange breaks in one way."""

    def __init__(self, fault: ExchangeFault) -> None:
        self._fault = fault

    async def post(self, *_: object, **__: object) -> None:
        raise ExchangeBroken(self._fault, "")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(("fault", "message"), [(ExchangeFault.SILENT, "no answer within 30 s"), (ExchangeFault.REFUSED, "no connection")])
def test_a_time_limit_of_its_own_names_no_key_of_the_registry(fault: ExchangeFault, message: str) -> None:
    model = Model(
        name="m", provider="vllm", model_id="m", base_url="http://127.0.0.1:1/v1", adapter="openai_http", dialect=Dialect.RESPONSES,
        tokenizer=tokenizer_for("openai", "gpt-4o"),
    )  # fmt: skip
    provider = OpenAIHttp(Broken(fault), now_ms=lambda: 0)
    said = asyncio.run(provider.aside(ProviderCall(model, {}, Timeouts(), "call"), SideRequest("GET", "resp_1")))
    assert isinstance(said, Failure)
    assert said.message == message
