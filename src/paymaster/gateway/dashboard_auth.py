"""Who may look: programs show a key as anywhere else, a browser by HTTP's own question for a password; knows headers, and no page."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope

from paymaster.gateway.auth import Key
from paymaster.gateway.endpoint import identify
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import read_headers
from paymaster.gateway.service import Service

ASK = 'Basic realm="Paymaster (any name; the password is a key of the gateway)", charset="UTF-8"'
"""No cookie and no page for it: every browser and screen reader knows how to ask, and there is nothing that another site could ride on."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. `user` is None for somebody who sees everything."""

    user: str | None


def viewer_of(service: Service, scope: Scope) -> Viewer:
    """The viewer of a request. A key shows its user's calls and budgets alone, an operator's everybody's. Raises Refused (401, 403)."""
    read = read_headers(scope["headers"])
    secret = _password(read)
    if secret is not None and service.access.needs_key():
        key = service.access.find_key(secret)
        if key is None:
            message = "this key is not known here, or was revoked"
            raise Rejected(
                HttpError(status=401, code="invalid_api_key", message=message, advice="Ask whoever runs this gateway for a key.")
            )
    else:
        key = identify(service, read, scope.get("client")).key
    return Viewer(_user(key))


def _user(key: Key | None) -> str | None:
    return None if key is None or key.operator else key.user


def _password(headers: Mapping[str, str]) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(token.strip(), validate=True).decode().partition(":")[2] or None
    except (binascii.Error, UnicodeDecodeError):
        return None
