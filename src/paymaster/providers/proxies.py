"""The proxy that the environment sets for a host; knows no HTTP client."""

import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from paymaster.providers.transport import ExchangeBroken, ExchangeFault


@dataclass(frozen=True, slots=True)
class Proxy:
    """The address of a proxy and its login, which is never shown."""

    host: str
    port: int
    login: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address, without the login."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers with the login, for a request through the proxy."""
        if self.login is None:
            return {}
        return {"Proxy-Authorization": f"Basic {b64encode(':'.join(self.login).encode()).decode('ascii')}"}


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """The proxy for a host by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (or the system's settings); None: connect directly.

    Raises ValueError for a proxy with another scheme than http://, or with an address that is none.
    """
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    address = proxies.get(scheme) or proxies.get("all")
    if not address:
        return None
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host_name, port = parts.hostname, parts.port
    except ValueError:  # its message may have a part of the password
        raise ValueError(f"the proxy for {scheme}:// has an invalid address; write special characters of a password as %XX") from None
    if parts.scheme != "http" or not host_name:
        raise ValueError(f"the proxy for {scheme}:// must be an http:// address, not {parts.scheme}://")
    login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return Proxy(host_name, port or 80, login)


class ProxyTable:
    """The proxy of each host, looked up once: a look-up for every request would double the time of a short call."""

    __slots__ = ("_proxies",)

    def __init__(self) -> None:
        self._proxies: dict[tuple[str, str], Proxy | None] = {}

    def proxy_for(self, scheme: str, host: str) -> Proxy | None:
        """The proxy for a host; None: connect directly. Raises ExchangeBroken if it is no HTTP proxy."""
        if (scheme, host) not in self._proxies:
            try:
                self._proxies[scheme, host] = proxy_for(scheme, host)
            except ValueError as error:
                raise ExchangeBroken(ExchangeFault.REFUSED, str(error)) from error
        return self._proxies[scheme, host]
