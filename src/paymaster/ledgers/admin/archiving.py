"""Moves a journal's old records into files: written and synced first, dropped from the ledger afterwards; knows no kind of ledger.

A file is named by the places of its first and last record. Whoever is stopped between the two steps leaves a file whose records are still
in the ledger; the next time they are found there and only dropped, so nothing is lost and nothing stands in two files.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from paymaster.accounting.accounts import Record
from paymaster.ledgers.admin.export_format import Head, read_lines, write_lines
from paymaster.ledgers.admin.protocol import LedgerAdmin, Place

# So many records go into one file: it is what is in memory at once, about 20 MB.
FILE_RECORDS = 20_000
# A call may be settled late, and its record must be there until then. Leases are minutes; nobody settles an hour after.
YOUNGEST_MS = 3_600_000
_NAME = re.compile(r"records-\d{8}-(\d+)\.(\d+)-(\d+)\.(\d+)(?:-\d+)?\.jsonl")


@dataclass(frozen=True, slots=True)
class Archived:
    """One file. `dropped` of its records were taken out of the ledger now; `found` says that the file was there already."""

    path: Path
    records: int
    dropped: int
    found: bool


def archive(admin: LedgerAdmin, folder: Path, before_ms: int) -> Iterator[Archived]:
    """Move the records written before that time into files in `folder`, one file after the other. Raises OSError and InvalidLine."""
    folder.mkdir(parents=True, exist_ok=True)
    while page := admin.oldest_records(before_ms, FILE_RECORDS):
        path, covered = _written(folder, page)
        found = path is not None
        if path is None:
            path, covered = _write(folder, page), page
        dropped = admin.drop_records(covered[-1][0])
        yield Archived(path, len(covered), dropped, found)


def read_archive(path: Path) -> Iterator[Record]:
    """The records of an archive's file, or of an export. Raises OSError and InvalidLine."""
    with path.open("rb") as file:
        for item in read_lines(file):
            if isinstance(item, Record):
                yield item


def archive_files(path: Path) -> list[Path]:
    """The file itself, or the archive's files in a folder, the earliest first."""
    if not path.is_dir():
        return [path]
    return sorted((file for file in path.iterdir() if _NAME.fullmatch(file.name)), key=lambda file: _range(file)[0])


def write_file(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file that is there whole or not at all, even if the machine stops. One with that name is replaced. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # a folder can't be opened everywhere; where it can, the name is synced too
        entry = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def _written(folder: Path, page: list[tuple[Place, Record]]) -> tuple[Path | None, list[tuple[Place, Record]]]:
    """The file that has the oldest records already, and those of them that it has: two ledgers may share a folder."""
    for path in archive_files(folder):
        first, last = _range(path)
        if first <= page[0][0] <= last:
            there = {record.hold_id for record in read_archive(path)}
            covered: list[tuple[Place, Record]] = []
            for place, record in page:
                if record.hold_id not in there:
                    break
                covered.append((place, record))
            if covered:
                return path, covered
    return None, []


def _write(folder: Path, page: list[tuple[Place, Record]]) -> Path:
    first, last = page[0][0], page[-1][0]
    day = datetime.fromtimestamp(first.at_ms / 1000, UTC).strftime("%Y%m%d")
    stem = f"records-{day}-{first.at_ms}.{first.number}-{last.at_ms}.{last.number}"
    path, number = folder / f"{stem}.jsonl", 2
    while path.exists():  # of another ledger
        path, number = folder / f"{stem}-{number}.jsonl", number + 1
    write_file(path, write_lines([Head(last.at_ms, is_archive=True), *(record for _, record in page)]))
    return path


def _range(path: Path) -> tuple[Place, Place]:
    """The places of a file's first and last record."""
    found = _NAME.fullmatch(path.name)
    at_ms, number, last_ms, last_number = map(int, found.groups()) if found else (0, 0, 0, 0)
    return Place(at_ms, number), Place(last_ms, last_number)
