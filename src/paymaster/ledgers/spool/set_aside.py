"""What could not be posted to a ledger for good: a file beside the spool, for a person to post again or drop; knows no ledger."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from paymaster.accounting.accounts import Settlement
from paymaster.ledgers.spool.files import lock_file, sync_folder, unlock_file, write_whole
from paymaster.ledgers.spool.lines import Unreadable, Waiting, read_line, settlement_line

NAME = "set-aside.ndjson"
"""Not `*.jsonl`: nobody posts it by itself."""


class SetAsideLine(NamedTuple):
    """A line and why it is here. `ledger_id` is the ledger that it was for; `waiting` is None if it can't be read."""

    ledger_id: str
    reason: str
    text: str
    waiting: Waiting | None


def keep_aside(folder: Path, found: Settlement | Unreadable, reason: str, ledger_id: str) -> None:
    """Add a line, on the disk when it returns. Raises OSError if the disk does not take it, or a person is posting the file just then."""
    text = (
        found.text.decode("utf-8", "backslashreplace") if isinstance(found, Unreadable) else orjson.dumps(settlement_line(found)).decode()
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _opened(folder / NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
        line = orjson.dumps({"id": ledger_id, "reason": reason, "line": text.rstrip("\n")}) + b"\n"
        # A line that the disk took in part before ends here; it is skipped when it is read.
        end = os.lseek(descriptor, 0, os.SEEK_END)
        is_whole = end == 0 or os.pread(descriptor, 1, end - 1) == b"\n"
        write_whole(descriptor, line if is_whole else b"\n" + line)
    sync_folder(folder)


def read_aside(folder: Path) -> tuple[SetAsideLine, ...]:
    """What is set aside, each hold once."""
    try:
        content = (folder / NAME).read_bytes()
    except OSError:
        return ()
    return tuple(_lines(content))


def queue_again(folder: Path, location: str) -> int:
    """Put what can be read back into the spool, to be posted; how many lines. What can't be read stays. Raises OSError.

    A crash in between leaves a line in both places: a settlement is posted once.
    """
    path = folder / NAME
    if not path.exists():
        return 0
    with _opened(path, os.O_RDWR):
        lines = tuple(_lines(path.read_bytes()))
        again = [line for line in lines if line.waiting is not None]
        for ledger_id in sorted({line.ledger_id for line in again}):
            header = orjson.dumps({"ledger": location, "id": ledger_id}).decode()
            texts = [header, *(line.text for line in again if line.ledger_id == ledger_id)]
            _replace(folder, f"{os.getpid()}-{os.urandom(4).hex()}.jsonl", "".join(f"{text}\n" for text in texts).encode())
        stays = [{"id": line.ledger_id, "reason": line.reason, "line": line.text} for line in lines if line.waiting is None]
        if stays:
            _replace(folder, NAME, b"".join(orjson.dumps(line) + b"\n" for line in stays))
        else:
            path.unlink()
    return len(again)


def drop_aside(folder: Path) -> int:
    """Remove all of it; how many lines there were. Raises OSError."""
    path = folder / NAME
    if not path.exists():
        return 0
    with _opened(path, os.O_RDWR):
        count = len(tuple(_lines(path.read_bytes())))
        path.unlink()
    return count


def _lines(content: bytes) -> Iterator[SetAsideLine]:
    seen: set[str] = set()
    for text in content.splitlines():
        try:
            kept = orjson.loads(text)
            line, ledger_id, reason = str(kept["line"]), str(kept["id"]), str(kept["reason"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue  # a line that the disk took in part
        found = read_line(line.encode() + b"\n")
        waiting = found if isinstance(found, Waiting) else None
        key = line if waiting is None else waiting.settlement.hold.id
        if key not in seen:
            seen.add(key)
            yield SetAsideLine(ledger_id, reason, line, waiting)


def _replace(folder: Path, name: str, content: bytes) -> None:
    """Give a file this content, whole or not at all."""
    draft = folder / f"{name}.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_whole(descriptor, content)
        draft.replace(folder / name)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    sync_folder(folder)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """The file, locked against every other process. Raises BlockingIOError if another has it."""
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            if not lock_file(descriptor):
                raise BlockingIOError(f"{path} is in use by another process")
            # Between the two steps another process may have removed it.
            if os.fstat(descriptor).st_nlink == 0:
                continue
            try:
                yield descriptor
            finally:
                unlock_file(descriptor)
            return
        finally:
            os.close(descriptor)
