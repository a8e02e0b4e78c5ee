"""Builds requests to a model's endpoint: URL, headers, body; pure, knows no HTTP client and no answer."""

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import orjson

from paymaster.flow.ports import ProviderCall
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.providers.error_bodies import shown_message
from paymaster.providers.transport import HttpRequest
from paymaster.registry.models import Model
from paymaster.routing.failures import Billed, Failure, FailureKind

_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEY = re.compile(r"[\x21-\x7e]+")
_URL_CHARS = "/%!$&'()*+,;=:@~?"
_UNVERSIONED = re.compile(r"/v1$|/deployments/")


def prepare(call: ProviderCall, url: str | Failure, *, stream: bool, user_agent: str) -> HttpRequest | Failure:
    """The request to send, or a failure: HTTP can't carry its URL, a header or the key, or its payload can't be JSON."""
    if isinstance(url, Failure):
        return url
    headers = request_headers(call.model, call.key, user_agent)
    if isinstance(headers, Failure):
        return headers
    payload = request_payload(call.body, call.model, stream=stream)
    try:
        body = _json_bytes(payload)
    except (TypeError, ValueError, RecursionError) as error:
        secrets = (call.key,) if call.key else ()
        return _unsent(FailureKind.BAD_REQUEST, f"the request can't be written as JSON: {shown_message(str(error), secrets)}")
    return HttpRequest(url, body, headers)


def endpoint_url(model: Model, operation: Operation) -> str | Failure:
    """The URL of an operation. With an API version it is Azure's classic form: deployment in the path, version in the query.

    Text completions use the chat endpoint.
    """
    base = model.base_url or ""
    try:
        parts = urlsplit(base)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable:
        return _unsent(FailureKind.UNKNOWN_MODEL, f"model {model.name!r} has no http:// or https:// base_url")
    if parts.username is not None or parts.password is not None:
        return _unsent(
            FailureKind.AUTHENTICATION,
            f"the base_url of model {model.name!r} contains a user name or password: use api_key_env",
        )
    path = quote(parts.path.rstrip("/"), safe=_URL_CHARS)
    query = quote(parts.query, safe=_URL_CHARS)
    if model.api_version:
        if not _UNVERSIONED.search(path):
            path = f"{path.removesuffix('/openai')}/openai/deployments/{quote(model.model_id, safe='')}"
        query = f"{query}&api-version={quote(model.api_version, safe='')}".removeprefix("&")
    last = "embeddings" if operation is Operation.EMBEDDINGS else "chat/completions"
    return f"{parts.scheme}://{parts.netloc}{path}/{last}" + (f"?{query}" if query else "")


def request_headers(model: Model, key: str | None, user_agent: str) -> dict[str, str] | Failure:
    """Content type, authorization, and the registry's extra headers, which win."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "User-Agent": user_agent}
    if key:
        if not _KEY.fullmatch(key):
            return _unsent(
                FailureKind.AUTHENTICATION,
                f"the key of model {model.name!r} contains an invalid character (a space or a line break at its end?)",
            )
        # Azure's classic API takes the key only in this header; all others, and its unversioned API, take a bearer token.
        headers |= {"api-key": key} if model.api_version else {"Authorization": f"Bearer {key}"}
    for name, value in model.extra_headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return _unsent(FailureKind.BAD_REQUEST, f"extra_headers of model {model.name!r}: HTTP can't carry {name!r}")
        headers = {given: kept for given, kept in headers.items() if given.lower() != name.lower()} | {name: value}
    return headers


def request_payload(body: JsonObject, model: Model, *, stream: bool) -> dict[str, object]:
    """The body with its stream fields. A stream requests usage, unless the endpoint rejects that parameter."""
    payload = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
    if not stream:
        return payload
    payload["stream"] = True
    if "stream_options" not in model.unsupported_params:
        given = body.get("stream_options")
        payload["stream_options"] = {**(given if isinstance(given, Mapping) else {}), "include_usage": True}
    return payload


def _json_bytes(payload: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(payload, default=_plain)
    except orjson.JSONEncodeError:
        # Text from a terminal may contain lone surrogates, and numbers may exceed 64 bits.
        return json.dumps(payload, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} can't be JSON")


def _unsent(kind: FailureKind, message: str) -> Failure:
    return Failure(kind, Billed.NO, message)
