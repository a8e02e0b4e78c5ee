"""What waits on disk for ledgers, looked at and left where it is; knows the files of spools, and no ledger."""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from paymaster.ledgers.spool import is_left, read_lines_of


class Waiting(NamedTuple):
    """One thing that waits: the settlement of a call, or an unbooked hold of which nothing more was heard.

    `at_ms` is when the call was admitted, `worth` what `worth_of` found in the record that the ledger will keep of it.
    """

    hold_id: str
    at_ms: int
    worth: int
    is_settlement: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFile:
    """A process's file. `process` is its id, None where the name doesn't tell; `ledger` is the place that the file names, maybe ''."""

    path: Path
    process: int | None
    is_running: bool
    ledger: str
    waiting: tuple[Waiting, ...]


def spool_files(folder: Path, worth_of: Callable[[str], int], posted: Container[str] = ()) -> Iterator[SpoolFile]:
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
            running = not is_left(path)
            ledger, waiting = _read(path, worth_of)
        except OSError:
            continue  # posted and removed meanwhile, or another user's
        kept = tuple(each for each in waiting if each.hold_id not in posted)
        if kept:
            first = path.stem.partition("-")[0]
            process = int(first) if first.isdecimal() else None
            yield SpoolFile(path=path, process=process, is_running=running, ledger=ledger, waiting=kept)


def spool_folders(root: Path, but: Path) -> Iterator[Path]:
    """The folders of other ledgers than the one whose folder is `but`."""
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and path != but)
    except OSError:
        return
    yield from folders


def _read(path: Path, worth_of: Callable[[str], int]) -> tuple[str, list[Waiting]]:
    """The ledger that a file names, and what waits in it. Half a line, as a crash leaves it, is passed over."""
    ledger, found = "", dict[str, Waiting]()
    for text in read_lines_of(path):
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if "hold" not in line:
            ledger = str(line.get("ledger", ""))
            continue
        hold_id, settled = line["hold"][0], "record" in line
        found[hold_id] = Waiting(hold_id, line["at_ms"], worth_of(line["record"] if settled else line["lost_record"]), settled)
    return ledger, list(found.values())
