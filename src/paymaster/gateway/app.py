"""The gateway's routes: which path is answered by which endpoint; knows the endpoints, and not their wire formats.

Other parts add routes of their own with `build_app(service, extra_routes=…)`.
"""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from paymaster.errors import RequestInvalid
from paymaster.gateway.auth import Key
from paymaster.gateway.client_info import info_routes
from paymaster.gateway.count_tokens import CountTokens
from paymaster.gateway.dialects.anthropic_messages import AnthropicMessages
from paymaster.gateway.dialects.fields import dumps
from paymaster.gateway.dialects.openai_chat import OpenAIChat, openai_error
from paymaster.gateway.dialects.openai_completions import OpenAICompletions
from paymaster.gateway.dialects.openai_embeddings import OpenAIEmbeddings
from paymaster.gateway.dialects.openai_responses import OpenAIResponses
from paymaster.gateway.dialects.responses_compact import ResponsesCompact
from paymaster.gateway.endpoint import Endpoint, identify, refusal_headers
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.openapi import openapi_document
from paymaster.gateway.paths import MODEL_IN_PATH, advice_for, model_in_path, routed_path
from paymaster.gateway.request_body import check_head, read_headers
from paymaster.gateway.service import Service
from paymaster.gateway.stored_endpoint import InputTokens, stored_response
from paymaster.gateway.stored_responses import continued

Routes = Callable[[Service], Sequence[BaseRoute]]


def build_app(service: Service, extra_routes: Sequence[Routes] = ()) -> ASGIApp:
    """The whole gateway as an ASGI application. `extra_routes` are tried after the gateway's own."""
    routes = [*gateway_routes(service), *(route for part in extra_routes for route in part(service))]
    return _ErrorBoundary(Router(routes, redirect_slashes=False))


def gateway_routes(service: Service) -> list[BaseRoute]:
    """The routes for clients of models, and for health checks."""
    return [
        Route("/v1/chat/completions", Endpoint(service, OpenAIChat()), methods=["POST"]),
        Route("/v1/responses", Endpoint(service, OpenAIResponses(), continued), methods=["POST"]),
        Route("/v1/responses", _no_websocket, methods=["GET"]),
        Route("/v1/responses/compact", Endpoint(service, ResponsesCompact(), continued), methods=["POST"]),
        Route("/v1/responses/input_tokens", InputTokens(service), methods=["POST"]),
        Route("/v1/responses/{id}", stored_response(service), methods=["GET", "DELETE"]),
        Route("/v1/responses/{id}/cancel", stored_response(service, "cancel"), methods=["POST"]),
        Route("/v1/responses/{id}/input_items", stored_response(service, "input_items"), methods=["GET"]),
        Route("/v1/embeddings", Endpoint(service, OpenAIEmbeddings()), methods=["POST"]),
        Route("/v1/completions", Endpoint(service, OpenAICompletions()), methods=["POST"]),
        Route("/v1/messages", Endpoint(service, AnthropicMessages()), methods=["POST"]),
        Route("/v1/messages/count_tokens", CountTokens(service), methods=["POST"]),
        Route("/v1/models", _models(service), methods=["GET"]),
        Route("/v1/models/{name:path}", _models(service), methods=["GET"]),
        *info_routes(service),
        Route("/openapi.json", _openapi, methods=["GET"]),
        Route("/healthz", _healthz, methods=["GET"]),
        Route("/readyz", _readyz(service), methods=["GET"]),
    ]


def key_of(service: Service, request: Request) -> Key | None:
    """The key of a request; None if the server has no keys. Raises Rejected."""
    return identify(service, read_headers(request.scope["headers"]), request.scope.get("client")).key


def error_response(error: HttpError) -> Response:
    """An error in OpenAI's format."""
    headers = {name.decode(): value.decode() for name, value in refusal_headers(error)}
    return Response(dumps(openai_error(error)), error.status, headers, "application/json")


def _models(service: Service) -> Callable[[Request], Awaitable[Response]]:
    """The models that the caller may use, or the one that the path names."""

    async def models(request: Request) -> Response:
        key = key_of(service, request)
        known = service.models_for(key)
        entry = _for_anthropic if "anthropic-version" in request.headers else _for_openai
        entries = [entry(name, provider) for name, provider in known.items()]
        requested = request.path_params.get("name")
        if requested is None and "client_version" in request.query_params:
            # Codex joins `models` with the models that it knows by itself; a list in OpenAI's form alone it can't read.
            known_by_codex = dumps({"object": "list", "data": entries, "models": []})
            return Response(known_by_codex, headers={"etag": f'"{sha256(known_by_codex).hexdigest()[:16]}"'}, media_type="application/json")
        if requested is None:
            return Response(dumps({"object": "list", "data": entries, "has_more": False}), media_type="application/json")
        try:
            name = service.model_named(requested, key)
        except RequestInvalid as error:
            refusal = HttpError(status=404, code="model_not_found", message=error.message, advice=error.advice)
            return error_response(refusal)
        return Response(dumps(entry(name, service.provider_of(name, key))), media_type="application/json")

    return models


def _for_anthropic(name: str, _: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def _for_openai(name: str, provider: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": provider}


async def _no_websocket(request: Request) -> Response:
    """Codex tries a websocket first. Only this status makes it use HTTP at once; after any other it tries again for seconds."""
    if request.headers.get("upgrade", "").lower() != "websocket":
        raise HTTPException(405, headers={"Allow": "POST"})
    error = HttpError(status=426, code="upgrade_refused", message="responses are not served over a websocket", advice="Use POST.")
    response = error_response(error)
    response.headers["upgrade"] = "HTTP/1.1"
    return response


async def _openapi(_: Request) -> Response:
    """The gateway's OpenAPI description."""
    return Response(dumps(openapi_document()), media_type="application/json")


async def _healthz(_: Request) -> Response:
    """The process is running."""
    return Response(b'{"status":"ok"}', media_type="application/json")


def _readyz(service: Service) -> Callable[[Request], Awaitable[Response]]:
    """Whether the gateway accepts requests: not while it drains."""

    async def readyz(_: Request) -> Response:
        if service.draining:
            return Response(b'{"status":"draining"}', 503, media_type="application/json")
        return Response(b'{"status":"ready"}', media_type="application/json")

    return readyz


class _ErrorBoundary:
    """Wraps all routes: checks heads, answers unknown paths and rejected requests in OpenAI's format, and ignores lifespan messages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        scope["path"], scope[MODEL_IN_PATH] = routed_path(path), model_in_path(path)
        scope["app"] = self  # makes the router raise for an unknown path, rather than answer in plain text
        try:
            check_head(scope["http_version"], scope["headers"])
            await self._app(scope, receive, send)
        except Rejected as rejected:
            await error_response(rejected.error)(scope, receive, send)
        except HTTPException as error:
            allowed = dict(error.headers or {}).get("Allow")
            code = "not_found" if allowed is None else "method_not_allowed"
            message = f"{scope['method']} {path}: {error.detail.lower()}"
            advice = advice_for(path) if allowed is None else f"Use {allowed}."
            response = error_response(HttpError(status=error.status_code, code=code, message=message, advice=advice))
            if allowed is not None:
                response.headers["allow"] = allowed
            await response(scope, receive, send)
