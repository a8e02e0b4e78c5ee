"""Opens the ledger of a run: reads what kind a URL names, starts servers, and puts a proxy between ledger and workers."""

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
from paymaster.torture.faults import LedgerKind
from paymaster.torture.losses import LosableFile, LosableLedger, LosableServer
from paymaster.torture.plans import TorturePlan
from paymaster.torture.private_server import PrivateServer
from paymaster.torture.tcp_proxy import TcpProxy

PRIVATE = "redis"
"""The URL that asks for a server of its own for the run."""

_WORKER_TIMEOUT_MS = 1_500
"""How long a worker tries to reach a server: shorter than the longest disturbance, so that settlements fail as well."""


@dataclass(frozen=True, slots=True)
class LedgerUnderTest:
    """A ledger's own URL, the URL that the workers use, and what can be disturbed: the proxy before it, the server, the data."""

    url: str
    worker_url: str
    proxy: TcpProxy | None = None
    server: PrivateServer | None = None
    losable: LosableLedger | None = None


def kind_of_ledger(url: str) -> LedgerKind:
    """The kind of ledger that a URL names; an empty URL is a file. Raises UsageMistake (LedgerUnusable) for any other text."""
    if url in ("", "sqlite:"):
        return LedgerKind.FILE
    if url == PRIVATE:
        return LedgerKind.PRIVATE_SERVER
    scheme = url.partition(":")[0].lower()
    open_ledger(url, BlockingRuntime().sleep)  # only reads the URL: nothing is opened yet
    match scheme:
        case "memory":
            return LedgerKind.MEMORY
        case "sqlite":
            raise UsageMistake(
                "torture does not run on an existing file: the run's calls would stay in it",
                advice="Use --ledger sqlite: (the default) for a file that is removed afterwards.",
            )
        case "redis":
            return LedgerKind.SERVER
        case _:
            return LedgerKind.SERVERS


def without_password(url: str) -> str:
    """A URL that may be shown."""
    scheme, slashes, location = url.partition("://")
    return f"{scheme}{slashes}{location.rpartition('@')[2]}"


@contextlib.contextmanager
def open_ledger_under_test(plan: TorturePlan, url: str, folder: Path, host: str) -> Iterator[LedgerUnderTest]:
    """The ledger of one run: a new file, a new server, or a new name on a running server. `host` is the address a proxy listens on."""
    with contextlib.ExitStack() as stack:
        match plan.workload.ledger_kind:
            case LedgerKind.FILE:
                path = (
                    folder / "disk" / "books" / "ledger.sqlite3"
                ).absolute()  # a disk can be mounted, and what is mounted can't be moved
                yield LedgerUnderTest(f"sqlite://{path}", f"sqlite://{path}", losable=LosableFile(path))
            case LedgerKind.PRIVATE_SERVER:
                (folder / "server").mkdir()
                server = stack.enter_context(PrivateServer(folder / "server"))
                proxy = stack.enter_context(TcpProxy(("127.0.0.1", server.port), host))
                own = f"redis://127.0.0.1:{server.port}"
                worker_url = f"redis://{host}:{proxy.port}?timeout_ms={_WORKER_TIMEOUT_MS}"
                yield LedgerUnderTest(own, worker_url, proxy, server, LosableServer(server, folder))
            case LedgerKind.SERVER:
                named = _with_own_name(url)
                parts = urlsplit(named)
                proxy = stack.enter_context(TcpProxy(read_address(url).hosts[0], host))
                credentials = parts.netloc.rpartition("@")[0]
                netloc = f"{credentials}@{host}:{proxy.port}" if credentials else f"{host}:{proxy.port}"
                yield LedgerUnderTest(named, urlunsplit(parts._replace(netloc=netloc)), proxy)
                _delete_keys(named)
            case _:
                named = _with_own_name(url)
                yield LedgerUnderTest(named, named)


def _with_own_name(url: str) -> str:
    """The same server with a new ledger name, so that the run's keys are separate from every other ledger's."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query)) | {"name": f"torture-{secrets.token_hex(4)}", "timeout_ms": str(_WORKER_TIMEOUT_MS)}
    return urlunsplit(parts._replace(query=urlencode(options)))


def _delete_keys(url: str) -> None:
    """Remove the run's keys from a server that stays."""
    import redis

    address = read_address(url)
    host, port = address.hosts[0]
    with contextlib.closing(redis.Redis(host=host, port=port, db=address.db, username=address.user, password=address.password)) as client:
        for key in client.scan_iter(match=f"{address.state_key.removesuffix('state')}*"):
            client.delete(key)
