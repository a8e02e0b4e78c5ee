"""`paymaster ledger export`, `import` and `archive`: a ledger to files and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import LEDGER, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.ledgers.admin.export_format import Item

EXPORT_HELP = """Write a ledger to a file.

The file has balances, windows, open holds and records, exactly, as lines of JSON. Calls may continue meanwhile; the file has
the ledger as it was at one instant.

\b
Example:
  paymaster ledger export books.jsonl
  paymaster ledger export - | gzip > books.jsonl.gz
"""
IMPORT_HELP = """Fill an empty ledger from an export, exactly.

A ledger that is not empty is refused, so nothing can be imported twice. An import that fails or is stopped leaves an empty ledger: import
the same file again.

\b
Example:
  paymaster ledger import books.jsonl --ledger redis://cache:6379/0
  gunzip -c books.jsonl.gz | paymaster ledger import - \\
      --ledger sqlite:books.sqlite3
"""
ARCHIVE_HELP = """Move old records out of the ledger into files.

Each file is written and synced before its records leave the ledger. If it is stopped in between, run it again: nothing is lost or doubled.
Balances do not change, `verify` still adds up, and `report --archive DIR` also counts the files.

\b
Example:
  paymaster ledger archive --older-than 30d
  paymaster report --archive ~/.local/state/paymaster/archive --by day
"""
STANDARD = "-"
Target = Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="The file to write; - is standard output.")]
Source = Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="An export; - is standard input.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")]
OlderThan = Annotated[str, typer.Option("--older-than", metavar="AGE", help="24h, 30d, or a time: records written before then.")]
To = Annotated[
    Path | None, typer.Option("--to", metavar="DIR", show_default=False, help="The folder.  [default: archive, in the state directory]")
]


@with_flags(*LEDGER)
def export(flags: Flags, target: Target, force: Force = False) -> None:
    """See `EXPORT_HELP`."""
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.terminal import write_bytes, write_note
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.admin.archiving import write_file
    from paymaster.ledgers.admin.export_format import write_lines

    path = Path(target).expanduser()
    if target != STANDARD and path.exists() and not force:
        raise UsageMistake(f"{target} already exists", advice="Name another file, or replace it with --force.")
    with open_reader(flags) as reader:
        check_exists(reader)
        lines = write_lines(reader.admin.snapshot())
        if target == STANDARD:
            write_bytes(lines)
        else:
            try:
                write_file(path, lines)
            except OSError as error:
                raise UsageMistake(f"cannot write {target}: {error.strerror or error}") from error
            write_note(f"Wrote {reader.location} to {target}.")


@with_flags(*LEDGER)
def import_(flags: Flags, source: Source) -> None:
    """See `IMPORT_HELP`."""
    import sys

    from paymaster.cli.ledger_access import invalid_line, open_reader
    from paymaster.cli.terminal import write
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.admin.earlier_formats import up_to_date
    from paymaster.ledgers.admin.export_format import InvalidExport, read_lines

    name = "standard input" if source == STANDARD else source
    counts: dict[str, int] = {}
    try:
        stream = sys.stdin.buffer if source == STANDARD else Path(source).expanduser().open("rb")
        with stream, open_reader(flags, creates=True) as reader:
            reader.admin.load(_counted(up_to_date(read_lines(stream)), counts, name))
            kinds = (("AccountSums", "accounts"), ("OpenHold", "open holds"), ("Record", "records"))
            imported = ", ".join(f"{counts.get(kind, 0):,} {words}" for kind, words in kinds)
            write(f"Imported {name} into {reader.location}: {imported}.")
    except InvalidExport as invalid:
        raise invalid_line(name, invalid) from invalid
    except OSError as error:
        raise UsageMistake(f"cannot read {name}: {error.strerror or error}") from error


def _counted(items: "Iterator[Item]", counts: dict[str, int], name: str) -> "Iterator[Item]":
    """The items, counted by kind. Raises UsageMistake for an archive, which has only old records and makes no ledger."""
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.admin.export_format import ExportHead

    for item in items:
        if isinstance(item, ExportHead) and item.is_archive:
            raise UsageMistake(
                f"{name} is an archive of old records, not an export of a ledger", advice=f"Read it with: report --archive {name}"
            )
        counts[type(item).__name__] = counts.get(type(item).__name__, 0) + 1
        yield item


@with_flags(*LEDGER)
def archive(flags: Flags, older_than: OlderThan, to: To = None) -> None:
    """See `ARCHIVE_HELP`."""
    from paymaster.cli.inputs import read_time
    from paymaster.cli.ledger_access import check_exists, invalid_line, open_reader
    from paymaster.cli.terminal import write, write_warnings
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.admin import archiving
    from paymaster.ledgers.admin.export_format import InvalidExport
    from paymaster.options import state_directory

    folder = to.expanduser() if to else state_directory(flags.overrides().state_dir) / "archive"
    with open_reader(flags) as reader:
        check_exists(reader)
        now_ms = reader.now_ms()
        before_ms = read_time(older_than, now_ms, "--older-than")
        if before_ms > now_ms - archiving.YOUNGEST_MS:
            advice = "A younger record must stay in the ledger: its call may still be settled again."
            raise UsageMistake(f"--older-than {older_than}: at least 1h", advice=advice)
        total = 0
        try:
            for done in archiving.archive(reader.admin, folder, before_ms):
                total += done.dropped
                resumed = " (written by an earlier run, which had not removed its records)" if done.found else ""
                write(f"{done.path}: {done.records:,} records{resumed}")
                if done.dropped != done.records:
                    write_warnings([f"{done.records - done.dropped:,} of them had already left the ledger, or were settled again."])
        except OSError as error:
            raise UsageMistake(
                f"cannot write to {folder}: {error.strerror or error}", advice="No record left the ledger without a file."
            ) from error
        except InvalidExport as invalid:
            raise invalid_line(f"an archive in {folder}", invalid) from invalid
        location = reader.location
        write(f"{total:,} records left {location}." if total else f"No record in {location} is older than {older_than}.")
