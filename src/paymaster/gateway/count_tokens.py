"""Anthropic's count_tokens, with the token counter that also sizes holds; asks no provider and costs nothing."""

from starlette.types import Receive, Send
from starlette.types import Scope as HttpScope

from paymaster.gateway.dialects.anthropic_messages import AnthropicMessages
from paymaster.gateway.dialects.fields import dumps
from paymaster.gateway.endpoint import Out, at_edge, check_model, received
from paymaster.gateway.service import Service
from paymaster.routing.requests import check_request
from paymaster.routing.translation import translate


class CountTokens:
    """`POST /v1/messages/count_tokens`: exact if the tokenizer is known, otherwise the likely count.

    Claude Code refuses to read files by it, so the upper bound that holds need would be wrong here.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._dialect = AnthropicMessages()

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await at_edge(self._service, self._dialect, send, lambda out: self._answer(scope, receive, out))

    async def _answer(self, scope: HttpScope, receive: Receive, out: Out) -> None:
        headers, caller, body = await received(self._service, scope, receive)
        request = self._dialect.read({**body, "max_tokens": 1}).request
        check_request(request)
        world = self._service.active.world_for(caller.key)
        model = world.registry.models[check_model(world, request.model, caller, headers)]
        translation = translate(request, model)
        count = world.counter.count(translation.messages, translation.tools, model.tokenizer)
        await out.whole(200, [], dumps({"input_tokens": count.tokens if count.exact else count.likely_tokens}))
