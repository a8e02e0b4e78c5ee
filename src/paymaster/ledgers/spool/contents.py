"""What is in the spools of ledgers, read and left where it is; knows the lines of their files, and no ledger."""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from paymaster.ledgers.spool.files import file_lines, is_orphan, ledger_of, posted_so_far
from paymaster.ledgers.spool.lines import Waiting, read_line


class SpooledCall(NamedTuple):
    """One call that waits: its settlement, or an unbooked hold without one yet.

    `at_ms` is when the call was admitted, `worth` what `worth_of` found in the record that the ledger will keep of it.
    """

    hold_id: str
    at_ms: int
    worth: int
    is_settlement: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFile:
    """A process's file. `process` is its id, None if the name does not have it.

    `ledger` is the location that the file names, `ledger_id` the id of the ledger that it is for; either may be ''.
    """

    path: Path
    process: int | None
    is_running: bool
    ledger: str
    ledger_id: str
    calls: tuple[SpooledCall, ...]


def read_spool(folder: Path, worth_of: Callable[[str], int], posted: Container[str] = ()) -> Iterator[SpoolFile]:
    """The files of one ledger's folder in which something waits. `posted` are the holds that the ledger is known to have records of.

    They are left as they are, and may be posted by their processes while they are read. Of a record, a JSON text, nothing is kept but its
    worth: what waits after a long night may be a gigabyte.
    """
    try:
        paths = sorted(folder.glob("*.jsonl"))
    except OSError:
        return
    for path in paths:
        try:
            running = not is_orphan(path)
            ledger_id, (ledger, calls) = ledger_of(path), _read(path, worth_of)
        except OSError:
            continue  # posted and removed meanwhile, or another user's
        unposted = tuple(call for call in calls if call.hold_id not in posted)
        if unposted:
            first = path.stem.partition("-")[0]
            process = int(first) if first.isdecimal() else None
            yield SpoolFile(path=path, process=process, is_running=running, ledger=ledger, ledger_id=ledger_id, calls=unposted)


def spool_folders(root: Path, but: Path) -> Iterator[Path]:
    """The folders of other ledgers than the one whose folder is `but`."""
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and path != but)
    except OSError:
        return
    yield from folders


def _read(path: Path, worth_of: Callable[[str], int]) -> tuple[str, list[SpooledCall]]:
    """The ledger that a file names, and what waits in it. What was posted before is not; lines that can't be read are skipped."""
    ledger, found, offset, posted_to = "", dict[str, SpooledCall](), 0, posted_so_far(path)
    for text in file_lines(path):
        offset += len(text)
        line = read_line(text)
        if not isinstance(line, Waiting):
            ledger = ledger or _named_ledger(text)
            continue
        settlement = line.settlement
        if line.is_settled and offset <= posted_to:
            found.pop(settlement.hold.id, None)
        else:
            found[settlement.hold.id] = SpooledCall(settlement.hold.id, settlement.held_at_ms, worth_of(settlement.record), line.is_settled)
    return ledger, list(found.values())


def _named_ledger(text: bytes) -> str:
    try:
        return str(orjson.loads(text).get("ledger", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return ""
