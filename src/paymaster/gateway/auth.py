"""Who is calling, read from a request's headers: its key and its scope; these headers are passed on to no provider."""

import hmac
import ipaddress
import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from urllib.parse import urlsplit

from paymaster.errors import RequestInvalid
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import Headers, invalid
from paymaster.registry.models import Budget, Limits, StreamRecovery
from paymaster.routing.recovery import read_stream_recovery
from paymaster.scope import Scope

PREFIX = "x-paymaster-"
_TAG = "tag-"
_SCOPE_NAMES = ("run", "batch", "instance", "user", "role")
OWN_NAMES = frozenset({"run", "batch", "instance"})
"""What is its user's own if a caller with a key names it. The server's own run is everybody's: its budget holds for all callers."""
_LONGEST_S = 86_400.0
_MAX_TEXT = 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One client key: its user, budgets, limits and models (none: all models). `digest` is its SHA-256.

    With `operator`, the dashboard shows the calls and budgets of all users, not only of this one. With `pinned`, all calls belong to the
    server's own run and batch, so that their budgets hold for them.
    """

    id: str
    user: str | None
    digest: str = field(repr=False)
    budgets: tuple[Budget, ...] = ()
    limits: Limits = field(default_factory=Limits)
    models: tuple[str, ...] = ()
    operator: bool = False
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and how. `deadline_ms` and `max_wait_ms` are durations; `key` is None if the server has no keys."""

    scope: Scope
    key: Key | None = None
    deadline_ms: int | None = None
    max_wait_ms: int | None = None
    stream_recovery: StreamRecovery | None = None


def read_caller(headers: Headers, key: Key | None, default_scope: Scope) -> Caller:
    """The caller from its key and its `x-paymaster-…` headers, over the server's default scope. Raises Rejected."""
    names: dict[str, str] = {}
    tags: dict[str, str] = {}
    deadline_ms = max_wait_ms = stream_recovery = None
    for name, value in headers.items():
        if not name.startswith(PREFIX):
            continue
        suffix = name.removeprefix(PREFIX)
        if suffix == "deadline":
            deadline_ms = max(1, _duration_ms(name, value, "more than 0", above_s=0.0))
        elif suffix == "max-wait":
            max_wait_ms = _duration_ms(name, value, "0 or more")
        elif suffix == "stream-recovery":
            stream_recovery = _stream_recovery(name, value)
        elif suffix in _SCOPE_NAMES:
            names[suffix] = _text(name, value)
        elif suffix.startswith(_TAG) and len(suffix) > len(_TAG):
            tags[suffix.removeprefix(_TAG)] = _text(name, value)
    if not (names or tags or key):
        return Caller(default_scope, None, deadline_ms, max_wait_ms, stream_recovery)
    own_user = None if key is None else key.user
    if own_user is not None and names.get("user", own_user) != own_user:
        raise Rejected(
            _forbidden(f"this key belongs to {own_user}: x-paymaster-user can't name another user", "Omit the header, or use a tag.")
        )
    if key is not None and key.pinned:
        _check_pinned(names, default_scope)
    scope = replace(
        default_scope,
        run=names.get("run", default_scope.run),
        batch=names.get("batch", default_scope.batch),
        instance=names.get("instance", default_scope.instance),
        user=own_user or names.get("user", default_scope.user),
        role=names.get("role", default_scope.role),
        tags={**default_scope.tags, **tags} if tags else default_scope.tags,
        key=None if key is None else key.id,
        own_names=frozenset() if own_user is None else frozenset(names.keys() & OWN_NAMES),
    )
    return Caller(scope, key, deadline_ms, max_wait_ms, stream_recovery)


def _check_pinned(names: dict[str, str], default_scope: Scope) -> None:
    """Raise Rejected (403) for another run or batch than the server's: each would have a budget of its own."""
    for name, own in (("run", default_scope.run), ("batch", default_scope.batch)):
        if names.get(name, own) != own:
            message = f"every call here belongs to the {name} {own}" if own else f"no call here belongs to a {name}"
            raise Rejected(_forbidden(f"{message}: x-paymaster-{name} can't name another", "Omit the header, or use a tag."))


KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-litellm-api-key")
"""Where clients show a key, the first that has one counts: those of OpenAI, Anthropic, Azure and LiteLLM."""


def shown_secret(headers: Headers) -> str:
    """The key in a request, by any of the header names that clients use; empty if it has none."""
    for name in KEY_HEADERS:
        kind, _, token = headers.get(name, "").strip().partition(" ")
        if token.strip() and kind.lower() == "bearer":
            return token.strip()
        if kind and not token and name != "authorization":
            return kind
    return ""


def digest_of(secret: str) -> str:
    """What is kept of a key. A key has 256 random bits, so one round of SHA-256 is as good as many."""
    return sha256(secret.encode()).hexdigest()


def matches(secret: str, digest: str) -> bool:
    """Whether this is the key, compared in constant time."""
    return hmac.compare_digest(digest_of(secret), digest)


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's loopback."""
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
    """Without keys, accept only programs on this machine, and no web page in a browser on it. Raises Rejected (403)."""
    origin, host = headers.get("origin"), _host_in(f"//{headers.get('host', '')}")
    local = peer is None or is_loopback(peer[0])
    if not local or (origin and not is_loopback(_host_in(origin))) or (host and not is_loopback(host)):
        raise Rejected(
            _forbidden("this server has no keys and only answers programs on its own machine", "`paymaster keys create` creates a key.")
        )


def _host_in(url: str) -> str:
    """The host in a URL; `?` for a URL that can't be parsed."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return "?"


def _duration_ms(name: str, value: str, least: str, *, above_s: float = -1.0) -> int:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not (max(0.0, above_s) <= seconds <= _LONGEST_S and seconds > above_s):
        raise Rejected(invalid(f"{name} must be seconds, {least} and at most {_LONGEST_S:,.0f}", name))
    return int(seconds * 1000)


def _stream_recovery(name: str, value: str) -> StreamRecovery | None:
    try:
        return read_stream_recovery(name, value)
    except RequestInvalid as error:
        raise Rejected(invalid(error.message, name)) from None


def _text(name: str, value: str) -> str:
    text = value.encode("latin-1").decode("utf-8", "replace").strip()
    if not text or len(text) > _MAX_TEXT or _UNPRINTABLE.search(text):
        raise Rejected(invalid(f"{name} must be a text of 1 to {_MAX_TEXT} characters", name))
    return text


def _forbidden(message: str, advice: str) -> HttpError:
    return HttpError(status=403, code="forbidden", message=message, advice=advice)
