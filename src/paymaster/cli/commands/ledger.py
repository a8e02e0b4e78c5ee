"""`paymaster ledger`: what an operator does with a ledger: create it, look at it, check that it adds up."""

from typing import TYPE_CHECKING

import typer

from paymaster.cli.command_class import Command
from paymaster.cli.commands import ledger_accept, ledger_corrections, ledger_files, ledger_post, ledger_retire
from paymaster.cli.flags import LEDGER, AsJson, Flags, with_flags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paymaster.ledgers.admin.export_format import Item

HELP = """Administer a ledger: in a file, on Redis or on Valkey alike.

Every command takes --ledger (or PAYMASTER_LEDGER). The default is the ledger in the state directory.

\b
Example:
  paymaster ledger status --ledger redis://cache:6379/0
  paymaster ledger export books.jsonl
  paymaster ledger import books.jsonl --ledger redis://cache:6379/0
  paymaster ledger verify
  paymaster ledger adjust usd/run/exp-42 --usd -1.50 \\
      --reason "refund by the provider"
"""
INIT_HELP = """Create a ledger, unless it exists.

This is optional: the first call creates it. Use it to check a location beforehand.
"""
STATUS_HELP = """Show a ledger's kind, size and server settings.

Settings of a server that can lose data do not keep the promise of a hard budget; they are listed.
Also lists what waits on disk for this ledger, and for other ledgers of the same state directory.
"""
MIGRATE_HELP = """Bring a ledger's schema up to date, in place.

The first call that uses a file also does this. A ledger of a later version is not changed.
"""
VERIFY_HELP = """Check that a ledger adds up, to the nano-dollar.

Recomputes every budget's balance from the records of its calls, corrections and opening balances, and what is held and what counts in a
window from the open holds and the windows' entries. Prints every difference; the exit status is 1 if there is one.

What waits on disk because the ledger was unavailable is not posted yet: it is counted separately, and is no difference.
"""


def group() -> typer.Typer:
    """The command with its subcommands."""
    app = typer.Typer(help=HELP, rich_markup_mode=None, no_args_is_help=True, add_completion=False)
    app.command("init", help=INIT_HELP)(init)
    app.command("status", help=STATUS_HELP)(status)
    app.command("migrate", help=MIGRATE_HELP)(migrate)
    app.command("export", help=ledger_files.EXPORT_HELP, cls=Command)(ledger_files.export)
    app.command("import", help=ledger_files.IMPORT_HELP, cls=Command)(ledger_files.import_)
    app.command("verify", help=VERIFY_HELP)(verify)
    app.command("accept", help=ledger_accept.ACCEPT_HELP)(ledger_accept.accept)
    app.command("post", help=ledger_post.POST_HELP)(ledger_post.post)
    app.command("adjust", help=ledger_corrections.ADJUST_HELP, cls=Command)(ledger_corrections.adjust)
    app.command("reset", help=ledger_corrections.RESET_HELP, cls=Command)(ledger_corrections.reset)
    app.command("retire", help=ledger_retire.RETIRE_HELP, cls=Command)(ledger_retire.retire)
    app.command("archive", help=ledger_files.ARCHIVE_HELP)(ledger_files.archive)
    return app


@with_flags(*LEDGER)
def init(flags: Flags) -> None:
    """See `INIT_HELP`."""
    from paymaster.cli.ledger_access import open_reader
    from paymaster.cli.terminal import write, write_warnings

    with open_reader(flags, creates=True) as reader:
        admin, location = reader.admin, reader.location
        created = admin.make()
        records = 0 if created else admin.describe().records
        write(f"Created a ledger at {location}." if created else f"There is already a ledger at {location} ({records:,} records).")
        write_warnings(reader.known_warnings())  # callers of this state directory may expect another one


@with_flags(*LEDGER)
def status(flags: Flags, as_json: AsJson = False) -> None:
    """See `STATUS_HELP`."""
    from paymaster.cli.backlog_tables import (
        backlog_json,
        backlog_sentences,
        backlog_table,
        other_backlog_sentences,
        other_backlogs_json,
    )
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.ledger_tables import clock_sentences, description_json, description_table
    from paymaster.cli.terminal import write_json, write_note, write_tables, write_warnings

    with open_reader(flags, as_json=as_json) as reader:
        check_exists(reader)
        description = reader.admin.describe()
        backlog, others, warnings = reader.backlog(), reader.other_backlogs(), reader.known_warnings()
    if as_json:
        waiting = {"waiting": backlog_json(backlog), "waiting_elsewhere": other_backlogs_json(others)}
        write_json({**description_json(description), "replaced": list(warnings), **waiting})
        return
    write_tables([description_table(description), backlog_table(backlog)])
    for sentence in (*backlog_sentences(backlog), *other_backlog_sentences(others)):
        write_note(sentence)
    for sentence in clock_sentences(description.clocks_ahead):
        write_note(sentence)
    write_warnings((*warnings, *description.warnings))


@with_flags(*LEDGER)
def migrate(flags: Flags) -> None:
    """See `MIGRATE_HELP`."""
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.terminal import write

    with open_reader(flags) as reader:
        check_exists(reader)
        before, after = reader.admin.migrate()
        if before == after:
            write(f"{reader.location} is up to date (schema version {after}).")
        else:
            write(f"Migrated {reader.location} from schema version {before} to {after}.")


@with_flags(*LEDGER)
def verify(flags: Flags, as_json: AsJson = False) -> None:
    """See `VERIFY_HELP`."""
    from paymaster.accounting.account_names import is_budget
    from paymaster.cli.backlog_tables import backlog_sentences
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.ledger_tables import difference_lines, reconciled_json
    from paymaster.cli.terminal import write, write_error, write_json, write_warnings
    from paymaster.ledgers.admin.reconciling import reconcile
    from paymaster.views.backlog import backlog_in, waiting_ids

    posted: set[str] = set()
    with open_reader(flags, as_json=as_json) as reader:
        check_exists(reader)
        waiting = waiting_ids(reader.spool)
        found = reconcile(_note_posted(reader.admin.snapshot(), waiting, posted), adds_up=is_budget)
        backlog, location, warnings = backlog_in(reader.spool, posted), reader.location, reader.known_warnings()
    counts = f"{found.accounts:,} accounts, {found.records:,} records, {found.holds:,} open holds"
    if found.retired:
        counts += f", {found.retired:,} accounts that have left"
    if found.opening_balances:
        counts += f", opening balances of {found.opening_balances:,} accounts"
    if as_json:
        write_json({**reconciled_json(found, backlog, location), "replaced": list(warnings)})
    elif found.differences:
        for line in difference_lines(found):
            write_error(line)
        write(f"{len(found.differences):,} sums differ in {location}: {counts}.")
    else:
        write(f"{location} adds up to the nano-dollar: {counts}.")
    if not as_json:
        for sentence in backlog_sentences(backlog):
            write(sentence)
        write_warnings(warnings)
    if found.differences:
        raise typer.Exit(1)


def _note_posted(items: "Iterable[Item]", waiting: frozenset[str], posted: set[str]) -> "Iterator[Item]":
    """The items. Adds to `posted` the waiting holds that have a record, except lost calls, whose records are still to be corrected."""
    from paymaster.accounting.accounts import Record

    for item in items:
        if isinstance(item, Record) and item.hold_id in waiting and not item.lost:
            posted.add(item.hold_id)
        yield item
