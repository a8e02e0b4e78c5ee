"""The files of a price catalogue in a state directory: data by digest, and one index that names what is in use; knows no network.

The index is replaced at once, so that every process reads the old catalogue or the new one. Data files are never changed: a run that
began with one goes on with it.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from paymaster.errors import PricesNotUpdated

if TYPE_CHECKING:
    from genai_prices.types import Provider

_LOGGER = logging.getLogger("paymaster.prices")

FOLDER = "prices"
SHIPPED = "shipped"
"""The name of the prices in the installed package, where an update would have its digest."""
MOST_BYTES = 32 * 1024 * 1024
_INDEX = "index.json"
_LOCK = "lock"
_RUNS = "runs"
_NEW = ".new-"
"""The names of files that are being written begin with it."""
_DIGEST_CHARS = 16
_SHOWN_CHARS = 8
_NAME = re.compile(rf"{SHIPPED}|[0-9a-f]{{{_DIGEST_CHARS}}}")
_KEPT_S = 86_400
"""A data file that nothing names is kept for a day: another process may be about to name it."""
_PINNED_S = 90 * 86_400
"""The catalogue of a run is kept this long after the run began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One catalogue: the digest of its data, when it was fetched, from where, and the version of genai-prices it was compared with.

    `published` is the date that the server gave it, None if it gave none.
    """

    digest: str
    fetched_at_ms: int
    source: str
    shipped: str
    models: int
    published: str | None = None

    @property
    def name(self) -> str:
        """Its name in records: the day it was fetched, and the first characters of its digest."""
        return f"{time.strftime('%Y-%m-%d', time.gmtime(self.fetched_at_ms / 1000))} {self.digest[:_SHOWN_CHARS]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBackRow:
    """One model whose new price waits for a person: see `comparing.HeldBack`."""

    provider: str
    model: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What the folder has: the catalogue in use, the last good one before it, and the newest data if a part of it is held back."""

    current: Edition | None = None
    previous: Edition | None = None
    waiting: Edition | None = None
    held_back: tuple[HeldBackRow, ...] = field(default=())
    checked_at_ms: int = 0


_INDEX_TYPE = TypeAdapter(Index)


class PriceFolder:
    """The folder `prices` of a state directory. Nothing is created before something is saved."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FOLDER

    def index(self) -> Index:
        """What the folder has. A damaged index counts as none, with a warning."""
        try:
            return _INDEX_TYPE.validate_json((self.path / _INDEX).read_bytes())
        except FileNotFoundError:
            return Index()
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            _LOGGER.warning("cannot read %s: %s; the shipped prices are used. Run: paymaster prices update", self.path / _INDEX, reason)
            return Index()

    def read(self, edition: Edition) -> "list[Provider]":
        """The data of an edition. Raises PricesNotUpdated if it is missing or damaged."""
        from paymaster.accounting.prices.published import PriceDataInvalid, read_published

        path = self._data(edition.digest)
        try:
            text = read_bounded(path)
            if _digest(text) != edition.digest:
                raise PricesNotUpdated(f"{path} was changed or is cut short")
            return read_published(text)
        except OSError as error:
            raise PricesNotUpdated(f"cannot read {path}: {error.strerror or error}") from error
        except PriceDataInvalid as error:
            raise PricesNotUpdated(f"{path} is damaged: {error}") from error

    def save_data(self, text: str) -> str:
        """Write a data file, unless it is there in full, and return its digest. Raises PricesNotUpdated."""
        content = text.encode()
        digest = _digest(content)
        path = self._data(digest)
        if not _has(path, content):
            self._write(path, content)
        return digest

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the index meanwhile. Raises PricesNotUpdated."""
        path = self.path / _LOCK
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise _not_written(path, error) from error
        try:
            with contextlib.suppress(ImportError):  # systems without this lock risk that the older of two updates wins
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def save(self, index: Index) -> None:
        """Make this the folder's index, at once and for good. Raises PricesNotUpdated."""
        self._write(self.path / _INDEX, json.dumps(asdict(index), indent=1).encode())
        self._prune(index)

    def edition(self, digest: str) -> Edition | None:
        """The edition with this digest, None if its data is gone."""
        index = self.index()
        for edition in (index.current, index.previous, index.waiting):
            if edition is not None and edition.digest == digest:
                return edition
        path = self._data(digest)
        try:
            fetched_at_ms = int(path.stat().st_mtime * 1000)
        except OSError:
            return None
        return Edition(digest=digest, fetched_at_ms=fetched_at_ms, source="", shipped="", models=0)

    def pinned(self, run: str) -> str | None:
        """The digest of the catalogue that a run began with, or `SHIPPED`; None for a run that has not begun."""
        pin = _read_pin(self._pin(run))
        digest = pin.get("catalogue") if pin.get("run") == run else None
        return digest if isinstance(digest, str) and _NAME.fullmatch(digest) else None

    def pin(self, run: str, digest: str) -> None:
        """Note the catalogue that a run begins with, unless another process noted one; without effect where nothing can be written."""
        if self.pinned(run) is not None:
            return
        path = self._pin(run)
        with contextlib.suppress(OSError, PricesNotUpdated):
            path.unlink(missing_ok=True)  # a damaged one
            self._write(path, json.dumps({"run": run, "catalogue": digest}).encode(), only_new=True)

    def _prune(self, index: Index) -> None:
        """Remove data that nothing names, pins of runs that began long ago, and what a process that was killed was writing."""
        now_s = time.time()
        named = {edition.digest for edition in (index.current, index.previous, index.waiting) if edition is not None}
        with contextlib.suppress(OSError):
            for path in (self.path / _RUNS).glob("*.json"):
                if now_s - path.stat().st_mtime > _PINNED_S:
                    path.unlink(missing_ok=True)
                else:
                    named.add(str(_read_pin(path).get("catalogue")))
        with contextlib.suppress(OSError):
            for path in self.path.rglob(f"{_NEW}*"):
                if now_s - path.stat().st_mtime > _KEPT_S:
                    path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for path in self.path.glob("data-*.json"):
                unnamed = path.stem.removeprefix("data-") not in named
                if unnamed and now_s - path.stat().st_mtime > _KEPT_S:
                    path.unlink(missing_ok=True)

    def _data(self, digest: str) -> Path:
        return self.path / f"data-{digest}.json"

    def _pin(self, run: str) -> Path:
        return self.path / _RUNS / f"{hashlib.sha256(run.encode(errors='replace')).hexdigest()[:_DIGEST_CHARS]}.json"

    def _write(self, path: Path, content: bytes, *, only_new: bool = False) -> None:
        """Write a whole file, or none: first under another name, then in place. With `only_new` another process's file stays."""
        temporary = path.parent / f"{_NEW}{secrets.token_hex(8)}"  # not of `tempfile`, whose files no other user can read
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if only_new:
                path.hardlink_to(temporary)
            else:
                temporary.replace(path)
        except OSError as error:
            raise _not_written(path, error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def read_bounded(path: Path) -> bytes:
    """The content of a regular file. Raises OSError, also for one that is too large."""
    if not path.is_file():
        raise OSError(0, "it is not a file" if path.exists() else "there is no such file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(0, f"it is larger than {MOST_BYTES // 1024 // 1024} MiB")
    return content


def _not_written(path: Path, error: OSError) -> PricesNotUpdated:
    advice = "Check the space and the permissions there, or name another directory with --state-dir."
    return PricesNotUpdated(f"cannot write {path}: {error.strerror or error}", advice=advice)


def _has(path: Path, content: bytes) -> bool:
    """Whether a file has this content."""
    try:
        return read_bounded(path) == content
    except OSError:
        return False


def _read_pin(path: Path) -> dict[str, object]:
    """A run's pin; empty if it is missing or damaged."""
    try:
        pin = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return pin if isinstance(pin, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_CHARS]


def rows_of(held_back: Sequence[object]) -> tuple[HeldBackRow, ...]:
    """Rows for the index, from a comparison."""
    return tuple(HeldBackRow(**{name: getattr(row, name) for name in HeldBackRow.__slots__}) for row in held_back)


def without_waiting(index: Index) -> Index:
    """The index when nothing waits any more."""
    return replace(index, waiting=None, held_back=())
