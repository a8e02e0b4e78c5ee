"""The parts of a Redis URL: servers, user, options and the ledger's name there; opens no connection."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from paymaster.errors import LedgerUnusable

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
FORMS = (
    "Write redis://[user:password@]host:6379/0, rediss://… (TLS), unix:///path/redis.sock, "
    "redis+sentinel://host:26379,host2:26379/service/0 or redis+cluster://host:6379,host2:6379; ?name=… names one of several ledgers."
)
OPTIONS = frozenset(
    {"name", "db", "keep_days", "timeout_ms", "ca", "sentinel_user", "sentinel_password", "wait_replicas", "wait_aof", "wait_ms"}
)
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_PORTS = {"sentinel": 26379}
_MOST_DIGITS = 9
_MS_PER_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Address:
    """One ledger on one server, or on one group of servers.

    `kind` is "server", "socket", "sentinel" or "cluster". `keep_ms` is how long the journal keeps a record (None: for good), `patience_ms`
    how long a call tries to reach the server. What is written counts as written when `wait_replicas` replicas have it and, with
    `wait_aof`, it is on the server's disk; each is waited for up to `wait_ms`.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...]
    path: str = ""
    service: str = ""
    db: int = 0
    name: str = "default"
    tls: bool = False
    ca_file: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    keep_ms: int | None = None
    patience_ms: int = 5_000
    wait_replicas: int = 0
    wait_aof: bool = False
    wait_ms: int = 1_000

    @property
    def label(self) -> str:
        """Where it is, without user and password."""
        if self.kind == "socket":
            return f"unix://{self.path}"
        scheme = ("rediss" if self.tls else "redis") + ("" if self.kind == "server" else f"+{self.kind}")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{scheme}://{hosts}" + (f"/{self.service}" if self.service else "")

    @property
    def location(self) -> str:
        """Where it is, and which of the ledgers there, as a URL without user and password."""
        query = [f"db={self.db}"] if self.db and self.kind == "socket" else []
        query += [f"name={self.name}"] if self.name != "default" else []
        path = f"/{self.db}" if self.db and self.kind != "socket" else ""
        return f"{self.label}{path}" + (f"?{'&'.join(query)}" if query else "")

    @property
    def state_key(self) -> str:
        """The key that every script is given; the ledger's other keys share its hash tag."""
        return f"{{paymaster:{self.name}}}:state"

    @property
    def absent_key(self) -> str:
        """A key that no ledger has, which every script is given too.

        A slot that a cluster is moving lacks it, so neither node runs a script there while some keys are at the other: a script that
        did would take them for missing, or end half done.
        """
        return f"{{paymaster:{self.name}}}:absent"


def read_address(url: str) -> Address:
    """The address a URL names.

    Raises:
        LedgerUnusable: the URL is malformed or names an option that does not exist. The message has no password.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _malformed("it can't be parsed") from error
    scheme, _, kind = parts.scheme.partition("+")
    kind = kind or ("socket" if scheme == "unix" else "server")
    options = _options(parts.query)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    service, db = _path(kind, parts.path, options)
    wait_replicas, wait_aof = (_whole(options.get(name, "0"), name, 0) for name in ("wait_replicas", "wait_aof"))
    if kind == "cluster" and (wait_replicas or wait_aof):
        raise _malformed("wait_replicas and wait_aof are not known for a cluster; there, set appendfsync always")
    return Address(
        kind=kind,
        hosts=() if kind == "socket" else tuple(_host(host, _PORTS.get(kind, 6379)) for host in hosts.split(",")),
        path=unquote(hosts + parts.path) if kind == "socket" else "",
        service=service,
        db=db,
        name=_name(options.get("name", "default")),
        tls=scheme == "rediss",
        ca_file=options.get("ca"),
        user=unquote(user) or None,
        password=unquote(password) or None,
        sentinel_user=options.get("sentinel_user"),
        sentinel_password=options.get("sentinel_password"),
        keep_ms=_whole(options["keep_days"], "keep_days", 1) * _MS_PER_DAY if "keep_days" in options else None,
        patience_ms=_whole(options.get("timeout_ms", "5000"), "timeout_ms", 1),
        wait_replicas=wait_replicas,
        wait_aof=bool(wait_aof),
        wait_ms=_whole(options.get("wait_ms", "1000"), "wait_ms", 1),
    )


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - OPTIONS):
        raise _malformed(f"there is no option {unknown[0]!r}; known are {', '.join(sorted(OPTIONS))}")
    return options


def _path(kind: str, path: str, options: dict[str, str]) -> tuple[str, int]:
    """The service of a Sentinel, and the number of the database."""
    steps = [] if kind == "socket" else [unquote(step) for step in path.strip("/").split("/") if step]
    service = ""
    if kind == "sentinel":
        if not steps:
            raise _malformed("a Sentinel URL names the service it watches")
        service = steps.pop(0)
    if kind == "socket" and not path.strip("/"):
        raise _malformed("it names no socket")
    if len(steps) > 1:
        raise _malformed("its path has too many parts")
    db = _whole(steps[0] if steps else options.get("db", "0"), "the database", 0)
    if kind == "cluster" and db:
        raise _malformed("a cluster has database 0 only")
    return service, db


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _malformed("a port is a number up to 65535") from error
    if host is None:
        raise _malformed("it names no host")
    return host, port or default_port


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _malformed("a ledger's name has up to 100 letters, digits, dots, colons, dashes and underscores")
    return name


def _whole(text: str, what: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS or int(text) < least:
        raise _malformed(f"{what} is a whole number from {least} to {10**_MOST_DIGITS - 1:,}")
    return int(text)


def _malformed(reason: str) -> LedgerUnusable:
    return LedgerUnusable(f"The Redis URL of the ledger is wrong: {reason}.", advice=FORMS)
