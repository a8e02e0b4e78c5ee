"""What is in the spools of ledgers, read and left where it is; knows the lines of their files, and no ledger."""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from paymaster.ledgers.spool.files import file_lines, is_orphan, ledger_of


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
    """The ledger that a file names, and what waits in it. Half a line, as a crash leaves it, is skipped."""
    ledger, found = "", dict[str, SpooledCall]()
    for text in file_lines(path):
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if "hold" not in line:
            ledger = str(line.get("ledger", ""))
            continue
        hold_id, settled = line["hold"][0], "record" in line
        found[hold_id] = SpooledCall(hold_id, line["at_ms"], worth_of(line["record"] if settled else line["lost_record"]), settled)
    return ledger, list(found.values())
