"""Moves a journal's old records into files: written and synced first, dropped from the ledger afterwards; knows no kind of ledger.

A file is named by the positions of its first and last record. A run that is stopped between the two steps leaves a file whose records are
still in the ledger. The next run finds that file and only drops its records, so that nothing is lost and no record is in two files.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from paymaster.accounting.accounts import Record
from paymaster.ledgers.admin.export_format import ExportHead, read_lines, write_lines
from paymaster.ledgers.admin.ledger_admin import JournalPosition, LedgerAdmin

# So many records go into one file: it is what is in memory at once, about 20 MB.
FILE_RECORDS = 20_000
# A call may be settled late, and its record must be there until then. Leases are minutes; no call is settled an hour later.
YOUNGEST_MS = 3_600_000
Page: TypeAlias = list[tuple[JournalPosition, Record]]
_NAME = re.compile(r"records-\d{8}-(\d+)\.(\d+)-(\d+)\.(\d+)(?:-\d+)?\.jsonl")


@dataclass(frozen=True, slots=True)
class Archived:
    """One file. `dropped` of its records were taken out of the ledger now; `found` if an earlier run had written the file."""

    path: Path
    records: int
    dropped: int
    found: bool


def archive(admin: LedgerAdmin, folder: Path, before_ms: int) -> Iterator[Archived]:
    """Move the records written before that time into files in `folder`, one file after the other. Raises OSError and InvalidExport."""
    folder.mkdir(parents=True, exist_ok=True)
    while page := admin.oldest_records(before_ms, FILE_RECORDS):
        path, covered = _written(folder, page)
        found = path is not None
        if path is None:
            path, covered = _write(folder, page), page
        dropped = admin.drop_records(covered[-1][0])
        yield Archived(path, len(covered), dropped, found)


def read_archive(path: Path) -> Iterator[Record]:
    """The records of an archive's file, or of an export. Raises OSError and InvalidExport."""
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
    """Write a file whole or not at all, even if the machine stops. A file with that name is replaced. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # not every system opens a folder; if it does, the name is synced too
        entry = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def _written(folder: Path, page: Page) -> tuple[Path | None, Page]:
    """The file that has the oldest records already, and those of them that it has: two ledgers may share a folder."""
    for path in archive_files(folder):
        first, last = _range(path)
        if first <= page[0][0] <= last:
            archived = {record.hold_id for record in read_archive(path)}
            covered: Page = []
            for position, record in page:
                if record.hold_id not in archived:
                    break
                covered.append((position, record))
            if covered:
                return path, covered
    return None, []


def _write(folder: Path, page: Page) -> Path:
    first, last = page[0][0], page[-1][0]
    day = datetime.fromtimestamp(first.at_ms / 1000, UTC).strftime("%Y%m%d")
    stem = f"records-{day}-{first.at_ms}.{first.number}-{last.at_ms}.{last.number}"
    path, number = folder / f"{stem}.jsonl", 2
    while path.exists():  # of another ledger
        path, number = folder / f"{stem}-{number}.jsonl", number + 1
    write_file(path, write_lines([ExportHead(last.at_ms, is_archive=True), *(record for _, record in page)]))
    return path


def _range(path: Path) -> tuple[JournalPosition, JournalPosition]:
    """The positions of a file's first and last record."""
    found = _NAME.fullmatch(path.name)
    at_ms, number, last_ms, last_number = map(int, found.groups()) if found else (0, 0, 0, 0)
    return JournalPosition(at_ms, number), JournalPosition(last_ms, last_number)
