"""Responses that an endpoint keeps, and the size of a prompt: asked of the endpoint itself, at no cost; knows no ledger."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as HttpScope

from paymaster.flow.ports import AnswersAside, ProviderCall, SideAnswer, SideRequest, World
from paymaster.gateway.auth import Caller
from paymaster.gateway.dialects.dialect import DialectRequest
from paymaster.gateway.dialects.fields import dumps
from paymaster.gateway.dialects.openai_responses import OpenAIResponses
from paymaster.gateway.endpoint import Out, at_edge, check_model, identify, received, with_source
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import invalid, read_headers
from paymaster.gateway.service import Service
from paymaster.gateway.stored_responses import PREVIOUS, StoredResponses, continued
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect, Model
from paymaster.routing.chains import resolve
from paymaster.routing.failures import Failure
from paymaster.routing.requests import check_request
from paymaster.routing.translation import translate

_ID = re.compile(r"[A-Za-z0-9_=-]{1,1000}")
"""Nothing that could name another path. A litellm proxy's ids are base64 of what it knows of the response, 230 characters and more."""
_QUERY = re.compile(r"[A-Za-z0-9_.,&=%\[\]-]{0,1000}")
_NOT_FOUND = 404


def stored_response(service: Service, below: str = "") -> Callable[[HttpRequest], Awaitable[Response]]:
    """Get, delete or cancel a response, or list its items (`below`)."""

    async def answer(request: HttpRequest) -> Response:
        headers = read_headers(request.scope["headers"])
        caller = identify(service, headers, request.scope.get("client"))
        with service.call(caller) as (world, _):
            given, query = request.path_params["id"], request.url.query
            if not _ID.fullmatch(given) or not _QUERY.fullmatch(query):
                raise Rejected(invalid("the id of a response has letters, digits, _, = and -", "response_id"))
            if "stream=true" in query.lower():
                raise Rejected(invalid("a stored response can't be streamed again", "stream", "Leave out `stream`."))
            stored = StoredResponses(world, caller)
            found = stored.find(given)
            writers = stored.places() if found.writer is None else [found.writer]
            path = f"{found.id}/{below}" if below else found.id
            body: JsonObject | None = {} if request.method == "POST" else None
            body_of = await _first(world, caller, writers, SideRequest(request.method, path, query, body))
            if body_of.get("id") == found.id:
                body_of = {**body_of, "id": given}
        return Response(dumps(body_of), media_type="application/json")

    return answer


async def _first(world: World, caller: Caller, models: list[Model], request: SideRequest) -> JsonObject:
    """The answer of the endpoint that knows the response. Raises Rejected."""
    said = SideAnswer(_NOT_FOUND, {}, "no endpoint of this gateway keeps responses")
    for model in models:
        said = await _ask(world, caller, model, request)
        if said.status < 300:
            return said.body
        if said.status != _NOT_FOUND:
            break
    raise Rejected(_refusal(said))


async def _ask(world: World, caller: Caller, model: Model, request: SideRequest) -> SideAnswer:
    provider = world.provider_of(model)
    if not isinstance(provider, AnswersAside):
        return SideAnswer(_NOT_FOUND, {}, f"{model.name} keeps no responses")
    call = ProviderCall(model, {}, model.timeouts, world.runtime.new_id(), world.key_of(model, caller.scope))
    answer = await provider.aside(call, request)
    return SideAnswer(502, {}, f"{model.name}: {answer.message}") if isinstance(answer, Failure) else answer


def _refusal(said: SideAnswer) -> HttpError:
    known = {400: (400, "invalid_request"), _NOT_FOUND: (_NOT_FOUND, "not_found")}
    status, code = known.get(said.status, (502, "no_model_available"))
    return HttpError(status=status, code=code, message=said.error, advice="This is the answer of the model's endpoint.")


class InputTokens:
    """`POST /v1/responses/input_tokens`: by the endpoint if it speaks the dialect and counts, else by the counter that sizes holds."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._dialect = OpenAIResponses()

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await at_edge(self._service, self._dialect, send, lambda out: self._answer(scope, receive, out))

    async def _answer(self, scope: HttpScope, receive: Receive, out: Out) -> None:
        headers, caller, body = await received(self._service, scope, receive)
        asked = self._dialect.read(body)
        asked = replace(asked, request=with_source(asked, self._dialect, headers))
        check_request(asked.request)
        with self._service.call(caller) as (world, _):
            check_model(world, asked.request.model, caller, headers)
            asked = continued(asked, world, caller)
            tokens = await _counted(asked, world, caller)
        await out.whole(200, [], dumps({"object": "response.input_tokens", "input_tokens": tokens}))


async def _counted(asked: DialectRequest, world: World, caller: Caller) -> int:
    """The tokens of the prompt. Raises Rejected where only the endpoint could count them, and doesn't."""
    model = world.registry.models[resolve(world.registry, asked.request.model)]
    translation = translate(asked.request, model)
    said = SideAnswer(_NOT_FOUND, {}, f"{model.name} does not take {', '.join(translation.impossible)}")
    if model.dialect is Dialect.RESPONSES and translation.wire is not None:
        own = {name: value for name, value in translation.wire.items() if name in _COUNTED}
        said = await _ask(world, caller, model, SideRequest("POST", "input_tokens", "", {**own, "model": model.model_id}))
        counted = said.body.get("input_tokens")
        if isinstance(counted, int):
            return counted
    if asked.request.alone:
        raise Rejected(
            invalid(f"the size of this prompt is not known here: {said.error}", PREVIOUS, "Send the whole conversation as `input`.")
        )
    return world.counter.count(translation.messages, translation.tools, model.tokenizer).tokens


_COUNTED = frozenset({"input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "truncation", PREVIOUS})
"""What OpenAI's input_tokens takes (platform.openai.com/docs/api-reference/responses/input-tokens, 2026-11)."""
