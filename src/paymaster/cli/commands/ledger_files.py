"""`paymaster ledger export`, `import` and `archive`: a ledger's way into files and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import LEDGER, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.ledgers.admin.export_format import Item

EXPORT_HELP = """Write a ledger to a file, exactly: balances, windows, open holds and records, as lines of JSON.

Calls may go on meanwhile; the file has the ledger as it stood at one instant.

\b
Example:
  paymaster ledger export books.jsonl
  paymaster ledger export - | gzip > books.jsonl.gz
"""
IMPORT_HELP = """Fill an empty ledger from an export, exactly.

A ledger that has something in it is left alone, so nothing can be imported twice. An import that fails or is stopped leaves an empty
ledger: import the same file again.

\b
Example:
  paymaster ledger import books.jsonl --ledger redis://cache:6379/0
  gunzip -c books.jsonl.gz | paymaster ledger import - --ledger sqlite:books.sqlite3
"""
ARCHIVE_HELP = """Move old records out of the ledger into files.

Each file is written and synced before its records leave the ledger. If it is stopped in between, run it again: nothing is lost or doubled.
Balances stay as they are, `verify` still adds up, and `report --archive DIR` counts the files too.

\b
Example:
  paymaster ledger archive --older-than 30d
  paymaster report --archive ~/.local/state/paymaster/archive --by day
"""
STANDARD = "-"
Target = Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="Where to; - is standard output.")]
Source = Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="An export; - is standard input.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is already there.")]
OlderThan = Annotated[str, typer.Option("--older-than", metavar="AGE", help="24h, 30d, or a time: records written before then.")]
To = Annotated[
    Path | None, typer.Option("--to", metavar="DIR", show_default=False, help="The folder.  [default: archive, in the state directory]")
]


@with_flags(*LEDGER)
def export(flags: Flags, target: Target, force: Force = False) -> None:
    """See `EXPORT_HELP`."""
    import sys

    from paymaster.cli.ledger_access import check_there, open_books
    from paymaster.cli.terminal import write_note
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.admin.archiving import write_file
    from paymaster.ledgers.admin.export_format import write_lines

    path = Path(target).expanduser()
    if target != STANDARD and path.exists() and not force:
        raise UsageMistake(f"{target} is there already", advice="Name another file, or replace it with --force.")
    with open_books(flags) as books:
        check_there(books)
        admin = books.admin
        lines = write_lines(admin.snapshot())
        if target == STANDARD:
            sys.stdout.flush()
            for line in lines:
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        else:
            try:
                write_file(path, lines)
            except OSError as error:
                raise UsageMistake(f"cannot write {target}: {error.strerror or error}") from error
            write_note(f"Wrote {books.place} to {target}.")


@with_flags(*LEDGER)
def import_(flags: Flags, source: Source) -> None:
    """See `IMPORT_HELP`."""
    import sys

    from paymaster.cli.archives import wrong_line
    from paymaster.cli.ledger_access import open_books
    from paymaster.cli.terminal import write
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.admin.export_format import InvalidExport, read_lines

    name = "standard input" if source == STANDARD else source
    counts: dict[str, int] = {}
    try:
        stream = sys.stdin.buffer if source == STANDARD else Path(source).expanduser().open("rb")
        with stream, open_books(flags, makes=True) as books:
            admin = books.admin
            admin.load(_counted(read_lines(stream), counts, name))
            what = ", ".join(
                f"{counts.get(kind, 0):,} {words}" for kind, words in (("AccountSums", "accounts"), ("OpenHold", "open holds"))
            )
            write(f"Imported {name} into {books.place}: {what}, {counts.get('Record', 0):,} records.")
    except InvalidExport as wrong:
        raise wrong_line(name, wrong) from wrong
    except OSError as error:
        raise UsageMistake(f"cannot read {name}: {error.strerror or error}") from error


def _counted(items: "Iterator[Item]", counts: dict[str, int], name: str) -> "Iterator[Item]":
    """The items, counted by their kind. Raises UsageMistake where they are an archive's: a ledger is more than its old records."""
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.admin.export_format import ExportHead

    for item in items:
        if isinstance(item, ExportHead) and item.is_archive:
            raise UsageMistake(
                f"{name} is an archive of old records, and no ledger can be made of them", advice=f"Read it with: report --archive {name}"
            )
        counts[type(item).__name__] = counts.get(type(item).__name__, 0) + 1
        yield item


@with_flags(*LEDGER)
def archive(flags: Flags, older_than: OlderThan, to: To = None) -> None:
    """See `ARCHIVE_HELP`."""
    from paymaster.cli.archives import wrong_line
    from paymaster.cli.ledger_access import check_there, open_books
    from paymaster.cli.terminal import write, write_warnings
    from paymaster.cli.times import read_moment
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.admin import archiving
    from paymaster.ledgers.admin.export_format import InvalidExport
    from paymaster.options import state_directory

    folder = to.expanduser() if to else state_directory(flags.overrides().state_dir) / "archive"
    with open_books(flags) as books:
        check_there(books)
        now_ms = books.now_ms()
        before_ms = read_moment(older_than, now_ms, "--older-than")
        if before_ms > now_ms - archiving.YOUNGEST_MS:
            advice = "The call of a younger record may still be settled anew, and needs it in the ledger."
            raise UsageMistake(f"--older-than {older_than}: at least 1h", advice=advice)
        admin, total = books.admin, 0
        try:
            for done in archiving.archive(admin, folder, before_ms):
                total += done.dropped
                there = " (it was written before, and its records had stayed in the ledger)" if done.found else ""
                write(f"{done.path}: {done.records:,} records{there}")
                if done.dropped != done.records:
                    write_warnings([f"{done.records - done.dropped:,} of them had left the ledger meanwhile, or were settled anew."])
        except OSError as error:
            raise UsageMistake(
                f"cannot write to {folder}: {error.strerror or error}", advice="Nothing left the ledger without a file."
            ) from error
        except InvalidExport as wrong:
            raise wrong_line(f"an archive in {folder}", wrong) from wrong
        write(f"{total:,} records left {books.place}." if total else f"No record in {books.place} is older than {older_than}.")
