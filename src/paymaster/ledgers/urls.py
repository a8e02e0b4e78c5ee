"""Which ledger a URL means; knows the kinds of ledgers and the default location, and reads no environment."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from platformdirs import user_state_path

from paymaster.errors import ExtraMissing, LedgerUnusable
from paymaster.ledgers.admin.ledger_admin import LedgerAdmin
from paymaster.ledgers.identity import KnownLedger
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.redis.address import SCHEMES, Address, read_address
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.sqlite.machine_clock import machine_clock

if TYPE_CHECKING:
    from paymaster.ledgers.redis.ledger import RedisLedger

FILE_NAME = "ledger.sqlite3"
KNOWN = (
    "Known are sqlite:///absolute/path, sqlite:relative/path, memory: (gone when the process ends) and, for many machines, "
    "redis://host:port/db, rediss://, unix://, redis+sentinel:// and redis+cluster://."
)


def open_ledger(
    url: str | None,
    pause: Callable[[int], Awaitable[None]],
    *,
    state_dir: Path | None = None,
    blocking: bool = True,
    known_only: bool = False,
) -> "MemoryLedger | SqliteLedger | RedisLedger":
    """The ledger at `url`; without one, the file `ledger.sqlite3` in `state_dir`, or in the user's state directory.

    `pause` is the caller's way to wait (`Runtime.sleep`); `blocking` is True for a thread, False for an event loop. `known_only` refuses
    another ledger than the one that the state directory knows there, for callers that spend money. A file is opened, a server connected to,
    and their faults raised, when the ledger is first used.

    Raises:
        LedgerUnusable: the URL names no kind of ledger, or no path.
        ExtraMissing: the ledger is on Redis, and its client is not installed.
    """
    if not url:
        return _in_file(default_path(state_dir), pause, state_dir, blocking=blocking, known_only=known_only)
    scheme, colon, path = url.partition(":")
    match scheme.lower() if colon else "":
        case "memory" if not path.strip("/"):
            return MemoryLedger()
        case "sqlite":
            return _in_file(_path(url, path), pause, state_dir, blocking=blocking, known_only=known_only)
        case server if server in SCHEMES:
            return _on_redis(url, pause, state_dir, blocking=blocking, known_only=known_only)
        case "":
            raise LedgerUnusable(f"{url!r} is not a ledger URL.", advice=f"For a file write sqlite:{url}. {KNOWN}")
        case _:
            raise LedgerUnusable(f"Unknown ledger URL {_without_secrets(url)!r}.", advice=KNOWN)


def _in_file(
    path: Path, pause: Callable[[int], Awaitable[None]], state_dir: Path | None, *, blocking: bool, known_only: bool
) -> SqliteLedger:
    known = _known(str(path.absolute()), state_dir) if known_only else None
    return SqliteLedger(path, pause, grouped=not blocking, known=known, machine_time=machine_clock())


def _on_redis(
    url: str, pause: Callable[[int], Awaitable[None]], state_dir: Path | None, *, blocking: bool, known_only: bool
) -> "RedisLedger":
    """The client's library is loaded only for a ledger there."""
    address = read_address(url)
    if address.ca_file is not None and not Path(address.ca_file).is_file():
        raise LedgerUnusable(
            f"The ledger's URL names a certificate file that does not exist: {address.ca_file}.",
            advice="Write ?ca=/path/ca.pem, or leave it out.",
        )
    try:
        from paymaster.ledgers.redis.ledger import RedisLedger
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "redis":
            raise
        raise ExtraMissing(
            f"A ledger at {address.label} needs the Redis client.", advice="Install it with: pip install 'paymaster[redis]'"
        ) from error
    known = _known(_server_place(address), state_dir) if known_only else None
    return RedisLedger(address, pause, blocking=blocking, known=known)


def admin_for(ledger: "SqliteLedger | RedisLedger") -> LedgerAdmin:
    """What an operator does with the ledger."""
    if isinstance(ledger, SqliteLedger):
        from paymaster.ledgers.admin.sqlite_admin import SqliteAdmin

        return SqliteAdmin(ledger.path)
    from paymaster.ledgers.admin.redis_admin import RedisAdmin

    return RedisAdmin(ledger)


def spool_folder(ledger: "SqliteLedger | RedisLedger", state_dir: Path | None) -> Path:
    """The folder in which settlements wait for the ledger: one for each ledger, whatever URL names it."""
    return spools_folder(state_dir) / _digest(_place(ledger))


def known_ledger(ledger: "SqliteLedger | RedisLedger", state_dir: Path | None) -> KnownLedger:
    """What the state directory knows of the ledger that belongs there."""
    return _known(_place(ledger), state_dir)


def _known(place: str, state_dir: Path | None) -> KnownLedger:
    return KnownLedger(_state(state_dir) / "ledgers", _digest(place), place)


def _place(ledger: "SqliteLedger | RedisLedger") -> str:
    """Where a ledger is, in the same words whatever URL names it."""
    if isinstance(ledger, SqliteLedger):
        return str(ledger.path.absolute())
    return _server_place(ledger.address)


def _server_place(address: Address) -> str:
    return f"{address.label} {address.db} {address.name}"


def _digest(place: str) -> str:
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def full_location(ledger: "SqliteLedger | RedisLedger") -> str:
    """Where a ledger is, from any working directory: without user and password."""
    return str(ledger.path.absolute()) if isinstance(ledger, SqliteLedger) else ledger.location


def spools_folder(state_dir: Path | None) -> Path:
    """The folder of the spool folders of all ledgers."""
    return _state(state_dir) / "spool"


def default_path(state_dir: Path | None) -> Path:
    """Where the default ledger is."""
    return _state(state_dir) / FILE_NAME


def _state(state_dir: Path | None) -> Path:
    return state_dir or user_state_path("paymaster", appauthor=False)


def _path(url: str, path: str) -> Path:
    """`///abs` and `/abs` are absolute, anything else is relative to the working directory; `~` is the user's home."""
    text = unquote("/" + path.lstrip("/") if path.startswith("///") else path)  # four slashes are a habit from other URLs
    if not text.strip("/") or text.startswith("//"):
        raise LedgerUnusable(f"The ledger URL {url!r} names no path.", advice="Write sqlite:///absolute/path or sqlite:relative/path.")
    return Path(text).expanduser()


def _without_secrets(url: str) -> str:
    """The URL without user and password, which a server's may carry."""
    scheme, slashes, location = url.partition("://")
    return f"{scheme}{slashes}{location.rpartition('@')[2]}"
