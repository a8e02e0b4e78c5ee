"""Whether the files of an open ledger are still where they were opened; knows no SQL.

SQLite works on with files that were removed, renamed or replaced, and with a log that another process no longer sees; so each transaction
begins with a look at the names.
"""

import os
import time
from pathlib import Path
from typing import TypeAlias

from paymaster.errors import LedgerReplaced

LOGS = ("-wal", "-shm")
# The time of a folder's last change has the resolution of a clock tick: two changes within one look the same. It is the inode's (ctime),
# which nobody can set: `rsync -a` and `tar` put the folder's own (mtime) back to what it was at the backup.
TICK_NS = 50_000_000
BACK = (
    "Put it back as it was, and calls go on. If what is there now is right, say so with `paymaster ledger accept`, with the same --ledger "
    "and --state-dir as the callers: budgets are then as it has them."
)

FileId: TypeAlias = tuple[int, int]
"""Device and inode of a file."""
FileIds: TypeAlias = tuple[FileId | None, ...]
"""Those of the file, its log and its shared memory; None for one that does not exist."""
_FolderState: TypeAlias = tuple[int, int, int]


class Placement:
    """The names of the files of a ledger that is open, and what they stood for when it was opened.

    As long as their folder has not changed, no name has: one look instead of three. `before` is what the file's name stood for before it
    was opened, None for nothing. Raises LedgerReplaced if that has changed, as the file that has the name now may not be the one that was
    opened; and if one of the names stands for nothing.
    """

    def __init__(self, path: Path, before: "FileId | None" = None) -> None:
        self._path = path
        name = str(path.resolve())
        self._names = (name, *(name + log for log in LOGS))
        self._folder = str(path.resolve().parent)
        # A symbolic link on the way may come to lead elsewhere, which changes nothing in the folder.
        self._link = None if str(path.absolute()) == name else str(path.absolute())
        self._opened = self._look()
        if before is not None and before != self._opened[0]:
            raise LedgerReplaced(f"The ledger {path} was replaced by another file while it was opened.", advice=BACK)
        for name, found in zip(self._names, self._opened, strict=True):
            if found is None:  # another connection of this process has it open under no name, and SQLite shares that
                raise LedgerReplaced(f"{name}, which belongs to the ledger {path}, was removed while it was in use.", advice=BACK)
        self._seen_folder: _FolderState | None = None
        self._seen_ns = 0
        self._is_sure = False
        self._seen_content = _content_state(self._names[0])

    def may_be_overwritten(self) -> bool:
        """Whether somebody has written the file since `note_content`: a checkpoint does, and `cp` over it, which keeps its name.

        A change within one clock tick of the last one can't be seen, so the file counts as changed until the tick is over.
        """
        found = _content_state(self._names[0])
        return found != self._seen_content or found is None or time.time_ns() - found[0] < TICK_NS

    def note_content(self) -> None:
        """The file has the ledger's content as it is now."""
        self._seen_content = _content_state(self._names[0])

    def check(self) -> None:
        """Raise LedgerReplaced if a name stands for another file now, or for none."""
        if self._link is not None and file_id(self._link) != self._opened[0]:
            raise LedgerReplaced(f"The ledger {self._path} was removed or replaced while it was in use.", advice=BACK)
        folder = _folder_state(self._folder)
        if self._is_sure and folder == self._seen_folder:
            return
        found = self._look()
        if found != self._opened:
            self._is_sure = False
            raise LedgerReplaced(self._describe(found), advice=BACK)
        now_ns = time.perf_counter_ns()
        if folder != self._seen_folder:
            self._seen_folder, self._seen_ns = folder, now_ns
        self._is_sure = folder is not None and now_ns - self._seen_ns > TICK_NS

    def _look(self) -> FileIds:
        return tuple(map(file_id, self._names))

    def _describe(self, found: FileIds) -> str:
        path = self._path
        if found[0] is None and not path.parent.exists():
            return f"The folder of the ledger {path} was removed or renamed while the ledger was in use."
        for name, before, now in zip(self._names, self._opened, found, strict=True):
            if before != now:
                what = "replaced by another file" if now else "removed or renamed"
                whose = f"The ledger {path}" if name == self._names[0] else f"{name}, which belongs to the ledger {path},"
                return f"{whose} was {what} while it was in use."
        return f"The ledger {path} was changed while it was in use."


def _folder_state(folder: str) -> _FolderState | None:
    try:
        found = os.stat(folder)  # noqa: PTH116 - the same
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _content_state(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - the same
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def file_id(name: str | Path) -> FileId | None:
    """What a name stands for; None for nothing."""
    try:
        found = os.stat(name)  # noqa: PTH116 - once per transaction: a Path costs more than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino
