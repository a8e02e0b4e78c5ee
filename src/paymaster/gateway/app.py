"""Which address answers what; knows the endpoints and how they are found, not what they say.

A part of the gateway that adds addresses of its own gives a list of routes: `build_app(service, more=…)`.
"""

from collections.abc import Awaitable, Callable, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from paymaster.gateway.auth import Key
from paymaster.gateway.count_tokens import Counting
from paymaster.gateway.dialects.anthropic_messages import AnthropicMessages
from paymaster.gateway.dialects.fields import dumps
from paymaster.gateway.dialects.openai_chat import OpenAIChat, openai_error
from paymaster.gateway.dialects.openai_completions import OpenAICompletions
from paymaster.gateway.dialects.openai_embeddings import OpenAIEmbeddings
from paymaster.gateway.dialects.openai_responses import OpenAIResponses
from paymaster.gateway.endpoint import Endpoint, identify, refusal_headers
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.openapi import description
from paymaster.gateway.request_body import read_headers
from paymaster.gateway.service import Service

Routes = Callable[[Service], Sequence[BaseRoute]]


def build_app(service: Service, more: Sequence[Routes] = ()) -> ASGIApp:
    """The whole gateway as an ASGI application. `more` are other parts' routes, asked after the gateway's own."""
    routes = [*gateway_routes(service), *(route for part in more for route in part(service))]
    return _Edge(Router(routes, redirect_slashes=False))


def gateway_routes(service: Service) -> list[BaseRoute]:
    """Everything that clients of models call, and what an operator's prober does."""
    return [
        Route("/v1/chat/completions", Endpoint(service, OpenAIChat()), methods=["POST"]),
        Route("/chat/completions", Endpoint(service, OpenAIChat()), methods=["POST"]),
        Route("/v1/responses", Endpoint(service, OpenAIResponses()), methods=["POST"]),
        Route("/v1/embeddings", Endpoint(service, OpenAIEmbeddings()), methods=["POST"]),
        Route("/embeddings", Endpoint(service, OpenAIEmbeddings()), methods=["POST"]),
        Route("/v1/completions", Endpoint(service, OpenAICompletions()), methods=["POST"]),
        Route("/v1/messages", Endpoint(service, AnthropicMessages()), methods=["POST"]),
        Route("/v1/messages/count_tokens", Counting(service), methods=["POST"]),
        Route("/v1/models", _models(service), methods=["GET"]),
        Route("/v1/models/{name:path}", _models(service), methods=["GET"]),
        Route("/models", _models(service), methods=["GET"]),
        Route("/openapi.json", _openapi, methods=["GET"]),
        Route("/healthz", _healthz, methods=["GET"]),
        Route("/readyz", _readyz(service), methods=["GET"]),
    ]


def key_of(service: Service, request: Request) -> Key | None:
    """The key that a request shows, None where the server has none. Raises Refused; for other parts' routes as well."""
    return identify(service, read_headers(request.scope["headers"]), request.scope.get("client")).key


def refused(refusal: HttpError) -> Response:
    """A refusal in OpenAI's words."""
    headers = {name.decode(): value.decode() for name, value in refusal_headers(refusal)}
    return Response(dumps(openai_error(refusal)), refusal.status, headers, "application/json")


def _models(service: Service) -> Callable[[Request], Awaitable[Response]]:
    """The models that the caller may ask for; with a name, that one."""

    async def models(request: Request) -> Response:
        known = service.models_for(key_of(service, request))
        entries: list[dict[str, object]]
        if "anthropic-version" in request.headers:
            entries = [{"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"} for name in known]
        else:
            entries = [{"id": name, "object": "model", "created": 0, "owned_by": provider} for name, (provider, _) in known.items()]
        asked = request.path_params.get("name")
        if asked is None:
            return Response(dumps({"object": "list", "data": entries, "has_more": False}), media_type="application/json")
        names = {alias: name for name, (_, aliases) in known.items() for alias in (name, *aliases)}
        for entry in entries:
            if entry["id"] == names.get(asked):
                return Response(dumps(entry), media_type="application/json")
        message = f"model {asked!r} is not in the registry"
        return refused(HttpError(status=404, code="model_not_found", message=message, advice=f"Known models: {', '.join(known)}."))

    return models


async def _openapi(_: Request) -> Response:
    """The gateway's own description."""
    return Response(dumps(description()), media_type="application/json")


async def _healthz(_: Request) -> Response:
    """The process lives."""
    return Response(b'{"status":"ok"}', media_type="application/json")


def _readyz(service: Service) -> Callable[[Request], Awaitable[Response]]:
    """It takes requests: not while it ends."""

    async def readyz(_: Request) -> Response:
        if service.draining:
            return Response(b'{"status":"draining"}', 503, media_type="application/json")
        return Response(b'{"status":"ready"}', media_type="application/json")

    return readyz


class _Edge:
    """Around all routes: what no route answers is answered in words a client understands; the program's own lifespan is nobody's here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            return
        scope["app"] = self  # makes the router raise for what it does not know, rather than answer in plain text
        try:
            await self._app(scope, receive, send)
        except Rejected as error:
            await refused(error.refusal)(scope, receive, send)
        except HTTPException as error:
            method, path = scope["method"], scope["path"]
            allowed = dict(error.headers or {}).get("Allow")
            advice = "GET /openapi.json lists the addresses." if allowed is None else f"It takes {allowed}."
            code = "not_found" if allowed is None else "method_not_allowed"
            answer = refused(
                HttpError(status=error.status_code, code=code, message=f"{method} {path}: {error.detail.lower()}", advice=advice)
            )
            if allowed is not None:
                answer.headers["allow"] = allowed
            await answer(scope, receive, send)
