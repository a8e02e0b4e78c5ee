"""Where the ledger under torture is: what kind a URL means, what stands between it and the workers, and the servers started for it."""

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from paymaster.errors import UsageMistake
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.urls import open_ledger
from paymaster.runtime import BlockingRuntime
from paymaster.torture.plans import LedgerKind, Plan
from paymaster.torture.servers import PrivateServer
from paymaster.torture.tcp_proxy import Link

PRIVATE = "redis"
"""The word for a server that is started for the run."""

_WORKERS_PATIENCE_MS = 1_500
"""How long a worker tries to reach a server: shorter than the longest disturbance, so that settlements fail as well."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger's own URL, the one that the workers use, and what can be disturbed: the wire to it, the server itself."""

    url: str
    worker_url: str
    link: Link | None = None
    server: PrivateServer | None = None


def kind_of_ledger(url: str) -> LedgerKind:
    """What kind of ledger is meant; an empty URL is a file. Raises UsageMistake (LedgerUnusable) for none."""
    if url in ("", "sqlite:"):
        return LedgerKind.FILE
    if url == PRIVATE:
        return LedgerKind.PRIVATE_SERVER
    scheme = url.partition(":")[0].lower()
    open_ledger(url, BlockingRuntime().sleep)  # opens nothing yet: it only reads the URL
    match scheme:
        case "memory":
            return LedgerKind.MEMORY
        case "sqlite":
            raise UsageMistake(
                "a file of yours is not tortured: it would be left with the run's calls in it",
                advice="Write --ledger sqlite: (the default) for a file that is removed afterwards.",
            )
        case "redis":
            return LedgerKind.SERVER
        case _:
            return LedgerKind.SERVERS


def without_password(url: str) -> str:
    """A URL that may be shown."""
    scheme, slashes, rest = url.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


@contextlib.contextmanager
def kept(plan: Plan, url: str, folder: Path, host: str) -> Iterator[Ledger]:
    """The ledger of one run: a new file, a new server, or a name of its own on a server that runs. `host` is where a link listens."""
    with contextlib.ExitStack() as stack:
        match plan.load.ledger_kind:
            case LedgerKind.FILE:
                file = f"sqlite://{(folder / 'disk' / 'ledger.sqlite3').absolute()}"
                yield Ledger(file, file)
            case LedgerKind.PRIVATE_SERVER:
                server = stack.enter_context(PrivateServer(folder))
                link = stack.enter_context(Link(("127.0.0.1", server.port), host))
                own = f"redis://127.0.0.1:{server.port}"
                yield Ledger(own, f"redis://{host}:{link.port}?timeout_ms={_WORKERS_PATIENCE_MS}", link, server)
            case LedgerKind.SERVER:
                named = _named(url)
                parts = urlsplit(named)
                link = stack.enter_context(Link(read_address(url).hosts[0], host))
                credentials = parts.netloc.rpartition("@")[0]
                place = f"{credentials}@{host}:{link.port}" if credentials else f"{host}:{link.port}"
                yield Ledger(named, urlunsplit(parts._replace(netloc=place)), link)
                _forget(named)
            case _:
                named = _named(url)
                yield Ledger(named, named)


def _named(url: str) -> str:
    """The same server, and a name that nobody else uses: the run's keys stand apart from every other ledger's."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query)) | {"name": f"torture-{secrets.token_hex(4)}", "timeout_ms": str(_WORKERS_PATIENCE_MS)}
    return urlunsplit(parts._replace(query=urlencode(options)))


def _forget(url: str) -> None:
    """Remove the run's keys from a server that lives on."""
    import redis

    address = read_address(url)
    host, port = address.hosts[0]
    with contextlib.closing(redis.Redis(host=host, port=port, db=address.db, username=address.user, password=address.password)) as client:
        for key in client.scan_iter(match=f"{address.state_key.removesuffix('state')}*"):
            client.delete(key)
