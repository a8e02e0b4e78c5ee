"""Where a model's endpoint is and what a request to it looks like; pure, knows no HTTP client and no answer."""

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
    """The request to send, or why there is none: an address, header or key that HTTP can't carry, a payload that is no JSON."""
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
        return _unsent(FailureKind.BAD_REQUEST, f"the request cannot be written as JSON: {shown_message(str(error), secrets)}")
    return HttpRequest(url, body, headers)


def endpoint_url(model: Model, operation: Operation) -> str | Failure:
    """The address of what is asked for. With an API version it is Azure's classic one: deployment in the path, version in the query.

    Text completions are asked for as chat.
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
            FailureKind.AUTHENTICATION, f"the base_url of model {model.name!r} holds a user name or password: put the key into api_key_env"
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
    """Content type, authorization and the registry's own headers, which win."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "User-Agent": user_agent}
    if key:
        if not _KEY.fullmatch(key):
            return _unsent(
                FailureKind.AUTHENTICATION,
                f"the key of model {model.name!r} has characters that no key has (a space or a line break at its end?)",
            )
        # Azure's classic API takes a key under this name only; everyone else, its unversioned API included, takes a bearer.
        headers |= {"api-key": key} if model.api_version else {"Authorization": f"Bearer {key}"}
    for name, value in model.extra_headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return _unsent(FailureKind.BAD_REQUEST, f"extra_headers of model {model.name!r}: {name!r} is no header that HTTP can carry")
        headers = {given: kept for given, kept in headers.items() if given.lower() != name.lower()} | {name: value}
    return headers


def request_payload(body: JsonObject, model: Model, *, stream: bool) -> dict[str, object]:
    """The body with its stream fields set: a stream is asked for its usage, unless the endpoint refuses that parameter."""
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
        # What an agent read from a terminal may hold half characters (lone surrogates), and numbers may be longer than 64 bits.
        return json.dumps(payload, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _unsent(kind: FailureKind, message: str) -> Failure:
    return Failure(kind, Billed.NO, message)
