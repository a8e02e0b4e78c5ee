"""Files of records that left a ledger, as a command is given them: each with one clear message when it can't be read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from paymaster.accounting.accounts import Record
from paymaster.errors import UsageMistake
from paymaster.ledgers.admin.archiving import archive_files, read_archive
from paymaster.ledgers.admin.export_format import InvalidExport


def read_archives(paths: Sequence[Path]) -> Iterator[Record]:
    """Every record of these files and folders, the last files first: of a record that stands in two, the later one counts."""
    files = [file for path in paths for file in _files(path)]
    for file in reversed(files):
        try:
            yield from read_archive(file)
        except OSError as error:
            raise UsageMistake(f"cannot read {file}: {error.strerror or error}") from error
        except InvalidExport as wrong:
            raise wrong_line(str(file), wrong) from wrong


def wrong_line(name: str, wrong: InvalidExport) -> UsageMistake:
    """The message for a line that can't be read: `file:line: why`."""
    return UsageMistake(f"{name}:{wrong.number}: {wrong.reason}" if wrong.number else f"{name}: {wrong.reason}")


def _files(path: Path) -> list[Path]:
    try:
        files = archive_files(path)
    except OSError as error:
        raise UsageMistake(f"cannot read {path}: {error.strerror or error}") from error
    if not files:
        raise UsageMistake(f"there is no archive in {path}", advice="`paymaster ledger archive` writes files named records-….jsonl.")
    return files
