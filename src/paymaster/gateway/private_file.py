"""Reads a file that decides who may call, if nobody but its owner can have written it; knows users and permissions, and no content."""

import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 64 * 1024 * 1024
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NotPrivate(Exception):
    """The file can't be read, or somebody else can have written it. `reason` continues a sentence; `advice` may be empty."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason, advice)
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        """The reason."""
        return self.reason


def version_of(path: Path) -> tuple[int, ...] | None:
    """What changes whenever the file, its owner or its permissions do; None if there is no file. Raises NotPrivate."""
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise NotPrivate("it is a link to a file that does not exist") from None
        return None
    except OSError as error:
        raise NotPrivate(_reason(error)) from error
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def read_private(path: Path, own_uid: int | None = None) -> bytes:
    """The file's content. With `own_uid` it must belong to this user or root, and be writable by its owner alone.

    Raises NotPrivate, and FileNotFoundError if there is no file.
    """
    if version_of(path) is None:
        raise FileNotFoundError(path)
    try:
        _check_kind(path.stat().st_mode)  # opening a device may already do something
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _check_kind(status.st_mode)
            if own_uid is not None:
                _check_owner(path, status, own_uid)
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise NotPrivate(_reason(error)) from error
    if len(content) > MOST_BYTES:
        raise NotPrivate(f"it is larger than {MOST_BYTES // 1024 // 1024} MiB")
    return content


def own_uid() -> int | None:
    """The user that this process runs as; None on systems without user ids."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def _check_kind(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotPrivate("it is a directory" if stat.S_ISDIR(mode) else "it is no regular file")


def _check_owner(path: Path, status: os.stat_result, uid: int) -> None:
    if status.st_uid not in {uid, 0}:
        advice = f"Check what is in it, then run `chown {_user(uid)} {shlex.quote(str(path))}`, or name another --state-dir."
        raise NotPrivate(f"it belongs to {_user(status.st_uid)}, and the server runs as {_user(uid)}", advice)
    if status.st_mode & _WRITABLE_BY_OTHERS:
        advice = f"Check what is in it, then run `chmod go-w {shlex.quote(str(path))}`."
        raise NotPrivate(f"others than its owner can write it (mode {stat.S_IMODE(status.st_mode):04o})", advice)


def _user(uid: int) -> str:
    with suppress(ImportError, KeyError):
        import pwd

        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
