"""Who may see the dashboard: programs send a key as for calls, a browser by its password prompt; knows headers, and no page."""

import base64
import binascii
from collections.abc import Mapping

from starlette.types import Scope

from paymaster.gateway.auth import Key
from paymaster.gateway.endpoint import identify
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import read_headers
from paymaster.gateway.service import Service
from paymaster.views.visibility import Reader

BASIC_CHALLENGE = 'Basic realm="Paymaster (any name; the password is a key of the gateway)", charset="UTF-8"'
"""Every browser and screen reader has a password prompt. Without a cookie or a login page, other sites have nothing to abuse."""


def reader_of(service: Service, scope: Scope) -> Reader:
    """The reader of a request. A key shows only its user's calls and budgets, an operator's key those of all. Raises Rejected."""
    headers = read_headers(scope["headers"])
    secret = _password(headers)
    if secret is not None and service.access.needs_key():
        key = service.access.find_key(secret)
        if key is None:
            advice = "Ask the gateway's operator for a key."
            raise Rejected(HttpError(status=401, code="invalid_api_key", message="this key is unknown or was revoked", advice=advice))
    else:
        key = identify(service, headers, scope.get("client")).key
    return reader_for(service, key)


def reader_for(service: Service, key: Key | None) -> Reader:
    """What somebody with this key may see; without a key the server has none, and everybody who gets this far sees everything."""
    if key is None or key.operator:
        return Reader()
    user = key.user or ""
    return Reader(user=user, keys=service.access.keys_of(user) | {key.id}, models=frozenset(key.models) or None)


def check_operator(service: Service, scope: Scope) -> None:
    """For pages with everybody's figures: with keys they need an operator's. Raises Rejected."""
    if reader_of(service, scope).user is not None:
        message = f"{scope['path']} has the figures of all users, and this key belongs to one"
        advice = "Use an operator's key: `paymaster keys create --operator`."
        raise Rejected(HttpError(status=403, code="forbidden", message=message, advice=advice))


def _password(headers: Mapping[str, str]) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(token.strip(), validate=True).decode().partition(":")[2] or None
    except (binascii.Error, UnicodeDecodeError):
        return None
