"""Writes requests in HTTP/1.1, and refuses what HTTP can't carry; pure, knows no connection and no answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest

_ACCEPTED_ENCODINGS = "gzip, deflate"
_FRAMING = frozenset({"content-length", "transfer-encoding"})
"""What the request's own body decides: a caller's header can't state otherwise."""

_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)+")
_METHOD = re.compile(r"[A-Z]+")
_TARGET = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: an address, what its Host header has, and the path with the query."""

    secure: bool
    host: str
    port: int
    authority: str
    path: str

    @property
    def scheme(self) -> str:
        """As it is in a URL."""
        return "https" if self.secure else "http"

    @property
    def origin(self) -> tuple[bool, str, int]:
        """Requests of one origin share connections."""
        return self.secure, self.host, self.port


def read_url(url: str) -> Target:
    """The target of a URL. Raises ExchangeBroken (REFUSED) if HTTP can't carry it."""
    try:
        parts = urlsplit(url)
        host = _ascii_host(parts.hostname or "")
        port = parts.port
    except ValueError as error:  # UnicodeError is one
        raise ExchangeBroken(ExchangeFault.REFUSED, f"the URL is invalid: {error}") from error
    secure = parts.scheme == "https"
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    # `urlsplit` removes line ends, so they are looked for in what it was given.
    if parts.scheme not in {"http", "https"} or not host or port == 0 or not _TARGET.fullmatch(url.replace(parts.netloc, host, 1)):
        raise ExchangeBroken(ExchangeFault.REFUSED, "the URL is invalid: HTTP can't carry it")
    shown = f"[{host}]" if ":" in host else host
    usual = 443 if secure else 80
    return Target(secure, host, port or usual, shown if port in {None, usual} else f"{shown}:{port}", path)


def write_head(request: HttpRequest, target: Target, *, through: Mapping[str, str] | None = None) -> bytes:
    """The head of a request. `through` has the headers for a proxy that the request is sent to, in place of its target.

    Raises ExchangeBroken (REFUSED) if HTTP can't carry the method or a header.
    """
    fields = {"host": f"Host: {target.authority}", "accept-encoding": f"Accept-Encoding: {_ACCEPTED_ENCODINGS}"}
    for headers in (request.headers, through or {}):
        for name, value in headers.items():
            fields[name.lower()] = f"{name}: {value}"
    for name in _FRAMING & fields.keys():
        del fields[name]
    if request.body or request.method == "POST":
        fields["content-length"] = f"Content-Length: {len(request.body)}"
    text = "\r\n".join(fields.values()) + "\r\n"
    # A line end inside of a value would pass as one header more, a colon in a name as another header.
    is_odd = text.count("\r\n") != len(fields) or ":" in "".join(fields)
    if is_odd or not _FIELDS.fullmatch(text) or not _METHOD.fullmatch(request.method):
        raise ExchangeBroken(ExchangeFault.REFUSED, "a header of the request is invalid: HTTP can't carry it")
    path = target.path if through is None else f"http://{target.authority}{target.path}"
    return f"{request.method} {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def _ascii_host(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode("ascii")
