"""The gateway's keys in their file: made, listed, revoked, found again; knows digests, and no key.

They lie in a file of the state directory, not in the ledger: a key is configuration, written by hand now and then, read at every request,
and the same whichever ledger (in memory, SQLite, Redis) counts the money. A revoked key stays in the file, so that revoking the last
one closes the door rather than opening it.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paymaster.accounting.money import cap_nanousd
from paymaster.errors import UsageMistake
from paymaster.gateway.auth import Key, digest_of, matches
from paymaster.registry.models import Budget, Limits

FILE_NAME = "gateway-keys.json"
PERIODS = ("run", "day", "month", "total")
LOOK_S = 1.0
"""How often the file is looked at, and so how long a revoked key may still be good."""

_LOGGER = logging.getLogger("paymaster.gateway")


class KeyEntry(BaseModel):
    """One key as it is written. `digest` is the SHA-256 of the whole key; `usd` may be spent `per` period."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    user: str
    digest: str = Field(repr=False)
    created_at_ms: int
    usd: Decimal | None = None
    per: str = "total"
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    models: tuple[str, ...] = ()
    operator: bool = False
    revoked_at_ms: int | None = None

    def key(self) -> Key:
        """As the gateway uses it."""
        budgets: tuple[Budget, ...] = ()
        if self.usd is not None:
            per = tuple(sorted({"key", self.per} - {"total"}, key=("run", "key", "day", "month").index))
            budgets = (Budget(cap_nanousd=cap_nanousd(self.usd), per=per, key=f"the budget of key {self.id} ({self.user})"),)
        limits = Limits(rpm=self.rpm, tpm=self.tpm, max_parallel=self.max_parallel)
        return Key(
            id=self.id,
            user=self.user,
            digest=self.digest,
            budgets=budgets,
            limits=limits,
            models=self.models,
            operator=self.operator,
        )


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    keys: tuple[KeyEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a new key is to be."""

    user: str
    usd: Decimal | None = None
    per: str = "total"
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    models: tuple[str, ...] = ()
    operator: bool = False


def create_key(path: Path, wanted: Wanted, now_ms: int) -> tuple[KeyEntry, str]:
    """A new key: its entry, and the key itself, which nobody can read again. Raises UsageMistake."""
    with _changing(path) as (file, write):
        known = {entry.id for entry in file.keys}
        key_id = next(name for name in iter(lambda: secrets.token_hex(4), "") if name not in known)
        secret = f"pm-{key_id}-{secrets.token_urlsafe(32)}"
        entry = KeyEntry(
            id=key_id,
            user=wanted.user,
            digest=digest_of(secret),
            created_at_ms=now_ms,
            usd=wanted.usd,
            per=wanted.per,
            rpm=wanted.rpm,
            tpm=wanted.tpm,
            max_parallel=wanted.max_parallel,
            models=wanted.models,
            operator=wanted.operator,
        )
        write(file.model_copy(update={"keys": (*file.keys, entry)}))
    return entry, secret


def revoke_key(path: Path, named: str, now_ms: int) -> Sequence[KeyEntry]:
    """Revoke the key with this id, or all keys of this user; those that were revoked. Raises UsageMistake where there is none."""
    with _changing(path) as (file, write):
        gone = [entry for entry in file.keys if named in (entry.id, entry.user) and entry.revoked_at_ms is None]
        if not gone:
            raise UsageMistake(f"no key in use has the id or the user {named!r}", advice="`paymaster keys list` shows them.")
        write(
            file.model_copy(
                update={
                    "keys": tuple(entry.model_copy(update={"revoked_at_ms": now_ms}) if entry in gone else entry for entry in file.keys)
                }
            )
        )
    return gone


def read_keys(path: Path) -> KeyFile:
    """The file; an empty one where there is none. Raises UsageMistake for one that is no file of keys."""
    try:
        return KeyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return KeyFile()
    except (OSError, ValidationError) as error:
        raise UsageMistake(f"{path} can't be read as a file of keys: {_short(error)}", advice="Move it away to begin anew.") from error


@dataclass(slots=True)
class KeyStore:
    """The keys in force, read again when their file changes. A file that can't be read leaves those that were known."""

    path: Path
    now_s: Callable[[], float] = time.monotonic
    _keys: dict[str, Key] = field(default_factory=dict)
    _any: bool = False
    _seen: tuple[int, int, int] | None = None
    _looked_s: float = float("-inf")

    def find(self, secret: str) -> Key | None:
        """The key that this is, unless it is unknown or revoked."""
        self._look()
        key = self._keys.get(_id_in(secret))
        return key if key is not None and matches(secret, key.digest) else None

    def has_any(self) -> bool:
        """Whether there ever was a key: from then on nobody comes in without."""
        self._look()
        return self._any

    def _look(self) -> None:
        now_s = self.now_s()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        try:
            status = self.path.stat()
        except OSError:
            return
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen == self._seen:
            return
        try:
            file = read_keys(self.path)
        except UsageMistake as error:
            _LOGGER.error("%s; the keys known so far stay in force", error.message)  # noqa: TRY400  a message, no fault
            self._seen = seen
            return
        known = {key.id: key for key in self._keys.values()}
        fresh = {entry.id: entry.key() for entry in file.keys if entry.revoked_at_ms is None}
        # A key that is the same stays the same object: what was worked out for it is kept.
        self._keys = {name: known[name] if known.get(name) == key else key for name, key in fresh.items()}
        self._any = bool(file.keys)
        self._seen = seen


def _id_in(secret: str) -> str:
    """The id that a key carries in its middle; empty for what looks like none."""
    parts = secret.split("-", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "pm" else ""


@contextmanager
def _changing(path: Path) -> Iterator[tuple[KeyFile, Callable[[KeyFile], None]]]:
    """The file for whoever changes it, one at a time; it is replaced whole, and only its owner may read it. Raises UsageMistake."""

    def write(file: KeyFile) -> None:
        with NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8") as new:
            new.write(file.model_dump_json(indent=1, exclude_none=True) + "\n")
            new.flush()
            os.fsync(new.fileno())
        Path(new.name).replace(path)  # made for its owner alone (0600)

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            yield read_keys(path), write
    except OSError as error:
        raise UsageMistake(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with suppress(ImportError):  # where there is no such lock, two people do not make keys in the same millisecond
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _short(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first["loc"] else first["msg"]
