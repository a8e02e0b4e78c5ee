"""Who asks, read from a request's headers: the key it shows and the scope it names; nothing of these headers goes any further."""

import hmac
import ipaddress
import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from urllib.parse import urlsplit

from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import Headers, invalid
from paymaster.registry.models import Budget, Limits
from paymaster.scope import Scope

PREFIX = "x-paymaster-"
_TAG = "tag-"
_NAMES = ("run", "batch", "instance", "user", "role")
_LONGEST_NAME = 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the gateway: who it belongs to, what it may spend, how fast, on which models (none: on all). `digest` is its SHA-256.

    `operator` says that whoever shows it may look at everybody's calls and budgets, not at this user's alone.
    """

    id: str
    user: str | None
    digest: str = field(repr=False)
    budgets: tuple[Budget, ...] = ()
    limits: Limits = field(default_factory=Limits)
    models: tuple[str, ...] = ()
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `deadline_ms` is a duration; `key` is None where the server has no keys."""

    scope: Scope
    key: Key | None = None
    deadline_ms: int | None = None


def read_caller(headers: Headers, key: Key | None, default_scope: Scope) -> Caller:
    """The caller by its key and its `x-paymaster-…` headers, over the server's usual scope. Raises Refused."""
    given: dict[str, str] = {}
    tags: dict[str, str] = {}
    deadline_ms = None
    for name, value in headers.items():
        if not name.startswith(PREFIX):
            continue
        word = name.removeprefix(PREFIX)
        if word == "deadline":
            deadline_ms = _deadline_ms(value)
        elif word in _NAMES:
            given[word] = _text(name, value)
        elif word.startswith(_TAG) and len(word) > len(_TAG):
            tags[word.removeprefix(_TAG)] = _text(name, value)
    if not (given or tags or key):
        return Caller(default_scope, None, deadline_ms)
    own_user = None if key is None else key.user
    if own_user is not None and given.get("user", own_user) != own_user:
        raise Rejected(
            _forbidden(f"this key belongs to {own_user}: x-paymaster-user can't name another", "Leave the header out, or use a tag.")
        )
    scope = replace(
        default_scope,
        run=given.get("run", default_scope.run),
        batch=given.get("batch", default_scope.batch),
        instance=given.get("instance", default_scope.instance),
        user=own_user or given.get("user", default_scope.user),
        role=given.get("role", default_scope.role),
        tags={**default_scope.tags, **tags} if tags else default_scope.tags,
        key=None if key is None else key.id,
    )
    return Caller(scope, key, deadline_ms)


def shown_secret(headers: Headers) -> str:
    """The key that a request shows, by any of the names that clients use; empty where it shows none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "") or headers.get("api-key", "")


def digest_of(secret: str) -> str:
    """What is kept of a key. It has 256 random bits, so that one round of SHA-256 is as good as many."""
    return sha256(secret.encode()).hexdigest()


def matches(secret: str, digest: str) -> bool:
    """Whether this is the key, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(digest_of(secret), digest)


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine alone."""
    if host in ("127.0.0.1", "localhost"):  # nearly always
        return True
    bare = host.strip("[]").partition("%")[0]
    if bare.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def check_local(headers: Headers, peer: tuple[str, int] | None) -> None:
    """Without keys, being on this machine is the proof: a web page that a browser here shows is not. Raises Refused (403)."""
    origin, host = headers.get("origin"), _name_in(f"//{headers.get('host', '')}")
    local = peer is None or is_loopback(peer[0])
    if not local or (origin and not is_loopback(_name_in(origin))) or (host and not is_loopback(host)):
        raise Rejected(
            _forbidden("this server has no keys and answers programs on its own machine only", "`paymaster keys create` makes a key.")
        )


def _name_in(url: str) -> str:
    """The host in a URL; a text that is none where there is no telling."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return "?"


def _deadline_ms(value: str) -> int:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86_400:
        raise Rejected(invalid("x-paymaster-deadline must be seconds, more than 0 and at most 86400", "x-paymaster-deadline"))
    return max(1, int(seconds * 1000))


def _text(name: str, value: str) -> str:
    text = value.encode("latin-1").decode("utf-8", "replace").strip()
    if not text or len(text) > _LONGEST_NAME or _UNPRINTABLE.search(text):
        raise Rejected(invalid(f"{name} must be a text of 1 to {_LONGEST_NAME} characters", name))
    return text


def _forbidden(message: str, advice: str) -> HttpError:
    return HttpError(status=403, code="forbidden", message=message, advice=advice)
