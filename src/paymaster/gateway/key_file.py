"""The gateway's client keys in their file: created, listed, revoked and found; keeps digests, and no secret.

The file is in the state directory, not in the ledger: a key is configuration, rarely written, read at every request, and the same for every
kind of ledger. A revoked key stays in the file, so that revoking the last one does not make the gateway open to all.
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
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paymaster.accounting.money import cap_nanousd
from paymaster.errors import UsageMistake
from paymaster.gateway.auth import Key, digest_of, matches
from paymaster.registry.models import Budget, Limits
from paymaster.registry.values import Count, Usd

FILE_NAME = "gateway-keys.json"
PERIODS = ("run", "day", "month", "total")
REFRESH_S = 1.0
"""How often the file is checked, and so how long a revoked key may still be accepted."""

_LOGGER = logging.getLogger("paymaster.gateway")

Moment: TypeAlias = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Milliseconds since 1970, until the end of the year 9999."""


class KeyEntry(BaseModel):
    """One key in the file. `digest` is the SHA-256 of the whole key; `usd` is its budget `per` period."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    user: str
    digest: str = Field(repr=False)
    created_at_ms: Moment
    usd: Usd | None = None
    per: str = "total"
    rpm: Count | None = None
    tpm: Count | None = None
    max_parallel: Count | None = None
    models: tuple[str, ...] = ()
    operator: bool = False
    revoked_at_ms: Moment | None = None

    def key(self) -> Key:
        """The key as the gateway uses it."""
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
class NewKey:
    """The settings of a key to create."""

    user: str
    usd: Decimal | None = None
    per: str = "total"
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    models: tuple[str, ...] = ()
    operator: bool = False


def create_key(path: Path, new: NewKey, now_ms: int) -> tuple[KeyEntry, str]:
    """Create a key: its entry, and its secret, which is not kept. Raises UsageMistake."""
    with _edit(path) as (file, write):
        known = {entry.id for entry in file.keys}
        key_id = next(name for name in iter(lambda: secrets.token_hex(4), "") if name not in known)
        secret = f"pm-{key_id}-{secrets.token_urlsafe(32)}"
        try:
            entry = KeyEntry(
                id=key_id,
                user=new.user,
                digest=digest_of(secret),
                created_at_ms=now_ms,
                usd=new.usd,
                per=new.per,
                rpm=new.rpm,
                tpm=new.tpm,
                max_parallel=new.max_parallel,
                models=new.models,
                operator=new.operator,
            )
        except ValidationError as error:
            raise UsageMistake(f"a key can't have this right: {_reason(error)}") from None
        write(file.model_copy(update={"keys": (*file.keys, entry)}))
    return entry, secret


def revoke_key(path: Path, id_or_user: str, now_ms: int) -> Sequence[KeyEntry]:
    """Revoke the key with this id, or all keys of this user; returns them. Raises UsageMistake if there is none."""
    with _edit(path) as (file, write):
        revoked = [entry for entry in file.keys if id_or_user in (entry.id, entry.user) and entry.revoked_at_ms is None]
        if not revoked:
            raise UsageMistake(f"no active key has the id or the user {id_or_user!r}", advice="`paymaster keys list` shows all keys.")
        keys = tuple(entry.model_copy(update={"revoked_at_ms": now_ms}) if entry in revoked else entry for entry in file.keys)
        write(file.model_copy(update={"keys": keys}))
    return revoked


def read_keys(path: Path) -> KeyFile:
    """The file; an empty one if there is none. Raises UsageMistake if it is no keys file."""
    try:
        return KeyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return KeyFile()
    except (OSError, ValidationError) as error:
        advice = "Restore it, or move it away to start without keys."
        raise UsageMistake(f"{path} can't be read as a keys file: {_reason(error)}", advice=advice) from error


@dataclass(slots=True)
class KeyStore:
    """The active keys, read again when their file changes. If the file can't be read, the keys known so far stay active."""

    path: Path
    now_s: Callable[[], float] = time.monotonic
    _keys: dict[str, Key] = field(default_factory=dict)
    _has_any: bool = False
    _read_version: tuple[int, int, int] | None = None
    _checked_at_s: float = float("-inf")

    def find(self, secret: str) -> Key | None:
        """The active key with this secret; None if it is unknown or revoked."""
        self._refresh()
        key = self._keys.get(_id_in(secret))
        return key if key is not None and matches(secret, key.digest) else None

    def has_any(self) -> bool:
        """Whether there has ever been a key. If so, every caller needs one."""
        self._refresh()
        return self._has_any

    def _refresh(self) -> None:
        now_s = self.now_s()
        if now_s - self._checked_at_s < REFRESH_S:
            return
        self._checked_at_s = now_s
        try:
            status = self.path.stat()
        except OSError:
            return
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
        if version == self._read_version:
            return
        try:
            file = read_keys(self.path)
        except UsageMistake as error:
            _LOGGER.error("%s; the keys known so far stay active", error.message)  # noqa: TRY400  a message, no fault
            self._read_version = version
            return
        known = {key.id: key for key in self._keys.values()}
        fresh = {entry.id: entry.key() for entry in file.keys if entry.revoked_at_ms is None}
        # An unchanged key stays the same object, so that what was computed for it is kept.
        self._keys = {name: known[name] if known.get(name) == key else key for name, key in fresh.items()}
        self._has_any = bool(file.keys)
        self._read_version = version


def _id_in(secret: str) -> str:
    """The id inside a key; empty if the text is no key."""
    parts = secret.split("-", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "pm" else ""


@contextmanager
def _edit(path: Path) -> Iterator[tuple[KeyFile, Callable[[KeyFile], None]]]:
    """The file, locked, and a function that replaces it; only its owner may read it. Raises UsageMistake."""

    def write(file: KeyFile) -> None:
        with NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8") as new:
            new.write(file.model_dump_json(indent=1, exclude_none=True) + "\n")
            new.flush()
            os.fsync(new.fileno())
        Path(new.name).replace(path)  # created with mode 0600

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
        with suppress(ImportError):  # systems without this lock risk two changes in the same millisecond
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _reason(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first["loc"] else first["msg"]
