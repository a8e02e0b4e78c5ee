"""The gateway's client keys in their file: created, listed, revoked and found; keeps digests, and no secret.

The file is in the state directory, not in the ledger: a key is configuration, rarely written, read at every request, and the same for every
kind of ledger. A revoked key stays in the file, so that revoking the last one does not make the gateway open to all.

A server without a file has no keys and answers programs on its machine. A file that exists always closes it: if the file can't be read, is
no keys file or can have been written by somebody else, a server does not start; one that runs keeps the keys that it knows, and refuses all
others. So does one whose file is gone.
"""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Literal, Protocol, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from paymaster.accounting.budget_units import BudgetUnit
from paymaster.errors import UsageMistake
from paymaster.gateway.auth import Key, digest_of, matches
from paymaster.gateway.private_file import NotPrivate, own_uid, read_private, version_of
from paymaster.registry.models import Budget, Limits
from paymaster.registry.policies import cap_of
from paymaster.registry.values import Count, Total, Usd

FILE_NAME = "gateway-keys.json"
Period = Literal["run", "day", "month", "total"]
PERIODS: tuple[Period, ...] = get_args(Period)
REFRESH_S = 1.0
"""How often the file is checked, and so how long a revoked key may still be accepted."""

_LOGGER = logging.getLogger("paymaster.gateway")

Moment: TypeAlias = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Milliseconds since 1970, until the end of the year 9999."""


class KeyEntry(BaseModel):
    """One key in the file. `digest` is the SHA-256 of the whole key; `usd`, `tokens` and `requests` are its budgets `per` period."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"\A[^-/]+\z")
    user: str = Field(min_length=1)
    digest: str = Field(repr=False, pattern=r"\A[0-9a-f]{64}\z")
    created_at_ms: Moment
    usd: Usd | None = None
    tokens: Total | None = None
    requests: Total | None = None
    per: Period = "total"
    rpm: Count | None = None
    tpm: Count | None = None
    max_parallel: Count | None = None
    models: tuple[str, ...] = ()
    operator: bool = False
    revoked_at_ms: Moment | None = None

    def key(self) -> Key:
        """The key as the gateway uses it."""
        per = tuple(sorted({"key", self.per} - {"total"}, key=("run", "key", "day", "month").index))
        amounts = {BudgetUnit.USD: self.usd, BudgetUnit.TOKENS: self.tokens, BudgetUnit.REQUESTS: self.requests}
        budgets = tuple(
            Budget(cap=cap_of(unit, amount), unit=unit, per=per, key=f"the budget of key {self.id} ({self.user})")
            for unit, amount in amounts.items()
            if amount is not None
        )
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

    version: Literal[1] = 1
    keys: tuple[KeyEntry, ...] = ()

    @model_validator(mode="after")
    def check_ids(self) -> "KeyFile":
        """Refuse two keys with one id: which of them counts, and whether it was revoked, would depend on their order."""
        ids = [entry.id for entry in self.keys]
        if len(set(ids)) < len(ids):
            raise ValueError("two keys have the same id")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """The settings of a key to create."""

    user: str
    usd: Decimal | None = None
    tokens: int | None = None
    requests: int | None = None
    per: Period = "total"
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
                tokens=new.tokens,
                requests=new.requests,
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


def read_keys(path: Path, trusted_uid: int | None = None) -> KeyFile:
    """The file; an empty one if there is none. Raises UsageMistake if it is no keys file.

    With `trusted_uid` also if others than this user and root can have written it, as a server asks for.
    """
    try:
        file = KeyFile.model_validate_json(read_private(path, trusted_uid))
    except FileNotFoundError:
        return KeyFile()
    except NotPrivate as error:
        raise _unusable(path, error.reason, error.advice) from error
    except ValidationError as error:
        raise _unusable(path, _reason(error)) from error
    if not file.keys:  # nothing here writes such a file
        raise _unusable(path, "it has no keys")
    return file


class Flag(Protocol):
    """Something that can be set and stays set: an event of `threading`, or one of `multiprocessing` that workers share."""

    def is_set(self) -> bool:
        """Whether it was set."""
        ...

    def set(self) -> None:
        """Set it."""
        ...


@dataclass(slots=True)
class KeyStore:
    """The active keys, read again when their file changes. If the file can't be used any more, the keys known so far stay active.

    `found` is set once there was a key or a file that can't be used: from then on every caller needs a key.
    """

    path: Path
    now_s: Callable[[], float] = time.monotonic
    found: Flag = field(default_factory=threading.Event)
    _keys: dict[str, Key] = field(default_factory=dict)
    _ids: dict[str, frozenset[str]] = field(default_factory=dict)
    _has_any: bool = False
    _read_version: tuple[int, ...] | None = None
    _checked_at_s: float = float("-inf")
    _problem: str = ""

    def find(self, secret: str) -> Key | None:
        """The active key with this secret; None if it is unknown or revoked."""
        self._refresh()
        key = self._keys.get(_id_in(secret))
        return key if key is not None and matches(secret, key.digest) else None

    def has_any(self) -> bool:
        """Whether there has ever been a key, or a file that can't be used. If so, every caller needs a key."""
        self._refresh()
        return self._has_any

    def ids_of(self, user: str) -> frozenset[str]:
        """The ids of this user's keys, revoked ones too."""
        return self._ids.get(user, frozenset())

    def read(self) -> None:
        """Read the file if it has changed. Raises UsageMistake if it can't be used, or is gone."""
        try:
            version = version_of(self.path)
        except NotPrivate as error:
            raise _unusable(self.path, error.reason, error.advice) from error
        needed = self._has_any or self.found.is_set()
        if version is None:
            if needed:
                raise UsageMistake(f"the keys file {self.path} is gone", advice="Restore it, or restart the server to start without keys.")
            return
        if version == self._read_version:
            return
        file = read_keys(self.path, own_uid())
        known = {key.id: key for key in self._keys.values()}
        fresh = {entry.id: entry.key() for entry in file.keys if entry.revoked_at_ms is None}
        # An unchanged key stays the same object, so that what was computed for it is kept.
        self._keys = {name: known[name] if known.get(name) == key else key for name, key in fresh.items()}
        self._ids = {user: frozenset(entry.id for entry in file.keys if entry.user == user) for user in {entry.user for entry in file.keys}}
        self._read_version = version
        self._close()

    def _refresh(self) -> None:
        now_s = self.now_s()
        if now_s - self._checked_at_s < REFRESH_S:
            return
        self._checked_at_s = now_s
        try:
            self.read()
        except UsageMistake as error:
            self._close()
            if error.message != self._problem:
                _LOGGER.error("%s; the known keys stay active, all others are refused", error.message)  # noqa: TRY400  a message, no fault
            self._problem = error.message
        else:
            self._problem = ""

    def _close(self) -> None:
        """Every caller needs a key from now on."""
        self._has_any = True
        self.found.set()


def _unusable(path: Path, reason: str, advice: str = "") -> UsageMistake:
    advice = advice or "Restore it, or move it away to start without keys."
    return UsageMistake(f"{path} can't be used as a keys file: {reason}", advice=advice)


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


def _reason(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first["loc"] else first["msg"]
