"""`paymaster ledger`: what a ledger's keeper does besides spending: make it, look at it, check that it adds up."""

from typing import TYPE_CHECKING

import typer

from paymaster.cli.commands import ledger_corrections, ledger_files, ledger_waiting
from paymaster.cli.flags import LEDGER, AsJson, Flags, with_flags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paymaster.ledgers.admin.export_format import Item

HELP = """Look after a ledger: in a file, on Redis or on Valkey alike.

Every command takes --ledger (or PAYMASTER_LEDGER); without it, the ledger in the state directory is meant.

\b
Example:
  paymaster ledger status --ledger redis://cache:6379/0
  paymaster ledger export books.jsonl && paymaster ledger import books.jsonl --ledger redis://cache:6379/0
  paymaster ledger verify
  paymaster ledger adjust usd/run/exp-42 --usd -1.50 --reason "refund by the provider"
"""
INIT_HELP = """Make a ledger, unless it is there.

Nobody needs to: it is made by the first call. This says beforehand whether the place is right.
"""
STATUS_HELP = """What a ledger is, how much is in it, and whether its server's settings keep the promise of a hard budget.

What waits on disk for this ledger, or for another one of the same state directory, is listed as well.
"""
MIGRATE_HELP = """Bring a ledger's schema up to date, in place.

A file is also brought up to date by the first call that uses it. A ledger of a later version is left alone.
"""
VERIFY_HELP = """Check that a ledger adds up, to the nano-dollar.

Every budget's balance is recomputed from the records of its calls, corrections, and what archived records had charged; what is held and
what counts in a window from the open holds and the windows' entries. Every difference is printed, and the exit status is then 1.

What waits on disk for a ledger that was away is not yet posted: it is counted by itself, and is no difference.
"""


def group() -> typer.Typer:
    """The commands, made anew."""
    made = typer.Typer(help=HELP, rich_markup_mode=None, no_args_is_help=True, add_completion=False)
    made.command("init", help=INIT_HELP)(init)
    made.command("status", help=STATUS_HELP)(status)
    made.command("migrate", help=MIGRATE_HELP)(migrate)
    made.command("export", help=ledger_files.EXPORT_HELP)(ledger_files.export)
    made.command("import", help=ledger_files.IMPORT_HELP)(ledger_files.import_)
    made.command("verify", help=VERIFY_HELP)(verify)
    made.command("post", help=ledger_waiting.POST_HELP)(ledger_waiting.post)
    made.command("adjust", help=ledger_corrections.ADJUST_HELP)(ledger_corrections.adjust)
    made.command("reset", help=ledger_corrections.RESET_HELP)(ledger_corrections.reset)
    made.command("archive", help=ledger_files.ARCHIVE_HELP)(ledger_files.archive)
    return made


@with_flags(*LEDGER)
def init(flags: Flags) -> None:
    """See `INIT_HELP`."""
    from paymaster.cli.ledger_access import open_books
    from paymaster.cli.terminal import write

    with open_books(flags, makes=True) as books:
        admin = books.admin
        made = admin.make()
        records = 0 if made else admin.describe().records
        write(f"Made a ledger at {books.place}." if made else f"There is a ledger at {books.place} already ({records:,} records).")


@with_flags(*LEDGER)
def status(flags: Flags, as_json: AsJson = False) -> None:
    """See `STATUS_HELP`."""
    from paymaster.cli.backlog_tables import backlog_json, backlog_table, other_sentences, others_json, sentences
    from paymaster.cli.ledger_access import check_there, open_books
    from paymaster.cli.ledger_tables import description_json, description_table
    from paymaster.cli.terminal import write_json, write_note, write_tables, write_warnings

    with open_books(flags, as_json=as_json) as books:
        check_there(books)
        told = books.admin.describe()
        waiting, others = books.backlog(), books.backlogs_beside()
    if as_json:
        write_json({**description_json(told), "waiting": backlog_json(waiting), "waiting_elsewhere": others_json(others)})
        return
    write_tables([description_table(told), backlog_table(waiting)])
    for sentence in (*sentences(waiting), *other_sentences(others)):
        write_note(sentence)
    write_warnings(told.warnings)


@with_flags(*LEDGER)
def migrate(flags: Flags) -> None:
    """See `MIGRATE_HELP`."""
    from paymaster.cli.ledger_access import check_there, open_books
    from paymaster.cli.terminal import write

    with open_books(flags) as books:
        check_there(books)
        admin = books.admin
        before, after = admin.migrate()
        if before == after:
            write(f"{books.place} is up to date (schema version {after}).")
        else:
            write(f"{books.place} was brought from schema version {before} to {after}.")


@with_flags(*LEDGER)
def verify(flags: Flags, as_json: AsJson = False) -> None:
    """See `VERIFY_HELP`."""
    from paymaster.cli.backlog_tables import sentences
    from paymaster.cli.ledger_access import check_there, open_books
    from paymaster.cli.ledger_tables import difference_lines, reconciled_json
    from paymaster.cli.reporting import is_money
    from paymaster.cli.terminal import write, write_error, write_json
    from paymaster.ledgers.admin.reconciling import reconcile
    from paymaster.views.backlog import backlog_in, waiting_ids

    posted: set[str] = set()
    with open_books(flags, as_json=as_json) as books:
        check_there(books)
        waits = waiting_ids(books.spool)
        found = reconcile(_watched(books.admin.snapshot(), waits, posted), adds_up=is_money)
        waiting, place = backlog_in(books.spool, posted), books.place
    counted = f"{found.accounts:,} accounts, {found.records:,} records, {found.holds:,} open holds"
    if found.opening_balances:
        counted += f", openings of {found.opening_balances:,} accounts"
    if as_json:
        write_json(reconciled_json(found, waiting, place))
    elif found.differences:
        for line in difference_lines(found):
            write_error(line)
        write(f"{len(found.differences):,} sums differ in {place}: {counted}.")
    else:
        write(f"{place} adds up to the nano-dollar: {counted}.")
    if not as_json:
        for sentence in sentences(waiting):
            write(sentence)
    if found.differences:
        raise typer.Exit(1)


def _watched(items: "Iterable[Item]", waits: frozenset[str], posted: set[str]) -> "Iterator[Item]":
    """The items; those of `waits` that a record tells to be posted are added to `posted`. One charged as lost is still to be corrected."""
    from paymaster.accounting.accounts import Record

    for item in items:
        if isinstance(item, Record) and item.hold_id in waits and not item.lost:
            posted.add(item.hold_id)
        yield item
