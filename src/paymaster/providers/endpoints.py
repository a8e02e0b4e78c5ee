"""Builds requests to a model's endpoint: URL, headers, body; pure, knows no HTTP client and no answer."""

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import orjson

from paymaster.flow.ports import ProviderCall
from paymaster.operations import Operation
from paymaster.providers.error_bodies import shown_message
from paymaster.providers.transport import HttpRequest
from paymaster.providers.wire_formats import JOINED_HEADERS, WIRE_FORMATS
from paymaster.registry.models import Dialect, Model
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
    passed = joined(call.headers, WIRE_FORMATS[call.model.dialect].body_headers(call.body))
    if unfit := [name for name, value in passed.items() if not _HEADER_VALUE.fullmatch(value)]:
        return _unsent(FailureKind.BAD_REQUEST, f"the request's {unfit[0]} can't be sent: HTTP can't carry its value")
    headers = request_headers(call.model, call.key, user_agent, passed)
    if isinstance(headers, Failure):
        return headers
    payload = WIRE_FORMATS[call.model.dialect].payload(call.body, call.model, stream=stream)
    try:
        body = _json_bytes(payload)
    except (TypeError, ValueError, RecursionError) as error:
        secrets = (call.key,) if call.key else ()
        return _unsent(FailureKind.BAD_REQUEST, f"the request can't be written as JSON: {shown_message(str(error), secrets)}")
    return HttpRequest(url, body, headers)


def endpoint_url(model: Model, operation: Operation) -> str | Failure:
    """The URL of an operation. With an API version it is Azure's classic form: deployment in the path, version in the query."""
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
        if model.dialect is Dialect.RESPONSES and not _UNVERSIONED.search(path):
            path = f"{path.removesuffix('/openai')}/openai"  # the body names the deployment
        elif not _UNVERSIONED.search(path):
            path = f"{path.removesuffix('/openai')}/openai/deployments/{quote(model.model_id, safe='')}"
        query = f"{query}&api-version={quote(model.api_version, safe='')}".removeprefix("&")
    last = WIRE_FORMATS[model.dialect].path(operation)
    return f"{parts.scheme}://{parts.netloc}{path}/{last}" + (f"?{query}" if query else "")


def below(url: str, path: str, query: str) -> str:
    """The URL of something below an operation's: the query joins its own."""
    parts = urlsplit(url)
    joined_query = "&".join(part for part in (parts.query, query) if part)
    return f"{parts.scheme}://{parts.netloc}{parts.path}/{path}" + (f"?{joined_query}" if joined_query else "")


def request_headers(model: Model, key: str | None, user_agent: str, passed: Mapping[str, str] | None = None) -> dict[str, str] | Failure:
    """Content type, authorization, the client's headers that go on, and the registry's extra headers, which win."""
    form = WIRE_FORMATS[model.dialect]
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "User-Agent": user_agent}
    if key:
        if not _KEY.fullmatch(key):
            return _unsent(
                FailureKind.AUTHENTICATION,
                f"the key of model {model.name!r} contains an invalid character (a space or a line break at its end?)",
            )
        headers |= form.key_headers(model, key)
    headers |= {**form.fixed_headers(), **(passed or {})}
    for name, value in model.extra_headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return _unsent(FailureKind.BAD_REQUEST, f"extra_headers of model {model.name!r}: HTTP can't carry {name!r}")
        headers = joined(headers, {name: value})
    return headers


def joined(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """The headers with more of them, which win. Those that list names have the names of both."""
    result = dict(headers)
    for name, value in more.items():
        before = [result.pop(given) for given in list(result) if given.lower() == name.lower()]
        if name.lower() in JOINED_HEADERS:
            names = [item.strip() for text in (*before, value) for item in text.split(",")]
            result[name] = ",".join(dict.fromkeys(item for item in names if item))
        else:
            result[name] = value
    return result


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
