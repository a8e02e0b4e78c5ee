"""A disk that can be filled: a small tmpfs if mounting is allowed, else a limit on the size of the workers' files; knows no ledger."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Self

_SIZE_MB = 32
_FILLER = "filler"
_PIECE = bytes(65_536)


class Disk:
    """The directory `folder` on a disk that can be filled.

    As root, a small tmpfs is mounted there: once it is full, a write fails with ENOSPC. Without the right to mount, the workers' file size
    is limited to zero (RLIMIT_FSIZE, set from outside on Linux): a write fails with EFBIG. `method` says which; None: neither works here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._limited: list[int] = []
        self.method: str | None = None

    def __enter__(self) -> Self:
        """Mount, if that is allowed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if _mounted(self._folder):
            self.method = f"a tmpfs of {_SIZE_MB} MB"
        elif hasattr(os, "sched_setaffinity"):  # Linux, which has prlimit
            self.method = "RLIMIT_FSIZE of the workers"
        return self

    def __exit__(self, *_: object) -> None:
        """Unmount."""
        if self.method is not None and self.method.startswith("a tmpfs"):
            subprocess.run(["umount", "--lazy", str(self._folder)], check=False, capture_output=True)  # noqa: S603, S607 - a fixed program, as root found it

    def fill(self, processes: Iterable[int]) -> None:
        """Let every write fail from now on."""
        if self.method is not None and self.method.startswith("a tmpfs"):
            with contextlib.suppress(OSError), (self._folder / _FILLER).open("wb", buffering=0) as file:
                _write_until_full(file.fileno())
            return
        self._limited = list(processes)
        self._limit(0)

    def free(self) -> None:
        """Let writes succeed again."""
        (self._folder / _FILLER).unlink(missing_ok=True)
        self._limit(None)

    def _limit(self, size: int | None) -> None:
        import resource  # not on Windows

        for process in self._limited:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                hard = resource.prlimit(process, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(process, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def _write_until_full(descriptor: int) -> None:
    piece = _PIECE
    while piece:
        try:
            os.write(descriptor, piece)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            piece = piece[: len(piece) // 2]  # to the last byte


def _mounted(folder: Path) -> bool:
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m,mode=700", "paymaster-torture", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 - a fixed program with arguments made here
